"""`mix --split` from a shell: one file per split, all or none, in the order of the input, and told what cannot be."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.cli.lineage import commands
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.files.lineage import decode
from pairmine.files.sink import Sink
from pairmine.schema import as_pairs, empty_pairs

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no collections in {DATA}")

Row = dict[str, Any]


def row(query: str, doc: str, label: int = 1, /, **columns: Any) -> Row:
    texts = {"query": f"question {query}", "document": f"passage {doc}"}
    return {"query_id": query, "doc_id": doc, "label": label, "origin": "given", **texts, **columns}


def pairs_of(rows: Sequence[Row]) -> pa.Table:
    return as_pairs(pa.Table.from_pylist(rows))


def singles(count: int, prefix: str = "q", **columns: Any) -> list[Row]:
    """Queries that have nothing in common."""
    return [row(f"{prefix}{n}", f"{prefix}d{n}", **columns) for n in range(count)]


def run(*arguments: object) -> None:
    app([str(each) for each in arguments], standalone_mode=False)


@pytest.mark.slow
def test_rows_keep_their_order_and_all_of_them_and_a_seed_settles_the_rest(tmp_path: Path) -> None:
    rows = [each for n in range(60) for each in (row(f"q{n}", f"d{n}"), row(f"q{n}", f"n{n}", 0, source="old"))]
    pq.write_table(pairs_of(rows), tmp_path / "in.parquet")
    split_it = ("mix", tmp_path / "in.parquet", "--split", "train=.8,dev=.2", "-q", "-o")
    run(*split_it, tmp_path / "out.parquet")
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.drop_columns("split").equals(pq.read_table(tmp_path / "in.parquet").select(out.column_names[:-1]))
    assert Counter(out["split"].to_pylist()) == {"train": 96, "dev": 24}
    run(*split_it, tmp_path / "again.parquet", "--workers", 1)
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "again.parquet").read_bytes()
    run(*split_it, tmp_path / "other.parquet", "--seed", 1)
    assert pq.read_table(tmp_path / "other.parquet")["split"].to_pylist() != out["split"].to_pylist()


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    path = tmp_path / "in.parquet"
    pq.write_table(pairs_of(singles(40)), path)
    return path


def test_every_split_gets_a_file_that_says_which_it_is(tmp_path: Path, pairs_file: Path) -> None:
    out, summary, rejects = tmp_path / "p.{split}.parquet", tmp_path / "s.json", tmp_path / "r.jsonl"
    run("mix", pairs_file, "--split", "train=.6,dev=10", "-o", out, "--summary", summary, "--rejects", rejects, "-q")
    told = json.loads(summary.read_text())
    assert told["rejected"] == {"in no split": 6}
    assert {each["reason"] for each in map(json.loads, rejects.read_text().splitlines())} == {"in no split"}
    for name, count in (("train", 24), ("dev", 10)):
        path = tmp_path / f"p.{name}.parquet"
        assert pq.read_table(path)["split"].to_pylist() == [name] * count
        assert told["notes"][f"queries of split {name}"] == told["notes"][f"pairs of split {name}"] == count
        run("filter", path, "-o", tmp_path / "f.parquet", "-q")
        lines = commands(decode(pq.read_metadata(tmp_path / "f.parquet").metadata, ""))
        assert "pairmine mix in.parquet --split train=.6,dev=10 -o 'step1.{split}.parquet'" in lines
        assert f"pairmine filter step1.{name}.parquet -o out.parquet" in lines


def test_no_file_appears_unless_all_are_whole(
    tmp_path: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Sink.finish

    def fail_at_dev(sink: Sink, entries: list[Any]) -> None:
        if "dev" in sink.target:
            raise PairmineError("no room")
        finish(sink, entries)

    monkeypatch.setattr(Sink, "finish", fail_at_dev)
    with pytest.raises(PairmineError, match="no room"):
        run("mix", pairs_file, "--split", "train=.5,dev=.5", "-o", tmp_path / "p.{split}.parquet", "-q")
    assert os.listdir(tmp_path) == [pairs_file.name]


def test_several_sources_are_mixed_and_then_split(tmp_path: Path) -> None:
    for name, count in (("a", 16), ("b", 64)):
        pq.write_table(pairs_of(singles(count, name)), tmp_path / f"{name}.parquet")
    run(
        *("mix", tmp_path / "a.parquet", tmp_path / "b.parquet", "--split", "train=.5,dev=.25", "-q"),
        *("-o", tmp_path / "out.parquet", "--rejects", tmp_path / "r.parquet"),
    )
    out = pq.read_table(tmp_path / "out.parquet")
    counts = Counter(zip(out["source"].to_pylist(), out["split"].to_pylist(), strict=True))
    assert counts == {("a", "train"): 8, ("a", "dev"): 4, ("b", "train"): 16, ("b", "dev"): 8}
    reasons = Counter(pq.read_table(tmp_path / "r.parquet")["reason"].to_pylist())
    assert reasons == {"b: not drawn": 32, "in no split": 12}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["-o", "p.{split}.parquet"], "{split} wants --split"),
        (["-o", "p.parquet", "--split-by", "group:x"], "--split-by has no effect without --split"),
        (["-o", "p.parquet", "--split", "a=.5", "--split-by", "group"], "choose query, group:COLUMN, time:COLUMN"),
        (["-o", "p.parquet", "--split", "a=.5", "--split-apart", "all"], "--split-apart all: choose queries"),
        (["-o", "p.parquet", "--split", "a=.5", "--alpha", "1"], "--alpha has no effect with --split and one pair set"),
        (["-o", "p.parquet", "--split", "a=.5", "--size", "3", "--repeat"], "--repeat and --split"),
        (["-o", "p.parquet", "--split", "a=.5", "--batches", "source", "--batch-size", "2"], "--batches and --split"),
        (["-o", "{split}.parquet", "--split", "in=.5"], "-o in.parquet: is an input too"),
        (["-o", "p.{split}.parquet", "--split", "a=.5", "--rejects", "p.a.parquet"], "--rejects and -o both name"),
        (["-o", "{split}", "--split", "pipe=.5", "--format", "jsonl"], "pipe: is a pipe or a device"),
        (["-o", "p.{split}", "--split", "a=.5"], "p.a: the ending says no format"),
    ],
)
def test_what_does_not_go_together_is_told_and_nothing_written(
    options: list[str], line: str, tmp_path: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    before = pairs_file.read_bytes()
    with pytest.raises(PairmineError) as found:
        run("mix", "in.parquet", "-q", *options)
    assert line in str(found.value)
    assert sorted(os.listdir()) == ["in.parquet", "pipe"]
    assert pairs_file.read_bytes() == before


def test_a_column_split_of_the_user_is_kept_under_another_name(tmp_path: Path) -> None:
    pq.write_table(pairs_of(singles(10, split="old")), tmp_path / "in.parquet")
    run("mix", tmp_path / "in.parquet", "--split", "a=.5,b=.5", "-o", tmp_path / "out.parquet", "-q")
    out = pq.read_table(tmp_path / "out.parquet")
    assert out["other_split"].to_pylist() == ["old"] * 10
    assert set(out["split"].to_pylist()) == {"a", "b"}


def test_an_empty_set_gives_empty_splits(tmp_path: Path) -> None:
    pq.write_table(empty_pairs(), tmp_path / "in.parquet")
    run("mix", tmp_path / "in.parquet", "--split", "a=.5,b=.5", "-o", tmp_path / "p.{split}.parquet", "-q")
    assert [pq.read_table(tmp_path / f"p.{name}.parquet").num_rows for name in "ab"] == [0, 0]


@needs_data
def test_claims_on_one_abstract_stay_in_one_split(tmp_path: Path) -> None:
    run("mix", DATA / "scifact", "--split", "train=.8,dev=.1,test=.1", "-o", tmp_path / "out.parquet", "-q")
    out = pq.read_table(tmp_path / "out.parquet")
    rows = set(zip(out["doc_id"].to_pylist(), out["split"].to_pylist(), strict=True))
    assert len(rows) == len({document for document, _ in rows})
    queries = set(zip(out["query_id"].to_pylist(), out["split"].to_pylist(), strict=True))
    assert Counter(name for _, name in queries) == {"train": 887, "dev": 111, "test": 111}
