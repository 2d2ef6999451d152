"""The chat template a model is trained with: its own where that can be trusted, ours where a base model has none.

Three laws are checked on example conversations before anything is trained. What is marked for the loss is what the
assistant says and the end of its turn, never the user's words; a prompt, rendered for generation, is an exact
beginning of the prompt with its answer, in text and in tokens (DPO's and completion-only loss rest on it); and behind
an answer stands a token that ends the turn, or the model would never learn to stop.

A base model often knows `<|endoftext|>` as its only end and comes with a template that closes turns with `<|im_end|>`.
Trained with it, the model writes `<|im_end|>` after an answer; if nothing stops there it goes on with the user's next
turn. So what was learned is written into the generation configuration that lies beside the trained weights
(`add_ends`), where transformers, vLLM and cai's own engine look for it. The tokenizer's end stays: templates print it,
and texts end so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerBase
from trl import chat_template_utils
from trl.chat_template_utils import get_training_chat_template

from cai.core.errors import ModelError, UsageError
from cai.models.template_check import RenderError, limited
from cai.train.template.markers import has_markers, with_markers, without_markers
from cai.train.template.reasoning import find_key, thinking_off
from cai.train.template.rendering import THOUGHTS, Chat, example_chats, render_chat

TEMPLATES = ("chatml", "alpaca", "plain")

_FOLDER = Path(__file__).parent
_KNOWN = "TRL's training template for the model's own"
_OFFER = "give --template chatml, alpaca or plain"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was done, in a phrase, and the tokens that a turn of the assistant's ends with.

    `key` is what the template calls the reasoning of a turn, None where none is learned; `always` says that it prints
    answers as the laws ask only behind some.
    """

    done: str
    ends: tuple[int, ...]
    key: str | None = None
    always: bool = False


def prepare_template(
    tokenizer: PreTrainedTokenizerBase,
    choice: str | None,
    *,
    need_markers: bool,
    need_ends: bool = True,
    reasoning: bool = False,
) -> Prepared:
    """Settle the tokenizer's chat template, so that it is saved with the result.

    `choice` is one of TEMPLATES or None for the model's own; `need_markers` when the loss must find the assistant's
    turns in a whole conversation, `need_ends` when answers are learned, `reasoning` when what was thought before them
    is, too. Raises UsageError when there is no template, or none that keeps the laws above.
    """
    key = None
    if reasoning:
        key = find_key(
            tokenizer, None if choice is not None or tokenizer.chat_template is None else _default(tokenizer)
        )
    done = _settle(tokenizer, choice, key, need_markers=need_markers, need_ends=need_ends)
    _require_prefix(tokenizer, key)
    template = _default(tokenizer)
    ends = _ends(tokenizer, template, key)
    if need_ends and not ends:
        raise UsageError(
            "This model's chat template closes no answer with a token of its own, so the model would not learn where "
            f"one ends; {_OFFER}."
        )
    always = key is not None and not (
        _keeps_prefixes(tokenizer, template, None) and (not need_markers or _marks_answers(tokenizer, template, None))
    )
    return Prepared(done, ends, key, always)


def _settle(
    tokenizer: PreTrainedTokenizerBase, choice: str | None, key: str | None, *, need_markers: bool, need_ends: bool
) -> str:
    if choice is not None:
        tokenizer.chat_template = _own_template(tokenizer, choice)
        return f"{choice} (given)"
    if tokenizer.chat_template is None:
        raise UsageError(f"This model has no chat template; {_OFFER}.")
    own = _default(tokenizer)
    off = "" if key is not None or not need_ends else _thinking_off(tokenizer, own)
    own, done = off + own, "the model's own"
    if need_markers:
        if not tokenizer.is_fast:
            raise ModelError(
                "This model's tokenizer cannot tell which tokens the assistant wrote; use its fast version."
            )
        own, done = _marked(tokenizer, own, key, off)
    elif need_ends and not _ends(tokenizer, own, key):
        known = _known_family(tokenizer, off)
        if known is not None and _ends(tokenizer, known, key):
            own, done = known, _KNOWN
    if own != _default(tokenizer):
        _set_default(tokenizer, own)
    return f"{done}, not thinking unless it is told to" if off else done


def _thinking_off(tokenizer: PreTrainedTokenizerBase, own: str) -> str:
    """Return what makes the template not think by default, where only then a prompt begins the prompt and answer."""
    try:
        if _keeps_prefixes(tokenizer, own, None):
            return ""
        off = thinking_off(tokenizer, own)
        return off if _keeps_prefixes(tokenizer, off + own, None) else ""
    except RenderError:
        return ""


def _own_template(tokenizer: PreTrainedTokenizerBase, choice: str) -> str:
    """Return one of cai's templates, with the beginning-of-sequence token where the tokenizer itself would put one."""
    if choice not in TEMPLATES:
        raise UsageError(f"--template is {', '.join(TEMPLATES)}, not {choice}.")
    if tokenizer.eos_token is None:
        raise ModelError(
            f"This model's tokenizer has no end-of-sequence token, so --template {choice} cannot teach it where an "
            "answer ends; set eos_token in its tokenizer_config.json."
        )
    template = (_FOLDER / f"{choice}.jinja").read_text(encoding="utf-8")
    begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return "{{- bos_token -}}" + template if begins else template


def _default(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the template for plain conversations; some models bring further ones, for tools."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        if "default" not in template:
            raise UsageError(f"This model has the chat templates {', '.join(template)} and no default one; {_OFFER}.")
        template = template["default"]
    return str(template)


def _set_default(tokenizer: PreTrainedTokenizerBase, template: str) -> None:
    if isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = {**tokenizer.chat_template, "default": template}
    else:
        tokenizer.chat_template = template


def _marked(tokenizer: PreTrainedTokenizerBase, own: str, key: str | None, off: str) -> tuple[str, str]:
    """Return a template that marks what the assistant says, and where it comes from; raises UsageError."""
    if has_markers(own) and _marks_answers(tokenizer, own, key, header_too=_is_trained_with(own)):
        return own, "the model's own"
    known = _known_family(tokenizer, off)
    if known is not None and _marks_answers(tokenizer, known, key, header_too=True):
        return known, _KNOWN
    patched = with_markers(without_markers(own))
    if patched is not None and _same_text(tokenizer, own, patched, key) and _marks_answers(tokenizer, patched, key):
        return patched, "the model's own with generation markers added"
    raise UsageError(
        "This model's chat template does not mark what the assistant says and could not be patched so that it surely "
        "does, and cai does not train on the user's words; give --template chatml to train with another."
    )


def _is_trained_with(template: str) -> bool:
    """Return whether it is one of TRL's training templates, as a model has that was trained with it before."""
    known = (value for name, value in vars(chat_template_utils).items() if name.endswith("_training_chat_template"))
    return any(template.endswith(value) for value in known if isinstance(value, str))


def _known_family(tokenizer: PreTrainedTokenizerBase, off: str) -> str | None:
    """Return TRL's training template for the tokenizer's, or None when TRL does not know it or it needs none.

    Before it stands `off`, see `thinking_off`.
    """
    try:
        with limited():
            template = get_training_chat_template(tokenizer)
    except Exception:  # TRL renders the template to find out, and a template can raise whatever Python can
        return None
    return None if template is None else off + str(template)


def _same_text(tokenizer: PreTrainedTokenizerBase, one: str, other: str, key: str | None) -> bool:
    chats: list[tuple[Chat, bool]] = [(chat, False) for chat in example_chats(tokenizer, one, key)]
    chats += [(chat[:-1], True) for chat, _ in chats]
    try:
        return all(
            render_chat(tokenizer, one, chat, prompt=prompt)[0] == render_chat(tokenizer, other, chat, prompt=prompt)[0]
            for chat, prompt in chats
        )
    except RenderError:
        return False


def _marks_answers(
    tokenizer: PreTrainedTokenizerBase, template: str, key: str | None, *, header_too: bool = False
) -> bool:
    """Return whether exactly what a model would write is marked: from the generation prompt's end to the turn's end.

    `header_too` lets the assistant's header be marked as well, as some of TRL's templates do: constant words that
    teach nothing wrong.
    """
    try:
        return all(
            _marks_chat(tokenizer, template, chat, header_too) for chat in example_chats(tokenizer, template, key)
        )
    except RenderError:
        return False


def _marks_chat(tokenizer: PreTrainedTokenizerBase, template: str, chat: Chat, header_too: bool) -> bool:
    text, stretches = render_chat(tokenizer, template, chat)
    marked = _joined(stretches)
    answers = [turn["content"] for turn in chat if turn["role"] == "assistant"]
    others = [turn["content"] for turn in chat if turn["role"] != "assistant"]
    if len(marked) != len(answers):
        return False
    for (first, last), answer, thought in zip(marked, answers, THOUGHTS, strict=False):
        lead, found, end = text[first:last].partition(answer)
        if not found or end_of_turn(tokenizer, end) is None or any(other in lead + end for other in others):
            return False
        if thought in text and thought not in lead:
            return False
    prompt, _ = render_chat(tokenizer, template, chat[:-1], prompt=True)
    begins, due = marked[-1][0], len(prompt)
    # White space at the edge may be on either side: TRL's template for Qwen marks the line break before the answer.
    return not text[due:begins].strip() and (header_too or not text[begins:due].strip())


def _ends(tokenizer: PreTrainedTokenizerBase, template: str, key: str | None) -> tuple[int, ...]:
    """Return the tokens that close the last answer of a conversation, or none where one is not closed."""
    found: dict[int, None] = {}
    try:
        for chat in example_chats(tokenizer, template, key):
            prompt, _ = render_chat(tokenizer, template, chat[:-1], prompt=True)
            text, _ = render_chat(tokenizer, template, chat)
            _, printed, after = text[len(prompt) :].partition(chat[-1]["content"])
            end = end_of_turn(tokenizer, after) if printed else None
            if end is None:
                return ()
            found[end] = None
    except RenderError:
        return ()
    return tuple(found)


def _joined(stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the stretches with neighbours that touch made one: an answer and its end may be marked apart."""
    joined: list[tuple[int, int]] = []
    for first, last in stretches:
        if joined and joined[-1][1] == first:
            first, _ = joined.pop()
        joined.append((first, last))
    return joined


def _require_prefix(tokenizer: PreTrainedTokenizerBase, key: str | None) -> None:
    try:
        kept = _keeps_prefixes(tokenizer, _default(tokenizer), key)
    except RenderError as error:
        raise UsageError(f"This model's chat template cannot be rendered ({error}); {_OFFER}.") from error
    if not kept:
        raise UsageError(
            "With this model's chat template a prompt is not the beginning of the prompt with its answer, so what "
            f"belongs to the answer cannot be told; {_OFFER}."
        )


def _keeps_prefixes(tokenizer: PreTrainedTokenizerBase, template: str, key: str | None) -> bool:
    return all(_keeps_prefix(tokenizer, template, chat) for chat in example_chats(tokenizer, template, key))


def _keeps_prefix(tokenizer: PreTrainedTokenizerBase, template: str, chat: Chat) -> bool:
    prompt, _ = render_chat(tokenizer, template, chat[:-1], prompt=True)
    text, _ = render_chat(tokenizer, template, chat)
    if not text.startswith(prompt):
        return False
    before, whole = (_tokens(tokenizer, piece) for piece in (prompt, text))
    return bool(whole[: len(before)] == before)


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> Any:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def end_of_turn(tokenizer: PreTrainedTokenizerBase, after: str) -> int | None:
    """Return the first token of `after`, what a template prints behind an answer, at which generation can stop.

    That is a special or an added token: none else is sure never to be part of what is said.
    """
    sure = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    tokens = tokenizer(after, add_special_tokens=False)["input_ids"]
    return next((token for token in tokens if token in sure), None)


def add_ends(model: Any, ends: tuple[int, ...]) -> None:
    """Let generation by this model stop at these tokens too."""
    config: GenerationConfig = model.generation_config
    known = config.eos_token_id
    listed = known if isinstance(known, list) else [] if known is None else [known]
    config.eos_token_id = [*listed, *(end for end in ends if end not in listed)] or None
