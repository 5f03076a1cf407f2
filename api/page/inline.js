// Turns the text of one paragraph into nodes: emphasis, code, links. Anything else, HTML too, stays text.
import { el } from './dom.js'

const SPECIAL = /[\\`*_~[!<\n]|https?:\/\//g
const PUNCTUATION = /[!-/:-@[-`{-~]/
const WORD = /[\p{L}\p{N}]/u
const MOST_LINK_CHARACTERS = 1000
const MOST_FAILED_LINKS = 200
const DEPTH = 6
const TAGS = { '*': 'em', _: 'em', '**': 'strong', __: 'strong', '~~': 's' }

/** Returns the address if a link may lead there, or else null. */
export function safeAddress(text) {
  const address = text.trim()
  if (!/^(https?:\/\/|mailto:)/i.test(address)) return null
  try {
    const url = new URL(address)
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null
  } catch {
    return null
  }
}

export function link(address, children) {
  return el('a', { href: address, target: '_blank', rel: 'noopener noreferrer nofollow' }, ...children)
}

/** Returns the nodes of a text. The time is linear in its length, whatever it holds. */
export function inline(text, depth = 0, state = { failed: 0, missing: new Set() }) {
  const nodes = []
  let plain = ''
  let at = 0
  const flush = () => {
    if (plain) nodes.push(plain)
    plain = ''
  }
  const put = (node, end) => {
    flush()
    nodes.push(node)
    at = end
  }
  while (at < text.length) {
    SPECIAL.lastIndex = at
    const found = SPECIAL.exec(text)
    if (!found) {
      plain += text.slice(at)
      break
    }
    plain += text.slice(at, found.index)
    at = found.index
    const next = special(text, at, found[0], depth, state)
    if (next.node) put(next.node, next.end)
    else {
      plain += next.text
      at = next.end
    }
  }
  flush()
  return nodes
}

function special(text, at, mark, depth, state) {
  const literal = { text: mark, end: at + mark.length }
  if (mark === '\\') {
    const next = text[at + 1]
    if (next === '\n') return { node: el('br'), end: at + 2 }
    return next && PUNCTUATION.test(next) ? { text: next, end: at + 2 } : literal
  }
  if (mark === '\n') return text.slice(at - 2, at) === '  ' ? { node: el('br'), end: at + 1 } : literal
  if (mark === '`') return code(text, at, state)
  if (mark === '<') return angle(text, at) ?? literal
  if (mark.startsWith('http')) return bare(text, at) ?? literal
  if (mark === '[' || mark === '!') return bracket(text, at, depth, state) ?? literal
  return emphasis(text, at, depth, state)
}

function code(text, at, state) {
  const fence = /^`+/.exec(text.slice(at, at + 64))[0]
  const literal = { text: fence, end: at + fence.length }
  if (state.missing.has(fence)) return literal
  for (let end = text.indexOf(fence, at + fence.length); end >= 0; end = text.indexOf(fence, end)) {
    let length = fence.length
    while (text[end + length] === '`') length++
    if (length === fence.length) {
      const body = text.slice(at + fence.length, end).replace(/\n/g, ' ')
      const isPadded = body.startsWith(' ') && body.endsWith(' ') && body.trim()
      return { node: el('code', {}, isPadded ? body.slice(1, -1) : body), end: end + length }
    }
    end += length
  }
  state.missing.add(fence)
  return literal
}

function angle(text, at) {
  const line = text.slice(at, at + MOST_LINK_CHARACTERS)
  const rest = /^<br\s?\/?>/i.exec(line)
  if (rest) return { node: el('br'), end: at + rest[0].length }
  const found = /^<((?:https?:\/\/|mailto:)[^\s<>]+)>/i.exec(line)
  const address = found && safeAddress(found[1])
  return address ? { node: link(address, [found[1]]), end: at + found[0].length } : null
}

function bare(text, at) {
  let [found] = /^https?:\/\/[^\s<>"'`*]*/.exec(text.slice(at, at + MOST_LINK_CHARACTERS))
  found = found.replace(/[.,;:!?)\]}]+$/, (tail) => (found.includes('(') && tail.startsWith(')') ? ')' : ''))
  const address = found.length > 8 && safeAddress(found)
  return address ? { node: link(address, [found]), end: at + found.length } : null
}

/** A link `[text](address)`, or a picture `![text](address)`, of which only one inside the text itself is shown. */
function bracket(text, at, depth, state) {
  const isPicture = text[at] === '!'
  const start = at + (isPicture ? 1 : 0)
  if (text[start] !== '[' || depth > DEPTH || state.failed > MOST_FAILED_LINKS) return null
  const window = text.slice(start, start + (isPicture ? text.length : MOST_LINK_CHARACTERS))
  const found = /^\[((?:[^[\]\\]|\\.|\[[^[\]]*\])*)\]\(\s*<?((?:[^\s()<>]|\([^\s()]*\))*)>?(?:\s+["'(][^"')]*["')])?\s*\)/.exec(window)
  if (!found) {
    state.failed++
    return null
  }
  const end = start + found[0].length
  if (isPicture && /^data:image\/(png|jpeg|gif|webp);base64,[a-z0-9+/=]+$/i.test(found[2])) {
    return { node: el('img', { src: found[2], alt: found[1] }), end }
  }
  const address = safeAddress(found[2])
  if (!address) return { text: text.slice(at, end), end }
  return { node: link(address, isPicture ? [`🖼 ${found[1] || address}`] : inline(found[1], depth + 1, withoutLinks(state))), end }
}

function withoutLinks(state) {
  return { failed: Infinity, missing: state.missing }
}

function emphasis(text, at, depth, state) {
  const mark = text[at]
  let length = 1
  while (text[at + length] === mark) length++
  const literal = { text: mark.repeat(length), end: at + length }
  const before = text[at - 1] ?? ' '
  const after = text[at + length] ?? ' '
  if (/\s/.test(after) || depth > DEPTH || (mark === '~' && length !== 2) || length > 3) return literal
  if (mark === '_' && WORD.test(before)) return literal
  const delimiter = mark.repeat(length)
  if (state.missing.has(delimiter)) return literal
  const end = closing(text, at + length, mark, length)
  if (end < 0) {
    state.missing.add(delimiter)
    return literal
  }
  const inner = inline(text.slice(at + length, end), depth + 1, { failed: state.failed, missing: new Set() })
  const node = length === 3 ? el('strong', {}, el('em', {}, ...inner)) : el(TAGS[delimiter], {}, ...inner)
  return { node, end: end + length }
}

function closing(text, from, mark, length) {
  const delimiter = mark.repeat(length)
  for (let at = text.indexOf(delimiter, from); at >= 0; at = text.indexOf(delimiter, at)) {
    let run = length
    while (text[at + run] === mark) run++
    const closes = !/\s/.test(text[at - 1]) && text[at - 1] !== '\\' && (mark !== '_' || !WORD.test(text[at + run] ?? ' '))
    if (closes && (run === length || run > 3)) return at
    if (closes && run > length && run - length < 3 && length < 3 && run !== length * 2) return at + (run - length)
    at += run
  }
  return -1
}
