"""Replies survive the way through a file, and a row that is none is told by its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pairmine.errors import PairmineError
from pairmine.files.entries import read_entries, write_entries
from pairmine.ledger import Entry
from pairmine.llm.calls import Reply

ENTRIES = [
    Entry(bytes(range(20)), Reply("plain", "stop", 1, 2, 3, "m-1"), "queries", "m", "openai", 1_700_000_000),
    Entry(b"\xff" * 20, Reply("", "length"), "my recipe", "模型", "vllm", 0),
    Entry(b"a" * 20, Reply("half \ud83d an emoji, a \x00 and\r\n\u2028 lines", "stop"), "queries", "m", "openai", 5),
    Entry(b"b" * 20, Reply('{"query": "\N{PILE OF POO}"}', "stop", 2**33 + 1), "queries", "m", "openai", 5),
]


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz", "r.jsonl.zst", "r.parquet", "r.arrow"])
def test_what_is_written_is_read_again_to_the_last_character(tmp_path: Path, name: str) -> None:
    target = str(tmp_path / name)
    assert write_entries(target, iter([ENTRIES[:1], ENTRIES[1:]])) == 4
    assert [entry for some in read_entries(target) for entry in some] == ENTRIES


def test_the_rows_are_readable_with_the_key_in_hex(tmp_path: Path) -> None:
    target = tmp_path / "r.jsonl"
    write_entries(str(target), [ENTRIES])
    rows = [json.loads(line) for line in target.read_text("utf-8").split("\n")[:-1]]
    assert rows[0]["key"] == "000102030405060708090a0b0c0d0e0f10111213"
    assert [row["text"] for row in rows] == ["plain", "", None, ENTRIES[3].reply.text]
    assert [row["text_base64"] is None for row in rows] == [True, True, False, True]


def test_a_ledger_without_replies_is_a_file_without_rows(tmp_path: Path) -> None:
    target = tmp_path / "r.parquet"
    assert write_entries(str(target), []) == 0
    assert [entry for some in read_entries(str(target)) for entry in some] == []


def test_an_error_on_the_way_leaves_no_file(tmp_path: Path) -> None:
    def breaking() -> Any:
        yield ENTRIES
        raise PairmineError("broken")

    with pytest.raises(PairmineError, match="broken"):
        write_entries(str(tmp_path / "r.jsonl"), breaking())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"key": "00ff"}, "\"key\" is '00ff', not 40 hex digits"),
        ({"key": "z" * 40}, "not 40 hex digits"),
        ({"key": None}, 'no "key", found: recipe, model'),
        ({"text": None}, 'no "text", found: key'),
        ({"text": None, "text_base64": "!"}, '"text_base64" is no UTF-8 text in base64'),
        ({"text": None, "text_base64": "/w=="}, '"text_base64" is no UTF-8 text in base64'),
        ({"text": 5}, "\"text\" is '5'"),
        ({"created": -1}, "\"created\" is '-1'"),
        ({"prompt_tokens": 1.5}, "\"prompt_tokens\" is '1.5'"),
        ({"cached_tokens": True}, "\"cached_tokens\" is 'True'"),
        ({"model": None}, 'no "model"'),
    ],
)
def test_a_row_that_is_no_entry_is_told_with_its_line_and_the_remedy(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    source = tmp_path / "r.jsonl"
    write_entries(str(source), [ENTRIES[:1]])
    row = json.loads(source.read_text())
    source.write_text("\n" + json.dumps(row | change) + "\n")
    with pytest.raises(PairmineError) as raised:
        list(read_entries(str(source)))
    line = str(raised.value)
    assert line.startswith(f"{source}:2: no entry of a ledger (")
    assert told in line
    assert line.endswith("; give it what 'pairmine ledger export' wrote")


def test_files_from_elsewhere_are_told(tmp_path: Path) -> None:
    source = tmp_path / "corpus.jsonl"
    source.write_text('{"_id": "1", "text": "t"}\n')
    with pytest.raises(PairmineError, match=r'corpus.jsonl:1: no entry of a ledger \(no "recipe", found: _id, text\)'):
        list(read_entries(str(source)))
    source.write_text('{"key": ')
    with pytest.raises(PairmineError, match=r"corpus.jsonl:1: not valid JSON"):
        list(read_entries(str(source)))


@pytest.mark.parametrize("name", ["r.csv", "r.tsv.gz", "r.txt", "replies"])
def test_formats_that_would_change_a_reply_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PairmineError, match=r"replies are written as \.jsonl, \.jsonl\.gz, \.jsonl\.zst or \.parquet"):
        write_entries(str(tmp_path / name), [ENTRIES])
    assert list(tmp_path.iterdir()) == []
