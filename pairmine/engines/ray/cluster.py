"""A Ray cluster: where it is, what it has, and how a list of items is worked on there."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from types import TracebackType
from typing import Any

from pairmine.engines.ray.lookout import Lookout
from pairmine.engines.ray.worker import Small, Stored, actor, answers, task
from pairmine.engines.shards import Item, Listing, Make, Parcel, Result, Shared
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files.locations import cause

_INSTALL = "pip install 'pairmine[ray]'"
_LOCAL_STORE_BYTES = 256 << 20
"""For the objects of a local cluster: rows go through files, and only paths, counts and broadcasts through Ray."""
_LARGE = 1 << 20
_STARTED_AT_ONCE = 256
_TASKS_A_WORKER = 4
_MOST_BLOCKS = 256
"""Of a shuffle, in which each block meets each; more where there are more workers."""
_ANSWERS_S = 10.0
_LOOKS = (
    ("streaming_executor_state", "", "WAIT_FOR_TASK_COMPLETION_TIMEOUT_S", 0.02),
    ("resource_manager", "ResourceManager", "GLOBAL_LIMITS_UPDATE_INTERVAL_S", 0.1),
)
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",
}
"""Nothing is sent to anybody, what Ray's processes log stays in their files, and no thread that is left over when a run
ends joins another cluster that it finds."""


class Cluster:
    """A cluster at `address`, or one on this machine for as long as this is open; a context manager.

    `workers` 0 are as many as the cluster has room for, each with `cpus_per_worker` and `gpus_per_worker`.
    """

    def __init__(
        self, address: str | None = None, *, workers: int = 0, cpus_per_worker: float = 1, gpus_per_worker: float = 0
    ) -> None:
        self._ray = _load_ray()
        self._cpus, self._gpus = cpus_per_worker, gpus_per_worker
        self._is_ours = not self._ray.is_initialized()
        self._lookout: Lookout | None = None
        if self._is_ours:
            self._connect(address, workers)
            self._lookout = Lookout(self._ray)
        try:
            self.workers = workers or self._room()
            self._starting = self._start_processes()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster; one on this machine ends."""
        if self._lookout is not None:
            self._lookout.close()
        if self._is_ours and self._ray.is_initialized():
            self._ray.shutdown()

    @property
    def nodes(self) -> int:
        """How many machines there are."""
        return sum(bool(node["Alive"]) for node in self._ray.nodes())

    @property
    def gpus(self) -> float:
        """How many GPUs there are."""
        return float(self._ray.cluster_resources().get("GPU", 0))

    def map(
        self,
        make: Make[Item, Result],
        items: Sequence[Item],
        *,
        resident: bool = False,
        most: int | None = None,
    ) -> Iterator[tuple[int, Result]]:
        """See `shards.Pool`: Ray Data's `map_batches`, an item at a time.

        What is resident works in a pool of actors, whose start takes seconds; all else in tasks, for which Ray keeps
        its processes.
        """
        yield from self._map(make, items, len(items), resident, most)

    def _map(
        self,
        make: Make[Item, Result],
        items: Sequence[Item],
        tasks: int,
        resident: bool = False,
        most: int | None = None,
    ) -> Iterator[tuple[int, Result]]:
        if not items:
            return
        data = self._data()
        rows = [{"place": at, "item": pickle.dumps(item)} for at, item in enumerate(items)]
        size = min(self.workers, len(items), most or len(items))
        found = data.from_items(rows, override_num_blocks=tasks).map_batches(
            actor(self._sent(make)) if resident else task(self._sent(make)),
            batch_size=1,
            batch_format="pyarrow",
            compute=_pool_of(data, size) if resident else data.TaskPoolStrategy(size),
            num_cpus=self._cpus,
            num_gpus=(self._gpus if resident else 0) or None,
        )
        with self._said_plainly():
            for batch in found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                yield from answers(batch)

    def shuffle(
        self,
        split: Make[Item, Iterable[tuple[int, Parcel]]],
        items: Sequence[Item],
        join: Make[tuple[int, Iterator[Parcel]], Result],
        *,
        groups: int,
    ) -> Iterator[tuple[int, Result]]:
        """See `shards.Pool`: Ray Data's `groupby`."""
        from pairmine.engines.ray.shuffle import shuffled

        if not items:
            return
        # Ray Data starts the next task only some time after one has ended: some items are one task.
        tasks = _TASKS_A_WORKER * self.workers
        parcels = self._map(Listing(split), items, min(len(items), tasks))
        partitions = max(1, min(groups, tasks, max(_MOST_BLOCKS, self.workers)))
        with self._said_plainly():
            yield from shuffled(self._data(), parcels, self._sent(join), partitions=partitions, cpus=self._cpus)

    def share(self, value: Result) -> Shared[Result]:
        """See `shards.Pool`: `value` in Ray's object store."""
        return Stored(self._ray.put(value))

    def _sent(self, make: Make[Any, Any]) -> Shared[bytes]:
        """What is made on the workers, in the object store where it is large."""
        made = self._ray.cloudpickle.dumps(make)
        return Small(made) if len(made) < _LARGE else self.share(made)

    def _connect(self, address: str | None, workers: int) -> None:
        if address is not None:
            _check_there(address)
            _use_token(address)
        settings: dict[str, Any] = {"address": address or "local", "log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            settings["num_cpus"] = max(workers, 1) * self._cpus if workers else len(os.sched_getaffinity(0))
            settings |= {"include_dashboard": False, "object_store_memory": _LOCAL_STORE_BYTES}
        try:
            with _silent(), _ending_as_before():
                self._ray.init(**settings)
            _keep_stdout_clean(self._ray)
        except Exception as error:
            what = f"--ray-address {address}" if address else "--engine ray"
            raise PairmineError(
                f"{what}: no cluster ({_first_line(error)}); start one with 'ray start --head', and run this there",
                exit_code=GAVE_UP,
            ) from error

    def _start_processes(self) -> list[Any]:
        """Have as many processes as there are workers load what all of them need, which takes seconds, from now on."""
        ready = self._ray.remote(num_cpus=self._cpus, scheduling_strategy="SPREAD", max_retries=0)(_load)
        return [ready.remote() for _ in range(min(self.workers, _STARTED_AT_ONCE))]

    def _room(self) -> int:
        """How many workers find room at once."""
        there = self._ray.cluster_resources()
        counts = [int(there.get("CPU", 0) // self._cpus)] if self._cpus else []
        if self._gpus:
            counts.append(int(there.get("GPU", 0) / self._gpus))
            if not counts[-1]:
                raise PairmineError(
                    f"--gpus-per-worker {self._gpus:g}: the cluster has {there.get('GPU', 0):g} GPUs; leave it out or "
                    "name another cluster with --ray-address"
                )
        if not counts or not min(counts):
            raise PairmineError(f"--cpus-per-worker {self._cpus:g}: the cluster has {there.get('CPU', 0):g} cores")
        return min(counts)

    def _data(self) -> Any:
        import ray.data
        from ray.data.context import ShuffleStrategy

        for name in ("ray.data", "ray"):
            logging.getLogger(name).setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = False
        # The others start processes of their own, again and again: seconds for a shuffle of next to nothing.
        context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
        _look_often()
        return ray.data

    def _said_plainly(self) -> Any:
        return _SaidPlainly(self._ray)


def _load() -> None:
    """Import what takes long, on a worker."""
    for name in ("ray.data", "pairmine.engines.parts", "pairmine.files.source"):
        import_module(name)


def _pool_of(data: Any, size: int) -> Any:
    return data.ActorPoolStrategy(min_size=1, max_size=size, initial_size=size)


def _look_often() -> None:
    """Have Ray Data look at its tasks fifty times a second, not ten, and at the cluster's size ten times, not once.

    A worker waits for its next task until Ray Data has seen twice that the last one is done, and until it knows the
    cluster one task runs at a time. Where Ray has no such numbers it stays as it is.
    """
    for name, of, number, value in _LOOKS:
        with suppress(ImportError):
            module = import_module(f"ray.data._internal.execution.{name}")
            holder = getattr(module, of) if of else module
            if hasattr(holder, number):
                setattr(holder, number, value)


class _SaidPlainly:
    """Turns what Ray raises once it gives up into one line; what went wrong inside a worker keeps its traceback."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        raised = self._ray.exceptions
        lost = (
            *(raised.RayActorError, raised.NodeDiedError, raised.OutOfMemoryError, raised.ObjectLostError),
            raised.WorkerCrashedError,
            ConnectionError,
        )
        if isinstance(error, lost):
            raise PairmineError(
                f"--engine ray: workers were lost ({_first_line(error)}); finished shards are kept, run the same "
                "command again to continue",
                exit_code=GAVE_UP,
            ) from error


def _load_ray() -> Any:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.cloudpickle
        import ray.exceptions
    except ImportError as error:
        raise PairmineError(f"--engine ray: {_first_line(error)}; {_INSTALL}") from None
    return ray


def _check_there(address: str) -> None:
    """Raise PairmineError at once where nobody answers, since Ray tries for minutes."""
    import socket

    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdecimal():
        raise PairmineError(f"--ray-address {address}: write HOST:PORT, as 'ray start --head' shows it, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWERS_S).close()
    except OSError as error:
        raise PairmineError(
            f"--ray-address {address}: {cause(error)}; name another, or start one with 'ray start --head'",
            exit_code=GAVE_UP,
        ) from None


def _use_token(address: str) -> None:
    """Show a cluster on this machine the token that Ray keeps here, if it asks for one; Ray itself does so for "auto".

    Raises PairmineError for a cluster elsewhere that asks for one: whoever sets RAY_AUTH_MODE shows it his token.
    """
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    from ray.util import get_node_ip_address

    if address == "auto" or not _asks_for_token(address):
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    is_here = address.rpartition(":")[0] in ("127.0.0.1", "localhost", "[::1]", get_node_ip_address())
    if is_here and maybe_enable_token_auth_if_token_available(warn_if_disabled=False) and not _asks_for_token(address):
        return
    raise PairmineError(
        f"--ray-address {address}: the cluster asks for a token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a "
        "file with the one that its machines have in ~/.ray/auth_token"
    )


def _asks_for_token(address: str) -> bool:
    """Whether the cluster refuses to answer without a token, or with this one; Ray would ask again for a minute."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError, RayError

    try:
        with _silent():
            GcsClient(address=address)
    except AuthenticationError:
        return True
    except RayError as error:
        raise PairmineError(
            f"--ray-address {address}: no cluster ({_first_line(error)}); start one with 'ray start --head'",
            exit_code=GAVE_UP,
        ) from None
    return False


@contextmanager
def _ending_as_before() -> Iterator[None]:
    """Leaves a command its own way to end at SIGTERM: Ray takes that over, and would end it without a word."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _silent() -> Iterator[None]:
    """Leaves out what Ray's own code, which knows no Python stream, says on stderr while it starts."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def _keep_stdout_clean(ray: Any) -> None:
    """Has Ray say nothing of lost workers: it prints that where a command's data goes, whatever its settings."""
    ray._private.worker.print_to_stdstream = lambda data, ignore_prefix=False: None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
