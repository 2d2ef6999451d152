"""Reading a folder of templates: texts by request kind, the words that answer them, and how such an answer begins.

What cannot be read raises TemplateError in one sentence, with file and line where there is one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from cai.core.errors import TemplateError
from cai.core.paths import open_file
from cai.core.yamlfile import YamlFile, read_yaml

ASKED = ("gate", "judge")
"""The questions that are answered with a word."""

SHARED = {"criterion": "gate"}
"""Questions that may have answers of their own, and are otherwise answered as another one is."""


@dataclass(frozen=True, slots=True)
class Words:
    """The two answers to each question, and how the assistant's turn begins before them: perhaps with nothing."""

    answers: Mapping[str, tuple[str, str]]
    prefills: Mapping[str, str]


REFERENCED = ("judge_reference", "judge_reason_reference")
"""How pairs are judged beside a right answer that is known."""

KINDS = ("critique", "revision", "anew", "gate", "criterion", "judge", "judge_reason", "judge_decide", *REFERENCED)
"""A file each, KIND.j2."""


def find_folder(root: Path, language: str) -> Path:
    """Return the folder of `language`, which must be the plain name of one that is there."""
    try:
        present = sorted(entry.name for entry in root.iterdir() if (entry / "words.yaml").is_file())
    except OSError as error:
        raise TemplateError(f"{root}: the templates directory cannot be read: {error.strerror}") from None
    if language not in present:
        known = ", ".join(present) or "none (a language is a folder with the ten .j2 files and words.yaml)"
        raise TemplateError(f"{root}: no templates for the language {language!r}; present: {known}")
    return root / language


def read_texts(folder: Path) -> dict[str, str]:
    """Return the text of every template by its kind."""
    return {kind: read_text(folder / f"{kind}.j2") for kind in KINDS}


def read_text(path: Path) -> str:
    """Return the text of one template."""
    try:
        with TextIOWrapper(open_file(path), "utf-8") as file:
            return file.read()
    except FileNotFoundError:
        raise TemplateError(f"{path}: this template is missing; start from a copy of the shipped one") from None
    except OSError as error:
        raise TemplateError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TemplateError(f"{path}: is not UTF-8 text; save the file as UTF-8") from None


def read_words(path: Path) -> Words:
    """Return the answers to `gate` and `judge`, two different words each, and how the assistant begins with them.

    `criterion` may have some too.
    """
    file = read_yaml(path)
    if file.problems:
        raise TemplateError("\n".join(map(file.describe, file.problems)))
    data: Any = file.data
    if not isinstance(data, dict) or {*data} - {"prefill", *SHARED} != {*ASKED}:
        raise TemplateError(
            f"{path}: must hold the two keys `gate` and `judge`, each a list of two answers, and may hold `prefill`"
        )
    answers = {kind: _read_answers(file, kind, data[kind]) for kind in (*ASKED, *SHARED) if kind in data}
    answers |= {kind: answers[other] for kind, other in SHARED.items() if kind not in answers}
    prefills = data.get("prefill", {})
    if not isinstance(prefills, dict) or not prefills.keys() <= {*ASKED, *SHARED}:
        line = file.line(("prefill",))
        raise TemplateError(f"{path}:{line}: `prefill` may hold `gate` and `judge`, each the beginning of an answer")
    for kind, prefill in prefills.items():
        _check_prefill(f"{path}:{file.line(('prefill', kind))}", kind, prefill, answers[kind])
    begun = {kind: prefills.get(kind, "") for kind in ASKED}
    return Words(answers, begun | {kind: prefills.get(kind, begun[other]) for kind, other in SHARED.items()})


def _read_answers(file: YamlFile, kind: str, options: Any) -> tuple[str, str]:
    place = f"{file.path}:{file.line((kind,))}"
    if not isinstance(options, list) or len(options) != 2:
        raise TemplateError(f'{place}: `{kind}` must be a list of two answers, such as ["A", "B"]')
    for option in options:
        if not isinstance(option, str) or not option.strip():
            raise TemplateError(f"{place}: the answers of `{kind}` must be text; put them in quotes")
    first, second = (option.strip() for option in options)
    if first == second:
        raise TemplateError(f"{place}: the two answers of `{kind}` are the same")
    return first, second


def _check_prefill(place: str, kind: str, prefill: Any, answers: tuple[str, str]) -> None:
    if not isinstance(prefill, str):
        raise TemplateError(f"{place}: the prefill of `{kind}` must be text; put it in quotes")
    if prefill != prefill.strip():
        raise TemplateError(
            f"{place}: the prefill of `{kind}` must not begin or end with white space, which belongs to the answer"
        )
    for answer in answers:
        if re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", prefill):
            raise TemplateError(
                f"{place}: the prefill of `{kind}` says {answer!r} itself, which is for the model to say"
            )
