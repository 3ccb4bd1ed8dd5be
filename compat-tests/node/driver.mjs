// Runs every check of one Node client against a broker.
//
//   driver.mjs --client kafkajs --bootstrap 127.0.0.1:9092 --data ~/.cache/weir/data/flights.jsonl --rows 20000
//
// Prints one JSON line per check and a summary line last; exit code 1 when a check failed.
//   --broker kafka   the broker is Apache Kafka: the few answers in which weir differs on purpose are expected Kafka's way
//   --only TEXT      only checks whose name contains TEXT
//   --self-test      no broker: shows that the comparison fails on damaged records

import { randomBytes } from 'node:crypto'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import * as admin from './suite/admin_checks.mjs'
import * as checks from './suite/checks.mjs'
import { runMember } from './suite/member.mjs'
import { loadFlights } from './suite/records.mjs'
import { Check, Report } from './suite/report.mjs'
import { selfTest } from './suite/self_test.mjs'

const { values: options } = parseArgs({
  options: {
    client: { type: 'string', default: 'kafkajs' },
    bootstrap: { type: 'string', default: process.env.WEIRTEST_BOOTSTRAP || '127.0.0.1:9092' },
    data: { type: 'string' },
    rows: { type: 'string', default: '20000' },
    broker: { type: 'string', default: 'weir' },
    only: { type: 'string' },
    member: { type: 'string' },
    topic: { type: 'string' },
    'self-test': { type: 'boolean' }
  }
})

async function adapter () {
  if (options.client === 'kafkajs') return new (await import('./clients/kafkajs.mjs')).KafkaJs(options.bootstrap)
  if (options.client === 'platformatic') return new (await import('./clients/platformatic.mjs')).Platformatic(options.bootstrap)
  throw new Error(`unknown client ${options.client}; known: kafkajs, platformatic`)
}

async function runChecks (report, ctx) {
  for (const codec of ctx.client.codecs) await report.run(`produce-${codec}`, checks.produceCodec(ctx, codec))
  await report.run('produce-idempotent', checks.produceIdempotent(ctx))
  await report.run('odd-records', checks.oddRecords(ctx))
  await report.run('largest-record', checks.largestRecord(ctx))
  if (!ctx.client.lacks.has('log append time')) await report.run('log-append-time', checks.logAppendTime(ctx))
  // The checks below read this topic, so it is made also when --only leaves its own line out.
  let made = true
  if (report.wants('produce-base')) made = await report.run('produce-base', checks.makeBase(ctx))
  else await checks.makeBase(ctx)(new Check())
  if (made) {
    await report.run('consume-from-middle', checks.consumeFromMiddle(ctx))
    await report.run('seek-by-timestamp', checks.seekByTimestamp(ctx))
    await report.run('commit-and-resume', checks.commitAndResume(ctx))
    await report.run('admin-groups', admin.groups(ctx))
  }
  await report.run('group-rebalance', checks.groupRebalance(ctx))
  await report.run('admin-topics', admin.topics(ctx))
  await report.run('admin-replication-factor', admin.replicationFactorThree(ctx))
  await report.run('admin-configs', admin.configs(ctx))
  await report.run('admin-partitions', admin.partitions(ctx))
  await report.run('admin-delete-records', admin.deleteRecords(ctx))
  await report.run('admin-delete-topic', admin.deleteTopic(ctx))
  await report.run('admin-cluster', admin.cluster(ctx))
}

async function main () {
  if (options['self-test']) return selfTest()
  const client = await adapter()
  if (options.member) return runMember(client, options.member, options.topic)
  const folder = process.env.WEIRTEST_DATA_DIR || join(homedir(), '.cache/weir/data')
  const rows = await loadFlights(options.data ?? join(folder, 'flights.jsonl'), Number(options.rows))
  const report = new Report(options.client, options.only)
  await client.start()
  const ctx = new checks.Context(client, options.bootstrap, options.broker, rows, randomBytes(4).toString('hex'))
  await runChecks(report, ctx)
  const code = report.finish(`${client.version()} (Node ${process.versions.node})`)
  await client.stop()
  return code
}

process.on('unhandledRejection', error => {
  console.error('unhandled rejection:', error)
  process.exit(1)
})
// A client may leave timers or sockets behind; the suite is over when its report is.
process.exit(await main())
