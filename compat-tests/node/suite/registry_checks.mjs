// Checks of the Schema Registry through @kafkajs/confluent-schema-registry, with kafkajs carrying the records.

import { randomBytes } from 'node:crypto'
import { require, versionOf } from '../clients/modules.mjs'
import { CheckFailed } from './report.mjs'

const { SchemaRegistry, SchemaType, COMPATIBILITY } = require('@kafkajs/confluent-schema-registry')

const INTEGERS = ['year', 'month', 'day', 'dep_time', 'sched_dep_time', 'dep_delay', 'arr_time', 'sched_arr_time', 'arr_delay',
  'flight', 'air_time', 'distance', 'hour', 'minute']
const STRINGS = ['carrier', 'tailnum', 'origin', 'dest', 'time_hour']

/** Name -> type and text of the flights' schema. Protobuf has no null: absent fields are left out by its decoder. */
export const FORMS = {
  avro: {
    type: SchemaType.AVRO,
    schema: JSON.stringify({
      type: 'record',
      name: 'Flight',
      namespace: 'dev.weir',
      fields: [
        ...INTEGERS.map(name => ({ name, type: ['null', 'int'], default: null })),
        ...STRINGS.map(name => ({ name, type: ['null', 'string'], default: null }))
      ]
    })
  },
  json: {
    type: SchemaType.JSON,
    schema: JSON.stringify({
      type: 'object',
      properties: Object.fromEntries([
        ...INTEGERS.map(name => [name, { type: ['integer', 'null'] }]),
        ...STRINGS.map(name => [name, { type: ['string', 'null'] }])
      ]),
      additionalProperties: false
    })
  },
  protobuf: {
    type: SchemaType.PROTOBUF,
    schema: 'syntax = "proto3";\nmessage Flight {\n' + [...INTEGERS, ...STRINGS]
      .map((name, i) => `  ${INTEGERS.includes(name) ? 'int32' : 'string'} ${name} = ${i + 1};\n`).join('') + '}\n'
  }
}

/** Its Protobuf codec writes names as JavaScript does. */
const camel = name => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase())

/** Codecs give objects of classes of their own, with or without what is null or a default. */
function plain (form, flight) {
  const missing = form === 'protobuf' ? name => (INTEGERS.includes(name) ? 0 : '') : () => null
  const value = name => flight[name] ?? flight[camel(name)] ?? missing(name)
  return Object.fromEntries([...INTEGERS, ...STRINGS].map(name => [name, value(name)]))
}

/** A flight as the codec takes it. */
function encodable (form, flight) {
  if (form !== 'protobuf') return flight
  return Object.fromEntries(Object.entries(flight).filter(([, value]) => value !== null).map(([name, value]) => [camel(name), value]))
}

export class RegistryContext {
  constructor (client, url, rows) {
    this.client = client
    this.url = url
    this.flights = rows.map(row => JSON.parse(row.value))
    this.run = randomBytes(4).toString('hex')
  }

  /** A new one: registries keep what they have seen. */
  registry () {
    return new SchemaRegistry({ host: this.url, retry: { retries: 0 } })
  }
}

export const version = () => versionOf('@kafkajs/confluent-schema-registry')

/** Seen by two registries: one that registered, one that only has the id in the record. */
export const flights = (ctx, form) => async check => {
  const { type, schema } = FORMS[form]
  const topic = `node-${form}-${ctx.run}`
  await ctx.client.createTopic(topic, 1, 1, { 'retention.ms': '-1' })
  const writer = ctx.registry()
  const { id } = await writer.register({ type, schema }, { subject: `${topic}-value` })
  const rows = []
  for (const flight of ctx.flights) {
    rows.push({ key: null, value: await writer.encode(id, encodable(form, flight)), headers: [], timestamp: Date.now() })
  }
  await ctx.client.produce(topic, rows, { codec: 'none' })
  check.produced = rows.length
  const reader = ctx.registry()
  const records = await ctx.client.consume(topic, new Map([[0, 0]]), new Map([[0, rows.length]]))
  check.equal('records', records.length, rows.length)
  for (const [i, record] of records.entries()) {
    if (record.value[0] !== 0 || record.value.readUInt32BE(1) !== id) {
      throw new CheckFailed(`frame of record ${i}: ${record.value.subarray(0, 5).toString('hex')}, the id is ${id}`)
    }
    check.equal(`flight ${i}`, plain(form, await reader.decode(record.value)), plain(form, ctx.flights[i]))
    check.consumed++
  }
}

/** Its register() reads and sets the level first, and throws with the registry's message. */
export const evolve = ctx => async check => {
  const record = fields => JSON.stringify({ type: 'record', name: 'R', namespace: 'n', fields: [{ name: 'a', type: 'int' }, ...fields] })
  const optional = record([{ name: 'b', type: 'int', default: 0 }])
  const required = record([{ name: 'b', type: 'int' }])
  for (const [level, backward, forward] of [
    [COMPATIBILITY.NONE, false, false], [COMPATIBILITY.BACKWARD, true, false], [COMPATIBILITY.BACKWARD_TRANSITIVE, true, false],
    [COMPATIBILITY.FORWARD, false, true], [COMPATIBILITY.FORWARD_TRANSITIVE, false, true],
    [COMPATIBILITY.FULL, true, true], [COMPATIBILITY.FULL_TRANSITIVE, true, true]
  ]) {
    const subject = `node-evolve-${level}-${ctx.run}`
    const registry = ctx.registry()
    const type = SchemaType.AVRO
    const first = await registry.register({ type, schema: record([]) }, { subject, compatibility: level })
    const second = await registry.register({ type, schema: optional }, { subject, compatibility: level })
    check.equal(`${level}: ids`, [await registry.getRegistryId(subject, 1), await registry.getLatestSchemaId(subject)], [first.id, second.id])
    check.equal(`${level}: lookup`, await ctx.registry().getRegistryIdBySchema(subject, { type, schema: record([]) }), first.id)
    const changed = level.startsWith('FORWARD') ? record([]).replace('"int"', '"string"') : required.replace('"b"', '"c"')
    const allowed = !backward && !forward
    let reason = ''
    try {
      await registry.register({ type, schema: changed }, { subject, compatibility: level })
    } catch (error) {
      reason = error.message
    }
    check.equal(`${level}: refused (${reason})`, /incompatible/.test(reason) && /errorType/.test(reason), !allowed)
  }
}

export const refusals = ctx => async check => {
  const registry = ctx.registry()
  const refused = async (what, pattern, call) => {
    let message = 'it succeeded'
    try {
      await call()
    } catch (error) {
      message = error.message
    }
    check.equal(`${what}: ${message}`, pattern.test(message), true)
  }
  await refused('unknown id', /not found/, () => registry.getSchema(2_000_000_000))
  await refused('unknown subject', /not found/, () => registry.getLatestSchemaId(`node-none-${ctx.run}`))
  const subject = `node-invalid-${ctx.run}`
  await refused('a pattern that is none', /regular expression|regex/i, () => registry.register(
    { type: SchemaType.JSON, schema: '{"patternProperties":{"(":{}}}' }, { subject }))
}
