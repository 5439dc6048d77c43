"""The positive is never its own negative: through mining, filtering, filling and export together."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairmine.backends.retrievers import open_retriever
from pairmine.backends.specs import Spec
from pairmine.identity import normalise
from pairmine.stages.export import export, survey
from pairmine.stages.filter import filter_pairs
from pairmine.stages.mine import mine

WORDS = ("river", "stone", "Stone", "salt", "ＳＡＬＴ", "東京", "bridge", "", "ice")
TEXTS = st.lists(st.sampled_from(WORDS), min_size=0, max_size=4).map(" ".join)


@st.composite
def collections(draw: st.DrawFn) -> tuple[pa.Table, pa.Table]:
    """A corpus full of copies, and pairs whose positives come from it, are copies of it or stand outside."""
    texts = draw(st.lists(TEXTS, min_size=1, max_size=12))
    corpus = pa.table({"id": [f"d{n}" for n in range(len(texts))], "text": pa.array(texts, pa.large_string())})
    rows = []
    for number in range(draw(st.integers(1, 3))):
        query = draw(TEXTS.filter(str.strip) | st.sampled_from([text for text in texts if text.strip()] or ["river"]))
        for at in draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=3, unique=True)):
            inside = draw(st.booleans())
            copy = st.sampled_from([f"  {texts[at].upper()} ", "elsewhere"])
            rows.append(
                {
                    "query_id": f"q{number}",
                    "query": query,
                    "doc_id": f"d{at}" if inside else f"outside{at}",
                    "document": texts[at] if inside else draw(copy),
                    "label": 1,
                    "origin": "given",
                    "source_id": None if draw(st.booleans()) else f"d{at}",
                }
            )
    return pa.Table.from_pylist(rows), corpus


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(collections(), st.integers(1, 4), st.sampled_from(["keep", "fill"]), st.sampled_from(["top", "random"]))
def test_no_training_row_has_a_positive_a_copy_of_one_or_its_query_among_its_negatives(
    collection: tuple[pa.Table, pa.Table], wanted: int, shortage: str, pick: str
) -> None:
    pairs, corpus = collection
    retrievers = [open_retriever(Spec("fake", "")), open_retriever(Spec("bm25", ""))]
    mined = mine(pairs, corpus, retrievers, depth=5).kept
    decided = filter_pairs(
        mined,
        by="score_dense",
        relative_margin=None,
        absolute_margin=None,
        max_score=None,
        min_score=None,
        ranks=None,
        negatives=wanted,
        pick=pick,
        pool=10,
        shortage=shortage,
        fillers=pa.table({"doc_id": corpus["id"], "document": corpus["text"].cast(pa.string())}),
        seed=0,
    ).kept
    positives: dict[str, set[str]] = {}
    sources: dict[str, set[str]] = {}
    for row in pairs.to_pylist():
        query = normalise(row["query"])
        positives.setdefault(query, set()).add(normalise(row["document"]))
        sources.setdefault(row["query_id"], set()).update({row["doc_id"], row["source_id"]} - {None})
    by_query_id = {row["query_id"]: normalise(row["query"]) for row in pairs.to_pylist()}
    own = {
        query_id: {normalise(r["document"]) for r in pairs.to_pylist() if r["query_id"] == query_id}
        for query_id in by_query_id
    }
    for row in decided.to_pylist():
        if row["label"] == 0:
            text = normalise(row["document"])
            assert text not in own[row["query_id"]]
            assert text != by_query_id[row["query_id"]]
            assert row["doc_id"] not in sources[row["query_id"]]
    written = export(decided, to="st-triplet", negatives=None, survey=survey(decided)).outcome.kept
    for row in written.to_pylist():
        assert normalise(row["negative"]) not in {normalise(row["positive"]), normalise(row["anchor"])}
