"""`pairmine score`: a score column."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from pairmine.cli import encoder_options as encoder
from pairmine.cli import engine_options as engines
from pairmine.cli import options as shared
from pairmine.cli import score_options as own
from pairmine.cli.llm_options import (
    DryRun,
    LlmOptions,
    OutputOrNone,
    Probe,
    Set,
    Shots,
    assignments,
    of_kind,
    takes_llm_options,
)
from pairmine.cli.run import Run, say, without_effect, without_idle
from pairmine.cli.store_options import DEFAULT, NONE, StorePath
from pairmine.errors import PairmineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pairmine.backends.specs import Spec
    from pairmine.cli.score_run import Filled
    from pairmine.cli.score_work import FillWork
    from pairmine.files.source import PairSource
    from pairmine.stages.score_rows import RowChoice


@takes_llm_options
def score(
    context: typer.Context,
    pairs: Annotated[
        str, typer.Argument(help="Pair set: a file, a folder of shards, a BEIR folder, or -.", show_default=False)
    ],
    options: LlmOptions,
    scorer: Annotated[
        str | None,
        typer.Option(
            "--scorer",
            help="ce:MODEL (a probability), st:MODEL (a cosine), a reranker behind a server: rerank:MODEL, an LLM as a "
            "judge: openai:MODEL, vllm:MODEL, or the likelihood of the query given the document: ql:vllm:MODEL, "
            "ql:openai:MODEL, ql:hf:MODEL; NAME=SPEC names the column.",
            show_default=False,
        ),
    ] = None,
    vectors: Annotated[
        str | None,
        typer.Option(
            "--vectors",
            metavar="st:MODEL",
            help="In place of a score: a teacher's vectors as columns query_vector and document_vector.",
            show_default=False,
        ),
    ] = None,
    side: Annotated[str, typer.Option("--side", help="With --vectors: of query, document or both.")] = "both",
    feedback: Annotated[
        str | None,
        typer.Option(
            "--feedback",
            metavar="st:MODEL",
            help="In place of a score: score_feedback, the mean cosine of each document to the other positives of its "
            "query less that to the query's candidates, as 'mine' adds it.",
            show_default=False,
        ),
    ] = None,
    output: OutputOrNone = None,
    band: own.Band = None,
    only: own.Only = None,
    max_judged: own.MaxJudged = None,
    missing: own.Missing = False,
    query_prompt: encoder.QueryPrompt = None,
    document_prompt: encoder.DocumentPrompt = None,
    max_length: encoder.MaxLength = None,
    truncate_dim: encoder.TruncateDim = None,
    dtype: encoder.Dtype = "auto",
    backend: encoder.Backend = "torch",
    device: encoder.Device = None,
    trust_remote_code: encoder.TrustRemoteCode = False,
    activation: own.Activation = "sigmoid",
    store: StorePath = DEFAULT,
    endpoint: own.EndpointOption = "rerank",
    scale: own.Scale = "probability",
    batch_documents: own.BatchDocuments = 64,
    recipe: own.Recipe = None,
    set_: Set = None,
    shots: Shots = None,
    dry_run: DryRun = False,
    probe: Probe = 0,
    workers: shared.Workers = 0,
    engine: engines.Engine = "local",
    ray_address: engines.RayAddress = None,
    gpus_per_worker: engines.GpusPerWorker = 0.0,
    cpus_per_worker: engines.CpusPerWorker = 1.0,
    shard_rows: engines.ShardRows = engines.ROWS,
    split: shared.Split = None,
    query_column: shared.QueryColumn = None,
    document_column: shared.DocumentColumn = None,
    kind: shared.Format = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
) -> None:
    """Add one score column to a pair set; drops nothing.

    Where a better judge than the retriever is to tell false negatives. A cross-encoder fills score_ce with
    probabilities, a bi-encoder score_st with cosines, a reranker behind
    a server score_rerank with what --scale says, an LLM score_llm with its verdict in [0, 1], a language
    model score_ql with the mean log-probability of the query's tokens given the document (UPR, Sachan et
    al. 2022, arXiv 2204.07496). Equal pairs are scored once (with --store none, once in each 65,536 rows), and
    what a model here or a reranker has scored is kept in --store, so that another run asks only for what is
    missing; an LLM's replies are in its --ledger.
    Every row gets a score, or with --band, --only, --max-judged and --missing some do and the others null.
    --vectors adds a teacher's vectors for distillation.

    \b
      # a cross-encoder here, or behind a server (vLLM, TEI, Infinity, Jina, Cohere)
      pairmine score mined.parquet --scorer ce:cross-encoder/ms-marco-MiniLM-L6-v2 -o scored.parquet
      pairmine score mined.parquet --scorer rerank:BAAI/bge-reranker-v2-m3 --base-url http://localhost:8000/v1 \\
        -o scored.parquet
      # a bi-encoder, a likelihood
      pairmine score mined.parquet --scorer st:all-MiniLM-L6-v2 -o scored.parquet
      pairmine score mined.parquet --scorer ql:vllm:Qwen/Qwen3-0.6B-Base -o scored.parquet
      # the vectors of a teacher, and how near each document is to the known positives
      pairmine score pairs.parquet --vectors st:all-MiniLM-L6-v2 --side query -o taught.parquet
      pairmine score mined.parquet --feedback st:all-MiniLM-L6-v2 -o told.parquet
      # an LLM where the cross-encoder is unsure, priced first
      pairmine score scored.parquet --scorer openai:gpt-5-mini --set relation=relevance --band ce:0.1:0.9 \\
        --max-judged 5000 --dry-run
    """
    from pairmine.backends.specs import parse_spec
    from pairmine.cli.judging import Judging
    from pairmine.cli.scoring import KINDS, Sends, column_name, complain, show_requests
    from pairmine.files.source import open_pairs

    def opened(tell: Callable[[str], None]) -> PairSource:
        return open_pairs(pairs, tell, split=split, replay=True, query=query_column, document=document_column)

    ray = engines.engine_of(context)
    engines.one_machine(context, "dry_run")

    def filled(target: str, work: FillWork) -> Filled:
        from pairmine.cli.score_run import fill

        with ray or nullcontext(), Run(context, target, kind=kind, summary=summary, quiet=quiet, engine=ray) as run:
            return fill(run, run.reads(opened(run.say), "pairs"), work, engine=ray, workers=workers)

    if sum(each is not None for each in (scorer, vectors, feedback)) != 1:
        raise PairmineError(
            "pass --scorer for a score, --vectors for vectors, or --feedback for what the positives say, and one of "
            "them"
        )
    settings: dict[str, object] = {
        "max_length": max_length,
        "device": device,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
        "query_prompt": query_prompt,
        "document_prompt": document_prompt,
        "truncate_dim": truncate_dim,
        "backend": backend,
    }
    kept_in = None if store == NONE else store
    if vectors is not None:
        target = _checked_for_vectors(context, vectors, side, output)
        filled(target, _columns("--vectors", vectors, side, kept_in, settings))
        return
    if feedback is not None:
        target = _checked_for_feedback(context, feedback, output)
        filled(target, _columns("--feedback", feedback, "document", kept_in, settings))
        return
    assert scorer is not None
    without_effect(context, "without --vectors", "side")
    spec = parse_spec(scorer, KINDS, "--scorer")
    if spec.kind == "fake":
        settings = without_idle(context, settings, *shared.OF_A_MODEL)
    takes = _kind(spec, recipe)
    target = _checked(context, spec, takes, output)
    name = column_name(spec, takes == "judge")
    choice = _row_choice(name, band, only, max_judged, missing)

    if takes == "judge":
        options = of_kind(context, options, spec.kind)
        engines.one_machine(context, "offline", "batch", "batch_files")
        judging = Judging(options, spec, recipe or "judge", set_ or [], shots)
        if dry_run:
            judging.estimate(opened(say), choice, probe, summary)
            return
        with ray or nullcontext(), Run(context, target, kind=kind, summary=summary, quiet=quiet, engine=ray) as run:
            judged = judging.run(run, run.reads(opened(run.say), "pairs"), choice, name, ray)
        complain(judged, options)
        return
    settings |= {"endpoint": endpoint, "scale": scale, "batch_documents": batch_documents}
    settings |= {"activation": activation, "store": kept_in}
    settings = {each: value for each, value in settings.items() if each in own.TAKES[takes]}

    settings |= _server_settings(spec, options)
    if dry_run:
        from pairmine.backends.scorers import open_scorer

        show_requests(opened(say), choice, cast(Sends, open_scorer(spec, say=say, **cast(Any, settings))), summary)
        return
    complain(filled(target, _column(spec, settings, choice, name)), options)


def _server_settings(spec: Spec, options: LlmOptions) -> dict[str, object]:
    """What says where a server or an engine is, and how it is asked; nothing for other scorers."""
    if spec.kind not in ("rerank", "ql"):
        return {}
    found: dict[str, object] = {
        "base_url": options.base_url,
        "key_file": options.api_key_file,
        "concurrency": options.concurrency,
        "timeout_s": options.timeout,
        "retries": options.retries,
    }
    if spec.kind == "ql":
        return found | {"vllm_args": assignments("--vllm-arg", options.vllm_arg or [])}
    args = assignments("--request-arg", options.request_arg or [])
    return found | {"rpm": options.rpm, "tpm": options.tpm, "request_args": args}


def _column(spec: Spec, settings: dict[str, object], choice: RowChoice, name: str) -> FillWork:
    """The work of --scorer."""
    from pairmine.cli.score_work import ScoreWork

    return ScoreWork(spec, settings, choice, name)


def _columns(flag: str, model: str, side: str, store: str | None, settings: dict[str, object]) -> FillWork:
    """The work of --vectors and of --feedback."""
    from pairmine.backends.specs import parse_spec
    from pairmine.cli.score_work import ColumnsWork
    from pairmine.stages.score_rows import RowChoice, Wanted

    return ColumnsWork(flag, parse_spec(model, ("st", "fake"), flag), side, store, settings, RowChoice(Wanted(), ""))


def _row_choice(name: str, band: str | None, only: str | None, most: int | None, missing: bool) -> RowChoice:
    """The rows to score: with a band the candidates in it, unless --only says otherwise."""
    from pairmine.stages.filter.gates import parse_band
    from pairmine.stages.score_rows import RowChoice, Wanted

    parsed = parse_band("--band", band) if band else None
    return RowChoice(Wanted(parsed, only or ("candidates" if band else "all"), missing, most), name)


def _kind(spec: Spec, recipe: str | None) -> str:
    """Which options of `score_options.TAKES` are for this scorer."""
    if spec.kind == "ql":
        from pairmine.backends.likelihood import inner_spec

        return f"ql:{inner_spec(spec).kind}"
    is_judge = spec.kind in ("openai", "vllm") or (spec.kind == "fake" and recipe is not None)
    return "judge" if is_judge else spec.kind


def _checked(context: typer.Context, spec: Spec, takes: str, output: str | None) -> str:
    """The output, after a look at options that this kind of scorer does not take."""
    from pairmine.backends.specs import locate

    without_effect(context, f"with --scorer {spec}", *own.refused_by(takes))
    if takes == "judge" and not context.params["dry_run"]:
        without_effect(context, "without --dry-run", "probe")
    if spec.kind in ("ce", "st"):
        locate(spec, "--scorer")
    if output is None and not context.params["dry_run"]:
        raise PairmineError("missing option '--output' / '-o'; only --dry-run goes without it")
    return output or ""


def _checked_for_vectors(context: typer.Context, vectors: str, side: str, output: str | None) -> str:
    from pairmine.cli.run import choice
    from pairmine.stages.score import SIDES

    choice("--side", side, tuple(SIDES))
    return _checked_for_columns(context, "--vectors", vectors, output)


def _checked_for_feedback(context: typer.Context, model: str, output: str | None) -> str:
    without_effect(context, "with --feedback", "side", "query_prompt")
    return _checked_for_columns(context, "--feedback", model, output)


def _checked_for_columns(context: typer.Context, flag: str, model: str, output: str | None) -> str:
    from pairmine.backends.specs import locate, parse_spec

    spec = parse_spec(model, ("st", "fake"), flag)
    without_effect(context, f"with {flag}", *own.refused_by("st"), *own.ROWS)
    if spec.kind == "st":
        locate(spec, flag)
    if output is None:
        raise PairmineError("missing option '--output' / '-o'")
    return output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(score)
