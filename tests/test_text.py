"""No character that somebody else wrote is obeyed by a terminal: what is printed shows it, data files keep it."""

import ast
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table

import cai as cai_package
from cai.cli.main import main
from cai.cli.screen import Screen, assembled, shown
from cai.cli.terminal import clean, print_json
from cai.core.text import is_hidden, visible
from tests.echoing import Echoing, echoing

OSC = "\x1b]52;c;aGFja2Vk\x07"
HOSTILE = (
    f"a\x1b[2J{OSC}\x9b31m\x08\x7f\u202eb\u2066c\u200bd\u2028e\ufeff\U000e0041 [red]x[/red] [link=http://h]y[/link]"
)
RAW = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def cai(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run commands; nothing that they print may hold a raw control character."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main(words)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert not RAW.search(out + err), repr(out + err)
        return int(left.value.code or 0), out + err

    return run


@pytest.fixture
def server() -> Iterator[Echoing]:
    with echoing() as one:
        one.answer = f"Please {HOSTILE} rest."
        yield one


@pytest.mark.slow
def test_prompts_ids_and_answers(cai: Run, server: Echoing) -> None:
    rows = [{"id": f"i{HOSTILE}{n}", "prompt": f"Hello {n} {HOSTILE}?", "tags": [f"t{OSC}"]} for n in range(2)]
    rows.append({"id": f"x{OSC}", "prompt": {"not": OSC}})  # type: ignore[dict-item]
    Path(f"p{OSC[:4]}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = ("--model", f"openai:m{OSC}@http://{server.host}/v1")
    generate = ("generate", "--constitution", "medical", "--rounds", "1", "--prompts", f"p{OSC[:4]}.jsonl", *model)
    code, said = cai(*generate, "--out", f"r{OSC}", "--dry-run")
    assert (code, "\\x1b" in said) == (0, True)
    assert cai(*generate, "--out", f"r{OSC}", "--dry-run", "--json")[0] == 0
    assert cai(*generate, "--out", f"r{OSC}")[0] == 0
    code, said = cai("show", f"r{OSC}")
    assert code == 0
    assert "\\x1b]52;c;" in said
    assert "[red]x[/red] [link=http://h]y[/link]" in " ".join(said.split())
    code, said = cai("show", f"r{OSC}", "--json")
    row = orjson.loads(said.splitlines()[0])
    assert OSC in row["prompt"]["messages"][-1]["content"], "the data is what was given"
    assert OSC in row["traces"][0]["response"]
    assert cai("show", f"r{OSC}", f"no{OSC}")[0] == 2
    assert cai("export", f"r{OSC}")[0] == 0
    assert cai("judge", f"r{OSC}", "--judge", "scripted")[0] == 0
    assert cai("models", "check", model[1])[0] == 0


@pytest.mark.parametrize("status", [400, 401, 404, 429])
@pytest.mark.slow
def test_errors_of_servers(cai: Run, server: Echoing, status: int) -> None:
    server.said = HOSTILE
    server.fails = status
    generate = ("generate", "--constitution", "medical", "--limit", "2", "--model", f"openai:m@http://{server.host}/v1")
    if status != 429:  # what a rate limit does takes minutes
        cai(*generate, "--out", "r")
    server.fails = 400
    cai("models", "check", f"openai:m@http://{server.host}/v1")


def test_constitutions(cai: Run) -> None:
    text = json.dumps(f"The response {HOSTILE}.")
    fields = "name: c\nversion: {version}\nsummary: {text}\nprinciples:\n- id: p\n  text: {text}\n  critique: {text}\n"
    Path("c.yaml").write_text(fields.format(version='"1\\u202e<img>"', text=text))
    cai("constitution", "check", "c.yaml")
    cai("constitution", "show", "c.yaml")
    cai("constitution", "show", "c.yaml", "--json")
    cai("generate", "--constitution", "c.yaml", "--model", "scripted", "--prompts", "x", "--out", "r")
    for broken in (f"name: {text}\n", f"{text}: 1\n", f"name: c\nversion: '1'\nextends: [{text}]\n", f"a: {OSC}\n"):
        Path("c.yaml").write_text(broken)
        assert cai("constitution", "check", "c.yaml")[0] == 2
    assert cai("constitution", "check", f"c{OSC}.yaml")[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        [f"gen{OSC}"],
        ["generate", "--constitution", f"c{OSC}"],
        ["generate", "--constitution", "medical", f"--no{OSC}"],
        ["generate", "--constitution", "medical", "--limit", f"1{OSC}"],
        ["generate", "--constitution", "medical", "--model", f"m{OSC}"],
        ["generate", "--constitution", "medical", "--prompts", f"/no{OSC}.jsonl"],
        ["generate", "--constitution", "medical", "--config", f"no{OSC}"],
        ["show", f"r{OSC}"],
        ["export", f"r{OSC}"],
        ["train", "sft", "--data", f"d{OSC}.jsonl", "--out", "t"],
        ["train", "sft", "--model", f"/m{OSC}", "--data", "d", "--out", "t"],
        ["evaluate", f"a{OSC}=tiny", "--constitution", "medical"],
        ["evaluate", "tiny", "--constitution", "medical", "--prompts", f"p{OSC}"],
        ["models", "check", f"transformers:/m{OSC}"],
        ["models", "check", f"openai:m{OSC}@http://127.0.0.1:1/{OSC}"],
        ["loop", "--constitution", f"c{OSC}", "--dry-run"],
    ],
    ids=lambda words: " ".join(words)[:40].encode("unicode_escape").decode(),
)
def test_what_is_typed_wrong(cai: Run, words: list[str]) -> None:
    code, said = cai(*words)
    assert code in (1, 2), said


def test_columns_and_files_to_train_on(cai: Run) -> None:
    rows = [{f"prompt{OSC}": "a", f"c{HOSTILE}": "b"} for _ in range(3)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cai("train", "sft", "--data", "rows.jsonl", "--out", "t")[0] == 2
    assert cai("generate", "--constitution", "medical", "--model", "scripted", "--prompts", "rows.jsonl")[0] == 2
    Path("config.yaml").write_text(json.dumps({f"lim{HOSTILE}": 1}))
    assert cai("generate", "--constitution", "medical", "--config", "config.yaml")[0] == 2


def test_warnings_of_libraries(capfd: pytest.CaptureFixture[str], cai: Run) -> None:
    cai("constitution", "list")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning(f"file {HOSTILE}", UserWarning, "x.py", 1)
    logging.getLogger("somebody").warning("said %s", HOSTILE)
    assert not RAW.search(capfd.readouterr().err)


@given(st.text(st.characters(codec=None)))
def test_visible_hides_nothing_and_is_seen(text: str) -> None:
    seen = visible(text)
    assert not RAW.search(seen.replace("\t", ""))
    assert not any(is_hidden(character) for character in seen if character not in "\n\t")
    assert visible(seen) == seen
    assert all(character in seen for character in text if character.isprintable())
    seen.encode()


def test_scripts_and_emoji_stay_as_they_are() -> None:
    for text in (
        "한국어 텍스트",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "👩\u200d👩\u200d👧 ❤️",
        "a\tb\nc",
        "日本\u3000語",
        "é e\u0301",
    ):
        assert visible(text) == text


@given(
    st.recursive(st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
)
def test_json_says_the_same_value(value: object) -> None:
    written = StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("click.echo", written.write)
        print_json(value)
    assert not RAW.search(written.getvalue())
    assert json.loads(written.getvalue()) == value


def test_half_a_character_is_printed_as_an_escape(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name \udc80": ["\ud83d"]})
    assert json.loads(capsys.readouterr().out) == {"name \\udc80": ["\\ud83d"]}


def test_colours_are_ours_and_markup_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    table = Table("a", "b")
    table.add_row(HOSTILE, shown(HOSTILE))
    screen.print(table, Panel(shown(HOSTILE), title=shown(HOSTILE)), assembled((HOSTILE, "bold"), HOSTILE), HOSTILE)
    said = capsys.readouterr().out
    assert not RAW.search(said)
    assert clean("[red]x[/red]") == "[red]x[/red]"
    assert "[red]x[/red]" in said


TO_A_PROCESS = ("train/launched.py",)
"""What is printed there is JSON for the process that launched it, which cleans what it says."""
CLEANING = ("cli/terminal.py", "cli/screen.py", "cli/completion.py", "train/progress.py", "api/showing.py")
"""The place itself, click's own script, and two that clean what they show: a bar, and the lines of the API."""


def test_everything_is_printed_in_one_place() -> None:
    root = Path(cai_package.__file__).parent
    strays = []
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("print", "click.echo", "click.secho", "Console", "sys.stdout.write", "sys.stderr.write"):
                strays.append(place)
    assert {place for place in strays if not place.startswith("tiny/")} <= {*CLEANING, *TO_A_PROCESS}, (
        "print with cai.cli.terminal.say or print_json, or on a cai.cli.screen.Screen"
    )
