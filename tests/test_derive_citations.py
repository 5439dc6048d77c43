from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive

SHARED = Path(__file__).parents[2] / "shared"
CORPUS = pa.table(
    {
        "id": ["a", "b", "c", "d", "e", "copy"],
        "title": ["Tides", None, None, "Only a title", None, None],
        "text": ["of the sea", "surges", "梅雨", "", " ", "SURGES"],
        "field": ["sea", "sea", "rain", None, "sea", "sea"],
    }
)


def edges(*pairs: tuple[Any, Any]) -> pa.Table:
    citing, cited = zip(*pairs, strict=True)
    return pa.table({"citing": list(citing), "cited": list(cited), "year": [1970] * len(pairs)})


def co_cited(rows: pa.Table, **options: Any) -> Outcome:
    return derive("co-citation", rows, resources={"corpus": CORPUS}, **options)


def counted(outcome: Outcome) -> list[tuple[str, str, int]]:
    return [(row["query_id"], row["doc_id"], row["count"]) for row in outcome.kept.to_pylist()]


def reasons(outcome: Outcome) -> list[str]:
    return outcome.rejected["reason"].to_pylist()


def test_documents_that_one_paper_cites_are_a_pair_with_their_texts() -> None:
    outcome = co_cited(edges(("x", "c"), ("x", "a"), ("y", "a")))
    (row,) = outcome.kept.to_pylist()
    assert (row["query"], row["document"], row["count"], row["label"], row["year"]) == (
        "Tides of the sea",
        "梅雨",
        1,
        1,
        1970,
    )
    assert reasons(outcome) == ["alone in its list"]


def test_pairs_count_how_many_lists_hold_both() -> None:
    rows = edges(("x", ["a", "b", "c"]), ("y", ["a", "b"]), ("z", ["b", "d"]))
    assert counted(co_cited(rows)) == [("a", "b", 2), ("a", "c", 1), ("b", "c", 1), ("b", "d", 1)]
    often = co_cited(rows, min_count=2)
    assert counted(often) == [("a", "b", 2)]
    best = co_cited(rows, per_document=1)
    assert counted(best) == [("a", "b", 2), ("b", "c", 1)]


def test_an_edge_may_count_both_ways() -> None:
    rows = edges(("a", "b"), ("b", "c"))
    assert co_cited(rows).kept.num_rows == 0
    assert counted(co_cited(rows, undirected=True)) == [("a", "c", 1)]


def test_long_lists_are_left_out_and_said() -> None:
    outcome = co_cited(edges(("x", ["a", "b", "c"]), ("y", ["a", "b"])), max_list=2)
    assert counted(outcome) == [("a", "b", 1)]
    assert outcome.notes == {"lists of more than 2, left out": 1}
    assert reasons(outcome) == ["in a list of more than 2"]


def test_rows_without_a_text_or_an_id_say_why() -> None:
    outcome = co_cited(edges(("x", "nowhere"), ("x", "e"), (None, "a"), ("a", "a"), ("x", "b"), ("x", "copy")))
    assert outcome.kept.num_rows == 0
    assert reasons(outcome) == [
        "not in --corpus",
        "not in --corpus",
        "no id",
        "an id that names itself",
        "too seldom together",
        "too seldom together",
    ]


def test_the_domain_of_a_pair_is_the_one_that_both_documents_have() -> None:
    outcome = co_cited(edges(("x", ["a", "b", "c", "d"])), domain_field="field")
    domains = {(row["query_id"], row["doc_id"]): row["domain"] for row in outcome.kept.to_pylist()}
    assert domains["a", "b"] == "sea"
    assert domains["a", "c"] is domains["c", "d"] is None
    with pytest.raises(PairmineError, match=r"--domain-field topic: the corpus has no such column \(found: id, title"):
        co_cited(edges(("x", "a")), domain_field="topic")


def test_numbers_as_ids_find_their_documents() -> None:
    corpus = pa.table({"id": ["1", "2"], "text": ["one", "two"]})
    outcome = derive("co-citation", edges((7, 1.0), (7, 2.0)), resources={"corpus": corpus})
    assert counted(outcome) == [("1", "2", 1)]


def test_without_a_corpus_the_flag_is_named() -> None:
    with pytest.raises(PairmineError, match="recipe co-citation needs --corpus: the documents that the ids stand for"):
        derive("co-citation", edges(("x", "a")))


def test_a_citing_document_is_the_query_of_what_it_cites() -> None:
    rows = edges(
        ("a", ["b"]), ("c", ["a"]), ("a", ["c", "b"]), ("a", ["b"]), ("b", ["copy"]), ("a", ["e"]), ("b", ["b"])
    )
    outcome = derive("citations", rows, resources={"corpus": CORPUS})
    assert [(row["query"], row["document"]) for row in outcome.kept.to_pylist()] == [
        ("Tides of the sea", "surges"),
        ("Tides of the sea", "梅雨"),
        ("梅雨", "Tides of the sea"),
    ]
    assert reasons(outcome) == [
        "duplicate",
        "both documents have the same text",
        "not in --corpus",
        "an id that names itself",
    ]


def test_what_only_the_cited_ones_cite_is_a_hard_negative() -> None:
    rows = edges(("a", "b"), ("b", "c"), ("b", "d"), ("a", "d"), ("c", "copy"))
    outcome = derive("citations", rows, hard_negatives=5, resources={"corpus": CORPUS})
    assert [(row["query_id"], row["doc_id"], row["label"]) for row in outcome.kept.to_pylist()] == [
        ("a", "b", 1),
        ("a", "d", 1),
        ("a", "c", 0),
        ("b", "c", 1),
        ("b", "d", 1),
        ("c", "copy", 1),
    ]


@pytest.mark.skipif(not (SHARED / "data/cacm").exists(), reason="needs the real corpora in ../shared/data")
def test_cacm_papers_that_share_a_neighbour_are_pairs() -> None:
    folder = SHARED / "data/cacm"
    with gzip.open(folder / "corpus.jsonl.gz", "rt") as lines:
        papers = [json.loads(line) for line in lines]
    corpus = pa.table(
        {"id": [p["_id"] for p in papers], "title": [p["title"] for p in papers], "text": [p["text"] for p in papers]}
    )
    links = [line.split("\t") for line in (folder / "citation_pairs.tsv").read_text().splitlines()[1:]]
    rows = pa.table({"citing": [a for a, _ in links], "cited": [b for _, b in links]})
    outcome = derive("co-citation", rows, undirected=True, min_count=2, resources={"corpus": corpus})
    near: dict[str, set[str]] = {}
    for one, other in links:
        near.setdefault(one, set()).add(other)
        near.setdefault(other, set()).add(one)
    assert outcome.kept.num_rows > 1500
    assert all(len(near[query] & near[document]) == count >= 2 for query, document, count in counted(outcome))
