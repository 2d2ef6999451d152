"""What a person types to drop rows, and to change the prompts of a run, and what is said."""

import json
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from cai.rundir import Run
from tests.command import Cai
from tests.storage import fill, make_row

QUESTIONS = ["How do I sleep better?", "What is a fever?", "Who are you?", "How do I boil an egg?"]


@pytest.fixture
def cai(capsys: pytest.CaptureFixture[str]) -> Cai:
    return Cai(capsys)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    fill(directory, map(make_row, range(6)))
    return directory


def test_rows_are_dropped_by_their_ids_and_taken_back(run: Path, tmp_path: Path, cai: Cai) -> None:
    named = tmp_path / "ids.txt"
    named.write_text("prompt-1\n\nprompt-4\nprompt-9\n")
    code, told, err = cai("drop", str(run), "--ids", str(named))
    assert (code, err) == (0, "cai: 1 of the ids have no row in the run\n")
    assert told == (
        f"2 rows of {run} dropped\nleft out now: 2 dropped\n"
        f"the exports are as they were until `cai export {run}` writes them again\n"
    )
    assert [row.prompt.ordinal for row in Run.read(run)] == [0, 2, 3, 5]
    code, told, err = cai("show", str(run), "--json")
    assert (code, len(told.splitlines())) == (0, 4)
    assert err == "cai: rows left out: 2 dropped; --left-out shows them\n"
    assert [
        orjson.loads(line)["prompt"]["id"] for line in cai("show", str(run), "--left-out", "--json")[1].splitlines()
    ] == [
        "prompt-1",
        "prompt-4",
    ]
    assert cai("show", str(run), "prompt-4")[::2] == (
        2,
        f"cai: the row 'prompt-4' of {run} is left out; --left-out shows it\n",
    )
    assert cai.told("drop", str(run), "--ids", str(named)) == {
        "changed": 0,
        "before": 2,
        "absent": 1,
        "left_out": {"dropped": 2},
    }
    assert "rows left out: dropped 2" in cai("export", str(run))[1]
    record = json.loads((run / "left-out.jsonl").read_text().splitlines()[0])
    assert (record["why"], [name for name, _ in record["out"]]) == (f"--ids {named}", ["prompt-1", "prompt-4"])
    assert cai.told("drop", str(run), "--undo") == {"changed": 2, "before": 0, "absent": 0, "left_out": {}}
    assert Run.read(run).count() == 6


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_ids_are_read_letter_for_letter(tmp_path: Path, cai: Cai, start: str) -> None:
    rows = [
        replace(row, prompt=replace(row.prompt, id=f"a\u2028b\x0b{row.prompt.ordinal}"))
        for row in map(make_row, range(3))
    ]
    fill(tmp_path / "run", rows)
    named = tmp_path / "ids.txt"
    named.write_bytes(f"{start}{rows[0].prompt.id}\r\n{rows[2].prompt.id}".encode())
    told = cai.told("drop", str(tmp_path / "run"), "--ids", str(named))
    assert (told["changed"], told["absent"]) == (2, 0)
    assert list(Run.read(tmp_path / "run")) == [rows[1]]


def test_the_record_holds_no_secret_and_takes_any_user(run: Path, cai: Cai, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "question 3 ")
    monkeypatch.setenv("LOGNAME", "a\udcffb")
    assert cai.told("drop", str(run), "--where", "prompt=question 3 ")["changed"] == 1
    record = json.loads((run / "left-out.jsonl").read_text())
    assert record["why"] == "--where prompt=…"
    assert record["who"].startswith("a\\udcffb@")


def test_rows_are_dropped_by_what_holds_of_them(run: Path, cai: Cai) -> None:
    assert cai.told("drop", str(run), "--where", "tag=tag", "--where", "prompt=question 3 ")["changed"] == 1
    assert Run.read(run).row("prompt-3") is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "say which rows to drop, by their ids (--ids) or by what holds of them"),
        (
            ("--where", "colour=red"),
            "'colour=red' is no condition; give COLUMN=VALUE, where COLUMN is one of tag, prompt",
        ),
        (("--where", "tag=nothing"), "has no such row, so nothing was dropped"),
        (("--ids", "nowhere.txt"), "--ids nowhere.txt cannot be read: No such file or directory"),
        (("--undo",), "has no such row, so nothing was taken back"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_dropped(
    run: Path, cai: Cai, words: tuple[str, ...], says: str
) -> None:
    code, told, err = cai("drop", str(run), *words)
    assert (code, told) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert Run.read(run).count() == 6


def test_prompts_are_added_and_removed_without_starting_over(tmp_path: Path, cai: Cai) -> None:
    prompts, out = tmp_path / "prompts.txt", str(tmp_path / "run")
    command = ["generate", "--constitution", "harmless", "--model", "scripted", "--prompts", str(prompts), "--out", out]

    def give(*numbers: int) -> tuple[dict[str, int], str]:
        prompts.write_text("".join(f"{QUESTIONS[number]}\n" for number in numbers))
        code, told, err = cai(*command, "--json")
        assert code == 0, err
        summary = orjson.loads(told)
        return {name: summary[name] for name in ("done", "skipped", "rows")}, err

    def shown() -> list[str]:
        return sorted(row.prompt.messages[0]["content"] for row in Run.read(tmp_path / "run"))

    assert give(0, 1)[0] == {"done": 2, "skipped": 0, "rows": 2}
    before = (tmp_path / "run" / "sft" / "train.parquet").read_bytes()
    assert give(0, 2, 1)[0] == {"done": 1, "skipped": 2, "rows": 3}
    summary, err = give(2, 3)
    assert summary == {"done": 1, "skipped": 1, "rows": 2}
    assert "2 rows whose prompts are no longer in the input, or changed, left out" in err
    assert shown() == sorted(QUESTIONS[2:])
    summary, err = give(1, 0)
    assert summary == {"done": 0, "skipped": 2, "rows": 2}
    assert "2 rows are back" in err
    assert (tmp_path / "run" / "sft" / "train.parquet").read_bytes() == before
    code, _, err = cai(*command, "--seed", "7")
    assert (code, "made with other settings" in err) == (2, True)


def test_what_is_judged_again_follows_the_run(run: Path, tmp_path: Path, cai: Cai) -> None:
    out = tmp_path / "judged"
    command = ["judge", str(run), "--judge", "scripted", "--constitution", "harmless", "--out", str(out)]
    assert cai.told(*command)["rows"] == 6
    cai.told("drop", str(run), "--where", "prompt=question 2 ")
    assert cai.told(*command)["rows"] == 5
    assert Run.read(out).row("prompt-2") is None
    cai.told("drop", str(run), "--undo")
    summary = cai.told(*command)
    assert (summary["rows"], summary["done"]) == (6, 0)
