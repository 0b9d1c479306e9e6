"""Curves in a terminal, drawn with Unicode Braille patterns: one character holds 2 by 4 dots."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row, then by column
_EMPTY = 0x2800
_LABEL = 11
_MOST = 1e300

Piece = tuple[str, str]


class Line(NamedTuple):
    """Points of a curve and the style in which it is drawn."""

    x: Sequence[float]
    y: Sequence[float]
    style: str


def plot_lines(
    lines: Sequence[Line], width: int, height: int, *, log: bool = False, plain: bool = False
) -> list[list[Piece]]:
    """Draw curves into `height` rows of `width` characters; return pieces of text and their styles per row.

    The range of y is printed at the left, the range of x below. Points that are not finite (or, with `log`,
    not positive) are left out. Where two curves share a character, it has the style of the later one.
    `plain` draws asterisks, for terminals that cannot show Braille patterns.
    """
    shown = []
    for line in lines:
        pairs = [
            (x, y)
            for x, y in zip(line.x, line.y, strict=True)
            if abs(x) < _MOST and abs(y) < _MOST and (y > 0 or not log)
        ]
        shown.append([(x, math.log10(y)) for x, y in pairs] if log else pairs)
    points = [point for each in shown for point in each]
    if not points:
        return [[("nothing to draw yet", "dim")]]
    columns = max(width - _LABEL - 1, 4)
    (low, high), (left, right) = _span([y for _, y in points]), _span([x for x, _ in points])
    cells = [[(0, "")] * columns for _ in range(height)]  # dots and style of each character

    def place(x: float, y: float) -> tuple[int, int]:
        along = round((x - left) / (right - left) * (2 * columns - 1))
        return along, round((high - y) / (high - low) * (4 * height - 1))

    for line, each in zip(lines, shown, strict=True):
        places = [place(x, y) for x, y in each]
        for start, stop in pairwise([*places[:1], *places]):  # a single point is drawn as a line of length 0
            count = max(abs(stop[0] - start[0]), abs(stop[1] - start[1]), 1)
            for k in range(count + 1):
                column, row = (round(a + (b - a) * k / count) for a, b in zip(start, stop, strict=True))
                dots = cells[row // 4][column // 2][0] | _DOTS[row % 4][column % 2]
                cells[row // 4][column // 2] = dots, line.style
    top, bottom = (10**value if log else value for value in (high, low))
    rows = []
    for number, of_row in enumerate(cells):
        label = f"{top:.4g}" if number == 0 else f"{bottom:.4g}" if number == height - 1 else ""
        pieces = [(" *"[dots > 0] if plain else chr(_EMPTY + dots), style) for dots, style in of_row]
        rows.append([(f"{label:>{_LABEL}} ", "dim"), *pieces])
    ends = f"{left:.4g}", f"{right:.4g}"
    rows.append([(" " * (_LABEL + 1) + ends[0] + ends[1].rjust(columns - len(ends[0])), "dim")])
    return rows


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high - low > 1e-12 * abs(high):
        return low, high
    half = max(1e-3 * abs(low), 0.5)
    return low - half, high + half
