"""vLLM's real engine on the embedded model; `make test-vllm` runs this where its CPU build is installed."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import transformers

from cai.core.errors import ContextError, ModelError, RunError
from cai.core.records import Message
from cai.models import EngineOptions, open_engine
from cai.models.base import NOT_THINKING, Choice, Completion, Engine, Request, Sampling, Thinking
from cai.models.spec import ModelSpec
from cai.rundir import Run
from tests.telling_model import OPENING

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("default"),  # vLLM and torch deprecate each other's names while they are imported
]

CHECKPOINT = Path(__file__).parent.parent / "cai" / "tiny" / "checkpoint"
ENGINE = ("enforce-eager=true", "kv-cache-memory-bytes=268435456")  # compiling would take most of the time
ROWS = 24
COMMAND = [
    sys.executable, "-m", "cai", "generate", "--constitution", "medical", "--limit", str(ROWS), "--json",
    "--no-judge-check",
    "--model", f"vllm:{CHECKPOINT}", "--dtype", "float32", "--concurrency", "8", "--max-tokens", "32",
    *(word for option in ENGINE for word in ("--engine-option", option)),
]  # fmt: skip
PATIENCE = 240.0
Asking = Callable[[Engine], Awaitable[tuple[list[Completion], list[Choice]]]]
QUESTIONS = ("Can I take ibuprofen with a cold?", "My chest hurts and my left arm is numb.", "Is tea safe?", "Hello!")
LONG = " ".join(QUESTIONS * 4)


def asked(text: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": text},)


def greedy(text: str) -> Request:
    return Request(asked(text), Sampling(temperature=0.0, max_tokens=48), seed=1)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(scope="module")
def engine(runner: asyncio.Runner) -> Iterator[Engine]:
    options = EngineOptions(dtype="float32", engine_options=ENGINE)
    opened = runner.run(open_engine(ModelSpec.parse(f"vllm:{CHECKPOINT}"), options))
    yield opened
    runner.run(opened.close())


async def answer(engine: Engine) -> tuple[list[Completion], list[Choice]]:
    completions = await asyncio.gather(*(engine.complete(greedy(text)) for text in QUESTIONS))
    options = (("A", "B"), ("Yes", "No"), ("call a doctor", "No", "call an ambulance"))
    choices = await asyncio.gather(*(engine.choose(Request(asked(QUESTIONS[0])), some) for some in options))
    return completions, choices


async def answer_otherwise(engine: Engine) -> tuple[list[Completion], list[Choice]]:
    """Answers that are begun, end before a text, or are drawn in more ways, all of which leave one token to draw."""
    usual = Sampling(temperature=0.0, max_tokens=24)
    ways = (
        replace(usual, stop=(" talk", "only")),
        replace(usual, repetition_penalty=1.5),
        replace(usual, temperature=1.0, top_k=1),
        replace(usual, temperature=1.0, min_p=1.0),
    )
    requests = [Request(asked(QUESTIONS[0]), way) for way in ways]
    requests.append(Request(asked(QUESTIONS[0]), usual, prefill="Yes, you"))
    completions = await asyncio.gather(*(engine.complete(request) for request in requests))
    begun = [
        Request(asked(QUESTIONS[0]), thinking=NOT_THINKING, prefill=prefill)
        for prefill in ("The better response is (", "Answer: ", "(")
    ]
    choices = [await engine.choose(request, options) for request in begun for options in (("A", "B"), ("Yes", "No"))]
    return list(completions), choices


async def answer_thinking(engine: Engine) -> tuple[list[Completion], list[Choice]]:
    usual = Sampling(temperature=0.0, max_tokens=12)
    ways = (Thinking(), Thinking("on", 0), Thinking("on", 9))
    requests = [
        Request(asked(QUESTIONS[0]), usual, thinking=way, prefill=prefill) for way in ways for prefill in ("", "Yes,")
    ]
    completions = await asyncio.gather(*(engine.complete(request) for request in requests))
    chosen = [await engine.choose(replace(request, thinking=Thinking("off", 9)), ("A", "B")) for request in requests]
    return list(completions), chosen


def assert_same_answers(runner: asyncio.Runner, engine: Engine, spec: str, answer: Asking = answer) -> None:
    """Compare with the other engine in this process, which tests of its own compare with transformers."""

    async def main() -> tuple[list[Completion], list[Choice]]:
        reference = await open_engine(ModelSpec.parse(spec), EngineOptions(device="cpu"))
        try:
            return await answer(reference)
        finally:
            await reference.close()

    async def here() -> tuple[list[Completion], list[Choice]]:
        return await answer(engine)

    texts, choices = runner.run(here())
    reference_texts, reference_choices = runner.run(main())
    for one, other in zip(texts, reference_texts, strict=True):
        assert replace(one, cached_tokens=0) == replace(other, cached_tokens=0)
    for mine, theirs in zip(choices, reference_choices, strict=True):
        assert mine.probabilities == pytest.approx(theirs.probabilities, rel=1e-3, abs=1e-9)
        assert mine.mass == pytest.approx(theirs.mass, rel=1e-3)
        assert (mine.prompt_tokens, mine.reasoning) == (theirs.prompt_tokens, theirs.reasoning)
        assert mine.completion_tokens == theirs.completion_tokens


def test_greedy_answers_and_choices_are_those_of_the_other_engine(runner: asyncio.Runner, engine: Engine) -> None:
    assert_same_answers(runner, engine, f"transformers:{CHECKPOINT}")
    assert engine.name.startswith("vllm:tiny/checkpoint#")
    assert engine.name.endswith(" float32 unseeded")
    assert engine.context_length == 1024


def test_begun_and_stopped_answers_are_those_of_the_other_engine(runner: asyncio.Runner, engine: Engine) -> None:
    assert_same_answers(runner, engine, f"transformers:{CHECKPOINT}", answer_otherwise)


def test_thoughts_are_those_of_the_other_engine(runner: asyncio.Runner, tmp_path: Path) -> None:
    for path in CHECKPOINT.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    (tmp_path / "chat_template.jinja").write_text(OPENING)
    options = EngineOptions(dtype="float32", engine_options=ENGINE)
    opened = runner.run(open_engine(ModelSpec.parse(f"vllm:{tmp_path}"), options))
    try:
        assert_same_answers(runner, opened, f"transformers:{tmp_path}", answer_thinking)
    finally:
        runner.run(opened.close())


def test_a_prompt_is_read_once_for_all_its_samples_and_choices(runner: asyncio.Runner, engine: Engine) -> None:
    async def main() -> tuple[list[Completion], Choice]:
        requests = [Request(asked(LONG), Sampling(max_tokens=16), seed) for seed in range(8)]
        completions = await asyncio.gather(*(engine.complete(request) for request in requests))
        return list(completions), await engine.choose(Request(asked(LONG)), ("A", "B"))

    completions, choice = runner.run(main())
    cached = sorted(completion.cached_tokens for completion in completions)
    whole_blocks = choice.prompt_tokens // 32 * 32
    assert cached[0] == 0
    assert set(cached[1:]) == {whole_blocks}
    assert choice.cached_tokens == whole_blocks
    assert len({completion.text for completion in completions}) > 1


def test_an_answer_is_cut_by_its_limit_and_a_prompt_by_none(runner: asyncio.Runner, engine: Engine) -> None:
    cut = runner.run(engine.complete(Request(asked(LONG), Sampling(temperature=0.0, max_tokens=3), 0)))
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 3)
    with pytest.raises(ContextError, match="leave no room in the model's context of 1024"):
        runner.run(engine.complete(greedy(LONG * 30)))


def test_an_adapter_is_served_beside_its_base(runner: asyncio.Runner, tmp_path: Path) -> None:
    import peft  # noqa: PLC0415  (make test-vllm has it; this module is collected without)

    model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT)
    transformers.set_seed(0)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(str(tmp_path / "adapter"))
    options = EngineOptions(dtype="float32", engine_options=ENGINE)
    spec = f"{CHECKPOINT}+{tmp_path / 'adapter'}"

    async def opened() -> Engine:
        return await open_engine(ModelSpec.parse(f"vllm:{spec}"), options)

    adapted = runner.run(opened())
    try:
        assert_same_answers(runner, adapted, f"transformers:{spec}")
        assert " on vllm:tiny/checkpoint#" in adapted.name
    finally:
        runner.run(adapted.close())


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("max-model-lenn=5", "no such option; did you mean max-model-len"),
        ("tensor-parallel-size=two", "tensor-parallel-size.*invalid int value: 'two'"),
        ("model=other", "cai sets that"),
        ("dtype=float32", "--dtype and --engine-option dtype say the same"),
        ("enforce-eager", "not of the form key=value"),
        ("max-model-len=100000", "vLLM cannot open .*max_model_len"),
    ],
)
def test_options_that_vllm_does_not_take_are_told(runner: asyncio.Runner, option: str, said: str) -> None:
    options = EngineOptions(dtype="float16", engine_options=(option,))
    with pytest.raises(ModelError, match=said) as caught:
        runner.run(open_engine(ModelSpec.parse(f"vllm:{CHECKPOINT}"), options))
    assert "\n" not in str(caught.value)


def test_a_model_or_adapter_that_is_not_there_is_told(runner: asyncio.Runner, tmp_path: Path) -> None:
    for model, said in (
        (f"{tmp_path}/none", "there is no model directory"),
        (f"{tmp_path}", "it has no config.json"),
        (f"{CHECKPOINT}+{tmp_path}", "is no adapter"),
    ):
        with pytest.raises(ModelError, match=said):
            runner.run(open_engine(ModelSpec.parse(f"vllm:{model}")))


def start(out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([*COMMAND, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def finished(out: Path) -> int:
    try:
        return sum(1 for _ in Run.read(out).rows())
    except RunError:
        return 0  # it has not begun


def processes_of(owner: int) -> dict[int, str]:
    """Return vLLM's processes that a process opened, by their ids, with their command lines."""
    mark = f"CAI_VLLM_OWNER={owner}".encode()
    found = {}
    for directory in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if directory.name.isdecimal() and mark in (directory / "environ").read_bytes().split(b"\0"):
                found[int(directory.name)] = (directory / "cmdline").read_bytes().decode(errors="replace")
    return found


def ignores_interrupts(process: int) -> bool:
    """Return whether Ctrl-C, which goes to every process at the terminal, passes this one by."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return bool((int(status["SigBlk"], 16) | int(status["SigIgn"], 16)) >> (signal.SIGINT - 1) & 1)


def test_killed_engines_and_killed_runs_lose_nothing_and_leave_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = start(out)
    wait_until(lambda: finished(out) >= 3)
    core = [number for number, line in processes_of(first.pid).items() if "EngineCore" in line]
    assert core
    assert all(ignores_interrupts(number) for number in processes_of(first.pid))
    os.kill(core[0], signal.SIGKILL)
    told, said = first.communicate(timeout=PATIENCE)
    assert first.returncode == 1
    assert told == ""  # what vLLM logs of that stands on the standard error
    assert "EngineCore" in said
    assert [line for line in said.splitlines() if line.startswith("cai: ")] == [
        "cai: vLLM's engine died; what it said about that stands above"
    ]
    before = finished(out)
    assert 3 <= before < ROWS

    second = start(out)
    wait_until(lambda: finished(out) >= before + 3)
    os.kill(second.pid, signal.SIGKILL)  # and a zombie from here on: nobody waits for it yet
    wait_until(lambda: not processes_of(second.pid))
    second.communicate(timeout=PATIENCE)
    kept = finished(out)
    assert before + 3 <= kept < ROWS

    third = start(out)
    told, said = third.communicate(timeout=PATIENCE)
    assert third.returncode == 0, said
    summary = orjson.loads(told)
    assert (summary["skipped"], summary["rows"]) == (kept, ROWS)
    assert summary["cached_tokens"] > 0
    counts = Counter(row.prompt.id for row in Run.read(out).rows())
    assert len(counts) == ROWS
    assert set(counts.values()) == {1}
