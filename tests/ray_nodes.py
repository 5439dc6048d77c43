"""A Ray cluster of several nodes on one machine, for tests and benchmarks: started, and surely ended again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STORE_BYTES = 100_000_000
"""Of each node's object store: tests pass paths and counts through it, and a machine runs several nodes."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}


@contextmanager
def nodes(*cpus: float, store_bytes: int = STORE_BYTES) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` with a node for each number of processors, the head first.

    Its files lie in a folder of their own (short: the path of a socket has 107 letters at most), so that neither
    another cluster of this machine nor `ray start`'s note of the last address is touched.
    """
    folder = tempfile.mkdtemp(prefix="ray-")
    before = {name: os.environ.get(name) for name in [*QUIET, "RAY_TMPDIR"]}
    os.environ.update(QUIET, RAY_TMPDIR=folder)
    cluster = None
    try:
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        for each in cpus:
            add_node(cluster, each, store_bytes=store_bytes)
        yield cluster
    finally:
        if cluster is not None:
            cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def add_node(cluster: Any, cpus: float = 1, *, store_bytes: int = STORE_BYTES) -> Any:
    """One node more; the first is the head."""
    return cluster.add_node(
        num_cpus=cpus,
        object_store_memory=store_bytes,
        include_dashboard=False,
    )
