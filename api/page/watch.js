// Notices what other devices do in a session. A hidden tab follows nothing: its connection is one of six to the server.
import { follow } from './follow.js'
import { sessionPath } from './http.js'

const AGAIN_MS = 5000

/** Calls `changed` with what the feed tells of a turn, or with null once the session is erased, until the signal is aborted. */
export function watchSession(session, signal, changed) {
  let after = ''
  let life = new AbortController()
  let timer
  async function begin() {
    life.abort()
    clearTimeout(timer)
    if (document.hidden || signal.aborted) return
    const { signal: own } = life = new AbortController()
    try {
      await follow({
        path: sessionPath(session, 'events'), after, signal: own,
        take: ({ id, data }) => { after = id; changed(data) },
      })
    } catch (error) {
      if (own.aborted) return
      if (error.status === 404 && after) changed(null)
      after = ''
      timer = setTimeout(begin, AGAIN_MS)
    }
  }
  document.addEventListener('visibilitychange', begin, { signal })
  signal.addEventListener('abort', begin)
  begin()
}
