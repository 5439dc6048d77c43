"""Runs of other searches as a retriever: every form of them, joined by ids, in the order of trec_eval."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pairmine.backends.retrievers.runs import RunRetriever
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError
from pairmine.files import runs
from pairmine.stages.mine import named_specs

DOCS = [f"d{number}" for number in range(10)]
QUERIES = ["q1", "q2", "q 3"]
TREC = "q1 Q0 d3 1 9.5 tag\nq1 Q0 d1 2 8.25 tag\nq1 Q0 d7 3 1e-2 tag\nq2 Q0 d0 1 3 tag\n"


def opened(path: Path, text: str | bytes, lines: list[str] | None = None) -> RunRetriever:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return RunRetriever(Spec("run", str(path)), say=None if lines is None else lines.append)


def ready(retriever: RunRetriever, queries: list[str] = QUERIES, searchable: int = 10, **ids: Any) -> RunRetriever:
    retriever.take_ids(pa.array(ids.get("docs", DOCS)), pa.array(queries), ids.get("places"))
    retriever.index(["text"] * 10, searchable)
    retriever.prepare(["text"] * len(queries))
    return retriever


def test_candidates_are_those_of_the_run_in_its_order_with_its_scores(tmp_path: Path) -> None:
    lines: list[str] = []
    retriever = ready(opened(tmp_path / "bm25.trec", TREC, lines))
    places, scores = retriever.search(np.array([0, 1, 2]), 4)
    assert places.tolist() == [[3, 1, 7, -1], [0, -1, -1, -1], [-1, -1, -1, -1]]
    np.testing.assert_array_equal(scores[0], np.float32([9.5, 8.25, 0.01, -np.inf]))
    assert retriever.search(np.array([1, 0]), 1)[0].tolist() == [[0], [3]]
    found = retriever.pair_scores(np.array([0, 0, 1, 2]), np.array([7, 0, 0, 5]))
    np.testing.assert_array_equal(found, np.float32([0.01, np.nan, 3, np.nan]))
    assert lines == [f"{tmp_path}/bm25.trec: 1 queries have no list in it"]
    assert retriever.scale == "run"
    assert retriever.facts["run"]["file"] == "bm25.trec"
    assert len(retriever.facts["run"]["sha256"]) == 64


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tabs.tsv", TREC.replace(" ", "\t")),
        ("wide.txt", TREC.replace(" ", "   ")),
        ("trailing.txt", TREC.replace("\n", " \n")),
        ("mixed.txt", TREC.replace("d1 2", "d1\t2") + "\n\n"),
        ("windows.txt", TREC.replace("\n", "\r\n")),
        ("packed.trec.gz", gzip.compress(TREC.encode(), mtime=0)),
        ("no-tag.txt", TREC.replace(" tag", "")),
        ("no-q0.txt", TREC.replace(" tag", "").replace(" Q0", "")),
        ("tevatron.tsv", "q1\td3\t9.5\nq1\td1\t8.25\nq1\td7\t0.01\nq2\td0\t3\n"),
        ("shuffled.txt", "\n".join(reversed(TREC.strip().split("\n")))),
    ],
)
def test_every_form_of_a_run_gives_the_same_lists(tmp_path: Path, name: str, text: str | bytes) -> None:
    places, scores = ready(opened(tmp_path / name, text)).search(np.array([0, 1]), 3)
    assert places.tolist() == [[3, 1, 7], [0, -1, -1]]
    np.testing.assert_array_equal(scores[0], np.float32([9.5, 8.25, 0.01]))


@pytest.mark.parametrize("first", [0, 1])
def test_ranks_in_the_third_column_become_reciprocal_scores(tmp_path: Path, first: int) -> None:
    lines: list[str] = []
    text = "".join(f"{query}\td{place}\t{first + place}\n" for query in ("q1", "q2") for place in range(4))
    places, scores = ready(opened(tmp_path / "msmarco.tsv", text, lines), QUERIES[:2]).search(np.array([1]), 4)
    assert places.tolist() == [[0, 1, 2, 3]]
    np.testing.assert_allclose(scores, [[1, 1 / 2, 1 / 3, 1 / 4]])
    assert "third column counts up, so it is read as ranks" in lines[0]


def test_scores_decide_where_ranks_disagree_and_ranks_where_scores_are_equal(tmp_path: Path) -> None:
    lines: list[str] = []
    text = "q1 Q0 d1 1 1.0 t\nq1 Q0 d2 2 5.0 t\nq2 Q0 d4 2 1.0 t\nq2 Q0 d3 1 1.0 t\n"
    places, _ = ready(opened(tmp_path / "a.trec", text, lines), ["q1", "q2"]).search(np.array([0, 1]), 2)
    assert places.tolist() == [[2, 1], [3, 4]]
    assert [line.partition(": ")[2] for line in lines] == [
        "ranks and scores disagree for 1 queries; scores decide, as in trec_eval"
    ]


def test_what_is_unknown_or_listed_twice_is_counted(tmp_path: Path) -> None:
    lines: list[str] = []
    text = TREC + "other Q0 d1 1 1 t\nq2 Q0 nowhere 2 2 t\nq1 Q0 d3 4 0.001 t\n"
    retriever = ready(opened(tmp_path / "a.trec", text, lines), ["q1", "q2"])
    assert retriever.search(np.array([0]), 5)[0].tolist() == [[3, 1, 7, -1, -1]]
    assert [line.partition(": ")[2] for line in lines] == [
        '1 of 7 lines are for other queries, the first "other"',
        '1 lines list documents that are not searched, the first "nowhere"',
        "1 lines list a document again; the better one counts",
    ]


def test_documents_that_only_the_pair_set_has_are_scored_and_never_found(tmp_path: Path) -> None:
    retriever = ready(opened(tmp_path / "a.trec", TREC), searchable=5)
    assert retriever.search(np.array([0]), 3)[0].tolist() == [[3, 1, -1]]
    np.testing.assert_array_equal(retriever.pair_scores(np.array([0]), np.array([7])), np.float32([0.01]))


def test_a_copy_is_found_under_any_of_its_ids(tmp_path: Path) -> None:
    text = "q1 Q0 copy 1 9 t\nq1 Q0 d1 2 8 t\n"
    retriever = opened(tmp_path / "a.trec", text)
    ready(retriever, docs=[*DOCS, "copy"], places=np.append(np.arange(10), 5))
    assert retriever.search(np.array([0]), 2)[0].tolist() == [[5, 1]]


def test_a_bound_keeps_the_best_of_each_list_and_the_pairs_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_HELD_LINES", 50)
    monkeypatch.setattr(runs, "_PIECE_LINES", 40)
    monkeypatch.setattr(runs, "_BLOCK_BYTES", 900)
    random = np.random.default_rng(1)
    queries = [f"q{number}" for number in range(30)]
    scores = random.normal(size=(30, 10))
    rows = [f"q{q} Q0 d{d} 0 {scores[q, d]:.6f} t" for q in range(30) for d in range(10)]
    random.shuffle(rows)
    for blanks in (" ", "  "):
        retriever = opened(tmp_path / "a.trec", "\n".join(rows).replace(" ", blanks))
        most = np.where(np.arange(30) % 2, 2, 4)
        pinned = scores.argmin(axis=1)
        retriever.keep_only(most, np.arange(30), pinned)
        ready(retriever, queries)
        places, _ = retriever.search(np.arange(30), 2)
        np.testing.assert_array_equal(places, np.argsort(-scores, axis=1)[:, :2])
        found = retriever.pair_scores(np.arange(30), pinned)
        np.testing.assert_allclose(found, scores.min(axis=1), atol=1e-5)
        assert len(retriever._keys) == most.sum() + 30


def test_a_run_that_shares_no_ids_is_an_error_and_not_an_empty_result(tmp_path: Path) -> None:
    with pytest.raises(PairmineError, match='none of its queries are known: it has "q1", and known is "1"'):
        ready(opened(tmp_path / "a.trec", TREC), ["1", "2"])
    with pytest.raises(PairmineError, match='none of its documents are known: it has "d3", and known is "0"'):
        ready(opened(tmp_path / "a.trec", TREC), docs=[str(number) for number in range(10)])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty"),
        ("\n\n", "no lines in it"),
        ("q1 d1\n", r":1: 2 columns \(q1 d1\)"),
        (TREC + "q1 Q0 d5 4 0.5\n", ":5: 5 columns, and the first line has 6"),
        (TREC + "q1 Q0 d5 4 high tag\n", ':5: the score "high" is no number'),
        (TREC + "q1 Q0 d5 4 nan tag\n", "line 5: a score that is no finite number"),
        (TREC.encode() + b"q1 Q0 d\xff 4 1 tag\n", ':5: the document "d.*" is not UTF-8'),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(PairmineError, match=told):
        ready(opened(tmp_path / "a.trec", text))


def test_a_torn_archive_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(PairmineError, match="cannot be read"):
        ready(opened(tmp_path / "a.trec.gz", gzip.compress((TREC * 1000).encode())[:-30]))
    with pytest.raises(PairmineError, match="no such file"):
        RunRetriever(Spec("run", str(tmp_path / "none.trec")))


def test_a_run_cannot_search_with_documents(tmp_path: Path) -> None:
    with pytest.raises(PairmineError, match="leave out --search-with positive"):
        ready(opened(tmp_path / "a.trec", TREC)).near(np.array([0]), ["a"])


def test_names_and_columns_of_runs() -> None:
    named = named_specs(["run:/x/bm25.trec.gz", "splade=run:/x/splade.tsv", "fake:"])
    assert [(spec.name, score) for spec, score in named] == [("bm25", "run"), ("splade", "splade"), ("fake", "dense")]
    assert named[0][0].public() == "run:bm25.trec.gz"
    with pytest.raises(PairmineError, match='would both fill the column "score_run"; give one of them another name'):
        named_specs(["run:a.trec", "run:b.trec"])


def test_a_mark_at_the_beginning_is_no_part_of_the_first_id_whatever_reader_takes_it(tmp_path: Path) -> None:
    for text in (TREC, TREC.replace("d1 2", "d1\t2")):  # the second has mixed blanks
        lines: list[str] = []
        places, _ = ready(opened(tmp_path / "a.trec", b"\xef\xbb\xbf" + text.encode(), lines)).search(np.array([0]), 3)
        assert places.tolist() == [[3, 1, 7]]
        assert not [line for line in lines if "other queries" in line]


def test_judgements_in_place_of_a_run_are_told_even_where_a_document_is_called_0(tmp_path: Path) -> None:
    judged = "q1 0 d3 1\nq1 0 d1 2\nq2 0 d0 1\n".replace("d", "")
    with pytest.raises(PairmineError, match=r"looks like judgements .* which --known takes"):
        ready(opened(tmp_path / "qrels.txt", judged), docs=[str(number) for number in range(10)])
    four = "q1 0 1 9.5\nq1 3 2 8\nq2 0 1 3\n"  # a run of four columns, whose first document is called 0
    retriever = ready(opened(tmp_path / "four.txt", four), docs=[str(number) for number in range(10)])
    assert retriever.search(np.array([0, 1]), 2)[0].tolist() == [[0, 3], [0, -1]]


def test_a_run_of_ranks_stays_one_where_the_look_at_its_beginning_ends_within_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "q1 d3 1\nq1 d1 2\nq2 d5 3\nq2 d4 2\nq2 d2 1\n"
    expected = ready(opened(tmp_path / "a.txt", text)).search(np.array([0, 1]), 3)
    assert expected[0].tolist() == [[3, 1, -1], [2, 4, 5]]
    for size in range(9, len(text) + 3):
        monkeypatch.setattr(runs, "_SNIFFED_BYTES", size)
        found = ready(opened(tmp_path / "a.txt", text)).search(np.array([0, 1]), 3)
        np.testing.assert_array_equal(found[0], expected[0], err_msg=str(size))
    monkeypatch.setattr(runs, "_SNIFFED_BYTES", 24)
    for odd in ("0", "-3", "2.5"):
        with pytest.raises(PairmineError, match=f"line 5: {odd} is no rank, and lines before it have ranks"):
            ready(opened(tmp_path / "b.txt", text.replace("d2 1", f"d2 {odd}")))


def test_a_rank_of_ten_thousand_digits_is_a_line_or_a_score(tmp_path: Path) -> None:
    with pytest.raises(PairmineError, match="no finite number"):
        ready(opened(tmp_path / "long.txt", "q1 d1 " + "9" * 10_000 + "\n"))


def test_a_line_without_an_end_is_refused_where_it_gets_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairmine.files.raw.MAX_LINE_BYTES", 3 << 20)
    packed = gzip.compress(TREC.encode() + b"x" * (12 << 20), 1)
    with pytest.raises(PairmineError, match=r"long.trec.gz:5: a line of over 3 MB"):
        ready(opened(tmp_path / "long.trec.gz", packed))
