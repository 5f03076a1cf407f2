// Follows a turn with an unchanged EventSource of npm; prints what it gets as lines of JSON.
import { createRequire } from 'node:module'

const [modules, url, ...types] = process.argv.slice(2)
const { EventSource } = createRequire(`${modules}/x.js`)('eventsource')
const source = new EventSource(url)
const print = (value) => process.stdout.write(JSON.stringify(value) + '\n')

for (const type of types) {
  source.addEventListener(type, (event) => print({ id: event.lastEventId, ...JSON.parse(event.data) }))
}
source.addEventListener('error', (event) => {
  if (source.readyState === EventSource.CLOSED) print({ closed: event.code ?? null })
})
