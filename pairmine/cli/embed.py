"""`pairmine embed`: vectors of a corpus or of queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from pairmine.cli import engine_options as engines
from pairmine.cli import options as shared
from pairmine.cli import server_options as server
from pairmine.cli.encoder_options import Backend, Device, Dtype, MaxLength, TruncateDim, TrustRemoteCode
from pairmine.cli.llm_options import OutputOrNone
from pairmine.cli.run import Run, choice, without_effect, without_idle
from pairmine.cli.store_options import DEFAULT, NONE, StorePath, VectorType, embedded_words

if TYPE_CHECKING:
    import numpy as np

    from pairmine.backends.specs import Spec
    from pairmine.cli.embed_work import EmbedWork
    from pairmine.cli.mine_plan import Rehearsal
    from pairmine.cli.ray_run import RayEngine
    from pairmine.engines.shards import Piece
    from pairmine.files.source import Source

_KINDS = ("st", "openai", "fake")
_SIDES = ("document", "query")


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
    engine: engines.Engine = "local",
    ray_address: engines.RayAddress = None,
    gpus_per_worker: engines.GpusPerWorker = 0.0,
    cpus_per_worker: engines.CpusPerWorker = 1.0,
    shard_rows: engines.ShardRows = engines.ROWS,
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
    from pairmine.cli.embed_work import EmbedWork
    from pairmine.errors import PairmineError
    from pairmine.files.npy import ENDING
    from pairmine.files.source import open_texts

    choice("--side", side, _SIDES)
    choice("--vector-type", vector_type, VECTOR_TYPES)
    if side == "query" and (title is not None or title_column):
        flag = "--title-column" if title_column else "--title" if title else "--no-title"
        raise PairmineError(f"{flag} has no effect with --side query; leave one of them out")
    columns = {"id": id_column, "text": text_column} | ({"title": title_column} if side == "document" else {})
    ray = engines.engine_of(context)
    engines.one_machine(context, "dry_run")
    spec = _checked(encoder)
    at = dict(zip(server.NAMES, (base_url, api_key_file, concurrency, rpm, tpm, request_arg, tokenizer), strict=True))
    if spec.kind != "openai":
        without_effect(context, f"with --encoder {spec}", *server.NAMES)
    settings = {
        "server": server.server_of(at) if spec.kind == "openai" else None,
        "max_length": max_length,
        "truncate_dim": truncate_dim,
        "dtype": dtype,
        "backend": backend,
        "device": device,
        "trust_remote_code": trust_remote_code,
    }
    if spec.kind != "st":
        settings = without_idle(context, settings, *shared.OF_A_MODEL)
    _check_fake(spec, prompt, device)
    settings[f"{side}_prompt"] = prompt
    work = EmbedWork(spec, side, title, settings, None if store == NONE else store, vector_type)  # type: ignore[arg-type]

    def opened(run: Run | Rehearsal) -> Source:
        source_ = open_texts(source, run.say, queries=side == "query", **columns)
        return cast("Source", run.reads(source_, "source"))

    if dry_run:
        from pairmine.cli.embed_estimate import show_estimate
        from pairmine.cli.mine_plan import Rehearsal

        without_effect(context, "with --dry-run", "output", "kind", "rejects")
        trial = Rehearsal(summary, quiet=quiet)
        show_estimate(work, opened(trial), workers, summary, trial.say)
        return
    if output is None:
        raise PairmineError("missing option '--output' / '-o'; only --dry-run goes without it")
    is_npy = output.lower().endswith(ENDING)
    if is_npy and vector_type == "int8":
        raise PairmineError(f"{output}: has no room for the scales of int8 vectors; write .parquet or .arrow")
    with (
        ray or nullcontext(),
        Run(
            context, output, kind=kind, rejects=rejects, summary=summary, quiet=quiet, units=("rows", "vectors"),
            make_sink=_npy_sink(ray) if is_npy else None, engine=ray,
        ) as run,
    ):  # fmt: skip
        sums = _on_cluster(run, opened(run), work, ray) if ray else _here(run, opened(run), work, workers)
        run.sum_up(embedded=sums["embedded"], reused=sums["reused"])
        run.add_to_report([embedded_words(sums["embedded"], sums["reused"], work.store)])


def _npy_sink(ray: RayEngine | None) -> Callable[[str, str | None], Any]:
    """What opens a bare matrix; of shards it is joined at the end."""
    from pairmine.files.npy import NpySink

    if ray is None:
        return NpySink
    return lambda target, kind: ray.make_sink(target, kind, "out", NpySink)


def _here(run: Run, source: Source, work: EmbedWork, workers: int) -> Mapping[str, int]:
    from pairmine.backends.models import use_threads

    texts = work.texts(source)
    if work.spec.kind == "st":
        use_threads(workers)
    with run.progress.loading(work.spec):
        job = work.open(run.say)
    run.detail(**job.facts())
    advance = run.begin("texts", None if texts.is_pairs else source.rows_ahead())
    for outcome in job.of(texts, advance):
        run.write(outcome)
    return job.sums()


def _on_cluster(run: Run, source: Source, work: EmbedWork, ray: RayEngine) -> Mapping[str, int]:
    is_pairs = work.texts(source).is_pairs
    pieces = ray.pieces(run, source, apart=True)
    work = replace(work.shared_by(ray.cluster.workers), is_pairs=is_pairs)
    if is_pairs and len(pieces) > 1:
        work = replace(work, earlier=_ids_of_earlier(run, pieces, work, ray))
    return ray.write(run, pieces, work, what="texts", resident=True)


def _ids_of_earlier(run: Run, pieces: Sequence[Piece], work: EmbedWork, ray: RayEngine) -> tuple[str, ...]:
    """Write for each shard which of its ids an earlier one has, and tell where that is."""
    from pairmine.cli.embed_work import Ids, write_keys
    from pairmine.files.seen import SeenIds

    places = [ray.folder.place(f"earlier/{piece.number:05}.parquet") for piece in pieces]
    seen = SeenIds()
    waiting: dict[int, np.ndarray] = {}
    turn = 0
    for piece, keys in ray.fold(run, pieces, Ids(work), what="ids", step="ids"):
        waiting[piece.number] = keys
        while turn in waiting:
            keys = waiting.pop(turn)
            write_keys(places[turn], keys[seen.add_keys(keys).repeated])
            turn += 1
    return tuple(places)


def _checked(encoder: str) -> Any:
    from pairmine.backends.specs import locate, parse_spec

    spec = parse_spec(encoder, _KINDS, "--encoder")
    if spec.kind == "st":
        locate(spec, "--encoder")
    return spec


def _check_fake(spec: Spec, prompt: str | None, device: str | None) -> None:
    from pairmine.errors import PairmineError

    if spec.kind == "fake" and (prompt or device):
        flag = "--prompt" if prompt else "--device"
        raise PairmineError(f"{flag} is for st: encoders; leave it out with --encoder {spec}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(embed)
