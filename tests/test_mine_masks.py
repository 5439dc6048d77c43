"""What is never a candidate: near copies of positives and of the query, siblings, positives known elsewhere."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.files.qrels import open_known
from pairmine.schema import as_pairs
from pairmine.stages.dedup import dedup
from pairmine.stages.dedup.kernel import read_texts
from pairmine.stages.mine.masks import REASONS, Known, Masks
from pairmine.stages.mine.near_copies import Asked, near_as_dedup, near_copies
from pairmine.stages.mine.texts import Documents, Queries, Texts
from pairmine.stages.mine.word_sets import Shingled
from pairmine.tokens import tokens

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no collections in {DATA}")

COPY, OWN, PRESENT, SIBLING, NEAR, NEAR_QUERY, SIMILAR = REASONS


def rows_of(collection: str, name: str = "corpus") -> list[dict[str, Any]]:
    with gzip.open(DATA / collection / f"{name}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def judged(collection: str) -> list[tuple[str, str, float]]:
    lines = (DATA / collection / "qrels.tsv").read_text().splitlines()[1:]
    return [(query, document, float(grade)) for query, document, grade in (line.split("\t") for line in lines)]


def texts_of(*texts: str) -> Texts:
    return Texts.of(pa.chunked_array([pa.array(texts, pa.large_string())]))


def corpus_of(*texts: str, **columns: list[Any]) -> pa.Table:
    ids = [f"d{number}" for number in range(len(texts))]
    return pa.table({"id": ids, "text": pa.array(texts, pa.large_string()), **columns})


def pairs_of(*rows: tuple[str, str, int | None], **columns: list[Any]) -> pa.Table:
    """Rows of a query's text, a document's id and a label."""
    table: dict[str, Any] = {
        "query_id": [f"q {query}" for query, _, _ in rows],
        "query": [query for query, _, _ in rows],
        "doc_id": [document for _, document, _ in rows],
        "label": pa.array([label for _, _, label in rows], pa.int8()),
        "origin": ["given"] * len(rows),
    }
    return as_pairs(pa.table(table | columns))


def reasons(
    pairs: pa.Table,
    corpus: pa.Table,
    *,
    near: float | None = 0.8,
    group: str | None = None,
    known: pa.Table | None = None,
    **options: Any,
) -> list[list[str | None]]:
    """Why each document of the corpus is masked for each query, None where it is not."""
    queries, documents = Queries.of(pairs), Documents.of(pairs, corpus, group=group, known=known)
    elsewhere = None if known is None else Known.of(known, queries, documents)
    settings = None if near is None else near_as_dedup(near)
    masks = Masks.of(pairs, queries, documents, near=settings, known=elsewhere, **options)
    places = np.tile(np.arange(documents.searchable), (len(queries), 1))
    found = masks.find(np.arange(len(queries)), places)
    counted = (found >= 0).sum(axis=1)
    if masks.similar is None:
        assert (masks.per_query >= counted).all()
    return [[None if reason < 0 else REASONS[reason] for reason in row] for row in found.tolist()]


# --- what a near copy is, worked out one pair at a time ---------------------------------------------


def shingles(text: str) -> set[tuple[str, ...]]:
    words = tokens(text)
    return {tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))} if words else set()


def is_near_copy(one: str, other: str, threshold: float) -> bool:
    left, right = shingles(one), shingles(other)
    if not left or not right or len(left & right) / len(left | right) < threshold:
        return False
    words, others = Counter(tokens(one)), Counter(tokens(other))
    longest = max(words.total(), others.total())
    if longest < 32:
        return words == others
    return longest >= 80 or not words - others or not others - words


def by_hand(texts: list[str], asked: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    """All pairs of a number in `asked` and another text that nearly copies it."""
    holders: dict[tuple[str, ...], list[int]] = {}
    for place, text in enumerate(texts):
        for shingle in shingles(text):
            holders.setdefault(shingle, []).append(place)
    found = set()
    for number, place in enumerate(asked.tolist()):
        own = shingles(texts[place])
        shared = Counter(other for shingle in own for other in holders[shingle])
        for other, count in shared.items():
            # Without this bound, every pair that shares a phrase would be read twice; it lets all near copies pass.
            if other != place and count >= threshold * len(own) and is_near_copy(texts[place], texts[other], threshold):
                found.add((number, other))
    return found


def found_pairs(texts: list[str], asked: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    documents = texts_of(*texts)
    found = near_copies([Asked(documents, asked, True)], documents, len(texts), near_as_dedup(threshold))
    return set(zip(found.of.tolist(), found.place.tolist(), strict=True))


@needs_data
@pytest.mark.parametrize(
    ("collection", "name"),
    [
        ("trec-dl-2021", "corpus"),
        ("license-texts", "corpus"),
        ("record-duplicates", "records"),
        pytest.param("news-near-duplicates", "corpus", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("threshold", [0.6, 0.8, 1.0])
def test_every_near_copy_is_found_and_nothing_else(collection: str, name: str, threshold: float) -> None:
    texts = sorted((row["text"] for row in rows_of(collection, name)), key=len)[:3000]
    texts = texts[:400] if collection == "license-texts" else texts
    asked = np.sort(np.random.default_rng(1).choice(len(texts), 120, replace=False))
    assert found_pairs(texts, asked, threshold) == by_hand(texts, asked, threshold)


@needs_data
def test_near_copies_of_queries_and_documents_can_be_sought_together() -> None:
    texts = [row["text"] for row in rows_of("trec-dl-2021")][:4000]
    documents = texts_of(*texts)
    copied = [17, 230, 999]
    queries = texts_of(*(texts[place].upper() + " !" for place in copied))
    asked = [Asked(documents, np.array([], np.int64), True), Asked(queries, np.arange(3))]
    found = near_copies(asked, documents, len(texts), near_as_dedup(0.8))
    for number, place in enumerate(copied):
        assert place in found.place[found.of == number]
        own = int(np.flatnonzero((found.of == number) & (found.place == place))[0])
        assert found.similarity[own] == 1


@needs_data
def test_mine_and_dedup_agree_on_what_a_near_copy_is() -> None:
    """Where dedup has removed near copies, mine finds none."""
    rows = rows_of("trec-dl-2021")[:3000]
    corpus = pa.table({"id": [row["_id"] for row in rows], "text": [row["text"] for row in rows]})
    settings: dict[str, Any] = {"by": "document", "near": True, "ngram": 3, "permutations": 128}
    kept = dedup(corpus, threshold=0.8, **settings).kept["text"].to_pylist()
    assert len(kept) < len(rows)
    # dedup promises 99.9 % of the pairs at its threshold, mine finds all: here they are the same.
    assert found_pairs(kept, np.arange(len(kept)), 0.8) == set()


def test_the_rules_are_those_that_dedup_has_by_default() -> None:
    from inspect import signature

    from pairmine.cli.dedup import dedup as command

    defaults = {name: parameter.default for name, parameter in signature(command).parameters.items()}
    near = near_as_dedup(0.8)
    assert (near.ngram, near.sentence_words, near.short_text_words, near.permutations, near.threshold) == (
        defaults["ngram"],
        defaults["sentence_words"],
        defaults["short_text_words"],
        defaults["permutations"],
        defaults["threshold"],
    )


def test_texts_in_every_script_have_the_shingles_that_dedup_gives_them() -> None:
    texts = [
        "",
        "  ",
        "a",
        "A b",
        "a b c d",
        "é",
        "e\u0301 x y z",
        "ﬁrst LAW of x",
        "\x1c\x85 x",
        "İi",
        "東京タワー ab",
    ]
    texts += [
        "हिन्दी में लिखा हुआ",
        "snake_case x9 9x",
        "don't",
        "a a a a a",
        "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    ]
    ours, theirs = Shingled(pa.array(texts, pa.large_string()), 3).sets(), read_texts(texts, 3)
    everyone = np.arange(len(texts))
    assert ours.shingles.sizes.tolist() == theirs.shingles.sizes.tolist()
    assert ours.words.sizes.tolist() == theirs.words.sizes.tolist()
    for one in everyone:
        assert ours.shingles.shared(one, everyone).tolist() == theirs.shingles.shared(one, everyone).tolist()
        assert ours.words.shared(one, everyone).tolist() == theirs.words.shared(one, everyone).tolist()


def test_a_slice_of_an_array_and_nulls_are_read_like_others() -> None:
    column = pa.array(["x y", None, "One two three.", "", "one TWO three"], pa.large_string())
    sets = Shingled(column.slice(1), 3).sets()
    assert sets.shingles.sizes.tolist() == [0, 1, 0, 1]
    assert sets.shingles.shared(1, np.array([3])).tolist() == [1]


def test_one_word_of_megabytes_does_no_harm() -> None:
    long = "x" * 3_000_000
    sets = Shingled(pa.array([long + " a b", "c " + long, long + "y a b"], pa.large_string()), 3).sets()
    assert sets.words.sizes.tolist() == [3, 2, 3]
    assert sets.words.shared(0, np.array([1, 2])).tolist() == [1, 2]


@pytest.mark.parametrize("threshold", [0.0, 1.5, -1, float("nan")])
def test_a_threshold_out_of_range_is_told(threshold: float) -> None:
    with pytest.raises(PairmineError, match="a Jaccard similarity above 0 and up to 1; --no-near"):
        near_as_dedup(threshold)


def test_nothing_asked_and_nothing_searched_find_nothing() -> None:
    some = texts_of("a b c")
    for asked, searchable in ((np.empty(0, np.int64), 1), (np.array([0]), 0)):
        assert len(near_copies([Asked(some, asked, True)], some, searchable, near_as_dedup(0.8)).of) == 0
    blank = texts_of("", "...", "!")
    assert len(near_copies([Asked(blank, np.arange(3), True)], blank, 3, near_as_dedup(0.1)).of) == 0


@pytest.mark.slow
def test_the_same_is_found_whatever_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    base = [" ".join(map(str, draw.integers(0, 400, 120))) for _ in range(20)]
    texts = [f"{one} {number}" for number, one in enumerate(base * 6)]
    asked = np.arange(0, len(texts), 3)
    whole = found_pairs(texts, asked, 0.8)
    assert whole == by_hand(texts, asked, 0.8)
    assert len(whole) > 100
    for name, value in (("_TEXTS", 7), ("_BYTES", 500), ("_INDEXED", 40), ("_COMPARED_WORDS", 300), ("_SAMPLED", 10)):
        monkeypatch.setattr(f"pairmine.stages.mine.near_copies.{name}", value)
        assert found_pairs(texts, asked, 0.8) == whole


# --- what is masked, and why ------------------------------------------------------------------------

STORY = (
    "The old lighthouse keeper walked down to the harbour every morning, counted the boats that had come in over "
    "night, wrote their names into a blue book, and went home again before the baker opened his shop."
)
OTHER = "A glass of water stands on the table."


def filled(count: int, *, words: int = 100) -> list[str]:
    """One template of so many words, two of which are other ones in each text, so that all are near copies."""
    template = [f"w{number}" for number in range(words - 2)]
    return [" ".join([*template[:50], f"a{number}", f"b{number % 7}", *template[50:]]) for number in range(count)]


def test_texts_with_a_crowd_of_near_copies_are_judged_as_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*filled(40), *filled(20, words=84), "quite another text", " ".join(filled(1)[0].split()[:90])]
    corpus = corpus_of(*texts)
    rows = [("q", "d0", 1), (texts[5], "d1", 1), (texts[5], "d60", 1), (texts[45], "d60", 1), ("r", "d61", 1)]
    pairs = pairs_of(*rows)
    queries, documents = Queries.of(pairs), Documents.of(pairs, corpus)
    numbers, places = (grid.ravel() for grid in np.indices((len(queries), documents.searchable)))

    def told(crowd: tuple[int, int]) -> tuple[list[Any], pa.Table]:
        monkeypatch.setattr("pairmine.stages.mine.near_copies._CROWD", crowd)
        masks = Masks.of(pairs, queries, documents, near=near_as_dedup(0.8))
        assert (masks.near.crowds is not None) == (crowd == (3, 3))
        why = masks.find(numbers, places[:, None])[:, 0]
        lists = np.tile(np.arange(documents.searchable), (len(queries), 1))
        first = masks.find(np.arange(len(queries)), lists, 2)
        for row, reasons_of in enumerate(first):
            known = np.cumsum(reasons_of < 0) <= 2
            assert (reasons_of[known] == why[numbers == row][known]).all()
        masked = np.flatnonzero(why >= 0)
        return why.tolist(), masks.table(queries, documents, numbers[masked], places[masked], why[masked])

    few, listed = told((3, 3)), told((10**9, 10**9))
    assert listed[0].count(REASONS.index(NEAR)) > 100
    assert listed[0].count(REASONS.index(NEAR_QUERY)) > 10
    assert few[0] == listed[0]
    assert few[1].equals(listed[1])


def test_cosines_are_asked_for_as_far_down_as_candidates_are_wanted() -> None:
    corpus = corpus_of(*(f"text {number}" for number in range(500)))
    asked: list[int] = []

    def similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        asked.extend(other.tolist())
        return np.where(other % 2, 0.99, 0.1)  # every second one is like the positive

    pairs = pairs_of(("q", "d0", 1))
    masks = Masks.of(pairs, Queries.of(pairs), Documents.of(pairs, corpus), near_cosine=0.9, similarity=similarity)
    found = masks.find(np.array([0]), np.arange(500)[None], 10)[0]
    sure = [place for place in range(500) if place and place % 2 == 0][:10]
    assert (found[sure] == -1).all()
    assert (found[1 : sure[-1] : 2] == REASONS.index(SIMILAR)).all()
    assert len(asked) == len(set(asked)) < 50
    assert (masks.find(np.array([0]), np.arange(500)[None])[0, 1::2] == REASONS.index(SIMILAR)).all()


def test_near_copies_of_one_template_take_no_memory_of_their_square() -> None:
    texts = texts_of(*filled(1500, words=40))
    found = near_copies([Asked(texts, np.arange(1500), True)], texts, 1500, near_as_dedup(0.3))
    assert len(found.of) == 0
    assert found.crowded.tolist() == list(range(1500))


def test_a_near_copy_of_a_positive_is_masked_under_its_own_reason() -> None:
    corpus = corpus_of(STORY, STORY.replace(".", "!").upper(), STORY + " Nobody knew why.", OTHER)
    found = reasons(pairs_of(("who counts boats", "d0", 1)), corpus)
    # "!" for "." is a near copy, not the same text; three more words are one as well, since nothing was replaced.
    assert found == [[COPY, NEAR, NEAR, None]]
    assert reasons(pairs_of(("who counts boats", "d0", 1)), corpus, near=None) == [[COPY, None, None, None]]


def test_a_short_text_with_one_word_replaced_is_another_statement() -> None:
    corpus = corpus_of(STORY, STORY.replace("blue", "red"), STORY.replace("blue", "blue or green"))
    assert reasons(pairs_of(("who counts boats", "d0", 1)), corpus, near=0.5) == [[COPY, None, NEAR]]


def test_near_copies_of_negatives_and_of_other_queries_positives_stay() -> None:
    corpus = corpus_of(STORY, STORY + " Nobody knew why.", OTHER)
    pairs = pairs_of(("who counts boats", "d0", 0), ("what stands there", "d2", 1))
    assert reasons(pairs, corpus) == [[PRESENT, None, None], [None, None, COPY]]


def test_a_positive_that_only_the_pair_set_has_masks_its_near_copies() -> None:
    corpus = corpus_of(OTHER, STORY + " Nobody knew why.")
    pairs = pairs_of(("who counts boats", "elsewhere", 1), document=[STORY])
    assert reasons(pairs, corpus) == [[None, NEAR]]


def test_the_near_copies_of_the_source_of_a_positive_are_masked() -> None:
    corpus = corpus_of(STORY, STORY + " Nobody knew why.", OTHER)
    pairs = pairs_of(("who counts boats", "cut", 1), document=["wrote their names"], source_id=["d0"])
    assert reasons(pairs, corpus) == [[COPY, NEAR, None]]


def test_the_query_itself_with_another_comma_is_masked() -> None:
    query = "How do I get strikethrough text on the page, please?"
    corpus = corpus_of(query, "how do i get strikethrough text on the page please", OTHER, "Use two tildes.")
    assert reasons(pairs_of((query, "d3", 1)), corpus) == [[OWN, NEAR_QUERY, None, COPY]]


def test_queries_of_one_text_share_the_near_copies_of_their_positives() -> None:
    corpus = corpus_of(STORY, STORY + " Nobody knew why.", OTHER)
    pairs = pairs_of(("boats", "d0", 1), ("Boats", "d2", 0))
    assert reasons(pairs, corpus) == [[COPY, NEAR, None], [COPY, NEAR, PRESENT]]


def test_the_group_of_a_positive_is_masked_and_no_group_is_none() -> None:
    corpus = corpus_of("a", "b", "c", "d", "e", page=["one", "one", "two", None, None])
    pairs = pairs_of(("x", "d0", 1), ("y", "d3", 1), ("z", "d2", 0))
    assert reasons(pairs, corpus, group="page") == [
        [COPY, SIBLING, None, None, None],
        [None, None, None, COPY, None],
        [None, None, PRESENT, None, None],
    ]


def test_a_positive_known_by_its_text_or_its_source_alone_has_siblings_too() -> None:
    corpus = corpus_of("red apples", "green apples", "red pears", "an old house", page=["p1", "p1", "p2", "p1"])
    by_text = pairs_of(("q", "of another numbering", 1), document=["red apples"])
    assert reasons(by_text, corpus, group="page") == [[COPY, SIBLING, None, SIBLING]]
    by_source = pairs_of(("q", "cut", 1), document=["red"], source_id=["d0"])
    assert reasons(by_source, corpus, group="page") == [[COPY, SIBLING, None, SIBLING]]
    negative = pairs_of(("q", "of another numbering", 0), document=["red apples"])
    assert reasons(negative, corpus, group="page") == [[PRESENT, None, None, None]]


def test_a_pair_set_can_name_the_group_of_a_positive_that_the_corpus_does_not_have() -> None:
    corpus = corpus_of("a", "b", "c", page=["one", "one", "two"])
    pairs = pairs_of(("x", "elsewhere", 1), document=["somewhere else"], page=["one"])
    assert reasons(pairs, corpus, group="page") == [[SIBLING, SIBLING, None]]


def test_a_pair_set_alone_can_name_the_groups() -> None:
    corpus = corpus_of("a", "b", "c", "d")
    pairs = pairs_of(
        ("x", "d0", 1), ("x", "d3", None), ("y", "d1", 1), ("y", "d2", 1), intent=["one", None, "one", "two"]
    )
    assert reasons(pairs, corpus, group="intent") == [[COPY, SIBLING, None, PRESENT], [SIBLING, COPY, COPY, None]]


def test_a_group_column_that_nobody_has_is_told() -> None:
    pairs = pairs_of(("x", "d0", 1), document=["a"])
    with pytest.raises(PairmineError, match=r"--group-column page: no such column \(found: .*document"):
        Documents.of(pairs, None, group="page")


def test_the_first_reason_counts_where_several_hold() -> None:
    corpus = corpus_of(STORY, STORY + " Nobody knew why.", STORY.upper() + "!", page=["one", "one", "two"])
    pairs = pairs_of(("x", "d0", 1), ("x", "d1", 0))
    # d1 is there already, of the same page and a near copy.
    assert reasons(pairs, corpus, group="page") == [[COPY, PRESENT, NEAR]]
    assert reasons(pairs.slice(0, 1), corpus, group="page") == [[COPY, SIBLING, NEAR]]


def test_documents_too_similar_to_a_positive_are_masked_by_their_cosine() -> None:
    angles = np.radians([0, 10, 25, 90, 95])
    corpus = corpus_of("a", "b", "c", "d", "e")
    pairs = pairs_of(("x", "d0", 1), ("x", "d3", 1), ("y", "d4", None))
    cosine = {"near_cosine": 0.95, "similarity": lambda one, other: np.cos(angles[one] - angles[other])}
    # cos 10 and cos 5 degrees are above 0.95, cos 25 is 0.906.
    assert reasons(pairs, corpus, **cosine) == [[COPY, SIMILAR, None, COPY, SIMILAR], [None, None, None, None, PRESENT]]


def test_cosines_are_asked_for_in_pieces_and_only_for_what_is_not_masked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairmine.stages.mine.masks._PAIRS_AT_ONCE", 3)
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((40, 2))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    asked: list[tuple[int, int]] = []

    def similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        asked.extend(zip(one.tolist(), other.tolist(), strict=True))
        return np.einsum("ij,ij->i", vectors[one], vectors[other])

    corpus = corpus_of(*(f"text {number}" for number in range(40)))
    pairs = pairs_of(
        *((f"q{query}", f"d{place}", 1) for query in range(4) for place in range(3 * query, 3 * query + 3))
    )
    found = reasons(pairs, corpus, near_cosine=0.9, similarity=similarity)
    for query, row in enumerate(found):
        positives = range(3 * query, 3 * query + 3)
        best = (vectors @ vectors[positives].T).max(axis=1)
        expected = [COPY if place in positives else SIMILAR if best[place] >= 0.9 else None for place in range(40)]
        assert row == expected
    assert len(asked) == len(set(asked)) == 4 * 3 * 37


@pytest.mark.parametrize("cosine", [1.2, -2, float("nan")])
def test_a_cosine_out_of_range_is_told(cosine: float) -> None:
    with pytest.raises(PairmineError, match=r"--near-cosine .*: a cosine from -1 to 1"):
        reasons(pairs_of(("x", "d0", 1)), corpus_of("a"), near_cosine=cosine)


def test_no_queries_and_an_empty_corpus_mask_nothing() -> None:
    pairs = pairs_of(("x", "d0", 1), document=["a"])
    assert reasons(pairs.slice(0, 0), corpus_of("a", "b")) == []
    assert reasons(pairs, corpus_of("", " ")) == [[]]


def test_a_table_of_what_is_masked_says_why_and_what_it_is_like() -> None:
    corpus = corpus_of(STORY, STORY + " Nobody knew why.", OTHER, "Who counts, boats?", "x")
    pairs = pairs_of(("who counts boats", "d0", 1))
    queries, documents = Queries.of(pairs), Documents.of(pairs, corpus)
    masks = Masks.of(
        pairs,
        queries,
        documents,
        near=near_as_dedup(0.8),
        near_cosine=0.7,
        similarity=lambda one, other: np.where(other == 2, 0.75, 0.1),
    )
    found = masks.find(np.array([0]), np.arange(5)[None])[0]
    masked = np.flatnonzero(found >= 0)
    table = masks.table(
        queries, documents, np.zeros(len(masked), np.int64), masked, found[masked], rank=pa.array(masked + 1)
    )
    rows = {row["doc_id"]: row for row in table.to_pylist()}
    assert {name: row["reason"] for name, row in rows.items()} == {
        "d0": COPY,
        "d1": NEAR,
        "d2": SIMILAR,
        "d3": NEAR_QUERY,
    }
    assert rows["d1"]["similar_to"] == rows["d2"]["similar_to"] == "d0"
    words = len(tokens(STORY))
    assert rows["d1"]["similarity"] == pytest.approx((words - 2) / (words - 2 + 3))
    assert rows["d2"]["similarity"] == pytest.approx(0.75)
    assert (rows["d3"]["similarity"], rows["d3"]["similar_to"]) == (1.0, None)
    assert (rows["d0"]["similarity"], rows["d0"]["similar_to"]) == (None, None)
    assert (
        rows["d1"] | {"query_id": "q who counts boats", "rank": 2, "document": STORY + " Nobody knew why."}
        == rows["d1"]
    )


# --- real collections -------------------------------------------------------------------------------


def collection(name: str, documents: int, grade: float) -> tuple[pa.Table, pa.Table]:
    rows = rows_of(name)[:documents]
    corpus = pa.table({"id": [row["_id"] for row in rows], "text": [row["text"] for row in rows]})
    known = set(corpus["id"].to_pylist())
    asked = {row["_id"]: row["text"] for row in rows_of(name, "queries")}
    judgments = sorted(
        (query, document) for query, document, score in judged(name) if score >= grade and document in known
    )
    table = {
        "query_id": [query for query, _ in judgments],
        "query": [asked[query] for query, _ in judgments],
        "doc_id": [document for _, document in judgments],
        "label": pa.array([1] * len(judgments), pa.int8()),
        "origin": ["given"] * len(judgments),
    }
    return as_pairs(pa.table(table)), corpus


def licences() -> tuple[pa.Table, pa.Table]:
    """Every third text is the positive of a query of its own, and of one for it and the next third text."""
    rows = sorted(rows_of("license-texts"), key=lambda row: len(row["text"]))[:300]
    corpus = corpus_of(*(row["text"] for row in rows))
    numbers = range(0, len(rows) - 3, 3)
    own = [(f"licence {number}", f"d{number}", 1) for number in numbers]
    two = [(f"two {number}", f"d{place}", 1) for number in numbers for place in (number, number + 3)]
    return pairs_of(*own, *two), corpus


@needs_data
@pytest.mark.parametrize("collected", ["trec-dl-2021", "license-texts"])
@pytest.mark.slow
def test_no_candidate_nearly_copies_a_positive_and_nobody_else_is_lost(collected: str) -> None:
    pairs, corpus = collection(collected, 10_553, 2) if collected == "trec-dl-2021" else licences()
    queries, documents = Queries.of(pairs), Documents.of(pairs, corpus)
    masks = Masks.of(pairs, queries, documents, near=near_as_dedup(0.8))
    exact = Masks.of(pairs, queries, documents)
    places = np.tile(np.arange(documents.searchable), (len(queries), 1))
    found = masks.find(np.arange(len(queries)), places)
    before = exact.find(np.arange(len(queries)), places)
    texts = list(documents.texts[: documents.searchable])
    positives: dict[int, set[int]] = {}
    for query, place in zip(queries.of_rows(0, len(queries)).tolist(), documents.of_pair.tolist(), strict=True):
        positives.setdefault(query, set()).add(place)
    copies: dict[int, set[int]] = {}
    asked = np.array(sorted({place for own in positives.values() for place in own}))
    for number, place in by_hand(texts, asked, 0.8):
        copies.setdefault(int(asked[number]), set()).add(place)
    more = 0
    for query, own in positives.items():
        near = {place for positive in own for place in copies.get(positive, set())}
        expected = np.where(before[query] >= 0, before[query], -1)
        for place in near:
            expected[place] = expected[place] if expected[place] >= 0 else REASONS.index(NEAR)
        assert found[query].tolist() == expected.tolist()
        more += int(((found[query] >= 0) & (before[query] < 0)).sum())
    assert more > 0


@needs_data
def test_the_answers_of_a_thread_are_siblings() -> None:
    """In stackfaq every answer of a thread is relevant to each of its wordings: with one known, no other is offered."""
    rows = rows_of("stackfaq")
    corpus = pa.table(
        {name: [row[key] for row in rows] for name, key in (("id", "_id"), ("text", "text"), ("thread", "thread"))}
    )
    questions = rows_of("stackfaq", "queries")
    first = {row["thread"]: row["_id"] for row in reversed(rows)}
    pairs = as_pairs(
        pa.table(
            {
                "query_id": [row["_id"] for row in questions],
                "query": [row["text"] for row in questions],
                "doc_id": [first[row["thread"]] for row in questions],
                "label": pa.array([1] * len(questions), pa.int8()),
                "origin": ["given"] * len(questions),
            }
        )
    )
    queries, documents = Queries.of(pairs), Documents.of(pairs, corpus, group="thread")
    masks = Masks.of(pairs, queries, documents)
    places = np.tile(np.arange(documents.searchable), (len(queries), 1))
    found = masks.find(np.arange(len(queries)), places)
    thread_of = {row["_id"]: row["thread"] for row in rows}
    threads = np.array([thread_of[one] for one in documents.ids.to_pylist()])
    own = np.array([row["thread"] for row in questions])
    open_places = found < 0
    assert not (open_places & (threads[None] == own[:, None])).any()
    # Two wordings that two threads share apart, nobody else is lost.
    lost = ~open_places & (threads[None] != own[:, None])
    assert lost.sum() < 10
    assert (found == REASONS.index(SIBLING)).sum() > 5000


# --- positives known elsewhere ----------------------------------------------------------------------


def known_in(path: Path) -> list[tuple[str, str]]:
    table = open_known(str(path), lambda line: None).read()
    return list(zip(table["query_id"].to_pylist(), table["doc_id"].to_pylist(), strict=True))


def test_trec_beir_and_pair_files_name_known_positives(tmp_path: Path) -> None:
    trec, tabbed, beir, pairs = (tmp_path / name for name in ("qrels.dev", "qrels.tsv", "test.tsv", "pairs.jsonl"))
    trec.write_text("q1 0 d1 2\nq1 0 d2 0\n\nq2 Q0 d3 1\nq2 0 d4 -1\n")
    tabbed.write_text("q1\t0\td1\t1\nq2\t0\td3\t1\n")
    beir.write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td3\t1\n")
    rows = [("q1", "d1", 1), ("q1", "d2", 0), ("q1", "d5", None), ("q2", "d3", 1)]
    pairs.write_text("".join(json.dumps({"query_id": q, "doc_id": d, "label": n}) + "\n" for q, d, n in rows))
    for path in (trec, tabbed, beir, pairs):
        assert known_in(path) == [("q1", "d1"), ("q2", "d3")]


def test_a_list_without_grades_holds_positives(tmp_path: Path) -> None:
    path = tmp_path / "known.csv"
    path.write_text("qid,docid\n1,7\n2,8\n")
    assert known_in(path) == [("1", "7"), ("2", "8")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.qrels", "q1 0 d1 1\nq1 0 d2\n", r'a\.qrels:2: "q1 0 d2" is no judgment'),
        ("a.qrels", "q1 0 d1 1\nq1 0 d2 high\n", r"a\.qrels:2: .* write query, 0, document and grade"),
        ("a.tsv", "query-id\ttext\nq1\tx\n", r'no "doc_id"'),
        ("a.jsonl", '{"query_id": "1", "doc_id": "2", "label": "yes"}\n', "'yes', which is no number"),
    ],
)
def test_a_bad_file_of_known_positives_is_told(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(PairmineError, match=message):
        known_in(tmp_path / name)


def test_a_beir_folder_is_asked_for_one_of_its_judgments(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "text": "x"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "x"}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    with pytest.raises(PairmineError, match=r"name the judgments that are meant \(.*dev\.tsv\)"):
        known_in(tmp_path)


def test_positives_known_elsewhere_their_copies_and_near_copies_are_masked() -> None:
    corpus = corpus_of("a", STORY, STORY + " Nobody knew why.", OTHER, page=["one", "two", "three", "two"])
    pairs = pairs_of(("x", "d0", 1), ("y", "d3", None))
    known = pa.table({"query_id": ["q x", "q x", "nobody's"], "doc_id": ["d1", "gone", "d3"]})
    assert reasons(pairs, corpus, known=known, group="page") == [
        [COPY, COPY, NEAR, SIBLING],
        [None, None, None, PRESENT],
    ]


def test_a_copy_that_is_searched_under_another_id_is_known_too() -> None:
    corpus = corpus_of("b", "a", "A")
    known = pa.table({"query_id": ["q x"], "doc_id": ["d2"]})
    assert reasons(pairs_of(("x", "d0", 1)), corpus, known=known) == [[COPY, COPY]]


def test_positives_of_another_corpus_are_told() -> None:
    known = pa.table({"query_id": ["q q", "q r"], "doc_id": ["elsewhere", "there"]})
    with pytest.raises(PairmineError, match=r'none of its 2 positives is a document that is searched.*"elsewhere"'):
        reasons(pairs_of(("q", "d0", 1)), corpus_of("one", "two"), known=known)


def test_positives_of_other_queries_alone_are_told() -> None:
    known = pa.table({"query_id": ["1"], "doc_id": ["d0"]})
    with pytest.raises(
        PairmineError, match=r'none of its 1 positives is of a query of the pair set, whose first is "q x"'
    ):
        reasons(pairs_of(("x", "d0", 1)), corpus_of("a"), known=known)


# --- the command ------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    corpus = [
        ("d0", STORY, "one"),
        ("d1", STORY + " Nobody knew why.", None),
        ("d2", OTHER, "one"),
        ("d3", "boats", None),
    ]
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"id": name, "text": text, "page": page}) + "\n" for name, text, page in corpus)
    )
    pair = {"query_id": "q", "query": "who counts boats at the table", "doc_id": "d0", "label": 1}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    return tmp_path


def mined(files: Path, *options: object) -> list[str]:
    arguments = ["mine", files / "pairs.jsonl", "--corpus", files / "corpus.jsonl", "--retriever", "bm25", "-q"]
    app([*map(str, [*arguments, "-o", files / "out.jsonl", *options])], standalone_mode=False)
    rows = map(json.loads, (files / "out.jsonl").read_text().splitlines())
    return sorted(row["doc_id"] for row in rows if row["origin"].startswith("mine:"))


def test_the_command_masks_and_tells_of_each_masked_document(files: Path) -> None:
    assert mined(files, "--rejects", files / "masked.jsonl") == ["d2", "d3"]
    masked = {row["doc_id"]: row for row in map(json.loads, (files / "masked.jsonl").read_text().splitlines())}
    assert {name: row["reason"] for name, row in masked.items()} == {"d0": COPY, "d1": NEAR}
    assert masked["d1"]["similar_to"] == "d0"
    assert sorted(row["rank"] for row in masked.values())[0] >= 1
    assert mined(files, "--no-near") == ["d1", "d2", "d3"]
    assert mined(files, "--near", 0.99) == ["d1", "d2", "d3"]
    assert mined(files, "--group-column", "page") == ["d3"]
    (files / "qrels").write_text("q 0 d3 1\nq 0 d1 0\n")
    assert mined(files, "--known", files / "qrels") == ["d2"]


def test_a_file_of_masked_documents_is_there_when_there_are_none(files: Path) -> None:
    pair = {"query_id": "q", "query": "a glass", "doc_id": "elsewhere", "document": "Somewhere else.", "label": 1}
    (files / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    assert "d2" in mined(files, "--rejects", files / "masked.parquet")
    table = pq.read_table(files / "masked.parquet")
    assert (table.num_rows, {"query_id", "doc_id", "rank", "reason", "similar_to"} - set(table.column_names)) == (
        0,
        set(),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--near", "0.7", "--no-near"], "--near has no effect with --no-near"),
        (["--near", "0"], "--near 0: a Jaccard similarity above 0"),
        (["--near-cosine", "0.9"], r"--near-cosine 0.9 wants a retriever with vectors, as st:MODEL"),
        (["--group-column", "thread"], r"--group-column thread: no such column \(found: id, text, page"),
        (["--known", "nowhere.tsv"], "no such file"),
        (["--known", "-"], "--known -: wants a file"),
    ],
)
def test_options_that_cannot_take_effect_are_told(files: Path, options: list[str], message: str) -> None:
    with pytest.raises(PairmineError, match=message):
        mined(files, *options)
    assert not (files / "out.jsonl").exists()
