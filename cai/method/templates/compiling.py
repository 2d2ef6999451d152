"""From a template's text to a function that renders it; everything that can be wrong with it is found before.

Each check raises TemplateError in one sentence, with file and line where there is one. What fails only with a row's own
texts is that row's RowError.
"""

import difflib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cai.core.errors import RowError, TemplateError
from cai.core.records import Message
from cai.method.templates.reading import REFERENCED, Words

TraceFunction = Callable[[FrameType, str, Any], Any]
Render = Callable[..., str]
"""Takes the template's variables by name; raises RowError when a row's texts make the template fail."""

_COMPARING = ("principle", "messages", "first", "second", "marker")
_VARIABLES = {
    "critique": ("principle",),
    "revision": ("principle",),
    "anew": ("principle", "response", "critique"),
    "gate": ("principle",),
    "criterion": ("criterion",),
    "judge": _COMPARING,
    "judge_reason": _COMPARING,
    "judge_decide": (),
    **dict.fromkeys(REFERENCED, (*_COMPARING, "reference")),
    "attacker": ("goal", "messages", "turn", "turns"),
    "tenets": ("principle", "count"),
    "scenarios": ("tenet", "count"),
}
"""What each template may use."""

_NEEDED = {
    "critique": ("principle",),
    "anew": ("principle",),
    "gate": ("principle",),
    "criterion": ("criterion",),
    "judge": _COMPARING[2:],
    "judge_reason": _COMPARING[2:],
    **dict.fromkeys(REFERENCED, (*_COMPARING[2:], "reference")),
    "attacker": ("goal", "messages"),
    "tenets": ("principle", "count"),
    "scenarios": ("tenet", "count"),
}
"""What a template must use, or the model would not know what it is asked about."""

_ANSWERED = {
    "gate": "gate",
    "criterion": "criterion",
    "judge": "judge",
    "judge_reason": "judge",
    "judge_decide": "judge",
    **dict.fromkeys(REFERENCED, "judge"),
}
"""Whose words a template must name, for they are the only answers that are understood."""


_FIRST, _SECOND, _MARKER = "response one", "response two", "0f1e2d"
"""Stand-ins for trying templates out."""

_MOST_STEPS = 100_000
"""Lines that a template may go through while it is tried out on a few words; the shipped ones need about twenty."""


@dataclass(frozen=True, slots=True)
class _Probe:
    """A principle for trying templates out."""

    id: str = "probe"
    text: str = "text"
    critique: str | None = None
    revision: str | None = None
    preference: str | None = None


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox in which nothing can be multiplied: `"a" * 10 ** 10` would fill the memory before anybody looks."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, _context: Context, operator: str, _left: Any, _right: Any) -> Any:
        """Refuse."""
        raise jinja2.exceptions.SecurityError(f"a template cannot calculate with {operator}; write the text itself")


def compile_all(folder: Path, texts: dict[str, str], words: Words) -> dict[str, Render]:
    """Return a render function for each kind; `folder` is where messages say that the texts are."""
    environment = _Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.globals.clear()  # lipsum and its like have no place in a prompt
    renders = {}
    for kind, text in texts.items():
        path = folder / f"{kind}.j2"
        template = _compile(environment, path, kind, text)
        _try_out(path, kind, template, words)
        renders[kind] = _guarded(path, template)
    return renders


def _compile(environment: _Environment, path: Path, kind: str, text: str) -> jinja2.Template:
    try:
        tree = environment.parse(text, filename=str(path))
        _check_variables(path, kind, tree)
        code = environment.compile(tree, filename=str(path))
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{path}:{error.lineno}: {error.message}") from None
    return jinja2.Template.from_code(environment, code, {})


def _guarded(path: Path, template: jinja2.Template) -> Render:
    """Return the template's render function, which makes whatever goes wrong in it the row's failure."""

    def render(**shown: Any) -> str:
        try:
            return template.render(shown)
        except Exception as error:
            raise RowError(f"{path}:{_line(error, path)}: {error}", stage="template") from None

    return render


def _check_variables(path: Path, kind: str, tree: nodes.Template) -> None:
    for other in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise TemplateError(f"{path}:{other.lineno}: a template stands alone; it cannot read another file")
    allowed = _VARIABLES[kind]
    used = find_undeclared_variables(tree)
    for node in tree.find_all(nodes.Name):
        if node.name in used and node.name not in allowed:
            near = difflib.get_close_matches(node.name, allowed, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"it may use {_list(allowed)}"
            raise TemplateError(f"{path}:{node.lineno}: unknown variable `{node.name}`; {hint}")
    for name in _NEEDED.get(kind, ()):
        if name not in used:
            raise TemplateError(f"{path}: the template never uses `{name}`, so the model could not see it")


def _try_out(path: Path, kind: str, template: jinja2.Template, words: Words) -> None:
    """Render with a bare principle and with a full one, so that what fails, fails before any model is asked."""
    conversation: list[Message] = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "u"},
    ]
    shown: dict[str, Any] = {"messages": conversation, "first": _FIRST, "second": _SECOND, "marker": _MARKER}
    shown |= {"response": _FIRST, "critique": _SECOND, "criterion": _Probe().text, "reference": "the right answer"}
    shown |= {"goal": "goal", "turn": 2, "turns": 3, "tenet": _Probe().text, "count": 2}
    for principle in (_Probe(), _Probe(critique="critique", revision="revision", preference="preference")):
        everything = {**shown, "principle": principle}
        try:
            text = _render_bounded(path, template, {name: everything[name] for name in _VARIABLES[kind]})
        except TemplateError:
            raise
        except Exception as error:  # whatever a user's template does wrong is the template's mistake
            raise TemplateError(f"{path}:{_line(error, path)}: {error}") from None
        if not text.strip():
            raise TemplateError(f"{path}: the template renders to nothing")
        _check_rendered(path, kind, text, words)


def _render_bounded(path: Path, template: jinja2.Template, shown: dict[str, Any]) -> str:
    """Render, but not for ever: raises TemplateError once the template has gone through `_MOST_STEPS` lines."""
    steps = 0

    def step(_frame: FrameType, _event: str, _argument: object) -> TraceFunction:
        nonlocal steps
        steps += 1
        if steps > _MOST_STEPS:
            raise TemplateError(f"{path}: the template repeats something without an end in sight")
        return step

    def enter(frame: FrameType, _event: str, _argument: object) -> TraceFunction | None:
        return step if frame.f_code.co_filename == str(path) else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        return template.render(shown)
    finally:
        sys.settrace(before)


def _check_rendered(path: Path, kind: str, text: str, words: Words) -> None:
    """Check what a template shows: the words to answer with, and the responses in their order between markers."""
    for word in words.answers[_ANSWERED[kind]] if kind in _ANSWERED else ():
        if word not in text:
            raise TemplateError(f"{path}: the template never names the answer {word!r} of words.yaml")
    if "first" in _VARIABLES[kind] and not 0 <= text.find(_FIRST) < text.find(_SECOND):
        raise TemplateError(f"{path}: the template must always show `first` and, behind it, `second`")
    if "marker" in _VARIABLES[kind]:
        before, _, rest = text.partition(_FIRST)
        between, _, behind = rest.partition(_SECOND)
        if not all(_MARKER in part for part in (before, between, behind)):
            raise TemplateError(
                f"{path}: `marker` must stand before `first`, between `first` and `second`, and behind `second`, "
                "or a response could pass for what surrounds it"
            )


def _line(error: Exception, path: Path) -> int:
    """Return the template's line in which `error` was raised (Jinja rewrites tracebacks to template lines)."""
    line, traceback = 1, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == str(path):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "no variables"
