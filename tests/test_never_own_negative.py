"""The positive is never its own negative: through mining, filtering, filling and export together."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairmine.identity import normalise
from pairmine.schema import document_text
from pairmine.stages.export import export, survey
from pairmine.stages.filter import filter_pairs
from pairmine.stages.mine import mine

WORDS = ("river", "stone", "Stone", "salt", "ＳＡＬＴ", "東京", "bridge", "", "ice")
TEXTS = st.lists(st.sampled_from(WORDS), min_size=0, max_size=4).map(" ".join)


@st.composite
def collections(draw: st.DrawFn) -> tuple[pa.Table, pa.Table]:
    """A corpus full of copies, and pairs whose positives come from it, are copies of it or stand outside.

    Several query ids have one text, and several documents one text under different titles.
    """
    texts = draw(st.lists(TEXTS, min_size=1, max_size=12))
    titles = draw(st.lists(st.none() | TEXTS, min_size=len(texts), max_size=len(texts)))
    corpus = pa.table(
        {
            "id": [f"d{n}" for n in range(len(texts))],
            "title": pa.array(titles, pa.string()),
            "text": pa.array(texts, pa.large_string()),
        }
    )
    shown = document_text(corpus).to_pylist()
    queries = draw(st.lists(TEXTS.filter(str.strip) | st.sampled_from([*shown, "river"]), min_size=1, max_size=2))
    rows = []
    for number in range(draw(st.integers(1, 4))):
        query = draw(st.sampled_from(queries).filter(str.strip) | st.just("river"))
        query = draw(st.sampled_from([query, f" {query.upper()}"]))
        for at in draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=3, unique=True)):
            inside = draw(st.booleans())
            copy = st.sampled_from([f"  {texts[at].upper()} ", shown[at], "elsewhere"])
            rows.append(
                {
                    "query_id": f"q{number}",
                    "query": query,
                    "doc_id": f"d{at}" if inside else f"outside{at}",
                    "document": draw(st.sampled_from([texts[at], shown[at]])) if inside else draw(copy),
                    "label": 1,
                    "origin": "given",
                    "source_id": None if draw(st.booleans()) else f"d{at}",
                }
            )
    return pa.Table.from_pylist(rows), corpus


def forms_of(corpus: pa.Table) -> dict[str, set[str]]:
    """Each document's text, normalised, with its title and without."""
    shown = document_text(corpus).to_pylist()
    return {
        row["id"]: {normalise(row["text"]), normalise(text)} - {""}
        for row, text in zip(corpus.to_pylist(), shown, strict=True)
    }


def forbidden(pairs: pa.Table, forms: dict[str, set[str]]) -> dict[str, set[str]]:
    """For each query text itself, and all forms of the positives of all its query ids and of their sources."""
    texts: dict[str, set[str]] = {}
    for row in pairs.to_pylist():
        query = normalise(row["query"])
        known = forms.get(row["doc_id"], set()) | forms.get(row["source_id"], set())
        texts.setdefault(query, {query}).update(known | {normalise(row["document"])} - {""})
    return texts


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    collections(),
    st.integers(1, 4),
    st.sampled_from(["keep", "fill"]),
    st.sampled_from(["top", "random"]),
    st.sampled_from([None, True, False]),
)
def test_no_training_row_has_a_positive_a_copy_of_one_or_its_query_among_its_negatives(
    collection: tuple[pa.Table, pa.Table],
    wanted: int,
    shortage: Literal["keep", "fill"],
    pick: Literal["top", "random"],
    titles: bool | None,
) -> None:
    pairs, corpus = collection
    mined = mine(pairs, corpus, ["fake:", "bm25"], depth=5, titles=titles).kept
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
    forms = forms_of(corpus)
    positives = forbidden(pairs, forms)
    for row in mined.to_pylist() + decided.to_pylist():
        if row["label"] != 1 and row["origin"].startswith("mine:"):
            texts = {normalise(row["document"])} | forms[row["doc_id"]]
            assert not texts & positives[normalise(row["query"])]
    own: dict[str, set[str]] = {}
    sources: dict[str, set[str]] = {}
    for row in pairs.to_pylist():
        own.setdefault(row["query_id"], {normalise(row["query"])}).add(normalise(row["document"]))
        sources.setdefault(row["query_id"], set()).update({row["doc_id"], row["source_id"]} - {None})
    for row in decided.to_pylist():
        if row["label"] == 0:
            assert normalise(row["document"]) not in own[row["query_id"]]
            assert row["doc_id"] not in sources[row["query_id"]]
    written = export(decided, to="st-triplet", negatives=None, survey=survey(decided)).outcome.kept
    for row in written.to_pylist():
        assert normalise(row["negative"]) not in {normalise(row["positive"]), normalise(row["anchor"])}


def test_a_source_of_a_title_alone_masks_a_document_with_that_text() -> None:
    pairs = pa.table(
        {
            "query_id": ["q"],
            "query": ["river"],
            "doc_id": ["cut"],
            "document": ["  "],
            "label": [1],
            "origin": ["given"],
            "source_id": ["d0"],
        }
    )
    corpus = pa.table(
        {"id": ["d0", "d1", "d2"], "title": ["river stone", None, None], "text": ["", "river stone", "a river"]}
    )
    mined = mine(pairs, corpus, ["bm25"], depth=5).kept
    assert mined["doc_id"].to_pylist() == ["cut", "d2"]
