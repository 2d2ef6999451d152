"""What engines that see tokens do alike: thoughts with and without a budget, begun answers, choices behind them."""

import asyncio
from typing import Any

import pytest

from cai.core.records import Message
from cai.models.base import NOT_THINKING, Choice, Completion, Request, Sampling, Thinking
from tests.telling_model import KNOWING, OPENING, PLAIN, SWITCHED, TellingEngine, tokenizer

ASKED: tuple[Message, ...] = ({"role": "user", "content": "Is tea safe?"},)
THOUGHT = "Tea is a drink. "
ON = Thinking("on")


def thinker(turn: str, *, opening: bool = False) -> str:
    """Return how a turn goes on that thinks, answers `Yes, it is.`, and in which no one else wrote anything."""
    whole = ("" if opening else "<think>\n") + f"{THOUGHT}\n</think>\n\nYes, it is."
    if whole.startswith(turn):
        return whole[len(turn) :]
    said = turn.rsplit("</think>", 1)
    if len(said) == 1:
        return f"{THOUGHT}\n</think>\n\nYes, it is."[len(turn.removeprefix("<think>\n")) :]
    if not said[1].startswith("\n\n"):
        return "\n\nYes, it is."[len(said[1]) :]
    rest = said[1].lstrip()
    return "Yes, it is."[len(rest) :] if "Yes, it is.".startswith(rest) else " A) it is."


def opened(turn: str) -> str:
    return thinker(turn.removeprefix("<think>\n"), opening=True)


def complete(engine: TellingEngine, **settings: Any) -> Completion:
    return asyncio.run(engine.complete(Request(ASKED, **settings)))


def choose(engine: TellingEngine, *options: str, **settings: Any) -> Choice:
    return asyncio.run(engine.choose(Request(ASKED, **settings), options))


@pytest.mark.parametrize(
    ("template", "says"), [(OPENING, opened), (SWITCHED, thinker), (KNOWING, thinker)], ids=["opens", "switch", "knows"]
)
def test_a_thought_is_no_part_of_the_text(template: str, says: Any) -> None:
    engine = TellingEngine(tokenizer(template), says)
    completion = complete(engine)
    assert (completion.text, completion.reasoning, completion.finish_reason) == ("Yes, it is.", THOUGHT.strip(), "stop")
    assert len(engine.drawings) == 1
    assert engine.scored == 0


@pytest.mark.parametrize(
    ("template", "says"), [(OPENING, opened), (SWITCHED, thinker), (KNOWING, thinker)], ids=["opens", "switch", "knows"]
)
@pytest.mark.parametrize("budget", [0, 1, 3, 500, None])
def test_a_thought_has_its_own_budget(template: str, says: Any, budget: int | None) -> None:
    engine = TellingEngine(tokenizer(template), says)
    completion = complete(engine, thinking=Thinking("auto", budget))
    assert completion.text == "Yes, it is."
    assert completion.finish_reason == "stop"
    assert THOUGHT.startswith(completion.reasoning)
    assert (completion.reasoning == THOUGHT.strip()) == (budget in (500, None))
    if budget is not None and budget < 500:
        thought, text = [*engine.drawings] if budget else [None, *engine.drawings]
        assert thought is None or thought.limit == budget
        assert text is not None
        assert text.limit == Sampling().max_tokens
        assert engine.text(text.prompt).endswith("\n</think>\n\n")
        assert "\n\n</think>" not in engine.text(text.prompt).removesuffix("<think>\n\n</think>\n\n")
        assert completion.completion_tokens > budget


def test_a_thought_that_fills_the_limit_leaves_no_text() -> None:
    engine = TellingEngine(tokenizer(OPENING), opened)
    for stop in ((), ("it",)):
        completion = complete(engine, sampling=Sampling(max_tokens=3, stop=stop))
        assert completion.text == ""
        assert completion.reasoning
        assert THOUGHT.startswith(completion.reasoning)
        assert completion.finish_reason == "length"
        assert completion.completion_tokens == 3


def test_a_thought_and_a_text_share_the_limit_without_a_budget() -> None:
    engine = TellingEngine(tokenizer(OPENING), opened)
    whole = complete(engine)
    for prefill in ("", "Yes"):
        for tokens in range(whole.completion_tokens - 4, whole.completion_tokens):
            completion = complete(engine, sampling=Sampling(max_tokens=tokens), prefill=prefill)
            assert completion.completion_tokens <= tokens
            assert completion.reasoning == THOUGHT.strip()
            assert "Yes, it is.".startswith(prefill + completion.text)


def test_off_is_what_the_template_does_for_it() -> None:
    engine = TellingEngine(tokenizer(SWITCHED), thinker)
    completion = complete(engine, thinking=NOT_THINKING)
    assert (completion.text, completion.reasoning) == ("Yes, it is.", "")
    assert engine.text(engine.drawings[0].prompt).endswith("<think>\n\n</think>\n\n")
    assert not asyncio.run(engine.thinks("off"))
    assert asyncio.run(engine.thinks("auto"))
    assert asyncio.run(engine.thinks("on"))


@pytest.mark.parametrize(("template", "says"), [(OPENING, opened), (KNOWING, thinker)], ids=["opens", "knows"])
def test_a_model_that_can_only_think_does_so_in_every_mode(template: str, says: Any) -> None:
    engine = TellingEngine(tokenizer(template), says)
    assert asyncio.run(engine.thinks("off"))
    completion = complete(engine, thinking=NOT_THINKING)
    assert (completion.text, completion.reasoning) == ("Yes, it is.", THOUGHT.strip())
    choice = choose(engine, "Yes", "No", thinking=NOT_THINKING)
    assert choice.probabilities == (1.0, 0.0)
    assert choice.mass == 1.0
    assert choice.reasoning == THOUGHT.strip()
    assert choice.completion_tokens > 3


def test_a_model_that_does_not_think_is_asked_once_and_not_made_to() -> None:
    engine = TellingEngine(tokenizer(KNOWING), lambda turn: "Yes, it is."[len(turn) :])
    for _ in range(3):
        choice = choose(engine, "Yes", "No", thinking=NOT_THINKING)
        assert (choice.probabilities, choice.reasoning, choice.completion_tokens) == ((1.0, 0.0), "", 1)
    assert engine.scored == 4
    assert not engine.drawings
    assert complete(engine, thinking=Thinking("on", 7), prefill="Yes,").text == " it is."
    assert len(engine.drawings) == 1


def test_a_model_that_thinks_though_it_was_turned_off_gets_an_empty_thought() -> None:
    template = SWITCHED.replace("<think>\n\n</think>\n\n", "/no_think\n")

    def says(turn: str) -> str:
        return thinker(turn.removeprefix("/no_think\n"))

    engine = TellingEngine(tokenizer(template), says)
    choice = choose(engine, "Yes", "No", thinking=NOT_THINKING)
    assert (choice.probabilities, choice.mass, choice.reasoning) == ((1.0, 0.0), 1.0, "")
    assert complete(engine, thinking=NOT_THINKING).text == "Yes, it is."


@pytest.mark.parametrize("mode", [NOT_THINKING, ON, Thinking("on", 2), Thinking("auto", 0)], ids=str)
def test_an_answer_that_was_begun_stands_behind_the_thought(mode: Thinking) -> None:
    engine = TellingEngine(tokenizer(SWITCHED), thinker)
    completion = complete(engine, prefill="Yes, ", thinking=mode)
    assert completion.text == "it is."
    prompt = engine.text(engine.drawings[-1].prompt)
    assert prompt.endswith("</think>\n\nYes, ")
    assert bool(completion.reasoning) == (mode in (ON, Thinking("on", 2)))


def test_a_choice_stands_behind_thought_and_prefill() -> None:
    engine = TellingEngine(tokenizer(SWITCHED), thinker)
    choice = choose(engine, "A", "B", thinking=ON, prefill="The better one is (")
    assert choice.mass == 1.0
    assert choice.probabilities == (1.0, 0.0)
    assert choice.reasoning == THOUGHT.strip()
    cut = choose(engine, "A", "B", thinking=Thinking("on", 2), prefill="The better one is (")
    assert cut.mass == 1.0
    assert THOUGHT.startswith(cut.reasoning)
    assert cut.completion_tokens < choice.completion_tokens


def test_a_text_ends_before_the_first_stop_and_a_thought_does_not() -> None:
    engine = TellingEngine(tokenizer(OPENING), lambda turn: opened(turn).replace("Yes, it is.", "Yes, it is. Tea it"))
    completion = complete(engine, sampling=Sampling(stop=("Tea", "it is")))
    assert (completion.text, completion.reasoning, completion.finish_reason) == ("Yes, ", THOUGHT.strip(), "stop")
    plain = TellingEngine(tokenizer(PLAIN), lambda turn: "One. Two. Three."[len(turn) :])
    stopped = complete(plain, sampling=Sampling(stop=(" Two",)))
    assert (stopped.text, stopped.finish_reason) == ("One.", "stop")
    assert stopped.completion_tokens < complete(plain).completion_tokens
    assert complete(plain, sampling=Sampling(stop=("Four",))).text == "One. Two. Three."
    assert complete(plain, sampling=Sampling(stop=("One",)), prefill="One.").text == " Two. Three."


def test_special_tokens_that_are_tags_are_seen_and_no_others() -> None:
    marks = ["[THINK]", "[/THINK]", "<|pause|>"]
    made = tokenizer(PLAIN, marks)
    engine = TellingEngine(made, lambda _: "[THINK]Hm.<|pause|>[/THINK]Yes,<|pause|> it is.")
    completion = complete(engine)
    assert (completion.text, completion.reasoning) == ("Yes, it is.", "Hm.")
    harmony = tokenizer(PLAIN, ["<|channel|>", "<|message|>", "<|start|>"])
    said = "<|channel|>analysis<|message|>Hm.<|start|>assistant<|channel|>final<|message|>Yes."
    completion = complete(TellingEngine(harmony, lambda _: said))
    assert (completion.text, completion.reasoning) == ("Yes.", "Hm.")


def test_a_thought_leaves_room_for_the_text_in_a_short_context() -> None:
    made = tokenizer(OPENING)
    length = len(TellingEngine(made, opened)._chat.encode_prompt(ASKED))
    engine = TellingEngine(made, opened, context_length=length + 30)
    completion = complete(engine, sampling=Sampling(max_tokens=16), thinking=Thinking("on", 500))
    assert completion.text == "Yes, it is."
    assert all(len(drawing.prompt) + drawing.limit <= length + 30 for drawing in engine.drawings)
