"""Training methods as descriptors: one table says all of them, and one from outside joins it."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

import cai
from cai.core.errors import UsageError
from cai.train.methods import METHODS, find_method, gather_settings, loop_methods, register
from cai.train.methods.descriptor import TrainingMethod
from cai.train.methods.online import OnlineSettings
from cai.train.methods.sft import SFT
from tests.training import make_settings, train

ROOT = Path(__file__).parent.parent

MINE = '''
"""SFT whose loss weighs what its user says: a method from outside the package."""

from dataclasses import dataclass

import cai
from cai.train.methods.descriptor import TrainingMethod, large, option, small
from cai.train.methods.sft import build_sft


@dataclass(frozen=True, slots=True)
class WeighedSettings:
    """Its own."""

    weight: float = option(1.0, "Weight of the loss.", above=0)


def build(context):
    weight = context.own(WeighedSettings).weight
    trainer = build_sft(context)
    whole = trainer.compute_loss
    trainer.compute_loss = lambda *positional, **keywords: weight * whole(*positional, **keywords)
    return trainer


WEIGHED = TrainingMethod(
    name="weighed-sft",
    summary="Supervised fine-tuning, weighed.",
    description="supervised fine-tuning, weighed (a test)",
    data="supervised",
    small=small(1e-3, "a test"),
    large=large(1e-5, "a test"),
    own=WeighedSettings,
    build=build,
)
cai.register_method(WEIGHED)
'''


@pytest.fixture
def weighed() -> Iterator[dict[str, Any]]:
    """Run the file of somebody's method, as importing it would, and take it out of the table afterwards."""
    names: dict[str, Any] = {"__name__": "mine"}
    sys.modules["mine"] = type(sys)("mine")
    try:
        exec(compile(MINE, "mine.py", "exec"), names)
        yield names
    finally:
        del METHODS["weighed-sft"]
        del sys.modules["mine"]


@pytest.mark.slow
def test_a_method_from_outside_trains_under_its_own_name(tmp_path: Path, weighed: dict[str, Any]) -> None:
    plain = train(make_settings(tmp_path, max_steps=2, rows=40, test_share=0.0))
    mine = replace(make_settings(tmp_path, max_steps=2, rows=40, test_share=0.0, out="mine"), method="weighed-sft")
    settings = replace(mine, own=weighed["WeighedSettings"](weight=0.5))
    summary = train(settings)
    given: dict[str, Any] = {"data": str(mine.data.data[0]), "model": str(mine.model), "device": "cpu"}
    more: dict[str, Any] = {"max_steps": 2, "batch_size": 8, "learning_rate": 3e-3, "test_share": 0.0}
    again = cai.train("weighed-sft", out=tmp_path / "mine", own={"weight": 0.5}, **given, **more)
    assert again.summary.already, "the same run, by the public function"
    with pytest.raises(UsageError, match="sft has no option weight"):
        cai.train("sft", out=tmp_path / "other", own={"weight": 0.5}, **given, **more)
    for value, words in (
        ("x", "should be a valid number"),
        (0.0, "should be greater than 0"),
        (float("nan"), "finite"),
    ):
        with pytest.raises(UsageError, match=f"weighed-sft: weight is {value!r}, and .*{words}"):
            cai.train("weighed-sft", out=tmp_path / "other", own={"weight": value}, **given, **more)
    with pytest.raises(UsageError, match="dpo: beta is -1, and should be greater than 0"):
        cai.train("dpo", out=tmp_path / "other", own={"beta": -1}, **given, **more)
    assert plain.loss is not None
    assert summary.method == "weighed-sft"
    assert summary.loss == pytest.approx(0.5 * plain.loss, rel=0.05)
    card = (settings.out / "README.md").read_text()
    assert "supervised fine-tuning, weighed (a test)" in card
    assert "| weight | 0.5 |" in card


@pytest.mark.slow
def test_a_method_from_outside_is_a_command(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        f"{MINE}\nif __name__ == '__main__':\n    from cai.cli.main import main\n    main()\n"
    )
    run = [sys.executable, str(tmp_path / "mine.py"), "train"]
    listed = subprocess.run([*run, "--help"], capture_output=True, text=True, timeout=120, check=True)
    assert "weighed-sft  Supervised fine-tuning, weighed." in listed.stdout
    told = subprocess.run([*run, "weighed-sft", "--help"], capture_output=True, text=True, timeout=120, check=True)
    assert "--weight" in told.stdout
    assert "Weight of the loss." in told.stdout
    refused = [*run, "weighed-sft", "--data", "x", "--out", "y", "--weight", "0"]
    done = subprocess.run(refused, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "weight" in done.stderr


def test_what_cannot_be_a_method_is_refused() -> None:
    with pytest.raises(UsageError, match="there is a training method sft already"):
        register(SFT)
    with pytest.raises(UsageError, match="lower-case words joined by hyphens, not 'My SFT'"):
        register(replace(SFT, name="My SFT"))
    with pytest.raises(UsageError, match="must extend OnlineSettings"):
        register(replace(SFT, name="drawing", data="prompts"))
    with pytest.raises(
        UsageError, match=r"no training method 'trpo'; there are sft, dpo, reward, kto, orpo, grpo, rloo, ppo"
    ):
        find_method("trpo")
    with pytest.raises(UsageError, match="kto has no option sft-term"):
        gather_settings("kto", {"data": (), "model": "m", "out": "o", "sft_term": 1.0})


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_every_method_says_where_its_rates_come_from_and_what_its_options_mean(method: TrainingMethod) -> None:
    assert method.small.source
    assert method.large.source
    assert all(each.metadata["help"].endswith(".") for each in fields(method.own))
    assert method.draws_responses == issubclass(method.own, OnlineSettings)
    assert method.take_own({}) == method.own()
    assert method.take_own({"beta": 0.3, "unknown": 1}) == method.own(
        **({"beta": 0.3} if "beta" in asdict(method.own()) else {})
    )


def test_the_table_is_read_without_the_libraries_that_train() -> None:
    program = (
        "import sys\nfrom cai.cli.main import main\n"
        "try: main(['train', 'grpo', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'trl', 'transformers', 'datasets'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=120)


def test_the_documentation_shows_the_table() -> None:
    training, loop = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("training", "loop"))
    for method in METHODS.values():
        ends = [f"{end.learning_rate:g} | {end.batch_size} | {end.source}" for end in (method.small, method.large)]
        assert f"| `{method.name}` | {method.epochs:g} | {' | '.join(ends)} |" in training
    assert f"`--method {'|'.join(loop_methods())}`" in loop
