// Colours code: comments, strings, numbers and the words that many languages share. It knows no grammar.
import { el } from './dom.js'

const MOST_CHARACTERS = 20_000
const WORDS = new Set((
  'and as assert async await begin bool break case catch class const continue def default defer del do echo elif else end enum '
  + 'esac except export extends false fi finally float fn for from func function go if impl implements import in int interface is '
  + 'lambda let local match mod mut new nil none not null or package pass private protected pub public raise return select self '
  + 'static struct super switch then this throw true try type typeof union unless until use using var void where while with yield '
  + 'insert into update delete create table values join on group by order limit None True False').split(' '))
const HASH_COMMENTS = /^(py|python|sh|bash|zsh|shell|console|ruby|rb|yaml|yml|toml|r|make|makefile|dockerfile|ini|conf|perl|elixir|nix)$/i
const DASH_COMMENTS = /^(sql|lua|haskell|hs|elm|ada)$/i
const PLAIN = /^(|text|txt|plain|markdown|md|diff|csv|log|output)$/i

const COMMON = String.raw`("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|${'`'}(?:[^${'`'}\\]|\\.)*${'`'})|(\b\d[\w.]*)|([A-Za-z_$][\w$]*)`

/** Returns the nodes of a piece of code. */
export function highlight(text, language) {
  if (PLAIN.test(language) || text.length > MOST_CHARACTERS) return [text]
  const comment = HASH_COMMENTS.test(language) ? '#[^\\n]*' : DASH_COMMENTS.test(language) ? '--[^\\n]*' : '\\/\\/[^\\n]*|\\/\\*[^]*?\\*\\/'
  const pattern = new RegExp(`(${comment})|${COMMON}`, 'g')
  const isUpper = DASH_COMMENTS.test(language) // SQL is written in capitals, too
  const nodes = []
  let at = 0
  for (const found of text.matchAll(pattern)) {
    const [whole, isComment, isString, isNumber, word] = found
    const kind = isComment ? 'comment' : isString ? 'string' : isNumber ? 'number' : WORDS.has(isUpper ? word?.toLowerCase() : word) ? 'word' : null
    if (!kind) continue
    if (found.index > at) nodes.push(text.slice(at, found.index))
    nodes.push(el('span', { class: `code-${kind}` }, whole))
    at = found.index + whole.length
  }
  if (at < text.length) nodes.push(text.slice(at))
  return nodes
}
