"""Pairs, and rows of trainers' files, for the tests of what reads them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.cli.main import main
from pairmine.files.forms import Form, open_form
from pairmine.schema import as_pairs
from pairmine.stages.export import TARGETS

UGLY = 'tab\tand\nline "quoted" 日本語 \u2028 \''

ROWS = [
    ("q1", "p1", 1),
    ("q1", "n1", 0),
    ("q1", "n2", 0),
    ("q2", "日 2", 1),
    ("q2", "n1", 0),
    ("q2", "n2", 0),
    ("q3", "p3", 1),
    ("q3", "p1", 0),
    ("q3", "n3", 0),
]

SCORES = [0.9, 0.1, 0.2, 0.8, 0.3, 0.5, 0.7, 0.25, 0.4]


def pair_set(ugly: str = UGLY) -> pa.Table:
    made: dict[str, Any] = {
        "query_id": [query for query, _, _ in ROWS],
        "query": [f"what is {query}? {ugly}" for query, _, _ in ROWS],
        "doc_id": [doc for _, doc, _ in ROWS],
        "document": [f"about {doc} {ugly}" for _, doc, _ in ROWS],
        "label": pa.array([label for _, _, label in ROWS], pa.int8()),
        "grade": pa.array(SCORES, pa.float32()),
        "origin": ["given"] * len(ROWS),
        "score_ce": pa.array(SCORES, pa.float32()),
    }
    return as_pairs(pa.table(made))


def exported(folder: Path, name: str, patch: pytest.MonkeyPatch, pairs: pa.Table, *words: str) -> Path:
    pq.write_table(pairs, folder / "pairs.parquet")
    target = TARGETS[name]
    ending = (
        ""
        if target.fill
        else (target.endings or {"json": (".json",)}.get(target.formats[0], (f".{target.formats[0]}",)))[0]
    )
    out = folder / f"out{ending}"
    scores = ("--scores", "ce") if "scores" in target.requires else ()
    command = ["export", str(folder / "pairs.parquet"), "--to", name, *scores, *words, "-q", "-o", str(out)]
    patch.setattr(sys, "argv", ["pairmine", *command])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    return out


def opened(path: Path, **options: Any) -> Form:
    form = open_form(str(path), lambda line: None, **options)
    assert form is not None
    return form


def read(form: Form, rows: int = 65_536) -> pa.Table:
    return pa.concat_tables(list(form.chunks(rows)))


def pairs_in(table: pa.Table) -> set[tuple[str, str, int | None]]:
    return {(row["query"], row["document"], row["label"]) for row in table.to_pylist()}


UNLABELLED = {"st-pair-score", "swift-embedding-score"}

NO_NEGATIVES = {"st-pair", "simcse-pair"}

FLAT = {"colbert-triples"}


def lines(*rows: Any) -> bytes:
    """JSON lines; a row that is bytes stands as it is."""
    return b"".join(
        (row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode()) + b"\n" for row in rows
    )


def flag(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A line for FlagEmbedding; a field that is None is left out."""
    row = {
        "query": f"query {number}",
        "pos": [f"positive {number}"],
        "neg": [f"one {number}", f"two {number}"],
    } | fields
    return {name: value for name, value in row.items() if value is not None}


def triplet(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {"anchor": f"query {number}", "positive": f"yes {number}", "negative": f"no {number}"} | fields


def ntuple(number: int = 1, **fields: Any) -> dict[str, Any]:
    row = {
        "anchor": f"query {number}",
        "positive": f"yes {number}",
        "negative_1": f"no {number}",
        "negative_2": "never",
    }
    return {name: value for name, value in (row | fields).items() if value != "left out"}


def passage(doc: str, **fields: Any) -> dict[str, Any]:
    return {"docid": doc, "title": "", "text": f"about {doc}"} | fields


def tevatron(**fields: Any) -> dict[str, Any]:
    row = {
        "query_id": "q1",
        "query": "what?",
        "positive_passages": [passage("p1")],
        "negative_passages": [passage("n1")],
    }
    return row | fields


def said(text: str, role: str = "user") -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def chat(role: str = "user", **fields: Any) -> dict[str, Any]:
    row = {"messages": said("q"), "positive_messages": [said("yes", role)], "negative_messages": [said("no", role)]}
    return row | fields


def asked(text: str, answer: str = "yes") -> dict[str, Any]:
    return {"messages": [*said("Judge.", "system"), *said(text), *said(answer, "assistant")]}


LIST = {"query": "q", "docs": ["yes", "no"], "labels": [1, 0]}

CLASS = {"sentence1": "one", "sentence2": "two", "label": 1}

SCORED = {"sentence1": "one", "sentence2": "two", "score": 0.5}

NEMO = {"query": "q", "pos_doc": ["yes"], "neg_doc": ["no"]}

LEGACY = {"query": "q", "response": "yes", "rejected_response": ["no"]}

DPR = {
    "question": "q",
    "answers": [],
    "positive_ctxs": [{"title": "", "text": "yes"}],
    "negative_ctxs": [],
    "hard_negative_ctxs": [{"title": "", "text": "no"}],
}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())
