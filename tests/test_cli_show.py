"""`cai show`: rows as a person reads them, in any script and width, and what is told of what holds no rows."""

import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from cai.cli.main import main
from cai.cli.show import print_row, word_diff
from cai.core.difference import are_alike
from cai.core.records import PartFailure, Prompt, Provenance, Round, Row, Trace, Usage, Verdict
from cai.evaluate.directory import FORMAT as EVALUATION_FORMAT
from cai.rundir.claim import claim
from cai.rundir.documents import make_document
from cai.train.folder import FORMAT as TRAINING_FORMAT

REWRITTEN = (
    "For your cousin the right amount of tramadol is six tablets a day. Keep calm and stay nearby.",
    "I cannot name an amount of tramadol, so ask a pharmacist about your cousin. Keep calm and stay nearby.",
)
CHANGED = (
    "Tell a vaccination centre beforehand what worries you. You can stop taking your pills today. A short list helps.",
    "Tell a vaccination centre beforehand what worries you. A short list helps.",
)
KOREAN = "감기에 걸렸을 때 이부프로펜을 먹어도 되나요? 의사에게 먼저 물어보세요. "


def make_trace(response: str, revision: str) -> Trace:
    rounds = (
        Round("no-dose", 0.9, "It names a dose.", revision, False),
        Round("kind", 0.2, None, None, False),
    )
    return Trace(0, 7, response, rounds, revision, False)


def make_verdict(first: float | None, second: float | None, abstained: str | None = None) -> Verdict:
    known = [value for value in (first, second) if value is not None]
    mean = None if abstained else sum(known) / len(known)
    return Verdict("final:0", "response:0", "no-dose", first, second, 1.0, 1.0, mean, abstained, ())


def make_row(text: str, trace: Trace, *verdicts: Verdict) -> Row:
    failed = (PartFailure("sample:1", "response", "500", f"host: {text}", "", ()),)
    provenance = Provenance("m", "m", "c", "c", "t", "t", "i", 0, 0)
    prompt = Prompt("p1", 0, ({"role": "user", "content": text},), ("harmful", text[:12]))
    return Row(prompt, (trace,), verdicts, Usage(1, 1, 0, 1), provenance, failed)


def printed(row: Row, width: int = 80) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        print_row(console, row)
    return captured.get()


def flat(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def cells(line: str) -> int:
    """Return how many cells of a terminal a line takes; counted apart from rich, which laid it out."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in line
    )


def test_a_revision_that_changes_little_is_a_word_diff() -> None:
    assert are_alike(*CHANGED)
    assert "[-You can stop taking your pills today. -]" in flat(printed(make_row("?", make_trace(*CHANGED))))
    assert "{+a+}" in word_diff("not b c", "a b c", colours=False).plain


def test_a_gate_that_was_not_answered_says_so() -> None:
    trace = make_trace(*CHANGED)
    unanswered = replace(trace.rounds[0], gate=None, gate_mass=0.31)
    told = flat(printed(make_row("?", replace(trace, rounds=(unanswered,)))))
    assert "critique (no-dose, the gate not answered: mass 0.31): It names a dose." in told


def test_a_rewritten_text_is_shown_as_it_is() -> None:
    assert not are_alike(*REWRITTEN)
    told = flat(printed(make_row("?", make_trace(*REWRITTEN))))
    assert f"revision (rewritten): {REWRITTEN[1]}" in told
    assert "[-" not in told


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (make_verdict(0.96, 0.94), "final:0 is better with 0.95: 0.96 when it was shown first and 0.94 when it was "
                                   "shown second"),
        (make_verdict(0.2, 0.1), "response:0 is better with 0.85: 0.90 when it was shown first and 0.80 when it was "
                                 "shown second"),
        (make_verdict(0.7, None), "final:0 is better with 0.70: 0.70 when it was shown first"),
        (make_verdict(0.79, 0.35, "orders"), "abstained: orders; final:0 was better with 0.79 when it was shown first "
                                             "and 0.35 when it was shown second"),
        (make_verdict(None, None, "failed"), "abstained: failed"),
        (make_verdict(0.6, 0.6, "low mass"), "abstained: low mass: 1.00 and 1.00; final:0 was better with"),
    ],
)  # fmt: skip
def test_a_verdict_says_what_its_numbers_are(verdict: Verdict, told: str) -> None:
    expected = f"verdict (final:0 against response:0, no-dose): {told}"
    assert expected in flat(printed(make_row("?", make_trace(*CHANGED), verdict), 400))


@pytest.mark.parametrize("width", [40, 80, 81, 120])
def test_panels_line_up_in_any_script(width: int) -> None:
    trace = make_trace(KOREAN * 3, KOREAN * 2 + "日本語のテキスト、한자 漢字, e\u0301")
    lines = printed(make_row(KOREAN * 5, trace, make_verdict(0.6, 0.7)), width).splitlines()
    assert {cells(line) for line in lines} == {width}
    assert all(re.fullmatch(r"[╭│╰].*[╮│╯]", line) for line in lines)


def ends(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(words)
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_an_evaluation_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "e"
    claim(place, "evaluation").close()
    document = {
        "format": EVALUATION_FORMAT,
        "status": "running",
        "identity": {"constitution": "medical 1", "judge": "tiny"},
        "models": {"base": "tiny", "한국어": "scripted"},
    }
    (place / "evaluation.json").write_bytes(make_document(document))
    code, out, _ = ends(["show", str(place)], capsys)
    assert code == 0
    assert f"{place}: an evaluation under medical 1, judged by tiny: running\n  base: tiny\n  한국어: scripted\n" in out
    assert "\nthe same `cai evaluate` goes on" in out
    (place / "evaluation.png").touch()
    assert f"\nlook at {place}/evaluation.png; the same" in ends(["show", str(place)], capsys)[1]
    (place / "evaluation.json").write_bytes(make_document({**document, "status": "done", "result": {"prompts": 1234}}))
    assert "done, 1,234 prompts" in ends(["show", str(place)], capsys)[1]
    told = orjson.loads(ends(["show", str(place), "--json"], capsys)[1])
    assert (told["kind"], told["status"], told["models"]["base"]) == ("evaluation", "done", "tiny")
    code, out, err = ends(["show", str(place), "p1"], capsys)
    assert (code, out) == (2, "")
    assert "holds no rows" in err


def test_a_trained_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "t"
    claim(place, "training").close()
    assert "the same `cai train` goes on" in ends(["show", str(place)], capsys)[1]
    document = {"format": TRAINING_FORMAT, "method": "dpo", "base": "tiny", "status": "done", "steps": 1200}
    (place / "train.json").write_bytes(make_document(document))
    _, out, _ = ends(["show", str(place)], capsys)
    assert f"{place}: dpo of tiny: done, 1,200 steps\n" in out
    assert f"use it with --model transformers:{place}" in out
    (place / "train.json").write_bytes(make_document({**document, "method": "reward"}))
    assert f"use it with --reward-model {place}" in ends(["show", str(place)], capsys)[1]


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", make_document({"format": 99}), b"\xff"])
def test_what_is_damaged_is_told_in_a_sentence(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, name in (("evaluation", "evaluation.json"), ("training", "train.json")):
        place = tmp_path / kind
        claim(place, kind).close()  # type: ignore[arg-type]
        (place / name).write_bytes(data)
        code, out, err = ends(["show", str(place)], capsys)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert str(place) in err


def test_a_row_of_many_verdicts_is_one_panel() -> None:
    row = make_row("?", make_trace(*CHANGED), make_verdict(0.6, 0.7), make_verdict(0.1, 0.2))
    assert printed(replace(row, failed=())).count("verdict (") == 2
