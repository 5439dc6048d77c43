"""Services as Ray actors on the driver's machine, where its files are."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pairmine.engines.services import Offered, Service
from pairmine.errors import GAVE_UP, PairmineError

_CLOSING_S = 60.0


@contextmanager
def started(makes: Sequence[Callable[[], Offered]]) -> Iterator[list[Service]]:
    """An actor for each of `makes`, until the end; none is started anew, since what it had in memory would be lost."""
    import ray

    actors: list[Any] = []
    services: list[Service] = []
    try:
        for make in makes:
            name = f"pairmine-{uuid4().hex}"
            actors.append(_options(name).remote(ray.cloudpickle.dumps(make)))
            services.append(_There(name))
        for service in services:
            service.begin("__init__")()
        yield services
    finally:
        for actor in actors:
            _end(actor)


def _options(name: str) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(_Holder).options(name=name, num_cpus=0, max_restarts=0, scheduling_strategy=here)


def _end(actor: Any) -> None:
    import ray

    with suppress(Exception):
        ray.get(actor.call.remote("close", ()), timeout=_CLOSING_S)
    with suppress(Exception):
        ray.kill(actor)


class _Holder:
    """Holds the object; what goes wrong comes back as an answer, so that a line of ours stays one."""

    def __init__(self, make: bytes) -> None:
        self._make = make
        self._object: Any = None

    def call(self, method: str, args: tuple[Any, ...]) -> tuple[Any, tuple[str, int] | None]:
        try:
            if method == "__init__":
                self._object = pickle.loads(self._make)()
                return None, None
            return getattr(self._object, method)(*args), None
        except PairmineError as error:
            return None, (str(error), error.exit_code)


@dataclass(frozen=True)
class _There:
    name: str

    def begin(self, method: str, *args: Any) -> Callable[[], Any]:
        reference = _actor(self.name).call.remote(method, args)
        return lambda: _answer(reference)


_FOUND: dict[str, Any] = {}


def _actor(name: str) -> Any:
    """The actor of that name, looked up once in each process."""
    import ray

    if name not in _FOUND:
        try:
            _FOUND[name] = ray.get_actor(name)
        except ValueError as error:
            raise _lost() from error
    return _FOUND[name]


def _answer(reference: Any) -> Any:
    import ray

    try:
        value, error = ray.get(reference)
    except ray.exceptions.RayActorError as lost:
        raise _lost() from lost
    if error is not None:
        raise PairmineError(error[0], exit_code=error[1])
    return value


def _lost() -> PairmineError:
    return PairmineError(
        "--engine ray: the process that keeps the replies was lost; what it had kept is safe, run the same command "
        "again to continue",
        exit_code=GAVE_UP,
    )
