// One session at a time: its branch of turns, and the streams of those that run.
import { follow } from './follow.js'
import { Problem, callUntilAnswered, connection, sessionPath } from './http.js'
import { Requests } from './requests.js'
import { sessions } from './sessions.js'
import { branch } from './tree.js'
import { TurnCard, frames, isOpen } from './turn.js'
import { watchSession } from './watch.js'

const MOST_FOLLOWED = 3 // a browser opens six connections to an HTTP/1.1 server, and other tabs need some, too
const PAGE = 100
const MOST_TURNS = 2000
const NEAR_PX = 80

export class Chat {
  /** `list`: the element of the turns. `scroller`: the one that scrolls. `changed()` is called when something has. */
  constructor({ list, scroller, changed }) {
    Object.assign(this, { list, scroller, changed, session: null, turns: new Map(), cards: new Map(), followed: new Map(), broken: new Set() })
    Object.assign(this, { pending: [], mostFollowed: MOST_FOLLOWED, requests: new Requests(this) })
    frames.after = () => this.stick()
    scroller.addEventListener('scroll', () => {
      this.sticks = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_PX
      this.changed()
    }, { passive: true })
    this.sticks = true
    setInterval(() => this.#tick(), 1000)
    connection.addEventListener('change', () => connection.online && this.session && this.later())
  }

  /** Shows a session. Its turns are read, and those that run are followed from where their logs are. */
  async open(session) {
    this.close()
    this.session = session
    this.life = new AbortController()
    this.sticks = true
    const { signal } = this.life
    this.list.setAttribute('aria-busy', 'true')
    this.changed()
    try {
      await this.refresh(0)
      watchSession(session, signal, (told) => this.#told(told))
    } catch (error) {
      if (signal.aborted) return
      this.showProblem(error)
    } finally {
      if (!signal.aborted) {
        this.list.removeAttribute('aria-busy')
        this.changed()
      }
    }
  }

  close() {
    this.life?.abort()
    clearTimeout(this.timer)
    this.timer = null
    for (const one of [this.turns, this.cards, this.followed, this.broken]) one.clear()
    this.pending = []
    this.requests.begin()
    this.list.replaceChildren()
    this.session = null
  }

  /** Reads the records of the turns from this index on. */
  async refresh(from) {
    const { signal } = this.life
    let after = from ? from - 1 : null
    const gone = new Set([...this.turns.keys()].filter((index) => index >= from && !this.followed.has(index)))
    do {
      const query = `?limit=${PAGE}${after === null ? '' : `&after=${after}`}`
      const page = await this.#page(query, signal)
      for (const record of page.turns) {
        this.turns.set(record.turn_index, record)
        gone.delete(record.turn_index)
      }
      after = page.next
    } while (after !== null && this.turns.size < MOST_TURNS)
    if (after === null) for (const index of gone) this.turns.delete(index)
    this.render()
  }

  async #page(query, signal) {
    try {
      return await callUntilAnswered(sessionPath(this.session, 'turns') + query, { signal })
    } catch (error) {
      if (error instanceof Problem && error.status === 404) return { turns: [], next: null } // it begins with its first turn
      throw error
    }
  }

  /** Reads the turns again that may have changed, soon and once. */
  later(index = this.#lowestOpen()) {
    this.from = Math.min(this.from ?? Infinity, index)
    this.timer ??= setTimeout(async () => {
      this.timer = null
      const from = this.from
      this.from = null
      try {
        await this.refresh(Math.max(0, from))
      } catch (error) {
        if (!this.life.signal.aborted) this.showProblem(error)
      }
    }, 150)
  }

  /** Reads a turn of which the feed tells something new. The stream of a followed turn says more than the feed. */
  #told(turn) {
    const known = this.turns.get(turn?.turnIndex)
    if (!turn) this.later(0) // it was erased
    else if (!this.followed.has(turn.turnIndex) && (known?.status !== turn.status || known.attempt !== turn.attempt)) {
      this.later(Math.min(turn.turnIndex, this.#lowestOpen()))
    }
  }

  #lowestOpen() {
    const open = [...this.turns.values()].filter((turn) => isOpen(turn.status)).map((turn) => turn.turn_index)
    return Math.min(...open, Math.max(-1, ...this.turns.keys()) + 1)
  }

  get records() {
    return [...this.turns.values()].sort((one, other) => one.turn_index - other.turn_index)
  }

  get branch() {
    return branch(this.records, sessions.choice(this.session))
  }

  render() {
    const shown = this.branch
    const elements = shown.map(({ turn, ...place }) => {
      let card = this.cards.get(turn.turn_index)
      if (!card) {
        card = new TurnCard(turn, this.requests)
        this.cards.set(turn.turn_index, card)
      }
      card.set(turn, place)
      return card.element
    })
    elements.push(...this.pending)
    if (elements.length !== this.list.children.length || elements.some((one, at) => one !== this.list.children[at])) {
      this.list.replaceChildren(...elements)
    }
    this.#followOpen(shown.map(({ turn }) => turn))
    this.stick()
    this.changed()
  }

  #followOpen(turns) {
    const isBehind = (turn, { log }) => log.events.length > 0 && turn.attempt > log.attempt // somebody asked it again
    for (const turn of turns) {
      if (!isOpen(turn.status) && !isBehind(turn, this.cards.get(turn.turn_index))) continue
      if (this.followed.size >= MOST_FOLLOWED) return
      if (!this.followed.has(turn.turn_index) && !this.broken.has(turn.turn_index)) this.follow(this.cards.get(turn.turn_index))
    }
  }

  /** Follows a turn until it has ended. `first`: a response that streams it already. */
  async follow(card, first = null) {
    const { life, session } = this
    const { index } = card
    this.followed.set(index, true)
    card.heardAt = performance.now()
    try {
      await follow({
        path: sessionPath(session, 'turns', index, 'events'),
        after: first ? '' : card.log.events.findLast((event) => event.id)?.id ?? '',
        first, signal: life.signal, take: (event) => card.take(event), begin: () => card.log.begin(),
      })
    } catch (error) {
      if (life.signal.aborted) return
      if (!(error instanceof Problem && error.status === 404)) this.showProblem(error)
      this.broken.add(index) // it would be refused again
    } finally {
      if (life === this.life) this.followed.delete(index)
    }
    if (!life.signal.aborted) this.later(index)
  }

  /** Shows why something did not work; `again` is the function that tries it once more. */
  showProblem(error, again = null) {
    this.problem = { error, again }
    this.changed()
  }

  stick() {
    if (this.sticks) this.scroller.scrollTop = this.scroller.scrollHeight
  }

  /** Once a second: a turn from which nothing comes says so. */
  #tick() {
    for (const index of this.followed.keys()) {
      const card = this.cards.get(index)
      if (card?.state === 'running') frames.request(card)
    }
  }
}
