"""Which of an evaluation's figures are drawn, and under which words."""

from cai.evaluate.drawing import Group, draw_evaluation
from cai.evaluate.results import Evaluation

_PREFIXES = ("breaks ", "refuses, ", "oracle: ")
_NOT_DRAWN = "oracle: outside its world"


def draw(evaluation: Evaluation) -> dict[str, bytes]:
    """Draw what the judge and the oracle found, and refusals: the content of a file of each form, if there is any."""
    found = {model.label: {figure.name: figure for figure in model.figures} for model in evaluation.models}
    names: dict[str, None] = {}
    for figures in found.values():
        names |= dict.fromkeys(name for name in figures if name.startswith(_PREFIXES) and name != _NOT_DRAWN)
    groups = [
        Group(name, {label: figures[name] for label, figures in found.items() if name in figures}) for name in names
    ]
    constitution = " ".join(evaluation.constitution.split(" ")[:2])
    baseline = f", baseline {evaluation.baseline}" if evaluation.baseline else ""
    caption = (
        f"{constitution}, {evaluation.prompts:,} prompts, 95 % bootstrap intervals{baseline}, "
        f"judge {evaluation.judge}, {evaluation.finished[:10]}"
    )
    return draw_evaluation(groups, caption) if groups else {}
