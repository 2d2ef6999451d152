"""Rows to store, made from a number alone, and runs to keep them in."""

import random
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import orjson

from cai.core.identity import fingerprint
from cai.core.records import Failure, Message, Prompt, Provenance, Round, Row, Trace, Usage, Verdict
from cai.rundir import Inputs, Run
from cai.rundir.claim import join
from cai.rundir.journal import journal_salt
from cai.rundir.lines import make_line

IDENTITY = {"model": "scripted", "constitution": "test 1 0123456789abcdef", "seed": "0"}
WORDS = ("alpha", "beta", "gamma", "delta", "Grüße", "약", "\n", '"quoted"')
PROVENANCE = Provenance("scripted", "scripted", "c" * 16, "c" * 16, "t" * 16, "t" * 16, "i" * 16, 0, 0)


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def make_row(number: int) -> Row:
    """Return a row of about 1.5 KB: two samples, a round each that revised, three verdicts."""
    draw = random.Random(number)

    def text(words: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(words))

    traces = []
    for sample in range(2):
        response, revision = f"response {sample} {text(12)}", f"revision {sample} {text(12)}"
        rounds = (
            Round("kind-tone", 0.1, None, None, False),
            Round("privacy", 0.9, f"critique {text(8)}", revision, False),
        )
        traces.append(Trace(sample, draw.randrange(2**31), response, rounds, revision, False))
    pairs = (("response:0", "response:1"), ("final:0", "response:0"), ("final:1", "response:1"))
    verdicts = tuple(verdict(a, b, draw.random(), draw.random()) for a, b in pairs)
    prompt = Prompt(f"prompt-{number}", number, (user(f"question {number} {text(20)}"),), ("tag",))
    return Row(prompt, tuple(traces), verdicts, Usage(10, 1000 + number, 300, 200), PROVENANCE)


def verdict(a: str, b: str, first: float, second: float, principle: str = "privacy") -> Verdict:
    return Verdict(a, b, principle, first, second, 0.9, 0.8, (first + second) / 2, None, ())


def abstention(a: str, b: str, reason: str) -> Verdict:
    return Verdict(a, b, "privacy", 0.9, 0.1, 0.9, 0.8, None, reason, ())


def make_failure(number: int, *, retryable: bool = False, stage: str = "request") -> Failure:
    return Failure(f"prompt-{number}", number, stage, "it did not work", "raw text", retryable)


def journal_line(row: Row) -> bytes:
    """Return a row's line in the journals of a run with IDENTITY."""
    return make_line(orjson.dumps(row), journal_salt(fingerprint(IDENTITY)))


def put(directory: Path, name: str, data: bytes) -> None:
    """Write a file of a run as if the run had."""
    with closing(join(directory, "run")) as owned:
        owned.write(name, data)


def open_run(directory: Path, *, fresh: bool = False) -> Run:
    return Run.open(directory, IDENTITY, {"samples": 2}, fresh=fresh)


def inputs_of(*prompts: Prompt) -> Inputs:
    """Return an input of these prompts, each at its place in it."""
    placed = [replace(prompt, ordinal=place) for place, prompt in enumerate(prompts)]
    return Inputs(fingerprint([(prompt.id, prompt.messages, prompt.tags) for prompt in prompts]), lambda: placed)


def fill_inputs(directory: Path, *prompts: Prompt) -> Run:
    """Give a run these prompts and make what it owes, as a command does; return it, closed."""
    inputs = inputs_of(*prompts)
    run = Run.open(directory, IDENTITY, {}, inputs=inputs)
    for prompt in inputs.prompts():
        assert isinstance(prompt, Prompt)
        if not run.is_finished(prompt.id):
            run.commit(replace(make_row(int(fingerprint(prompt.messages), 16) % 1000), prompt=prompt))
    run.close("done")
    return run


def fill(directory: Path, rows: Iterable[Row], failures: Iterable[Failure] = ()) -> None:
    run = open_run(directory)
    for row in rows:
        run.commit(row)
    for failure in failures:
        run.fail(failure)
    run.close("done")
