"""What the bad inputs of the catalogue are made of: good files in small, and files that are damaged in one place."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Make = Callable[[Path], None]

DOCUMENTS = [
    {"id": "d1", "text": "It rained all day and the river rose by two metres."},
    {"id": "d2", "text": "Snow fell on the hills and the roads were closed until noon."},
    {"id": "d3", "text": "The sun shone over the bay and boats left early."},
]
PAIRS = [
    {
        "query_id": "q1",
        "query": "rain",
        "doc_id": "d1",
        "document": DOCUMENTS[0]["text"],
        "label": 1,
        "origin": "given",
    },
    {
        "query_id": "q1",
        "query": "rain",
        "doc_id": "d2",
        "document": DOCUMENTS[1]["text"],
        "label": None,
        "origin": "mine:bm25",
    },
    {"query_id": "q2", "query": "sun", "doc_id": "d3", "document": DOCUMENTS[2]["text"], "label": 1, "origin": "given"},
]


def lines(*rows: Any) -> bytes:
    """JSON lines; bytes stand as they are."""
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def files(**content: bytes | str) -> Make:
    """Files by their names, in which `__` stands for a dot and `_in_` for a slash."""
    return named({name.replace("_in_", "/").replace("__", "."): each for name, each in content.items()})


def named(content: Mapping[str, bytes | str]) -> Make:
    """Files by their names."""

    def make(folder: Path) -> None:
        for name, each in content.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(each if isinstance(each, bytes) else each.encode())

    return make


def corpus(*rows: Any, name: str = "corpus.jsonl") -> Make:
    """A corpus of these lines behind a good one."""
    return named({name: lines(DOCUMENTS[0], *rows)})


def both(*makes: Make) -> Make:
    """All of these."""

    def make(folder: Path) -> None:
        for each in makes:
            each(folder)

    return make


def parquet(name: str, table: pa.Table, change: Callable[[bytes], bytes] = bytes) -> Make:
    """A Parquet file, with its bytes changed."""

    def make(folder: Path) -> None:
        pq.write_table(table, folder / name)
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return make


def arrow(name: str, table: pa.Table, change: Callable[[bytes], bytes] = bytes) -> Make:
    """An Arrow file, with its bytes changed."""

    def make(folder: Path) -> None:
        with pa.ipc.new_file(folder / name, table.schema) as writer:
            writer.write_table(table)
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return make


def vectors(content: bytes | np.ndarray, ids: str | None = "d1\nd2\nd3\n") -> Make:
    """Vectors of the documents, with their ids beside them, and pairs and a corpus to mine with them."""

    def make(folder: Path) -> None:
        pairs(folder)
        if isinstance(content, bytes):
            (folder / "docs.npy").write_bytes(content)
        else:
            np.save(folder / "docs.npy", content, allow_pickle=True)
        if ids is not None:
            (folder / "docs.ids.txt").write_text(ids)
        np.save(folder / "queries.npy", np.eye(2, 3, dtype=np.float32))
        (folder / "queries.ids.txt").write_text("q1\nq2\n")

    return make


def pairs(folder: Path) -> None:
    """A pair set and its corpus."""
    scored = [{**row, "score_dense": 0.5} for row in PAIRS]
    named({"pairs.jsonl": lines(*PAIRS), "scored.jsonl": lines(*scored), "corpus.jsonl": lines(*DOCUMENTS)})(folder)


def with_pairs(**more: bytes | str) -> Make:
    """A pair set and its corpus, and further files."""
    return both(pairs, files(**more))


def head(text: str) -> bytes:
    """A file of numpy with this head."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(48)


def zipped(content: bytes) -> bytes:
    """`content` in gzip."""
    return gzip.compress(content, 1, mtime=0)


def table(rows: list[dict[str, Any]], metadata: Any = None) -> pa.Table:
    """Rows as a table, with a lineage."""
    found = pa.Table.from_pylist(rows)
    return found if metadata is None else found.replace_schema_metadata({b"pairmine": json.dumps(metadata).encode()})


def pipe(name: str) -> Make:
    """A pipe that nobody writes to."""
    return lambda folder: os.mkfifo(folder / name)


def link(name: str, target: str) -> Make:
    """A link."""
    return lambda folder: (folder / name).symlink_to(target)


def directory(name: str) -> Make:
    """A folder without anything in it."""
    return lambda folder: (folder / name).mkdir()
