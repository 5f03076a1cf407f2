// Everything about one turn: who runs it, why it waits, what it cost, and a timeline of all that happened.
import { button, copyButton, duration, el, money, rowsOf, table } from './dom.js'
import { call } from './http.js'
import { timeline } from './timeline.js'
import { textOf } from './tree.js'
import { isOpen } from './turn.js'
import { stateChip, waiting } from './turnlist.js'
import { LeaseBar } from './workers.js'

const OPEN_MS = 1000
const ENDED_MS = 5000

export class Story {
  constructor(runId, deeds) {
    Object.assign(this, { runId, deeds, everyMs: OPEN_MS })
    this.head = el('div', { class: 'row' })
    this.facts = el('dl', { class: 'facts-list' })
    this.lease = new LeaseBar()
    this.line = el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Timeline' })
    this.tables = el('div', { class: 'stack' })
    this.element = el('div', { class: 'stack' }, this.head, this.facts,
      el('section', {}, el('h2', {}, 'Timeline'), this.line), this.tables)
  }

  async read(signal) {
    const story = await call(`v1/admin/turns/${encodeURIComponent(this.runId)}`, { signal })
    this.everyMs = isOpen(story.turn.status) ? OPEN_MS : ENDED_MS
    this.#showHead(story)
    this.#showFacts(story)
    this.line.replaceChildren(timeline(story))
    const key = JSON.stringify([story.steps, story.attempts, story.signals])
    if (key === this.tablesKey) return
    this.tablesKey = key
    this.tables.replaceChildren(...[attemptsTable(story), stepsTable(story)].filter(Boolean))
  }

  #showHead({ turn }) {
    if (this.headKey === turn.status) return
    this.headKey = turn.status
    const open = isOpen(turn.status)
    this.head.replaceChildren(...[
      el('h2', { class: 'story-title' }, `${turn.session_id} #${turn.turn_index}`), stateChip(turn), copyButton(() => this.runId, 'Copy the run id'),
      open ? button({ text: 'Requeue', picture: 'again', kind: 'small', click: () => this.deeds.requeue(this.runId) }) : null,
      open ? button({ text: 'Cancel', picture: 'stop', kind: 'small danger', click: () => this.deeds.cancel(this.runId) }) : null,
      el('a', { class: 'button small', href: `#/chat/${encodeURIComponent(turn.session_id)}` }, 'Open in the chat'),
    ].filter(Boolean))
  }

  #showFacts(story) {
    const { turn, record, lease, log, now, attempts, callback } = story
    if (lease) this.lease.update(lease.lease_ttl_ms, now && (this.leaseMs = Math.max(this.leaseMs ?? 0, lease.lease_ttl_ms)))
    const { usage } = record
    const cost = usage?.model_calls ? `${money(usage.cost_nanos, usage.currency) ?? 'unknown'}${usage.partial ? ' or more' : ''}` : attempts.length ? 'nothing: no model was called' : 'not known before an attempt ends'
    const facts = [
      ['Runs on', lease ? el('span', {}, el('code', {}, lease.worker), ` as attempt ${lease.attempt}`) : isOpen(turn.status) ? 'no worker' : turn.worker ? el('span', {}, 'ended on ', el('code', {}, turn.worker)) : 'no worker'],
      lease ? ['Lease', this.lease.element] : null,
      turn.waits_for ? ['Waits', waiting(turn.waits_for, now)] : null,
      record.error ? ['Failed', el('span', {}, el('code', {}, record.error.code), ` ${record.error.message}`)] : null,
      ['Cost', cost],
      usage?.model_calls ? ['Used', `${usage.model_calls} model call${usage.model_calls > 1 ? 's' : ''}, ${usage.tokens_in ?? '?'} tokens in, ${usage.tokens_out ?? '?'} out${usage.model_called ? `, ${usage.model_called}` : ''}`] : null,
      ['Tenant', [turn.tenant_id, record.user && `user ${record.user}`, turn.project && `project ${turn.project}`].filter(Boolean).join(' · ')],
      ['Asked', `${new Date(turn.created_at).toLocaleString()} · ${duration(now - turn.created_at)} ago`],
      ['Log', `${log.events} events${log.bytes ? `, ${Math.ceil(log.bytes / 1024)} KiB` : ''}${log.last ? `, ${log.first} to ${log.last}` : ''}`],
      callback ? ['Callback', `${callback.url}${callback.pending_since ? `, not made for ${duration(now - callback.pending_since)}` : ''}`] : null,
      ['Message', el('span', { class: 'clamp' }, textOf(record.message))],
    ].filter(Boolean)
    this.facts.replaceChildren(...facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))))
  }
}

function section(title, head, rows) {
  return el('section', {}, el('h2', {}, title), table(title, head, rowsOf(rows)))
}

function attemptsTable({ attempts }) {
  if (!attempts.length) return null
  return section('Attempts', ['Attempt', 'Outcome', 'Took', 'First event', 'First text', 'Model calls', 'Tokens', 'Cost'], attempts.map((row) => [
    String(row.attempt), el('span', {}, row.outcome, row.code ? el('code', {}, row.code) : null), duration(row.wall_ms), duration(row.first_event_ms), duration(row.first_token_ms),
    String(row.model_calls ?? 'unknown'), row.tokens_out === null ? 'unknown' : `${row.tokens_in ?? '?'} → ${row.tokens_out}`, row.cost_nanos === null ? 'unknown' : money(row.cost_nanos, row.currency) + (row.partial ? ' or more' : '')]))
}

function stepsTable({ steps, step_count: count }) {
  if (!steps.length) return null
  const title = count > steps.length ? `Steps (${steps.length} of ${count})` : 'Steps'
  return section(title, ['Step', 'Kind', 'Status', 'Attempt', 'Took', 'Stored'], steps.map((step) => [
    el('code', {}, step.name), step.kind, step.status, `${step.attempt ?? '?'}${step.attempts > 1 ? `, tried ${step.attempts} times` : ''}`,
    step.ended_at && step.started_at ? duration(step.ended_at - step.started_at) : '–', `${step.bytes} B`]))
}
