"""An evaluation as sections: what was asked, the table with intervals, its figure, wins, the judge, limits."""

from collections.abc import Iterator, Sequence

from cai.core.settings import plain
from cai.evaluate.measures import BREAKS_ANY, Measure
from cai.evaluate.results import Calibration, Discordance, Measurement, ModelResult, PairResult
from cai.evaluate.settings import EvaluateSettings
from cai.report.asked import NAMES, constitution_blocks, facts_table, prompts_of, settings_table
from cai.report.document import Block, Cell, Commands, Heading, Listing, Paragraph, Picture, Section, Table
from cai.report.drawing import Line, Point, draw_shares
from cai.report.evaluation_facts import EvaluationFacts
from cai.report.how_well import CORRECTED, judge_blocks
from cai.report.limits import SMALL
from cai.report.linking import Linker
from cai.report.measured import Beside
from cai.report.reproducing import command_line


def sections_of_evaluation(link: Linker, facts: EvaluationFacts, beside: Beside) -> list[Section]:
    """Return an evaluation's sections; `beside` is what people and tests of the judge say."""
    return [
        _asked(link, facts),
        _well(link, facts, beside.blocks),
        _limits(link, facts, validated=beside.validated, benched=beside.benched),
        _again(link, facts),
    ]


def _asked(link: Linker, facts: EvaluationFacts) -> Section:
    texts, result = link.texts, facts.result
    named = [(texts(f"asked.{name}"), facts.identity[name]) for name in NAMES if name in facts.identity]
    rows = [
        *named,
        *((texts("asked.evaluated", label=model.label), model.engine) for model in result.models),
        (texts("asked.baseline"), result.baseline or texts("asked.none")),
        (texts("asked.prompts"), prompts_of(texts, facts.settings)),
        (texts("asked.started"), facts.started),
        (texts("asked.finished"), result.finished),
        (texts("asked.written"), f"cai {facts.identity.get('cai', '')}"),
    ]
    blocks: list[Block] = [
        Paragraph(texts("asked.evaluation")),
        facts_table(texts, rows),
        *constitution_blocks(texts, facts.settings.get("resolved_constitution")),
        Heading(texts("asked.settings")),
        settings_table(texts, {key: value for key, value in facts.identity.items() if key not in NAMES}),
    ]
    return Section(link.anchor("asked"), link.title("asked.title"), blocks)


def _well(link: Linker, facts: EvaluationFacts, measured: Sequence[Block]) -> Section:
    texts, result = link.texts, facts.result
    counts = [
        [
            Cell(model.label),
            *(
                link.count(f"{model.label}: {name}", facts.tallies)
                for name in ("answered", "cut", "gates without an answer")
            ),
            _failed(link, facts, model),
        ]
        for model in result.models
    ]
    head = [texts(f"evaluation.head.{name}") for name in ("model", "answered", "cut", "unanswered", "failed")]
    blocks: list[Block] = [
        Table(texts("evaluation.counts", prompts=f"{result.prompts:,}"), head, counts),
        Heading(texts("evaluation.measures")),
        Paragraph(texts("evaluation.note"), "note"),
        _figure(link, facts),
        *(_measures(link, facts, model) for model in result.models),
        *_differences(link, facts),
        *_pairs(link, facts),
        Heading(texts("well.judge")),
        *judge_blocks(link, result.judge_check, "evaluation.json: judge_check"),
        *_calibration(link, facts),
        *measured,
    ]
    return Section(link.anchor("well"), link.title("well.title"), blocks)


def _failed(link: Linker, facts: EvaluationFacts, model: ModelResult) -> Cell:
    found = list(facts.tallies.below(f"{model.label}: failed: "))
    count = f"{sum(tally.count for _, tally in found):,}"
    if not found:
        return Cell(count, None, "number")
    return link.of(count, f"{model.label}: failed: {found[0][0]}", found[0][1])


def measure_name(link: Linker, measure: Measure) -> str:
    """Return a measure as the report calls it: cai's own in the report's language."""
    if measure.principle is not None:
        beginning = measure.name.removesuffix(measure.principle).strip()
        return link.texts(f"evaluation.of-principle.{beginning}", principle=measure.principle)
    return link.texts.term(measure.name)


def _linked(link: Linker, facts: EvaluationFacts, label: str, name: str, text: str) -> Cell:
    """Return a number linked to the prompts that it counts, or where it is no count to all that were answered."""
    for found in (f"{label}: {name}", f"{label}: answered"):
        if facts.tallies[found].rows:
            return link.of(text, found, facts.tallies[found])
    return Cell(text, None, "number")


def told_parts(found: Measurement) -> tuple[str, str]:
    """Return a value and its interval as they are written."""
    if found.unit == "share":
        value = f"{100 * found.value:.1f} %"
        ends = "" if found.low is None or found.high is None else f"[{100 * found.low:.1f}, {100 * found.high:.1f}]"
    else:
        value = f"{found.value:,.3g}" if abs(found.value) < 1000 else f"{found.value:,.0f}"
        ends = "" if found.low is None or found.high is None else f"[{found.low:,.3g}, {found.high:,.3g}]"
    return value, ends


def _measures(link: Linker, facts: EvaluationFacts, model: ModelResult) -> Table:
    texts = link.texts
    rows = []
    for measure in facts.result.measures:
        answered, asked = model.counts(measure.name)
        if not asked or not measure.printed:
            continue
        found = model.told(measure)
        value, ends = (texts("too-few"), "") if found is None else told_parts(found)
        corrected = link.corrected(None if found is None else model.corrected.get(measure.name))
        rows.append(
            [
                Cell(measure_name(link, measure)),
                _linked(link, facts, model.label, measure.name, value),
                Cell(ends, None, "number"),
                *(corrected if measure.corrected else (Cell(""), Cell(""))),
                Cell(f"{answered:,}", None, "number"),
                Cell(f"{asked - answered:,}", None, "number"),
                Cell(texts(f"evaluation.better.{measure.better}")),
            ]
        )
    first, last = ("measure", "value", "interval"), ("prompts", "unanswered", "better")
    head = [
        *(texts(f"evaluation.head.{name}") for name in first),
        *(texts(f"well.head.{name}") for name in CORRECTED),
        *(texts(f"evaluation.head.{name}") for name in last),
    ]
    return Table(texts("evaluation.table", label=model.label), head, rows)


def _figure(link: Linker, facts: EvaluationFacts) -> Picture:
    texts, result = link.texts, facts.result
    lines = []
    for measure in result.measures:
        if not measure.drawn or not any(sum(model.counts(measure.name)) for model in result.models):
            continue
        points = [
            Point(series, found.value, found.low, found.high)
            for series, model in enumerate(result.models)
            if (found := model.told(measure)) is not None and found.low is not None and found.high is not None
        ]
        lines.append(Line(measure_name(link, measure), points, texts("too-few")))
    labels = [model.label for model in result.models]
    told = texts("evaluation.figure", prompts=f"{result.prompts:,}")
    return Picture(draw_shares(link.anchor("measures"), texts("evaluation.measures"), told, labels, lines), told)


def _differences(link: Linker, facts: EvaluationFacts) -> Iterator[Block]:
    texts, result = link.texts, facts.result
    head = [texts(f"evaluation.head.{name}") for name in ("measure", "difference", "interval", "prompts")]
    for model in result.models:
        rows = [
            [
                Cell(measure_name(link, measure)),
                _linked(link, facts, model.label, measure.name, signed(found)),
                Cell(told_parts(found)[1], None, "number"),
                Cell(f"{found.count:,}", None, "number"),
            ]
            for measure in result.measures
            if measure.printed and model.told(measure) is not None
            for found in [model.difference(measure.name)]
            if found is not None
        ]
        if not rows:
            continue
        yield Table(texts("evaluation.differences", label=model.label, baseline=result.baseline), head, rows)
        if model.discordance is not None:
            yield Paragraph(_discordance(link, model.discordance, model.label, str(result.baseline)))


def signed(found: Measurement) -> str:
    """Return a difference as it is written, with its sign."""
    value, _ = told_parts(found)
    return value if found.value < 0 else f"+{value}"


def _discordance(link: Linker, found: Discordance, label: str, baseline: str) -> str:
    return link.texts(
        "evaluation.discordance",
        label=label,
        baseline=baseline,
        model=f"{found.only_model:,}",
        base=f"{found.only_baseline:,}",
        p=f"{found.p:.3g}",
    )


def _pairs(link: Linker, facts: EvaluationFacts) -> Iterator[Block]:
    texts, result = link.texts, facts.result
    if not result.pairs:
        return
    rows = []
    for pair in result.pairs:
        beginning = f"{pair.a} over {pair.b}: "
        value, ends = _rate(link, pair, pair.win_rate)
        rows.append(
            [
                Cell(texts("evaluation.over", a=pair.a, b=pair.b)),
                link.of(value, f"{beginning}wins", facts.tallies[f"{beginning}wins"]),
                Cell(ends, None, "number"),
                *(Cell(said, None, "number") for said in _rate(link, pair, pair.length_controlled)),
                *link.corrected(pair.corrected),
                *(link.count(f"{beginning}{how}", facts.tallies) for how in ("wins", "losses", "ties", "not decided")),
            ]
        )
    head = [
        *(texts(f"evaluation.head.{name}") for name in ("pair", "win-rate", "interval")),
        *(texts(f"evaluation.head.{name}") for name in ("equal-length", "interval")),
        *(texts(f"well.head.{name}") for name in CORRECTED),
        *(texts(f"evaluation.head.{name}") for name in ("wins", "losses", "ties", "not-decided")),
    ]
    yield Heading(texts("evaluation.pairs"))
    yield Table(texts("evaluation.pairs"), head, rows)
    ratings = [
        [
            Cell(found.name),
            _linked(link, facts, found.name, "answered", f"{found.value:,.0f}"),
            Cell(_ends(found), None, "number"),
        ]
        for found in result.ratings
    ]
    head = [texts(f"evaluation.head.{name}") for name in ("model", "elo", "interval")]
    yield Table(texts("evaluation.ratings"), head, ratings)


def _rate(link: Linker, pair: PairResult, rate: Measurement | None) -> tuple[str, str]:
    """Return a rate at which the first model is preferred, and its interval; nothing where nothing was decided."""
    if rate is None:
        return "", ""
    return told_parts(rate) if pair.is_told else (link.texts("too-few"), "")


def _ends(found: Measurement) -> str:
    return "" if found.low is None or found.high is None else f"[{found.low:,.0f}, {found.high:,.0f}]"


def _calibration(link: Linker, facts: EvaluationFacts) -> Iterator[Block]:
    """Yield how far the judge's gates can be trusted, where the embedded world's oracle knows the truth."""
    texts, found = link.texts, facts.result.calibration
    if not found:
        return
    label = facts.result.models[0].label
    rows = [row for one in found for row in _calibrated(link, facts, one, label)]
    names = ("principle", "measure", "value", "interval", "gates")
    yield Table(texts("evaluation.calibration"), [texts(f"evaluation.head.{name}") for name in names], rows)


def _calibrated(link: Linker, facts: EvaluationFacts, one: Calibration, label: str) -> Iterator[list[Cell]]:
    for found in one.measurements:
        ends = "" if found.low is None or found.high is None else f"[{found.low:.3f}, {found.high:.3f}]"
        yield [
            Cell(one.principle_id or link.texts("evaluation.all-principles")),
            Cell(link.texts.term(found.name)),
            _linked(link, facts, label, "answered", f"{found.value:.3f}"),
            Cell(ends, None, "number"),
            Cell(f"{one.gates:,}", None, "number"),
        ]


def _limits(link: Linker, facts: EvaluationFacts, *, validated: bool, benched: bool) -> Section:
    texts, result = link.texts, facts.result
    items = []
    if result.prompts < SMALL:
        items.append(_sentence(link, facts, texts("limits.small", rows=f"{result.prompts:,}")))
    if result.unusable or result.duplicates:
        told = texts("limits.unusable", rows=f"{sum(result.unusable.values()):,}", copies=f"{result.duplicates:,}")
        items.append(link.recorded(told, "evaluation.json: result"))
    for model in result.models:
        answered, asked = model.counts(BREAKS_ANY)
        if answered < asked:
            name = f"{model.label}: gates without an answer"
            told = texts("limits.unanswered-of", label=model.label, count=f"{asked - answered:,}", whole=f"{asked:,}")
            items.append(link.of(told, name, facts.tallies[name]))
        items += [
            Cell(
                texts(
                    "limits.judge-is" if one.itself else "limits.judge-of-training",
                    label=one.label,
                    data=one.trained_on,
                )
            )
            for one in result.partial_judges
            if one.label == model.label
        ]
    if facts.left:
        items.append(
            link.recorded(texts("limits.taken-over", measures=", ".join(facts.left)), "evaluation.json: result")
        )
    if result.judge_check is None and not benched:
        items.append(Cell(texts("limits.not-tested")))
    if not validated:
        items.append(Cell(texts("limits.not-validated")))
    items.append(Cell(texts("limits.one-seed", seed=result.seed)))
    blocks: list[Block] = [Paragraph(texts("limits.note")), Listing(items)]
    return Section(link.anchor("limits"), link.title("limits.title"), blocks)


def _sentence(link: Linker, facts: EvaluationFacts, text: str) -> Cell:
    return _linked(link, facts, facts.result.models[0].label, "answered", text)


def _again(link: Linker, facts: EvaluationFacts) -> Section:
    texts = link.texts
    recorded = dict(facts.settings)
    models = [f"{label}={spec}" for label, spec in recorded.pop("models").items() if label != recorded.get("baseline")]
    baseline = recorded.get("baseline")
    if baseline is not None:
        recorded["baseline"] = f"{baseline}={facts.settings['models'][baseline]}"
    usual = plain(EvaluateSettings((), constitution=str(recorded["constitution"]))) | {"constitution": None}
    hashes = [(texts("again.inputs"), facts.identity.get("prompts", ""))]
    hashes += [
        (name, facts.identity[name]) for name in ("constitution", "templates", "judge") if name in facts.identity
    ]
    hashes += [(model.label, model.engine) for model in facts.result.models]
    blocks: list[Block] = [
        Paragraph(texts("again.note")),
        Commands([command_line("cai evaluate", models, recorded, usual), link.command()]),
        facts_table(texts, hashes, "again.hashes"),
    ]
    return Section(link.anchor("again"), link.title("again.title"), blocks)
