"""What a test set takes out of training data, and what it leaves alone."""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.cli.main import main
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.schema import as_pairs
from pairmine.stages.dedup import dedup
from pairmine.stages.dedup.against import KINDS, Against, EvalSet
from pairmine.tokens import tokens

SHARED = Path(__file__).parents[2] / "shared" / "data"


PASSAGE = " ".join(f"word{i}" for i in range(60))
FILLER = " ".join(f"filler{i}" for i in range(150))
ENGINES = ("plain", "compiled")


def eval_set(*texts: str, name: str = "eval.jsonl") -> EvalSet:
    ids = [f"e{i}" for i in range(len(texts))]
    return EvalSet(name, pa.array(ids, pa.string()), pa.chunked_array([pa.array(texts, pa.large_string())]))


def against(*sets: EvalSet, **options: Any) -> Against:
    return Against(sets, **{"threshold": 0.8, "ngram": 3, **options})


def corpus(*texts: str) -> pa.Table:
    return pa.table({"id": [f"d{i}" for i in range(len(texts))], "text": pa.array(texts, pa.large_string())})


def pair_set(*rows: tuple[str, str, str, str, int | None]) -> pa.Table:
    names = ("query_id", "query", "doc_id", "document", "label")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    table = pa.table({name: pa.array(list(values)) for name, values in columns.items()})
    return as_pairs(table.append_column("origin", pa.array(["given"] * len(rows), pa.string())))


def run(table: pa.Table, by: str = "document", **options: Any) -> Outcome:
    return dedup(table, by=by, **{"near": True, "threshold": 0.8, "ngram": 3, "permutations": 128, **options})


def found(texts: list[str], *sets: EvalSet, **options: Any) -> dict[int, tuple[int, str, float]]:
    """For each place with a hit: the test text, the kind and the similarity, to three digits."""
    hits = against(*sets, **options).find(pa.chunked_array([pa.array(texts, pa.large_string())]))
    rows = zip(hits.places.tolist(), hits.of.tolist(), hits.kind.tolist(), hits.similarity.tolist(), strict=True)
    return {place: (of, KINDS[kind], round(similarity, 3)) for place, of, kind, similarity in rows}


def inside(text: str) -> str:
    return f"{FILLER} {text} {FILLER}"


# What is found


def test_a_row_leaves_as_a_copy_as_a_near_copy_or_because_it_holds_a_test_text() -> None:
    near = PASSAGE.replace("word30", "other")
    table = corpus("nothing of it", PASSAGE.upper(), near, inside(PASSAGE))
    outcome = run(table, against=against(eval_set("another text", PASSAGE)))
    assert outcome.kept["id"].to_pylist() == ["d0"]
    rows = outcome.rejected.to_pylist()
    assert [row["reason"] for row in rows] == [f"in the test set: {kind}" for kind in KINDS]
    assert {(row["duplicate_of"], row["similar_to"], row["against"]) for row in rows} == {("e1", "e1", "eval.jsonl")}
    assert [row["similarity"] for row in rows] == [1.0, pytest.approx(55 / 61), 1.0]


def test_a_query_inside_of_a_passage_is_found_whatever_its_case_and_punctuation() -> None:
    query = "What is the boiling point of water at high altitude?"
    assert found([inside(query.upper().replace("?", "!"))], eval_set(query)) == {0: (0, "contains", 1.0)}
    assert found([inside(query.removeprefix("What "))], eval_set(query)) == {0: (0, "contains", 0.667)}
    assert found([inside("the boiling point of water")], eval_set(query)) == {}


def test_half_of_a_passage_is_enough_and_less_is_not() -> None:
    words = PASSAGE.split()
    assert found([inside(" ".join(words[:32]))], eval_set(PASSAGE)) == {0: (0, "contains", 0.5)}
    assert found([inside(" ".join(words[:31]))], eval_set(PASSAGE)) == {}
    assert found([inside(" ".join(words[:20]))], eval_set(PASSAGE), containment=0.25) == {0: (0, "contains", 0.286)}


@pytest.mark.parametrize(
    "query",
    ["paris", "capital of france", "how to be what you are", "the", "法国的首都在哪里", "???", "\u2764\ufe0f"],
)
def test_a_short_or_empty_test_text_must_be_the_whole_of_another_one(query: str) -> None:
    assert found([inside(query), f"{query} {PASSAGE}"], eval_set(query)) == {}
    assert found([query.upper()], eval_set(query)) == {0: (0, "exact", 1.0)}


def test_where_short_begins_can_be_told() -> None:
    assert found([inside("capital of france")], eval_set("capital of france"), whole_below=3) == {
        0: (0, "contains", 1.0)
    }
    query = "which city is the capital of france"
    assert found([inside(query)], eval_set(query)) == {0: (0, "contains", 1.0)}
    assert found([inside(query)], eval_set(query), whole_below=8) == {}


def test_a_longer_question_in_chinese_is_found_in_a_passage() -> None:
    query = "哪一座城市是法兰西共和国的首都"
    passage = "这是一篇关于欧洲的文章。" + query + "？答案是巴黎。"
    assert found([passage, "这是一篇关于欧洲的文章。"], eval_set(query)) == {0: (0, "contains", 1.0)}


def test_blank_texts_are_in_no_eval_set() -> None:
    assert found(["", " \n", "text"], eval_set("", " ", "other")) == {}
    assert found(["", "text"], eval_set("", "")) == {}
    assert found([], eval_set("text")) == {}


def test_punctuation_makes_another_text_but_a_near_copy() -> None:
    assert found(["what is 3 + 4", "what is 3 - 4"], eval_set("what is 3 - 4")) == {
        0: (0, "near", 1.0),
        1: (0, "exact", 1.0),
    }
    assert found(["what is 3 + 4"], eval_set("what is 3 - 4"), exact="words") == {0: (0, "exact", 1.0)}
    assert found(["Text", "text"], eval_set("text"), exact="bytes") == {0: (0, "near", 1.0), 1: (0, "exact", 1.0)}


def test_of_several_test_texts_the_most_similar_is_named_and_of_equals_the_first() -> None:
    near = PASSAGE.replace("word30", "other")
    sets = (eval_set(near, PASSAGE, name="a"), eval_set(PASSAGE, PASSAGE.upper(), name="b"))
    assert found([PASSAGE, near, inside(near)], *sets) == {
        0: (1, "exact", 1.0),
        1: (0, "exact", 1.0),
        2: (0, "contains", 1.0),
    }
    outcome = run(corpus("x", inside(near)), against=against(*sets))
    assert outcome.rejected["against"].to_pylist() == ["a"]


def test_without_a_threshold_only_exact_copies_are_found() -> None:
    near = PASSAGE.replace("word30", "other")
    assert found([PASSAGE, near, inside(PASSAGE)], eval_set(PASSAGE), threshold=None) == {0: (0, "exact", 1.0)}


def test_near_copies_are_compared_by_characters_where_asked() -> None:
    text = "the quick brown fox jumps over the lazy dog"
    table = corpus(text.replace("quick", "quack"), "something else entirely")
    assert run(table, unit="character", ngram=4, against=against(eval_set(text), unit="character", ngram=4)).notes
    assert found([text.replace("quick", "quack")], eval_set(text), unit="character", ngram=4) == {0: (0, "near", 0.814)}
    assert found([text.replace("quick", "quack")], eval_set(text), containment=1.0) == {}


# What follows from it


def test_rows_of_a_test_set_leave_before_copies_are_sought() -> None:
    leaked, near = PASSAGE, PASSAGE.replace("word30", "other").replace("word7", "else")
    sets = against(eval_set(leaked), threshold=0.95, containment=1.0)
    outcome = run(corpus(leaked, near, near.upper()), against=sets)
    assert outcome.kept["id"].to_pylist() == ["d1"]
    assert outcome.rejected["duplicate_of"].to_pylist() == ["e0", "d1"]
    assert outcome.rejected["against"].to_pylist() == ["eval.jsonl", None]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(["a", "b", "A", "c d", "c  D", "e"]), min_size=1, max_size=12),
    st.lists(st.sampled_from(["a", "b", "e", "f"]), min_size=1, max_size=2),
    st.sampled_from(["first", "longest"]),
)
@pytest.mark.slow
@pytest.mark.long
def test_the_rest_is_what_dedup_makes_of_the_rows_that_are_in_no_test_set(
    texts: list[str], tests: list[str], keep: str
) -> None:
    table = corpus(*texts)
    clean = run(table, against=against(eval_set(*tests)), against_only=True).kept
    assert run(table, keep=keep, against=against(eval_set(*tests))).kept == run(clean, keep=keep).kept
    pairs = pair_set(*((f"q{i // 3}", f"query {i // 3}", f"d{i}", text, 1) for i, text in enumerate(texts)))
    for by in ("document", "pair"):
        clean = run(pairs, by, against=against(eval_set(*tests)), against_only=True).kept
        assert run(pairs, by, keep=keep, against=against(eval_set(*tests))).kept == run(clean, by, keep=keep).kept


def test_against_only_leaves_copies_alone() -> None:
    outcome = run(corpus("leaked", "same", "same"), against=against(eval_set("leaked")), against_only=True)
    assert outcome.kept["id"].to_pylist() == ["d1", "d2"]
    assert outcome.rejected["reason"].to_pylist() == ["in the test set: exact"]


PAIRS = pair_set(
    ("q1", "leaked question", "d1", "first", 1),
    ("q1", "leaked question", "d2", "second", 0),
    ("q2", "two", "d3", "leaked answer", 1),
    ("q2", "two", "d4", "fourth", 0),
    ("q3", "three", "d3", "leaked answer", 0),
    ("q3", "three", "d5", "fifth", 1),
)


@pytest.mark.parametrize(
    ("by", "stay"),
    [
        ("query", ["d3", "d4", "d3", "d5"]),
        ("document", ["d1", "d2", "d5"]),
        ("pair", ["d5"]),
    ],
)
def test_of_a_pair_set_the_sides_that_are_compared_are_checked(by: str, stay: list[str]) -> None:
    outcome = run(PAIRS, by, against=against(eval_set("leaked question", "leaked answer")))
    assert outcome.kept["doc_id"].to_pylist() == stay
    assert outcome.kept.num_rows + outcome.rejected.num_rows == 6
    reasons = dict(zip(outcome.rejected["doc_id"].to_pylist(), outcome.rejected["reason"].to_pylist(), strict=True))
    if by != "query":
        assert reasons["d4"] == "no positive left"


def test_marked_rows_name_the_test_text() -> None:
    outcome = run(corpus("leaked", "fine"), action="mark", against=against(eval_set("leaked")))
    assert outcome.kept["against"].to_pylist() == ["eval.jsonl", None]
    assert outcome.notes["marked: in the test set: exact"] == 1


# The same by any way


def reference(row: str, test: str, ngram: int, threshold: float, containment: float) -> tuple[str, float] | None:
    one, other = tokens(row), tokens(test)
    if one and " ".join(row.casefold().split()) == " ".join(test.casefold().split()):
        return "exact", 1.0
    if one and one == other:
        return "near", 1.0
    grams = [{tuple(words[i : i + ngram]) for i in range(len(words) - ngram + 1)} for words in (one, other)]
    if all(grams) and (jaccard := len(grams[0] & grams[1]) / len(grams[0] | grams[1])) >= threshold:
        return "near", jaccard
    length = 5 if len(other) >= 16 else min(8, len(other))
    if len(other) < 4:
        return None
    runs = [{tuple(words[i : i + length]) for i in range(len(words) - length + 1)} for words in (one, other)]
    share = len(runs[0] & runs[1]) / len(runs[1])
    return ("contains", share) if share >= containment else None


words = st.sampled_from([*"bcdfg", "É", "B", "x-y"])
sentences = st.lists(words, max_size=30).map(" ".join)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(sentences, min_size=1, max_size=5),
    st.lists(st.tuples(sentences, st.integers(0, 4), st.integers(0, 12), sentences), max_size=6),
    st.sampled_from([(1, 0.5), (3, 0.8), (2, 1.0)]),
    st.sampled_from([0.2, 0.5, 1.0]),
)
def test_small_texts_are_found_as_by_comparing_all_with_all(
    engine: str,
    tests: list[str],
    rows: list[tuple[str, int, int, str]],
    near: tuple[int, float],
    containment: float,
) -> None:
    if engine == "compiled":
        pytest.importorskip("numba")
    texts = [" ".join([before, *tests[of % len(tests)].split()[skip:], after]) for before, of, skip, after in rows]
    ngram, threshold = near
    wanted = {}
    for place, text in enumerate(texts):
        verdicts = [(reference(text, test, ngram, threshold, containment), of) for of, test in enumerate(tests)]
        best = min(
            ((KINDS.index(verdict[0]), -verdict[1], of) for verdict, of in verdicts if verdict),
            default=None,
        )
        if best:
            wanted[place] = (best[2], KINDS[best[0]], round(-best[1], 3))
    options = {"ngram": ngram, "threshold": threshold, "containment": containment, "engine": engine}
    assert found(texts, eval_set(*tests), **options) == wanted


def test_threads_pieces_and_engines_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(3)
    tests = [" ".join(draw.choices([f"w{i}" for i in range(300)], k=draw.randint(3, 60))) for _ in range(80)]
    texts = [f"{FILLER[: draw.randint(0, 900)]} {draw.choice(tests)} é {i}" for i in range(400)]
    whole = found(texts, eval_set(*tests), engine="plain")
    assert len(whole) > 300
    assert found(texts, eval_set(*tests), workers=3, engine="plain") == whole
    parts = against(eval_set(*tests), engine="plain")
    halves = [parts.find(pa.chunked_array([pa.array(half, pa.large_string())])) for half in (texts[:150], texts[150:])]
    assert halves[0].places.tolist() + (halves[1].places + 150).tolist() == sorted(whole)
    monkeypatch.setattr("pairmine.stages.dedup.kernel.slices._SLICE_TEXTS", 7)
    monkeypatch.setattr("pairmine.stages.dedup.grams._AT_ONCE", 10)
    assert found(texts, eval_set(*tests), engine="plain") == whole
    pytest.importorskip("numba")
    assert found(texts, eval_set(*tests), engine="compiled", workers=2) == whole


def test_ten_thousand_test_texts_from_one_template_take_no_time() -> None:
    opening = "which of the following statements about the theory of the thing is true for"
    tests = eval_set(*(f"{opening} case number {i} of {i * 7}" for i in range(10_000)))
    texts = [f"{opening} case number {i} of {i * 7} and so on" for i in range(0, 10_000, 50)] + [opening] * 20
    hits = found(texts, tests)
    assert len(hits) == 220
    assert [hits[i][0] for i in range(200)] == list(range(0, 10_000, 50))


# Real texts


def load(name: str) -> list[str]:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the shared data set {name} is not on this machine")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [f"{row.get('title') or ''} {row['text']}".strip() for row in rows]


def test_planted_queries_and_edited_passages_are_found_and_other_passages_are_not() -> None:
    queries = [text for text in load("scifact/queries.jsonl.gz") if len(text.split()) >= 4][:300]
    passages = [text for text in load("trec-dl-2021/corpus.jsonl.gz") if len(text.split()) >= 30][:200]
    other = load("news-near-duplicates/corpus.jsonl.gz")[:400]
    draw = random.Random(0)
    edited = [" ".join("changed" if draw.random() < 0.03 else word for word in text.split()) for text in passages]
    rows = [f"{other[i % 400]} {text} {other[i % 399]}" for i, text in enumerate([*queries, *edited])]
    hits = found([*rows, *other], eval_set(*queries, *passages))
    assert max(hits) < len(rows)
    assert set(range(len(queries))) <= set(hits)
    assert len(hits) >= 0.99 * len(rows)


# The command


class Here:
    """Runs a command in this process."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, heard: pytest.CaptureFixture[str]) -> None:
        patch.chdir(folder)
        self._patch, self._heard = patch, heard

    def __call__(self, *words: str) -> tuple[int, str, list[str]]:
        self._patch.setattr(sys, "argv", ["pairmine", *words])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = self._heard.readouterr()
        return int(left.value.code or 0), out, err.splitlines()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(tmp_path, monkeypatch, capsys)


def beir(folder: Path) -> None:
    (folder / "qrels").mkdir(parents=True)
    documents = {"1": "the answer", "2": "not judged relevant", "3": "answer of the training split"}
    queries = {"a": "the question of the test split", "b": "the question of the training split"}
    for name, rows in (("corpus", documents), ("queries", queries)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in rows.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\na\t1\t1\na\t2\t0\n")
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nb\t3\t1\n")


def write(path: Path, *texts: str) -> None:
    path.write_text("".join(json.dumps({"id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(texts)))


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        ([], ["the answer", "the question of the test split"]),
        (["--against-side", "queries"], ["the question of the test split"]),
        (["--against-side", "documents"], ["the answer"]),
        (["--against-split", "train"], ["the question of the training split", "answer of the training split"]),
    ],
)
def test_of_a_beir_folder_the_queries_and_relevant_documents_of_a_split_are_looked_for(
    here: Here, tmp_path: Path, words: list[str], gone: list[str]
) -> None:
    beir(tmp_path / "eval")
    texts = ["the answer", "not judged relevant", "the question of the test split"]
    write(tmp_path / "c.jsonl", *texts, "the question of the training split", "answer of the training split")
    code, _, said = here("dedup", "c.jsonl", "--against", "eval", *words, "-o", "o.jsonl", "--rejects", "r.jsonl")
    assert code == 0, said
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert sorted(row["text"] for row in rows) == sorted(gone)
    assert {row["against"] for row in rows} == {"eval"}


def test_a_text_file_names_the_line_and_several_sets_add_up(here: Here, tmp_path: Path) -> None:
    write(tmp_path / "c.jsonl", "one leaked line", "fine", "a question of the other set")
    (tmp_path / "held-out.txt").write_text("nothing\n\none leaked line\n")
    (tmp_path / "q.csv").write_text("qid,question\n7,a question of the other set\n")
    words = ["--against", "held-out.txt", "--against", "q.csv", "-o", "o.jsonl", "--rejects", "r.jsonl"]
    code, _, said = here("dedup", "c.jsonl", *words)
    assert code == 0
    assert "pairmine: held-out.txt: 2 texts to look for" in said
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [(row["duplicate_of"], row["against"]) for row in rows] == [
        ("held-out.txt:3", "held-out.txt"),
        ("7", "q.csv"),
    ]


def test_a_pair_set_is_looked_for_by_its_queries_and_positives(here: Here, tmp_path: Path) -> None:
    pq.write_table(PAIRS, tmp_path / "eval.parquet")
    write(tmp_path / "c.jsonl", "leaked question", "first", "second", "leaked answer", "fourth", "fifth")
    here("dedup", "c.jsonl", "--against", "eval.parquet", "-q", "-o", "o.jsonl")
    rows = [json.loads(line)["text"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert rows == ["second", "fourth"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--against", "c.jsonl"], "--against c.jsonl: is the input itself"),
        (["--against", "./c.jsonl"], "--against ./c.jsonl: is the input itself"),
        (["--against", "e.txt", "--against", "e.txt"], "--against e.txt: comes twice"),
        (["--against", "-"], "--against -: wants a file"),
        (["--against", "missing.txt"], "missing.txt: no such file or folder"),
        (["--against", "e.txt", "--against-split", "test"], "e.txt: --against-split test is for BEIR folders"),
        (["--against", "e.txt", "--against-column", "body"], 'no column "body"'),
        (["--against", "o.jsonl"], "-o o.jsonl: is an input too and would be lost"),
        (["--containment", "0.4"], "--containment has no effect without --against; leave one of them out"),
        (
            ["--against", "e.txt", "--exact-only", "--containment", "0.4"],
            "--containment has no effect with --exact-only",
        ),
        (["--against", "e.txt", "--against-only", "--keep", "longest"], "--keep has no effect with --against-only"),
        (["--against", "e.txt", "--containment", "0"], "--containment is 0; pass a share above 0 and up to 1"),
        (["--against", "empty.parquet"], "--against empty.parquet: holds no text to look for"),
    ],
)
def test_a_test_set_that_cannot_be_meant_is_told_in_one_line(
    here: Here, tmp_path: Path, words: list[str], line: str
) -> None:
    write(tmp_path / "c.jsonl", "one", "two")
    write(tmp_path / "o.jsonl", "one", "two")
    (tmp_path / "e.txt").write_text("one\n")
    pq.write_table(PAIRS.slice(0, 0), tmp_path / "empty.parquet")
    code, _, said = here("dedup", "c.jsonl", *words, "-o", "o.jsonl")
    assert code == 2
    assert line in said[-1]
    assert (tmp_path / "o.jsonl").read_text().count("\n") == 2


def test_a_test_set_that_takes_every_row_is_told(here: Here, tmp_path: Path) -> None:
    write(tmp_path / "c.jsonl", "one", "two")
    write(tmp_path / "copy.jsonl", "two", "one")
    code, _, said = here("dedup", "c.jsonl", "--against", "copy.jsonl", "-o", "o.jsonl")
    assert (code, said[-1]) == (0, "pairmine: warning: every row leaves; is a test set where the input came from?")


def test_that_exact_copies_alone_are_looked_for_is_told(here: Here, tmp_path: Path) -> None:
    write(tmp_path / "c.jsonl", "one leaked line", "and one leaked line")
    (tmp_path / "e.txt").write_text("one leaked line\n")
    _, _, said = here("dedup", "c.jsonl", "--exact-only", "--against", "e.txt", "-o", "o.jsonl")
    assert [line.split()[-1] for line in said if "in the test set" in line] == ["-1"]
    assert any("--exact-only: test texts are found as exact copies alone" in line for line in said)


def test_one_test_set_in_two_spellings_comes_twice(here: Here, tmp_path: Path) -> None:
    write(tmp_path / "c.jsonl", "one", "two")
    (tmp_path / "e.txt").write_text("one\n")
    code, _, said = here("dedup", "c.jsonl", "--against", "e.txt", "--against", "./e.txt", "-o", "o.jsonl")
    assert (code, said[-1]) == (2, "pairmine: --against ./e.txt: comes twice; name each test set once")


def test_shares_out_of_range_are_refused() -> None:
    for options in ({"containment": 0.0}, {"containment": 1.5}, {"whole_below": 0}):
        with pytest.raises(PairmineError, match="pass"):
            against(eval_set("x"), **options)


def test_a_test_text_that_is_not_utf8_is_told_of_by_its_test_set() -> None:
    texts = pa.chunked_array([pa.array([b"fine", b"caf\xe9"]).view(pa.string())])
    with pytest.raises(PairmineError, match=r"^--against held-out: a text is not UTF-8 "):
        Against([EvalSet("held-out", pa.array(["a", "b"]), texts)], threshold=0.8, ngram=3)


def test_the_hits_of_a_long_text_are_those_of_a_short_one() -> None:
    long = " ".join(f"w{i}" for i in range(200_000))
    hits = found([f"{long} {PASSAGE} {long}", long], eval_set(PASSAGE, "another text of some words"))
    assert hits == {0: (0, "contains", 1.0)}
    assert np.isfinite(len(hits))
