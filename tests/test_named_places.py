"""No output takes the place of anything that the same command reads, and no place is the empty word."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from dedup_shell import Shell

ROWS = [
    {"id": "1", "text": "Lima is the capital of Peru. It lies on the coast."},
    {"id": "2", "text": "Cusco was the capital of the Inca. It lies in the mountains."},
    {"id": "3", "text": "Quito is the capital of Ecuador. It lies high up."},
]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    found = Shell(tmp_path, monkeypatch, capsys)
    found.write("c.jsonl", ROWS)
    assert found("derive ict c.jsonl -o p.parquet")[0] == 0
    assert found("mine p.parquet --corpus c.jsonl --retriever bm25 -o m.jsonl")[0] == 0
    assert found("generate queries c.jsonl --llm fake: --ledger l.sqlite -o g.parquet")[0] == 0
    assert found("dedup c.jsonl --index idx -o d.jsonl")[0] == 0
    shutil.copy("p.parquet", "y.parquet.ids.parquet")
    shutil.copy("c.jsonl", "t.ids.txt")
    Path("key.txt").write_text("sk-of-nobody")
    np.save("v.npy", np.eye(3, dtype=np.float32))
    Path("v.ids.txt").write_text("1\n2\n3\n")
    return found


def digests(folder: Path) -> dict[str, str]:
    return {
        os.path.relpath(path, folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("calibrate m.jsonl --json ./m.jsonl", "--json m.jsonl: is an input too"),
        ("calibrate m.jsonl --judge fake: --ledger l.sqlite --json l.sqlite", "--json l.sqlite: is the ledger"),
        ("calibrate m.jsonl --judge fake: --ledger l.sqlite --json l.sqlite-wal", "--json l.sqlite-wal: is the ledger"),
        ("generate queries c.jsonl --llm fake: --dry-run --ledger l.sqlite --summary l.sqlite", "is the ledger"),
        ("generate queries c.jsonl --llm fake: --dry-run --summary c.jsonl", "--summary c.jsonl: is an input too"),
        ("score m.jsonl --scorer openai:x --dry-run --ledger l.sqlite --summary l.sqlite", "is the ledger"),
        ("score m.jsonl --scorer openai:x --dry-run --summary m.jsonl", "--summary m.jsonl: is an input too"),
        ("export m.jsonl --to st-ntuple --sidecar m.jsonl -o x.parquet", "--sidecar m.jsonl: is an input too"),
        ("export y.parquet.ids.parquet --to st-pair -o y.parquet", "--sidecar y.parquet.ids.parquet: is an input"),
        ("check p.parquet --against c.jsonl --junit c.jsonl", "--junit c.jsonl: is an input too"),
        ("check p.parquet --corpus c.jsonl --junit c.jsonl", "--junit c.jsonl: is an input too"),
        ("check p.parquet --queries c.jsonl --fix -o c.jsonl", "-o c.jsonl: is an input too"),
        ("check p.parquet --corpus c.jsonl --fix -o c.jsonl", "-o c.jsonl: is an input too"),
        ("check p.parquet --splits g.parquet --fix -o f.parquet --rejects g.parquet", "--rejects g.parquet: is an"),
        ("embed t.ids.txt --encoder fake: -o t.npy", "-o t.ids.txt: is an input too"),
        ("embed c.jsonl --encoder fake: -o new.npy --summary new.ids.txt", "-o and --summary both name new.ids.txt"),
        (
            "embed c.jsonl --encoder openai:x --api-key-file key.txt -o e.npy --summary key.txt",
            "is the file with the key",
        ),
        ("mine p.parquet --corpus c.jsonl --retriever npy:v.npy,v.npy -o n.parquet --summary v.ids.txt", "reads"),
        ("dedup c.jsonl --index idx -o idx/manifest.json", "-o idx/manifest.json: is in the folder of --index"),
        ("ledger export l.sqlite --ledger l.sqlite", "is the ledger"),
    ],
)
def test_what_is_read_is_not_written_over(shell: Shell, words: str, line: str) -> None:
    before = digests(shell.folder)
    code, said = shell(words)
    assert code == 2, said
    assert line in said.splitlines()[-1]
    assert digests(shell.folder) == before


def test_a_recipe_of_ones_own_is_not_written_over(shell: Shell) -> None:
    Path("own.yaml").write_text("name: own\n")
    code, said = shell("generate --recipe own.yaml c.jsonl --llm fake: --dry-run --summary own.yaml")
    assert (code, Path("own.yaml").read_text()) == (2, "name: own\n"), said


@pytest.mark.parametrize(
    "words",
    [
        "generate queries c.jsonl --llm fake: --ledger @ -o n.parquet",
        "filter @ -o f.parquet",
        "info @",
        "mine p.parquet --corpus @ -o n.parquet",
        "embed c.jsonl --encoder fake: --store @ -o e.npy",
        "filter p.parquet -o f.parquet --rejects @",
    ],
)
def test_an_empty_word_is_no_place(shell: Shell, words: str) -> None:
    before = digests(shell.folder)
    code, said = shell.words(["" if word == "@" else word for word in words.split()])
    assert code == 2, said
    assert "is empty; name a place, or leave it out" in said
    assert digests(shell.folder) == before


def test_a_column_may_be_called_as_an_output(shell: Shell) -> None:
    shell.write("other.jsonl", [{"id": row["id"], "body": row["text"]} for row in ROWS])
    for _ in range(2):
        code, said = shell("derive ict other.jsonl --text-column body -o body --format parquet")
        assert code == 0, said


def test_a_key_file_that_has_no_end_is_refused(shell: Shell) -> None:
    code, said = shell("embed c.jsonl --encoder openai:x --api-key-file /dev/zero -o e.npy")
    assert code == 2
    assert "--api-key-file /dev/zero: cannot be read" in said


@pytest.mark.parametrize(
    "words",
    [
        "mix p.parquet --size 99999999999999999999 --repeat",
        "mix p.parquet b=m.jsonl --alpha 400",
        "mix p.parquet b=m.jsonl --weight b=1e308",
        "mix p.parquet --batches mixed --batch-size 99999999999 --ranks 99999999",
        "generate queries c.jsonl --llm fake: --reply-tokens 9223372036854775808",
        "generate queries c.jsonl --llm fake: --samples 99999999999",
        "generate queries c.jsonl --llm fake: --ledger .",
        "dedup c.jsonl --ngram 2147483648",
        "dedup c.jsonl --permutations 999999999",
    ],
)
def test_numbers_beyond_all_reason_are_one_line(shell: Shell, words: str) -> None:
    before = digests(shell.folder)
    code, said = shell(f"{words} -o out.parquet")
    assert code == 2, said
    assert said.count("\n") == 1, said
    assert digests(shell.folder) == before


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("check - --splits -", "check reads standard input once, and PAIRS and --splits name it; name a file"),
        ("check - --corpus - --queries -", "and PAIRS, --corpus and --queries name it"),
        ("filter - --corpus - --shortage fill -o f.parquet", "and PAIRS and --corpus name it"),
        ("export - --to beir --corpus - -o f", "and PAIRS and --corpus name it"),
        ("dedup - --against - -o f.jsonl", "and INPUT and --against name it"),
        ("mix a=- b=- -o f.parquet", "mix reads standard input once, and PAIRS names it 2 times; name a file"),
    ],
)
def test_two_inputs_are_not_both_read_from_a_pipe(shell: Shell, words: str, line: str) -> None:
    code, said = shell(words)
    assert code == 2, said
    assert line in said


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("check p.parquet --junit nowhere/x.xml", "nowhere/x.xml: no folder nowhere; make it first"),
        ("check p.parquet --junit idx", "idx: is a folder; name a file in it"),
        ("calibrate s.parquet --by fake --json nowhere/x.json", "nowhere/x.json: no folder nowhere"),
        ("calibrate s.parquet --by fake --plot nowhere/x.svg", "nowhere/x.svg: no folder nowhere"),
    ],
)
def test_a_place_that_cannot_be_had_is_told_before_the_input_is_read(shell: Shell, words: str, line: str) -> None:
    for path in ("p.parquet", "s.parquet"):
        Path(path).write_text("no table at all")
    before = digests(shell.folder)
    code, said = shell(words)
    assert code == 2
    assert line in said
    assert digests(shell.folder) == before
