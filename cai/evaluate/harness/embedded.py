"""The task `cai_tiny` of lm-eval: the embedded world's prompts, and what its oracle says of an answer."""

import json
from typing import Any

from cai.core.resources import shipped
from cai.tiny import oracle


def documents(**_options: Any) -> Any:
    """Return the shipped evaluation prompts that the oracle understands, in the split `test`."""
    from datasets import Dataset, DatasetDict  # noqa: PLC0415  (seconds to import)

    lines = shipped("prompts", "evaluation", "tiny.jsonl").read_text().splitlines()
    rows = [{"prompt": row["prompt"], "id": row["id"]} for row in map(json.loads, lines)]
    return DatasetDict({"test": Dataset.from_list([row for row in rows if oracle.understand(row["prompt"])])})


def score(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Return whether the answer is a good one, and whether it breaks something, by the oracle (0 or 1)."""
    question = oracle.understand(document["prompt"])
    assert question is not None  # noqa: S101  (`documents` left out the others)
    meaning = oracle.read(question, results[0])
    return {"good": float(meaning.good), "breaks": float(bool(meaning.broken))}
