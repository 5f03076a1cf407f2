// Where the user writes.
import { button, el, icon } from './dom.js'
import { Problem, call } from './http.js'
import { sessions } from './sessions.js'

const MOST_HEIGHT_PX = 220

export class Composer {
  /** `send(text, {model, project})` resolves to true when the message was taken. */
  constructor({ form, send, stop }) {
    Object.assign(this, { form, send, stop, session: null })
    this.field = el('textarea', { id: 'message', rows: 1, placeholder: 'Write a message', 'aria-label': 'Message', enterkeyhint: 'send' })
    this.model = el('select', { id: 'model', 'aria-label': 'Model' })
    this.project = el('input', { id: 'project', 'aria-label': 'Project', placeholder: 'Project', autocomplete: 'off', spellcheck: 'false', maxlength: 64 })
    this.options = el('div', { class: 'row options', hidden: true }, this.model, this.project)
    this.toggle = button({ label: 'Options', picture: 'sliders', kind: 'quiet', click: () => this.#toggle() })
    this.toggle.setAttribute('aria-expanded', 'false')
    this.submit = el('button', { class: 'button primary round', 'aria-label': 'Send', title: 'Send (Enter)' }, icon('send'))
    this.stopper = button({ label: 'Stop the answer', picture: 'stop', kind: 'round', click: () => stop() })
    this.stopper.hidden = true
    form.append(this.options, el('div', { class: 'row' }, this.toggle, this.field, this.stopper, this.submit))
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      this.#submit()
    })
    this.field.addEventListener('input', () => this.#fit())
    this.field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault()
        form.requestSubmit()
      }
    })
  }

  async loadModels() {
    try {
      const { data } = await call('v1/models')
      this.model.replaceChildren(el('option', { value: '' }, 'Default model'), ...data.map(({ id }) => el('option', { value: id }, id)))
      this.model.hidden = !data.length
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.model.hidden = true
    }
  }

  /** Shows the draft of a session. */
  open(session) {
    this.session = session
    this.field.value = sessions.draft(session)
    this.#fit()
  }

  set(text) {
    this.field.value = text
    this.#fit()
    this.field.focus()
  }

  update({ running, readOnly }) {
    this.stopper.hidden = !running
    this.form.hidden = readOnly
  }

  #toggle() {
    this.options.hidden = !this.options.hidden
    this.toggle.setAttribute('aria-expanded', String(!this.options.hidden))
  }

  #fit() {
    sessions.keepDraft(this.session, this.field.value)
    this.field.style.height = 'auto'
    this.field.style.height = `${Math.min(MOST_HEIGHT_PX, this.field.scrollHeight)}px`
  }

  async #submit() {
    const text = this.field.value.trim()
    if (!text) return
    const { session } = this
    this.set('')
    const taken = await this.send(text, { model: this.model.value, project: this.project.value.trim() })
    if (!taken && this.session === session && !this.field.value) this.set(text)
  }
}
