"""Constitutions, configs and options changed at random: an exit code, at most a few sentences, never a traceback."""

import contextlib
import io
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

import click
import orjson
import pytest

from cai.cli.main import COMMANDS, cai, main
from cai.constitution import shipped_constitutions
from cai.core.resources import shipped

pytestmark = pytest.mark.chaos

CASES = int(os.environ.get("CAI_CHAOS_CASES", "2000"))
SEED = 20261125
LONGEST_SECONDS = 30.0

PIECES = [
    *(
        "\0",
        "\x07",
        "\x1b]52;c;x\x07",
        "\ufeff",
        "\u202e",
        "\ud800",
        "\t",
        "\r",
        "\n",
        " #x",
        ": ",
        "- ",
        "? ",
        "! ",
        "&a ",
        "*a",
    ),
    *(
        "|\n  x",
        ">\n",
        "'",
        '"',
        '"\\0"',
        '"\\ud800"',
        "{",
        "}",
        "[",
        "]",
        "[[[[",
        ",",
        "%",
        "@",
        "`",
        "---\n",
        "...\n",
        "~",
    ),
    *("null", "true", "no", "on", "yes", "010", "0x1f", "0xfff", "1e400", ".inf", "-.inf", ".nan", "-1", "0", "1_000"),
    *(
        "9223372036854775808",
        "9" * 400,
        "1e-320",
        "2024-01-02",
        "12:30",
        "!!timestamp x",
        "!!python/object:os.system x",
    ),
    *(
        "<<",
        "=",
        "kind-tone",
        "../../etc/passwd",
        "/dev/zero",
        "medical",
        "harmless-ko",
        "가나다",
        "x" * 5000,
        "<img src=x>",
    ),
]
VALUES = [
    *(
        "",
        " ",
        "-",
        "--",
        ".",
        "..",
        "/",
        "~",
        "no",
        "0",
        "-1",
        "1",
        "2",
        "3",
        "0.5",
        "1e9",
        "1e400",
        "nan",
        "inf",
        "1e-320",
    ),
    *(
        "9" * 30,
        "2147483648",
        "0x10",
        "None",
        "true",
        "\t",
        "a\nb",
        "a\x1b[31mb",
        "\u202e",
        "가",
        "🦊",
        "x" * 5000,
        "a/" * 3000,
    ),
    *(
        "tiny",
        "scripted",
        "scripted?delay_ms=1e9",
        "scripted?concurrency=" + "9" * 30,
        "transformers:",
        "vllm:",
        "openai:",
    ),
    *(
        "openai:m@http://127.0.0.1:9/v1",
        "openai:m@http://u:p@h:99999/v1",
        "openai:m@ftp://h",
        "scripted?" + "a=1&" * 500,
    ),
    *(
        "transformers:/nowhere",
        "transformers:.",
        "vllm:x",
        "tiny+tiny",
        "+",
        "a=b",
        "=",
        "memory://x",
        "file:///dev/null",
        "s3:/x",
    ),
    *(
        "http://",
        "://",
        "/dev/null",
        "/proc/self/mem",
        "medical",
        "medical.yaml",
        "harmless-ko",
        "both",
        "sft",
        "walk",
        "cpu",
        "cuda:9",
    ),
]
VALID = {
    "constitution": "medical",
    "model": "scripted",
    "prompts": "prompts.jsonl",
    "data": "examples.jsonl",
    "out": "out",
    "reward_model": "empty",
}
"""What an option gets in three cases of four, so that others are looked at too."""
SEEDS = ["constitution: medical\nmodel: scripted\nseed: 3\ngate: true\nsamples: 2\nout: x\nlimit: 3\n"]


def outcome(arguments: Sequence[str]) -> tuple[int, str]:
    """Return the exit code and all that was printed; whatever is raised besides SystemExit is the test's failure."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    began = time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), pytest.raises(SystemExit) as left:
        main(arguments)
    assert time.monotonic() - began < LONGEST_SECONDS, arguments
    code = left.value.code
    assert isinstance(code, int)
    buffer = out.buffer
    assert isinstance(buffer, io.BytesIO)
    return code, buffer.getvalue().decode()


def check(arguments: Sequence[str]) -> int:
    code, said = outcome(arguments)
    assert code in (0, 1, 2), (arguments, code, said)
    assert "Traceback" not in said, (arguments, said)
    assert code == 0 or said.strip(), arguments
    bare = set(said) & {chr(number) for number in (*range(9), *range(11, 32), *range(127, 160))}
    assert not bare, (arguments, bare)
    return code


def changed(draw: random.Random, text: str) -> str:
    """Return the text with one to four changes of the kinds that editors, people and attackers make."""
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(text) + 1)
        lines = text.split("\n")
        match draw.randrange(6):
            case 0:
                text = text[:place] + draw.choice(PIECES) + text[place:]
            case 1:
                text = text[:place] + text[place + draw.randint(1, 40) :]
            case 2:
                line = draw.randrange(len(lines))
                text = "\n".join([*lines[:line], *draw.sample(lines, 1), *lines[line:]])
            case 3:
                line = draw.randrange(len(lines))
                text = "\n".join(
                    [*lines[:line], lines[line].partition(":")[0] + ": " + draw.choice(PIECES), *lines[line + 1 :]]
                )
            case 4:
                line = draw.randrange(len(lines))
                text = "\n".join([*lines[:line], " " * draw.randint(0, 6) + lines[line].lstrip(), *lines[line + 1 :]])
            case _:
                text = text.replace(
                    draw.choice(["id", "text", "weight", "principles", "-", "e"]), draw.choice(PIECES), 1
                )
    return text


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where nothing is lost, with no network and no standard input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))


def test_no_change_to_a_constitution_makes_a_traceback(tmp_path: Path) -> None:
    draw = random.Random(SEED)
    texts = [shipped("constitutions", f"{name}.yaml").read_text("utf-8") for name in shipped_constitutions()]
    short = [text[:1500].rpartition("\n  - id")[0] for text in texts]
    path = tmp_path / "changed.yaml"
    for number in range(CASES // 2):
        path.write_bytes(changed(draw, draw.choice(short)).encode("utf-8", "surrogatepass"))
        check(["constitution", draw.choice(["check", "check", "show"]), str(path)])
        if number % 20 == 0:
            check(["generate", "--constitution", str(path), "--model", "scripted", "--dry-run", "--limit", "2"])


def test_no_change_to_a_config_makes_a_traceback(tmp_path: Path) -> None:
    draw = random.Random(SEED + 1)
    path = tmp_path / "run.yaml"
    for _ in range(CASES // 20):
        path.write_bytes(changed(draw, SEEDS[0]).encode("utf-8", "surrogatepass"))
        check(
            [
                "generate",
                "--config",
                str(path),
                "--constitution",
                "medical",
                "--model",
                "scripted",
                "--limit",
                "2",
                "--dry-run",
            ]
        )


def commands() -> list[tuple[list[str], click.Command]]:
    """Return every command whose options can be tried without work being done: what has a dry run, or reads a run."""
    context = click.Context(cai)
    found: list[tuple[list[str], click.Command]] = []
    for name in COMMANDS:
        command = cai.get_command(context, name)
        assert command is not None
        inner = command.commands.items() if isinstance(command, click.Group) else [("", command)]
        found += [([name, part] if part else [name], item) for part, item in inner]
    return found


def test_no_option_s_value_makes_a_traceback(tmp_path: Path) -> None:
    draw = random.Random(SEED + 2)
    empty = tmp_path / "empty"
    empty.mkdir()
    rows = [{"prompt": f"p{number}", "completion": "c", "chosen": "c", "rejected": "r"} for number in range(3)]
    for name in ("prompts.jsonl", "examples.jsonl"):
        (tmp_path / name).write_bytes(b"\n".join(map(orjson.dumps, rows)))
    succeeded = 0
    known = commands()
    for _ in range(CASES // 25):
        words, command = draw.choice(known)
        options = [
            option
            for option in command.params
            if isinstance(option, click.Option)
            and option.name not in ("config", "cluster", "talk")  # the last opens a page, and waits
        ]
        has_dry_run = any(option.name == "dry_run" for option in options)
        places = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
        arguments = [*words, *(draw.choice(VALUES) if has_dry_run else str(empty) for _ in places)]
        needed = [option for option in options if option.required]
        for option in [*needed, *draw.sample(options, min(len(options), draw.randint(1, 3)))]:
            name = draw.choice([*option.opts, *option.secondary_opts])
            value = VALID.get(str(option.name)) if draw.random() < 0.75 else None
            if option.is_flag:
                arguments.append(name)
            elif name.startswith("--"):
                arguments.append(f"{name}={draw.choice(VALUES) if value is None else value}")
        code = check([*arguments, "--dry-run"] if has_dry_run else arguments)
        succeeded += code == 0
    assert succeeded >= CASES // 1000  # or nothing but the first option would have been looked at
