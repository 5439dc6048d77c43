"""`pairmine embed`: vectors of a corpus or of queries."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairmine.cli import options as shared
from pairmine.cli import server_options as server
from pairmine.cli.encoder_options import Backend, Device, Dtype, MaxLength, TruncateDim, TrustRemoteCode
from pairmine.cli.llm_options import OutputOrNone
from pairmine.cli.run import Run, choice, without_effect, without_idle
from pairmine.cli.store_options import DEFAULT, StorePath, VectorType, embedded_line, open_store

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.backends.encoders import Encoder
    from pairmine.backends.vectors.store import VectorStore
    from pairmine.files.source import Source
    from pairmine.outcome import Outcome

_KINDS = ("st", "openai", "fake")
_SIDES = ("document", "query")
_SAMPLE = 256


def embed(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A corpus, a query file or a pair set: a file, a folder of shards, a BEIR folder, or -.",
            show_default=False,
        ),
    ],
    output: OutputOrNone = None,
    encoder: Annotated[
        str, typer.Option("--encoder", help="st:MODEL, or openai:MODEL at a server.")
    ] = "st:all-MiniLM-L6-v2",
    side: Annotated[
        str, typer.Option("--side", help="What the texts are to the model, and which of a pair set: document or query.")
    ] = "document",
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", help="Text before every text, or the name of one of the model's prompts."),
    ] = None,
    max_length: MaxLength = None,
    truncate_dim: TruncateDim = None,
    title: Annotated[
        bool | None,
        typer.Option(
            "--title/--no-title", help="Put a document's title before its text; unset, yes.", show_default=False
        ),
    ] = None,
    dtype: Dtype = "auto",
    backend: Backend = "torch",
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    base_url: server.BaseUrl = None,
    api_key_file: server.ApiKeyFile = None,
    concurrency: server.Concurrency = None,
    rpm: server.Rpm = None,
    tpm: server.Tpm = None,
    request_arg: server.RequestArg = None,
    tokenizer: server.Tokenizer = None,
    store: StorePath = DEFAULT,
    vector_type: VectorType = "float32",
    workers: shared.Workers = 0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only count texts, and estimate time and disk by embedding some of them."),
    ] = False,
    id_column: shared.IdColumn = None,
    text_column: shared.TextColumn = None,
    title_column: shared.TitleColumn = None,
    kind: shared.Format = None,
    rejects: shared.Rejects = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
) -> None:
    """Embed a corpus, queries, or one side of a pair set: a table of id and vector.

    To have vectors as a target of a build, or for other tools; 'mine' embeds what it needs by itself.
    As .parquet or .arrow it has the columns id and vector (a list of fixed size, with int8 also scale);
    NAME.npy is a bare matrix with NAME.ids.txt beside it. Vectors are of unit length. They are kept in
    --store, where 'mine' looks as well: what has been embedded once, with the same model, prompt and
    length, never is again, and a run that was stopped goes on where it was.

    \b
      pairmine embed corpus.jsonl --encoder st:all-MiniLM-L6-v2 -o vectors.parquet
      pairmine embed pairs.parquet --side query -o queries.npy
      pairmine embed corpus.jsonl --dry-run
    """
    from pairmine.backends.vectors.codec import VECTOR_TYPES
    from pairmine.cli.mine_plan import Rehearsal
    from pairmine.errors import PairmineError
    from pairmine.files.npy import ENDING, NpySink
    from pairmine.files.source import open_texts

    choice("--side", side, _SIDES)
    choice("--vector-type", vector_type, VECTOR_TYPES)
    if side == "query" and (title is not None or title_column):
        flag = "--title-column" if title_column else "--title" if title else "--no-title"
        raise PairmineError(f"{flag} has no effect with --side query; leave one of them out")
    columns = {"id": id_column, "text": text_column} | ({"title": title_column} if side == "document" else {})
    spec = _checked(encoder)
    at = dict(zip(server.NAMES, (base_url, api_key_file, concurrency, rpm, tpm, request_arg, tokenizer), strict=True))
    if spec.kind != "openai":
        without_effect(context, f"with --encoder {spec}", *server.NAMES)
    opening = {
        "spec": spec,
        "server": server.server_of(at) if spec.kind == "openai" else None,
        "side": side,
        "prompt": prompt,
        "max_length": max_length,
        "truncate_dim": truncate_dim,
        "dtype": dtype,
        "backend": backend,
        "device": device,
        "trust_remote_code": trust_remote_code,
    }
    if spec.kind != "st":
        opening = without_idle(context, opening, *shared.OF_A_MODEL)
    if dry_run:
        without_effect(context, "with --dry-run", "output", "kind", "rejects")
        trial = Rehearsal(summary, quiet=quiet)
        texts = _Texts(trial.reads(open_texts(source, trial.say, queries=side == "query", **columns)), side, title)
        _show_estimate(texts, opening, workers, store, vector_type, summary, trial.say)
        return
    if output is None:
        raise PairmineError("missing option '--output' / '-o'; only --dry-run goes without it")
    is_npy = output.lower().endswith(ENDING)
    if is_npy and vector_type == "int8":
        raise PairmineError(f"{output}: has no room for the scales of int8 vectors; write .parquet or .arrow")
    make_sink: Any = NpySink if is_npy else None
    with Run(
        context, output, kind=kind, rejects=rejects, summary=summary, quiet=quiet, units=("rows", "vectors"),
        make_sink=make_sink,
    ) as run:  # fmt: skip
        opened = run.reads(open_texts(source, run.say, queries=side == "query", **columns), "source")
        texts = _Texts(opened, side, title)
        model = _open(run, workers, **opening)
        kept = open_store(store, vector_type, run.say)
        advance = run.begin("texts", None if texts.is_pairs else opened.rows_ahead())
        for outcome in _outcomes(texts, model, kept, vector_type, advance):
            run.write(outcome)
        run.sum_up(embedded=kept.embedded, reused=kept.reused)
        run.add_to_report([embedded_line(kept)])


class _Texts:
    """The texts of an input in tables of some ten thousand rows."""

    def __init__(self, source: Source, side: Any, title: bool | None) -> None:
        from pairmine.errors import PairmineError
        from pairmine.files.source import PairSource

        self.side = side
        self.titles = title is not False
        self.is_pairs = isinstance(source, PairSource)
        if self.is_pairs and title is not None:
            raise PairmineError(f"--{'' if title else 'no-'}title has no effect on a pair set, which has no titles")
        self._source = source

    def tables(self) -> Iterator[tuple[pa.Table, int, pa.Table | None]]:
        """Tables with id and text; of a pair set with the number of rows read and those without a text."""
        from pairmine.files.seen import SeenIds
        from pairmine.stages.embed import stretches, texts_of_pairs

        if not self.is_pairs:
            for table in stretches(self._source.tables()):
                yield table, table.num_rows, None
            return
        seen = SeenIds()
        yield from texts_of_pairs(self._source.tables(), self.side, lambda ids: seen.add(ids).repeated)


def _outcomes(texts: _Texts, encoder: Encoder, store: VectorStore, vector_type: str, advance: Any) -> Iterator[Outcome]:
    from pairmine.outcome import Outcome
    from pairmine.stages.embed import embed_texts

    def dim() -> int:
        return int(encoder.encode(["x"], texts.side).shape[1])

    def vectors(some: Any) -> Any:
        found = store.vectors(encoder, some, texts.side, advance)
        return found.block(0, len(found))

    for table, rows, rejected in texts.tables():
        outcome = embed_texts(table, vectors, dim=dim, titles=texts.titles, vector_type=vector_type)
        if rejected is not None:
            outcome = Outcome(outcome.kept, rejected, rows_in=rows, reshapes=True)
        yield outcome


def _checked(encoder: str) -> Any:
    from pairmine.backends.specs import locate, parse_spec

    spec = parse_spec(encoder, _KINDS, "--encoder")
    if spec.kind == "st":
        locate(spec, "--encoder")
    return spec


def _encoder(workers: int, *, spec: Any, side: str, prompt: str | None, **settings: Any) -> Encoder:
    from pairmine.backends.encoders import open_encoder
    from pairmine.backends.models import use_threads
    from pairmine.errors import PairmineError

    if spec.kind == "fake" and (prompt or settings["device"]):
        flag = "--prompt" if prompt else "--device"
        raise PairmineError(f"{flag} is for st: encoders; leave it out with --encoder {spec}")
    if spec.kind == "st":
        use_threads(workers)
    prompts: dict[str, Any] = {f"{side}_prompt": prompt}
    return open_encoder(spec, flag="--encoder", **prompts, **settings)


def _open(run: Run, workers: int, **opening: Any) -> Encoder:
    with run.progress.loading(opening["spec"]):
        model = _encoder(workers, **opening)
    run.detail(models=[{"name": opening["spec"].name, **model.facts}])
    return model


# --- before anything is embedded ----------------------------------------------------------------------


def _show_estimate(
    texts: _Texts, opening: dict[str, Any], workers: int, store: str, vector_type: str, summary: str | None, tell: Any
) -> None:
    """Print on standard output what a run would embed, how long that would take and what it would put on disk."""
    import json

    from pairmine.backends.vectors.codec import Codec
    from pairmine.files.partial import STDOUT, write_atomically

    encoder = _encoder(workers, **opening)
    kept = open_store(store, vector_type, tell)
    rows, count, new, sample = _count(texts, encoder, kept)
    if hasattr(encoder, "estimate"):
        _show_cost(encoder.estimate(sample, texts.side), rows, count, new, summary)
        return
    seconds, dim = _rate(encoder, sample, texts.side)
    size = new * (Codec(vector_type, dim).row_bytes + 16)
    facts = [
        ("rows", f"{rows:,}"),
        ("texts", f"{count:,}"),
        ("to embed", f"{new:,}"),
        ("in the store", f"{count - new:,}"),
        ("time", f"about {_span(seconds * new)}" if new else "none"),
        ("disk", f"{_megabytes(size)} in {store}" if kept.folder is not None else "none; --store none keeps nothing"),
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
    import json

    from pairmine.files.partial import STDOUT, write_atomically

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


def _count(texts: _Texts, encoder: Encoder, store: VectorStore) -> tuple[int, int, int, list[str]]:
    """Rows, texts, those to embed, and a fair sample of these."""
    import random

    import pyarrow.compute as pc

    from pairmine import schema
    from pairmine.stages.embed import is_blank

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


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(embed)
