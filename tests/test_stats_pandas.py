"""The numbers of stats against pandas, numpy and scipy on random pair sets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.schema import as_pairs, score_field
from pairmine.stages.stats import Stats
from pairmine.stages.stats.hubs import spread
from pairmine.stages.stats.numbers import NumberTally, edges_over
from pairmine.stages.stats.scores import overlap
from pairmine.stages.stats.tally import BINS, Tally

ORIGINS = ("given", "mine:bm25", "mine:é")
SCORES = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 0.5, -2.5, 1e-40]), st.floats(-4, 4, width=32))
ROWS = st.tuples(
    st.sampled_from("abcdefghijklmnopqrstuvwxyz"),
    st.sampled_from([1, 0, 0, None]),
    st.sampled_from(ORIGINS),
    SCORES,
    st.one_of(st.none(), st.integers(1, 300)),
)
QUERIES = st.lists(st.lists(ROWS, min_size=1, max_size=9), min_size=1, max_size=12)


def pair_set(queries: list[list[tuple[Any, ...]]], first: int = 0) -> pa.Table:
    rows = [(f"q{first + at}", *row) for at, each in enumerate(queries) for row in each]
    columns = {
        "query_id": pa.array([row[0] for row in rows], pa.string()),
        "query": pa.array([f"about {row[0]}" for row in rows], pa.string()),
        "doc_id": pa.array([row[1] for row in rows], pa.string()),
        "document": pa.array([row[1] * 100 for row in rows], pa.string()),
        "label": pa.array([row[2] for row in rows], pa.int8()),
        "origin": pa.array([row[3] for row in rows], pa.string()),
        "rank": pa.array([row[5] for row in rows], pa.int32()),
    }
    table = pa.table(columns).append_column(
        score_field("x", "cosine"), pa.array([row[4] for row in rows], pa.float32())
    )
    return as_pairs(table)


def numbers(*chunks: pa.Table) -> dict[str, Any]:
    counted = Stats()
    for chunk in chunks:
        counted.add(chunk)
    return counted.to_dict()


def close(found: float | None, wanted: float | None) -> bool:
    if found is None or wanted is None or math.isnan(wanted):
        return found is None and (wanted is None or math.isnan(wanted))
    return found == pytest.approx(wanted, rel=1e-6, abs=1e-6)  # margins are rounded to float32


@settings(max_examples=30, deadline=None)
@given(QUERIES, st.integers(0, 12))
def test_hardness_hubs_and_histograms_are_those_of_pandas(queries: list[list[tuple[Any, ...]]], cut: int) -> None:
    table = pair_set(queries)
    found = numbers(table)
    parts = [pair_set(queries[:cut]), pair_set(queries[cut:], cut)]
    assert numbers(*(part for part in parts if part.num_rows)) == found
    assert numbers(*reversed([part for part in parts if part.num_rows])) == found
    frame = table.select(["query_id", "doc_id", "label", "origin", "rank", "score_x"]).to_pandas()
    frame["label"] = frame["label"].fillna(-1).astype(int)
    check_hardness(found, frame)
    check_hubs(found["hubs"], frame)
    check_histograms(found, frame)
    check_ranks(found, frame)


def check_hardness(found: dict[str, Any], frame: pd.DataFrame) -> None:
    scored = frame[frame["score_x"].notna()]
    negatives = scored[scored["label"] == 0]
    if negatives.empty:
        assert found["hardness"] == {}
        return
    hardness = found["hardness"]["score_x"]
    of_query = negatives.groupby("query_id")["score_x"].mean()
    assert hardness["queries"]["count"] == len(of_query)
    assert close(hardness["queries"]["mean"], of_query.astype(float).mean())
    lowest = scored[scored["label"] == 1].groupby("query_id")["score_x"].min().rename("lowest")
    compared = negatives.join(lowest, on="query_id", how="inner").astype({"lowest": float, "score_x": float})
    margins = compared["lowest"] - compared["score_x"]
    assert hardness["margin"]["count"] == len(margins)
    assert close(hardness["margin"]["mean"], margins.mean())
    whole = compared["lowest"] != 0
    assert hardness["relative_margin"]["count"] == int(whole.sum())
    for origin, own in negatives.groupby("origin"):
        cell = hardness["origins"][origin]
        assert cell["negatives"] == len(own)
        assert close(cell["mean"], own["score_x"].astype(float).mean())
        assert close(cell["margin"], margins[compared["origin"] == origin].mean())
        assert close(cell["above"], (margins[compared["origin"] == origin] < 0).mean())


def check_hubs(hubs: dict[str, Any], frame: pd.DataFrame) -> None:
    kind = 0 if (frame["label"] == 0).any() else -1 if (frame["label"] == -1).any() else None
    assert hubs["of"] == {0: "negative", -1: "undecided", None: None}[kind]
    chosen = frame[frame["label"] == kind].drop_duplicates(["query_id", "doc_id"])
    counts = chosen["doc_id"].value_counts().reindex(frame["doc_id"].unique(), fill_value=0)
    assert (hubs["documents"], hubs["rows"], hubs["max"]) == (len(counts), int(counts.sum()), int(counts.max()))
    assert hubs["never"] == int((counts == 0).sum())
    upper = math.ceil(len(counts) / 100)
    assert close(hubs["top_percent_share"], counts.nlargest(upper).sum() / counts.sum() if counts.sum() else None)
    spreads = counts.nunique() > 1
    skewness = float((((counts - counts.mean()) / counts.std(ddof=0)) ** 3).mean()) if spreads else None
    assert close(hubs["skewness"], skewness)
    differences = np.abs(np.subtract.outer(counts.to_numpy(), counts.to_numpy())).mean()
    assert close(hubs["gini"], differences / 2 / counts.mean() if counts.sum() else None)
    wanted = sorted(((-count, name) for name, count in counts.items() if count > 1))[:10]
    assert [(-each["queries"], each["doc_id"]) for each in hubs["top"]] == wanted
    assert all(each["document"] == each["doc_id"] * 80 for each in hubs["top"])


def check_histograms(found: dict[str, Any], frame: pd.DataFrame) -> None:
    score = found["scores"]["score_x"]
    edges = score["histogram"]["edges"]
    assert len(edges) <= BINS + 1
    for label, name in ((1, "positive"), (0, "negative"), (-1, "undecided")):
        values = frame.loc[(frame["label"] == label) & frame["score_x"].notna(), "score_x"].astype(float)
        wanted = np.histogram(values, edges)[0].tolist() if edges else []
        assert score["histogram"][name] == wanted
        assert sum(wanted) == len(values)
    up, down = (np.array(score["histogram"][name], float) for name in ("positive", "negative"))
    if up.sum() and down.sum():
        assert close(score["overlap"], float(np.minimum(up / up.sum(), down / down.sum()).sum()))
    else:
        assert score["overlap"] is None


def check_ranks(found: dict[str, Any], frame: pd.DataFrame) -> None:
    ranked = frame[frame["rank"].notna()]
    histogram = found["ranks"]["negative"]["histogram"]
    values = ranked.loc[ranked["label"] == 0, "rank"]
    assert sum(histogram["counts"]) == len(values)
    if len(values):
        assert np.histogram(values, histogram["edges"])[0].tolist() == histogram["counts"]
    kind = 0 if (frame["label"] == 0).any() else -1
    of_origin = ranked[ranked["label"] == kind].groupby("origin")["rank"].mean()
    assert {name: each["mean"] for name, each in found["rank_origins"].items()} == of_origin.to_dict()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_a_histogram_of_any_numbers_counts_as_numpy_does(values: list[float]) -> None:
    tally = NumberTally()
    tally.add(np.array(values, np.float32))
    found = tally.histogram()
    assert 1 <= len(found["counts"]) <= BINS
    assert found["counts"] == np.histogram(np.array(values, np.float64), found["edges"])[0].tolist()
    widths = np.diff(found["edges"])
    assert (widths == widths[0]).all()
    assert found["edges"][0] <= min(values)
    assert found["edges"][-1] >= max(values)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=40))
def test_a_histogram_of_whole_numbers_counts_as_numpy_does(values: list[int]) -> None:
    tally = Tally()
    tally.add(np.array(values))
    found = tally.histogram()
    assert len(found["counts"]) <= BINS
    assert found["counts"] == np.histogram(values, found["edges"])[0].tolist()


def test_edges_are_readable_where_scores_are() -> None:
    assert edges_over(0.0, 1.0) == [number / 32 for number in range(33)]
    assert edges_over(-1.0, 1.0)[:2] == [-1.0, -0.9375]
    assert edges_over(0.0, 0.0)[0] == 0.0
    assert len(edges_over(1000.0, 1000.001)) <= 3


def test_skewness_and_gini_are_those_of_scipy_and_of_their_definition() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    counts = np.random.default_rng(3).zipf(1.9, 500).clip(0, 400).astype(np.int32)
    found = spread(counts)
    assert found["skewness"] == pytest.approx(float(scipy_stats.skew(counts)), rel=1e-9)
    differences = np.abs(np.subtract.outer(counts, counts).astype(float)).sum()
    assert found["gini"] == pytest.approx(differences / (2 * len(counts) ** 2 * counts.mean()), rel=1e-12)
    assert spread(np.full(7, 3))["gini"] == 0
    assert spread(np.array([0] * 99 + [8]))["gini"] == pytest.approx(0.99)
    assert spread(np.array([0] * 99 + [8]))["top_percent_share"] == 1
    assert spread(np.empty(0, np.int32))["gini"] is None


def test_two_normals_overlap_as_theory_has_it() -> None:
    # Weitzman's coefficient of two normal distributions d standard deviations apart is 2 * Phi(-d / 2).
    draw = np.random.default_rng(0)
    tallies = [NumberTally(), NumberTally()]
    for tally, mean in zip(tallies, (0.0, 1.0), strict=True):
        tally.add(draw.normal(mean, 0.5, 200_000).astype(np.float32))
    edges = edges_over(min(each.min for each in tallies), max(each.max for each in tallies))
    found = overlap(*(each.counts_between(edges) for each in tallies))
    assert found == pytest.approx(2 * 0.5 * math.erfc(1 / math.sqrt(2)), abs=0.01)
