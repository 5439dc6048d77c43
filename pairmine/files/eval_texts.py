"""The texts of a test set, as training data is held against them: a BEIR folder, a pair set, or texts by themselves."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files import convert, lineage
from pairmine.files.beir import Beir, BeirPairs, find_beir
from pairmine.files.columns import DOCUMENT, QUERY, Mapped, Wanted
from pairmine.files.locations import STDIN
from pairmine.files.raw import Raw
from pairmine.files.source import PairSource, Role, Say, Source, open_either, open_queries

Sides = Literal["queries", "documents", "both"]
_USUAL_SPLIT = "test"
_ONE = {"texts": "text", "queries": "query", "documents": "document"}


def open_eval_texts(
    path: str, say: Say, *, sides: Sides = "both", split: str | None = None, column: str | None = None
) -> EvalTexts:
    """A test set: of a BEIR folder and of a pair set the queries, the relevant documents or both, else all texts.

    A BEIR folder is read by its judgments of `split`, by default "test" where there are several. Anything else is a
    corpus, a query file, or text with one item to a line; there, `column` may name the texts.
    """
    if path == STDIN:
        raise PairmineError("--against -: wants a file; the input may come from standard input")
    beir = find_beir(path)
    if beir is None:
        if split:
            raise PairmineError(f"{path}: --against-split {split} is for BEIR folders, and this is none")
        either = open_either(path, say)
        if not isinstance(either, PairSource):
            either = Source(path, _ROLE, {"text": column} if column else {}, say, opened=either)
        return EvalTexts(either, sides, say)
    if not beir.qrels and sides != "queries":
        say(f"{path}: has no judgments, so only its queries are looked for")
    source = BeirPairs(beir, _split_of(beir, split), say) if beir.qrels else open_queries(path, say)
    return EvalTexts(source, sides, say)


def _split_of(beir: Beir, split: str | None) -> str | None:
    return _USUAL_SPLIT if split is None and len(beir.qrels) > 1 and _USUAL_SPLIT in beir.qrels else split


class EvalTexts:
    """The texts of one test set. Once read, `counts` says how many there are of each sort."""

    def __init__(self, source: Source, sides: Sides, say: Say) -> None:
        self.path, self.name = source.path, lineage.shown_path(source.path)
        self.counts: dict[str, int] = {}
        self.is_plain = not isinstance(source, PairSource)
        self._source, self._sides, self._say = source, sides, say

    def read(self) -> pa.Table:
        """The columns `id` (string) and `text` (large_string), no text null."""
        table = self._source.read()
        if self.is_plain:
            self.counts = {"texts": table.num_rows}
            return pa.table({"id": table["id"], "text": schema.document_text(table)})
        parts = []
        if self._sides != "documents":
            parts.append(self._distinct(table, "query_id", "query", "queries"))
        if self._sides != "queries":
            positives = table.filter(pc.fill_null(pc.equal(table["label"], schema.POSITIVE), False))
            parts.append(self._distinct(positives, "doc_id", "document", "documents"))
        return pa.concat_tables(parts)

    @property
    def counted(self) -> str:
        """What was read, in words: "2 queries, 1 document"."""
        return ", ".join(f"{count:,} {_ONE[what] if count == 1 else what}" for what, count in self.counts.items())

    def add_to(self, record: lineage.Lineage, role: str) -> None:
        """Record this input; to be called when it was read."""
        self._source.add_to(record, role)

    def _distinct(self, pairs: pa.Table, ids: str, texts: str, what: str) -> pa.Table:
        """Each id with its text once, in the order of the rows."""
        if texts not in pairs.column_names:
            raise PairmineError(f'{self.path}: no "{texts}", so its {what} cannot be looked for; name a set with texts')
        codes = pairs[ids].combine_chunks().dictionary_encode().indices.to_numpy()
        first = pairs.take(pa.array(np.sort(np.unique(codes, return_index=True)[1])))
        found = pa.table({"id": first[ids], "text": first[texts].cast(pa.large_string())})
        known = found.filter(pc.is_valid(found["text"]))
        if missing := found.num_rows - known.num_rows:
            self._say(f"{self.path}: {missing:,} of {found.num_rows:,} {what} have no text and cannot be looked for")
        self.counts[what] = known.num_rows
        return known


def _texts(raw: Raw, mapped: Mapped) -> pa.Table:
    """Texts under their ids; one without an id goes by the place where it stands."""
    table = convert.documents(raw, mapped)
    if "id" not in mapped.names:
        places = [raw.where(row).rpartition("/")[2] for row in range(table.num_rows)]
        table = table.set_column(0, "id", pa.array(places, pa.string()))
    return table.select([name for name in ("id", "title", "text") if name in table.column_names])


def _either(name: str, *lists: tuple[Wanted, ...]) -> tuple[str, ...]:
    """The names that files use for a column, by any of the lists."""
    found = [alias for wanted in lists for each in wanted if each.name == name for alias in each.aliases]
    return tuple(dict.fromkeys(found))


_ROLE = Role(
    "test set",
    (
        Wanted("id", _either("id", DOCUMENT, QUERY), "--against-column"),
        Wanted("text", _either("text", DOCUMENT, QUERY), "--against-column", required=True),
        Wanted("title", _either("title", DOCUMENT), "--against-column"),
    ),
    _texts,
    unique=False,
)
