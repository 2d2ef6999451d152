"""`cai models`: `check SPEC` opens a model, asks it something, and says what it can do and how fast.

`convert FILE DIR` writes a GGUF file in the usual form.
"""

import asyncio
from dataclasses import asdict

import click
from rich.table import Table

from cai.cli.judge_tables import print_judge_check
from cai.cli.options import ENGINE_OPTION, TEMPLATE_OPTION
from cai.cli.screen import Screen, shown
from cai.cli.terminal import print_json, remark, say
from cai.core.errors import UsageError
from cai.judge_checking import check_alone
from cai.method.example import example_verdict
from cai.models import EngineOptions, check_engine_options, model_forms
from cai.models.check import BURST_REQUESTS, BURST_SECONDS, BURST_TOKENS, Findings, check_model
from cai.models.checkpoint.convert import convert_gguf
from cai.models.spec import ModelSpec


@click.group()
def models() -> None:
    """Check what a model can do and how fast, and convert GGUF files."""


@models.command(epilog=f"SPEC is {model_forms()}.")
@click.argument("spec", type=ModelSpec.parse)
@click.option("--judge", is_flag=True, help="Test it as a judge and as a gate, on pairs whose better answer is known.")
@click.option("--constitution", help="The constitution to test it under (default: harmless), with --judge.")
@click.option("--device", default="auto", show_default=True, help="Where a model in this process runs: cpu, cuda, mps.")
@click.option("--dtype", default="auto", show_default=True, help="float32, bfloat16 or float16, for such a model.")
@ENGINE_OPTION
@TEMPLATE_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(
    spec: ModelSpec,
    *,
    judge: bool,
    constitution: str | None,
    device: str,
    dtype: str,
    engine_option: tuple[str, ...],
    template_option: tuple[str, ...],
    as_json: bool,
) -> None:
    """Open the model SPEC and ask it something."""
    if constitution is not None and not judge:
        raise UsageError("--constitution goes with --judge: nothing else is tested under one")
    check_engine_options((spec,), engine_option, template_option)
    options = EngineOptions(
        device=device, dtype=dtype, engine_options=engine_option, template_options=template_option, say=remark
    )
    if judge:
        _test_judge(spec, options, constitution, as_json=as_json)
        return
    findings = asyncio.run(check_model(spec, options, *example_verdict()))
    if as_json:
        print_json(asdict(findings), indent=True)
    else:
        _print(findings)


def _test_judge(spec: ModelSpec, options: EngineOptions, constitution: str | None, *, as_json: bool) -> None:
    """Test the model as a judge and print what was found."""
    found = asyncio.run(check_alone(spec, options, constitution))
    if as_json:
        print_json(found.as_json(), indent=True)
    else:
        print_judge_check(Screen(), found)


@models.command()
@click.argument("file")
@click.argument("out", metavar="DIR")
def convert(file: str, out: str) -> None:
    """Write the model in a GGUF FILE into DIR in the usual form, in float32."""
    say(f"transformers:{convert_gguf(file, out)}")


def _print(findings: Findings) -> None:
    context = findings.context_length
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in (
        ("name", f"{findings.name} (opened in {findings.opened_in:.1f} s)"),
        ("answers", f"yes, in {findings.answered_in:.2f} s: {' '.join(findings.answer.split())[:200]}"),
        ("thinks", _THINKS.get(findings.thinks or "", "not known: a request to find it out failed")),
        ("log-probabilities", "yes" if findings.choices is None else f"no: {findings.choices}"),
        *_letters(findings),
        ("chat template", "yes"),  # it answered a conversation, and no engine opens or answers without one
        ("context length", f"{context:,} tokens" if context else "not told"),
        ("concurrency", f"{findings.concurrency} requests at once"),
        *_speed(findings),
    ):
        table.add_row(label, shown(value))
    Screen().print(table)


_THINKS = {
    "never": "no",
    "when told": "when it is told to (--thinking on)",
    "by default": "by itself; --thinking off turns it off",
    "always": "always: gates and verdicts let it think first, within --thinking-budget",
}


def _letters(findings: Findings) -> list[tuple[str, str]]:
    """Return the line on how sure a verdict's letters are to be said."""
    plain, begun = findings.letters_mass, findings.begun_letters_mass
    if plain is None:
        return []
    behind = "not known where the answer is begun" if begun is None else f"{begun:.2f} where the answer is begun"
    return [("letters", f"a verdict's weigh {plain:.2f}, {behind}; where both are below 0.50 it abstains")]


def _speed(findings: Findings) -> list[tuple[str, str]]:
    """Return the lines on speed; the last can be copied behind `cai generate --dry-run`."""
    rate, reading = findings.tokens_per_second, findings.prompt_tokens_per_second
    if findings.failure:
        return [("speed", f"not measured: with {BURST_REQUESTS} requests at once, one failed: {findings.failure}")]
    if not rate:
        return [("speed", f"no answer ended within {BURST_SECONDS:.0f} s")]
    generated = f"{rate:,.0f} tokens/s with {BURST_REQUESTS} requests of up to {BURST_TOKENS} tokens at once"
    if not reading:
        return [("speed", f"{generated}; how fast prompts are read could not be measured")]
    return [
        ("speed", f"{generated}; prompts are read at {reading:,.0f} tokens/s"),
        ("estimate with", f"--speed-prompt {_figure(reading)} --speed-completion {_figure(rate)}"),
    ]


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
