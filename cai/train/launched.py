"""`python -m cai.train.launched FILE`, as `cai.train.launching` has accelerate start it: one of a training's processes.

FILE is written by the process that launches and read by nobody else (see `cai.train.launch_file`). The main process
says what there is to say on standard output, a JSON object a line: `say` while it trains, and at the end `status`, or
`error` in one sentence.
"""

import os
import sys
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
        summary = train(plan_train(settings), lambda line: _tell("say", line), quiet=quiet)
    except CaiError as error:
        _tell("error", str(error))
        return 1
    _tell("status", summary.status)
    return 0


def _tell(what: str, words: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        print(orjson.dumps({what: words}).decode(), flush=True)  # noqa: T201  (to the process that launched it)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
