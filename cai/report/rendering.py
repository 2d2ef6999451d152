"""A report as one HTML file that needs nothing else: no script, no network, styles for paper within.

Everything that is put into the template is escaped; text loses known secrets and shows control characters
(`document.readable`). Only drawings, which escaped what they hold themselves, go in as they are.
"""

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from cai.report.document import ReportDocument, readable

MARK = b'<meta name="generator" content="cai report">'
"""What tells a report from somebody else's page."""


def render(report: ReportDocument) -> bytes:
    """Return the file; the same report gives the same bytes."""
    return _template().render(report=report).encode("utf-8", "backslashreplace")


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_finalized, keep_trailing_newline=True
    )
    return environment.from_string(files("cai.report").joinpath("page.html.j2").read_text(encoding="utf-8"))


def _finalized(value: Any) -> Any:
    return value if isinstance(value, Markup) else readable(value)
