"""Paths that lead nowhere, pipes in the place of files, and standard streams that are closed or full."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from cai.cli.main import main
from cai.core.addresses import DataSource
from cai.core.errors import ModelError, RunError, UsageError
from cai.core.paths import expand, open_file, resolve
from cai.loop.settings import LoopSettings
from cai.models.checkpoint.files import check_checkpoint
from cai.models.checkpoint.resolve import adapter_base, lora_rank
from cai.rundir import Run
from cai.rundir.origin import copies, read_origin
from cai.rundir.shards import Shard

NOBODY = "~nobody-of-this-name/x"
GENERATE = ("generate", "--constitution", "harmless", "--model", "scripted", "--rounds", "0", "--samples", "1")


def shell(script: str, cwd: Path, *, timeout: float = 60.0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which `$CAI` is the command; nothing may end in a traceback."""
    done = subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "CAI": f"{sys.executable} -m cai",
            **environment,
        },
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return done


def test_a_home_that_is_not_there_is_a_path_like_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (NOBODY, "~no\0body/x", "~\ud800/x"):
        assert expand(name) == Path(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand("~/x") == tmp_path / "x"


def test_links_in_a_circle_lead_somewhere(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert resolve(tmp_path / "a").parent == resolve(tmp_path)
    assert read_origin(tmp_path / "a") is None


def test_without_a_home_only_copies_of_urls_are_impossible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", str)
    assert read_origin(tmp_path) is None
    with pytest.raises(RunError, match="set XDG_STATE_HOME"):
        copies()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x")
    with pytest.raises(OSError, match=r"it is a (pipe|directory)") as raised:
        open_file(tmp_path / "x")
    assert raised.value.errno in (errno.EINVAL, errno.EISDIR)
    assert raised.value.filename == str(tmp_path / "x")


def test_a_model_with_a_pipe_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ModelError, match=r"config\.json: it is a pipe"):
        check_checkpoint(tmp_path)


@pytest.mark.parametrize("pattern", [["q"], {"q": "8"}, 3, "x"])
def test_ranks_that_are_none_are_told(tmp_path: Path, pattern: object) -> None:
    config = tmp_path / "adapter_config.json"
    config.write_bytes(orjson.dumps({"peft_type": "LORA", "r": 8, "rank_pattern": pattern}))
    with pytest.raises(ModelError, match="rank_pattern"):
        lora_rank(tmp_path)
    config.write_text("[" * 100_000)
    with pytest.raises(ModelError, match="does not say which model"):
        adapter_base(tmp_path)
    config.unlink()
    os.mkfifo(config)
    with pytest.raises(ModelError, match="it is a pipe"):
        adapter_base(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prompts", f"{NOBODY}.jsonl"], "There is no file or directory"),
        (["--model", f"transformers:{NOBODY}"], "there is no model directory"),
        (["--model", "transformers:pipe"], "pipe is a file; a model is a directory"),
        (["--out", "circle"], "circle is a file"),
        (["--prompts", "pipe"], "pipe cannot be opened: it is a pipe"),
        (["--config", "pipe"], "pipe:1: cannot be read: it is a pipe"),
        (["--prompts", "/dev/zero"], "/dev/zero cannot be opened: it is a pipe"),
        (["--prompts", ""], "There is no file or directory ''"),
        (["--out", ""], "the name is empty"),
        (["--prompts", "-"], "Standard input holds no prompts"),
    ],
)
def test_it_is_told_in_one_sentence(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", None)  # as where it was closed
    os.mkfifo("pipe")
    Path("circle").symlink_to("circle")
    with pytest.raises(SystemExit) as left:
        main([*GENERATE, *arguments])
    assert left.value.code in (1, 2)
    assert says in capfd.readouterr().err


def test_a_home_is_meant_where_no_shell_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow reads `~` in names as the home: shards of a directory of that name went there."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    (home / "mine.yaml").write_text("name: mine\nversion: 1.0.0\nextends: [harmless]\n")
    (home / "run.yaml").write_text("constitution: ~/mine.yaml\nout: ~/run\nlimit: 2\n")
    with pytest.raises(SystemExit) as left:
        main(["generate", *GENERATE[3:], "--config", "~/run.yaml"])
    assert left.value.code == 0
    assert Run.read(home / "run").count() == 2
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_loop_needs_prompts_that_can_be_read_again() -> None:
    from cai.loop.plan import plan_loop  # noqa: PLC0415  (torch takes seconds to import)

    settings = LoopSettings("harmless", prompts=DataSource.parse("-"))
    with pytest.raises(UsageError, match="--prompts is standard input"):
        plan_loop(settings)


def test_a_working_directory_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    with pytest.raises(SystemExit) as left:
        main(["constitution", "list"])
    assert left.value.code == 2
    assert "the working directory is gone" in capfd.readouterr().err


def test_a_shard_that_became_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "000001.parquet")
    with pytest.raises(RunError, match="it is a pipe"):
        Shard(tmp_path / "000001.parquet", "run", 1)


def test_a_damaged_run_json_says_how_the_rows_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for moved in (False, True):
        if moved:
            Path("run/run.json").write_text("{")
            with pytest.raises(RunError, match=r"move it away and give the command that made this run again"):
                Run.read(Path("run")).count()
            Path("run/run.json").rename("away.json")
        with pytest.raises(SystemExit) as left:
            main([*GENERATE, "--limit", "2", "--out", "run", "--json"])
        assert left.value.code == 0
        assert orjson.loads(capfd.readouterr().out)["done"] == (0 if moved else 2)
    Path("other").mkdir()
    Path("other/run.json").write_text('{"sweep": 1}')
    with pytest.raises(RunError, match="nothing marks it as cai's"):
        Run.read(Path("other"))
    Path("run/journal").mkdir(exist_ok=True)
    os.mkfifo("run/journal/000009.jsonl")
    with pytest.raises(RunError, match=r"000009\.jsonl cannot be read: it is a pipe"):
        Run.read(Path("run")).count()


def test_closed_streams_stop_nothing(tmp_path: Path) -> None:
    done = shell(f"$CAI {' '.join(GENERATE)} --limit 2 --out run --fresh <&- >&- 2>&-", tmp_path)
    assert done.returncode == 0
    assert Run.read(tmp_path / "run").count() == 2


def test_a_full_output_is_told(tmp_path: Path) -> None:
    done = shell("$CAI constitution list > /dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (1, "cai: the output cannot be written: No space left on device\n")


def test_an_encoding_of_few_letters_gets_escapes(tmp_path: Path) -> None:
    (tmp_path / "안녕.yaml").write_text("x: 1\n")
    done = shell("$CAI constitution check 안녕.yaml", tmp_path, PYTHONIOENCODING="latin-1")
    assert done.returncode == 2
    assert "\\uc548" in done.stderr + done.stdout


def test_columns_that_are_not_used_are_told_beside_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.jsonl").write_text('{"prompt": "Hi", "topic": "x"}\n')
    with pytest.raises(SystemExit) as left:
        main([*GENERATE, "--prompts", "p.jsonl", "--out", "run", "--json"])
    printed = capfd.readouterr()
    assert left.value.code == 0
    assert "not used: topic (100 % of rows)" in printed.err
    orjson.loads(printed.out)
