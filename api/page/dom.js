// Makes elements. Nothing on this page is ever parsed as HTML: every text becomes a text node.

/** Returns an element. An attribute that is a function is a listener; one that is null or false is left out. */
export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children)
}

/** Returns an element of SVG. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children)
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === 'function') element.addEventListener(name, value)
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value)
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false))
  return element
}

const PATHS = {
  send: 'M12 19V5M5 12l7-7 7 7',
  stop: 'M7 7h10v10H7z',
  copy: 'M9 9h10v11H9zM5 15V4h10',
  check: 'M5 13l4 4L19 7',
  again: 'M4 12a8 8 0 0 1 14-5l2 2M20 4v5h-5M20 12a8 8 0 0 1-14 5l-2-2M4 20v-5h5',
  edit: 'M4 20h4L19 9l-4-4L4 16zM13 7l4 4',
  left: 'M15 6l-6 6 6 6',
  right: 'M9 6l6 6-6 6',
  trash: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13',
  bolt: 'M13 3L5 14h6l-1 7 8-11h-6z',
  play: 'M8 5l11 7-11 7z',
  tool: 'M14 6a4 4 0 0 1 5 5l-8 8-4-4 8-8zM5 19l2-2',
  sliders: 'M4 8h9M17 8h3M4 16h3M11 16h9M15 6v4M9 14v4',
  down: 'M12 5v14M5 12l7 7 7-7',
}

/** Returns a small picture that says nothing to a screen reader. */
export function icon(name) {
  return svg('svg', { class: 'icon', viewBox: '0 0 24 24', 'aria-hidden': 'true', focusable: 'false' }, svg('path', { d: PATHS[name] }))
}

/** Returns a button. With `label` and no text, the label is its name and its tooltip. */
export function button({ text, label, picture, kind = '', click, disabled = false }) {
  const attributes = { type: 'button', class: `button ${kind}`, click, disabled, 'aria-label': label, title: label }
  return el('button', attributes, picture ? icon(picture) : null, text ? el('span', {}, text) : null)
}

/** Copies a text. Without a secure context there is no clipboard API; then the text is selected and copied. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text)
  const area = el('textarea', { class: 'off-screen', 'aria-hidden': 'true' })
  area.value = text
  document.body.append(area)
  area.select()
  document.execCommand('copy')
  area.remove()
}

/** Returns a button that copies what `text()` returns, and says so for a moment. */
export function copyButton(text, label = 'Copy') {
  const made = button({ label, picture: 'copy', kind: 'quiet small' })
  made.addEventListener('click', async () => {
    await copy(text())
    made.replaceChildren(icon('check'))
    say('Copied')
    setTimeout(() => made.replaceChildren(icon('copy')), 1500)
  })
  return made
}

/** Has a screen reader say something, when it has finished what it is saying. */
export function say(text) {
  const live = document.querySelector('#live')
  live.textContent = ''
  requestAnimationFrame(() => { live.textContent = text })
}

/** Asks a question in a dialog. Resolves to the text of the field, true without one, or null if it was refused. */
export function ask({ title, text, yes = 'OK', field = null, danger = false, no = 'Cancel' }) {
  return new Promise((resolve) => {
    const input = field && el('input', { id: 'asked', autocomplete: 'off' })
    const dialog = el('dialog', { class: 'dialog', 'aria-labelledby': 'asked-title' },
      el('form', { method: 'dialog' },
        el('h2', { id: 'asked-title' }, title),
        text ? el('p', {}, text) : null,
        input ? el('label', { for: 'asked' }, field.label) : null, input,
        el('div', { class: 'row end' },
          el('button', { value: 'no', class: 'button', type: 'button', click: () => dialog.close('no') }, no),
          el('button', { value: 'yes', class: `button ${danger ? 'danger' : 'primary'}` }, yes))))
    dialog.addEventListener('close', () => {
      resolve(dialog.returnValue === 'yes' ? (input ? input.value : true) : null)
      dialog.remove()
    })
    document.body.append(dialog)
    dialog.showModal()
  })
}

const SECOND = 1000

/** Returns a span of time as people write it: `340 ms`, `2.4 s`, `3 min 5 s`, `2 h 10 min`, `4 d`. */
export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return '–'
  if (ms < SECOND) return `${Math.max(0, Math.round(ms))} ms`
  if (ms < 60 * SECOND) return `${(ms / SECOND).toFixed(ms < 10 * SECOND ? 1 : 0)} s`
  const minutes = Math.floor(ms / 60_000)
  if (minutes < 60) return `${minutes} min ${Math.floor(ms / SECOND) % 60} s`
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
  return `${Math.floor(minutes / 1440)} d`
}

/** Returns an amount of money from its billionths. */
export function money(nanos, currency) {
  if (nanos === null || nanos === undefined) return null
  const amount = nanos / 1e9
  return `${amount.toFixed(amount && amount < 0.01 ? 6 : 4)} ${currency ?? ''}`.trim()
}

/** A table that scrolls by itself. `body`: its tbody. */
export function table(label, head, body) {
  return el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label }, el('table', { class: 'list' },
    el('thead', {}, el('tr', {}, ...head.map((name) => el('th', { scope: 'col' }, name)))), body))
}

export function rowsOf(rows) {
  return el('tbody', {}, ...rows.map((cells) => el('tr', {}, ...cells.map((cell) => el('td', {}, cell)))))
}
