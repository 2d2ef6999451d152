"""A right answer beside a prompt: kept with it, and shown to the judge wherever answers are compared."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from cai.core.addresses import DataSource
from cai.core.errors import InputError
from cai.core.records import Failure, Message, Row, Trace
from cai.evaluate.comparing import Comparing
from cai.judging.data_rows import open_data
from cai.models.base import Engine
from cai.models.meter import UsageCounter
from cai.rundir.left_out import prompt_key
from tests.building import make_engine, make_judge_configuration, make_prompt
from tests.test_rows import PROVENANCE, make_generation

RIGHT = "Forty-two, as the book says."


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> DataSource:
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return DataSource.parse(str(path))


def listening(asked: list[str]) -> Engine:
    def choose(messages: tuple[Message, ...], _options: Sequence[str]) -> Sequence[float]:
        asked.append(messages[-1]["content"])
        return [0.6, 0.3]

    return make_engine(lambda request: f"answer {request.seed}", choose)


def test_a_prompt_with_another_reference_is_another_prompt_to_a_run() -> None:
    prompt = make_prompt()
    assert len({prompt_key(replace(prompt, references=one)) for one in ((), (RIGHT,), (RIGHT, "x"))}) == 3


@pytest.mark.parametrize("rank", [False, True])
def test_who_compares_answers_of_a_run_is_shown_it(*, rank: bool) -> None:
    asked: list[str] = []
    generation = make_generation(listening(asked))
    if rank:
        ranking = replace(generation.judging.ranking, rank=True)
        generation = replace(generation, judging=replace(generation.judging, ranking=ranking))
    row = asyncio.run(generation.row(replace(make_prompt(), references=(RIGHT, "Or so."))))
    assert row.verdicts
    compared = [text for text in asked if RIGHT in text]
    assert len(compared) == 2 * len(row.verdicts), "both orders, and nobody else"


def test_who_compares_two_models_is_shown_it() -> None:
    asked: list[str] = []
    prompt = replace(make_prompt(), references=(RIGHT, "Or so."))
    a, b = (Trace(0, 0, text, (), text, False) for text in ("Yes.", "No."))
    comparing = Comparing(listening(asked), make_judge_configuration(), ("a", "b"), (a, b), PROVENANCE, UsageCounter())
    asyncio.run(comparing.row(prompt))
    assert len(asked) == 2
    assert all(RIGHT in text for text in asked)


def test_pairs_of_others_are_judged_with_theirs(tmp_path: Path) -> None:
    rows: list[Mapping[str, object]] = [
        {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "reference": RIGHT, "id": "one"}
    ]
    rows += [{"prompt": "Who?", "chosen": "I.", "rejected": "You.", "reference": 3}]
    (good, bad) = open_data(write(tmp_path / "p.jsonl", rows), None, None).rows()
    assert isinstance(good, Row)
    assert good.prompt.reference == RIGHT
    assert {trace.response for trace in good.traces if isinstance(trace, Trace)} == {"So.", "No."}
    assert isinstance(bad, Failure)
    assert bad.cause == "the reference is neither a text nor a list of texts, but 3"


def test_data_without_two_answers_is_no_data_to_judge(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"; judging needs chosen and rejected"):
        open_data(write(tmp_path / "p.jsonl", [{"prompt": "Why?"}]), None, None)
