// Folds the events of a turn into what the page shows of it.

/**
 * What is known of a turn's answer. `items` is the answer in the order in which it came: texts, reasoning, tool calls, and
 * marks where another attempt goes on. It is a function of `events`, so a rewind folds those that stand once more.
 */
export class TurnLog {
  constructor() {
    this.events = []
    this.#reset()
  }

  #reset() {
    Object.assign(this, {
      items: [], attempt: 0, waiting: null, ended: null, code: null, message: null, error: null,
      finalText: null, finishReason: null, persisted: true,
    })
    this.tools = new Map()
  }

  /** Takes the next event. Returns true if it took back what was shown before. */
  take(event) {
    if (event.type === 'session.run.started' && this.events.length) {
      this.events = []
      this.#reset()
      this.events.push(event)
      this.#fold(event)
      return true
    }
    if (event.type === 'session.run.resumed') {
      const kept = this.events.filter((known) => !known.id || compare(known.id, event.data.after) <= 0)
      const dropped = this.events.length - kept.length
      this.events = kept
      this.#reset()
      for (const known of kept) this.#fold(known)
      this.events.push(event)
      this.#fold(event)
      this.items.at(-1).dropped = dropped
      return true
    }
    this.events.push(event)
    this.#fold(event)
    return false
  }

  begin() {
    this.events = []
    this.#reset()
  }

  #fold({ type, data }) {
    FOLDS[type]?.call(this, data ?? {})
  }

  /** The item of this kind that the last event continued, or a new one. */
  last(kind) {
    const item = this.items.at(-1)
    if (item?.kind === kind) return item
    this.items.push({ kind, text: '' })
    return this.items.at(-1)
  }

  tool(data) {
    const key = data.id || `#${data.index ?? this.tools.size}`
    let tool = this.tools.get(key)
    if (!tool && data.id && data.index === undefined) {
      tool = [...this.tools.values()].find((one) => !one.id && one.name === data.name && one.state === 'writing')
    }
    if (!tool) {
      tool = { kind: 'tool', id: data.id, name: '', arguments: '', state: 'writing' }
      this.items.push(tool)
    }
    this.tools.set(key, tool)
    if (data.index !== undefined) this.tools.set(`#${data.index}`, tool)
    if (data.name) tool.name = data.name
    if (data.id) tool.id = data.id
    return tool
  }

  text() {
    return this.items.filter((item) => item.kind === 'text').map((item) => item.text).join('')
  }
}

const FOLDS = {
  'session.run.started'(data) {
    this.attempt = data.attempt
  },
  'session.run.resumed'(data) {
    this.attempt = data.attempt
    this.items.push({ kind: 'mark', attempt: data.attempt, reason: data.reason })
    for (const tool of this.tools.values()) if (tool.state === 'waiting' && tool.signal === this.waiting?.key) tool.state = 'called'
    Object.assign(this, { waiting: null, ended: null, code: null, error: null })
  },
  'session.run.suspended'(data) {
    this.waiting = { key: data.awaiting, timeoutMs: data.timeoutMs }
  },
  'session.run.completed'(data) {
    Object.assign(this, { ended: 'completed', waiting: null, persisted: data.persisted !== false })
    this.finishReason ??= data.finishReason ?? null
  },
  'session.run.failed'(data) {
    Object.assign(this, { ended: data.code === 'cancelled' ? 'cancelled' : 'failed', waiting: null, code: data.code, message: data.message })
  },
  'message.part.updated'(data) {
    const part = data.part ?? {}
    if (part.type !== 'text') return
    const id = part.id ?? ''
    const own = this.items.filter((item) => item.kind === 'text' && item.part === id)
    let item = own.at(-1)
    if (!item || (id === '' && this.items.at(-1) !== item)) {
      item = { kind: 'text', part: id, text: '' }
      this.items.push(item)
    }
    if (typeof part.text === 'string') {
      for (const other of own) other.text = ''
      item.text = part.text
    } else item.text += data.delta ?? ''
  },
  'reasoning.delta'(data) {
    this.last('reasoning').text += data.delta ?? ''
  },
  'tool.call.delta'(data) {
    const tool = this.tool(data)
    tool.arguments += data.arguments ?? ''
  },
  'tool.call'(data) {
    const tool = this.tool(data)
    Object.assign(tool, { arguments: asText(data.arguments), state: tool.state === 'waiting' ? 'waiting' : 'called' })
  },
  'tool.call.deferred'(data) {
    Object.assign(this.tool(data), { arguments: asText(data.arguments), state: 'waiting', signal: data.signal, asks: data.kind })
  },
  'tool.result'(data) {
    Object.assign(this.tool(data), { result: asText(data.result), state: 'done' })
  },
  'message.attached'(data) {
    this.items.push({ kind: 'attached', data })
  },
  'model.fallback'(data) {
    this.items.push({ kind: 'note', text: `${data.insteadOf} is not available (${data.code}); ${data.model} answers.` })
  },
  'history.trimmed'(data) {
    this.items.push({ kind: 'note', text: `The ${data.droppedTurns} oldest turns did not fit into the context of ${data.model}.` })
  },
  error(data) {
    this.error = data
  },
  result(data) {
    this.finalText = data.finalText ?? ''
    this.finishReason = data.finishReason ?? null
    const texts = this.items.filter((item) => item.kind === 'text')
    if (this.text() === this.finalText || texts.at(-1)?.text === this.finalText) return
    this.items = this.items.filter((item) => item.kind !== 'text') // the result replaces what was streamed
    if (this.finalText) this.items.push({ kind: 'text', part: '', text: this.finalText })
  },
}

function asText(value) {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null, null, 2)
}

/** Compares two cursors `<attempt>-<seq>`. */
export function compare(one, other) {
  const [a, b] = one.split('-').map(Number)
  const [c, d] = other.split('-').map(Number)
  return a - c || b - d
}
