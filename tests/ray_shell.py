"""Runs commands by the local engine and by `--engine ray`, the latter in this process unless a cluster is named."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.cli.main import main
from pairmine.cli.ray_run import RayEngine
from pairmine.engines.shards import InProcess

_ON_A_CLUSTER = RayEngine.cluster


class Killed(Exception):
    """What ends a run in its middle."""


class Counting(InProcess):
    """Counts the items that are worked on, and ends the run after `most` of them by `error`."""

    def __init__(self, most: int | None = None, error: type[BaseException] = Killed) -> None:
        super().__init__()
        self.count, self.most, self._error = 0, most, error

    def map(self, make: Any, items: Any, **settings: Any) -> Iterator[tuple[int, Any]]:
        for found in super().map(make, items, **settings):
            self.count += 1
            yield found
            if self.count == self.most:
                raise self._error


class RayShell:
    """Commands in a folder of their own; `pool` is what takes the place of a cluster."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, heard: pytest.CaptureFixture[str]) -> None:
        patch.chdir(folder)
        self.folder, self._patch, self._heard = folder, patch, heard
        self.pool: InProcess = InProcess()
        self.said = self.out = ""

    def without_ray(self) -> None:
        """From here on `--engine ray` works in this process, shards in a shuffled order."""
        self._patch.setattr(RayEngine, "cluster", property(lambda engine: self.pool))

    def with_ray(self) -> None:
        """From here on it works on a cluster again."""
        self._patch.setattr(RayEngine, "cluster", _ON_A_CLUSTER)

    def __call__(self, words: str) -> int:
        """The exit code; `said` is what went to stderr, `out` what went to stdout."""
        self._patch.setattr(sys, "argv", ["pairmine", *words.split()])
        with pytest.raises(SystemExit) as left:
            main()
        heard = self._heard.readouterr()
        self.said, self.out = heard.err, heard.out
        return int(left.value.code or 0)

    def goes_on(self, words: str, *, after: int) -> bool:
        """Whether `words`, ended `after` so many shards and run again, works on those alone that were not done."""
        counts = []
        for most in (after, None, None):
            if most is None:
                self.pool = Counting()
                assert self(words) == 0, self.said
            else:
                assert self.is_killed(words, after=most)
            assert isinstance(self.pool, Counting)
            counts.append(self.pool.count)
        stopped, again, fresh = counts
        return 0 < again == fresh - stopped

    def is_killed(self, words: str, *, after: int) -> bool:
        """Whether `words` is ended once so many shards are done."""
        self.pool = Counting(after)
        self._patch.setattr(sys, "argv", ["pairmine", *words.split()])
        try:
            main()
        except Killed:
            return True
        except SystemExit:
            return False
        finally:
            self._heard.readouterr()

    def same(self, words: str, *, rows: int = 3, more: str = "", rejects: bool = True) -> tuple[str, str]:
        """Runs `words` by both engines, compares rows, rejects and counts; returns what each said."""
        said = []
        for name, engine in (("local", ""), ("ray", f"--engine ray --shard-rows {rows} {more}")):
            outputs = f"-o {name}.parquet --summary {name}.json" + f" --rejects {name}-rejects.parquet" * rejects
            assert self(f"{words} {outputs} {engine}") == 0, self.said
            said.append(self.said)
        assert_same(self.table("local.parquet"), self.table("ray.parquet"))
        if rejects:
            assert_same(self.table("local-rejects.parquet"), self.table("ray-rejects.parquet"))
        local, ray = (json.loads((self.folder / f"{name}.json").read_text()) for name in ("local", "ray"))
        assert ray == local
        assert not list(self.folder.glob(".*.ray"))
        return said[0], said[1]

    def table(self, name: str) -> pa.Table:
        """A Parquet file of the folder, or a folder of them."""
        path = self.folder / name
        if path.is_file():
            return pq.read_table(path)
        parts = [pq.read_table(part) for part in sorted(path.glob("part-*"))]
        return pa.concat_tables(parts)

    def same_on(self, address: str, words: str, *, rows: int) -> None:
        """Runs `words` here and on the cluster at `address`, and compares the rows."""
        assert self(f"{words} -o local.parquet") == 0, self.said
        assert self(f"{words} -o ray.parquet --engine ray --ray-address {address} --shard-rows {rows}") == 0, self.said
        assert_same(self.table("local.parquet"), self.table("ray.parquet"))

    def write(self, name: str, rows: list[dict[str, Any]]) -> None:
        """A file of JSON lines."""
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (self.folder / name).write_text("\n".join(lines) + "\n" * bool(lines), encoding="utf-8")


def assert_same(one: pa.Table, other: pa.Table) -> None:
    """The same columns, types and rows in the same order."""
    assert other.schema.equals(one.schema)
    assert other.to_pylist() == one.to_pylist()
