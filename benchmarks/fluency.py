"""`python -m benchmarks.fluency MODEL`: how far `cai check --fluency` can be trusted, and a threshold for a model.

benchmarks/salad.jsonl has revisions, responses and critiques by SmolLM2-135M-Instruct at temperature 1 (Apache-2.0),
many of them word salad, rewrites by it at 0.7, which are not, and answers of HH-RLHF's harmless-base test set
(Anthropic, MIT), none of which is. One reader labelled them: salad is a text of which nobody can say what it means. The
threshold is the highest at which 95 % of what is found in the texts `fitted` is salad; those `held out` say how far
it can be trusted. Texts of fewer than 33 tokens are not looked at.
"""

from pathlib import Path

import click
import numpy as np
import orjson
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.filters import told_share
from cai.check.settings import LEAST_FLUENT
from cai.data.validation.fluency import RUN
from cai.models.fluency import FluencyModel
from cai.models.spec import ModelSpec

LABELLED = Path(__file__).parent / "salad.jsonl"
PRECISION = 0.95


def find_threshold(scores: list[float], salad: list[bool]) -> float:
    """Return the threshold that finds most while PRECISION of what it finds is salad."""
    found = [
        (sum(salad[place] for place in below), score)
        for score in scores
        if (below := [place for place, one in enumerate(scores) if one <= score])
        and np.mean([salad[place] for place in below]) >= PRECISION
    ]
    return max(found)[1] if found else float("-inf")


@click.command()
@click.argument("model", type=ModelSpec.checkpoint)
@click.option("--device", default="cpu", show_default=True)
def main(model: ModelSpec, device: str) -> None:
    """Print precision and recall of word salad at the default threshold and at the model's own."""
    rows = [orjson.loads(line) for line in LABELLED.read_bytes().splitlines()]
    reader = FluencyModel(model.weights, torch.device(device), RUN)
    runs = reader.read([([{"role": "user", "content": row["prompt"]}], row["text"]) for row in rows])
    read = [(row, run.log_probability) for row, run in zip(rows, runs, strict=True) if run is not None]
    fitted = [(score, row["salad"]) for row, score in read if row["set"] == "fitted"]
    own = find_threshold([score for score, _ in fitted], [salad for _, salad in fitted])
    table = Table("texts", "threshold", "precision", "recall", box=None)
    for name in ("fitted", "held out"):
        some = [(row["salad"], score) for row, score in read if row["set"] == name]
        for threshold in (own, LEAST_FLUENT):
            found = [salad for salad, score in some if score < threshold]
            shares = told_share(sum(found), len(found)), told_share(sum(found), sum(salad for salad, _ in some))
            table.add_row(name, f"{threshold:.2f}", *shares)
    console = Console(width=110)
    console.print(f"{len(read)} of {len(rows)} texts are long enough")
    console.print(table)


if __name__ == "__main__":
    main()
