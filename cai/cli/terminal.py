"""The one way to standard output and standard error: everything that is printed goes through here.

Secrets are taken out (`cai.core.redaction`), and what a terminal would obey or not show becomes visible
(`cai.core.text`), in a pipe as well: what is printed today is looked at on a terminal tomorrow. Nothing in square
brackets is markup.
"""

import logging
import re
import sys
import warnings
from typing import Any, TextIO

import click

from cai.core.redaction import redact
from cai.core.text import is_hidden, visible

_PERHAPS_HIDDEN = re.compile(r"[^\n\x20-\x7e]")


def clean(text: str) -> str:
    """Return text as it may be printed."""
    return visible(redact(text))


def say(line: str, *, err: bool = False) -> None:
    """Print a line."""
    click.echo(clean(line), err=err)


def remark(line: str) -> None:
    """Tell a person something beside the output: on standard error, as cai's."""
    say(f"cai: {line}", err=True)


def confirm(question: str) -> None:
    """Ask on the terminal; raises click.Abort on no."""
    click.confirm(clean(question), abort=True, err=True)


def print_json(value: Any, *, indent: bool = False) -> None:
    """Print a value as JSON, in which characters that a terminal would obey are escaped: the value stays the same."""
    import orjson  # noqa: PLC0415  (the commands that print JSON have it, `cai --help` does not wait)

    options = orjson.OPT_INDENT_2 if indent else 0
    text = orjson.dumps(_encodable(value), option=options).decode()
    click.echo(_PERHAPS_HIDDEN.sub(lambda found: _escaped(found[0]), text))


def show_error(error: click.ClickException) -> None:
    """Print what click says of a mistake as one sentence, with what lists the options; the help where it is that."""
    told = error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        say(told, err=True)
        return
    context = error.ctx if isinstance(error, click.UsageError) else None
    sentence = " ".join(told.replace(". (Did you", " (did you").replace(". Did you", "; did you").split()).rstrip(".")
    remark(sentence if context is None or sentence.endswith("?") else f"{sentence}; see {context.command_path} --help")


def watch_libraries() -> None:
    """Let warnings and log records of libraries pass through here too; they quote addresses and file names."""
    warnings.showwarning = _show_warning
    logging.setLogRecordFactory(_CleanRecord)


class _CleanRecord(logging.LogRecord):
    def getMessage(self) -> str:  # noqa: N802  (logging's name)
        return clean(super().getMessage())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    (file or sys.stderr).write(clean(warnings.formatwarning(message, category, filename, lineno, line)))


def _escaped(character: str) -> str:
    if not is_hidden(character):
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True))


def _encodable(value: Any) -> Any:
    """Return a value without what no UTF-8 can hold: half characters, in names of files and in servers' answers."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_encodable(key): _encodable(item) for key, item in value.items()}
        case list() | tuple():
            return [_encodable(item) for item in value]
    return value
