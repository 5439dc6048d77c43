"""Search by words: the same numbers as an independent BM25, whatever the texts, blocks and threads."""

from __future__ import annotations

import gzip
import json
import logging
import math
import subprocess
import sys
import tracemalloc
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.backends.retrievers import Bm25Retriever, lexical_words
from pairmine.backends.retrievers import bm25 as bm25_module
from pairmine.backends.retrievers import lexical as lexical_module
from pairmine.backends.retrievers import word_search as word_search_module
from pairmine.backends.retrievers.lexical import WordLists, pieces_of, word_lists
from pairmine.backends.retrievers.postings import in_order, index_bytes, make_postings
from pairmine.backends.specs import Spec

DATA = Path(__file__).parents[2] / "shared" / "data"
logging.getLogger("bm25s").setLevel(logging.WARNING)

SCRIPTS = (
    "Straße café naïve",
    "Привет, мир!",
    "Καλημέρα κόσμε",
    "שלום עולם",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "வணக்கம் உலகம்",
    "สวัสดีชาวโลก",
    "こんにちは世界",
    "你好，世界",
    "안녕하세요 세계",
    "გამარჯობა მსოფლიო",
    "Բարեւ աշխարհ",
    "ሰላም ዓለም",
    "မင်္ဂလာပါ ကမ္ဘာလောက",
    "ជំរាបសួរ ពិភពលោក",
    "ສະບາຍດີ ຊາວໂລກ",
    "হ্যালো বিশ্ব",
    "ਸਤ ਸ੍ਰੀ ਅਕਾਲ ਦੁਨਿਆ",
    "🙂 emoji 👩‍👩‍👧 only 42 and ４２ ﬁrst x² ½",
)


def indexed(documents: Sequence[str], queries: Sequence[str], searchable: int | None = None) -> Bm25Retriever:
    retriever = Bm25Retriever(Spec("bm25", ""))
    retriever.index(documents, len(documents) if searchable is None else searchable)
    retriever.prepare(queries)
    return retriever


def plain_scores(documents: Sequence[str], query: str, *, k1: float = 1.5, b: float = 0.75) -> np.ndarray:
    """BM25 as textbooks write it, one document after the other."""
    counts = [Counter(lexical_words(text)) for text in documents]
    mean = sum(map(Counter.total, counts)) / len(counts)
    scores = np.zeros(len(documents))
    for word in lexical_words(query):
        having = sum(word in count for count in counts)
        rarity = math.log(1 + (len(counts) - having + 0.5) / (having + 0.5))
        for row, count in enumerate(counts):
            if count[word]:
                norm = 1 - b + b * count.total() / mean
                scores[row] += rarity * count[word] / (count[word] + k1 * norm)
    return scores


def check_best(found: np.ndarray, values: np.ndarray, scores: np.ndarray, k: int) -> None:
    """`found` are the best `k` by `scores`, up to what float32 cannot tell apart; ties stand in document order."""
    there = found >= 0
    assert there.sum() == min(k, (scores > 0).sum())
    assert (~there[there.sum() :]).all()
    assert np.isneginf(values[~there]).all()
    best = np.sort(scores[scores > 0])[::-1][:k]
    np.testing.assert_allclose(values[there], best, rtol=3e-6)
    np.testing.assert_allclose(scores[found[there]], best, rtol=3e-6)
    assert len(set(found[there].tolist())) == there.sum()
    for left, right in zip(range(there.sum() - 1), range(1, there.sum()), strict=True):
        assert values[left] > values[right] or found[left] < found[right]


def zipf_texts(rows: int, words: int, seed: int, vocabulary: int = 3000) -> list[str]:
    """Texts with few very common words and many rare ones, of quite different lengths."""
    generator = np.random.default_rng(seed)
    chances = 1 / np.arange(1, vocabulary + 1)
    chances /= chances.sum()
    sizes = generator.integers(0, 2 * words, rows)
    return [" ".join(f"w{word}" for word in generator.choice(vocabulary, size, p=chances)) for size in sizes]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Read_CSV, don't!", ["read", "csv", "don", "t"]),
        ("The \ufb01rst Straße", ["the", "first", "strasse"]),
        ("The read_csv() of ＡＢＣ", ["the", "read", "csv", "of", "abc"]),
        ("東京タワー 2024年", ["東", "京", "タ", "ワ", "ー", "2024", "年"]),
        ("हिन्दी", ["हिन्दी"]),
        ("cafe\u0301 İ", ["café", "i\u0307"]),
        (" \n", []),
        ("", []),
        ("🙂", []),
    ],
)
def test_words_of_many_texts_are_those_of_each(text: str, words: list[str]) -> None:
    assert lexical_words(text) == words
    assert spelled(word_lists(["x", text, text])) == [["x"], words, words]


def spelled(lists: WordLists) -> list[list[str]]:
    bounds = zip(lists.starts, lists.starts[1:], strict=False)
    return [[lists.words[place] for place in lists.places[low:high]] for low, high in bounds]


def test_words_of_any_script_are_found_in_bulk_as_one_by_one() -> None:
    every = [chr(code) for code in range(0x32000) if not 0xD800 <= code < 0xE000]
    marks = [char for char in every[:0x3000] if unicodedata.combining(char)]
    texts = [*SCRIPTS, *(f"A{char}b-{char} {char}" for char in every[::7])]
    texts += [f"x{chr(code)}{mark}y" for code in range(0x80) for mark in marks[::9]]
    texts += ["T\u0344\u0bcd", "\ud800 lone \udfff half", "a\x00b\x1fc\x85d\u2028e\u3000f", "_a_\uff3fb_"]
    for piece in pieces_of(texts):
        assert spelled(word_lists(piece)) == [lexical_words(text) for text in piece]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_texts_have_the_same_words_in_bulk(texts: list[str]) -> None:
    assert spelled(word_lists(texts)) == [lexical_words(text) for text in texts]


def test_pieces_are_bounded_and_lose_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical_module, "MOST_CHARACTERS", 10)
    monkeypatch.setattr(lexical_module, "MOST_TEXTS", 4)
    texts = ["", "abcdefghi", "j", "klmnopqrstuvwxyz", "", "a", "b", "c", "d", ""]
    pieces = [list(piece) for piece in pieces_of(texts)]
    assert [text for piece in pieces for text in piece] == texts
    assert all(len(piece) <= 4 and (len(piece) == 1 or sum(map(len, piece)) <= 10) for piece in pieces)
    assert list(pieces_of([])) == []


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4), (0.0, 0.0), (2.0, 1.0)])
def test_scores_are_those_of_textbook_bm25(k1: float, b: float) -> None:
    documents = [*zipf_texts(300, 12, seed=1, vocabulary=80), *SCRIPTS, ""]
    queries = ["w1", "w1 w1 w7 w20", "w3 unknown w50", "Straße 世界 мир 42", "nothing known", "", *documents[:20]]
    retriever = Bm25Retriever(Spec("bm25", ""), k1=k1, b=b)
    retriever.index(documents, len(documents))
    retriever.prepare(queries)
    assert (retriever.facts["k1"], retriever.facts["b"]) == (k1, b)
    for row, (found, values) in enumerate(zip(*retriever.search(np.arange(len(queries)), 15), strict=True)):
        scores = plain_scores(documents, queries[row], k1=k1, b=b)
        check_best(found, values, scores, 15)
        pairs = retriever.pair_scores(np.full(len(documents), row), np.arange(len(documents)))
        np.testing.assert_allclose(pairs, scores, rtol=3e-6)


def test_scores_are_those_of_bm25s_on_real_text() -> None:
    folder = DATA / "scifact"
    if not folder.exists():
        pytest.skip(f"the real collections are not here ({folder})")
    import bm25s

    with gzip.open(folder / "corpus.jsonl.gz", "rt") as lines:
        documents = [f"{row['title']} {row['text']}" for row in map(json.loads, lines)]
    with gzip.open(folder / "queries.jsonl.gz", "rt") as lines:
        queries = [json.loads(line)["text"] for line in lines][::40]
    theirs = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    theirs.index([lexical_words(text) for text in documents], show_progress=False)
    queries.append(documents[7])
    retriever = indexed(documents, queries)
    for row, (found, values) in enumerate(zip(*retriever.search(np.arange(len(queries)), 100), strict=True)):
        check_best(found, values, theirs.get_scores(lexical_words(queries[row])), 100)


@pytest.mark.parametrize("few", [0, 1 << 15], ids=["list of touched documents", "all sums"])
@pytest.mark.slow
def test_leaving_documents_out_early_never_changes_the_best(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(word_search_module, "_FEW", few)
    monkeypatch.setattr(word_search_module, "_CHECK_COST", 0)
    documents = zipf_texts(2500, 30, seed=2)
    queries = [*zipf_texts(80, 6, seed=3), *documents[:20], " ".join(f"w{word}" for word in range(3000))]
    retriever = indexed(documents, queries)
    rows = np.arange(len(documents))
    for k in (1, 10, 2499):
        found, values = retriever.search(np.arange(len(queries)), k)
        for query in range(len(queries)):
            # Sums of all documents, made without any search, must agree to the last bit.
            scores = retriever.pair_scores(np.full(len(documents), query), rows)
            order = np.lexsort((rows, -scores))[:k]
            order = order[scores[order] > 0]
            assert found[query, : len(order)].tolist() == order.tolist()
            assert (values[query, : len(order)] == scores[order]).all()
            assert (found[query, len(order) :] == -1).all()


def test_blocks_threads_and_pieces_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [*zipf_texts(700, 20, seed=4), *SCRIPTS]
    queries = zipf_texts(50, 8, seed=5)
    whole = indexed(documents, queries)
    expected = whole.search(np.arange(50), 20)
    monkeypatch.setattr(lexical_module, "MOST_TEXTS", 37)
    monkeypatch.setattr(bm25_module, "_DOCUMENTS_FOR_THREADS", 1)
    for threads in (1, 5):
        parts = Bm25Retriever(Spec("bm25", ""), threads=threads)
        parts.index(documents, len(documents))
        parts.prepare(queries[:30])
        parts.near(np.arange(20), queries[30:])
        for blocks in (np.array_split(np.arange(50), 7), [np.arange(50)[::-1]]):
            found = [parts.search(block, 20) for block in blocks]
            order = np.argsort(np.concatenate(blocks))
            for number in (0, 1):
                assert (np.concatenate([hits[number] for hits in found])[order] == expected[number]).all()


def test_more_documents_than_a_piece_holds_are_all_found() -> None:
    texts = [f"common n{row}" for row in range(70_000)]
    retriever = indexed(texts, ["n5", "n16384", "n65535", "n65536 n69999", "common"])
    found, values = retriever.search(np.arange(5), 3)
    assert found.tolist() == [[5, -1, -1], [16384, -1, -1], [65535, -1, -1], [65536, 69999, -1], [0, 1, 2]]
    assert values[0, 0] == values[2, 0]
    assert retriever.pair_scores(np.array([2, 2]), np.array([65535, 65534])).tolist() == [values[2, 0], 0]


def test_documents_that_are_only_scored_are_never_found_but_count_in_the_statistics() -> None:
    documents = ["wing flow", "wing", "flow lift", "wing lift lift"]
    retriever = indexed(documents, ["wing lift"], searchable=2)
    found, values = retriever.search(np.array([0]), 4)
    scores = plain_scores(documents, "wing lift")
    assert found.tolist() == [[1, 0, -1, -1]]
    np.testing.assert_allclose(values[0, :2], scores[[1, 0]], rtol=1e-6)
    np.testing.assert_allclose(retriever.pair_scores(np.zeros(4, int), np.arange(4)), scores, rtol=1e-6)
    assert indexed(documents, ["wing lift"], searchable=0).search(np.array([0]), 2)[0].tolist() == [[-1, -1]]


def test_equal_documents_stand_in_their_order() -> None:
    retriever = indexed(["b a", "a b", "x", "a b", "b a"] * 30, ["a", "a b"])
    found, _ = retriever.search(np.arange(2), 7)
    assert found.tolist() == [[0, 1, 3, 4, 5, 6, 8]] * 2


@pytest.mark.parametrize("documents", [[], ["", "  "], ["🙂", "..."]], ids=["none", "blank", "no words"])
def test_a_collection_without_words_finds_nothing(documents: list[str]) -> None:
    retriever = indexed(documents, ["wing", ""])
    found, values = retriever.search(np.arange(2), 3)
    assert (found == -1).all()
    assert np.isneginf(values).all()
    places = np.arange(len(documents))
    assert retriever.pair_scores(np.zeros_like(places), places).tolist() == [0] * len(documents)


@pytest.mark.parametrize("documents", [["wing"], ["", " "], ["!?", "wing wing"]])
def test_bm25_finds_only_documents_with_a_word_of_the_query(documents: list[str]) -> None:
    retriever = indexed(documents, ["wing fin", "", "heat"])
    found, values = retriever.search(np.arange(3), 4)
    has_word = [number for number, text in enumerate(documents) if "wing" in text]
    assert found[0, : len(has_word)].tolist() == has_word
    assert (found[0, len(has_word) :] == -1).all()
    assert (found[1:] == -1).all()
    assert np.isneginf(values[1:]).all()
    assert retriever.pair_scores(np.arange(3), np.zeros(3, np.int64)).tolist()[1:] == [0, 0]


def test_a_vocabulary_of_one_word_and_no_queries_work() -> None:
    retriever = indexed(["a", "a a a", "a a"], ["a"])
    found, values = retriever.search(np.array([0]), 10)
    check_best(found[0], values[0], plain_scores(["a", "a a a", "a a"], "a"), 10)
    assert retriever.search(np.array([], np.int64), 10)[0].shape == (0, 10)
    assert retriever.search(np.array([0]), 0)[0].shape == (1, 0)
    assert retriever.pair_scores(np.array([], np.int64), np.array([], np.int64)).shape == (0,)


def test_a_document_of_a_million_words_and_a_query_of_a_hundred_thousand_work() -> None:
    generator = np.random.default_rng(6)
    long_text = " ".join(f"w{word}" for word in generator.integers(0, 50_000, 1_000_000).tolist())
    documents = [long_text, "w1 w2", "other", "w3 " * 300]
    query = " ".join(f"w{word}" for word in range(100_000))
    retriever = indexed(documents, [query, "w1 w3"])
    found, values = retriever.search(np.arange(2), 4)
    scores = retriever.pair_scores(np.repeat([0, 1], 4), np.tile(np.arange(4), 2)).reshape(2, 4)
    assert found[0].tolist() == [0, 1, 3, -1]
    assert (values[0, :3] == scores[0, [0, 1, 3]]).all()
    np.testing.assert_allclose(scores[1], plain_scores(documents, "w1 w3"), rtol=1e-5)


def test_a_second_index_forgets_the_first() -> None:
    retriever = indexed(["wing flow", "fin"], ["fin"])
    retriever.index(["flow"], 1)
    retriever.prepare(["fin", "flow"])
    assert retriever.search(np.arange(2), 1)[0].tolist() == [[-1], [0]]


def test_memory_of_indexing_is_what_the_estimate_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical_module, "MOST_CHARACTERS", 1 << 15)
    texts = zipf_texts(10_000, 40, seed=7, vocabulary=5000)
    make_postings(texts[:10], 10, k1=1.5, b=0.75)
    tracemalloc.start()
    postings = make_postings(texts, len(texts), k1=1.5, b=0.75)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    words = len(postings.documents) / len(texts)
    estimate = index_bytes(len(texts), words, len(postings.vocabulary))
    assert postings.documents.nbytes + postings.scores.nbytes == 8 * len(postings.documents)
    # Pieces at work, which do not grow with the collection, come on top.
    assert 0.5 * estimate < peak < estimate + (2 << 20)


def test_results_come_in_order_while_only_a_few_wait() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    done = []
    for result in in_order(lambda number: number * number, items(), threads=3):
        done.append(result)
        assert len(taken) - len(done) <= 3
    assert done == [number * number for number in range(50)]


def test_importing_the_retriever_loads_no_heavy_library() -> None:
    code = "import sys, pairmine.backends.retrievers.bm25; print({'bm25s', 'scipy', 'torch'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
