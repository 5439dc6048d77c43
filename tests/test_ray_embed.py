"""`pairmine embed --engine ray` gives what the local engine gives, however the rows lie in shards."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from embedding_server import EmbeddingServer
from ray_shell import RayShell, assert_same

from pairmine.files.lineage import decode

SHARED = Path(__file__).parents[2] / "shared"
DOCUMENTS = [
    {"id": "a", "title": "Wings", "text": "They lift."},
    {"id": "b", "title": "", "text": "Heat flows."},
    {"id": "c", "title": " ", "text": "\u3000\n"},
    {"id": "d", "title": "Only a title", "text": ""},
    {"id": "東", "title": "", "text": "They lift."},
    {"id": "e", "title": "Ärzte", "text": "heal"},
]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RayShell:
    found = RayShell(tmp_path, monkeypatch, capsys)
    found.without_ray()
    found.write("corpus.jsonl", DOCUMENTS)
    return found


def same(shell: RayShell, words: str, rows: int) -> None:
    """Both engines write the same vectors, rejects and lineage."""
    for name, engine in (("local", ""), ("ray", f"--engine ray --shard-rows {rows}")):
        outputs = f"-o {name}.parquet --rejects {name}-rejects.parquet"
        assert shell(f"embed {words} --encoder fake: {outputs} {engine}") == 0, shell.said
    for name in (".parquet", "-rejects.parquet"):
        assert_same(shell.table(f"local{name}"), shell.table(f"ray{name}"))
        assert lineage(f"ray{name}") == lineage(f"local{name}")


def lineage(name: str) -> list[dict[str, Any]]:
    """What a file says of its making."""
    return decode(pq.read_metadata(name).metadata, name)


@pytest.mark.parametrize(
    ("options", "rows"),
    [("", 1), ("", 100), ("--no-title", 2), ("--vector-type int8", 2), ("--side query", 4)],
)
def test_ray_embeds_a_corpus_as_the_local_engine_does(shell: RayShell, options: str, rows: int) -> None:
    same(shell, f"corpus.jsonl {options}", rows)


@pytest.mark.parametrize("side", ["query", "document"])
@pytest.mark.parametrize("rows", [2, 7])
def test_each_id_of_a_pair_set_is_embedded_at_its_first_place_in_all_shards(
    shell: RayShell, side: str, rows: int
) -> None:
    draw = random.Random(2)
    texts = {f"d{at}": f"text {at}" for at in range(9)} | {"東": "東京"}
    pairs = []
    for at in range(30):
        doc = draw.choice(sorted(texts))
        # A query's rows may stand apart, and an id may have no text where it comes first.
        row = {"query_id": f"q{at % 4}", "query": f"query {at % 4}", "doc_id": doc, "label": 1}
        pairs.append(row | {"document": texts[doc] if at % 5 else None})
    shell.write("pairs.jsonl", pairs)
    same(shell, f"pairs.jsonl --side {side}", rows)
    found = shell.table("ray.parquet")["id"].to_pylist()
    assert len(found) == len(set(found)) >= 4


def test_a_matrix_is_joined_from_its_shards(shell: RayShell) -> None:
    for name, engine in (("local", ""), ("ray", "--engine ray --shard-rows 2")):
        assert shell(f"embed corpus.jsonl --encoder fake: -o {name}.npy {engine}") == 0, shell.said
    np.testing.assert_array_equal(np.load("ray.npy"), np.load("local.npy"))
    assert Path("ray.npy").read_bytes() == Path("local.npy").read_bytes()
    assert Path("ray.ids.txt").read_text() == Path("local.ids.txt").read_text() == "a\nb\nd\n東\ne\n"


def test_a_folder_of_vectors_is_what_one_file_would_be(shell: RayShell) -> None:
    assert shell("embed corpus.jsonl --encoder fake: -o vectors --engine ray --shard-rows 2") == 0
    assert shell("embed corpus.jsonl --encoder fake: -o local.parquet") == 0
    assert [path.name for path in sorted(Path("vectors").glob("part-*"))] == [
        f"part-0000{at}.parquet" for at in range(3)
    ]
    assert_same(shell.table("local.parquet"), shell.table("vectors"))


def test_corpora_without_any_text_and_of_one_document(shell: RayShell) -> None:
    for documents in (DOCUMENTS[2:3], DOCUMENTS[:1]):
        shell.write("corpus.jsonl", documents)
        same(shell, "corpus.jsonl", 1)


def test_a_store_counts_what_all_shards_found_there(shell: RayShell) -> None:
    words = "embed corpus.jsonl --encoder fake: --store kept --engine ray --shard-rows 2"
    assert shell(f"{words} -o one.parquet") == 0
    assert shell(f"{words} -o two.parquet") == 0
    assert "0 texts embedded, 5 found in kept" in shell.said
    assert pq.read_table("one.parquet").equals(pq.read_table("two.parquet"))


def test_faults_are_those_of_the_local_engine(shell: RayShell) -> None:
    shell.write("pairs.jsonl", [{"query": "a", "document": "b"}])
    for words, line in (
        ("pairs.jsonl --title", "--title has no effect on a pair set"),
        ("corpus.jsonl --encoder fake: --prompt x", "--prompt is for st: encoders"),
        ("corpus.jsonl --vector-type int8 -o out.npy", "has no room for the scales"),
    ):
        assert shell(f"embed --encoder fake: -o out.parquet {words} --engine ray") == 2
        assert line in shell.said
        assert not Path("out.parquet").exists()


def test_a_server_is_asked_by_all_workers(shell: RayShell) -> None:
    with EmbeddingServer() as server:
        words = f"embed corpus.jsonl --encoder openai:test-model --base-url {server.base_url} --rpm 6000000"
        assert shell(f"{words} -o local.parquet") == 0, shell.said
        assert shell(f"{words} -o ray.parquet --engine ray --shard-rows 2 --concurrency 3") == 0, shell.said
    assert_same(shell.table("local.parquet"), shell.table("ray.parquet"))


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.skipif(not SHARED.exists(), reason="needs the real collections in ../shared")
def test_a_real_model_embeds_real_texts_alike_on_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ray_cluster: str
) -> None:
    shell = RayShell(tmp_path, monkeypatch, capsys)
    words = f"embed {SHARED}/data/cisi --side query --max-length 64 --store none"
    assert shell(f"{words} -o local.parquet") == 0
    assert shell(f"{words} -o ray.parquet --engine ray --ray-address {ray_cluster} --shard-rows 40") == 0
    local, ray = pq.read_table("local.parquet"), pq.read_table("ray.parquet")
    assert ray["id"].equals(local["id"])
    one, other = (np.stack(table["vector"].to_numpy(zero_copy_only=False)) for table in (local, ray))
    np.testing.assert_allclose((one * other).sum(1), 1, atol=1e-6)
    assert lineage("ray.parquet") == lineage("local.parquet")


def test_a_file_of_vectors_is_the_same_to_the_byte(shell: RayShell) -> None:
    shell.same("embed corpus.jsonl --encoder fake:", rejects=False)
    assert (shell.folder / "ray.parquet").read_bytes() == (shell.folder / "local.parquet").read_bytes()
