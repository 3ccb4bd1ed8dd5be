// kafkajs, with its codecs as users add them: snappy from kafkajs-snappy, LZ4 frames from lz4-napi, zstd from Node itself.

import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { until } from '../suite/report.mjs'
import { require, versionOf } from './modules.mjs'

const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = require('kafkajs')
const lz4 = require('lz4-napi')

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrame(encoder.buffer),
  decompress: async buffer => lz4.decompressFrame(buffer)
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zstdCompressSync(encoder.buffer),
  decompress: async buffer => zstdDecompressSync(buffer)
})

const CODECS = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' }
const RETRY = { retries: 3, initialRetryTime: 100 }
// A broker that has just started creates the coordinator's topic when the first group asks.
const GROUP_RETRY = { retries: 8, initialRetryTime: 200 }

export class KafkaJs {
  name = 'kafkajs'
  codecs = Object.keys(CODECS)
  // It cannot delete single offsets of a group, and hands out headers grouped by name, in an object.
  lacks = new Set(['delete group offsets'])
  settleMs = 0

  constructor (bootstrap) {
    this.kafka = new Kafka({ clientId: 'weir-kafkajs', brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: RETRY })
    this.admin = this.kafka.admin({ retry: RETRY })
    this.groups = 0
  }

  version = () => versionOf('kafkajs')
  start = () => this.admin.connect()
  stop = () => this.admin.disconnect()

  /** The Kafka error code somewhere inside what it throws. */
  codeOf = error => {
    if (typeof error?.code === 'number') return error.code
    for (const inner of [error?.cause, error?.originalError, ...(error?.errors ?? []), ...(error?.partitions ?? []).map(p => p.error)]) {
      const code = inner && this.codeOf(inner)
      if (typeof code === 'number') return code
    }
    for (const group of error?.groups ?? []) if (group.errorCode) return group.errorCode
    return undefined
  }

  async produce (topic, rows, { codec = 'none', idempotent = false, chunk = 500 } = {}) {
    const producer = this.kafka.producer({ idempotent, allowAutoTopicCreation: false, retry: RETRY, ...(idempotent ? { maxInFlightRequests: 1 } : {}) })
    await producer.connect()
    const acks = []
    try {
      for (let i = 0; i < rows.length; i += chunk) {
        const part = rows.slice(i, i + chunk)
        const sent = await producer.send({ topic, acks: -1, compression: CompressionTypes[CODECS[codec]], messages: part.map(messageOf) })
        // One batch per partition and send: the base offset, then one by one.
        const next = new Map(sent.map(answer => [answer.partition, Number(answer.baseOffset)]))
        for (const { partition } of part) {
          acks.push([partition, next.get(partition)])
          next.set(partition, next.get(partition) + 1)
        }
      }
    } finally {
      await producer.disconnect()
    }
    return acks
  }

  /** It has no assignment without a group; a group of one, put at the starts by seek, comes closest. */
  async consume (topic, starts, ends) {
    const member = await this.member(`${topic}-reader-${this.groups++}`, topic, starts)
    const wanted = [...starts].filter(([partition, start]) => start < ends.get(partition))
    const done = () => wanted.every(([partition]) => (member.positions.get(partition) ?? 0) >= ends.get(partition))
    await until(() => `${topic} is read to ${[...ends]}; positions are ${[...member.positions]}`, done)
    await member.close()
    return member.records.filter(record => starts.has(record.partition) && record.offset < ends.get(record.partition))
  }

  async member (group, topic, starts) {
    const member = new Member(this.kafka, group, topic)
    await member.start(starts)
    return member
  }

  async offsetsAt (topic, partitions, timestamp) {
    const found = await this.admin.fetchTopicOffsetsByTimestamp(topic, timestamp)
    return new Map(found.map(({ partition, offset }) => [partition, Number(offset)]))
  }

  /** Where no record is as young, it answers the end instead. */
  offsetOfNoMatch = end => end

  async watermarks (topic, partition) {
    const found = (await this.admin.fetchTopicOffsets(topic)).find(answer => answer.partition === partition)
    return [Number(found.low), Number(found.high)]
  }

  async createTopic (topic, numPartitions, replicationFactor, configs) {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    const created = await this.admin.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions, replicationFactor, configEntries }] })
    // It turns this one error into `false`.
    if (!created) throw Object.assign(new Error('topic exists'), { code: 36 })
  }

  deleteTopic = topic => this.admin.deleteTopics({ topics: [topic] })
  listTopics = () => this.admin.listTopics()

  async describeTopic (topic) {
    const { topics } = await this.admin.fetchTopicMetadata({ topics: [topic] })
    return new Map(topics[0].partitions.map(p => [p.partitionId, p.replicas.length]).sort((a, b) => a[0] - b[0]))
  }

  createPartitions = (topic, count) => this.admin.createPartitions({ topicPartitions: [{ topic, count }] })

  async describeConfigs (topic) {
    const { resources } = await this.admin.describeConfigs({ includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] })
    return new Map(resources[0].configEntries.map(entry => [entry.configName, entry.configValue]))
  }

  /** It has the older AlterConfigs only, which replaces everything: what is not named returns to its default. */
  alterConfigs (topic, put) {
    const configEntries = Object.entries(put).map(([name, value]) => ({ name, value }))
    return this.admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries }] })
  }

  deleteRecords (topic, before) {
    const partitions = [...before].map(([partition, offset]) => ({ partition, offset: String(offset) }))
    return this.admin.deleteTopicRecords({ topic, partitions })
  }

  async describeCluster () {
    const { brokers, clusterId, controller } = await this.admin.describeCluster()
    return { brokers: brokers.map(({ nodeId, host, port }) => ({ id: nodeId, host, port })), clusterId, controller }
  }

  async listGroups () {
    return (await this.admin.listGroups()).groups.map(group => group.groupId)
  }

  async describeGroup (group) {
    const { groups } = await this.admin.describeGroups([group])
    return [groups[0].state, groups[0].members.length]
  }

  async groupOffsets (groupId, topic) {
    const [answer] = await this.admin.fetchOffsets({ groupId, topics: [topic] })
    const committed = answer.partitions.filter(part => Number(part.offset) >= 0)
    return new Map(committed.map(part => [part.partition, Number(part.offset)]).sort((a, b) => a[0] - b[0]))
  }

  alterGroupOffsets (groupId, topic, offsets) {
    const partitions = [...offsets].map(([partition, offset]) => ({ partition, offset: String(offset) }))
    return this.admin.setOffsets({ groupId, topic, partitions })
  }

  deleteGroup = group => this.admin.deleteGroups([group])
}

class Member {
  records = []
  positions = new Map()
  partitions = new Set()

  constructor (kafka, groupId, topic) {
    this.topic = topic
    this.consumer = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 1000, rebalanceTimeout: 10_000, maxWaitTimeInMs: 100, retry: GROUP_RETRY })
    const { GROUP_JOIN, REBALANCING } = this.consumer.events
    this.consumer.on(GROUP_JOIN, ({ payload }) => { this.partitions = new Set(payload.memberAssignment[topic] ?? []) })
    this.consumer.on(REBALANCING, () => { this.partitions = new Set() })
  }

  async start (starts) {
    await this.consumer.connect()
    await this.consumer.subscribe({ topics: [this.topic], fromBeginning: true })
    let placed = !starts
    await this.consumer.run({
      autoCommit: false,
      eachBatch: async ({ batch, heartbeat, isStale }) => {
        // What came before the seek took effect starts at the beginning and is not wanted.
        if (!placed || isStale()) return
        const floor = starts?.get(batch.partition) ?? 0
        for (const message of batch.messages) {
          const record = recordOf(batch.partition, message)
          if (record.offset < floor) continue
          this.records.push(record)
          this.positions.set(batch.partition, record.offset + 1)
        }
        await heartbeat()
      }
    })
    for (const [partition, offset] of starts ?? []) this.consumer.seek({ topic: this.topic, partition, offset: String(offset) })
    placed = true
  }

  assigned = () => this.partitions

  commit (offsets) {
    return this.consumer.commitOffsets([...offsets].map(([partition, offset]) => ({ topic: this.topic, partition, offset: String(offset) })))
  }

  close = () => this.consumer.disconnect()
}

function messageOf (row) {
  const headers = {}
  for (const [name, value] of row.headers) headers[name] = name in headers ? [].concat(headers[name], value) : value
  return { key: row.key, value: row.value, partition: row.partition, timestamp: String(row.timestamp), headers }
}

function recordOf (partition, { key, value, headers, offset, timestamp }) {
  // Names in order of first appearance; the values of one name in their order.
  const pairs = Object.entries(headers ?? {}).flatMap(([name, found]) => [].concat(found).map(one => [name, one]))
  return { partition, offset: Number(offset), key, value, headers: pairs, timestamp: Number(timestamp) }
}

