"""Layouts of an instruction and its answer: Alpaca with its history, OpenRLHF, distilabel, HF's CAI, verl's prompts."""

from collections.abc import Iterator

from cai.data.columns import PromptColumns
from cai.data.rows import BadRowError
from cai.data.shapes.descriptor import Canonical, Row, Shape, text

_ALPACA = PromptColumns("instruction", "input")


def _alpaca_prompt(row: Row) -> object:
    """Return the instruction with its input, after the earlier turns: `history` is a list of [question, answer]."""
    asked = _ALPACA.value(row)
    earlier = row.get("history")
    if earlier not in (None, "", []):
        asked = [*_earlier(earlier), {"role": "user", "content": asked}]
    return asked


def _earlier(history: object) -> Iterator[dict[str, object]]:
    if not isinstance(history, list):
        raise BadRowError("the history is no list of turns")
    for exchange in history:
        if not isinstance(exchange, list) or len(exchange) != len(("user", "assistant")):
            raise BadRowError("the history has an item that is not a question and its answer")
        for role, content in zip(("user", "assistant"), exchange, strict=True):
            yield {"role": role, "content": content}


def _labelled_alpaca(row: Row) -> Iterator[Canonical]:
    yield {"completion": row.get("output"), "label": row.get("kto_tag")}


def _compared(row: Row) -> Iterator[Canonical]:
    yield {"chosen": row.get("chosen"), "rejected": row.get("rejected")}


def _revised(row: Row) -> Iterator[Canonical]:
    """Yield the revision as the answer, and as the better one of it and the first response, as its authors do."""
    revision = text(row, "revision_response")
    yield {"completion": revision, "chosen": revision, "rejected": text(row, "init_response")}


_OTHER_ANSWERS = ("completion", "response")

INSTRUCTIONS = (
    Shape(
        "alpaca",
        "Alpaca's instructions",
        ("instruction", "output"),
        ("completion",),
        _alpaca_prompt,
        lambda row: iter(({"completion": row.get("output")},)),
        reads=("input", "history"),
        without=(
            "kto_tag",
            "chosen",
            "rejected",
            "completion",
            "response",
            "label",
            "score",
            "context",
            "system_prompt",
        ),
    ),
    Shape(
        "alpaca",
        "Alpaca's pairs",
        ("instruction", "chosen", "rejected"),
        ("chosen", "rejected"),
        _alpaca_prompt,
        _compared,
        reads=("input", "history"),
        without=("prompt", "context", "chosen_probability"),
    ),
    Shape(
        "alpaca",
        "Alpaca's labelled answers",
        ("instruction", "output", "kto_tag"),
        ("completion", "label"),
        _alpaca_prompt,
        _labelled_alpaca,
        reads=("input", "history"),
    ),
    Shape(
        "openrlhf",
        "OpenRLHF's inputs and outputs",
        ("input", "output"),
        ("completion",),
        lambda row: row.get("input"),
        lambda row: iter(({"completion": row.get("output")},)),
        without=("instruction", "prompt", "messages", "question", *_OTHER_ANSWERS),
    ),
    Shape(
        "distilabel",
        "distilabel's generations",
        ("instruction", "generation"),
        ("completion",),
        lambda row: row.get("instruction"),
        lambda row: iter(({"completion": row.get("generation")},)),
        without=("output", *_OTHER_ANSWERS),
    ),
    Shape(
        "hf-cai",
        "Constitutional AI of Hugging Face",
        ("init_prompt", "init_response", "revision_response"),
        ("completion", "chosen", "rejected"),
        lambda row: row.get("init_prompt"),
        _revised,
        without=("chosen", "rejected", "messages"),
    ),
    Shape(
        "verl",
        "verl's prompts",
        ("data_source", "prompt", "reward_model"),
        (),
        lambda row: row.get("prompt"),
        lambda _row: iter(()),
    ),
)
