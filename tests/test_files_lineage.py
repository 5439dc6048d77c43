"""How a file came to be, as its metadata keeps it."""

from __future__ import annotations

import json

import pytest

from pairmine.errors import PairmineError
from pairmine.files.lineage import KEY, Lineage, decode, encode, shown_path


def test_what_is_written_is_read_back() -> None:
    entries = [{"command": "convert", "options": {"to": "日"}}]
    assert decode(encode(entries), "f") == entries
    assert decode(None, "f") == decode({b"pandas": b"{}"}, "f") == []


def test_damaged_and_newer_metadata_are_told() -> None:
    for body in (b"not json", b"[]", b'{"format": 1}', b"\xff", b'{"format": "x", "lineage": []}'):
        with pytest.raises(PairmineError, match="its pairmine metadata is damaged; write the file again"):
            decode({KEY: body}, "f")
    with pytest.raises(PairmineError, match=r"written by a newer pairmine \(format 9, this one reads 1\)"):
        decode({KEY: json.dumps({"format": 9, "lineage": []}).encode()}, "f")


@pytest.mark.parametrize(
    "entry",
    [
        *('"mine"', "7", "{}", '{"command": 1}', '{"command": "x", "inputs": [1]}', '{"command": "x", "options": []}'),
        '{"command": "x", "inputs": [{"role": "source", "stage": 3}]}',
        '{"command": "x", "inputs": [{"role": "source", "stage": []}]}',
        '{"command": "x", "counts": {"rows_in": "many"}}',
        '{"command": "x", "counts": {"rejected": {"why": null}}}',
        '{"command": "x", "models": [{"sha256": 5}]}',
        '{"command": "x", "prompts": [{}]}',
        '{"command": "x", "options": {"a": ' + "[" * 99 + "]" * 99 + "}}",
        '{"command": "x", "options": {"a": ' + "[" * 99_999 + "]" * 99_999 + "}}",
    ],
)
def test_entries_that_nothing_of_ours_writes_are_damage_and_no_traceback_later(entry: str) -> None:
    with pytest.raises(PairmineError, match="its pairmine metadata is damaged; write the file again"):
        decode({KEY: f'{{"format": 1, "lineage": [{entry}]}}'.encode()}, "f")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("data/c.jsonl", "data/c.jsonl"),
        ("/data/somebody/c.jsonl", "c.jsonl"),
        ("hf://datasets/org/name/c.jsonl", "hf://datasets/org/name/c.jsonl"),
        ("https://me:secret@host/c.jsonl?X-Signature=abc", "https://host/c.jsonl"),
        ("s3://bucket/a@b.jsonl", "s3://bucket/a@b.jsonl"),
    ],
)
def test_folders_of_one_machine_and_secrets_do_not_travel(path: str, shown: str) -> None:
    assert shown_path(path) == shown


def test_two_inputs_of_one_history_share_it_and_keep_their_references() -> None:
    first = {"command": "derive", "inputs": [{"file": "c", "role": "source"}]}
    mined = {"command": "mine", "inputs": [{"stage": 0, "role": "pairs"}]}
    other = {"command": "convert", "inputs": [{"file": "x", "role": "source"}]}
    on_other = {"command": "mine", "inputs": [{"stage": 0, "role": "pairs"}]}
    record = Lineage()
    record.add_input("pairs", [first, mined], path="p", sha256=None, rows=1)
    record.add_input("corpus", [other, on_other], path="c", sha256=None, rows=1)
    record.add_input("fill", [first], path="f", sha256=None, rows=1)
    assert [entry["command"] for entry in record.entries] == ["derive", "mine", "convert", "mine"]
    assert record.entries[3]["inputs"][0]["stage"] == 2
    assert [item["stage"] for item in record.inputs] == [1, 3, 0]


def test_a_file_without_a_history_goes_by_name_and_digest() -> None:
    record = Lineage()
    record.add_input("source", [], path="/tmp/x/c.jsonl", sha256="ab", rows=3)
    assert record.inputs == [{"role": "source", "rows": 3, "file": "c.jsonl", "sha256": "ab"}]
