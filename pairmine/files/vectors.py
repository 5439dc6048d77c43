"""Ready-made vectors in files: `.npy` with its ids beside it, or tables with the columns `id` and `vector`.

Only the vectors that are wanted are kept, each at its place; what does not fit in memory stays on disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import tempfile
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.backends.vectors.matrix import InMemory, Vectors
from pairmine.backends.vectors.shards import Rows
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files.locations import cause, tempdir
from pairmine.files.whole import read_whole

ID, VECTOR, SCALE = "id", "vector", "scale"
ENDINGS = (".npy", ".parquet", ".pq", ".arrow", ".feather", ".ipc")
IDS = (".ids.txt", ".ids.npy", ".ids.json")
# A float16 vector of unit length is this far off at most; what is nearer to 1 is left as it is.
_NEARLY_UNIT = 1e-3
_PIECE_BYTES = 32 << 20
_PIECE_ROWS = 8192
_BUFFER_BYTES = 1 << 20
_BATCH_BYTES = 4 << 20
_NOBODY = np.iinfo(np.int64).max
_MOST_ID_BYTES = 16 << 30


@dataclass(frozen=True)
class Ready:
    """The vectors that were wanted, by place, unit length; all zero where `missing` (n,) says that there is none.

    `rescaled` is how many were not of unit length before, `files` the name and digest of each file.
    """

    vectors: Vectors
    missing: np.ndarray
    rescaled: int
    files: list[dict[str, str]]


def find_vector_files(path: str, flag: str) -> list[Path]:
    """The file at `path`, or the files in that folder by name; PairmineError where there is none."""
    found = Path(os.path.expanduser(path))
    if found.is_dir():
        files = [each for each in sorted(found.iterdir()) if _is_vectors(each)]
        if not files:
            raise PairmineError(f"{flag}: no vectors in that folder; it wants files that end in {', '.join(ENDINGS)}")
        return files
    if not found.is_file():
        raise PairmineError(f"{flag}: no such file: {path}")
    if found.suffix.lower() not in ENDINGS:
        raise PairmineError(f"{flag}: {path} is no file of vectors; known endings: {', '.join(ENDINGS)}")
    return [found]


def _is_vectors(path: Path) -> bool:
    is_ids = any(path.name.endswith(ending) for ending in IDS)
    return path.is_file() and path.suffix.lower() in ENDINGS and not is_ids and path.name[0] not in "._"


def dim_of(path: Path) -> int:
    """How many numbers a vector of the file at `path` has."""
    return (_Npy if path.suffix.lower() == ".npy" else _Table)(path).dim


def read_vectors(files: Sequence[Path], ids: pa.Array, places: np.ndarray, count: int, *, budget_bytes: int) -> Ready:
    """The vectors of `ids` (m,) as `count` places, of which `places` (m,) says the one of each.

    Where several ids have one place, the first that has a vector gives it. Above `budget_bytes` they are read from
    disk when they are used, a table from a copy that vanishes with the process.

    Raises PairmineError for files that are none, ids that come twice, vectors that are zero or not finite.
    """
    parts = [_Npy(file) if file.suffix.lower() == ".npy" else _Table(file) for file in files]
    # A shard of no rows, in a folder of several, has no length to compare.
    parts = [part for part in parts if len(part.ids)] or parts[:1]
    dims = {part.dim for part in parts}
    if len(dims) > 1:
        shown = ", ".join(f"{part.path.name} {part.dim}" for part in parts)
        raise PairmineError(f"vectors of one length are wanted, and there are several: {shown}")
    (dim,) = dims
    join = _Join(pa.array(ids).cast(pa.large_string()), places, count)
    fits = count * dim * 4 <= budget_bytes
    digests = [{"file": file.name, "sha256": _digest(file)} for file in files]
    if not fits and len(parts) == 1 and isinstance(parts[0], _Npy):
        vectors, rescaled = _in_place(parts[0], join)
    else:
        vectors, rescaled = _gathered(parts, join, dim, fits)
    return Ready(vectors, join.owner == _NOBODY, rescaled, digests)


class _Join:
    """Which row of the files each place gets."""

    def __init__(self, ids: pa.Array, places: np.ndarray, count: int) -> None:
        self._ids = ids
        self._places = places
        self._seen = np.zeros(len(ids), bool)
        self.owner = np.full(count, _NOBODY)

    def places_of(self, ids: pa.Array, path: Path) -> np.ndarray:
        """The place of each of a file's rows (n,), -1 for those that are not used."""
        numbers = pc.fill_null(pc.index_in(ids, value_set=self._ids), -1).to_numpy().astype(np.int64)
        rows = np.flatnonzero(numbers >= 0)
        rows = rows[np.argsort(numbers[rows], kind="stable")]
        wanted = numbers[rows]
        again = self._seen[wanted]
        again[1:] |= wanted[1:] == wanted[:-1]
        if again.any():
            row = int(rows[np.flatnonzero(again)[0]])
            raise PairmineError(
                f'{path}: row {row + 1} is a second vector with the id "{ids[row]}"; remove one of them'
            )
        self._seen[wanted] = True
        places, first = np.unique(self._places[wanted], return_index=True)
        is_better = wanted[first] < self.owner[places]
        places, first = places[is_better], first[is_better]
        self.owner[places] = wanted[first]
        found = np.full(len(ids), -1)
        found[rows[first]] = places
        return found


def _in_place(part: _Npy, join: _Join) -> tuple[Vectors, int]:
    """The vectors of one .npy where they lie."""
    place_of = join.places_of(part.ids, part.path)
    rows = np.flatnonzero(place_of >= 0)
    row_of = np.full(len(join.owner), -1)
    row_of[place_of[rows]] = rows
    factors = np.ones(len(join.owner), np.float32)
    for start in range(0, len(rows), part.rows_per_piece):
        some = rows[start : start + part.rows_per_piece]
        factors[place_of[some]] = _factors(part.read(some), part.ids, some, part.path)
    return _Mapped(part, row_of, factors), int((factors != 1).sum())


def _gathered(parts: Sequence[_Npy | _Table], join: _Join, dim: int, fits: bool) -> tuple[Vectors, int]:
    """The vectors of all files by place, in memory or in a temporary file."""
    target = _Memory(len(join.owner), dim) if fits else _Spool(len(join.owner), dim)
    factors = np.ones(len(join.owner), np.float32)
    for part in parts:
        place_of = join.places_of(part.ids, part.path)
        for rows, found in part.pieces(place_of >= 0):
            own = _factors(found, part.ids, rows, part.path)
            factors[place_of[rows]] = own
            target.put(place_of[rows], found * own[:, None])
    return target.vectors(), int((factors != 1).sum())


def _factors(vectors: np.ndarray, ids: pa.Array, rows: np.ndarray, path: Path) -> np.ndarray:
    """What makes each of `vectors` (n, dim) one of unit length, (n,) float32; 1 where it is as good as one."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    broken = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if len(broken):
        kind = "zero" if norms[broken[0]] == 0 else "not finite"
        more = f" (and {len(broken) - 1} more near it)" if len(broken) > 1 else ""
        raise PairmineError(
            f'{path}: the vector of "{ids[int(rows[broken[0]])]}" is {kind}{more}; it cannot be compared, leave it out'
        )
    with np.errstate(over="ignore"):
        factors = np.where(np.abs(norms - 1) <= _NEARLY_UNIT, 1, 1 / norms).astype(np.float32)
    small = np.flatnonzero(~np.isfinite(factors))
    if len(small):
        shown = ids[int(rows[small[0]])]
        raise PairmineError(
            f'{path}: the vector of "{shown}" is too small to be compared (length {norms[small[0]]:.0e}); leave it out'
        )
    return factors


class _Memory:
    """Places in memory."""

    def __init__(self, count: int, dim: int) -> None:
        self._matrix = np.zeros((count, dim), np.float32)

    def put(self, places: np.ndarray, vectors: np.ndarray) -> None:
        self._matrix[places] = vectors

    def vectors(self) -> Vectors:
        return InMemory(self._matrix)


class _Spool:
    """Places in a temporary file, which has no name and vanishes with the process."""

    def __init__(self, count: int, dim: int) -> None:
        self._count, self._dim = count, dim
        with _disk(), tempfile.TemporaryFile(prefix="pairmine-vectors-") as handle:
            self._descriptor = os.dup(handle.fileno())
        self._rows = Rows("the temporary copy of the vectors", self._descriptor, 0, dim * 4)
        with _disk():
            os.truncate(self._descriptor, count * dim * 4)

    def put(self, places: np.ndarray, vectors: np.ndarray) -> None:
        with _disk():
            self._rows.write(places, np.ascontiguousarray(vectors, "<f4").view(np.uint8))

    def vectors(self) -> Vectors:
        return _Spooled(self._rows, self._count, self._dim)


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    """Makes one line of a full disk."""
    try:
        yield
    except OSError as error:
        raise PairmineError(
            f"{tempdir()}: no place for a copy of the vectors ({cause(error)}); set TMPDIR to a folder "
            "that has some, or give them as .npy, which is read in place",
            exit_code=GAVE_UP,
        ) from None


class _Spooled:
    """Float32 rows of a file, by place."""

    def __init__(self, rows: Rows, count: int, dim: int) -> None:
        self._rows, self._count, self._dim = rows, count, dim

    @property
    def dim(self) -> int:
        """The length of each vector."""
        return self._dim

    def __len__(self) -> int:
        return self._count

    def take(self, places: np.ndarray) -> np.ndarray:
        """Some of them, (n, dim) float32."""
        return self._rows.take(places).view("<f4").astype(np.float32, copy=False)

    def block(self, start: int, stop: int) -> np.ndarray:
        """Neighbours, (stop - start, dim) float32."""
        return self._rows.read(start, stop).view("<f4").astype(np.float32, copy=False)


class _Mapped:
    """Rows of an .npy by place, read when they are used and brought to unit length then."""

    def __init__(self, part: _Npy, row_of: np.ndarray, factors: np.ndarray) -> None:
        self._part, self._row_of, self._factors = part, row_of, factors

    @property
    def dim(self) -> int:
        """The length of each vector."""
        return self._part.dim

    def __len__(self) -> int:
        return len(self._row_of)

    def take(self, places: np.ndarray) -> np.ndarray:
        """Some of them, (n, dim) float32; zeros where there is none."""
        rows = self._row_of[places]
        here = rows >= 0
        if here.all():
            return self._part.read(rows) * self._factors[places][:, None]
        found = np.zeros((len(places), self.dim), np.float32)
        found[here] = self._part.read(rows[here]) * self._factors[places[here]][:, None]
        return found

    def block(self, start: int, stop: int) -> np.ndarray:
        """Neighbours, (stop - start, dim) float32."""
        return self.take(np.arange(start, min(stop, len(self))))


_NO_ARRAY = (
    *(ValueError, TypeError, OverflowError, EOFError, OSError, SyntaxError, RecursionError, MemoryError),
    tokenize.TokenError,
)
"""What NumPy raises for a file that is none of its own: its head is a Python literal."""


def _mapped_array(path: Path) -> np.ndarray:
    """The array in a file, not read yet: what its head says must be there. No archive, and nothing pickled."""
    with path.open("rb") as handle:
        if handle.read(6) != b"\x93NUMPY":
            raise ValueError("no array of numpy in it")
    with warnings.catch_warnings(action="ignore"):  # of sizes that overflow, which are refused then
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _reason(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")[:200].rstrip(".") or type(error).__name__


class _Npy:
    """A matrix (n, dim) of numpy's own format, with the ids of its rows beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            mapped = _mapped_array(path)
        except _NO_ARRAY as error:
            line = f"{path}: cannot be read as vectors ({_reason(error)}); write it by numpy.save"
            raise PairmineError(line) from None
        if mapped.ndim != 2 or mapped.dtype.kind != "f" or mapped.shape[1] == 0 or mapped.dtype.itemsize > 8:
            raise PairmineError(
                f"{path}: vectors are a matrix (n, dim) of float16, float32 or float64, and this is "
                f"{mapped.dtype} {tuple(mapped.shape)}; write it so"
            )
        if mapped.size and not mapped.flags.c_contiguous:
            raise PairmineError(f"{path}: is stored column by column; write it by numpy.save(numpy.ascontiguousarray)")
        self._dtype, self._count, self.dim = mapped.dtype, mapped.shape[0], mapped.shape[1]
        offset = int(getattr(mapped, "offset", 0))
        del mapped
        self._rows = Rows(path, os.open(path, os.O_RDONLY), offset, self.dim * self._dtype.itemsize)
        self.ids = _ids_beside(path, self._count)

    @property
    def rows_per_piece(self) -> int:
        """How many rows are read at once."""
        return max(_PIECE_BYTES // (self.dim * 8), 1)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, (n, dim) float32."""
        with np.errstate(over="ignore"):  # a float64 beyond float32 is told as what is not finite
            return self._rows.take(rows).view(self._dtype).astype(np.float32, copy=False)

    def pieces(self, is_wanted: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The wanted rows, some at a time: their numbers and vectors, (n, dim) float32."""
        rows = np.flatnonzero(is_wanted)
        for start in range(0, len(rows), self.rows_per_piece):
            some = rows[start : start + self.rows_per_piece]
            yield some, self.read(some)


class _Table:
    """A table with the columns id and vector, and scale where the vectors are int8."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_parquet = path.suffix.lower() in (".parquet", ".pq")
        schema = self._schema()
        if missing := [name for name in (ID, VECTOR) if name not in schema.names]:
            found = ", ".join(schema.names)
            raise PairmineError(f'{path}: no "{missing[0]}" (found: {found}); it wants the columns id, vector')
        if twice := next((name for name in (ID, VECTOR, SCALE) if schema.names.count(name) > 1), None):
            raise PairmineError(f'{path}: two columns are named "{twice}"; rename one of them')
        self._columns = [VECTOR, *([SCALE] if SCALE in schema.names else [])]
        self.dim = 0
        self.dim = self._first_dim(schema.field(VECTOR).type)
        with _readable(path):
            ids = [batch.column(0).cast(pa.large_string()) for batch in self._batches([ID])]
            self.ids = pa.chunked_array(ids, pa.large_string()).combine_chunks()
        if self.ids.null_count:
            raise PairmineError(f"{path}: {self.ids.null_count} vectors have no id; leave them out")

    def pieces(self, is_wanted: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The wanted rows, some at a time: their numbers and vectors, (n, dim) float32."""
        start = 0
        for batch in self._batches(self._columns):
            rows = np.flatnonzero(is_wanted[start : start + batch.num_rows])
            if len(rows):
                with _readable(self.path):
                    found = self._matrix(batch.take(pa.array(rows)), rows + start)
                yield rows + start, found
            start += batch.num_rows

    def _matrix(self, batch: pa.RecordBatch, rows: np.ndarray) -> np.ndarray:
        """The vectors of the rows numbered `rows` as float32."""
        column = batch.column(0)
        if column.null_count:
            at = int(np.flatnonzero(pc.is_null(column).to_numpy(zero_copy_only=False))[0])
            raise PairmineError(f'{self.path}: "{self.ids[int(rows[at])]}" has no vector; leave it out')
        if not self.dim:
            raise PairmineError(f'{self.path}: the vector of "{self.ids[int(rows[0])]}" has no numbers in it')
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        if (other := np.flatnonzero(lengths != self.dim)).size:
            shown, length = self.ids[int(rows[other[0]])], lengths[other[0]]
            raise PairmineError(f'{self.path}: the vector of "{shown}" has {length} numbers, others {self.dim}')
        flat = column.flatten()
        if flat.null_count:
            raise PairmineError(f"{self.path}: {flat.null_count} numbers of vectors are null")
        matrix: np.ndarray = flat.to_numpy(zero_copy_only=False).reshape(-1, self.dim)
        if matrix.dtype.kind == "f":
            with np.errstate(over="ignore"):
                return matrix.astype(np.float32, copy=False)
        if matrix.dtype != np.int8 or len(self._columns) == 1:
            what = "int8 without a column scale" if matrix.dtype == np.int8 else matrix.dtype
            wanted = "float16, float32, float64, or int8 with a scale"
            raise PairmineError(f"{self.path}: vectors are {what}, and wanted as {wanted}")
        scales = batch.column(1).cast(pa.float32())
        if scales.null_count:
            raise PairmineError(f"{self.path}: {scales.null_count} vectors have no scale")
        return matrix * scales.to_numpy(zero_copy_only=False)[:, None]

    def _first_dim(self, kind: pa.DataType) -> int:
        if pa.types.is_fixed_size_list(kind):
            return int(kind.list_size)
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            raise PairmineError(f"{self.path}: vector is a column of lists of numbers, and this is {kind}; write it so")
        for batch in self._batches([VECTOR]):
            for length in pc.list_value_length(batch.column(0)).drop_null().to_pylist():
                return int(length)
        return 0

    def _schema(self) -> pa.Schema:
        import pyarrow.parquet as pq

        with _readable(self.path):
            if self._is_parquet:
                return pq.read_schema(self.path)
            with _mapped(self.path) as mapped:
                return _ipc(mapped)[0]

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """All rows with these columns, in pieces."""
        import pyarrow.parquet as pq

        most = max(min(_PIECE_ROWS, _BATCH_BYTES // (4 * max(self.dim, 1))), 1)
        with _readable(self.path):
            if self._is_parquet:
                with pq.ParquetFile(self.path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
                    yield from file.iter_batches(most, columns=columns, use_threads=False)
                return
            with _mapped(self.path) as mapped:
                for batch in _ipc(mapped)[1]:
                    batch.select(columns).validate(full=True)
                    for start in range(0, batch.num_rows, most):
                        yield batch.select(columns).slice(start, most)
                        _let_go(mapped)


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    """The bytes of a file; one batch may hold all of its rows, and is never in memory as a whole."""
    with path.open("rb") as handle:
        if not os.fstat(handle.fileno()).st_size:
            raise OSError("empty")
        mapped = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    # It is not closed here: whoever still holds a piece of it would read what is gone.
    yield mapped


def _let_go(mapped: mmap.mmap) -> None:
    """Give the pages that were read back to the system; they are read again where they are wanted."""
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _ipc(mapped: mmap.mmap) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema and the rows of Arrow's file format or its stream."""
    handle = pa.BufferReader(pa.py_buffer(mapped))
    try:
        file = pa.ipc.open_file(handle)
    except pa.ArrowInvalid:
        handle.seek(0)
        stream = pa.ipc.open_stream(handle)
        return stream.schema, iter(stream)
    return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Makes one line of a file that is no table."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        line = f"{path}: cannot be read as a table of vectors ({_reason(error)}); write it again"
        raise PairmineError(line) from None


def _ids_beside(path: Path, count: int) -> pa.Array:
    """The ids of the rows of `path`: docs.ids.txt, docs.ids.npy or docs.ids.json beside docs.npy."""
    names = [f"{stem}{ending}" for stem in (path.stem, path.name) for ending in IDS]
    found = next((path.parent / name for name in names if (path.parent / name).is_file()), None)
    if found is None:
        raise PairmineError(f"{path}: has no ids; put them beside it in {names[0]}, one to a line in its order")
    try:
        ids = _read_ids(found)
    except (*_NO_ARRAY, pa.ArrowException) as error:
        raise PairmineError(
            f"{found}: cannot be read as ids ({_reason(error)}); write one id for each row of {path.name}"
        ) from None
    if len(ids) != count:
        raise PairmineError(f"{found}: {len(ids):,} ids for {count:,} vectors in {path.name}; one for each is wanted")
    return ids


def _read_ids(path: Path) -> pa.Array:
    if path.suffix == ".npy":
        array = _mapped_array(path)
        if array.ndim != 1 or array.dtype.kind not in "USiu":
            raise ValueError(f"{array.dtype} {array.shape} and not a list of texts or whole numbers")
        texts = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else np.array(array)
        return pa.array(texts).cast(pa.large_string())
    text = read_whole(path, most_bytes=_MOST_ID_BYTES).decode("utf-8-sig")
    if path.suffix == ".json":
        listed = json.loads(text)
        if not isinstance(listed, list) or not all(isinstance(each, str | int) for each in listed):
            raise ValueError("no list of texts")
        return pa.array([str(each) for each in listed], pa.large_string())
    if not text:
        return pa.array([], pa.large_string())
    lines = pa.array([text.removesuffix("\n")], pa.large_string())
    return pc.utf8_rtrim(pc.split_pattern(lines, "\n").flatten(), "\r")


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
