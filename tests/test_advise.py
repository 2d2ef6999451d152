"""Advice: what is counted in data, which rule speaks when, and what the commands look like that it gives."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

import cai
from cai.advice.facts import DataFacts, Facts, ModelFacts
from cai.advice.outcome import Cost
from cai.advice.rules import FEW, MANY, RULES
from cai.advice.run import REACHED, cost_of
from cai.cli.main import cai as command_line
from cai.core.errors import InputError
from cai.data.examples.shaping import ExampleKind
from cai.train.machine import Machine
from cai.train.model import ModelShape

MACHINE = Machine("cpu", "2 CPU cores", 12 * 10**9, 2, False, 1, False)
PAIRS = DataFacts("pairs", False, 5_000, 5_000, 800.0, 200.0, False, 0.0, 0.0, {})
CHAT = ModelFacts("chat", 135_000_000, True, 0.25)


def advised(counted: DataFacts, shape: ModelFacts = CHAT) -> list[str]:
    facts = Facts("DATA", "MODEL", True, counted, shape, MACHINE)
    return [found.method for rule in RULES if (found := rule(facts)) is not None]


@pytest.mark.parametrize(
    ("changes", "methods"),
    [
        ({}, ["dpo"]),
        ({"examples": FEW - 1}, ["generate", "dpo"]),
        ({"examples": MANY - 1}, ["dpo"]),
        ({"examples": MANY}, ["dpo", "reward"]),
        ({"soft": True, "uncertain": 0.7}, ["dpo", "judge"]),
        ({"soft": True, "uncertain": 0.3}, ["dpo"]),
        ({"kind": "prompts"}, ["generate", "grpo"]),
        ({"kind": "labelled", "good": 0.9}, ["kto"]),
        ({"kind": "scored"}, ["reward"]),
        ({"kind": "supervised"}, ["sft"]),
        ({"kind": "supervised", "plain_text": True}, ["sft"]),
    ],
)
def test_what_is_there_decides_what_is_advised(changes: Mapping[str, Any], methods: list[str]) -> None:
    assert advised(replace(PAIRS, **changes)) == methods


def test_a_base_model_is_not_told_to_learn_preferences_before_it_answers() -> None:
    base = replace(CHAT, chats=False)
    assert advised(PAIRS, base) == ["orpo"]
    assert advised(replace(PAIRS, kind="prompts"), base) == ["generate"]


def test_every_recommendation_has_a_source_and_a_reason() -> None:
    kinds: tuple[ExampleKind, ...] = ("pairs", "labelled", "scored", "supervised", "prompts")
    cases = [replace(PAIRS, kind=kind, examples=size) for kind in kinds for size in (FEW - 1, FEW, MANY)]
    found = [rule(Facts("DATA", "MODEL", True, counted, CHAT, MACHINE)) for counted in cases for rule in RULES]
    assert all(each.source and each.reason for each in found if each is not None)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def test_labels_lengths_prompts_and_rows_without_an_example_are_counted(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "12345", "chosen": "abc", "rejected": "de", "chosen_probability": probability}
        for probability in (0.9, 0.55)
    ]
    rows += [{"prompt": "Q", "chosen": "one", "rejected": "one", "chosen_probability": 0.8}]
    advice = cai.advise(write(tmp_path / "pairs.jsonl", rows))
    assert advice.facts[0] == "2 examples (pairs) of 1 prompt, 10 characters on average; 1 row gives none"
    assert advice.facts[-1] == "soft labels, 50% of them between 40 and 60 %"
    few, dpo = advice.advised[:2]
    assert few.cost is None
    assert dpo.command == f"cai train dpo --data {tmp_path}/pairs.jsonl --model tiny --out models/dpo"
    assert dpo.cost is not None
    assert dpo.cost.fits


def test_a_rubric_beside_a_prompt_is_not_counted(tmp_path: Path) -> None:
    rows = [{"prompt": "How is it stored?", "rubric": [{"criterion": "Says fridge", "points": 5}]}]
    advice = cai.advise(write(tmp_path / "prompts.jsonl", rows))
    assert advice.facts[0] == "1 example (prompts) of 1 prompt, 17 characters on average"


def test_the_command_says_the_same_and_its_commands_exist(tmp_path: Path) -> None:
    path = write(tmp_path / "thumbs.jsonl", [{"prompt": "Q", "completion": "A", "label": True}] * 3)
    plain = CliRunner().invoke(command_line, ["advise", str(path)], catch_exceptions=False)
    assert plain.exit_code == 0, plain.output
    assert f"cai train kto --data {path} --model tiny --out models/kto" in plain.output
    told = CliRunner().invoke(command_line, ["advise", str(path), "--json"], catch_exceptions=False)
    methods = [each["recommendation"]["method"] for each in json.loads(told.stdout)["advised"]]
    assert methods == ["generate", "kto"]


def test_only_a_run_can_be_judged_again_and_a_name_with_a_space_is_one_word(tmp_path: Path) -> None:
    rows = [{"prompt": "Q", "chosen": "one", "rejected": "two", "chosen_probability": 0.55}]
    advice = cai.advise(write(tmp_path / "my pairs.jsonl", rows))
    assert [each.recommendation.method for each in advice.advised] == ["generate", "dpo"]
    assert f"--data '{tmp_path}/my pairs.jsonl' --model" in advice.advised[1].command


def test_data_without_an_example_is_refused_with_the_causes(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", [{"prompt": "Q", "chosen": "one", "rejected": "one"}])
    with pytest.raises(InputError, match="holds no example to advise on"):
        cai.advise(path)


def shape_of(adapter: int, parameters: int = 1_000_000) -> ModelShape:
    return ModelShape(parameters, adapter, 2, 64, 1000, None)


def test_costs_follow_parameters_tokens_and_the_machine() -> None:
    whole = cost_of(MACHINE, shape_of(0), 1e6, 1e12)
    assert (whole.memory, whole.fits) == (16_000_000, True)
    assert whole.seconds == pytest.approx(6 * 1e6 * 1e6 / (1e12 * REACHED))
    twice = cost_of(MACHINE, shape_of(0), 1e6, 1e12, epochs=2, reference=True)
    assert twice.seconds == pytest.approx(whole.seconds * 14 / 6)
    adapter = cost_of(MACHINE, shape_of(10_000), 1e6, 1e12)
    assert adapter.seconds == pytest.approx(whole.seconds * 4 / 6 * 1.01)
    assert adapter.memory < whole.memory
    assert not cost_of(replace(MACHINE, memory=16_000_000), shape_of(0), 1e6, 1e12).fits
    assert "more than this machine has" in Cost(10**12, fits=False, seconds=60).sentence(draws=False)
    assert "drawing" in Cost(1, fits=True, seconds=60).sentence(draws=True)
