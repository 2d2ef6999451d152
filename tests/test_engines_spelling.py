"""How options are spelled behind a text: laws over tokenizers that cut texts differently."""

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from benchmarks.embedded.tokenizer import load_tokenizer
from cai.core.errors import ModelError
from cai.models import TINY
from cai.models.base import NOT_THINKING, Choice, Request
from cai.models.conversation import Begun, ChatTokenizer
from cai.models.scoring import Spelling
from cai.models.token_engine import Drawing, Drawn, TokenEngine
from tests.real_model import MODEL, READY, WHY_NOT

_TEMPLATE = (
    "{% for message in messages %}<s>{{ message.role }}\n{{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
_CORPUS = [
    "user\nWhich is better?</s>assistant\nThe better response is (A) and not (B).",
    "Answer: (A)\n\n(B)\n\nYes, call a doctor. No. **A** \"B\" (A (B A) B) Antwort: A Antwort: B",
    "The better response is (A The better response is (B (Yes (No",
] * 20  # fmt: skip
_REAL = pytest.param("smollm2", marks=(pytest.mark.real, pytest.mark.skipif(not READY, reason=WHY_NOT)))
_KINDS = ("bytes", "merging bytes", "pieces", "embedded", _REAL)


def _trained(pre_tokenizer: Any, decoder: Any) -> transformers.PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoder
    alphabet = [*pre_tokenizers.ByteLevel.alphabet(), *map(chr, range(32, 127)), "▁", "\n"]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    fast.add_special_tokens({"additional_special_tokens": ["<s>"]})
    fast.chat_template = _TEMPLATE
    return fast


@cache
def _tokenizer(kind: str) -> Any:
    """Return one that cuts at words; one whose merges cross words and brackets; one of pieces with a space mark."""
    if kind == "embedded":
        return load_tokenizer(TINY)
    if kind == "smollm2":
        return transformers.AutoTokenizer.from_pretrained(MODEL)
    if kind == "pieces":
        return _trained(pre_tokenizers.Metaspace(prepend_scheme="never", split=False), decoders.Metaspace())
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "bytes")
    return _trained(bytes_, decoders.ByteLevel())


class KnowingEngine(TokenEngine):
    """Goes on with one of the given texts, drawn by weight, in the tokens that the tokenizer makes of the whole."""

    name, concurrency, context_length = "knowing", 8, None

    def __init__(self, tokenizer: Any, before: str, weights: dict[str, float]) -> None:
        super().__init__(ChatTokenizer(tokenizer, None))
        self.passes = 0
        self._before = before
        self._weights = weights

    async def _score(self, prompt: list[int], spellings: Sequence[Spelling]) -> tuple[dict[Spelling, float], int]:
        self.passes += 1
        whole = {text: self._chat.encode_prompt(_ASKED, "off", Begun(self._before + text)) for text in self._weights}
        here = {text: ids for text, ids in whole.items() if ids[: len(prompt)] == prompt}
        total = sum(self._weights[text] for text in here)
        seen = {}
        for path in spellings:
            goes = [text for text, ids in here.items() if tuple(ids[len(prompt) : len(prompt) + len(path)]) == path]
            seen[path] = sum(self._weights[text] for text in goes) / total if total else 0.0
        return seen, 0

    async def _draw(self, drawing: Drawing) -> Drawn:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is held."""


_ASKED: Any = ({"role": "user", "content": "Which is better?"},)
_OVERLOOKED = 0.02 + 1e-9  # a hundredth of one dressed form or another is not looked at again; rounding
_OTHERS = ("neither of them", "I think", "\n\n", "1", " so")


def _forms(kind: str, option: str) -> list[str]:
    bare = [option, f"({option})", f"**{option}**", f'"{option}"']
    behinds = ("", ")", ". So it is.") if kind not in ("merging bytes", "pieces") else ("",)  # one token: `r. S`
    return [f"{space}{form}{behind}" for space in ("", " ") for form in bare for behind in behinds]


def _choose(engine: TokenEngine, prefill: str, options: Sequence[str]) -> Choice:
    return asyncio.run(engine.choose(Request(_ASKED, thinking=NOT_THINKING, prefill=prefill), options))


@pytest.mark.parametrize("kind", _KINDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_choice_is_how_likely_the_options_are_in_the_model_s_own_tokens(kind: str, data: st.DataObject) -> None:
    options = data.draw(st.sampled_from([("A", "B"), ("Yes", "No"), ("call a doctor", "No", "1")]))
    prefill = data.draw(st.sampled_from(["", "(", "The better response is (", "Answer:", "Antwort: ", "**", "\n\n"]))
    texts = [*(form for option in options for form in _forms(kind, option)), *_OTHERS]
    drawn = data.draw(st.lists(st.sampled_from(texts), min_size=1, max_size=12, unique=True))
    numbers = data.draw(st.lists(st.integers(1, 20), min_size=len(drawn), max_size=len(drawn)))
    weights = {text: number / sum(numbers) for text, number in zip(drawn, numbers, strict=True)}
    engine = KnowingEngine(_tokenizer(kind), prefill, weights)
    choice = _choose(engine, prefill, options)
    said = [sum(weights.get(form, 0.0) for form in _forms(kind, option)) for option in options]
    assert choice.mass <= 1
    assert sum(choice.probabilities) == pytest.approx(1)
    if not _melts_further(engine, prefill, weights, options):
        assert choice.mass == pytest.approx(sum(said), abs=_OVERLOOKED)
        assert [share * choice.mass for share in choice.probabilities] == pytest.approx(said, abs=_OVERLOOKED)


def _melts_further(engine: KnowingEngine, prefill: str, weights: dict[str, float], options: Sequence[str]) -> bool:
    """Return whether some texts take back more of the prompt than the options do: no path of tokens sees them."""
    chat = engine._chat
    back = chat.spell(options, "off", Begun("", prefill)).back
    prompt = chat.encode_prompt(_ASKED, "off", Begun("", prefill))
    kept = prompt[: len(prompt) - back]
    whole = (chat.encode_prompt(_ASKED, "off", Begun(prefill + text)) for text in weights)
    return any(ids[: len(kept)] != kept for ids in whole)


@pytest.mark.parametrize("kind", _KINDS)
def test_letters_behind_a_prefill_take_one_pass(kind: str) -> None:
    engine = KnowingEngine(_tokenizer(kind), "The better response is (", {"A)": 0.7, "B)": 0.2, "neither": 0.1})
    choice = _choose(engine, "The better response is (", ("A", "B"))
    assert engine.passes == 1
    assert choice.mass == pytest.approx(0.9)
    assert choice.probabilities[0] == pytest.approx(7 / 9)


def test_a_bracket_and_a_letter_that_melt_into_one() -> None:
    tokenizer = _tokenizer("merging bytes")
    prefill = "The better response is ("
    spelled = ChatTokenizer(tokenizer, None).spell(("A", "B"), "auto", Begun("", prefill))
    assert spelled.back >= 1
    assert len(spelled.begun) > 1
    whole = tokenizer.convert_ids_to_tokens(spelled.plain[0][0])
    assert any("(A" in token for token in whole)


def test_a_letter_in_brackets_is_looked_at_where_the_model_begins_so() -> None:
    tokenizer = _tokenizer("embedded")
    plain = KnowingEngine(tokenizer, "", {"A": 0.6, "B": 0.395, "(A)": 0.005})
    choice = _choose(plain, "", ("A", "B"))
    assert plain.passes == 1
    assert choice.mass == pytest.approx(0.995)
    dressed = KnowingEngine(tokenizer, "", {"A": 0.2, "(B)": 0.5, "**A**": 0.2, "I think": 0.1})
    choice = _choose(dressed, "", ("A", "B"))
    assert dressed.passes == 2
    assert choice.mass == pytest.approx(0.9)
    assert choice.probabilities == pytest.approx([4 / 9, 5 / 9])


def test_a_word_counts_in_small_letters_and_a_letter_does_not() -> None:
    weights = {" no": 0.3, "No": 0.2, "YES": 0.1, "a": 0.1, "so": 0.3}
    assert _choose(KnowingEngine(_tokenizer("embedded"), "", weights), "", ("Yes", "No")).mass == pytest.approx(0.5)
    assert _choose(KnowingEngine(_tokenizer("embedded"), "", weights), "", ("A", "B")).mass == 0
    assert _choose(KnowingEngine(_tokenizer("embedded"), "", weights), "", ("No", "no")).mass == pytest.approx(0.5)


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("prefill", ["", "(", "Answer: "])
def test_no_path_of_an_option_begins_another_of_it(kind: str, prefill: str) -> None:
    spelled = ChatTokenizer(_tokenizer(kind), None).spell(("A", "B", "Yes"), "auto", Begun("", prefill))
    for near, far in zip(spelled.plain, spelled.dressed, strict=True):
        ways = [*near, *far]
        assert len(set(ways)) == len(ways)
        assert not [one for one in ways for other in ways if one != other and other[: len(one)] == one]
    with pytest.raises(ModelError, match="spelled alike"):
        ChatTokenizer(_tokenizer(kind), None).spell(("A", " A"))
