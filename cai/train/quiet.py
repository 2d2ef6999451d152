"""Keeps the libraries' own bars, advice and telemetry to themselves while `cai` trains."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import datasets
import huggingface_hub.constants
import transformers

_LOGGERS = ("trl", "peft", "accelerate", "datasets")


@contextmanager
def silent_libraries() -> Iterator[None]:
    """Silence transformers, TRL, PEFT, accelerate and datasets inside the block; what they raise still comes."""
    verbosity = transformers.utils.logging.get_verbosity()
    bars = transformers.utils.logging.is_progress_bar_enabled()
    dataset_bars = datasets.are_progress_bars_disabled()
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    tqdm = os.environ.get("TQDM_DISABLE")
    telemetry = huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ["TQDM_DISABLE"] = "1"
    # TRL's trainers report the model's architecture and the hardware to the hub: nobody asked for that.
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()
        if not dataset_bars:
            datasets.enable_progress_bars()
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if tqdm is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = tqdm
        huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = telemetry
