// Talks to the API: addresses, credentials, problems, and whether the server can be reached.

const STORED = 'turnwire.key'

/** The address below which the API answers; a proxy may have put a path in front of it. */
export const ROOT = new URL('.', document.baseURI)

/** Fires `change` when the server can be reached again, or no longer; `online` says which. */
export const connection = Object.assign(new EventTarget(), { online: true })

/** A refusal of the API, or of something before it. */
export class Problem extends Error {
  constructor(status, document, retryAfterS) {
    super(document.detail || document.title || `the server answered ${status}`)
    Object.assign(this, { status, code: document.code ?? `http_${status}`, retryable: document.retryable ?? status >= 500, retryAfterS })
  }
}

let asked = null // the promise of new credentials, while the user is asked for them
let askUser = () => new Promise(() => {})

/** Names the function that asks the user for credentials, and resolves when there are new ones. */
export function onUnauthenticated(ask) {
  askUser = ask
}

export const credentials = {
  get: () => sessionStorage.getItem(STORED),
  set: (value) => (value ? sessionStorage.setItem(STORED, value) : sessionStorage.removeItem(STORED)),
}

/** Takes the credentials of `#token=…` out of the address, before anything else can read them there. */
export function takeFromAddress() {
  const match = /^#token=([^&]+)/.exec(location.hash)
  if (!match) return
  credentials.set(decodeURIComponent(match[1]))
  history.replaceState(null, '', location.pathname + location.search)
}

export function freshCredentials(problem) {
  asked ??= askUser(problem).finally(() => { asked = null })
  return asked
}

/** Returns the path of a session or of one of its turns. */
export function sessionPath(session, ...rest) {
  return ['v1/sessions', encodeURIComponent(session), ...rest.map((part) => encodeURIComponent(part))].join('/')
}

/**
 * Sends a request and returns the response. Asks the user for new credentials when the server takes the old ones no
 * longer, and then sends it again. Throws Problem when it is refused, TypeError when the server cannot be reached.
 */
export async function send(path, { method = 'GET', body, headers = {}, signal } = {}) {
  for (;;) {
    const key = credentials.get()
    const all = { Accept: 'application/json', ...headers }
    if (key) all.Authorization = `Bearer ${key}`
    if (body !== undefined || method !== 'GET') all['Content-Type'] = 'application/json'
    const text = body === undefined ? (method === 'GET' ? undefined : '{}') : JSON.stringify(body)
    const response = await reach(new URL(path, ROOT), { method, headers: all, body: text, signal, cache: 'no-store', credentials: 'omit' })
    if (response.ok) return response
    const problem = await problemOf(response)
    if (problem.status !== 401) throw problem
    if (credentials.get() === key) await freshCredentials(problem)
  }
}

/** Sends a request and returns the JSON of the answer. */
export async function call(path, options) {
  return (await send(path, options)).json()
}

/** Like `call`, but tries again while the server cannot be reached or says that it may succeed later. */
export async function callUntilAnswered(path, options = {}) {
  const pause = new Pause()
  for (;;) {
    try {
      return await call(path, options)
    } catch (error) {
      if (!mayPass(error)) throw error
      await pause.wait(options.signal, error.retryAfterS)
    }
  }
}

/** Whether the same request may succeed later. */
export function mayPass(error) {
  return error instanceof TypeError || (error instanceof Problem && (error.status >= 500 || error.status === 429))
}

/** The times between tries: they grow from 0.4 s to 15 s, and end at once when the server is there again. */
export class Pause {
  constructor() { this.tries = 0 }
  reset() { this.tries = 0 }

  async wait(signal, atLeastS = 0) {
    const longest = Math.min(15_000, 400 * 2 ** this.tries++)
    const ms = Math.max((atLeastS || 0) * 1000, longest * (0.6 + 0.4 * Math.random()))
    await new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        window.removeEventListener('online', done)
        connection.removeEventListener('change', back)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const back = () => connection.online && done()
      const timer = setTimeout(done, ms)
      window.addEventListener('online', done)
      connection.addEventListener('change', back)
      signal?.addEventListener('abort', done)
    })
    signal?.throwIfAborted()
  }
}

async function reach(url, options) {
  try {
    const response = await fetch(url, options)
    heard(response.status < 502 || response.headers.get('content-type')?.includes('problem+json'))
    return response
  } catch (error) {
    if (error instanceof TypeError) heard(false)
    throw error
  }
}

/** Notes whether the server can be reached. */
export function heard(online) {
  if (connection.online === Boolean(online)) return
  connection.online = Boolean(online)
  connection.dispatchEvent(new Event('change'))
}

async function problemOf(response) {
  const retryAfterS = Number(response.headers.get('retry-after')) || 0
  try {
    return new Problem(response.status, await response.json(), retryAfterS)
  } catch {
    return new Problem(response.status, {}, retryAfterS)
  }
}

/** Returns a random text for an Idempotency-Key or a session id. `crypto.randomUUID` needs a secure context. */
export function randomId(bytes = 12) {
  return [...crypto.getRandomValues(new Uint8Array(bytes))].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}
