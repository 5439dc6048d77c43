"""What a run of `pairmine embed` would take, before anything is embedded but a sample."""

from __future__ import annotations

import json
import random
import sys
import time
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.models import use_threads
from pairmine.backends.vectors.codec import Codec
from pairmine.backends.vectors.store import VectorStore
from pairmine.files.partial import STDOUT, write_atomically
from pairmine.stages.embed import is_blank

if TYPE_CHECKING:
    from pairmine.backends.encoders import Encoder
    from pairmine.cli.embed_work import EmbedWork, Texts
    from pairmine.cli.model_work import Say
    from pairmine.files.source import Source

_SAMPLE = 256


def show_estimate(work: EmbedWork, source: Source, workers: int, summary: str | None, tell: Say) -> None:
    """Print on standard output what a run would embed, how long that would take and what it would put on disk."""
    texts = work.texts(source)
    if work.spec.kind == "st":
        use_threads(workers)
    encoder = work.encoder()
    kept = VectorStore(work.store, vector_type=work.vector_type, say=tell)
    rows, count, new, sample = _count(texts, encoder, kept)
    if hasattr(encoder, "estimate"):
        _show_cost(encoder.estimate(sample, texts.side), rows, count, new, summary)
        return
    seconds, dim = _rate(encoder, sample, texts.side)
    size = new * (Codec(work.vector_type, dim).row_bytes + 16)
    facts = [
        ("rows", f"{rows:,}"),
        ("texts", f"{count:,}"),
        ("to embed", f"{new:,}"),
        ("in the store", f"{count - new:,}"),
        ("time", f"about {_span(seconds * new)}" if new else "none"),
        (
            "disk",
            f"{_megabytes(size)} in {work.store}" if kept.folder is not None else "none; --store none keeps nothing",
        ),
    ]
    width = max(len(name) for name, _ in facts)
    lines = [f"  {name:<{width}}  {value}" for name, value in facts]
    sys.stdout.flush()
    write_atomically(STDOUT, "\n".join(["pairmine embed: dry run", *lines]) + "\n")
    if summary:
        body = {
            "command": "embed", "rows": rows, "texts": count, "to_embed": new, "in_store": count - new,
            "seconds": round(seconds * new, 1), "bytes": size if kept.folder is not None else 0, "dim": dim,
        }  # fmt: skip
        write_atomically(summary, json.dumps(body, indent=2) + "\n")


def _show_cost(of_sample: Any, rows: int, count: int, new: int, summary: str | None) -> None:
    """Print what a server would be asked, from what a sample would take; nothing is sent to it."""
    share = new / max(of_sample.texts, 1)
    tokens, usd = round(of_sample.tokens * share), None if of_sample.usd is None else of_sample.usd * share
    facts = [
        ("rows", f"{rows:,}"),
        ("texts", f"{count:,}"),
        ("to embed", f"{new:,}"),
        ("in the store", f"{count - new:,}"),
        ("tokens", f"about {tokens:,}"),
        ("dollars", "no price is known" if usd is None else f"about {usd:,.2f}"),
    ]
    lines = [f"  {name:<12}  {value}" for name, value in facts]
    write_atomically(STDOUT, "\n".join(["pairmine embed: dry run", *lines]) + "\n")
    if summary:
        body = {"command": "embed", "rows": rows, "texts": count, "to_embed": new, "in_store": count - new}
        write_atomically(summary, json.dumps(body | {"tokens": tokens, "usd": usd}, indent=2) + "\n")


def _count(texts: Texts, encoder: Encoder, store: VectorStore) -> tuple[int, int, int, list[str]]:
    """Rows, texts, those to embed, and a fair sample of these."""
    draw = random.Random(0)
    sample: list[str] = []
    rows = count = new = 0
    for table, read, _ in texts.tables():
        joined = schema.document_text(table) if texts.titles else table["text"]
        some = joined.filter(pc.invert(is_blank(joined))).to_pylist()
        known = store.known(encoder, some, texts.side).tolist()
        rows, count = rows + read, count + len(some)
        for text, is_known in zip(some, known, strict=True):
            if is_known:
                continue
            new += 1
            if len(sample) < _SAMPLE:
                sample.append(text)
            elif (at := draw.randrange(new)) < _SAMPLE:
                sample[at] = text
    return rows, count, new, sample


def _rate(encoder: Encoder, sample: list[str], side: Any) -> tuple[float, int]:
    """Seconds to a text, measured on `sample` after a start, and the length of a vector."""
    dim = int(encoder.encode(sample[:4] or ["x"], side).shape[1])
    if not sample:
        return 0.0, dim
    started = time.perf_counter()
    encoder.encode(sample, side)
    return (time.perf_counter() - started) / len(sample), dim


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s" if seconds >= 1 else "a second"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _megabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
