// Starts the page: the address decides what it shows.
import { Chat } from './chat.js'
import { Composer } from './composer.js'
import { button, copyButton, el, say } from './dom.js'
import { connection, credentials, onUnauthenticated, randomId, takeFromAddress } from './http.js'
import { identity } from './identity.js'
import { problemNode } from './requests.js'
import { sessions } from './sessions.js'
import { signIn } from './signin.js'
import { isOpen } from './turn.js'

const HINTS = [
  'What happens to this answer if its worker is killed?',
  'Explain leases and fencing tokens in three sentences.',
  'Write a haiku about a connection that came back.',
]

const $ = (selector) => document.querySelector(selector)
takeFromAddress()

const chat = new Chat({ list: $('#turns'), scroller: $('#scroller'), changed: () => show() })
const composer = new Composer({
  form: $('#composer'),
  send: (text, options) => chat.requests.ask(null, text, options),
  stop: () => { for (const card of running()) chat.requests.stop(card) },
})
let operations = null

function running() {
  return chat.session ? chat.branch.map(({ turn }) => chat.cards.get(turn.turn_index)).filter((card) => card && isOpen(card.state)) : []
}

function show() {
  const isEmpty = !chat.turns.size && !$('#turns').hasAttribute('aria-busy')
  $('#welcome').hidden = !isEmpty
  $('#latest').hidden = chat.sticks || isEmpty
  const title = sessions.all().find((one) => one.id === chat.session)?.title ?? 'New chat'
  $('#title').textContent = title
  document.title = `${title} · Turnwire`
  $('#erase').hidden = isEmpty || !chat.requests.mayWrite()
  composer.update({ running: running().length > 0, readOnly: !chat.session || !chat.requests.mayWrite() })
  const problem = chat.problem && problemNode(chat.problem, () => { chat.problem = null; show() })
  if (chat.problem !== shownProblem) $('#problem').replaceChildren(...(problem ? [problem] : []))
  shownProblem = chat.problem
  showSessions()
}
let shownProblem = null
let shownSessions = ''

function showSessions() {
  const all = sessions.all()
  const key = JSON.stringify([all.map(({ id, title }) => [id, title]), chat.session])
  if (key === shownSessions) return
  shownSessions = key
  $('#sessions').replaceChildren(...all.map(({ id, title }) => el('li', {},
    el('a', { href: `#/chat/${encodeURIComponent(id)}`, 'aria-current': id === chat.session ? 'page' : null, title: id }, title),
    button({ label: `Remove ${title} from this list`, picture: 'trash', kind: 'quiet small', click: () => forget(id) }))))
}

function forget(id) {
  sessions.forget(id)
  say('It is removed from this list. The server keeps it.')
  if (id === chat.session) newChat()
  else show()
}

function newChat() {
  location.hash = `#/chat/chat-${randomId(8)}`
}

async function route() {
  const [, view, rest] = /^#\/(\w+)(?:\/(.*))?$/.exec(location.hash) ?? []
  document.body.dataset.menu = 'closed'
  $('#menu').setAttribute('aria-expanded', 'false')
  const isOperations = view === 'operations'
  $('#chat').hidden = $('#menu').hidden = isOperations
  $('#operations').hidden = !isOperations
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash.startsWith(isOperations ? '#/operations' : '#/chat')) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  if (isOperations) {
    document.title = 'Operations · Turnwire'
    operations ??= (await import('./operations.js')).operations($('#operations'))
    operations.open(rest ?? '')
    return
  }
  operations?.close()
  if (view !== 'chat' || !rest) {
    const latest = sessions.all()[0]?.id ?? `chat-${randomId(8)}`
    history.replaceState(null, '', `#/chat/${encodeURIComponent(latest)}`)
    return route()
  }
  const session = decodeURIComponent(rest)
  if (session === chat.session) return
  chat.problem = null
  composer.open(session)
  await chat.open(session)
}

function showIdentity() {
  const { info } = identity
  $('#to-operations').hidden = !identity.may('admin')
  $('#account').setAttribute('aria-label', credentials.get() ? `Signed in${info.tenant ? ` for ${info.tenant}` : ''}` : 'Sign in')
  $('#version').textContent = info.version ? `Turnwire ${info.version}` : 'Turnwire'
  show()
}

onUnauthenticated((problem) => signIn(problem).then(() => { setTimeout(() => identity.load()) }))
identity.addEventListener('change', showIdentity)
connection.addEventListener('change', () => {
  $('#offline').hidden = connection.online
  say(connection.online ? 'The connection is back.' : 'The connection is lost. The page tries again.')
})
addEventListener('hashchange', route)
addEventListener('storage', show)
$('#skip').addEventListener('click', (event) => {
  event.preventDefault()
  $('main').focus()
})
$('#new').addEventListener('click', newChat)
$('#theme').addEventListener('click', () => dispatchEvent(new Event('turnwire:theme')))
$('#account').addEventListener('click', async () => {
  const before = credentials.get()
  await signIn()
  if (credentials.get() !== before) location.reload()
})
$('#menu').addEventListener('click', () => {
  const isOpened = document.body.dataset.menu !== 'open'
  document.body.dataset.menu = isOpened ? 'open' : 'closed'
  $('#menu').setAttribute('aria-expanded', String(isOpened))
})
$('#conversation').addEventListener('click', () => { document.body.dataset.menu = 'closed' })
$('#erase').addEventListener('click', async () => { if (await chat.requests.erase()) newChat() })
$('#latest').addEventListener('click', () => {
  chat.sticks = true
  $('#scroller').scrollTop = $('#scroller').scrollHeight
  show()
})
$('#link').append(copyButton(() => chat.session, 'Copy the id of this session'))
$('#hints').append(...HINTS.map((text) => el('li', {}, button({ text, click: () => composer.set(text) }))))
addEventListener('keydown', (event) => {
  if (event.key === 'Escape') document.body.dataset.menu = 'closed'
  if (event.key === '/' && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
    event.preventDefault()
    composer.field.focus()
  }
})

await identity.load()
await Promise.all([composer.loadModels(), route()])
