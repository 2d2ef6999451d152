"""What else an evaluation can be written as, a descriptor each: a table and figure for a paper, logs of inspect_ai."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cai.evaluate.inspect_logs import inspect_logs
from cai.evaluate.measuring import ModelAnswers
from cai.evaluate.paper import paper_tables
from cai.evaluate.results import Evaluation


@dataclass(frozen=True, slots=True)
class Format:
    """A format: `name` is its folder's too; `make` returns the content of its files by their names.

    It is given the evaluation and what each model said to its prompts.
    """

    name: str
    about: str
    make: Callable[[Evaluation, Sequence[ModelAnswers]], Mapping[str, bytes]]


def _paper(evaluation: Evaluation, _answered: Sequence[ModelAnswers]) -> dict[str, bytes]:
    from cai.evaluate.paper_figure import draw_paper_figure  # noqa: PLC0415  (matplotlib, for which nobody waits)

    return paper_tables(evaluation) | draw_paper_figure(evaluation)


FORMATS = {
    one.name: one
    for one in (
        Format("paper", "a table (LaTeX, Markdown) and a figure (PDF, SVG) of every axis", _paper),
        Format("inspect", "logs that inspect_ai's viewer opens, one a model", inspect_logs),
    )
}
