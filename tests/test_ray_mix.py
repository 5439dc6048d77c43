"""`pairmine mix --engine ray` gives what the local engine gives, however the rows lie in shards."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray_shell import RayShell, assert_same

DATA = Path(__file__).parents[2] / "shared" / "data"
WORDS = ["Blood", "heart", "lung", "Ärzte", "研究", "study", "rate", "the", "acute", "chronic"]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RayShell:
    found = RayShell(tmp_path, monkeypatch, capsys)
    found.without_ray()
    found.write("nli.jsonl", pairs(11, seed=1))
    found.write("wide.jsonl", pairs(11, seed=1, documents=90))
    found.write("near.jsonl", alike(24))
    found.write("faq.jsonl", pairs(6, seed=2, more={"source": "the web", "score_ce": 0.5, "split": "old"}))
    return found


def pairs(
    queries: int, *, seed: int, documents: int = 12, more: dict[str, object] | None = None
) -> list[dict[str, object]]:
    """Queries with few distinct texts, so that copies, shared documents and ids with two texts come up."""
    draw = random.Random(seed)
    rows: list[dict[str, object]] = []
    for query in range(queries):
        text = " ".join(draw.choices(WORDS, k=2))
        for place in range(2 + query % 3):
            doc = draw.randrange(documents)
            document = f"{WORDS[doc % 10]} {seed if doc < 3 else doc // 10}" + " " * (place % 2)
            rows.append(
                {
                    "query_id": f"q{query}",
                    "query": text,
                    "doc_id": f"d{doc}-{place}",
                    "document": document.upper() if place == 2 else document,
                    "label": int(place < 1 + query % 2),
                    "origin": f"given:{place}",
                    "source_id": f"s{doc}",
                    "weight": place / 4,
                    "topic": query // 3,
                    **(more or {}),
                }
            )
    return rows


def alike(queries: int) -> list[dict[str, object]]:
    """Queries whose documents are long and come in two wordings that differ by a word."""
    draw = random.Random(5)
    rows: list[dict[str, object]] = []
    for query in range(queries):
        words = random.Random(query // 2).choices([f"word{at}" for at in range(300)], k=40)
        edited = " ".join([*words[:-1], f"own{query}"])
        for label, document in ((1, edited), (0, f"another {draw.random()} text")):
            ids = {"query_id": f"q{query}", "doc_id": f"d{query}-{label}"}
            rows.append({**ids, "query": f"what is {query}", "document": document, "label": label, "origin": "given"})
    return rows


MORE = pytest.mark.slow
OPTIONS = [
    "nli.jsonl faq.jsonl --size 30 --repeat",
    "wide.jsonl --split a=4,b=rest --split-copies ids --split-apart documents",
    pytest.param("near.jsonl faq.jsonl --batches mixed --batch-size 3", marks=MORE),
    pytest.param("near.jsonl --split a=.5,b=.5", marks=MORE),
    pytest.param("near.jsonl --split a=.5,b=.5 --split-apart documents", marks=MORE),
    pytest.param("nli.jsonl", marks=MORE),
    pytest.param("nli.jsonl faq.jsonl", marks=MORE),
    pytest.param("nli.jsonl faq.jsonl --alpha 0 --by pairs --weight faq=2", marks=MORE),
    pytest.param("nli.jsonl faq.jsonl --batches mixed --batch-size 3 --no-near", marks=MORE),
    pytest.param(
        "nli.jsonl faq.jsonl --batches source --batch-size 2 --no-near --full-batches --bucket length", marks=MORE
    ),
    pytest.param("nli.jsonl --batches mixed --batch-size 2 --ranks 2 --no-near --positives together", marks=MORE),
    pytest.param("wide.jsonl faq.jsonl --size 12 --split a=.5,b=.5 --split-copies exact", marks=MORE),
    pytest.param("nli.jsonl --split a=.7,b=.3 --split-copies exact", marks=MORE),
    pytest.param("nli.jsonl --split a=.5,b=.5 --split-copies exact --split-by time:topic", marks=MORE),
    pytest.param(
        "faq.jsonl --split a=.5,b=.5 --split-copies exact --split-by group:topic --split-apart queries", marks=MORE
    ),
]


@pytest.mark.parametrize("options", OPTIONS)
def test_ray_mixes_as_the_local_engine_does(shell: RayShell, options: str) -> None:
    local, ray = shell.same(f"mix {options}", rows=12)
    assert sorted(ray.splitlines()) == sorted(local.replace("local.", "ray.").splitlines())


def test_rows_that_no_full_batch_takes_add_up_though_some_came_twice(shell: RayShell) -> None:
    words = "mix nli.jsonl --batches source --batch-size 50 --full-batches --no-near"
    local, _ = shell.same(words, rows=12)
    assert re.search(r"added +[1-9]", local)
    shell.same(words, rows=12, rejects=False)


def test_a_document_may_have_two_texts_in_a_mixture(shell: RayShell) -> None:
    rows = pairs(6, seed=1)
    two = [row | {"doc_id": f"d{at % 2}"} for at, row in enumerate(rows)]
    shell.write("two.jsonl", two)
    shell.same("mix two.jsonl faq.jsonl", rows=100)
    assert shell("mix two.jsonl -o mixed.parquet") == 0
    for words in ("filter mixed.parquet --no-pick", "export mixed.parquet --to st-pair"):
        shell.same(words, rows=100)


@pytest.mark.slow
def test_rejected_rows_are_counted_where_nobody_asks_for_them(shell: RayShell) -> None:
    shell.same("mix nli.jsonl faq.jsonl --size 5", rows=4, rejects=False)


@pytest.mark.slow
def test_a_planned_set_is_mixed_again(shell: RayShell) -> None:
    assert shell("mix nli.jsonl --batches mixed --batch-size 3 --no-near -o planned.parquet") == 0
    shell.same("mix planned.parquet faq.jsonl")
    shell.same("mix planned.parquet faq.jsonl --batches source --batch-size 2 --no-near")


@pytest.mark.slow
def test_ray_clusters_by_ready_vectors(shell: RayShell) -> None:
    assert shell("embed nli.jsonl --side query --encoder fake:8 -o vectors.npy") == 0, shell.said
    shell.same("mix nli.jsonl --batches clusters --batch-size 2 --no-near --vectors vectors.npy --clusters 3", rows=5)


@pytest.mark.slow
def test_every_split_gets_its_file(shell: RayShell) -> None:
    words = "mix nli.jsonl --split a=.7,b=.3 --split-copies exact"
    assert shell(f"{words} -o local.{{split}}.parquet") == 0
    assert shell(f"{words} -o ray.{{split}}.parquet --engine ray --shard-rows 12") == 0, shell.said
    for name in "ab":
        assert_same(shell.table(f"local.{name}.parquet"), shell.table(f"ray.{name}.parquet"))


def test_ray_mixes_into_a_folder_of_parts(shell: RayShell) -> None:
    assert shell("mix nli.jsonl faq.jsonl -o local.parquet") == 0
    assert shell("mix nli.jsonl faq.jsonl -o parts --engine ray --shard-rows 12") == 0
    assert len(list((shell.folder / "parts").glob("part-*"))) > 1
    assert_same(shell.table("local.parquet"), shell.table("parts"))
    owners = [set(pq.read_table(part)["query_id"].to_pylist()) for part in (shell.folder / "parts").glob("part-*")]
    assert sum(map(len, owners)) == len(set.union(*owners))


def test_one_row_is_mixed(shell: RayShell) -> None:
    shell.write("one.jsonl", pairs(1, seed=1)[:1])
    shell.same("mix one.jsonl")


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ("faq.jsonl --split a=.5,b=.5", "pass --split-copies exact, or leave out --engine ray"),
        (
            "--batches clusters --batch-size 2 --no-near --encoder fake:8",
            "run 'pairmine embed PAIRS --side query --engine ray' first and pass --vectors, or leave out --engine ray",
        ),
    ],
)
def test_what_wants_all_texts_in_one_place_is_refused(shell: RayShell, options: str, remedy: str) -> None:
    assert shell(f"mix nli.jsonl {options} -o out.parquet --engine ray") == 2
    assert shell.said.endswith(f"{remedy}\n")
    assert shell.said.count("\n") == 1


def test_a_killed_mix_goes_on_with_the_shards_that_are_not_done(shell: RayShell) -> None:
    assert shell.goes_on("mix nli.jsonl -o out.parquet --engine ray --shard-rows 12", after=5)


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_mixes_cisi_as_the_local_engine_does(shell: RayShell, ray_cluster: str) -> None:
    if not DATA.exists():
        pytest.skip("needs the data in ../shared/data")
    shell.with_ray()
    shell.same_on(ray_cluster, f"mix {DATA}/cisi nli.jsonl --batches source --batch-size 4 --no-near", rows=1000)
    shell.same_on(ray_cluster, f"mix {DATA}/cisi --split a=.5,b=.5 --split-apart queries", rows=1000)
