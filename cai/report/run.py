"""`write_report`: a directory read once and one HTML file written; `rows_of`: the rows behind one of its numbers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from cai.annotation.labels import read_labels
from cai.annotation.places import find_place
from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.loop.recorded import read_loop_options
from cai.report.asked import asked_of_run
from cai.report.bench_facts import BenchFacts, read_bench
from cai.report.calibrated_labels import calibration_of_labels
from cai.report.came_out import came_out_of_run, examples_of_run
from cai.report.catalogue import Catalogue
from cai.report.comparison import SideBySide, compare_evaluations
from cai.report.comparison_sections import comparison_lines, section_of_comparison
from cai.report.data_sheet import data_sheet
from cai.report.document import ReportDocument, Section
from cai.report.evaluation_facts import EvaluationFacts, read_evaluation
from cai.report.evaluation_sections import sections_of_evaluation
from cai.report.how_well import how_well_of_run
from cai.report.limits import limits_of_run
from cai.report.linking import Linker, tally_name
from cai.report.loop_sections import read_loop, section_of_stages
from cai.report.measured import measured_beside
from cai.report.outcome import Report
from cai.report.plan import FILE, ReportPlan
from cai.report.recorded_sections import sections_of_examinations
from cai.report.rendering import render
from cai.report.reproducing import reproducing_loop, reproducing_run
from cai.report.run_facts import RowFacts, read_run_facts
from cai.report.settings import ReportSettings
from cai.report.tallies import Tallies
from cai.rundir import RunReader
from cai.rundir.claim import join
from cai.rundir.files import refusal, sync_folder
from cai.rundir.origin import location


def write_report(plan: ReportPlan) -> Report:
    """Write the report; raises RunError where the directory cannot be read, StoreError when the disk refuses."""
    document = make_report(plan)
    data = render(document)
    try:
        if plan.is_inside:
            with closing(join(plan.settings.directory, plan.kind)) as owned:
                owned.require_free(FILE)
                owned.write(FILE, data)
        else:
            _write(plan.out, data)
    except OSError as error:
        raise refusal(plan.out, error) from error
    return Report(plan, len(document.rows), len(data), tuple(document.told))


def make_report(plan: ReportPlan) -> ReportDocument:
    """Return the report before it is HTML; raises RunError where the directory cannot be read."""
    texts = Catalogue(plan.settings.language)
    link = Linker(texts, plan.called, plan.settings.options)
    title, sections = _SECTIONS[plan.kind](link, plan.settings)
    told: tuple[str, ...] = ()
    if plan.settings.beside is not None:
        after, found = read_evaluation(plan.settings.directory), _comparison(plan.settings)
        sections.insert(0, section_of_comparison(link, after, found, location(plan.settings.beside)))
        told = comparison_lines(link, found)
    return ReportDocument(
        language=plan.settings.language,
        title=title,
        subtitle=texts("page.subtitle", directory=plan.called),
        sections=sections,
        rows=link.appendix(),
        words=texts.below("page."),
        told=told,
    )


def rows_of(plan: ReportPlan, name: str) -> Sequence[str]:
    """Return the ids of all rows that a number comes from; raises UsageError when there is no number of the name."""
    known: list[str] = []
    for stage, tallies in _tallies(plan, name):
        if (inner := name.removeprefix(tally_name(stage, ""))) in tallies.names():
            return tallies[inner].ids
        known += [tally_name(stage, one) for one in tallies.names()]
    raise UsageError(f"the report of {plan.called} has no number {name!r}; there are {', '.join(sorted(known))}")


def _tallies(plan: ReportPlan, name: str) -> Iterator[tuple[str, Tallies]]:
    """Yield the tallies of a directory by stage, all rows of the named one in them; a stage is read when it is due."""
    directory, seed = plan.settings.directory, plan.settings.seed
    if plan.settings.bench is not None:
        yield "", read_bench(plan.settings.bench, name).tallies
    if plan.settings.beside is not None:
        yield "", _comparison(plan.settings, name).tallies
    if plan.kind == "run":
        yield "", _run_facts(directory, seed, name).tallies
    elif plan.kind == "evaluation":
        yield "", read_evaluation(directory, name).tallies
    else:
        for stage in read_loop(directory):
            inner = name.removeprefix(f"{stage.name}/")
            if stage.kind == "run":
                yield stage.name, _run_facts(directory / stage.name, seed, inner).tallies
            elif stage.kind == "evaluation" and stage.record.status == "done":
                yield stage.name, read_evaluation(directory / stage.name, inner).tallies


def _run_facts(directory: Path, seed: int, whole: str | None = None) -> RowFacts:
    people = read_labels(find_place(DataSource.parse(str(directory))))
    return read_run_facts(RunReader(directory), people, seed, whole)


def _comparison(settings: ReportSettings, whole: str | None = None) -> SideBySide:
    assert settings.beside is not None  # noqa: S101  (whoever asks has looked)
    return compare_evaluations(read_evaluation(settings.beside), read_evaluation(settings.directory), whole)


def _bench(settings: ReportSettings) -> BenchFacts | None:
    return None if settings.bench is None else read_bench(settings.bench)


def _run(link: Linker, settings: ReportSettings) -> tuple[str, list[Section]]:
    return link.texts("page.title-run", name=link.directory), _sections_of_run(
        link, settings.directory, settings, _bench(settings)
    )


def _sections_of_run(
    link: Linker, directory: Path, settings: ReportSettings, bench: BenchFacts | None
) -> list[Section]:
    manifest, facts = RunReader(directory).manifest, _run_facts(directory, settings.seed)
    judge = manifest.identity.get("judge", "")
    calibration = calibration_of_labels(link, manifest.identity, manifest.settings, judge)
    measured = measured_beside(link, directory, judge, bench, calibration)
    sections = [
        asked_of_run(link, manifest),
        came_out_of_run(link, manifest, facts, settings),
        examples_of_run(link, facts, settings.seed),
        how_well_of_run(link, manifest, facts, measured.blocks),
        limits_of_run(link, manifest, facts, validated=measured.validated, benched=measured.benched),
        data_sheet(link, manifest, facts),
        reproducing_run(link, manifest, facts),
    ]
    if link.stage:  # the loop's own sections say the rest once
        return sections[1:]
    return sections


def _evaluation(link: Linker, settings: ReportSettings) -> tuple[str, list[Section]]:
    facts = read_evaluation(settings.directory)
    sections = _sections_of_evaluation(link, facts, settings.directory, _bench(settings))
    return link.texts("page.title-evaluation", name=link.directory), sections


def _sections_of_evaluation(
    link: Linker, facts: EvaluationFacts, directory: Path, bench: BenchFacts | None
) -> list[Section]:
    judge = facts.result.judge
    calibration = calibration_of_labels(link, facts.identity, facts.settings, judge)
    beside = measured_beside(link, directory, judge, bench, calibration)
    asked, well, *rest = sections_of_evaluation(link, facts, beside)
    return [asked, well, *sections_of_examinations(link, facts), *rest]


def _loop(link: Linker, settings: ReportSettings) -> tuple[str, list[Section]]:
    stages, directory, bench = read_loop(settings.directory), settings.directory, _bench(settings)
    sections = [section_of_stages(link, stages)]
    for stage in stages:
        inner, place = link.inside(stage.name), directory / stage.name
        if stage.kind == "evaluation" and stage.record.status == "done":
            found = _sections_of_evaluation(inner, read_evaluation(place), place, bench)
            sections[1:1] = found  # what is asked of a loop first
        elif stage.kind == "run":
            sections += _sections_of_run(inner, place, settings, bench)
    sections.append(reproducing_loop(link, read_loop_options(directory)))
    return link.texts("page.title-loop", name=link.directory), sections


_SECTIONS: dict[str, Callable[[Linker, ReportSettings], tuple[str, list[Section]]]] = {
    "run": _run,
    "evaluation": _evaluation,
    "loop": _loop,
}


def _write(path: Path, data: bytes) -> None:
    """Put a file in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
    sync_folder(path.parent)
