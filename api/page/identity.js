// Who the user is to the API, and what these credentials may do.
import { Problem, callUntilAnswered } from './http.js'

/** Fires `change` when it is known, or known anew. */
export const identity = Object.assign(new EventTarget(), {
  info: null,

  /** Whether the credentials have a scope. A server that does not tell is asked, and refuses. */
  may(scope) {
    const scopes = this.info?.scopes
    return !scopes || scopes.includes(scope) || (scope === 'read' && scopes.includes('turns'))
  },

  mayKill() {
    return Boolean(this.info?.features?.development) && this.may('admin')
  },

  async load() {
    try {
      this.info = await callUntilAnswered('v1/info')
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.info = {}
    }
    this.dispatchEvent(new Event('change'))
  },
})
