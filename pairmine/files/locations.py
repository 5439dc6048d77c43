"""Where bytes come from: paths, folders of shards, fsspec addresses, standard input."""

from __future__ import annotations

import io
import os
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from pairmine.errors import GAVE_UP, PairmineError, code_of
from pairmine.keys import remember_address

STDIN = "-"
UNFINISHED = ".unfinished"
"""Lies in a remote folder while parts are put there."""

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
LINES = {".txt": "lines"}
"""What is read with one text to a line; nothing is written so."""

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_COMPRESSIBLE = {"jsonl", "csv", "tsv", "lines", "fields"}
_HEADED = {"csv", "tsv", "lines"}
_ARROW_STREAM = b"\xff\xff\xff\xff"
_MAGIC = {b"PAR1": ("parquet", None), b"ARRO": ("arrow", None), _ARROW_STREAM: ("arrow", None)}
_COMPRESSED_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def format_of(name: str) -> tuple[str, str | None] | None:
    """The (format, compression) that a file name's endings mean, or None for a name that says neither.

    >>> format_of("corpus.jsonl.gz")
    ('jsonl', 'gzip')
    """
    ending, compression = _endings(name)
    kind = FORMATS.get(ending)
    if kind is None or (compression and kind not in _COMPRESSIBLE):
        return None
    return kind, compression


def _endings(name: str) -> tuple[str, str | None]:
    """The ending that says the format, in small letters, and the compression that stands behind it."""
    path = PurePosixPath(name.lower())
    compression = COMPRESSIONS.get(path.suffix)
    return (path.with_suffix("") if compression else path).suffix, compression


def _input_format(name: str, fields: Sequence[str]) -> tuple[str, str | None] | None:
    """As `format_of`, with what is read and never written: texts by the line, and a table whose `fields` are named."""
    ending, compression = _endings(name)
    known = format_of(name) or ((LINES[ending], compression) if ending in LINES else None)
    if fields and (known is None or known[0] in _HEADED):
        return "fields", compression
    return known


@dataclass(frozen=True)
class Shard:
    """One file to read: how to name it in a message, its format, and how to open it.

    `kind` is a value of `FORMATS`, "lines" for one text to a line, or "fields" for a table of text
    without a header, whose columns are named in `fields`. `stamp` is the file's state when it was found. With `rows`
    it is those of a Parquet file from the first to before the second.
    """

    name: str
    kind: str
    compression: str | None
    filesystem: Any = None
    path: str = ""
    fields: tuple[str, ...] = ()
    stamp: tuple[int, ...] | None = None
    rows: tuple[int, int] | None = None

    def check_unchanged(self) -> None:
        """Raise PairmineError where the file is another one by now than when it was found.

        Rows of two states, or a digest of one and rows of the other, would go into one output.
        """
        if self.stamp is not None and (found := _stamp_of(self.path)) != self.stamp:
            what = "removed" if found is None else "changed"
            raise PairmineError(
                f"{self.name}: was {what} while it was read; run the same command again", exit_code=GAVE_UP
            )

    @contextmanager
    def open(self) -> Iterator[pa.NativeFile]:
        """The file's bytes, decompressed, as an Arrow input stream."""
        with self._raw() as raw:
            yield pa.input_stream(raw, compression=self.compression) if self.compression else raw

    @contextmanager
    def _raw(self) -> Iterator[pa.NativeFile]:
        if self.filesystem is None:
            try:
                native = pa.OSFile(os.fsencode(self.path), "rb")  # Arrow takes names of any bytes, but not as text
            except OSError as error:
                self.check_unchanged()
                raise PairmineError(f"{self.name}: {cause(error)}", exit_code=code_of(error)) from None
            with native:
                yield native
        else:
            with remotely(self.name, "cannot be read"):
                handle = self.filesystem.open(self.path, "rb")
            with handle, pa.PythonFile(handle, "r") as native:
                yield native

    def size(self) -> int:
        """The bytes of the file as it is stored."""
        if self.filesystem is None:
            return os.path.getsize(self.path)
        return int(self.filesystem.size(self.path))

    def fetched(self) -> tuple[Shard, Any]:
        """A remote file's copy on this machine, to read as often as needed, and the file that must stay open."""
        with remotely(self.name, "cannot be read"), self.filesystem.open(self.path, "rb") as handle:
            spool = _copied(handle)
        return replace(self, filesystem=None, path=spool.name), spool

    def misnamed(self) -> str | None:
        """What the file holds by its first bytes, and the remedy, where its name says otherwise."""
        with self._raw() as raw:
            head = bytes(raw.read(64))
        held = _held(head)
        if held is not None and self.kind == "fields" and held not in ("gzip", "zstd"):
            return f"holds {held} data, which names its columns itself; leave out --columns"
        if self.compression:
            plain = self.name.rpartition(".")[0]
            if held is None and _looks_like_text(head):
                return f"holds text that is not compressed; rename it to {plain}"
            if held is None or held == self.compression:
                return None
            ending = {"gzip": ".gz", "zstd": ".zst"}.get(held)
            return f"holds {held} data, not {self.compression}; rename it to " + (
                plain + ending if ending else f"{plain.rpartition('.')[0]}.{held}"
            )
        if held is None or held == self.kind:
            return None
        if held not in ("gzip", "zstd"):
            return f"holds {held} data, not {self.kind}; rename it to {self.name.rpartition('.')[0]}.{held}"
        if self.kind in _COMPRESSIBLE:
            return f"holds {held} data; rename it to {self.name}{'.gz' if held == 'gzip' else '.zst'}"
        return f"holds {held} data, not {self.kind}; decompress it first"

    def sha256(self) -> str:
        """The digest of the file's bytes as they are stored."""
        digest = sha256()
        with self._raw() as raw:
            while block := raw.read(1 << 22):
                digest.update(block)
        self.check_unchanged()
        return digest.hexdigest()


def _stamp_of(path: str) -> tuple[int, ...] | None:
    """What tells a file from another one and from a later state of it; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def cause(error: OSError) -> str:
    """What the operating system says, as the end of a line."""
    return os.strerror(error.errno).lower() if error.errno else _first_line(error)


@contextmanager
def told_of_tempdir(what: str) -> Iterator[None]:
    """Makes one line of a folder for temporary files that cannot hold `what`."""
    try:
        yield
    except OSError as error:
        line = f"{tempdir()}: no place for {what} ({cause(error)}); set TMPDIR to a folder that has some"
        raise PairmineError(line, exit_code=GAVE_UP) from None


def tempdir() -> str:
    """The folder for temporary files, as a line can name it where there is none that can be written."""
    try:
        return tempfile.gettempdir()
    except OSError:
        return os.environ.get("TMPDIR") or "/tmp"


def _copied(stream: Any) -> Any:
    """All of `stream` in a temporary file, which goes with the one who holds it."""
    what = "a copy of the input"
    with told_of_tempdir(what):
        spool = tempfile.NamedTemporaryFile(prefix="pairmine-", delete=False)  # noqa: SIM115 (the caller keeps it open)
    # Its own removal complains where somebody has emptied the folder meanwhile.
    remove = weakref.finalize(spool, _remove, spool.name)
    try:
        while block := stream.read(1 << 20):
            with told_of_tempdir(what):
                spool.write(block)
        with told_of_tempdir(what):
            spool.flush()
    except BaseException:
        with suppress(OSError):  # what it still holds finds no place either
            spool.close()
        remove()
        raise
    return spool


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


@contextmanager
def remotely(path: str, what: str) -> Iterator[None]:
    """Makes one line of whatever a remote filesystem raises: no network, no such bucket, no right to it."""
    try:
        yield
    except PairmineError:
        raise
    except FileNotFoundError:
        raise PairmineError(f"{path}: no such file or folder") from None
    except Exception as error:
        raise PairmineError(f"{path}: {what} ({_first_line(error)})") from error


def is_remote(path: str) -> bool:
    """Whether `path` is an address for fsspec, such as hf:// or s3://."""
    if "://" not in path:
        return False
    remember_address(path)
    return True


_INSTALL = {"s3": "pip install 'pairmine[s3]'", "s3a": "pip install 'pairmine[s3]'", "gs": "pip install gcsfs"}


def filesystem_of(path: str) -> tuple[Any, str]:
    """The fsspec filesystem of an address and the path inside it."""
    import fsspec

    try:
        with remotely(path, "cannot be read"):
            return fsspec.core.url_to_fs(path)
    except PairmineError as error:
        if isinstance(error.__cause__, ImportError):
            remedy = _INSTALL.get(path.partition("://")[0], "install what reads such an address")
            raise PairmineError(f"{path}: {_first_line(error.__cause__)}; {remedy}") from None
        raise


def find_shards(path: str, fields: Sequence[str] = ()) -> list[Shard]:
    """The file at `path`, or every data file in the folder `path`, in the order of their names.

    Names that start with "." or "_" are left alone; other folders below must hold no data. With
    `fields` they are tables of text without a header, and the ending of a single file may be any.
    """
    from pairmine.files import row_range

    if path.endswith(row_range.ENDING):
        return [row_range.read_reference(path)]
    if is_remote(path):
        return _remote_shards(path, fields)
    local = Path(path)
    try:
        found = local.stat()
        if stat.S_ISDIR(found.st_mode):
            children = sorted(local.iterdir())
            files = [(str(c), c.name, c.stat().st_size, None) for c in children if c.is_file()]
            return _of_one_format(path, files, {c.name: os.walk(c) for c in children if c.is_dir()}, fields)
    except FileNotFoundError:
        raise PairmineError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise PairmineError(f"{path}: {cause(error)}", exit_code=code_of(error)) from None
    if not stat.S_ISREG(found.st_mode):
        raise PairmineError(f"{path}: not a regular file; pipe it into 'pairmine' and name the input -")
    return [_shard(path, str(local), found.st_size, None, fields)]


def line_shard(path: str) -> Shard:
    """The file at `path`, whatever its ending, as a text with one item to a line."""
    kind = format_of(path)
    if kind and kind[0] in ("jsonl", "parquet", "arrow"):
        raise PairmineError(f"{path}: is {kind[0]}, where a plain text with one item to a line belongs; name one")
    if not is_remote(path) and Path(path).is_dir():
        raise PairmineError(f"{path}: is a folder, where a file with one item to a line belongs; name one")
    (shard,) = find_shards(path, ("text",))
    return replace(shard, kind="lines", fields=())


def _remote_shards(path: str, fields: Sequence[str]) -> list[Shard]:
    filesystem, inner = filesystem_of(path)
    with remotely(path, "cannot be read"):
        info = filesystem.info(inner)
        if info["type"] != "directory":
            return [_shard(path, inner, info.get("size"), filesystem, fields)]
        children = sorted(filesystem.ls(inner, detail=True), key=lambda child: str(child["name"]))
        named = [(child, str(child["name"]).rstrip("/").rpartition("/")[2]) for child in children]
        if any(name == UNFINISHED for _, name in named):
            raise PairmineError(f"{path}: a run that writes its parts there is not finished; run it again to continue")
        files = [(c["name"], name, c.get("size"), filesystem) for c, name in named if c["type"] == "file"]
        below = {name: filesystem.walk(child["name"]) for child, name in named if child["type"] == "directory"}
        return _of_one_format(path, files, below, fields)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


Walk = Iterable[tuple[Any, list[str], Sequence[str]]]


def _has_data(walk: Walk) -> bool:
    """Whether a folder holds a data file, however deep, leaving out what "." and "_" hide."""
    for _, folders, names in walk:
        if isinstance(folders, list):
            folders[:] = filter(_is_visible, folders)
        if any(_is_visible(name) and format_of(name) for name in names):
            return True
    return False


_ABOUT_TABLES = {"dataset_info.json", "dataset_dict.json", "state.json"}
"""What `save_to_disk` of Hugging Face datasets writes beside its tables."""


def _is_visible(name: str) -> bool:
    return not name.startswith((".", "_"))


def _of_one_format(
    folder: str, files: Sequence[tuple[str, str, int | None, Any]], below: Mapping[str, Walk], fields: Sequence[str]
) -> list[Shard]:
    visible = [file for file in files if _is_visible(file[1]) and file[1] not in _ABOUT_TABLES]
    # Beside tables a .txt file is somebody's README.
    data = [file for file in visible if format_of(file[1])] or [
        file for file in visible if _endings(file[1])[0] in LINES
    ]
    full = [name for name, walk in below.items() if _is_visible(name) and _has_data(walk)]
    if full:
        holds = "holds shards and also folders with data" if data else "holds no shards but folders with data"
        shown = ", ".join(full[:6]) + (f", and {len(full) - 6} more" if len(full) > 6 else "")
        raise PairmineError(f"{folder}: {holds} ({shown}); name one of them")
    if not data:
        names = [name for _, name, _, _ in visible] + [f"{name}/" for name in below if not name.startswith(".")]
        found = ", ".join(names[:6]) or "nothing"
        raise PairmineError(
            f"{folder}: a folder without shards (found: {found}); name a folder or file with data in it "
            f"({', '.join(sorted({**FORMATS, **LINES}))}), or a BEIR folder with corpus.jsonl"
        )
    shards = [_shard(f"{folder.rstrip('/')}/{name}", path, size, fs, fields) for path, name, size, fs in data]
    kinds = {shard.kind for shard in shards}
    if len(kinds) > 1:
        raise PairmineError(
            f"{folder}: holds shards of several formats ({', '.join(sorted(kinds))}); "
            "name one file, or keep one format to a folder"
        )
    return shards


def _shard(name: str, path: str, size: int | None, filesystem: Any, fields: Sequence[str]) -> Shard:
    known = _input_format(path, fields)
    if known is None:
        raise PairmineError(
            f"{name}: the ending says no format; known: {', '.join(sorted({**FORMATS, **LINES}))}, "
            "with .gz or .zst for the text ones"
        )
    if fields and known[0] != "fields":
        raise PairmineError(f"{name}: is {known[0]}, which names its columns itself; leave out --columns")
    if size == 0:
        raise PairmineError(f"{name}: the file is empty; write it again or name another")
    stamp = _stamp_of(path) if filesystem is None else None
    return Shard(name, known[0], known[1], filesystem, path, tuple(fields), stamp)


def _held(head: bytes) -> str | None:
    """The format or compression that a file's first bytes show, None for text and anything unknown."""
    for magic, compression in _COMPRESSED_MAGIC.items():
        if head.startswith(magic):
            return compression
    if head.startswith((b"ARROW1\0\0", _ARROW_STREAM)):
        return "arrow"
    # A table of text may have a column PAR1; what follows in Parquet is no text.
    return "parquet" if head.startswith(b"PAR1") and head[4:8] and not _looks_like_text(head) else None


def _looks_like_text(head: bytes) -> bool:
    return bool(head) and all(byte >= 0x20 or byte in b"\t\r\n" for byte in head)


class StandardInput:
    """Standard input, told apart by its first bytes: an Arrow stream, Parquet, or JSON lines (perhaps compressed)."""

    name = "standard input"

    def __init__(self) -> None:
        if sys.stdin is None or sys.stdin.isatty():
            raise PairmineError(
                "standard input is a terminal or closed; pipe a pair set or a corpus into it, or name a file"
            )
        try:
            head = sys.stdin.buffer.read(4)
        except OSError as error:
            raise PairmineError(f"{self.name}: {cause(error)}; pipe a file into it, or name one") from None
        if not head:
            raise PairmineError("standard input is empty; did the command before the pipe fail?")
        self.stream: IO[bytes] = io.BufferedReader(_Rejoined(head, sys.stdin.buffer), 1 << 20)
        self.kind, self.compression = _MAGIC.get(head, ("jsonl", None))
        for magic, compression in _COMPRESSED_MAGIC.items():
            if head.startswith(magic):
                self.kind, self.compression = "jsonl", compression
        self.is_arrow_stream = head == _ARROW_STREAM

    def spool(self, fields: Sequence[str] = ()) -> tuple[Shard, Any]:
        """All of it in a temporary file: a shard to read as often as needed, and the file that must stay open.

        With `fields` it is a table of text without a header.
        """
        if fields and self.kind != "jsonl":
            raise PairmineError(f"{self.name}: is {self.kind}, which names its columns itself; leave out --columns")
        spool = _copied(self.stream)
        kind = "fields" if fields else self.kind
        return Shard(self.name, kind, self.compression, None, spool.name, tuple(fields)), spool


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were read already, from its start."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._head or self._rest.read1(len(buffer))
        self._head = b""
        buffer[: len(block)] = block
        return len(block)
