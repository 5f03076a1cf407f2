// Reads live figures out of what the API and the workers count.

const FIRST = /^turnwire_first_event_seconds_bucket\{(?:[^}]*,)?le="([^"]+)"[^}]*\} (\S+)$/gm
const WINDOW = 15 // so many scrapes back is what "now" is compared with

export class Metrics {
  constructor() {
    this.scrapes = []
    this.counts = new Map()
  }

  /** Takes the text of /metrics. */
  take(text) {
    const buckets = new Map()
    for (const [, bound, count] of text.matchAll(FIRST)) buckets.set(Number(bound.replace('+Inf', 'Infinity')), (buckets.get(Number(bound.replace('+Inf', 'Infinity'))) ?? 0) + Number(count))
    const last = this.scrapes.at(-1)
    if (last && (buckets.get(Infinity) ?? 0) < (last.get(Infinity) ?? 0)) this.scrapes = [] // another process has answered, or it began anew
    this.scrapes.push(buckets)
    if (this.scrapes.length > WINDOW) this.scrapes.shift()
  }

  /** Returns the median and the 95th percentile of the last scrapes, in ms; null where nothing was measured. */
  firstEvent() {
    if (this.scrapes.length < 2) return [null, null]
    const [first, last] = [this.scrapes[0], this.scrapes.at(-1)]
    const grown = [...last].sort(([one], [other]) => one - other).map(([bound, count]) => [bound, count - (first.get(bound) ?? 0)])
    return [quantile(grown, 0.5), quantile(grown, 0.95)]
  }

  /** Returns how many events the workers have written in a second, by what their heartbeats count; null if they do not. */
  eventsPerSecond(workers) {
    let sum = null
    const counts = new Map()
    for (const { id, events, seen_at: at, is_alive: isAlive } of workers) {
      if (events === undefined || events === null || !isAlive) continue
      const before = this.counts.get(id)
      const isSame = before?.at === at
      const rate = isSame ? before.rate : before && at > before.at ? ((events - before.events) * 1000) / (at - before.at) : 0
      counts.set(id, { events, at, rate })
      sum = (sum ?? 0) + rate
    }
    this.counts = counts
    return sum
  }
}

function quantile(buckets, share) {
  const all = buckets.at(-1)?.[1] ?? 0
  if (!all) return null
  let [below, lower] = [0, 0]
  for (const [bound, count] of buckets) {
    if (count >= share * all) return 1000 * (bound === Infinity ? lower : lower + ((bound - lower) * (share * all - below)) / (count - below || 1))
    below = count
    lower = bound
  }
  return null
}
