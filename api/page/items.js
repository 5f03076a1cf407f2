// Shows the items of a turn's log: texts, reasoning, tool calls, marks of other attempts, attachments, notes.
import { button, el, icon } from './dom.js'
import { safeAddress, link } from './inline.js'
import { Markdown } from './markdown.js'

const REASONS = {
  lease_expired: ['bolt', 'The worker was lost. Another one took over'],
  handover: ['again', 'The worker was stopped, and handed the turn over'],
  retry: ['again', 'The turn was asked again'],
  signal: ['play', 'Continued after the signal'],
  store_lost: ['bolt', 'Redis had lost its last writes'],
  diverged: ['again', 'The log was rewound'],
  other: ['again', 'Another attempt continues'],
}
const STATES = { writing: 'is being written', called: 'runs', waiting: 'waits for you', done: 'done' }

class TextItem {
  constructor() {
    this.element = el('div', { class: 'prose' })
    this.markdown = new Markdown(this.element)
  }

  update(item) {
    this.markdown.update(item.text)
  }
}

class ReasoningItem {
  constructor() {
    this.body = el('div', { class: 'prose muted' })
    this.words = el('span', { class: 'muted' })
    this.element = el('details', { class: 'fold', toggle: () => this.#show() },
      el('summary', {}, icon('down'), 'Reasoning ', this.words), this.body)
    this.markdown = new Markdown(this.body)
  }

  update(item) {
    this.item = item
    this.words.textContent = `${item.text.length.toLocaleString('en')} characters`
    this.#show()
  }

  #show() {
    if (this.element.open) this.markdown.update(this.item.text)
  }
}

class ToolItem {
  constructor(actions) {
    this.actions = actions
    this.name = el('code', {})
    this.state = el('span', { class: 'chip' })
    this.arguments = el('pre', { tabindex: '0', role: 'region', 'aria-label': 'Arguments' })
    this.result = el('pre', { tabindex: '0', role: 'region', 'aria-label': 'Result' })
    this.resultBlock = el('div', {}, el('p', { class: 'label' }, 'Result'), this.result)
    this.fold = el('details', { class: 'fold tool' }, el('summary', {}, icon('tool'), this.name, this.state),
      el('p', { class: 'label' }, 'Arguments'), this.arguments, this.resultBlock)
    this.asking = el('div', {})
    this.element = el('div', { class: 'call' }, this.fold, this.asking)
  }

  update(item, turnIsOpen) {
    const isWaiting = item.state === 'waiting' && turnIsOpen
    this.name.textContent = item.name || 'tool'
    this.state.textContent = item.answered && isWaiting ? 'answered' : STATES[item.state === 'waiting' && !turnIsOpen ? 'done' : item.state]
    this.state.dataset.state = isWaiting ? 'suspended' : item.state === 'done' ? 'completed' : 'running'
    setText(this.arguments, pretty(item.arguments))
    setText(this.result, item.result ?? '')
    this.resultBlock.hidden = item.result === undefined
    const asks = isWaiting && item.signal && !item.answered ? item.asks : null
    if (asks === this.asks) return
    if (asks) this.fold.open = true
    this.asks = asks
    this.asking.replaceChildren(...(asks ? [question(item, this.actions)] : []))
  }
}

/** Asks the user what a turn waits for. */
function question(item, actions) {
  const send = async (payload) => {
    if (await actions.signal(item.signal, payload)) item.answered = true
  }
  return questionFor({ title: `${item.name} waits for your answer`, asks: item.asks, send })
}

export function questionFor({ title, asks, send }) {
  const box = el('form', { class: 'question', 'aria-label': title })
  const busy = (work) => async (event) => {
    event.preventDefault()
    for (const one of box.elements) one.disabled = true
    try {
      await work()
    } finally {
      for (const one of box.elements) one.disabled = false
    }
  }
  const label = asks === 'approval' ? 'Why not? (optional)' : 'Answer: text, or JSON'
  const field = el('input', { autocomplete: 'off', 'aria-label': label, placeholder: label })
  const answers = asks === 'approval'
    ? [field, button({ text: 'Deny', kind: 'danger', click: busy(() => send({ ok: false, ...(field.value ? { message: field.value } : {}) })) }),
      button({ text: 'Approve', kind: 'primary', picture: 'check', click: busy(() => send({ ok: true })) })]
    : [field, button({ text: 'Send', kind: 'primary', click: busy(() => send(value(field.value))) })]
  box.addEventListener('submit', busy(() => (asks === 'approval' ? null : send(value(field.value)))))
  box.append(el('strong', {}, title), el('div', { class: 'row' }, ...answers))
  return box
}

function value(text) {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text
  }
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}

class MarkItem {
  constructor() {
    this.element = el('div', { class: 'mark' })
  }

  update(item) {
    const [picture, text] = REASONS[item.reason] ?? REASONS.other
    const dropped = item.dropped > 1 && item.reason !== 'retry' ? ` · ${item.dropped} events were taken back to the last checkpoint` : ''
    this.element.dataset.reason = item.reason
    this.element.replaceChildren(icon(picture), el('span', {}, text, el('span', { class: 'muted' }, ` · attempt ${item.attempt}${dropped}`)))
  }
}

class NoteItem {
  constructor() {
    this.element = el('p', { class: 'note' })
  }

  update(item) {
    setText(this.element, item.text)
  }
}

class AttachedItem {
  constructor() {
    this.element = el('ul', { class: 'attached' })
  }

  update({ data }) {
    const found = Object.entries(data).flatMap(([kind, values]) => [values].flat().map((one) => attachment(kind, one)))
    this.element.replaceChildren(...found.map((node) => el('li', {}, node)))
  }
}

function attachment(kind, one) {
  const address = one?.url_citation?.url ?? one?.image_url?.url ?? one?.url ?? (typeof one === 'string' ? one : '')
  if (/^data:image\/(png|jpeg|gif|webp);base64,/.test(address)) return el('img', { src: address, alt: 'an image of the answer' })
  const safe = safeAddress(String(address))
  return safe ? link(safe, [one?.url_citation?.title ?? one?.title ?? safe]) : kind
}

const KINDS = { text: TextItem, reasoning: ReasoningItem, tool: ToolItem, mark: MarkItem, note: NoteItem, attached: AttachedItem }

/** Shows a list of items in an element, and keeps what is there already. */
export class Items {
  constructor(element, actions) {
    Object.assign(this, { element, actions, shown: [] })
  }

  update(items, turnIsOpen) {
    items.forEach((item, at) => {
      let view = this.shown[at]
      if (view?.kind !== item.kind) {
        for (const old of this.shown.splice(at)) old.element.remove()
        view = Object.assign(new KINDS[item.kind](this.actions), { kind: item.kind })
        this.shown.push(view)
        this.element.append(view.element)
      }
      if (item.kind !== 'text' || at === items.length - 1 || view.text !== item.text) view.update(item, turnIsOpen)
      view.text = item.text
    })
    for (const old of this.shown.splice(items.length)) old.element.remove()
  }
}
