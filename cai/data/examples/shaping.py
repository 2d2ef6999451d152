"""From a row as a file has it to examples in the kind's exact columns.

| kind | columns |
|---|---|
| supervised | prompt and answer; or `messages`, which UltraFeedback has beside its pairs; or `text` |
| pairs | `chosen` and `rejected`, with or without a prompt; perhaps `chosen_probability`; or ranked answers |
| ranked | prompt and `answers`: see `cai.data.examples.ranked` |
| labelled | prompt, answer and `label`; or pairs |
| scored | prompt, answer and `score` |
| prompts | prompt; or pairs; beside it what an answer is judged by, `rubric` and `tags` |

The prompt is what `cai generate` would read (`cai.data.columns`: Alpaca, Dolly, OpenOrca, a system column). The answer
is `completion`, Alpaca's `output`, or the `response` of Dolly and OpenOrca. A row that cannot be used raises
BadRowError with the reason it is counted under; a value that cannot be meant (a label that is none, a probability above
1) raises InputError with its place.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cai.core.errors import InputError
from cai.data.columns import (
    METADATA,
    PROMPT_COLUMNS,
    RUBRIC_COLUMNS,
    PromptColumns,
    listed,
    prompt_columns,
    system_column,
    with_system,
)
from cai.data.drafts import read_tags
from cai.data.examples.conversations import (
    Turns,
    is_turn_of,
    read_answer,
    read_dialogue,
    read_prompt,
    read_whole_pair,
    split_last_answer,
)
from cai.data.examples.labels import read_label, read_probability, read_score
from cai.data.examples.ranked import ranked_pairs, read_ranked
from cai.data.rows import BadRowError, check_text
from cai.data.rubrics import read_rubric, rubric_rows

ExampleKind = Literal["supervised", "pairs", "ranked", "labelled", "scored", "prompts"]
"""What examples teach: an answer, which of two or several is better, whether one is good, how good, or nothing yet."""

Layout = Literal["completion", "messages", "text", "pairs", "ranked", "labelled", "scored", "prompts"]
"""The columns an example has; supervised ones come in three layouts, every other kind in its own."""

COLUMNS: Mapping[Layout, tuple[str, ...]] = {
    "completion": ("prompt", "completion"),
    "messages": ("messages",),
    "text": ("text",),
    "pairs": ("prompt", "chosen", "rejected", "chosen_probability"),
    "ranked": ("prompt", "answers"),
    "labelled": ("prompt", "completion", "label"),
    "scored": ("prompt", "completion", "score"),
    "prompts": ("prompt", "rubric", "tags"),
}

NEEDS: Mapping[ExampleKind, str] = {
    "supervised": "prompt and completion, messages, or text",
    "pairs": "chosen and rejected, with a prompt or beginning with it (and chosen_probability for soft labels)",
    "ranked": "prompt and answers, a list of text with rank or score",
    "labelled": "prompt, completion and label, or chosen and rejected",
    "scored": "prompt, completion and score",
    "prompts": f"one of {', '.join(PROMPT_COLUMNS)}",
}

ANSWER_COLUMNS = ("completion", "output", "response")

PLAIN_COLUMNS = frozenset({name for names in COLUMNS.values() for name in names} | {*PROMPT_COLUMNS, *METADATA})
"""Columns that need no word when they are read: their names say what they are."""

_ASKING = tuple(column for column in PROMPT_COLUMNS if column not in ("messages", "text"))
"""Prompt columns that an answer may stand beside."""

IDENTICAL = "identical"
UNDECIDED = "neither of the pair is likelier"

Shaper = Callable[[Mapping[str, Any], str], Iterator[dict[str, Any]]]
"""What makes examples of a row; the second argument is the row's place, for messages."""


@dataclass(frozen=True, slots=True)
class RowShape:
    """How rows of certain columns become examples; `distinct`: the same answer to the same prompt counts once."""

    layout: Layout
    used: tuple[str, ...]
    examples: Shaper
    distinct: bool = False


def choose_shape(kind: ExampleKind, columns: Collection[str], name: str, purpose: str | None = None) -> RowShape:
    """Return how rows with these columns become examples of the kind; raises InputError when they cannot.

    `purpose` is what they are for, in an error's words (None: training).
    """
    shape = _SHAPES[kind](_Found(columns, name))
    if shape is None:
        held = f"the columns {listed(columns)}" if columns else "no columns"
        raise InputError(f"{name} has {held}; {purpose or _PURPOSES[kind]} needs {NEEDS[kind]}.")
    return shape


def as_completion(example: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a `messages` example as prompt and completion; raises InputError where that would change the loss."""
    halves = split_last_answer(example["messages"])
    if halves is None:
        raise InputError(
            f"{place} is a conversation in which the assistant's only turn is not its last, and cannot be mixed with "
            "prompt and completion data; train on one of them, then on the other."
        )
    return {"prompt": halves[0], "completion": halves[1]}


def label_pair(pair: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield both halves of a `pairs` example as labelled ones: the likelier is good; raises BadRowError at one half."""
    if pair["chosen_probability"] == 0.5:
        raise BadRowError(UNDECIDED)
    leads = pair["chosen_probability"] > 0.5
    yield {"prompt": pair["prompt"], "completion": pair["chosen"], "label": leads}
    yield {"prompt": pair["prompt"], "completion": pair["rejected"], "label": not leads}


class _Found:
    """The columns of one source."""

    def __init__(self, columns: Collection[str], name: str) -> None:
        self._columns = columns
        self._name = name

    def has(self, *names: str) -> bool:
        return set(names) <= set(self._columns)

    def prompt(self, among: tuple[str, ...] = _ASKING) -> PromptColumns | None:
        main = next((column for column in among if column in self._columns), None)
        return None if main is None else prompt_columns(main, self._columns, self._name)

    def system(self) -> str | None:
        return system_column(self._columns, self._name)

    def question(self) -> tuple[PromptColumns, str] | None:
        """Return a prompt and its answer; raises InputError where it is not clear which column is the answer."""
        prompt = self.prompt()
        answers = [column for column in ANSWER_COLUMNS if column in self._columns]
        if prompt is None or not answers:
            return None
        if len(answers) > 1 and answers[0] != ANSWER_COLUMNS[0]:
            raise InputError(
                f"{self._name} has both {' and '.join(answers)}; call the answer {ANSWER_COLUMNS[0]}, so that it is "
                "clear which is meant."
            )
        return prompt, answers[0]


def _supervised(found: _Found) -> RowShape | None:
    is_pair = found.has("chosen", "rejected")
    if found.has("messages") and not found.has("prompt", "completion"):
        return _conversation(found.system())
    if (not is_pair or found.has("prompt", "completion")) and (question := found.question()) is not None:
        return _completion(*question)
    return RowShape("text", ("text",), _text) if found.has("text") and not is_pair else None


def _pairs(found: _Found) -> RowShape | None:
    return _ranked_pairs(found) if found.has("answers") else _two_answers(found)


def _two_answers(found: _Found) -> RowShape | None:
    if not found.has("chosen", "rejected"):
        return None
    prompt, system = found.prompt(), found.system()
    soft = found.has("chosen_probability")
    names = prompt.names if prompt is not None else () if system is None else (system,)

    def shape(row: Mapping[str, Any], place: str) -> Iterator[dict[str, Any]]:
        probability = read_probability(row.get("chosen_probability"), place) if soft else 1.0
        asked, chosen, rejected = _halves(row, prompt, system)
        if chosen[0]["content"].strip() == rejected[0]["content"].strip():
            raise BadRowError(IDENTICAL)
        yield {"prompt": asked, "chosen": chosen, "rejected": rejected, "chosen_probability": probability}

    return RowShape("pairs", (*names, "chosen", "rejected", *(("chosen_probability",) if soft else ())), shape)


def _ranked(found: _Found) -> RowShape | None:
    prompt = found.prompt()
    if prompt is None or not found.has("answers"):
        return None

    def shape(row: Mapping[str, Any], _place: str) -> Iterator[dict[str, Any]]:
        asked = read_prompt(prompt.value(row))
        yield {"prompt": asked, "answers": read_ranked(row.get("answers"), asked)}

    return RowShape("ranked", (*prompt.names, "answers"), shape)


def _ranked_pairs(found: _Found) -> RowShape | None:
    ranked = _ranked(found)
    if ranked is None:
        return None

    def shape(row: Mapping[str, Any], place: str) -> Iterator[dict[str, Any]]:
        for example in ranked.examples(row, place):
            for better, worse in ranked_pairs(example["answers"]):
                yield {"prompt": example["prompt"], "chosen": better, "rejected": worse, "chosen_probability": 1.0}

    return RowShape("pairs", ranked.used, shape)


def _labelled(found: _Found) -> RowShape | None:
    if found.has("label") and (question := found.question()) is not None:
        return _judged("labelled", "label", read_label, *question)
    pairs = _two_answers(found)
    if pairs is None:
        return None

    def shape(row: Mapping[str, Any], place: str) -> Iterator[dict[str, Any]]:
        for pair in pairs.examples(row, place):
            yield from label_pair(pair)

    return RowShape("labelled", pairs.used, shape, distinct=True)


def _scored(found: _Found) -> RowShape | None:
    if found.has("score") and (question := found.question()) is not None:
        return _judged("scored", "score", read_score, *question)
    return None


def _prompts(found: _Found) -> RowShape | None:
    prompt = found.prompt(PROMPT_COLUMNS)
    beside = tuple(name for name in (*RUBRIC_COLUMNS, "tags") if found.has(name))
    if prompt is not None:
        names = (*prompt.names, *beside)
        return RowShape("prompts", names, lambda row, _: _prompt_alone(row, _own_prompt(row, prompt)), distinct=True)
    pairs = _two_answers(found)
    if pairs is None:
        return None
    system = found.system()

    def shape(row: Mapping[str, Any], _place: str) -> Iterator[dict[str, Any]]:
        yield from _prompt_alone(row, _halves(row, None, system)[0])

    names = (*(name for name in pairs.used if name != "chosen_probability"), *beside)
    return RowShape("prompts", names, shape, distinct=True)


def _prompt_alone(row: Mapping[str, Any], prompt: Turns) -> Iterator[dict[str, Any]]:
    """Yield the prompt with what says how its answers are judged: criteria, and tags, which select principles."""
    yield {"prompt": prompt, "rubric": rubric_rows(read_rubric(row)), "tags": list(read_tags(row.get("tags")))}


_SHAPES: Mapping[ExampleKind, Callable[[_Found], RowShape | None]] = {
    "supervised": _supervised,
    "pairs": _pairs,
    "ranked": _ranked,
    "labelled": _labelled,
    "scored": _scored,
    "prompts": _prompts,
}

_PURPOSES: Mapping[ExampleKind, str] = {
    "supervised": "supervised training",
    "pairs": "training on pairs",
    "ranked": "training on ranked answers",
    "labelled": "training on labelled responses",
    "scored": "training on scores",
    "prompts": "training on prompts",
}


def _completion(prompt: PromptColumns, answer: str) -> RowShape:
    def shape(row: Mapping[str, Any], _place: str) -> Iterator[dict[str, Any]]:
        asked = read_prompt(prompt.value(row))
        yield {"prompt": asked, "completion": read_answer(row.get(answer), asked)}

    return RowShape("completion", (*prompt.names, answer), shape)


def _conversation(system: str | None) -> RowShape:
    def shape(row: Mapping[str, Any], _place: str) -> Iterator[dict[str, Any]]:
        yield {"messages": read_dialogue(with_system(row.get("messages"), row, system))}

    return RowShape("messages", ("messages",) if system is None else ("messages", system), shape)


def _judged(
    layout: Layout, column: str, read: Callable[[Any, str], Any], prompt: PromptColumns, answer: str
) -> RowShape:
    """Return the shape of a prompt, its answer and what somebody says of it."""
    plain = _completion(prompt, answer)

    def shape(row: Mapping[str, Any], place: str) -> Iterator[dict[str, Any]]:
        value = read(row.get(column), place)
        yield from ({**example, column: value} for example in plain.examples(row, place))

    return RowShape(layout, (*plain.used, column), shape)


def _text(row: Mapping[str, Any], _place: str) -> Iterator[dict[str, Any]]:
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        raise BadRowError("empty")
    yield {"text": check_text(text)}


def _own_prompt(row: Mapping[str, Any], prompt: PromptColumns) -> Turns:
    value = prompt.value(row)
    if prompt.main == "messages" and isinstance(value, list) and value and is_turn_of(value[-1], "assistant"):
        value = value[:-1]
    return read_prompt(value)


def _halves(row: Mapping[str, Any], prompt: PromptColumns | None, system: str | None) -> tuple[Turns, Turns, Turns]:
    if prompt is not None:
        asked = read_prompt(prompt.value(row))
        return asked, read_answer(row.get("chosen"), asked), read_answer(row.get("rejected"), asked)
    asked, chosen, rejected = read_whole_pair(row.get("chosen"), row.get("rejected"))
    return asked if system is None else read_prompt(with_system(asked, row, system)), chosen, rejected
