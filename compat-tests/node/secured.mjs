// kafkajs for the security suite (../python/security.py): one JSON argument in, one JSON line out.

import { readFileSync } from 'node:fs'
import { require } from './clients/modules.mjs'

const { Kafka, logLevel } = require('kafkajs')

const wanted = JSON.parse(process.argv[2])

function sasl () {
  const mechanism = wanted.mechanism?.toLowerCase()
  if (!mechanism) return undefined
  if (wanted.token) return { mechanism, oauthBearerProvider: async () => ({ value: wanted.token }) }
  return { mechanism, username: wanted.username, password: wanted.password }
}

const kafka = new Kafka({
  clientId: 'secured',
  brokers: [wanted.bootstrap],
  logLevel: logLevel.NOTHING,
  retry: { retries: wanted.refused ? 0 : 5 },
  ssl: {
    ca: [readFileSync(wanted.ca)],
    cert: wanted.cert && readFileSync(wanted.cert),
    key: wanted.key && readFileSync(wanted.key)
  },
  sasl: sasl()
})

async function roundtrip () {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: wanted.topic, numPartitions: 1 }] })
  await admin.disconnect()
  const producer = kafka.producer()
  await producer.connect()
  if (wanted.seconds) {
    for (const value of wanted.values) {
      await producer.send({ topic: wanted.topic, messages: [{ value }] })
      await new Promise(resolve => setTimeout(resolve, 1000 * wanted.seconds / wanted.values.length))
    }
  } else {
    await producer.send({ topic: wanted.topic, messages: wanted.values.map(value => ({ value })) })
  }
  await producer.disconnect()
  const consumer = kafka.consumer({ groupId: wanted.topic })
  await consumer.connect()
  await consumer.subscribe({ topics: [wanted.topic], fromBeginning: true })
  const values = []
  await new Promise((resolve, reject) => {
    setTimeout(resolve, 30_000).unref()
    consumer.run({
      eachMessage: async ({ message }) => {
        values.push(message.value.toString())
        if (values.length === wanted.values.length) resolve()
      }
    }).catch(reject)
  })
  await consumer.disconnect()
  return values
}

process.on('unhandledRejection', () => {}) // told by the call that failed
try {
  console.log(JSON.stringify({ values: await roundtrip() }))
  process.exit(0)
} catch (error) {
  console.log(JSON.stringify({ refused: `${error.name}: ${error.message}` }))
  process.exit(0)
}
