// Rows to produce, records as consumed, and the comparison of every byte between the two.
//
// A row is { key, value, headers, timestamp }: Buffers or null, headers as [name, Buffer] pairs, milliseconds. A record has
// partition and offset besides. Seen failing: driver.mjs --self-test damages records in each field and must notice.

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { CheckFailed, shorten } from './report.mjs'

export async function loadFlights (path, limit) {
  const rows = []
  const lines = createInterface({ input: createReadStream(path), crlfDelay: Infinity })
  for await (const line of lines) {
    if (rows.length === limit) break
    const { key, value, headers, timestamp } = JSON.parse(line)
    rows.push({
      key: Buffer.from(key),
      value: Buffer.from(value),
      headers: headers.map(([name, text]) => [name, Buffer.from(text)]),
      timestamp
    })
  }
  lines.close()
  if (rows.length < limit) throw new Error(`${path} holds ${rows.length} rows, ${limit} were asked for`)
  return rows
}

/** What real data has none of; a client says which of these its API cannot express. */
export function oddRows (lacks) {
  const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  const text = value => (value === null ? null : Buffer.from(value))
  const shapes = [
    ['null key', null, 'null key', []],
    ['null value', 'null value', null, []],
    ['null key and value', null, null, []],
    ['empty', '', '', []],
    ['every byte', everyByte, Buffer.concat([everyByte, everyByte]), []],
    ['empty header', 'headers', 'empty header value', [['empty', Buffer.alloc(0)]]],
    ['repeated header', 'headers', 'repeated', [['h', Buffer.from('1')], ['h', Buffer.from('2')], ['g', everyByte]]],
    ['non-ASCII header', 'headers', 'name', [['überschrift-水', everyByte]]],
    ['many headers', 'headers', 'many', Array.from({ length: 200 }, (_, i) => [`h${i}`, Buffer.alloc(i, 'x')])],
    ['non-ASCII', 'Илья', '🛫 text', [['origin', Buffer.from('SVO')]]],
    ['repetitive', 'repetitive', 'a'.repeat(200_000), []]
  ]
  return shapes
    .filter(([name]) => !lacks.has(name))
    .map(([, key, value, headers], i) => ({ key: text(key), value: text(value), headers, timestamp: 1_700_000_000_000 + i * 1000 }))
}

/** A hash over all compared fields; how a second process tells what it consumed. */
export function digest (row) {
  const hash = createHash('sha256')
  const field = bytes => {
    hash.update(bytes === null ? 'null;' : `${bytes.length};`)
    if (bytes !== null) hash.update(bytes)
  }
  field(row.key)
  field(row.value)
  for (const [name, value] of row.headers) {
    field(Buffer.from(name))
    field(value)
  }
  hash.update(`;${row.timestamp}`)
  return hash.digest('hex')
}

/** Which row an acked (partition, offset) holds: what the broker said when it acknowledged. */
export class Oracle {
  rows = new Map()

  /** Takes acks in the order of `rows`; inside a partition offsets must be new and grow with that order. */
  acked (check, rows, acks) {
    if (rows.length !== acks.length) throw new CheckFailed(`${rows.length} rows produced, ${acks.length} acknowledged`)
    const last = new Map()
    rows.forEach((row, i) => {
      const [partition, offset] = acks[i]
      if (!this.rows.has(partition)) this.rows.set(partition, new Map())
      if (this.rows.get(partition).has(offset)) throw new CheckFailed(`partition ${partition} acknowledged offset ${offset} twice`)
      if (offset <= (last.get(partition) ?? -1)) throw new CheckFailed(`partition ${partition} was reordered at ${offset}`)
      last.set(partition, offset)
      this.rows.get(partition).set(offset, row)
    })
    check.produced += rows.length
  }

  ends () {
    // Acks come in ascending order per partition, so the last entry is the highest; a spread would overflow the stack.
    return new Map([...this.rows].map(([partition, rows]) => [partition, [...rows.keys()].at(-1) + 1]))
  }

  starts () {
    return new Map([...this.rows].map(([partition, rows]) => [partition, rows.keys().next().value]))
  }

  contiguous (check) {
    for (const [partition, end] of this.ends()) {
      check.equal(`offsets of partition ${partition} from 0 without gaps`, this.rows.get(partition).size, end)
    }
  }

  /** The answer ListOffsets owes for a timestamp: the first offset whose record is not older. */
  firstAt (partition, timestamp) {
    for (const [offset, row] of this.rows.get(partition)) if (row.timestamp >= timestamp) return offset
    return null
  }

  between (starts, ends) {
    let count = 0
    for (const [partition, start] of starts) {
      for (const offset of this.rows.get(partition).keys()) if (offset >= start && offset < ends.get(partition)) count++
    }
    return count
  }

  /** Every row of the ranges exactly once, ascending inside its partition, equal in each byte. */
  verify (check, records, starts = this.starts(), ends = this.ends()) {
    check.consumed += records.length
    const next = new Map(starts)
    for (const record of records) {
      const { partition, offset } = record
      const where = `partition ${partition} offset ${offset}`
      const want = this.rows.get(partition)?.get(offset)
      if (!want) throw new CheckFailed(`${where} was never acknowledged`)
      if (offset < (next.get(partition) ?? 0)) throw new CheckFailed(`${where} came twice or out of order`)
      for (let skipped = next.get(partition) ?? 0; skipped < offset; skipped++) {
        if (this.rows.get(partition).has(skipped)) throw new CheckFailed(`${where} came, but ${skipped} before it never did`)
      }
      next.set(partition, offset + 1)
      same(where, record, want)
      check.compared++
    }
    const wanted = this.between(starts, ends)
    if (records.length !== wanted) throw new CheckFailed(`${records.length} records consumed, ${wanted} acknowledged in these ranges`)
  }
}

/** The order in which `verify` wants records that several partitions delivered. */
export function byPartition (records) {
  return records.toSorted((a, b) => a.partition - b.partition || a.offset - b.offset)
}

export function same (where, got, want) {
  const bytes = (field, a, b) => {
    const equal = a === null || b === null ? a === b : Buffer.isBuffer(a) && a.equals(b)
    if (!equal) throw new CheckFailed(`${where}: ${field} differs: got ${shorten(a)}, want ${shorten(b)}`)
  }
  bytes('key', got.key, want.key)
  bytes('value', got.value, want.value)
  if (got.headers.length !== want.headers.length) {
    throw new CheckFailed(`${where}: headers differ: got ${shorten(got.headers)}, want ${shorten(want.headers)}`)
  }
  got.headers.forEach(([name, value], i) => {
    if (name !== want.headers[i][0]) throw new CheckFailed(`${where}: header ${i} is ${name}, want ${want.headers[i][0]}`)
    bytes(`header ${name}`, value, want.headers[i][1])
  })
  if (got.timestamp !== want.timestamp) {
    throw new CheckFailed(`${where}: timestamp differs: got ${got.timestamp}, want ${want.timestamp}`)
  }
}
