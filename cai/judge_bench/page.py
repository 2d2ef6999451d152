"""The tables of a bench as words: a line a measure and a column a judge, for the screen and for the page."""

from collections.abc import Callable, Mapping, Sequence

from cai.core.markdown import Markdown, escaped, table
from cai.core.shares import Proportion, p_text
from cai.judge_bench.results import JudgeBench, JudgeMeasures, PairedJudges

Line = tuple[str, list[str]]
"""What is measured, and of each judge what was found."""

PAIR_HEADS = ("", "items", "only the first right", "only the second right", "p")


def measure_lines(bench: JudgeBench) -> list[Line]:
    """Return the measures of every judge; one that applies to none of them is left out."""
    lines = [(name, [tell(judge) for judge in bench.judges]) for name, tell in _LINES]
    return [(name, cells) for name, cells in lines if any(cells)]


def parts_of(bench: JudgeBench) -> list[tuple[str, list[Line]]]:
    """Return the accuracy of every judge on each subset and under each principle, under what they are parts by."""
    parts: tuple[tuple[str, Callable[[JudgeMeasures], Mapping[str, Proportion]]], ...] = (
        (bench.subset_column or "subset", lambda judge: judge.by_subset),
        ("principle", lambda judge: judge.by_principle),
    )
    found = []
    for title, part in parts:
        names = dict.fromkeys(name for judge in bench.judges for name in part(judge))
        none = Proportion(0, 0)
        lines = [(name, [_share(part(judge).get(name, none)) for judge in bench.judges]) for name in names]
        found += [(title, lines)] if lines else []
    return found


def pair_line(pair: PairedJudges) -> tuple[str, str, str, str, str]:
    """Return two judges beside each other, under `PAIR_HEADS`."""
    return f"{pair.a} / {pair.b}", f"{pair.items:,}", f"{pair.only_a:,}", f"{pair.only_b:,}", p_text(pair.p)


def summary_line(bench: JudgeBench) -> str:
    """Return what was asked about, in a sentence."""
    of = f" of {bench.found:,}" if bench.items < bench.found else ""
    left = "".join(f"; left out: {cause} ({count:,})" for cause, count in bench.left_out.items())
    constitution = " ".join(bench.constitution.split(" ")[:2])
    return f"{bench.items:,}{of} labelled items, judged under {constitution}{left}"


def bench_page(bench: JudgeBench) -> str:
    """Return the page that lies beside the numbers."""
    judges = [judge.label for judge in bench.judges]
    lines = [f"# Judges on {escaped(bench.data)}", "", escaped(f"{summary_line(bench)}."), ""]
    lines += [f"- {escaped(problem)}." for problem in bench.problems]
    lines += [""] if bench.problems else []
    lines += ["Shares in %, with 95 % intervals (Wilson) and the number of items.", ""]
    lines += table(("", *judges), [(name, *cells) for name, cells in measure_lines(bench)])
    if any(judge.labels is not None for judge in bench.judges):
        lines += [Markdown("![reliability](reliability.png)"), ""]
    for title, rows in parts_of(bench):
        lines += [f"## Accuracy by {title}", "", *table(("", *judges), [(name, *cells) for name, cells in rows])]
    if bench.pairs:
        lines += ["## Judges side by side", "", "Exact sign test (McNemar) on the items that both have answered.", ""]
        lines += table(PAIR_HEADS, [pair_line(pair) for pair in bench.pairs])
    return "\n".join(lines).rstrip() + "\n"


def _share(share: Proportion) -> str:
    found = share.interval
    if found is None:
        return ""
    return f"{100 * found.value:.1f} [{100 * found.low:.0f}, {100 * found.high:.0f}] of {share.of:,}"


def _beside(share: Proportion, by_label: Proportion) -> str:
    """Return a share, and what it is by the labels."""
    labelled = by_label.interval
    return "" if labelled is None else f"{_share(share)}; labels {100 * labelled.value:.1f}"


def _position(judge: JudgeMeasures) -> str:
    if not judge.position.of:
        return ""
    of_them = f"; {judge.first_place:,} times the first" if judge.position.part else ""
    return f"{_share(judge.position)}{of_them}"


def _favourite(judge: JudgeMeasures) -> str:
    return "" if judge.favourite is None else f"{judge.favourite}: {_share(judge.favourite_share)}"


def _abstained(judge: JudgeMeasures) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in judge.abstained.items())


def _ties(judge: JudgeMeasures) -> str:
    ties = judge.ties
    if not ties.of:
        return ""
    certainty = "" if ties.certainty is None else f", {ties.certainty:.2f} from one half on average"
    return f"{ties.labelled:,} of {ties.of:,} labelled{certainty}"


def _calibration(judge: JudgeMeasures) -> str:
    return "" if judge.labels is None else f"{judge.labels.error:.3f} / {judge.labels.brier:.3f}"


def _calibrated(judge: JudgeMeasures) -> str:
    found = judge.calibrated
    if found is None:
        return f"not: {judge.uncalibrated}" if judge.uncalibrated else ""
    error = f"{found.error_before:.3f} → {found.error_after:.3f}"
    brier = f"{found.brier_before:.3f} → {found.brier_after:.3f}"
    weights = ", ".join(f"{weight:.2f}" for weight in found.weights)
    how = f"T {found.temperature:.2f}" if len(found.weights) == 1 else f"weights {weights}"
    return f"{error} / {brier} of {found.tested:,}; {how} from {found.fitted:,} others"


def _subsets(judge: JudgeMeasures) -> str:
    mean = judge.mean_of_subsets
    return "" if mean is None else f"{100 * mean:.1f}"


def _correlation(judge: JudgeMeasures) -> str:
    found = judge.correlation
    return "" if found is None else f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}] of {found.answers:,}"


def _several_right(judge: JudgeMeasures) -> str:
    found = judge.several_right
    if found is None:
        return ""
    return f"{100 * found.value:.1f} [{100 * found.low:.0f}, {100 * found.high:.0f}] of {found.prompts:,}"


def _tokens(judge: JudgeMeasures) -> str:
    cost = judge.cost.per_thousand()
    return "" if cost is None else f"{cost['prompt_tokens']:,.0f} + {cost['completion_tokens']:,.0f}"


def _seconds(judge: JudgeMeasures) -> str:
    cost = judge.cost.per_thousand()
    return "" if cost is None else f"{cost['seconds']:,.1f}"


_LINES: Sequence[tuple[str, Callable[[JudgeMeasures], str]]] = (
    ("asked otherwise", lambda judge: judge.how),
    ("answered", lambda judge: f"{judge.answered:,} of {judge.asked:,}"),
    ("accuracy", lambda judge: _share(judge.accuracy)),
    ("by guessing", lambda judge: "" if judge.chance == 0.5 else f"{100 * judge.chance:.1f}"),
    ("accuracy, mean of subsets", _subsets),
    ("several right answers, as RewardBench 2", _several_right),
    ("ranks as known scores do (Spearman)", _correlation),
    ("right in both orders", lambda judge: _share(judge.both_orders)),
    ("labelled", lambda judge: _share(judge.labelled)),
    ("labels right", lambda judge: _share(judge.label_accuracy)),
    ("the same place won", _position),
    ("the same option chosen", _favourite),
    ("jurors disagree", lambda judge: _share(judge.disagreement)),
    ("verdicts that abstain", _abstained),
    ("labels: calibration error / Brier", _calibration),
    ("calibrated: error / Brier", _calibrated),
    ("prefers the longer answer", lambda judge: _beside(judge.longer, judge.longer_by_label)),
    ("prefers its own answer", lambda judge: _beside(judge.own, judge.own_by_label)),
    ("ties by the labels", _ties),
    ("letters' mass (median)", lambda judge: "" if judge.mass is None else f"{judge.mass:.2f}"),
    ("tokens per 1,000 verdicts", _tokens),
    ("seconds per 1,000 verdicts", _seconds),
)
