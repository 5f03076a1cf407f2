// Shows one turn: the message, its answer as it comes, and what one can do with them.
import { button, copyButton, duration, el, money, say } from './dom.js'
import { Items, questionFor } from './items.js'
import { TurnLog } from './log.js'
import { textOf } from './tree.js'

const QUIET_MS = 3000
const SPOKEN_CHARACTERS = 600
const OPEN = new Set(['queued', 'running', 'suspended'])

export function isOpen(status) {
  return OPEN.has(status)
}

export class TurnCard {
  /** `actions`: what the buttons do, see chat.js. */
  constructor(record, actions) {
    this.actions = actions
    this.log = new TurnLog()
    this.message = el('div', { class: 'message' })
    this.body = el('div', { class: 'items' })
    this.status = el('div', { class: 'status' })
    this.footer = el('footer', { class: 'meta' })
    this.answer = el('div', { class: 'answer' }, this.body, this.status, this.footer)
    this.article = el('article', {}, this.message, this.answer)
    this.element = el('li', { class: 'turn' }, this.article)
    this.items = new Items(this.body, { signal: (key, payload) => actions.signal(this, key, payload) })
    this.heardAt = performance.now()
    this.set(record, { messages: [record.turn_index], answers: [record.turn_index], parent: record.parent ?? -1 })
  }

  get index() { return this.record.turn_index }

  get state() {
    if (!this.log.events.length || !isOpen(this.record.status)) return this.log.ended && isOpen(this.record.status) ? this.log.ended : this.record.status
    return this.log.ended ?? (this.log.waiting ? 'suspended' : this.log.attempt ? 'running' : this.record.status)
  }

  /** Takes what the server says of the turn, and where it stands in the tree. */
  set(record, place = this.place) {
    this.record = record
    this.place = place
    this.article.setAttribute('aria-label', `Turn ${record.turn_index + 1}`)
    this.#showMessage()
    this.render()
  }

  take(event) {
    const before = this.log.attempt
    this.log.take(event)
    this.heardAt = performance.now()
    if (event.type === 'session.run.resumed' && this.log.attempt > before) say(`Attempt ${this.log.attempt} continues the answer.`)
    if (event.type === 'session.run.suspended') say('The answer waits for you.')
    if (this.log.ended) this.#sayEnd()
    frames.request(this)
  }

  #sayEnd() {
    const text = (this.log.finalText ?? this.log.text()).slice(0, SPOKEN_CHARACTERS)
    say(this.log.ended === 'completed' ? `Answer: ${text}` : `The answer ${this.log.ended === 'failed' ? 'failed' : 'was stopped'}.`)
  }

  render() {
    const { state, log, record } = this
    const open = isOpen(state)
    this.element.dataset.state = state
    this.answer.setAttribute('aria-busy', String(state === 'running'))
    const isBehind = !open && !log.ended && record.final_text // the record came before the rest of the log
    this.items.update(log.events.length && !isBehind ? log.items : this.#itemsOfRecord(), open)
    this.#showStatus(state, open)
    if (this.footerState !== footerKey(this)) {
      this.footerState = footerKey(this)
      this.footer.replaceChildren(...(open && state !== 'queued' && !record.created_at ? [] : this.#footerNodes(state, open)))
    }
  }

  #itemsOfRecord() {
    const text = this.record.final_text ?? this.record.partial_text
    return text ? [{ kind: 'text', text }] : []
  }

  #showMessage() {
    const key = JSON.stringify([this.record.message, this.place])
    if (key === this.messageKey) return
    this.messageKey = key
    const { message } = this.record
    const parts = typeof message === 'string' ? [{ type: 'text', text: message }] : message
    const bubble = el('div', { class: 'bubble' }, ...parts.map(partNode))
    this.message.replaceChildren(el('h2', { class: 'off-screen' }, 'You'), bubble, el('div', { class: 'tools' },
      pager('message', this.place.messages, this.index, (index) => this.actions.choose(this, index)),
      copyButton(() => textOf(message), 'Copy the message'),
      this.actions.mayWrite() ? button({ label: 'Edit the message', picture: 'edit', kind: 'quiet small', click: () => this.#edit(bubble) }) : null))
  }

  #edit(bubble) {
    const field = el('textarea', { 'aria-label': 'Edit the message', rows: 3 })
    field.value = textOf(this.record.message)
    const close = () => { form.replaceWith(bubble) }
    const form = el('form', { class: 'edit' }, field, el('div', { class: 'row end' },
      button({ text: 'Cancel', click: close }), el('button', { class: 'button primary' }, 'Send')))
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      close()
      if (field.value.trim()) this.actions.ask(this, field.value)
    })
    form.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') close()
      if (event.key === 'Enter' && !event.shiftKey) {
        event.preventDefault()
        form.requestSubmit()
      }
    })
    bubble.replaceWith(form)
    field.focus()
  }

  #showStatus(state, open) {
    const { log, record } = this
    const signal = log.waiting?.key ?? null
    const asked = [...log.tools.values()].some((tool) => tool.signal === signal && tool.state === 'waiting')
    const quietS = Math.floor((performance.now() - this.heardAt) / 1000)
    const isQuiet = state === 'running' && quietS * 1000 >= QUIET_MS
    const error = !open && state !== 'completed' && (log.error ?? record.error)
    const key = JSON.stringify([state, signal, asked, isQuiet ? quietS : 0, log.items.length > 0, error])
    if (key === this.statusKey) return
    this.statusKey = key
    const nodes = []
    if (state === 'queued') nodes.push(el('p', { class: 'working' }, dots(), 'Waiting for a worker'))
    if (state === 'running' && !log.items.length && !isQuiet) nodes.push(el('p', { class: 'working' }, dots(), el('span', { class: 'off-screen' }, 'The answer is being written')))
    if (isQuiet) nodes.push(el('p', { class: 'working' }, dots(), `Quiet for ${quietS} s. If its worker has died, another one takes over.`))
    if (signal && !asked && open) {
      nodes.push(questionFor({ title: `The turn waits for the signal ${signal}`, asks: /approv/i.test(signal) ? 'approval' : 'external', send: (payload) => this.actions.signal(this, signal, payload) }))
    }
    if (error) nodes.push(this.#errorNode(error))
    this.status.replaceChildren(...nodes)
  }

  #errorNode(error) {
    const again = this.actions.mayWrite() ? button({ text: 'Try again', picture: 'again', click: () => this.actions.retry(this) }) : null
    const isCancel = error.code === 'cancelled'
    return el('div', { class: `problem ${isCancel ? 'calm' : ''}`, role: isCancel ? null : 'alert' },
      el('div', {}, el('strong', {}, isCancel ? 'Stopped' : 'The turn failed'), ' ', el('code', {}, error.code), el('p', {}, error.message)), again)
  }

  #footerNodes(state, open) {
    const { record, log } = this
    const { usage } = record
    const attempt = Math.max(log.attempt, record.attempt)
    const facts = [
      state === 'cancelled' && !record.error && !log.error ? 'stopped' : null,
      attempt > 1 ? `attempt ${attempt}` : null,
      record.completed_at && record.started_at ? duration(record.completed_at - record.started_at) : null,
      record.model ?? usage?.model_called, tokens(usage), usage?.cost_nanos ? money(usage.cost_nanos, usage.currency) : null,
      (log.finishReason ?? usage?.finish_reason) === 'length' ? 'cut by the token limit' : null,
      log.ended && !log.persisted ? 'not stored by the product yet' : null,
    ].filter(Boolean)
    const write = this.actions.mayWrite()
    return [
      pager('answer', this.place.answers, this.index, (index) => this.actions.choose(this, index)),
      open || !this.answerText() ? null : copyButton(() => this.answerText(), 'Copy the answer'),
      write && !open ? button({ label: 'Answer again', picture: 'again', kind: 'quiet small', click: () => this.actions.ask(this, record.message) }) : null,
      write && open ? button({ text: 'Stop', picture: 'stop', kind: 'small', label: 'Stop this answer', click: () => this.actions.stop(this) }) : null,
      ...this.actions.extra(this, open),
      !log.events.length && !open ? button({ text: 'Details', kind: 'quiet small', label: 'Show how this answer came about', click: () => this.actions.details(this) }) : null,
      facts.length ? el('span', { class: 'facts' }, facts.join(' · ')) : null,
    ].filter(Boolean)
  }

  answerText() {
    return this.log.events.length ? (this.log.finalText ?? this.log.text()) : (this.record.final_text ?? this.record.partial_text ?? '')
  }
}

/** What the footer shows, as a text: it is made anew only when this changes, so that it keeps the focus. */
function footerKey({ record, log, state, place }) {
  return JSON.stringify([state, place, record.attempt, record.completed_at, record.usage, record.model, log.events.length > 0, log.attempt, log.ended])
}

function dots() {
  return el('span', { class: 'dots', 'aria-hidden': 'true' }, el('i'), el('i'), el('i'))
}

function tokens(usage) {
  if (!usage?.model_calls || usage.tokens_out === null || usage.tokens_out === undefined) return null
  return `${usage.tokens_in ?? '?'} → ${usage.tokens_out} tokens`
}

function partNode(part) {
  if (part.type === 'text') return el('p', {}, part.text)
  const address = part.image_url?.url ?? ''
  if (/^data:image\/(png|jpeg|gif|webp);base64,/.test(address)) return el('img', { src: address, alt: 'an image of the message' })
  return el('p', {}, el('span', { class: 'chip' }, part.input_file?.filename ?? part.type.replace(/^input_|_url$/g, '')))
}

function pager(kind, all, index, choose) {
  if (all.length < 2) return null
  const at = all.indexOf(index)
  const step = (by, name, picture) => button({ label: `${name} ${kind}`, picture, kind: 'quiet small', disabled: !all[at + by] && all[at + by] !== 0, click: () => choose(all[at + by]) })
  return el('span', { class: 'pager', role: 'group', 'aria-label': `Versions of the ${kind}` },
    step(-1, 'Previous', 'left'), el('span', {}, `${at + 1}/${all.length}`), step(1, 'Next', 'right'))
}

/** Renders what has changed once a frame; when that takes long, less often. */
export const frames = {
  cards: new Set(),
  isAsked: false,
  restMs: 0,
  after: () => {},

  request(card) {
    this.cards.add(card)
    if (this.isAsked) return
    this.isAsked = true
    if (document.hidden || this.restMs > 4) setTimeout(() => this.run(), Math.min(250, this.restMs * 4))
    else requestAnimationFrame(() => this.run())
  },

  run() {
    const began = performance.now()
    this.isAsked = false
    const cards = [...this.cards]
    this.cards.clear()
    for (const card of cards) card.render()
    this.after()
    this.restMs = performance.now() - began
  },
}
