"""The judge beside known labels: the table of its bench, numbers linked to its items, and a drawing of reliability."""

from collections.abc import Iterator, Sequence

from cai.core.reliability import Reliability, bin_of
from cai.core.shares import Proportion
from cai.judge_bench.results import JudgeMeasures
from cai.report.bench_facts import BenchFacts, bench_name, certainty_name
from cai.report.calibrated_labels import told_of
from cai.report.document import Block, Cell, Paragraph, Picture, Table
from cai.report.drawing import draw_reliability
from cai.report.linking import Linker, interval, percent


def bench_blocks(link: Linker, bench: BenchFacts, measures: Sequence[JudgeMeasures]) -> list[Block]:
    """Return what was measured of a directory's judge, a table and a drawing for each way it was asked."""
    blocks: list[Block] = []
    for place, found in enumerate(measures):
        blocks += _of_judge(link, bench, found, place)
    return blocks


def _of_judge(link: Linker, bench: BenchFacts, found: JudgeMeasures, place: int) -> list[Block]:
    texts, rows = link.texts, link.of_the_whole()

    def linked(text: str, *names: str) -> Cell:
        for name in names:
            if (tally := bench.tallies[bench_name(found.label, name)]).rows:
                return rows.of(text, bench_name(found.label, name), tally)
        return Cell(text, None, "number")

    lines = [
        [Cell(texts("bench.judge")), Cell(bench.engines[found.label], None, "code")],
        [Cell(texts("bench.data")), Cell(bench.data, None, "code")],
        [Cell(texts("asked.constitution")), Cell(bench.constitution, None, "code")],
        [Cell(texts("bench.answered")), linked(_of(link, found.answered, found.asked), "answered")],
        [Cell(texts("bench.accuracy")), linked(_share(link, found.accuracy), "right", "wrong")],
        [Cell(texts("bench.guessing")), Cell(percent(found.chance), None, "number")],
        [Cell(texts("bench.labels")), linked(_share(link, found.label_accuracy), "answered")],
        [Cell(texts("bench.position")), linked(_share(link, found.position), "same place wins", "answered")],
    ]
    for reason, count in found.abstained.items():
        told = texts("bench.abstained", reason=texts.term(reason))
        lines.append([Cell(told), linked(f"{count:,}", f"not decided: {reason}")])
    if found.labels is not None:
        lines.append([Cell(texts("bench.error", count=f"{found.labels.count:,}")),
                      linked(f"{found.labels.error:.3f}", "answered")])  # fmt: skip
        lines.append([Cell(texts("bench.brier")), linked(f"{found.labels.brier:.3f}", "answered")])
    if found.calibrated is not None:
        lines += [[Cell(name), linked(told, "answered")] for name, told in told_of(link, found.calibrated)]
    lines += [[Cell(texts(name)), linked(told, "answered")] for name, told in _scored(found)]
    blocks: list[Block] = [
        Table(texts("bench.table", label=found.label), (texts("out.what"), texts("out.number")), lines)
    ]
    accuracy = found.accuracy.interval
    if accuracy is not None and accuracy.low <= found.chance:
        told = texts("limits.guesses", right=f"{found.accuracy.part:g}", whole=f"{found.accuracy.of:,}")
        blocks.append(Paragraph(told, "warning"))
    if found.labels is not None:
        bins = [
            [
                Cell(f"{one.low:.1f} - {one.high:.1f}"),
                linked(f"{one.count:,}", certainty_name(bin_of(one.low + 0.05))),
                Cell(f"{one.said:.2f}", None, "number"),
                Cell(f"{one.happened:.2f}", None, "number"),
            ]
            for one in found.labels.bins
        ]
        head = [texts("well.head.certainty"), *(texts(f"bench.head.{name}") for name in ("count", "said", "happened"))]
        blocks += [Table(texts("bench.reliability"), head, bins), _drawn(link, found.labels, place)]
    return blocks


def _scored(found: JudgeMeasures) -> Iterator[tuple[str, str]]:
    """Yield what is told of a judge that scores answers: the text's key, and the number with its interval."""
    if (ranked := found.correlation) is not None:
        yield "bench.correlation", f"{ranked.value:.2f} [{ranked.low:.2f}, {ranked.high:.2f}]"
    if (ties := found.several_right) is not None:
        yield "bench.several-right", f"{100 * ties.value:.1f} [{100 * ties.low:.0f}, {100 * ties.high:.0f}]"


def _drawn(link: Linker, labels: Reliability, place: int) -> Picture:
    texts = link.texts
    axes = texts("bench.head.said"), texts("bench.head.happened")
    points = [(one.said, one.happened, one.count) for one in labels.bins]
    told = texts("bench.figure")
    name = link.anchor(f"reliability-{place + 1}")
    return Picture(draw_reliability(name, texts("bench.reliability"), told, axes, points), told)


def _of(link: Linker, part: float, whole: int) -> str:
    return link.texts("of", part=f"{part:,g}", whole=f"{whole:,}")


def _share(link: Linker, share: Proportion) -> str:
    found = share.interval
    if found is None:
        return link.texts("too-few")
    return f"{percent(found.value)} {interval(found)} ({_of(link, share.part, share.of)})"
