"""What a person sees while a function of the API works, on standard error or in a notebook's cell.

On a terminal, lines that are drawn anew in place; in a notebook the same in the cell's output, without widgets;
elsewhere, in a log file or a pipe, a line a minute. Remarks (how a file was read, which server is waited for) are lines
of their own. With `progress=False` nothing is drawn, and remarks go to the logger `cai` alone.
"""

import logging
import sys
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cai.core.redaction import redact
from cai.core.text import visible
from cai.pipeline.progress_lines import Observer
from cai.pipeline.watch import Watch

_CELL_WIDTH = 80
_LOGGER = logging.getLogger("cai")


class Showing:
    """A context manager around a job; the job writes to its `watch`, and `draw` shows how far it is."""

    def __init__(self, *, progress: bool) -> None:
        self.watch = Watch(say=self.say)
        self._progress = progress
        self._observer = Observer(self.watch)
        self._display = _notebook_display()
        self._cell: Any = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        console = Console(stderr=True, markup=False, emoji=False, highlight=False)
        if self._progress and self._display is None and console.is_terminal:
            self._live = Live(console=console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last lines as they are."""
        self.draw()
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """Tell a remark; may be called from any thread."""
        line = visible(redact(line))
        if self._progress:
            sys.stderr.write(f"cai: {line}\n")
            sys.stderr.flush()
        else:
            _LOGGER.info(line)

    def draw(self) -> None:
        """Show how things are now."""
        if not self._progress:
            return
        if self._live is not None:
            lines = self._observer.look().lines(self._live.console.width)
            self._live.update(Text("\n".join(lines), no_wrap=True, overflow="crop"), refresh=True)
        elif self._display is not None:
            told = {"text/plain": "\n".join(self._observer.look().lines(_CELL_WIDTH))}
            if self._cell is None:
                self._cell = self._display(told, raw=True, display_id=True)
            else:
                self._cell.update(told, raw=True)
        elif (line := self._observer.log_line()) is not None:
            self.say(line)


def _notebook_display() -> Any:
    """Return IPython's `display` where a notebook runs this process, else None; imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or "IPKernelApp" not in shell.config:
        return None
    return sys.modules["IPython.display"].display
