"""Folding a PEFT adapter into its base. The one place that loads adapters through peft."""

import warnings
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from cai.core.errors import ModelError
from cai.models.checkpoint.files import check_adapter
from cai.models.checkpoint.loading import fit_fault, refusing, require_finite


def merge_adapter(model: PreTrainedModel, directory: Path) -> PreTrainedModel:
    """Return the model with the adapter in `directory` folded into its weights; raises ModelError.

    An adapter of which anything is missing or fits nothing is refused: the base would answer, in whole or in part.
    """
    check_adapter(directory)
    with refusing(f"the adapter {directory}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns of missing keys, and of nothing else that is not told below
        adapted = PeftModel.from_pretrained(model, str(directory))
        # Loaded once more, since only this tells which keys found a place.
        loaded = adapted.load_adapter(str(directory), adapted.active_adapter)
        fault = fit_fault(loaded.missing_keys, loaded.unexpected_keys)
        if fault is not None:
            raise ModelError(f"the adapter {directory} does not fit its base: {fault}")
        merged: PreTrainedModel = adapted.merge_and_unload()
    require_finite(merged, str(directory))
    return merged
