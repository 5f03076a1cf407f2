// The turns of a session are a tree. The page shows one branch of it.

/** Returns the turns of the branch that is chosen, each with its parent and its siblings. `turns`: the records by index, ascending. */
export function branch(turns, choice) {
  const below = children(turns)
  const shown = []
  for (let parent = -1; below.has(parent);) {
    const siblings = below.get(parent)
    const turn = siblings.find((one) => one.turn_index === choice[parent]) ?? siblings.at(-1)
    shown.push({ turn, parent, ...variants(turn, siblings) })
    parent = turn.turn_index
  }
  return shown
}

function children(turns) {
  const known = new Set(turns.map((turn) => turn.turn_index))
  const below = new Map()
  let before = -1
  for (const turn of turns) {
    const parent = turn.parent ?? before // a turn without one follows the latest; it shows which once it runs
    const place = known.has(parent) && parent < turn.turn_index ? parent : -1
    below.set(place, [...(below.get(place) ?? []), turn])
    before = turn.turn_index
  }
  return below
}

/** Returns the other messages at this place, and the other answers to the same message. */
function variants(turn, siblings) {
  const groups = new Map()
  for (const one of siblings) {
    const message = JSON.stringify(one.message)
    groups.set(message, [...(groups.get(message) ?? []), one.turn_index])
  }
  const answers = groups.get(JSON.stringify(turn.message))
  return { messages: [...groups.values()].map((own) => (own === answers ? turn.turn_index : own.at(-1))), answers }
}

/** Returns the text of a message, which may have parts. */
export function textOf(message) {
  if (typeof message === 'string') return message
  return message.map((part) => (part.type === 'text' ? part.text : `[${part.type.replace(/^input_|_url$/g, '')}]`)).join('\n')
}
