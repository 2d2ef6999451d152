"""Rows made on other machines: `open_cluster` joins a Ray cluster and opens replicas of the models there.

The driver keeps everything that it keeps without a cluster: the input, the pipeline, the one run directory. Where its
pipeline would have run a row's coroutine it asks a `Pool` for the row; the pool gives the prompt to one replica, an
actor with its own engines that runs the whole chain and sends the row back. So a row is committed when it arrives, what
is finished is never sent, a failure, a drain or an engine that is gone mean what they always mean, and because
everything random derives from seed, prompt and step, it makes no difference to a row which replica makes it.

A node that dies takes with it only the rows it had in flight: the pool gives them to other replicas and starts a new
one, and each is committed once, because only the coroutine that waits for a row commits it.

Why not Ray Data's `map_batches`, which streams rows to a pool of actors too (tried, ray 2.60)? Its unit is a block: a
finished row stays on the worker until its block is done, so one slow row keeps 15 others from the run directory and a
killed driver loses them; with a block a row it moved 30 rows a second where the actors had room for 160. Its input has
to be in Ray's store before it starts, where ours is read as it is needed, and it cannot be asked to drain.
"""

from dataclasses import replace
from typing import Any

from cai.cluster.pool import Pool
from cai.cluster.replica import MakerSpec, Role, RowMaker
from cai.cluster.settings import ClusterSettings
from cai.core.errors import UsageError

__all__ = ["MakerSpec", "Pool", "Role", "RowMaker", "check_cluster", "cluster_settings", "open_cluster"]


def check_cluster(address: str) -> None:
    """Raise UsageError unless `address` has the form of one that `open_cluster` takes; nothing is looked up."""
    host, _, port = address.rpartition(":")
    if address.startswith("ray://"):
        raise UsageError(
            f"--cluster {address}: run cai on a node of the cluster and give auto or HOST:PORT; "
            "through Ray Client rows could not come back as they are made"
        )
    if address not in ("auto", "local") and not (host and port.isdecimal()):
        raise UsageError(f"--cluster {address}: give auto, local or HOST:PORT, e.g. 10.0.0.1:6379")


def cluster_settings(cluster: str | None, replicas: int | None, gpus_per_replica: float | None) -> ClusterSettings:
    """Return the cluster's options as settings; raises UsageError when they make no sense."""
    given = {"replicas": replicas, "gpus_per_replica": gpus_per_replica}
    for name, value in given.items():
        if cluster is None and value is not None:
            raise UsageError(f"--{name.replace('_', '-')} needs --cluster: without one the models are in this process")
    if cluster is not None:
        check_cluster(cluster)
    settings = ClusterSettings(cluster)
    if replicas is not None:
        settings = replace(settings, replicas=replicas)
    return settings if gpus_per_replica is None else replace(settings, gpus_per_replica=gpus_per_replica)


async def open_cluster(address: str, spec: MakerSpec[Any], replicas: int, gpus: float) -> Pool:
    """Join the cluster and open `replicas` times what `spec` says; returns as soon as one of them answers.

    `address` is `auto` (the cluster this machine is part of, or RAY_ADDRESS), `local` (one on this machine, for this
    run alone) or HOST:PORT. Each replica is given one processor and `gpus` GPUs, perhaps a part of one. Raises
    UsageError when Ray is not installed, the cluster cannot be joined or has no node that could hold a replica, and
    whatever opening the models raises.
    """
    check_cluster(address)
    try:
        from cai.cluster.ray_cluster import RayCluster
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "ray":
            raise
        raise UsageError("--cluster needs Ray: pip install 'cai[ray]'") from error
    cluster = await RayCluster.join(address, spec, gpus)
    pool = Pool(cluster.start, replicas, cluster.disconnect)
    try:
        await pool.open()
    except BaseException:
        await pool.close()
        raise
    return pool
