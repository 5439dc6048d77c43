"""Notices that a cluster is gone, before Ray ends the process that was in it: half a minute later, without a word."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from typing import Any

from pairmine.errors import GAVE_UP
from pairmine.files.unfinished import clear_up

_EACH_S = 2.0
_ANSWERS_S = 5.0
_PATIENCE_S = 12.0
"""Ray gives up after 30 seconds where its process on this machine is gone, and a machine can be busy for some."""
LINE = (
    "pairmine: --engine ray: the cluster is gone ({}); finished shards are kept, run the same command again to "
    "continue, with another cluster or with this one once it is back\n"
)


class Lookout:
    """A thread that ends this process with a line and exit code 3 once the cluster that it has joined is gone.

    Nothing else can be done: who waits for the cluster waits in Ray's own code, which ends the process.
    """

    def __init__(self, ray: Any) -> None:
        self._places = dict(_places(ray))
        self._is_over = threading.Event()
        threading.Thread(target=self._look, name="lookout", daemon=True).start()

    def close(self) -> None:
        """The cluster may go."""
        self._is_over.set()

    def _look(self) -> None:
        since: dict[str, float] = {}
        while not self._is_over.wait(_EACH_S):
            for what, place in self._places.items():
                if _answers(place):
                    since.pop(what, None)
                elif time.monotonic() - since.setdefault(what, time.monotonic()) > _PATIENCE_S:
                    self._leave(what)

    def _leave(self, what: str) -> None:
        if self._is_over.is_set():
            return
        clear_up()
        sys.stderr.flush()
        os.write(2, LINE.format(what).encode())
        os._exit(GAVE_UP)


def _places(ray: Any) -> list[tuple[str, tuple[str, int] | str]]:
    """What has to answer: the cluster's head, and Ray's process on this machine where its socket is known."""
    address = ray.get_runtime_context().gcs_address
    host, _, port = address.rpartition(":")
    found: list[tuple[str, tuple[str, int] | str]] = [(f"{address} does not answer", (host.strip("[]"), int(port)))]
    node = getattr(ray._private.worker, "_global_node", None)
    if name := getattr(node, "raylet_socket_name", None):
        found.append(("its process on this machine has ended", str(name)))
    return found


def _answers(place: tuple[str, int] | str) -> bool:
    try:
        if isinstance(place, tuple):
            socket.create_connection(place, timeout=_ANSWERS_S).close()
        else:
            with socket.socket(socket.AF_UNIX) as found:
                found.settimeout(_ANSWERS_S)
                found.connect(place)
    except OSError:
        return False
    return True
