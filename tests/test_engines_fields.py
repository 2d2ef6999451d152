"""What a server says, whatever it is: typed values or a sentence, never anything else."""

import contextlib
import json
import math
import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.core.errors import ContextError, RequestError
from cai.models.base import Choice, Completion
from cai.models.fields import DamagedError, count, log_probability, parse, text
from cai.models.openai.attempts import AttemptError, BusyError, retry_after
from cai.models.openai.chat import (
    ErrorInsideError,
    Said,
    begins_thought,
    read_choice,
    read_completion,
    read_said,
    weigh_options,
)
from cai.models.openai.refusals import refusal

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
NAMES = [
    "error",
    "choices",
    "message",
    "content",
    "finish_reason",
    "usage",
    "logprobs",
    "code",
    "detail",
    "text",
    "type",
]
NAMES += ["prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "status", "errors", "token"]
NAMES += ["logprob", "top_logprobs", "reasoning", "reasoning_content", "thinking", "system_fingerprint"]
NAMES += ["completion_tokens_details", "reasoning_tokens"]


def good() -> dict[str, Any]:
    top = [{"token": "A", "logprob": -0.4}, {"token": "B", "logprob": -1.2}, {"token": "x", "logprob": -9999.0}]
    choice = {
        "message": {"content": "hello", "reasoning": "hm", "thinking": None},
        "finish_reason": "stop",
        "logprobs": {"content": [{"top_logprobs": top}]},
    }
    details = {"cached_tokens": 4}
    return {
        "choices": [choice],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": details},
    }


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every place within a JSON value, as what holds it and its name there."""
    names = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for name in names for place in [(value, name), *places(value[name])]]


def check(raw: bytes) -> None:
    """Read an answer both ways: what comes out is sound, or one of our own errors."""
    with contextlib.suppress(RequestError, ErrorInsideError):
        completion = read_completion(raw, 16, begun=len(raw) % 2 > 0)
        assert isinstance(completion, Completion)
        (completion.text + completion.reasoning).encode()  # no half characters
        assert completion.finish_reason in ("stop", "length")
        for tokens in (completion.prompt_tokens, completion.cached_tokens, completion.completion_tokens):
            assert type(tokens) is int
            assert 0 <= tokens < 2**31
    with contextlib.suppress(RequestError, ErrorInsideError):
        choice = read_choice(raw, ("A", "B"))
        assert isinstance(choice, Choice)
        assert 0 <= choice.mass <= 1
        assert sum(choice.probabilities) == pytest.approx(1)
        assert all(0 <= probability <= 1 for probability in choice.probabilities)
    with contextlib.suppress(RequestError, ErrorInsideError, DamagedError):
        assert isinstance(read_said(raw), Said)
        assert begins_thought(raw) in (True, False)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), JSON)
def test_any_value_in_any_place_is_read_or_refused(place: int, value: Any) -> None:
    answer = good()
    everywhere = places(answer)
    holder, name = everywhere[place % len(everywhere)]
    holder[name] = value
    check(json.dumps(answer).encode())


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6), st.integers(200, 599))
def test_any_answer_with_known_names_is_read_or_refused(answer: dict[str, Any], status: int) -> None:
    raw = json.dumps(answer).encode()
    check(raw)
    error = refusal(status, raw, host="a:1", model="m")
    assert str(error).isprintable()
    assert len(str(error)) < 500


@given(st.binary(max_size=60), st.integers(0, 300))
def test_any_bytes_are_read_or_refused(raw: bytes, place: int) -> None:
    whole = orjson.dumps(good())
    check(raw)
    check(whole[:place] + raw + whole[place + len(raw) :])
    assert str(refusal(500, raw, host="a:1", model="m")).isprintable()


def test_counts_are_whole_numbers_or_not_counted() -> None:
    assert [count(value) for value in (0, 7, 7.0, 2**31 - 1)] == [0, 7, 7, 2**31 - 1]
    bad: tuple[Any, ...] = (-1, 7.5, "7", True, None, [7], {}, 2**31, 2**70, 1e300, math.nan, math.inf)
    assert [count(value) for value in bad] == [0] * len(bad)


def test_log_probabilities_are_at_most_nothing_or_no_numbers() -> None:
    assert [log_probability(value) for value in (-0.5, -2, 0, 1e-6)] == [-0.5, -2.0, 0.0, 0.0]
    assert math.exp(log_probability(-9999)) == 0.0
    for value in (-math.inf, "-inf", "-Infinity", -1e300, -(10**400)):
        assert log_probability(value) == -math.inf
    none: tuple[Any, ...] = (None, math.nan, math.inf, 0.3, 7, "0.1", "NaN", True, False, [], {})
    for value in none:
        assert math.isnan(log_probability(value)), value


def test_what_is_not_a_number_spoils_the_options_that_it_counts_for_and_no_others() -> None:
    nan = math.nan
    for tokens in ([("A", nan), ("A", -1.0)], [("A", -1.0), (" A", nan)], [("A", -1.0), ("A", nan)]):
        weights = weigh_options([*tokens, ("B", -1.0)], ("A", "B"))
        assert math.isnan(weights[0])
        assert weights[1] == pytest.approx(math.exp(-1))
    assert weigh_options([("A", -1.0), ("x", nan)], ("A", "B")) == pytest.approx([math.exp(-1), 0.0])


def test_a_mass_above_one_is_refused_and_one_from_rounding_is_one() -> None:
    answer = good()
    top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    top[0]["logprob"] = top[1]["logprob"] = -0.1
    with pytest.raises(AttemptError, match="log-probabilities are none"):
        read_choice(orjson.dumps(answer), ("A", "B"))
    top[0]["logprob"], top[1]["logprob"] = 1e-5, -6.0
    assert read_choice(orjson.dumps(answer), ("A", "B")).mass == 1.0


def test_damaged_text_is_told_with_what_is_left_of_it() -> None:
    for raw in (b'{"a": "x\\ud800y"}', b'{"a": "x\xffy"}'):
        with pytest.raises(DamagedError) as caught:
            parse(raw)
        assert caught.value.kept == {"a": "x\ufffdy"}
    assert parse(b'{"a": "\\ud83d\\ude00", "b": NaN, "c": -Infinity}')["a"] == "\U0001f600"
    for raw in (b'{"a": ', b"", b"[" * 100_000, b"9" * 10_000 + b"x"):
        with pytest.raises(orjson.JSONDecodeError):
            parse(raw)


def test_text_parts_are_joined() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, "b", {"type": "text", "text": None}]
    assert (text("x"), text(parts), text([]), text(None), text({"text": "x"})) == ("x", "ab", None, None, None)


def test_an_unknown_end_after_all_tokens_is_the_limits() -> None:
    answer = good()
    answer["choices"][0]["finish_reason"] = None
    assert read_completion(orjson.dumps(answer), 2).finish_reason == "length"
    assert read_completion(orjson.dumps(answer), 3).finish_reason == "stop"


def test_a_refusal_is_known_by_its_own_words_and_not_by_the_request_that_it_repeats() -> None:
    def of(status: int, body: dict[str, Any]) -> RequestError:
        return refusal(status, orjson.dumps(body), host="a:1", model="m")

    repeated = {"detail": [{"msg": "no", "input": "rate limit exceeded in the context window"}]}
    assert of(422, repeated).kind == "http 422"
    assert str(of(422, repeated)) == "a:1 answered 422: no"
    assert isinstance(of(400, {"error": {"message": "x", "code": "context_length_exceeded"}}), ContextError)
    assert isinstance(of(403, {"error": {"message": "x", "type": "rate_limit_error"}}), BusyError)
    assert str(of(418, {"error": {"message": "\x1b]52;c;aGk=\x07 a\n\nb"}})) == "a:1 answered 418: ]52;c;aGk= a b"


@given(st.text(max_size=30) | st.from_regex(r"\A(Mon|Fri), \d{2} (Jan|Dec) \d{1,5} \d\d:\d\d:\d\d [+-]?\w{2,5}\Z"))
def test_any_retry_after_is_seconds_or_nothing(header: str) -> None:
    seconds = retry_after(header)
    assert seconds is None or seconds >= 0


def test_the_order_of_a_choice_does_not_matter() -> None:
    answer = good()
    random.Random(0).shuffle(answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"])
    assert read_choice(orjson.dumps(answer), ("A", "B")) == read_choice(orjson.dumps(good()), ("A", "B"))


def answered(reason: str = "stop", **message: Any) -> bytes:
    return orjson.dumps({"choices": [{"message": message, "finish_reason": reason}]})


PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "hi"}]


@pytest.mark.parametrize(
    "message",
    [
        {"content": "hi", "reasoning": "hm"},
        {"content": "hi", "reasoning": None, "reasoning_content": "hm"},
        {"content": "hi", "reasoning": "", "reasoning_content": 7, "thinking": "hm"},
        {"content": "hi", "reasoning": [{"type": "text", "text": "hm"}]},
        {"content": PARTS},
        {"content": [{"type": "reasoning", "text": "hm"}, "hi"]},
        {"content": "<think>hm</think>hi"},
        {"content": "hm\n</think>\n\nhi"},
    ],
)
def test_a_thought_is_read_from_wherever_it_stands(message: dict[str, Any]) -> None:
    completion = read_completion(answered(**message), 16)
    assert (completion.text, completion.reasoning) == ("hi", "hm")
    cut = {**message, "content": None if "reasoning" in message else PARTS[:1]}
    completion = read_completion(answered("length", **cut), 16)
    assert (completion.text, completion.reasoning, completion.finish_reason) == ("", "hm", "length")


def test_a_text_beside_a_thought_may_speak_of_tags() -> None:
    said = "<think> is a tag, and </think> ends it."
    assert read_completion(answered(content=said, reasoning="hm"), 16).text == said


def test_the_rest_of_a_begun_turn_is_text_whatever_the_server_calls_it() -> None:
    completion = read_completion(answered("length", content=None, reasoning_content="hi"), 16, begun=True)
    assert (completion.text, completion.reasoning) == ("hi", "")


def test_a_hidden_thought_that_fills_the_limit_is_told() -> None:
    answer = orjson.loads(answered("length", content=""))
    answer["usage"] = {"completion_tokens": 512, "completion_tokens_details": {"reasoning_tokens": 512}}
    with pytest.raises(RequestError, match="512 tokens were all thought, which the server does not show") as caught:
        read_completion(orjson.dumps(answer), 512)
    assert caught.value.kind == "all thought"


def test_letters_count_in_brackets_and_brackets_alone_do_not() -> None:
    tokens = ["A", " A", "(A", "A)", "**A", '"A".', "B", "(B)", "(", " (", "AB", "The"]
    assert weigh_options([(token, math.log(0.05)) for token in tokens], ("A", "B")) == pytest.approx([0.3, 0.1])
    assert weigh_options([("(A)", -1.0), ("A", -2.0)], ("(A)", "(B)")) == pytest.approx([math.exp(-1), 0.0])
