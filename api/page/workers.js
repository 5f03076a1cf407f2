// The workers as a live map: each slot, each lease with the time that it still lasts.
import { button, duration, el } from './dom.js'
import { turnLink } from './turnlist.js'

const MOST_SLOTS = 120

export class WorkerMap {
  constructor(deeds) {
    this.deeds = deeds
    this.cards = new Map()
    this.element = el('div', { class: 'workers' })
    this.none = el('p', { class: 'warning' }, 'There is no worker. Turns are taken in, and wait.')
  }

  update({ now, lease_ms: leaseMs, workers }) {
    const known = new Set(workers.map((one) => one.id))
    for (const [id, card] of this.cards) {
      if (known.has(id)) continue
      card.element.remove()
      this.cards.delete(id)
    }
    for (const worker of workers) {
      let card = this.cards.get(worker.id)
      if (!card) {
        card = new WorkerCard(worker, this.deeds)
        this.cards.set(worker.id, card)
        this.element.append(card.element)
      }
      card.update(worker, now, leaseMs)
    }
    if (workers.length) this.none.remove()
    else this.element.append(this.none)
  }
}

class WorkerCard {
  constructor(worker, deeds) {
    this.state = el('span', { class: 'chip' })
    this.facts = el('p', { class: 'muted small' })
    this.slots = el('div', { class: 'slots', role: 'img' })
    this.leases = el('ul', { class: 'leases' })
    this.rows = new Map()
    this.more = el('p', { class: 'muted small' })
    const name = `${worker.host}/${worker.pid}`
    const buttons = [button({ text: 'Drain', label: `Drain ${name}`, kind: 'small', click: () => deeds.drain(worker.id) })]
    if (deeds.mayKill()) buttons.push(button({ text: 'Kill', label: `Kill ${name}`, picture: 'bolt', kind: 'small danger', click: () => deeds.kill(worker.id) }))
    this.buttons = el('div', { class: 'row' }, ...buttons)
    this.element = el('article', { class: 'worker', 'aria-label': `Worker ${name}` },
      el('div', { class: 'row' }, el('h3', { title: worker.id }, name), this.state, this.buttons), this.facts, this.slots, this.leases, this.more)
  }

  update(worker, now, leaseMs) {
    const { is_alive: isAlive, is_draining: isDraining } = worker
    const state = !isAlive ? 'lost' : isDraining ? 'drains' : 'alive'
    this.element.dataset.state = state
    this.state.textContent = state
    this.state.dataset.state = { lost: 'failed', drains: 'suspended', alive: 'completed' }[state]
    const pools = worker.pools?.join(', ')
    this.facts.textContent = [`version ${worker.version}`, `up for ${duration(now - worker.started_at)}`, `heard ${duration(now - worker.seen_at)} ago`,
      pools && pools !== 'default' ? `pools ${pools}` : null, worker.projects ? `projects ${worker.projects.map((one) => one ?? 'any').join(', ')}` : null].filter(Boolean).join(' · ')
    this.#showSlots(worker)
    this.#showLeases(worker.turns, leaseMs)
    this.more.textContent = worker.running > worker.turns.length && worker.turns.length >= 100 ? `and ${worker.running - worker.turns.length} more` : ''
  }

  #showSlots({ slots, reserved, turns, running }) {
    const used = Math.min(Math.max(turns.length, running), slots)
    const key = `${slots} ${reserved} ${used}`
    if (key === this.slotsKey) return
    this.slotsKey = key
    this.slots.setAttribute('aria-label', `${used} of ${slots} slots are taken${reserved ? `, ${reserved} are reserved` : ''}`)
    const scale = Math.max(1, slots / MOST_SLOTS)
    const count = Math.round(slots / scale)
    while (this.slots.children.length > count) this.slots.lastChild.remove()
    while (this.slots.children.length < count) this.slots.append(el('i'))
    const cells = [...this.slots.children]
    cells.forEach((cell, at) => {
      cell.className = at < Math.ceil(used / scale) ? 'used' : at >= count - Math.round(reserved / scale) ? 'reserved' : ''
    })
  }

  #showLeases(turns, leaseMs) {
    const known = new Set(turns.map((turn) => turn.run_id))
    for (const [id, row] of this.rows) {
      if (known.has(id)) continue
      row.element.remove()
      this.rows.delete(id)
    }
    for (const turn of turns) {
      let row = this.rows.get(turn.run_id)
      if (!row) {
        row = new LeaseRow(turn)
        this.rows.set(turn.run_id, row)
        this.leases.append(row.element)
      }
      row.update(turn.attempt, turn.lease_ttl_ms, leaseMs)
    }
  }
}

class LeaseRow {
  constructor(turn) {
    this.bar = new LeaseBar()
    this.attempt = el('span', { class: 'muted small' })
    const project = turn.project ? el('span', { class: 'chip' }, turn.project) : null
    this.element = el('li', {}, el('div', { class: 'row' }, turnLink(turn.run_id, `${turn.session_id} #${turn.turn_index}`), project, this.attempt), this.bar.element)
  }

  update(attempt, leftMs, leaseMs) {
    const text = attempt > 1 ? `attempt ${attempt}` : ''
    if (this.attempt.textContent !== text) this.attempt.textContent = text
    this.bar.update(leftMs, leaseMs)
  }
}

/** A bar that runs down as a lease does. */
export class LeaseBar {
  constructor() {
    this.fill = el('i')
    this.words = el('span', { class: 'small' })
    this.element = el('div', { class: 'lease' }, el('div', { class: 'lease-bar', 'aria-hidden': 'true' }, this.fill), this.words)
  }

  update(leftMs, leaseMs) {
    this.words.textContent = leftMs > 0 ? `${(leftMs / 1000).toFixed(1)} s` : 'over'
    const share = Math.max(0, Math.min(1, leftMs / leaseMs))
    this.element.dataset.low = String(share < 0.3)
    this.fill.style.transform = `scaleX(${share})`
  }
}
