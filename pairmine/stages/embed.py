"""Texts to tables of their vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, no_rejects, with_reason

Side = Literal["query", "document"]
NO_TEXT = "no text"
STRETCH_ROWS = 65_536
_STRETCH_BYTES = 64 << 20
_COLUMNS = {"query": ("query_id", "query"), "document": ("doc_id", "document")}


class Embed(Protocol):
    """Texts to vectors, (n, dim) float32."""

    def __call__(self, texts: Sequence[str], /) -> np.ndarray: ...


def texts_of_pairs(
    tables: Iterable[pa.Table], side: Side, is_repeated: Callable[[Sequence[str]], np.ndarray]
) -> Iterator[tuple[pa.Table, int, pa.Table]]:
    """The queries or the documents of a pair set by id, each once: a table of id and text, rows read, rows rejected.

    A row without a text is rejected; of an id with several texts the first counts. `is_repeated` is told the
    ids one table after the other, and says which came before, (n,) bool. Raises PairmineError
    for a pair set without such texts.
    """
    id_name, text_name = _COLUMNS[side]
    for table in tables:
        if text_name not in table.column_names:
            other = "the corpus" if side == "document" else "the query file"
            raise PairmineError(f'the pair set has no "{text_name}" texts; embed {other} that its ids come from')
        blank = is_blank(table[text_name])
        used = table.filter(pc.invert(blank))
        new = used.filter(pa.array(~is_repeated(used[id_name].to_pylist())))
        texts = pa.table({"id": new[id_name], "text": new[text_name].cast(pa.large_string())})
        yield texts, table.num_rows, with_reason(table.filter(blank), NO_TEXT)


def is_blank(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which of `texts` are null or nothing but white space."""
    if pa.types.is_dictionary(texts.type):
        texts = texts.cast(texts.type.value_type)
    return pc.equal(pc.utf8_trim_whitespace(pc.fill_null(texts, "")), "")


def stretches(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of `tables` in tables of some ten thousand rows: sorting by length pays where many stand together."""
    pending: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        for start in range(0, max(table.num_rows, 1), STRETCH_ROWS):
            piece = table.slice(start, STRETCH_ROWS)
            pending.append(piece)
            rows += piece.num_rows
            size += piece.nbytes
            if rows >= STRETCH_ROWS or size >= _STRETCH_BYTES:
                yield pa.concat_tables(pending)
                pending, rows, size = [], 0, 0
    if pending:
        yield pa.concat_tables(pending)


def embed_texts(
    texts: pa.Table, embed: Embed, *, dim: Callable[[], int], titles: bool = True, vector_type: str = "float32"
) -> Outcome:
    """The vectors of a corpus or of queries: a table of id and vector, in their order.

    A title stands before its text, as `mine` joins them, unless `titles` is off. A document without
    any text is rejected. `vector` is a list of fixed size, of float32, float16, or int8 with a float32
    `scale` to multiply it by. `dim` gives the length of a vector, and is asked where `texts` gives none.
    """
    joined = schema.document_text(texts) if titles else texts["text"].cast(pa.large_string())
    blank = is_blank(joined)
    kept = texts.filter(pc.invert(blank)) if pc.any(blank).as_py() else texts
    joined = joined.filter(pc.invert(blank)) if kept is not texts else joined
    vectors = embed(joined.to_pylist())
    rejected = with_reason(texts.filter(blank), NO_TEXT) if kept is not texts else no_rejects(texts)
    width = vectors.shape[1] if len(vectors) else dim()
    table = as_table(kept["id"], vectors.reshape(len(kept), width), vector_type)
    return Outcome(table, rejected, rows_in=texts.num_rows)


def as_table(ids: pa.ChunkedArray, vectors: np.ndarray, vector_type: str) -> pa.Table:
    """`ids` and their `vectors` (n, dim) float32 as a table of columns."""
    from pairmine.backends.vectors.codec import quantise

    columns = {"id": ids.cast(pa.string())}
    scales = None
    if vector_type == "int8":
        vectors, scales = quantise(vectors)
    flat = pa.array(np.ascontiguousarray(vectors, vector_type).reshape(-1))
    columns["vector"] = pa.chunked_array([_lists(flat, vectors.shape)])
    if scales is not None:
        columns["scale"] = pa.chunked_array([pa.array(scales)])
    return pa.table(columns)


def _lists(flat: pa.Array, shape: tuple[int, ...]) -> pa.Array:
    rows, dim = shape
    if not rows:
        return pa.array([], pa.list_(flat.type, dim))
    return pa.FixedSizeListArray.from_arrays(flat, dim)
