"""One ledger for many workers: cut into shards by the calls' keys while they ask, put together afterwards."""

from __future__ import annotations

import fcntl
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pairmine.engines.services import Heard, Service
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files.locations import cause
from pairmine.ledger import Entry, Ledger
from pairmine.llm.asking import Found
from pairmine.llm.calls import Call, Failure, Reply

_PATIENCE_S = 30.0


class LedgerShard:
    """The calls of one shard: what is kept of them, who is asking them, and which have failed. A service.

    Replies go into the file `path` and are safe when `keep` returns; what the ledger `main` has is found too. Nobody
    else may use `path` meanwhile.
    """

    def __init__(self, main: str, path: str) -> None:
        self._lock = _locked(Path(path), wait_s=0.0)
        self._main = Ledger(main, read_only=True)
        self._own = Ledger(path)
        self._asking: dict[bytes, str] = {}
        self._failures: dict[bytes, Failure] = {}
        self._heard = Heard()

    def find(self, who: str, keys: Sequence[bytes]) -> dict[bytes, Found]:
        """What is known of the calls; those of which nothing is are `who`'s to ask from now on."""
        self._heard.of(who)
        found: dict[bytes, Found] = {**self._own.find(keys)}
        found |= self._main.find([key for key in keys if key not in found])
        for key in keys:
            if key in found:
                continue
            if key in self._failures:
                found[key] = self._failures[key]
                continue
            asker = self._asking.setdefault(key, who)
            if asker != who and not self._heard.is_gone(asker):
                found[key] = None
            else:
                self._asking[key] = who
        return found

    def keep(self, who: str, entries: Sequence[Entry]) -> int:
        """Keep the replies for good, and say how many were new; a key that has a reply keeps that one."""
        self._heard.of(who)
        there = self._main.find([entry.key for entry in entries])
        count = self._own.add([entry for entry in entries if entry.key not in there])
        for entry in entries:
            self._asking.pop(entry.key, None)
        return count

    def failed(self, who: str, failures: Mapping[bytes, Failure]) -> None:
        """These calls got no reply, and are asked no more in this run."""
        self._heard.of(who)
        self._failures.update(failures)
        for key in failures:
            self._asking.pop(key, None)

    def beat(self, who: str, *_: Any) -> bool:
        """`who` is still there, and may go on."""
        self._heard.of(who)
        return False

    def close(self) -> None:
        """Let go of the files."""
        self._own.close()
        self._main.close()
        self._lock.close()


class SharedLedger:
    """A keeper on the `shards` of a ledger, for the worker `who`."""

    def __init__(self, shards: Sequence[Service], who: str) -> None:
        self._shards = shards
        self._who = who

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Found]:
        """See `asking.Keeper`."""
        found: dict[bytes, Found] = {}
        for some in self._of_all("find", {key: key for key in keys}, list):
            found |= some
        return found

    def keep(self, answers: Sequence[tuple[Call, Reply]], *, recipe: str, backend: str) -> int:
        """See `asking.Keeper`."""
        now = int(time.time())
        entries = {call.key: Entry(call.key, reply, recipe, call.model, backend, now) for call, reply in answers}
        return sum(self._of_all("keep", entries, lambda some: list(some.values())))

    def failed(self, failures: Mapping[bytes, Failure]) -> None:
        """Tell the others."""
        self._of_all("failed", failures, dict)

    def _of_all(self, method: str, values: Mapping[bytes, Any], packed: Callable[[dict[bytes, Any]], Any]) -> list[Any]:
        """The answers of all shards that hold one of the keys, which work side by side."""
        parts: dict[int, dict[bytes, Any]] = defaultdict(dict)
        for key, value in values.items():
            parts[int.from_bytes(key[-4:], "little") % len(self._shards)][key] = value
        waiting = [self._shards[at].begin(method, self._who, packed(part)) for at, part in parts.items()]
        return [wait() for wait in waiting]


def shard_paths(ledger: str, count: int) -> list[str]:
    """Where the shards of a ledger lie while a run is under way."""
    folder = _folder(ledger)
    folder.mkdir(parents=True, exist_ok=True)
    return [str(folder / f"{number:03}.sqlite") for number in range(count)]


def merge_shards(ledger: Ledger, *, wait_s: float = _PATIENCE_S) -> int:
    """Put what runs on shards kept, killed ones too, into `ledger`, and remove their files; how many were new.

    Raises PairmineError where a run that is under way holds them for longer than `wait_s`, and, once the others are in
    the ledger, for one that cannot be read.
    """
    folder = _folder(str(ledger.path))
    count = 0
    unread: PairmineError | None = None
    # A lock alone is there where a run was killed before it made the file.
    found = {path.with_suffix(".sqlite") for path in folder.glob("*") if path.suffix in (".sqlite", ".lock")}
    for path in sorted(found):
        with _locked(path, wait_s=wait_s):
            try:
                count += _merge(ledger, path)
            except PairmineError as error:
                if error.exit_code == GAVE_UP:
                    raise
                what = str(error).partition("; ")[0]
                unread = PairmineError(
                    f"{what}; it has replies of a run on Ray that was cut short, move it away to go on without them"
                )
    if unread is not None:
        raise unread
    with suppress(OSError):  # a run that starts meanwhile has put its own there
        folder.rmdir()
    return count


def has_shards(ledger: str) -> bool:
    """Whether a run on shards is under way with this ledger, or was killed."""
    return _folder(ledger).is_dir()


def _merge(ledger: Ledger, path: Path) -> int:
    count = 0
    if path.exists():
        with Ledger(path) as shard:
            for entries in shard.entries():
                count += ledger.add(entries)
        ledger.sync()
    logs = (path.with_name(path.name + ending) for ending in ("-wal", "-shm"))
    try:
        for each in (path, *logs, path.with_suffix(".lock")):
            each.unlink(missing_ok=True)
    except OSError as error:
        line = f"{path}: {cause(error)}; its replies are in the ledger, mend that and run the same command again"
        raise PairmineError(line, exit_code=GAVE_UP) from None
    return count


def _folder(ledger: str) -> Path:
    path = Path(os.path.realpath(ledger))
    return path.with_name(f"{path.name}.shards")


def _locked(path: Path, *, wait_s: float) -> IO[bytes]:
    """A lock on the shard `path`, which ends with its process; closing it lets go."""
    end = time.monotonic() + wait_s
    while True:
        handle = path.with_suffix(".lock").open("ab")
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who had it may have removed the file.
            if os.path.samestat(os.fstat(handle.fileno()), path.with_suffix(".lock").stat()):
                return handle
        handle.close()
        if time.monotonic() > end:
            raise PairmineError(
                f"{path}: another run with this ledger is under way; run the same command again when that is done",
                exit_code=GAVE_UP,
            )
        time.sleep(0.1)
