"""The documents that fill shortages of negatives: of a corpus or of the pair set itself, here or for all workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING

from pairmine.errors import PairmineError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run
    from pairmine.engines.shards import Piece
    from pairmine.files.sharded import WorkFolder

_DIGEST_BYTES = 8
"""A chance collision of two ids among 100 million documents has a probability of 0.0003."""


def corpus_fillers(documents: pa.Table) -> pa.Table:
    """The documents of a corpus with their keys."""
    import pyarrow as pa

    from pairmine.schema import document_text

    return _keyed(documents["id"], document_text(documents).cast(pa.string()))


def own_fillers(pairs: pa.Table) -> pa.Table:
    """The documents of a pair set, each where its id comes first; raises PairmineError where it has no texts."""
    import pyarrow as pa

    if "document" not in pairs.column_names:
        raise PairmineError("--shortage fill: the pair set has no document texts; pass --corpus")
    return pairs.select(["doc_id", "document"]).take(pa.array(_firsts(pairs)))


@dataclass(frozen=True)
class FillerFiles:
    """The documents in files that every worker sees; a worker maps them into memory rather than reads them."""

    paths: Sequence[str]

    def table(self) -> pa.Table:
        """All documents, in the order of the files."""
        import pyarrow as pa

        return pa.concat_tables([_mapped(path) for path in self.paths])


def files_of_corpus(engine: RayEngine, run: Run, pieces: Sequence[Piece]) -> FillerFiles:
    """The documents of a corpus for all workers, keyed by them."""
    return _written(engine, run, pieces, _CorpusFillers(engine.folder))


def files_of_pairs(engine: RayEngine, run: Run, pieces: Sequence[Piece]) -> FillerFiles:
    """The documents of a pair set for all workers: each in the file of the shard where its id comes first.

    This process holds 8 bytes for each document of each shard.
    """
    what = "rows read for the documents that fill"
    found = dict(engine.fold(run, pieces, _digests, what=what, step="digests of fillers"))
    by_number = {piece.number: digests for piece, digests in found.items()}
    kept = _first_places([by_number[piece.number] for piece in pieces])
    wanted = {piece.number: rows for piece, rows in zip(pieces, kept, strict=True)}
    return _written(engine, run, pieces, _OwnFillers(engine.folder, engine.cluster.share(wanted)))


def _written(
    engine: RayEngine, run: Run, pieces: Sequence[Piece], make: Callable[[], Callable[[Piece], str]]
) -> FillerFiles:
    found = engine.fold(run, pieces, make, what="documents that fill", step="fillers")
    paths = {piece.number: path for piece, path in found}
    return FillerFiles([paths[piece.number] for piece in pieces])


@dataclass(frozen=True)
class _CorpusFillers:
    folder: WorkFolder

    def __call__(self) -> Callable[[Piece], str]:
        from pairmine.files.source import open_documents

        def write(piece: Piece) -> str:
            documents = open_documents(piece.path, lambda line: None).read()
            return _write(self.folder, piece, corpus_fillers(documents))

        return write


@dataclass(frozen=True)
class _OwnFillers:
    """Writes those of a shard's documents whose places `wanted` has."""

    folder: WorkFolder
    wanted: object

    def __call__(self) -> Callable[[Piece], str]:
        import pyarrow as pa

        from pairmine.cli.filter_work import tables_of

        wanted = self.wanted.get()  # type: ignore[attr-defined]

        def write(piece: Piece) -> str:
            (pairs,) = tables_of(piece, whole=True)
            own = own_fillers(pairs).take(pa.array(wanted[piece.number]))
            return _write(self.folder, piece, _keyed(own["doc_id"], own["document"].cast(pa.string())))

        return write


def _digests() -> Callable[[Piece], np.ndarray]:
    import numpy as np

    from pairmine.cli.filter_work import tables_of

    def digests(piece: Piece) -> np.ndarray:
        (pairs,) = tables_of(piece, whole=True)
        ids = own_fillers(pairs)["doc_id"].to_pylist()
        data = b"".join(blake2b(one.encode(), digest_size=_DIGEST_BYTES).digest() for one in ids)
        return np.frombuffer(data, np.uint64)

    return digests


def _first_places(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Of the digests of each part the places of those that no part before has, ascending."""
    import numpy as np

    ends = np.cumsum([0, *(len(part) for part in parts)])
    first = np.zeros(int(ends[-1]), bool)
    first[np.unique(np.concatenate(parts), return_index=True)[1]] = True
    return [np.flatnonzero(first[start:stop]) for start, stop in pairwise(ends.tolist())]


def _firsts(pairs: pa.Table) -> np.ndarray:
    """The rows where a document's id comes first, ascending."""
    import numpy as np

    codes = pairs["doc_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    rows: np.ndarray = np.sort(np.unique(codes, return_index=True)[1])
    return rows


def _keyed(ids: pa.ChunkedArray, texts: pa.ChunkedArray) -> pa.Table:
    import pyarrow as pa

    from pairmine.identity import text_keys

    return pa.table({"doc_id": ids, "document": texts, "text_key": text_keys(texts)})


def _write(folder: WorkFolder, piece: Piece, fillers: pa.Table) -> str:
    from pairmine.files.sink import Sink

    path = folder.place(f"fillers/{piece.number:05}.arrow")
    sink = Sink(path)
    sink.write(fillers.combine_chunks())
    sink.commit([])
    return path


def _mapped(path: str) -> pa.Table:
    import pyarrow as pa

    from pairmine.files.locations import filesystem_of, is_remote

    if is_remote(path):
        filesystem, inner = filesystem_of(path)
        return pa.ipc.open_file(pa.py_buffer(filesystem.cat_file(inner))).read_all()
    return pa.ipc.open_file(pa.memory_map(path)).read_all()
