"""The questions that answers are scored by, in the words of a language: `scoring.yaml` beside the templates."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cai.core.errors import TemplateError
from cai.core.identity import fingerprint
from cai.core.resources import shipped
from cai.core.yamlfile import YamlFile, read_yaml

FILE = "scoring.yaml"
_FIELDS = {"question", "options", "begin"}


@dataclass(frozen=True, slots=True)
class ScoringQuestion:
    """A question about an answer, what may be said to it, and how the assistant's turn begins before that."""

    name: str
    text: str
    options: tuple[str, ...]
    begin: str


def load_questions(
    language: str, directory: Path | None, wanted: Mapping[str, int]
) -> tuple[dict[str, ScoringQuestion], str]:
    """Return the wanted questions by name, each of which has so many options, and their fingerprint.

    They are read from `directory`, or the shipped ones; raises TemplateError, with file and line where there is one.
    """
    path = (directory or shipped("prompts", "templates")) / language / FILE
    if not path.is_file():
        raise TemplateError(f"{path}: the questions that public sets are scored by are missing; copy the shipped file")
    file = read_yaml(path)
    if file.problems:
        raise TemplateError("\n".join(map(file.describe, file.problems)))
    if not isinstance(file.data, dict):
        raise TemplateError(f"{path}:1: this is no mapping of questions")
    found = {name: _read(file, name, file.data.get(name), options) for name, options in wanted.items()}
    return found, fingerprint([asdict(question) for question in found.values()])


def _read(file: YamlFile, name: str, value: Any, count: int) -> ScoringQuestion:
    place = f"{file.path}:{file.line((name,))}"
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise TemplateError(f"{place}: `{name}` must have question, options and begin, and nothing else")
    text, options, begin = value["question"], value["options"], value["begin"]
    if not isinstance(text, str) or not text.strip() or not isinstance(begin, str):
        raise TemplateError(f"{place}: the question and the beginning of `{name}` must be text")
    if not isinstance(options, list) or not all(isinstance(option, str) and option.strip() for option in options):
        raise TemplateError(f"{place}: the options of `{name}` must be a list of texts; put them in quotes")
    if len(options) != count or len(set(options)) != count:
        raise TemplateError(f"{place}: `{name}` needs {count} different options, in the order of the shipped file")
    for option in options:
        if option not in text:
            raise TemplateError(f"{place}: the question `{name}` never names the answer {option!r}")
    return ScoringQuestion(name, text.strip(), tuple(options), begin)
