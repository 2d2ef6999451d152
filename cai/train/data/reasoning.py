"""What was thought before answers, put where the chat template that is trained with prints it.

Whether earlier turns keep theirs is the template's to say. Answers without any stand beside those with some, but where
the template begins every answer with a thought: there they are left out and counted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from datasets import Dataset, Features, Json, List
from transformers import PreTrainedTokenizerBase

from cai.core.counts import counted
from cai.core.errors import InputError
from cai.core.identity import fingerprint
from cai.data.examples.conversations import THINKING
from cai.train.data.examples import Examples
from cai.train.example_tokens import rendered

WITHOUT = "without reasoning, and the chat template begins each answer with some"

_TURNS = ("prompt", "messages", "completion", "chosen", "rejected")
_ANSWERS = ("messages", "completion", "chosen", "rejected")


def place_reasoning(examples: Examples, tokenizer: PreTrainedTokenizerBase, key: str, *, always: bool) -> Examples:
    """Return the examples with what was thought under the template's `key`, and what is learned of it as a remark.

    Where a turn has none it has no such key. With `always` answers without any are left out. Raises InputError when
    the template prints none of it, or no example is left to train on.
    """
    left_out: Counter[str] = Counter()
    train = _placed(examples.train, key, left_out, always=always)
    test = None if examples.test is None else _placed(examples.test, key, left_out, always=always)
    tokens = thoughts = 0
    for row in train:
        found = [_learned(tokenizer, key, row, name) for name in _ANSWERS if name in row]
        tokens += sum(found)
        thoughts += any(found)
    if not tokens:
        raise InputError("--reasoning learns what was thought before answers, and the chat template prints none of it")
    return replace(
        examples,
        train=train,
        test=test if test is not None and len(test) else None,
        left_out=Counter(examples.left_out) + left_out,
        remarks=(*examples.remarks, f"{tokens:,} tokens of reasoning are learned, of {counted(thoughts, 'example')}"),
    )


def _placed(split: Dataset, key: str, left_out: Counter[str], *, always: bool) -> Dataset:
    kept = split
    # Fingerprints are given, because those of functions would be of all that they hold.
    if always:
        lacking = [number for number, row in enumerate(split) if not _all_thought(row)]
        left_out[WITHOUT] += len(lacking)
        kept = split.select(sorted(set(range(len(split))) - set(lacking)))
    names = [name for name in _TURNS if name in kept.column_names]
    columns = Features({**kept.features, **{name: List(Json()) for name in names}})
    return kept.map(
        lambda row: {name: [_renamed(turn, key) for turn in row[name]] for name in names},
        features=columns,
        new_fingerprint=fingerprint([split._fingerprint, key, always]),
        load_from_cache_file=False,
    )


def _renamed(turn: Mapping[str, Any], key: str) -> dict[str, str]:
    thought = turn.get(THINKING)
    return {"role": turn["role"], "content": turn["content"], **({key: thought} if thought else {})}


def _all_thought(row: Mapping[str, Any]) -> bool:
    """Tell whether the assistant's last turn of each answer was thought about."""
    answers = [[turn for turn in row[name] if turn["role"] == "assistant"] for name in _ANSWERS if name in row]
    return all(turns[-1].get(THINKING) for turns in answers)


def _learned(tokenizer: PreTrainedTokenizerBase, key: str, row: Mapping[str, Any], name: str) -> int:
    """Return how many tokens of reasoning the template prints in what is learned of one answer."""
    turns: Sequence[Mapping[str, str]] = row[name]
    thoughts = [turn[key].strip() for turn in turns if key in turn]
    if not thoughts:
        return 0
    text = rendered(tokenizer, [*row.get("prompt", []), *turns])
    printed = [thought for thought in thoughts if thought in text]
    return sum(map(len, tokenizer(printed, add_special_tokens=False)["input_ids"])) if printed else 0
