"""`pairmine export`: training files for one trainer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from pairmine.cli import engine_options as engines
from pairmine.cli import export_split, publish
from pairmine.cli import options as shared
from pairmine.cli.ahead import ahead
from pairmine.cli.run import Run

if TYPE_CHECKING:
    from pairmine.cli.ray_run import RayEngine
    from pairmine.files.sharded import PartedOutput
    from pairmine.files.source import PairSource
    from pairmine.stages.export import Survey, Target


def export(
    context: typer.Context,
    pairs: Annotated[
        str | None, typer.Argument(help="Decided pair set: a file, a folder of shards, or -.", show_default=False)
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="OUT", help="File or folder to write; - is standard output.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Trainer format; --list explains each.")] = None,
    negatives: Annotated[
        int | None,
        typer.Option(
            "--negatives",
            min=1,
            help="Negatives per row, the first ones. Where each row needs as many: the most that a query has.",
        ),
    ] = None,
    positives: Annotated[
        str, typer.Option("--positives", help="each: rows for every positive; first: for a query's first one.")
    ] = "each",
    scores: Annotated[
        str | None,
        typer.Option(
            "--scores", help="Score column to write beside the texts, or grade, where the format has a place for it."
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Instruction to write into every row, where the format has one.")
    ] = None,
    passage_prompt: Annotated[
        str | None, typer.Option("--passage-prompt", help="Instruction for documents, where the format has one.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="The type of FlagEmbedding's rows: normal, symmetric_class, symmetric_sts, ..."),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(
            "--corpus", metavar="FILE", help="Write all of these documents too, where the format holds a corpus."
        ),
    ] = None,
    sidecar: Annotated[
        str | None,
        typer.Option(
            "--sidecar",
            help="Ids, origins, scores, weights, batch of every training row; OUT.ids.parquet by default, or 'none'. "
            "A folder has none unless you name one.",
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the formats by trainer.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="With --list: as JSON.")] = False,
    split: export_split.Split = None,
    card: publish.Card = None,
    license_: publish.License = None,
    languages: publish.Languages = None,
    push_to: publish.PushTo = None,
    private: publish.Private = False,
    dry_run: publish.DryRun = False,
    engine: engines.Engine = "local",
    ray_address: engines.RayAddress = None,
    gpus_per_worker: engines.GpusPerWorker = 0.0,
    cpus_per_worker: engines.CpusPerWorker = 1.0,
    shard_rows: engines.ShardRows = engines.ROWS,
    kind: shared.Format = None,
    rejects: shared.Rejects = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
) -> None:
    """Write a pair set in the shape that a trainer reads: texts alone, in the trainer's column order.

    The last step; --list explains each format. Trainers take columns by order and read ids as text, so ids, origins
    and scores go into a file of their own, row by row. Rows keep their order, that of a batch plan too: row by row
    the sidecar says in which `batch` the plan puts it, and it holds the `weight` of each pair, since no trainer
    here has a place for either.

    Some trainers read several files, by id: then OUT is a folder, with a card that names its tables.

    \b
      pairmine export pairs.parquet --to st-ntuple -o train.parquet
      pairmine export pairs.parquet --to st-scores --scores ce --negatives 7 -o train.parquet
      pairmine export pairs.parquet --to beir --corpus corpus.parquet -o eval --push-to me/eval --private
    """
    import sys

    from pairmine.cli.export_output import Destination, refused_in
    from pairmine.cli.export_shards import check_target, is_planned, moved
    from pairmine.cli.run import choice
    from pairmine.errors import PairmineError
    from pairmine.files.locations import format_of
    from pairmine.files.source import open_documents, open_pairs
    from pairmine.stages.export import export as reshape
    from pairmine.stages.export import find_target
    from pairmine.stages.export.requirements import check_options, why_none

    if json_ and not list_:
        raise PairmineError("--json has no effect without --list; leave one of them out, or add the other")
    if list_:
        from pairmine.cli.export_list import as_json, listed

        sys.stdout.write(as_json() if json_ else listed())
        return
    missing = [flag for flag, value in (("PAIRS", pairs), ("-o", output), ("--to", to)) if not value]
    if missing or pairs is None or output is None or to is None:
        raise PairmineError(f"export needs {', '.join(missing)}; see 'pairmine export --help' or --list")
    choice("--positives", positives, ("each", "first"))
    target = find_target(to)
    words: dict[str, Any] = {
        "negatives": negatives,
        "scores": scores,
        "prompt": prompt,
        "passage_prompt": passage_prompt,
        "task": task,
    }
    check_options(target, {name.replace("_", "-"): value for name, value in words.items()}, positives)
    if output == "-" and kind is None and "arrow" not in target.formats:
        kind = target.formats[0]
    cluster = engines.engine_of(context)
    if cluster:
        check_target(target, output, push_to)
        kind = kind or (None if format_of(output) else target.formats[0])
    _check_format(target, output, kind, in_parts=cluster is not None)
    if corpus and not target.corpus:
        raise PairmineError(f"--corpus has no effect on {to}: it holds no corpus")
    destination = Destination(target, prompt)
    beside = None if sidecar == "none" else sidecar or destination.sidecar_of(output, in_parts=cluster is not None)
    others = {"--sidecar": beside, "--rejects": rejects, "--summary": summary, "--card": card}
    destination.keep_out(output, {"PAIRS": pairs, "--corpus": corpus} | others)
    publication = publish.Publication(context, target, output, beside, destination)
    with (
        cluster or nullcontext(),
        Run(
            context,
            output,
            kind=kind,
            rejects=rejects,
            summary=summary,
            quiet=quiet,
            units=("pair rows", "training rows"),
            make_sink=destination.maker(cluster),
            engine=cluster,
        ) as run,
    ):
        publication.join(run)
        source = run.reads(open_pairs(pairs, run.say, replay=True), "pairs")
        only = export_split.Only(split, source.name)
        if cluster:
            survey, planned = _in_shards(cluster, run, source, target, words, positives, only, split, beside)
            publication.look_through(destination.parts())
        else:
            whole = run.reads(open_documents(corpus, run.say), "corpus") if corpus else None
            survey = _survey(source, target, words, positives, only)
            extra = run.open_extra("--sidecar", beside) if beside else None
            advance = run.begin("pair rows", survey.rows)
            planned = False
            for chunk in ahead(only.rows(source.chunks())):
                with refused_in(source.name):
                    exported = reshape(
                        chunk, to=to, survey=survey, positives=positives, shared=destination.shared, **words
                    )
                if extra is not None:
                    extra.write(moved(exported.sidecar, run.counts()["rows_out"]))
                run.write(exported.outcome)
                destination.put(exported)
                publication.look(exported.outcome.kept)
                planned |= is_planned(chunk)
                advance(chunk.num_rows)
        written = run.counts()["rows_out"]
        if not written:
            raise PairmineError(f"{pairs}: no training row for {to} comes out of it; {why_none(target, survey)}")
        if not cluster and whole is not None:
            destination.add_corpus(whole.each(), whole.name)
        destination.tell(run)
        _hint(run, target, survey, negatives)
        if planned and written > survey.queries:
            run.say(
                f"{written:,} training rows of {survey.queries:,} planned queries: those of a query stand together, "
                "so its batch is longer and repeats its positive; a format with one row to a query keeps the plan"
            )
    publication.push()


def _in_shards(
    engine: RayEngine,
    run: Run,
    source: PairSource,
    target: Target,
    words: Mapping[str, Any],
    positives: str,
    only: export_split.Only,
    split: str | None,
    sidecar: str | None,
) -> tuple[Survey, bool]:
    """Export shard by shard on a cluster; the counts, and whether batches are planned."""
    from pairmine.cli.export_shards import ExportWork, Surveying, number_sidecar, survey_shards
    from pairmine.stages.export.requirements import column_of

    pieces = engine.pieces(run, source)
    scores = column_of(words["scores"]) if words["scores"] else None
    making = Surveying(scores, target.name, split, source.name)
    survey, planned = survey_shards(engine, run, pieces, making, only)
    _check(source, target, words, positives, survey)
    numbered = run.open_extra("--sidecar", sidecar) if sidecar else None
    work = ExportWork(target.name, survey, positives, words, split, source.name)
    engine.write(run, pieces, work, what="pair rows")
    if numbered:
        number_sidecar(engine, cast("PartedOutput", numbered))
    return survey, planned


def _survey(
    source: PairSource, target: Target, words: Mapping[str, Any], positives: str, only: export_split.Only
) -> Survey:
    """Count the rows and check them for what the format needs, before anything is written."""
    from pairmine.stages.export.requirements import column_of
    from pairmine.stages.export.survey import Surveyor

    scores = words["scores"]
    surveyor = Surveyor(column_of(scores) if scores else None, target.unreadable)
    for table in only.rows(source.survey()):
        surveyor.add(table)
    survey = surveyor.result()
    _check(source, target, words, positives, survey)
    return survey


def _check(source: PairSource, target: Target, words: Mapping[str, Any], positives: str, survey: Survey) -> None:
    """Raise a PairmineError where the format needs what the counts say is not there."""
    from pairmine.cli.export_output import refused_in
    from pairmine.stages.export.requirements import check_survey, score_column

    scores = words["scores"]
    with refused_in(source.name):
        column = score_column(scores, survey.score_columns) if scores else None
        check_survey(target, survey, negatives=words["negatives"], first_positive=positives == "first", scores=column)


def _check_format(target: Target, output: str, kind: str | None, *, in_parts: bool) -> None:
    """Raise a PairmineError for a file that the trainer does not open; a folder has its parts named as it wants."""
    from pairmine.errors import PairmineError
    from pairmine.files.locations import format_of

    known = format_of(output)
    chosen = kind or (known[0] if known else None)
    if target.fill or target.formats == ("json",):  # made by sinks of their own
        chosen = None
    if chosen is not None and chosen not in target.formats:
        remedy = "pass another --format" if kind else "change the ending"
        raise PairmineError(f"{output}: {target.trainer} reads {' or '.join(target.formats)}, not {chosen}; {remedy}")
    name = f"{output}.{kind}" if in_parts and known is None else output
    if output != "-" and target.endings and not name.endswith(target.endings):
        raise PairmineError(
            f"{output}: {target.trainer} opens files that end in {' or '.join(target.endings)} alone; name it so"
        )
    if target.not_in_name and target.not_in_name in output:
        raise PairmineError(
            f'{output}: {target.trainer} takes a file with "{target.not_in_name}" in its name for one parted by tabs; '
            "give it another name"
        )


def _hint(run: Run, target: Target, survey: Survey, negatives: int | None) -> None:
    """Say how many queries fall short of the width of a row, and what would keep them."""
    if target.needs != "equal negatives":
        return
    wanted = negatives or survey.most_negatives
    kept = survey.queries_with(wanted)
    able = {n: survey.queries_with(n) for n in survey.negatives if 0 < n < wanted}
    better = max(able, key=lambda n: able[n] * n, default=0)
    if better and able[better] > kept:
        run.say(
            f"{kept:,} queries have {wanted} negatives; --negatives {better} would keep {able[better]:,}, "
            "'pairmine filter --shortage fill' all"
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)
