"""What `stats --encoder` tells of an encoder: by hand on toys, against plain loops on random vectors."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.backends.encoders import FakeEncoder, nothing
from pairmine.backends.models import Advance
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.identity import text_key
from pairmine.schema import as_pairs, empty_pairs
from pairmine.stages.audit import Sample, alignment, audit, differences, ranks, uniformity

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no collections in {DATA}")

# Directions in a plane, so that cosines are known: a text is its angle in degrees.
ANGLES = {"e": 0, "ne": 45, "n": 90, "w": 180, "é": 0}


class Compass(FakeEncoder):
    """The vector of a text is the direction that it names."""

    def encode(self, texts: Sequence[str], side: Any, advance: Advance = nothing) -> np.ndarray:
        angles = np.radians([float(ANGLES.get(text.casefold(), 0)) for text in texts])
        advance(len(texts))
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


class Constant(FakeEncoder):
    def encode(self, texts: Sequence[str], side: Any, advance: Advance = nothing) -> np.ndarray:
        return np.tile(np.float32([1, 0]), (len(texts), 1))


def pairs_of(*rows: tuple[str | None, str | None, int | None], grades: list[float | None] | None = None) -> pa.Table:
    table = {
        "query_id": [f"q {query}" for query, _, _ in rows],
        "query": pa.array([query for query, _, _ in rows], pa.string()),
        "doc_id": [f"d {document}" for _, document, _ in rows],
        "document": pa.array([document for _, document, _ in rows], pa.string()),
        "label": pa.array([label for _, _, label in rows], pa.int8()),
        "origin": ["given"] * len(rows),
    }
    if grades:
        table["grade"] = pa.array(grades, pa.float32())
    return as_pairs(pa.table(table))


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_alignment_is_the_mean_squared_distance_of_the_positives() -> None:
    # At 90 degrees the squared distance is 2, at 0 it is 0.
    found = audit(pairs_of(("e", "n", 1), ("e", "é", 1), ("e", "w", 0)), Compass())
    assert found["alignment"] == pytest.approx(1.0)
    assert (found["positive_pairs"], found["queries"], found["candidates"]) == (2, 1, 3)
    one, other = unit(50, 8), unit(50, 8, seed=1)
    wanted = np.mean([np.sum((x - y) ** 2) for x, y in zip(one, other, strict=True)])
    assert alignment(one, other) == pytest.approx(wanted, rel=1e-6)
    assert alignment(one, other) == pytest.approx(2 - 2 * np.mean(np.sum(one * other, axis=1)), rel=1e-5)
    assert alignment(one[:0], other[:0]) is None


def test_uniformity_is_the_log_mean_kernel_of_all_pairs() -> None:
    found = audit(pairs_of(("e", "n", 1), ("w", "e", 1)), Compass())
    # e and w lie 2 apart: log exp(-2 * 4). n and e have the squared distance 2: log exp(-2 * 2).
    assert found["uniformity_queries"] == pytest.approx(-8)
    assert found["uniformity_documents"] == pytest.approx(-4)
    assert found["uniformity"] == pytest.approx(-6)
    vectors = unit(1500, 6)
    kernel = [math.exp(-2 * float(np.sum((x - y) ** 2))) for x, y in combinations(vectors[:200].astype(float), 2)]
    assert uniformity(vectors[:200]) == pytest.approx(math.log(np.mean(kernel)), rel=1e-9)
    everything = np.exp(-2 * (2 - 2 * vectors.astype(float) @ vectors.T.astype(float)))
    assert uniformity(vectors) == pytest.approx(math.log(everything[np.triu_indices(1500, 1)].mean()), rel=1e-6)
    assert uniformity(np.tile(vectors[:1], (5, 1))) == pytest.approx(0, abs=1e-6)
    assert uniformity(vectors[:1]) is None


def test_the_true_positive_is_ranked_among_all_documents() -> None:
    # From "e": é 0, ne 45, n 90, w 180 degrees. The positive n comes third.
    found = audit(pairs_of(("e", "n", 1), ("e", "ne", 0), ("e", "é", None), ("e", "w", 0)), Compass())
    assert (found["candidates"], found["mean_rank"]) == (4, 3)
    assert (found["mrr"], found["hits@1"], found["hits@3"]) == (pytest.approx(1 / 3), 0, 1)


def test_other_positives_and_the_querys_own_text_do_not_count() -> None:
    # Without the rule ne would be third behind "e" itself and é.
    found = audit(pairs_of(("e", "ne", 1), ("e", "é", 1), ("w", "e", 1), ("w", "n", 0)), Compass())
    # e: ne first, é first. w: n lies nearer, then ne, then e and é tie for ranks 3 and 4.
    assert found["mean_rank"] == pytest.approx((1 + 1 + 3.5) / 3)
    assert found["hits@1"] == pytest.approx(2 / 3)


def test_among_texts_the_queries_of_others_are_candidates_too() -> None:
    rows = pairs_of(("e", "n", 1), ("ne", "w", 1))
    assert audit(rows, Compass())["candidates"] == 2
    found = audit(rows, Compass(), among="texts")
    # From e: ne, n, w: n is second. From ne: e and n tie for 1 and 2, w is third.
    assert (found["candidates"], found["mean_rank"]) == (4, 2.5)


def test_an_encoder_that_tells_nothing_apart_has_no_first_rank() -> None:
    found = audit(pairs_of(("a", "b", 1), ("a", "c", 0), ("a", "d", 0)), Constant())
    assert (found["mean_rank"], found["hits@1"]) == (2, 0)


def test_ranks_are_those_of_plain_counting() -> None:
    queries, candidates = unit(40, 5), unit(60, 5, seed=3)
    draw = np.random.default_rng(5)
    positives = [draw.choice(60, draw.integers(1, 4), replace=False) for _ in range(40)]
    own = draw.integers(-1, 60, 40)
    own = np.array([-1 if place in places else place for place, places in zip(own, positives, strict=True)])
    for row, (places, found) in enumerate(zip(positives, ranks(queries, candidates, positives, own), strict=True)):
        scores = candidates @ queries[row]
        others = [at for at in range(60) if at not in places and at != own[row]]
        assert found.tolist() == [1 + sum(scores[at] > scores[place] for at in others) for place in places]


def test_grades_decide_where_there_is_no_label_and_are_compared_with_cosines() -> None:
    grades = [1.0, 0.8, 0.4, 0.0, None]
    rows = pairs_of(
        ("e", "é", None), ("e", "ne", None), ("e", "n", None), ("e", "w", None), ("n", "n", 0), grades=grades
    )
    found = audit(rows, Compass())
    assert (found["positive_pairs"], found["graded_pairs"]) == (2, 4)
    assert found["spearman"] == pytest.approx(1)
    assert audit(rows, Compass(), positive_from=0.3)["positive_pairs"] == 3
    turned = audit(pairs_of(("e", "é", None), ("e", "w", None), grades=[0.1, 0.9]), Compass())
    assert turned["spearman"] == pytest.approx(-1)
    assert audit(pairs_of(("e", "é", None), grades=[0.5]), Compass())["spearman"] is None


def test_texts_that_occur_twice_count_once_and_blank_ones_not_at_all() -> None:
    rows = pairs_of(("e", "n", 1), ("E", "N ", 1), ("e", None, 1), ("w", "", 1), (None, "n", 1))
    found = audit(rows, Compass())
    assert (found["positive_pairs"], found["candidates"], found["mrr"]) == (1, 1, 1)


@pytest.mark.parametrize("rows", [empty_pairs(), pairs_of(("e", "n", 0)), pairs_of((None, None, 1))])
def test_without_positives_there_are_nulls_that_json_can_hold(rows: pa.Table) -> None:
    found = audit(rows, Compass())
    assert found["positive_pairs"] == 0
    assert found["alignment"] is found["uniformity"] is found["mrr"] is None
    assert json.loads(json.dumps(found)) == found


def test_mistakes_are_named() -> None:
    with pytest.raises(PairmineError, match="--rank-among all: choose documents, texts"):
        audit(empty_pairs(), Compass(), among="all")
    with pytest.raises(PairmineError, match='no "document" texts'):
        audit(pairs_of(("e", "n", 1)).drop_columns("document"), Compass())


def test_a_sample_holds_whole_queries_and_does_not_depend_on_the_chunks() -> None:
    rows = pairs_of(*((f"q{number}", f"d{number} {row}", row % 2) for number in range(60) for row in range(3)))
    whole, parts, all_of_it = Sample(10), Sample(10), Sample(0)
    whole.add(rows)
    all_of_it.add(rows)
    for start in range(0, 180, 9):
        parts.add(rows.slice(start, 9))
    assert parts.table().to_pylist() == whole.table().to_pylist()
    ids = whole.table()["query_id"].to_pylist()
    assert (len(ids), len(set(ids))) == (30, 10)
    assert all_of_it.table().equals(rows)
    other = Sample(10, seed=1)
    other.add(rows)
    assert set(other.table()["query_id"].to_pylist()) != set(ids)


def test_differences_are_those_of_the_numbers_and_null_where_one_is_missing() -> None:
    one = audit(pairs_of(("e", "n", 1), ("w", "e", 1)), Compass())
    other = audit(pairs_of(("e", "é", 1), ("w", "e", 1)), Compass())
    found = differences(one, other)
    assert found["alignment"] == pytest.approx(one["alignment"] - other["alignment"])
    assert found["spearman"] is None


# --- the command ------------------------------------------------------------------------------------


def stats(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    app(["stats", *map(str, arguments)], standalone_mode=False)
    return capsys.readouterr().out


def test_the_command_prints_the_numbers_and_their_meaning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pairs_of(("wing lift", "lift of a wing", 1), ("heat", "soup", 0)), tmp_path / "p.parquet")
    shown = stats(capsys, tmp_path / "p.parquet", "--encoder", "fake:")
    assert "fake on 1 positive pairs of 1 queries, ranked among 2 documents" in shown
    assert "mean squared distance of a positive pair" in shown
    assert "uniformity" not in shown
    found = json.loads(stats(capsys, tmp_path / "p.parquet", "--encoder", "fake:", "--json"))["encoder"]
    assert found["mrr"] == 1
    assert "encoder" not in json.loads(stats(capsys, tmp_path / "p.parquet", "--json"))


def test_a_paraphrased_pair_set_is_compared_with_the_original(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pairs_of(("wing lift", "lift of a wing", 1), ("heat", "heat flow", 1)), tmp_path / "p.parquet")
    pq.write_table(
        pairs_of(("what raises planes", "lift of a wing", 1), ("heat", "heat flow", 1)), tmp_path / "q.parquet"
    )
    arguments = (tmp_path / "q.parquet", "--encoder", "fake:", "--against", tmp_path / "p.parquet")
    found = json.loads(stats(capsys, *arguments, "--json"))["encoder"]
    assert found["difference"]["alignment"] == pytest.approx(found["alignment"] - found["original"]["alignment"])
    assert found["difference"]["alignment"] > 0.1
    assert "original  difference" in stats(capsys, *arguments)


def test_options_of_an_encoder_want_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pairs_of(("e", "n", 1)), tmp_path / "p.parquet")
    with pytest.raises(PairmineError, match="--sample has no effect without --encoder"):
        stats(capsys, tmp_path / "p.parquet", "--sample", 3)
    with pytest.raises(PairmineError, match="--rank-among all: choose"):
        stats(capsys, tmp_path / "p.parquet", "--encoder", "fake:", "--rank-among", "all")
    with pytest.raises(PairmineError, match="--encoder ce:some/model: no such kind of model"):
        stats(capsys, tmp_path / "p.parquet", "--encoder", "ce:some/model")


@pytest.mark.slow
@needs_data
def test_a_real_model_agrees_with_human_grades_of_similarity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with gzip.open(DATA / "stsb-multi" / "dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["lang"] == "en"][:200]
    table = pairs_of(
        *((row["sentence1"], row["sentence2"], None) for row in rows), grades=[row["score"] / 5 for row in rows]
    )
    order = np.argsort(table["query_id"].combine_chunks().dictionary_encode().indices, kind="stable")
    pq.write_table(table.take(pa.array(order)), tmp_path / "sts.parquet")
    found = json.loads(
        stats(capsys, tmp_path / "sts.parquet", "--encoder", "st:all-MiniLM-L6-v2", "--rank-among", "texts", "--json")
    )["encoder"]
    assert found["graded_pairs"] == 200
    assert found["spearman"] > 0.8
    assert found["hits@3"] > 0.8
    assert found["alignment"] < 0.5
    assert found["uniformity"] < -2


@pytest.mark.slow
@needs_data
def test_the_numbers_are_those_of_the_authors_formulas_on_a_real_model() -> None:
    """In torch as the papers' code writes them, and by sentence-transformers' own search for the ranks."""
    torch = pytest.importorskip("torch")
    from sentence_transformers import SentenceTransformer, util

    from pairmine.backends.encoders import open_encoder
    from pairmine.backends.specs import locate, parse_spec

    spec = parse_spec("st:all-MiniLM-L6-v2", ("st",), "--encoder")
    with gzip.open(DATA / "stsb-multi" / "dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["lang"] == "en" and row["score"] >= 4]
    rows = list({row["sentence1"].casefold(): row for row in rows}.values())
    rows = list({row["sentence2"].casefold(): row for row in rows}.values())[:150]
    found = audit(
        pairs_of(*((row["sentence1"], row["sentence2"], 1) for row in rows)), open_encoder(spec, flag="--encoder")
    )

    model = SentenceTransformer(locate(spec, "--encoder"), device="cpu")
    x, y = (
        model.encode([row[name] for row in rows], normalize_embeddings=True, convert_to_tensor=True)
        for name in ("sentence1", "sentence2")
    )
    assert found["alignment"] == pytest.approx(float((x - y).norm(p=2, dim=1).pow(2).mean()), rel=1e-3)
    halves = [float(torch.pdist(each, p=2).pow(2).mul(-2).exp().mean().log()) for each in (x, y)]
    assert found["uniformity"] == pytest.approx(sum(halves) / 2, rel=1e-3)
    hits = util.semantic_search(x, y, top_k=len(rows))
    places = []
    for at, (row, ranked) in enumerate(zip(rows, hits, strict=True)):
        order = [hit["corpus_id"] for hit in ranked]
        itself = [place for place, each in enumerate(rows) if text_key(each["sentence2"]) == text_key(row["sentence1"])]
        places.append(1 + [place for place in order if place not in itself or place == at].index(at))
    for k in (1, 3, 10):
        assert found[f"hits@{k}"] == pytest.approx(np.mean([place <= k for place in places]), abs=0.01)
    assert found["mrr"] == pytest.approx(np.mean([1 / place for place in places]), abs=0.01)
