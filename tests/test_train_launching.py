"""Trainings that a loop has accelerate start on several GPUs: the command, what comes back, how it is stopped."""

import json
import os
import pickle
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.commands.launch import launch_command_parser

from cai.core.addresses import DataSource
from cai.core.errors import CaiError, ModelError, UsageError
from cai.loop import plan as loop_plan
from cai.loop import run as loop_run
from cai.loop.settings import LoopSettings
from cai.models.jury import parse_judge
from cai.train import launched, launching
from cai.train.launch_file import ADDRESSES, write_launch
from cai.train.launching import choose_launch, gpus_to_share, launch_command, train_launched
from cai.train.methods.online import OnlineSettings
from cai.train.settings import AdapterSettings
from tests.disturbing import interrupted_once
from tests.training import curve, make_settings, train

GIB = 2**30
LAUNCHER = """
kept = pathlib.Path(task).parent / "none_x" / "attempt_0" / "1"
kept.mkdir(parents=True)
(kept / "stderr.log").write_text("{said}\\n")
sys.exit('''E1127 torch/distributed/elastic/multiprocessing/api.py:1] failed (exitcode: {code}) local_rank: 1 (pid: 5)
ImportError: of the launcher
==========''')
"""


def stand_in(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Start a program of one's own in place of accelerate; `task` is its file."""
    whole = f"import pathlib, pickle, signal, sys, time\ntask = sys.argv[1]\n{program}"
    monkeypatch.setattr(launching, "launch_command", lambda _l, _p, task: [sys.executable, "-c", whole, str(task)])


def test_the_command_is_one_that_accelerate_reads(tmp_path: Path) -> None:
    command = launch_command("ddp", 3, tmp_path / "task")
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    told = launch_command_parser().parse_args(command[3:])
    assert (told.num_processes, told.module, told.training_script) == (3, True, "cai.train.launched")
    assert told.training_script_args == [str(tmp_path / "task")]
    assert Path(told.config_file).is_file()


def test_gpus_are_shared_where_nobody_shares_them_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [gpus_to_share(device) for device in ("auto", "cuda", "cpu")] == [4, 4, 1]
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert gpus_to_share("auto") == 1
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert gpus_to_share("auto") == 1


def test_what_does_not_fit_whole_is_sharded(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)  # 8 bytes a parameter
    assert choose_launch(settings, GIB) == "ddp"
    assert choose_launch(settings, 2**19) == "fsdp"
    assert choose_launch(make_settings(tmp_path, adapter=AdapterSettings("lora", rank=1)), 2**19) == "ddp"
    assert choose_launch(make_settings(tmp_path, "ppo"), 2**19) == "ddp"


def test_what_the_main_process_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(
        monkeypatch,
        "settings, quiet = pickle.load(open(task, 'rb'))\n"
        'print(\'{"say": "\' + settings.method + \'"}\')\nprint("a library")\nprint(\'{"status": "done"}\')',
    )
    heard: list[str] = []
    assert train_launched(make_settings(tmp_path), "ddp", 2, heard.append, quiet=True) == "done"
    assert heard == ["sft"]


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ('print(\'{"error": "the disk is full"}\'); sys.exit(1)', "^the disk is full$"),
        (
            'print(\'5\\n[]\\n{"say": 5}\\n{"error": "the first"}\')\n'
            'print(\'{"error": "no peer"}\\n{"status": "interrupted"}\\n{}\')',
            "^the first$",
        ),
        ("sys.exit('no such launcher')", "in 2 processes failed: no such launcher"),
        ("sys.exit(3)", "it ended with 3"),
        (LAUNCHER.format(said="Traceback\\nImportError: none", code=1), "in 2 processes failed: ImportError: none$"),
        (LAUNCHER.format(said="", code=2), "in 2 processes failed: process 1 ended with 2$"),
        (LAUNCHER.format(said="Fatal error", code=-11), "in 2 processes failed: process 1 was ended by SIGSEGV$"),
    ],
)
def test_a_failure_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, says: str
) -> None:
    stand_in(monkeypatch, program)
    with pytest.raises(CaiError, match=says):
        train_launched(make_settings(tmp_path), "ddp", 2, lambda _: None, quiet=True)


def test_a_stop_is_passed_on_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(
        monkeypatch,
        'def stop(*_):\n    print(\'{"status": "interrupted"}\', flush=True)\n    sys.exit(0)\n'
        'signal.signal(signal.SIGINT, stop)\nprint(\'{"say": "ready"}\', flush=True)\ntime.sleep(60)',
    )
    before = signal.getsignal(signal.SIGINT)

    def heard(_line: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    assert train_launched(make_settings(tmp_path), "ddp", 2, heard, quiet=True) == "interrupted"
    assert signal.getsignal(signal.SIGINT) is before


def test_who_was_asked_to_stop_before_it_trained_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, 'print(\'{"say": "importing"}\', flush=True)\ntime.sleep(60)')

    def heard(_line: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    assert train_launched(make_settings(tmp_path), "ddp", 2, heard, quiet=True) == "interrupted"


def test_a_process_trains_what_its_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = tmp_path / "task"
    task.write_bytes(pickle.dumps(("settings", True)))
    monkeypatch.setattr(launched, "plan_train", lambda settings: settings)

    def train_it(settings: str, say: Any, *, quiet: bool) -> SimpleNamespace:
        say(f"{settings} {quiet}")
        return SimpleNamespace(status="done")

    monkeypatch.setattr(launched, "train", train_it)
    assert launched.main(task) == 0
    assert capsys.readouterr().out == '\n{"say":"settings True"}\n\n{"status":"done"}\n'

    def refuse(_settings: str) -> None:
        raise UsageError("no such file")

    monkeypatch.setattr(launched, "plan_train", refuse)
    assert launched.main(task) == 1
    monkeypatch.setenv("RANK", "1")  # the others only say what went wrong
    assert launched.main(task) == 1
    assert capsys.readouterr().out == '\n{"error":"no such file"}\n' * 2
    monkeypatch.setattr(launched, "plan_train", lambda settings: settings)
    assert launched.main(task) == 0
    assert capsys.readouterr().out == ""

    def break_down(_settings: str) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(launched, "plan_train", break_down)
    assert launched.main(task) == 1
    told = json.loads(capsys.readouterr().out)["error"]
    assert re.fullmatch(r"training failed: ValueError: a bug \(.*test_train_launching\.py:\d+\)", told)


def test_what_was_typed_is_handed_to_the_processes_and_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = parse_judge("tiny,openai:m@http://user:hunter22@h:1/v1")
    made = make_settings(tmp_path, "grpo", own=OnlineSettings("harmless", judge=judge))
    data = (*made.data.data, DataSource.parse("s3://key:swordfish@b/run"))
    made = replace(made, data=replace(made.data, data=data))
    written: list[bytes] = []

    def command(_launch: str, _processes: int, task: Path) -> list[str]:
        written.append(task.read_bytes())
        program = (
            "import os, sys, pathlib\nfrom cai.train.launch_file import ADDRESSES, read_launch\n"
            "settings, quiet = read_launch(pathlib.Path(sys.argv[1]))\n"
            "judge, data = settings.own.judge, settings.data.data[-1]\n"
            "typed = [judge.reveal(), data.reveal(), type(judge).__name__]\n"
            'print(\'{"say": "\' + f"{typed} {quiet} {ADDRESSES in os.environ}" + \'"}\')\n'
            'print(\'{"status": "done"}\')'
        )
        return [sys.executable, "-c", program, str(task)]

    monkeypatch.setattr(launching, "launch_command", command)
    heard: list[str] = []
    assert train_launched(made, "ddp", 2, heard.append, quiet=True) == "done"
    assert heard == [f"{[judge.reveal(), 's3://key:swordfish@b/run', 'JurySpec']} True False"]
    assert b"h:1/v1" not in written[0]
    assert not any(secret in written[0] for secret in (b"hunter22", b"swordfish"))
    assert ADDRESSES not in os.environ
    assert write_launch(tmp_path / "none", make_settings(tmp_path), quiet=True) == {}


def test_a_loop_launches_where_there_are_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings(tmp_path, device="auto")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80 * GIB))
    started: list[Any] = []

    def start(*given: Any, quiet: bool) -> str:
        started.append((*given[:3], quiet))
        return "interrupted"

    monkeypatch.setattr(loop_run, "train_launched", start)
    heard: list[str] = []
    reporter: Any = SimpleNamespace(quiet=True, say=heard.append)
    assert loop_run._train(settings, reporter) == "interrupted"
    assert started == [(settings, "ddp", 4, True)]
    assert heard == ["on 4 GPUs, a process each (ddp)"]

    def refuse(_device: str) -> None:
        raise ModelError("4 GPUs are visible to one process")

    monkeypatch.setattr(loop_plan, "find_machine", refuse)
    loop_plan._check_training(settings, LoopSettings("medical"))  # the plan refuses no machine that the run shares


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "says"),
    [
        (
            "if rank == '1': time.sleep(60)\nlaunched.plan_train = lambda _: int('no number')\nlaunched.main(task)",
            r"^training failed: ValueError: invalid literal for int\(\) with base 10: 'no number' \(.*\.py:\d+\)$",
        ),
        (
            "def refuse(_): raise CaiError('the disk of rank 1 is full')\n"
            "if rank == '0': time.sleep(60)\nlaunched.plan_train = refuse\nlaunched.main(task)",
            "^the disk of rank 1 is full$",
        ),
        (
            "if rank == '1': raise ImportError('no such library')\ntime.sleep(60)",
            "^training in 2 processes failed: ImportError: no such library$",
        ),
        (
            "if rank == '1': os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)",
            "^training in 2 processes failed: process 1 was ended by SIGKILL$",
        ),
    ],
    ids=["a bug", "a mistake", "told nothing", "killed"],
)
def test_what_went_wrong_in_a_process_is_told_and_not_that_the_launcher_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, says: str
) -> None:
    beginning = (
        "import os, signal, sys, time\nfrom pathlib import Path\nrank, task = os.environ['RANK'], Path(sys.argv[1])\n"
    )
    if "launched" in program:
        beginning += "from cai.core.errors import CaiError\nfrom cai.train import launched\nprint(5)\n"
        program = program.replace("launched.main(task)", "sys.exit(launched.main(task))")
    (tmp_path / "misbehaving_process.py").write_text(beginning + program)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    command = launch_command

    def launch(*given: Any) -> list[str]:
        return [word.replace("cai.train.launched", "misbehaving_process") for word in command(*given)]

    monkeypatch.setattr(launching, "launch_command", launch)
    with pytest.raises(CaiError, match=says):
        train_launched(make_settings(tmp_path), "cpu2", 2, lambda _: None, quiet=True)


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_stop_when_asked(tmp_path: Path) -> None:
    together, alone = (make_settings(tmp_path, out=out, max_steps=4, device="cpu") for out in ("together", "alone"))
    heard: list[str] = []
    assert train_launched(together, "cpu2", 2, heard.append, quiet=True) == "done"
    assert any("2 processes" in line for line in heard)
    train(alone)
    for (step, found), (same, wanted) in zip(curve(together.out), curve(alone.out), strict=True):
        assert step == same
        assert found == pytest.approx(wanted, rel=1e-3)

    longer = make_settings(tmp_path, out="longer", max_steps=5000, device="cpu")

    with interrupted_once((longer.out / "metrics.jsonl").exists):
        assert train_launched(longer, "cpu2", 2, lambda _: None, quiet=True) == "interrupted"
    assert list((longer.out / "checkpoints").glob("checkpoint-*"))
