"""Inputs that are large in one way or another, written quickly."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_WORDS = (
    "river bridge copper salt grain winter harbour mill stone market engine valley letter school garden carries builds "
    "measures cools heats lifts crosses explains remembers sells draws writes keeps opens old narrow heavy quiet early"
)
WORDS = _WORDS.split()


def text(number: int, sentences: int = 3) -> str:
    """A text of short sentences that no other number has."""
    draw = Random(number)
    found = (" ".join(draw.choices(WORDS, k=9)).capitalize() + f" {number}." for _ in range(sentences))
    return " ".join(found)


def long_text(size: int) -> str:
    """A text of about `size` letters in sentences and paragraphs, no two stretches of a thousand letters alike."""
    block = "\n\n".join(text(number, 8) for number in range(size // 100_000 + 40))
    copies = size // len(block) + 1
    return "\n\n".join(block.replace(" river ", f" river{copy} ") for copy in range(copies))[:size]


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """The rows as .jsonl, .csv or .parquet, by the ending; all rows of a table have the same columns."""
    if path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        return path
    listed = list(rows)
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, listed[0])
            writer.writeheader()
            writer.writerows(listed)
    else:
        pq.write_table(pa.Table.from_pylist(listed), path)
    return path


def documents(count: int, **more: Any) -> Iterator[dict[str, Any]]:
    """A corpus of `count` short documents."""
    return ({"id": f"d{number}", "title": f"Title {number}", "text": text(number), **more} for number in range(count))


def pairs(queries: int, candidates: int = 4) -> Iterator[dict[str, Any]]:
    """A pair set: each query with a positive and undecided candidates, all with a score and a rank."""
    for query in range(queries):
        for rank in range(candidates + 1):
            number = query if not rank else (query * 7 + rank * 13) % (queries + 50)
            if rank and number == query:
                number += 1
            yield {
                "query_id": f"q{query}",
                "query": f"what {text(query, 1)}",
                "doc_id": f"d{number}",
                "document": text(number),
                "label": None if rank else 1,
                "origin": "mine:bm25" if rank else "given",
                "rank": rank or None,
                "score_ce": 0.9 if not rank else 0.5 / rank,
            }


def write_crowd(path: Path, positives: int, negatives: int = 3) -> Path:
    """A pair set, Parquet: one query with so many positives, and 20 queries with one; negatives where asked for."""
    owners = ["q0"] * (positives + negatives) + [f"q{at // (1 + negatives) + 1}" for at in range(20 * (1 + negatives))]
    labels = [1] * positives + [0] * negatives + ([1] + [0] * negatives) * 20
    numbers = range(len(owners))
    pq.write_table(
        pa.table(
            {
                "query_id": owners,
                "query": [f"what the {owner} says of the river" for owner in owners],
                "doc_id": [f"d{number}" for number in numbers],
                "document": [text(number, 1) for number in numbers],
                "label": pa.array(labels, pa.int8()),
                "origin": ["given"] * len(owners),
                "score_ce": pa.array(np.linspace(0.9, 0.1, len(owners)), pa.float32()),
            }
        ),
        path,
    )
    return path


def write_one_word(path: Path, rows: int) -> Path:
    """A corpus, JSON lines, of so many rows of the same word."""
    with path.open("w") as out:
        for start in range(0, rows, 100_000):
            out.write("".join(f'{{"id":"{at}","text":"word"}}\n' for at in range(start, min(start + 100_000, rows))))
    return path


def write_wide(path: Path, columns: int, rows: int, *, are_pairs: bool = False) -> Path:
    """A table of `columns` further columns of whole numbers."""
    kept = list(pairs(rows // 5)) if are_pairs else list(documents(rows))
    own = pa.Table.from_pylist(kept)
    further = {f"c{at}": pa.array(np.arange(len(kept)) + at) for at in range(columns)}
    table = pa.table({**{name: own[name] for name in own.column_names}, **further})
    if path.suffix == ".parquet":
        pq.write_table(table, path, compression="zstd")
        return path
    return write_rows(path, table.to_pylist())
