"""`mix`: shares worked out by hand, whole queries, ids that mean one thing, batches of one source or cluster."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.backends.encoders import FakeEncoder, nothing
from pairmine.backends.models import Advance
from pairmine.cli.lineage import commands
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.files.lineage import decode
from pairmine.outcome import Outcome
from pairmine.schema import as_pairs, empty_pairs
from pairmine.stages.clusters import Clusters
from pairmine.stages.mix import Batching, Source, Weighing, by_encoder, mix
from pairmine.stages.mix.draws import ALL, Drawn, places_of_positives
from pairmine.stages.mix.shares import apportion
from pairmine.stages.mix.sources import Pool

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no collections in {DATA}")


def source(name: str, queries: int, rows: int = 2, text: str = "about {}", **columns: Any) -> Source:
    """`queries` queries called name-0, name-1, ... with one positive and rows - 1 negatives each."""
    table = [
        {
            "query_id": f"{name}-{number}",
            "query": text.format(f"{name} {number}"),
            "doc_id": f"{name}-{number}-{row}",
            "document": f"document {row} of {name} {number}",
            "label": int(row == 0),
            "origin": "given",
            **columns,
        }
        for number in range(queries)
        for row in range(rows)
    ]
    return Source(name, as_pairs(pa.Table.from_pylist(table)) if table else empty_pairs())


def queries_of(outcome: Outcome) -> list[str]:
    """The query ids of what was kept, each once, in order; every query's rows stand together."""
    ids = outcome.kept["query_id"].to_pylist()
    runs = [one for one, before in zip(ids, [None, *ids], strict=False) if one != before]
    assert len(set(runs)) == len(runs)
    return runs


def per_source(outcome: Outcome) -> dict[str, int]:
    rows = zip(outcome.kept["source"].to_pylist(), outcome.kept["query_id"].to_pylist(), strict=True)
    return dict(Counter(name for name, _ in set(rows)))


def counts(held: Sequence[int], **settings: Any) -> list[int]:
    weights = np.array(settings.pop("weights", [1.0] * len(held)))
    return apportion(np.array(held), weights=weights, **{"size": None, **settings}).tolist()


def test_shares_follow_the_power_of_the_size() -> None:
    # Square roots 10 and 20: one third and two thirds.
    assert counts([100, 400], alpha=0.5, size=30) == [10, 20]
    assert counts([100, 400], alpha=1, size=30) == [6, 24]
    assert counts([100, 400], alpha=0, size=30) == [15, 15]
    assert counts([100, 400], alpha=0.5, size=30, weights=[2.0, 1.0]) == [15, 15]


def test_without_a_size_as_many_as_keep_the_shares_and_repeat_nothing() -> None:
    assert counts([100, 400], alpha=1) == [100, 400]
    assert counts([100, 400], alpha=0.5) == [100, 200]
    assert counts([100, 400], alpha=0) == [100, 100]
    assert counts([7, 3, 11], alpha=1) == [7, 3, 11]
    assert counts([5], alpha=0.5) == [5]
    assert counts([0, 9], alpha=0.5) == [0, 9]
    assert counts([0, 0], alpha=0.5) == [0, 0]


def test_what_a_small_source_cannot_give_the_others_do() -> None:
    # Equal shares of 30 are 10 each; the first has 4, so the others give 13 each.
    assert counts([4, 100, 100], alpha=0, size=30) == [4, 13, 13]
    assert counts([4, 100, 100], alpha=0, size=204) == [4, 100, 100]
    assert counts([4, 100, 100], alpha=0, size=30, repeat=True) == [10, 10, 10]
    assert sum(counts([10, 10, 10], alpha=0.5, size=20)) == 20


def test_whole_queries_are_drawn_with_all_their_rows_and_the_rest_is_rejected() -> None:
    outcome = mix([source("a", 4, rows=3), source("b", 16)], seed=1)
    assert per_source(outcome) == {"a": 4, "b": 8}
    rows = Counter(outcome.kept["query_id"].to_pylist())
    assert {rows[query] for query in queries_of(outcome) if query.startswith("a")} == {3}
    assert outcome.rejected["reason"].to_pylist() == ["b: not drawn"] * 16
    drawn, left = set(outcome.kept["query_id"].to_pylist()), set(outcome.rejected["query_id"].to_pylist())
    assert not drawn & left
    assert len(drawn | left) == 20


def test_sources_stand_mixed_and_not_one_behind_the_other() -> None:
    names = [query[0] for query in queries_of(mix([source("a", 50), source("b", 50)], seed=0))]
    changes = sum(one != other for one, other in itertools.pairwise(names))
    assert 30 < changes < 70
    assert sum(name == "a" for name in names[:50]) in range(15, 36)


def test_a_seed_settles_the_draw_and_a_larger_one_takes_in_a_smaller() -> None:
    sources = [source("a", 40), source("b", 40)]
    small, again = (mix(sources, Weighing(size=20), seed=3) for _ in range(2))
    assert small.kept.equals(again.kept)
    other = mix(sources, Weighing(size=20), seed=4)
    assert set(queries_of(small)) != set(queries_of(other))
    assert set(queries_of(small)) < set(queries_of(mix(sources, Weighing(size=40), seed=3)))
    # What is drawn does not depend on where a source is named.
    turned = mix(sources[::-1], Weighing(size=20), seed=3)
    assert queries_of(small) == queries_of(turned)


def test_pairs_can_be_counted_instead_of_queries() -> None:
    outcome = mix([source("a", 10, rows=4), source("b", 10, rows=1)], Weighing(alpha=0, size=18, unit="pairs"), seed=0)
    rows = Counter(outcome.kept["source"].to_pylist())
    # Nine pairs each: of queries with four rows two fit.
    assert rows == {"a": 8, "b": 9}


def test_repeated_queries_come_with_ids_of_their_own() -> None:
    outcome = mix([source("a", 2), source("b", 10)], Weighing(alpha=0, size=10, repeat=True), seed=0)
    assert per_source(outcome) == {"a": 5, "b": 5}
    again = [query for query in queries_of(outcome) if query.startswith("a")]
    assert set(again) - {"a-0#3", "a-1#3"} == {"a-0", "a-0#2", "a-1", "a-1#2"}
    assert len(again) == 5
    assert outcome.added == 6


def test_an_id_of_two_sources_is_renamed_with_its_rows_kept_apart() -> None:
    rows = [{"query_id": "1", "query": "wing", "doc_id": "d", "document": "lift", "label": 1, "origin": "given"}]
    other = [{**rows[0], "query": "翼", "document": "揚力", "source_id": "d"}]
    outcome = mix(
        [Source(name, as_pairs(pa.Table.from_pylist(each))) for name, each in (("en", rows), ("ja", other))], seed=0
    )
    found = {row["query_id"]: row for row in outcome.kept.to_pylist()}
    assert set(found) == {"1", "ja/1"}
    assert (found["ja/1"]["doc_id"], found["ja/1"]["source_id"], found["ja/1"]["document"]) == ("ja/d", "ja/d", "揚力")
    assert (found["1"]["doc_id"], found["1"]["source_id"]) == ("d", None)
    assert outcome.notes["query ids that an earlier source has, renamed"] == 1


def test_a_document_that_two_sources_share_keeps_its_id() -> None:
    one, other = source("a", 1), source("b", 1)
    shared = other.pairs.set_column(2, "doc_id", pa.array(["a-0-0", "x"])).set_column(
        3, "document", pa.array(["document 0 of a 0", "else"])
    )
    outcome = mix([one, Source("b", as_pairs(shared))], seed=0)
    assert sorted(outcome.kept["doc_id"].to_pylist()) == ["a-0-0", "a-0-0", "a-0-1", "x"]


def test_columns_of_one_source_are_null_in_the_others_and_an_earlier_source_column_stays() -> None:
    outcome = mix([source("a", 1, score_ce=0.5, source="before"), source("b", 1)], seed=0)
    rows = {row["query_id"]: row for row in outcome.kept.to_pylist()}
    assert (rows["a-0"]["score_ce"], rows["a-0"]["other_source"], rows["a-0"]["source"]) == (0.5, "before", "a")
    assert (rows["b-0"]["score_ce"], rows["b-0"]["other_source"], rows["b-0"]["source"]) == (None, None, "b")


def test_an_empty_source_gives_nothing_and_one_row_is_enough() -> None:
    assert per_source(mix([source("a", 0), source("b", 1, rows=1)], seed=0)) == {"b": 1}
    assert mix([source("a", 0)], seed=0).kept.num_rows == 0
    assert mix([source("a", 0)], batching=Batching("source", 2), seed=0).kept.num_rows == 0


# --- batches ----------------------------------------------------------------------------------------


def batches_of(outcome: Outcome) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for query, batch in zip(outcome.kept["query_id"].to_pylist(), outcome.kept["batch"].to_pylist(), strict=True):
        if query not in found.setdefault(batch, []):
            found[batch].append(query)
    return found


def test_every_batch_is_of_one_source_and_rows_stand_in_its_order() -> None:
    outcome = mix([source("a", 10), source("b", 30)], Weighing(alpha=1), Batching("source", 4), seed=0)
    found = batches_of(outcome)
    assert list(found) == list(range(11))
    assert all(len({query[0] for query in queries}) == 1 for queries in found.values())
    assert Counter(map(len, found.values())) == {4: 9, 2: 2}
    sources = [queries[0][0] for queries in found.values()]
    assert sources != sorted(sources)
    assert sources != sorted(sources, reverse=True)


def test_what_fills_no_batch_is_kept_short_or_rejected() -> None:
    batching = Batching("source", 4, full=True)
    outcome = mix([source("a", 10), source("b", 3)], Weighing(alpha=1), batching, seed=0)
    assert [len(queries) for queries in batches_of(outcome).values()] == [4, 4]
    assert Counter(outcome.rejected["reason"].to_pylist()) == {
        "a: left over, no full batch": 4,
        "b: left over, no full batch": 6,
    }


class ByFirstWord(FakeEncoder):
    """Texts about one thing are one direction, nearly."""

    def encode(self, texts: Sequence[str], side: Any, advance: Advance = nothing) -> np.ndarray:
        return super().encode([text.split()[0] for text in texts], side, advance)


def test_every_batch_is_of_one_cluster_of_one_source() -> None:
    topics = ["wings", "soups", "taxes"]
    table = [
        {
            "query_id": f"{topic}{n}",
            "query": f"{topic} {n}",
            "doc_id": f"{topic}{n}",
            "document": f"{topic} answer {n}",
            "origin": "given",
        }
        for n in range(8)
        for topic in topics
    ]
    sources = [Source("web", as_pairs(pa.Table.from_pylist(table))), source("faq", 5, text="wings {}")]
    outcome = mix(
        sources, Weighing(alpha=1), Batching("clusters", 4, clusters=3), seed=0, vectors_of=by_encoder(ByFirstWord())
    )
    found = batches_of(outcome)
    kinds = [{query.rstrip("0123456789") for query in queries} for queries in found.values()]
    assert all(len(kind) == 1 for kind in kinds)
    assert Counter(next(iter(kind)) for kind in kinds) == {"wings": 2, "soups": 2, "taxes": 2, "faq-": 2}
    # Five queries fill one batch of four, so they are one cluster.
    clusters = {row["query_cluster"] for row in outcome.kept.to_pylist() if row["source"] == "faq"}
    assert clusters == {0}


def test_clusters_are_those_of_equal_directions_and_the_nearest_ones_are_exact() -> None:
    draw = np.random.default_rng(0)
    axes = np.eye(4, dtype=np.float32)
    vectors = np.repeat(axes, 25, axis=0) + draw.normal(0, 0.05, (100, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    clusters = Clusters.of(vectors, 4, seed=7)
    assert np.allclose(np.linalg.norm(clusters.centroids, axis=1), 1, atol=1e-6)
    nearest = clusters.nearest(vectors, 4)
    assert all(len(set(nearest[start : start + 25, 0])) == 1 for start in range(0, 100, 25))
    assert len(set(nearest[::25, 0])) == 4
    wanted = np.argsort(-(vectors @ clusters.centroids.T), axis=1)
    assert np.array_equal(nearest, wanted)
    assert np.array_equal(clusters.nearest(vectors[:1], 6)[0, 4:], [-1, -1])
    assert clusters.nearest(vectors[:0], 2).shape == (0, 2)
    with pytest.raises(PairmineError, match="3 texts cannot make 4 clusters"):
        Clusters.of(vectors[:3], 4, seed=0)


# --- mistakes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"weighing": Weighing(alpha=-1)}, "--alpha -1"),
        ({"weighing": Weighing(size=9)}, "--size 9: the sources hold 6 in all; ask for fewer, or pass --repeat"),
        ({"weighing": Weighing(weights={"x": 2})}, "--weight x=2: no such source; they are a, b"),
        ({"weighing": Weighing(weights={"a": 0})}, "--weight a=0: above 0"),
        ({"weighing": Weighing(repeat=True)}, "--repeat has an effect with --size alone"),
        ({"weighing": Weighing(unit="rows")}, "--by rows: choose queries, pairs"),
        ({"batching": Batching("topics")}, "--batches topics: choose none, mixed, source, clusters"),
        ({"batching": Batching("source")}, "wants --batch-size"),
        ({"batching": Batching(size=4)}, "--batch-size has an effect with --batches"),
        ({"batching": Batching("source", 4, ranks=0)}, "--ranks 0: at least 1"),
        ({"batching": Batching("source", 4, bucket="words")}, "--bucket words: choose none, length"),
        ({"batching": Batching("source", 4, positives="all")}, "--positives all: choose each, together"),
        ({"batching": Batching("clusters", 4)}, "--batches clusters wants --encoder or --vectors"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(PairmineError) as told:
        mix([source("a", 3), source("b", 3)], seed=0, **settings)
    assert line in str(told.value)


def test_what_is_no_pair_set_and_a_query_without_text_are_named() -> None:
    with pytest.raises(PairmineError, match='bad: no "origin"'):
        mix([Source("bad", source("a", 1).pairs.drop_columns("origin"))], seed=0)
    apart = pa.concat_tables([source("a", 2).pairs, source("a", 1).pairs])
    with pytest.raises(PairmineError, match='a: rows of query "a-0" lie apart'):
        mix([Source("a", apart)], seed=0)
    blank = source("a", 1).pairs.set_column(1, "query", pa.nulls(2, pa.string()))
    with pytest.raises(PairmineError, match='query "a-0" has no text'):
        mix(
            [Source("a", as_pairs(blank))],
            batching=Batching("clusters", 1),
            seed=0,
            vectors_of=by_encoder(FakeEncoder()),
        )
    made = source("b", 1).pairs.set_column(0, "query_id", pa.array(["b/a-0"] * 2))
    both = pa.concat_tables([made, source("a", 1).pairs])
    with pytest.raises(PairmineError, match='query id "b/a-0" would stand for two queries'):
        mix([source("a", 1), Source("b", both)], Weighing(alpha=1), seed=0)


# --- the command ------------------------------------------------------------------------------------


def run(*arguments: object) -> None:
    app([str(each) for each in arguments], standalone_mode=False)


def test_the_command_names_sources_by_their_files_and_info_prints_it(tmp_path: Path) -> None:
    for name, queries in (("nli.v1", 4), ("faq", 9)):
        pq.write_table(source(name.partition(".")[0], queries).pairs, tmp_path / f"{name}.parquet")
    out, rejects, summary = tmp_path / "out.parquet", tmp_path / "rejects.parquet", tmp_path / "summary.json"
    arguments = ("mix", tmp_path / "nli.v1.parquet", f"help={tmp_path / 'faq.parquet'}", "-q")
    run(*arguments, "-o", out, "--rejects", rejects, "--summary", summary)
    table = pq.read_table(out)
    assert Counter(table["source"].to_pylist()) == {"nli": 8, "help": 12}
    told = json.loads(summary.read_text())
    assert told["rows_in"] == told["rows_out"] + sum(told["rejected"].values()) == 26
    assert pq.read_table(rejects).num_rows == 6
    (line,) = (
        line for line in commands(decode(pq.read_metadata(out).metadata, "out")) if line.startswith("pairmine mix")
    )
    assert line == "pairmine mix nli=nli.v1.parquet help=faq.parquet -o out.parquet"
    run(*arguments, "-o", tmp_path / "again.parquet", "--workers", 1)
    assert out.read_bytes() == (tmp_path / "again.parquet").read_bytes()


def test_two_files_of_one_name_and_a_wrong_weight_are_told_before_reading(tmp_path: Path) -> None:
    with pytest.raises(PairmineError, match='two sources are called "a"; write NAME=FILE'):
        run("mix", tmp_path / "a.parquet", tmp_path / "a.jsonl", "-o", tmp_path / "out.parquet")
    with pytest.raises(PairmineError, match="--weight three: write NAME=NUMBER"):
        run("mix", tmp_path / "a.parquet", "--weight", "three", "-o", tmp_path / "out.parquet")
    with pytest.raises(PairmineError, match="--encoder has no effect with --batches source"):
        run("mix", "a", "--batches", "source", "--batch-size", 2, "--encoder", "fake:", "-o", tmp_path / "o.parquet")
    with pytest.raises(PairmineError, match="--batches clusters wants --encoder"):
        run("mix", "a", "--batches", "clusters", "--batch-size", 2, "-o", tmp_path / "o.parquet")


@needs_data
def test_real_collections_of_four_sizes_in_tempered_shares(tmp_path: Path) -> None:
    names = ("cranfield", "scifact", "stackfaq", "xquad")
    run("mix", *(DATA / name for name in names), "-o", tmp_path / "out.parquet", "-q")
    table = pq.read_table(tmp_path / "out.parquet")
    drawn = Counter(
        name for name, _ in set(zip(table["source"].to_pylist(), table["query_id"].to_pylist(), strict=True))
    )
    # 225, 1109, 1374 and 14280 queries: 225 / 15 = 15 times the square root of each.
    assert drawn == {"cranfield": 225, "scifact": 500, "stackfaq": 556, "xquad": 1792}


def test_a_query_with_thousands_of_positives_is_drawn_with_each_of_them_in_little_memory() -> None:
    rows = 5_000
    pool = Pool(pa.table({"a": range(rows + 2)}), np.array([0, rows, rows + 2]), np.zeros(2, np.int64), ["q0", "q1"])
    positive = np.arange(rows + 2) != 1
    place = places_of_positives(pool, positive)
    drawn = Drawn(np.arange(2), np.zeros(2, np.int64), np.arange(2, dtype=np.uint64), np.full(2, ALL))
    drawn = drawn.one_positive_each(pool, place)
    tracemalloc.start()
    found, counts = drawn.rows(pool, np.arange(len(drawn.query)), place)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counts.tolist() == [2] * (rows - 1) + [1] * 2
    assert found[:6].tolist() == [0, 1, 1, 2, 1, 3]
    assert peak < 10_000_000
