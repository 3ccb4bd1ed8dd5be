// One JSON line per check on standard output and a summary line last, in the form that xtask holds against
// compat-tests/expected.toml (see compat-tests/python/suite/report.py).

import { inspect, isDeepStrictEqual } from 'node:util'

/** What a broker did differs from what the check demands. */
export class CheckFailed extends Error {}

/** Counts of one check; `compared` counts records of which every field was compared, and single assertions. */
export class Check {
  produced = 0
  consumed = 0
  compared = 0

  equal (what, got, want) {
    if (!isDeepStrictEqual(got, want)) {
      throw new CheckFailed(`${what}: got ${shorten(got)}, want ${shorten(want)}`)
    }
    this.compared++
  }

  /** `call` must be refused by the broker with exactly this Kafka error code. */
  async raises (what, code, codeOf, call) {
    let result
    try {
      result = await call()
    } catch (error) {
      this.equal(`${what}: error code (${error.message})`, codeOf(error), code)
      return
    }
    throw new CheckFailed(`${what}: wanted error ${code}, but it succeeded with ${shorten(result)}`)
  }
}

export class Report {
  passed = 0
  failed = 0
  totals = { produced: 0, consumed: 0, compared: 0 }
  started = Date.now()

  constructor (client, only) {
    this.client = client
    this.only = only
  }

  wants (name) {
    return !this.only || name.includes(this.only)
  }

  /** Runs `body(check)`; a failure is reported and the next check still runs. */
  async run (name, body) {
    if (!this.wants(name)) return true
    const check = new Check()
    const started = Date.now()
    let detail = ''
    try {
      await body(check)
    } catch (error) {
      detail = `${error.name}: ${error.message}`
      console.error(inspect(error, { depth: 6 }))
    }
    const ok = detail === ''
    if (ok) this.passed++
    else this.failed++
    const { produced, consumed, compared } = check
    for (const [key, count] of Object.entries({ produced, consumed, compared })) this.totals[key] += count
    const seconds = (Date.now() - started) / 1000
    print({ client: this.client, check: name, ok, produced, consumed, compared, seconds, detail })
    return ok
  }

  finish (version) {
    const { client, passed, failed, totals } = this
    print({ client, summary: true, version, passed, failed, ...totals, seconds: (Date.now() - this.started) / 1000 })
    return failed > 0 || passed === 0 ? 1 : 0
  }
}

export function print (line) {
  process.stdout.write(JSON.stringify(line) + '\n')
}

export function shorten (value) {
  const text = inspect(value, { depth: 4, breakLength: Infinity })
  return text.length <= 300 ? text : `${text.slice(0, 200)}... (${text.length} characters)`
}

export const sleep = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds))

/** Waits until `condition` holds; fails with `what` when it never does. */
export async function until (what, condition, seconds = 60) {
  const deadline = Date.now() + seconds * 1000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new CheckFailed(`waited ${seconds} s until ${what()}`)
    await sleep(50)
  }
}

/** Admin answers may lag behind a change; returns the last answer. */
export async function eventually (probe, want, seconds = 10) {
  const deadline = Date.now() + seconds * 1000
  let got
  while (!isDeepStrictEqual(got = await probe(), want) && Date.now() < deadline) await sleep(100)
  return got
}
