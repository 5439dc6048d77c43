"""Positives that a file names by ids: TREC qrels, the judgments of a BEIR folder, another pair set."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import isfinite
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.files import convert, lineage
from pairmine.files.beir import find_beir, split_of
from pairmine.files.columns import Mapped, Wanted
from pairmine.files.locations import STDIN, Shard, format_of, line_shard
from pairmine.files.raw import Raw, read_lines
from pairmine.files.source import Role, Say, Source

_COLUMNS = (
    Wanted("query_id", ("query-id", "qid", "question_id", "anchor_id", "topic"), "--query-id-column", required=True),
    Wanted(
        "doc_id",
        ("corpus-id", "corpus_id", "docid", "docno", "document_id", "pid", "passage_id", "positive_id"),
        "--doc-id-column",
        required=True,
    ),
    Wanted("label", ("score", "relevance", "grade", "is_relevant"), "--label-column"),
)
_FIELDS_OF_TREC = 4
_LOOKED_AT = 100


def open_known(path: str, say: Say) -> Source | TrecQrels:
    """Known positives: rows of a query's id and a document's, with a grade or label above 0 where there is one.

    A text whose first line is `query 0 document grade` is read as TREC qrels, whatever its ending; anything else
    by the names of its columns. `read` gives the columns query_id and doc_id of the positives.
    """
    if path == STDIN:
        raise PairmineError("--known -: wants a file; the pair set may come from standard input")
    if beir := find_beir(path):
        named = ", ".join(beir.qrels.values()) or "there are none"
        raise PairmineError(f"{path}: is a BEIR folder; name the judgments that are meant ({named})")
    if (kind := format_of(path)) is None or kind[0] in ("tsv", "csv"):
        shard = line_shard(path)
        if _is_trec(shard):
            return TrecQrels(path, shard)
    return Source(path, Role("file of known positives", _COLUMNS, _positives, unique=False), {}, say)


def read_judgments(path: str, say: Say, *, split: str | None = None, positive_from: float | None = None) -> pa.Table:
    """All judgments at `path`, relevant or not: columns query_id, doc_id and relevant (bool).

    TREC qrels, a table with a header, another pair set, or a BEIR folder, of which `split` may be named. A grade is
    relevant from `positive_from` up, without it above 0; a row without a grade or label in a file that has them was
    not judged. A file without such a column holds positives alone.
    """
    if path == STDIN:
        raise PairmineError("--qrels -: wants a file; the pair set may come from standard input")
    if beir := find_beir(path):
        path = split_of(beir, split)
    elif split is not None:
        raise PairmineError(f"{path}: --split {split} is for BEIR folders, and this is none")
    if (kind := format_of(path)) is None or kind[0] in ("tsv", "csv"):
        shard = line_shard(path)
        if _is_trec(shard):
            return _relevant(TrecQrels(path, shard).read(all_grades=True), positive_from)
    role = Role("file of judgments", _COLUMNS, _graded, unique=False)
    return _relevant(Source(path, role, {}, say).read(), positive_from)


def _graded(raw: Raw, mapped: Mapped) -> pa.Table:
    names: dict[str, Any] = dict(mapped.names)
    found = pa.table({name: convert.ids(raw, names[name], None) for name in ("query_id", "doc_id")})
    if "label" not in names:
        return found.append_column("grade", pa.array([1.0] * found.num_rows, pa.float64()))
    return found.append_column("grade", convert.numbers(raw, names["label"], pa.float64()))


def _relevant(judged: pa.Table, positive_from: float | None) -> pa.Table:
    judged = judged.filter(judged["grade"].is_valid())
    grades = judged["grade"]
    relevant = pc.greater(grades, 0.0) if positive_from is None else pc.greater_equal(grades, positive_from)
    return judged.select(["query_id", "doc_id"]).append_column("relevant", relevant)


class TrecQrels:
    """Judgments without a header: query, a number that nobody reads, document, grade. Once read, `rows` counts them."""

    def __init__(self, path: str, shard: Shard) -> None:
        self.path = path
        self.rows = 0
        self._shard = shard

    def read(self, *, all_grades: bool = False) -> pa.Table:
        """The positives, those with a grade above 0; raises PairmineError for a line that is no judgment.

        With `all_grades` every judgment, and its number in the column `grade`.
        """
        queries: list[str] = []
        documents: list[str] = []
        grades: list[float] = []
        self.rows = 0
        for number, line in enumerate(read_lines(self._shard), 1):
            fields = line.split()
            if not fields:
                continue
            self.rows += 1
            grade = _number(fields[-1]) if len(fields) == _FIELDS_OF_TREC else None
            if grade is None:
                raise PairmineError(
                    f'{self._shard.name}:{number}: "{line[:60]}" is no judgment as the first line is; '
                    "write query, 0, document and grade"
                )
            if grade > 0 or all_grades:
                queries.append(fields[0])
                documents.append(fields[2])
                grades.append(grade)
        found = pa.table({"query_id": pa.array(queries, pa.string()), "doc_id": pa.array(documents, pa.string())})
        return found.append_column("grade", pa.array(grades, pa.float64())) if all_grades else found

    def add_to(self, record: lineage.Lineage, role: str) -> None:
        """Record this input; to be called when it was read."""
        record.add_input(role, [], path=self.path, sha256=self._shard.sha256(), rows=self.rows)


def _is_trec(shard: Shard) -> bool:
    lines: Iterator[str] = read_lines(shard)
    fields = next((line.split() for line in islice(lines, _LOOKED_AT) if line.strip()), [])
    return len(fields) == _FIELDS_OF_TREC and _number(fields[-1]) is not None


def _number(field: str) -> float | None:
    try:
        found = float(field)
    except ValueError:
        return None
    return found if isfinite(found) else None


def _positives(raw: Raw, mapped: Mapped) -> pa.Table:
    names: dict[str, Any] = dict(mapped.names)
    found = pa.table({name: convert.ids(raw, names[name], None) for name in ("query_id", "doc_id")})
    if "label" not in names:
        return found
    grades = convert.numbers(raw, names["label"], pa.float64())
    return found.filter(pc.fill_null(pc.greater(grades, 0), False))
