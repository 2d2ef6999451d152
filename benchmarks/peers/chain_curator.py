"""The chain as four curator models, one a column: each asks for the whole set before the next begins.

    requests in flight  an eighth more than the server has slots
    requests a minute   as many as it likes (the default for an unknown server is 200)
    caching             on, as it is by default: the same command resumes
    finish reasons      a verdict ends at its one token, so "length" is no failure

Its OpenAI client fetches a tokenizer from the network, to estimate what a request costs. litellm, which it installs,
brings the same file along, so nothing has to be fetched.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bespokelabs import curator
from datasets import Dataset

from benchmarks.peers.task import STEPS, Task, given_task


class Asker(curator.LLM):  # type: ignore[misc]  # installed in an environment of its own
    """Fills one column."""

    def __init__(self, task: Task, step: str) -> None:
        self.task, self.step = task, step
        settings: dict[str, Any] = {"max_tokens": task.tokens(step), "temperature": task.temperature}
        if step == "verdict":
            settings |= {"logprobs": True, "top_logprobs": 20}
        super().__init__(
            model_name=task.model,
            backend="openai",
            generation_params=settings,
            backend_params={
                "base_url": f"{task.url}/v1",
                "api_key": "none",
                "max_requests_per_minute": 10**9,
                "max_tokens_per_minute": 10**12,
                "max_concurrent_requests": task.slots + task.slots // 8,
                "invalid_finish_reasons": ["content_filter"],
            },
        )

    def prompt(self, input: dict[str, Any]) -> list[dict[str, str]]:  # noqa: A002
        """Return the conversation so far."""
        return self.task.messages(self.step, input)

    def parse(self, input: dict[str, Any], response: str) -> dict[str, Any]:  # noqa: A002
        """Return the row with the column."""
        return {**input, self.step: response}


def main() -> None:
    """Run the four models over the task's prompts, one after the other, or go on."""
    litellm = find_spec("litellm")
    assert litellm is not None
    assert litellm.origin is not None
    os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers")
    task = given_task()
    rows = Dataset.from_list(task.prompts())
    for step in STEPS:
        rows = Asker(task, step)(rows, working_dir=str(task.folder / "cache")).dataset
    rows.to_parquet(task.folder / "rows" / "rows.parquet")


if __name__ == "__main__":
    main()
