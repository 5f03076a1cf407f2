// A small plot of the last minutes, as SVG.
import { el, svg } from './dom.js'

const WIDTH = 320
const HEIGHT = 84
const SPAN_MS = 120_000

export class Plot {
  /** `series`: the name of each line. `format`: writes a value. */
  constructor({ title, series, format = (value) => (value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString('en') : value.toFixed(1)) }) {
    Object.assign(this, { title, series, format, points: [] })
    this.now = el('span', { class: 'plot-now' }, '–')
    this.area = svg('path', { class: 'plot-area' })
    this.lines = series.map((_, at) => svg('path', { class: `plot-line line-${at}` }))
    this.picture = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': title },
      svg('path', { class: 'plot-grid', d: `M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 1}H${WIDTH}` }), this.area, ...this.lines)
    this.scale = el('span', { class: 'plot-most' })
    this.element = el('figure', { class: 'plot' }, el('figcaption', {}, el('span', {}, title), this.now),
      el('div', { class: 'plot-picture' }, this.scale, this.picture))
  }

  /** Adds a value of each line; null where there is none. */
  add(at, values) {
    this.points.push([at, values])
    while (this.points[0][0] < at - SPAN_MS) this.points.shift()
    const known = this.points.flatMap(([, all]) => all.filter((value) => value !== null))
    const most = niceCeiling(Math.max(...known, 0))
    const text = values.map((value, line) => (value === null ? null : `${this.series.length > 1 ? `${this.series[line]} ` : ''}${this.format(value)}`)).filter(Boolean).join(' · ')
    this.now.textContent = text || '–'
    this.scale.textContent = known.length ? this.format(most) : ''
    this.picture.setAttribute('aria-label', `${this.title}: ${text || 'nothing measured'}, at most ${this.format(Math.max(...known, 0))} in the last two minutes`)
    this.lines.forEach((line, number) => line.setAttribute('d', this.#path(at, most, number)))
    this.area.setAttribute('d', this.#area(at, most))
  }

  #place(at, most, [time, values], line) {
    const x = WIDTH * (1 - (at - time) / SPAN_MS)
    const y = HEIGHT - 2 - (HEIGHT - 6) * (values[line] / most)
    return `${x.toFixed(1)} ${y.toFixed(1)}`
  }

  #path(at, most, line) {
    let path = ''
    let isOpen = false
    for (const point of this.points) {
      if (point[1][line] === null) isOpen = false
      else {
        path += `${isOpen ? 'L' : 'M'}${this.#place(at, most, point, line)}`
        isOpen = true
      }
    }
    return path
  }

  #area(at, most) {
    const known = this.points.filter(([, values]) => values[0] !== null)
    if (known.length < 2) return ''
    const x = (time) => (WIDTH * (1 - (at - time) / SPAN_MS)).toFixed(1)
    return `M${x(known[0][0])} ${HEIGHT}L${known.map((point) => this.#place(at, most, point, 0)).join('L')}L${x(known.at(-1)[0])} ${HEIGHT}Z`
  }
}

function niceCeiling(value) {
  if (value <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value)
}
