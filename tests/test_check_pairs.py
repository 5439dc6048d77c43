"""The data tests: each planted fault is found, a clean set has none, and a mended one stays mended."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pairmine import check, schema
from pairmine.errors import PairmineError
from pairmine.stages.check import NAMES, Limit, Report, Settings, run_checks, verdict
from pairmine.stages.check.catalog import TESTS
from pairmine.stages.check.chunk import Chunk
from pairmine.stages.check.copies import MOST_POSITIVES, pairs_of_labels

WORDS = re.findall(
    r"\w+",
    """
river stone winter market garden teacher letter window bridge silver mountain doctor music summer paper station harbour
forest kitchen lawyer orange captain village machine island history animal engine morning evening bottle camera dinner
farmer golden hunter insect jacket ladder magnet needle office pencil rabbit saddle ticket
""",
)
Row = dict[str, Any]


class Planted:
    """Rows of a pair set, and which of them each test is to find."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.rows: list[Row] = []
        self._faults: dict[str, list[Row]] = defaultdict(list)

    def sentence(self, words: int = 0) -> str:
        chosen = " ".join(self.random.choice(WORDS) for _ in range(words or self.random.randint(9, 16)))
        return f"The {chosen} of the {self.random.randint(0, 10**9)}."

    def query(self, **values: Any) -> list[Row]:
        """A query with a positive and three negatives, all as they should be; the rows may be changed."""
        number = len({row["query_id"] for row in self.rows})
        text = self.sentence(8)
        rows = [
            {
                "query_id": f"q{number}",
                "query": text,
                "doc_id": f"d{number}.{place}",
                "document": self.sentence(),
                "label": int(place == 0),
                "origin": "given" if place == 0 else "mine:bm25",
                "score_ce": self.random.uniform(0.8, 0.99) if place == 0 else self.random.uniform(0.01, 0.7),
                "batch": None,
                "weight": 1.0,
                "grade": 1.0 if place == 0 else 0.0,
                **values,
            }
            for place in range(4)
        ]
        self.rows += rows
        return rows

    def fault(self, name: str, *rows: Row) -> None:
        """These rows are what the test is to find."""
        self._faults[name] += rows

    @property
    def faults(self) -> dict[str, list[int]]:
        """The numbers of these rows, in order."""
        at = {id(row): number for number, row in enumerate(self.rows)}
        return {name: sorted(at[id(row)] for row in rows) for name, rows in self._faults.items()}

    def table(self) -> pa.Table:
        fields = [(name, schema.pair_type(name)) for name in self.rows[0] if not name.startswith("score_")]
        made = pa.schema([*(pa.field(*each) for each in fields), schema.score_field("ce", "probability")])
        return schema.as_pairs(pa.Table.from_pylist(self.rows, schema=made))


def clean(queries: int = 60, seed: int = 0) -> pa.Table:
    """A pair set without a fault."""
    planted = Planted(seed)
    for _ in range(queries):
        planted.query()
    return planted.table()


def faulty() -> Planted:
    """A pair set with every fault that its own rows can show, each in a query of its own."""
    planted = Planted(1)
    for _ in range(200):
        planted.query()
    _plant_copies(planted)
    _plant_texts(planted)
    _plant_numbers(planted)
    _plant_across(planted)
    for _ in range(20):
        planted.query()
    return planted


def _plant_copies(planted: Planted) -> None:
    by_id, by_text, near, own, twice, more = (planted.query() for _ in range(6))
    by_id[2] |= {"doc_id": by_id[0]["doc_id"], "document": by_id[0]["document"]}
    by_text[1]["document"] = by_text[0]["document"].upper()
    planted.fault("positive-among-negatives", by_id[2], by_text[1])
    long = " ".join(planted.sentence() for _ in range(12))
    near[0]["document"], near[3]["document"] = long, long + " And more of it."
    planted.fault("near-positive-among-negatives", near[3])
    own[1]["document"] = own[0]["query"]
    planted.fault("negative-copies-query", own[1])
    twice[3] |= {"doc_id": twice[2]["doc_id"], "document": twice[2]["document"]}
    planted.fault("duplicate-negatives", twice[3])
    more[1] |= {**more[0], "doc_id": "copy of it"}
    planted.fault("duplicate-positives", more[1])
    planted.fault("uneven-negatives", more[0])


def _plant_texts(planted: Planted) -> None:
    empty, long, letter, broken, markup, prompt, copied, same = (planted.query() for _ in range(8))
    empty[1]["document"], empty[2]["document"] = " \n", None
    planted.fault("empty-texts", empty[1], empty[2])
    long[2]["document"] = "word " * 9000
    planted.fault("over-long", long[2])
    letter[3]["document"] = "T"
    planted.fault("one-letter-texts", letter[3])
    broken[0]["document"] += " caf\u00c3\u00a9"
    broken[1]["document"] += " \ufffd"
    broken[2]["document"] += " \x07"
    planted.fault("broken-text", *broken[:3])
    for row in markup:
        row["document"] += "</p>"
    planted.fault("markup-in-texts", *markup)
    for row in prompt:
        row["query"] = "query: " + row["query"]
    planted.fault("prompts-in-texts", *prompt)
    copied[0]["document"] = f"It is said that {copied[0]['query'].lower()} But who knows?"
    same[0]["document"] = same[0]["query"]
    planted.fault("query-copies-document", copied[0], same[0])


def _plant_numbers(planted: Planted) -> None:
    for name, value, test in (
        ("score_ce", 1.7, "bad-scores"),
        ("score_ce", float("nan"), "bad-scores"),
        ("grade", -0.5, "bad-grades"),
        ("weight", float("inf"), "bad-weights"),
        ("weight", -1.0, "bad-weights"),
    ):
        rows = planted.query()
        rows[0][name] = value
        planted.fault(test, rows[0])
    suspect = planted.query()
    suspect[2]["score_ce"] = suspect[0]["score_ce"] + 0.005
    planted.fault("suspected-false-negatives", suspect[2])
    undecided = planted.query()
    undecided[3] |= {"label": None, "grade": None}
    planted.fault("undecided", undecided[3])
    planted.fault("uneven-negatives", undecided[0])
    fake = planted.query()
    fake[1]["origin"] = "generate:negatives/fake"
    planted.fault("made-by-fake", fake[1])


def _plant_across(planted: Planted) -> None:
    first, again, conflict, other, bereft, lone, apart = (planted.query() for _ in range(7))
    for row in again:
        row["query"] = first[0]["query"]
    planted.fault("duplicate-queries", again[0])
    for row in other:
        row["query"] = conflict[0]["query"] + " "
    other[2]["document"] = conflict[0]["document"]
    planted.fault("label-conflicts", other[2])
    planted.fault("duplicate-queries", other[0])
    bereft[0] |= {"label": 0, "score_ce": 0.1, "grade": 0.0}
    planted.fault("no-positive", bereft[0])
    for row in lone[1:]:
        planted.rows.remove(row)
    planted.fault("no-negative", lone[0])
    two = planted.query()
    two[1]["doc_id"] = first[1]["doc_id"]
    planted.fault("one-id-two-texts", two[1])
    _plant_apart_and_hubs(planted, apart)


def _plant_apart_and_hubs(planted: Planted, apart: list[Row]) -> None:
    hub, crowd = planted.sentence(), planted.sentence()
    queries = [planted.query() for _ in range(14)]
    for rows in queries[:12]:
        rows[1] |= {"doc_id": "hub", "document": hub}
    planted.fault("hubs", *(rows[1] for rows in queries[:12]))
    crowded = [planted.query() for _ in range(12)]
    for rows in crowded:
        rows[0] |= {"doc_id": "crowd", "document": crowd}
    planted.fault("crowded-positives", *(rows[0] for rows in crowded))
    last = apart.pop()
    planted.rows.remove(last)
    planted.rows.append(last)
    planted.fault("rows-apart", last)


def shown(report: Report) -> dict[str, set[int]]:
    """The rows that each test found, where all of them are shown."""
    return {
        each.name: {int(example.place.removeprefix("row ")) - 1 for example in each.examples}
        for each in report.findings
        if each.examples
    }


def counts(report: Report) -> dict[str, int]:
    return {each.name: each.count for each in report.findings if each.count}


def test_a_clean_set_has_nothing_to_tell_of() -> None:
    report = check(clean(), limit=Limit())
    assert counts(report) == {}
    assert all(verdict(each) == "ok" for each in report.findings)


def test_each_test_finds_exactly_the_rows_that_were_planted() -> None:
    planted = faulty()
    report = check(planted.table(), examples=1000)
    found = shown(report)
    assert {name: sorted(rows) for name, rows in found.items()} == planted.faults
    assert counts(report) == {name: len(rows) for name, rows in planted.faults.items()}


def test_every_test_has_a_planted_fault_here() -> None:
    elsewhere = {
        *("no-rows", "bad-labels", "unresolved-ids", "stale-texts", "leakage", "leaked-documents", "straddling"),
        *("batch-conflicts", "constant-scores", "score-outliers", "positives-below-negatives", "length-tells-label"),
        *("language-mixture", "stray-language"),
    }
    assert {*faulty().faults, *elsewhere} == set(NAMES)


def test_what_is_found_does_not_depend_on_how_the_rows_come() -> None:
    table = faulty().table()
    pieces = [table.slice(start, 7) for start in range(0, table.num_rows, 7)]
    assert run_checks(lambda: pieces, Settings()).findings == run_checks(lambda: [table], Settings()).findings


def test_three_examples_are_shown_and_another_seed_shows_others() -> None:
    table = faulty().table()
    hubs = [next(each for each in check(table, seed=seed).findings if each.name == "hubs") for seed in (0, 0, 1)]
    assert [len(each.examples) for each in hubs] == [3, 3, 3]
    assert hubs[0] == hubs[1] != hubs[2]
    assert hubs[0].examples[0].note == "a negative of 12 of 275 queries (4.4%)"


def test_only_and_skip_choose_the_tests() -> None:
    table = clean(3)
    assert [each.name for each in check(table, only=["hubs", "empty-texts"]).findings] == ["empty-texts", "hubs"]
    assert "hubs" not in {each.name for each in check(table, skip=["hubs"]).findings}
    with pytest.raises(PairmineError, match=r"--only hub: no test of this name; did you mean hubs\?"):
        check(table, only=["hub"])


def test_an_empty_set_fails() -> None:
    report = check(clean(1).slice(0, 0))
    assert counts(report) == {"no-rows": 1}
    assert report.not_run


def test_ids_that_resolve_to_nothing_or_to_another_text_are_told() -> None:
    pairs = clean(5)
    corpus = pa.table({"id": pairs["doc_id"], "text": pairs["document"].cast(pa.large_string())}).slice(2)
    texts = corpus["text"].to_pylist()
    texts[3] = "another text"
    corpus = corpus.set_column(1, "text", pa.array(texts, pa.large_string()))
    queries = pa.table({"id": ["q0", "q1", "q2", "q3"], "text": pc.unique(pairs["query"]).to_pylist()[:4]})
    found = shown(check(pairs, corpus=corpus, queries=queries, examples=50))
    assert found == {"unresolved-ids": {0, 1, 16, 17, 18, 19}, "stale-texts": {5}}


def test_a_title_may_stand_before_the_text_or_be_left_out() -> None:
    pairs = clean(2)
    texts = [text.split(" ", 1) for text in pairs["document"].to_pylist()]
    corpus = pa.table({"id": pairs["doc_id"], "title": [a for a, _ in texts], "text": [b for _, b in texts]})
    assert counts(check(pairs, corpus=corpus)) == {}


def test_queries_and_positives_of_an_evaluation_set_are_told_and_its_negatives_are_not() -> None:
    pairs = clean(8)
    texts = pairs["document"].to_pylist()
    held = pa.table(
        {
            "id": ["a", "b", "c"],
            "text": pa.array([pairs["query"][4].as_py().upper(), texts[8], texts[13]], pa.large_string()),
        }
    )
    report = check(pairs, against={"eval": held}, examples=50)
    assert shown(report) == {"leakage": {4}, "leaked-documents": {8}}
    notes = [each.examples[0].note for each in report.findings if each.count]
    assert notes == ['it is a copy of "a" of eval', 'it is a copy of "b" of eval']


def test_rows_in_two_splits_are_told_by_id_by_text_and_nearly() -> None:
    planted = Planted()
    queries = [planted.query() for _ in range(30)]
    long = " ".join(planted.sentence() for _ in range(12))
    queries[3][0]["document"], queries[25][0]["document"] = long, long + " And more."
    queries[26][0] |= {"doc_id": queries[4][0]["doc_id"], "document": queries[4][0]["document"]}
    for row in queries[27]:
        row["query"] = queries[5][0]["query"]
    pairs = planted.table()
    split = pa.array(["train"] * 80 + ["dev"] * 40)
    found = shown(check(pairs.append_column("split", split), only=["straddling"], examples=50))
    assert found == {"straddling": {12, 16, 104, *range(20, 24), *range(108, 112)}}
    other = pa.table({"id": ["x"], "text": pa.array([queries[5][0]["query"]], pa.large_string())})
    assert shown(check(pairs, splits={"dev": other}, only=["straddling"], examples=50)) == {
        "straddling": {*range(20, 24), *range(108, 112)}
    }


def test_a_document_that_answers_another_query_of_its_batch_is_told() -> None:
    planted = Planted()
    queries = [planted.query(batch=number // 4) for number in range(8)]
    queries[1][2] |= {"doc_id": queries[0][0]["doc_id"], "document": queries[0][0]["document"]}
    queries[2][3]["document"] = queries[3][0]["document"]
    queries[7][2] |= {"doc_id": queries[1][0]["doc_id"], "document": queries[1][0]["document"]}
    found = shown(check(planted.table(), only=["batch-conflicts"], examples=50))
    assert found == {"batch-conflicts": {6, 11}}


def test_a_planned_mix_has_no_batch_conflict() -> None:
    from pairmine import mix
    from pairmine.stages.mix.plan import Batching
    from pairmine.stages.mix.sources import Source

    planted = Planted()
    for number in range(24):
        rows = planted.query()
        rows[0] |= {"doc_id": f"label {number % 6}", "document": f"The label of number {number % 6} and so on."}
    mixed = mix([Source("one", planted.table())], batching=Batching("mixed", 4), seed=0)
    assert counts(check(mixed.kept, only=["batch-conflicts", "duplicate-queries"])) == {}


def test_columns_of_scores_are_looked_at_as_a_whole() -> None:
    pairs = clean(30)
    label = pairs["label"].to_numpy()
    odd = [0.1 * at for at in range(120)]
    odd[7] = 9e4
    for name, values, scale in (("flat", [0.5] * 120, "cosine"), ("wrong", 1.0 - label, "cosine"), ("odd", odd, None)):
        field = schema.score_field(name, scale) if scale else pa.field(f"score_{name}", pa.float32())
        pairs = pairs.append_column(field, pa.array(values, pa.float32()))
    found = shown(check(pairs, examples=1000))
    assert found["constant-scores"] == set(range(120))
    assert found["positives-below-negatives"] == set(range(0, 120, 4))
    assert found["score-outliers"] == {7}


def test_lengths_that_tell_the_label_are_told() -> None:
    planted = Planted()
    for _ in range(30):
        planted.query()[0]["document"] += " And that is why it was so and not in any other way at all, they say."
    report = check(planted.table())
    assert counts(report) == {"length-tells-label": 90}
    assert next(each for each in report.findings if each.count).examples[0].note == (
        "the positive is longer than its negatives"
    )


def test_queries_in_another_language_than_their_document_are_told() -> None:
    english = "The committee will discuss the proposal about public transport in the city next week."
    german = "Der Ausschuss wird den Vorschlag zum Nahverkehr in der Stadt in der nächsten Woche besprechen."
    planted = Planted()
    for number in range(60):
        for row in planted.query():
            row["query"], row["document"] = f"{english} {number}", f"{english[:-1]} and again {row['doc_id']}."
    planted.rows[40]["document"] = german
    found = shown(check(planted.table(), only=["language-mixture", "stray-language"]))
    assert found == {"language-mixture": {40}, "stray-language": {40}}


def test_tokens_are_counted_where_there_is_a_tokenizer() -> None:
    limit = Limit(20, lambda texts: [len(text.split()) for text in texts])
    pairs = clean(3)
    texts = ["one " * 21, *pairs["document"].to_pylist()[1:]]
    pairs = pairs.set_column(3, pairs.schema.field("document"), pa.array(texts).dictionary_encode())
    report = check(pairs, limit=limit, only=["over-long"])
    assert report.findings[0].examples[0].note == "21 tokens, 20 at most"
    assert report.findings[0].count == 1


def test_a_set_without_texts_is_tested_by_its_ids() -> None:
    report = check(clean(4).drop_columns(["query", "document"]))
    assert counts(report) == {}
    assert "empty-texts" in report.not_run
    assert "duplicate-negatives" not in report.not_run


FIXABLE = {test.name for test in TESTS if test.fixable}
IDS, TEXTS = st.sampled_from("abc"), st.sampled_from(["one", "ONE", "two", "three", "", " ", None])


def _what(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a copy of the row has too."""
    query, _, _, text, label = row
    return query, (text or "").strip().lower(), label


@settings(max_examples=60, deadline=None)
@example([("x", "", "b", "three", 0), ("x", "one", "c", "three", 0), ("x", "one", "a", "two", 1)])
@example([("x", "", "a", "one", 1), ("x", "two", "a", "ONE", 1)])
@example([("x", "two", "a", "two", 1), ("x", "one", "a", "one", 0), ("x", "two", "b", "one", 0)])
@given(st.lists(st.tuples(st.sampled_from("xyz"), TEXTS, IDS, TEXTS, st.sampled_from([0, 1, None])), max_size=14))
def test_what_check_would_drop_leaves_nothing_more_to_drop(rows: list[tuple[Any, ...]]) -> None:
    names = ("query_id", "query", "doc_id", "document", "label")
    kinds = (pa.string(), pa.string(), pa.string(), pa.string(), pa.int8())
    columns = [pa.array([row[at] for row in rows], kind) for at, kind in enumerate(kinds)]
    table = schema.as_pairs(pa.table(columns, names).append_column("origin", pa.repeat("given", len(rows))))
    report = check(table)
    keep = pa.array([row not in set(report.drops.tolist()) for row in range(table.num_rows)], pa.bool_())
    left = check(table.filter(keep))
    assert not FIXABLE & set(counts(left))
    stays = {_what(row) for row, is_kept in zip(rows, keep.to_pylist(), strict=True) if is_kept}
    for row, reason in zip(report.drops.tolist(), report.reasons.tolist(), strict=True):
        assert not reason.startswith("duplicate") or _what(rows[row]) in stays
    assert len(report.drops) <= sum(each.count for each in report.findings if each.fixable)


def of_one_query(*rows: tuple[str, str | None, int | None]) -> pa.Table:
    """Rows of one query with these doc_ids, documents and labels."""
    found = [
        {"query_id": "q", "query": "a question", "doc_id": doc, "document": text, "label": label, "origin": "given"}
        for doc, text, label in rows
    ]
    made = pa.schema([pa.field(name, schema.pair_type(name)) for name in found[0]])
    return schema.as_pairs(pa.Table.from_pylist(found, schema=made))


def test_a_positive_stays_whose_earlier_row_has_no_text() -> None:
    report = check(of_one_query(("d", " ", 1), ("d", "the answer", 1), ("e", "something else", 0)))
    assert counts(report) == {"empty-texts": 1}
    assert report.drops.tolist() == [0]


def test_rows_of_one_id_and_two_texts_are_no_copies_of_each_other() -> None:
    report = check(of_one_query(("p", "the answer", 1), ("d", "one text", 0), ("d", "another", 0)))
    assert counts(report) == {"one-id-two-texts": 1}
    assert not len(report.drops)


def test_what_has_no_shape_is_no_text() -> None:
    texts = ["\u200b", "\ufeff \n", "\u3000", "\u00a0\u2060", "\x00", "\u00ad"]
    report = check(of_one_query(("p", "the answer", 1), *((text, text, 0) for text in texts)), only=["empty-texts"])
    assert counts(report) == {"empty-texts": len(texts)}
    assert "one-letter-texts" not in counts(check(of_one_query(("p", "\u3000", 1), ("d", " ", 0))))
    assert counts(check(of_one_query(("p", "\u6c34", 1)), only=["one-letter-texts"])) == {"one-letter-texts": 1}


@pytest.mark.parametrize(
    ("values", "line"),
    [([str(n) for n in range(101)], "names over 100 splits"), ([["train"]] * 101, "the name of a split is a text")],
)
def test_a_column_that_names_no_splits_ends_in_a_line(values: list[Any], line: str) -> None:
    table = of_one_query(*((f"d{n}", f"text {n}", 0) for n in range(101))).append_column("split", pa.array(values))
    with pytest.raises(PairmineError, match=line):
        check(table)
    assert "straddling" not in {each.name for each in check(table, skip=["straddling"]).findings}


def test_the_grades_of_a_file_are_labels_enough() -> None:
    table = of_one_query(("a", "one text", None), ("b", "another", None))
    assert counts(check(table)) == {"undecided": 2}
    assert counts(check(table.append_column("score_given", pa.array([4.2, None])))) == {"undecided": 1}


def test_a_query_with_thousands_of_rows_is_not_compared_all_with_all() -> None:
    table = of_one_query(*((f"d{n}", f"text {n}", int(n < 250)) for n in range(12_000)))
    blocks = [len(one) for one, _ in pairs_of_labels(Chunk.of(table, 0))]
    assert max(blocks) <= 2_000_000
    assert sum(blocks) == MOST_POSITIVES * (12_000 - 250)


def test_blank_ids_and_texts_without_words_are_tested_like_others(recwarn: pytest.WarningsRecorder) -> None:
    rows = [
        {
            "query_id": query,
            "query": text,
            "doc_id": f"{query}{place}",
            "document": f"{text}{'-' * place}",
            "label": int(not place),
            "origin": "given",
        }
        for query, text in ((" ", "%s%n"), ("\n", "]]>"), ("", "what"))
        for place in range(3)
    ]
    found = run_checks(lambda: iter([pa.Table.from_pylist(rows)]), Settings())
    assert {each.name: each.out_of for each in found.findings}["no-positive"] == 3
    assert not [each for each in recwarn if issubclass(each.category, RuntimeWarning)]
