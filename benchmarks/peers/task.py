"""What every side is asked to do: a folder with `prompts.jsonl` and `task.json`, and the four conversations of a row.

A row has the columns id, prompt, response, critique, revision and verdict; a chain fills the last four, each with one
request. Read in the peers' own environments too, so it needs nothing but Python. The harness writes the folder
(`write.py`); a chain leaves its rows in `rows/` there (Parquet, or JSON lines), and beside it what it resumes from.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

Message = dict[str, str]

STEPS = ("response", "critique", "revision", "verdict")
"""The columns that a chain fills, in this order."""


@dataclass(frozen=True)
class Task:
    """The server to ask, how many requests it serves side by side, and the words to ask with."""

    folder: Path
    url: str
    """Up to and without `/v1`."""
    model: str
    slots: int
    max_tokens: int
    """Of a response, a critique or a revision; a verdict is one token."""
    temperature: float
    critique_request: str
    revision_request: str
    judge_question: str
    """With %0% for the prompt, %1% and %2% for the two answers."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the task that `write.write_task` has left in `folder`."""
        return cls(folder=folder, **json.loads((folder / "task.json").read_text()))

    def prompts(self) -> list[Message]:
        """Return the rows as they begin: id and prompt."""
        with (self.folder / "prompts.jsonl").open() as lines:
            return [json.loads(line) for line in lines]

    def messages(self, step: str, row: dict[str, Any]) -> list[Message]:
        """Return the conversation whose next turn fills the column `step`, from the columns before it."""
        if step == "verdict":
            question = self.judge_question.replace("%0%", row["prompt"])
            return turns(question.replace("%1%", row["response"]).replace("%2%", row["revision"]))
        if step == "response":
            return turns(row["prompt"])
        asked = (row["prompt"], row["response"], self.critique_request)
        return turns(*asked) if step == "critique" else turns(*asked, row["critique"], self.revision_request)

    def tokens(self, step: str) -> int:
        """Return how many tokens the column `step` may have."""
        return 1 if step == "verdict" else self.max_tokens


def turns(*texts: str) -> list[Message]:
    """Return a conversation whose turns alternate, user first."""
    return [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(texts)]


def given_task() -> Task:
    """Return the task whose folder is this program's one argument."""
    return Task.read(Path(sys.argv[1]))
