"""Draws how late events are against the load, as an SVG with two lines. It needs no drawing library."""

import math
from collections.abc import Sequence

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 44, 50
COLOURS = {"p50": "#2563eb", "p99": "#dc2626"}


def svg(points: Sequence[tuple[float, float, float]], facts: str) -> str:
    """Return the SVG. Each point is (events/s, p50 ms, p99 ms); milliseconds are drawn logarithmically.

    Raises:
        ValueError: a line needs two points.
    """
    if len(points) < 2:
        raise ValueError("a line needs two points")
    points = sorted(points)
    most = _round_up(points[-1][0])
    low = math.floor(math.log10(min(p50 for _, p50, _ in points)))
    high = math.ceil(math.log10(max(p99 for _, _, p99 in points)))

    def x(load: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * load / most

    def y(ms: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(ms) - low) / (high - low)

    parts = [_text(WIDTH / 2, 18, "From made in the worker to read by the client", "middle", 14)]
    parts.append(_text(WIDTH / 2, 34, facts, "middle", 10))
    for power in range(low, high + 1):
        parts.append(_line(LEFT, y(10**power), WIDTH - RIGHT, y(10**power), "#ddd"))
        parts.append(_text(LEFT - 6, y(10**power) + 4, f"{10**power:g} ms", "end", 11))
    for step in range(6):
        load = most * step / 5
        parts.append(_line(x(load), HEIGHT - BOTTOM, x(load), HEIGHT - BOTTOM + 5, "#666"))
        parts.append(_text(x(load), HEIGHT - BOTTOM + 18, f"{load:,.0f}", "middle", 11))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "events/s, 30 a turn", "middle", 12))
    for place, (name, colour) in enumerate(COLOURS.items(), 1):
        spots = [(x(point[0]), y(point[place])) for point in points]
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3" fill="{colour}"/>' for across, down in spots]
        parts.append(_text(LEFT + 12, TOP + 16 * place, name, "start", 12, colour))
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    return "\n".join([frame, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>", ""])


def _round_up(value: float) -> float:
    step: float = 10 ** math.floor(math.log10(value)) / 2
    return math.ceil(value / step) * step


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, size: int, colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{text}</text>'
