"""What dedup drops, what it says about it, and what it refuses to read."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.schema import as_pairs
from pairmine.stages.dedup import dedup
from pairmine.stages.dedup.kernel import slices as kernel_slices

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


def rejects(outcome: Outcome, name: str = "id") -> dict[str, tuple[str, str | None, str | None]]:
    rows = outcome.rejected.to_pylist()
    return {row[name]: (row["reason"], row["duplicate_of"], row["similar_to"]) for row in rows}


def long_text(**changes: str) -> str:
    """A hundred words, with some replaced: `long_text(w3="other")`."""
    words = list(LONG)
    for place, word in changes.items():
        words[int(place[1:])] = word
    return " ".join(words)


# Exact copies


def test_copies_that_differ_in_case_blanks_or_unicode_form_leave_as_exact_copies() -> None:
    outcome = run(corpus("The first LAW", " the\n\ufb01rst  law ", "the second law"))
    assert ids(outcome.kept) == ["d0", "d2"]
    assert rejects(outcome) == {"d1": ("exact copy", "d0", "d0")}
    assert outcome.rejected["similarity"].to_pylist() == [1.0]


def test_bytes_keeps_copies_that_differ_in_case_when_only_exact_copies_are_asked_for() -> None:
    table = corpus("The law", "the law", "The law", " ", " ")
    assert ids(run(table, near=False, exact="bytes").kept) == ["d0", "d1", "d3", "d4"]
    assert rejects(run(table, exact="bytes"))["d1"] == ("near copy", "d0", "d0")


def test_near_copies_stay_when_only_exact_copies_are_asked_for() -> None:
    table = corpus(long_text(), long_text(w99="x"), long_text())
    assert ids(run(table, near=False).kept) == ["d0", "d1"]


def test_blank_texts_and_texts_without_words_are_no_near_copies() -> None:
    outcome = run(corpus("", " \n", "", "!!!", "???", "\u2764\ufe0f", "\u2600\ufe0f", "!!!"))
    assert ids(outcome.kept) == ["d0", "d1", "d2", "d3", "d4", "d5", "d6"]
    assert rejects(outcome) == {"d7": ("exact copy", "d3", "d3")}


def test_three_thousand_copies_of_one_text_leave_one() -> None:
    outcome = run(corpus(*["one and the same sentence, again and again"] * 3000))
    assert ids(outcome.kept) == ["d0"]
    assert outcome.rejected["reason"].to_pylist() == ["exact copy"] * 2999
    assert outcome.notes["pairs compared"] == 0


def test_the_title_counts_as_part_of_the_document() -> None:
    table = corpus("born 1879", "born 1879", "Einstein born 1879", title=["Einstein", "Noether", None])
    assert rejects(run(table)) == {"d2": ("exact copy", "d0", "d0")}


# Near copies


def test_a_near_copy_names_the_kept_one_and_its_exact_similarity() -> None:
    outcome = run(corpus("unrelated", long_text(), long_text(w50="changed")))
    assert rejects(outcome) == {"d2": ("near copy", "d1", "d1")}
    assert outcome.rejected["similarity"].to_pylist() == [pytest.approx(95 / 101)]


def test_the_threshold_itself_still_counts_as_a_near_copy() -> None:
    four_of_five = corpus("a b c d", "a b c d e")
    assert ids(run(four_of_five, ngram=1, threshold=0.8, sentence_words=0).kept) == ["d0"]
    assert ids(run(four_of_five, ngram=1, threshold=0.81, sentence_words=0).kept) == ["d0", "d1"]


def test_a_member_chained_to_the_kept_one_reports_its_best_match() -> None:
    first, second, third = (" ".join(LONG[start : start + 90]) for start in (0, 5, 10))
    outcome = run(corpus(first, second, third), threshold=0.85)
    assert rejects(outcome) == {"d1": ("near copy", "d0", "d0"), "d2": ("near copy", "d0", "d1")}
    assert outcome.rejected["similarity"].to_pylist() == [pytest.approx(83 / 93)] * 2


def test_an_exact_copy_of_a_near_copy_names_both_the_kept_one_and_what_it_repeats() -> None:
    outcome = run(corpus(long_text(), long_text(w9="x"), long_text(w9="X")))
    assert rejects(outcome) == {"d1": ("near copy", "d0", "d0"), "d2": ("exact copy", "d0", "d1")}


def test_keep_longest_keeps_the_longest_of_a_group() -> None:
    short, long = " ".join(LONG[:90]), " ".join(LONG)
    table = corpus(short, "another text", long, short.upper(), long.replace(" ", "  "))
    assert rejects(run(table, keep="longest")) == {
        "d0": ("near copy", "d4", "d4"),
        "d2": ("exact copy", "d4", "d4"),
        "d3": ("exact copy", "d4", "d0"),
    }
    assert ids(run(table).kept) == ["d0", "d1"]


def test_a_short_passage_may_gain_words_but_not_exchange_one() -> None:
    passage = " ".join(LONG[:50])
    replaced, longer = " ".join([*LONG[:49], "x"]), passage + " read more"
    assert ids(run(corpus(passage, replaced, longer)).kept) == ["d0", "d1"]
    assert ids(run(corpus(passage, replaced, longer), short_text_words=0).kept) == ["d0"]
    assert ids(run(corpus(passage, replaced, longer), sentence_words=80).kept) == ["d0", "d1", "d2"]


def test_a_sentence_may_differ_in_punctuation_only() -> None:
    sentence = "The man held a pole in the air, while he was sitting close to the edge of the cliff."
    table = corpus(sentence, sentence.replace(",", " -"), sentence.replace("cliff", "road"), sentence + " Alone.")
    assert ids(run(table).kept) == ["d0", "d2", "d3"]
    assert ids(run(table, sentence_words=0).kept) == ["d0", "d2"]
    assert ids(run(table, sentence_words=0, short_text_words=0).kept) == ["d0"]


def test_word_counts_decide_not_word_lists() -> None:
    one = "he wears a blue jacket and she a black jacket near the large statue by the water under a quarter moon"
    assert run(corpus(one, one.replace("blue", "black")), threshold=0.7).rejected.num_rows == 0


def test_texts_shorter_than_the_ngram_are_copies_only_when_equal() -> None:
    assert ids(run(corpus("red", "Red!", "blue", "red blue", "blue red"), ngram=3).kept) == ["d0", "d2", "d3", "d4"]


# Pair sets


def test_a_document_under_another_id_leaves_with_all_its_rows() -> None:
    table = pair_set(
        ("q1", "one", "d1", "Same text", 1),
        ("q1", "one", "d2", "same  TEXT", 0),
        ("q1", "one", "d3", "other", 0),
        ("q2", "two", "d1", "Same text", 0),
        ("q2", "two", "d4", "fourth", 1),
        ("q2", "two", "d2", "same  TEXT", None),
    )
    outcome = run(table, by="document")
    assert list(zip(ids(outcome.kept, "query_id"), ids(outcome.kept, "doc_id"), strict=True)) == [
        ("q1", "d1"),
        ("q1", "d3"),
        ("q2", "d1"),
        ("q2", "d4"),
    ]
    assert outcome.rejected["duplicate_of"].to_pylist() == ["d1", "d1"]
    assert outcome.kept.schema == table.schema


def test_a_query_that_loses_all_its_positives_leaves_with_a_reason() -> None:
    table = pair_set(
        ("q1", "one", "d1", "same text", 1),
        ("q2", "two", "d2", "same text", 1),
        ("q2", "two", "d3", "third", 0),
        ("q3", "three", "d4", "fourth", 0),
        ("q4", "four", "d5", "same text", 1),
        ("q4", "four", "d6", "sixth", 1),
    )
    outcome = run(table, by="document")
    assert ids(outcome.kept, "doc_id") == ["d1", "d4", "d6"]
    assert rejects(outcome, "doc_id") == {
        "d2": ("exact copy", "d1", "d1"),
        "d3": ("no positive left", None, None),
        "d5": ("exact copy", "d1", "d1"),
    }
    assert outcome.rejected["similarity"].to_pylist() == [1.0, None, 1.0]


def test_a_later_query_that_copies_an_earlier_one_leaves_with_all_its_rows() -> None:
    table = pair_set(
        ("q1", "What is law?", "d1", "a", 1),
        ("q1", "What is law?", "d2", "b", 0),
        ("q2", "what is LAW?", "d3", "c", 1),
        ("q2", "what is LAW?", "d1", "a", 0),
        ("q3", "", "d1", "a", 1),
        ("q4", "", "d1", "a", 1),
    )
    outcome = run(table, by="query")
    assert ids(outcome.kept, "query_id") == ["q1", "q1", "q3", "q4"]
    assert outcome.rejected["duplicate_of"].to_pylist() == ["q1", "q1"]


def test_a_pair_leaves_only_when_both_sides_are_copies() -> None:
    table = pair_set(
        ("q1", "one", "d1", "first", 1),
        ("q1", "one", "d2", "second", 1),
        ("q2", "ONE", "d3", "FIRST", 1),
        ("q2", "ONE", "d4", "third", 1),
        ("q3", "two", "d1", "first", 1),
        ("q3", "two", "d1", "first", 1),
    )
    outcome = run(table, by="pair")
    assert ids(outcome.kept, "query_id") == ["q1", "q1", "q2", "q3"]
    assert outcome.rejected["duplicate_of"].to_pylist() == ["q1\td1", "q3\td1"]
    assert outcome.rejected["reason"].to_pylist() == ["exact copy", "exact copy"]


def test_a_near_pair_reports_the_lower_similarity_of_its_sides() -> None:
    table = pair_set(
        ("q1", "one", "d1", long_text(), 1),
        ("q2", "One", "d2", long_text(w50="x"), 1),
        ("q2", "One", "d3", "else", 1),
    )
    outcome = run(table, by="pair")
    assert rejects(outcome, "doc_id") == {"d2": ("near copy", "q1\td1", "q1\td1")}
    assert outcome.rejected["similarity"].to_pylist() == [pytest.approx(95 / 101)]


def test_the_longest_pair_is_kept_by_both_texts_together() -> None:
    table = pair_set(("q1", "one", "d1", "a  b", 1), ("q2", "o n e".replace(" ", ""), "d2", "a   b", 1))
    assert ids(run(table, by="pair", keep="longest").kept, "doc_id") == ["d2"]


def test_columns_of_the_user_pass_and_a_second_run_overwrites_the_reasons() -> None:
    table = corpus("same", "same", "same", similarity=["mine", "yours", "ours"], reason=[None, "old", "old"])
    outcome = run(table)
    assert outcome.kept.to_pylist() == [{"id": "d0", "text": "same", "similarity": "mine", "reason": None}]
    again = run(outcome.rejected)
    assert again.rejected.column_names == ["id", "text", "reason", "duplicate_of", "similarity", "similar_to"]
    assert again.rejected["reason"].to_pylist() == ["exact copy"]


# Sizes


@pytest.mark.parametrize("by", ["query", "document", "pair"])
def test_an_empty_pair_set_gives_empty_tables(by: str) -> None:
    outcome = run(pair_set(), by=by)
    assert (outcome.kept.num_rows, outcome.rejected.num_rows) == (0, 0)
    assert outcome.rejected.column_names[-4:] == ["reason", "duplicate_of", "similarity", "similar_to"]


@pytest.mark.parametrize(
    "table", [corpus(), pa.table({"id": pa.chunked_array([], pa.string()), "text": pa.chunked_array([], pa.string())})]
)
def test_an_empty_corpus_gives_empty_tables(table: pa.Table) -> None:
    outcome = run(table)
    assert (outcome.kept.num_rows, outcome.rejected.num_rows) == (0, 0)


def test_one_row_of_one_word_stays() -> None:
    assert ids(run(corpus("word")).kept) == ["d0"]


def scrambled(count: int, seed: int = 0) -> pa.Table:
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        words = draw.choices([f"w{i}" for i in range(400)], k=draw.randint(0, 90))
        texts += [" ".join(words), " ".join(words[: draw.randint(len(words) // 2, len(words))])]
    draw.shuffle(texts)
    return corpus(*texts)


def test_worker_count_and_chunk_size_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = scrambled(600)
    one = run(table)
    assert one.rejected["reason"].to_pylist().count("near copy") > 100
    two = run(table, workers=2)
    monkeypatch.setattr(kernel_slices, "_SLICE_TEXTS", 7)
    small = run(table)
    for other in (two, small):
        assert (other.kept, other.rejected, other.notes) == (one.kept, one.rejected, one.notes)


def test_how_the_table_is_chunked_changes_nothing() -> None:
    table = scrambled(100)
    parts = pa.concat_tables([table.slice(0, 1), table.slice(1, 0), table.slice(1, 77), table.slice(78)])
    assert run(parts).kept.combine_chunks() == run(table).kept.combine_chunks()


def test_the_seed_changes_the_sketches_but_not_the_result() -> None:
    table = scrambled(100)
    assert run(table, seed=1).kept == run(table, seed=2**40).kept == run(table, seed=-3).kept


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "text"}, '--by is "text"; pass one of query, document, pair'),
        ({"keep": "last"}, '--keep is "last"; pass one of first, longest, best:COLUMN'),
        ({"exact": "fuzzy"}, '--exact is "fuzzy"; pass one of normalised, bytes, words'),
        ({"threshold": 0.0}, "--threshold is 0; pass a Jaccard similarity above 0 and up to 1"),
        ({"threshold": 80.0}, "--threshold is 80; pass a Jaccard similarity above 0 and up to 1"),
        ({"ngram": 0}, "--ngram is 0; pass 1 or more"),
        ({"permutations": 0}, "--permutations is 0; pass 1 or more"),
        ({"workers": 0}, "--workers is 0; pass 1 or more"),
        (
            {"threshold": 0.1, "permutations": 16},
            "16 permutations cannot find 99.9% of the pairs at threshold 0.1; "
            "pass --permutations 66 or more, or a higher --threshold",
        ),
    ],
)
def test_a_setting_out_of_range_says_what_to_pass(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError) as error:
        run(corpus("a", "b"), **{"by": "document", **options})
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("table", "by", "message"),
    [
        (
            corpus("a"),
            "query",
            '--by query needs a pair set, but there is no "query_id" (found: id, text); '
            "pass --by document for a corpus",
        ),
        (
            pa.table({"body": ["a"]}),
            "document",
            'no "id" (found: body); dedup takes a corpus (id, text) or a pair set (query_id, ...)',
        ),
        (
            corpus("a", None),
            "document",
            '"text" is null in 1 of 2 rows (first: id "d1"); leave those rows out or give them a text',
        ),
        (
            pair_set(("q1", "one", "d1", "first", 1)).drop_columns("document"),
            "document",
            'no "document" (found: query_id, query, doc_id, label, origin); '
            "give every row its text, as 'pairmine convert --as pairs' does with a BEIR folder",
        ),
        (
            pair_set(("q1", "one", "d1", "first", 1)).drop_columns("query"),
            "pair",
            'no "query" (found: query_id, doc_id, document, label, origin); '
            "give every row its text, as 'pairmine convert --as pairs' does with a BEIR folder",
        ),
    ],
)
def test_a_table_that_cannot_be_compared_says_why(table: pa.Table, by: str, message: str) -> None:
    with pytest.raises(PairmineError) as error:
        run(table, by=by)
    assert str(error.value) == message


def test_a_pair_set_without_texts_says_that_every_row_needs_one() -> None:
    rows = pair_set(("q1", "one", "d1", "first", 1), ("q1", "one", "d2", "x", 0))
    place = rows.column_names.index("document")
    for texts in (pa.array(["first", None]).dictionary_encode(), pa.array([None, None])):
        table = rows.set_column(place, "document", texts)
        with pytest.raises(PairmineError, match=r'"document" is null in [12] of 2 rows .*; give every row its text'):
            run(table)


def test_one_id_with_two_texts_names_both_rows() -> None:
    table = pair_set(("q1", "one", "d1", "first", 1), ("q1", "one", "d2", "x", 0), ("q2", "two", "d1", "second", 1))
    message = 'doc_id "d1" has one text in row 1 and another in row 3; give each text an id of its own'
    with pytest.raises(PairmineError) as error:
        run(table)
    assert str(error.value) == message
