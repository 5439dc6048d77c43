"""Scoring: one number per row from a cross-encoder, a bi-encoder or a language model; drops nothing. Vectors too."""

from __future__ import annotations

from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends import scorers
from pairmine.backends.encoders import Encoder, Side, nothing
from pairmine.backends.models import Advance
from pairmine.backends.scorers import CountsCuts, Scored, Scorer, TextVectors
from pairmine.backends.specs import Spec, locate, parse_spec, slug
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, no_rejects

if TYPE_CHECKING:
    from pairmine.backends.vectors.store import VectorStore


def score_pairs(
    pairs: pa.Table, scorer: Scorer | str, *, name: str | None = None, advance: Advance = nothing
) -> Outcome:
    """`pairs` with the column `score_<name>`, whose metadata declares the scorer's scale.

    `scorer` is a spec ("ce:MODEL", "st:MODEL", "rerank:MODEL", "ql:hf:MODEL") or what `open_scorer` returns; `name`
    may be left out for a spec, whose kind or own name it is then. Rows with the same two texts are scored once.
    A column of that name is replaced, so that all of it comes from one model. The notes count the rows whose texts
    the model did not read to their end.

    `advance` is told of rows as they are done. Raises PairmineError when a row has no query or no
    document text, and for an unknown spec or model.
    """
    spec = _parse(scorer) if isinstance(scorer, str) else None
    if name is None and spec is not None:
        name = slug(spec.alias or spec.kind)
    if not name:
        raise PairmineError("a scorer that is no spec fills no column by itself; pass name=, as in name='ce'")
    check_texts(pairs)
    queries, documents, inverse = distinct_pairs(pairs)
    model = scorers.open_scorer(spec) if spec is not None else cast(Scorer, scorer)
    # What was opened here is closed here; a scorer that was handed in may be used again.
    with closing(model) if spec is not None and isinstance(model, scorers.Closes) else nullcontext():
        found = _scored(model, queries, documents, advance)
    scores = found.scores[inverse]
    advance(pairs.num_rows - len(queries))
    field = schema.score_field(name, model.scale)
    rest = pairs.drop_columns(field.name) if field.name in pairs.column_names else pairs
    # A scorer that has nothing to say of a pair says NaN, which is null in a table.
    column = pa.array(scores, pa.float32(), from_pandas=True)
    kept = schema.as_pairs(rest.append_column(field, column))
    notes = {"rows without a score": column.null_count} if column.null_count else {}
    if cut := int(found.is_cut[inverse].sum()):
        notes[f"rows cut at {getattr(model, 'max_length', None)} tokens"] = cut
    return Outcome(kept, no_rejects(kept), rows_in=pairs.num_rows, notes=notes)


def _scored(scorer: Scorer, queries: list[str], documents: list[str], advance: Advance) -> Scored:
    """What a scorer says of pairs; which were cut is known of some kinds alone."""
    if not queries:
        return Scored(np.empty(0, np.float32), np.empty(0, bool))
    if isinstance(scorer, CountsCuts):
        return scorer.scored(queries, documents, advance)
    return Scored(scorer.score(queries, documents, advance), np.zeros(len(queries), bool))


SIDES: dict[str, tuple[Side, ...]] = {"query": ("query",), "document": ("document",), "both": ("query", "document")}


class VectorAdder:
    """Adds a teacher's vectors to pair sets: the columns `query_vector` and `document_vector`.

    They are what a student is to reproduce: of unlabelled texts (DistilCSE), or of a sentence for its translation
    too (Reimers and Gurevych 2020, arXiv 2004.09813). Each is a fixed-size list of float32, of unit length. `side`
    is "query", "document" or "both". A text is embedded once over all calls while there is room to keep its vector,
    and a `store` keeps them for later runs.
    """

    def __init__(self, encoder: Encoder, side: str = "both", store: VectorStore | None = None) -> None:
        if side not in SIDES:
            raise PairmineError(f"--side {side}: choose {', '.join(SIDES)}")
        self._sides = {each: TextVectors(encoder, each, store) for each in SIDES[side]}
        self.facts = encoder.facts
        self._dim: int | None = None

    def add(self, pairs: pa.Table, advance: Advance = nothing) -> Outcome:
        """`pairs` with the vectors behind its columns, in place of earlier ones.

        Raises PairmineError when a row has no text on a side that is embedded.
        """
        check_texts(pairs, tuple(self._sides))
        kept = pairs
        for side, vectors in self._sides.items():
            name = f"{side}_vector"
            column = self._column(pairs, side, vectors)
            kept = kept.drop_columns(name) if name in kept.column_names else kept
            kept = kept.append_column(name, column)
        advance(pairs.num_rows)
        kept = schema.as_pairs(kept)
        return Outcome(kept, no_rejects(kept), rows_in=pairs.num_rows)

    def _column(self, pairs: pa.Table, side: Side, vectors: TextVectors) -> pa.Array:
        texts = _texts(pairs, side)
        if not len(texts):
            return pa.array([], pa.list_(pa.float32(), self._dim or vectors.dim))
        codes = np.asarray(texts.indices)
        used, rows = np.unique(codes, return_inverse=True)
        found, places = vectors.of(texts.dictionary.take(pa.array(used)).to_pylist())
        self._dim = found.shape[1]
        flat = pa.array(found[places][rows].ravel(), pa.float32())
        return pa.FixedSizeListArray.from_arrays(flat, self._dim)


def distinct_pairs(pairs: pa.Table) -> tuple[list[str], list[str], np.ndarray]:
    """The queries and documents of the pairs that differ, side by side, and for each row which of them it is."""
    columns = [_texts(pairs, side) for side in ("query", "document")]
    codes = [np.asarray(column.indices) for column in columns]
    width = max(len(columns[1].dictionary), 1)
    distinct, inverse = np.unique(codes[0].astype(np.int64) * width + codes[1], return_inverse=True)
    queries = columns[0].dictionary.take(pa.array(distinct // width)).to_pylist()
    documents = columns[1].dictionary.take(pa.array(distinct % width)).to_pylist()
    return queries, documents, inverse


def open_scorer(spec: Spec | str, **settings: Any) -> Scorer:
    """The scorer that `spec` names: "ce:MODEL", "st:MODEL", "rerank:MODEL", "ql:KIND:MODEL", or any as "NAME=SPEC".

    `settings` are `store`, a folder that keeps what was computed (not for ql:), and those of the kind: for ce: and st:
    `max_length`, `device`, `dtype` and `backend`, for ce: `activation`, for st: `query_prompt` and
    `document_prompt`; for rerank: `base_url`, `endpoint`, `scale` and more of `backends.rerank_servers.RerankServer`;
    for ql: those of `backends.likelihood.open_likelihood`. Raises PairmineError for an unknown spec, model or setting.
    """
    return scorers.open_scorer(_parse(spec) if isinstance(spec, str) else spec, **settings)


def _parse(text: str) -> Spec:
    spec = parse_spec(text, ("ce", "st", "rerank", "ql", "fake"), "--scorer")
    if spec.kind in ("ce", "st"):
        locate(spec, "--scorer")
    return spec


def check_texts(pairs: pa.Table, sides: tuple[str, ...] = ("query", "document")) -> None:
    """Raise a PairmineError unless every row has a text on each of `sides`."""
    for side in sides:
        if side not in pairs.column_names:
            raise PairmineError(f'the pair set has no "{side}" texts to score or embed')
        column = pairs[side]
        if nulls := column.null_count:
            at = int(np.flatnonzero(pc.is_null(column).to_numpy())[0])
            raise PairmineError(
                f"{nulls} of {pairs.num_rows} rows have no {side} text, the first is row {at + 1} "
                f'(query "{pairs["query_id"][at]}", document "{pairs["doc_id"][at]}")'
            )


def _texts(pairs: pa.Table, side: str) -> pa.DictionaryArray:
    if not pairs.num_rows:
        return pa.array([], schema.TEXT)
    whole = schema.cast_column(pairs[side], schema.TEXT, side).unify_dictionaries().combine_chunks()
    texts = whole.dictionary.dictionary_encode()
    return pa.DictionaryArray.from_arrays(texts.indices.take(whole.indices), texts.dictionary)
