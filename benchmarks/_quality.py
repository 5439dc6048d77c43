"""Judged collections with half of their positives hidden, and the negatives that pairmine decides on there.

Shared by benchmarks/quality.py and benchmarks/quality_training.py. Everything is made by pairmine's own commands,
`mine`, `score` and `filter`, and is kept in the work folder, so a second run only filters.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _process import PAIRMINE

from pairmine.identity import text_key

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CROSS_ENCODER = DATA.with_name("models") / "cross-encoder-minilm"
LOWEST_GRADE = {
    "cranfield": 1,
    "cisi": 1,
    "npl": 1,
    "cacm": 1,
    "scifact": 1,
    "trec-dl-2021": 2,
    "stackfaq": 1,
    "climate-fever": 1,
}
"""The collections, and from which grade on a document is a positive."""
RETRIEVER = "st:all-MiniLM-L6-v2"
DEPTH = 300
MANY, DRAWN = 300, 200
NEGATIVES = 5


@dataclass(frozen=True)
class Collection:
    """Documents and queries by id, and each query's positives: those that are shown, and those that are hidden."""

    name: str
    documents: dict[str, str]
    queries: dict[str, str]
    visible: dict[str, list[str]]
    hidden: dict[str, list[str]]


def read_collection(data: Path, name: str, seed: int) -> Collection:
    """A collection of the folder `data`: its documents with a text, its queries with two positives or more.

    Of more than `MANY` queries `DRAWN` are taken, the same for every seed. Of n positives n // 2 are visible;
    which, hangs on `seed`.
    """
    folder = data / name
    documents = {row["_id"]: text for row in _lines(folder / "corpus.jsonl.gz") if (text := document_text(row))}
    texts = {row["_id"]: row["text"] for row in _lines(folder / "queries.jsonl.gz")}
    positives = _positives(folder / "qrels.tsv", LOWEST_GRADE[name], documents)
    usable = [query for query in texts if len(positives.get(query, ())) >= 2]
    if len(usable) > MANY:
        usable = [usable[place] for place in np.random.default_rng(0).choice(len(usable), DRAWN, replace=False)]
    generator = random.Random(seed)
    visible, hidden = {}, {}
    for query in sorted(usable):
        shuffled = list(positives[query])
        generator.shuffle(shuffled)
        half = len(shuffled) // 2
        visible[query], hidden[query] = shuffled[:half], shuffled[half:]
    return Collection(name, documents, {query: texts[query] for query in visible}, visible, hidden)


def document_text(row: Mapping[str, Any]) -> str:
    """A document as pairmine embeds it: its title, a blank, its text."""
    title, text = (row.get("title") or "").strip(), row["text"]
    return f"{title} {text}" if title and text else title or text


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _positives(qrels: Path, lowest_grade: int, documents: Mapping[str, str]) -> dict[str, list[str]]:
    """Each query's positives in the order of their ids, one of those that are copies of each other."""
    positives: dict[str, set[str]] = {}
    with qrels.open(encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            query, document, grade = line.rstrip("\n").split("\t")[:3]
            if float(grade) >= lowest_grade and document in documents:
                positives.setdefault(query, set()).add(document)
    return {query: _distinct(found, documents) for query, found in positives.items()}


def _distinct(found: set[str], documents: Mapping[str, str]) -> list[str]:
    return sorted({text_key(documents[each]): each for each in sorted(found, reverse=True)}.values())


@dataclass(frozen=True)
class Candidates:
    """A collection's candidates with every score: the file without texts, and what `filter` decides on it."""

    collection: Collection
    path: Path
    hidden_keys: dict[str, frozenset[int]]

    def negatives(self, flags: str) -> pa.Table:
        """The negatives that `pairmine filter` leaves with these options.

        A process of its own for each of a thousand settings would take an hour, so the command runs in this one.
        """
        from pairmine.cli.main import app

        out = self.path.with_name(f"decided-{os.getpid()}.parquet")
        command = ["filter", str(self.path), "--negatives", str(NEGATIVES), *shlex.split(flags), "--quiet"]
        app([*command, "-o", str(out)], standalone_mode=False)
        decided = pq.read_table(out)
        out.unlink()
        return decided.filter(pa.compute.equal(decided["label"], 0))

    def measure(self, negatives: pa.Table) -> Measure:
        """How false, how hard and how few they are. A copy of a hidden positive is as false as the positive."""
        queries = negatives["query_id"].to_pylist()
        documents = negatives["doc_id"].to_pylist()
        texts = self.collection.documents
        false = sum(
            text_key(texts[document]) in self.hidden_keys[query]
            for query, document in zip(queries, documents, strict=True)
        )
        _, counts = np.unique(np.array(queries, str), return_counts=True)
        return Measure(
            queries=len(self.collection.queries),
            chosen=len(queries),
            false=false,
            cosines=float(np.sum(negatives["score_dense"].to_numpy(), dtype=np.float64)),
            ranks=float(np.sum(negatives["rank"].to_numpy())),
            short=len(self.collection.queries) - int(np.sum(counts >= NEGATIVES)),
        )


@dataclass(frozen=True)
class Measure:
    """Sums over the negatives of a collection; those of several seeds add up."""

    queries: int
    chosen: int
    false: int
    cosines: float
    ranks: float
    short: int

    def __add__(self, other: Measure) -> Measure:
        return Measure(*(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def false_rate(self) -> float:
        """False negatives per negative."""
        return self.false / max(self.chosen, 1)

    @property
    def cosine(self) -> float:
        """Mean cosine to the query: the hardness."""
        return self.cosines / max(self.chosen, 1)

    @property
    def rank(self) -> float:
        """Mean rank in the mined list."""
        return self.ranks / max(self.chosen, 1)

    @property
    def short_rate(self) -> float:
        """The share of queries that got too few."""
        return self.short / self.queries


def candidates(collection: Collection, seed: int, options: argparse.Namespace) -> Candidates:
    """Mine and score, or take what an earlier run left in the work folder."""
    folder = options.work / collection.name / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    corpus, pairs = folder / "corpus.jsonl", folder / "pairs.jsonl"
    if not pairs.exists():
        _write(corpus, [{"id": key, "text": text} for key, text in collection.documents.items()])
        _write(pairs, _given(collection))
    mined, scored = folder / "mined.parquet", folder / "scored.parquet"
    mining = ["--corpus", corpus, "--retriever", RETRIEVER, "--depth", DEPTH]
    _make(mined, "mine", pairs, *mining, work=options.work)
    if options.no_cross_encoder:
        scored = mined
    else:
        _make(scored, "score", mined, "--scorer", f"ce:{options.cross_encoder}", work=options.work)
    slim = scored.with_stem(f"{scored.stem}-slim")
    if not slim.exists():
        pq.write_table(pq.read_table(scored).drop_columns(["query", "document"]), slim)
    hidden = {
        query: frozenset(text_key(collection.documents[document]) for document in documents)
        for query, documents in collection.hidden.items()
    }
    return Candidates(collection, slim, hidden)


def _make(out: Path, command: str, source: Path, *flags: str | Path | int, work: Path) -> None:
    """Run a command of pairmine unless its output is there, which it writes whole or not at all."""
    if out.exists():
        return
    environment = {**os.environ, "PAIRMINE_STORE": str(work / "store"), "HF_HUB_OFFLINE": "1"}
    words = [PAIRMINE, command, source, *flags, "--quiet", "-o", out]
    subprocess.run([str(word) for word in words], check=True, env=environment)


def _given(collection: Collection) -> list[dict[str, Any]]:
    return [
        {"query_id": query, "query": text, "doc_id": document, "document": collection.documents[document], "label": 1}
        for query, text in collection.queries.items()
        for document in collection.visible[query]
    ]


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def add_options(parser: argparse.ArgumentParser, collections: Sequence[str]) -> None:
    """The options that both benchmarks have."""
    parser.add_argument("--collections", nargs="+", choices=LOWEST_GRADE, default=list(collections))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="each hides other halves of the positives")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the judged collections")
    parser.add_argument("--cross-encoder", type=Path, default=CROSS_ENCODER)
    parser.add_argument("--no-cross-encoder", action="store_true", help="leave out the rules that need it")
    parser.add_argument("--work", type=Path, required=True, help="keeps vectors, candidates and scores for next time")
