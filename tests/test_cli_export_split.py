"""`export --split`: the rows of one split, and told where there is none."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.cli.lineage import commands
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.files.lineage import decode


def run(*arguments: object) -> None:
    app([str(each) for each in arguments], standalone_mode=False)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [
        {"query_id": f"q{n}", "query": f"question {n}", "doc_id": f"d{n}", "document": f"text {n}", "label": 1}
        for n in range(20)
    ]
    pq.write_table(
        pa.Table.from_pylist(rows).append_column("origin", pa.array(["given"] * 20)), tmp_path / "in.parquet"
    )
    path = tmp_path / "pairs.parquet"
    run("mix", tmp_path / "in.parquet", "--split", "train=.75,dev=.25", "-o", path, "-q")
    return path


def test_the_rows_of_one_split_alone_are_written(tmp_path: Path, pairs: Path) -> None:
    table, texts = pq.read_table(pairs), {}
    for name in ("train", "dev"):
        out = tmp_path / f"{name}.parquet"
        run("export", pairs, "--to", "st-pair", "--split", name, "-o", out, "-q")
        texts[name] = pq.read_table(out)["anchor"].to_pylist()
        assert f"--split {name}" in commands(decode(pq.read_metadata(out).metadata, ""))[-1]
    for name, found in texts.items():
        rows = zip(table["query"].to_pylist(), table["split"].to_pylist(), strict=True)
        assert found == [query for query, split in rows if split == name]


def test_a_split_that_is_not_there_is_told_and_nothing_written(tmp_path: Path, pairs: Path) -> None:
    out = tmp_path / "out.parquet"
    with pytest.raises(PairmineError, match=r'no row has the split "trian" \(found: dev, train\); pass one of them'):
        run("export", pairs, "--to", "st-pair", "--split", "trian", "-o", out, "-q")
    with pytest.raises(PairmineError, match=r'in.parquet: no "split" \(found: .*run \'pairmine mix --split\' first'):
        run("export", tmp_path / "in.parquet", "--to", "st-pair", "--split", "dev", "-o", out, "-q")
    assert not out.exists()
