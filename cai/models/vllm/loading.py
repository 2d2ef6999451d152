"""Opening a model in vLLM: which arguments its engine gets, and what it is called. Raises ModelError only.

vLLM works in processes of its own. They are started from a thread in which SIGINT is blocked and inherit that, so that
Ctrl-C reaches only the process at the keyboard, which lets the rows in flight finish; `worker.py` sees to it that
they do not outlive it.
"""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any, get_args

import transformers
from vllm import AsyncEngineArgs
from vllm.config.lora import MaxLoRARanks
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM

from cai.core.errors import ModelError
from cai.models.checkpoint.files import declared_ends
from cai.models.checkpoint.pretrained import load_pretrained, require_rows
from cai.models.checkpoint.resolve import Checkpoint, lora_rank
from cai.models.template_check import check_template
from cai.models.template_options import told_variables
from cai.models.vllm.options import SAME_ANSWERS, engine_arguments, read_options
from cai.models.vllm.worker import OWNER, OwnedWorker

_HOST = {
    "kv_cache_memory_bytes": 4 << 30,  # otherwise vLLM takes nearly all of the memory
    "block_size": 32,  # the smallest that its kernels like; at its own 128 most prompts would share no whole block
}


@dataclass(frozen=True, slots=True)
class StartedVllm:
    """An engine that runs; `seeds` is false where vLLM cannot draw by a request's seed (it dies of one on a CPU)."""

    name: str
    engine: Any
    tokenizer: Any
    adapter: Any
    context_length: int
    sequences: int
    seeds: bool
    variables: Mapping[str, Any]


def open_model(
    name: str, device: str, dtype: str, options: tuple[str, ...], variables: Mapping[str, Any]
) -> StartedVllm:
    """Start vLLM's engine on a directory, a hub id or `BASE+ADAPTER`; call it from a thread of its own."""
    values = read_options(options)
    if dtype != "auto" and "dtype" in values:
        raise ModelError("--dtype and --engine-option dtype say the same thing: give one of them")
    place = current_platform.device_type
    if device not in ("auto", place):
        raise ModelError(f"--device {device}: this vLLM runs on {place}; CUDA_VISIBLE_DEVICES chooses among GPUs")
    checkpoint = Checkpoint.resolve(name)
    checkpoint.require_usual_form("vLLM is given checkpoints in the usual form")
    checkpoint.check_files()  # vLLM's own processes say less of what is wrong, and say it late
    adapter = checkpoint.adapter
    arguments = (_HOST if place == "cpu" and "gpu-memory-utilization" not in values else {}) | engine_arguments(values)
    arguments |= _adapter_arguments(checkpoint)
    if dtype != "auto":
        arguments["dtype"] = dtype
    resource_tracker.ensure_running()  # it would let SIGINT through again if it began after the next line
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ[OWNER] = str(os.getpid())
    try:
        config = AsyncEngineArgs(
            model=checkpoint.base,
            trust_remote_code=False,
            worker_extension_cls=f"{OwnedWorker.__module__}.{OwnedWorker.__name__}",
            **({"use_tqdm_on_load": False} | arguments),
        ).create_engine_config(UsageContext.LLM_CLASS)
        tokenizer = _tokenizer(name, config.model_config, variables)
        engine = AsyncLLM.from_vllm_config(config, usage_context=UsageContext.LLM_CLASS, disable_log_stats=True)
    except ModelError:
        raise
    except Exception as error:  # whatever vLLM, torch or the hub raise, no engine runs
        raise ModelError(f"vLLM cannot open {name}: {_reason(error)}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return StartedVllm(
        name=" ".join([_label(checkpoint, config.model_config, values, place), *told_variables(dict(variables))]),
        engine=engine,
        tokenizer=tokenizer,
        adapter=None if adapter is None else LoRARequest(adapter.name, 1, str(adapter)),
        context_length=config.model_config.max_model_len,
        sequences=config.scheduler_config.max_num_seqs,
        seeds=place != "cpu",
        variables=variables,
    )


def _adapter_arguments(checkpoint: Checkpoint) -> dict[str, Any]:
    adapter = checkpoint.adapter
    if adapter is None:
        return {}
    rank = lora_rank(adapter)
    enough = [limit for limit in get_args(MaxLoRARanks) if limit >= rank]
    if not enough:
        raise ModelError(f"{adapter} has the rank {rank}, more than vLLM serves: merge it with `cai train --merge`")
    arguments = {"enable_lora": True, "max_loras": 1, "max_lora_rank": min(enough), "tokenizer": checkpoint.tokenizer}
    # What it learned to end its turns with.
    return arguments | ({"generation_config": str(adapter)} if declared_ends(adapter) else {})


def _tokenizer(name: str, config: Any, variables: Mapping[str, Any]) -> Any:
    tokenizer = load_pretrained(
        transformers.AutoTokenizer.from_pretrained, config.tokenizer, revision=config.tokenizer_revision
    )
    check_template(tokenizer, name, variables)
    require_rows(tokenizer, config.get_vocab_size(), name)
    return tokenizer


def _label(checkpoint: Checkpoint, config: Any, values: dict[str, str], place: str) -> str:
    commit = getattr(config.hf_config, "_commit_hash", None)
    label = checkpoint.provenance("vllm", str(config.dtype).removeprefix("torch."), commit)
    changed = [f"{key}={value}" for key, value in sorted(values.items()) if key.partition(".")[0] not in SAME_ANSWERS]
    unseeded = ["unseeded"] if place == "cpu" else []
    return " ".join([label, *changed, *unseeded])


def _reason(error: Exception) -> str:
    """Return the line of an error that says what is wrong: pydantic's first one only counts its findings."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0]:
        lines = lines[1:]
    return lines[0] if lines else type(error).__name__
