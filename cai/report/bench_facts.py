"""A judge's bench read back, and every measure computed again from its items and verdicts.

A `bench.json` that says otherwise than the rows is refused, as an evaluation's document is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path
from typing import Any

import orjson

from cai.core.errors import RunError, UsageError
from cai.core.paths import open_file
from cai.core.reliability import BINS, bin_of
from cai.judge_bench.calibrating import calibrated
from cai.judge_bench.directory import DOCUMENT, FORMAT, ITEMS, VERDICTS
from cai.judge_bench.items import LabelledItem, read_item
from cai.judge_bench.measuring import JudgeAnswers, item_score, label_points, measure_judge, option_points, pairwise
from cai.judge_bench.records import BenchEntry, read_entry
from cai.judge_bench.results import JudgeMeasures
from cai.report.entry_lines import read_entry_lines
from cai.report.run_facts import PLACES, winner
from cai.report.tallies import Tallies
from cai.rundir.documents import DocumentError, parse_document, read_bounded


@dataclass(frozen=True, slots=True)
class BenchFacts:
    """A bench: `place` as it was named, `engines` by label as recorded; tallies are named `bench LABEL: …`."""

    place: Path
    data: str
    constitution: str
    engines: Mapping[str, str]
    measures: Sequence[JudgeMeasures]
    tallies: Tallies

    def of(self, judge: str, directory: str) -> Sequence[JudgeMeasures]:
        """Return what was measured of a directory's judge, in each way it was asked; raises UsageError for another."""
        found = [one for one in self.measures if self.engines[one.label] == " ".join(filter(None, (judge, one.how)))]
        if not found:
            raise UsageError(
                f"{self.place} is a bench of {', '.join(self.engines.values())}, and the judge of {directory} is "
                f"{judge}; give --bench one of that judge, from `cai judge bench DATA --judge MODEL`"
            )
        return found


def bench_name(label: str, what: str) -> str:
    """Return the name of the tally that a judge's number is linked to."""
    return f"bench {label}: {what}"


def certainty_name(place: int) -> str:
    """Return what the labels are called whose certainty lies in a bin."""
    return f"certainty {place / BINS:.1f} to {(place + 1) / BINS:.1f}"


def read_bench(directory: Path, whole: str | None = None) -> BenchFacts:
    """Read a bench that is done; raises RunError when it is not, is damaged, or its document belies its rows."""
    path = directory / DOCUMENT
    again = "give the same `cai judge bench` again"
    try:
        document = parse_document(read_bounded(path), FORMAT)
        if document.text("status") != "done":
            raise RunError(f"{directory} is a bench that is not done; {again}.")
        result, tallies = document.fields("result").values, Tallies(whole)
        with open_file(directory / ITEMS) as file:
            items = [read_item(orjson.loads(line)) for line in file]
        measures = []
        seed = int(document.words("identity")["seed"])
        for recorded in result["judges"]:
            found = _measured(directory, recorded, items, tallies, seed)
            _require_same(path, recorded, found, again)
            measures.append(found)
        return BenchFacts(
            directory, result["data"], result["constitution"], document.words("judges"), measures, tallies
        )
    except OSError as error:
        raise RunError(f"{error.filename or path} cannot be read: {error.strerror}.") from error
    except (DocumentError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read as a bench ({error}); {again}.") from error


def _measured(
    directory: Path, recorded: Mapping[str, Any], items: Sequence[LabelledItem], tallies: Tallies, seed: int
) -> JudgeMeasures:
    label = recorded["label"]
    lines = read_entry_lines(directory / VERDICTS / f"{label}.jsonl", read_entry)
    for item in items:
        if (entry := lines.entries.get(item.id)) is not None:
            _count(tallies, label, item, entry)
    judges = tuple(recorded["judge"].split(" and "))
    found = measure_judge(items, JudgeAnswers(label, judges, recorded["how"], lines.entries, lines.failures))
    if recorded["calibrated"] is None:
        return replace(found, uncalibrated=recorded.get("uncalibrated", ""))
    entries = [(item, lines.entries[item.id]) for item in items if item.id in lines.entries]
    return calibrated(found, entries, judges, recorded["calibrated"]["asked"], seed)


def _count(tallies: Tallies, label: str, item: LabelledItem, entry: BenchEntry) -> None:
    tallies.begin_row()
    score = item_score(item, entry)
    if score is not None:
        tallies.add(bench_name(label, "answered"), item.id)
        if not item.is_tie:
            how = "right" if score == 1.0 else "wrong" if score == 0.0 else "undecided between answers"
            tallies.add(bench_name(label, how), item.id)
    for verdict in entry.verdicts:
        if verdict.abstained is not None:
            tallies.add(bench_name(label, f"not decided: {verdict.abstained}"), item.id)
        if verdict.first is not None and verdict.second is not None:
            same = winner(verdict.first, verdict.second) in PLACES
            tallies.add(bench_name(label, "same place wins" if same else "same place does not win"), item.id)
    for said, _ in (*label_points(pairwise(item, entry)), *option_points([(item, entry)])):
        tallies.add(bench_name(label, certainty_name(bin_of(said))), item.id)


def _require_same(path: Path, recorded: Mapping[str, Any], found: JudgeMeasures, again: str) -> None:
    """Raise RunError where the document has another value than the rows give."""
    labels, calibrated = recorded["labels"] or {}, recorded["calibrated"] or {}
    after = None if found.calibrated is None else found.calibrated.error_after
    for name, said, counted in (
        ("accuracy", recorded["accuracy"]["value"], _value(found.accuracy.as_json())),
        ("position", recorded["position"]["value"], _value(found.position.as_json())),
        ("calibration error", labels.get("error"), None if found.labels is None else found.labels.error),
        ("calibrated error", calibrated.get("error_after"), after),
        ("Brier score", labels.get("brier"), None if found.labels is None else found.labels.brier),
    ):
        if (said is None) != (counted is None) or not isclose(said or 0.0, counted or 0.0, abs_tol=1e-9):
            raise RunError(f"{path} has {said} as {name} of {found.label}, and its rows give {counted}; {again}.")


def _value(told: Mapping[str, float | None]) -> float | None:
    return told["value"]
