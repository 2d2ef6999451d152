"""The server behind the page: the page's own files, chains to read, items to annotate; all of it JSON.

Everything lies below the token (`cai.review.guard`), relative to which the page asks:

    GET  api/place                 what is reviewed: name, kind, annotators, tasks, how far it is read
    GET  api/chains?offset=0&…     a page of chains, and how many are meant; FACTS, `words`, `at_least`, `at_most`
    GET  api/chains/NUMBER         one chain, with its word diffs; `api/chain?id=…` by the prompt's id
    GET  api/guidelines            the constitution: principles, and its worked examples
    POST api/next                  the next item of an annotator
    POST api/annotations           keeps what was said; answered only once it is on the disk
    POST api/undo                  takes the annotator's last back
    POST api/talk                  answers a conversation, a line of JSON each time that the answers have grown
    POST api/vote                  keeps which of two answers is better; `api/mark` that one breaks a principle
    GET  api/people                who said how much; `api/agreement` what it comes to

A mistake is `{"error": sentence}` with status 400, a full disk with 507. Reading and writing files never blocks the
event loop.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from cai.annotation.places import PlaceKind
from cai.core.errors import CaiError, StoreError, UsageError
from cai.review.annotating import Annotating
from cai.review.chains import with_differences
from cai.review.guard import HEADERS, guarding
from cai.review.guidelines import Guidelines
from cai.review.index import ChainIndex, ChainQuery
from cai.review.talking import Talking, conversation_of

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FACTS = ("tag", "principle", "gate", "verdict", "answer", "model", "quality")
"""The filters whose values are facts of chains."""

MOST_AT_ONCE = 200
LARGEST_REQUEST = 2 * 2**20

_LOGGER = logging.getLogger("cai.review")

Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ReviewServer:
    """The routes, over an index that may still be filled and what people are asked."""

    def __init__(
        self, name: str, kind: PlaceKind, index: ChainIndex, annotating: Annotating, guidelines: Guidelines
    ) -> None:
        self._name = name
        self._kind = kind
        self._index = index
        self._annotating = annotating
        self._guidelines = guidelines
        self.failure: str | None = None
        """What stopped the place from being read, in a sentence."""
        self.talking: Talking | None = None
        """The models to talk to, if there are any."""

    def application(self, token: str) -> web.Application:
        """Return the application, which answers below `/TOKEN/`."""
        application = web.Application(middlewares=[guarding(token)], client_max_size=LARGEST_REQUEST)
        below = f"/{token}"
        application.router.add_get(f"{below}/", self._file)
        application.router.add_get(f"{below}/{{name:[a-z]+\\.(?:html|css|js|svg)}}", self._file)
        gets: Mapping[str, Route] = {
            "place": self._place,
            "chains": self._chains,
            "chains/{number:[0-9]{1,15}}": self._chain,
            "chain": self._chain_by_id,
            "guidelines": self._guide,
            "people": self._people,
            "agreement": self._agreement,
        }
        for path, route in gets.items():
            application.router.add_get(f"{below}/api/{path}", _saying_mistakes(route))
        posts: Mapping[str, Route] = {
            "next": self._next,
            "annotations": self._annotate,
            "undo": self._undo,
            "talk": self._talk,
            "vote": self._vote,
            "mark": self._mark,
        }
        for path, route in posts.items():
            application.router.add_post(f"{below}/api/{path}", _saying_mistakes(route))
        return application

    async def _file(self, request: web.Request) -> web.Response:
        path = PAGE / request.match_info.get("name", "index.html")
        try:
            data = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise web.HTTPNotFound from error
        return web.Response(body=data, content_type=TYPES[path.suffix], charset="utf-8")

    async def _place(self, _request: web.Request) -> web.Response:
        index = self._index
        told = {
            "name": self._name,
            "kind": self._kind,
            "read": index.filled,
            "complete": index.complete,
            "failure": self.failure,
            "facets": index.facets(),
            "talk": None if self.talking is None else self.talking.about(),
        }
        return _json({**told, **await asyncio.to_thread(self._annotating.about)})

    async def _chains(self, request: web.Request) -> web.Response:
        query = request.query
        facts = frozenset((name, query[name]) for name in FACTS if query.get(name))
        at_least, at_most = _number(query, "at_least"), _number(query, "at_most")
        wanted = ChainQuery(facts, query.get("words", "").strip(), at_least, at_most)
        offset, limit = _number(query, "offset") or 0, min(_number(query, "limit") or 50, MOST_AT_ONCE)
        total, chains = await asyncio.to_thread(self._index.page, wanted, offset, limit)
        return _json({"total": total, "complete": self._index.complete, "chains": chains})

    async def _chain(self, request: web.Request) -> web.Response:
        return await self._found(self._index.chain, int(request.match_info["number"]))

    async def _chain_by_id(self, request: web.Request) -> web.Response:
        return await self._found(self._index.find, request.query.get("id", ""))

    async def _found(self, find: Callable[[Any], dict[str, Any] | None], name: int | str) -> web.Response:
        def read() -> dict[str, Any] | None:
            document = find(name)
            return None if document is None else with_differences(document)

        document = await asyncio.to_thread(read)
        if document is None:
            raise web.HTTPNotFound(reason="There is no such chain.")
        return _json(document)

    async def _guide(self, _request: web.Request) -> web.Response:
        return _json(self._guidelines.as_json())

    async def _people(self, _request: web.Request) -> web.Response:
        return _json(await asyncio.to_thread(self._annotating.people))

    async def _agreement(self, _request: web.Request) -> web.Response:
        found = await asyncio.to_thread(self._annotating.agreement)
        tables = [{"title": title, "columns": columns, "rows": rows} for title, columns, rows in found.tables()]
        return _json({"tables": tables, "sentences": found.sentences()})

    async def _next(self, request: web.Request) -> web.Response:
        return _json(await asyncio.to_thread(self._annotating.next, await _body(request)))

    async def _annotate(self, request: web.Request) -> web.Response:
        return _json(await asyncio.to_thread(self._annotating.annotate, await _body(request)))

    async def _undo(self, request: web.Request) -> web.Response:
        return _json(await asyncio.to_thread(self._annotating.undo, await _body(request)))

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        talking, messages = self._talked(), conversation_of((await _body(request)).get("messages"))
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        async with aclosing(talking.answer(messages)) as answers:
            try:
                async for line in answers:
                    await response.write(orjson.dumps(line) + b"\n")
            except CaiError as error:  # the status is sent by now
                await response.write(orjson.dumps({"error": str(error)}) + b"\n")
        return response

    async def _vote(self, request: web.Request) -> web.Response:
        return _json(await asyncio.to_thread(self._talked().vote, self._allowed(await _body(request))))

    async def _mark(self, request: web.Request) -> web.Response:
        return _json(await asyncio.to_thread(self._talked().mark, self._allowed(await _body(request))))

    def _talked(self) -> Talking:
        if self.talking is None:
            raise UsageError("there is nobody to talk to; start cai review with --talk MODEL")
        return self.talking

    def _allowed(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a request as it is; raises UsageError when who sent it may not annotate."""
        self._annotating.require_annotator(body.get("annotator"))
        return body


def _saying_mistakes(route: Route) -> Route:
    """Return a route whose mistakes are told as JSON, in a sentence."""

    async def told(request: web.Request) -> web.StreamResponse:
        try:
            return await route(request)
        except web.HTTPException:
            raise
        except StoreError as error:
            return _json({"error": str(error)}, 507)
        except CaiError as error:
            return _json({"error": str(error)}, 400)
        except Exception:
            _LOGGER.exception("a request of the page failed")
            return _json({"error": "cai has a mistake here; the terminal in which it runs says which."}, 500)

    return told


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json", headers=HEADERS)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        value = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise UsageError(f"what the page sent is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError("what the page sent is no JSON object")
    return value


def _number(query: Mapping[str, str], name: str) -> int | None:
    """Return a number of the query, None where there is none; raises UsageError for what is no count."""
    typed = query.get(name, "")
    if not typed:
        return None
    if not typed.isascii() or not typed.isdigit() or len(typed) > 12:
        raise UsageError(f"{name} is {typed!r}; give a whole number")
    return int(typed)
