"""The keyword arguments that every TRL configuration shares, from what was settled.

The learning rate warms up over a twentieth of the steps, in runs of more than 20, and falls linearly to nothing. How
often a run logs, evaluates and saves is settled in `fit`, when the number of steps is known, as is that a short run has
no warm-up; here all are only said to exist.
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from cai.core.errors import UsageError
from cai.train.checkpoints import CHECKPOINTS
from cai.train.data.examples import Examples
from cai.train.folder import TRACKING
from cai.train.hardware import Hardware
from cai.train.settings import TrainSettings

TRACKERS = ("tensorboard", "wandb", "trackio")
_WARM_UP = 0.05
_PRECISION = "ACCELERATE_MIXED_PRECISION"


def check_trackers(names: tuple[str, ...]) -> None:
    """Raise UsageError unless every tracker is known and installed."""
    for name in names:
        if name not in TRACKERS:
            raise UsageError(f"--report-to {name} is none of {', '.join(TRACKERS)}")
        if find_spec(name) is None:
            raise UsageError(f"--report-to {name} needs the package: pip install {name}")


def place_trackers(settings: TrainSettings) -> bool:
    """Let TensorBoard's files lie in OUT itself, not with the checkpoints, and return whether there will be any.

    To be called before a trainer is built.
    """
    if "tensorboard" not in settings.fit.report_to:
        return False
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(settings.out / TRACKING)
    return True


def place_precision(hardware: Hardware) -> None:
    """Have a launcher that says which arithmetic processes do say what was settled: transformers takes its word.

    To be called before a trainer is built.
    """
    if _PRECISION in os.environ:
        os.environ[_PRECISION] = "bf16" if hardware.bfloat16 else "no"


def evaluates(examples: Examples) -> bool:
    """Whether a loss on the test split is measured: prompts without answers have none."""
    return examples.test is not None and examples.kind != "prompts"


def shared_arguments(settings: TrainSettings, hardware: Hardware, examples: Examples) -> Mapping[str, Any]:
    """Return the arguments; the settings' open numbers are filled in."""
    fit = settings.fit
    measured = evaluates(examples)
    return {
        "output_dir": str(settings.out / CHECKPOINTS),
        "seed": settings.seed % 2**32,  # numpy takes no more
        "per_device_train_batch_size": hardware.micro_batch,
        "per_device_eval_batch_size": hardware.micro_batch,
        "gradient_accumulation_steps": hardware.accumulation,
        "gradient_checkpointing": hardware.checkpointing,
        "learning_rate": fit.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": _WARM_UP,
        "num_train_epochs": fit.epochs,
        "max_steps": fit.max_steps or -1,
        "use_cpu": hardware.device == "cpu",
        "bf16": hardware.bfloat16,
        "dataloader_num_workers": 0,  # examples are tokens already, and a signal to all of a group would end workers
        "dataloader_pin_memory": hardware.device == "cuda",
        "logging_strategy": "steps",
        "logging_nan_inf_filter": False,  # it would log a loss that is no number as another
        "save_strategy": "steps",
        "eval_strategy": "steps" if measured else "no",
        "load_best_model_at_end": measured,
        "metric_for_best_model": "eval_loss" if measured else None,
        "greater_is_better": False if measured else None,
        "disable_tqdm": True,
        "report_to": list(fit.report_to) or "none",
    }
