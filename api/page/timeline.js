// Draws one turn over time: its waits, its attempts, its steps and its signals.
import { duration, svg } from './dom.js'
import { isOpen } from './turn.js'

const WIDTH = 900
const LEFT = 130
const ROW = 24
const BAR = 14
const MOST_STEPS = 60
const LABEL_CHARACTERS = 17

/** Returns the picture. */
export function timeline({ now, turn, attempts, steps, signals, lease }) {
  const from = turn.created_at
  const to = Math.max(from + 1, turn.ended_at ?? now)
  const x = (at) => LEFT + (WIDTH - LEFT - 10) * Math.max(0, Math.min(1, (at - from) / (to - from)))
  const rows = []
  const begin = attempts[0]?.started_at ?? turn.started_at ?? to
  rows.push({ label: 'Waits', bars: [[from, begin, 'wait', 'until its first attempt'], ...gaps(attempts, turn, to)] })
  for (const row of attempts) rows.push({ label: `Attempt ${row.attempt}`, bars: [[row.started_at, row.ended_at, row.outcome === 'completed' ? 'good' : row.outcome === 'suspended' ? 'done' : 'bad', row.outcome]] })
  if (lease && !attempts.some((row) => row.attempt === lease.attempt)) {
    const last = attempts.at(-1)?.ended_at ?? turn.started_at ?? from
    rows.push({ label: `Attempt ${lease.attempt}`, bars: [[last, to, 'now', 'runs']] })
  }
  for (const step of steps.slice(0, MOST_STEPS)) {
    if (step.started_at) rows.push({ label: step.name, bars: [[step.started_at, step.ended_at || to, step.status === 'failed' ? 'bad' : `kind-${KINDS[step.kind] ?? 'logic'}`, `${step.kind}, ${step.status}`]] })
  }
  for (const signal of signals.slice(0, MOST_STEPS)) rows.push({ label: signal.key, marks: [[signal.at, signal.timed_out ? 'timed out' : 'came']] })
  const height = rows.length * ROW + 26
  return svg('svg', { class: 'timeline', viewBox: `0 0 ${WIDTH} ${height}`, role: 'img', 'aria-label': `The turn over ${duration(to - from)}: ${attempts.length || (lease ? 1 : 0)} attempts, ${steps.length} steps, ${signals.length} signals` },
    ...[0, 0.25, 0.5, 0.75, 1].flatMap((share) => [
      svg('path', { class: 'grid', d: `M${x(from + share * (to - from))} 18V${height}` }),
      svg('text', { class: 'axis', x: x(from + share * (to - from)), y: 12, 'text-anchor': share === 1 ? 'end' : share ? 'middle' : 'start' }, duration(share * (to - from)))]),
    ...rows.flatMap((row, number) => drawn(row, 24 + number * ROW, x)))
}

const KINDS = { model: 'model', llm: 'model', tool: 'tool', signal: 'signal', stream: 'model' }

function gaps(attempts, turn, to) {
  return attempts.flatMap((row, at) => {
    const next = attempts[at + 1]?.started_at ?? (turn.lease_ttl_ms || !isOpen(turn.status) ? null : to)
    return next && next - row.ended_at > 1 ? [[row.ended_at, next, 'wait', row.outcome === 'suspended' ? 'for a signal' : 'for a worker']] : []
  })
}

function drawn({ label, bars = [], marks = [] }, y, x) {
  const short = label.length > LABEL_CHARACTERS ? `${label.slice(0, LABEL_CHARACTERS - 1)}…` : label
  return [
    svg('text', { class: 'name', x: 0, y: y + BAR - 3 }, short, svg('title', {}, label)),
    ...bars.map(([from, to, kind, text]) => svg('rect', { class: `bar ${kind}`, x: x(from), y, height: BAR, rx: 3, width: Math.max(2, x(to) - x(from)) }, svg('title', {}, `${label}: ${text}, ${duration(to - from)}`))),
    ...marks.map(([at, text]) => svg('path', { class: 'mark-at', d: `M${x(at)} ${y}l7 7l-7 7l-7 -7z` }, svg('title', {}, `${label}: ${text}`))),
  ]
}
