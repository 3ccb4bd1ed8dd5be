// Admin calls, with the answers and the error codes that Apache Kafka gives.
//
// Seen failing: with a changed expected value (retention.ms after the alter) and with a wrong error code.

import { Oracle, byPartition } from './records.mjs'
import { eventually, until } from './report.mjs'

const OFFSET_OUT_OF_RANGE = 1
const UNKNOWN_TOPIC_OR_PARTITION = 3
const INVALID_TOPIC_EXCEPTION = 17
const TOPIC_ALREADY_EXISTS = 36
const INVALID_PARTITIONS = 37
const INVALID_REPLICATION_FACTOR = 38
const INVALID_CONFIG = 40
const NON_EMPTY_GROUP = 68
const GROUP_ID_NOT_FOUND = 69

export const topics = ctx => async check => {
  const { client } = ctx
  const name = ctx.name('topics')
  const refused = (what, code, call) => check.raises(what, code, client.codeOf, call)
  await client.createTopic(name, 3, 1, { 'retention.ms': '-1' })
  check.equal('listed', await eventually(async () => (await client.listTopics()).includes(name), true), true)
  const described = await eventually(() => client.describeTopic(name), new Map([[0, 1], [1, 1], [2, 1]]))
  check.equal('partitions and their replicas', described, new Map([[0, 1], [1, 1], [2, 1]]))
  await refused('create again', TOPIC_ALREADY_EXISTS, () => client.createTopic(name, 3, 1, {}))
  await refused('a bad name', INVALID_TOPIC_EXCEPTION, () => client.createTopic('a b/c', 1, 1, {}))
  await refused('no partitions', INVALID_PARTITIONS, () => client.createTopic(`${name}-0`, 0, 1, {}))
  await refused('an unknown config', INVALID_CONFIG, () => client.createTopic(`${name}-c`, 1, 1, { 'retention.mss': '1' }))
}

/** weir takes any replication factor and reports its one replica; a single Apache Kafka broker refuses it. */
export const replicationFactorThree = ctx => async check => {
  const { client } = ctx
  const name = ctx.name('rf3')
  const create = replicas => client.createTopic(name, 2, replicas, { 'retention.ms': '-1' })
  if (ctx.broker === 'kafka') {
    await check.raises('replication factor 3 on one broker', INVALID_REPLICATION_FACTOR, client.codeOf, () => create(3))
    await create(1)
  } else {
    check.equal('created', await create(3).then(() => true), true)
  }
  const want = new Map([[0, 1], [1, 1]])
  check.equal('replicas', await eventually(() => client.describeTopic(name), want), want)
}

export const configs = ctx => async check => {
  const { client } = ctx
  const name = ctx.name('configs')
  await client.createTopic(name, 1, 1, { 'retention.ms': '3600000', 'max.message.bytes': '2000000' })
  const seen = await client.describeConfigs(name)
  const wanted = {
    'retention.ms': '3600000',
    'max.message.bytes': '2000000',
    'cleanup.policy': 'delete',
    'compression.type': 'producer',
    'segment.bytes': '1073741824'
  }
  for (const [key, want] of Object.entries(wanted)) check.equal(key, seen.get(key), want)
  await client.alterConfigs(name, { 'retention.ms': '7200000', 'cleanup.policy': 'compact,delete' }, ['max.message.bytes'])
  const probe = async () => {
    const now = await client.describeConfigs(name)
    return [now.get('retention.ms'), now.get('cleanup.policy'), now.get('max.message.bytes')]
  }
  const after = ['7200000', 'compact,delete', '1048588']
  check.equal('after alter', await eventually(probe, after), after)
  await check.raises('a value of the wrong type', INVALID_CONFIG, client.codeOf, () => client.alterConfigs(name, { 'retention.ms': 'soon' }, []))
  check.equal('unchanged by the refusal', (await probe())[0], '7200000')
}

export const partitions = ctx => async check => {
  const { client } = ctx
  const name = await ctx.topic('grow', 2)
  await client.createPartitions(name, 5)
  const count = async () => (await client.describeTopic(name)).size
  check.equal('partitions', await eventually(count, 5), 5)
  const oracle = new Oracle()
  const rows = ctx.rows.slice(0, 100)
  const led = async () => client.watermarks(name, 4).then(() => true, () => false)
  await until(() => 'the new partitions have leaders', led)
  oracle.acked(check, rows, await ctx.produce(name, rows, 5))
  oracle.verify(check, byPartition(await client.consume(name, oracle.starts(), oracle.ends())))
  await check.raises('fewer partitions', INVALID_PARTITIONS, client.codeOf, () => client.createPartitions(name, 3))
}

export const groups = ctx => async check => {
  const { client } = ctx
  const group = ctx.name('admin-group')
  const member = await client.member(group, ctx.baseTopic)
  await until(() => 'a record was read', () => member.records.length > 0 && member.assigned().size === 3)
  await member.commit(new Map([[0, 5], [1, 6]]))
  check.equal('listed', await eventually(async () => (await client.listGroups()).includes(group), true), true)
  check.equal('state while used', await client.describeGroup(group), ['Stable', 1])
  await check.raises('delete while used', NON_EMPTY_GROUP, client.codeOf, () => client.deleteGroup(group))
  check.equal('offsets', await client.groupOffsets(group, ctx.baseTopic), new Map([[0, 5], [1, 6]]))
  await member.close()
  check.equal('state when left', await eventually(() => client.describeGroup(group), ['Empty', 0]), ['Empty', 0])
  await client.alterGroupOffsets(group, ctx.baseTopic, new Map([[0, 1], [2, 9]]))
  const altered = new Map([[0, 1], [1, 6], [2, 9]])
  check.equal('offsets after alter', await client.groupOffsets(group, ctx.baseTopic), altered)
  if (!client.lacks.has('delete group offsets')) {
    await client.deleteGroupOffsets(group, ctx.baseTopic, [1])
    check.equal('offsets after delete', await client.groupOffsets(group, ctx.baseTopic), new Map([[0, 1], [2, 9]]))
  }
  await client.deleteGroup(group)
  check.equal('still listed', await eventually(async () => (await client.listGroups()).includes(group), false), false)
  await check.raises('delete again', GROUP_ID_NOT_FOUND, client.codeOf, () => client.deleteGroup(group))
}

export const deleteRecords = ctx => async check => {
  const { client } = ctx
  const topic = await ctx.topic('delete-records', 2)
  const oracle = new Oracle()
  const rows = ctx.rows.slice(0, 2000)
  oracle.acked(check, rows, await ctx.produce(topic, rows, 2))
  await client.deleteRecords(topic, new Map([[0, 321], [1, -1]]))
  check.equal('watermarks of 0', await client.watermarks(topic, 0), [321, 1000])
  check.equal('watermarks of 1', await client.watermarks(topic, 1), [1000, 1000])
  const starts = new Map([[0, 321]])
  const ends = new Map([[0, 1000]])
  oracle.verify(check, await client.consume(topic, starts, ends), starts, ends)
  await check.raises('behind the high watermark', OFFSET_OUT_OF_RANGE, client.codeOf, () => client.deleteRecords(topic, new Map([[0, 1001]])))
}

export const deleteTopic = ctx => async check => {
  const { client } = ctx
  const name = await ctx.topic('delete-topic', 1)
  const oracle = new Oracle()
  const rows = ctx.rows.slice(0, 50)
  oracle.acked(check, rows, await ctx.produce(name, rows, 1))
  await client.deleteTopic(name)
  check.equal('still listed', await eventually(async () => (await client.listTopics()).includes(name), false), false)
  await check.raises('delete again', UNKNOWN_TOPIC_OR_PARTITION, client.codeOf, () => client.deleteTopic(name))
  // The same name again is another, empty topic.
  await ctx.topic('delete-topic', 1)
  check.equal('watermarks of the new topic', await client.watermarks(name, 0), [0, 0])
}

export const cluster = ctx => async check => {
  const { brokers, clusterId, controller } = await ctx.client.describeCluster()
  check.equal('brokers', brokers.map(broker => `${broker.host}:${broker.port}`), [ctx.bootstrap])
  check.equal('the controller is a broker', brokers.some(broker => broker.id === controller), true)
  check.equal('a cluster id', typeof clusterId === 'string' && clusterId.length > 0, true)
}
