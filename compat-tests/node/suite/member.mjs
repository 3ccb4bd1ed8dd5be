// The second member of a group, as a process of its own, so that it can die without leaving.
//
// The child (`driver.mjs --member GROUP TOPIC`) prints {"assigned": [...]} when its partitions change and
// {"records": [[partition, offset, digest], ...]} for what it read. It never commits.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { digest } from './records.mjs'
import { print, sleep } from './report.mjs'

export class SecondMember {
  assigned = new Set()
  records = []

  constructor (driver, client, bootstrap, group, topic) {
    const words = [driver, '--client', client, '--bootstrap', bootstrap, '--member', group, '--topic', topic]
    this.process = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] })
    this.exit = once(this.process, 'exit')
    createInterface({ input: this.process.stdout }).on('line', line => {
      let event
      try {
        event = JSON.parse(line)
      } catch {
        return // the last line of a killed process may be half a line
      }
      if (event.assigned) this.assigned = new Set(event.assigned)
      if (event.records) this.records.push(...event.records)
    })
  }

  /** Ends the process by SIGKILL: no goodbye to the coordinator. */
  async kill () {
    this.process.kill('SIGKILL')
    await this.exit
    await sleep(100) // what it had printed is still being read
    return this.records
  }
}

/** The child's loop, until it is killed or its parent is gone. */
export async function runMember (client, group, topic) {
  const parent = process.ppid
  const member = await client.member(group, topic)
  let shown = null
  let told = 0
  while (process.ppid === parent) {
    const now = [...member.assigned()].sort((a, b) => a - b)
    if (JSON.stringify(now) !== shown) {
      shown = JSON.stringify(now)
      print({ assigned: now })
    }
    if (member.records.length > told) {
      const fresh = member.records.slice(told)
      told += fresh.length
      print({ records: fresh.map(record => [record.partition, record.offset, digest(record)]) })
    }
    await sleep(100)
  }
  process.exit(1)
}
