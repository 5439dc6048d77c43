"""Dedup on shards: the rows that one machine leaves, whatever the shards, and runs that go on where they ended."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dedup_shell import Shell, corpus

from pairmine.cli import dedup_shards, dedup_tasks
from pairmine.cli.ray_run import RayEngine
from pairmine.engines.components import components, packed
from pairmine.engines.parcels import write_parcel
from pairmine.engines.shards import InProcess
from pairmine.errors import BAD_INPUT, GAVE_UP, PairmineError
from pairmine.stages.dedup import shards

DATA = Path(__file__).parents[2] / "shared" / "data"
OUTPUTS = ("out.parquet", "copies.parquet", "groups.jsonl")
COMMAND = "dedup corpus.jsonl --rejects copies.parquet --groups groups.jsonl --summary counts.json -o out.parquet "
ON_SHARDS = "--engine ray --shard-rows"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.setattr(RayEngine, "cluster", property(lambda engine: InProcess(seed=engine.rows)))
    monkeypatch.setattr(dedup_shards, "_BUNDLE", 20)
    return Shell(tmp_path, monkeypatch, capsys)


def same(shell: Shell, command: str, outputs: tuple[str, ...] = OUTPUTS, rows: int = 37, more: str = "") -> None:
    """Whether a command writes the same rows on one machine and on shards of so many rows."""
    code, said = shell(command)
    assert code == 0, said
    expected = [read(shell, name) for name in outputs]
    counts = (shell.folder / "counts.json").read_text() if "counts.json" in command else None
    code, said = shell(f"{command} {ON_SHARDS} {rows} {more}")
    assert code == 0, said
    for name, table in zip(outputs, expected, strict=True):
        assert read(shell, name) == table, name
    if counts is not None:
        assert (shell.folder / "counts.json").read_text() == counts
    assert not list(shell.folder.glob(".*"))


def read(shell: Shell, name: str) -> Any:
    if name.endswith(".parquet"):
        return shell.rows(name)
    return (shell.folder / name).read_text()


@pytest.mark.parametrize(
    "options",
    [
        "--keep longest --group-ids",
        "--exact-only --keep best:quality --exact bytes",
        "--action mark --threshold 0.7 --group star --exact words",
        "--ngram 1 --sentence-words 0 --short-text-words 0 --threshold 0.5 --ids-only",
    ],
)
def test_a_corpus_in_shards_loses_the_same_rows(shell: Shell, options: str) -> None:
    shell.write("corpus.jsonl", corpus(50))
    same(shell, COMMAND + options)


def test_test_sets_are_kept_out_of_shards(shell: Shell) -> None:
    rows = corpus(60)
    texts = [row["text"] for row in rows if len(row["text"].split()) > 20]
    shell.write("eval.jsonl", [{"id": f"e{i}", "text": text} for i, text in enumerate(texts[:5])])
    shell.write("corpus.jsonl", rows)
    command = "dedup corpus.jsonl --against eval.jsonl --rejects copies.parquet --summary counts.json -o out.parquet"
    same(shell, command, OUTPUTS[:2])
    assert {"in the test set: exact", "near copy"} <= {row["reason"] for row in shell.rows("copies.parquet")}
    same(shell, command + " --against-only", OUTPUTS[:2])


@pytest.mark.parametrize("rows", [1, 1000])
def test_few_documents_in_many_shards_or_one(shell: Shell, rows: int) -> None:
    texts = ["日本語の文書です。", "日本語の文書です", "", "Ünï cödé", "ünï  CÖDÉ", "one more"]
    shell.write("corpus.jsonl", [{"id": f"d{i}", "text": text} for i, text in enumerate(texts)])
    same(shell, COMMAND, rows=rows)
    assert shell.ids("out.parquet") == ["d0", "d2", "d3", "d5"]


def test_one_document_stays(shell: Shell) -> None:
    shell.write("corpus.jsonl", [{"id": "d0", "text": "alone"}])
    same(shell, COMMAND)


def test_a_folder_of_shards_is_taken_as_it_is(shell: Shell) -> None:
    shell.write("corpus.jsonl", corpus(60))
    assert shell("dedup corpus.jsonl --exact-only -o shards --engine ray --shard-rows 40")[0] == 0
    assert len(list((shell.folder / "shards").glob("part-*"))) > 2
    assert shell("dedup shards -o again --rejects gone --engine ray")[0] == 0
    assert shell("dedup shards -o out.parquet --rejects gone.parquet")[0] == 0
    parts = sorted((shell.folder / "again").glob("part-*"))
    assert [row for part in parts for row in shell.rows(f"again/{part.name}")] == shell.rows("out.parquet")
    gone = sorted((shell.folder / "gone").glob("part-*"))
    assert [row for part in gone for row in shell.rows(f"gone/{part.name}")] == shell.rows("gone.parquet")


def test_shards_without_a_document_are_read_as_any(shell: Shell) -> None:
    texts = ["one", "ONE", "two", "three", "Two"]
    shell.write("corpus.jsonl", [{"id": f"d{i}", "text": text} for i, text in enumerate(texts)])
    assert shell(f"dedup corpus.jsonl -o shards {ON_SHARDS} 1")[0] == 0
    assert shell("dedup shards --exact words --keep longest --engine ray -o out.parquet")[0] == 0
    assert shell.ids("out.parquet") == ["d0", "d2", "d3"]


@pytest.mark.parametrize("first", [0, 20])
def test_a_folder_of_files_loses_the_same_rows(shell: Shell, first: int) -> None:
    rows = corpus(40)
    (shell.folder / "files").mkdir()
    shell.write("files/0.jsonl", rows[:60])
    shell.write("files/1.jsonl", rows[60 - first :])
    same(shell, COMMAND.replace("corpus.jsonl", "files"))


def test_shards_at_an_address_hold_the_same_rows(shell: Shell) -> None:
    shell.write("corpus.jsonl", corpus(30))
    there = f"memory://{shell.folder.name}"
    code, said = shell(f"dedup corpus.jsonl -o {there}/out --rejects {there}/gone.parquet {ON_SHARDS} 40")
    assert code == 0, said
    assert shell(f"dedup {there}/out -o again.parquet")[0] == 0
    assert shell("dedup corpus.jsonl -o out.parquet")[0] == 0
    assert shell.rows("again.parquet") == shell.rows("out.parquet")


def test_one_id_with_two_texts_names_both_lines_in_shards(shell: Shell) -> None:
    rows = [{"id": f"d{i}", "text": f"number {i}"} for i in range(60)]
    shell.write("corpus.jsonl", [*rows, {"id": "d7", "text": "number 7"}, {"id": "d9", "text": "another"}])
    local, sharded = (
        shell(f"dedup corpus.jsonl -o out.parquet {more}") for more in ("", "--engine ray --shard-rows 9")
    )
    assert local == sharded
    assert 'corpus.jsonl:62: id "d9" stands at corpus.jsonl:10 with another text' in sharded[1]
    assert not list(shell.folder.glob(".*"))


def test_a_repeated_id_with_its_text_is_an_exact_copy_in_shards(shell: Shell) -> None:
    shell.write("corpus.jsonl", [{"id": "d1", "text": "one"}, {"id": "d2", "text": "two"}] * 2)
    same(shell, COMMAND, rows=1)
    assert shell.ids("out.parquet") == ["d1", "d2"]


def test_a_dry_run_in_shards_writes_nothing_and_counts_the_same(shell: Shell) -> None:
    shell.write("corpus.jsonl", corpus(25))
    local, sharded = (shell(f"dedup corpus.jsonl --dry-run {more}") for more in ("", f"{ON_SHARDS} 30"))
    assert local == sharded
    assert [path.name for path in shell.folder.iterdir()] == ["corpus.jsonl"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--index seen", "--index is kept on one machine; leave out --engine ray"),
        ("--semantic fake:", "--semantic holds the vectors of a whole corpus; leave out --engine ray"),
        ("--memory 1GB", "--memory has no effect with --engine ray"),
        ("--by query", "--by query is for pair sets, and --engine ray dedups a corpus"),
        ("--work-folder here", "--work-folder has no effect without --dry-run"),
        ("--keep best:price", 'no column "price"'),
        ("--merge", "--merge is for pair sets"),
    ],
)
def test_what_shards_cannot_do_is_refused(shell: Shell, words: str, line: str) -> None:
    shell.write("corpus.jsonl", corpus(5))
    code, said = shell(f"dedup corpus.jsonl {words} --engine ray -o out.parquet")
    assert code == 2
    assert line in said
    assert not list(shell.folder.glob(".*"))


def test_a_pair_set_is_refused_in_shards(shell: Shell) -> None:
    shell.write("pairs.jsonl", [{"query_id": "q", "query": "a", "doc_id": "d", "document": "b", "label": 1}])
    code, said = shell("dedup pairs.jsonl --engine ray -o out.parquet")
    assert code == 2
    assert "pairs.jsonl: is a pair set, and --engine ray dedups a corpus" in said


def test_what_each_source_lost_is_said_of_shards_as_well(shell: Shell) -> None:
    rows = [{"id": f"d{i}", "text": f"text {i % 3}", "source": "ab"[i % 2]} for i in range(60)]
    shell.write("corpus.jsonl", rows)
    local, sharded = (
        shell(f"dedup corpus.jsonl -o out.parquet {more}") for more in ("", "--engine ray --shard-rows 7")
    )
    assert "of 30 rows with source" in local[1]
    assert local == sharded


# --- runs that end early --------------------------------------------------------------------------------


class Calls:
    """Stands before a function and counts its calls; with `left` 0 it gives up, as a lost cluster does."""

    def __init__(self, function: Any, left: int = 1000) -> None:
        self.function, self.left, self.count = function, left, 0

    def __call__(self, *given: Any, **more: Any) -> Any:
        if not self.left:
            raise PairmineError("workers were lost", exit_code=GAVE_UP)
        self.left, self.count = self.left - 1, self.count + 1
        return self.function(*given, **more)


@pytest.mark.parametrize(("where", "after"), [("sketch_shard", 3), ("neighbours", 1)])
def test_what_was_sketched_is_not_sketched_again(shell: Shell, where: str, after: int) -> None:
    shell.write("corpus.jsonl", corpus(50))
    count = -(-len(corpus(50)) // 40)
    assert shell(COMMAND)[0] == 0
    expected = [read(shell, name) for name in OUTPUTS]
    sketch = Calls(shards.sketch_shard)
    with shell.patched("pairmine.stages.dedup.shards.sketch_shard", sketch):
        with shell.patched(f"pairmine.stages.dedup.shards.{where}", Calls(getattr(shards, where), after)):
            code, said = shell(f"{COMMAND} {ON_SHARDS} 40")
        assert (code, "workers were lost" in said) == (GAVE_UP, True)
        sketch.count = 0
        assert shell(f"{COMMAND} {ON_SHARDS} 40")[0] == 0
    assert sketch.count == (count - after if where == "sketch_shard" else 0)
    assert [read(shell, name) for name in OUTPUTS] == expected


def test_what_was_written_is_not_written_again(shell: Shell) -> None:
    shell.write("corpus.jsonl", corpus(50))
    count = -(-len(corpus(50)) // 40)
    assert shell(COMMAND)[0] == 0
    expected = [read(shell, name) for name in OUTPUTS]
    with shell.patched("pairmine.cli.dedup_tasks.parts", Calls(dedup_tasks.parts, 2)):
        assert shell(f"{COMMAND} {ON_SHARDS} 40")[0] == GAVE_UP
    parts, met = Calls(dedup_tasks.parts), Calls(shards.neighbours)
    with (
        shell.patched("pairmine.cli.dedup_tasks.parts", parts),
        shell.patched("pairmine.stages.dedup.shards.neighbours", met),
    ):
        assert shell(f"{COMMAND} {ON_SHARDS} 40")[0] == 0
    assert (parts.count, met.count) == (count - 2, 0)
    assert [read(shell, name) for name in OUTPUTS] == expected


def test_a_fault_in_one_shard_is_one_line(shell: Shell) -> None:
    shell.write(
        "corpus.jsonl", [*({"id": f"d{i}", "text": f"number {i}"} for i in range(60)), {"id": "d", "text": None}]
    )
    local, sharded = (shell(f"dedup corpus.jsonl -o out.parquet {more}") for more in ("", f"{ON_SHARDS} 9"))
    assert local == sharded
    assert sharded[0] == BAD_INPUT
    assert "corpus.jsonl:61" in sharded[1]


# --- on a cluster ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.ray
def test_licence_texts_lose_the_same_rows_on_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ray_cluster: str
) -> None:
    texts = DATA / "license-texts" / "corpus.jsonl.gz"
    if not texts.exists():
        pytest.skip("needs the real collections in ../shared/data")
    shell = Shell(tmp_path, monkeypatch, capsys)
    (tmp_path / "corpus.jsonl.gz").symlink_to(texts.resolve())
    command = COMMAND.replace("corpus.jsonl", "corpus.jsonl.gz") + "--ngram 5 --threshold 0.5 --sentence-words 0 "
    same(shell, f"{command} --short-text-words 0", rows=150, more=f"--ray-address {ray_cluster}")
    assert len(shell.rows("copies.parquet")) > 200


@pytest.mark.slow
@pytest.mark.ray
def test_a_shuffle_brings_parcels_together_in_the_order_of_the_items(ray_cluster: str) -> None:
    from pairmine.engines.ray.cluster import Cluster

    def parting() -> Any:
        def part(item: int) -> list[tuple[int, str]]:
            if item < 0:
                raise PairmineError("a fault in split")
            return [(group, f"{item}:{group}") for group in range(item)]

        return part

    def meeting() -> Any:
        def meet(group: tuple[int, Iterator[str]]) -> list[str]:
            if group[0] == 8:
                raise PairmineError("a fault in join")
            return list(group[1])

        return meet

    with Cluster(ray_cluster) as cluster:
        found = dict(cluster.shuffle(parting, [3, 2, 0, 1], meeting, groups=4))
        assert found == {0: ["3:0", "2:0", "1:0"], 1: ["3:1", "2:1"], 2: ["3:2"]}
        assert not list(cluster.shuffle(parting, [0, 0], meeting, groups=4))
        for place, items in (("split", [1, -1]), ("join", [9])):
            with pytest.raises(PairmineError, match=f"a fault in {place}"):
                list(cluster.shuffle(parting, items, meeting, groups=4))


# --- keys -----------------------------------------------------------------------------------------------


def test_every_key_is_in_one_range_with_its_row_in_the_corpus() -> None:
    ranges = shards.Ranges(("exact", "band-000"), 3)
    keys = np.sort(np.random.default_rng(0).integers(0, 1 << 64, 200, np.uint64, endpoint=False))
    stays = np.arange(200) != 17
    parts = list(ranges.parts({"band-000": (keys, np.arange(200, dtype=np.uint32))}, 1000, stays))
    assert [group for group, _ in parts] == [3, 4, 5]
    assert {ranges.name_of(group) for group, _ in parts} == {"band-000"}
    assert np.concatenate([some for _, (some, _) in parts]).tolist() == keys[stays].tolist()
    assert np.concatenate([rows for _, (_, rows) in parts]).tolist() == (1000 + np.flatnonzero(stays)).tolist()


def test_ranges_of_keys_change_nothing(shell: Shell) -> None:
    shell.write("corpus.jsonl", corpus(15))
    with shell.patched("pairmine.cli.dedup_shards._RANGE_KEYS", 20):
        same(shell, COMMAND)


# --- components -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [1, 3, 20])
def test_components_are_those_of_all_edges_together(tmp_path: Path, files: int) -> None:
    draw = random.Random(files)
    edges = [(draw.randrange(300), 300 + draw.randrange(300)) for _ in range(250)]
    chain = [(1000 + i, 1001 + i) for i in range(1000)]
    every = [*edges, *chain]
    draw.shuffle(every)
    paths = [str(tmp_path / f"edges-{number}") for number in range(files)]
    for number, path in enumerate(paths):
        part = np.array(every[number::files])
        write_parcel(path, packed(part[:, 0], part[:, 1]))
    found = components(InProcess(), paths, lambda name: str(tmp_path / name))
    assert dict(zip(*(each.tolist() for each in found), strict=True)) == first_of_each(every)


def first_of_each(edges: list[tuple[int, int]]) -> dict[int, int]:
    """The first vertex that edges connect each with, by union-find."""
    above = {vertex: vertex for edge in edges for vertex in edge}

    def first(vertex: int) -> int:
        while above[vertex] != vertex:
            above[vertex] = vertex = above[above[vertex]]
        return vertex

    for one, other in edges:
        low, high = sorted((first(one), first(other)))
        above[high] = low
    return {vertex: first(vertex) for vertex in above}


def test_no_edges_have_no_components(tmp_path: Path) -> None:
    vertices, labels = components(InProcess(), [], lambda name: str(tmp_path / name))
    assert not len(vertices)
    assert not len(labels)
