"""The words of a report, a file a language in `texts/`; every file has the same keys (a test compares them).

A key is a path with dots. What comes from outside (a principle's id, a cause, a file's name) is put into the words and
never looked up, but for a few of cai's own terms (`terms`), which are shown as they are where a file has none.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from cai.report.settings import Language


class Catalogue:
    """The words of one language."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._texts = read_texts(language)

    def __call__(self, key: str, /, **values: object) -> str:
        """Return a text with its values put in; raises KeyError for a key or a value that there is not."""
        return self._texts[key].format(**values)

    def term(self, name: str) -> str:
        """Return one of cai's own terms in the report's language, or as it is."""
        return self._texts.get(f"terms.{name}", name)

    def below(self, beginning: str) -> dict[str, str]:
        """Return the texts whose keys begin so, by the rest of their keys."""
        return {key.removeprefix(beginning): text for key, text in self._texts.items() if key.startswith(beginning)}


@cache
def read_texts(language: Language) -> Mapping[str, str]:
    """Return a language's texts by their keys."""
    text = files("cai.report").joinpath("texts", f"{language}.yaml").read_text(encoding="utf-8")
    return dict(_flat("", yaml.safe_load(text)))


def _flat(before: str, value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        return [(before, str(value).rstrip("\n"))]
    return [pair for key, inner in value.items() for pair in _flat(f"{before}.{key}" if before else str(key), inner)]
