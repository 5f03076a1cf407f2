// Notices what other devices do in a session: by its feed of events, or by reading the list now and then.
import { follow } from './follow.js'
import { Problem, call, sessionPath } from './http.js'

const POLL_MS = 4000

/** Calls `changed(index)` for each turn that begins, waits or ends, until the signal is aborted. */
export async function watchSession(session, signal, changed, lowestOpen) {
  try {
    await follow({
      path: sessionPath(session, 'events'), endless: true, signal,
      take: (event) => event.data?.turn_index !== undefined && changed(event.data.turn_index),
    })
  } catch (error) {
    if (signal.aborted) return
    if (error instanceof Problem) poll(session, signal, changed, lowestOpen)
  }
}

/** For a server or a session that has no feed. */
function poll(session, signal, changed, lowestOpen) {
  let seen = ''
  const timer = setInterval(async () => {
    if (document.hidden) return
    try {
      const from = lowestOpen()
      const { turns } = await call(`${sessionPath(session, 'turns')}?limit=20${from ? `&after=${from - 1}` : ''}`, { signal })
      const now = JSON.stringify(turns.map((turn) => [turn.turn_index, turn.status, turn.attempt]))
      if (now !== seen && turns.length) changed(turns[0].turn_index)
      seen = now
    } catch (error) {
      if (error.status === 404) seen &&= changed(0) // it was erased; otherwise the next look may succeed
    }
  }, POLL_MS)
  signal.addEventListener('abort', () => clearInterval(timer))
}
