"""`cai report`: every number comes from rows, everything is escaped, and the same directory gives the same bytes."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cai as package
from cai.cli.generate import generate as generate_command
from cai.constitution import load_constitution
from cai.core.corrected import CaseLabel, Confusion
from cai.core.errors import RunError, UsageError
from cai.core.records import Prompt, Provenance, Round, Row, Trace, Usage, Verdict
from cai.core.redaction import know
from cai.core.shares import wilson
from cai.report.catalogue import read_texts
from cai.report.document import Cell, Listing, ReportDocument, RowText, Table
from cai.report.plan import plan_report
from cai.report.reproducing import command_of_run
from cai.report.run import make_report, rows_of, write_report
from cai.report.settings import ReportSettings
from cai.report.shares import PromptShares
from cai.report.tallies import LISTED
from cai.rundir import Run
from cai.rundir.lines import check_line, make_line, salt
from tests.command import Cai
from tests.storage import IDENTITY, open_run

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def make_row(number: int, *, gate: float | None = 0.2, first: float = 0.9, second: float = 0.8, text: str = "") -> Row:
    revision = f"A kinder answer {number}. {text}"
    rounds = (Round("kind", gate, "It is rude." if gate else None, revision if gate else None, False, 0.9),)
    final = revision if gate else f"An answer {number}."
    trace = Trace(0, 7, f"An answer {number}.", rounds, final, number % 5 == 0, None, "m")
    mean = (first + second) / 2
    contradicts = (first > 0.5) != (second > 0.5)
    verdict = Verdict(
        "final:0",
        "response:0",
        "kind",
        first,
        second,
        1.0,
        1.0,
        None if contradicts else mean,
        "orders contradict" if contradicts else None,
        (),
    )
    prompt = Prompt(f"p{number:03}", number, ({"role": "user", "content": f"Question {number}? {text}"},), ("harmful",))
    provenance = Provenance("m", "m", "c", "c", "t", "t", "i", 0, 0)
    return Row(prompt, (trace,), (verdict,), Usage(3, 100 + number, 10, 20), provenance)


def write_run(path: Path, rows: Sequence[Row]) -> Path:
    run = open_run(path)
    for row in rows:
        run.commit(row)
    run.close("done")
    return path


def reported(path: Path, **changes: object) -> ReportDocument:
    return make_report(plan_report(replace(ReportSettings(path), **changes)))  # type: ignore[arg-type]


def number_of(report: ReportDocument, label: str) -> str:
    """Return the first number beside a label in any table."""
    for section in report.sections:
        for block in section.blocks:
            for row in block.rows if isinstance(block, Table) else ():
                if row[0].text == label:
                    return row[1].text
    raise AssertionError(label)


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def parsed(data: bytes) -> list[tuple[str, dict[str, str | None]]]:
    reader = Reader()
    reader.feed(data.decode())
    return reader.tags


@settings(deadline=None, max_examples=12)
@given(
    st.lists(
        st.tuples(st.sampled_from([None, 0.1, 0.9]), st.sampled_from([0.2, 0.9]), st.sampled_from([0.3, 0.8])),
        min_size=1,
        max_size=14,
    )
)
def test_every_number_is_what_the_rows_say(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[float | None, float, float]]
) -> None:
    rows = [make_row(i, gate=gate, first=a, second=b) for i, (gate, a, b) in enumerate(drawn)]
    path = write_run(tmp_path_factory.mktemp("run") / "r", rows)
    report = reported(path)
    texts = read_texts("en")
    gates = [gate for gate, _, _ in drawn]
    broken = sum(gate is not None and gate > 0.5 for gate in gates)
    decided = [(a, b) for _, a, b in drawn if (a > 0.5) == (b > 0.5)]
    expected = {
        "out.rows": len(rows),
        "out.responses cut": sum(i % 5 == 0 for i in range(len(rows))),
        "out.revisions": sum(gate is not None for gate in gates),
        "out.gates": len(rows),
        "out.gates unanswered": gates.count(None),
        "out.verdicts": len(rows),
        "out.verdicts decided": len(decided),
        "out.verdicts not decided": len(rows) - len(decided),
        "well.first place wins": sum(a > 0.5 > b for _, a, b in drawn),
        "well.second place wins": sum(a < 0.5 < b for _, a, b in drawn),
        "well.same answer wins": len(decided),
        "out.usage-rows": 3 * len(rows),
    }
    told = {key: number_of(report, texts[key]) for key in expected}
    assert told == {key: f"{count:,}" for key, count in expected.items()}
    known = len(gates) - gates.count(None)
    if known >= 10 and 2 * known >= len(gates):
        share = wilson(known - broken, known)
        assert number_of(report, "kind").rstrip("%") in (f"{share.value:.1%}"[:-1], f"{share.value:.0%}"[:-1])
    else:
        assert number_of(report, "kind") == texts["too-few"]


def test_every_number_leads_to_its_rows_and_the_command_lists_all_of_them(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", [make_row(i, gate=0.9 if i < 20 else 0.1) for i in range(30)])
    report = reported(path)
    anchors = {one.anchor: one for one in report.rows}
    cells = [
        cell
        for section in report.sections
        for block in section.blocks
        if isinstance(block, Table | Listing)
        for cell in (block.items if isinstance(block, Listing) else [one for row in block.rows for one in row])
    ]
    assert {cell.rows for cell in cells if isinstance(cell, Cell) and cell.rows} <= set(anchors)
    found = next(one for one in report.rows if one.name == "gates broken: kind")
    assert list(found.ids) == [f"p{i:03}" for i in range(LISTED)]
    assert found.more == "and 8 rows more"
    assert found.command == f"cai report {path} --rows 'gates broken: kind'"
    assert list(rows_of(plan_report(ReportSettings(path)), "gates broken: kind")) == [f"p{i:03}" for i in range(20)]
    with pytest.raises(UsageError, match="has no number 'nonsense'; there are "):
        rows_of(plan_report(ReportSettings(path)), "nonsense")


def test_a_prompt_counts_once_in_a_share() -> None:
    shares = PromptShares()
    for number in range(12):
        for value in (0.9, 0.9, 0.1 if number % 2 else None):
            shares.add("x", value)
        shares.end_prompt()
    found = shares["x"]
    assert (found.prompts, found.answered, found.asked) == (12, 30, 36)
    assert found.interval == wilson(6 * 1.0 + 6 * 2 / 3, 12)


def test_a_label_counts_once_however_often_its_text_is_met() -> None:
    shares = PromptShares()
    for _ in range(12):
        for value in (0.9, 0.1):
            shares.add("x", value, CaseLabel("the same text", truly=True))
        shares.end_prompt()
    assert (shares["x"].answered, shares["x"].sample.confusion) == (24, Confusion(hits=1))


def test_what_others_wrote_is_shown_as_text_and_known_secrets_are_not(tmp_path: Path) -> None:
    know(["s3cr3t-of-this-test"])
    row = make_row(1, text=f"{EVIL} s3cr3t-of-this-test \u202e")
    odd = replace(make_row(2), prompt=replace(make_row(2).prompt, id=EVIL, tags=(EVIL,)))
    odd = replace(odd, verdicts=(replace(odd.verdicts[0], principle_id=EVIL),))
    written = write_report(plan_report(ReportSettings(write_run(tmp_path / "r", [row, odd]))))
    data = written.out.read_bytes()
    tags = parsed(data)
    assert not {"script", "img", "iframe", "link", "object"} & {tag for tag, _ in tags}
    assert not [attrs for _, attrs in tags if any(name.startswith("on") for name in attrs)]
    assert b"&lt;script&gt;" in data
    assert b"s3cr3t-of-this-test" not in data
    assert "\u202e" not in data.decode()
    for _, attrs in tags:
        for name in ("src", "href"):
            assert (attrs.get(name) or "#").startswith("#")


def test_it_is_one_accessible_page_and_the_same_bytes_again(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", [make_row(i) for i in range(12)])
    written = write_report(plan_report(ReportSettings(path, language="ko")))
    data = written.out.read_bytes()
    again = write_report(plan_report(ReportSettings(path, language="ko")))
    assert again.out.read_bytes() == data
    tags = parsed(data)
    assert ("html", {"lang": "ko"}) in tags
    levels = [int(tag[1]) for tag, _ in tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert all(attrs.get("scope") for tag, attrs in tags if tag == "th")
    names = [attrs["id"] for _, attrs in tags if attrs.get("id")]
    assert len(names) == len(set(names))
    links = {str(attrs["href"]).removeprefix("#") for tag, attrs in tags if tag == "a"}
    assert links <= set(names)
    for tag, attrs in tags:
        if tag == "svg":
            assert attrs["role"] == "img"
            assert set(str(attrs["aria-labelledby"]).split()) <= set(names)
    assert Run.read(path).count() == 12


def test_both_languages_have_the_same_words_with_the_same_places() -> None:
    import string  # noqa: PLC0415

    english, korean = read_texts("en"), read_texts("ko")
    assert english.keys() == korean.keys()

    def places(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}

    assert [key for key in english if places(english[key]) != places(korean[key])] == []


def test_an_evaluation_is_computed_again_and_a_document_that_belies_its_rows_is_refused(
    tmp_path: Path,
) -> None:
    out = tmp_path / "e"
    found = package.evaluate("scripted", constitution="medical", prompts="tiny", limit=3, out=out, progress=False)
    report = reported(out)
    texts = read_texts("en")
    counts = [block for section in report.sections for block in section.blocks if isinstance(block, Table)]
    answered = next(table for table in counts if table.caption == texts["evaluation.counts"].format(prompts=3))
    assert [cell.text for cell in answered.rows[0][:2]] == ["scripted", "3"]
    words = found.measurement("words", "scripted").value
    assert number_of(report, "words") == f"{words:,.3g}"
    file = out / "responses" / "scripted.jsonl"
    start = salt("responses/scripted.jsonl")
    lines = [check_line(line, start) for line in file.read_bytes().splitlines()]
    changed = [{**orjson.loads(line or b""), "response": "One two three four five six seven."} for line in lines]
    file.write_bytes(b"".join(make_line(orjson.dumps(value), start) for value in changed))
    with pytest.raises(RunError, match=r"has .* as 'words' of scripted, and its rows give 7\.0000 of 3"):
        reported(out)


def test_somebody_elses_file_is_not_replaced(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", [make_row(1)])
    mine = tmp_path / "mine.html"
    mine.write_text("<html>mine</html>")
    with pytest.raises(UsageError, match=r"mine\.html is there and is no report"):
        plan_report(ReportSettings(path, out=mine))
    (path / "report.html").write_text("mine")
    with pytest.raises(RunError):
        write_report(plan_report(ReportSettings(path)))
    assert (path / "report.html").read_text() == "mine"
    with pytest.raises(RunError, match="is no run, evaluation or loop"):
        plan_report(ReportSettings(tmp_path))
    with pytest.raises(UsageError, match="a cost needs both"):
        plan_report(ReportSettings(path, price_prompt=1.0))


def test_prices_give_a_cost(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", [make_row(i) for i in range(3)])
    report = reported(path, price_prompt=1e6, price_completion=2e6)
    cells = [cell.text for section in report.sections for block in section.blocks if isinstance(block, Table)
             for row in block.rows for cell in row]  # fmt: skip
    assert f"{303 + 2 * 60:,.4f}" in cells


def test_the_command_of_a_run_is_read_back_as_its_settings() -> None:
    recorded = {
        "constitution": "medical",
        "model": "tiny",
        "limit": 4,
        "samples": 3,
        "gate": False,
        "few_shot": True,
        "stop": ["a b", "--"],
        "judge_check": False,
        "temperature": 0.5,
        "out": "/tmp/a b",
        "fresh": False,
        "resolved_constitution": {},
    }
    words = shlex.split(command_of_run(recorded))[2:]
    values = generate_command.make_context("generate", words, resilient_parsing=True).params
    assert values["limit"] == 4
    assert values["samples"] == 3
    assert values["gate"] is False
    assert values["few_shot"] is True
    assert values["judge_check"] is False
    assert list(values["stop"]) == ["a b", "--"]
    assert values["temperature"] == 0.5
    assert str(values["out"]) == "/tmp/a b"


def test_answers_are_held_against_the_run_s_own_constitution_as_the_export_does(tmp_path: Path) -> None:
    constitution = load_constitution("harmless")
    copied = constitution.exemplars[0].revision
    row = replace(make_row(1), traces=(Trace(0, 7, copied, (), copied, truncated=False, model="m"),), verdicts=())
    run = Run.open(tmp_path, IDENTITY, {"resolved_constitution": constitution.model_dump(mode="json")})
    run.commit(row)
    run.close("done")
    assert list(rows_of(plan_report(ReportSettings(tmp_path)), "filter sft: reported: copied-exemplar")) == ["p001"]


def test_texts_of_rows_keep_their_addresses() -> None:
    from cai.report.document import readable  # noqa: PLC0415

    address = "see https://example.org/a?q=1"
    assert readable(RowText(address)) == address
    assert readable(address) == "see https://example.org/a"


def test_the_command_line_writes_and_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cai = Cai(capsys)
    path = write_run(tmp_path / "r", [make_row(i) for i in range(3)])
    told = cai.told("report", str(path))
    assert told["of"] == "run"
    assert Path(told["out"]).stat().st_size == told["size"]
    assert cai("report", str(path), "--rows", "rows")[1].split() == ["p000", "p001", "p002"]
    assert cai("report", str(tmp_path))[0] == 2
