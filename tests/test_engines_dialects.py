"""The server engine where models think and turns are begun: each dialect gives what a plain server gives."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from cai.core.errors import EngineGoneError, ModelError, RequestError
from cai.models.base import NOT_THINKING, Choice, Completion, Request, Sampling, Thinking
from cai.models.openai.engine import OpenAIEngine, open_openai
from tests.thinking_servers import THOUGHT, Model, serving

WORDS_OF_THOUGHT = len(THOUGHT.split())
QUESTION = Request(({"role": "user", "content": "A or B?"},), Sampling(max_tokens=64), 7)
GATE = replace(QUESTION, thinking=NOT_THINKING)
LETTERS = ("A", "B")
DIALECTS = {
    "plain": Model(),
    "tags": Model("tags"),
    "no opening tag": Model("no opening tag"),
    "mistral": Model("mistral"),
    "reasoning_content": Model("reasoning_content"),
    "reasoning": Model("reasoning"),
    "parts": Model("parts"),
    "harmony": Model("harmony"),
    "ollama": Model("ollama", obeys="reasoning_effort", continues="any", owner="someone"),
}


def asked(model: Model, work: Callable[[OpenAIEngine], Awaitable[Any]], **settings: Any) -> tuple[Any, list[str]]:
    """Return what comes of work with an engine for the model, and what a person was told."""
    told: list[str] = []
    model.bodies = []

    async def main(url: str) -> Any:
        engine = await open_openai("any", [url], say=told.append, **settings)
        try:
            return await work(engine)
        finally:
            await engine.close()

    with serving([model]) as (url,):
        return asyncio.run(main(url)), [line.replace(url.split("/")[2], "HOST") for line in told]


def complete(model: Model, request: Request = QUESTION) -> Completion:
    completion: Completion = asked(model, lambda engine: engine.complete(request))[0]
    return completion


def choose(model: Model, request: Request = GATE) -> Choice:
    choice: Choice = asked(model, lambda engine: engine.choose(request, LETTERS))[0]
    return choice


@pytest.mark.parametrize("model", DIALECTS.values(), ids=DIALECTS)
def test_a_text_is_the_same_in_every_dialect_and_the_thought_apart(model: Model) -> None:
    completion = complete(model)
    assert completion.text == complete(Model()).text
    assert completion.finish_reason == "stop"
    assert completion.reasoning == ("" if model.says == "plain" else THOUGHT)


@pytest.mark.parametrize("model", list(DIALECTS.values())[1:], ids=list(DIALECTS)[1:])
def test_a_thought_that_fills_the_limit_leaves_an_empty_text(model: Model) -> None:
    request = replace(QUESTION, sampling=Sampling(max_tokens=5))
    completion = complete(model, request)
    assert (completion.text, completion.finish_reason) == ("", "length")
    assert completion.reasoning == "Let me think about what"
    assert len([body for body in model.bodies if body["max_tokens"] == 5]) == 1


@pytest.mark.parametrize("model", DIALECTS.values(), ids=DIALECTS)
def test_letters_weigh_the_same_in_every_dialect(model: Model) -> None:
    choice = choose(model)
    plain = choose(Model())
    assert choice.probabilities == pytest.approx(plain.probabilities)
    assert choice.mass == pytest.approx(0.95)
    assert choice.reasoning == ""


@pytest.mark.parametrize("prefill", ["", "The better response is ("])
@pytest.mark.parametrize("place", ["tags", "reasoning_content", "harmony"])
@pytest.mark.parametrize("continues", ["flag", "any"])
def test_a_model_that_can_only_think_is_read_behind_its_thought(prefill: str, place: str, continues: str) -> None:
    model = Model(place, obeys="nothing", continues=continues)
    choice, told = asked(model, lambda engine: engine.choose(replace(GATE, prefill=prefill), LETTERS))
    assert choice.probabilities == pytest.approx(choose(Model()).probabilities)
    assert choice.mass == pytest.approx(0.95)
    assert choice.reasoning == THOUGHT
    assert told == ["the model of HOST thinks although it is told not to: it can only think"]
    turn = model.bodies[-1]["messages"][-1]
    assert turn["content"] == f"<think>\n{THOUGHT}\n</think>\n\n{prefill}"
    assert choice.completion_tokens == WORDS_OF_THOUGHT + 12 + 1


def test_a_thought_before_a_choice_is_as_long_as_its_budget() -> None:
    model = Model("reasoning")
    request = replace(GATE, thinking=Thinking("on", 4))
    choice = choose(model, request)
    assert choice.reasoning == "Let me think about"
    assert model.bodies[-1]["messages"][-1]["content"] == "<think>\nLet me think about\n</think>\n\n"


def test_where_no_turn_is_continued_behind_a_thought_one_sentence_says_what_can() -> None:
    for model in (Model("tags", obeys="nothing", continues=""), Model("tags", obeys="nothing", keeps_thoughts=False)):
        with pytest.raises(RequestError, match=r"does not continue a turn .* thought.*--judge-by text") as caught:
            choose(model)
        assert (caught.value.kind, caught.value.retryable) == ("no log-probabilities", False)


def test_a_choice_by_default_thinks_where_its_first_token_does() -> None:
    for place in ("tags", "reasoning"):
        choice = choose(Model(place), QUESTION)
        assert choice.reasoning == THOUGHT
        assert choice.mass == pytest.approx(0.95)
    assert choose(Model(), QUESTION).reasoning == ""


@pytest.mark.parametrize(
    ("model", "begun"),
    [
        (Model(), True),
        (Model(counts=False), True),
        (Model(continues="any"), True),
        (Model(continues="any", refuses=frozenset({"continue_final_message"})), True),
        (Model(continues=""), False),
        (Model(continues="", clever=True), False),
        (Model(continues="", refuses=frozenset({"continue_final_message"})), False),
        (Model("reasoning", continues="flag"), True),
    ],
)
def test_a_prefill_is_sent_where_the_server_continues_a_turn(model: Model, begun: bool) -> None:
    request = replace(GATE, prefill="The better response is (")
    choice, told = asked(model, lambda engine: engine.choose(request, LETTERS))
    assert choice.probabilities == pytest.approx(choose(Model()).probabilities)
    assert (model.bodies[-1]["messages"][-1]["role"] == "assistant") is begun
    assert told == ([] if begun else ["HOST does not continue a turn that is begun"])


def test_what_a_server_says_again_of_a_begun_turn_is_taken_off() -> None:
    request = replace(QUESTION, prefill="The better response is (")
    for model in (Model(echoes=True), Model(echoes=False), Model("tags", echoes=True)):
        assert complete(model, request).text == complete(Model()).text


@pytest.mark.parametrize("thinking", [NOT_THINKING, Thinking("on")])
def test_a_text_is_not_written_without_its_beginning(thinking: Thinking) -> None:
    request = replace(QUESTION, prefill="Well,", thinking=thinking)
    with pytest.raises(RequestError, match="does not continue a turn that is begun, so it cannot write") as refused:
        complete(Model("parts" if thinking.mode == "on" else "", continues=""), request)
    assert not refused.value.retryable


def test_a_text_that_is_begun_goes_on_behind_a_thought() -> None:
    request = replace(QUESTION, prefill="Well,", thinking=Thinking("on"))
    for model in (Model("reasoning"), Model("tags", continues="any")):
        completion = complete(model, request)
        assert (completion.text, completion.reasoning) == (complete(Model()).text, THOUGHT)
    cut = complete(Model("tags"), replace(request, sampling=Sampling(max_tokens=3)))
    assert (cut.text, cut.reasoning, cut.finish_reason) == ("", "Let me think", "length")


def test_a_server_is_asked_what_it_understands_once() -> None:
    model = Model("reasoning")
    request = replace(GATE, prefill="The better response is (")

    async def work(engine: OpenAIEngine) -> None:
        await asyncio.gather(*(engine.choose(replace(request, seed=seed), LETTERS) for seed in range(20)))
        await engine.complete(replace(QUESTION, thinking=NOT_THINKING))

    asked(model, work)
    questions = [body for body in model.bodies if "A or B?" not in str(body["messages"])]
    assert len(questions) == 3
    assert all(body["chat_template_kwargs"]["enable_thinking"] is False for body in model.bodies)


@pytest.mark.slow
def test_each_of_several_servers_is_asked_in_its_own_words() -> None:
    older = Model("tags", continues="any", owner="llamacpp", refuses=frozenset({"continue_final_message"}))
    models = [Model("reasoning"), older, Model(continues="")]
    request = replace(GATE, prefill="The better response is (")
    rows = [replace(request, messages=({"role": "user", "content": f"{row}: A or B?"},)) for row in range(30)]

    async def main(urls: list[str]) -> list[Choice]:
        engine = await open_openai("any", urls)
        try:
            return list(await asyncio.gather(*(engine.choose(row, LETTERS) for row in rows)))
        finally:
            await engine.close()

    with serving(models) as urls:
        found = asyncio.run(main(urls))
    with serving([Model()]) as urls:
        expected = asyncio.run(main(urls))
    assert [choice.probabilities for choice in found] == [pytest.approx(choice.probabilities) for choice in expected]
    for model, flagged, begun in zip(models, (True, False, False), (True, True, False), strict=True):
        asked = [body for body in model.bodies if "A or B?" in str(body["messages"])]
        assert asked
        assert {bool(body.get("continue_final_message")) for body in asked} == {flagged}
        assert {body["messages"][-1]["role"] == "assistant" for body in asked} == {begun}


def test_a_server_that_breaks_while_it_is_asked_is_asked_again_by_the_next_attempt() -> None:
    class Breaking(Model):
        def answer(self, body: dict[str, Any]) -> dict[str, Any]:
            return {} if len(self.bodies) in (1, 3) else super().answer(body)

    model = Breaking("reasoning")
    request = replace(GATE, prefill="The better response is (")
    choice, told = asked(model, lambda engine: engine.choose(request, LETTERS))
    assert choice.probabilities == pytest.approx(choose(Model()).probabilities)
    assert told == []


def test_whoever_waits_for_an_answer_of_ours_when_the_engine_is_closed_is_told_so() -> None:
    arrived, leave = threading.Event(), threading.Event()

    class Hanging(Model):
        def answer(self, body: dict[str, Any]) -> dict[str, Any]:
            arrived.set()
            leave.wait(10)
            return super().answer(body)

    async def work(engine: OpenAIEngine) -> list[Any]:
        asking = [asyncio.ensure_future(engine.choose(replace(GATE, seed=seed), LETTERS)) for seed in range(3)]
        await asyncio.to_thread(arrived.wait, 10)
        asking[0].cancel()
        await engine.close()
        found = await asyncio.gather(*asking, return_exceptions=True)
        leave.set()
        return list(found)

    cancelled, *gone = asked(Hanging(), work)[0]
    assert isinstance(cancelled, asyncio.CancelledError)
    assert [type(error) for error in gone] == [EngineGoneError] * 2


def test_nothing_is_asked_for_texts_as_the_model_writes_them_by_itself() -> None:
    model = Model("tags")
    asked(model, lambda engine: engine.complete(QUESTION))
    assert len(model.bodies) == 1
    assert model.bodies[0].keys() == {"model", "messages", "temperature", "top_p", "max_tokens", "seed"}


def test_fields_that_a_server_refuses_are_found_out_and_told_once() -> None:
    model = Model(owner="openai", refuses=frozenset({"chat_template_kwargs", "reasoning_effort", "top_k"}))

    async def work(engine: OpenAIEngine) -> list[Completion]:
        request = replace(QUESTION, thinking=Thinking("on"))
        return [await engine.complete(replace(request, seed=seed)) for seed in range(5)]

    completions, told = asked(model, work)
    assert [completion.text != "" for completion in completions] == [True] * 5
    assert told == ["HOST cannot be told whether to think: its model does as it does by itself"]
    assert len(model.bodies) == 4 + 1 + 5


def test_thinking_is_told_in_the_words_of_the_server() -> None:
    said = {}
    for owner, obeys in (("vllm", "chat_template_kwargs"), ("library", "think"), ("who", "reasoning_effort")):
        model = Model("reasoning", obeys=obeys, owner=owner, by_default=False)
        assert complete(model, replace(QUESTION, thinking=Thinking("on"))).reasoning == THOUGHT
        said[owner] = {
            name: model.bodies[-1].get(name) for name in ("chat_template_kwargs", "think", "reasoning_effort")
        }
    template = {"enable_thinking": True, "thinking": True}
    assert said == {
        "vllm": {"chat_template_kwargs": template, "think": None, "reasoning_effort": None},
        "library": {"chat_template_kwargs": None, "think": True, "reasoning_effort": "medium"},
        "who": {"chat_template_kwargs": None, "think": None, "reasoning_effort": "medium"},
    }


def test_a_budget_is_a_field_of_vllm_and_room_everywhere() -> None:
    request = replace(QUESTION, thinking=Thinking("on", 40))
    for model, limit in ((Model("tags"), 40), (Model("tags", owner="sglang"), None)):
        assert complete(model, request).reasoning == THOUGHT
        assert model.bodies[-1].get("thinking_token_budget") == limit
        assert model.bodies[-1]["max_tokens"] == 64 + 40
    refusing = Model("tags", refuses=frozenset({"thinking_token_budget"}))
    _, told = asked(refusing, lambda engine: engine.complete(request))
    assert told == [
        "HOST takes no thinking_token_budget: a thought ends where --thinking-budget and --max-tokens end together"
    ]
    plain = Model()
    complete(plain, request)
    assert plain.bodies[-1]["max_tokens"] == 64


def test_more_ways_to_draw_are_sent_where_the_server_has_them() -> None:
    sampling = Sampling(max_tokens=64, top_k=5, min_p=0.1, repetition_penalty=1.2, stop=("\n\n",))
    request = replace(QUESTION, sampling=sampling)
    for owner, penalty in (("vllm", "repetition_penalty"), ("llamacpp", "repeat_penalty")):
        model = Model(owner=owner)
        complete(model, request)
        assert {name: model.bodies[-1][name] for name in ("top_k", "min_p", penalty, "stop")} == {
            "top_k": 5,
            "min_p": 0.1,
            penalty: 1.2,
            "stop": ["\n\n"],
        }
    with pytest.raises(
        RequestError, match="is Ollama, whose chat completions know no top-k, min-p, repetition-penalty"
    ):
        complete(Model(owner="library"), request)


def test_a_chat_templates_variables_reach_every_request_or_are_refused_when_opened() -> None:
    model = Model("tags")
    variables = {"enable_thinking": False, "reasoning_effort": "low"}
    completion, _ = asked(model, lambda engine: engine.complete(QUESTION), variables=variables)
    assert completion.reasoning == ""
    assert model.bodies[-1]["chat_template_kwargs"] == variables
    assert model.bodies[-1]["reasoning_effort"] == "low"
    for refusing in (Model(owner="who", refuses=frozenset({"chat_template_kwargs"})), Model(owner="openai")):
        with pytest.raises(ModelError, match=r"--template-option"):
            asked(refusing, lambda engine: engine.complete(QUESTION), variables=variables)
