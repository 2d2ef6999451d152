"""The picture of a test: the difference at the end of each day, with the interval that holds at every look."""

from io import BytesIO
from math import isfinite
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cai.abtest.outcome import AbtestReading, Look, Reading
from cai.core.errors import UsageError

_WIDTH, _HEIGHT = 9.0, 2.6  # inches, the height of each metric's panel
_BLUE, _GREY = "#0072b2", "#555555"


def draw_looks(found: AbtestReading, path: Path) -> None:
    """Write a PNG with a panel a metric; the same reading gives the same bytes. Raises UsageError."""
    shown = [one for one in found.readings if _finite(one)]
    if not shown:
        raise UsageError("there is nothing to draw: no metric was seen in enough units on any day")
    with rc_context({"font.size": 10, "svg.hashsalt": "cai"}):
        figure = Figure(figsize=(_WIDTH, _HEIGHT * len(shown)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
        for panel, one in zip(panels, shown, strict=True):
            looks = _finite(one)
            days = [look.day.isoformat() if look.day else "now" for look in looks]
            panel.axhline(0.0, color=_GREY, linewidth=0.8)
            panel.fill_between(
                days, [look.low for look in looks], [look.high for look in looks], color=_BLUE, alpha=0.2
            )
            panel.plot(days, [look.difference for look in looks], color=_BLUE, marker="o", markersize=3)
            panel.set_title(f"{one.metric}: {found.new} minus {found.old}, interval at any look", loc="left")
            panel.set_xticks(range(0, len(days), max(1, len(days) // 8)))
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    try:
        path.write_bytes(buffer.getvalue())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _finite(one: Reading) -> list[Look]:
    return [look for look in one.looks if isfinite(look.low)]
