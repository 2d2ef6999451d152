"""The `cai` command: finds the subcommand, and turns every error into one sentence and an exit code.

0 done, 1 failed, 2 misuse, 130 interrupted. Subcommands are imported when they are called, so that `cai --help` is
instant.
"""

import difflib
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from types import FrameType, ModuleType

import click

from cai import __version__
from cai.cli.terminal import remark, show_error, watch_libraries
from cai.core.errors import CaiError, UsageError
from cai.core.machine import let_waiting_threads_sleep

COMMANDS = {
    "generate": ("cai.cli.generate", "Answer, critique, revise and judge: prompts in, SFT and preference data out."),
    "train": (
        "cai.cli.train",
        "Train a model on what was generated: SFT, DPO, reward models, KTO, ORPO, GRPO, RLOO, PPO.",
    ),
    "evaluate": (
        "cai.cli.evaluate",
        "Measure models: principles broken, refusals, wins and collapse, with intervals.",
    ),
    "loop": (
        "cai.cli.loop",
        "Generate, train on revisions, train on the judge's preferences, and measure what changed.",
    ),
    "judge": (
        "cai.cli.judge",
        "Judge the answers of a run again, or of any data set; `judge bench` measures judges.",
    ),
    "check": (
        "cai.cli.check",
        "Measure a dataset and look for what should not be in it: a run, a file, a saved or a hub dataset.",
    ),
    "export": (
        "cai.cli.export",
        "Write a run's SFT, preference and ranking datasets, as TRL or another tool reads them.",
    ),
    "show": ("cai.cli.show", "Print a run's chains: prompt, response, critique, revision, verdict."),
    "review": (
        "cai.cli.review",
        "Read and annotate a run, an evaluation or a file of pairs on a page on this machine.",
    ),
    "report": (
        "cai.cli.report",
        "Write one HTML file on a run, an evaluation or a loop, for those who decide about it.",
    ),
    "drop": ("cai.cli.drop", "Leave rows of a run out of all that reads it, and take them back."),
    "feedback": ("cai.cli.feedback", "Take what users said of a deployed model into a run's annotations."),
    "advise": ("cai.cli.advise", "Say which training suits data, why, who says so, and what it costs on this machine."),
    "abtest": ("cai.cli.abtest", "Plan a test of two models on real users, and read what they did."),
    "constitution": ("cai.cli.constitution", "List, show and check constitutions; split them into tenets."),
    "models": ("cai.cli.models", "Check what a model can do and how fast, and convert GGUF files."),
    "completion": ("cai.cli.completion", "Print the script that completes cai's words in your shell."),
}
"""Name → module (which defines a command of that name) and the help line, told without importing the module."""


class LazyGroup(click.Group):
    """A group whose commands are imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """Return the names, most important first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(_imported(COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101  (the table above is ours)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was typed, or say which one was probably meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cai")
def cai() -> None:
    """Constitutional AI on your own machine.

    Try it:  cai generate --constitution medical.yaml
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    _open_standard_streams()
    watch_libraries()
    let_waiting_threads_sleep()
    try:
        _require_text(sys.argv[1:] if arguments is None else arguments)
        code = cai.main(args=arguments, prog_name="cai", standalone_mode=False)
    except CaiError as error:
        remark(str(error))
        sys.exit(error.exit_code)
    except click.ClickException as error:
        show_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # whoever read the output has seen enough
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # the output's disk is full, a terminal is gone
        place = f"{error.filename} cannot be read or written" if error.filename else "the output cannot be written"
        remark(f"{place}: {error.strerror or error}")
        sys.exit(1)
    except MemoryError:
        remark("The memory is used up; give less at once, or run it on a machine with more")
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        remark("interrupted")
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _require_text(arguments: Sequence[str]) -> None:
    """Raise UsageError for words and a working directory that are no UTF-8: no file of cai's could name them.

    So for a working directory that is gone: no path could be told from it.
    """
    try:
        here = str(Path.cwd())
    except OSError as error:
        raise UsageError(f"the working directory is gone ({error.strerror}); change into another one") from error
    for argument in (*arguments, here):
        if not argument.isascii() and argument != (shown := argument.encode("utf-8", "replace").decode()):
            raise UsageError(f"{shown!r} is not UTF-8 text; give the file or directory another name")


def _imported(name: str) -> ModuleType:
    """Import a module without searching for reference cycles, which take a fifth of the time until the first request.

    What modules hold lasts until the end, so it is not searched afterwards either, not even when the process ends.
    """
    gc.disable()
    try:
        with _interrupt_ends_the_process():
            module = importlib.import_module(name)
        gc.freeze()
    finally:
        gc.enable()
    return module


@contextmanager
def _interrupt_ends_the_process() -> Iterator[None]:
    """Have Ctrl-C end the process in the block, at once, where nothing is underway that has to be ended in order.

    Now and then an exception would be lost in an import, or come out of it as another, as Python's `ssl` does it.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"\ncai: interrupted\n")
    os._exit(130)


def _open_standard_streams() -> None:
    """Have three standard streams that take every character.

    Closed descriptors are pointed at nothing, or the next file to be opened would take their place; characters that the
    terminal's encoding lacks are printed as escapes.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
