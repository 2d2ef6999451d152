"""The chain as a DataDesigner dataset: a seed column of prompts and four text columns, each made from those before it.

    parallel requests   an eighth more than the server has slots (the default is 4)
    row groups          of ROW_GROUP rows, all of them at work at once: of 100, 250 and 1,000 the fastest
    resume              IF_POSSIBLE, so that the same command goes on
    templates           rendered by Jinja's own sandbox ("native"), which is lighter than the default
    health check        off, and so are telemetry and the metrics endpoint

A text column takes one prompt and no conversation, so the turns so far stand in one message, under the roles' names.
A verdict is one token; its log-probabilities are asked for in the body, and are not kept.
"""

import os

os.environ["NEMO_TELEMETRY_ENABLED"] = "false"

import data_designer.config as dd
from data_designer.interface import DataDesigner

from benchmarks.peers.task import STEPS, Task, given_task

ROW_GROUP = 250
COLUMNS = {"prompt": "{{ prompt }}"} | {step: "{{ " + step + " }}" for step in STEPS}


def template(task: Task, step: str) -> str:
    """Return the prompt that fills one column, as a template over the columns before it."""
    first, *others = task.messages(step, COLUMNS)
    return "\n\n".join([first["content"], *(f"{turn['role']}\n\n{turn['content']}" for turn in others)])


def model(task: Task, step: str) -> dd.ModelConfig:
    """Return the model as one column asks it."""
    settings = dd.ChatCompletionInferenceParams(
        max_tokens=task.tokens(step),
        temperature=task.temperature,
        max_parallel_requests=task.slots + task.slots // 8,
        extra_body={"logprobs": True, "top_logprobs": 20} if step == "verdict" else None,
    )
    return dd.ModelConfig(
        alias=step, model=task.model, provider="server", inference_parameters=settings, skip_health_check=True
    )


def main() -> None:
    """Make the dataset from the task's prompts, or go on with it."""
    task = given_task()
    builder = dd.DataDesignerConfigBuilder(model_configs=[model(task, step) for step in STEPS])
    builder.with_seed_dataset(dd.LocalFileSeedSource(path=str(task.folder / "prompts.jsonl")))
    for step in STEPS:
        builder.add_column(dd.LLMTextColumnConfig(name=step, prompt=template(task, step), model_alias=step))
    provider = dd.ModelProvider(name="server", endpoint=f"{task.url}/v1", api_key="none")
    designer = DataDesigner(task.folder / "artifacts", model_providers=[provider])
    rows = len(task.prompts())
    settings = dd.RunConfig(
        buffer_size=ROW_GROUP,
        max_concurrent_row_groups=max(1, rows // ROW_GROUP),
        otel_metrics_port=None,
        jinja_rendering_engine="native",
    )
    designer.set_run_config(settings)
    made = designer.create(builder, num_records=rows, dataset_name="chain", resume=dd.ResumeMode.IF_POSSIBLE)
    (task.folder / "rows").mkdir(exist_ok=True)
    made.load_dataset().to_parquet(task.folder / "rows" / "rows.parquet")


if __name__ == "__main__":
    main()
