"""`pairmine filter --engine ray` gives what the local engine gives, however the rows lie in shards."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from ray_shell import RayShell

DATA = Path(__file__).parents[2] / "shared" / "data"
WORDS = ["blood", "heart", "lung", "cell", "ärzte", "研究", "study", "method", "rate", "of", "the", "acute", "chronic"]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RayShell:
    found = RayShell(tmp_path, monkeypatch, capsys)
    found.without_ray()
    found.write("pairs.jsonl", mined(12))
    return found


def mined(queries: int) -> list[dict[str, object]]:
    """Queries with a positive, some candidates, one decided negative and now and then no positive."""
    draw = random.Random(3)
    texts = {f"d{at}": " ".join(draw.choices(WORDS, k=6)) for at in range(40)}
    rows = []
    for query in range(queries):
        some = draw.sample(sorted(texts), 9)
        for rank, doc in enumerate(some):
            label = 1 if rank == 0 and query % 5 else 0 if rank == 8 else None
            rows.append(
                {
                    "query_id": f"q{query}",
                    "query": " ".join(draw.choices(WORDS, k=3)),
                    "doc_id": doc,
                    "document": texts[doc],
                    "label": label,
                    "origin": "given" if label is not None else "mine:bm25",
                    "rank": rank + 1,
                    "score_ce": round(draw.random(), 3),
                }
            )
        for row in rows[-9:]:
            row["query"] = rows[-9]["query"]
    return rows


MORE = pytest.mark.slow
OPTIONS = [
    "--negatives 6 --shortage fill",
    "--negatives 2 --pick inverse-propensity --weight inverse-propensity --no-relative-margin",
    pytest.param("--negatives 2", marks=MORE),
    pytest.param("--negatives 2 --pick simans:a=4 --absolute-margin 0.1 --no-relative-margin", marks=MORE),
    pytest.param("--negatives 6 --shortage drop --ranks 1:6 --exempt mine:*", marks=MORE),
    pytest.param("--negatives 6 --shortage relax+fill --max-score ce:0.5", marks=MORE),
    pytest.param("--negatives 2 --weight importance:temperature=0.5 --hold given", marks=MORE),
    pytest.param("--no-pick --weight inverse-propensity:by=ce", marks=MORE),
    pytest.param("--complexity 6 --negatives 1 --action relative-margin=relabel", marks=MORE),
]


@pytest.mark.parametrize("options", OPTIONS)
def test_ray_filters_as_the_local_engine_does(shell: RayShell, options: str) -> None:
    local, ray = shell.same(f"filter pairs.jsonl {options}", rows=40)
    assert sorted(ray.splitlines()) == sorted(local.replace("local.", "ray.").splitlines())


def test_ray_fills_from_a_corpus_as_the_local_engine_does(shell: RayShell) -> None:
    documents = [
        {"_id": f"c{at}", "title": "Über" * (at % 2), "text": f"{word} of its own"} for at, word in enumerate(WORDS)
    ]
    shell.write("corpus.jsonl", documents)
    shell.same("filter pairs.jsonl --negatives 9 --shortage fill --corpus corpus.jsonl", rows=7)


def test_ray_filters_one_row_and_none(shell: RayShell) -> None:
    shell.write("one.jsonl", mined(2)[9:10])
    shell.same("filter one.jsonl --negatives 1")
    assert shell("filter pairs.jsonl --max-score ce:-1 --negatives 1 --shortage drop -o none.parquet") == 0
    shell.same("filter none.parquet --negatives 1")


def test_ray_filters_a_folder_of_parts_into_another_one(shell: RayShell) -> None:
    assert shell("filter pairs.jsonl --negatives 2 -o parts --engine ray --shard-rows 20") == 0
    shell.same("filter parts --negatives 1 --hold mine:*")
    assert shell("filter parts --negatives 1 -o again --engine ray") == 0
    assert len(list((shell.folder / "again").glob("part-*"))) == len(list((shell.folder / "parts").glob("part-*"))) > 1


def test_a_fault_in_one_shard_is_one_line(shell: RayShell) -> None:
    rows = mined(12)
    del rows[-2]["score_ce"]
    shell.write("holes.jsonl", rows)
    assert shell("filter holes.jsonl --negatives 2 -o out.parquet --engine ray --shard-rows 9") == 2
    assert "1 of 8 rows have no score_ce; run 'pairmine score' first" in shell.said
    assert len(shell.said.strip().splitlines()) <= 2
    assert not (shell.folder / "out.parquet").exists()


def test_a_killed_run_goes_on_with_the_shards_that_are_not_done(shell: RayShell) -> None:
    words = "filter pairs.jsonl --negatives 6 --shortage fill -o out.parquet --engine ray --shard-rows 20"
    assert shell.goes_on(words, after=10)


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_filters_cisi_as_the_local_engine_does(cisi: RayShell, ray_cluster: str) -> None:
    words = "filter mined.parquet --negatives 3 --no-relative-margin --shortage fill"
    cisi.same_on(ray_cluster, words, rows=2000)


@pytest.fixture
def cisi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RayShell:
    """With `mined.parquet`: the judgments of CISI and the candidates of BM25."""
    if not DATA.exists():
        pytest.skip("needs the data in ../shared/data")
    found = RayShell(tmp_path, monkeypatch, capsys)
    assert found(f"mine {DATA}/cisi --corpus {DATA}/cisi --retriever bm25 --depth 40 -o mined.parquet") == 0, found.said
    return found
