"""Example conversations for a chat template, and how it prints them, with what it marks."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from cai.models.template_check import RenderError, render
from cai.train.template.markers import has_markers

Chat = list[dict[str, str]]

THOUGHTS = ("It is nothing grave, so help at home will do.", "There is more time than worry.", "Someone near is best.")

_QUESTIONS = ("What can I do against hiccups?", "And if nothing helps?", "Whom do I ask?")
_ANSWERS = ("Hold your breath.\n\nThen sip cold water.", "Wait; they pass.", "A pharmacist knows.")
_SYSTEM = "You answer briefly."


def example_chats(tokenizer: PreTrainedTokenizerBase, template: str, key: str | None) -> list[Chat]:
    """Return conversations of one to three exchanges, with a system turn too where the template takes one.

    Under the `key`, if there is one, answers have a thought.
    """
    chats = [exchange(length, key) for length in (1, 2, 3)]
    with_system = [{"role": "system", "content": _SYSTEM}, *chats[-1]]
    try:
        render_chat(tokenizer, template, with_system)
    except RenderError:
        return chats
    return [*chats, with_system]


def exchange(length: int, key: str | None) -> Chat:
    """Return so many questions with their answers, under the `key`, if there is one, with what was thought."""
    turns: Chat = []
    for question, answer, thought in list(zip(_QUESTIONS, _ANSWERS, THOUGHTS, strict=True))[:length]:
        thinking = {} if key is None else {key: thought}
        turns += ({"role": "user", "content": question}, {"role": "assistant", "content": answer, **thinking})
    return turns


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    chat: Sequence[Mapping[str, Any]],
    *,
    prompt: bool = False,
    **variables: Any,
) -> tuple[str, list[tuple[int, int]]]:
    """Return the text and the marked stretches of it, first character and the one after the last.

    Raises RenderError when the template does anything else than print the conversation.
    """
    marked: list[list[tuple[int, int]]] = []

    def rendering() -> str:
        texts, found = render_jinja_template(
            [list(chat)],
            chat_template=template,
            return_assistant_tokens_mask=has_markers(template),
            add_generation_prompt=prompt,
            **{**tokenizer.special_tokens_map, **variables},
        )
        marked.extend(found or [])
        return str(texts[0])

    text = render(rendering)
    return text, [(int(first), int(last)) for first, last in marked[0]] if marked else []
