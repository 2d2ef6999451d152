"""Writing a task: prompts, and the words that cai itself asks with, so that every side asks the same."""

from pathlib import Path

import orjson
import yaml

from benchmarks.peers.servers import Server
from cai.constitution import load_constitution
from cai.method.templates import Templates

MAX_TOKENS = 64


def write_task(folder: Path, server: Server, prompts: list[dict[str, str]]) -> None:
    """Write `prompts.jsonl`, `task.json` and `constitution.yaml` (the same words, for cai) into a new folder."""
    (folder / "rows").mkdir(parents=True)
    (folder / "prompts.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in prompts))
    templates, principle = Templates.load("en"), load_constitution("harmless").principles[0]
    task = {
        "url": server.url,
        "model": server.model,
        "slots": server.slots,
        "max_tokens": MAX_TOKENS,
        "temperature": server.temperature,
        "critique_request": templates.critique(principle),
        "revision_request": templates.revision(principle),
        "judge_question": templates.judge(principle, [{"role": "user", "content": "%0%"}], "%1%", "%2%"),
    }
    (folder / "task.json").write_bytes(orjson.dumps(task))
    constitution = {
        "name": "one-principle",
        "version": "1.0.0",
        "summary": "The one principle that every row is held to, so that all sides ask in the same words.",
        "language": "en",
        "principles": [principle.model_dump(mode="json", exclude_none=True)],
    }
    (folder / "constitution.yaml").write_text(yaml.safe_dump(constitution, sort_keys=False))
