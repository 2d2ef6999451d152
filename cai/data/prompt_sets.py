"""The prompt sets that come with cai, by name: one rule for every command that takes prompts.

There are two kinds, which share no prompt: `sets` to generate and train with, `evaluation` to measure with. A file or
directory of the same name in the working directory is preferred to a shipped set.
"""

import re
from typing import Literal

from cai.constitution import Constitution
from cai.core.addresses import DataSource
from cai.core.errors import UsageError
from cai.core.paths import expand
from cai.core.resources import shipped

SetKind = Literal["sets", "evaluation"]

_CALLED: dict[SetKind, str] = {"sets": "seed prompts", "evaluation": "evaluation prompts"}
_NAME = re.compile(r"\w[\w-]*")


def prompt_source(
    named: DataSource | None, constitution: Constitution, kind: SetKind, *, option: str = "--prompts"
) -> DataSource:
    """Return where the prompts are: the place that was named, a shipped set by its name, or the constitution's own set.

    `option` is what the person can give them with. Raises UsageError when there is no such set.
    """
    folder = shipped("prompts", kind)
    names = sorted(path.stem for path in folder.glob("*.jsonl"))
    if named is None:
        if constitution.prompts not in names:
            raise UsageError(
                f"no {_CALLED[kind]} ship for the constitution {constitution.name}; give some with {option}: a file, "
                f"or one of {', '.join(names)}"
            )
        return DataSource.parse(str(folder / f"{constitution.prompts}.jsonl"))
    wanted = str(named)
    if not _NAME.fullmatch(wanted) or expand(wanted).exists():
        return named
    if wanted not in names:
        raise UsageError(f"there are no {_CALLED[kind]} {wanted}; give {option} a file or one of {', '.join(names)}")
    return DataSource.parse(str(folder / f"{wanted}.jsonl"))
