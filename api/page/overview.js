// The deployment as it is now: figures, plots, workers with their leases, and what waits.
import { button, duration, el, rowsOf, table } from './dom.js'
import { Problem, call, send } from './http.js'
import { Metrics } from './metrics.js'
import { Plot } from './plots.js'
import { WorkerMap } from './workers.js'

const EVERY_MS = 1000
const METRICS_EVERY = 2

export class Overview {
  constructor(deeds) {
    Object.assign(this, { deeds, everyMs: EVERY_MS, reads: 0, metrics: new Metrics(), hasMetrics: true })
    this.tiles = new Map(['Workers', 'Running turns', 'Waiting turns', 'Oldest waits', 'Open turns'].map((name) => [name, el('dd', {}, '–')]))
    this.waiting = new Plot({ title: 'Waiting turns', series: ['waiting'] })
    this.events = new Plot({ title: 'Events per second', series: ['events/s'] })
    this.first = new Plot({ title: 'First event after', series: ['median', 'p95'], format: duration })
    this.map = new WorkerMap(deeds)
    this.waits = el('div', {})
    this.element = el('div', { class: 'stack' },
      el('dl', { class: 'tiles' }, ...[...this.tiles].map(([name, value]) => el('div', {}, el('dt', {}, name), value))),
      el('div', { class: 'plots' }, this.waiting.element, this.events.element, this.first.element),
      el('section', { 'aria-labelledby': 'workers-title' }, el('h2', { id: 'workers-title' }, 'Workers and leases'), this.map.element),
      el('section', { 'aria-labelledby': 'waits-title' }, el('h2', { id: 'waits-title' }, 'Queue'), this.waits, this.#pauseForm()))
  }

  async read(signal) {
    const [queue, workers] = await Promise.all([call('v1/admin/queue', { signal }), call('v1/admin/workers', { signal })])
    if (this.reads++ % METRICS_EVERY === 0 && this.hasMetrics) await this.#readMetrics(signal)
    const at = performance.now()
    const waiting = queue.lines.reduce((sum, line) => sum + line.waiting, 0)
    const oldest = Math.min(...queue.lines.map((line) => line.oldest_at))
    const alive = workers.workers.filter((one) => one.is_alive)
    const slots = alive.reduce((sum, one) => sum + one.slots, 0)
    const running = workers.workers.reduce((sum, one) => sum + one.turns.length, 0)
    this.#tile('Workers', `${alive.length}${alive.length < workers.workers.length ? ` of ${workers.workers.length}` : ''}`)
    this.#tile('Running turns', `${running} / ${slots}`)
    this.#tile('Waiting turns', String(waiting))
    this.#tile('Oldest waits', waiting ? duration(queue.now - oldest) : '–')
    this.#tile('Open turns', String(queue.open))
    this.waiting.add(at, [waiting])
    this.events.add(at, [this.metrics.eventsPerSecond(workers.workers)])
    this.first.add(at, this.metrics.firstEvent())
    this.map.update(workers)
    this.#showWaits(queue)
  }

  async #readMetrics(signal) {
    try {
      const response = await send('metrics', { headers: { Accept: 'text/plain' }, signal })
      this.metrics.take(await response.text(), performance.now())
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.hasMetrics = error.status >= 500 || error.status === 429
    }
  }

  #tile(name, text) {
    const tile = this.tiles.get(name)
    if (tile.textContent !== text) tile.textContent = text
  }

  #showWaits({ now, lines, unserved, paused, suspects }) {
    const key = JSON.stringify([lines.map(({ oldest_at: at, ...line }) => [line, Math.floor((now - at) / 1000)]), unserved, paused, suspects])
    if (key === this.waitsKey || this.waits.contains(document.activeElement)) return
    this.waitsKey = key
    this.waits.replaceChildren(...[
      ...paused.map((one) => el('p', { class: 'warning' }, `The ${one.kind} `, el('code', {}, one.name), ` is paused for ${duration(now - one.since)}. `,
        button({ text: 'Resume', picture: 'play', kind: 'small', label: `Resume the ${one.kind} ${one.name}`, click: () => this.deeds.resume(one.kind, one.name) }))),
      ...unserved.map((one) => el('p', { class: 'warning' }, 'The project ', el('code', {}, one.project ?? '(none)'),
        ` waits for a worker that has hooks for it: ${one.turns} turns, for ${duration(now - one.oldest_at)}.`)),
      suspects ? el('p', { class: 'warning' }, `Waiting for an idle worker, because workers died while they ran: ${suspects}.`) : null,
      lines.length ? this.#linesTable(lines, now) : el('p', { class: 'muted' }, 'No turn waits for a worker.'),
    ].filter(Boolean))
  }

  #linesTable(lines, now) {
    return table('What waits', ['Pool', 'Tenant', 'Priority', 'Waiting', 'Oldest'], rowsOf(lines.map((line) => [
      line.pool, line.tenant, line.priority, String(line.waiting), duration(now - line.oldest_at)])))
  }

  #pauseForm() {
    const kind = el('select', { 'aria-label': 'Project or tenant' }, el('option', { value: 'project' }, 'Project'), el('option', { value: 'tenant' }, 'Tenant'))
    const name = el('input', { 'aria-label': 'Its name', placeholder: 'Name', required: true, maxlength: 64, autocomplete: 'off', spellcheck: 'false' })
    const form = el('form', { class: 'row', 'aria-label': 'Pause a project or a tenant' }, kind, name, el('button', { class: 'button' }, 'Pause'))
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      this.deeds.pause(kind.value, name.value.trim())
    })
    return form
  }
}
