"""Search over vectors that somebody made before: `npy:DOCUMENTS[,QUERIES]`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.backends.encoders import Side, nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers.dense import DenseRetriever, MakeSearcher
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError


class ReadyRetriever(DenseRetriever):
    """Search over ready-made vectors, found by the ids of documents and queries: `take_ids` comes before `index`.

    A document of the corpus without a vector is an error, and so is a query. One that only the pair set has is never
    found, and its scores are NaN. Vectors of more than `vectors_bytes` stay on disk. `say` takes lines for people.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        score: str = "dense",
        threads: int = 0,
        make_searcher: MakeSearcher | None = None,
        budget_bytes: int = 1 << 30,
        device: str | None = None,
        vectors_bytes: int = 1 << 30,
        say: Callable[[str], None] | None = None,
        flag: str = "--retriever",
    ) -> None:
        from pairmine.files.vectors import find_vector_files

        super().__init__(
            spec,
            _NoEncoder(),
            score=score,
            threads=threads,
            make_searcher=make_searcher,
            budget_bytes=budget_bytes,
            device=device,
        )
        documents, queries = split_target(spec.target)
        self.name = spec.alias or Path(documents).stem
        self._flag = f"{flag} {spec}"
        self._is_one = queries is None
        self._say = say or (lambda line: None)
        self._files: dict[Side, list[Path]] = {
            "document": find_vector_files(documents, self._flag),
            "query": find_vector_files(queries or documents, self._flag),
        }
        self._most = vectors_bytes
        self._ids: pa.Array | None = None
        self._places = np.empty(0, np.int64)
        self._query_ids = pa.array([], pa.string())
        self._missing = np.empty(0, bool)
        self._sources: list[dict[str, str]] = []

    def __getstate__(self) -> dict[str, Any]:
        """Without the ids, which are only for finding vectors."""
        left = {"_say": None, "_ids": None, "_places": None, "_query_ids": None}
        return {**super().__getstate__(), **left}

    @property
    def facts(self) -> dict[str, Any]:
        """What a lineage records: the files with their digests."""
        return {**super().facts, "vectors": self._sources}

    def dim_on_disk(self) -> int:
        """How many numbers a vector has, by the first file."""
        from pairmine.files.vectors import dim_of

        return dim_of(self._files["document"][0])

    def take_ids(self, ids: pa.Array, query_ids: pa.Array, places: np.ndarray | None = None) -> None:
        """The ids of the documents, in the order in which `index` gets their texts, and those of the queries.

        Where copies of a text are one document, it may have several ids: then `places` says the document of each.
        """
        self._ids, self._query_ids = ids, query_ids
        self._places = np.arange(len(ids)) if places is None else places

    def index(self, documents: Sequence[str], searchable: int, advance: Advance = nothing) -> None:
        """Find the vectors of `documents`; their texts are not looked at."""
        if self._ids is None:
            raise RuntimeError("take_ids comes before index")
        found, missing = self._read("document", self._ids, self._places, len(documents))
        lacking = np.flatnonzero(missing[:searchable])
        if len(lacking):
            first = self._ids[int(np.flatnonzero(self._places == lacking[0])[0])]
            raise PairmineError(
                f'{self._flag}: {len(lacking):,} of {searchable:,} documents have no vector, the first is "{first}"; '
                "embed the corpus that is searched"
            )
        if further := int(missing[searchable:].sum()):
            self._say(f"{further} documents that only the pair set has are without a vector in {self.name}: no score")
        self._missing = missing
        self.take_vectors(found, searchable)
        advance(len(documents))

    def prepare(self, queries: Sequence[str], advance: Advance = nothing) -> None:
        """Find the vectors of `queries`."""
        if self._is_one:
            self._check_apart()
        found, missing = self._read("query", self._query_ids, np.arange(len(queries)), len(queries))
        if lacking := np.flatnonzero(missing).tolist():
            raise PairmineError(
                f"{self._flag}: {len(lacking):,} of {len(queries):,} queries have no vector, the first is "
                f'"{self._query_ids[lacking[0]]}"; write npy:DOCUMENTS,QUERIES with the vectors of both'
            )
        if found.dim != self._documents.dim:
            raise PairmineError(
                f"{self._flag}: vectors of documents have {self._documents.dim} numbers and those of queries "
                f"{found.dim}; embed both with one model"
            )
        self.take_query_vectors(found)
        advance(len(queries))

    def _check_apart(self) -> None:
        """Raise a PairmineError where one file is for both sides and an id, as "1", is a document's and a query's."""
        assert self._ids is not None
        both = pc.filter(self._query_ids, pc.is_in(self._query_ids, value_set=self._ids.cast(self._query_ids.type)))
        if len(both):
            target = self._flag.partition("npy:")[2]
            raise PairmineError(
                f'{self._flag}: {len(both):,} ids are those of a query and of a document, the first is "{both[0]}", '
                "and one file has one vector for both; write npy:DOCUMENTS,QUERIES "
                f"(npy:{target},{target} where queries and documents are the same texts)"
            )

    def _read(self, side: Side, ids: pa.Array, places: np.ndarray, count: int) -> tuple[Any, np.ndarray]:
        from pairmine.files.vectors import read_vectors

        room = self._most // 8 if side == "query" else self._most
        ready = read_vectors(self._files[side], ids, places, count, budget_bytes=room)
        if ready.rescaled:
            self._say(f"{ready.rescaled:,} {side} vectors of {self.name} were not of unit length, and are now")
        self._sources += [each for each in ready.files if each not in self._sources]
        return ready.vectors, ready.missing

    def near(self, places: np.ndarray, texts: Sequence[str]) -> None:
        """Search with the vectors of documents, all of which have one."""
        if lacking := np.flatnonzero(self._missing[places]).tolist():
            raise PairmineError(
                f"{self._flag}: {len(lacking):,} positives that only the pair set has are without a vector, and cannot "
                "be searched with; embed them too, or leave out --search-with positive"
            )
        super().near(places, texts)

    def lacks(self, documents: np.ndarray) -> np.ndarray:
        """Which documents, by place, only the pair set has and no file of vectors, (n,) bool."""
        return self._missing[documents]

    def pair_scores(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Cosines of single pairs, NaN where the document has no vector."""
        return np.where(self._missing[documents], np.float32("nan"), super().pair_scores(queries, documents))

    def similarity(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Cosines of documents with documents, NaN where one has no vector."""
        lacking = self._missing[one] | self._missing[other]
        return np.where(lacking, np.float32("nan"), super().similarity(one, other))


def split_target(target: str) -> tuple[str, str | None]:
    """The files of documents and of queries in DOCUMENTS[,QUERIES]; a name may hold a comma where it exists."""
    if Path(os.path.expanduser(target)).exists():
        return target, None
    for at in (place for place, char in enumerate(target) if char == ","):
        if Path(os.path.expanduser(target[:at])).exists():
            return target[:at], target[at + 1 :]
    documents, comma, queries = target.partition(",")
    return documents, queries if comma else None


class _NoEncoder:
    """Stands where a dense retriever has its model."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}

    def identity(self, side: Side) -> dict[str, Any]:
        """Of no model."""
        return {}

    def parts(
        self, texts: Sequence[str], side: Side, advance: Advance = nothing
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Never asked for."""
        raise RuntimeError("ready-made vectors embed nothing")

    def encode(self, texts: Sequence[str], side: Side, advance: Advance = nothing) -> np.ndarray:
        """Never asked for."""
        raise RuntimeError("ready-made vectors embed nothing")
