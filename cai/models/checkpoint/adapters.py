"""Adapters on a model that is open: folded into its weights, or kept beside them where that is not defined.

| kind | folded into the weights |
|---|---|
| LoRA, DoRA, (IA)³, and whatever else PEFT folds | yes, so that it runs as fast as its base |
| bottlenecks | no: they are not linear, and stay behind their layers |
| prompts and prefixes | no: they are no weights, and stay before what the model reads |

Raises ModelError in one sentence, never else.
"""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from cai.core.errors import ModelError
from cai.models.checkpoint.files import check_adapter
from cai.models.checkpoint.pretrained import fit_fault, refusing, require_finite
from cai.models.checkpoint.resolve import VIRTUAL, adapter_kind, require_foldable

_VIRTUAL_WEIGHTS = "prompt_embeddings"


def require_peft(adapter: Path) -> None:
    """Raise ModelError where the package that opens adapters is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise ModelError(f"{adapter} is an adapter, which needs peft: pip install 'cai[train]'")


def merge_adapter(model: PreTrainedModel, directory: Path) -> PreTrainedModel:
    """Return the model with the adapter in `directory` folded into its weights; ModelError where that is not defined.

    An adapter of which anything is missing or fits nothing is refused: the base would answer, in whole or in part.
    """
    require_foldable(directory)
    adapted = _open(model, directory)
    with refusing(f"the adapter {directory}"):
        merged: PreTrainedModel = adapted.merge_and_unload()
    require_finite(merged, str(directory))
    return merged


def apply_adapter(model: PreTrainedModel, directory: Path) -> PreTrainedModel:
    """Return the model with the adapter in `directory`, for inference: folded in, or kept beside the weights."""
    kind = adapter_kind(directory)
    if kind.folds:
        return merge_adapter(model, directory)
    adapted = _open(model, directory)
    if kind.type not in VIRTUAL:
        base: PreTrainedModel = adapted.get_base_model()  # its layers have the adapters behind them
        return base
    from cai.models.checkpoint.virtual_tokens import add_virtual_tokens  # noqa: PLC0415  (needed here alone)

    with refusing(f"the adapter {directory}"):
        return add_virtual_tokens(adapted, str(directory))


def _open(model: PreTrainedModel, directory: Path) -> Any:
    """Return PEFT's model of the base and the adapter, which fits it and is whole."""
    require_peft(directory)
    check_adapter(directory)
    with refusing(f"the adapter {directory}"), warnings.catch_warnings():
        from peft import PeftModel  # noqa: PLC0415  (optional, and seconds to import)

        import cai.models.checkpoint.bottleneck  # noqa: F401, PLC0415  (makes it known to peft)

        warnings.simplefilter("ignore")  # peft warns of missing keys, and of nothing else that is not told below
        adapted = PeftModel.from_pretrained(model, str(directory))
        # Loaded once more, since only this tells which keys found a place.
        loaded = adapted.load_adapter(str(directory), adapted.active_adapter)
        virtual = adapter_kind(directory).type in VIRTUAL  # peft calls what it holds unknown, and fails without it
        unexpected = set(loaded.unexpected_keys) - ({_VIRTUAL_WEIGHTS} if virtual else set())
        fault = fit_fault(loaded.missing_keys, unexpected)
        if fault is not None:
            raise ModelError(f"the adapter {directory} does not fit its base: {fault}")
    require_finite(adapted, str(directory))
    return adapted
