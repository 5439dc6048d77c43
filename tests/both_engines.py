"""Runs the commands of a pipeline with both engines, each on what it wrote itself, and compares what came out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pairmine.files.peek import describe

FLOATS = 1e-6
"""How far a model's numbers may be apart: the texts of a shard meet others in a batch than those of a file."""
PAIRMINE = [sys.executable, "-m", "pairmine"]
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "PAIRMINE_STORE": "none", "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True)
class Step:
    """A command: `@name` among its words is the table that the step of that name wrote.

    It writes a table, and others that options name ("rejects", "sidecar"), or else it prints JSON.
    """

    words: str
    others: tuple[str, ...] = ()
    prints: bool = False
    exit_code: int = 0

    @property
    def needs(self) -> list[str]:
        return [word.partition("@")[2] for word in self.words.split() if "@" in word]


@dataclass
class Pipeline:
    """`steps` by name, each run once and only when it is asked for, after those that it needs.

    A step on Ray takes what Ray wrote; where that failed, what the local engine wrote, so that a test tells of its
    own step alone.
    """

    folder: Path
    address: str
    steps: Mapping[str, Step]
    _faults: dict[str, str] = field(default_factory=dict)

    def make(self, name: str) -> str:
        """Run the step with both engines, unless it was; what went wrong."""
        if name not in self._faults:
            for needed in self.steps[name].needs:
                self.make(needed)
            self._faults[name] = self._run("local", name) or self._run("ray", name)
        return self._faults[name]

    def table(self, engine: str, name: str) -> Path:
        """Where a step's table lies: a file, or a folder of parts."""
        return self.folder / engine / (name if engine == "ray" else f"{name}.parquet")

    def text(self, engine: str, name: str) -> str:
        """What a step printed, or one of its small files."""
        return (self.folder / engine / name).read_text("utf-8")

    def _run(self, engine: str, name: str) -> str:
        step = self.steps[name]
        here = self.folder / engine
        here.mkdir(exist_ok=True)
        words = [self._placed(word, engine) for word in step.words.split()]
        if not step.prints:
            words += ["-o", self.table(engine, name).name, "--summary", f"{name}.json"]
        for other in step.others:
            words += [f"--{other}", self.table(engine, f"{name}.{other}").name]
        if engine == "ray":
            words += ["--engine", "ray", "--ray-address", self.address, "--shard-rows", "300"]
        done = subprocess.run(
            [*PAIRMINE, *words], cwd=here, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT}
        )
        if done.returncode != step.exit_code:
            return f"{engine}: pairmine {' '.join(words)}\n{done.stderr}"
        if step.prints:
            (here / name).write_text(done.stdout, "utf-8")
        return ""

    def _placed(self, word: str, engine: str) -> str:
        before, at, name = word.partition("@")
        if not at:
            return word
        there = self.table(engine, name)
        return before + str(there if there.exists() else self.table("local", name))


def assert_same(pipeline: Pipeline, name: str) -> None:
    """Both engines wrote the same rows, rejects, counts and lineage."""
    step = pipeline.steps[name]
    fault = pipeline.make(name)
    assert not fault, fault
    if step.prints:
        local, ray = (json.loads(pipeline.text(engine, name)) for engine in ("local", "ray"))
        assert_near({**local, "path": None}, {**ray, "path": None})
        return
    for table in [name, *(f"{name}.{other}" for other in step.others)]:
        assert_same_rows(*(pipeline.table(engine, table) for engine in ("local", "ray")))
    local, ray = (json.loads(pipeline.text(engine, f"{name}.json")) for engine in ("local", "ray"))
    assert_near(local, ray)
    local, ray = (lineage(pipeline.table(engine, name)) for engine in ("local", "ray"))
    assert_near(local, ray)


def assert_same_rows(local: Path, ray: Path) -> None:
    """Two tables have the same columns and rows, in the same order; floats within `FLOATS`."""
    first, second = read(local), read(ray)
    assert first.schema.equals(second.schema, check_metadata=False), f"{local.name}: {first.schema}\n{second.schema}"
    scales = [[each.metadata for each in table.schema] for table in (first, second)]
    assert scales[0] == scales[1], local.name
    assert first.num_rows == second.num_rows, local.name
    for column in first.column_names:
        assert _is_near(first[column], second[column]), (
            f"{local.name}: column {column}: {_apart(first, second, column)}"
        )


def read(path: Path) -> pa.Table:
    """A Parquet file, or the parts of a folder in their order; texts as plain strings."""
    parts = sorted(path.glob("part-*.parquet")) if path.is_dir() else [path]
    assert parts, f"{path}: no parts"
    return pa.concat_tables([_plain(pq.read_table(part)) for part in parts], promote_options="default")


def lineage(path: Path) -> list[dict[str, Any]]:
    """The entries that a table carries; of an input its role alone, since a folder is no file."""
    entries = describe(str(path), lambda line: None)["lineage"]
    for entry in entries:
        entry["inputs"] = [each["role"] for each in entry.get("inputs", ())]
    return list(entries)


def assert_near(local: Any, ray: Any, where: str = "") -> None:
    """Two JSON values are equal, floats within `FLOATS`."""
    if isinstance(local, dict) and isinstance(ray, dict):
        assert list(local) == list(ray), where
        for name in local:
            assert_near(local[name], ray[name], f"{where}.{name}")
    elif isinstance(local, list) and isinstance(ray, list):
        assert len(local) == len(ray), where
        for at, (one, other) in enumerate(zip(local, ray, strict=True)):
            assert_near(one, other, f"{where}[{at}]")
    elif isinstance(local, float) and isinstance(ray, float):
        assert ray == pytest.approx(local, rel=FLOATS, abs=FLOATS), where
    else:
        assert local == ray, f"{where}: {local!r}, {ray!r}"


def _plain(table: pa.Table) -> pa.Table:
    for at, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            plain = table.column(at).cast(column.type.value_type)
            table = table.set_column(at, column.with_type(column.type.value_type), plain)
    return table


def _is_near(local: pa.ChunkedArray, ray: pa.ChunkedArray) -> bool:
    if pa.types.is_fixed_size_list(local.type):
        return _is_near(pc.list_flatten(local), pc.list_flatten(ray))
    if pa.types.is_list(local.type) or pa.types.is_large_list(local.type):
        alike = pc.list_value_length(local).equals(pc.list_value_length(ray))
        return alike and _is_near(pc.list_flatten(local), pc.list_flatten(ray))
    if not pa.types.is_floating(local.type):
        return local.combine_chunks().equals(ray.combine_chunks())
    if not pc.is_null(local).equals(pc.is_null(ray)):
        return False
    apart = pc.max(pc.abs(pc.subtract(pc.drop_null(local), pc.drop_null(ray)))).as_py()
    return apart is None or apart <= FLOATS


def _apart(local: pa.Table, ray: pa.Table, column: str) -> str:
    """The first rows that differ."""
    both = zip(local[column].to_pylist(), ray[column].to_pylist(), strict=True)
    found: Iterator[str] = (f"row {at}: {one!r}, {other!r}" for at, (one, other) in enumerate(both) if one != other)
    return "; ".join([each for each, _ in zip(found, range(3), strict=False)])
