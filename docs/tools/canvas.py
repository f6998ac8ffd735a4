"""Canvas: a few words for drawing figures as SVG: boxes, arrows and text on a light panel of their own.

The panel brings its own background, so that a figure reads alike on light and dark pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import atan2, cos, pi, sin

Point = tuple[float, float]

FILLS = {
    "plain": ("#ffffff", "#8a94a6"),
    "code": ("#e8f0fe", "#3b6fd4"),
    "store": ("#e7f6ec", "#2f8f4e"),
    "wait": ("#fff5dd", "#c08a1e"),
    "bad": ("#fdeaea", "#c0392b"),
    "ghost": ("#f3f4f6", "#b6bdc9"),
}
INK = "#1f2733"
MUTED = "#5b6675"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


class Canvas:
    """Collects shapes; ``svg()`` is the finished figure."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._width, self._height, self._title = width, height, title
        self._shapes: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, label: str, kind: str = "plain") -> None:
        """A rounded box with one or more lines of text (separated by line breaks) in its middle."""
        fill, line = FILLS[kind]
        self._shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7" fill="{fill}" stroke="{line}"/>'
        )
        lines = label.split("\n")
        first = y + height / 2 - (len(lines) - 1) * 8 + 4.5
        for number, each in enumerate(lines):
            self.text(
                x + width / 2,
                first + number * 16,
                each,
                anchor="middle",
                bold=number == 0 and kind != "ghost",
            )

    def band(self, x: float, y: float, width: float, height: float, label: str) -> None:
        """A dashed frame around other shapes, with a label at its upper left."""
        self._shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="9" fill="none" stroke="#b6bdc9" '
            'stroke-dasharray="5 4"/>'
        )
        self.text(x + 10, y + 18, label, colour=MUTED, small=True)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        anchor: str = "start",
        colour: str = INK,
        bold: bool = False,
        small: bool = False,
    ) -> None:
        weight = ' font-weight="600"' if bold else ""
        size = 12 if small else 13
        self._shapes.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}"{weight} fill="{colour}">{escape(words)}</text>'
        )

    def arrow(
        self,
        points: Sequence[Point],
        label: str = "",
        *,
        kind: str = "plain",
        dashed: bool = False,
        at: Point = (0, -6),
    ) -> None:
        """A line along ``points`` with a head at its end; the label stands at the middle point, moved by ``at``."""
        colour = FILLS[kind][1]
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._shapes.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>'
        )
        self._head(points[-2], points[-1], colour)
        if label:
            self._label(_middle(points), at, label, colour)

    def curve(
        self,
        start: Point,
        bend: Point,
        end: Point,
        label: str = "",
        *,
        kind: str = "plain",
        at: Point = (0, -6),
    ) -> None:
        """A curved arrow, pulled towards ``bend``."""
        colour = FILLS[kind][1]
        self._shapes.append(
            f'<path d="M {start[0]:g} {start[1]:g} Q {bend[0]:g} {bend[1]:g} {end[0]:g} {end[1]:g}" fill="none" '
            f'stroke="{colour}" stroke-width="1.5"/>'
        )
        self._head(bend, end, colour)
        if label:
            middle = ((start[0] + 2 * bend[0] + end[0]) / 4, (start[1] + 2 * bend[1] + end[1]) / 4)
            self._label(middle, at, label, colour)

    def _label(self, middle: Point, at: Point, label: str, colour: str) -> None:
        for number, line in enumerate(label.split("\n")):
            self.text(
                middle[0] + at[0],
                middle[1] + at[1] + 14 * number,
                line,
                anchor="middle",
                colour=colour,
                small=True,
            )

    def _head(self, before: Point, tip: Point, colour: str) -> None:
        angle = atan2(tip[1] - before[1], tip[0] - before[0])
        wings = [
            (tip[0] + 9 * cos(angle + side), tip[1] + 9 * sin(angle + side)) for side in (pi - 0.4, pi + 0.4)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (tip, *wings))
        self._shapes.append(f'<polygon points="{path}" fill="{colour}"/>')

    def svg(self) -> str:
        """The figure as text that ends with a line break."""
        body = "\n  ".join(self._shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self._width} {self._height}" width="{self._width}" '
            f'role="img" font-family="{_FONT}">\n  <title>{escape(self._title)}</title>\n'
            f'  <rect width="{self._width}" height="{self._height}" rx="10" fill="#fbfcfe"/>\n  {body}\n</svg>\n'
        )


def _middle(points: Sequence[Point]) -> Point:
    half = len(points) // 2
    (ax, ay), (bx, by) = points[half - 1], points[half]
    return (ax + bx) / 2, (ay + by) / 2
