"""`python -m cai.train.launched FILE`, as `cai.train.launching` has accelerate start it: one of a training's processes.

FILE is written by the process that launches and read by nobody else (see `cai.train.launch_file`). The main process
says what there is to say on standard output, a JSON object a line: `say` while it trains, and at the end `status`. What
went wrong every process says, `error` in one sentence: the main one may only have noticed that another is gone.
"""

import os
import sys
import traceback
from pathlib import Path

import orjson

from cai.core.errors import CaiError
from cai.train.launch_file import read_launch
from cai.train.plan import plan_train
from cai.train.run import train


def main(task: Path) -> int:
    """Train what the file says; return the exit code."""
    try:
        settings, quiet = read_launch(task)
        summary = train(plan_train(settings), lambda line: _tell_first("say", line), quiet=quiet)
    except CaiError as error:
        _tell("error", str(error))
        return 1
    except Exception as error:  # nobody reads this process's traceback
        _tell("error", f"training failed: {type(error).__name__}: {error} ({_place(error)})")
        return 1
    _tell_first("status", summary.status)
    return 0


def _place(error: Exception) -> str:
    """Return the innermost line that it came from."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"


def _tell_first(what: str, words: str) -> None:
    """Tell it in the main process alone."""
    if os.environ.get("RANK", "0") == "0":
        _tell(what, words)


def _tell(what: str, words: str) -> None:
    # In one write, and on a line of its own: the processes share the place where it goes, and what a library prints in
    # another may be half a line so far.
    sys.stdout.write(f"\n{orjson.dumps({what: words}).decode()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
