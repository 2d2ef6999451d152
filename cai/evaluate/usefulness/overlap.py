"""How much of a right answer's wording an answer has: BLEU, chrF and ROUGE, by the packages that everybody reports.

| figure | package and how | source |
|---|---|---|
| BLEU | sacrebleu, tokens of WMT's 13a, smoothed exponentially | Papineni et al. 2002; Post 2018 (arXiv 1804.08771) |
| chrF | sacrebleu, character 6-grams, beta 2 | Popović 2015 |
| ROUGE-1, -2, -L | rouge-score, F1 | Lin 2004 |

BLEU and chrF are of all answers together: of each answer the matches are kept, and added up. ROUGE is the mean over
answers, each beside the reference that it fits best. rouge-score's own tokens are runs of `a` to `z` and digits, which
leaves nothing of Korean; `Tokens` gives the same for English, other letters too, and each syllable of Korean (each
character of Chinese and Japanese) by itself, since particles are glued to words there.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from cai.evaluate.statistics import Numbers

MISSING = "BLEU, chrF and ROUGE need sacrebleu and rouge-score: pip install 'cai[references]'"
ROUGE = ("rouge1", "rouge2", "rougeL")

_SYLLABLE = (
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"  # Hangul: jamo, compatibility jamo, syllables
    "\u3040-\u30ff"  # Kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
)
_TOKEN = re.compile(rf"[{_SYLLABLE}]|[^\W_{_SYLLABLE}]+")


def installed() -> bool:
    """Tell whether the packages are there."""
    return all(find_spec(name) is not None for name in ("sacrebleu", "rouge_score"))


class Tokens:
    """rouge-score's interface of a tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        """Return runs of letters and digits in lower case, and each syllable of scripts without spaces by itself."""
        return _TOKEN.findall(unicodedata.normalize("NFC", text).lower())


@dataclass(frozen=True, slots=True)
class WordingOverlap:
    """An answer beside its references: the counts that BLEU and chrF are made of, and ROUGE's F1 in `ROUGE`'s order.

    `bleu`: the answer's tokens, the closest reference's, then matches and n-grams of length one to four. `chrf`: of
    each length the answer's n-grams, the reference's and those in both.
    """

    bleu: tuple[float, ...]
    chrf: tuple[float, ...]
    rouge: tuple[float, ...]


@lru_cache(maxsize=100_000)
def overlap(answer: str, references: tuple[str, ...]) -> WordingOverlap:
    """Return how an answer lies beside one or more references; needs the packages."""
    bleu, chrf, rouge = _metrics()
    streams = [[reference] for reference in references]
    words = bleu.corpus_score([answer], streams)
    (letters,) = chrf._extract_corpus_statistics([answer], streams)  # no public way; a test holds them to the score
    found = rouge.score_multi(list(references), answer)
    return WordingOverlap(
        tuple(map(float, (words.sys_len, words.ref_len, *words.counts, *words.totals))),
        tuple(map(float, letters)),
        tuple(float(found[name].fmeasure) for name in ROUGE),
    )


def bleu_of(sums: Numbers) -> Numbers:
    """Return BLEU, 0 to 100, by sums of `WordingOverlap.bleu`, of shape (rows, 10)."""
    from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415  (an extra)

    return np.array(
        [
            BLEU.compute_bleu(list(row[2:6]), list(row[6:]), int(row[0]), int(row[1]), smooth_method="exp").score
            for row in sums.tolist()
        ]
    )


def chrf_of(sums: Numbers) -> Numbers:
    """Return chrF, 0 to 100, by sums of `WordingOverlap.chrf`, of shape (rows, 18)."""
    _, chrf, _ = _metrics()
    return np.array([chrf._compute_f_score(row) for row in sums.tolist()])


def signatures() -> dict[str, str]:
    """Return what sacrebleu and rouge-score are and how they counted, as papers state it; needs the packages."""
    from importlib.metadata import version  # noqa: PLC0415

    bleu, chrf, _ = _metrics()
    bleu.corpus_score(["a"], [["a"]])  # a signature counts the references of the last call
    chrf.corpus_score(["a"], [["a"]])
    told = {name: str(metric.get_signature()) for name, metric in (("BLEU", bleu), ("chrF", chrf))}
    return told | {"ROUGE": f"rouge-score {version('rouge-score')}, F1, tokens of cai"}


@cache
def _metrics() -> tuple[Any, Any, Any]:
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415  (an extra, like the next)
    from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415
    from sacrebleu.metrics.chrf import CHRF  # noqa: PLC0415

    return BLEU(force=True), CHRF(), RougeScorer(list(ROUGE), tokenizer=Tokens())
