"""The one place where a model's weights and tokenizers are loaded. Raises ModelError in one sentence, never else.

Nothing is filled in: transformers would draw anew what a checkpoint lacks, and leave out what it does not know, and the
model would answer with noise, and nobody would be told. Refused are weights that are missing, left over, of another
shape or not finite. What transformers itself knows to be optional, weights that are tied, and a reward model's head
where the checkpoint is a language model's are no faults.

No code out of a checkpoint is run. It may bring Python files of its own (`auto_map`): transformers runs them when it is
told to, and where it is not told anything it asks on the terminal. Here it is told no, always: a checkpoint that cannot
do without its own code is refused; one whose kind transformers knows is read with transformers' code. A test sees to it
that nothing else in cai calls a loader.
"""

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from transformers import PreTrainedModel
from transformers import modeling_gguf_pytorch_utils as _gguf
from transformers.utils import logging

from cai.core.errors import CaiError, ModelError
from cai.models.checkpoint.files import check_checkpoint, check_gguf, check_tokenizer, is_gguf

Head = Literal["language", "score"]
"""Whether the model writes text or gives a text one number (a reward model)."""

_NAMED = 3  # keys that a sentence names
_WRAPPERS = {
    "_orig_mod": "torch.compile",
    "module": "DataParallel",
    "base_model.model": "a PEFT adapter that was not merged",
    "_fsdp_wrapped_module": "FSDP",
}
"""What leaves its mark in the names of weights that are saved through it."""


def load_pretrained(loader: Callable[..., Any], source: Any, **options: Any) -> Any:
    """Return what `loader`, an Auto class's `from_pretrained` or `from_config`, makes of `source`.

    Raises ModelError for a checkpoint that needs code of its own, and whatever else the loader raises.
    """
    try:
        return loader(source, trust_remote_code=False, **options)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        name = source if isinstance(source, str) else getattr(source, "name_or_path", "") or type(source).__name__
        raise ModelError(
            f"model {name} needs Python code that comes with it, which cai never runs: use a model of a kind that "
            "transformers knows itself, or a server and openai:"
        ) from error


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn whatever a library raises inside the block into a ModelError that begins with `what` cannot be opened.

    A damaged file makes transformers, safetensors, tokenizers and jinja raise nearly everything there is.
    """
    try:
        yield
    except CaiError:
        raise
    except Exception as error:
        raise ModelError(f"{what} cannot be opened: {first_line(error)}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and the advice that transformers prints while it loads and saves."""
    verbosity, bars, gguf_bar = logging.get_verbosity(), logging.is_progress_bar_enabled(), _gguf.tqdm
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    _gguf.tqdm = partial(gguf_bar, disable=True)
    try:
        yield
    finally:
        _gguf.tqdm = gguf_bar
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def open_tokenizer(place: str) -> Any:
    """Return the tokenizer of a directory, a GGUF file or a hub id."""
    if Path(place).is_dir():
        check_tokenizer(Path(place))
    source, file = _source(place)
    with refusing(f"the tokenizer of {place}"):
        return load_pretrained(transformers.AutoTokenizer.from_pretrained, source, **file)


def open_config(place: str, head: Head = "language") -> Any:
    """Return the configuration of the model in a directory or of a hub id."""
    if Path(place).is_dir():
        check_checkpoint(Path(place))
    with refusing(f"model {place}"):
        return load_pretrained(transformers.AutoConfig.from_pretrained, place, **_labels(head))


def open_weights(place: str, head: Head = "language", **keywords: Any) -> PreTrainedModel:
    """Return the model in a directory, a GGUF file or of a hub id, whole; `keywords` are `from_pretrained`'s own."""
    if Path(place).is_dir():
        check_checkpoint(Path(place))
    source, file = _source(place)
    with refusing(f"model {place}"):
        model, info = load_pretrained(
            auto_class(head).from_pretrained,
            source,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **file,
            **_labels(head),
            **keywords,
        )
    if file:
        _forget_quantization(model)
    shapes = sorted(info["mismatched_keys"])
    if shapes:
        key, there, wanted = shapes[0]
        raise ModelError(
            f"the weights of {place} do not fit its config.json: {key} is {tuple(there)} and should be {tuple(wanted)}"
        )
    missing, unexpected = _without_head(model, head, set(info["missing_keys"]), set(info["unexpected_keys"]))
    if fault := fit_fault(missing, unexpected):
        raise ModelError(f"the weights of {place} do not fit its config.json: {fault}")
    require_finite(model, place)
    return model


def open_encoder(place: str) -> PreTrainedModel:
    """Return what gives a text's hidden states, in a directory or of a hub id: a model without its head.

    A pooler that the checkpoint lacks is no fault: hidden states come before it.
    """
    with refusing(f"model {place}"):
        model, info = load_pretrained(transformers.AutoModel.from_pretrained, place, output_loading_info=True)
    if fault := fit_fault([key for key in info["missing_keys"] if "pooler" not in key], ()):
        raise ModelError(f"the weights of {place} do not fit its config.json: {fault}")
    require_finite(model, place)
    encoder: PreTrainedModel = model
    return encoder


def _source(place: str) -> tuple[str, dict[str, str]]:
    """Return what transformers is to open and, for a GGUF file, how it is told which file of the directory."""
    if not is_gguf(place) or not Path(place).is_file():
        return place, {}
    path = Path(place)
    check_gguf(path)
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(f"{place} is a GGUF file, which needs gguf: pip install 'cai[local]'")
    return str(path.parent), {"gguf_file": path.name}


def _forget_quantization(model: Any) -> None:
    """Let a model whose weights were quantized in a GGUF file be what it is now: one with ordinary weights.

    transformers would refuse to save it, or to move it, as one that is quantized still.
    """
    model.config.__dict__.pop("quantization_config", None)
    for name in ("hf_quantizer", "is_quantized", "quantization_method"):
        model.__dict__.pop(name, None)


def auto_class(head: Head) -> Any:
    """Return the class of transformers that opens a model with this head."""
    return transformers.AutoModelForCausalLM if head == "language" else transformers.AutoModelForSequenceClassification


def require_finite(model: Any, name: str) -> None:
    """Raise ModelError when a weight is not a finite number; reads every weight once."""
    if key := unfit_weight(model):
        raise ModelError(f"the weights of {name} are no numbers: {key} holds nan or infinity; get them again")


def unfit_weight(model: Any) -> str | None:
    """Return the name of a weight that holds nan or infinity, or None; reads every weight once."""
    with torch.inference_mode():
        for key, weight in model.named_parameters():
            if not weight.is_floating_point() or weight.is_meta or not weight.numel():
                continue
            values = weight.detach()
            low, high = torch.aminmax(values if values.dtype.itemsize > 1 else values.float())
            if not (torch.isfinite(low) and torch.isfinite(high)):
                return str(key)
    return None


def require_rows(tokenizer: Any, rows: int, name: str) -> None:
    """Raise ModelError when the tokenizer can give a token that the model's embedding of so many rows lacks."""
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1], default=("", -1))
    if highest >= rows:
        raise ModelError(
            f"the tokenizer of model {name} does not go with its weights: {token!r} is token {highest}, and the "
            f"embedding has {rows} rows"
        )


def fit_fault(missing: Iterable[str], unexpected: Iterable[str]) -> str | None:
    """Return in half a sentence which keys a model lacks and which it does not know, or None when all fit."""
    absent, unknown = sorted(missing), sorted(unexpected)
    parts = [
        f"{_some(keys)} {'is' if len(keys) == 1 else 'are'} {what}"
        for keys, what in ((absent, "missing"), (unknown, "not known to it"))
        if keys
    ]
    return " and ".join(parts) + _suggestion(absent, unknown) if parts else None


def first_line(error: Exception) -> str:
    """Return the first line of what an error says (what follows a colon, too), or its kind when it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    said = " ".join(lines) if lines[0].endswith(":") else lines[0]
    # A KeyError or the like names a thing and not what is wrong with it.
    return f"{type(error).__name__}: {said}" if isinstance(error, LookupError | AttributeError | TypeError) else said


def _labels(head: Head) -> dict[str, int]:
    return {"num_labels": 1} if head == "score" else {}


def _without_head(model: Any, head: Head, missing: set[str], unexpected: set[str]) -> tuple[set[str], set[str]]:
    """Leave out the keys of both heads where a reward model is begun from a language model."""
    made_as = (getattr(model.config, "architectures", None) or [""])[0] or ""
    if head != "score" or made_as.endswith("ForSequenceClassification"):
        return missing, unexpected
    body = f".{model.base_model_prefix}."
    return {key for key in missing if body in f".{key}"}, {key for key in unexpected if body in f".{key}"}


def _some(keys: list[str]) -> str:
    named = ", ".join(keys[:_NAMED])
    return f"{named} and {len(keys) - _NAMED:,} more" if len(keys) > _NAMED else named


def _suggestion(missing: list[str], unexpected: list[str]) -> str:
    """Return what to do where the names of the weights are those that are missing, with something before them."""
    for name in unexpected:
        for wrapper, maker in _WRAPPERS.items():
            if f".{wrapper}." in f".{name}":
                return f"; they were saved from {maker}: strip {wrapper!r} from their names, or save them unwrapped"
        before = next((name.removesuffix(key) for key in missing if name.endswith(f".{key}")), None)
        if before:
            return f"; strip {before!r} from their names"
    return ""
