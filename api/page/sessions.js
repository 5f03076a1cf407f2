// Which sessions this browser knows, and which branch of each it shows. The API lists no sessions.
import { ROOT } from './http.js'

const PREFIX = `turnwire:${ROOT.pathname}:`
const MOST = 100

function read(name, fallback) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? fallback
  } catch {
    return fallback
  }
}

function write(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value))
  } catch {
    // a full or a forbidden storage: then nothing is remembered
  }
}

export const sessions = {
  /** Returns `{id, title, at}` of each, the latest first. */
  all: () => read('sessions', []),

  /** Puts a session first. */
  note(id, title) {
    const known = sessions.all().find((one) => one.id === id)
    const entry = { id, title: known?.title ?? title?.slice(0, 80) ?? id, at: Date.now() }
    write('sessions', [entry, ...sessions.all().filter((one) => one.id !== id)].slice(0, MOST))
  },

  forget(id) {
    write('sessions', sessions.all().filter((one) => one.id !== id))
    localStorage.removeItem(`${PREFIX}choice:${id}`)
  },

  choice: (id) => read(`choice:${id}`, {}),

  choose(id, parent, index) {
    write(`choice:${id}`, { ...sessions.choice(id), [parent]: index })
  },

  draft: (id) => read(`draft:${id}`, ''),
  keepDraft: (id, text) => (text ? write(`draft:${id}`, text) : localStorage.removeItem(`${PREFIX}draft:${id}`)),
}
