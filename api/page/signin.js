// Asks for an API key or a token, and keeps it for this tab.
import { el } from './dom.js'
import { credentials } from './http.js'

/** Shows the dialog. Resolves when there are credentials; `problem`: why they are asked for. */
export function signIn(problem = null) {
  return new Promise((resolve) => {
    const hasKey = Boolean(credentials.get())
    const input = el('input', { id: 'key', type: 'password', autocomplete: 'off', required: true, spellcheck: 'false' })
    const why = !problem ? null : hasKey ? 'The server does not take these credentials any longer: they have expired or were withdrawn.' : 'This server asks for credentials.'
    const dialog = el('dialog', { class: 'dialog', 'aria-labelledby': 'key-title' }, el('form', { method: 'dialog' },
      el('h2', { id: 'key-title' }, 'Sign in'),
      why ? el('p', { role: 'alert' }, why) : null,
      el('label', { for: 'key' }, 'API key or token'), input,
      el('p', { class: 'muted' }, 'It is kept in this tab only (sessionStorage) until the tab is closed, and sent only to this server, in the header Authorization.'),
      el('div', { class: 'row end' },
        hasKey ? el('button', { class: 'button', type: 'button', click: () => { credentials.set(''); location.reload() } }, 'Sign out') : null,
        problem ? null : el('button', { class: 'button', type: 'button', click: () => dialog.close() }, 'Cancel'),
        el('button', { class: 'button primary' }, 'Sign in'))))
    if (problem) dialog.addEventListener('cancel', (event) => event.preventDefault())
    dialog.querySelector('form').addEventListener('submit', () => credentials.set(input.value.trim()))
    dialog.addEventListener('close', () => {
      dialog.remove()
      resolve()
    })
    document.body.append(dialog)
    dialog.showModal()
    input.focus()
  })
}
