"""The chain as datatrove's inference runner does it: one coroutine a document, every answer cached in SQLite.

    endpoint server     the documented way to a server that runs already; to this machine it uses its own, light client
    checkpoints         on: without them nothing survives a kill, and the same command starts again (measured both ways)
    in flight           an eighth more documents and requests than the server has slots, so that no slot waits for one

The runner hands the text of an answer on and no log-probabilities: these are asked for, and the letter is kept.
"""

from typing import Any

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.inference.types import GenerateFunction
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from benchmarks.peers.task import STEPS, Task, given_task


async def chain(document: Document, generate: GenerateFunction, task: Task) -> dict[str, Any]:
    """Fill a row's columns, one request after another."""
    row: dict[str, Any] = {"prompt": document.text}
    for step in STEPS:
        payload: dict[str, Any] = {"messages": task.messages(step, row), "max_tokens": task.tokens(step)}
        payload["temperature"] = task.temperature
        if step == "verdict":
            payload |= {"logprobs": True, "top_logprobs": 20}
        row[step] = (await generate(payload)).text
    return row


def as_row(_: JsonlWriter, document: Document) -> dict[str, Any]:
    """Return what is written of a document."""
    return {"id": document.id, **document.metadata["rollout_results"][0]}


def main(*, checkpoints: bool = True) -> None:
    """Run the chain over the task's prompts; with checkpoints, go on with it."""
    task = given_task()
    in_flight = task.slots + task.slots // 8
    runner = InferenceRunner(
        rollout_fn=chain,
        config=InferenceConfig(
            server_type="endpoint",
            endpoint_url=task.url,
            model_name_or_path=task.model,
            max_concurrent_generations=in_flight,
            max_concurrent_documents=in_flight,
        ),
        output_writer=JsonlWriter(str(task.folder / "rows"), "${rank}_${chunk_index}.jsonl.gz", adapter=as_row),
        shared_context={"task": task},
        checkpoints_local_dir=str(task.folder / "checkpoints") if checkpoints else None,
    )
    reader = JsonlReader(str(task.folder), glob_pattern="prompts.jsonl", text_key="prompt")
    LocalPipelineExecutor([reader, runner], logging_dir=str(task.folder / "logs")).run()


if __name__ == "__main__":
    main()
