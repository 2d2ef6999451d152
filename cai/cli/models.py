"""`cai models check SPEC`: open a model, ask it something, say what it can do and how fast."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TypeVar

import click
from rich.table import Table

from cai.cli.options import ENGINE_OPTION
from cai.cli.screen import Screen, shown
from cai.cli.terminal import print_json, remark
from cai.core.errors import EngineGoneError, ModelError, RequestError
from cai.core.records import Message
from cai.models import EngineOptions, check_engine_options, open_engine
from cai.models.base import Completion, Engine, Request, Sampling
from cai.models.spec import ModelSpec

Result = TypeVar("Result")

_TOLD_EVERY = 8.0  # seconds of waiting after which a person is told, and told again, what for
_QUESTION = "Can I take ibuprofen with a cold?"
_BURST_REQUESTS, _BURST_TOKENS = 32, 64
_BURST_SECONDS = 20.0
_PROMPT_BURST_REPEATS = 40
"""So often the question stands in a prompt of the second burst: 300 to 400 tokens, which fit every model."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found; speeds are in tokens a second over a burst of requests.

    `tokens_per_second` counts the tokens generated after a short prompt, `prompt_tokens_per_second` those of prompts
    that are read anew for a single token. They are None when no request of the burst ended, when one failed (`failure`
    says how; its retries would count as work), and where a server does not count tokens. `choices` is None when the
    model gives log-probabilities, else why it does not.
    """

    name: str
    opened_in: float
    answer: str
    answered_in: float
    choices: str | None
    context_length: int | None
    concurrency: int
    tokens_per_second: float | None
    prompt_tokens_per_second: float | None
    failure: str | None


@dataclass(frozen=True, slots=True)
class _Burst:
    """What ended of requests made at once, in how many seconds, and why one of them failed, if one did."""

    ended: list[Completion]
    seconds: float
    failure: str | None

    def rate(self, tokens: Callable[[Completion], int]) -> float | None:
        """Return the tokens a second; None when they say nothing about the model."""
        return None if self.failure else sum(map(tokens, self.ended)) / self.seconds or None


@click.group()
def models() -> None:
    """Check what a model can do and how fast."""


@models.command()
@click.argument("spec", type=ModelSpec.parse)
@click.option("--device", default="auto", show_default=True, help="Where a model in this process runs: cpu, cuda, mps.")
@click.option("--dtype", default="auto", show_default=True, help="float32, bfloat16 or float16, for such a model.")
@ENGINE_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(spec: ModelSpec, *, device: str, dtype: str, engine_option: tuple[str, ...], as_json: bool) -> None:
    """Open the model SPEC and ask it something.

    SPEC is tiny, transformers:MODEL, vllm:MODEL, openai:MODEL@URL[,URL…] or scripted.
    """
    check_engine_options((spec,), engine_option)
    options = EngineOptions(device=device, dtype=dtype, engine_options=engine_option, say=remark)
    findings = asyncio.run(_check(spec, options))
    if as_json:
        print_json(asdict(findings), indent=True)
    else:
        _print(findings)


async def _check(spec: ModelSpec, options: EngineOptions) -> Findings:
    began = time.perf_counter()
    engine = await _patiently("opening it", open_engine(spec, options))
    try:
        opened = time.perf_counter()
        completion = await _patiently("waiting for its first answer", engine.complete(_request(0)))
        answered = time.perf_counter()
        choices = await _patiently("waiting for its log-probabilities", _why_no_choices(engine))
        writing = await _patiently("measuring how fast it writes", _burst(engine, _request))
        long_request = partial(_long_request, secrets.token_hex(4))
        reading = await _patiently("measuring how fast it reads", _burst(engine, long_request))
        return Findings(
            name=engine.name,
            opened_in=opened - began,
            answer=completion.text,
            answered_in=answered - opened,
            choices=choices,
            context_length=engine.context_length,
            concurrency=engine.concurrency,
            tokens_per_second=writing.rate(lambda completion: completion.completion_tokens),
            prompt_tokens_per_second=reading.rate(
                lambda completion: completion.prompt_tokens - completion.cached_tokens
            ),
            failure=writing.failure or reading.failure,
        )
    finally:
        await _patiently("closing it", engine.close())


async def _patiently(what: str, work: Awaitable[Result]) -> Result:
    """Return what `work` returns, and tell a person every few seconds what is waited for."""
    task = asyncio.ensure_future(work)
    waited = 0.0
    while not (await asyncio.wait({task}, timeout=_TOLD_EVERY))[0]:
        waited += _TOLD_EVERY
        remark(f"{what}, for {waited:.0f} s so far")
    return task.result()


def _request(seed: int) -> Request:
    question: Message = {"role": "user", "content": _QUESTION}
    return Request((question,), Sampling(max_tokens=_BURST_TOKENS), seed)


def _long_request(check: str, seed: int) -> Request:
    """Return a request that is nearly all prompt, and begins like no other, so that no cache has read it before.

    `check` is different in every check: a server still has in its cache what the last one asked.
    """
    question: Message = {"role": "user", "content": f"{check} {seed}. {_QUESTION * _PROMPT_BURST_REPEATS}"}
    return Request((question,), Sampling(max_tokens=1), seed)


async def _why_no_choices(engine: Engine) -> str | None:
    question: Message = {"role": "user", "content": f"{_QUESTION} Answer Yes or No."}
    try:
        await engine.choose((question,), ("Yes", "No"))
    except (RequestError, ModelError) as error:
        return str(error)
    return None


async def _burst(engine: Engine, request: Callable[[int], Request]) -> _Burst:
    """Make requests at once; what has not ended after 20 seconds is given up. Raises EngineGoneError."""
    began = time.perf_counter()
    tasks = [asyncio.create_task(engine.complete(request(1 + i))) for i in range(_BURST_REQUESTS)]
    done, late = await asyncio.wait(tasks, timeout=_BURST_SECONDS)
    seconds = time.perf_counter() - began
    for task in late:
        task.cancel()
    ended = await asyncio.gather(*done, *late, return_exceptions=True)
    gone = [result for result in ended if isinstance(result, EngineGoneError)]
    if gone:
        raise gone[0]
    failed = (RequestError, asyncio.CancelledError)
    for result in ended:
        if isinstance(result, BaseException) and not isinstance(result, failed):
            raise result
    failures = [str(result) for result in ended if isinstance(result, RequestError)]
    answers = [result for result in ended if not isinstance(result, BaseException)]
    return _Burst(answers, seconds, failures[0] if failures else None)


def _print(findings: Findings) -> None:
    context = findings.context_length
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in (
        ("name", f"{findings.name} (opened in {findings.opened_in:.1f} s)"),
        ("answers", f"yes, in {findings.answered_in:.2f} s: {' '.join(findings.answer.split())[:200]}"),
        ("log-probabilities", "yes" if findings.choices is None else f"no: {findings.choices}"),
        ("chat template", "yes"),  # it answered a conversation, and no engine opens or answers without one
        ("context length", f"{context:,} tokens" if context else "not told"),
        ("concurrency", f"{findings.concurrency} requests at once"),
        *_speed(findings),
    ):
        table.add_row(label, shown(value))
    Screen().print(table)


def _speed(findings: Findings) -> list[tuple[str, str]]:
    """Return the lines on speed; the last can be copied behind `cai generate --dry-run`."""
    rate, reading = findings.tokens_per_second, findings.prompt_tokens_per_second
    if findings.failure:
        return [("speed", f"not measured: with {_BURST_REQUESTS} requests at once, one failed: {findings.failure}")]
    if not rate:
        return [("speed", f"no answer ended within {_BURST_SECONDS:.0f} s")]
    generated = f"{rate:,.0f} tokens/s with {_BURST_REQUESTS} requests of up to {_BURST_TOKENS} tokens at once"
    if not reading:
        return [("speed", f"{generated}; how fast prompts are read could not be measured")]
    return [
        ("speed", f"{generated}; prompts are read at {reading:,.0f} tokens/s"),
        ("estimate with", f"--speed-prompt {_figure(reading)} --speed-completion {_figure(rate)}"),
    ]


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
