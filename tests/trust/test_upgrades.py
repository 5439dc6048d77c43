"""Files of every version: a newer one is refused with a line that says both versions, an older one is read.

The files of an older version are made here, byte by byte, and not by the code that would change with the format.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dedup_shell import Shell

from pairmine import ledger as ledgers
from pairmine.backends.encoders import FakeEncoder
from pairmine.backends.vectors import shards
from pairmine.files import arrays, dedup_index, lineage, sharded, sketches

PROMISE = "files of every version"
ROWS = [
    {"query_id": f"q{at // 2}", "query": f"which town is number {at // 2}", "doc_id": f"d{at}", "label": 1 - at % 2}
    | {"document": f"town {at} lies at a river called {at * 7}", "origin": "given"}
    for at in range(20)
]
CORPUS = "".join(json.dumps({"id": row["doc_id"], "text": row["document"]}) + "\n" for row in ROWS)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    for name in ("PAIRMINE_STORE", "PAIRMINE_LEDGER"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "corpus.jsonl").write_text(CORPUS)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return Shell(tmp_path, monkeypatch, capsys)


# --- files of the first version, as bytes -------------------------------------------------------------

ENTRY = {
    "command": "derive title",
    "counts": {"rows_in": 10, "rows_out": 20},
    "inputs": [{"file": "corpus.jsonl", "role": "input", "rows": 10, "sha256": "0" * 64}],
    "options": {"seed": 0},
    "version": "0.1.0",
}


def metadata(version: Any = 1) -> dict[bytes, bytes]:
    return {b"pairmine": json.dumps({"format": version, "lineage": [ENTRY]}).encode()}


def table(version: Any = 1) -> pa.Table:
    made = pa.Table.from_pylist(ROWS)
    kinds = {"label": pa.int8()}
    for name, kind in kinds.items():
        at = made.column_names.index(name)
        made = made.set_column(at, name, made[name].cast(kind))
    return made.replace_schema_metadata(metadata(version))


def parquet(folder: Path, version: Any = 1) -> Path:
    path = folder / "in.parquet"
    pq.write_table(table(version), path)
    return path


def arrow(folder: Path, version: Any, new: Callable[..., Any]) -> Path:
    """Arrow as it was written: the lineage, known only at the end, comes with a last batch without rows."""
    path = folder / "in.arrow"
    head = json.dumps({"format": version, "lineage": []}, separators=(",", ":")).encode()
    made = table().replace_schema_metadata({b"pairmine": head})
    with pa.OSFile(str(path), "wb") as out, new(out, made.schema) as writer:
        for batch in made.to_batches():
            writer.write_batch(batch)
        writer.write_batch(made.to_batches()[-1].slice(0, 0), custom_metadata=metadata(version))
    return path


def arrow_file(folder: Path, version: Any = 1) -> Path:
    return arrow(folder, version, pa.ipc.new_file)


def arrow_stream(folder: Path, version: Any = 1) -> Path:
    return arrow(folder, version, pa.ipc.new_stream)


def folder_of_parts(folder: Path, version: Any = 1) -> Path:
    path = folder / "in"
    path.mkdir()
    names = []
    for at in range(2):
        names.append(f"part-{at:05}.parquet")
        pq.write_table(table().slice(10 * at, 10).replace_schema_metadata(None), path / names[-1])
    mark = {"files": names, "lineage": [ENTRY], "rows": [10, 10]} | ({"format": version} if version else {})
    (path / ".pairmine.json").write_text(json.dumps(mark))
    return path


PAIRS: dict[str, Callable[..., Path]] = {
    "a Parquet pair set": parquet,
    "an Arrow file": arrow_file,
    "an Arrow stream": arrow_stream,
    "a folder of parts": folder_of_parts,
}
READ_BY = ["filter {} --negatives 1 -q -o out.parquet", "info {}", "stats {}", "check {}", "head {}"]


@pytest.mark.parametrize("what", PAIRS)
def test_a_pair_set_of_the_first_version_is_read(shell: Shell, what: str, campaign: Any) -> None:
    path = PAIRS[what](shell.folder)
    code, said = shell(f"filter {path.name} --negatives 1 -q -o out.parquet")
    assert (code, said) == (0, ""), said
    found = pq.read_table(shell.folder / "out.parquet")
    assert found["query_id"].unique().to_pylist() == [f"q{at}" for at in range(10)]
    entries = lineage.decode(pq.read_metadata(shell.folder / "out.parquet").metadata, "out")
    assert [each["command"] for each in entries] == ["derive title", "filter"]
    campaign.count(PROMISE, "older files read")


@pytest.mark.parametrize("what", PAIRS)
def test_a_pair_set_of_a_newer_version_is_refused_by_all_that_read_it(shell: Shell, what: str, campaign: Any) -> None:
    path = PAIRS[what](shell.folder, lineage.FORMAT + 1)
    before = digest(path)
    for words in READ_BY:
        assert_refused(shell, words.format(path.name), lineage.FORMAT)
        campaign.count(PROMISE, "newer files refused in one line, and left as they are")
    assert digest(path) == before
    assert not (shell.folder / "out.parquet").exists()


@pytest.mark.parametrize("version", [0, -1, None, "1", 1.5, True, [], {}, 1e400, "x" * 1000])
def test_a_version_that_is_none_is_a_damaged_file(shell: Shell, version: Any, campaign: Any) -> None:
    path = parquet(shell.folder, version)
    code, said = shell(f"filter {path.name} --negatives 1 -q -o out.parquet")
    assert code == 2
    assert said == "pairmine: in.parquet: its pairmine metadata is damaged; write the file again\n"
    campaign.count(PROMISE, "damaged versions told in one line")


def test_a_folder_of_parts_without_a_version_is_of_the_first(shell: Shell) -> None:
    folder_of_parts(shell.folder, None)
    assert shell("filter in --negatives 1 -q -o out.parquet") == (0, "")


def test_a_folder_of_an_export_by_a_newer_one_is_neither_read_nor_replaced(shell: Shell, campaign: Any) -> None:
    assert shell("export pairs.jsonl --to beir -q -o beir")[0] == 0
    mark = shell.folder / "beir" / ".pairmine.json"
    rewrite(mark, lambda body: body | {"format": lineage.FORMAT + 1})
    before = digest(shell.folder / "beir")
    assert_refused(shell, "info beir", lineage.FORMAT)
    assert_refused(shell, "export pairs.jsonl --to beir -q -o beir", lineage.FORMAT)
    assert digest(shell.folder / "beir") == before
    campaign.count(PROMISE, "newer files refused in one line, and left as they are", 2)


def test_the_ids_beside_a_training_file_carry_a_version(shell: Shell, campaign: Any) -> None:
    assert shell("export pairs.jsonl --to st-triplet -q -o train.parquet")[0] == 0
    beside = shell.folder / "train.parquet.ids.parquet"
    held = pq.read_table(beside)
    body = json.loads(pq.read_metadata(beside).metadata[b"pairmine"])
    pq.write_table(held.replace_schema_metadata({b"pairmine": json.dumps(body | {"format": 2}).encode()}), beside)
    assert_refused(shell, "check train.parquet", lineage.FORMAT)
    campaign.count(PROMISE, "newer files refused in one line, and left as they are")


# --- ledgers ------------------------------------------------------------------------------------------

LEDGER_1 = """
CREATE TABLE sources (
    id INTEGER PRIMARY KEY, recipe TEXT NOT NULL, model TEXT NOT NULL, backend TEXT NOT NULL,
    UNIQUE (recipe, model, backend)
);
CREATE TABLE replies (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, source INTEGER NOT NULL, created INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    text_bytes INTEGER NOT NULL, finish_reason TEXT NOT NULL, served_by TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX sums ON replies (source, created, prompt_tokens, completion_tokens, cached_tokens, text_bytes);
CREATE TABLE batches (
    batch_id TEXT PRIMARY KEY, backend TEXT NOT NULL, created INTEGER NOT NULL, state TEXT NOT NULL, keys BLOB NOT NULL
);
PRAGMA application_id = 1347243079;
"""


def ledger_of(path: Path, version: int, replies: list[tuple[bytes, str]]) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(LEDGER_1 + f"PRAGMA user_version = {version};")
    connection.execute("INSERT INTO sources VALUES (1, 'queries', 'fake', 'fake:')")
    for at, (key, text) in enumerate(replies, 1):
        row = (at, key, 1, 1_700_000_000, 10, 5, 0, len(text.encode()), "stop", "fake", text)
        connection.execute("INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()


def test_a_ledger_of_the_first_version_is_read_and_added_to(shell: Shell, campaign: Any) -> None:
    words = "generate paraphrase corpus.jsonl --llm fake: -q"
    assert shell(f"{words} --ledger new.sqlite -o first.parquet")[0] == 0
    connection = sqlite3.connect(shell.folder / "new.sqlite")
    replies = [(bytes(key), str(text)) for key, text in connection.execute("SELECT key, text FROM replies")]
    connection.close()
    assert len(replies) > 4
    ledger_of(shell.folder / "old.sqlite", 1, replies[:-3])
    assert shell(f"{words} --ledger old.sqlite -o second.parquet")[0] == 0
    with ledgers.Ledger(shell.folder / "old.sqlite") as opened:
        assert set(opened.find([key for key, _ in replies])) == {key for key, _ in replies}
    connection = sqlite3.connect(shell.folder / "old.sqlite")
    assert connection.execute("SELECT count(*) FROM replies").fetchone()[0] == len(replies)
    connection.close()
    assert (shell.folder / "first.parquet").read_bytes() == (shell.folder / "second.parquet").read_bytes()
    campaign.count(PROMISE, "older files read")


def test_a_ledger_of_a_newer_version_is_refused_by_all_that_open_it(shell: Shell, campaign: Any) -> None:
    ledger_of(shell.folder / "l.sqlite", ledgers.FORMAT + 1, [(b"k" * 20, "a reply")])
    before = digest(shell.folder / "l.sqlite")
    for words in (
        "generate paraphrase corpus.jsonl --llm fake: -q --ledger l.sqlite -o out.parquet",
        "ledger info --ledger l.sqlite",
        "ledger export replies.jsonl --ledger l.sqlite",
        "ledger prune --ledger l.sqlite --recipe queries --yes",
    ):
        assert_refused(shell, words, ledgers.FORMAT)
        campaign.count(PROMISE, "newer files refused in one line, and left as they are")
    assert digest(shell.folder / "l.sqlite") == before


# --- stores of vectors and scores ---------------------------------------------------------------------


def shard_of(path: Path, version: int, keys: np.ndarray, vectors: np.ndarray) -> None:
    """A shard of float32 vectors as the first pairmine wrote it."""
    keys, vectors = np.ascontiguousarray(keys, "<u8"), np.ascontiguousarray(vectors, "<f4")
    crcs = zlib.crc32(keys.tobytes()), zlib.crc32(vectors.tobytes())
    head = struct.pack("<8sIIIQII", b"PMVECTOR", version, 0, vectors.shape[1], len(keys), *crcs).ljust(60, b"\0")
    head += zlib.crc32(head).to_bytes(4, "little")
    path.write_bytes(head + keys.tobytes() + vectors.tobytes())


def embedded(shell: Shell) -> tuple[Path, Path]:
    """The folder of a store and its one shard."""
    assert shell("embed corpus.jsonl --encoder fake: --store store -q -o first.npy")[0] == 0
    (folder,) = (each for each in (shell.folder / "store").iterdir() if each.is_dir())
    (shard,) = folder.glob("*.shard")
    return folder, shard


def test_a_store_of_the_first_version_is_read(shell: Shell, campaign: Any) -> None:
    folder, shard = embedded(shell)
    held = shards.Shard(shard)
    vectors = np.frombuffer(held.read(0, held.rows).tobytes(), "<f4").reshape(held.rows, held.codec.dim)
    identity = json.loads((folder / "identity.json").read_text())
    shard.unlink()
    shard_of(folder / "0123456789abcdef.shard", 1, held.keys, vectors)
    (folder / "identity.json").write_text(json.dumps(identity | {"format": 1}))
    code, said = shell("embed corpus.jsonl --encoder fake: --store store -o second.npy")
    assert code == 0, said
    assert "20" in said
    assert (shell.folder / "first.npy").read_bytes() == (shell.folder / "second.npy").read_bytes()
    assert [each.name for each in folder.glob("*.shard")] == ["0123456789abcdef.shard"], "embedded anew"
    campaign.count(PROMISE, "older files read")


@pytest.mark.parametrize("part", ["identity", "shard"])
def test_a_store_of_a_newer_version_is_refused_and_kept(shell: Shell, part: str, campaign: Any) -> None:
    folder, shard = embedded(shell)
    if part == "identity":
        rewrite(folder / "identity.json", lambda body: body | {"format": shards.FORMAT + 1})
    else:
        held = shards.Shard(shard)
        shard_of(shard, shards.FORMAT + 1, held.keys, np.zeros((held.rows, held.codec.dim)))
    before = digest(folder)
    for words in (
        "embed corpus.jsonl --encoder fake: --store store -q -o second.npy",
        "mine pairs.jsonl --retriever fake: --store store -q -o out.parquet",
        "store list --store store",
    ):
        assert_refused(shell, words, shards.FORMAT)
        campaign.count(PROMISE, "newer files refused in one line, and left as they are")
    assert digest(folder) == before


# --- dedup: its index, and what a killed run leaves ----------------------------------------------------


def arrays_of(path: Path, foot: dict[str, Any], content: bytes) -> None:
    text = json.dumps(foot).encode()
    path.write_bytes(content + text + struct.pack("<Q8s", len(text), b"PMARRAYS"))


def with_version(path: Path, version: int) -> None:
    """A file of arrays as another version would have it."""
    whole = path.read_bytes()
    length, magic = struct.unpack("<Q8s", whole[-16:])
    assert magic == b"PMARRAYS"
    foot = json.loads(whole[-16 - length : -16])
    assert foot["format"] == arrays.FORMAT
    arrays_of(path, foot | {"format": version}, whole[: -16 - length])


def array_file(path: Path, **values: tuple[str, list[int]]) -> None:
    """A file of arrays as before it had a version: each by the type that it says, as struct packs it."""
    letters = {"<u8": "Q", "<i8": "q", "<u4": "I", "|u1": "B"}
    content, told = b"", {}
    for name, (kind, numbers) in values.items():
        told[name] = {"type": kind, "count": len(numbers), "offset": len(content)}
        content += struct.pack(f"<{len(numbers)}{letters[kind]}", *numbers)
    arrays_of(path, {"arrays": told, "facts": {}}, content)


def index_of(folder: Path) -> None:
    """An index of version 1 with two documents: "which river lies at the town", "town 1 lies at a river called 7"."""
    folder.mkdir()
    segment = {"name": "segment-00001", "rows": 2, "sources": [["c.jsonl", 2]], "run": None}
    settings = {"exact_only": True, "exact": "normalised", "keys": 1}
    body = {"holds": "documents that dedup kept", "format": 1, "settings": settings, "segments": [segment]}
    (folder / "manifest.json").write_text(json.dumps(body))
    exact = [0x32DCD89917F7E28A, 0xF7B617A80DEDE099]
    parts = {"exact": ("<u8", exact), "exact.rows": ("<u4", [0, 1]), "exact.fence": ("<u8", exact[:1])}
    array_file(folder / "segment-00001.keys", **parts)
    ids = {"values": ("|u1", list(b"d0d1")), "ends": ("<i8", [0, 2, 4]), "counts": ("<u4", [2, 2])}
    array_file(folder / "segment-00001.ids", **ids)
    for part in ("shingles", "words"):
        none = {"values": ("<u8", []), "ends": ("<i8", [0]), "counts": ("<u4", [])}
        array_file(folder / f"segment-00001.{part}", **none)


def indexed(shell: Shell) -> Path:
    assert shell("dedup corpus.jsonl --index index --append -q -o kept.jsonl")[0] == 0
    return shell.folder / "index"


def test_an_index_of_the_first_version_is_read(shell: Shell, campaign: Any) -> None:
    index_of(shell.folder / "index")
    texts = ["Town 1 lies at a river called 7", "quite another text, all new", "which river lies at the town"]
    rows = [{"id": f"x{at}", "text": text} for at, text in enumerate(texts)]
    (shell.folder / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = "dedup more.jsonl --exact-only --index index -q -o out.jsonl --rejects out.parquet"
    assert shell(words) == (0, "")
    assert [json.loads(line)["id"] for line in (shell.folder / "out.jsonl").read_text().splitlines()] == ["x1"]
    rejects = pq.read_table(shell.folder / "out.parquet").to_pylist()
    assert {row["id"] for row in rejects} == {"x0", "x2"}
    assert {"d0", "d1"} <= {str(value) for row in rejects for value in row.values()}
    campaign.count(PROMISE, "older files read")


@pytest.mark.parametrize("part", ["manifest", "segment"])
def test_an_index_of_a_newer_version_is_refused_and_kept(shell: Shell, part: str, campaign: Any) -> None:
    index = indexed(shell)
    newest = dedup_index.FORMAT if part == "manifest" else arrays.FORMAT
    if part == "manifest":
        rewrite(index / "manifest.json", lambda body: body | {"format": newest + 1})
    else:
        with_version(index / "segment-00001.keys", newest + 1)
    before = digest(index)
    for words in (
        "dedup corpus.jsonl --index index -q -o out.jsonl",
        "dedup corpus.jsonl --index index --append -q -o o.jsonl",
    ):
        assert_refused(shell, words, newest)
        campaign.count(PROMISE, "newer files refused in one line, and left as they are")
    if part == "manifest":
        assert_refused(shell, "info index", newest)
    assert digest(index) == before


# --- what a run that was cut short goes on from --------------------------------------------------------


@dataclass(frozen=True)
class Unfinished:
    """A folder of unfinished work: how one is opened, and the version of its plan."""

    opened: Callable[[Path], Any]
    plan: str
    newest: int


UNFINISHED = {
    "a run on shards": Unfinished(
        lambda place: sharded.WorkFolder(str(place), {"a": 1}), ".out.ray/plan.json", sharded.FORMAT
    ),
    "a bounded dedup": Unfinished(
        lambda place: sketches.SketchFolder(place.with_name(".out.scratch"), {"a": 1}, 1 << 20, block_rows=10),
        ".out.scratch/identity.json",
        sketches._FORMAT,
    ),
}


@pytest.mark.parametrize("what", UNFINISHED)
def test_unfinished_work_of_the_first_version_is_taken_up(tmp_path: Path, what: str, campaign: Any) -> None:
    kind = UNFINISHED[what]
    let_go(kind.opened(tmp_path / "out"))
    plan = tmp_path / kind.plan
    body = json.loads(plan.read_text())
    assert body["format"] == kind.newest
    plan.write_text(body["digest"])  # a bare digest, as the first pairmine wrote it
    left = plan.with_name("done.txt")
    left.write_text("work")
    let_go(kind.opened(tmp_path / "out"))
    assert left.read_text() == "work"
    campaign.count(PROMISE, "older files read")


@pytest.mark.parametrize("what", UNFINISHED)
def test_unfinished_work_of_a_newer_version_is_not_thrown_away(tmp_path: Path, what: str, campaign: Any) -> None:
    from pairmine.errors import PairmineError

    kind = UNFINISHED[what]
    let_go(kind.opened(tmp_path / "out"))
    plan = tmp_path / kind.plan
    rewrite(plan, lambda body: body | {"format": kind.newest + 1, "digest": "other"})
    left = plan.with_name("done.txt")
    left.write_text("work")
    with pytest.raises(
        PairmineError, match=rf"newer pairmine \(format {kind.newest + 1}, .*or remove the folder"
    ) as caught:
        kind.opened(tmp_path / "out")
    assert caught.value.exit_code == 2
    assert left.read_text() == "work"
    campaign.count(PROMISE, "newer files refused in one line, and left as they are")


# --- what they share ----------------------------------------------------------------------------------


def test_vectors_of_the_encoder_here_are_what_they_were() -> None:
    """Else the stores made here would be embedded anew, and prove nothing."""
    assert FakeEncoder().encode(["a"], "document").dtype == np.float32


def let_go(opened: Any) -> None:
    """Let go of a folder as a killed run does."""
    if isinstance(opened, sharded.WorkFolder):
        assert opened._lock is not None
        opened._lock.close()
    else:
        opened.close()


def rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def assert_refused(shell: Shell, words: str, newest: int) -> None:
    code, said = shell(words)
    assert code == 2, f"{words}: {code} {said}"
    assert said.count("\n") == 1, said
    assert f"written by a newer pairmine (format {newest + 1}, this one reads {newest}); upgrade pairmine" in said, said
    assert "Traceback" not in said


def digest(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in files if each.name not in ("lock", ".lock")
    }
