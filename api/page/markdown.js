// Shows Markdown as nodes. Only the last block of a text that grows is made anew.
import { copyButton, el } from './dom.js'
import { highlight } from './highlight.js'
import { inline } from './inline.js'

const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^`\n]*)$/
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]|$)/
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/
const QUOTE = /^ {0,3}> ?/
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:[ \t]+|$)/
const ROW_MARKS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/
const DEPTH = 8
const LONG_LINE = 1000 // a longer line is text, so that no pattern takes long

/** Yields the blocks of a text from an offset on: `{type, start, end, …}`. The last one may still grow. */
export function* blocks(text, offset = 0) {
  const reader = new Lines(text, offset)
  while (reader.more) {
    if (!reader.line.trim()) reader.next()
    else yield block(reader)
  }
}

/** Reads a text line by line. */
class Lines {
  constructor(text, at) {
    this.text = text
    this.at = at
    this.#cut()
  }

  #cut() {
    const end = this.text.indexOf('\n', this.at)
    this.after = end < 0 ? this.text.length : end + 1
    this.line = this.text.slice(this.at, end < 0 ? this.text.length : end)
    this.more = this.at < this.text.length
  }

  next() {
    this.at = this.after
    this.#cut()
  }

  peek() {
    const end = this.text.indexOf('\n', this.after)
    return this.text.slice(this.after, end < 0 ? this.text.length : end)
  }
}

/** Matches a line that may begin a block of its own. */
function match(pattern, line) {
  return line.length > LONG_LINE ? null : pattern.exec(line)
}

function begins(line) {
  return match(FENCE, line) || match(HEADING, line) || match(RULE, line) || QUOTE.test(line) || ITEM.test(line)
}

function block(reader) {
  const { line, at: start } = reader
  const fence = match(FENCE, line)
  if (fence) return codeBlock(reader, fence)
  const heading = match(HEADING, line)
  if (heading) {
    reader.next()
    return { type: 'heading', level: heading[1].length, text: line.slice(heading[0].length).trim().replace(/(^|[ \t])#+$/, ''), start, end: reader.at }
  }
  if (match(RULE, line)) {
    reader.next()
    return { type: 'rule', start, end: reader.at }
  }
  if (QUOTE.test(line)) return quote(reader)
  if (ITEM.test(line)) return list(reader)
  if (line.includes('|') && match(ROW_MARKS, reader.peek()) && reader.peek().includes('-')) return table(reader)
  const lines = []
  do {
    lines.push(reader.line.replace(/^[ \t]+/, ''))
    reader.next()
  } while (reader.more && reader.line.trim() && !begins(reader.line))
  return { type: 'paragraph', text: lines.join('\n'), start, end: reader.at }
}

function codeBlock(reader, [, indent, mark, language]) {
  const start = reader.at
  const close = new RegExp(`^ {0,3}${mark[0] === '`' ? '`' : '~'}{${mark.length},}[ \\t]*$`)
  reader.next()
  const from = reader.at
  while (reader.more && !close.test(reader.line)) reader.next()
  const body = reader.text.slice(from, reader.at).replace(/\n$/, '')
  const isClosed = reader.more
  if (isClosed) reader.next()
  const text = indent ? body.replace(new RegExp(`^ {0,${indent.length}}`, 'gm'), '') : body
  return { type: 'code', language: language.trim().split(/\s/)[0], text, isClosed, start, end: reader.at }
}

function quote(reader) {
  const start = reader.at
  const lines = []
  while (reader.more && QUOTE.test(reader.line)) {
    lines.push(reader.line.replace(QUOTE, ''))
    reader.next()
  }
  return { type: 'quote', text: lines.join('\n'), start, end: reader.at }
}

function list(reader) {
  const start = reader.at
  const [, , first] = ITEM.exec(reader.line)
  const isOrdered = /\d/.test(first)
  const items = []
  let width = 0
  let isLoose = false
  let hadBlank = false
  while (reader.more) {
    const { line } = reader
    const item = ITEM.exec(line)
    const indent = /^ */.exec(line)[0].length
    if (!line.trim()) hadBlank = true
    else if (item && (indent < width || !items.length) && !match(RULE, line)) {
      if (/\d/.test(item[2]) !== isOrdered) break
      isLoose ||= hadBlank && items.length > 0
      width = Math.min(item[0].length, item[1].length + item[2].length + 4) || 2
      items.push([line.slice(item[0].length)])
      hadBlank = false
    } else if (indent >= Math.min(width, 2)) {
      if (hadBlank) items.at(-1).push('')
      items.at(-1).push(line.slice(Math.min(indent, width)))
      hadBlank = false
    } else if (hadBlank || begins(line)) break
    else items.at(-1).push(line)
    reader.next()
  }
  return { type: 'list', isOrdered, isLoose, from: isOrdered ? parseInt(first, 10) : 1, items: items.map((lines) => lines.join('\n')), start, end: reader.at }
}

function table(reader) {
  const start = reader.at
  const head = cells(reader.line)
  reader.next()
  const sides = cells(reader.line).map((mark) => (/^:.*:$/.test(mark) ? 'center' : mark.endsWith(':') ? 'right' : ''))
  reader.next()
  const rows = []
  while (reader.more && reader.line.trim() && reader.line.includes('|')) {
    rows.push(cells(reader.line).slice(0, head.length))
    reader.next()
  }
  return { type: 'table', head, sides, rows, start, end: reader.at }
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, '').replace(/(^|[^\\])\|$/, '$1')
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, '|'))
}

/** Returns the element of a block. */
function shown(one, depth) {
  switch (one.type) {
    case 'heading': return el(`h${Math.min(6, one.level + 2)}`, {}, ...inline(one.text))
    case 'rule': return el('hr')
    case 'code': return code(one)
    case 'quote': return el('blockquote', {}, ...nodes(one.text, depth + 1))
    case 'list': return listed(one, depth)
    case 'table': return tabled(one)
    default: return el('p', {}, ...inline(one.text))
  }
}

function nodes(text, depth) {
  if (depth > DEPTH) return [text]
  return [...blocks(text)].map((one) => shown(one, depth))
}

function listed({ isOrdered, isLoose, from, items }, depth) {
  const made = items.map((text) => {
    const task = /^\[([ xX])\] /.exec(text)
    const inner = nodes(task ? text.slice(4) : text, depth + 1)
    const content = isLoose ? inner : inner.flatMap((node) => (node.tagName === 'P' ? [...node.childNodes, ''] : [node]))
    const box = task && el('input', { type: 'checkbox', disabled: true, checked: task[1] !== ' ', 'aria-label': task[1] === ' ' ? 'open' : 'done' })
    return el('li', task ? { class: 'task' } : {}, box, ...content)
  })
  return el(isOrdered ? 'ol' : 'ul', from !== 1 ? { start: from } : {}, ...made)
}

function tabled({ head, sides, rows }) {
  const row = (tag, texts) => el('tr', {}, ...head.map((_, at) =>
    el(tag, { class: sides[at] || null, scope: tag === 'th' ? 'col' : null }, ...inline(texts[at] ?? ''))))
  return el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Table' },
    el('table', {}, el('thead', {}, row('th', head)), el('tbody', {}, ...rows.map((texts) => row('td', texts)))))
}

function code(one) {
  const body = el('code', {})
  if (one.isClosed) body.append(...highlight(one.text, one.language))
  else body.append(document.createTextNode(one.text))
  const head = el('figcaption', {}, el('span', {}, one.language || 'text'), copyButton(() => body.textContent, 'Copy the code'))
  return el('figure', { class: 'code' }, head, el('pre', { tabindex: '0', role: 'region', 'aria-label': `Code ${one.language}`.trim() }, body))
}

/** Shows a text that grows in an element. */
export class Markdown {
  constructor(element) {
    this.element = element
    this.#begin()
  }

  #begin() {
    this.element.replaceChildren()
    Object.assign(this, { text: '', start: 0, last: null, open: null })
  }

  update(text) {
    if (text === this.text) return
    if (!text.startsWith(this.text)) this.#begin()
    this.text = text
    if (this.#growsCode(text)) return
    this.last?.remove()
    this.last = this.open = null
    for (const one of blocks(text, this.start)) {
      this.last = shown(one, 0)
      this.element.append(this.last)
      this.start = one.start
      this.open = one
    }
  }

  /** A long block of code grows by the text that came, and not by a new element for each piece. */
  #growsCode(text) {
    if (this.open?.type !== 'code' || this.open.isClosed) return false
    const [now] = blocks(text, this.start)
    if (now.isClosed || now.language !== this.open.language || !now.text.startsWith(this.open.text)) return false
    const node = this.last.querySelector('code').firstChild
    node.appendData(now.text.slice(this.open.text.length))
    this.open = now
    return true
  }
}
