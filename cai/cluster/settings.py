"""What a person may decide about where rows are made, under the options' names."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Where rows are made: in this process (`cluster` None), or by replicas on a Ray cluster; see `cai.cluster`."""

    cluster: str | None = None
    replicas: int = 1
    gpus_per_replica: float = 0.0
