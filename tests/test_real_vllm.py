"""A real model says the same in vLLM's engine, behind its server and in transformers, up to ties; `make test-real`."""

import asyncio
import sys

import pytest

from cai.models import EngineOptions, open_engine
from cai.models.spec import ModelSpec
from tests.real_model import MODEL, READY, WHY_NOT, common_start, greedy_requests
from tests.test_servers import free_port, serving

pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not READY, reason=WHY_NOT),
]

SERVER = [
    sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(MODEL), "--served-model-name", "smollm2",
    "--host", "127.0.0.1", "--dtype", "float32", "--max-num-seqs", "8", "--max-model-len", "1024", "--enforce-eager",
    "--kv-cache-memory-bytes", str(256 << 20), "--block-size", "32", "--no-enable-chunked-prefill",
]  # fmt: skip
ENGINE = ("enforce-eager=true", "kv-cache-memory-bytes=268435456", "max-model-len=1024")


def ask(name: str, *engine_options: str) -> list[str]:
    async def main() -> list[str]:
        options = EngineOptions(dtype="float32", engine_options=engine_options)
        engine = await open_engine(ModelSpec.parse(name), options)
        try:
            return [one.text for one in await asyncio.gather(*map(engine.complete, greedy_requests(6, 24)))]
        finally:
            await engine.close()

    return asyncio.run(main())


def served() -> list[str]:
    port = free_port()
    with serving(port, SERVER):
        return ask(f"openai:smollm2@http://127.0.0.1:{port}/v1")


def test_three_backends_say_the_same_greedy_texts_up_to_ties() -> None:
    texts = ask(f"transformers:{MODEL}")
    for others in (ask(f"vllm:{MODEL}", *ENGINE), served()):
        same = sum(one.strip() == other.strip() for one, other in zip(texts, others, strict=True))
        assert same >= 5, list(zip(texts, others, strict=True))
        assert all(common_start(one, other) >= 3 for one, other in zip(texts, others, strict=True))
