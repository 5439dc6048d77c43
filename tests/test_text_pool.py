"""Texts beyond what memory has room for: read back whole, from a file that nobody has to clean up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pairmine.backends.retrievers import open_retriever
from pairmine.backends.specs import Spec
from pairmine.files.text_pool import TextPool
from pairmine.schema import as_pairs
from pairmine.stages.mine import Documents, Queries, search_blocks

TEXTS = ["", "one", "zwei äöü", "東京 " * 50, "a\nb\tc", "🦊" * 10, "x" * 100_000, "last"]


def pool_of(limit: int, *batches: Sequence[str | None]) -> TextPool:
    pool = TextPool(limit)
    for batch in batches:
        pool.append(pa.chunked_array([pa.array(batch, pa.large_string())]))
    return pool


@pytest.mark.parametrize("limit", [0, 1000, 1 << 20])
def test_texts_come_back_in_any_order_from_memory_and_from_disk(limit: int) -> None:
    pool = pool_of(limit, TEXTS[:3], [], TEXTS[3:], TEXTS)
    everything = TEXTS + TEXTS
    assert len(pool) == 16
    assert pool.take(np.arange(16)).to_pylist() == everything
    for rows in ([15, 0, 7], [3, 3, 3], [6, 14], [], [12]):
        assert pool.take(np.array(rows, np.int64)).to_pylist() == [everything[row] for row in rows]


def test_a_null_is_a_blank_text_and_slices_of_arrays_are_told_apart() -> None:
    column = pa.chunked_array([pa.array(["no", None, "yes", "no"], pa.string()).slice(1, 2)])
    pool = TextPool(0)
    pool.append(column)
    assert pool.take(np.array([1, 0])).to_pylist() == ["yes", ""]


def test_texts_come_back_while_more_are_taken_in() -> None:
    pool = TextPool(64)
    for number in range(200):
        pool.append(pa.chunked_array([pa.array([f"text {number}"], pa.large_string())]))
        assert pool.take(np.array([number, 0])).to_pylist() == [f"text {number}", "text 0"]
    assert pool.bytes_on_disk > 0


def test_long_stretches_between_two_texts_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pool_of(0, ["first", "m" * 3_000_000, "last"])
    read: list[int] = []
    real = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda file, buffers, at: read.append(sum(map(len, buffers))) or real(file, buffers, at)
    )
    assert pool.take(np.array([0, 2])).to_pylist() == ["first", "last"]
    assert sum(read) < 100


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    code = (
        "import resource, sys, pyarrow as pa\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from pairmine.files.text_pool import TextPool\n"
        "from pairmine.errors import PairmineError\n"
        "try:\n"
        "    TextPool(0).append(pa.chunked_array([pa.array(['x' * 100_000], pa.large_string())]))\n"
        "except PairmineError as error:\n"
        "    print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert str(tmp_path) in found.stdout, found.stderr
    assert len(found.stdout.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_the_length_of_a_text_is_known_without_reading_it(limit: int) -> None:
    pool = pool_of(limit, TEXTS[:3], TEXTS[3:], [None])
    rows = np.array([8, 7, 3, 3, 0, 6])
    everything = [*TEXTS, ""]
    assert pool.sizes(rows).tolist() == [len(everything[row].encode()) for row in rows]


def test_candidates_whose_texts_fill_memory_are_written_a_few_queries_at_a_time() -> None:
    """The rows are the same; no block holds more texts than a quarter of the budget, unless of one query."""
    corpus = pa.table({"id": [f"d{i}" for i in range(60)], "text": [f"word{i} common " * 400 for i in range(60)]})
    rows = {"query_id": [f"q{i}" for i in range(40)], "query": [f"common word{i}" for i in range(40)]}
    pairs = as_pairs(
        pa.table({**rows, "doc_id": [f"d{i}" for i in range(40)], "label": [1] * 40, "origin": ["x"] * 40})
    )
    queries, documents = Queries.of(pairs), Documents.of(pairs, corpus)
    found = []
    for budget in (1 << 30, 200_000):
        retriever = open_retriever(Spec("bm25", ""))
        retriever.index(documents.texts, documents.searchable)
        retriever.prepare(queries.texts)
        blocks = search_blocks(pairs, queries, documents, [retriever], depth=10, budget_bytes=budget)
        found.append([outcome.kept for outcome in blocks])
    assert len(found[0]) == 1
    assert len(found[1]) > 5
    assert pa.concat_tables(found[1]).to_pylist() == found[0][0].to_pylist()
    assert all(
        sum(map(len, set(block["document"].to_pylist()))) <= 50_000 or len(set(block["query_id"].to_pylist())) == 1
        for block in found[1]
    )
    assert found[0][0]["document"].null_count == 0
