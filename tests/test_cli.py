"""The command line: exit codes, one sentence a mistake, help without weight, config files."""

import asyncio
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from cai.cli.main import COMMANDS, cai, main
from cai.core.addresses import DataSource
from cai.judging.plan import plan_judge
from cai.judging.run import judge_again
from cai.judging.settings import RejudgeSettings
from cai.pipeline.watch import Watch
from cai.rundir.documents import make_document

CAI = [sys.executable, "-m", "cai"]
SCRIPTED = ["generate", "--constitution", "harmless", "--model", "scripted"]


def run_cai(
    *arguments: str, cwd: Path | None = None, stdin: str = "", timeout: float = 120.0
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "160"}
    return subprocess.run(
        [*CAI, *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        check=False,
    )


def told(*arguments: str, cwd: Path | None = None, stdin: str = "") -> Any:
    """Run a command that has to succeed, and return what it tells a program."""
    done = run_cai(*arguments, "--json", cwd=cwd, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return orjson.loads(done.stdout)


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "harmless"
    summary = told(*SCRIPTED, "--limit", "12", "--out", str(directory))
    assert (summary["status"], summary["done"], summary["rows"]) == ("done", 12, 12)
    return directory


def test_every_command_s_help_line_is_the_one_in_the_table() -> None:
    context = cai.make_context("cai", [], resilient_parsing=True)
    for name, (_, summary) in COMMANDS.items():
        command = cai.get_command(context, name)
        assert command is not None
        assert (command.help or "").split("\n")[0] == summary


def test_no_command_imports_another_command_s_file() -> None:
    modules = [module for module, _ in COMMANDS.values()]
    for module in modules:
        found = importlib.util.find_spec(module)
        assert found is not None
        assert found.origin is not None
        text = Path(found.origin).read_text()
        assert not [other for other in modules if other != module and f"from {other} import" in text], module


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["generate"], "--constitution"),
        (["generate", "--constitution", "medcal"], "medical"),
        (["generate", "--constitution", "medical", "--prompts", "nowhere.jsonl"], "nowhere.jsonl"),
        (["generate", "--constitution", "medical", "--model", "gpt"], "transformers:MODEL"),
        (["generate", "--constitution", "medical", "--model", "transformers:/nowhere"], "/nowhere"),
        (["generate", "--constitution", "medical", "--few-shots"], "--few-shot"),
        (["judge", "."], "neither a run nor"),
        (["show", "."], "not a run"),
        (["export", "."], "not a run"),
        (["exprt"], "export"),
        (["generate", "--limit", "0"], "see cai generate --help"),
        (["generate", "--judge-by", "feeling"], "logprobs"),
        (["show"], "RUN"),
        (["train", "dpo", "--labels", "x"], "see cai train dpo --help"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = run_cai(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    lines = [line for line in done.stderr.splitlines() if " so far" not in line]  # where loading takes a minute
    assert len(lines) == 1
    assert lines[0].startswith("cai: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["generate", "--model"], ["generate", "--dry-run", "--model"], ["evaluate"]])
def test_a_directory_that_is_not_there_is_told_before_torch_is_imported(command: list[str]) -> None:
    program = [sys.executable, "-X", "importtime", "-m", "cai", *command, "transformers:/nowhere"]
    done = subprocess.run([*program, "--constitution", "medical"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "cai: there is no model directory /nowhere"
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)


def test_a_dry_run_asks_nobody_and_writes_nothing(tmp_path: Path) -> None:
    nobody = "openai:none@http://127.0.0.1:9/v1"
    dry = told("generate", "--constitution", "medical", "--model", nobody, "--dry-run", "--limit", "10", cwd=tmp_path)
    assert dry["plan"]["schedule"] == "walk"
    assert dry["estimate"]["rows"] == 10
    # 2 samples, 8 gates each; at most each gate twice, a critique and a revision that is tried three times, and 3 pairs
    # judged in both orders, each twice.
    assert dry["estimate"]["least"]["requests"] == 10 * (2 + 2 * 8)
    assert dry["estimate"]["most"]["requests"] == 10 * (2 + 2 * 8 * (2 + 1 + 3) + 2 * 3 * 2)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_a_command_is_imported_ends_it(tmp_path: Path) -> None:
    (tmp_path / "deaf.py").write_text(
        "import os, signal, time\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(9)\n"
        "except BaseException:\n    pass\n"
    )
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from cai.cli import main; main.COMMANDS['show'] = ('deaf', ''); main.main(['show', 'x'])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\ncai: interrupted\n")


def test_a_config_file_sets_options_and_the_command_line_wins(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("constitution: medical\nsamples: 3\nseed: 7\ngate: false\njudge-orders: one\n")
    plan = told("generate", "--config", str(config), "--model", "scripted", "--seed", "8", "--dry-run")["plan"]
    assert (plan["samples"], plan["seed"], plan["gate"], plan["judge_orders"]) == (3, 8, False, "one")


def test_a_config_file_says_what_would_have_been_typed(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("constitution: medical\nmodel: scripted\nout: no\nseed: 010\nmax-tokens: 0x10\nfresh: off\n")
    done = run_cai("generate", "--config", str(config), "--dry-run")
    assert "run.yaml:5: max-tokens: '0x10' is not a valid integer range" in done.stderr  # as if it had been typed
    config.write_text("constitution: medical\nmodel: scripted\nout: no\nseed: 010\nno-gate: true\nfresh: off\n")
    plan = told("generate", "--config", str(config), "--dry-run", cwd=tmp_path)["plan"]
    assert (plan["out"], plan["seed"], plan["gate"], plan["fresh"]) == ("no", 10, False, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sampels: 3\n", "samples"),
        ("- a\n", "mapping"),
        ("a: [\n", "YAML"),
        ('out: "a\\0b"\n', "U+0000"),
        ('out: "\\ud800"\n', "U+D800"),
        ("no-gate: perhaps\n", "true or false"),
        ("gate: true\nno-gate: true\n", "run.yaml:2: no-gate and gate are one option; keep one of them"),
        ("limit: 99999999999999999999999\n", "64 bits"),
        ("limit: '99999999999999999999999'\n", "limit: 9999"),
        ("limit: 4294967296\n", "more than can be counted"),
    ],
)
def test_a_broken_config_is_explained(text: str, says: str, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(text)
    done = run_cai("generate", "--constitution", "medical", "--config", str(config), "--dry-run")
    assert done.returncode == 2
    assert "run.yaml" in done.stderr
    assert says in done.stderr


def test_words_that_are_no_text_are_told() -> None:
    done = subprocess.run(
        [
            *map(str.encode, CAI),
            b"generate",
            b"--constitution",
            b"medical",
            b"--model",
            b"scripted",
            b"--out",
            b"a\xff",
        ],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == "cai: 'a?' is not UTF-8 text; give the file or directory another name\n"


def test_show_prints_chains(run_directory: Path) -> None:
    done = run_cai("show", str(run_directory), "--limit", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("response 0") == 2
    told_flat = " ".join(done.stdout.replace("│", " ").split())
    assert "revision (rewritten): " in told_flat  # random words; word diffs are in test_cli_show
    assert "when it was shown first" in told_flat
    one = told("show", str(run_directory), "--limit", "1")
    assert told("show", str(run_directory), one["prompt"]["id"]) == one
    missing = run_cai("show", str(run_directory), "no-such-id")
    assert missing.returncode == 2
    assert "no-such-id" in missing.stderr


def test_judge_makes_a_new_run_with_the_same_traces(run_directory: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    done = run_cai(
        "judge", str(run_directory), "--constitution", "helpful", "--judge-principles", "2", "--out", str(out)
    )
    assert done.returncode == 0, done.stderr
    old = [
        orjson.loads(line)
        for line in run_cai("show", str(run_directory), "--limit", "99", "--json").stdout.splitlines()
    ]
    new = [orjson.loads(line) for line in run_cai("show", str(out), "--limit", "99", "--json").stdout.splitlines()]
    assert [row["traces"] for row in new] == [row["traces"] for row in old]
    assert {verdict["principle_id"] for row in new for verdict in row["verdicts"]}.isdisjoint(
        {verdict["principle_id"] for row in old for verdict in row["verdicts"]}
    )
    same = run_cai("judge", str(run_directory), "--out", str(run_directory))
    assert same.returncode == 2


def test_judge_s_total_is_the_rows_that_are_there(run_directory: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(run_directory, source)
    manifest = orjson.loads((source / "run.json").read_bytes())
    # As a run that was killed before its first seal left it: the rows are there, and run.json does not know.
    (source / "run.json").write_bytes(make_document(manifest | {"rows": 0, "status": "running"}))
    settings, watch = RejudgeSettings(DataSource.parse(str(source)), out=tmp_path / "again"), Watch()
    summary = asyncio.run(judge_again(plan_judge(settings), watch))
    assert (watch.total, summary.rows) == (12, 12)


@pytest.mark.slow
def test_export_again_with_other_options(run_directory: Path) -> None:
    plain = told("export", str(run_directory))
    every = told("export", str(run_directory), "--all-revisions")
    assert every["sft"]["train"] > plain["sft"]["train"] > 0


@pytest.mark.slow
def test_prompts_come_from_standard_input_too(tmp_path: Path) -> None:
    prompts = "How do I sleep?\n\nHow do I sleep?\nWhat is a fever?\n"
    summary = told(*SCRIPTED, "--prompts", "-", cwd=tmp_path, stdin=prompts)
    assert summary["rows"] == 2
    assert summary["duplicates"] == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["completion", shell])
    assert left.value.code == 0
    assert "_CAI_COMPLETE" in capsys.readouterr().out
