"""Where bytes come from: paths, folders of shards, fsspec addresses, standard input."""

from __future__ import annotations

import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from pairmine.errors import PairmineError

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
    without a header, whose columns are named in `fields`.
    """

    name: str
    kind: str
    compression: str | None
    filesystem: Any = None
    path: str = ""
    fields: tuple[str, ...] = ()

    @contextmanager
    def open(self) -> Iterator[pa.NativeFile]:
        """The file's bytes, decompressed, as an Arrow input stream."""
        with self._raw() as raw:
            yield pa.input_stream(raw, compression=self.compression) if self.compression else raw

    @contextmanager
    def _raw(self) -> Iterator[pa.NativeFile]:
        if self.filesystem is None:
            try:
                native = pa.OSFile(self.path, "rb")
            except OSError as error:
                raise PairmineError(f"{self.name}: {cause(error)}") from None
            with native:
                yield native
        else:
            with remotely(self.name, "cannot be read"):
                handle = self.filesystem.open(self.path, "rb")
            with handle, pa.PythonFile(handle, "r") as native:
                yield native

    def fetched(self) -> tuple[Shard, Any]:
        """A remote file's copy on this machine, to read as often as needed, and the file that must stay open."""
        spool = tempfile.NamedTemporaryFile(prefix="pairmine-")  # noqa: SIM115 (the caller keeps it open)
        with remotely(self.name, "cannot be read"), self.filesystem.open(self.path, "rb") as handle:
            shutil.copyfileobj(handle, spool, 1 << 22)
        spool.flush()
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
        return digest.hexdigest()


def cause(error: OSError) -> str:
    """What the operating system says, as the end of a line."""
    return os.strerror(error.errno).lower() if error.errno else _first_line(error)


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
    return "://" in path


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
        raise PairmineError(f"{path}: {cause(error)}") from None
    if not stat.S_ISREG(found.st_mode):
        raise PairmineError(f"{path}: not a regular file; pipe it into 'pairmine' and name the input -")
    return [_shard(path, str(local), found.st_size, None, fields)]


def line_shard(path: str) -> Shard:
    """The file at `path`, whatever its ending, as a text with one item to a line."""
    kind = format_of(path)
    if kind and kind[0] in ("jsonl", "parquet", "arrow"):
        raise PairmineError(f"{path}: is {kind[0]}, where a plain text with one item to a line belongs")
    if not is_remote(path) and Path(path).is_dir():
        raise PairmineError(f"{path}: is a folder, where a file with one item to a line belongs")
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
    return Shard(name, known[0], known[1], filesystem, path, tuple(fields))


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
        head = sys.stdin.buffer.read(4)
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
        spool = tempfile.NamedTemporaryFile(prefix="pairmine-")  # noqa: SIM115 (the caller keeps it open)
        shutil.copyfileobj(self.stream, spool, 1 << 20)
        spool.flush()
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
