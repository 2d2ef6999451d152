"""The chain of critique and revision, read off what a scripted model was asked."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from cai.constitution import RevisionPlan
from cai.core.errors import ContextError, RequestError, RowError
from cai.core.records import Message, Prompt, Trace
from cai.method.critique import REVISION_TRIES, respond_and_revise, schedule_principles
from cai.models.asking import ATTEMPTS
from cai.models.base import Completion, Request
from cai.models.scripted import ScriptedEngine
from tests.building import assistant, make_engine, make_method, make_prompt, user

WALK = RevisionPlan(schedule="walk", rounds=1, gate=False, form="continued")
GATED = RevisionPlan(schedule="walk", rounds=1, gate=True, form="continued")
ANEW = RevisionPlan(schedule="walk", rounds=1, gate=False, form="anew")


def numbered(requests: list[Request]) -> str:
    return f"text {len(requests)}"


def run_chain(plan: RevisionPlan, gates: Sequence[float] = (), mass: float = 1.0) -> tuple[Trace, list[Request]]:
    requests: list[Request] = []
    left = list(gates)

    def answer(request: Request) -> str:
        requests.append(request)
        return numbered(requests)

    def choose(_messages: tuple[Message, ...], options: Sequence[str]) -> Sequence[float]:
        assert list(options) == ["Yes", "No"]
        broken = left.pop(0)
        return [broken * mass, (1 - broken) * mass]

    method = make_method(plan)
    trace = asyncio.run(respond_and_revise(make_engine(answer, choose), method, make_prompt(), 0))
    assert not left
    return trace, requests


def test_every_round_is_written_out_and_a_revision_replaces_the_response() -> None:
    trace, requests = run_chain(WALK)
    assert trace.response == "text 1"
    assert [turn.principle_id for turn in trace.rounds] == ["safe", "kind"]  # most severe first
    assert [(turn.critique, turn.revision) for turn in trace.rounds] == [("text 2", "text 3"), ("text 4", "text 5")]
    assert [(turn.gate, turn.gate_mass) for turn in trace.rounds] == [(None, None)] * 2
    assert trace.final == "text 5"
    assert requests[3].messages[:2] == (user("How do I sleep better?"), assistant("text 3"))
    assert requests[2].messages[-2] == assistant("text 2")
    assert len({request.seed for request in requests}) == len(requests)


def test_the_gate_skips_what_is_clearly_kept_and_records_what_it_said() -> None:
    trace, requests = run_chain(GATED, gates=[0.1, 0.9])
    kept, broken = trace.rounds
    assert kept.gate == pytest.approx(0.1)
    assert (kept.critique, kept.revision) == (None, None)
    assert broken.gate == pytest.approx(0.9)
    assert (broken.critique, broken.revision) == ("text 2", "text 3")
    assert len(requests) == 3


def test_a_gate_that_was_not_answered_is_no_answer() -> None:
    trace, requests = run_chain(GATED, gates=[0.0] * 4, mass=0.1)  # each is asked twice
    assert [turn.gate for turn in trace.rounds] == [None, None]
    assert [turn.gate_mass for turn in trace.rounds] == [pytest.approx(0.1)] * 2  # asked they were
    assert len(requests) == 5


def test_an_empty_text_is_asked_for_again_under_seeds_of_its_own() -> None:
    requests: list[Request] = []

    def answer(request: Request) -> str:
        requests.append(request)
        return "  " if len(requests) % ATTEMPTS else numbered(requests)

    method = make_method(WALK)
    trace = asyncio.run(respond_and_revise(make_engine(answer), method, make_prompt(), 0))
    assert trace.response == f"text {ATTEMPTS}"
    assert trace.final == f"text {5 * ATTEMPTS}"
    assert len({request.seed for request in requests}) == len(requests) == 5 * ATTEMPTS
    seeds = [request.seed for request in requests]
    requests.clear()
    assert asyncio.run(respond_and_revise(make_engine(answer), method, make_prompt(), 0)) == trace
    assert [request.seed for request in requests] == seeds


@pytest.mark.parametrize(
    ("error", "asked", "kind", "retryable"),
    [
        (None, ATTEMPTS, "no text", False),
        (RequestError("finish_reason length", retryable=True, kind="no text", raw="{}"), ATTEMPTS, "no text", False),
        (RequestError("400: 12", retryable=False, kind="http 400", raw="{}"), 1, "http 400", False),
        (RequestError("overloaded", retryable=True, kind="http 503"), 1, "http 503", True),
        (ContextError("does not fit"), 1, "", False),
    ],
)
def test_what_stays_without_a_text_ends_the_chain_and_says_where(
    error: RequestError | None, asked: int, kind: str, retryable: bool
) -> None:
    requests: list[Request] = []

    def answer(request: Request) -> str:
        if len(request.messages) == 1:
            return "fine"
        requests.append(request)
        if error is not None:
            raise error
        return "   "

    words = "the model returned an empty critique" if error is None else str(error)
    with pytest.raises(RowError, match=words) as caught:
        asyncio.run(respond_and_revise(make_engine(answer), make_method(WALK), make_prompt(), 0))
    failure = caught.value
    assert (failure.stage, failure.kind, failure.retryable) == ("critique", kind, retryable)
    assert failure.answered == {"response"}
    assert len(requests) == asked


def test_a_cut_text_is_marked_and_only_that() -> None:
    def answer(request: Request) -> Completion:
        return Completion("cut", "length" if len(request.messages) == 5 else "stop", 1, 0, 1)

    engine = ScriptedEngine(answer, lambda _messages, _options: [1.0, 0.0])
    trace = asyncio.run(respond_and_revise(engine, make_method(WALK), make_prompt(), 0))
    assert not trace.truncated
    assert [turn.truncated for turn in trace.rounds] == [True, True]


def test_tags_decide_which_principles_apply() -> None:
    method = make_method(WALK)
    assert [item.id for item in schedule_principles(method, make_prompt("x", "privacy"), 0)] == [
        "safe",
        "private",
        "kind",
    ]
    none = make_method(WALK, principles=[{"id": "only", "text": "Only here.", "applies_to": ["elsewhere"]}])
    assert schedule_principles(none, make_prompt(), 0) == ()


def test_sampled_principles_follow_weights_and_the_seed_alone() -> None:
    plan = RevisionPlan(schedule="sample", rounds=2, gate=False)
    method = make_method(plan)
    methods = [replace(method, seed=seed) for seed in range(1000)]
    drawn = [schedule_principles(method, make_prompt(), 0) for method in methods]
    assert drawn == [schedule_principles(method, make_prompt(), 0) for method in methods]
    first = [principles[0].id for principles in drawn]
    assert first.count("safe") / 1000 == pytest.approx(0.75, abs=0.06)
    same = [principles[0] == principles[1] for principles in drawn]
    assert sum(same) / 1000 == pytest.approx(0.75**2 + 0.25**2, abs=0.07)  # independent draws


def test_exemplars_precede_critique_and_revision_only() -> None:
    exemplar = {
        "prompt": "Old prompt",
        "response": "Old response",
        "principle": "kind",
        "critique": "Old critique",
        "revision": "Old revision",
    }
    requests: list[Request] = []

    def answer(request: Request) -> str:
        requests.append(request)
        return numbered(requests)

    method = make_method(WALK, few_shot=True, exemplars=[exemplar])
    system: Message = {"role": "system", "content": "You are a nurse."}
    prompt = Prompt("p0", 0, (system, user("New prompt")))
    asyncio.run(respond_and_revise(make_engine(answer), method, prompt, 0))
    assert len(requests[0].messages) == 2
    for request in requests[1:]:
        assert request.messages[0] == system  # templates want it before everything else
        assert [message["content"] for message in request.messages[1:3]] == ["Old prompt", "Old response"]
        assert request.messages[4] == assistant("Old critique")
        assert request.messages[6] == assistant("Old revision")
        assert request.messages[7] == user("New prompt")


def test_asked_anew_the_prompt_stands_as_it_was_and_a_system_turn_says_how_to_answer() -> None:
    _, requests = run_chain(ANEW)
    prompt = user("How do I sleep better?")
    critique, revision = requests[1:3]
    assert critique.messages[:2] == (prompt, assistant("text 1"))
    told, asked = revision.messages
    assert asked == prompt
    assert told["role"] == "system"
    for shown in ("text 1", "text 2", "safe"):
        assert shown in told["content"].lower()
    assert "text 3" in requests[4].messages[0]["content"]  # the second round mends what the first one gave


def test_asked_anew_the_prompts_own_system_turn_stays_and_exemplars_are_answered_well() -> None:
    exemplar = {"prompt": "Old prompt", "response": "bad", "principle": "kind", "critique": "why", "revision": "good"}
    requests: list[Request] = []

    def answer(request: Request) -> str:
        requests.append(request)
        return numbered(requests)

    method = make_method(ANEW, few_shot=True, exemplars=[exemplar])
    prompt = Prompt("p0", 0, ({"role": "system", "content": "You are a nurse."}, user("New prompt")))
    asyncio.run(respond_and_revise(make_engine(answer), method, prompt, 0))
    told, *rest = requests[2].messages
    assert told["content"].startswith("You are a nurse.\n\n")
    assert rest == [user("Old prompt"), assistant("good"), user("New prompt")]
    assert [message["content"] for message in requests[1].messages[1:3]] == ["Old prompt", "bad"]


def test_a_control_token_of_an_answer_cannot_end_the_system_turn() -> None:
    told = make_method(ANEW).templates.anew(make_method(ANEW).constitution.principles[0], "<|im_end|>", "<|eot|>")
    assert "<|" not in told
    assert "<\\|im_end|>" in told


@pytest.mark.parametrize("plan", [WALK, ANEW])
def test_a_revision_that_is_junk_is_asked_for_again_and_the_last_try_stays(plan: RevisionPlan) -> None:
    requests: list[Request] = []
    texts = ["first", "critique", "The response does not help.", "Sleep in the dark.", "critique"]

    def answer(request: Request) -> str:
        requests.append(request)
        return texts[len(requests) - 1] if len(requests) <= len(texts) else "The response is unkind."

    trace = asyncio.run(respond_and_revise(make_engine(answer), make_method(plan), make_prompt(), 0))
    assert [turn.revision for turn in trace.rounds] == ["Sleep in the dark.", "The response is unkind."]
    assert requests[2].messages == requests[3].messages
    assert len(requests) == len(texts) + REVISION_TRIES
    assert len({request.seed for request in requests}) == len(requests)
