"""Names of people, found by the models of others where they are installed: off unless a file of settings asks for it.

Texts with Latin letters go to `presidio-analyzer` with the largest English model of spaCy that is installed, texts with
Korean ones to `koredact`; a text may go to both. Where one of the two is not installed, nobody looks at its texts. A
name is only a name: whether it is private, or that of a poet, no model says.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

from cai.core.errors import ModelError, UsageError
from cai.data.quality.descriptor import QualityFilter, Spans
from cai.data.quality.items import ReadItem

Reader: TypeAlias = Callable[[str], list[tuple[int, int]]]
"""Returns where in a text the names are, in characters."""

_SIZES = ("trf", "lg", "md", "sm")
"""Of spaCy's models, the best first."""
_LONGEST = 100_000
"""Characters that are read of a text."""
_LETTERS = {"presidio-analyzer": re.compile("[A-Za-z]"), "koredact": re.compile("[\uac00-\ud7a3]")}


@cache
def _readers() -> dict[str, Reader]:
    """Return what is installed; raises ModelError where it cannot be opened."""
    found: dict[str, Reader] = {}
    for name, open_reader in (("presidio-analyzer", _open_presidio), ("koredact", _open_koredact)):
        try:
            reader = open_reader()
        except ModuleNotFoundError:
            continue
        except Exception as error:  # models are read, and koredact's is fetched from the hub
            told = str(error).partition("\n")[0]
            raise ModelError(
                f"{name} is installed, but its model cannot be opened ({told}): open it once where the hub can be "
                f"reached, or uninstall {name}"
            ) from error
        if reader is not None:
            found[name] = reader
    return found


def _open_presidio() -> Reader | None:
    """Return the reader of English, None where spaCy has no English model: presidio would fetch one by itself."""
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry  # noqa: PLC0415  (optional, and seconds to import)
    from presidio_analyzer.nlp_engine import NlpEngineProvider  # noqa: PLC0415
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer  # noqa: PLC0415
    from spacy.util import get_installed_models  # noqa: PLC0415

    models = {size: model for size in _SIZES for model in get_installed_models() if f"en_core_web_{size}" in model}
    if not models:
        return None
    model = {"lang_code": "en", "model_name": next(iter(models.values()))}
    engine = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": [model]}).create_engine()
    registry = RecognizerRegistry([SpacyRecognizer(supported_entities=["PERSON"])])
    analyzer: Any = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
    return lambda text: [(one.start, one.end) for one in analyzer.analyze(text, language="en", entities=["PERSON"])]


def _open_koredact() -> Reader:
    from koredact import Masker  # noqa: PLC0415  (optional)

    masker: Any = Masker.from_pretrained()
    return lambda text: [(one.start, one.end) for one in masker.predict(text, types=["NAME"])]


def require_readers() -> None:
    """Raise UsageError, in a sentence, where nothing is installed that finds names."""
    if not _readers():
        raise UsageError(
            "the filter name needs presidio-analyzer and an English model of spaCy, or koredact for Korean: "
            "pip install 'cai[names]' && python -m spacy download en_core_web_lg"
        )


def _find(read: ReadItem, name: str) -> Spans:
    text = read.texts[name].text[:_LONGEST]
    found = (span for who, reader in _readers().items() if _LETTERS[who].search(text) for span in reader(text))
    return merged(sorted(found))


def merged(spans: Spans) -> Spans:
    """Return sorted spans, those that overlap as one."""
    kept: list[tuple[int, int]] = []
    for start, end in spans:
        if kept and start < kept[-1][1]:
            kept[-1] = (kept[-1][0], max(end, kept[-1][1]))
        else:
            kept.append((start, end))
    return kept


NAME = QualityFilter(
    "name",
    "text",
    "it has a person's name in it",
    _find,
    default="off",
    strict="off",
    mask="[name]",
    require=require_readers,
)
