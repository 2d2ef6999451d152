"""The sides of the comparison: how each is started, and which rows it left.

A side is one command, run in the same way the first time and after a kill. cai's is `cai generate`; a peer's is its
chain (`chain_*.py`) in its own environment.
"""

import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson
import pyarrow.parquet

from benchmarks.peers.environments import environment
from benchmarks.peers.task import STEPS, Task
from benchmarks.pipeline import FOUND_OUT
from benchmarks.processes import CAI, SHORT_ROW


class Side(Protocol):
    """A tool that fills the rows of a task."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def resumes(self) -> bool:
        """Whether its command goes on after a kill, or begins again."""

    @property
    def asks_first(self) -> int:
        """Requests that its command makes once, beside those of the rows."""

    def command(self, task: Task) -> list[str]:
        """Return the command that does the task; raises MeasuringError when the tool cannot be installed."""

    def rows(self, folder: Path) -> Counter[str]:
        """Return how often each row stands, with all its columns filled, in what the command has left in a folder."""


@dataclass(frozen=True, slots=True)
class Cai:
    """`cai generate`: one principle, one round, one sample, judged in one order."""

    name: str = "cai"
    resumes: bool = True
    asks_first: int = FOUND_OUT

    def command(self, task: Task) -> list[str]:
        """Return the command."""
        folder = task.folder
        command = [CAI, "generate", f"--constitution={folder / 'constitution.yaml'}", f"--out={folder / 'run'}"]
        command += [f"--model=openai:{task.model}@{task.url}/v1", f"--prompts={folder / 'prompts.jsonl'}", "--json"]
        command += SHORT_ROW
        command += [f"--max-tokens={task.max_tokens}", f"--temperature={task.temperature}"]
        return [*command, f"--concurrency={task.slots + task.slots // 8}"]

    def rows(self, folder: Path) -> Counter[str]:
        """Return the sealed rows."""
        return Counter(row["prompt"]["id"] for row in _read(folder / "run" / "rows") if _is_whole(row))


@dataclass(frozen=True, slots=True)
class Peer:
    """Another tool: its `chain_*.py` (and environment), its distribution, and what is called in that module."""

    name: str
    chain: str
    distribution: str
    call: str = "main()"
    resumes: bool = True
    asks_first: int = 0

    def command(self, task: Task) -> list[str]:
        """Return the command; the chain is imported, so that processes it forks or spawns find it under its name."""
        program = f"from benchmarks.peers.chain_{self.chain} import main; {self.call}"
        return [str(environment(self.chain)), "-c", program, str(task.folder)]

    def rows(self, folder: Path) -> Counter[str]:
        """Return the rows that the chain wrote at its end."""
        return Counter(row["id"] for row in _read(folder / "rows") if all(row[step] is not None for step in STEPS))


PEERS = (
    Peer("datatrove", "datatrove", "datatrove"),
    Peer("datatrove, no checkpoints", "datatrove", "datatrove", "main(checkpoints=False)", resumes=False),
    Peer("distilabel", "distilabel", "distilabel"),
    Peer("DataDesigner", "data_designer", "data-designer"),
    Peer("curator", "curator", "bespokelabs-curator"),
)
"""datatrove writes no checkpoints unless asked, and is faster without: both are shown."""


def _is_whole(row: dict[str, Any]) -> bool:
    """Whether a row of cai's has its response, critique, revision and verdict."""
    [trace] = row["traces"]
    [revised] = trace["rounds"]
    texts = (trace["response"], revised["critique"], revised["revision"])
    return all(text is not None for text in texts) and len(row["verdicts"]) == 1


def _read(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a folder of Parquet files and gzipped JSON lines."""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".parquet":
            yield from pyarrow.parquet.read_table(path).to_pylist()
        elif path.suffix == ".gz":
            with gzip.open(path, "rb") as lines:
                yield from map(orjson.loads, lines)
