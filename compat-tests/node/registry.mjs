// @kafkajs/confluent-schema-registry against weir's Schema Registry.
//
//   registry.mjs --bootstrap 127.0.0.1:9092 --registry 127.0.0.1:8081 --data ~/.cache/weir/data/flights.jsonl --rows 20000
//
// Prints one JSON line per check and a summary line last; exit code 1 when a check failed.

import { homedir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { KafkaJs } from './clients/kafkajs.mjs'
import { loadFlights } from './suite/records.mjs'
import * as checks from './suite/registry_checks.mjs'
import { Report } from './suite/report.mjs'

const { values: options } = parseArgs({
  options: {
    bootstrap: { type: 'string', default: process.env.WEIRTEST_BOOTSTRAP || '127.0.0.1:9092' },
    registry: { type: 'string', default: process.env.WEIRTEST_REGISTRY || '127.0.0.1:8081' },
    data: { type: 'string', default: join(homedir(), '.cache/weir/data/flights.jsonl') },
    rows: { type: 'string', default: '20000' },
    only: { type: 'string' }
  }
})

async function main () {
  // Its codecs are slow: a part of the flights shows the same.
  const rows = await loadFlights(options.data, Math.min(Number(options.rows), 5_000))
  const client = new KafkaJs(options.bootstrap)
  await client.start()
  const ctx = new checks.RegistryContext(client, `http://${options.registry}`, rows)
  const report = new Report('registry-node', options.only)
  for (const form of Object.keys(checks.FORMS)) await report.run(`flights-${form}`, checks.flights(ctx, form))
  await report.run('evolve', checks.evolve(ctx))
  await report.run('refusals', checks.refusals(ctx))
  const code = report.finish(checks.version())
  await client.stop()
  return code
}

process.on('unhandledRejection', error => {
  console.error('unhandled rejection:', error)
  process.exit(1)
})
process.exit(await main())
