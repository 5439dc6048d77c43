"""Versions of formats: one rule for all files."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from pairmine.backends.vectors import shards
from pairmine.backends.vectors.codec import Codec
from pairmine.backends.vectors.shards import write_shard
from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.arrays import ArrayFile
from pairmine.files.folder import mark_of
from pairmine.files.places import read_mark
from pairmine.versions import check_format, plan_digest, plan_text


def test_versions_up_to_ours_are_read_and_a_newer_one_is_refused_with_both() -> None:
    assert [check_format(each, 3, "f") for each in (1, 2, 3)] == [1, 2, 3]
    with pytest.raises(PairmineError) as caught:
        check_format(4, 3, "pairs.parquet", ", or name another")
    line = "pairs.parquet: written by a newer pairmine (format 4, this one reads 3); upgrade pairmine, or name another"
    assert str(caught.value) == line


@pytest.mark.parametrize("found", [0, -1, True, "1", 1.0, None, [], float("inf"), "x" * 10_000])
def test_what_is_no_version_is_a_damaged_file(found: object) -> None:
    with pytest.raises(ValueError, match="no version"):
        check_format(found, 3, "f")


def test_a_plan_of_the_first_pairmine_is_a_bare_digest() -> None:
    assert plan_digest("abc\n", 1, "f") == "abc"
    assert plan_digest(plan_text("abc", 2), 2, "f") == "abc"
    with pytest.raises(
        PairmineError, match=r"f: .*format 2, this one reads 1\); upgrade pairmine, or remove the folder"
    ):
        plan_digest(plan_text("abc", 2), 1, "f")


@pytest.mark.parametrize(
    "text", ["{", '{"format": 1}', '{"format": "x", "digest": "abc"}', json.dumps({"digest": "a"})]
)
def test_a_damaged_plan_belongs_to_no_run(text: str) -> None:
    assert plan_digest(text, 1, "f") is None


def test_a_shard_of_a_newer_pairmine_is_not_taken_for_a_damaged_one_and_removed(tmp_path: Path) -> None:
    path = write_shard(tmp_path, Codec("float32", 2), np.zeros((1, 2)), [np.zeros((1, 8), np.uint8)])
    whole = bytearray(path.read_bytes())
    whole[8:12] = (shards.FORMAT + 1).to_bytes(4, "little")
    whole[60:64] = zlib.crc32(bytes(whole[:60])).to_bytes(4, "little")
    path.write_bytes(whole)
    with pytest.raises(PairmineError, match=r"newer pairmine \(format 2, this one reads 1\)"):
        shards.Shard(path)


def test_a_folder_of_a_newer_pairmine_is_not_taken_for_somebody_elses(tmp_path: Path) -> None:
    mark = {"format": lineage.FORMAT + 1, "files": [], "lineage": [], "rows": []}
    (tmp_path / ".pairmine.json").write_text(json.dumps(mark))
    for read in (mark_of, read_mark):
        with pytest.raises(PairmineError, match=r"newer pairmine \(format 2, this one reads 1\)"):
            read(str(tmp_path))


def test_arrays_without_a_version_are_of_the_first(tmp_path: Path) -> None:
    for foot in ({"arrays": {}, "facts": {"a": 1}}, {"format": 1, "arrays": {}, "facts": {"a": 1}}):
        write_foot(tmp_path / "a", foot)
        assert ArrayFile(tmp_path / "a").facts == {"a": 1}
    write_foot(tmp_path / "a", {"format": 2, "arrays": {}, "facts": {}})
    with pytest.raises(PairmineError, match="newer pairmine"):
        ArrayFile(tmp_path / "a")
    write_foot(tmp_path / "a", ["no", "object"])
    with pytest.raises(PairmineError, match="is damaged"):
        ArrayFile(tmp_path / "a")


def write_foot(path: Path, foot: object) -> None:
    text = json.dumps(foot).encode()
    path.write_bytes(text + struct.pack("<Q8s", len(text), b"PMARRAYS"))
