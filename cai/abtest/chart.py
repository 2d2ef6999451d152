"""The picture of a test: the difference at the end of each day, with the interval that holds at every look."""

from math import isfinite
from pathlib import Path

from cai.abtest.outcome import AbtestReading, Look, Reading
from cai.core.errors import UsageError
from cai.drawing.canvas import COLOURS, encode, new_figure, style
from cai.drawing.lettering import find_lettering

_WIDTH, _HEIGHT = 9.0, 2.6  # inches, the height of each metric's panel
_GREY = "#555555"


def draw_looks(found: AbtestReading, path: Path) -> None:
    """Write a PNG with a panel a metric; the same reading gives the same bytes. Raises UsageError."""
    shown = [one for one in found.readings if _finite(one)]
    if not shown:
        raise UsageError("there is nothing to draw: no metric was seen in enough units on any day")
    titles = [f"{one.metric}: {found.new} minus {found.old}, interval at any look" for one in shown]
    lettering = find_lettering(titles)
    with style(lettering):
        figure = new_figure(_WIDTH, _HEIGHT * len(shown))
        panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
        for panel, one, title in zip(panels, shown, titles, strict=True):
            looks = _finite(one)
            days = [look.day.isoformat() if look.day else "now" for look in looks]
            panel.axhline(0.0, color=_GREY, linewidth=0.8)
            panel.fill_between(
                days, [look.low for look in looks], [look.high for look in looks], color=COLOURS[0], alpha=0.2
            )
            panel.plot(days, [look.difference for look in looks], color=COLOURS[0], marker="o", markersize=3)
            panel.set_title(lettering.words[title], loc="left", parse_math=False)
            panel.set_xticks(range(0, len(days), max(1, len(days) // 8)))
        if lettering.note:
            figure.supxlabel(lettering.note)
        drawn = encode(figure, "png")
    try:
        path.write_bytes(drawn)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _finite(one: Reading) -> list[Look]:
    return [look for look in one.looks if isfinite(look.low)]
