"""`pairmine mine --dry-run`: how long a run would take, and what it would hold in memory and on disk."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pairmine.backends.encoders import Encoder, Side
from pairmine.backends.retrievers import Bm25Retriever, DenseRetriever, ReadyRetriever, Retriever
from pairmine.cli.index_options import AUTO_THREADS
from pairmine.cli.progress import Advance, Progress
from pairmine.cli.run import cores, place_of, say
from pairmine.errors import PairmineError

if TYPE_CHECKING:
    from pairmine.backends.vectors.store import VectorStore
    from pairmine.memory import Memory
    from pairmine.stages.mine import Documents, Queries

_SAMPLE = 64
_TRIED_QUERIES = 1024
_TRIED_DOCUMENTS = 16_384
_BYTES_A_DOCUMENT = 150
"""Ids, text keys and places of a document, in memory whatever happens (measured: docs/scale.md)."""
_LIBRARIES = 600 << 20
_LIBRARIES_OF_WORDS = 200 << 20
"""What is loaded where words alone are searched for: no torch, no FAISS (measured)."""
_HIT_BYTES = 192
"""What a place of a query's list takes while it is searched and written (measured: docs/scale.md)."""
_TRIED_TEXTS = 2048
_NEAR_COPY_S = 8e-6
"""Seconds a document that the look for near copies takes (measured on texts of 60 words: docs/scale.md)."""


class Rehearsal:
    """Stands where a run is: inputs are read and remarks are said, nothing is written but a summary."""

    def __init__(self, summary: str | None, *, quiet: bool) -> None:
        self._summary = summary
        self._quiet = quiet
        self.progress = Progress("mine", quiet=quiet)

    def __enter__(self) -> Rehearsal:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put in place."""

    def say(self, line: str) -> None:
        """A line for people, unless --quiet."""
        if not self._quiet:
            say(line)

    def reads(self, source: Any, role: str = "input") -> Any:
        """An input, whose place the summary does not take."""
        self.guard("an input too", source.path)
        return source

    def guard(self, what: str, path: str) -> None:
        """See to it that the summary does not take the place of `path`, which `what` is."""
        if self._summary and path != "-" and place_of(path) == place_of(self._summary):
            raise PairmineError(f"--summary {path}: is {what} and would be lost; name another file")

    def begin(self, what: str, total: int | None = None) -> Advance:
        """No progress."""
        return lambda _: None


@dataclass(frozen=True)
class Plan:
    """What is to be mined, and how; `held` are the bytes of pairs and texts that are in memory by now."""

    queries: Queries
    documents: Documents
    room: Memory
    store: VectorStore
    depth: int
    index: str
    threads: int
    held: int
    near_copies: bool


@dataclass
class Step:
    """What one retriever would do: seconds, bytes in memory and bytes that stay on disk."""

    name: str
    texts: int = 0
    embed: int = 0
    embed_s: float = 0.0
    index_s: float = 0.0
    search_s: float = 0.0
    memory: int = 0
    disk: int = 0
    dim: int = 0
    index: str = ""
    usd: float | None = None


def _step_of(retriever: Retriever, plan: Plan) -> Step:
    """What `retriever` would do; an encoder is timed on some of the texts, a search on vectors of their width."""
    step = Step(retriever.name)
    if isinstance(retriever, Bm25Retriever):
        _add_words(step, retriever, plan)
    elif isinstance(retriever, ReadyRetriever):
        step.dim = retriever.dim_on_disk()
        step.memory = min(4 * step.dim * (len(plan.documents.texts) + len(plan.queries)), plan.room.vectors)
        _add_search(step, plan)
    elif isinstance(retriever, DenseRetriever):
        sides: list[tuple[Sequence[str], Side]] = [(plan.documents.texts, "document"), (plan.queries.texts, "query")]
        for texts, side in sides:
            _add_embedding(step, retriever.encoder, texts, side, plan.store)
        step.memory = min(4 * step.dim * step.texts, plan.room.vectors)
        _add_search(step, plan)
    return step


def _add_embedding(step: Step, encoder: Encoder, texts: Sequence[str], side: Side, store: VectorStore) -> None:
    from pairmine.backends.vectors.codec import Codec

    missing = np.flatnonzero(~store.known(encoder, texts, side))
    step.texts += len(texts)
    step.embed += len(missing)
    places = missing if len(missing) else np.arange(len(texts))
    sample = [texts[int(place)] for place in places[:: max(1, len(places) // _SAMPLE)][:_SAMPLE]]
    if estimate := getattr(encoder, "estimate", None):
        found = estimate([texts[int(place)] for place in missing], side)
        step.usd = None if found.usd is None else (step.usd or 0.0) + found.usd
        return
    encoder.encode(sample[:4], side)  # the first texts of a model take longer
    start = time.perf_counter()
    vectors = encoder.encode(sample, side)
    seconds = (time.perf_counter() - start) / max(len(sample), 1)
    step.dim = vectors.shape[1] if len(sample) else step.dim
    step.embed_s += seconds * len(missing)
    if store.folder is not None and step.dim:
        step.disk += len(missing) * (Codec(store.vector_type, step.dim).row_bytes + 16)


def _add_search(step: Step, plan: Plan) -> None:
    from pairmine.backends.vectors.approximate.choice import choose, index_bytes, index_seconds

    if not step.dim:
        return
    size = plan.documents.searchable, len(plan.queries), step.dim, plan.depth
    threads = cores(plan.threads)
    step.index = choose(*size, plan.room.work, threads=AUTO_THREADS) if plan.index == "auto" else plan.index
    if step.index == "exact":
        step.search_s = _exact_seconds(*size, plan.threads)
    else:
        step.search_s = index_seconds(step.index, *size, threads=threads)
        step.memory += index_bytes(step.index, plan.documents.searchable, step.dim)


def _add_words(step: Step, retriever: Bm25Retriever, plan: Plan) -> None:
    """By indexing some of the documents, spread over all, and searching them with some of the queries."""
    from pairmine.backends.retrievers.postings import index_bytes

    texts, queries = plan.documents.texts, plan.queries.texts
    some = [texts[place] for place in range(0, len(texts), max(1, len(texts) // _TRIED_TEXTS))][:_TRIED_TEXTS]
    asked = [queries[place] for place in range(0, len(queries), max(1, len(queries) // _SAMPLE))][:_SAMPLE]
    if not some or not asked:
        return
    start = time.perf_counter()
    retriever.index(some, len(some))
    indexed = time.perf_counter()
    retriever.prepare(asked)
    retriever.search(np.arange(len(asked)), min(plan.depth, len(some)))
    searched = time.perf_counter()
    step.index = "words"
    step.index_s = (indexed - start) / len(some) * len(texts)
    step.search_s = (searched - indexed) / len(asked) * len(queries) * len(texts) / len(some)
    step.memory = index_bytes(len(texts), retriever.postings_count / len(some))


def _exact_seconds(documents: int, queries: int, dim: int, depth: int, threads: int) -> float:
    """By searching some vectors of that width here."""
    from pairmine.backends.vectors import InMemory
    from pairmine.backends.vectors.exact import ExactSearch

    tried = min(queries, _TRIED_QUERIES), min(documents, _TRIED_DOCUMENTS)
    if not all(tried):
        return 0.0
    generator = np.random.default_rng(0)
    asked, searched = (generator.standard_normal((count, dim), np.float32) for count in tried)
    search = ExactSearch(InMemory(searched), tried[1], threads=threads)
    search.search(asked[:64], min(depth, tried[1]))
    start = time.perf_counter()
    search.search(asked, min(depth, tried[1]))
    return (time.perf_counter() - start) * (queries / tried[0]) * (documents / tried[1])


def show_plan(plan: Plan, retrievers: Sequence[Retriever], *, spooled: int, summary: str | None) -> None:
    """Print on standard output what a run would take, and its numbers as JSON into `summary`.

    `spooled` are the bytes of texts that lie in a temporary file.
    """
    from pairmine.files.partial import STDOUT, write_atomically

    queries, documents, room, store = plan.queries, plan.documents, plan.room, plan.store
    steps = [_step_of(each, plan) for each in retrievers]
    seconds = sum(step.embed_s + step.index_s + step.search_s for step in steps)
    seconds += _NEAR_COPY_S * documents.searchable if plan.near_copies else 0.0
    memory = _memory(plan, steps)
    rows = len(queries) * min(plan.depth, documents.searchable) * len(steps)
    facts = [
        ("queries", f"{len(queries):,}"),
        ("documents", f"{documents.searchable:,} searched ({documents.copies:,} copies, {documents.blank:,} blank)"),
        ("texts", f"{_size(spooled)} in a temporary file" if spooled else "in memory"),
    ]
    for step in steps:
        facts += _lines_of(step, store, room)
    facts += [
        ("rows", f"{rows:,} candidates at most"),
        ("memory", f"about {_size(memory)} of --memory {_size(room.total)}"),
        ("disk", _size(spooled + sum(step.disk for step in steps)) + ", the output not counted"),
        ("time", f"about {_span(seconds)}, reading and writing not counted"),
    ]
    width = max(len(name) for name, _ in facts)
    sys.stdout.flush()
    lines = ["pairmine mine: dry run", *(f"  {name:<{width}}  {what}" for name, what in facts)]
    write_atomically(STDOUT, "\n".join(lines) + "\n")
    if summary:
        body = {
            "command": "mine",
            "queries": len(queries),
            "documents": documents.searchable,
            "rows": rows,
            "memory_bytes": memory,
            "disk_bytes": spooled + sum(step.disk for step in steps),
            "seconds": round(seconds, 1),
            "retrievers": [asdict(step) for step in steps],
        }
        write_atomically(summary, json.dumps(body, indent=2) + "\n")


def _memory(plan: Plan, steps: Sequence[Step]) -> int:
    """What a run would hold at its largest: what it cannot do without, and of each part of the room what it fills."""
    lists = _HIT_BYTES * len(plan.queries) * (plan.depth + 16) * len(steps)
    widest = max((step.dim for step in steps), default=0)
    blocks = 4 * min(len(plan.queries), 4096) * min(plan.documents.searchable, 8192) + 8 * widest * len(plan.queries)
    own = _BYTES_A_DOCUMENT * len(plan.documents.texts) + plan.held
    libraries = _LIBRARIES if widest else _LIBRARIES_OF_WORDS
    return libraries + own + min(lists + blocks, plan.room.work) + sum(step.memory for step in steps)


def _lines_of(step: Step, store: VectorStore, room: Memory) -> list[tuple[str, str]]:
    if step.index == "words":
        size = _size(step.memory)
        return [
            (step.name, f"index of at most {size}, about {_span(step.index_s)}"),
            ("", f"search, about {_span(step.search_s)}"),
        ]
    if not step.texts:
        ready = f"{step.index} search of ready vectors of {step.dim} dimensions, about {_span(step.search_s)}"
        return [(step.name, ready if step.dim else "searched as it is")]
    found = f", {step.texts - step.embed:,} are in {store.folder}" if store.folder is not None else ""
    cost = "" if step.usd is None else f", about ${step.usd:,.2f}"
    when = f", about {_span(step.embed_s)}" if step.embed_s else ""
    lines = [(step.name, f"{step.embed:,} texts to embed{found}{when}{cost}")]
    if step.dim:
        whole = 4 * step.dim * step.texts
        where = "in memory" if whole <= room.vectors else "on disk, read a block at a time"
        lines.append(("", f"vectors of {step.dim} dimensions, {_size(whole)} {where}"))
        lines.append(("", f"{step.index} search, about {_span(step.search_s)}"))
    return lines


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _span(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
