"""`pairmine dedup`: exact and near duplicates, and what is in a test set."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import typer

from pairmine.cli import dedup_options as own
from pairmine.cli import dedup_scale as scale
from pairmine.cli import dedup_semantic as semantics
from pairmine.cli import engine_options as engines
from pairmine.cli import options as shared
from pairmine.cli.run import Run, written
from pairmine.cli.store_options import DEFAULT, StorePath

if TYPE_CHECKING:
    from pairmine.cli.dedup_scale import Streamed
    from pairmine.cli.ray_run import RayEngine
    from pairmine.stages.dedup.against import Against
    from pairmine.stages.dedup.stage import Deduped


def dedup(
    context: typer.Context,
    source: own.Input,
    output: own.Output = None,
    by: own.By = "document",
    exact_only: own.ExactOnly = False,
    exact: own.Exact = "normalised",
    threshold: own.Threshold = 0.8,
    ngram: own.Ngram = 3,
    shingles: own.Shingles = "words",
    permutations: own.Permutations = 128,
    sentence_words: own.SentenceWords = 32,
    short_text_words: own.ShortTextWords = 80,
    group: own.Group = "chain",
    keep: own.Keep = "first",
    action: own.Action = "drop",
    groups_file: own.Groups = None,
    ids_only: own.IdsOnly = False,
    group_ids: own.GroupIds = False,
    spread_labels: own.SpreadLabels = False,
    merge: own.Merge = False,
    against: own.Against = None,
    against_side: own.AgainstSide = "both",
    against_split: own.AgainstSplit = None,
    against_column: own.AgainstColumn = None,
    containment: own.Containment = 0.5,
    whole_below: own.WholeBelow = 4,
    against_only: own.AgainstOnly = False,
    semantic: semantics.Semantic = None,
    cosine: semantics.Cosine = 0.95,
    store: StorePath = DEFAULT,
    memory: own.Memory = None,
    scratch: own.Scratch = None,
    index: own.Index = None,
    append: own.Append = True,
    workers: shared.Workers = 0,
    seed: shared.Seed = 0,
    engine: engines.Engine = "local",
    ray_address: engines.RayAddress = None,
    gpus_per_worker: engines.GpusPerWorker = 0.0,
    cpus_per_worker: engines.CpusPerWorker = 1.0,
    shard_rows: engines.ShardRows = engines.ROWS,
    work_folder: engines.WorkFolder = None,
    id_column: shared.IdColumn = None,
    text_column: shared.TextColumn = None,
    title_column: shared.TitleColumn = None,
    dry_run: own.DryRun = False,
    kind: shared.Format = None,
    rejects: shared.Rejects = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
) -> None:
    """Remove exact copies, then near copies found by MinHash and verified by exact Jaccard similarity.

    Before anything is built on a corpus, and with --against before anything is trained. One replaced word makes
    another statement out of a short text, so short texts are held to more. Each removed row names the row that it
    copies, the similarity and the reason. A file with queries and documents is taken for a pair set, anything else
    for a corpus.

    --against also removes what is in a test set: exact and near copies, and longer texts that hold
    enough of a test text. These rows leave first.

    \b
      pairmine dedup corpus.jsonl.gz --rejects copies.parquet -o corpus.parquet
      pairmine dedup pairs.parquet --by query -o pairs.dedup.parquet
      pairmine dedup pairs.parquet --spread-labels --merge --group-ids -o pairs.dedup.parquet
      pairmine dedup corpus.parquet --against eval/beir --against held-out.txt -o clean.parquet
    """
    from pairmine.cli.dedup_report import Nowhere, advise, largest_groups, report_near, warn
    from pairmine.cli.run import cores
    from pairmine.files.source import PairSource, open_either
    from pairmine.stages.dedup import dedup as remove_copies

    own.check(context)
    scale.check(context)
    semantics.check(context)
    ray = _engine(context)
    columns = {"id": id_column, "text": text_column, "title": title_column}
    large = scale.Scale(
        output, memory, scratch, index, append and not dry_run, is_memory_written=written(context, "memory")
    )
    with (
        ray or nullcontext(),
        large,
        Run(
            context,
            "" if dry_run else str(output),
            kind=kind,
            rejects=rejects,
            summary=summary,
            quiet=quiet,
            make_sink=Nowhere if dry_run else None,
            engine=ray,
        ) as run,
    ):
        groups_to = run.open_extra("--groups", groups_file) if groups_file else None
        opened = run.reads(open_either(source, run.say, pairs=by in ("pair", "query"), **columns), "source")
        test_sets = _open_eval_sets(run, context) if against else None
        if against and by != "pair" and isinstance(opened, PairSource):
            sides = {"document": ("documents", "queries"), "query": ("queries", "documents")}[by]
            run.say("--by {}: {} are held against the test sets; --by pair takes {} as well".format(by, *sides))
        options: dict[str, Any] = {
            "by": by,
            "near": not exact_only,
            "exact": exact,
            "threshold": threshold,
            "ngram": ngram,
            "unit": shingles.removesuffix("s"),
            "permutations": permutations,
            "sentence_words": sentence_words,
            "short_text_words": short_text_words,
            "group": group,
            "keep": keep,
            "action": action,
            "group_ids": group_ids,
            "ids_only": ids_only,
            "spread_labels": spread_labels,
            "merge": merge,
            "against": test_sets,
            "against_only": against_only,
            "meaning": semantics.open_meaning(run, context) if semantic else None,
            "workers": cores(workers),
            "seed": seed,
            "tell": run.say,
        }
        if ray:
            from pairmine.cli.dedup_shards import dedup_shards

            outcome: Streamed | Deduped = dedup_shards(ray, run, opened, options)
        elif (table := large.table(opened, options)) is None:
            outcome = large.stream(run, opened, options, scale.identity(context))
        else:
            outcome = remove_copies(table, **options)
            del table
            run.write(outcome)
        if groups_to is not None:
            groups_to.write(outcome.members())
        if not (exact_only or against_only):
            report_near(run, threshold, permutations)
        warn(run, outcome.giants, outcome.losses)
        advise(run, context.params)
        if dry_run:
            run.add_to_report([*largest_groups(outcome.choices), "dry run: nothing was written"])


def _engine(context: typer.Context) -> RayEngine | None:
    """The engine, None for the local one; raises a PairmineError for what Ray does not do."""
    from pairmine.cli.run import without_effect
    from pairmine.errors import PairmineError

    values = context.params
    if values["engine"] == "ray":
        for name, why in (("index", "is kept on one machine"), ("semantic", "holds the vectors of a whole corpus")):
            if values[name] is not None:
                raise PairmineError(f"--{name} {why}; leave out --engine ray")
        without_effect(context, "with --engine ray", "memory", "scratch")
        if values["by"] != "document":
            raise PairmineError(f"--by {values['by']} is for pair sets, and --engine ray dedups a corpus; leave it out")
    if not values["dry_run"]:
        without_effect(context, "without --dry-run, as all lies beside OUT", "work_folder")
        return engines.engine_of(context)
    return engines.engine_of(context, engines.place_without_output(context))


def _open_eval_sets(run: Run, context: typer.Context) -> Against:
    """The texts of every --against, read and indexed."""
    from pairmine.cli.run import cores, place_of
    from pairmine.errors import PairmineError
    from pairmine.files.eval_texts import EvalTexts, open_eval_texts
    from pairmine.stages.dedup.against import Against, EvalSet

    values: dict[str, Any] = context.params
    column = values["against_column"]
    sets: list[EvalSet] = []
    opened: list[EvalTexts] = []
    for path in values["against"]:
        if place_of(path) == place_of(values["source"]):
            raise PairmineError(
                f"--against {path}: is the input itself, of which nothing would be left; name a test set"
            )
        if place_of(path) in map(place_of, values["against"][: len(opened)]):
            raise PairmineError(f"--against {path}: comes twice; name each test set once")
        texts = open_eval_texts(
            path, run.say, sides=values["against_side"], split=values["against_split"], column=column
        )
        opened.append(run.reads(texts, "against"))
        table = texts.read()
        if not table.num_rows:
            raise PairmineError(f"--against {path}: holds no text to look for; name a test set, or leave it out")
        run.say(f"{path}: {texts.counted} to look for")
        sets.append(EvalSet(texts.name, table["id"].combine_chunks(), table["text"]))
    if column and not any(each.is_plain for each in opened):
        raise PairmineError("--against-column has no effect on BEIR folders and pair sets; leave it out")
    test_sets = Against(
        sets,
        threshold=None if values["exact_only"] else values["threshold"],
        ngram=values["ngram"],
        unit=values["shingles"].removesuffix("s"),
        containment=values["containment"],
        whole_below=values["whole_below"],
        exact=values["exact"],
        workers=cores(values["workers"]),
        tell=run.say,
    )
    if values["exact_only"]:
        run.say("--exact-only: test texts are found as exact copies alone, neither as near ones nor in longer texts")
    elif test_sets.short:
        run.say(f"{test_sets.short:,} of {len(test_sets):,} test texts are too short to be looked for inside of others")
    return test_sets


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(dedup)
