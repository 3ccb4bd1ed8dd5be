// kafkajs and @platformatic/kafka for the suite of views (../python/clients/drains.py): reads a topic until the client's positions are at
// the ends, commits them, and prints what it read. The client's name and one JSON argument in, one JSON line out.

import { require } from './clients/modules.mjs'
import { sleep } from './suite/report.mjs'

const [, , client, argument] = process.argv
const wish = JSON.parse(argument)
const ends = new Map(Object.entries(wish.ends).map(([partition, end]) => [Number(partition), end]))
const positions = new Map()
const records = []
let error = null
let started = Date.now()

const base64 = bytes => (bytes === null || bytes === undefined ? null : Buffer.from(bytes).toString('base64'))
const atTheEnds = () => [...ends].every(([partition, end]) => positions.get(partition) >= end)

async function untilTheEnds () {
  const deadline = Date.now() + wish.seconds * 1000
  while (!atTheEnds() && Date.now() < deadline && !error) await sleep(20)
}

async function kafkajs () {
  const { Kafka, logLevel } = require('kafkajs')
  const kafka = new Kafka({ clientId: 'drain', brokers: [wish.bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 5 } })
  const consumer = kafka.consumer({ groupId: wish.group, maxWaitTimeInMs: wish.wait_ms })
  const { GROUP_JOIN, END_BATCH_PROCESS, CRASH } = consumer.events
  consumer.on(GROUP_JOIN, () => { started = Date.now() })
  // Its position: what it has processed, rows that it filters out included.
  consumer.on(END_BATCH_PROCESS, ({ payload }) => positions.set(payload.partition, Number(payload.lastOffset) + 1))
  consumer.on(CRASH, ({ payload }) => { error = payload.error })
  await consumer.connect()
  await consumer.subscribe({ topics: [wish.topic], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, isStale }) => {
      if (isStale()) return
      for (const { key, value, headers, offset, timestamp } of batch.messages) {
        const pairs = Object.entries(headers ?? {}).flatMap(([name, found]) => [].concat(found).map(one => [name, base64(one)]))
        records.push([batch.partition, Number(offset), Number(timestamp), base64(key), base64(value), pairs])
      }
    }
  })
  await untilTheEnds()
  const offsets = [...positions].map(([partition, offset]) => ({ topic: wish.topic, partition, offset: String(offset) }))
  if (!error && atTheEnds()) await consumer.commitOffsets(offsets)
  await consumer.disconnect()
}

async function platformatic () {
  const { Consumer } = require('@platformatic/kafka')
  const consumer = new Consumer({
    clientId: 'drain', bootstrapBrokers: [wish.bootstrap], retries: 2, retryDelay: 200, timeout: 15_000, groupId: wish.group,
    sessionTimeout: 6000, rebalanceTimeout: 10_000, heartbeatInterval: 1000, maxWaitTime: wish.wait_ms, autocommit: false
  })
  const stream = await consumer.consume({ topics: [wish.topic], mode: 'earliest' })
  started = Date.now()
  let seen = 0
  stream.on('data', ({ partition, offset, key, value, headerEntries, timestamp }) => {
    seen++
    const headers = headerEntries.map(([name, content]) => [name.toString(), base64(content)])
    records.push([partition, Number(offset), Number(timestamp), base64(key), base64(value), headers])
  })
  stream.on('error', failed => { error = failed })
  const watch = setInterval(() => {
    for (const partition of ends.keys()) positions.set(partition, Number(stream.offsetsToFetch.get(`${wish.topic}:${partition}`) ?? 0))
  }, 20)
  await untilTheEnds()
  // Its position is that of what it fetched; what waits in the stream comes after it.
  for (let before = -1; before !== seen && !error;) {
    before = seen
    await sleep(100)
  }
  clearInterval(watch)
  const offsets = [...positions].map(([partition, offset]) => ({ topic: wish.topic, partition, offset: BigInt(offset), leaderEpoch: -1 }))
  if (!error && atTheEnds()) await consumer.commit({ offsets })
  await stream.close()
  await consumer.close(true)
}

process.on('unhandledRejection', failed => { error ??= failed })
try {
  await { kafkajs, platformatic }[client]()
} catch (failed) {
  error ??= failed
}
const seconds = (Date.now() - started) / 1000
const answer = { records, positions: Object.fromEntries(positions), seconds, error: error && `${error.name}: ${error.message}` }
process.stdout.write(JSON.stringify(answer) + '\n', () => process.exit(0))
