// What the user asks of a session: new turns, other answers, stops, decisions.
import { ask as askInDialog, button, el, say } from './dom.js'
import { follow } from './follow.js'
import { Pause, call, mayPass, randomId, send, sessionPath } from './http.js'
import { identity } from './identity.js'
import { sessions } from './sessions.js'
import { textOf } from './tree.js'

export class Requests {
  constructor(chat) {
    this.chat = chat
    this.begin()
  }

  /** Forgets what was asked in another session. */
  begin() {
    this.asking = Promise.resolve()
  }

  /** Asks a new turn: beside that of the card, or at the end of the branch. Resolves to true once the server has taken it. */
  async ask(card, message, options = {}) {
    const { life } = this.chat
    const pending = el('li', { class: 'pending message' }, el('div', { class: 'bubble' }, textOf(message)), el('p', { class: 'working' }, 'Sending …'))
    this.chat.pending.push(pending)
    this.chat.list.append(pending)
    this.chat.stick()
    const before = this.asking // the turn before it must have its index, because this one follows it
    this.asking = before.then(() => !life.signal.aborted && this.#post(card, message, options))
    try {
      return await this.asking
    } finally {
      this.chat.pending = this.chat.pending.filter((one) => one !== pending)
      pending.remove()
    }
  }

  async #post(card, message, { model, project }) {
    const { life, session } = this.chat
    const parent = card ? card.place.parent : this.chat.branch.at(-1)?.turn.turn_index ?? -1
    const body = { message, parent, model: model || card?.record.model || null, project: project || card?.record.project || null }
    const key = randomId()
    const pause = new Pause()
    for (;;) {
      try {
        const isBusy = this.chat.followed.size >= this.chat.mostFollowed
        const request = { method: 'POST', body, headers: { 'Idempotency-Key': key, Accept: isBusy ? 'application/json' : 'application/x-ndjson' } }
        const response = await send(`${sessionPath(session, 'turns')}?keepalive=15`, { ...request, signal: life.signal })
        const index = Number(/turns\/(\d+)$/.exec(response.headers.get('content-location') ?? response.headers.get('location'))[1])
        sessions.note(session, typeof message === 'string' ? message : null)
        sessions.choose(session, parent, index)
        this.#begin(index, body, isBusy ? null : response)
        return true
      } catch (error) {
        if (life.signal.aborted) return false
        if (!mayPass(error) || error.status === 429) return this.#refused(error, () => this.ask(card, message, { model, project }))
        await pause.wait(life.signal, error.retryAfterS) // the same key makes it safe to send it again
      }
    }
  }

  #begin(index, body, response) {
    const now = Date.now()
    const record = { turn_index: index, session_id: this.chat.session, status: 'queued', attempt: 0, created_at: now, ...body }
    if (!this.chat.turns.has(index)) this.chat.turns.set(index, record)
    this.chat.sticks = true
    if (response && this.chat.followed.has(index)) { // the feed of the session was faster than this answer
      response.body.cancel()
      return this.chat.render()
    }
    if (response) this.chat.followed.set(index, true) // before the render would follow it by another request
    this.chat.render()
    if (response) this.chat.follow(this.chat.cards.get(index), response)
    else this.chat.later(index)
  }

  /** Asks a turn again that failed or was stopped: it goes on from its last checkpoint. */
  async retry(card) {
    const { record } = card
    const names = ['message', 'parent', 'project', 'domain', 'model', 'user', 'options', 'metadata']
    const body = Object.fromEntries(names.map((name) => [name, record[name] ?? null]))
    const path = sessionPath(this.chat.session, 'turns', card.index)
    const post = () => send(path, { method: 'POST', body })
    try {
      await post().catch((error) => {
        if (error.code !== 'input_mismatch') throw error
        body.parent = null // it was asked without one
        return post()
      })
      this.chat.broken.delete(card.index)
      this.chat.turns.set(card.index, { ...record, status: 'queued' })
      this.chat.render()
    } catch (error) {
      this.#refused(error, () => this.retry(card))
    }
  }

  async stop(card) {
    try {
      await call(sessionPath(this.chat.session, 'turns', card.index, 'cancel'), { method: 'POST', body: { reason: 'stopped on the page' } })
      this.chat.later(card.index)
    } catch (error) {
      this.#refused(error, () => this.stop(card))
    }
  }

  async signal(card, key, payload) {
    try {
      await call(sessionPath(this.chat.session, 'turns', card.index, 'signals', key), { method: 'POST', body: { payload } })
      say('Sent')
      return true
    } catch (error) {
      return this.#refused(error, null)
    }
  }

  choose(card, index) {
    sessions.choose(this.chat.session, card.place.parent, index)
    this.chat.render()
    this.chat.cards.get(index)?.element.scrollIntoView({ block: 'nearest' })
    say(`Version ${index + 1} is shown.`)
  }

  /** Reads the log of a turn that has ended, to show its reasoning, its tools and its attempts. */
  async details(card) {
    const events = []
    try {
      await follow({ path: sessionPath(this.chat.session, 'turns', card.index, 'events'), signal: this.chat.life.signal, take: (event) => events.push(event) })
      for (const event of events) card.log.take(event)
      card.render()
    } catch (error) {
      this.#refused(error, () => this.details(card))
    }
  }

  mayWrite() {
    return identity.may('turns')
  }

  extra(card, open) {
    return open && identity.mayKill() ? [button({ text: 'Kill its worker', picture: 'bolt', kind: 'small danger', click: () => this.kill(card) })] : []
  }

  async kill(card) {
    try {
      const { workers } = await call('v1/admin/workers')
      const worker = workers.find((one) => one.turns.some((turn) => turn.session_id === this.chat.session && turn.turn_index === card.index))
      if (!worker) say('No worker has this turn now.')
      else await call(`v1/admin/workers/${encodeURIComponent(worker.id)}/kill`, { method: 'POST' })
    } catch (error) {
      this.#refused(error, null)
    }
  }

  /** Erases the session on the server, for everybody. */
  async erase() {
    const { session } = this.chat
    const text = 'Everything of this session is erased on the server, for everybody. Running answers stop.'
    if (!(await askInDialog({ title: 'Erase this session?', text, yes: 'Erase', danger: true }))) return false
    try {
      await call(sessionPath(session), { method: 'DELETE' })
    } catch (error) {
      if (error.status !== 404) return this.#refused(error, null)
    }
    sessions.forget(session)
    return true
  }

  /** Shows why a request was refused. Returns false. */
  #refused(error, again) {
    this.chat.showProblem(error, again)
    return false
  }
}

/** Shows why a request was refused, with a button that sends it again. */
export function problemNode({ error, again }, dismiss) {
  const text = error instanceof TypeError ? 'The server cannot be reached.' : error.message
  return el('div', { class: 'problem', role: 'alert' },
    el('div', {}, el('code', {}, error.code ?? error.name), ' ', text),
    el('div', { class: 'row' },
      again && (!error.code || error.retryable) ? button({ text: 'Try again', picture: 'again', click: () => { dismiss(); again() } }) : null,
      button({ text: 'Dismiss', kind: 'quiet', click: dismiss })))
}
