"""The chain as a distilabel pipeline: four tasks, one a request, batches of rows passed from each to the next.

    batches     of BATCH rows: of 64 to 1,000, those of 250 and 500 were fastest at 8 ms a token
    caching     on, as it is by default: the same command resumes
    raw input   not stored a second time beside each row, which is less work than the default
    verdict     one token with its log-probabilities

A step asks a whole batch at once and waits for its last answer before it takes the next.
"""

from pathlib import Path
from typing import Any

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import Task as Asking
from pydantic import PrivateAttr

from benchmarks.peers.task import STEPS, Task, given_task

BATCH = 250


class Ask(Asking):  # type: ignore[misc]  # installed in an environment of its own
    """Fill the column that the step is named after, with one request a row."""

    folder: str
    _task: Task = PrivateAttr()

    def load(self) -> None:
        """Read the task: each step runs in a process of its own."""
        super().load()
        self._task = Task.read(Path(self.folder))

    @property
    def inputs(self) -> list[str]:
        """The columns before this one."""
        return ["prompt", *STEPS[: STEPS.index(self.name)]]

    @property
    def outputs(self) -> list[str]:
        """The column that is filled."""
        return [self.name]

    def format_input(self, input: dict[str, Any]) -> list[dict[str, str]]:  # noqa: A002
        """Return the conversation so far."""
        return self._task.messages(self.name, input)

    def format_output(self, output: str | None, input: dict[str, Any] | None = None) -> dict[str, Any]:  # noqa: A002, ARG002
        """Return the column."""
        return {self.name: output}


def ask(task: Task, step: str) -> Ask:
    """Return the step that fills one column; it joins the pipeline being defined."""
    settings: dict[str, Any] = {"max_new_tokens": task.tokens(step), "temperature": task.temperature}
    if step == "verdict":
        settings |= {"logprobs": True, "top_logprobs": 20}
    llm = OpenAILLM(model=task.model, base_url=f"{task.url}/v1", api_key="none", generation_kwargs=settings)
    return Ask(name=step, folder=str(task.folder), llm=llm, input_batch_size=BATCH, add_raw_input=False)


def main() -> None:
    """Run the pipeline over the task's prompts, or go on with it."""
    task = given_task()
    with Pipeline("chain", cache_dir=task.folder / "cache") as pipeline:
        response, critique, revision, verdict = (ask(task, step) for step in STEPS)
        LoadDataFromDicts(data=task.prompts(), batch_size=BATCH) >> response >> critique >> revision >> verdict
    made = pipeline.run(use_cache=True)
    made["default"]["train"].to_parquet(task.folder / "rows" / "rows.parquet")


if __name__ == "__main__":
    main()
