"""The column `score_feedback` of `mine`: nearer to the known positives of a query than to its candidates or not."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.backends.encoders import FakeEncoder, nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers import Bm25Retriever, DenseRetriever, Retriever
from pairmine.backends.specs import Spec
from pairmine.backends.vectors import InMemory, Subset
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.identity import text_key
from pairmine.outcome import Outcome
from pairmine.schema import FEEDBACK, as_pairs, empty_pairs, pair_score_names, scale_of
from pairmine.stages import feedback as stage
from pairmine.stages.feedback import Positives, Rows, feedback
from pairmine.stages.filter import default_by, filter_pairs
from pairmine.stages.mine import Fusion, Since, Strategy, mine, mine_blocks, open_retriever
from pairmine.stages.stats import Stats

CRANFIELD = Path(__file__).parents[2] / "shared" / "data" / "cranfield"
needs_cranfield = pytest.mark.skipif(not CRANFIELD.is_dir(), reason=f"no collection in {CRANFIELD}")


class Compass(FakeEncoder):
    """The vector of a text is the direction in degrees that it names, as in "30 north"; that of no number is 200."""

    def encode(self, texts: Sequence[str], side: Any, advance: Advance = nothing) -> np.ndarray:
        angles = np.radians([float(text.split()[0]) if text.strip() else 200.0 for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32).reshape(len(texts), 2)


def compass(name: str = "dense") -> DenseRetriever:
    return DenseRetriever(Spec("fake", "", name), Compass(), score=name)


def bm25() -> Bm25Retriever:
    return Bm25Retriever(Spec("bm25", ""))


def corpus_of(*texts: str) -> pa.Table:
    return pa.table({"id": [f"d{number}" for number in range(len(texts))], "text": pa.array(texts, pa.large_string())})


def row(
    query: str, document: str | None, label: int | None = 1, doc_id: str | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "query_id": f"q {query}",
        "query": query,
        "doc_id": doc_id or f"p {document}",
        "document": document,
        "label": label,
        "origin": "given",
        **more,
    }


def pairs_of(*rows: dict[str, Any]) -> pa.Table:
    return as_pairs(pa.Table.from_pylist(list(rows)))


def mined(
    pairs: pa.Table, corpus: pa.Table | None, *retrievers: Retriever, depth: int = 10, **settings: Any
) -> list[dict[str, Any]]:
    outcome = mine(pairs, corpus, retrievers or (compass(),), depth=depth, near=None, **settings)
    return list(outcome.kept.to_pylist())


def of(rows: list[dict[str, Any]], document: str, query: str = "0 q") -> float | None:
    (found,) = [each for each in rows if each["document"] == document and each["query"] == query]
    return None if found["score_feedback"] is None else float(found["score_feedback"])


def less(positives: Sequence[float], candidates: Sequence[float]) -> Any:
    """The mean cosine of so many degrees to the positives less that to the candidates."""
    near, far = (np.cos(np.radians(each)).mean() for each in (positives, candidates))
    return pytest.approx(near - far, abs=1e-6)


# --- what counts ------------------------------------------------------------------------


def test_a_candidate_is_held_against_the_known_positives_and_the_candidates_of_its_query() -> None:
    pairs = pairs_of(row("0 q", "10 a"), row("0 q", "40 b"), row("90 q", "100 c"))
    rows = mined(pairs, corpus_of("10 a", "40 b", "30 new", "60 newer"))
    assert of(rows, "30 new") == less([20, 10], [0, 30])
    assert of(rows, "60 newer", "90 q") == less([40], [50, 20, 30, 0])


def test_a_positive_is_held_against_the_other_positives_alone() -> None:
    pairs = pairs_of(row("0 q", "10 a"), row("0 q", "40 b"), row("0 q", "80 c"), row("90 q", "100 c"))
    rows = mined(pairs, corpus_of("30 new", "200 far"))
    assert of(rows, "10 a") == less([30, 70], [20, 190])
    assert of(rows, "40 b") == less([30, 40], [10, 160])
    assert of(rows, "100 c", "90 q") is None


def test_copies_of_a_positive_count_once_and_none_of_them_against_another() -> None:
    pairs = pairs_of(row("0 q", "10 a"), row("0 q", "10  A", doc_id="copy"), row("0 q", "40 b"))
    rows = mined(pairs, corpus_of("10 A", "30 new"))
    assert of(rows, "30 new") == less([20, 10], [0])
    assert of(rows, "10 a") == of(rows, "10  A") == less([30], [20])


def test_undecided_rows_and_mined_negatives_are_candidates_and_other_negatives_are_not() -> None:
    pairs = pairs_of(
        row("0 q", "10 a"), row("0 q", "50 b", None), row("0 q", "70 c", 0, origin="mine:old"), row("0 q", "90 d", 0)
    )
    rows = mined(pairs, corpus_of("30 new"))
    assert of(rows, "30 new") == less([20], [0, 20, 40])
    assert of(rows, "90 d") == less([80], [60, 40, 20])


def test_known_positives_count_and_do_not_make_a_given_row_a_positive() -> None:
    known = pa.table({"query_id": ["q 0 q", "q 0 q", "q 90 q"], "doc_id": ["d0", "d0", "d1"]})
    pairs = pairs_of(row("0 q", "10 a"), row("0 q", "60 k", None), row("90 q", "80 c", None))
    rows = mined(pairs, corpus_of("60 k", "100 l", "30 new"), known=known)
    assert of(rows, "30 new") == less([20, 30], [30, 70, 0])
    assert of(rows, "60 k") == less([50, 0], [0, 40, 30])
    assert of(rows, "10 a") == less([50], [50, 90, 20])
    assert of(rows, "30 new", "90 q") == less([70], [50, 0, 30])


def test_queries_of_one_text_share_their_positives() -> None:
    pairs = pairs_of(row("0 q", "10 a"), row("0 q", "40 b", query_id="twin"))
    rows = mined(pairs, corpus_of("30 new"))
    expected = np.cos(np.radians(30)) - np.cos(np.radians([20, 10])), np.cos(np.radians([20, 10])).mean() - 1
    assert [each["score_feedback"] for each in rows] == pytest.approx(
        [expected[0][0], expected[1], expected[0][1], expected[1]]
    )


def test_a_query_without_a_positive_has_nulls() -> None:
    pairs = pairs_of(row("0 q", "10 a", None), row("90 q", "80 c"))
    rows = mined(pairs, corpus_of("30 new"))
    assert of(rows, "10 a") is None
    assert of(rows, "30 new") is None
    assert of(rows, "30 new", "90 q") == less([50], [0])


def test_a_query_without_candidates_has_nulls() -> None:
    rows = mined(pairs_of(row("0 q", "10 a"), row("0 q", "40 b")), corpus_of("10 a", "40 b"))
    assert [each["score_feedback"] for each in rows] == [None, None]


def test_a_positive_without_a_text_does_not_count() -> None:
    pairs = pairs_of(row("0 q", "10 a"), row("0 q", "  ", doc_id="blank"))
    rows = mined(pairs, corpus_of("30 new"))
    assert of(rows, "30 new") == less([20], [0])
    assert of(rows, "10 a") is None


@pytest.mark.parametrize("rows", [[], [row("0 q", "10 a", None)], [row("0 q", "10 a")]])
def test_tiny_pair_sets_get_the_column_too(rows: list[dict[str, Any]]) -> None:
    pairs = pairs_of(*rows) if rows else empty_pairs()
    kept = mine(pairs, corpus_of("30 new"), [compass()], depth=3).kept
    assert kept.schema.field(FEEDBACK).type == pa.float32()
    assert scale_of(kept.schema.field(FEEDBACK)) == "difference"


def test_unicode_texts_and_documents_without_text_of_their_own_are_found_by_place() -> None:
    pairs = pairs_of(row("0 ψ", "10 ü😀"), row("0 ψ", None, doc_id="d0"))
    rows = mined(pairs, corpus_of("40 \u202eλ", "30 new"))
    assert of(rows, "30 new", "0 ψ") == less([20, 10], [0])
    assert of(rows, "40 \u202eλ", "0 ψ") == less([30], [10])


# --- beside the other options ------------------------------------------------------------------------


def test_the_first_dense_retriever_gives_it_for_candidates_of_all() -> None:
    pairs = pairs_of(row("0 q", "10 a"))
    rows = mined(pairs, corpus_of("30 new", "300 q"), bm25(), compass(), depth=1)
    assert {each["origin"] for each in rows} == {"given", "mine:bm25", "mine:dense"}
    assert of(rows, "300 q") == less([70], [0, 90])


@pytest.mark.parametrize("fusion", [Fusion("rrf", keep=2), Fusion("round-robin", keep=2)])
def test_a_fused_list_has_it(fusion: Fusion) -> None:
    rows = mined(pairs_of(row("0 q", "10 a")), corpus_of("30 new", "300 q"), compass(), bm25(), fusion=fusion)
    assert of(rows, "300 q") == less([70], [0, 90])


@pytest.mark.parametrize("strategy", [Strategy(search_with="positive"), Strategy(clusters=2, within="all")])
def test_other_strategies_have_it(strategy: Strategy) -> None:
    pairs = pairs_of(row("0 q", "10 a"), row("0 q", "40 b"))
    rows = mined(pairs, corpus_of("30 new", "200 far", "210 far"), strategy=strategy)
    assert of(rows, "30 new") == less([20, 10], [0, 170, 180])


def test_mining_again_recomputes_it_for_every_row() -> None:
    pairs = pairs_of(row("0 q", "10 a"))
    first = mine(pairs, corpus_of("30 new", "60 other"), [compass()], depth=1).kept
    judged = first.set_column(first.column_names.index("label"), "label", pa.array([1, 1], pa.int8()))
    again = mine(judged, corpus_of("30 new", "60 other"), [compass()], depth=2).kept.to_pylist()
    assert of(again, "60 other") == less([50, 30], [0])
    assert of(again, "10 a") == less([20], [50])


def test_a_comparison_with_an_earlier_run_has_it() -> None:
    pairs = pairs_of(row("0 q", "10 a"))
    first = mine(pairs, corpus_of("30 new", "60 other"), [compass()], depth=1).kept
    assert of(mined(pairs, corpus_of("30 new", "60 other"), since=Since(first)), "60 other") == less([50], [30, 0])


def test_without_vectors_or_when_unwanted_there_is_no_such_column() -> None:
    pairs = pairs_of(row("0 q", "10 a"))
    for retrievers, wanted in (([bm25()], True), ([compass()], False)):
        kept = mine(pairs, corpus_of("30 new"), retrievers, depth=2, feedback=wanted).kept
        assert FEEDBACK not in kept.column_names


def test_ready_vectors_that_lack_a_document_leave_it_null(tmp_path: Path) -> None:
    for name, ids in (("docs", ["d0", "d1"]), ("queries", ["q 0 q"])):
        degrees = {"d0": 10.0, "d1": 30.0, "q 0 q": 0.0}
        vectors = [[np.cos(np.radians(degrees[each])), np.sin(np.radians(degrees[each]))] for each in ids]
        pq.write_table(pa.table({"id": ids, "vector": vectors}), tmp_path / f"{name}.parquet")
    ready = open_retriever(f"npy:{tmp_path}/docs.parquet,{tmp_path}/queries.parquet")
    pairs = pairs_of(row("0 q", "10 a"), row("0 q", "40 b"), row("0 q", "50 c", None))
    rows = mined(pairs, corpus_of("10 a", "30 new"), ready)
    assert of(rows, "30 new") == less([20], [0])
    assert [of(rows, each) for each in ("10 a", "40 b", "50 c")] == [None] * 3


def test_a_retriever_may_not_take_its_name() -> None:
    with pytest.raises(PairmineError, match=r"score_feedback.*give it another name, as in first=bm25"):
        mine(pairs_of(row("0 q", "10 a")), corpus_of("30 new"), ["feedback=bm25"], depth=1)


# --- numbers ------------------------------------------------------------------------


def unit(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    found = rng.standard_normal((count, dim)).astype(np.float32)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9).astype(np.float32)


Case = tuple[np.ndarray, list[tuple[int, int]], list[tuple[int, int, int]]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Vectors, positives as (query, place), and rows as (query, place, what): 1 positive, 0 neither, 2 candidate."""
    seed, count, queries = draw(st.integers(0, 999)), draw(st.integers(1, 12)), draw(st.integers(1, 4))
    pair = st.tuples(st.integers(0, queries - 1), st.integers(0, count - 1))
    rows = draw(st.lists(st.tuples(pair, st.sampled_from([0, 1, 2, 2])), max_size=30))
    known = draw(st.lists(pair, max_size=8))
    positives = known + [at for at, what in rows if what == 1]
    return unit(np.random.default_rng(seed), count, 5), positives, [(*at, what) for at, what in rows]


def arrays(rows: Sequence[tuple[int, int, int]]) -> Rows:
    queries, places, what = np.array(rows, np.int64).reshape(-1, 3).T
    return Rows(queries, places, what == 1, what == 2)


@given(cases())
@settings(deadline=None, max_examples=80)
def test_the_number_equals_a_plain_loop(case: Case) -> None:
    vectors, known, rows = case
    exact = vectors.astype(float)
    positives = Positives.of(*np.array(known, int).reshape(-1, 2).T, 4)
    found = feedback(InMemory(vectors), arrays(rows), positives, np.arange(4))
    for at, (query, place, what) in enumerate(rows):
        others = {other for each, other in known if each == query and not (what == 1 and other == place)}
        near = [exact[place] @ exact[other] for other in others]
        far = [exact[place] @ exact[other] for each, other, kind in rows if each == query and kind == 2]
        if near and far:
            assert found[at] == pytest.approx(np.mean(near) - np.mean(far), abs=1e-6)
        else:
            assert np.isnan(found[at])


def test_numbers_are_the_same_to_the_bit_whatever_the_blocks_the_order_and_where_vectors_lie(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(7)
    vectors = unit(rng, 300, 48)
    rows = arrays(list(zip(*(rng.integers(0, high, 900).tolist() for high in (5, 300, 3)), strict=True)))
    positives = Positives.of(rows.queries[rows.is_positive], rows.places[rows.is_positive], 5)
    whole = feedback(InMemory(vectors), rows, positives, np.arange(5))
    assert not np.isnan(whole).any()
    shuffled = rng.permutation(900)
    on_disk = Subset(InMemory(vectors), np.arange(300))
    for at_once, budget in ((7, 1), (1, 5000), (100, 60_000), (512, 1 << 28)):
        monkeypatch.setattr(stage, "_ROWS", at_once)
        again = feedback(on_disk, rows.take(shuffled), positives, np.arange(5), budget_bytes=budget)
        np.testing.assert_array_equal(whole[shuffled], again)


def test_blocks_of_queries_change_no_bit() -> None:
    pairs = pairs_of(*(row(f"{at} q", f"{at + 7} p{number}") for at in range(0, 90, 10) for number in range(3)))
    corpus = corpus_of(*(f"{at} d" for at in range(0, 360, 3)))
    one, few = (
        pa.concat_tables(each.kept for each in mine_blocks(pairs, corpus, [compass()], depth=5, block=block))
        for block in (4096, 2)
    )
    assert one.to_pylist() == few.to_pylist()


def test_of_a_query_with_very_many_positives_few_vectors_are_held_at_once() -> None:
    taken: list[int] = []

    class Counting(Subset):
        def take(self, places: np.ndarray) -> np.ndarray:
            taken.append(len(places))
            return super().take(places)

    vectors = unit(np.random.default_rng(1), 20_000, 8)
    number = np.arange(20_000)
    rows = Rows(np.zeros(20_000, np.int64), number, number < 19_000, number >= 19_000)
    positives = Positives.of(rows.queries[:19_000], number[:19_000], 1)
    found = feedback(Counting(InMemory(vectors), number), rows, positives, np.zeros(1, np.int64), budget_bytes=1)
    assert max(taken) <= 512
    exact = vectors.astype(np.float64)
    whole, far = exact[:19_000].sum(axis=0), exact[19_000:].mean(axis=0)
    itself = np.einsum("ij,ij->i", exact[:19_000], exact[:19_000])
    np.testing.assert_allclose(
        found[:19_000], (exact[:19_000] @ whole - itself) / 18_999 - exact[:19_000] @ far, atol=1e-6
    )
    np.testing.assert_allclose(found[19_000:], exact[19_000:] @ (whole / 19_000 - far), atol=1e-6)


# --- real vectors ------------------------------------------------------------------------


def cranfield(queries: int) -> tuple[pa.Table, pa.Table]:
    """The first queries with all of their positives, and the documents that are positives of one."""
    with gzip.open(CRANFIELD / "corpus.jsonl.gz", "rt") as lines:
        texts = {each["_id"]: f"{each.get('title', '')} {each['text']}".strip() for each in map(json.loads, lines)}
    with gzip.open(CRANFIELD / "queries.jsonl.gz", "rt") as lines:
        asked = dict(list({each["_id"]: each["text"] for each in map(json.loads, lines)}.items())[:queries])
    with (CRANFIELD / "qrels.tsv").open() as lines:
        judged = [line for line in list(csv.reader(lines, delimiter="\t"))[1:] if line[0] in asked and int(line[2]) > 0]
    judged.sort(key=lambda line: list(asked).index(line[0]))
    rows = [row(asked[query], texts[doc], doc_id=doc, query_id=query) for query, doc, _ in judged if texts[doc]]
    documents = sorted({each["doc_id"] for each in rows})
    return pairs_of(*rows), pa.table({"id": documents, "text": [texts[each] for each in documents]})


def plain(kept: pa.Table, vectors: dict[str, np.ndarray]) -> list[float]:
    """The number of every row in plain numpy."""
    rows = kept.to_pylist()
    found = []
    for each in rows:
        own = [other for other in rows if other["query_id"] == each["query_id"]]
        near = {text_key(other["document"]): vectors[other["document"]] for other in own if other["label"] == 1}
        if each["label"] == 1:
            near.pop(text_key(each["document"]))
        far = [vectors[other["document"]] for other in own if other["label"] is None]
        found.append(vectors[each["document"]] @ (np.mean(list(near.values()), axis=0) - np.mean(far, axis=0)))
    return found


@pytest.mark.slow
@needs_cranfield
def test_real_vectors_of_real_judgments_give_what_plain_numpy_gives() -> None:
    pairs, corpus = cranfield(queries=3)
    dense = open_retriever("st:all-MiniLM-L6-v2", max_length=32)
    kept = mine(pairs, corpus, [dense], depth=10).kept
    assert isinstance(dense, DenseRetriever)
    texts = pc.unique(kept["document"].cast(pa.string())).to_pylist()
    vectors = dict(zip(texts, dense.encoder.encode(texts, "document"), strict=True))
    assert kept["label"].null_count
    np.testing.assert_allclose(kept[FEEDBACK].to_pylist(), plain(kept, vectors), atol=1e-6)


# --- later stages ------------------------------------------------------------------------


def outcome_of_two() -> Outcome:
    pairs = pairs_of(row("0 q", "10 a"), row("0 q", "40 b"))
    return mine(pairs, corpus_of("30 new", "300 far", "310 far"), [compass("mini")], depth=3)


def test_filter_goes_by_the_score_of_the_pair_and_never_by_this_unasked() -> None:
    kept = outcome_of_two().kept
    assert pair_score_names(kept.schema) == ["score_mini"]
    assert default_by(kept.schema) == "score_mini"
    assert FEEDBACK in filter_pairs(kept, by="score_mini", negatives=1).kept.column_names


def test_stats_show_it_with_its_scale() -> None:
    stats = Stats()
    stats.add(outcome_of_two().kept)
    scores = stats.to_dict()["scores"]
    assert list(scores) == ["score_mini", FEEDBACK]
    assert scores[FEEDBACK]["scale"] == "difference"
    assert scores[FEEDBACK]["positive"]["count"] == 2


# --- the command ------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    pq.write_table(pairs_of(row("cat", "a cat"), row("cat", "two cats")), tmp_path / "pairs.parquet")
    pq.write_table(corpus_of("a cat", "a dog", "a cow"), tmp_path / "docs.parquet")
    return tmp_path


def command(files: Path, *options: str) -> pa.Table:
    words = ["mine", f"{files}/pairs.parquet", "--corpus", f"{files}/docs.parquet", "--depth", "2", "-q"]
    app([*words, "-o", f"{files}/out.parquet", *options], standalone_mode=False)
    return pq.read_table(files / "out.parquet")


def test_the_command_writes_it_unless_told_not_to(files: Path) -> None:
    with_it = command(files, "--retriever", "fake:", "--retriever", "bm25", "--store", "none")
    assert not with_it[FEEDBACK].null_count
    without = command(files, "--retriever", "fake:", "--retriever", "bm25", "--store", "none", "--no-feedback")
    assert without.equals(with_it.drop_columns(FEEDBACK))


def test_no_feedback_without_vectors_is_told_in_one_line(files: Path) -> None:
    with pytest.raises(PairmineError, match=r"^--no-feedback has no effect without a retriever that has vectors"):
        command(files, "--retriever", "bm25", "--no-feedback")
