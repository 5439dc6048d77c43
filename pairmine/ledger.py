"""Every reply that was ever paid for, in one sqlite file; what stands there is never asked for again."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pairmine.errors import BAD_INPUT, GAVE_UP, PairmineError, code_of
from pairmine.files.claims import Claims
from pairmine.llm.calls import Call, Reply
from pairmine.versions import check_format

FORMAT = 1
KEY_BYTES = 20
ASKING = "-asking"
"""What the name of the file ends in, beside the ledger, by which processes on it tell each other what they ask for."""
SQLITE_MAGIC = b"SQLite format 3\0"
_APPLICATION = 0x504D4C47
_AT_ONCE = 256
_REMOVED_AT_ONCE = 5_000
_CHECKPOINT_PAGES = 4_000
_WAL_BYTES = 16 << 20
_CACHE_KIB = 16_384
_MOST = 2**40
_DAMAGE = ("unsupported file format", "no such table", "no such column", "malformed", "Could not decode", "encoding")
"""What sqlite says of a damaged file as it would of a wrong query."""
_NO_ACCESS = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")

# Replies stand in the order in which they came: with the random key as the place of the whole row (WITHOUT
# ROWID) the file was 2.4 times as large and a write took 4 times as long, at 200,000 replies. The index `sums`
# holds all that totals want: without it they read every text.
_TABLES = """
CREATE TABLE sources (
    id INTEGER PRIMARY KEY, recipe TEXT NOT NULL, model TEXT NOT NULL, backend TEXT NOT NULL,
    UNIQUE (recipe, model, backend)
);
CREATE TABLE replies (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, source INTEGER NOT NULL, created INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    text_bytes INTEGER NOT NULL, finish_reason TEXT NOT NULL, served_by TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX sums ON replies (source, created, prompt_tokens, completion_tokens, cached_tokens, text_bytes);
CREATE TABLE batches (
    batch_id TEXT PRIMARY KEY, backend TEXT NOT NULL, created INTEGER NOT NULL, state TEXT NOT NULL, keys BLOB NOT NULL
);
"""
_REPLY = "text, finish_reason, prompt_tokens, completion_tokens, cached_tokens, served_by"
_INSERT = f"""
INSERT INTO replies (key, source, created, text_bytes, {_REPLY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A reply as the ledger holds it: under its key, who asked for it, and when (seconds since 1970)."""

    key: bytes
    reply: Reply
    recipe: str
    model: str
    backend: str
    created: int


@dataclass(frozen=True, slots=True)
class Which:
    """Some replies of a ledger: of one recipe, of one model, from before a moment (seconds since 1970)."""

    recipe: str | None = None
    model: str | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """What one recipe got from one model over one backend. `text_bytes` are those of the replies in UTF-8.

    `first` and `last` are the moments of its oldest and newest reply, in seconds since 1970.
    """

    recipe: str
    model: str
    backend: str
    replies: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    text_bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of calls that a provider works on; `state` is the backend's own word, `keys` are those of its calls."""

    batch_id: str
    backend: str
    state: str
    keys: tuple[bytes, ...]
    created: int = 0


class Ledger:
    """The replies in the sqlite file `path`, which is made (readable by its owner alone) where there is none.

    What `keep` has returned from survives kill -9 of this and any other process. A power cut or a crash of
    the machine may take back the latest transactions, up to about 16 MB of replies, and never the rest:
    a sync of the disk after each would cost more than the reply is worth. Several processes may use one
    ledger at once, and by `claim` none asks for what another one is asking for. One thread uses one Ledger.

    On a file system that several machines share, where sqlite's write-ahead log would be unsafe, a rollback
    journal takes its place and every transaction is synced: slower, and `remark` says so for people.

    `read_only` needs a ledger that exists and changes nothing in it; it also works where nothing can be written.

    Raises PairmineError for a path that is no ledger of ours or cannot be opened, and from every method
    for a full disk or a ledger that another process holds for longer than `busy_s` (exit code 3), and
    for a damaged file.
    """

    def __init__(self, path: str | Path, *, read_only: bool = False, busy_s: float = 30.0) -> None:
        self.path = Path(path)
        self.remark: str | None = None
        self._busy_s = busy_s
        if self.path.is_dir():
            raise PairmineError(f"{path}: is a folder; name a file in it as the ledger")
        self._claims = None if read_only else Claims(self.path.with_name(self.path.name + ASKING))
        if self.path.exists() and not self.path.is_file():
            raise _foreign(self.path, "not a regular file")
        if read_only and not self.path.exists():
            raise PairmineError(f"{path}: no ledger there; 'pairmine generate' makes it, or name another with --ledger")
        if not read_only:
            self._make_file()
        with self._told():
            self._connection = self._connect_read_only() if read_only else self._connect("mode=rw")
            try:
                self._check() if read_only else self._prepare()
            except BaseException:
                self._connection.close()
                raise
        self._place = self.path.absolute()  # the folder that the path starts from may be left
        self._file = _file_at(self._place)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def sync(self) -> None:
        """Fold the write-ahead log into the file and put it on disk: no power cut takes back what was kept so far."""
        with self._told():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Let go of the file; the last process to do so folds the write-ahead log into it."""
        try:
            if self._claims is not None:
                self._claims.close()
        finally:
            self._connection.close()

    # --- replies ----------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        """The replies to those of `keys` that have one."""
        found: dict[bytes, Reply] = {}
        with self._told():
            for some in _slices(keys):
                holes = ",".join("?" * len(some))
                rows = self._connection.execute(f"SELECT key, {_REPLY} FROM replies WHERE key IN ({holes})", some)
                found.update((row[0], _reply(row[1:])) for row in rows)
        return found

    def claim(self, key: bytes) -> bool:
        """Whether to ask for `key`: there is no reply to it yet, and no other process asks for it.

        None will do so from now on, until this one does `release` it, is closed, or ends.
        """
        if self._claims is None:
            return True
        if not self._claims.claim(key):
            return False
        if self.find([key]):
            self._claims.release([key])
            return False
        return True

    def release(self, keys: Sequence[bytes]) -> None:
        """Tell that these calls are answered, and their replies kept, or that there will be none."""
        if self._claims is not None:
            self._claims.release(keys)

    def keep(self, answers: Sequence[tuple[Call, Reply]], *, recipe: str, backend: str) -> int:
        """Write `answers` in one transaction, whole or not at all, and say how many were new.

        A key that has a reply keeps it: the first one wins.
        """
        now = int(time.time())
        return self.add([Entry(call.key, reply, recipe, call.model, backend, now) for call, reply in answers])

    def add(self, entries: Sequence[Entry]) -> int:
        """Write `entries` as `keep` does, for replies that come from elsewhere."""
        if not entries:
            return 0
        with self._told(), self._connection:
            self._begin()
            numbers = {names: self._source(names) for names in {(e.recipe, e.model, e.backend) for e in entries}}
            rows = [_row(entry, numbers[entry.recipe, entry.model, entry.backend]) for entry in entries]
            new = self._connection.executemany(_INSERT, rows).rowcount
        self._stay()
        return new

    def _stay(self) -> None:
        """Raise PairmineError where the file was taken from its place, after it was put back with all that it holds.

        sqlite would go on writing into a file without a name, and every reply be lost at the end.
        """
        if (there := _file_at(self._place)) == self._file:
            return
        if there is not None:
            line = f"{self.path}: was replaced by another file while it was in use; what came since is not in there"
            raise PairmineError(f"{line}, run the same command again", exit_code=GAVE_UP)
        self.path = self._place
        self._make_file()
        with self._told():
            with contextlib.closing(self._connect("mode=rw")) as copy:
                self._connection.backup(copy)
            self._connection.close()
            self._connection = self._connect("mode=rw")
            self._prepare()
        self._file = _file_at(self._place)
        line = f"{self.path}: was removed while it was in use; it is back with every reply, run the same command again"
        raise PairmineError(line, exit_code=GAVE_UP)

    def _source(self, names: tuple[str, str, str]) -> int:
        """The number of a (recipe, model, backend); looked up each time, since another process may prune it."""
        look = "SELECT id FROM sources WHERE recipe = ? AND model = ? AND backend = ?"
        if row := self._connection.execute(look, names).fetchone():
            return row[0]
        made = self._connection.execute("INSERT INTO sources (recipe, model, backend) VALUES (?, ?, ?)", names)
        assert made.lastrowid is not None
        return made.lastrowid

    def entries(self, which: Which | None = None) -> Iterator[list[Entry]]:
        """Everything, or `which` of it, in the order in which it was kept, some hundred at a time.

        Each list is a short read of its own, so that a slow consumer holds up nobody's writing.
        """
        condition, values = _condition(which or Which())
        columns = f"replies.id, key, recipe, model, backend, created, {_REPLY}"
        last = -1
        while True:
            with self._told():
                rows = self._connection.execute(
                    f"SELECT {columns} FROM replies CROSS JOIN sources ON sources.id = source "
                    f"WHERE replies.id > ? AND {condition} ORDER BY replies.id LIMIT {_AT_ONCE}",
                    (last, *values),
                ).fetchall()
                some = [Entry(row[1], _reply(row[6:]), *_sound(row[2:6], _ASKED)) for row in rows]
                if any(type(entry.key) is not bytes or len(entry.key) != KEY_BYTES for entry in some):
                    raise sqlite3.DatabaseError("malformed key")
                last = _last_of(rows, last)
            if not rows:
                return
            yield some

    # --- numbers ----------------------------------------------------------------------------------

    def size(self) -> int:
        """Bytes on disk, with those of the write-ahead log."""
        return sum(file.stat().st_size for file in (self.path, _log_of(self.path)) if file.exists())

    def totals(self, which: Which | None = None) -> list[Total]:
        """The sums over everything, or `which` of it, for each recipe, model and backend, sorted by them."""
        condition, values = _condition(which or Which())
        sums = "sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens), sum(text_bytes)"
        with self._told():
            rows = self._connection.execute(
                f"SELECT recipe, model, backend, count(*), {sums}, min(created), max(created) "
                f"FROM sources CROSS JOIN replies ON source = sources.id "
                f"WHERE {condition} GROUP BY sources.id ORDER BY recipe, model, backend",
                values,
            )
            return [Total(*_sound(row, _SUMS)) for row in rows]

    def prune(self, which: Which, *, dry_run: bool = False) -> list[Total]:
        """Remove `which` replies for good, give their space back, and say what went; `dry_run` only says it.

        It goes in steps, between which other processes can write.
        """
        going = self.totals(which)
        if dry_run or not going:
            return going
        condition, values = _condition(which)
        pick = (
            "SELECT replies.id FROM replies CROSS JOIN sources ON sources.id = source "
            f"WHERE replies.id > ? AND {condition} ORDER BY replies.id LIMIT {_REMOVED_AT_ONCE}"
        )
        last = -1
        while True:
            with self._told():
                ids = self._connection.execute(pick, (last, *values)).fetchall()
                last = _last_of(ids, last)
            if not ids:
                break
            with self._told(), self._connection:
                self._begin()
                self._connection.executemany("DELETE FROM replies WHERE id = ?", ids)
        with self._told(), self._connection:
            self._begin()
            self._connection.execute(
                "DELETE FROM sources WHERE NOT EXISTS (SELECT 1 FROM replies WHERE source = sources.id)"
            )
        self._shrink()
        return going

    def _shrink(self) -> None:
        with self._told():
            free = self._pragma("freelist_count")
            while free:
                self._connection.execute(f"PRAGMA incremental_vacuum({_REMOVED_AT_ONCE})").fetchall()
                before, free = free, self._pragma("freelist_count")
                if free >= before:
                    break
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # --- batches at a provider --------------------------------------------------------------------

    def save_batch(self, batch: Batch, *, instead_of: str | None = None) -> None:
        """Write `batch`, or its new state; `instead_of` is the id that it had before the provider gave it one.

        A batch that was there keeps the moment of its creation; a new one without any gets the present one.
        """
        assert all(len(key) == KEY_BYTES for key in batch.keys)
        created = batch.created or int(time.time())
        with self._told(), self._connection:
            self._begin()
            if instead_of is not None:
                self._connection.execute("DELETE FROM batches WHERE batch_id = ?", (instead_of,))
            self._connection.execute(
                "INSERT INTO batches (batch_id, backend, created, state, keys) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (batch_id) DO UPDATE SET state = excluded.state, keys = excluded.keys",
                (batch.batch_id, batch.backend, created, batch.state, b"".join(batch.keys)),
            )

    def open_batches(self, backend: str | None = None) -> list[Batch]:
        """The batches that were saved and not closed, oldest first; only those of `backend` where it is given."""
        with self._told():
            rows = self._connection.execute(
                "SELECT batch_id, backend, state, keys, created FROM batches "
                "WHERE ? IS NULL OR backend = ? ORDER BY created, rowid",
                (backend, backend),
            )
            found = [_sound(row, _BATCH) for row in rows]
            return [Batch(id_, of, state, _split(keys), created) for id_, of, state, keys, created in found]

    def close_batch(self, batch_id: str) -> None:
        """Forget a batch, once its replies are kept or given up; an unknown one is no error."""
        with self._told(), self._connection:
            self._begin()
            self._connection.execute("DELETE FROM batches WHERE batch_id = ?", (batch_id,))

    # --- the file ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Start a transaction inside `with self._connection`, which commits all of it or rolls all of it back.

        No context manager of our own in its place: Ctrl-C between two lines of one would leave it half open.
        """
        self._connection.execute("BEGIN IMMEDIATE")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What sqlite cannot do becomes a line where a user can mend it."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if (plain := self._plainly(error)) is None:
                raise
            raise plain from error

    def _plainly(self, error: sqlite3.Error | UnicodeDecodeError) -> PairmineError | None:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
            line = f"another process has held it for {self._busy_s:g} s; run the same command again when that is done"
            return PairmineError(f"{self.path}: {line}", exit_code=GAVE_UP)
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            what = "the disk is full" if name == "SQLITE_FULL" else "the disk cannot be read or written"
            remedy = "what was kept before is safe, mend that and run the same command again"
            return PairmineError(f"{self.path}: {what} ({error}); {remedy}", exit_code=GAVE_UP)
        if name == "SQLITE_NOTADB":
            return _foreign(self.path, "not an sqlite file")
        # Python's own error is for a name or a text that is no UTF-8, also where it stands in what sqlite says.
        is_damage = isinstance(error, UnicodeDecodeError) or any(sign in str(error) for sign in _DAMAGE)
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_MISMATCH")) or is_damage:
            remedy = f"move it away and save what is left of it: sqlite3 {self.path.name} .recover | sqlite3 NEW"
            return PairmineError(f"{self.path}: the ledger is damaged ({error}); {remedy}")
        if name.startswith(_NO_ACCESS):
            remedy = "mend its permissions or those of its folder, or name another with --ledger"
            return PairmineError(f"{self.path}: the ledger cannot be opened or written ({error}); {remedy}")
        return None

    def _connect(self, query: str) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?{query}"
        return sqlite3.connect(uri, uri=True, timeout=self._busy_s, isolation_level=None)

    def _connect_read_only(self) -> sqlite3.Connection:
        """A connection that changes no reply, also on a disk where nothing can be written.

        sqlite's own mode=ro would leave an empty log behind whenever it was the last to close the file.
        """
        connection = self._connect("mode=rw")
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA schema_version").fetchone()
            return connection
        except sqlite3.OperationalError as error:
            connection.close()
            log = _log_of(self.path)
            if not error.sqlite_errorname.startswith(_NO_ACCESS) or (log.exists() and log.stat().st_size):
                raise
        return self._connect("mode=ro&immutable=1")

    def _check(self) -> None:
        if not self._is_ours():
            raise _foreign(self.path, "an empty file")

    def _prepare(self) -> None:
        if not self._is_ours():
            self._set("auto_vacuum = INCREMENTAL")
        self._settle_journal()
        self._set(f"cache_size = -{_CACHE_KIB}")
        with self._connection:
            self._begin()
            if self._is_ours():
                return
            for statement in filter(str.strip, _TABLES.split(";")):
                self._connection.execute(statement)
            self._set(f"application_id = {_APPLICATION}")
            self._set(f"user_version = {FORMAT}")

    def _make_file(self) -> None:
        """Make the file where there is none; sqlite gives its companions -wal and -shm the same permissions.

        A file that exists is not opened here: closing it again would drop the locks that another
        connection of this process holds on it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            # A file in the place of a parent folder is a FileExistsError for mkdir.
            what = os.strerror(errno.ENOTDIR if isinstance(error, FileExistsError) else error.errno or 0).lower()
            raise PairmineError(
                f"{self.path}: the ledger cannot be made ({what}); name another with --ledger",
                exit_code=BAD_INPUT if isinstance(error, FileExistsError) else code_of(error),
            ) from None

    def _is_ours(self) -> bool:
        """Whether the file is a ledger, False while it is empty; raises PairmineError for any other."""
        # Tables before the mark: another process that makes both in one transaction may come between.
        if not self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return False
        if self._pragma("application_id") != _APPLICATION:
            raise _foreign(self.path, "an sqlite file of something else")
        check_format(max(self._pragma("user_version"), 1), FORMAT, str(self.path))
        return True

    def _settle_journal(self) -> None:
        shared = _shared_file_system(self.path.parent)
        mode = self._set(f"journal_mode = {'TRUNCATE' if shared else 'WAL'}")
        if mode == "wal":
            self._set("synchronous = NORMAL")
            self._set(f"wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            self._set(f"journal_size_limit = {_WAL_BYTES}")
            return
        self._set("synchronous = FULL")
        place = f"on {shared}" if shared else "where sqlite can keep no write-ahead log"
        self.remark = f"{self.path}: {place} the ledger syncs every write; one on a local disk is faster"

    def _pragma(self, name: str) -> Any:
        return self._connection.execute(f"PRAGMA {name}").fetchone()[0]

    def _set(self, setting: str) -> Any:
        """Set a pragma; sqlite does not wait by itself while another process changes the journal."""
        end = time.monotonic() + self._busy_s
        while True:
            try:
                row = self._connection.execute(f"PRAGMA {setting}").fetchone()
                return row[0] if row else None
            except sqlite3.OperationalError as error:
                if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > end:
                    raise
                time.sleep(0.01)


def _file_at(path: Path) -> tuple[int, int] | None:
    """What tells the file in that place from any other; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _foreign(path: Path, what: str) -> PairmineError:
    return PairmineError(f"{path}: {what}, no ledger of pairmine's; name another file with --ledger")


_SHARED = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "fhgfs", "fuse", "glusterfs", "gpfs", "lustre"),
    *("nfs", "nfs4", "orangefs", "panfs", "smb3", "smbfs", "virtiofs"),
}


def _shared_file_system(folder: Path) -> str | None:
    """The kind of file system behind `folder` if other machines may write there too, else None."""
    try:
        device = folder.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = [line.partition(" - ")[2].split()[0] for line in mounts if line.split()[2] == number]
    return next((kind for kind in kinds if kind.partition(".")[0] in _SHARED), None)


def _condition(which: Which) -> tuple[str, list[Any]]:
    """`which` as an SQL condition with its values; always true for all replies."""
    wanted = {"recipe = ?": which.recipe, "model = ?": which.model, "created < ?": which.before}
    given = {condition: value for condition, value in wanted.items() if value is not None}
    return " AND ".join(given) or "1", list(given.values())


def _slices(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]


def _split(keys: bytes) -> tuple[bytes, ...]:
    return tuple(keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES))


def _row(entry: Entry, source: int) -> tuple[Any, ...]:
    reply = entry.reply
    text = _stored(reply.text)
    return (
        entry.key,
        source,
        entry.created,
        len(text if isinstance(text, bytes) else text.encode()),
        text,
        _clean(reply.finish_reason),
        *(min(max(count, 0), _MOST) for count in (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)),
        _clean(reply.served_by),
    )


_ASKED = (str, str, str, int)
_ANSWERED = (str, int, int, int, str)
_SUMS = (str, str, str, int, int, int, int, int, int, int)
_BATCH = (str, str, str, bytes, int)


def _sound(row: Sequence[Any], types: Sequence[type]) -> Sequence[Any]:
    """The row, where its values are of these types: in a damaged file sqlite hands out whatever it finds."""
    if tuple(map(type, row)) != types:
        raise sqlite3.DatabaseError("malformed row")
    return row


def _last_of(rows: Sequence[Sequence[Any]], last: int) -> int:
    """The id of the last row, each of which comes after the one before; else a reader would go round for ever."""
    for row in rows:
        if row[0] <= last:
            raise sqlite3.DatabaseError("malformed order of rows")
        last = row[0]
    return last


def _reply(row: Sequence[Any]) -> Reply:
    text = row[0].decode("utf-8", "surrogatepass") if isinstance(row[0], bytes) else row[0]
    _sound((text,), (str,))
    return Reply(text, *_sound(row[1:], _ANSWERED))


def _stored(text: str) -> str | bytes:
    """`text` as sqlite takes it: models send halves of emojis (lone surrogates), which no UTF-8 text can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def _clean(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
