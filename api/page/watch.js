// Notices what other devices do in a session: it reads the list of turns now and then.
import { call, sessionPath } from './http.js'

const EVERY_MS = 2500

/** Calls `changed(index)` with the first turn that may have changed, until the signal is aborted. */
export function watchSession(session, signal, changed, lowestOpen) {
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
  }, EVERY_MS)
  signal.addEventListener('abort', () => clearInterval(timer))
}
