"""`pairmine export --engine ray` gives what the local engine gives, however the rows lie in shards."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray_shell import RayShell, assert_same

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RayShell:
    found = RayShell(tmp_path, monkeypatch, capsys)
    found.without_ray()
    found.write("pairs.jsonl", decided(7))
    return found


def decided(queries: int) -> list[dict[str, object]]:
    """Queries with one positive or two, and with one negative to three."""
    rows: list[dict[str, object]] = []
    for query in range(queries):
        for place, label in enumerate([1] * (1 + query % 2) + [0] * (1 + query % 3)):
            rows.append(
                {
                    "query_id": f"q{query}",
                    "query": f"was ist {query}?",
                    "doc_id": f"d{query}-{place}",
                    "document": f"Überall \n {query} {place}",
                    "label": label,
                    "origin": "given",
                    "score_ce": query / 10 + place / 100,
                    "grade": 1 / (1 + place),
                    "split": "dev" if query < 5 else "train",
                }
            )
    return rows


MORE = pytest.mark.slow
TARGETS = [
    "st-ntuple",
    pytest.param("st-pair", marks=MORE),
    pytest.param("st-triplet", marks=MORE),
    pytest.param("st-ntuple --negatives 1", marks=MORE),
    pytest.param("st-pair-score --scores ce", marks=MORE),
    pytest.param("st-pair-class --split train", marks=MORE),
    pytest.param("flag-embedder --positives first --scores ce", marks=MORE),
    pytest.param("swift-reranker", marks=MORE),
    pytest.param("tevatron", marks=MORE),
]


@pytest.mark.parametrize("target", TARGETS)
def test_ray_exports_as_the_local_engine_does(shell: RayShell, target: str) -> None:
    said = []
    for name, engine in (("local", ""), ("ray", "--engine ray --shard-rows 4")):
        assert shell(f"export pairs.jsonl --to {target} -o {name}.jsonl --rejects {name}-no.parquet {engine}") == 0
        said.append(shell.said.replace(f"{name}.", "."))
    assert said[0] == said[1]
    assert (shell.folder / "ray.jsonl").read_bytes() == (shell.folder / "local.jsonl").read_bytes()
    for name in ("{}.jsonl.ids.parquet", "{}-no.parquet"):
        assert_same(shell.table(name.format("local")), shell.table(name.format("ray")))


def test_ray_exports_one_json_array(shell: RayShell) -> None:
    shell("export pairs.jsonl --to dpr -o local.json")
    assert shell("export pairs.jsonl --to dpr -o ray.json --engine ray --shard-rows 4") == 0
    assert (shell.folder / "ray.json").read_bytes() == (shell.folder / "local.json").read_bytes()


def test_ray_exports_a_folder_of_the_trainer_s_own_files_and_numbers_its_sidecar(shell: RayShell) -> None:
    shell("export pairs.jsonl --to flag-embedder -o local.jsonl")
    assert shell("export pairs.jsonl --to flag-embedder -o out --engine ray --shard-rows 4") == 0
    parts = sorted((shell.folder / "out").glob("part-*.jsonl"))
    assert len(parts) > 1
    assert b"".join(part.read_bytes() for part in parts) == (shell.folder / "local.jsonl").read_bytes()
    assert_same(shell.table("local.jsonl.ids.parquet"), shell.table("out.ids"))
    assert shell.table("out.ids")["row"].to_pylist() == list(range(7))


def test_a_card_shows_the_same_rows(shell: RayShell) -> None:
    for name, engine in (("local", ""), ("ray", "--engine ray --shard-rows 4")):
        assert shell(f"export pairs.jsonl --to st-pair -o {name}.parquet --card {name}.md {engine}") == 0
    local, ray = ((shell.folder / f"{name}.md").read_text().replace(name, "") for name in ("local", "ray"))
    assert ray == local


def test_a_folder_of_few_files_is_refused(shell: RayShell) -> None:
    assert shell("export pairs.jsonl --to beir -o eval --engine ray") == 2
    assert shell.said == (
        "pairmine: --to beir: is a folder of few files that hold each text once, which one process writes; leave out "
        "--engine ray, or choose a format of rows ('pairmine export --list')\n"
    )


def test_a_split_that_is_not_there_is_named(shell: RayShell) -> None:
    assert shell("export pairs.jsonl --to st-pair --split test -o out.parquet --engine ray --shard-rows 4") == 2
    assert 'no row has the split "test" (found: dev, train)' in shell.said


def test_a_set_without_negatives_is_refused_before_anything_is_written(shell: RayShell) -> None:
    shell.write("bare.jsonl", [row for row in decided(5) if row["label"]])
    assert shell("export bare.jsonl --to st-triplet -o out.parquet --engine ray --shard-rows 2") == 2
    said = shell.said
    assert shell("export bare.jsonl --to st-triplet -o out.parquet") == 2
    assert said == shell.said


def test_a_sidecar_that_a_killed_run_numbered_is_not_numbered_twice(shell: RayShell) -> None:
    from pairmine.cli.export_shards import number_sidecar
    from pairmine.files.sharded import PartedOutput, WorkFolder

    shell("export pairs.jsonl --to st-pair -o local.parquet")
    whole = shell.table("local.parquet.ids.parquet")
    output = PartedOutput("out.ids", None, WorkFolder("out", {}), "sidecar")
    output.expect(2)
    head, tail = whole.slice(0, 4), whole.slice(4)
    pq.write_table(head, output.part(0))
    pq.write_table(tail.set_column(0, "row", [list(range(len(tail)))]), output.part(1))

    class Engine:
        cluster = shell.pool

    for _ in range(2):
        number_sidecar(Engine(), output)  # type: ignore[arg-type]
    assert [row["row"] for table in output.tables() for row in table.to_pylist()] == list(range(len(whole)))


def test_a_killed_export_goes_on_with_the_shards_that_are_not_done(shell: RayShell) -> None:
    words = "export pairs.jsonl --to st-pair -o out.parquet --engine ray --shard-rows 8"
    assert shell.goes_on(words, after=5)


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_exports_cisi_as_the_local_engine_does(shell: RayShell, ray_cluster: str) -> None:
    if not DATA.exists():
        pytest.skip("needs the data in ../shared/data")
    shell.with_ray()
    shell.same_on(ray_cluster, f"export {DATA}/cisi --to st-pair", rows=1000)
    assert_same(shell.table("local.parquet.ids.parquet"), shell.table("ray.parquet.ids.parquet"))
