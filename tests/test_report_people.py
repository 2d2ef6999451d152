"""`cai report` on what people said: agreement and corrected shares, counted again here from the files alone."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import pytest

from cai.annotation.index import open_items
from cai.annotation.items import ReviewItem
from cai.annotation.kinds import ItemKind
from cai.annotation.store import AnnotationStore
from cai.core.records import Row
from cai.data.quality.personal import mask_text
from cai.report.catalogue import read_texts
from cai.report.document import Cell, ReportDocument, ShownRow, Table
from cai.report.plan import plan_report
from cai.report.run import make_report, rows_of
from cai.report.settings import ReportSettings
from cai.rundir.lines import check_line, salt
from tests.annotating import place_at, say
from tests.test_corrected import evaluated
from tests.test_corrected import label as label_gates
from tests.test_report import make_row, write_run

TEXTS = read_texts("en")


def reported(path: Path) -> ReportDocument:
    return make_report(plan_report(ReportSettings(path)))


def table(report: ReportDocument, caption: str) -> list[list[str]]:
    """Return the cells of a table by its caption."""
    return [
        [cell.text for cell in row]
        for section in report.sections
        for block in section.blocks
        if isinstance(block, Table) and block.caption == caption
        for row in block.rows
    ]


def items_of(path: Path, kind: ItemKind) -> list[ReviewItem]:
    with open_items(place_at(path)) as index:
        found = [index.find(entry.key) for entry in index.entries(kind)]
    return [item for item in found if item is not None]


def annotate(path: Path, who: str, said: Sequence[tuple[ReviewItem, str]]) -> None:
    store = AnnotationStore(place_at(path))
    for item, word in said:
        store.append(say(item, word, annotator=who), item)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return what the files of annotations say, read without the package's reader."""
    checked = [
        check_line(line, salt("annotations"))
        for file in sorted((path / "annotations").glob("*.jsonl"))
        for line in file.read_bytes().splitlines()
    ]
    return [orjson.loads(data or b"") for data in checked]


def make_rows() -> list[Row]:
    """Rows whose judge prefers the revision in three of four, and whose gate finds a fault in two of five."""
    return [
        make_row(i, gate=0.9 if i % 5 < 2 else 0.1, first=0.9 if i % 4 else 0.2, second=0.8 if i % 4 else 0.3)
        for i in range(60)
    ]


def test_agreement_and_labels_are_what_the_annotation_files_say(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", make_rows())
    pairs = sorted(items_of(path, "pair"), key=lambda item: item.prompt_id)
    words = ["a", "b", "a", "tie", "b"]
    annotate(path, "Kim", [(item, words[n % 5]) for n, item in enumerate(pairs[:30])])
    annotate(path, "Lee", [(item, words[n % 5] if n % 3 else "a") for n, item in enumerate(pairs[20:32], start=20)])
    report = reported(path)

    lines = lines_of(path)
    counts = Counter(line["annotator"] for line in lines)
    assert counts == {"Kim": 30, "Lee": 12}
    assert table(report, TEXTS["well.annotators"]) == [[who, str(count)] for who, count in counts.most_common()]

    said = {(line["annotator"], line["item"]): line["answer"]["overall"] for line in lines}
    both = [(said["Kim", key], said["Lee", key]) for who, key in said if who == "Lee" and ("Kim", key) in said]
    assert len(both) == 10
    rows = {row[2]: row for row in table(report, TEXTS["well.agreement"])}
    kim_lee = rows["Kim and Lee"]
    same = sum(one == other for one, other in both) / 10
    assert kim_lee[:4] == ["comparison", "overall", "Kim and Lee", "10"]
    assert kim_lee[4].startswith(f"{same:.0%} [")
    of_kim, of_lee = Counter(one for one, _ in both), Counter(other for _, other in both)
    chance = sum(of_kim[word] * of_lee[word] for word in ["a", "b", "tie"]) / 100
    assert kim_lee[5].startswith(f"{(same - chance) / (1 - chance):.2f}")

    by_key = {item.key: item for item in pairs}
    judged = {key: None if item.judge is None else "a" if item.judge > 0.5 else "b" for key, item in by_key.items()}
    beside = [(word, judged[key]) for (who, key), word in said.items() if who == "Kim" and judged[key] is not None]
    assert rows["Kim and judge"][3] == str(len(beside))
    assert rows["Kim and judge"][4].startswith(f"{sum(a == b for a, b in beside) / len(beside):.0%} [")


def corrected_by_hand(yes: float, count: int, said: Sequence[tuple[bool, bool]]) -> float:
    """Return (p + q0 - 1) / (q0 + q1 - 1) of what the judge said and what is true, clipped to a share."""
    true = [judge for judge, truly in said if truly]
    false = [judge for judge, truly in said if not truly]
    q1, q0 = sum(true) / len(true), 1 - sum(false) / len(false)
    return min(1.0, max(0.0, (yes / count + q0 - 1) / (q0 + q1 - 1)))


def test_shares_stand_beside_what_people_make_of_them(tmp_path: Path) -> None:
    rows = make_rows()
    path = write_run(tmp_path / "r", rows)
    caption = TEXTS["well.kept-before"]
    assert [row[-2:] for row in table(reported(path), caption)] == [[TEXTS["well.not-validated"], "0"]]
    gates = sorted((one for one in items_of(path, "gate") if one.judge is not None), key=lambda item: item.prompt_id)
    first = {row.prompt.id: row.traces[0].response for row in rows}
    gates = [item for item in gates if item.answers[0].text == first[item.prompt_id]]
    annotate(path, "Kim", [(gates[0], "breaks"), (gates[2], "keeps")])
    (few,) = table(reported(path), caption)
    assert few[-2:] == [f"{TEXTS['well.not-validated']} ({TEXTS['terms.too few labels']})", "2"]
    wrong = {n for n in range(60) if n % 9 == 0}
    truth = {item.key: ((item.judge or 0) > 0.5) != (n in wrong) for n, item in enumerate(gates)}
    annotate(path, "Lee", [(item, "breaks" if truth[item.key] else "keeps") for item in gates[:50]])

    labels: dict[str, set[str]] = {line["item"]: set() for line in lines_of(path)}
    for line in lines_of(path):
        labels[line["item"]].add(line["answer"]["says"])
    clear = {key: words == {"keeps"} for key, words in labels.items() if len(words) == 1}
    by_key = {item.key: item for item in gates}
    said = [((by_key[key].judge or 0) < 0.5, kept) for key, kept in clear.items()]
    kept = sum((item.judge or 0) < 0.5 for item in gates)
    (told,) = table(reported(path), caption)
    value = corrected_by_hand(kept, len(rows), said)
    assert told[1] == f"{kept / 60:.0%}"
    assert told[-2].startswith(f"{value:.0%} [")
    assert told[-1] == str(len(said))
    assert f"{value:.0%}" != told[1]

    pairs = sorted(items_of(path, "pair"), key=lambda item: item.prompt_id)
    final = {row.prompt.id: row.traces[0].final for row in rows}
    prefers = {item.prompt_id: (item.answers[0].text == final[item.prompt_id]) for item in pairs}
    better = {row.prompt.id: (row.verdicts[0].probability or 0) > 0.5 for row in rows}
    truly = {name: better[name] != (n % 7 == 0) for n, name in enumerate(sorted(better))}
    annotate(path, "Kim", [(one, "a" if truly[one.prompt_id] is prefers[one.prompt_id] else "b") for one in pairs])
    (told,) = table(reported(path), TEXTS["well.preferred"])
    value = corrected_by_hand(sum(better.values()), 60, [(better[name], truly[name]) for name in prefers])
    assert told[-2].startswith(f"{value:.0%} [")
    assert told[-1] == str(len(prefers))


def test_an_evaluations_shares_are_corrected_by_what_people_have_said_until_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts.jsonl").write_bytes(
        b"".join(orjson.dumps({"id": f"q{n}", "prompt": f"Question {n}, please?"}) + b"\n" for n in range(40))
    )
    found = evaluated(tmp_path, monkeypatch)
    principle = next(measure.principle for measure in found.measures if measure.principle)
    label = TEXTS["evaluation.of-principle.breaks"].format(principle=principle)
    caption = TEXTS["evaluation.table"].format(label="old")
    row = next(row for row in table(reported(found.out), caption) if row[0] == label)
    assert row[3:5] == [TEXTS["well.not-validated"], "0"]
    label_gates(found.out, "random", [str(principle)])
    truth = sum(line["answer"]["says"] == "breaks" for line in lines_of(found.out)) / 40
    row = next(row for row in table(reported(found.out), caption) if row[0] == label)
    assert row[3].startswith(f"{truth:.0%} [")
    assert row[4] == "40"
    assert row[1] != f"{100 * truth:.1f} %"


def test_lengths_and_certainty_are_what_the_rows_say(tmp_path: Path) -> None:
    words = ["Please", "ask", "a", "doctor", "before", "taking", "any", "medicine."]
    rows = [
        make_row(
            i,
            gate=0.9,
            first=0.51 + 0.044 * (i % 11) if i % 3 else 0.1,
            second=0.51 + 0.044 * (i % 7) if i % 3 else 0.04 * (i % 8),
            text=" ".join(words[i % 6 :]),
        )
        for i in range(40)
    ]
    path = write_run(tmp_path / "r", rows)
    report = reported(path)
    bins: Counter[int] = Counter()
    for row in rows:
        probability = row.verdicts[0].probability
        if probability is not None:
            bins[min(int((max(probability, 1 - probability) - 0.5) * 20), 9)] += 1
    told = table(report, TEXTS["well.certainty"])
    assert [int(row[1]) for row in told] == [bins[place] for place in range(10)]
    assert sum(bins.values()) == len(rows)
    chosen, rejected = [], []
    for row in (row for row in rows if not row.traces[0].truncated):
        texts = (row.traces[0].final, row.traces[0].response)
        better, worse = texts if (row.verdicts[0].probability or 0) > 0.5 else texts[::-1]
        chosen.append(len(better))
        rejected.append(len(worse))
    lengths = dict(row[:2] for row in table(report, TEXTS["well.lengths"]))
    assert lengths[TEXTS["well.median-chosen"]] == f"{median(chosen):,.0f}"
    assert lengths[TEXTS["well.median-rejected"]] == f"{median(rejected):,.0f}"
    longer = sum(one > other for one, other in zip(chosen, rejected, strict=True))
    assert lengths[TEXTS["well.chosen longer"]] == str(longer)


def test_personal_data_in_examples_is_masked_and_counted(tmp_path: Path) -> None:
    private = "Write to kim.minsu@naver.com or call 010-2345-6789."
    path = write_run(tmp_path / "r", [make_row(1, text=private), make_row(2)])
    report = reported(path)
    shown = [block for section in report.sections for block in section.blocks if isinstance(block, ShownRow)]
    texts = " ".join(turn.text for row in shown for turn in row.turns)
    assert "Write to [email] or call [phone]." in texts
    assert "naver" not in texts
    assert "2345" not in texts
    asked, response = make_row(1, text=private).prompt.messages[0]["content"], make_row(1, text=private).traces[0]
    places = [asked, response.response, response.rounds[0].critique or "", response.rounds[0].revision or ""]
    count = 2 * sum(private in text for text in places)
    told = [cell.text for section in report.sections for block in section.blocks
            for cell in getattr(block, "items", ()) if isinstance(cell, Cell)]  # fmt: skip
    assert TEXTS["examples.masked"].format(count=count) in told
    assert list(rows_of(plan_report(ReportSettings(path)), "masked in examples")) == ["p001"]


@pytest.mark.parametrize("text", ["", "Nothing is here.", "two@words"])
def test_what_is_not_personal_stays(text: str) -> None:
    assert mask_text(text) == (text, 0)
