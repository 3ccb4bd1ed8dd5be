// @platformatic/kafka, in the versions it asks for: CreateTopics 7, Fetch 12 and newer, SaslAuthenticate 2.

import { until } from '../suite/report.mjs'
import { require, versionOf } from './modules.mjs'

const { Admin, Consumer, Producer, ConfigResourceTypes, IncrementalAlterConfigOperationTypes } = require('@platformatic/kafka')

const { SET, DELETE } = IncrementalAlterConfigOperationTypes

export class Platformatic {
  name = 'platformatic'
  codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
  // It computes timestamps from the batch's first one also where the batch says LogAppendTime.
  lacks = new Set(['log append time'])
  // After a rebalance its stream looks up committed offsets again, and reads twice what it had read meanwhile.
  settleMs = 1500
  groups = 0

  constructor (bootstrap) {
    this.common = { clientId: 'weir-platformatic', bootstrapBrokers: [bootstrap], retries: 2, retryDelay: 200, timeout: 15_000, metadataMaxAge: 1000 }
    this.admin = new Admin(this.common)
  }

  version = () => versionOf('@platformatic/kafka')
  start = async () => {}
  stop = () => this.admin.close()

  /** The Kafka error code somewhere inside what it throws. */
  codeOf = error => {
    if (typeof error?.apiCode === 'number') return error.apiCode
    for (const inner of [...(error?.errors ?? []), error?.cause]) {
      const code = inner && this.codeOf(inner)
      if (typeof code === 'number') return code
    }
    return undefined
  }

  async produce (topic, rows, { codec = 'none', idempotent = false, chunk = 500 } = {}) {
    const producer = new Producer({ ...this.common, idempotent, compression: codec, autocreateTopics: false })
    const acks = []
    try {
      for (let i = 0; i < rows.length; i += chunk) {
        const part = rows.slice(i, i + chunk)
        const { offsets } = await producer.send({ acks: -1, messages: part.map(row => messageOf(topic, row)) })
        // One batch per partition and send: the base offset, then one by one.
        const next = new Map(offsets.map(answer => [answer.partition, Number(answer.offset)]))
        for (const { partition } of part) {
          acks.push([partition, next.get(partition)])
          next.set(partition, next.get(partition) + 1)
        }
      }
    } finally {
      await producer.close()
    }
    return acks
  }

  /** By explicit offsets (its mode `manual`), in a group of one as its consumer has it. */
  async consume (topic, starts, ends) {
    // Partitions that are not asked for are begun at their ends and filtered.
    const { size } = await this.describeTopic(topic)
    const offsets = []
    for (let partition = 0; partition < size; partition++) {
      const start = starts.get(partition) ?? (await this.watermarks(topic, partition))[1]
      offsets.push({ topic, partition, offset: BigInt(start) })
    }
    const member = new Member(this.common, `${topic}-reader-${this.groups++}`, topic)
    await member.start({ mode: 'manual', offsets })
    const wanted = [...starts].filter(([partition, start]) => start < ends.get(partition))
    const done = () => wanted.every(([partition]) => (member.positions.get(partition) ?? 0) >= ends.get(partition))
    await until(() => `${topic} is read to ${[...ends]}; positions are ${[...member.positions]}`, done)
    await member.close()
    return member.records.filter(record => starts.has(record.partition) && record.offset < ends.get(record.partition))
  }

  async member (group, topic) {
    const member = new Member(this.common, group, topic)
    await member.start({ mode: 'committed', fallbackMode: 'earliest' })
    return member
  }

  async listOffsets (topic, partitions, timestamp) {
    const wanted = partitions.map(partitionIndex => ({ partitionIndex, timestamp: BigInt(timestamp) }))
    const [answer] = await this.admin.listOffsets({ topics: [{ name: topic, partitions: wanted }] })
    return new Map(answer.partitions.map(({ partitionIndex, offset }) => [partitionIndex, Number(offset)]))
  }

  offsetsAt = (topic, partitions, timestamp) => this.listOffsets(topic, partitions, timestamp)
  offsetOfNoMatch = () => -1

  async watermarks (topic, partition) {
    const low = await this.listOffsets(topic, [partition], -2)
    const high = await this.listOffsets(topic, [partition], -1)
    return [low.get(partition), high.get(partition)]
  }

  async createTopic (topic, partitions, replicas, configs) {
    const entries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    await this.admin.createTopics({ topics: [topic], partitions, replicas, configs: entries })
  }

  deleteTopic = topic => this.admin.deleteTopics({ topics: [topic] })
  listTopics = () => this.admin.listTopics()

  async describeTopic (topic) {
    const { topics } = await this.admin.metadata({ topics: [topic], forceUpdate: true })
    return new Map(topics.get(topic).partitions.map(({ replicas }, partition) => [partition, replicas.length]))
  }

  createPartitions = (name, count) => this.admin.createPartitions({ topics: [{ name, count, assignments: null }] })

  async describeConfigs (topic) {
    const resources = [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic, configurationKeys: null }]
    const [{ configs }] = await this.admin.describeConfigs({ resources })
    return new Map(configs.map(({ name, value }) => [name, value]))
  }

  async alterConfigs (topic, put, remove) {
    const configs = [
      ...Object.entries(put).map(([name, value]) => ({ name, configOperation: SET, value })),
      ...remove.map(name => ({ name, configOperation: DELETE, value: null }))
    ]
    await this.admin.incrementalAlterConfigs({ resources: [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic, configs }] })
  }

  deleteRecords (topic, before) {
    const partitions = [...before].map(([partition, offset]) => ({ partition, offset: BigInt(offset) }))
    return this.admin.deleteRecords({ topics: [{ name: topic, partitions }] })
  }

  async describeCluster () {
    const { id, brokers, controllerId } = await this.admin.metadata({ topics: [], forceUpdate: true })
    return { brokers: [...brokers].map(([node, { host, port }]) => ({ id: node, host, port })), clusterId: id, controller: controllerId }
  }

  listGroups = async () => [...(await this.admin.listGroups()).keys()]

  async describeGroup (group) {
    const described = (await this.admin.describeGroups({ groups: [group] })).get(group)
    return [described.state, described.members.size]
  }

  async groupOffsets (group, topic) {
    const [answer] = await this.admin.listConsumerGroupOffsets({ groups: [group] })
    const found = answer.topics.find(({ name }) => name === topic)?.partitions ?? []
    return new Map(found.map(part => [part.partitionIndex, Number(part.committedOffset)]).sort((a, b) => a[0] - b[0]))
  }

  alterGroupOffsets (groupId, topic, offsets) {
    const partitionOffsets = [...offsets].map(([partition, offset]) => ({ partition, offset: BigInt(offset) }))
    return this.admin.alterConsumerGroupOffsets({ groupId, topics: [{ name: topic, partitionOffsets }] })
  }

  deleteGroupOffsets = (groupId, topic, partitionIndexes) =>
    this.admin.deleteConsumerGroupOffsets({ groupId, topics: [{ name: topic, partitionIndexes }] })

  deleteGroup = group => this.admin.deleteGroups({ groups: [group] })
}

class Member {
  records = []
  positions = new Map()

  constructor (common, groupId, topic) {
    this.topic = topic
    this.consumer = new Consumer({
      ...common, groupId, sessionTimeout: 6000, rebalanceTimeout: 10_000, heartbeatInterval: 1000, maxWaitTime: 100, autocommit: false
    })
  }

  async start (how) {
    this.stream = await this.consumer.consume({ topics: [this.topic], ...how })
    this.stream.on('data', message => {
      const record = recordOf(message)
      this.records.push(record)
      this.positions.set(record.partition, record.offset + 1)
    })
    this.stream.on('error', error => { this.error = error })
  }

  assigned () {
    if (this.error) throw this.error
    const mine = (this.consumer.assignments ?? []).filter(({ topic }) => topic === this.topic)
    return new Set(mine.flatMap(({ partitions }) => partitions))
  }

  commit (offsets) {
    const wanted = [...offsets].map(([partition, offset]) => ({ topic: this.topic, partition, offset: BigInt(offset), leaderEpoch: -1 }))
    return this.consumer.commit({ offsets: wanted })
  }

  async close () {
    await this.stream.close()
    await this.consumer.close(true)
  }
}

function messageOf (topic, row) {
  return {
    topic,
    partition: row.partition,
    key: row.key ?? undefined,
    value: row.value ?? undefined,
    timestamp: BigInt(row.timestamp),
    // Names as Buffers are keys by identity, so one name can stand there twice.
    headers: new Map(row.headers.map(([name, value]) => [Buffer.from(name), value]))
  }
}

function recordOf ({ partition, offset, key, value, headerEntries, timestamp }) {
  const headers = headerEntries.map(([name, value]) => [name.toString(), value])
  return { partition, offset: Number(offset), key: key ?? null, value: value ?? null, headers, timestamp: Number(timestamp) }
}
