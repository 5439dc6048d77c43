"""`score --feedback`: what the known positives say of each document, for pair sets that came without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.backends.encoders import FakeEncoder, nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers import DenseRetriever
from pairmine.backends.specs import Spec
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.identity import text_key
from pairmine.schema import FEEDBACK, as_pairs, empty_pairs, scale_of
from pairmine.stages.mine import mine
from pairmine.stages.score_feedback import FeedbackAdder

Row = tuple[str, str, int | None]


def pairs_of(*rows: Row) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    query, document, label = (list(column) for column in columns)
    table = {"query_id": query, "query": query, "doc_id": [f"d{at}" for at in range(len(rows))], "document": document}
    labels = pa.array(label, pa.int8())
    return as_pairs(pa.table({**table, "label": labels, "origin": pa.array(["given"] * len(rows), pa.string())}))


def scores(pairs: pa.Table) -> list[float | None]:
    return list(FeedbackAdder(FakeEncoder()).add(pairs).kept[FEEDBACK].to_pylist())


def plain(pairs: pa.Table) -> list[float | None]:
    """The number of every row in plain Python: a copy has the vector of the first positive of its query."""
    rows = pairs.to_pylist()
    found: list[float | None] = []
    for row in rows:
        own = [other for other in rows if other["query_id"] == row["query_id"]]
        positives: dict[int, str] = {}
        for other in own:
            if other["label"] == 1:
                positives.setdefault(text_key(other["document"]), other["document"])
        text = row["document"]
        if row["label"] == 1:
            text = positives.pop(text_key(text))
        positives.pop(0, None)
        candidates = [other["document"] for other in own if other["label"] is None or other["origin"] == "mine:x"]
        near, far = (vectors_of(texts) for texts in (list(positives.values()), candidates))
        product = vectors_of([text])[0] @ (near.mean(axis=0) - far.mean(axis=0)) if len(near) and len(far) else None
        found.append(product)
    return found


def vectors_of(texts: list[str]) -> np.ndarray:
    return FakeEncoder().encode(texts, "document").astype(np.float64) if texts else np.empty((0, 1))


def rows() -> st.SearchStrategy[list[Row]]:
    texts = st.sampled_from(["a cat", "A  Cat", "a dog", "two dogs", "λόγος", "", " ", "😀 fish"])
    documents = st.lists(st.tuples(texts, st.sampled_from([1, 1, 0, None, None])), min_size=1, max_size=6)
    groups = st.lists(documents, max_size=4)
    return groups.map(lambda found: [(f"q{at}", *each) for at, group in enumerate(found) for each in group])


@given(rows())
@settings(deadline=None, max_examples=60)
def test_the_number_equals_a_plain_loop(found: list[Row]) -> None:
    pairs = pairs_of(*found)
    for number, expected in zip(scores(pairs), plain(pairs), strict=True):
        assert number == (expected if expected is None else pytest.approx(expected, abs=1e-6))


def test_it_is_that_of_mine_with_the_same_model_to_the_bit() -> None:
    pairs = pairs_of(("q1", "a cat", 1), ("q1", "two cats", 1), ("q1", "a dog", 0), ("q2", "a fish", 1))
    dense = DenseRetriever(Spec("fake", ""), FakeEncoder())
    mined = mine(pairs, None, [dense], depth=3, near=None).kept
    again = FeedbackAdder(FakeEncoder()).add(mined.drop_columns(FEEDBACK)).kept
    assert again.to_pylist() == mined.to_pylist()


@pytest.mark.parametrize(
    "found",
    [
        [],
        [("q1", "a cat", 1)],
        [("q1", "a cat", None), ("q1", "a dog", 0)],
        [("q1", "a dog", 1), ("q1", "", 1)],
        [("q1", "a dog", 1), ("q1", "a cow", 1)],
    ],
)
def test_where_nothing_is_known_the_column_is_there_and_null(found: list[Row]) -> None:
    kept = FeedbackAdder(FakeEncoder()).add(pairs_of(*found)).kept
    assert kept.schema.field(FEEDBACK).type == pa.float32()
    assert scale_of(kept.schema.field(FEEDBACK)) == "difference"
    assert kept[FEEDBACK].null_count == len(found)


def test_queries_without_a_positive_cost_nothing_and_are_counted() -> None:
    heard: list[str] = []

    class Listening(FakeEncoder):
        def encode(self, texts: Sequence[str], side: Any, advance: Advance = nothing) -> np.ndarray:
            heard.extend(texts)
            return super().encode(texts, side, advance)

    outcome = FeedbackAdder(Listening()).add(pairs_of(("q1", "a cat", None), ("q2", "a dog", 1), ("q2", "a cow", None)))
    assert sorted(heard) == ["a cow", "a dog"]
    assert outcome.notes == {"queries without a positive": 1}


def test_a_pair_set_without_labels_is_told_in_one_line() -> None:
    with pytest.raises(PairmineError, match=r"^the pair set has no \"label\".*run 'pairmine convert"):
        FeedbackAdder(FakeEncoder()).add(empty_pairs().drop_columns("label"))


def test_rows_of_a_query_that_stand_apart_are_told() -> None:
    with pytest.raises(PairmineError, match="q1"):
        FeedbackAdder(FakeEncoder()).add(pairs_of(("q1", "a", 1), ("q2", "b", 1), ("q1", "c", 1)))


# --- the command ------------------------------------------------------------------------


def command(*words: object) -> None:
    app(["score", *map(str, words), "-q"], standalone_mode=False)


def test_the_command_replaces_an_earlier_column_and_keeps_the_rest(tmp_path: Path) -> None:
    pairs = pairs_of(("q1", "a cat", 1), ("q1", "two cats", 1), ("q1", "a dog", None))
    pq.write_table(pairs.append_column(FEEDBACK, pa.nulls(3, pa.float32())), tmp_path / "pairs.parquet")
    out = tmp_path / "out.parquet"
    command(tmp_path / "pairs.parquet", "--feedback", "fake:", "--store", "none", "-o", out)
    written = pq.read_table(out)
    assert written[FEEDBACK].to_pylist() == scores(pairs)
    assert written.drop_columns(FEEDBACK).to_pylist() == pairs.to_pylist()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--feedback", "fake:", "--scorer", "fake:"], "and one of them"),
        (["--feedback", "fake:", "--vectors", "fake:"], "and one of them"),
        (["--feedback", "bm25"], "bm25"),
        (["--feedback", "fake:", "--side", "query"], "--side has no effect with --feedback"),
        (["--feedback", "fake:", "--query-prompt", "q: "], "--query-prompt has no effect with --feedback"),
        (["--feedback", "fake:", "--band", "ce:0.1:0.9"], "--band has no effect with --feedback"),
        (["--feedback", "fake:", "--recipe", "judge"], "--recipe has no effect with --feedback"),
    ],
)
def test_an_option_that_cannot_work_is_told_in_one_line(tmp_path: Path, options: list[str], line: str) -> None:
    pq.write_table(pairs_of(("q1", "a cat", 1)), tmp_path / "pairs.parquet")
    with pytest.raises(PairmineError) as caught:
        command(tmp_path / "pairs.parquet", *options, "-o", tmp_path / "out.parquet")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.parquet").exists()
