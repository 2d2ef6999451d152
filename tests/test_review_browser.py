"""The review page in a real browser, as people use it: `make test-browser`, which installs Debian's Chromium."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import cai as package
from cai.annotation.reading import what_counts
from cai.annotation.records import Annotation
from cai.annotation.store import AnnotationStore
from cai.core.addresses import DataSource
from cai.models.spec import ModelSpec
from cai.review.plan import plan_review
from cai.review.run import agreement
from cai.review.settings import ReviewSettings
from cai.tiny import oracle
from tests.annotating import place_at
from tests.browsing import CHROMIUM, Browser, Tab, browser
from tests.reviewing import SCRIPT, make_pairs, make_run, reviewing

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; `apt-get install chromium` as root gets it"),
]

ASKED = "document.querySelector('#questions')"
SELF_CONTAINED = "performance.getEntriesByType('resource').every((one) => one.name.startsWith(location.origin + '/'))"


@asynccontextmanager
async def page_of(place: Path, profile: Path, **settings: Any) -> AsyncIterator[tuple[str, Browser]]:
    """Serve a review of a place and run a browser while the block runs."""
    async with reviewing(place, **settings) as page, browser(profile) as found:
        yield page.address, found


async def annotate_as(tab: Tab, address: str, name: str, task: str = "comparison") -> None:
    """Open the view for annotating, and say who is there, by keyboard."""
    await tab.open(f"{address}#annotate")
    await tab.until("document.querySelector('[name=who]')")
    await tab.evaluate(f"document.querySelector('[name=task]').value = {task!r}")
    await tab.evaluate("document.querySelector('[name=who]').focus(); document.querySelector('[name=who]').select()")
    await tab.type(name)
    await tab.press("Enter")
    await tab.until(f"{ASKED} || document.querySelector('main').textContent.includes('Nothing is left')")


async def answer(tab: Tab, *keys: str) -> None:
    """Press keys, then Enter, and wait until the page says that it is kept and shows the next item."""
    before = await tab.evaluate("document.querySelector('#told').textContent")
    shown = await tab.evaluate("document.querySelector('main').textContent")
    for key in keys:
        await tab.press(key)
    await tab.press("Enter")
    await tab.until(
        f"document.querySelector('#told').textContent.startsWith('Kept') && "
        f"(document.querySelector('#told').textContent !== {before!r} "
        f"|| document.querySelector('main').textContent !== {shown!r})"
    )


def lines_of(place: Path) -> tuple[Annotation, ...]:
    return AnnotationStore(place_at(place)).read().lines


def test_twenty_items_by_keyboard_with_a_reload_and_a_second_person(tmp_path: Path) -> None:
    place = make_run(tmp_path / "run", 12)

    async def people() -> None:
        async with page_of(place, tmp_path / "profile", overlap=0.5) as (address, found):
            one, other = await found.tab(), await found.tab()
            await annotate_as(one, address, "mina")
            await annotate_as(other, address, "joon")
            for number in range(20):
                if number == 10:
                    await one.press("t")
                    await one.send("Page.reload")
                    await one.until(f"{ASKED} && {ASKED}.elements.overall.value === 'tie'")
                await answer(one, "abt"[number % 3], "n", "b", "4", "w")
                if number % 4 == 0:
                    await answer(other, "b", "2")
            await one.press("r")
            await one.type("in words")
            await one.press("Escape")
            await answer(one, "c")
            await one.press("z")
            await one.until("document.querySelector('#told').textContent.startsWith('Taken back')")
            assert await one.evaluate("document.querySelector('#reason').value") == "in words"
            assert one.problems + other.problems == []
            assert await one.evaluate(SELF_CONTAINED)

    asyncio.run(people())
    said = what_counts(lines_of(place))
    assert (len(said.of("mina")), len(said.of("joon")), said.taken_back) == (20, 5, 1)
    assert all(one.confidence == 4 and one.flags == ("wrong",) and one.seconds is not None for one in said.of("mina"))
    assert len({one.item for one in said.of("mina")}) == 20
    assert {one.chosen_by for one in said.counting} == {"random", "overlap"}


@pytest.mark.parametrize(
    ("task", "keys", "field", "value"),
    [
        ("adherence", "b", "says", "breaks"),
        ("rating", "4", "rating", 4),
        ("thumb", "-", "up", False),
        ("ranking", "bdac", "ranks", None),
    ],
)
def test_each_question_by_keyboard(tmp_path: Path, task: str, keys: str, field: str, value: Any) -> None:
    place = make_run(tmp_path / "run", 2)

    async def person() -> None:
        async with page_of(place, tmp_path / "profile") as (address, found):
            tab = await found.tab()
            await annotate_as(tab, address, "mina", task)
            await tab.press("Enter")
            await tab.until("document.querySelector('#told').classList.contains('mistake')")
            await answer(tab, *keys)
            assert tab.problems == []

    asyncio.run(person())
    (line,) = lines_of(place)
    assert line.answer is not None
    kept = line.answer.model_dump()[field]
    if task == "ranking":  # typed b d a c: what stood second is the best
        assert [kept[line.shown.order[shown]] for shown in (1, 3, 0, 2)] == [1, 2, 3, 4]
    else:
        assert kept == value


def test_what_models_wrote_is_text_and_a_page_of_elsewhere_gets_nothing(tmp_path: Path) -> None:
    place = make_pairs(tmp_path / "pairs.jsonl", 3, chosen=SCRIPT, rejected="<b>bold</b> & so")

    async def person() -> None:
        async with page_of(place, tmp_path / "profile") as (address, found):
            tab = await found.tab()
            await tab.open(address)
            await tab.until("document.querySelectorAll('article .card').length === 2")
            assert await tab.evaluate(
                "document.querySelector('article').textContent.includes('<script>document.title')"
            )
            await annotate_as(tab, address, "<img src=x onerror=alert(1)>")
            assert await tab.evaluate("document.querySelector('.answers').textContent.includes('<b>bold</b> & so')")
            await answer(tab, "a")
            await tab.press("P", 8)
            await tab.until("document.querySelector('main table')")
            assert await tab.evaluate("document.querySelectorAll('main img, main script, main b').length") == 0
            assert await tab.evaluate("document.title") == "cai review"
            assert tab.problems == []
            blocked = "import('data:text/javascript,1').then(() => 'ran', () => 'blocked')"
            assert await tab.evaluate(blocked) == "blocked"
            assert await tab.evaluate("fetch('https://example.org').then(() => 'sent', () => 'blocked')") == "blocked"
            tab.problems.clear()
            stranger = await found.tab()
            async with reviewing(place) as other:  # another origin in the same browser
                await stranger.open(other.address)
                await stranger.until("document.querySelector('nav')")
                asked = f"fetch({address + 'api/place'!r}).then((one) => one.status, () => 'blocked')"
                assert await stranger.evaluate(asked) == "blocked"
            await tab.open(address.replace(address.split("/")[3], "x" * 32))
            await tab.until("document.body.textContent.includes('The address is not whole')")

    asyncio.run(person())


def test_a_killed_server_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    place = make_pairs(tmp_path / "pairs.jsonl", 20)
    command = [sys.executable, "-m", "cai", "review", str(place), "--no-open", "--annotator", "mina"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    async def person() -> None:
        async with browser(tmp_path / "profile") as found:
            for times in range(2):
                process, address = await asyncio.to_thread(start)
                try:
                    tab = await found.tab()
                    await tab.open(f"{address}#annotate")
                    await tab.until(ASKED)
                    done = await tab.evaluate("document.querySelector('#done').textContent")
                    assert done.startswith(f"{times * 5} ")
                    for _ in range(5):
                        await answer(tab, "a")
                    process.send_signal(signal.SIGKILL)
                    await asyncio.to_thread(process.communicate)
                    await tab.press("b")
                    await tab.press("Enter")
                    await tab.until("document.querySelector('#told').textContent.startsWith('Not kept')")
                finally:
                    process.kill()

    asyncio.run(person())
    lines = lines_of(place)
    assert len(lines) == len({line.item for line in lines}) == 10


CONTRAST = """
(() => {
  const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const node of document.body.querySelectorAll('*')) {
    const text = [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    if (!text || !node.checkVisibility() || node.closest('[disabled], noscript')) continue;
    const [one, other] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) poor.push(`${node.tagName} ${node.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return poor;
})()
"""
"""Texts whose contrast is below what WCAG 2.2, 1.4.3 asks for: 4.5 to 1, by its formula for relative luminance."""

UNNAMED = """
[...document.querySelectorAll('button, a, input, select, textarea, [role], summary, progress')].filter((node) => {
  const label = node.labels && [...node.labels].map((one) => one.textContent).join('');
  return node.checkVisibility() && !(node.getAttribute('aria-label') || label || node.textContent).trim();
}).filter((node) => node.getAttribute('role') !== 'status').map((node) => node.outerHTML)
"""

ORDER = "(document.activeElement.id || document.activeElement.name || document.activeElement.textContent)"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("view", ["read", "annotate", "guidelines", "people"])
def test_everything_has_a_name_a_role_and_contrast(tmp_path: Path, view: str, dark: bool) -> None:
    place = make_run(tmp_path / "run", 3)

    async def person() -> None:
        async with page_of(place, tmp_path / "profile") as (address, found):
            tab = await found.tab()
            await tab.look(dark=dark, width=390)
            await annotate_as(tab, address, "mina")
            await answer(tab, "a", "3")
            await tab.evaluate(f"location.hash = {view!r}")
            await tab.until(f"document.querySelector('nav [aria-current=page]').dataset.view === {view!r}")
            await tab.until("document.querySelector('main').children.length > 1")
            await tab.until(f"{view!r} !== 'read' || document.querySelectorAll('article ins, article .card').length")
            assert await tab.evaluate(CONTRAST) == []
            assert await tab.evaluate(UNNAMED) == []
            assert await tab.evaluate("document.documentElement.scrollWidth") <= 390, "it fits a phone"
            assert await tab.evaluate("document.documentElement.lang") == "en"
            assert await tab.evaluate("document.querySelectorAll('main, header, nav').length") == 3
            assert await tab.evaluate("document.querySelectorAll('h1').length") == 1
            ids = await tab.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
            assert len(ids) == len(set(ids))

    asyncio.run(person())


def test_focus_goes_from_the_question_through_its_choices_to_the_button(tmp_path: Path) -> None:
    place = make_pairs(tmp_path / "pairs.jsonl", 2)

    async def person() -> None:
        async with page_of(place, tmp_path / "profile") as (address, found):
            tab = await found.tab()
            await annotate_as(tab, address, "mina")
            passed = []
            for _ in range(16):
                await tab.press("Tab")
                passed.append(await tab.evaluate(ORDER))
            wanted = ["overall", "confidence", "flags", "reason", "send", "undo"]
            assert list(dict.fromkeys(name for name in passed if name in wanted)) == wanted
            await tab.press("?")
            await tab.until("document.querySelector('#keys').open")
            await tab.press("Escape")
            await tab.until("!document.querySelector('#keys').open")

    asyncio.run(person())


def test_chains_are_read_by_keyboard(tmp_path: Path) -> None:
    place = make_run(tmp_path / "run", 60)
    title = "document.querySelector('#chain-title').textContent"

    async def person() -> None:
        async with page_of(place, tmp_path / "profile") as (address, found):
            tab = await found.tab()
            await tab.open(address)
            await tab.until(f"document.querySelector('#chain-title') && {title} === 'prompt-0'")
            for key, shown in (("j", 1), ("j", 2), ("k", 1), ("n", 50), ("k", 49), ("j", 50), ("p", 0)):
                await tab.press(key)
                await tab.until(f"{title} === 'prompt-{shown}'")
            await tab.press("/")
            await tab.type("question 17")
            await tab.until(f"{title} === 'prompt-17'")
            assert (await tab.evaluate("document.querySelector('#shown').textContent")).endswith(" of 1")
            assert tab.problems == []

    asyncio.run(person())


def test_two_models_are_talked_to_and_voted_on_by_keyboard(tmp_path: Path) -> None:
    place = make_run(tmp_path / "run", 2)
    models = (ModelSpec.parse("scripted"), ModelSpec.parse("scripted"))

    async def person() -> None:
        async with page_of(place, tmp_path / "profile", talk=models) as (address, found):
            tab = await found.tab()
            await annotate_as(tab, address, "mina")
            await tab.press("T", 8)
            await tab.until("document.activeElement.id === 'say'")
            await tab.type("How do I sleep better?")
            await tab.press("Enter", 2)
            await tab.until("document.querySelectorAll('.answers .card').length === 2")
            assert await tab.evaluate(CONTRAST) + await tab.evaluate(UNNAMED) == []
            await tab.evaluate("document.querySelector('.answers button').click()")
            await tab.until("document.querySelector('#told').textContent.startsWith('Marked')")
            await tab.press("b")
            await tab.until("document.querySelector('#told').textContent.startsWith('Kept. A: talk')")
            await tab.until(
                "document.querySelectorAll('#dialogue .turn').length === 2 && document.querySelector('#say')"
            )
            await tab.type("And at noon?")
            await tab.press("Enter", 2)
            await tab.until("document.querySelectorAll('#dialogue .turn').length === 3")
            assert tab.problems == []

    asyncio.run(person())
    assert [line.kind for line in lines_of(place)] == ["adherence", "comparison"]


SAID = """
(() => ({
  asked: [...document.querySelectorAll('#questions .turn .text, .turn .text')].map((one) => one.textContent).pop(),
  answers: [...document.querySelectorAll('.answers .text')].map((one) => one.textContent),
}))()
"""


CELLS = "[...document.querySelectorAll('tr')].map((one) => [...one.cells].map((cell) => cell.textContent.trim()))"
DANGLING = """
[...document.querySelectorAll('a[href^="#"]')].filter((one) => !document.getElementById(one.hash.slice(1)))
  .map((one) => one.hash)
"""


def worth(asked: str, text: str) -> tuple[int, bool]:
    """Return how good an answer is to somebody who knows the embedded world: what it breaks counts first."""
    question = oracle.understand(asked)
    assert question is not None, asked
    meaning = oracle.read(question, text)
    return -len(meaning.broken), meaning.good


async def better(tab: Tab) -> str:
    """Read what the page shows, and return the key of the better answer, as the oracle has it."""
    shown = await tab.evaluate(SAID)
    first, second = (worth(shown["asked"], text) for text in shown["answers"])
    return "t" if first == second else "a" if first > second else "b"


def test_the_embedded_run_from_thirty_pairs_by_keyboard_to_the_report(tmp_path: Path) -> None:
    place, other_way = tmp_path / "run", {"a": "b", "b": "a", "t": "a"}
    package.generate(
        constitution="medical", limit=14, samples=3, rounds=0, out=place, judge_check=False, progress=False
    )

    async def people() -> None:
        async with page_of(place, tmp_path / "profile", overlap=1.0) as (address, found):
            mina, joon = await found.tab(), await found.tab()
            await annotate_as(mina, address, "mina")
            for _ in range(30):
                await answer(mina, await better(mina))
            await annotate_as(joon, address, "joon")
            for number in range(10):
                right = await better(joon)
                await answer(joon, other_way[right] if number in (3, 7) else right)
            assert mina.problems + joon.problems == []

    asyncio.run(people())
    said = {(line.annotator, line.item): line.answer.model_dump()["overall"] for line in lines_of(place) if line.answer}
    both = [(word, said["mina", item]) for (who, item), word in said.items() if who == "joon"]
    assert (len(said), len(both)) == (40, 10)
    told = agreement(plan_review(ReviewSettings(DataSource.parse(str(place)))))
    (between,) = (row for row in told.rows if (row.criterion, row.between) == ("overall", "joon and mina"))
    assert (between.items, between.percent.value) == (10, sum(one == other for one, other in both) / 10)
    report = package.report(str(place))

    async def board() -> None:
        async with browser(tmp_path / "offline") as found:
            tab = await found.tab()
            await tab.send("Network.enable")
            offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
            await tab.send("Network.emulateNetworkConditions", **offline)
            await tab.open(Path(report.out).as_uri())
            await tab.until("document.readyState === 'complete' && document.querySelector('table')")
            assert await tab.evaluate("performance.getEntriesByType('resource').length") == 0
            assert await tab.evaluate("document.querySelectorAll('script, link, img[src^=http]').length") == 0
            rows = await tab.evaluate(CELLS)
            assert ["mina", "30"] in rows
            assert ["joon", "10"] in rows
            (line,) = (row for row in rows if row[:3] == ["comparison", "overall", "joon and mina"])
            assert line[3] == "10"
            assert line[4].startswith(f"{between.percent.value:.0%} [")
            assert await tab.evaluate(DANGLING) == [], "every number leads to its rows"
            assert tab.problems == []

    asyncio.run(board())
