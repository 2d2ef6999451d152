"""Ray behind the pool: joining a cluster quietly, and replicas as actors. The only file that knows Ray.

An actor is never restarted and a call never repeated by Ray itself: the pool does both, because it knows which rows are
still owed. Ray's own log, its usage report and its traffic of the workers' output to the driver's terminal are off.
"""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# A replica without GPUs must see none. Ray has announced that this default will change.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
# Ray prints pages to the driver's standard output when a node dies, whatever its log level; this skips every line.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "(?s:.*)")

import ray
from ray.exceptions import RayError, RayTaskError

from cai.cluster.pool import LostError
from cai.cluster.replica import Answer, MakerSpec, PackedError, Placement, Replica, ReplicaInfo, Role, RowResult
from cai.core.errors import ModelError, UsageError
from cai.core.records import Prompt, Provenance, Row
from cai.models.base import Request

CONNECTING_SECONDS = 5.0
CALLS_AT_ONCE = 65_536
"""More than the pool ever gives a replica: how many rows it holds is the pool's to say."""

_FORWARDED = ("OPENAI_API_KEY", "HF_TOKEN")
"""Secrets of the person who runs the driver, which models on other nodes are opened with."""

Result = TypeVar("Result")


class RayCluster:
    """A joined cluster, in which replicas are started."""

    def __init__(self, spec: MakerSpec[Any], gpus: float) -> None:
        self._spec = spec
        self._actor = ray.remote(Replica).options(
            num_cpus=1,
            num_gpus=gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=CALLS_AT_ONCE,
            scheduling_strategy="SPREAD",
        )

    @classmethod
    async def join(cls, address: str, spec: MakerSpec[Any], gpus: float) -> "RayCluster":
        """Join the cluster at `address`; raises UsageError when that cannot be done, or none of its nodes is enough."""
        if address not in ("auto", "local"):
            await _check_address(address)
        try:
            with _own_signals():
                await asyncio.to_thread(  # it takes seconds
                    ray.init,
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    include_dashboard=False,
                )
        except ConnectionError as error:
            raise UsageError(
                f"--cluster {address}: no Ray cluster runs here; start one with `ray start --head`, or give an address"
            ) from error
        except (RuntimeError, ValueError) as error:
            raise UsageError(f"--cluster {address}: {_sentence(error)}") from error
        cluster = cls(spec, gpus)
        try:
            _check_room(address, gpus)
        except UsageError:
            await cluster.disconnect()
            raise
        return cluster

    def start(self) -> "RayHandle":
        """Ask for one more replica; the cluster places it when it has room."""
        return RayHandle(self._actor.remote(), self._spec)

    async def disconnect(self) -> None:
        """Let go of the cluster; one that was started for this run ends."""
        await asyncio.to_thread(ray.shutdown)


class RayHandle:
    """An actor, as the pool sees it."""

    def __init__(self, actor: Any, spec: MakerSpec[Any]) -> None:
        self._actor = actor
        self._spec = spec

    async def place(self) -> Placement:
        """Return once a node runs it; raises ModelError when the node cannot import cai."""
        try:
            return await _answer(self._actor.place.remote)
        except RayTaskError as error:
            raise ModelError(f"a node cannot start cai; install the same there as here: {_sentence(error)}") from error

    async def open(self) -> ReplicaInfo | PackedError:
        """Open the models there."""
        environment = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
        return await _answer(self._actor.open.remote, self._spec, str(Path.cwd()), environment)

    async def make(self, item: Prompt | Row, provenance: Provenance) -> RowResult:
        """Make a row there."""
        return await _answer(self._actor.make.remote, item, provenance)

    async def answer(
        self, role: Role, request: Request, options: Sequence[str] | None, juror: int | None = None
    ) -> Answer | PackedError:
        """Ask a single question there."""
        return await _answer(self._actor.answer.remote, role, request, options, juror)

    async def close(self) -> None:
        """Release the models there."""
        await _answer(self._actor.close.remote)

    def kill(self) -> None:
        """End the actor's process."""
        with contextlib.suppress(RayError):
            ray.kill(self._actor)


async def _answer(call: Callable[..., Awaitable[Result]], *arguments: object) -> Result:
    """Call an actor; raises LostError when it is gone, and what it raised when that was nothing we foresaw."""
    try:
        return await call(*arguments)
    except RayTaskError:
        raise
    except RayError as error:
        raise LostError(_sentence(error)) from error


async def _check_address(address: str) -> None:
    """Raise UsageError unless somebody listens at HOST:PORT; Ray itself would try for a minute and then say pages."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(CONNECTING_SECONDS):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError, OverflowError) as error:
        raise UsageError(
            f"--cluster {address}: nobody answers there; give the address that `ray start --head` printed"
        ) from error
    writer.close()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Take the signals back that Ray claims while the block runs: under its handler SIGTERM aborts the driver."""
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set, and were any
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
            signal.siginterrupt(number, False)


def _check_room(address: str, gpus: float) -> None:
    """Raise UsageError when no node could hold a replica even if it were idle."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= 1 and node.get("GPU", 0) >= gpus for node in nodes):
        most = max((node.get("GPU", 0) for node in nodes), default=0)
        raise UsageError(
            f"--cluster {address}: a replica needs 1 CPU and {gpus:g} GPU (--gpus-per-replica), and no node has them; "
            f"the node with most has {most:g} GPU"
        )


def _sentence(error: Exception) -> str:
    """Return the first line of what Ray says, without its full stop."""
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)
