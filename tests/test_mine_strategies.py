"""`mine` by other ways than nearest to the query: near the positive, in the second cluster, in a band."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.backends.encoders import FakeEncoder, nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers import Bm25Retriever, DenseRetriever
from pairmine.backends.specs import Spec
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.schema import as_pairs, empty_pairs, scale_of
from pairmine.stages.mine import Strategy, mine, mine_blocks
from pairmine.stages.mine.strategy import wrapped

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no collections in {DATA}")


class Compass(FakeEncoder):
    """The vector of a text is the direction in degrees that it names, as in "30 north"."""

    def encode(self, texts: Sequence[str], side: Any, advance: Advance = nothing) -> np.ndarray:
        angles = np.radians([float(text.split()[0]) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def compass() -> DenseRetriever:
    return DenseRetriever(Spec("fake", "", "compass"), Compass(), score="dense")


def bm25() -> Bm25Retriever:
    return Bm25Retriever(Spec("bm25", ""))


def corpus_of(*texts: str) -> pa.Table:
    return pa.table({"id": [f"d{number}" for number in range(len(texts))], "text": pa.array(texts, pa.large_string())})


def pairs_of(*rows: tuple[str, str, int | None], **columns: list[Any]) -> pa.Table:
    table: dict[str, Any] = {
        "query_id": [f"q {query}" for query, _, _ in rows],
        "query": [query for query, _, _ in rows],
        "doc_id": [f"p {document}" for _, document, _ in rows],
        "document": [document for _, document, _ in rows],
        "label": pa.array([label for _, _, label in rows], pa.int8()),
        "origin": ["given"] * len(rows),
    }
    return as_pairs(pa.table(table | columns))


def found(outcome: Outcome) -> list[dict[str, Any]]:
    return [row for row in outcome.kept.to_pylist() if row["origin"].startswith("mine:")]


def texts_of(outcome: Outcome) -> list[str]:
    return [row["document"] for row in found(outcome)]


# Four clusters of three directions each, 0, 60, 130 and 250 degrees.
AROUND = corpus_of(*(f"{angle + step}" for angle in (0, 60, 130, 250) for step in (-2, 0, 2)))


# --- near the positive ------------------------------------------------------------------------------


def test_near_document_finds_the_neighbours_of_the_positive_and_keeps_the_scores_of_the_query() -> None:
    corpus = corpus_of("0 a", "10 b", "90 c", "100 d", "200 e")
    pairs = pairs_of(("5 q", "95 p", 1))
    outcome = mine(pairs, corpus, [compass()], depth=2, strategy=Strategy(search_with="positive"))
    assert texts_of(outcome) == ["90 c", "100 d"]
    rows = outcome.kept.to_pylist()
    assert [row["score_dense"] for row in rows] == pytest.approx(np.cos(np.radians([90, 85, 95])), abs=1e-6)
    assert [row["score_near_dense"] for row in rows] == pytest.approx(np.cos(np.radians([0, 5, 5])), abs=1e-6)
    assert {row["origin"] for row in rows[1:]} == {"mine:compass/near"}
    assert scale_of(outcome.kept.schema.field("score_near_dense")) == "cosine"
    # Near the query, it would be the first two.
    assert texts_of(mine(pairs, corpus, [compass()], depth=2)) == ["0 a", "10 b"]


def test_near_document_never_offers_the_positive_a_copy_or_the_querys_own_text() -> None:
    corpus = corpus_of("95 p", "95  P", "5 q", "96 x", "97 y")
    pairs = pairs_of(("5 q", "95 p", 1), ("5 q", "96 x", 0))
    outcome = mine(pairs, corpus, [compass()], depth=5, strategy=Strategy(search_with="positive"))
    assert texts_of(outcome) == ["97 y"]


def test_the_first_positive_counts_and_a_query_without_one_gets_nothing() -> None:
    corpus = corpus_of("89 a", "181 b")
    pairs = pairs_of(("5 q", "40 n", 0), ("5 q", "90 p", 1), ("5 q", "180 r", 1), ("7 z", "90 p", 0))
    outcome = mine(pairs, corpus, [compass()], depth=1, strategy=Strategy(search_with="positive"))
    assert [(row["query"], row["document"]) for row in found(outcome)] == [("5 q", "89 a")]
    assert outcome.notes["queries without a positive"] == 1
    last = next(row for row in outcome.kept.to_pylist() if row["query"] == "7 z")
    assert last["score_near_dense"] is None
    assert last["score_dense"] is not None


def test_bm25_and_a_dense_retriever_both_search_near_the_document() -> None:
    corpus = corpus_of("10 wing lift", "80 drag of ships", "60 ships at sea", "200 nothing")
    pairs = pairs_of(("0 wing", "70 ships", 1))
    outcome = mine(pairs, corpus, [bm25(), compass()], depth=1, strategy=Strategy(search_with="positive"))
    # Of the two documents with "ships" the shorter is the same length: the first; the dense one ties as well.
    assert {row["document"] for row in found(outcome)} <= {"80 drag of ships", "60 ships at sea"}
    row = found(outcome)[0]
    assert row["score_bm25"] == 0
    assert row["score_near_bm25"] > 0
    assert {"rank_bm25", "rank_dense"} <= set(row)


def test_near_document_gives_the_same_rows_whatever_the_block() -> None:
    draw = np.random.default_rng(0)
    pairs = pairs_of(
        *((f"{one} q{n}", f"{other} p{n}", 1) for n, (one, other) in enumerate(draw.integers(0, 360, (30, 2))))
    )
    corpus = corpus_of(*(f"{angle} d{n}" for n, angle in enumerate(draw.integers(0, 360, 50))))
    for strategy in (
        Strategy(search_with="positive"),
        Strategy(clusters=5),
        Strategy(search_with="positive", clusters=5),
    ):
        whole = mine(pairs, corpus, [compass(), bm25()], depth=4, strategy=strategy).kept
        parts = mine_blocks(pairs, corpus, [compass(), bm25()], depth=4, strategy=strategy, block=7)
        assert pa.concat_tables([part.kept for part in parts]).to_pylist() == whole.to_pylist()


# --- clusters ---------------------------------------------------------------------------------------


def test_candidates_come_from_the_cluster_that_is_second_nearest_to_the_positive() -> None:
    pairs = pairs_of(("180 q", "20 p", 1))
    outcome = mine(pairs, AROUND, [compass()], depth=10, strategy=Strategy(clusters=4))
    # The positive at 20 degrees is nearest to the centroid at 0, then to the one at 60; the query lies elsewhere.
    assert texts_of(outcome) == ["62", "60", "58"]
    assert [row["rank"] for row in found(outcome)] == [1, 2, 3]
    assert {row["origin"] for row in found(outcome)} == {"mine:compass/cluster"}
    assert outcome.notes["queries with fewer than 10 candidates from compass/cluster"] == 1


def test_every_row_has_its_documents_cluster() -> None:
    pairs = pairs_of(("180 q", "20 p", 1), ("180 q", "0", 0), ("180 q", "131 x", None))
    rows = mine(pairs, AROUND, [compass()], depth=10, strategy=Strategy(clusters=4)).kept.to_pylist()
    cluster = {row["document"]: row["cluster"] for row in rows}
    assert cluster["20 p"] == cluster["0"] != cluster["131 x"]
    assert len({cluster[text] for text in ("58", "60", "62")}) == 1
    assert cluster["60"] not in (cluster["20 p"], cluster["131 x"])


def test_without_a_positive_the_query_decides() -> None:
    outcome = mine(pairs_of(("125 q", "20 p", 0)), AROUND, [compass()], depth=2, strategy=Strategy(clusters=4))
    assert texts_of(outcome) == ["62", "60"]


def test_clusters_can_mark_candidates_from_anywhere() -> None:
    pairs = pairs_of(("0 q", "3 p", 1))
    outcome = mine(pairs, AROUND, [compass()], depth=5, strategy=Strategy(clusters=4, within="all"))
    assert texts_of(outcome) == ["0", "-2", "2", "58", "60"]
    rows = outcome.kept.to_pylist()
    assert [row["cluster"] == rows[0]["cluster"] for row in rows[1:]] == [True, True, True, False, False]
    assert rows[1]["origin"] == "mine:compass"


def test_near_document_inside_the_cluster() -> None:
    pairs = pairs_of(("180 q", "20 p", 1))
    outcome = mine(pairs, AROUND, [compass()], depth=2, strategy=Strategy(clusters=4, search_with="positive"))
    assert texts_of(outcome) == ["58", "60"]
    assert found(outcome)[0]["origin"] == "mine:compass/cluster/near"


def test_an_earlier_clusters_column_is_replaced_and_the_seed_settles_it() -> None:
    pairs = pairs_of(("180 q", "20 p", 1), cluster=[99])
    outcomes = [mine(pairs, AROUND, [compass()], depth=3, strategy=Strategy(clusters=4, seed=5)) for _ in range(2)]
    assert outcomes[0].kept.equals(outcomes[1].kept)
    assert outcomes[0].kept["cluster"].type == pa.int32()
    assert max(outcomes[0].kept["cluster"].to_pylist()) < 4


def test_no_queries_give_no_rows_and_the_columns() -> None:
    kept = mine(empty_pairs(), AROUND, [compass()], depth=3, strategy=Strategy(clusters=4, search_with="positive")).kept
    assert kept.num_rows == 0
    assert {"cluster", "score_dense", "score_near_dense"} <= set(kept.column_names)


# --- bands ------------------------------------------------------------------------------------------


def test_a_band_of_ranks_keeps_them_with_the_ranks_that_they_have() -> None:
    corpus = corpus_of(*(f"{10 * step}" for step in range(1, 9)))
    pairs = pairs_of(("0 q", "20", 1))
    outcome = mine(pairs, corpus, [compass()], depth=4, strategy=Strategy(ranks=(2, 4)))
    # 20 is the positive, so the ranks are those of 10, 30, 40, 50.
    assert [(row["document"], row["rank"]) for row in found(outcome)] == [("30", 2), ("40", 3), ("50", 4)]
    assert outcome.notes["outside the band of compass"] == 1


def test_a_band_of_scores_keeps_the_most_similar_that_are_not_too_similar() -> None:
    corpus = corpus_of("10", "40", "59", "61", "80")
    pairs = pairs_of(("0 q", "0 p", 1))
    outcome = mine(pairs, corpus, [compass()], depth=5, strategy=Strategy(scores=(0.5, 0.9)))
    assert [(row["document"], row["rank"]) for row in found(outcome)] == [("40", 2), ("59", 3)]
    near = mine(
        pairs_of(("180 q", "0 p", 1)),
        corpus,
        [compass()],
        depth=5,
        strategy=Strategy(search_with="positive", scores=(0.5, 0.9)),
    )
    assert texts_of(near) == ["40", "59"]


@pytest.mark.parametrize(
    ("strategy", "line"),
    [
        (Strategy(search_with="both"), "--search-with both: choose query, positive"),
        (Strategy(within="third"), "--within third: choose second, all"),
        (Strategy(ranks=(0, 3)), "--ranks 0:3: from 1 up"),
        (Strategy(ranks=(1, 9)), "--ranks 1:9 wants --depth 9 or more, and it is 5"),
        (Strategy(scores=(1, 0)), "--score-range 1:0: the lower one first"),
        (Strategy(clusters=1), "--clusters 1: at least 2"),
        (Strategy(clusters=13), "--clusters 13: 12 documents are searched; ask for fewer clusters"),
    ],
)
def test_a_strategy_that_does_not_fit_is_refused(strategy: Strategy, line: str) -> None:
    with pytest.raises(PairmineError) as told:
        mine(pairs_of(("0 q", "3 p", 1)), AROUND, [compass()], depth=5, strategy=strategy)
    assert line in str(told.value)


def test_clusters_want_one_dense_retriever_and_a_band_of_scores_one_at_all() -> None:
    pairs = pairs_of(("0 q", "3 p", 1))
    with pytest.raises(PairmineError, match=r"--clusters wants one st: retriever.* there are 0"):
        mine(pairs, AROUND, [bm25()], depth=5, strategy=Strategy(clusters=4))
    with pytest.raises(PairmineError, match="--score-range is for one --retriever"):
        mine(pairs, AROUND, [bm25(), compass()], depth=5, strategy=Strategy(scores=(0, 1)))


# --- the command ------------------------------------------------------------------------------------


def run(*arguments: object) -> None:
    app(["mine", *map(str, arguments), "-q"], standalone_mode=False)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    pq.write_table(pairs_of(("lift of wings", "wings lift planes", 1)), tmp_path / "pairs.parquet")
    texts = [f"{topic} text number {n}" for topic in ("wings", "soup", "taxes") for n in range(6)]
    pq.write_table(corpus_of(*texts), tmp_path / "corpus.parquet")
    return tmp_path


def test_the_command_takes_every_strategy(files: Path) -> None:
    given = (files / "pairs.parquet", "--corpus", files / "corpus.parquet", "--retriever", "fake:")
    run(*given, "--clusters", 3, "--depth", 4, "-o", files / "clusters.parquet")
    run(*given, "--clusters", 3, "--depth", 4, "--workers", 1, "-o", files / "again.parquet")
    assert (files / "clusters.parquet").read_bytes() == (files / "again.parquet").read_bytes()
    assert "cluster" in pq.read_table(files / "clusters.parquet").column_names
    run(*given, "--search-with", "positive", "--ranks", "3:5", "-o", files / "near.parquet")
    ranks = pq.read_table(files / "near.parquet")["rank"].to_pylist()
    assert ranks == [None, 3, 4, 5]
    run(*given, "--score-range", ":0.2", "-o", files / "band.parquet")
    scores = pq.read_table(files / "band.parquet")["score_dense"].to_pylist()[1:]
    assert scores
    assert max(scores) <= 0.2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--ranks", "5"], "--ranks 5: write LOW:HIGH"),
        (["--ranks", "2:9", "--depth", "5"], "wants --depth 9 or more"),
        (["--score-range", "low:high"], "--score-range low:high: write LOW:HIGH"),
        (["--score-range", "0.5"], "--score-range 0.5: write LOW:HIGH"),
        (["--within", "all"], "--within has no effect without --clusters"),
        (["--seed", "3"], "--seed has no effect without --clusters"),
        (["--search-with", "corpus"], "--search-with corpus: choose"),
    ],
)
def test_the_command_names_what_does_not_fit(files: Path, words: list[str], line: str) -> None:
    with pytest.raises(PairmineError) as told:
        run(files / "pairs.parquet", "--retriever", "fake:", *words, "-o", files / "out.parquet")
    assert line in str(told.value)
    assert not (files / "out.parquet").exists()


@needs_data
def test_real_questions_find_no_positive_of_theirs_in_any_cluster(tmp_path: Path) -> None:
    out = tmp_path / "mined.parquet"
    run(DATA / "stackfaq", "--retriever", "fake:", "--clusters", 16, "--depth", 5, "-o", out)
    rows = pq.read_table(out).to_pylist()
    positives = {(row["query_id"], row["doc_id"]) for row in rows if row["label"] == 1}
    mined = [row for row in rows if row["origin"].startswith("mine:")]
    assert len(mined) > 5000
    assert not positives & {(row["query_id"], row["doc_id"]) for row in mined}
    first = {row["query_id"]: row["cluster"] for row in reversed(rows) if row["label"] == 1}
    assert all(row["cluster"] != first[row["query_id"]] for row in mined)


def test_an_index_is_tuned_on_the_positives_that_are_searched_with_and_its_recall_is_recorded() -> None:
    from pairmine.backends.vectors.exact import ExactSearch

    tuned_on = []

    def make_searcher(documents: Any, searchable: int, queries: Any) -> ExactSearch:
        tuned_on.append(queries.take(np.arange(len(queries))))
        search = ExactSearch(documents, searchable)
        search.facts = {"index": "ivf", "recall": 0.99}
        return search

    dense = DenseRetriever(Spec("fake", "", "compass"), Compass(), score="dense", make_searcher=make_searcher)
    (near,) = wrapped([dense], Strategy(search_with="positive"))
    texts = ["90 north", "80 north", "10 east"]
    pairs = pairs_of(("0 east", "90 north", 1), ("5 east", "80 north", 1))
    mine(pairs, corpus_of(*texts), [near], depth=2)
    assert np.allclose(tuned_on, [[[0, 1], [np.cos(np.radians(80)), np.sin(np.radians(80))]]], atol=1e-6)
    assert near.facts["recall"] == 0.99
