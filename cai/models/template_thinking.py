"""What a chat template says of thinking: which tags it knows, which variable switches it, what its default is.

All of it is found out by rendering one question in different ways, so that a template nobody heard of is read as the
known ones are. Whether a model thinks by itself under a template that says nothing of it, only the model can tell.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cai.core.records import Message
from cai.models.template_check import RenderError, render
from cai.models.thinking import TAGS, Tags, opened_by

QUESTION: Message = {"role": "user", "content": "What helps against hiccups?"}
_THOUGHT = "It is asked for a remedy."
_ANSWER: dict[str, str] = {
    "role": "assistant",
    "content": "Holding your breath.",
    "reasoning_content": _THOUGHT,
    "reasoning": _THOUGHT,
    "thinking": _THOUGHT,
}
_SWITCHES: tuple[tuple[str, Any, Any], ...] = (
    ("enable_thinking", True, False),
    ("thinking", True, False),
    ("reasoning", True, False),
    ("reasoning_effort", "high", "none"),
    ("thinking_budget", -1, 0),
)
"""Variables that templates have, with what turns thinking on and off."""

_UNKNOWN = "zq7"
"""A value that no template knows."""

Rendering = Callable[[Sequence[Mapping[str, Any]], bool, Mapping[str, Any]], str]
"""Renders turns, with or without the beginning of the assistant's, and with more variables."""


@dataclass(frozen=True, slots=True)
class TemplateThinking:
    """`on` and `off` are the variables that switch thinking, empty where none does.

    `tags` are those that thoughts are written in, None where the template knows none; `default` is whether a model
    thinks where nothing is said, None where the template does not tell.
    """

    tags: Tags | None = None
    on: Mapping[str, Any] = field(default_factory=dict)
    off: Mapping[str, Any] = field(default_factory=dict)
    default: bool | None = None

    def variables(self, mode: str) -> Mapping[str, Any]:
        """Return what to render with so that a model thinks or does not; nothing for `auto`."""
        return {"on": self.on, "off": self.off}.get(mode, {})


def read_thinking(rendering: Rendering, source: str) -> TemplateThinking:
    """Return what is found out; `source` is the template's text, which is searched for tags where no rendering has any.

    A rendering that fails is left out: whether the template works at all is not asked here.
    """

    def rendered(**variables: Any) -> str | None:
        try:
            return str(render(lambda: rendering([QUESTION], True, variables)))
        except RenderError:
            return None

    base = rendered()
    switch = next(_switches(rendered), None)
    if switch is None:
        return TemplateThinking(_tags(rendering, (base,), {}, source), default=_opens(base) or None)
    name, on, off = switch
    with_on, with_off = rendered(**{name: on}), rendered(**{name: off})
    default = True if base == with_on else False if base == with_off else None
    tags = _tags(rendering, (with_on, with_off, base), {name: on}, source)
    return TemplateThinking(tags, {name: on}, {name: off}, default)


def _switches(rendered: Callable[..., str | None]) -> Iterator[tuple[str, Any, Any]]:
    for name, on, off in _SWITCHES:
        with_on, with_off = rendered(**{name: on}), rendered(**{name: off})
        if with_on is None or with_off is None or with_on == with_off:
            continue
        printed = not isinstance(on, bool) and with_on.replace(str(on), "") == with_off.replace(str(off), "")
        # A template that prints whatever it is given knows nothing of the value; one that refuses others does.
        if not printed or rendered(**{name: _UNKNOWN}) is None:
            yield name, on, off


def _tags(
    rendering: Rendering, prompts: Sequence[str | None], variables: Mapping[str, Any], source: str
) -> Tags | None:
    for prompt in prompts:
        if prompt is not None and (tags := opened_by(prompt)) is not None:
            return tags
    texts = [prompt for prompt in prompts if prompt is not None]
    with suppress(RenderError):
        texts.append(str(render(lambda: rendering([QUESTION, _ANSWER], False, variables))))
    for text in (*texts, source):
        for tags in TAGS:
            if tags.opens.search(text):
                return tags
    return None


def _opens(prompt: str | None) -> bool:
    return prompt is not None and opened_by(prompt) is not None
