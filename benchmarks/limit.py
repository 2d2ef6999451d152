"""`python -m benchmarks.limit`: `cai generate` in vLLM beside the limit, vLLM's own offline engine, which knows it all.

Run it in vLLM's environment (`make test-vllm` makes one). Both sides serve a Llama with random weights (`wordllama`),
with the same options of vLLM's engine, as many threads, and the same chains: a response, a critique, a revision, and a
judgement in both orders. `cai generate` takes them as it always does, a row at a time, each request known when the one
before it has been answered. The replay (`replayed`) has them all in advance and asks stage by stage. They take turns,
`cai` first, whose texts say how long the replay's have to be; both must count the same tokens, or nothing is reported.

Seconds are those of serving: `cai`'s from the first row taken to the run closed, journal and shards included; the
replay's from its first call to the last answer, with nothing kept. Whole commands are shown beside them.

What a prefix cache would have to read at least is counted by `prefixes` over `cai`'s own requests, in vLLM's blocks.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from statistics import median
from typing import Any

import click
import orjson
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from benchmarks.chains import STAGES, Chains
from benchmarks.figures import Figure, print_figures
from benchmarks.prefixes import Asked, least_computed
from benchmarks.processes import CAI, Finished, MeasuringError, timed
from benchmarks.prompts import write_prompts
from benchmarks.where import taken
from benchmarks.wordllama import SHAPE, vocabulary, write_word_llama
from cai.constitution import load_constitution
from cai.core.records import Message

RESULTS = Path(__file__).parent / "limit.json"
CONSTITUTION = "harmless"
MODEL = SHAPE | {"num_hidden_layers": 18}  # 66 million parameters
MEAN_WORDS, MAX_TOKENS = 40, 96
BLOCK = 32
OPTIONS: Mapping[str, Any] = {
    "max_num_seqs": 64,
    "block_size": BLOCK,
    "kv_cache_memory_bytes": 4 << 30,  # nothing is evicted, on either side
    "dtype": "bfloat16",
}
QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
_PACKAGES = ("cai", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Side:
    """One command: seconds of serving, the whole command's, and the tokens it went through."""

    serving: float
    whole: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int

    @property
    def rate(self) -> float:
        """Prompt and generated tokens a second while serving."""
        return (self.prompt_tokens + self.completion_tokens) / self.serving

    @property
    def computed(self) -> int:
        """Prompt tokens that were read, not found in the cache."""
        return self.prompt_tokens - self.cached_tokens


@dataclass(frozen=True, slots=True)
class Turn:
    """Both sides once, and the prompt tokens a perfect cache would have left to read: in blocks, and token by token."""

    cai: Side
    replay: Side
    least_blocks: int
    least_tokens: int


def measure(folder: Path, rows: int, repetitions: int) -> Iterator[Turn]:
    """Yield the turns; raises MeasuringError when a side fails, or when the two did not do the same."""
    constitution = load_constitution(CONSTITUTION)
    write_prompts(folder / "prompts.jsonl", rows)
    write_word_llama(folder / "model", vocabulary(constitution), MEAN_WORDS, MODEL)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    for number in range(repetitions):
        run = folder / f"run-{number}"
        cai, replay = generate(folder, run, number), replayed(folder, run)
        done = [(side.prompt_tokens, side.completion_tokens) for side in (cai, replay)]
        if done[0] != done[1]:
            raise MeasuringError(f"the replay did not do what cai did: {done[1]} tokens instead of {done[0]}")
        requests = list(asked(Chains(run, constitution), tokenizer))
        if sum(len(request.prompt) for request in requests) != cai.prompt_tokens:
            raise MeasuringError("the rebuilt requests are not those that cai asked")
        yield Turn(cai, replay, least_computed(requests, BLOCK), least_computed(requests, 1))


def generate(folder: Path, run: Path, seed: int) -> Side:
    """Run `cai generate` once, as a user does."""
    command = [CAI, "generate", f"--constitution={CONSTITUTION}", f"--model=vllm:{folder / 'model'}", "--json"]
    command += [f"--prompts={folder / 'prompts.jsonl'}", f"--out={run}", f"--seed={seed}", f"--max-tokens={MAX_TOKENS}"]
    command += ["--no-gate", "--form=continued", "--schedule=sample", "--rounds=1", "--samples=1"]
    command += ["--no-judge-check"]
    command += [f"--engine-option={name.replace('_', '-')}={str(value).lower()}" for name, value in OPTIONS.items()]
    done = timed(command, QUIET)
    summary = orjson.loads(done.output)
    if summary["failed"] or summary["status"] != "done":
        raise MeasuringError(f"not every row was made: {summary['failures']}")
    return _side(done, summary)


def replayed(folder: Path, run: Path) -> Side:
    """Replay a run once."""
    command = [sys.executable, "-m", "benchmarks.replayed", str(folder / "model"), str(run), CONSTITUTION]
    command += [f"--max-tokens={MAX_TOKENS}", f"--options={orjson.dumps(dict(OPTIONS)).decode()}"]
    done = timed(command, QUIET)
    return _side(done, orjson.loads(done.output.splitlines()[-1]))


def _side(done: Finished, counted: Mapping[str, Any]) -> Side:
    tokens = (counted[f"{kind}_tokens"] for kind in ("prompt", "cached", "completion"))
    return Side(counted["seconds"], done.seconds, *tokens)


def asked(chains: Chains, tokenizer: PreTrainedTokenizerBase) -> Iterator[Asked]:
    """Yield a run's requests as token ids, stage by stage."""

    def encode(text: str) -> list[int]:
        tokens: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return tokens

    def prompt(messages: list[Message]) -> list[int]:
        return encode(str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)))

    for stage in range(len(STAGES)):
        for chain in chains.all:
            written = [*encode(chain.texts[stage]), tokenizer.eos_token_id][:MAX_TOKENS]
            yield Asked(prompt(chains.writing(chain, chain.texts[:stage])), written)
    for row in chains.rows:
        texts = [chain.texts for chain in chains.all if chain.row is row]
        for question in chains.judging(row, texts):
            yield Asked(prompt(question), [])


def figures(turns: list[Turn]) -> list[Figure]:
    """Return what the turns come to; ratios are within a turn."""

    def middle(name: str, of: Any, unit: str, *target: Any) -> Figure:
        return Figure(name, median(map(of, turns)), unit, *target)

    return [
        middle("tokens/s: cai / replay", lambda turn: turn.cai.rate / turn.replay.rate, "x", 1.0, "at least"),
        middle("tokens/s: cai", lambda turn: turn.cai.rate, "tokens/s"),
        middle("tokens/s: replay", lambda turn: turn.replay.rate, "tokens/s"),
        middle("prompt tokens read / least: cai", lambda turn: turn.cai.computed / turn.least_blocks, "x", 1.05),
        middle("the same: replay", lambda turn: turn.replay.computed / turn.least_blocks, "x"),
        middle("the same, least with blocks of one: cai", lambda turn: turn.cai.computed / turn.least_tokens, "x"),
        middle("prompt tokens from the cache: cai", _cached_share, "%"),
        middle("serving: cai", lambda turn: turn.cai.serving, "s"),
        middle("serving: replay", lambda turn: turn.replay.serving, "s"),
        middle("whole command: cai", lambda turn: turn.cai.whole, "s"),
        middle("whole command: replay", lambda turn: turn.replay.whole, "s"),
    ]


def _cached_share(turn: Turn) -> float:
    return 100 * turn.cai.cached_tokens / turn.cai.prompt_tokens


@click.command()
@click.option("--rows", default=200, show_default=True)
@click.option("--repetitions", default=5, show_default=True)
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS, show_default=True)
def main(rows: int, repetitions: int, results: Path) -> None:
    """Measure `cai generate` in vLLM beside vLLM's own offline engine, and keep the figures."""
    vllm = packages_distributions().get("vllm")  # vllm, or its CPU build
    if vllm is None:
        click.echo("Nothing was measured: vLLM is not installed here; `make test-vllm` makes .venv-vllm.", err=True)
        raise click.exceptions.Exit(2)
    with tempfile.TemporaryDirectory() as name:
        try:
            turns = list(measure(Path(name), rows, repetitions))
        except MeasuringError as error:
            raise click.ClickException(str(error)) from error
    measured = figures(turns)
    print_figures("limit", measured)
    report: dict[str, Any] = taken((*_PACKAGES, vllm[0])) | {
        "rows": rows,
        "options": dict(OPTIONS),
        "figures": [figure.as_json() for figure in measured],
        "turns": [asdict(turn) for turn in turns],
    }
    results.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
