"""What `info` and `head` show of a file."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.cli.lineage import commands
from pairmine.cli.main import main


class Here:
    """Runs commands in a folder and takes what they print."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, heard: pytest.CaptureFixture[str]) -> None:
        patch.chdir(folder)
        self._patch, self._heard = patch, heard

    def __call__(self, *words: str) -> str:
        self._patch.setattr(sys, "argv", ["pairmine", *words])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = self._heard.readouterr()
        assert not left.value.code, err
        return out


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    rows = [
        {"key": f"d{i}", "body": f"A first sentence {i}. A second one, number {i}. And a third {i}.", "n": i}
        for i in range(20)
    ]
    (tmp_path / "c o.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Here(tmp_path, monkeypatch, capsys)


def printed(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines() if line.startswith("pairmine ")]


def test_the_printed_commands_rebuild_the_file_to_the_byte(here: Here, tmp_path: Path) -> None:
    here("convert", "c o.jsonl", "--id-column", "key", "--text-column", "body", "-q", "-o", "c.parquet")
    here("derive", "ict", "c.parquet", "--seed", "3", "--workers", "1", "-q", "-o", "p.arrow")
    here("mine", "p.arrow", "--corpus", "c.parquet", "--retriever", "bm25", "--depth", "4", "-q", "-o", "m.parquet")
    here("filter", "m.parquet", "--negatives", "2", "--no-relative-margin", "-q", "-o", "f.parquet")
    lines = printed(here("info", "f.parquet"))
    assert [line[1] for line in lines] == ["convert", "derive", "mine", "filter"]
    for line in lines:
        here(*line[1:], "-q")
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "f.parquet").read_bytes()


def test_only_options_that_say_something_are_printed(here: Here) -> None:
    here("convert", "c o.jsonl", "--id-column", "key", "--text-column", "body", "-q", "-o", "c.parquet")
    assert "pairmine convert 'c o.jsonl' --id-column key --text-column body -o out.parquet" in here("info", "c.parquet")


def test_info_shows_rows_columns_scales_and_digests(here: Here) -> None:
    here("convert", "c o.jsonl", "--text-column", "body", "-q", "-o", "c.parquet")
    shown = here("info", "c.parquet")
    assert shown.startswith("c.parquet: 20 rows\n  id ")
    assert "# c o.jsonl: 20 rows, sha256 " in shown
    assert "no lineage: jsonl files carry none" in here("info", "c o.jsonl")
    found = json.loads(here("info", "c.parquet", "--json"))
    assert [column["name"] for column in found["columns"]] == ["id", "text", "key", "n"]
    assert found["lineage"][0]["command"] == "convert"


def test_a_parquet_file_from_elsewhere_has_no_lineage(here: Here, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["1"]}), tmp_path / "e.parquet")
    assert "no lineage: not written by pairmine" in here("info", "e.parquet")


def test_a_training_file_shows_the_lineage_that_stands_beside_it(here: Here) -> None:
    here("convert", "c o.jsonl", "--text-column", "body", "-q", "-o", "train.jsonl")
    here("convert", "c o.jsonl", "--text-column", "body", "-q", "-o", "train.jsonl.ids.parquet")
    shown = here("info", "train.jsonl")
    assert (
        "no lineage: jsonl files carry none\n\ntrain.jsonl.ids.parquet, which stands beside it:\n# c o.jsonl" in shown
    )
    assert "pairmine convert 'c o.jsonl' --text-column body -o out.parquet" in shown
    found = json.loads(here("info", "train.jsonl", "--json"))
    assert (found["format"], found["lineage"]) == ("jsonl", [])
    assert found["beside"]["lineage"][0]["command"] == "convert"


def test_head_shows_the_first_rows_of_anything(here: Here, tmp_path: Path) -> None:
    assert here("head", "c o.jsonl", "-n", "2").count("row ") == 2
    lines = here("head", "c o.jsonl", "-n", "3", "--json").splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["d0", "d1", "d2"]
    (tmp_path / "e.csv").write_text("id,text\n")
    assert here("head", "e.csv").strip() == ""


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            {"command": "mine", "options": {"retriever": ["bm25", "st:a b"], "depth": 100}},
            "--retriever bm25 --retriever 'st:a b'",
        ),
        ({"command": "mine", "options": {"title": False, "split": "dev"}}, "--split dev --no-title"),
        (
            {"command": "filter", "options": {"no_relative_margin": True, "negatives": 7}},
            "--negatives 7 --no-relative-margin",
        ),
        ({"command": "mine", "options": {"query_prompt": "--x $HOME `ls` "}}, "'--query-prompt=--x $HOME `ls` '"),
        ({"command": "gone", "options": {"new_option": 3, "off": False}}, "--new-option 3"),
    ],
)
def test_options_are_written_as_a_shell_reads_them(entry: dict[str, object], words: str) -> None:
    full = {"inputs": [{"role": "pairs", "file": "p.jsonl", "rows": 1}], "counts": {}, "version": "0", **entry}
    assert commands([full])[-1] == f"pairmine {entry['command']} p.jsonl {words} -o out.parquet"


def test_a_trainer_that_reads_jsonl_is_given_jsonl() -> None:
    entry = {"command": "export", "options": {"to": "flag-embedder"}, "inputs": [], "counts": {}, "version": "0"}
    assert commands([entry])[-1].endswith("-o out.jsonl")
