"""Dedup finds what a full comparison finds and no more, on small random tables and on real texts."""

from __future__ import annotations

import gzip
import json
import unicodedata
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.outcome import Outcome
from pairmine.schema import as_pairs
from pairmine.stages.dedup import dedup
from pairmine.stages.dedup.kernel import read_texts
from pairmine.stages.dedup.kernel.minhash import banding, collision_probability
from pairmine.stages.dedup.matches import Near, find_matches
from pairmine.tokens import tokens

SHARED = Path(__file__).parents[2] / "shared" / "data"

LONG = [f"word{i}" for i in range(100)]


def run(table: pa.Table, by: str = "document", **options: Any) -> Outcome:
    given_options = {"near": True, "threshold": 0.8, "ngram": 3, "permutations": 128, **options}
    return dedup(table, by=by, **given_options)


def corpus(*texts: str | None, **columns: list[Any]) -> pa.Table:
    ids = [f"d{i}" for i in range(len(texts))]
    return pa.table({"id": pa.array(ids, pa.string()), "text": pa.array(texts, pa.large_string()), **columns})


def pair_set(*rows: tuple[str, str, str, str, int | None]) -> pa.Table:
    """Rows of (query_id, query, doc_id, document, label)."""
    names = ("query_id", "query", "doc_id", "document", "label")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    table = pa.table({name: pa.array(list(values)) for name, values in columns.items()})
    return as_pairs(table.append_column("origin", pa.array(["given"] * len(rows), pa.string())))


def ids(table: pa.Table, name: str = "id") -> list[str]:
    return list(table[name].to_pylist())


def long_text(**changes: str) -> str:
    """A hundred words, with some replaced: `long_text(w3="other")`."""
    words = list(LONG)
    for place, word in changes.items():
        words[int(place[1:])] = word
    return " ".join(words)


def shared_corpus(name: str) -> pa.Table:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the shared data set {name} is not on this machine")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return pa.table({"id": [row["_id"] for row in rows], "text": [row["text"] for row in rows]})


# Words


def test_scripts_without_blanks_are_cut_into_code_points() -> None:
    assert tokens("東京タワー 2nd") == ["東", "京", "タ", "ワ", "ー", "2nd"]
    assert tokens("ภาษาไทย") == list("ภาษาไทย")
    assert tokens("ລາວ ខ្មែរ မြန်မာ") == [*"ລາວ", *"ខ្មែរ", *"မြန်မာ"]
    assert tokens("一。二、「三」๏ ฿") == ["一", "二", "三"]
    assert tokens("\U00020000\U0002a700") == ["\U00020000", "\U0002a700"]


def test_words_keep_their_marks() -> None:
    assert tokens("हिन्दी की किताब") == ["हिन्दी", "की", "किताब"]
    assert tokens("مُحَمَّد naïve İstanbul") == [
        unicodedata.normalize("NFKC", word) for word in ("مُحَمَّد", "naïve", "i̇stanbul")
    ]
    assert tokens("snake_case don't Straße ＡＢＣ½") == ["snake_case", "don", "t", "strasse", "abc1", "2"]


def test_a_chinese_near_copy_is_found() -> None:
    text = "".join(chr(0x4E00 + 7 * i) for i in range(120))
    outcome = run(corpus(text, text[:60] + "新" + text[61:], text[::-1]))
    assert ids(outcome.kept) == ["d0", "d2"]


def test_a_bag_tells_how_often_a_word_occurs() -> None:
    texts = read_texts(["a a b", "a b", "a b b", "", "b a a"], 2)
    assert texts.words.sizes.tolist() == [3, 2, 3, 0, 3]
    assert texts.nested(0, np.array([1, 2, 4])).tolist() == [True, False, True]
    assert texts.shingles.sizes.tolist() == [2, 1, 2, 0, 2]


# MinHash


def test_banding_finds_999_of_1000_pairs_at_the_threshold_with_the_longest_bands() -> None:
    assert banding(0.8, 128) == (25, 5)
    for threshold in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0):
        bands, rows = banding(threshold, 128)
        assert bands * rows <= 128
        assert collision_probability(threshold, bands, rows) >= 0.999
        assert rows == 128 or collision_probability(threshold, 128 // (rows + 1), rows + 1) < 0.999


def test_the_collision_probability_is_that_of_the_textbook() -> None:
    assert collision_probability(0.8, 20, 5) == pytest.approx(0.9996, abs=5e-5)
    assert collision_probability(0.0, 20, 5) == 0.0
    assert collision_probability(1.0, 1, 128) == 1.0


# Against a full comparison


def shingled(words: list[str], ngram: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + ngram]) for i in range(max(1, len(words) - ngram + 1))} if words else set()


def jaccard(left: set[Any], right: set[Any]) -> float:
    return len(left & right) / len(left | right) if left and right else 0.0


def connected(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    """For each item, the first one of its connected component."""
    group = list(range(count))
    for left, right in pairs:
        old, new = max(group[left], group[right]), min(group[left], group[right])
        group = [new if label == old else label for label in group]
    return group


def copies_by_brute_force(
    texts: list[str], ngram: int, threshold: float, sentence: int = 0, short: int = 0
) -> list[int]:
    words = [text.lower().split() for text in texts]

    def are_copies(i: int, j: int) -> bool:
        one, other = Counter(words[i]), Counter(words[j])
        longer = max(len(words[i]), len(words[j]))
        if longer < sentence and one != other:
            return False
        if longer < short and not (one <= other or other <= one):
            return False
        return jaccard(shingled(words[i], ngram), shingled(words[j], ngram)) >= threshold

    return connected(len(texts), [pair for pair in combinations(range(len(texts)), 2) if are_copies(*pair)])


sentences = st.lists(st.sampled_from(["a", "b", "B", "c", "dd", "\n"]), max_size=12).map(" ".join)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(sentences, max_size=14),
    st.sampled_from([0.5, 0.8, 1.0]),
    st.integers(1, 3),
    st.sampled_from([(0, 0), (0, 8), (4, 8), (8, 0), (32, 80)]),
)
def test_a_small_corpus_keeps_what_a_full_comparison_keeps(
    texts: list[str], threshold: float, ngram: int, limits: tuple[int, int]
) -> None:
    sentence, short = limits
    outcome = run(corpus(*texts), threshold=threshold, ngram=ngram, sentence_words=sentence, short_text_words=short)
    groups = copies_by_brute_force(texts, ngram, threshold, sentence, short)
    assert ids(outcome.kept) == [f"d{i}" for i, group in enumerate(groups) if i == group]
    for row in outcome.rejected.to_pylist():
        assert row["duplicate_of"] == f"d{groups[int(row['id'][1:])]}"
        one, other = (shingled(texts[int(row[name][1:])].lower().split(), ngram) for name in ("id", "similar_to"))
        assert row["similarity"] == pytest.approx(jaccard(one, other))
        assert row["similarity"] >= threshold


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(sentences, min_size=3, max_size=3),
    st.lists(sentences, min_size=4, max_size=4),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from([0, 1, None])), max_size=12),
    st.sampled_from(["query", "document", "pair"]),
)
def test_a_small_pair_set_keeps_what_a_full_comparison_keeps(
    queries: list[str], documents: list[str], rows: list[tuple[int, int, int | None]], by: str
) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    table = pair_set(*((f"q{q}", queries[q], f"d{d}", documents[d], label) for q, d, label in rows))
    order_q, order_d = list(dict.fromkeys(row[0] for row in rows)), list(dict.fromkeys(row[1] for row in rows))
    group_q = copies_by_brute_force([queries[q] for q in order_q], 2, 0.7)
    group_d = copies_by_brute_force([documents[d] for d in order_d], 2, 0.7)
    stays, seen = [], set()
    for q, d, _ in rows:
        pair = (group_q[order_q.index(q)], group_d[order_d.index(d)])
        is_first = {"query": order_q[pair[0]] == q, "document": order_d[pair[1]] == d, "pair": pair not in seen}[by]
        seen.add(pair)
        stays.append(is_first)
    lost = {q for q, _, label in rows if label == 1} - {
        q for (q, _, label), stay in zip(rows, stays, strict=True) if stay and label == 1
    }
    kept = [(f"q{q}", f"d{d}") for (q, d, _), stay in zip(rows, stays, strict=True) if stay and q not in lost]
    outcome = run(table, by=by, ngram=2, threshold=0.7, sentence_words=0, short_text_words=0)
    assert list(zip(ids(outcome.kept, "query_id"), ids(outcome.kept, "doc_id"), strict=True)) == kept
    assert outcome.kept.num_rows + outcome.rejected.num_rows == len(rows)


# Real texts


def test_licence_texts_lose_every_near_copy_and_no_other() -> None:
    table = shared_corpus("license-texts/corpus.jsonl.gz")
    truth = listed("license-texts")
    outcome = run(table, ngram=5)
    place = {name: row for row, name in enumerate(ids(table))}
    groups = connected(len(place), [(place[a], place[b]) for (a, b), value in truth.items() if value >= 0.8])
    kept = {name: row["duplicate_of"] for name, row in ((row["id"], row) for row in outcome.rejected.to_pylist())}
    found = sum(kept.get(a, a) == kept.get(b, b) for (a, b), value in truth.items() if value >= 0.8)
    assert found == sum(value >= 0.8 for value in truth.values()) == 404
    assert [place[kept.get(name, name)] for name in place] == groups
    for row in outcome.rejected.to_pylist():
        one, other = row["id"], row["similar_to"]
        assert row["similarity"] == pytest.approx(truth.get((one, other), truth.get((other, one))), abs=1e-4)


def test_all_listed_pairs_of_licences_have_the_similarity_that_is_listed() -> None:
    table = shared_corpus("license-texts/corpus.jsonl.gz")
    truth = listed("license-texts")
    place = {name: row for row, name in enumerate(ids(table))}
    left, right = (np.array([place[pair[side]] for pair in truth]) for side in (0, 1))
    found = find_matches(table["text"], Near(0.5, 5, 128, sentence_words=0, short_text_words=0, workers=1, seed=0))
    similarity, is_match = found.similarity_of(left, right)
    assert is_match.sum() == len(truth) == 1281
    # The list counts words; the two Chinese licences are cut into code points here.
    chinese = list(truth).index(("MulanPSL-1.0", "MulanPSL-2.0"))
    np.testing.assert_allclose(np.delete(similarity, chinese), np.delete(list(truth.values()), chinese), atol=1e-4)
    assert found.groups.tolist() == connected(len(table), list(zip(left.tolist(), right.tolist(), strict=True)))
    assert {frozenset(pair) for pair in zip(found.pairs.left.tolist(), found.pairs.right.tolist(), strict=True)} <= {
        frozenset(pair) for pair in zip(left.tolist(), right.tolist(), strict=True)
    }


def listed(name: str) -> dict[tuple[str, str], float]:
    lines = (SHARED / name / "jaccard_pairs.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return {(one, other): float(value) for one, other, value in (line.split("\t") for line in lines)}


@pytest.mark.parametrize("group", ["chain", "star"])
def test_news_articles_lose_the_twenty_that_copy_another_one(group: str) -> None:
    table = shared_corpus("news-near-duplicates/corpus.jsonl.gz")
    outcome = run(table, ngram=5, group=group)
    copies = {pair for pair, value in listed("news-near-duplicates").items() if value >= 0.8}
    gone = {(row["duplicate_of"], row["id"]) for row in outcome.rejected.to_pylist()}
    assert len(copies) == 20
    assert {frozenset(pair) for pair in gone} == {frozenset(pair) for pair in copies}


def test_most_pairs_of_records_that_nearly_repeat_each_other_are_known_duplicates() -> None:
    table = shared_corpus("record-duplicates/records.jsonl.gz")
    lines = (SHARED / "record-duplicates" / "duplicates.tsv").read_text(encoding="utf-8").splitlines()[1:]
    known = {frozenset(line.split("\t")[1:]) for line in lines}
    found = find_matches(table["text"], Near(0.6, 1, 128, sentence_words=0, short_text_words=0, workers=1, seed=0))
    names = np.array(ids(table))
    pairs = {frozenset(pair) for pair in zip(names[found.pairs.left], names[found.pairs.right], strict=True)}
    group = dict(zip(names, found.groups, strict=True))
    assert len(pairs & known) > 0.65 * len(pairs)
    assert sum(group[one] == group[other] for one, other in map(tuple, known)) > 0.8 * len(known)


def test_the_trec_passages_lose_their_1704_exact_copies() -> None:
    table = shared_corpus("trec-dl-2021/corpus.jsonl.gz")
    assert run(table, near=False, exact="bytes").rejected.num_rows == 1704
    reasons = Counter(run(table).rejected["reason"].to_pylist())
    assert reasons["exact copy"] == 1705
    assert 0 < reasons["near copy"] < 200


def test_sentences_that_differ_in_one_word_are_not_merged() -> None:
    path = SHARED / "breaking-nli" / "pairs.jsonl.gz"
    if not path.exists():
        pytest.skip("the shared data set breaking-nli is not on this machine")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = list(dict.fromkeys(text for row in rows for text in (row["premise"], row["hypothesis"])))
    outcome = run(corpus(*texts))
    kept = {row["text"]: row["duplicate_of"] for row in outcome.rejected.to_pylist()}
    name = {text: kept.get(text, f"d{i}") for i, text in enumerate(texts)}
    merged = [
        row
        for row in rows
        if name[row["premise"]] == name[row["hypothesis"]] and tokens(row["premise"]) != tokens(row["hypothesis"])
    ]
    assert merged == []
    for row in outcome.rejected.to_pylist():
        one, other = Counter(tokens(row["text"])), Counter(tokens(texts[int(row["similar_to"][1:])]))
        assert one == other or ((one < other or other < one) and max(one.total(), other.total()) >= 32)
