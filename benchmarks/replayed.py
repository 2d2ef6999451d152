"""The limit: a run's chains, replayed stage by stage through vLLM's own offline `LLM.chat`, which knows them all.

`python -m benchmarks.replayed MODEL RUN CONSTITUTION --max-tokens 64 --options JSON` takes the chains of a finished run
of `cai generate` and asks for all its responses in one call, then for all critiques, all revisions and all judgements.
Every text gets as many tokens as in the run, so both sides read and write equally much. The replay goes on with the
texts that it wrote itself: it finds them in its prefix cache, as the run found its own. Prints, as JSON, the seconds
from the first call to the last answer and the tokens. It keeps nothing.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import orjson
from vllm import LLM, SamplingParams

from benchmarks.chains import STAGES, Chains
from cai.constitution import load_constitution
from cai.core.records import Message


@dataclass(slots=True)
class Replayed:
    """What a replay took."""

    seconds: float = 0.0
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Replay:
    """Asks for the stages of all chains, one after the other, and counts."""

    def __init__(self, llm: Any, chains: Chains, max_tokens: int) -> None:
        self._llm = llm
        self._chains = chains
        self._max_tokens = max_tokens
        self._tokenizer = llm.get_tokenizer()
        self.took = Replayed()

    def run(self) -> None:
        """Carry the chains through all stages."""
        chains = self._chains.all
        lengths = [[self._length(text) for text in chain.texts] for chain in chains]
        options = [self._tokenizer.encode(option, add_special_tokens=False)[0] for option in self._chains.options]
        began = time.perf_counter()
        texts: list[list[str]] = [[] for _ in chains]
        for stage in range(len(STAGES)):
            asked = [self._chains.writing(chain, written) for chain, written in zip(chains, texts, strict=True)]
            wanted = [length[stage] for length in lengths]
            written = self._ask(asked, [self._sampling(length) for length in wanted])
            for text, tokens, length in zip(texts, written, wanted, strict=True):
                text.append(self._tokenizer.decode(tokens[:length]))
        self._ask(list(self._questions(texts)), self._judging(options))
        self.took.seconds = time.perf_counter() - began

    def _questions(self, texts: Sequence[list[str]]) -> list[list[Message]]:
        by_row: dict[str, list[list[str]]] = {}
        for chain, written in zip(self._chains.all, texts, strict=True):
            by_row.setdefault(chain.row.prompt.id, []).append(written)
        return [question for row in self._chains.rows for question in self._chains.judging(row, by_row[row.prompt.id])]

    def _length(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def _sampling(self, length: int) -> SamplingParams:
        """Return how to draw a text of so many tokens; the run drew an end token behind it unless it was cut."""
        tokens = min(length + 1, self._max_tokens)
        return SamplingParams(temperature=1.0, min_tokens=tokens, max_tokens=tokens)

    @staticmethod
    def _judging(options: list[int]) -> SamplingParams:
        return SamplingParams(temperature=0.0, max_tokens=1, logprob_token_ids=options)

    def _ask(self, conversations: list[list[Message]], sampling: Any) -> list[Sequence[int]]:
        answers = self._llm.chat(conversations, sampling, use_tqdm=False)
        self.took.requests += len(answers)
        for answer in answers:
            self.took.prompt_tokens += len(answer.prompt_token_ids)
            self.took.cached_tokens += answer.num_cached_tokens or 0
            self.took.completion_tokens += len(answer.outputs[0].token_ids)
        return [answer.outputs[0].token_ids for answer in answers]


@click.command()
@click.argument("model")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.argument("constitution")
@click.option("--max-tokens", type=int, required=True)
@click.option("--options", default="{}", help="Arguments of vLLM's LLM, as JSON.")
def main(model: str, run: Path, constitution: str, max_tokens: int, options: str) -> None:
    """Replay the chains of RUN and print what it took."""
    llm = LLM(model, **orjson.loads(options))
    replay = Replay(llm, Chains(run, load_constitution(constitution)), max_tokens)
    replay.run()
    sys.stdout.write(orjson.dumps(asdict(replay.took)).decode())


if __name__ == "__main__":
    main()
