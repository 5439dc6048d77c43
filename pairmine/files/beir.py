"""BEIR folders: corpus.jsonl, queries.jsonl and qrels, read as a corpus or as a pair set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.columns import Mapped, Wanted
from pairmine.files.locations import filesystem_of, is_remote

if TYPE_CHECKING:
    from pairmine.files.source import Say

from pairmine.files.source import PairSource, Role, open_documents, open_queries

_ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
_QRELS = (
    Wanted("query_id", ("query-id", "qid", "query"), "--query-id-column", required=True),
    Wanted("doc_id", ("corpus-id", "corpus_id", "docid", "pid"), "--doc-id-column", required=True),
    Wanted("score", ("relevance", "label", "grade"), "--label-column", required=True),
)


@dataclass(frozen=True)
class Beir:
    """The files of one BEIR folder; `qrels` by split, "all" for a single qrels.tsv."""

    folder: str
    corpus: str
    queries: str
    qrels: dict[str, str]


def find_beir(path: str) -> Beir | None:
    """The BEIR folder at `path`, None for anything else."""
    names = _names_in(path)
    corpus, queries = (
        next((f"{path.rstrip('/')}/{stem}{ending}" for ending in _ENDINGS if stem + ending in names), None)
        for stem in ("corpus", "queries")
    )
    if corpus is None or queries is None:
        return None
    base = path.rstrip("/")
    qrels = {name[:-4]: f"{base}/qrels/{name}" for name in sorted(_names_in(f"{base}/qrels")) if name.endswith(".tsv")}
    if "qrels.tsv" in names:
        qrels.setdefault("all", f"{base}/qrels.tsv")
    return Beir(path, corpus, queries, qrels)


def _names_in(path: str) -> set[str]:
    if is_remote(path):
        filesystem, inner = filesystem_of(path)
        try:
            return {str(child).rstrip("/").rpartition("/")[2] for child in filesystem.ls(inner, detail=False)}
        except (OSError, RuntimeError):
            return set()
    folder = Path(path)
    return {child.name for child in folder.iterdir()} if folder.is_dir() else set()


class BeirPairs(PairSource):
    """A BEIR folder as a pair set: a row per judgment, label 1 where it is above 0, grade its share of the highest."""

    def __init__(self, beir: Beir, split: str | None, say: Say) -> None:
        self._beir = beir
        chosen = _split_of(beir, split)
        self._queries = open_queries(beir.queries, say)
        self._documents = open_documents(beir.corpus, say)
        super().__init__(chosen, Role("table", _QRELS, _judgments, unique=False), {}, say)
        self.path = self.name = beir.folder

    def _converted(self) -> Iterator[pa.Table]:
        judged = pa.concat_tables(super()._converted())
        queries, documents = self._queries.read(), self._documents.read()
        query_rows = self._rows_of(judged["query_id"], queries["id"], "query", self._beir.queries)
        document_rows = self._rows_of(judged["doc_id"], documents["id"], "document", self._beir.corpus)
        score = judged["score"].to_numpy()
        highest = max(float(score.max()), 1.0)
        table = {
            "query_id": judged["query_id"],
            "query": _texts_at(queries["text"], query_rows),
            "doc_id": judged["doc_id"],
            "document": _texts_at(schema.document_text(documents), document_rows),
            "label": pa.array((score > 0).astype(np.int8)),
            "grade": pa.array(np.maximum(score, 0).astype(np.float32) / np.float32(highest)),
            "origin": pa.array(["given"] * len(judged)),
        }
        yield schema.as_pairs(pa.table(table))

    def _rows_of(self, ids: pa.ChunkedArray, known: pa.ChunkedArray, what: str, path: str) -> pa.Array:
        rows = pc.index_in(ids, value_set=known).combine_chunks()
        if rows.null_count:
            at = int(np.flatnonzero(pc.is_null(rows).to_numpy(zero_copy_only=False))[0])
            raise PairmineError(
                f"{self._shards[0].name}: {rows.null_count} of {len(rows)} judgments name a {what} that {path} "
                f'does not have, the first is "{ids[at]}" in row {at + 1}'
            )
        return rows

    def add_to(self, record: lineage.Lineage, role: str) -> None:
        """Record the folder with one digest over its three files."""
        from hashlib import sha256

        parts = [self._digest(), self._queries._digest(), self._documents._digest()]
        digest = sha256("\n".join(parts).encode()).hexdigest()
        record.add_input(role, [], path=self._beir.folder, sha256=digest, rows=self.rows)


def _split_of(beir: Beir, split: str | None) -> str:
    if not beir.qrels:
        raise PairmineError(f"{beir.folder}: a BEIR folder without judgments; expected qrels/NAME.tsv or qrels.tsv")
    if split is None and len(beir.qrels) > 1:
        raise PairmineError(f"{beir.folder}: judgments for several splits; pass --split {'|'.join(beir.qrels)}")
    if split is not None and split not in beir.qrels:
        raise PairmineError(f'{beir.folder}: no split "{split}" (found: {", ".join(beir.qrels)})')
    return beir.qrels[split] if split is not None else next(iter(beir.qrels.values()))


def _judgments(raw: object, mapped: Mapped) -> pa.Table:
    from pairmine.files.convert import ids, numbers
    from pairmine.files.raw import Raw

    assert isinstance(raw, Raw)
    return pa.table(
        {
            "query_id": ids(raw, mapped.names["query_id"], None),
            "doc_id": ids(raw, mapped.names["doc_id"], None),
            "score": numbers(raw, mapped.names["score"], pa.float64()),
        }
    )


def _texts_at(texts: pa.ChunkedArray, rows: pa.Array) -> pa.Array:
    """The texts at `rows` as a dictionary array that holds each one once."""
    used, codes = np.unique(rows.to_numpy(), return_inverse=True)
    dictionary = texts.take(pa.array(used)).cast(pa.string()).combine_chunks()
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), dictionary)
