"""lm-eval in a process of its own: the only place where it is imported. Run by `cai.evaluate.harness.running`.

It sets seeds, prints, keeps a GPU's memory and forks as it likes, none of which is for the process that holds an
evaluation. One line of JSON on standard input says what to do, one line on standard output what came of it; whatever
libraries print goes to standard error. Addresses with their passwords come in on standard input and go into no file.

- `look`: what lm-eval's tasks of these names are, from their YAML files alone; no data is read.
- `run`: one task on one model. lm-eval's own logs, a line a sample among them, go into a folder.
"""

import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

TASKS = Path(__file__).parent / "tasks"
"""Tasks of our own, beside lm-eval's."""
ORPHANED = 3
"""What the process ends with when the one that started it is gone."""
_RESAMPLES = 200
"""For the standard errors of metrics that are no means; of means there is a formula."""
_ON_CPU = 16
"""Texts that are read at once on a CPU, where lm-eval cannot find out how many fit."""


def look(names: Iterable[str]) -> dict[str, Any]:
    """Return of each name that is one the kinds of its requests, and whether it runs what a model wrote."""
    found = {}
    for typed in names:
        name, manager = _named(typed)
        configurations = list(_leaves(manager.task_index, name))
        if configurations:
            found[typed] = {
                "kinds": sorted({str(one.get("output_type") or "generate_until") for one in configurations}),
                "unsafe": any(bool(one.get("unsafe_code")) for one in configurations),
            }
    return found


def _named(typed: str) -> tuple[str, Any]:
    """Return the name under which lm-eval has a task, and its index: of a YAML file with all that lies beside it.

    Its own loader of files by their paths takes no groups.
    """
    from lm_eval.tasks import TaskManager  # noqa: PLC0415  (an extra)
    from lm_eval.tasks._yaml_loader import load_yaml  # noqa: PLC0415

    file = Path(typed)
    if not typed.endswith(".yaml"):
        return typed, _index(TaskManager, str(TASKS))
    if not file.is_file():
        return "", _index(TaskManager, str(TASKS))
    configuration = load_yaml(file, resolve_func=False)
    return str(configuration.get("group") or configuration.get("task")), _index(
        TaskManager, str(TASKS), str(file.parent)
    )


@cache
def _index(make: Any, *folders: str) -> Any:
    """Return lm-eval's index, with the tasks in these folders: seconds, for it reads all of its own files."""
    return make(include_path=list(folders))


def _leaves(index: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the configurations of the tasks that a name stands for: a task, a group or a tag."""
    entry = index.get(name)
    if entry is not None and entry.kind.name == "TAG":
        for task in sorted(entry.tags):
            yield from _leaves(index, task)
    elif entry is not None:
        yield from _inside(index, entry.cfg or {})


def _inside(index: Mapping[str, Any], configuration: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the tasks of a group's configuration, or a task's own."""
    if "group" not in configuration:
        yield configuration
        return
    tasks = configuration.get("task") or []
    for task in [tasks] if isinstance(tasks, str) else tasks:
        if isinstance(task, str):
            yield from _leaves(index, task)
        elif "group" in task:
            yield from _inside(index, task)
        else:
            yield from ({**found, **task} for found in _leaves(index, str(task.get("task"))))


def run(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Run a task on a model, write lm-eval's logs, and return whether the model's chat template was used.

    lm-eval's seeds stay as they are by default, so that figures are those that others publish.
    """
    from lm_eval import simple_evaluate  # noqa: PLC0415
    from lm_eval.loggers import EvaluationTracker  # noqa: PLC0415

    model = asked["model"]
    name, manager = _named(asked["task"])
    lm, chat = _OPEN[model["kind"]](model)
    tracker = EvaluationTracker(output_path=asked["out"])
    found: Any = simple_evaluate(
        model=lm,
        model_args={"pretrained": model["told"]},  # a model that is open ignores it: it names the logs
        tasks=[name],
        limit=asked["limit"],
        bootstrap_iters=_RESAMPLES,
        evaluation_tracker=tracker,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        task_manager=manager,
    )
    samples = found.pop("samples")
    tracker.save_results_aggregated(results=found, samples=samples)
    for task in found["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])
    return {"chat_template": chat}


def _open_weights(model: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return a model whose weights are here, opened as cai opens it, and whether it has a chat template."""
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415

    from cai.models.reading import open_plain  # noqa: PLC0415  (torch)

    weights, tokenizer, _ = open_plain(model["weights"], model["device"], model["dtype"])
    size = "auto" if weights.device.type == "cuda" else _ON_CPU
    lm = HFLM(pretrained=weights, tokenizer=tokenizer, batch_size=size, chat_template_args=model["variables"])
    return lm, bool(tokenizer.chat_template)


def _open_vllm(model: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return a model in vLLM, with the options of its engine, and whether it has a chat template."""
    from lm_eval.models.vllm_causallms import VLLM  # noqa: PLC0415

    from cai.models.checkpoint.resolve import Checkpoint, lora_rank  # noqa: PLC0415

    checkpoint = Checkpoint.resolve(model["weights"])
    options: dict[str, Any] = {"dtype": model["dtype"], "chat_template_args": model["variables"], **model["options"]}
    if checkpoint.adapter is not None:
        options |= {"lora_local_path": str(checkpoint.adapter), "max_lora_rank": lora_rank(checkpoint.adapter)}
    lm = VLLM(pretrained=checkpoint.base, tokenizer=checkpoint.tokenizer, batch_size="auto", **options)
    return lm, bool(getattr(lm.tokenizer, "chat_template", None))


def _open_server(model: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return a server's model, which is always asked in its chat template."""
    from lm_eval.models.openai_completions import LocalChatCompletion  # noqa: PLC0415
    from yarl import URL  # noqa: PLC0415

    from cai.models.openai.http import headers_for  # noqa: PLC0415

    address = URL(model["address"].rstrip("/"))
    lm = LocalChatCompletion(
        model=model["name"],
        base_url=f"{address.with_user(None)}/chat/completions",
        header=headers_for(address),
        num_concurrent=model["concurrency"],
        timeout=int(model["timeout"]),
    )
    return lm, True


_OPEN = {"weights": _open_weights, "vllm": _open_vllm, "server": _open_server}


def _end_with_parent() -> None:
    """Wait until nobody holds the other end of standard input any more, and end: nothing is left running then."""
    while os.read(0, 4096):  # not through sys.stdin: who forks this process would wait for its lock for ever
        pass
    os._exit(ORPHANED)


def main() -> None:
    """Do what the line on standard input says."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked = json.loads(sys.stdin.buffer.readline())
    try:
        if asked["do"] == "look":
            found = look(asked["tasks"])
        else:
            threading.Thread(target=_end_with_parent, daemon=True).start()
            found = run(asked)
    except Exception as error:  # whatever lm-eval, its metrics and the hub raise
        text = str(error).strip() or type(error).__name__
        found = {"error": text.splitlines()[0], "kind": type(error).__name__}
    out.write(json.dumps(found) + "\n")
    out.flush()
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(0)  # what a library left running is not waited for


if __name__ == "__main__":
    main()
