// What an operator sees: the workers and the queue as they are now, all turns, and everything about one of them.
import { ask, el, say } from './dom.js'
import { Problem, call } from './http.js'
import { identity } from './identity.js'
import { Overview } from './overview.js'
import { problemNode } from './requests.js'
import { Story } from './story.js'
import { TurnList } from './turnlist.js'

const TABS = [['', 'Now'], ['turns', 'Turns']]

/** Returns the view. `open(path)` shows the part that the address names, `close()` stops reading. */
export function operations(root) {
  const style = el('link', { rel: 'stylesheet', href: new URL('operations.css', import.meta.url).href })
  document.head.append(style)
  const tabs = el('nav', { class: 'tabs', 'aria-label': 'Operations' }, ...TABS.map(([path, name]) => el('a', { href: `#/operations${path && '/'}${path}` }, name)))
  const problem = el('div', {})
  const body = el('div', { class: 'ops-body' })
  root.replaceChildren(el('div', { class: 'ops' }, el('div', { class: 'ops-head' }, el('h1', {}, 'Operations'), tabs), problem, body))
  let timer = null
  let view = null
  let life = null
  let shown = null

  const deeds = new Deeds((error, again) => showProblem(error, again), () => tick())

  function showProblem(error, again = null) {
    const key = error && `${error.code} ${error.message}`
    if (key === shown) return
    shown = key
    problem.replaceChildren(...(error ? [problemNode({ error, again }, () => showProblem(null))] : []))
  }

  async function tick() {
    clearTimeout(timer)
    const { signal } = life
    let next = view.everyMs
    if (!document.hidden) {
      try {
        await view.read(signal)
        if (shown && !deeds.failed) showProblem(null)
      } catch (error) {
        if (signal.aborted) return
        deeds.failed = false
        showProblem(error)
        next = error instanceof Problem && error.status < 500 && error.status !== 429 ? 0 : 5000
      }
    }
    if (next && !signal.aborted) timer = setTimeout(tick, next)
  }

  document.addEventListener('visibilitychange', () => { if (view && !document.hidden) tick() })

  return {
    open(path) {
      this.close()
      life = new AbortController()
      const [name, runId] = path.split('/')
      for (const tab of tabs.children) {
        if (tab.hash === `#/operations${name && '/'}${name}`) tab.setAttribute('aria-current', 'page')
        else tab.removeAttribute('aria-current')
      }
      view = name !== 'turns' ? new Overview(deeds) : runId ? new Story(decodeURIComponent(runId), deeds) : new TurnList(() => tick())
      body.replaceChildren(view.element)
      showProblem(null)
      tick()
    },

    close() {
      clearTimeout(timer)
      life?.abort()
      view = null
    },
  }
}

/** What an operator can do. Each asks first, and says what came of it. */
class Deeds {
  constructor(showProblem, done) {
    Object.assign(this, { showProblem, done, failed: false })
  }

  async #post(path, said, body) {
    try {
      await call(path, { method: 'POST', body })
      this.failed = false
      say(said)
    } catch (error) {
      this.failed = true
      this.showProblem(error)
    }
    this.done()
  }

  async drain(worker) {
    const text = `${worker} takes no more turns. It lets those that it runs finish for a while, hands the rest over and ends.`
    if (await ask({ title: 'Drain this worker?', text, yes: 'Drain' })) await this.#post(`v1/admin/workers/${encodeURIComponent(worker)}/drain`, 'The worker drains.')
  }

  kill(worker) {
    return this.#post(`v1/admin/workers/${encodeURIComponent(worker)}/kill`, 'The worker was killed.')
  }

  mayKill() {
    return identity.mayKill()
  }

  async pause(kind, name) {
    const text = `Turns of the ${kind} ${name} are taken in, but none starts until it is resumed. Those that run go on.`
    if (await ask({ title: `Pause the ${kind} ${name}?`, text, yes: 'Pause', danger: true })) await this.#post(`v1/admin/${kind}s/${encodeURIComponent(name)}/pause`, 'It is paused.')
  }

  async resume(kind, name) {
    const text = `Turns of the ${kind} ${name} start again.`
    if (await ask({ title: `Resume the ${kind} ${name}?`, text, yes: 'Resume' })) await this.#post(`v1/admin/${kind}s/${encodeURIComponent(name)}/resume`, 'It is resumed.')
  }

  async requeue(runId) {
    const text = 'A new job for this turn is put into the queue. A worker that runs it goes on: only one can hold the lease.'
    if (await ask({ title: 'Requeue this turn?', text, yes: 'Requeue' })) await this.#post(`v1/admin/turns/${encodeURIComponent(runId)}/requeue`, 'The turn is in the queue again.')
  }

  async cancel(runId) {
    const field = { label: 'Reason, which the tenant sees (optional)' }
    const reason = await ask({ title: 'Cancel this turn?', text: 'Its worker stops, and its stream ends.', yes: 'Cancel the turn', no: 'Back', danger: true, field })
    if (reason !== null) await this.#post(`v1/admin/turns/${encodeURIComponent(runId)}/cancel`, 'The turn is cancelled.', reason ? { reason } : {})
  }
}
