"""What every test starts from.

Signals as a terminal leaves them: what a script starts in the background ignores SIGINT, under nohup SIGHUP too,
and the commands that the tests start would inherit that. And no vectors of earlier runs, which would make
a test of embedding pass without embedding anything: those that are about the store name one.
"""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator

import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

os.environ["PAIRMINE_STORE"] = "none"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The address of a Ray cluster of two nodes with a processor each, all of it on this machine.

    Tests that take it are marked `slow` and `ray`, and run one after another: `make test-ray`.
    """
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install 'pairmine[ray]'")
    from ray_nodes import nodes

    with nodes(1, 1) as cluster:
        yield cluster.address
