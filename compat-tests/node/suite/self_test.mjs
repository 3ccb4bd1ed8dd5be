// Shows that the comparison can fail: each way of damaging what was consumed must be noticed. Needs no broker.

import { Check, CheckFailed, print } from './report.mjs'
import { Oracle } from './records.mjs'

function sample () {
  const rows = Array.from({ length: 9 }, (_, i) => ({
    key: Buffer.from(`UA${i}`),
    value: Buffer.from(`{"flight":${i}}`),
    headers: [['origin', Buffer.from('EWR')]],
    timestamp: 1_357_034_400_000 + i
  }))
  const acks = rows.map((_, i) => [i % 3, Math.floor(i / 3)])
  const oracle = new Oracle()
  oracle.acked(new Check(), rows, acks)
  return { oracle, records: rows.map((row, i) => ({ partition: acks[i][0], offset: acks[i][1], ...row })) }
}

const flip = bytes => Buffer.concat([Buffer.from([bytes[0] ^ 1]), bytes.subarray(1)])
const change = fields => records => records.with(4, { ...records[4], ...fields(records[4]) })

const DAMAGE = {
  'key byte flipped': change(r => ({ key: flip(r.key) })),
  'key null instead of text': change(() => ({ key: null })),
  'value byte flipped': change(r => ({ value: flip(r.value) })),
  'value text instead of bytes': change(r => ({ value: r.value.toString() })),
  'header value changed': change(() => ({ headers: [['origin', Buffer.from('JFK')]] })),
  'header name changed': change(r => ({ headers: [['dest', r.headers[0][1]]] })),
  'header dropped': change(() => ({ headers: [] })),
  'timestamp off by one': change(r => ({ timestamp: r.timestamp + 1 })),
  'record lost': r => r.toSpliced(4, 1),
  'last record lost': r => r.slice(0, -1),
  'record repeated': r => [...r.slice(0, 5), ...r.slice(4)],
  'records reordered': r => [r[3], r[0], r[1], r[2], ...r.slice(4)],
  'record of an unknown offset': r => [...r, { ...r[8], offset: 99 }],
  'nothing consumed': () => []
}

export function selfTest () {
  const { oracle, records } = sample()
  oracle.verify(new Check(), records)
  const unnoticed = []
  for (const [name, damage] of Object.entries(DAMAGE)) {
    try {
      oracle.verify(new Check(), damage(records))
      unnoticed.push(name)
    } catch (error) {
      if (!(error instanceof CheckFailed)) throw error
    }
  }
  const ok = unnoticed.length === 0
  const compared = Object.keys(DAMAGE).length - unnoticed.length
  print({ client: 'self-test', check: 'damage-is-noticed', ok, produced: 0, consumed: 0, compared, detail: unnoticed.join(', ') })
  return ok ? 0 : 1
}
