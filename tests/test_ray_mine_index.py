"""`pairmine mine --engine ray --index ivf` gives what inverted lists give on one machine, however documents are cut."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray_shell import RayShell
from test_ray_mine import CISI, corpus, counts, few_of_cisi, lineage, positives

from pairmine.backends.vectors import InMemory
from pairmine.backends.vectors.approximate import ApproximateSearch, choice
from pairmine.backends.vectors.approximate import search as approximate
from pairmine.backends.vectors.approximate.ivf import NO_RANK, Ivf
from pairmine.backends.vectors.search import NOT_FOUND
from pairmine.engines.inverted import InvertedSpans, ListsOfLengths, Proposals, search_once
from pairmine.engines.search import Span, SpreadSearch, TooShort, spans_of
from pairmine.engines.shards import InProcess
from pairmine.files.sharded import WorkFolder

DIM = 16


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def documents() -> np.ndarray:
    """Groups of neighbours, and among them a group of vectors that all are the same."""
    generator = np.random.default_rng(4)
    groups = generator.standard_normal((30, DIM))
    found = unit(groups[generator.integers(0, 30, 2500)] + 0.4 * generator.standard_normal((2500, DIM)))
    found[700:1000] = found[700]
    return found


@pytest.fixture(scope="module")
def queries(documents: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(5)
    return unit(documents[generator.integers(0, 2500, 60)] + 0.2 * generator.standard_normal((60, DIM)))


def whole(documents: np.ndarray) -> Ivf:
    means: dict[str, Any] = {"threads": 2, "packed": True, "block_bytes": 1 << 20, "quick": False}
    return Ivf.of(InMemory(documents), len(documents), lists=40, seed=0, **means)


def spread_of(index: Ivf, documents: np.ndarray, queries: np.ndarray, spans: list[Span], **settings: Any) -> Any:
    """The lists of `index`, over documents that lie in spans."""
    nearest = np.full(len(documents), -1)
    for number in range(index.lists):
        start, end = index._stretch(number)
        nearest[index._places[start:end]] = number
    return InvertedSpans(InMemory(documents), InMemory(queries), index._whole, nearest, spans, threads=2, **settings)


@pytest.mark.parametrize("cuts", [[1250], [1], [2499], [700, 701, 702, 703, 1001], list(range(64, 2500, 64))])
@pytest.mark.parametrize("effort", [1, 3, 20, 10_000])
def test_stretches_propose_together_what_the_whole_proposes(
    documents: np.ndarray, queries: np.ndarray, cuts: list[int], effort: int
) -> None:
    index = whole(documents)
    spans = list(pairwise([0, *cuts, len(documents)]))
    proposals = Proposals(1.25, len(documents))
    own: dict[str, Any] = {"effort": effort, "proposals": proposals, "budget_bytes": 1 << 24}
    spread = spread_of(index, documents, queries, spans, **own)
    every = np.arange(len(queries))
    parts = [spread.search(span, every, 30) for span in spans]
    places, scores, ranks = proposals.merge(parts, 30)
    expected, order = index.ranked(queries, proposals.wide(30), effort, approximate.nothing)
    by_rank = np.argsort(order, axis=1, kind="stable")
    assert np.array_equal(places, np.take_along_axis(expected, by_rank, axis=1))
    assert np.array_equal(ranks, np.take_along_axis(order, by_rank, axis=1))
    assert ((ranks == NO_RANK) == (places == NOT_FOUND)).all()
    assert (scores[places == NOT_FOUND] == -np.inf).all()


@pytest.mark.parametrize(("rows", "most"), [(10_000, None), (300, None), (300, 300), (7, 70)])
def test_a_search_of_spans_gives_the_lists_of_one_machine(
    documents: np.ndarray, queries: np.ndarray, tmp_path: Path, rows: int, most: int | None
) -> None:
    """With files of what each span found, merged by a tree, and without any."""
    local = ApproximateSearch.of("ivf", InMemory(documents), len(documents), queries, depth=20, threads=2)
    assert isinstance(local, ApproximateSearch)
    index = local._index
    assert isinstance(index, Ivf)
    pool = InProcess(seed=rows)
    spans = spans_of(len(documents), rows, 3, most=most)
    proposals = Proposals(local._widening, len(documents))
    own: dict[str, Any] = {"effort": local._effort, "proposals": proposals, "budget_bytes": 1 << 20}
    spread = spread_of(index, documents, queries, spans, **own)
    places, scores = local.search(queries, 20)
    once = search_once(pool, spread, proposals, spans, len(queries), 20)
    assert np.array_equal(once[0], places)
    assert np.array_equal(once[1], scores)
    folder = WorkFolder(str(tmp_path / "out"), {})
    finder = SpreadSearch(pool, folder, "x", spread, spans, len(queries), together=13, merger=proposals)
    every = np.arange(len(queries))
    finder.find(every, np.full(len(queries), 20), lambda count: None)
    found = finder.lists.search(every, 20)
    assert np.array_equal(found[0], places)
    assert np.array_equal(found[1], scores)


def test_a_list_of_another_length_is_searched_for() -> None:
    lists = ListsOfLengths(3, 100)
    with pytest.raises(TooShort):
        lists.search(np.arange(2), 5)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RayShell:
    found = RayShell(tmp_path, monkeypatch, capsys)
    found.without_ray()
    monkeypatch.setattr(approximate, "FEWEST_DOCUMENTS", 20)
    found.write("corpus.jsonl", corpus(300))
    found.write("pairs.jsonl", positives(13))
    return found


@pytest.mark.parametrize(
    "options",
    [
        "--index ivf",
        "--index ivf --recall 0.5 --seed 3",
        "--index ivf --recall 1 --near-cosine 0.9",
        "--index ivf --search-with positive",
        "--index ivf --retriever bm25 --fuse rrf",
        "--index auto",
    ],
)
def test_an_index_on_a_cluster_gives_the_rows_of_the_local_one(
    shell: RayShell, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "auto" in options:
        for name in ("_PAYS_FROM_S", "FEWEST_DOCUMENTS"):
            monkeypatch.setattr(choice, name, 0)
        monkeypatch.setattr(choice, "_PAYS_BY", 1e9)
    words = f"mine pairs.jsonl --corpus corpus.jsonl --depth 6 --store none --retriever fake: {options}"
    local, ray = shell.same(words, rows=40)
    assert counts(ray) == counts(local)
    assert "index ivf (" in local
    assert lineage("ray.parquet") == lineage("local.parquet")


@pytest.mark.parametrize("options", ["", "--search-with positive"])
def test_an_index_of_ready_vectors_is_tuned_on_what_the_local_one_is(shell: RayShell, options: str) -> None:
    shell.write("pairs.jsonl", [row for row in positives(40) if not row["document"] and row["doc_id"] != "d20"])
    assert shell("embed corpus.jsonl --encoder fake:8 --store none -o documents.npy") == 0, shell.said
    assert shell("embed pairs.jsonl --side query --encoder fake:8 --store none -o queries.npy") == 0, shell.said
    words = "mine pairs.jsonl --corpus corpus.jsonl --depth 5 --retriever npy:documents.npy,queries.npy --index ivf"
    local, ray = shell.same(f"{words} {options}", rows=50)
    assert counts(ray) == counts(local)
    assert lineage("ray.parquet") == lineage("local.parquet")


def test_an_index_that_makes_no_sense_is_left_out_on_a_cluster_too(shell: RayShell) -> None:
    words = "mine pairs.jsonl --corpus corpus.jsonl --depth 80 --store none --retriever fake: --index ivf"
    local, ray = shell.same(words, rows=40)
    assert counts(ray) == counts(local)
    assert "index ivf: not needed" in ray


def test_a_graph_is_refused_with_what_can_be_had(shell: RayShell) -> None:
    for kind in ("hnsw", "pq"):
        words = f"mine pairs.jsonl --corpus corpus.jsonl -o out --engine ray --retriever fake: --index {kind}"
        assert shell(words) == 2
        assert f"--index {kind}: is built on one machine; leave out --engine ray, or take --index ivf" in shell.said


def test_a_run_with_an_index_goes_on_where_it_was_killed(shell: RayShell) -> None:
    words = "mine pairs.jsonl --corpus corpus.jsonl --depth 6 --store none --retriever fake: --index ivf"
    assert shell(f"{words} -o local.parquet") == 0
    for after in (3, 12, 30, 60):
        assert shell.is_killed(f"{words} -o out-{after} --engine ray --shard-rows 40", after=after) or after == 60
        shell.pool = InProcess(seed=after)
        assert shell(f"{words} -o out-{after} --engine ray --shard-rows 40") == 0, shell.said
        assert shell.table(f"out-{after}").to_pylist() == shell.table("local.parquet").to_pylist()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(not CISI.is_dir(), reason="shared/data/cisi is not there")
def test_a_cluster_has_lists_of_real_vectors_as_one_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ray_cluster: str
) -> None:
    """All of CISI, which is enough for an index, in spans that two workers search."""
    shell = RayShell(tmp_path, monkeypatch, capsys)
    few_of_cisi(tmp_path / "cisi", 1460)
    for side, name in (("document", "cisi/corpus.jsonl"), ("query", "cisi/queries.jsonl")):
        words = f"embed {name} --side {side} --encoder st:all-MiniLM-L6-v2 --max-length 32 --store none -o {side}.npy"
        assert shell(words) == 0, shell.said
    words = "mine cisi --depth 20 --retriever npy:document.npy,query.npy --index ivf --recall 0.9"
    assert shell(f"{words} -o local.parquet") == 0, shell.said
    assert "index ivf (" in shell.said
    assert shell(f"{words} -o ray.parquet --engine ray --ray-address {ray_cluster} --shard-rows 200") == 0, shell.said
    assert "index ivf (" in shell.said
    assert shell.table("ray.parquet").equals(shell.table("local.parquet"))
    assert lineage("ray.parquet") == lineage("local.parquet")
