"""What a reward model's directory is called and has to hold; nothing of the model is loaded."""

import json
from pathlib import Path

from cai.core.errors import ModelError
from cai.models.checkpoint.files import ADAPTER_CONFIG
from cai.models.checkpoint.fingerprint import model_label


def check_reward_model(directory: Path) -> None:
    """Raise ModelError unless the directory holds a sequence classifier of one label, whole or as an adapter."""
    file = directory / ("config.json" if (directory / "config.json").is_file() else ADAPTER_CONFIG)
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError):
        raise ModelError(f"{directory} holds no model; give the directory that `cai train reward` wrote") from None
    architectures = config.get("architectures") or [""]
    whole = architectures[0].endswith("ForSequenceClassification") and len(config.get("id2label", "..")) == 1
    if not whole and config.get("task_type") != "SEQ_CLS":
        raise ModelError(f"{directory} is no reward model (one score a text); make one with `cai train reward`")


def reward_model_name(directory: Path) -> str:
    """Return what provenance records: the name and a fingerprint of the files."""
    return f"reward:{model_label(str(directory))}"
