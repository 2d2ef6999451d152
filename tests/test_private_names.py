"""Names that other packages do not promise to keep, and that models use: what moved is said in words."""

import inspect
from collections.abc import Callable

import aiohttp
import pytest
import torch
import transformers
from aiohttp.client_proto import ResponseHandler
from transformers import cache_utils, configuration_utils

from cai.models.local.kv_cache import KVCache, _Layer

PRIVATE: dict[str, tuple[Callable[[], bool], str]] = {
    "torch.ops.mkldnn._reorder_linear_weight": (
        lambda: hasattr(torch.ops.mkldnn, "_reorder_linear_weight"),
        "local/kernels.py packs no linear layers any more: on a CPU models answer about half as fast",
    ),
    "torch.ops.mkldnn._linear_pointwise": (
        lambda: hasattr(torch.ops.mkldnn, "_linear_pointwise"),
        "local/kernels.py packs no linear layers any more: on a CPU models answer about half as fast",
    ),
    "PreTrainedConfig._attn_implementation": (
        lambda: hasattr(transformers.LlamaConfig(), "_attn_implementation"),
        "local/kernels.py leaves attention alone: keys and values are copied for every head again",
    ),
    "PreTrainedConfig._commit_hash": (
        lambda: "_commit_hash" in inspect.getsource(configuration_utils),
        "local/loading.py and vllm/loading.py name a model from a hub without its commit",
    ),
    "Cache(layer_class_to_replicate)": (
        lambda: "layer_class_to_replicate" in inspect.signature(cache_utils.Cache).parameters,
        "local/kv_cache.py cannot hand its layers to a model; there is no other way",
    ),
    "CacheLayerMixin": (
        lambda: set(cache_utils.CacheLayerMixin.__abstractmethods__) <= set(vars(_Layer)),
        "local/kv_cache.py has no answer to what a model now asks of a layer; there is no other way",
    ),
    "Cache.layers": (
        lambda: KVCache()._cache().layers == [],
        "local/kv_cache.py cannot keep its layers between two forward passes; there is no other way",
    ),
    "aiohttp.TCPConnector._get": (
        lambda: list(inspect.signature(aiohttp.TCPConnector._get).parameters) == ["self", "key", "traces"],
        "openai/http.py does not see what came in unasked on a connection that is used again",
    ),
    "aiohttp.ResponseHandler.should_close": (
        lambda: isinstance(inspect.getattr_static(ResponseHandler, "should_close"), property),
        "openai/http.py cannot tell a connection on which something came in unasked",
    ),
}


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_name_is_where_it_was(name: str) -> None:
    there, otherwise = PRIVATE[name]
    assert there(), f"{name} moved: {otherwise}"
