"""BEIR folders: corpus.jsonl, queries.jsonl and qrels, read as a corpus or as a pair set."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files import convert, lineage
from pairmine.files.blocks import contiguous_order
from pairmine.files.columns import Mapped, Wanted, listed
from pairmine.files.locations import STDIN, filesystem_of, format_of, is_remote, remotely
from pairmine.files.raw import Raw
from pairmine.files.source import PairSource, Role, Say, Source, open_documents, open_queries

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
    if path == STDIN or format_of(path):
        return None
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
        with remotely(path, "cannot be read"):
            found = filesystem.ls(inner, detail=False) if filesystem.isdir(inner) else []
        return {str(child).rstrip("/").rpartition("/")[2] for child in found}
    folder = Path(path)
    return {child.name for child in folder.iterdir()} if folder.is_dir() else set()


class BeirPairs(PairSource):
    """A BEIR folder as a pair set: a row per judgment, rows of one query together.

    The label is 1 where a judgment is `positive_from` or more (without it, above 0), the grade is its
    share of the highest one.
    """

    def __init__(self, beir: Beir, split: str | None, say: Say, *, positive_from: float | None = None) -> None:
        self._beir = beir
        self._positive_from = positive_from
        self._grades_told = False
        self._queries = open_queries(beir.queries, say)
        self._documents = open_documents(beir.corpus, say)
        judgments = Role("judgments file", _QRELS, _judgments, unique=False)
        super().__init__(split_of(beir, split), judgments, {}, say)
        self.path = self.name = beir.folder

    @property
    def _varies(self) -> bool:
        return False

    def batches(self) -> Iterator[pa.Table]:
        judged = pa.concat_tables(super().batches()).combine_chunks()
        order = contiguous_order(judged["query_id"])
        if order is not None:
            judged = judged.take(pa.array(order))
        score = judged["score"].to_numpy()
        positive = self._positives(score)
        table = {
            "query_id": judged["query_id"],
            "query": self._texts(judged["query_id"], self._queries, "query"),
            "doc_id": judged["doc_id"],
            "document": self._texts(judged["doc_id"], self._documents, "document"),
            "label": pa.array(positive.astype(np.int8)),
            "grade": pa.array(np.maximum(score, 0) / max(float(score.max()), 1.0), pa.float32()),
            "origin": pa.repeat("given", len(judged)),
        }
        yield schema.as_pairs(pa.table(table))

    def _positives(self, score: np.ndarray) -> np.ndarray:
        """Which judgments make a positive, (n,) bool; says how many there are of each where that is a choice."""
        grades, counts = np.unique(score, return_counts=True)
        shown = listed([f"{count:,} of grade {grade:g}" for grade, count in zip(grades, counts, strict=True)])
        if self._positive_from is not None:
            if grades[-1] < self._positive_from:
                bound = f"--positive-from {self._positive_from:g}"
                raise PairmineError(f"{self.name}: no judgment reaches {bound} ({shown}); lower it")
            return score >= self._positive_from
        if grades[-1] > 1 and not self._grades_told:
            self._grades_told = True
            self._say(
                f"{self.name}: every judgment above 0 is taken as a positive ({shown}); "
                "'pairmine convert --as pairs --positive-from N' draws the line at N"
            )
        return score > 0

    def _texts(self, ids: pa.ChunkedArray, source: Source, what: str) -> pa.Array:
        """The text of each of `ids`, held once; of a corpus that is read, only what was judged is kept."""
        wanted = pc.unique(ids)
        tables = [table.filter(pc.is_in(table["id"], value_set=wanted)) for table in source.batches()]
        known = pa.table(
            {
                "id": pa.chunked_array([chunk for table in tables for chunk in table["id"].chunks], pa.string()),
                "text": pa.chunked_array(
                    [chunk for table in tables for chunk in schema.document_text(table).chunks], pa.large_string()
                ),
            }
        )
        rows = pc.index_in(ids, value_set=known["id"]).combine_chunks()
        if rows.null_count:
            at = pc.index(rows.is_null(), True).as_py()
            raise PairmineError(
                f"{self._shards[0].name}: {rows.null_count} of {len(rows)} judgments name a {what} that {source.path} "
                f'does not have, the first of them "{ids[at]}"; take these out, or put what they name there'
            )
        return pa.DictionaryArray.from_arrays(rows, known["text"].cast(pa.string()).combine_chunks())

    def add_to(self, record: lineage.Lineage, role: str) -> None:
        """Record the folder with one digest over its three files."""
        parts = [self._digest(), self._queries._digest(), self._documents._digest()]
        digest = sha256("\n".join(parts).encode()).hexdigest()
        record.add_input(role, [], path=self._beir.folder, sha256=digest, rows=self.rows)


def split_of(beir: Beir, split: str | None) -> str:
    """The file with the judgments of `split`, or with the only ones that there are."""
    if not beir.qrels:
        raise PairmineError(f"{beir.folder}: a BEIR folder without judgments; expected qrels/NAME.tsv or qrels.tsv")
    if split is None and len(beir.qrels) > 1:
        raise PairmineError(
            f"{beir.folder}: judgments for several splits; pass --split NAME ({', '.join(beir.qrels)}), "
            f"or run 'pairmine convert {shlex.quote(beir.folder)} --as pairs --split NAME' first"
        )
    if split is not None and split not in beir.qrels:
        raise PairmineError(f'{beir.folder}: no split "{split}" (found: {", ".join(beir.qrels)})')
    return beir.qrels[split] if split is not None else next(iter(beir.qrels.values()))


def _judgments(raw: Raw, mapped: Mapped) -> pa.Table:
    table = {
        "query_id": convert.ids(raw, mapped.names["query_id"], None),
        "doc_id": convert.ids(raw, mapped.names["doc_id"], None),
        "score": convert.numbers(raw, mapped.names["score"], pa.float64()),
    }
    if table["score"].null_count:
        place = raw.where(pc.index(pc.is_null(table["score"]), True).as_py())
        raise PairmineError(f"{place}: a judgment without a score; give each one, or remove the line")
    if not (finite := np.isfinite(table["score"].to_numpy())).all():
        place = raw.where(int(np.argmin(finite)))
        raise PairmineError(f'{place}: "{mapped.names["score"]}" is no finite number; mend or remove the line')
    return pa.table(table)
