"""Learning rates, batch sizes and epochs that nobody named: one table, and the line between its two ends.

| method | small (2.6 M parameters) | source | large (1 B and more) | source |
|---|---|---|---|---|
| sft | 5e-4 | measured on the embedded model | 2e-5 | TRL's default, HF alignment-handbook (zephyr-7b) |
| dpo | 2e-4 | measured there (1e-4 to 3e-4; 2e-3 collapses) | 5e-7 | alignment-handbook; the paper has 1e-6 |
| reward | 2e-4 | as dpo | 1e-5 | InstructGPT, 2203.02155, appendix C: 9e-6 |
| kto | 2e-4 | as dpo | 5e-7 | KTO, 2402.01306, section 4 |
| orpo | 5e-4 | as sft, whose loss it contains | 8e-6 | ORPO, 2403.07691, section 6 |
| grpo, rloo | 2e-4 | as dpo | 1e-6 | GRPO, 2402.03300, section 4.1 |

Between the ends the rate falls as a power of the parameter count. An adapter takes ten times the rate of full
fine-tuning ("LoRA Without Regret", Thinking Machines, 2025), measured on large models and never above `MOST_ADAPTER`.
"""

import math

from cai.train.settings import AdapterKind, TrainMethod

_SMALL, _LARGE = 2.6e6, 1e9
_RATES: dict[TrainMethod, tuple[float, float]] = {
    "sft": (5e-4, 2e-5),
    "dpo": (2e-4, 5e-7),
    "reward": (2e-4, 1e-5),
    "kto": (2e-4, 5e-7),
    "orpo": (5e-4, 8e-6),
    "grpo": (2e-4, 1e-6),
    "rloo": (2e-4, 1e-6),
}
_ADAPTER = 10.0
MOST_ADAPTER = 5e-3
_EPOCHS: dict[TrainMethod, float] = {"sft": 3.0}
_ONLINE = ("grpo", "rloo")


def learning_rate(method: TrainMethod, parameters: int, adapter: AdapterKind) -> float:
    """Return the peak learning rate for a base of so many parameters, to two digits."""
    small, large = _RATES[method]
    share = math.log(min(max(parameters, _SMALL), _LARGE) / _SMALL) / math.log(_LARGE / _SMALL)
    rate = small * (large / small) ** share
    if adapter != "none":
        rate = min(rate * _ADAPTER, MOST_ADAPTER)
    return float(f"{rate:.1e}")


def batch_size(method: TrainMethod, parameters: int, group: int, processes: int) -> int:
    """Return examples an optimiser step: 16 for a small model, 64 for a large one, whole groups for online methods.

    Rounded up to what the processes can share.
    """
    wanted = 16 if parameters < 100e6 else 64
    unit = processes
    if method in _ONLINE:
        unit = math.lcm(processes, group)
        wanted = max(wanted, 8 * group)
    return -(-wanted // unit) * unit


def epochs(method: TrainMethod) -> float:
    """Return how often the data is gone through: three times for SFT, once for what optimises a preference."""
    return _EPOCHS.get(method, 1.0)
