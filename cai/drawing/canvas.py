"""A figure of one's own and its bytes: matplotlib's Agg canvas, no window, no state shared with other plots.

The same drawing gives the same bytes, on whatever day. Colours are those of Okabe and Ito ("Color Universal Design",
2008), which stay apart for people who are colour-blind; with a marker each, lines also differ in print.
"""

import io
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Literal

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cai.drawing.lettering import Lettering

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = "osD^vPX*"  # as many as share no factor with the colours: fifty-six lines look different

Form = Literal["png", "svg", "pdf"]

_RESOLUTION = 200  # points an inch, of a PNG
_ABOUT: Mapping[Form, Mapping[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What matplotlib writes of itself and of the time, left out."""


def style(lettering: Lettering, size: float = 10.0) -> AbstractContextManager[None]:
    """Return the context in which a figure is made, drawn and encoded; `size` is that of its letters, in points.

    Letters of an SVG are shapes, so that it looks the same where a font is missing; those of a PDF can be searched.
    """
    return rc_context(
        {
            "font.family": list(lettering.fonts),
            "font.size": size,
            "svg.hashsalt": "cai",
            "svg.fonttype": "path",
            "pdf.fonttype": 42,
        }
    )


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty white figure of a size in inches."""
    figure = Figure(figsize=(width, height), layout=layout, facecolor="w")
    FigureCanvasAgg(figure)
    return figure


def encode(figure: Figure, form: Form) -> bytes:
    """Return the content of the figure's file."""
    data = io.BytesIO()
    figure.savefig(data, format=form, dpi=_RESOLUTION, metadata=dict(_ABOUT[form]))
    return data.getvalue()
