"""Scoring: one number per row from a cross-encoder or a bi-encoder; drops nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends import scorers
from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.scorers import Scorer
from pairmine.backends.specs import Spec, locate, parse_spec, slug
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, no_rejects


def score_pairs(
    pairs: pa.Table, scorer: Scorer | str, *, name: str | None = None, advance: Advance = nothing
) -> Outcome:
    """`pairs` with the column `score_<name>`, whose metadata declares the scorer's scale.

    `scorer` is a spec ("ce:MODEL", "st:MODEL") or what `open_scorer` returns; `name` may be left
    out for a spec, whose kind or own name it is then. Rows with the same two texts are scored once.
    A column of that name is replaced, so that all of it comes from one model.

    `advance` is told of rows as they are done. Raises PairmineError when a row has no query or no
    document text, and for an unknown spec or model.
    """
    spec = _parse(scorer) if isinstance(scorer, str) else None
    if name is None and spec is not None:
        name = slug(spec.alias or spec.kind)
    if not name:
        raise PairmineError("a scorer that is no spec fills no column by itself; pass name=, as in name='ce'")
    check_texts(pairs)
    model = open_scorer(scorer) if isinstance(scorer, str) else scorer
    queries, documents, inverse = distinct_pairs(pairs)
    scores = model.score(queries, documents, advance)[inverse] if queries else np.empty(0, np.float32)
    advance(pairs.num_rows - len(queries))
    field = schema.score_field(name, model.scale)
    rest = pairs.drop_columns(field.name) if field.name in pairs.column_names else pairs
    # A scorer that has nothing to say of a pair says NaN, which is null in a table.
    column = pa.array(scores, pa.float32(), from_pandas=True)
    kept = schema.as_pairs(rest.append_column(field, column))
    notes = {"rows without a score": column.null_count} if column.null_count else {}
    return Outcome(kept, no_rejects(kept), rows_in=pairs.num_rows, notes=notes)


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
    """The scorer that `spec` names: "ce:MODEL", "st:MODEL", or either as "NAME=SPEC".

    `settings` are `max_length` and `device`, and for st: models `query_prompt` and
    `document_prompt`. Raises PairmineError for an unknown spec or model.
    """
    return scorers.open_scorer(_parse(spec) if isinstance(spec, str) else spec, **settings)


def _parse(text: str) -> Spec:
    spec = parse_spec(text, ("ce", "st", "fake"), "--scorer")
    if spec.kind != "fake":
        locate(spec, "--scorer")
    return spec


def check_texts(pairs: pa.Table) -> None:
    """Raise a PairmineError unless every row has a query and a document text."""
    for side in ("query", "document"):
        if side not in pairs.column_names:
            raise PairmineError(f'the pair set has no "{side}" texts to score')
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
