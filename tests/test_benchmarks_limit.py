"""What the comparison with vLLM's offline engine rests on: the perfect cache, and requests rebuilt from rows."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import limit
from benchmarks.chains import STAGES, Chains
from benchmarks.prefixes import Asked, least_computed
from cai.cli.generate import generate
from cai.constitution import load_constitution
from cai.core.records import Message
from cai.models import scripted
from cai.models.base import Request
from cai.rundir import Run

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=24)
REQUESTS = st.lists(st.builds(Asked, TOKENS, st.lists(st.integers(0, 2), max_size=8)), max_size=12)


def naive(requests: Sequence[Asked], block: int) -> int:
    """Compare every prompt with every text before it."""
    computed, texts = 0, list[list[int]]()
    for request in requests:
        prompt = list(request.prompt)
        most = (len(prompt) - 1) // block * block
        shared = max(
            (size for size in range(0, most + 1, block) for text in texts if text[:size] == prompt[:size] != []),
            default=0,
        )
        computed += len(prompt) - shared
        texts.append([*prompt, *request.written[:-1]])
    return computed


@given(REQUESTS, st.sampled_from([1, 2, 4]))
def test_a_perfect_cache_reads_what_no_earlier_text_begins_with(requests: list[Asked], block: int) -> None:
    assert least_computed(requests, block) == naive(requests, block)


@given(REQUESTS)
def test_smaller_blocks_leave_less_to_read_and_a_prompts_end_is_always_read(requests: list[Asked]) -> None:
    token_by_token = least_computed(requests, 1)
    assert len(requests) <= token_by_token <= least_computed(requests, 4)


def test_what_was_written_is_not_read_again_but_for_its_last_token() -> None:
    first = Asked([1, 2, 3], [4, 5])
    assert least_computed([first, Asked([1, 2, 3, 4, 5, 6], [])], 1) == 3 + 2


@pytest.mark.parametrize("samples", [1, 2])
def test_rebuilt_requests_are_those_that_were_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: int
) -> None:
    asked: list[list[Message]] = []
    answer, weigh = scripted._hashed_answer, scripted._hashed_weights

    def answered(request: Request) -> str:
        asked.append(list(request.messages))
        return answer(request)

    def weighed(messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        asked.append(list(messages))
        return weigh(messages, options)

    monkeypatch.setattr(scripted, "_hashed_answer", answered)
    monkeypatch.setattr(scripted, "_hashed_weights", weighed)
    command = ["--constitution=harmless", "--model=scripted", "--limit=6", f"--out={tmp_path / 'run'}"]
    command += ["--no-gate", "--form=continued", "--schedule=sample", "--rounds=1", f"--samples={samples}", "--json"]
    assert CliRunner().invoke(generate, command, catch_exceptions=False).exit_code == 0

    chains = Chains(tmp_path / "run", load_constitution("harmless"))
    rebuilt = [chains.writing(chain, chain.texts[:stage]) for stage in range(len(STAGES)) for chain in chains.all]
    for row in chains.rows:
        texts = [chain.texts for chain in chains.all if chain.row is row]
        rebuilt += chains.judging(row, texts)
    assert len(rebuilt) == sum(row.usage.requests for row in Run.read(tmp_path / "run").rows())
    assert sorted(map(repr, rebuilt)) == sorted(map(repr, asked))


def test_without_vllm_nothing_is_measured_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "packages_distributions", dict)
    said = CliRunner().invoke(limit.main, ["--results", str(tmp_path / "limit.json")])
    assert said.exit_code == 2
    assert said.output == ("Nothing was measured: vLLM is not installed here; `make test-vllm` makes .venv-vllm.\n")
    assert not (tmp_path / "limit.json").exists()
