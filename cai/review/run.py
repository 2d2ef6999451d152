"""`review`: serve the page on 127.0.0.1 until it is stopped; everything it reads is read in threads of their own."""

import asyncio
import logging
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from threading import Thread
from time import monotonic

from aiohttp import web

from cai.annotation.agreement import Agreement
from cai.annotation.store import AnnotationStore
from cai.core.errors import CaiError, UsageError
from cai.review.annotating import Annotating
from cai.review.guard import new_token
from cai.review.guidelines import Guidelines
from cai.review.index import ChainIndex
from cai.review.plan import ReviewPlan
from cai.review.reading import RunChains, read_chains
from cai.review.server import ReviewServer
from cai.review.talking import open_talking

HOST = "127.0.0.1"
LOOKS_EVERY = 2.0
"""Seconds after which a run is looked at again."""

RESTS = 10.0
"""How many times as long as reading new rows took nothing is read behind it: all rows are passed over for that."""

_LOGGER = logging.getLogger("cai.review")


async def review(plan: ReviewPlan, opened: Callable[[str], None]) -> None:
    """Serve a review until the task is cancelled; `opened` is called with the page's address once it answers.

    Raises UsageError when the port is taken, StoreError when what was said cannot be sent to the run's URL at the end.
    """
    async with serving(plan) as address:
        opened(address)
        if plan.settings.open_browser:  # in a thread, because a browser in a terminal takes it until it is closed
            Thread(target=webbrowser.open, args=(address,), name="cai browser", daemon=True).start()
        await asyncio.Event().wait()


def agreement(plan: ReviewPlan) -> Agreement:
    """Return how far people agree in what they said so far, without a page; raises as reading the place does."""
    annotating = Annotating(plan, Guidelines(plan.constitution))
    try:
        return annotating.agreement()
    finally:
        annotating.close()


@asynccontextmanager
async def serving(plan: ReviewPlan) -> AsyncIterator[str]:
    """Serve a review while the block runs, which gets the page's address; raises as `review` does."""
    token = new_token()
    guidelines = Guidelines(plan.constitution)
    annotating = await asyncio.to_thread(Annotating, plan, guidelines)
    index = ChainIndex()
    models = AsyncExitStack()
    server = ReviewServer(str(plan.place.source), plan.place.kind, index, annotating, guidelines)
    reader = Thread(target=_read, args=(plan, index, server, annotating), name="cai review", daemon=True)
    runner = web.AppRunner(server.application(token), access_log=None)
    try:
        if plan.settings.talk:
            store = AnnotationStore(plan.place)
            server.talking = await open_talking(plan.settings.talk, store, plan.constitution, models)
        await runner.setup()
        port = await _listen(runner, plan.settings.port)
        reader.start()
        yield f"http://{HOST}:{port}/{token}/"
    finally:
        await runner.cleanup()
        await models.aclose()
        index.close()
        if reader.ident is not None:
            await asyncio.to_thread(reader.join)
        await asyncio.to_thread(annotating.close)


async def _listen(runner: web.AppRunner, wanted: int) -> int:
    """Listen on a port of 127.0.0.1, any that is free for 0, and return which; raises UsageError when it is taken."""
    site = web.TCPSite(runner, HOST, wanted)
    try:
        await site.start()
    except OSError as error:
        raise UsageError(f"port {wanted} cannot be listened on ({error.strerror}); give --port another one") from error
    port: int = runner.addresses[0][1]
    return port


def _read(plan: ReviewPlan, index: ChainIndex, server: ReviewServer, annotating: Annotating) -> None:
    """Read the place, and of a run what it gets until the index is closed; whatever stops it is told on the page."""
    try:
        if plan.place.kind != "run":
            index.fill(read_chains(plan.place, plan.settings.shape))
            return
        chains = RunChains(plan.place.path)
        index.fill(chains.new())
        pause = LOOKS_EVERY
        while not index.wait(pause):
            if chains.has_grown():
                began = monotonic()
                index.fill(chains.new())
                annotating.renew()
                pause = max(LOOKS_EVERY, RESTS * (monotonic() - began))
    except CaiError as error:
        server.failure = str(error)
    except Exception as error:  # a mistake of cai's own; without a word the page would wait for ever
        _LOGGER.exception("%s could not be read", plan.place.source)
        server.failure = f"{plan.place.source} could not be read to its end ({type(error).__name__}: {error})."
