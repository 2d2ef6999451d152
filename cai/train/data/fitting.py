"""Examples as the chat template that is trained with takes them; see `cai.models.turns`, by whose rules they are read.

An example whose turns the template takes in no form is left out and counted under the template's reason.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from datasets import Dataset, Features, Value
from transformers import PreTrainedTokenizerBase

from cai.core.errors import InputError
from cai.core.identity import fingerprint
from cai.core.records import Message
from cai.models.turns import RefusedTurnsError, TurnFitter
from cai.train.data.examples import Examples

REFUSED = "the chat template takes no such turns"

_ROWS = 1000
_KEPT = "kept"
_ANSWERS = ("completion", "chosen", "rejected")


def fit_examples(examples: Examples, tokenizer: PreTrainedTokenizerBase) -> Examples:
    """Return the examples as the tokenizer's chat template takes them, with what was changed among the remarks.

    Raises InputError when it takes none of those to train on.
    """
    if "text" in examples.train.column_names:
        return examples

    def render(messages: Sequence[Message], prompt: bool) -> str:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt))

    fitter = TurnFitter(render)
    left_out: Counter[str] = Counter()
    train = _fitted(examples.train, fitter, left_out)
    if not len(train):
        raise InputError(
            f"the chat template takes no conversation of the data ({next(iter(left_out)).partition(': ')[2]}): give "
            "another --template"
        )
    test = None if examples.test is None else _fitted(examples.test, fitter, left_out)
    changed = tuple(
        f"the chat template does not take the turns as they are: {change} in {count:,} of {fitter.seen:,} examples"
        for change, count in fitter.changed.items()
    )
    return replace(
        examples,
        train=train,
        test=test if test is not None and len(test) else None,
        left_out=Counter(examples.left_out) + left_out,
        remarks=(*examples.remarks, *changed),
    )


def _fitted(split: Dataset, fitter: TurnFitter, left_out: Counter[str]) -> Dataset:
    changes = refusals = 0
    for row in _rows(split):
        try:
            changes += bool(fitter.fit(_conversation(row)).changes)
        except RefusedTurnsError as error:
            refusals += 1
            left_out[f"{REFUSED}: {error}"] += 1
    if not changes and not refusals:
        return split
    # Named here, because a fingerprint of the function would be one of the whole tokenizer.
    name = fingerprint([split._fingerprint, "fitted"])
    columns = Features({**split.features, _KEPT: Value("bool")})
    shaped = split.map(
        lambda row: _shaped(row, fitter), features=columns, new_fingerprint=name, load_from_cache_file=False
    )
    if not refusals:
        return shaped.remove_columns(_KEPT)
    return shaped.filter(
        lambda kept: kept, input_columns=_KEPT, new_fingerprint=fingerprint([name, _KEPT]), load_from_cache_file=False
    ).remove_columns(_KEPT)


def _rows(split: Dataset) -> Iterator[dict[str, Any]]:
    for columns in split.iter(batch_size=_ROWS):
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))


def _conversation(row: Mapping[str, Any]) -> list[Message]:
    """Return the whole of an example, of a pair the half that is preferred, of a list the best: all have like turns."""
    if "messages" in row:
        return list(row["messages"])
    if "answers" in row:
        return [*row["prompt"], *row["answers"][0]["completion"]]
    answer: list[Message] = next((row[name] for name in _ANSWERS if name in row), [])
    return [*row["prompt"], *answer]


def _shaped(row: Mapping[str, Any], fitter: TurnFitter) -> dict[str, Any]:
    try:
        turns = fitter.peek(_conversation(row)).turns
    except RefusedTurnsError:
        return {_KEPT: False}
    if "messages" in row:
        return {_KEPT: True, "messages": list(turns)}
    answered = any(name in row for name in (*_ANSWERS, "answers"))
    return {_KEPT: True, "prompt": list(turns[:-1] if answered else turns)}
