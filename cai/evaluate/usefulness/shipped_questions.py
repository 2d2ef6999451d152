"""The questions that come with an examination: `prompts/NAME/LANGUAGE.yaml`, a list of objects with an id each."""

from typing import Any

import yaml

from cai.core.errors import UsageError
from cai.core.identity import fingerprint
from cai.core.resources import shipped

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def shipped_questions(folder: str, language: str, option: str) -> tuple[list[dict[str, Any]], str]:
    """Return the questions in a language, and their fingerprint; raises UsageError where there are none in it."""
    path = shipped("prompts", folder, f"{language}.yaml")
    if not path.exists():
        there = " and ".join(sorted(one.stem for one in path.parent.glob("*.yaml")))
        raise UsageError(f"{option} has questions in {there}, and the constitution's language is {language}")
    rows: list[dict[str, Any]] = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506  (a safe one)
    return rows, fingerprint(rows)
