"""An evaluation as a table for a paper: every axis, a column a model, in Markdown and in LaTeX (with `booktabs`).

Values stand with their 95 % intervals and with n, the number of prompts or items that count; bold ones differ from the
baseline's, as `ModelResult.differs` says. A share of few answers of the judge is given in counts, or as too few.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cai.core.counts import counted
from cai.core.markdown import escaped
from cai.evaluate.measures import Measure
from cai.evaluate.results import Evaluation, Measurement, ModelResult

_ARROWS = {"low": ("↓", r"$\downarrow$"), "high": ("↑", r"$\uparrow$"), None: ("", "")}


@dataclass(frozen=True, slots=True)
class Axis:
    """A group of measures of all models, over the same prompts or items."""

    title: str
    measures: tuple[Measure, ...]
    models: tuple[ModelResult, ...]


@dataclass(frozen=True, slots=True)
class _Cell:
    value: str
    interval: str = ""
    differs: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    arrows: tuple[str, str]
    count: str
    cells: tuple[_Cell, ...]


def axes_of(evaluation: Evaluation) -> list[Axis]:
    """Return everything that was measured, in groups: the prompts, each principle, each attack, each examination."""
    printed = [measure for measure in evaluation.measures if measure.printed]
    axes = [
        Axis("Prompts", tuple(one for one in printed if one.principle is None), evaluation.models),
        Axis("Principles", tuple(one for one in printed if one.principle is not None), evaluation.models),
    ]
    for attack in evaluation.attacks:
        names = {found.name for model in attack.models for found in model.measurements}
        measures = tuple(measure for measure in printed if measure.name in names)
        axes.append(Axis(f"Under attack: {attack.attack}", measures, attack.models))
    for section in evaluation.sections:
        measures = tuple(measure for measure in section.measures if measure.printed)
        axes.append(Axis(section.title[:1].upper() + section.title[1:], measures, section.models))
    return [found for axis in axes if (found := _asked(axis)).measures]


def _asked(axis: Axis) -> Axis:
    asked = [one for one in axis.measures if any(model.counts(one.name)[1] for model in axis.models)]
    return Axis(axis.title, tuple(asked), axis.models)


def paper_tables(evaluation: Evaluation) -> dict[str, bytes]:
    """Return the table as the content of a file of each form, by the file's name."""
    groups = [(axis.title, list(_lines(axis))) for axis in axes_of(evaluation)]
    if evaluation.ratings:
        cells = tuple(_Cell(*_written(rating)) for rating in evaluation.ratings)
        count = _range([rating.count for rating in evaluation.ratings])
        groups.append(("Preferred by the judge", [_Line("Elo", _ARROWS["high"], count, cells)]))
    labels = [model.label for model in evaluation.models]
    note = _note(evaluation)
    return {"table.md": _markdown(labels, groups, note), "table.tex": _latex(labels, groups, note)}


def _lines(axis: Axis) -> Iterator[_Line]:
    for measure in axis.measures:
        counts = [model.counts(measure.name)[0] for model in axis.models]
        cells = tuple(_cell(model, measure) for model in axis.models)
        yield _Line(measure.name, _ARROWS[measure.better], _range(counts), cells)
        shares = [model.corrected.get(measure.name) for model in axis.models]
        if any(share is not None and share.value is not None for share in shares):
            told = tuple(
                _Cell("-")
                if share is None or share.value is None or share.low is None or share.high is None
                else _Cell(_short(100 * share.value), f"[{_short(100 * share.low)}, {_short(100 * share.high)}]")
                for share in shares
            )
            labels = _range([0 if share is None else share.labels for share in shares])
            yield _Line(f"{measure.name}, corrected by labels", _ARROWS[measure.better], labels, told)


def _cell(model: ModelResult, measure: Measure) -> _Cell:
    found = model.told(measure)
    if found is None:
        return _Cell(model.in_counts(measure) if model.counts(measure.name)[1] else "-")
    return _Cell(*_written(found), model.differs(measure.name))


def _written(found: Measurement) -> tuple[str, str]:
    short, scale = (_short, 100) if found.unit == "share" else (_precise, 1)
    ends = (
        "" if found.low is None or found.high is None else f"[{short(scale * found.low)}, {short(scale * found.high)}]"
    )
    return short(scale * found.value), ends


def _short(number: float) -> str:
    return f"{number:.1f}" if abs(number) < 1000 else f"{number:,.0f}"


def _precise(number: float) -> str:
    """Return a number that is no share: of a small one, such as a divergence, three digits count."""
    return f"{number:.3g}" if abs(number) < 10 else _short(number)


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def _note(evaluation: Evaluation) -> str:
    baseline = "" if evaluation.baseline is None else f" Bold: differs from {evaluation.baseline}, paired by prompt."
    return (
        f"{evaluation.constitution}; {counted(evaluation.prompts, 'prompt')}, n: those that count; "
        f"judge {evaluation.judge}; shares in percent with 95 % intervals.{baseline}"
    )


def _markdown(labels: Sequence[str], groups: Sequence[tuple[str, Sequence[_Line]]], note: str) -> bytes:
    lines = ["| | n | " + " | ".join(map(escaped, labels)) + " |", "|---|---:|" + "---:|" * len(labels)]
    for title, own in groups:
        lines.append(f"| **{escaped(title)}** | |" + " |" * len(labels))
        for line in own:
            cells = [_markdown_cell(cell) for cell in line.cells]
            lines.append(f"| {escaped(line.name)} {line.arrows[0]} | {line.count} | {' | '.join(cells)} |")
    return ("\n".join([*lines, "", escaped(note)]) + "\n").encode()


def _markdown_cell(cell: _Cell) -> str:
    value = f"**{escaped(cell.value)}**" if cell.differs else escaped(cell.value)
    return f"{value} {cell.interval}".strip()


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def _plain(text: str) -> str:
    """Return a text as LaTeX says it."""
    return re.sub(r"[\\~^&%$#_{}]", lambda found: _SPECIAL[found[0]], text)


def _latex(labels: Sequence[str], groups: Sequence[tuple[str, Sequence[_Line]]], note: str) -> bytes:
    width = len(labels) + 2
    lines = [
        "% \\usepackage{booktabs}; letters beyond Latin need XeLaTeX or LuaLaTeX and a font that has them",
        "\\begin{table}",
        "\\centering\\small",
        f"\\begin{{tabular}}{{lr{'r' * len(labels)}}}",
        "\\toprule",
        " & ".join(["", "n", *map(_plain, labels)]) + r" \\",
    ]
    for title, own in groups:
        lines += ["\\midrule", f"\\multicolumn{{{width}}}{{l}}{{\\emph{{{_plain(title)}}}}} \\\\"]
        for line in own:
            name = f"{_plain(line.name)} {line.arrows[1]}".strip()
            lines.append(" & ".join([name, line.count, *map(_latex_cell, line.cells)]) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}", f"\\caption{{{_plain(note)}}}", "\\end{table}"]
    return ("\n".join(lines) + "\n").encode()


def _latex_cell(cell: _Cell) -> str:
    value = f"\\textbf{{{_plain(cell.value)}}}" if cell.differs else _plain(cell.value)
    return f"{value} {{\\scriptsize {cell.interval}}}" if cell.interval else value
