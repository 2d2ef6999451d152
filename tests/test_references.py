"""Answers beside right answers: the packages' own figures, Korean tokens, intervals, and the judge's word."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

from cai.core.errors import RequestError
from cai.core.records import Message, Prompt
from cai.evaluate.measuring import ModelEntries
from cai.evaluate.usefulness import references as module
from cai.evaluate.usefulness.overlap import Tokens, bleu_of, chrf_of, overlap
from cai.evaluate.usefulness.references import AGREES, agreement, with_references
from tests.building import make_engine, user
from tests.evaluating import examined, made_answer, opened_model

ANSWERS = (
    "Keep the insulin in the refrigerator, and never freeze it.",
    "A week is usual for a cough.",
    "물을 많이 드시고 쉬세요.",
    "Call a doctor today if the pain gets worse.",
)
RIGHT = (
    ("Keep insulin in the refrigerator; do not freeze it.", "Store it cold but never frozen."),
    ("A cough usually lasts a week or two.",),
    ("물을 충분히 마시고 푹 쉬세요.",),
    ("Call a doctor today if the pain gets worse.",),
)


def prompts(count: int = 4) -> tuple[Prompt, ...]:
    return tuple(
        Prompt(f"q{number}", number, (user(f"Question {number}?"),), references=RIGHT[number % 4])
        for number in range(count)
    )


@given(st.text(st.characters(codec="ascii")))
def test_english_tokens_are_those_of_rouge_score(text: str) -> None:
    assert Tokens().tokenize(text) == DefaultTokenizer().tokenize(text)


def test_korean_keeps_its_syllables() -> None:
    assert Tokens().tokenize("약을 2알, Café에서 薬を") == [*"약을", "2", *"알", "café", *"에서薬を"]
    assert DefaultTokenizer().tokenize("물을 마시고 쉬세요") == []
    assert overlap("물을 마시고 쉬세요", ("물을 마시고 쉬세요",)).rouge == (1, 1, 1)
    one, two, longest = overlap("물을 드시고", ("물도 드시고",)).rouge
    assert (one, two, longest) == pytest.approx((4 / 5, 2 / 4, 4 / 5)), "particles do not make words differ wholly"
    jamo = "물"
    assert Tokens().tokenize(jamo) == ["물"]


def test_sums_over_answers_are_the_packages_figures_of_the_whole() -> None:
    found = [overlap(answer, right) for answer, right in zip(ANSWERS, RIGHT, strict=True)]
    streams: Any = [[right[0] for right in RIGHT], [right[1] if len(right) > 1 else None for right in RIGHT]]
    words, letters = sacrebleu.BLEU(force=True), sacrebleu.CHRF()
    assert bleu_of(np.array([one.bleu for one in found]).sum(axis=0)[None])[0] == pytest.approx(
        words.corpus_score(list(ANSWERS), streams).score
    )
    assert chrf_of(np.array([one.chrf for one in found]).sum(axis=0)[None])[0] == pytest.approx(
        letters.corpus_score(list(ANSWERS), streams).score
    )
    english = RougeScorer(["rouge1", "rouge2", "rougeL"]).score_multi(list(RIGHT[0]), ANSWERS[0])
    assert found[0].rouge == pytest.approx(tuple(english[name].fmeasure for name in ("rouge1", "rouge2", "rougeL")))


def agreeing(messages: tuple[Message, ...], _: Sequence[str]) -> Sequence[float]:
    assert messages[-1]["content"].startswith("Does your last response meet this criterion? It says in substance")
    return (0.9, 0.05) if "never" in messages[-2]["content"] else (0.1, 0.8)


def entries(label: str, answers: Sequence[str]) -> ModelEntries[module.ReferenceEntry]:
    (examination,) = with_references(None, prompts(len(answers)))  # type: ignore[arg-type]
    engine = make_engine(lambda _: "", agreeing)
    said = [made_answer(f"q{number}", text) for number, text in enumerate(answers)]
    return examined(examination, opened_model(engine, engine, *said, label=label))


def test_a_model_is_measured_beside_right_answers_with_intervals_and_differences() -> None:
    items = prompts(20)
    (examination,) = with_references(None, (*items, replace(items[0], id="none", references=())))  # type: ignore[arg-type]
    assert len(examination.items) == 20, "prompts without references are no items"
    right = entries("right", [RIGHT[number % 4][0] for number in range(20)])
    close = entries("close", [ANSWERS[number % 4] for number in range(20)])
    section = examination.section([right, close], "right", seed=0)
    best, other = section.models
    assert [one.name for one in best.measurements] == [
        AGREES, "ROUGE-1", "ROUGE-2", "ROUGE-L", "BLEU", "chrF",
    ]  # fmt: skip
    for name in ("BLEU", "chrF"):
        assert best.measurement(name).value == pytest.approx(100)  # type: ignore[union-attr]
        found, less = other.measurement(name), other.difference(name)
        assert found is not None
        assert less is not None
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.value < found.high < 100
        assert less.value == pytest.approx(found.value - 100)
        assert other.differs(name)
    assert other.measurement("BLEU").value == pytest.approx(  # type: ignore[union-attr]
        sacrebleu.corpus_bleu(list(ANSWERS), [[r[0] for r in RIGHT], [r[-1] for r in RIGHT]]).score
    )
    assert other.measurement(AGREES).value == pytest.approx(5 / 20)  # type: ignore[union-attr]
    assert section.details["BLEU"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_a_question_that_fails_and_an_answer_that_is_missing_are_counted() -> None:
    def refusing(messages: tuple[Message, ...], _: Sequence[str]) -> Sequence[float]:
        if "week" in messages[-2]["content"]:
            raise RequestError("too long", retryable=False, kind="http 400")
        return (0.1, 0.1)  # the judge wants to say something else

    (examination,) = with_references(None, prompts())  # type: ignore[arg-type]
    engine = make_engine(lambda _: "", refusing)
    said = [made_answer(f"q{number}", text) for number, text in enumerate(ANSWERS[:3])]
    (result,) = examination.section([examined(examination, opened_model(engine, engine, *said))], None, 0).models
    assert result.unanswered == {AGREES: 3}
    assert result.failed_gates == {"score: too long": 1}
    assert result.failures == {"response: the model has no answer to this prompt": 1}
    assert result.measurement("chrF").count == 3  # type: ignore[union-attr]


def test_without_the_packages_the_judge_alone_is_asked_and_one_sentence_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "installed", lambda: False)
    (examination,) = with_references(None, prompts())  # type: ignore[arg-type]
    assert [measure.name for measure in examination.measures] == [AGREES]
    assert examination.conclude({}, 0).remarks == (
        "BLEU, chrF and ROUGE need sacrebleu and rouge-score: pip install 'cai[references]'",
    )


def test_the_judge_is_asked_in_the_language_of_its_templates() -> None:
    assert agreement("ko", ("쉬세요.", "주무세요.")).endswith("기준 답변: 쉬세요. 또는: 주무세요.")
    assert agreement("de", ("Rest.",)) == agreement("en", ("Rest.",))
