"""Whether a chat template can be used at all, found out before anything is made with it.

A template is a program that came with a model. transformers runs it in a sandbox, which keeps it from the machine and
bounds neither time nor memory. Here it renders one question, with little time, and whatever it does instead of that is
told in one sentence.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from cai.core.errors import ModelError

_SECONDS = 5.0
_LONGEST = 1_000_000  # characters that a template may put around a few words
_QUESTION = "What helps against hiccups?"
_ANSWER = "Hold your breath."


class RenderError(Exception):
    """A chat template did something else than print a conversation; the message says what."""


def check_template(tokenizer: Any, name: str, variables: Mapping[str, Any] | None = None) -> None:
    """Raise ModelError unless the tokenizer has a chat template that prints what a user says, with these variables.

    Raises it, too, where the template does not begin the assistant's turn, so that the model would have to.
    """
    if not tokenizer.chat_template:
        raise ModelError(
            f"model {name} has no chat template: use an instruct model, or put a chat_template.jinja beside its weights"
        )

    def rendered(*said: str, prompt: bool) -> str:
        turns = [{"role": role, "content": words} for role, words in zip(("user", "assistant"), said, strict=False)]
        keywords = {"tokenize": False, "add_generation_prompt": prompt, **(variables or {})}
        return str(render(lambda: tokenizer.apply_chat_template(turns, **keywords)))

    unusable = f"the chat template of model {name} cannot be used"
    try:
        text = rendered(_QUESTION, prompt=True)
    except RenderError as error:
        raise ModelError(f"{unusable}: {error}") from error
    if _QUESTION not in text:
        raise ModelError(f"{unusable}: it does not print what the user says")
    with suppress(RenderError):
        answered = rendered(_QUESTION, _ANSWER, prompt=False)
        before = answered.removeprefix(text).partition(_ANSWER)[0]
        if answered.startswith(text) and before.strip() and rendered(_QUESTION, prompt=False) == text:
            raise ModelError(
                f"{unusable}: it does not begin the assistant's turn, which begins with {before.strip()!r}; print that "
                "in it where add_generation_prompt is set"
            )


def render(rendering: Callable[[], Any]) -> Any:
    """Return what `rendering` returns, a text or what holds one; raises RenderError for all else that it does."""
    try:
        with limited():
            text = rendering()
    except Exception as error:  # a template can raise whatever Python can
        raise RenderError(explain(error)) from error
    if len(text) > _LONGEST:
        raise RenderError(f"it makes {len(text):,} characters of a few words")
    return text


def explain(error: Exception) -> str:
    """Return in half a sentence what a template ended with."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    kind = type(error).__name__
    return f"{kind}: {said}" if said else kind


@contextmanager
def limited() -> Iterator[None]:
    """Raise TimeoutError in whatever Python runs inside the block for too long, line by line."""
    ends = time.monotonic() + _SECONDS
    before = sys.gettrace()

    def watch(_frame: FrameType, _event: str, _argument: Any) -> Any:
        if time.monotonic() > ends:
            raise TimeoutError(f"it does not end within {_SECONDS:.0f} seconds")
        return watch

    sys.settrace(watch)
    try:
        yield
    finally:
        sys.settrace(before)
