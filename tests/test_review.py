"""`cai review`: the page's server refuses strangers, finds chains, hides what could sway people, and loses nothing."""

import asyncio
import unicodedata
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cai
from cai.annotation.store import AnnotationStore
from cai.cli.main import main
from cai.core.addresses import DataSource
from cai.core.difference import word_changes
from cai.core.errors import CaiError, EngineError, EngineGoneError, UsageError
from cai.core.records import Message
from cai.models.base import Choice, Completion, Request
from cai.models.given import GivenModel
from cai.models.spec import ModelSpec
from cai.models.streaming import Heard
from cai.review import run as review_run
from cai.review import talking
from cai.review.chains import chain_of_example, chain_of_row, with_differences
from cai.review.guard import HEADERS
from cai.review.index import ChainIndex, ChainQuery
from cai.review.plan import plan_review
from cai.review.run import agreement
from cai.review.settings import ReviewSettings
from cai.review.shown import to_item
from tests.annotating import place_at
from tests.reviewing import WHEN, Page, make_pairs, make_run, read_whole, reviewing
from tests.storage import make_row, open_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("review") / "run", 60)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return make_pairs(tmp_path / "pairs.jsonl", 12)


def asked(place: Path, *annotators: str, **settings: Any) -> Callable[[Callable[[Page], Awaitable[None]]], None]:
    """Return what runs a conversation with the server of a review."""

    async def converse(conversation: Callable[[Page], Awaitable[None]]) -> None:
        async with reviewing(place, *annotators, **settings) as page:
            await conversation(page)

    return lambda conversation: asyncio.run(converse(conversation))


# Who may ask


def test_strangers_are_refused(pairs: Path) -> None:
    @asked(pairs)
    async def _(page: Page) -> None:
        port = page.origin.rsplit(":", 1)[1]
        own = page.origin
        assert await page.status() == 200
        assert await page.status(Host=f"localhost:{port}") == 200
        assert await page.status(Host="evil.example") == 403
        assert await page.status(Host=f"evil.example:{port}") == 403
        assert await page.status(Host="127.0.0.1:1") == 403
        assert await page.status("api/place", Origin="http://evil.example") == 403
        assert await page.status("api/place", Origin="null") == 403
        assert await page.status("api/place", Origin=own) == 200
        assert await page.status("api/undo", "POST") == 403
        assert await page.status("api/undo", "POST", Origin="https" + own[4:]) == 403
        for token in ("", "x/", page.address.split("/")[3][:-1] + "/"):
            stranger = replace_address(page, f"{own}/{token}")
            assert await stranger.status() == 403
            assert await stranger.status("api/place") == 403
            assert await stranger.status("main.js") == 403


def replace_address(page: Page, address: str) -> Page:
    return Page(page._session, address)


def test_every_answer_forbids_to_load_from_elsewhere(pairs: Path) -> None:
    @asked(pairs)
    async def _(page: Page) -> None:
        for path in ("", "main.js", "style.css", "icon.svg", "api/place", "api/chains/99", "nothing.js", "../x"):
            async with page._session.get(page.address + path) as response:
                assert {name: response.headers.get(name) for name in HEADERS} == HEADERS, path
        async with page._session.get(page.address) as response:
            text = await response.text()
            assert "http" not in text.replace("http-equiv", ""), "the page names no other place"
        assert await page.status("server.py") == 404
        assert await page.status("%2e%2e/server.py") in (403, 404)


def test_files_of_the_page_load_nothing_from_elsewhere_and_make_no_html_of_text() -> None:
    folder = Path("cai/review/page")
    for path in folder.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        for forbidden in ("http:", "https:", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"):
            assert forbidden not in text, f"{path}: {forbidden}"


# Chains


def test_chains_are_listed_filtered_and_searched(run: Path) -> None:
    @asked(run)
    async def _(page: Page) -> None:
        place = await read_whole(page)
        assert place["read"] == 60
        assert place["facets"]["gate"] == {"kept": 60, "broken": 60}
        first = await page.get("chains", limit=7)
        last = await page.get("chains", offset=56, limit=7)
        assert (first["total"], len(first["chains"]), len(last["chains"])) == (60, 7, 4)
        assert [chain["number"] for chain in last["chains"]] == [56, 57, 58, 59]
        assert (await page.get("chains", tag="tag"))["total"] == 60
        assert (await page.get("chains", tag="other"))["total"] == 0
        assert (await page.get("chains", principle="privacy", gate="broken", verdict="decided"))["total"] == 60
        found = await page.get("chains", words="question 17")
        assert [chain["id"] for chain in found["chains"]] == ["prompt-17"]
        assert (await page.get("chains", words='" response OR * NOT ('))["total"] == 0
        assert (await page.get("chains", words="(respon* -"))["total"] == 60
        assert (await page.get("chains", at_least=10_000))["total"] == 0
        chain = await page.get("chains/17")
        assert chain == await page.get("chain", id="prompt-17")
        assert chain["id"] == "prompt-17"
        assert [turn["principle"] for turn in chain["answers"][0]["rounds"]] == ["kind-tone", "privacy"]
        assert len(chain["verdicts"]) == 3
        assert await page.status("api/chains/60") == 404
        assert await page.status("api/chains?offset=-1") == 400


@pytest.fixture(scope="module")
def index() -> Iterator[ChainIndex]:
    index = ChainIndex()
    index.fill(map(chain_of_row, map(make_row, range(2))))
    yield index
    index.close()


@given(words=st.lists(st.sampled_from("ab \n-*\"'\0"), max_size=6).map("".join))
def test_no_search_is_an_error(index: ChainIndex, words: str) -> None:
    assert index.page(ChainQuery(words=words), 0, 5)[0] in (0, 2)


KOREAN = "의사에게 바로 진찰받으세요. 약은 AI가 정하지 않습니다, 처방전을 확인하세요 薬を飲む前に read 2번"


@settings(max_examples=60)
@given(st.data())
def test_any_part_of_a_korean_word_finds_it(data: st.DataObject) -> None:
    index = ChainIndex()
    texts = [KOREAN, unicodedata.normalize("NFD", KOREAN), "plain English", "의 사 진 찰"]
    index.fill(chain_of_example(f"x:{number}", {"text": text}, {}) for number, text in enumerate(texts))
    start = data.draw(st.integers(0, len(KOREAN) - 1))
    words = KOREAN[start : data.draw(st.integers(start + 1, len(KOREAN)))]
    total, chains = index.page(ChainQuery(words=words), 0, 9)
    begins = start == 0 or not (words[0].isascii() and words[0].isalnum() and KOREAN[start - 1].isalnum())
    if begins:  # of other words only the beginnings are found
        assert {chain["number"] for chain in chains} >= {0, 1}
    assert total <= 4
    sought = {"의사진찰": 0, "진찰받": 2, "찰": 3, "가 정": 2, "飲む": 2, "AI가": 2, "I가": 0}
    assert {text: index.page(ChainQuery(words=text), 0, 9)[0] for text in sought} == sought
    index.close()


def test_what_a_run_gets_meanwhile_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_run, "LOOKS_EVERY", 0.01)
    monkeypatch.setattr(review_run, "RESTS", 0.0)
    run = open_run(tmp_path / "run")
    run.commit(make_row(0))

    @asked(tmp_path / "run")
    async def _(page: Page) -> None:
        assert (await read_whole(page))["kind"] == "run"
        assert (await page.get("chains"))["total"] == 1
        found = await page.next()
        for number in range(1, 4):
            run.commit(make_row(number))
        while (await page.get("place"))["read"] < 4:
            pass
        assert [one["id"] for one in (await page.get("chains"))["chains"]] == [f"prompt-{n}" for n in range(4)]
        assert (await page.get("chains", words="question 3"))["total"] == 1
        seen: set[str] = set()
        while len(seen) < 4:
            if found["item"] is None:  # the newest rows' items are just being read
                found = await page.next()
            else:
                seen.add(found["item"]["prompt"][-1]["content"])
                found = (await page.say(found, {"overall": "a"}))["next"]
        run.close("done")


@given(*[st.lists(st.sampled_from(["a", "b", "c", " ", "\n"]), max_size=12).map("".join)] * 2)
def test_a_word_diff_has_both_texts(old: str, new: str) -> None:
    changes = word_changes(old, new)
    assert "".join(text for change, text in changes if change != "gone") == new
    assert "".join(text for change, text in changes if change != "come").split() == old.split()


def test_a_revision_that_says_nearly_the_same_is_shown_as_a_word_diff() -> None:
    row = make_row(1)
    old, new = "one two three four", "one two four five"
    rounds = (replace(row.traces[0].rounds[1], revision=new),)
    trace = replace(row.traces[0], response=old, rounds=rounds, final=new)
    document = with_differences(chain_of_row(replace(row, traces=(trace,))).document)
    assert document["answers"][0]["rounds"][0]["changes"] == word_changes(old, new)


def test_data_that_cannot_be_read_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": "Q", "chosen": "a", "rejected": rejected} for rejected in ("b", "a")]
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))

    @asked(path)
    async def _(page: Page) -> None:
        place = await read_whole(page)
        assert place["read"] == 2
        broken = await page.get("chains", answer="cannot be read")
        assert [chain["title"] for chain in broken["chains"]] == ["identical"]


@pytest.mark.parametrize(("tags", "read"), [("benign, food", ["benign", "food"]), (["a"], ["a"]), (7, [])])
def test_tags_of_data_are_read_as_everywhere_else(tags: Any, read: list[str]) -> None:
    chain = chain_of_example("x:1", {"text": "Once."}, {"tags": tags})
    assert chain.document["tags"] == read
    assert {value for name, value in chain.facts if name == "tag"} == set(read)


def test_the_answer_of_a_conversation_is_the_assistants_last_turn(tmp_path: Path) -> None:
    turns = [("user", "Hi."), ("assistant", "Hello."), ("user", "Why?"), ("assistant", "So."), ("user", "Thanks.")]
    path = tmp_path / "chats.jsonl"
    path.write_bytes(orjson.dumps({"messages": [{"role": role, "content": said} for role, said in turns]}))

    @asked(path, "kim")
    async def _(page: Page) -> None:
        await read_whole(page)
        chain = await page.get("chains/0")
        assert [answer["text"] for answer in chain["answers"]] == ["So."]
        assert [turn["content"] for turn in chain["prompt"]] == ["Hi.", "Hello.", "Why?"]
        found = await page.next(task="rating")
        assert found["item"]["answers"] == ["So."]
        assert [turn["content"] for turn in found["item"]["prompt"]] == ["Hi.", "Hello.", "Why?"]


def test_whatever_stops_the_reading_is_told_on_the_page(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Iterator[Any]:
        raise TypeError("no such thing")

    monkeypatch.setattr(review_run, "read_chains", broken)

    @asked(pairs)
    async def _(page: Page) -> None:
        while (place := await page.get("place"))["failure"] is None:
            assert not place["complete"]
        assert place["failure"] == f"{pairs} could not be read to its end (TypeError: no such thing)."


# What people say


def test_an_item_tells_nothing_of_where_its_answers_are_from_until_it_is_answered(run: Path, tmp_path: Path) -> None:
    place = make_run(tmp_path / "run", 4)

    @asked(place)
    async def _(page: Page) -> None:
        found = await page.next()
        shown = orjson.dumps(found).decode()
        assert not any(word in shown for word in ("response:", "final:", "0.9", "scripted"))
        assert [one["id"] for one in found["item"]["criteria"]] == ["kind", "safe"]
        kept = await page.say(found, {"overall": "a", "criteria": {"kind": "b"}}, confidence=3, flags=["wrong"])
        assert any(line.startswith(("A: response:", "A: final:")) for line in kept["hidden"])
        assert any("The judge: A is better with" in line for line in kept["hidden"])
        assert kept["next"]["item"]["key"] != found["item"]["key"]
        assert kept["next"]["progress"]["done"] == 1

    (line,) = AnnotationStore(place_at(place)).read().lines
    assert sorted(line.shown.order) == [0, 1]
    assert line.shown.hidden == ("source", "model", "judge")
    swapped = line.shown.order == (1, 0)
    assert line.answer is not None
    assert line.answer.model_dump() == {"overall": "ab"[swapped], "criteria": {"kind": "ba"[swapped]}}


def test_what_stood_first_is_drawn_for_each_person(pairs: Path) -> None:
    @asked(pairs, overlap=1.0)
    async def _(page: Page) -> None:
        firsts: dict[str, set[str]] = {}
        for name in ("ann", "ben"):
            found = await page.next(name)
            while found["item"] is not None:
                firsts.setdefault(name, set()).add(found["item"]["answers"][0])
                found = (await page.say(found, {"overall": "tie"}, name))["next"]
        assert len(firsts["ann"]) == len(firsts["ben"]) == 12
        assert firsts["ann"] != firsts["ben"]
        for shown in firsts.values():
            assert 0 < sum(text.startswith("Better") for text in shown) < 12


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("comparison", {"overall": "cannot say"}),
        ("adherence", {"says": "breaks"}),
        ("ranking", {"ranks": [1, 2, 2, 4]}),
        ("rating", {"rating": 4}),
        ("thumb", {"up": False}),
        ("edit", {"text": "A better one."}),
    ],
)
def test_every_question_is_asked_kept_and_taken_back(tmp_path: Path, task: str, answer: Any) -> None:
    place = make_run(tmp_path / "run", 3)

    @asked(place)
    async def _(page: Page) -> None:
        found = await page.next(task=task)
        await page.say(found, answer, task=task, reason=" why ", seconds=4)
        back: dict[str, Any] = {"annotator": "kim", "task": task, "tab": "one", "id": str(uuid4()), "when": WHEN}
        undone = await page.post("undo", **back)
        assert undone == await page.post("undo", **back), "sent twice, taken back once"
        assert undone["item"]["key"] == found["item"]["key"]
        assert undone["item"]["previous"]["reason"] == "why"
        assert {**undone["item"]["previous"]["answer"], "criteria": {}} == {**answer, "criteria": {}}
        assert (await page.post("undo", **{**back, "id": str(uuid4())}))["item"] is None
        assert (await page.next(task=task))["item"]["key"] == found["item"]["key"], "it lies before them again"
        await page.say(found, answer, task=task)
        (row,) = (await page.get("people"))["people"]
        assert (row["done"], row["taken_back"]) == (1, 1)

    assert len(AnnotationStore(place_at(place)).read().lines) == 3


@given(st.permutations(range(4)), st.lists(st.integers(1, 4), min_size=4, max_size=4))
def test_ranks_belong_to_the_answers_they_were_given_to(order: list[int], ranks: list[int]) -> None:
    kept = to_item({"ranks": ranks}, "ranking", order)["ranks"]
    assert [kept[place] for place in order] == ranks


def test_what_is_sent_twice_is_kept_once_and_what_fits_not_is_refused(pairs: Path) -> None:
    @asked(pairs, "kim", "lee")
    async def _(page: Page) -> None:
        found = await page.next()
        name = str(uuid4())
        await page.say(found, {"overall": "a"}, id=name)
        await page.say(found, {"overall": "a"}, id=name)
        send = partial(page.say, found, status=400)
        for answer, more in (
            ({"overall": "b"}, {"id": name}),
            ({"overall": "c"}, {}),
            ({}, {}),
            (None, {}),
            ([], {}),
            ({"overall": "a"}, {"confidence": 6}),
            ({"overall": "a"}, {"flags": ["rude"]}),
            ({"overall": "a"}, {"item": "pair:0"}),
            ({"overall": "a"}, {"chosen_by": "chance"}),
            ({"overall": "a"}, {"when": "yesterday"}),
            ({"overall": "a"}, {"task": "dance"}),
            ({"overall": "a"}, {"annotator": "eve"}),
            ({"overall": "a"}, {"annotator": 1}),
        ):
            error = (await send(answer, **more))["error"]
            assert error.count("\n") == 0, error
        async with page._session.post(f"{page.address}api/next", data=b"[", headers={"Origin": page.origin}) as refused:
            assert refused.status == 400

    assert len(AnnotationStore(place_at(pairs)).read().lines) == 1


def test_two_tabs_and_two_people_get_different_items_and_a_reload_the_same(pairs: Path) -> None:
    @asked(pairs, overlap=0.0)
    async def _(page: Page) -> None:
        keys = [(await page.next(name, tab=tab))["item"]["key"] for name in ("ann", "ben") for tab in ("1", "2")]
        assert len(set(keys)) == 4
        assert (await page.next("ann", tab="2"))["item"]["key"] == keys[1]

    @asked(pairs, overlap=0.0)
    async def _(page: Page) -> None:
        seen: list[str] = []

        async def person(name: str) -> None:
            found = await page.next(name, tab=name)
            while found["item"] is not None:
                seen.append(found["item"]["key"])
                found = (await page.say(found, {"overall": "a"}, name, tab=name))["next"]

        await asyncio.gather(person("ann"), person("ben"))
        assert len(set(seen)) == 12

    lines = AnnotationStore(place_at(pairs)).read().lines
    assert len({line.item for line in lines}) == 12


def test_another_server_on_the_same_place_is_seen(pairs: Path) -> None:
    @asked(pairs, overlap=0.0)
    async def _(page: Page) -> None:
        async with reviewing(pairs, overlap=0.0) as other:
            found = await page.next("ann")
            await page.say(found, {"overall": "a"}, "ann")
            assert (await other.next("ben"))["progress"]["done"] == 0
            assert [row["name"] for row in (await other.get("people"))["people"]] == ["ann"]
            assert (await other.next("ann"))["progress"]["done"] == 1


def test_agreement_is_told_on_the_page_and_without_it(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    @asked(pairs, overlap=1.0)
    async def _(page: Page) -> None:
        for name in ("ann", "ben"):
            found = await page.next(name)
            while found["item"] is not None:
                better = "a" if found["item"]["answers"][0].startswith("Better") else "b"
                found = (await page.say(found, {"overall": better}, name))["next"]
        told = await page.get("agreement")
        assert told["tables"][0]["title"] == "Agreement"

    result = agreement(plan_review(ReviewSettings(DataSource.parse(str(pairs)))))
    assert {row.between: (row.items, row.percent.value) for row in result.rows}["ann and ben"] == (12, 1.0)
    groups = pairs.with_name("people.csv")
    groups.write_text("name,role\nann,nurse\nben,doctor\n")
    leaning = cai.agreement(pairs, annotator_groups=groups).leanings
    assert {"role=nurse", "role=doctor"} <= {one.who for one in leaning}
    with pytest.raises(SystemExit) as ended:
        main(["review", str(pairs), "--agreement"])
    assert ended.value.code == 0
    assert "people and labels" in capsys.readouterr().out


def test_a_third_person_settles_what_two_disagree_on(pairs: Path) -> None:
    @asked(pairs, overlap=1.0)
    async def _(page: Page) -> None:
        better = "Better"
        for name in ("ann", "ben"):
            found = await page.next(name)
            for number in range(3):
                wanted = "Worse" if name == "ben" and number == 1 else better
                shown = "a" if found["item"]["answers"][0].startswith(wanted) else "b"
                found = (await page.say(found, {"overall": shown}, name, reason=f"{wanted} it is"))["next"]
        settle = "settle-comparison"
        found = await page.next("cho", settle)
        assert found["item"]["chosen_by"] == "adjudication"
        first = found["item"]["answers"][0].startswith(better)
        said = {(one["reason"], one["answer"]["overall"]) for one in found["item"]["others"]}
        assert said == {("Better it is", "a" if first else "b"), ("Worse it is", "b" if first else "a")}
        assert "ann" not in str(found["item"]["others"])
        kept = await page.say(found, {"overall": "a" if first else "b"}, "cho", settle)
        assert kept["next"]["item"] is None

    result = agreement(plan_review(ReviewSettings(DataSource.parse(str(pairs)))))
    assert result.settled == 1
    assert not result.open


# Talking


def agrees(messages: Sequence[Message]) -> str:
    return f"Yes: {messages[-1]['content']}"


def test_two_models_are_talked_to_and_voted_on_without_knowing_which_is_which(tmp_path: Path) -> None:
    place = make_run(tmp_path / "run", 2)
    models = (ModelSpec.parse("scripted"), GivenModel(agrees))

    @asked(place, "kim", talk=models)
    async def _(page: Page) -> None:
        about = {"models": 2, "streams": False, "principles": ["kind", "safe", "private"]}
        assert (await page.get("place"))["talk"] == about
        turn = {"annotator": "kim", "when": WHEN}
        for number in range(4):
            (found,) = await page.talk(f"How do I sleep better, {number}?")
            assert len(found["answers"]) == 2
            assert not any(str(model) in str(found) for model in models)
            vote: dict[str, Any] = {**turn, "turn": found["turn"], "id": str(uuid4()), "overall": "a"}
            assert (await page.post("vote", **vote)) == (await page.post("vote", **vote))
            mark = {**turn, "turn": found["turn"], "id": str(uuid4()), "answer": 1, "principle": "kind"}
            assert (await page.post("mark", **mark))["kept"]
            for wrong in ({"turn": "x"}, {"annotator": "eve"}, {"overall": "c"}, {"principle": "x"}, {"answer": 2}):
                path = "mark" if wrong.keys() & {"principle", "answer"} else "vote"
                changed = {**(mark if path == "mark" else vote), "id": str(uuid4()), **wrong}
                await page.post(path, 400, **changed)
        await page.post("talk", 400, messages=[{"role": "assistant", "content": "x"}])
        await page.post("talk", 400, messages=[{"role": "user", "content": " "}])

    stored = AnnotationStore(place_at(place)).read()
    items = {item.key: item for item in stored.items}
    votes = [line for line in stored.lines if line.kind == "comparison"]
    assert len(votes) == 4
    assert {line.chosen_by for line in stored.lines} == {"picked"}
    assert all({answer.model for answer in items[line.item].answers} == set(map(str, models)) for line in votes)
    assert sum(line.kind == "adherence" for line in stored.lines) == 4
    assert not agreement(plan_review(ReviewSettings(DataSource.parse(str(place))))).remarks


class Growing:
    """An engine that says a word at a time."""

    name, concurrency, context_length = "growing", 4, None

    def __init__(self, error: EngineError | None = None) -> None:
        self._error = error

    async def stream(self, request: Request, heard: Heard) -> Completion:
        words = f"I heard {request.messages[-1]['content']} {request.seed}".split()
        for count in range(1, len(words)):
            heard(" ".join(words[:count]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if self._error is not None:
            raise self._error
        return Completion(" ".join(words), "stop", 1, 0, len(words))

    async def complete(self, request: Request) -> Completion:
        raise AssertionError(request)

    async def choose(self, request: Request, options: Sequence[str]) -> Choice:
        raise AssertionError(request, options)

    async def close(self) -> None:
        pass


def test_answers_grow_where_every_model_can_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talking, "PAUSE", 0.0)
    engines: list[Growing] = []

    async def opening(*_: object) -> Growing:
        return engines.pop()

    monkeypatch.setattr(talking, "open_engine", opening)
    place, models = make_run(tmp_path / "run", 2), (ModelSpec.parse("scripted"),) * 2
    engines += [Growing(), Growing()]

    @asked(place, talk=models)
    async def _(page: Page) -> None:
        assert (await page.get("place"))["talk"]["streams"]
        *growing, last = await page.talk("me")
        assert growing
        assert len(set(last["answers"])) == 2, "one model twice says two things"
        for line in growing:
            assert line.keys() == {"answers"}
            assert all(whole.startswith(part) for part, whole in zip(line["answers"], last["answers"], strict=True))
        vote = {"annotator": "kim", "when": WHEN, "turn": last["turn"], "id": str(uuid4()), "overall": "tie"}
        assert (await page.post("vote", **vote))["hidden"]


def test_a_model_that_breaks_off_is_told_behind_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def opening(*_: object) -> Growing:
        return Growing(EngineGoneError("the model broke"))

    monkeypatch.setattr(talking, "open_engine", opening)

    @asked(make_run(tmp_path / "run", 2), talk=(ModelSpec.parse("scripted"),))
    async def _(page: Page) -> None:
        assert (await page.talk("me"))[-1] == {"error": "the model broke"}


def test_without_a_model_there_is_nobody_to_talk_to(pairs: Path) -> None:
    @asked(pairs)
    async def _(page: Page) -> None:
        assert (await page.get("place"))["talk"] is None
        await page.post("talk", 400, messages=[{"role": "user", "content": "Hi"}])


# Mistakes


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"annotator": ("kim", "kim")}, "given twice"),
        ({"annotator": (" ",)}, "is no name"),
        ({"talk": (ModelSpec.parse("scripted"),) * 3}, "given 3 times"),
        ({"constitution": "nowhere"}, "there is no constitution"),
        ({"data": DataSource.parse("nothing-here.jsonl")}, "There is no"),
        ({"data": DataSource.parse("https://example.org/x.jsonl")}, "download it"),
    ],
)
def test_mistakes_are_told_before_anything_is_served(pairs: Path, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CaiError, match=sentence):
        plan_review(ReviewSettings(**{"data": DataSource.parse(str(pairs)), **settings}))


def test_a_taken_port_is_said(pairs: Path) -> None:
    @asked(pairs)
    async def _(page: Page) -> None:
        port = int(page.origin.rsplit(":", 1)[1])
        with pytest.raises(UsageError, match="--port"):
            async with reviewing(pairs, port=port):
                pass


def test_data_without_answers_is_told_on_the_page(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"rating": 3}\n')

    @asked(path)
    async def _(page: Page) -> None:
        while (place := await page.get("place"))["failure"] is None:
            assert not place["complete"]
        assert "rating" in place["failure"]
