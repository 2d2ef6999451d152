"""Drawings as inline SVG: shares with intervals, bars, a plot of positions, a plot of reliability.

Letters stay letters, so that every script is shown with the reader's own fonts and can be searched and read aloud. Each
drawing has a title and a description for whoever does not see it; series differ in shape and in colour (Okabe and Ito,
"Color Universal Design", 2008). The same numbers give the same bytes. All text is escaped by markupsafe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

from markupsafe import Markup

from cai.report.document import readable

COLOURS = ("#0072b2", "#b34700", "#007a5a")
_WIDTH, _LEFT, _RIGHT = 720, 16, 56
_LABEL = 84
"""Places that a label may take; wide letters take two."""
_GREY, _DARK = "#767676", "#222222"
_LINE, _ROW = 20, 24


@dataclass(frozen=True, slots=True)
class Point:
    """A share in [0, 1] with its interval, of one series."""

    series: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a drawing of shares: its label and its points, or why there are none."""

    label: str
    points: Sequence[Point]
    note: str = ""


def draw_shares(name: str, title: str, description: str, series: Sequence[str], lines: Sequence[Line]) -> Markup:
    """Return shares with their intervals on an axis from 0 to 100 %, a label above each row."""
    parts, top = [_legend(series)], 34 if len(series) > 1 else 10
    start = top
    for line in lines:
        parts.append(_text(_LEFT, top + 13, shortened(line.label)))
        top += _LINE
        for point in line.points:
            parts.append(_point(point, top + _ROW / 2))
            top += _ROW
        if not line.points:
            parts.append(_text(_LEFT, top + 13, line.note, colour=_GREY))
            top += _ROW
        top += 6
    parts[1:1] = [_axis(start, top)]
    return _svg(name, title, description, top + 26, Markup("").join(parts))


def draw_bars(name: str, title: str, description: str, bars: Sequence[tuple[str, float, str]]) -> Markup:
    """Return bars from left to right, each with its label, its length and the length as it is written."""
    most = max((value for _, value, _ in bars), default=0.0) or 1.0
    parts, top, left = [], 6, 220
    for label, value, written in bars:
        width = (_WIDTH - left - 110) * value / most
        parts.append(_text(left - 8, top + 15, shortened(label, 26), anchor="end"))
        parts.append(
            Markup('<rect x="{}" y="{}" width="{}" height="16" fill="{}"/>').format(
                left, top + 2, _number(width), COLOURS[0]
            )
        )
        parts.append(_text(left + width + 6, top + 15, written))
        top += _ROW
    return _svg(name, title, description, top + 8, Markup("").join(parts))


def draw_grid(
    name: str, title: str, description: str, axes: tuple[str, str], counts: Sequence[Sequence[int]]
) -> Markup:
    """Return counts of pairs of probabilities, the darker the more; columns and lines go from 0 to 1, lines upwards."""
    size, cell = len(counts), 30
    left, top = 66, 14
    side = size * cell
    most = max((count for line in counts for count in line), default=0) or 1
    parts = [
        Markup('<rect x="{}" y="{}" width="{}" height="{}" fill="#fafafa" stroke="{}"/>').format(
            left, top, side, side, _GREY
        )
    ]
    for number, line in enumerate(counts):
        for column, count in enumerate(line):
            if count:
                x, y = left + column * cell, top + side - (number + 1) * cell
                share = count / most
                parts.append(
                    Markup('<rect x="{}" y="{}" width="{}" height="{}" fill="{}" fill-opacity="{}"/>').format(
                        x, y, cell, cell, COLOURS[0], _number(0.15 + 0.85 * share)
                    )
                )
                parts.append(
                    _text(x + cell / 2, y + cell / 2 + 4, f"{count:,}", colour="#ffffff" if share > 0.5 else _DARK,
                          anchor="middle", size=10)
                )  # fmt: skip
    middle = left + side / 2
    parts.append(_line(middle, top, middle, top + side, dashed=True))
    parts.append(_line(left, top + side / 2, left + side, top + side / 2, dashed=True))
    for place in range(0, size + 1, size // 2):
        label = f"{place / size:.1f}"
        parts.append(_text(left + place * cell, top + side + 16, label, anchor="middle"))
        parts.append(_text(left - 8, top + side - place * cell + 4, label, anchor="end"))
    parts.append(_text(left, top + side + 36, f"→ {axes[0]}"))
    parts.append(_text(left, top + side + 56, f"↑ {axes[1]}"))
    return _svg(name, title, description, top + side + 66, Markup("").join(parts))


def draw_reliability(
    name: str, title: str, description: str, axes: tuple[str, str], points: Sequence[tuple[float, float, int]]
) -> Markup:
    """Return points of said and true shares, in [0, 1], as large as what they stand for; on the diagonal is right."""
    left, top, side = 66, 14, 300
    most = max((count for _, _, count in points), default=0) or 1
    parts = [
        Markup('<rect x="{}" y="{}" width="{}" height="{}" fill="#fafafa" stroke="{}"/>').format(
            left, top, side, side, _GREY
        ),
        _line(left, top + side, left + side, top, dashed=True),
    ]
    for said, true, count in points:
        parts.append(
            Markup('<circle cx="{}" cy="{}" r="{}" fill="{}" fill-opacity="0.8"><title>{}</title></circle>').format(
                _number(left + side * said),
                _number(top + side * (1 - true)),
                _number(3 + 9 * (count / most) ** 0.5),
                COLOURS[0],
                f"{said:.2f} → {true:.2f} ({count:,})",
            )
        )
    for place in (0.0, 0.5, 1.0):
        parts.append(_text(left + side * place, top + side + 16, f"{place:.1f}", anchor="middle"))
        parts.append(_text(left - 8, top + side * (1 - place) + 4, f"{place:.1f}", anchor="end"))
    parts.append(_text(left, top + side + 36, f"→ {axes[0]}"))
    parts.append(_text(left, top + side + 56, f"↑ {axes[1]}"))
    return _svg(name, title, description, top + side + 66, Markup("").join(parts))


def shortened(text: str, places: int = _LABEL) -> str:
    """Return a text that takes no more than so many places, with an ellipsis where something is left out."""
    line, taken = " ".join(text.split()), 0
    for end, letter in enumerate(line):
        taken += 2 if east_asian_width(letter) in "WF" else 1
        if taken > places:
            return line[: max(0, end - 1)] + "…"
    return line


def _svg(name: str, title: str, description: str, height: float, inside: Markup) -> Markup:
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{0}-title {0}-text" viewBox="0 0 {1} {2}"'
        ' width="{1}" height="{2}"><title id="{0}-title">{3}</title><desc id="{0}-text">{4}</desc>{5}</svg>'
    ).format(name, _WIDTH, _number(height), readable(title), readable(description), inside)


def _legend(series: Sequence[str]) -> Markup:
    if len(series) < 2:
        return Markup("")
    width = (_WIDTH - _LEFT - _RIGHT) / len(series)
    parts = []
    for place, label in enumerate(series):
        x = _LEFT + place * width + 8
        parts += [_mark(place, x, 14), _text(x + 12, 18, shortened(label, int(width / 8)))]
    return Markup("").join(parts)


def _axis(top: float, bottom: float) -> Markup:
    parts = []
    for share in range(0, 101, 20):
        x = _x(share / 100)
        parts.append(_line(x, top, x, bottom, dashed=False))
        parts.append(_text(x, bottom + 16, f"{share} %", anchor="middle", colour=_DARK))
    return Markup("").join(parts)


def _point(point: Point, y: float) -> Markup:
    written = f"{100 * point.value:.0f}"
    return Markup(
        '<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="{}" stroke-width="3"/>{}{}'
    ).format(
        _number(_x(point.low)),
        _number(y),
        _number(_x(point.high)),
        _number(y),
        COLOURS[point.series % len(COLOURS)],
        _mark(point.series, _x(point.value), y),
        _text(_x(point.high) + 10, y + 4, written),
    )  # fmt: skip


def _mark(series: int, x: float, y: float) -> Markup:
    colour = COLOURS[series % len(COLOURS)]
    if series % len(COLOURS) == 0:
        return Markup('<circle cx="{}" cy="{}" r="5" fill="{}"/>').format(_number(x), _number(y), colour)
    if series % len(COLOURS) == 1:
        return Markup('<rect x="{}" y="{}" width="9" height="9" fill="{}"/>').format(
            _number(x - 4.5), _number(y - 4.5), colour
        )
    corners = f"{_number(x)},{_number(y - 6)} {_number(x + 6)},{_number(y + 5)} {_number(x - 6)},{_number(y + 5)}"
    return Markup('<polygon points="{}" fill="{}"/>').format(corners, colour)


def _x(share: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(1.0, max(0.0, share))


def _line(x1: float, y1: float, x2: float, y2: float, *, dashed: bool) -> Markup:
    how = Markup(' stroke-dasharray="5 4"') if dashed else Markup("")
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="{}"{}/>').format(
        _number(x1), _number(y1), _number(x2), _number(y2), _GREY if dashed else "#dddddd", how
    )


def _text(x: float, y: float, text: str, *, colour: str = _DARK, anchor: str = "start", size: int = 13) -> Markup:
    return Markup('<text x="{}" y="{}" font-size="{}" fill="{}" text-anchor="{}">{}</text>').format(
        _number(x), _number(y), size, colour, anchor, readable(text)
    )


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
