"""`cai train` as it is typed."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import click
import orjson
import pytest
import transformers
import yaml

import cai
from cai.cli.main import main
from cai.cli.train import train as group
from cai.cli.training import take_train_settings
from cai.models.settings import DEFAULT_MODEL
from tests.train_context import CHECKPOINT, make_model
from tests.training import curve, make_settings, save_model, train, write_rows

CONTEXT = click.Context(group)
COMMANDS = {name: cast("click.Command", group.get_command(CONTEXT, name)) for name in group.list_commands(CONTEXT)}
LAUNCH = Path(cai.__file__).parent / "launch"


def run_cai(*arguments: object) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    code = left.value.code
    return code if isinstance(code, int) else 0


def parsed(*arguments: str) -> dict[str, Any]:
    """Return a method's options as click read them."""
    command = COMMANDS[arguments[0]]
    options = dict(command.make_context(arguments[0], list(arguments[1:])).params)
    return {name: value for name, value in options.items() if name not in ("dry_run", "quiet", "as_json")}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "model")
    write_rows(tmp_path / "sft.jsonl", 40, "sft")
    write_rows(tmp_path / "dpo.jsonl", 40, "dpo")
    return tmp_path


def test_each_method_offers_the_options_that_it_uses() -> None:
    options = {
        name: {option.name for option in command.params if isinstance(option, click.Option)}
        for name, command in COMMANDS.items()
    }
    assert set(options) == {"sft", "dpo", "reward", "kto", "orpo", "grpo", "rloo", "ppo"}
    assert "packing" in options["sft"]
    for name, own in options.items():
        assert ("sft_term" in own) == (name == "dpo"), name
        assert ("labels" in own) == (name in ("dpo", "reward")), name
        assert ("group" in own) == (name in ("grpo", "rloo", "ppo")), name
        assert ("beta" in own) == (name in ("dpo", "kto", "orpo")), name
        assert ("kl_penalty" in own) == (name in ("grpo", "rloo", "ppo")), name
        assert {"data", "model", "out", "learning_rate", "adapter", "config", "seed"} <= own, name


def test_options_become_settings() -> None:
    settings = take_train_settings(
        "dpo", parsed("dpo", "--data", "runs/a:0.7 'my file.jsonl:0.3'", "--data", "b", "--out", "x", "--sft-term", "1")
    )
    assert tuple(map(str, settings.data.data)) == ("runs/a:0.7", "my file.jsonl:0.3", "b")
    assert (settings.own.sft_term, settings.own.beta, settings.model) == (1.0, 0.1, DEFAULT_MODEL)
    online = take_train_settings("grpo", parsed("grpo", "--data", "a", "--out", "x", "--kl-penalty", "0"))
    assert (online.own.kl_penalty, online.own.group) == (0.0, 8)


def test_sft_from_the_command_line(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "sft", "--data", "sft.jsonl", "--model", "model", "--out", "out", "--max-steps", "2"]
    assert run_cai(*arguments, "--device", "cpu") == 0
    told = capfd.readouterr()
    assert told.err.startswith("cai: on ")
    assert told.err.count("\n") == 1
    assert "--model transformers:out" in told.out
    assert run_cai(*arguments, "--device", "cpu", "--json") == 0
    again = capfd.readouterr()
    assert orjson.loads(again.out)["already"] is True
    assert again.err == ""
    assert run_cai(*arguments, "--seed", "1") == 2
    assert "seed: the run has 0, now 1" in capfd.readouterr().err


def test_a_dry_run_shows_what_would_be_done_and_writes_nothing(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "dpo", "--data", "dpo.jsonl", "--model", "model", "--out", "out", "--dry-run"]
    assert run_cai(*arguments) == 0
    told = capfd.readouterr().out
    assert "pairs:" in told
    assert "no checkpointing" in told
    assert re.search(r"^data +dpo\.jsonl *$", told, re.MULTILINE)
    assert "report-to" not in told
    assert run_cai(*arguments, "--json", "--limit", "20", "--batch-size", "4", "--epochs", "2") == 0
    plan = orjson.loads(capfd.readouterr().out)
    assert plan["steps"] == 10
    assert plan["data"]["train"] == 20
    assert plan["settings"]["beta"] == 0.1
    assert plan["hardware"]["micro_batch"] * plan["hardware"]["accumulation"] == 4
    assert not (place / "out").exists()


def test_options_may_stand_in_a_file(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "train.yaml").write_text(
        yaml.safe_dump({"data": ["sft.jsonl:2", "sft.jsonl:1"], "model": "model", "out": "out", "epochs": 1})
    )
    assert run_cai("train", "sft", "--config", "train.yaml", "--dry-run", "--json") == 0
    plan = orjson.loads(capfd.readouterr().out)
    assert plan["settings"]["data"] == ["sft.jsonl:2", "sft.jsonl:1"]
    assert plan["settings"]["epochs"] == 1.0


def test_a_file_whose_name_holds_an_apostrophe_is_read(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "sft.jsonl").rename(place / "it's.jsonl")
    assert (
        run_cai("train", "sft", "--data", "it's.jsonl", "--model", "model", "--out", "out", "--dry-run", "--json") == 0
    )
    assert orjson.loads(capfd.readouterr().out)["settings"]["data"] == ["it's.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sft", "--out", "out"], "--data"),
        (["sft", "--data", "nowhere.jsonl", "--model", "model", "--out", "out"], "nowhere.jsonl"),
        (["dpo", "--data", "sft.jsonl", "--model", "model", "--out", "out"], "sft.jsonl"),
        (["sft", "--data", "sft.jsonl", "--model", "./absent", "--out", "out"], "absent"),
        (["sft", "--data", "sft.jsonl", "--model", "model", "--out", "out", "--report-to", "paper"], "tensorboard"),
        (["sft", "--data", "sft.jsonl", "--model", "model", "--out", "out", "--device", "cuda:7"], "CUDA"),
        (["sft", "--data", "sft.jsonl", "--model", "model", "--out", "out", "--merge"], "--adapter"),
        (["dpo", "--data", "dpo.jsonl", "--model", "model", "--out", "out", "--packing"], "No such option"),
        (["grpo", "--data", "sft.jsonl", "--model", "model", "--out", "out", "--batch-size", "9"], "--group"),
        (["sft", "--data", "it's.jsonl", "--model", "model", "--out", "out"], "it's.jsonl"),
    ],
)
def test_a_mistake_is_one_sentence(
    place: Path, arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_cai("train", *arguments) == 2
    told = capfd.readouterr().err
    assert says in told
    assert "Traceback" not in told


def test_without_the_extra_packages_one_sentence_says_what_to_install() -> None:
    program = (
        "import sys\nsys.modules['torch'] = None\nfrom cai.cli.main import main\n"
        "main(['train', 'sft', '--data', 'x', '--out', 'y'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == "cai: training needs torch: pip install 'cai[train]'"


@pytest.mark.slow
def test_two_processes_train_together(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, max_steps=4)
    alone = make_settings(tmp_path, out="alone", max_steps=4)
    launch = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(LAUNCH / "cpu2.yaml")),
        *("--main_process_port", "0", "-m", "cai", "train", "sft", "--device", "cpu", "--json"),
    ]
    rest = ["--data", str(settings.data.data[0]), "--test-share", "0.1", "--model", str(settings.model)]
    rest += ["--max-steps", "4", "--batch-size", "8", "--learning-rate", "0.003"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *rest, "--out", str(settings.out)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = orjson.loads(done.stdout)  # one process talks
    assert (summary["status"], summary["steps"]) == ("done", 4)
    assert "2 processes" in summary["hardware"]
    assert (settings.out / "model.safetensors").exists()
    train(alone)
    # Both see the same batches, so the losses are those of one process.
    for (step, together), (same, single) in zip(curve(settings.out), curve(alone.out), strict=True):
        assert step == same
        assert together == pytest.approx(single, rel=1e-3)


@pytest.mark.slow
def test_two_processes_whose_responses_are_of_unlike_lengths_learn_by_ppo_together(tmp_path: Path) -> None:
    scorer = tmp_path / "scorer"
    make_model(labels=1, seed=5).save_pretrained(scorer)
    transformers.AutoTokenizer.from_pretrained(CHECKPOINT).save_pretrained(scorer)
    prompts = [
        f"Is tea {number} good for me?" + " Is tea good?" * (40 if number % 3 == 0 else 0) for number in range(24)
    ]
    data = tmp_path / "prompts.jsonl"
    data.write_bytes(b"".join(orjson.dumps({"prompt": prompt}) + b"\n" for prompt in prompts))
    launch = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(LAUNCH / "cpu2.yaml")),
        *("--main_process_port", "0", "-m", "cai", "train", "ppo", "--device", "cpu", "--json"),
    ]
    rest = ["--data", str(data), "--test-share", "0", "--model", "tiny"]
    rest += ["--reward-model", str(scorer), "--group", "1", "--batch-size", "8", "--max-steps", "3"]
    done = subprocess.run(
        [*launch, *rest, "--max-tokens", "96", "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["steps"] == 3


@pytest.mark.parametrize("name", ["ddp", "fsdp", "deepspeed_zero2", "deepspeed_zero3", "cpu2"])
def test_launch_files_are_what_accelerate_reads(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file  # noqa: PLC0415

    config = load_config_from_file(str(LAUNCH / f"{name}.yaml"))
    assert config.num_processes >= 2
    assert f"{name}.yaml" in (LAUNCH / f"{name}.yaml").read_text()
