"""`python -m benchmarks.reference FILE train dpo …`: `cai` as it is, with DPO's reference pass on a clock of its own.

TRL runs the reference inside its training loop and counts it there; `cai` runs it once before the loop. FILE gets the
seconds that it took, so that both loops can be compared with the whole of the work in them.
"""

import sys
import time
from pathlib import Path

from datasets import Dataset

from cai.cli.main import main as cai
from cai.train.trainers import references


class _Clocked(references.SoftDPOTrainer):
    """The trainer, which adds up the seconds of its reference passes."""

    seconds = 0.0

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        began = time.perf_counter()
        labelled = super()._precompute_ref_logps(dataset, name, batch_size)
        _Clocked.seconds += time.perf_counter() - began
        return labelled


def main(file: Path, arguments: list[str]) -> None:
    """Run `cai` and write what its reference passes took."""
    vars(references)["SoftDPOTrainer"] = _Clocked
    try:
        cai(arguments)
    finally:
        file.write_text(str(_Clocked.seconds))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
