"""A review to be asked by tests: what is reviewed, a server in this process, and what a page would send."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import orjson

from cai.core.addresses import DataSource
from cai.review.plan import plan_review
from cai.review.run import serving
from cai.review.settings import ReviewSettings
from tests.building import make_constitution
from tests.storage import IDENTITY, make_row

SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"
WHEN = "2026-11-26T08:00:00Z"


def make_run(directory: Path, rows: int, *, settings: dict[str, Any] | None = None) -> Path:
    """Make a run of so many rows under the small constitution."""
    from cai.rundir import Run  # noqa: PLC0415

    constitution = make_constitution().model_dump(mode="json")
    run = Run.open(directory, IDENTITY, settings or {"resolved_constitution": constitution})
    for number in range(rows):
        run.commit(make_row(number))
    run.close("done")
    return directory


def make_pairs(path: Path, count: int, *, chosen: str = "Better", rejected: str = "Worse") -> Path:
    lines = [
        {"prompt": f"Question {number}? {SCRIPT}", "chosen": f"{chosen} {number}", "rejected": f"{rejected} {number}"}
        for number in range(count)
    ]
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return path


class Page:
    """What the page in a browser asks the server."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self.address = address
        self.origin = address.rsplit("/", 2)[0]

    async def get(self, path: str, **query: str | int) -> Any:
        async with self._session.get(f"{self.address}api/{path}", params=query) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def post(self, path: str, status: int = 200, **body: Any) -> Any:
        headers = {"Origin": self.origin}
        async with self._session.post(f"{self.address}api/{path}", json=body, headers=headers) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def talk(self, said: str) -> list[Any]:
        """Say something to the models, and return every line that came of it."""
        body, headers = {"messages": [{"role": "user", "content": said}]}, {"Origin": self.origin}
        async with self._session.post(f"{self.address}api/talk", json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            return [orjson.loads(line) async for line in response.content]

    async def status(self, path: str = "", method: str = "GET", **headers: str) -> int:
        async with self._session.request(method, f"{self.address}{path}", headers=headers) as response:
            return response.status

    async def next(self, annotator: str = "kim", task: str = "comparison", tab: str = "one") -> Any:
        """Return the next item, once the items are read."""
        while (found := await self.post("next", annotator=annotator, task=task, tab=tab)).get("reading"):
            pass
        return found

    async def say(self, found: Any, answer: Any, annotator: str = "kim", task: str = "comparison", **more: Any) -> Any:
        """Send an answer to an item."""
        item = found["item"]
        line = {"id": str(uuid4()), "when": WHEN, "annotator": annotator, "task": task, "tab": "one"}
        line |= {"item": item["key"], "chosen_by": item["chosen_by"], "answer": answer}
        return await self.post("annotations", **{**line, **more})


@asynccontextmanager
async def reviewing(place: Path, *annotators: str, **settings: Any) -> AsyncIterator[Page]:
    """Serve a review of a place while the block runs."""
    plan = plan_review(ReviewSettings(DataSource.parse(str(place)), annotators, open_browser=False, **settings))
    async with serving(plan) as address, aiohttp.ClientSession() as session:
        yield Page(session, address)


async def read_whole(page: Page) -> Any:
    """Wait until the place is read, and return what is known of it."""
    while not (place := await page.get("place"))["complete"]:
        assert place["failure"] is None, place
    return place
