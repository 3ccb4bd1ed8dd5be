// Produce, consume and group checks, the same for each Node client. Topics get retention.ms=-1: the flights are of 2013
// and Kafka's default would delete them.
//
// Seen failing: the comparison by --self-test; group-rebalance when the second member is ended with SIGTERM and leaves, and
// when the first one commits nothing before the second joins (rows come twice).

import { randomBytes } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { Oracle, byPartition, digest, oddRows, same } from './records.mjs'
import { CheckFailed, sleep, until } from './report.mjs'
import { SecondMember } from './member.mjs'

const DRIVER = fileURLToPath(new URL('../driver.mjs', import.meta.url))
const MESSAGE_TOO_LARGE = 10
// Kafka's default for max.message.bytes, and the value that fills a batch of one record to exactly that: 61 bytes of
// batch header; length (3), attributes, two deltas, null key (1), value length (3), header count (1).
const MAX_BATCH_BYTES = 1_048_588
const EXACT_VALUE_BYTES = MAX_BATCH_BYTES - 61 - 3 - 3 - 1 - 3 - 1

export class Context {
  base = new Oracle()

  constructor (client, bootstrap, broker, rows, run) {
    Object.assign(this, { client, bootstrap, broker, rows, run })
  }

  name (what) {
    return `${this.client.name}.${what}.${this.run}`
  }

  async topic (what, partitions = 3, configs = {}) {
    const name = this.name(what)
    await this.client.createTopic(name, partitions, 1, { 'retention.ms': '-1', ...configs })
    // Apache Kafka answers a create before the leaders lead.
    await until(() => `${name} has leaders`, async () => {
      try {
        for (let partition = 0; partition < partitions; partition++) await this.client.watermarks(name, partition)
        return true
      } catch {
        return false
      }
    })
    return name
  }

  /** Round robin over the partitions; returns acks in the order of the rows. */
  async produce (topic, rows, partitions, options = {}) {
    const placed = rows.map((row, i) => ({ ...row, partition: i % partitions }))
    return this.client.produce(topic, placed, options)
  }
}

async function roundTrip (check, ctx, topic, options) {
  const oracle = new Oracle()
  oracle.acked(check, ctx.rows, await ctx.produce(topic, ctx.rows, 3, options))
  oracle.contiguous(check)
  for (const [partition, end] of oracle.ends()) {
    check.equal(`watermarks of partition ${partition}`, await ctx.client.watermarks(topic, partition), [0, end])
  }
  oracle.verify(check, byPartition(await ctx.client.consume(topic, oracle.starts(), oracle.ends())))
}

export const produceCodec = (ctx, codec) => async check => {
  await roundTrip(check, ctx, await ctx.topic(`codec-${codec}`), { codec })
}

export const produceIdempotent = ctx => async check => {
  await roundTrip(check, ctx, await ctx.topic('idempotent'), { idempotent: true, chunk: 50 })
}

export const makeBase = ctx => async check => {
  ctx.baseTopic = await ctx.topic('base')
  ctx.base.acked(check, ctx.rows, await ctx.produce(ctx.baseTopic, ctx.rows, 3))
  ctx.base.contiguous(check)
}

export const oddRecords = ctx => async check => {
  const topic = await ctx.topic('odd', 1)
  const rows = oddRows(ctx.client.lacks)
  const oracle = new Oracle()
  for (const codec of ctx.client.codecs) oracle.acked(check, rows, await ctx.produce(topic, rows, 1, { codec }))
  oracle.contiguous(check)
  oracle.verify(check, await ctx.client.consume(topic, oracle.starts(), oracle.ends()))
}

/** Batches up to exactly max.message.bytes are taken, one byte more is MESSAGE_TOO_LARGE and stores nothing. */
export const largestRecord = ctx => async check => {
  const topic = await ctx.topic('largest', 1)
  const stamp = 1_700_000_000_000
  const rows = [
    { key: Buffer.from('about 1 MiB'), value: randomBytes(1_048_000), headers: [['origin', Buffer.from('JFK')]], timestamp: stamp },
    { key: null, value: randomBytes(EXACT_VALUE_BYTES), headers: [], timestamp: stamp + 1 }
  ]
  const tooLarge = { ...rows[1], value: randomBytes(EXACT_VALUE_BYTES + 1) }
  const oracle = new Oracle()
  for (const row of rows) {
    oracle.acked(check, [row], await ctx.produce(topic, [row], 1))
    await check.raises('one byte above the limit', MESSAGE_TOO_LARGE, ctx.client.codeOf, () => ctx.produce(topic, [tooLarge], 1))
  }
  check.equal('watermarks', await ctx.client.watermarks(topic, 0), [0, rows.length])
  oracle.verify(check, await ctx.client.consume(topic, oracle.starts(), oracle.ends()))
}

/** message.timestamp.type=LogAppendTime replaces the timestamps. */
export const logAppendTime = ctx => async check => {
  const topic = await ctx.topic('append-time', 1, { 'message.timestamp.type': 'LogAppendTime' })
  const rows = ctx.rows.slice(0, 2000)
  const oracle = new Oracle()
  const before = Date.now() - 1
  oracle.acked(check, rows, await ctx.produce(topic, rows, 1, { codec: 'gzip' }))
  const after = Date.now() + 1
  const records = await ctx.client.consume(topic, oracle.starts(), oracle.ends())
  check.equal('records', records.length, rows.length)
  let last = before
  for (const record of records) {
    if (record.timestamp < last || record.timestamp > after) {
      throw new CheckFailed(`offset ${record.offset} has timestamp ${record.timestamp}, not in ${last}..${after}`)
    }
    last = record.timestamp
    same(`offset ${record.offset}`, { ...record, timestamp: rows[record.offset].timestamp }, rows[record.offset])
    check.consumed++
    check.compared++
  }
}

export const consumeFromMiddle = ctx => async check => {
  const ends = ctx.base.ends()
  const middles = new Map([...ends].map(([partition, end]) => [partition, Math.floor(end / 2)]))
  const records = await ctx.client.consume(ctx.baseTopic, middles, ends)
  ctx.base.verify(check, byPartition(records), middles, ends)
}

/** The flights are not in order of time, so the first offset at or after a time is not a matter of bisection. */
export const seekByTimestamp = ctx => async check => {
  const times = ctx.rows.map(row => row.timestamp).sort((a, b) => a - b)
  const at = share => times[Math.floor((times.length - 1) * share)]
  const asked = new Set([times[0] - 1, times[0], times.at(-1), times.at(-1) + 1])
  for (const share of [0.05, 0.25, 0.5, 0.75, 0.95]) asked.add(at(share)).add(at(share) + 1)
  const partitions = [...ctx.base.ends().keys()].sort()
  for (const timestamp of asked) {
    const found = await ctx.client.offsetsAt(ctx.baseTopic, partitions, timestamp)
    for (const partition of partitions) {
      const want = ctx.base.firstAt(partition, timestamp) ?? ctx.client.offsetOfNoMatch(ctx.base.ends().get(partition))
      check.equal(`offset of partition ${partition} at ${timestamp}`, found.get(partition), want)
    }
  }
  const starts = await ctx.client.offsetsAt(ctx.baseTopic, partitions, at(0.75))
  ctx.base.verify(check, byPartition(await ctx.client.consume(ctx.baseTopic, starts, ctx.base.ends())), starts)
}

/** The second consumer of a group gets exactly what the first one did not commit. */
export const commitAndResume = ctx => async check => {
  const group = ctx.name('resume-group')
  const first = await ctx.client.member(group, ctx.baseTopic)
  const third = Math.floor(ctx.rows.length / 3)
  await until(() => `the first member has read ${third} records, not ${first.records.length}`, () => first.records.length >= third)
  const taken = first.records.slice(0, Math.floor(third / 2))
  const positions = new Map()
  for (const record of taken) positions.set(record.partition, record.offset + 1)
  await first.commit(positions)
  await first.close()
  ctx.base.verify(check, byPartition(taken), new Map([...positions.keys()].map(p => [p, 0])), positions)

  const second = await ctx.client.member(group, ctx.baseTopic)
  const starts = new Map([...ctx.base.ends().keys()].map(p => [p, positions.get(p) ?? 0]))
  const wanted = ctx.base.between(starts, ctx.base.ends())
  await until(() => `the rest of ${wanted} records is read, not ${second.records.length}`, () => second.records.length >= wanted)
  const committed = await ctx.client.groupOffsets(group, ctx.baseTopic)
  for (const [partition, offset] of positions) check.equal(`commit of partition ${partition}`, committed.get(partition), offset)
  await second.close()
  ctx.base.verify(check, byPartition(second.records), starts)
}

/** A second member takes half of the partitions, is killed without leaving, and the first one takes over. */
export const groupRebalance = ctx => async check => {
  const topic = await ctx.topic('rebalance', 6)
  const group = ctx.name('rebalance-group')
  const all = [0, 1, 2, 3, 4, 5]
  const third = Math.floor(ctx.rows.length / 3)
  const batches = [ctx.rows.slice(0, third), ctx.rows.slice(third, 2 * third), ctx.rows.slice(2 * third)]
  const oracle = new Oracle()
  const produce = async rows => oracle.acked(check, rows, await ctx.produce(topic, rows, 6))
  const sorted = set => [...set].sort()

  await produce(batches[0])
  const member = await ctx.client.member(group, topic)
  const has = count => until(
    () => `${count} records are read; ${member.records.length} are, of partitions ${sorted(member.assigned())}`,
    () => member.records.length >= count, 90)
  await has(third)
  check.equal('partitions of the only member', sorted(member.assigned()), all)
  await member.commit(oracle.ends())

  const second = new SecondMember(DRIVER, ctx.client.name, ctx.bootstrap, group, topic)
  let other, theirs
  try {
    await until(() => `both have 3 partitions: ${sorted(member.assigned())} and ${sorted(second.assigned)}`,
      () => member.assigned().size === 3 && second.assigned.size === 3)
    check.equal('partitions of both', sorted(new Set([...member.assigned(), ...second.assigned])), all)
    const shared = member.assigned()
    await sleep(ctx.client.settleMs)
    await produce(batches[1])
    theirs = batches[1].filter((_, i) => !shared.has(i % 6)).length
    await has(2 * third - theirs)
    await until(() => `the second member has read ${theirs} records, not ${second.records.length}`, () => second.records.length >= theirs)
    await member.commit(new Map([...oracle.ends()].filter(([partition]) => shared.has(partition))))
  } finally {
    other = await second.kill()
  }

  // The rows that only the dead member had read come again, since it committed nothing.
  await has(2 * third)
  check.equal('partitions after the other died', sorted(member.assigned()), all)
  await produce(batches[2])
  await has(ctx.rows.length)
  await member.commit(oracle.ends())
  check.equal('final commits', [...(await ctx.client.groupOffsets(group, topic))].sort(), [...oracle.ends()].sort())
  await member.close()
  oracle.verify(check, byPartition(member.records))
  check.equal('records of the second member', other.length, theirs)
  check.consumed += other.length
  for (const [partition, offset, seen] of other) {
    check.equal(`second member at ${partition}/${offset}`, seen, digest(oracle.rows.get(partition).get(offset)))
  }
}
