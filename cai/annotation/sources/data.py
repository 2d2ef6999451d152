"""The items of data that `cai.data.examples` reads: pairs with their labels, ranked answers, single answers.

A hard label is a judge's that is sure, a conversation's answer the assistant's last turn. Rows that cannot be used are
passed over here; `cai check` lists them.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from cai.annotation.items import ItemAnswer, ReviewItem, answer_item, pair_item, ranking_item
from cai.annotation.kinds import ItemKind
from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.core.identity import fingerprint
from cai.core.records import Message
from cai.data.examples.conversations import last_answer
from cai.data.examples.opening import can_give, open_parts
from cai.data.examples.runs import RunChoices
from cai.data.examples.shaping import ExampleKind
from cai.data.examples.tables import Example, ExampleTable, open_table
from cai.data.shapes.recognising import check_shape
from cai.method.verdicts import TIE

ID, MODELS = "id", ("chosen_model", "rejected_model")
_GIVE: Mapping[ExampleKind, tuple[ItemKind, ...]] = {
    "ranked": ("ranking", "pair"),
    "pairs": ("pair", "answer"),
    "scored": ("answer",),
    "labelled": ("answer",),
    "supervised": ("answer",),
}
"""What examples of a kind can be looked at as; the first kind that a table can give is taken."""


def items_of_data(
    source: DataSource, kinds: Collection[ItemKind], shape: str | None = None
) -> Iterator[list[ReviewItem]]:
    """Yield the items of each row; raises InputError when the data cannot be read, or holds none of these kinds."""
    table = open_table(source, None, None, shape)
    check_shape(shape, table.sources)
    kind = _kind(table, kinds, source)
    (examples,) = open_parts([source], kind, {source: table}, RunChoices())
    if examples.layout == "text":
        raise InputError(f"{source} is plain text, without prompts and answers; there is nothing in it to review.")
    for example in examples.examples((ID, *MODELS)):
        if isinstance(example, Example):
            values = example.values
            if examples.layout == "messages":
                prompt, answer = last_answer(values["messages"])
                values = {"prompt": prompt, "completion": [answer]}
            yield list(_items(kind, values, example, kinds))


def _kind(table: ExampleTable, kinds: Collection[ItemKind], source: DataSource) -> ExampleKind:
    found = next((kind for kind, gives in _GIVE.items() if set(gives) & set(kinds) and can_give(table, kind)), None)
    if found is None:
        raise InputError(f"{source} holds neither pairs nor answers that can be reviewed ({', '.join(sorted(kinds))}).")
    return found


def _items(
    kind: ExampleKind, values: Mapping[str, Any], example: Example, kinds: Collection[ItemKind]
) -> Iterator[ReviewItem]:
    messages = values["prompt"]
    name = example.about.get(ID)
    prompt_id = name if isinstance(name, str) and name else fingerprint(_turns(messages))
    if kind == "ranked":
        yield from _of_ranked(prompt_id, values, example, kinds)
        return
    if kind == "pairs":
        models = [str(model) if (model := example.about.get(name)) is not None else None for name in MODELS]
        chosen = ItemAnswer(values["chosen"][0]["content"], "chosen", models[0])
        rejected = ItemAnswer(values["rejected"][0]["content"], "rejected", models[1])
        if "pair" in kinds:
            probability = values["chosen_probability"]
            yield pair_item(prompt_id, messages, (chosen, rejected), example.place, probability=probability)
        if "answer" in kinds:
            yield answer_item(prompt_id, messages, chosen, example.place)
            yield answer_item(prompt_id, messages, rejected, example.place)
        return
    yield answer_item(prompt_id, messages, ItemAnswer(_text(values), "completion"), example.place)


def _of_ranked(
    prompt_id: str, values: Mapping[str, Any], example: Example, kinds: Collection[ItemKind]
) -> Iterator[ReviewItem]:
    messages, place = values["prompt"], example.place
    ranks = [one["rank"] for one in values["answers"]]
    answers = [ItemAnswer(_text(one), f"answer:{number}", one["model"]) for number, one in enumerate(values["answers"])]
    if "ranking" in kinds:
        yield ranking_item(prompt_id, messages, answers, place, ranks=ranks)
    if "pair" in kinds:
        for one, other in combinations(range(len(answers)), 2):
            if answers[one].text.strip() != answers[other].text.strip():
                leads = None if ranks[one] == ranks[other] else float(ranks[one] < ranks[other])
                abstained = TIE if leads is None else None
                both = (answers[one], answers[other])
                yield pair_item(prompt_id, messages, both, place, probability=leads, abstained=abstained)


def _text(values: Mapping[str, Any]) -> str:
    return str(values["completion"][0]["content"])


def _turns(messages: Sequence[Message]) -> list[list[str]]:
    return [[turn["role"], turn["content"]] for turn in messages]
