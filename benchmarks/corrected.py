"""`python -m benchmarks.corrected EVALUATION`: whether corrected shares cover what is true, on the embedded world.

EVALUATION is a directory of `cai evaluate tiny --prompts tiny`, where the oracle knows the truth of every answer. Its
answers are the world; each trial draws some of them as an evaluation, and labels some of these by the oracle, as people
would. Told are, by principle, how often the 95 % interval of the corrected share covers the world's share, how often
that of the judge's own share does, and how often nothing is told because the labels are too few or the judge is near
chance.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import orjson
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cai.core.corrected import Confusion, correct_share
from cai.core.shares import wilson
from cai.evaluate.records import CLEARLY_BROKEN, Answer, read_answer
from cai.rundir.lines import read_lines, salt
from cai.tiny import oracle

EVERY = "all gates"
Cases = NDArray[np.bool_]
"""Of shape (cases, 2): what the judge said, and what is true."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of the trials, how many were `told` a corrected share, and in how many each interval covered the truth."""

    trials: int
    told: int
    covered: int
    raw_covered: int
    width: float

    @property
    def share(self) -> float:
        """The share of told intervals that cover the truth."""
        return self.covered / self.told if self.told else float("nan")


def read_answers(evaluation: Path) -> list[Answer]:
    """Return the answers of all models of an evaluation."""
    found = []
    for path in sorted((evaluation / "responses").glob("*.jsonl")):
        with path.open("rb") as file:
            values = [orjson.loads(line.data) for line in read_lines(file, salt(f"responses/{path.name}")) if line.data]
        found += [read_answer(value) for value in values if "failure" not in value]
    return found


def cases_of(answers: list[Answer]) -> dict[str, Cases]:
    """Return what the judge said and what is true, by principle, and of all gates together."""
    found: defaultdict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for answer in answers:
        for gate in answer.gates:
            kind = oracle.kind_of(gate.principle_id)
            if kind is not None and answer.truth is not None and gate.probability is not None:
                case = gate.probability > CLEARLY_BROKEN, kind in answer.truth.broken
                found[gate.principle_id].append(case)
                found[EVERY].append(case)
    return {name: np.array(cases) for name, cases in found.items()}


def simulate(cases: Cases, evaluated: int, labelled: int, trials: int, seed: int) -> Coverage:
    """Return how often intervals cover the share that is true of all cases; cases are drawn with replacement."""
    draw, truth = np.random.default_rng(seed), cases[:, 1].mean()
    told = covered = raw_covered = 0
    widths = []
    for _ in range(trials):
        sample = cases[draw.integers(0, len(cases), evaluated)]
        yes = int(sample[:, 0].sum())
        raw = wilson(yes, evaluated)
        raw_covered += raw.low <= truth <= raw.high
        found = correct_share(yes, evaluated, confusion(sample[:labelled]))
        if found.low is not None and found.high is not None:
            told += 1
            covered += found.low <= truth <= found.high
            widths.append(found.high - found.low)
    return Coverage(trials, told, covered, raw_covered, float(np.mean(widths)) if widths else float("nan"))


def confusion(sample: Cases) -> Confusion:
    """Return what the judge said of cases whose truth is known."""
    said, true = sample[:, 0], sample[:, 1]
    counts = (said & true, ~said & true, ~said & ~true, said & ~true)
    return Confusion(*(int(count.sum()) for count in counts))


@click.command()
@click.argument("evaluation", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--evaluated", default=400, show_default=True, help="Cases of an evaluation.")
@click.option("--labelled", default=200, show_default=True, help="Of these, cases with a label.")
@click.option("--trials", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(evaluation: Path, evaluated: int, labelled: int, trials: int, seed: int) -> None:
    """Simulate labels on the answers of EVALUATION."""
    table = Table("", "true", "judge says", "q1", "q0", "told", "covered", "judge's own covers", "width", box=None)
    for name, cases in cases_of(read_answers(evaluation)).items():
        found, world = simulate(cases, evaluated, labelled, trials, seed), confusion(cases)
        quality = [f"{one:.3f}" if one is not None else "-" for one in (world.sensitivity, world.specificity)]
        table.add_row(
            name,
            f"{cases[:, 1].mean():.1%}",
            f"{cases[:, 0].mean():.1%}",
            *quality,
            f"{found.told} of {found.trials}",
            f"{found.share:.1%}",
            f"{found.raw_covered / found.trials:.1%}",
            f"{found.width:.3f}",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
