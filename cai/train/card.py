"""The model card beside the weights, with the front matter of the hub, from a finished run's train.json."""

from collections.abc import Mapping
from typing import Any

from cai.core.markdown import code, escaped, front_matter, table
from cai.train.adapters import ADAPTERS
from cai.train.methods import find_method
from cai.train.rewards.report import reward_lines
from cai.train.tasks.interference import tell_tasks

_OF_PART = ("train", "test", "fingerprint", "model", "judge")


def model_card(manifest: Mapping[str, Any], curve: str, tasks: str) -> str:
    """Return the card of a finished run from its train.json; `curve` and `tasks` are the figures' file names."""
    method = manifest["method"]
    return "\n".join(
        [
            _front_matter(manifest),
            f"# {escaped(manifest['name'])}\n",
            f"Trained by `cai train {method}`: {find_method(method).description}, from {code(manifest['base'])}.\n",
            "## Loading\n",
            _loading(manifest),
            "## Outcome\n",
            *table(("measure", "value"), _outcome(manifest)),
            f"![loss]({curve})\n",
            *tell_tasks(manifest, tasks),
            "## Data\n",
            *table(
                ("part", "weight", "train", "test", "fingerprint", "answers by", "judged by"),
                [
                    (part["name"], part["weight"] or "", *(part[name] or "" for name in _OF_PART))
                    for part in manifest["parts"]
                ],
            ),
            *table(("left out because", "examples"), list(manifest["left_out"].items())),
            *_cut(manifest),
            "## Settings\n",
            *table(("setting", "value"), list(manifest["identity"].items())),
            f"{escaped(manifest['hardware_sentence'])}. Versions: "
            + ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
            + ".\n",
        ]
    )


def _scores(manifest: Mapping[str, Any]) -> bool:
    return find_method(manifest["method"]).head == "score"


def _cut(manifest: Mapping[str, Any]) -> list[str]:
    answers, length = manifest["cut_answers"], manifest["max_length"]
    return [f"{answers:,} answers were cut at {length:,} tokens; their ends were not learned.\n"] if answers else []


def _front_matter(manifest: Mapping[str, Any]) -> str:
    method, adapter = manifest["method"], manifest["adapter"]
    value: dict[str, Any] = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-classification" if _scores(manifest) else "text-generation",
        "tags": ["constitutional-ai", "cai", "trl", method, *([adapter] if adapter else [])],
    }
    if manifest["base_model"] is not None:
        value["base_model"] = manifest["base_model"]
    return front_matter(value)


def _loading(manifest: Mapping[str, Any]) -> str:
    if manifest["adapter"]:
        code = "AutoPeftModelForCausalLM.from_pretrained(directory)"
        if _scores(manifest):
            code = "AutoPeftModelForSequenceClassification.from_pretrained(directory, num_labels=1)"
        known = ADAPTERS[manifest["adapter"]].bends  # by cai, and not by peft
        imports = "import cai.models.checkpoint.bottleneck  # peft has no such kind itself\n" if known else ""
        return (
            f"An adapter: its base is loaded with it.\n\n```python\n{imports}import peft\n\nmodel = peft.{code}\n```\n"
        )
    if _scores(manifest):
        code = "AutoModelForSequenceClassification.from_pretrained(directory, num_labels=1)"
        return f"```python\nimport transformers\n\nmodel = transformers.{code}\n```\n"
    return (
        "`transformers:DIRECTORY` in any `cai` command, `vllm serve DIRECTORY`, or\n\n```python\nimport transformers"
        "\n\nmodel = transformers.AutoModelForCausalLM.from_pretrained(directory)\n```\n"
    )


def _outcome(manifest: Mapping[str, Any]) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("optimiser steps", manifest["steps"]), ("epochs", round(manifest["epochs"], 3))]
    if manifest["tokens"]:
        rows.append(("tokens", f"{manifest['tokens']:,}"))
    for name, label in (("loss", "last loss"), ("best_eval_loss", "best loss on the test split")):
        if manifest[name] is not None:
            rows.append((label, f"{manifest[name]:.4f}"))
    if manifest["best_step"] is not None:
        rows.append(("weights are those of step", manifest["best_step"]))
    return [*rows, *reward_lines(manifest["measured"])]
