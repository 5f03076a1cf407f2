// Follows a stream of events over as many connections as it takes.
import { Pause, Problem, heard, mayPass, send } from './http.js'

const SILENCE_MS = 40_000 // the server sends an empty line after 15 s of silence, so this connection is dead

/** Yields the events of one response. A line that was cut off is dropped: it comes again. */
async function* eventsOf(response, signal, onBytes) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  const stop = () => reader.cancel().catch(() => {})
  signal.addEventListener('abort', stop) // a response that was opened elsewhere has another signal
  try {
    for (let rest = ''; ;) {
      const { value, done } = await reader.read()
      if (done) return
      onBytes()
      const lines = (rest + value).split('\n')
      rest = lines.pop()
      for (const line of lines) if (line) yield JSON.parse(line)
    }
  } finally {
    signal.removeEventListener('abort', stop)
    stop()
  }
}

export function isTerminal(event) {
  return event.type === 'session.run.completed' || event.type === 'session.run.failed'
}

/**
 * Calls `take` with each event until the stream has ended.
 *
 * `path`: of the events. `first`: a response that has begun already, such as that of a POST. `begin` is
 * called when the stream begins anew, because its log has changed.
 */
export async function follow({ path, take, signal, after = '', first = null, begin = () => {} }) {
  const pause = new Pause()
  for (let ended = false; !ended;) {
    const connection = new AbortController()
    const stop = () => connection.abort(signal.reason)
    signal.addEventListener('abort', stop)
    let watchdog
    const onBytes = () => {
      clearTimeout(watchdog)
      watchdog = setTimeout(() => connection.abort(new TypeError('the connection is silent')), SILENCE_MS)
    }
    try {
      signal.throwIfAborted()
      onBytes()
      const query = `?keepalive=15${after ? `&after=${after}` : ''}`
      const response = first ?? await send(path + query, { headers: { Accept: 'application/x-ndjson' }, signal: connection.signal })
      first = null
      for await (const event of eventsOf(response, connection.signal, onBytes)) {
        pause.reset()
        if (event.id) after = event.id
        if (event.type === 'session.stream.ended') break
        try {
          take(event)
        } catch (error) {
          reportError(error) // a defect of the page, not of the connection
        }
        if (isTerminal(event)) { ended = true; break }
      }
    } catch (error) {
      signal.throwIfAborted()
      const lost = error instanceof TypeError || error?.name === 'AbortError'
      if (error instanceof Problem && error.code === 'cursor_gone') {
        after = ''
        begin()
      } else if (!lost && !mayPass(error)) throw error
      if (lost) heard(false)
      await pause.wait(signal, error.retryAfterS)
      continue
    } finally {
      clearTimeout(watchdog)
      signal.removeEventListener('abort', stop)
    }
    if (!ended) await pause.wait(signal)
  }
}
