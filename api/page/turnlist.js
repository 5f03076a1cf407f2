// All turns, filtered and searched.
import { button, duration, el, money, table } from './dom.js'
import { call } from './http.js'

const EVERY_MS = 3000
const PAGE = 50
const STATES = ['', 'open', 'queued', 'running', 'suspended', 'ended', 'completed', 'failed', 'cancelled']
const AGES = [['', 'any age'], ['10', 'over 10 s'], ['60', 'over 1 min'], ['600', 'over 10 min'], ['3600', 'over 1 h']]
const HEAD = ['State', 'Turn', 'Worker, or what it waits for', 'Asked', 'Took', 'Cost', 'Tenant', 'Project']

export class TurnList {
  /** `read()` has the list read now. */
  constructor(read) {
    this.everyMs = EVERY_MS
    this.pages = 1
    this.form = this.#form(read)
    this.rows = el('tbody', {})
    this.count = el('p', { class: 'muted small', role: 'status' })
    this.more = button({ text: 'More', click: () => { this.pages++; read() } })
    this.more.hidden = true
    this.element = el('div', { class: 'stack' }, this.form, this.count,
      table('Turns', HEAD, this.rows), this.more)
  }

  #form(read) {
    const field = (name, placeholder) => el('input', { name, placeholder, 'aria-label': placeholder, autocomplete: 'off', spellcheck: 'false' })
    const form = el('form', { class: 'row filters', role: 'search', 'aria-label': 'Turns' }, field('q', 'Search: run id, project, model, code'),
      el('select', { name: 'state', 'aria-label': 'State' }, ...STATES.map((state) => el('option', { value: state }, state || 'any state'))),
      el('select', { name: 'older_than_s', 'aria-label': 'Age' }, ...AGES.map(([value, text]) => el('option', { value }, text))),
      field('tenant', 'Tenant'), field('project', 'Project'), field('session', 'Session'), field('worker', 'Worker'))
    let timer
    form.addEventListener('input', () => {
      clearTimeout(timer)
      timer = setTimeout(() => { this.pages = 1; read() }, 250)
    })
    form.addEventListener('submit', (event) => event.preventDefault())
    return form
  }

  async read(signal) {
    const query = new URLSearchParams([...new FormData(this.form)].filter(([, value]) => value.trim()))
    query.set('limit', PAGE)
    const turns = []
    let answer = null
    for (let page = 0; page < this.pages || (turns.length < PAGE && page < 5 && answer.next); page++) {
      if (answer) query.set('after', answer.next)
      answer = await call(`v1/admin/turns?${query}`, { signal })
      turns.push(...answer.turns)
      if (!answer.next) break
    }
    this.more.hidden = !answer.next
    this.count.textContent = turns.length ? `${turns.length}${answer.next ? ' and more' : ''} turn${turns.length > 1 ? 's' : ''}, the newest first` : 'No turn fits.'
    this.#show(turns, answer.now)
  }

  #show(turns, now) {
    const focused = document.activeElement?.closest('tr')?.dataset.run
    this.rows.replaceChildren(...turns.map((turn) => row(turn, now)))
    if (focused) [...this.rows.children].find((one) => one.dataset.run === focused)?.querySelector('a').focus()
  }
}

function row(turn, now) {
  const { cost, waits_for: waits } = turn
  const took = turn.started_at ? (turn.ended_at ?? now) - turn.started_at : null
  return el('tr', { 'data-run': turn.run_id },
    el('td', {}, stateChip(turn)),
    el('td', {}, turnLink(turn.run_id, `${turn.session_id} #${turn.turn_index}`), turn.attempt > 1 ? el('span', { class: 'muted small' }, ` attempt ${turn.attempt}`) : null),
    el('td', {}, waits ? waiting(waits, now) : turn.code ? el('code', {}, turn.code) : shortWorker(turn.worker)),
    el('td', {}, `${duration(now - turn.created_at)} ago`), el('td', {}, took === null ? '' : duration(took)),
    el('td', {}, (cost && money(cost.cost_nanos, cost.currency)) ?? ''), el('td', {}, turn.tenant_id), el('td', {}, turn.project ?? ''))
}

/** A link to a turn's story. */
export function turnLink(runId, text) {
  return el('a', { href: `#/operations/turns/${encodeURIComponent(runId)}`, title: runId }, text)
}

export function stateChip({ status }) {
  return el('span', { class: 'chip', 'data-state': status }, status)
}

export function shortWorker(worker) {
  return worker ? worker.split('/').slice(0, 2).join('/') : ''
}

const REASONS = {
  worker: (detail) => `waits for a free slot of a worker${detail ? ` in ${detail}` : ''}`,
  earlier_turn: (detail) => el('span', {}, 'waits for the end of ', detail ? turnLink(detail, detail) : 'an earlier turn'),
  signal: (detail) => `waits for the signal ${detail}`,
  suspect: () => 'waits for an idle worker, because workers died while they ran it',
  unserved: (detail) => `waits for a worker with hooks for ${detail ? `the project ${detail}` : 'turns without a project'}`,
  retry: () => 'was put off, and is tried again soon',
  paused: (detail) => `waits until the ${detail.replace(':', ' ')} is resumed`,
}

/** Says what a turn waits for, and since when. */
export function waiting({ reason, detail, since }, now) {
  return el('span', {}, REASONS[reason]?.(detail) ?? `waits (${reason})`, `, for ${duration(now - since)}`)
}
