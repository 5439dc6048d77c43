"""`pairmine filter`: which candidates become negatives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from pairmine.cli import engine_options as engines
from pairmine.cli import filter_options as own
from pairmine.cli import options as shared
from pairmine.cli.run import Run

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.cli.filter_work import FilterWork
    from pairmine.cli.ray_run import RayEngine
    from pairmine.files.source import PairSource
    from pairmine.stages.filter.deciding import RuleCount


_NO_PROBABILITIES = ("score_dense", "score_bm25", "score_feedback", "score_llm")
"""Columns of which `mine` and `score` write other scales alone, which are summed as they are."""


def filter_(
    context: typer.Context,
    pairs: own.Pairs,
    output: shared.Output,
    by: own.By = None,
    negatives: own.Negatives = 5,
    pick: own.Pick = "random",
    no_pick: own.NoPick = False,
    pool: own.Pool = None,
    shortage: own.Shortage = "keep",
    relax_steps: own.RelaxSteps = 4,
    corpus: own.Corpus = None,
    seed: shared.Seed = 0,
    ranks: own.Ranks = None,
    drop_same_cluster: own.DropSameCluster = False,
    candidate_gate: own.CandidateGate = None,
    max_score: own.MaxScore = None,
    min_score: own.MinScore = None,
    anchor: own.Anchor = "min",
    absolute_margin: own.AbsoluteMargin = None,
    relative_margin: own.RelativeMargin = ["0.05"],  # noqa: B006
    no_relative_margin: own.NoRelativeMargin = False,
    suspects: own.Suspects = None,
    no_suspects: own.NoSuspects = False,
    suspects_pool: own.SuspectsPool = 200,
    suspects_by: own.SuspectsBy = None,
    skip: own.Skip = 0,
    min_positive_score: own.MinPositiveScore = None,
    consistency: own.Consistency = None,
    action: own.Action = None,
    exempt: own.Exempt = None,
    hold: own.Hold = None,
    complexity: own.Complexity = None,
    max_edit_ratio: own.MaxEditRatio = None,
    edit_distance: own.EditDistance = None,
    edits_of: own.EditsOf = None,
    swap_by: own.SwapBy = None,
    gate: own.Gate = None,
    curate: own.Curate = None,
    monotone: own.Monotone = None,
    weight: own.Weight = None,
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
    """Decide which candidates become negatives and what rows weigh; every other row leaves with a reason.

    After 'mine', and 'score' where there is one: they stored the scores, so trying another margin takes seconds.

    \b
    Order. Gates see what the ones before them left; rules each look at all that
    entered them, and a row leaves by the first that fires:
      every row    1 --complexity  2 --max-edit-ratio  3 --edit-distance
                   4 --swap-by  5 --gate  6 --curate  7 --monotone
      known        8 queries without a positive; copies of a positive, of the
                     query or of each other
      positives    9 min-positive-score  10 consistency
      candidates  11 ranks  12 cluster  13 gate-high  14 gate-middle
                  15 max-score  16 min-score  17 absolute-margin
                  18 relative-margin  19 suspects  20 skip
                  21 --pick and --negatives  22 --shortage
      kept rows   23 --weight
    9 to 20 are the names for --action. Negatives that were decided before obey
    none of them, but see --hold.
    With --no-pick 8, 20, 21 and 22 are left out, but a query that 1 to 7 leave
    without the positive it came with leaves too, and with gaussian-decay every
    query to which --gate gives none. Without a word on either, 19 acts where
    there is feedback and 18 where there is none; with --no-pick or --gate each
    acts where it is named alone.

    \b
      pairmine filter mined.parquet --negatives 7 --rejects rejected.parquet -o pairs.parquet
      pairmine filter scored.parquet --candidate-gate ce --action gate-high=relabel -o pairs.parquet
      pairmine filter scored.parquet --max-score ce:0.3 --relative-margin dense:0.05 -o pairs.parquet
      pairmine filter scored.parquet --pick simans:b=-0.05 --shortage relax+fill -o pairs.parquet
      pairmine filter scored.parquet --gate st:0.75:0.80 --weight gaussian-decay -o pairs.parquet
      pairmine filter graded.parquet --no-pick --weight ordinal -o weighed.parquet
    """
    from pairmine.cli.filter_report import report_rules
    from pairmine.cli.filter_work import Choosing, FilterWork
    from pairmine.cli.run import given, without_effect
    from pairmine.errors import PairmineError
    from pairmine.files.source import open_pairs
    from pairmine.schema import FEEDBACK
    from pairmine.stages.filter import looks_at_all, takes_by
    from pairmine.stages.filter.rules import SUSPECTS, usual_columns

    own.check(
        context,
        pick=None if no_pick else pick,
        negatives=negatives,
        pool=pool,
        shortage=shortage,
        corpus=corpus,
        no_relative_margin=no_relative_margin,
        no_suspects=no_suspects,
        suspects_pool=suspects_pool,
        gate=gate if not hold else None,
        edits=max_edit_ratio is not None or edit_distance is not None,
    )
    if by is not None and not by.startswith("score_"):
        by = f"score_{by}"
    decides = not (no_pick or gate)
    held = given(context, "relative_margin") or (decides and not no_relative_margin)
    margins = relative_margin if held else []
    told = _take_by(margins if given(context, "relative_margin") else None, absolute_margin, max_score, min_score)
    told |= _take_by(min_positive_score, consistency)
    wanted = _ends("--ranks", ranks, "11:50, 11: or :50")
    edits = _ends("--edit-distance", edit_distance, "1:4, 1: or :4")
    summed = own.names("--suspects-by", suspects_by)
    weights = weight or []
    if no_pick and by is not None and not (told or suspects is not None or takes_by(weights)):
        raise PairmineError(
            "--by has no effect with --no-pick, since no margin, score limit or weight asks for it; leave one out"
        )
    own_fillers = "fill" in shortage and corpus is None
    settings = {
        "absolute_margin": absolute_margin,
        "max_score": max_score,
        "min_score": min_score,
        "ranks": wanted,
        "negatives": negatives,
        "pick": None if no_pick else pick,
        "pool": pool,
        "shortage": shortage,
        "relax_steps": relax_steps,
        "seed": seed,
        "complexity": complexity,
        "max_edit_ratio": max_edit_ratio,
        "edit_distance": edits,
        "edits_of": edits_of,
        "swap_by": swap_by,
        "gate": gate,
        "curate": curate,
        "monotone": monotone,
        "drop_same_cluster": drop_same_cluster,
        "weights": weights,
        "anchor": anchor,
        "min_positive_score": min_positive_score,
        "consistency": consistency,
        "candidate_gate": candidate_gate,
        "suspects_pool": suspects_pool,
        "suspects_by": summed,
        "skip": skip,
        "actions": action or [],
        "exempt": exempt or [],
        "hold": hold or [],
    }

    def settle(run: Run, first: pa.Table) -> FilterWork:
        """The work, now that the first rows say what columns there are."""
        usual = decides and not no_suspects and FEEDBACK in first.column_names
        choosing = Choosing(candidate_gate, told, decides, usual or suspects is not None)
        column = choosing.by(first) if by is None else by
        if by is None and column and choosing.is_worth_saying:
            run.say(f"deciding by {column}")
        suspected = SUSPECTS if suspects is None and usual and column else suspects
        if suspected is None:
            without_effect(context, "without --suspects", "suspects_pool", "suspects_by")
        held_to = margins if suspected is None or given(context, "relative_margin") else []
        own.check_anchor(context, held_to or absolute_margin, None if no_pick or gate else pick)
        if suspected is not None:
            _say_suspects(run, first.schema, summed or usual_columns(first.schema, column or ""))
        return FilterWork(settings, choosing, column, suspected, held_to)

    whole = own_fillers or looks_at_all(None if no_pick else pick, weights)
    cluster = engines.engine_of(context)
    with (
        cluster or nullcontext(),
        Run(context, output, kind=kind, rejects=rejects, summary=summary, quiet=quiet, engine=cluster) as run,
    ):
        source = run.reads(open_pairs(pairs, run.say), "pairs")
        with _named(source):
            if cluster:
                counts = _on_cluster(cluster, run, source, settle, corpus, own_fillers=own_fillers)
            else:
                fillers = _fillers(run, corpus) if corpus else None
                counts = _here(run, source, settle, fillers, whole=whole, own_fillers=own_fillers)
        report_rules(run, counts)
        _advise(run, negatives, shortage)
        _say_unmatched(run, exempt, hold)


@contextmanager
def _named(source: PairSource) -> Iterator[None]:
    """A stage knows columns and rows; what it says of these gets the name of their file here."""
    from pairmine.errors import PairmineError

    try:
        yield
    except PairmineError as error:
        line = str(error)
        if source.name in line or not _OF_COLUMNS.search(line):
            raise
        raise PairmineError(f"{source.name}: {line}", exit_code=error.exit_code) from error


_OF_COLUMNS = re.compile(r"^(?:no column |no score column |several score columns |column \S+ holds )|\d rows have no ")


def _here(
    run: Run,
    source: PairSource,
    settle: Callable[[Run, pa.Table], FilterWork],
    fillers: pa.Table | None,
    *,
    whole: bool,
    own_fillers: bool,
) -> list[RuleCount]:
    """Filter in this process, a chunk of whole queries at a time or all at once; what the rules did."""
    from pairmine.cli.ahead import ahead
    from pairmine.cli.filter_fillers import own_fillers as fillers_of
    from pairmine.stages.filter.deciding import add_up

    counts: list[RuleCount] = []
    pieces = source.chunks(unified=False)
    chunks: Iterator[pa.Table] = iter([source.read()]) if whole else pieces if source.path == "-" else ahead(pieces)
    advance = run.begin("rows")
    work: FilterWork | None = None
    for chunk in chunks:
        if work is None:
            work = settle(run, chunk)
        outcome = work.decide(chunk, fillers_of(chunk) if own_fillers else fillers)
        run.write(outcome)
        counts = add_up([counts, outcome.rules])
        advance(chunk.num_rows)
    return counts


def _on_cluster(
    engine: RayEngine,
    run: Run,
    source: PairSource,
    settle: Callable[[Run, pa.Table], FilterWork],
    corpus: str | None,
    *,
    own_fillers: bool,
) -> list[RuleCount]:
    """Filter shard by shard on a cluster; what the rules did."""
    from pairmine.cli.filter_compared import compare_all
    from pairmine.cli.filter_fillers import files_of_corpus, files_of_pairs
    from pairmine.cli.filter_work import of_sums, tables_of
    from pairmine.files.source import open_documents

    pieces = engine.pieces(run, source)
    work = settle(run, next(tables_of(pieces[0])))
    if corpus:
        documents = run.reads(open_documents(corpus, run.say), "corpus")
        work = replace(work, fillers=files_of_corpus(engine, run, engine.pieces(run, documents)))
    elif own_fillers:
        work = replace(work, fillers=files_of_pairs(engine, run, pieces))
    if works := work.comparing():
        work = replace(work, whole=True, compared=compare_all(engine, run, pieces, works))
    return of_sums(engine.write(run, pieces, work))


def _advise(run: Run, negatives: int, shortage: str) -> None:
    """Say what to try when a rule starves most queries; nothing where they are filled."""
    if "fill" in shortage:
        return
    counts = run.counts()
    short = counts.get("notes", {}).get(f"queries with fewer than {negatives} negatives", 0)
    rules = {why: n for why, n in counts["rejected"].items() if why.startswith(("within", "score", "rank"))}
    if rules and short and sum(rules.values()) > counts["rows_in"] / 2:
        worst = max(rules, key=lambda why: rules[why])
        run.say(
            f'{short:,} queries are short of negatives, and "{worst}" took {rules[worst]:,} candidates; a better score '
            "('pairmine score --scorer ce:MODEL', --by), another margin or --shortage fill would keep more"
        )


def _say_unmatched(run: Run, exempt: list[str] | None, hold: list[str] | None) -> None:
    """Say so where a pattern of origins fits none of the rows that it is for."""
    from pairmine.stages.filter.deciding import EXEMPT, HELD

    notes = run.counts().get("notes", {})
    for flag, patterns, what in (("--exempt", exempt, EXEMPT), ("--hold", hold, HELD)):
        if patterns and not notes.get(what):
            run.say(f"{flag} {', '.join(patterns)}: fits the origin of no such row; 'pairmine stats' shows the origins")


def _say_suspects(run: Run, schema: pa.Schema, summed: Sequence[str]) -> None:
    """Say what suspects are told by, and where it may be probabilities and nothing says so: the sum is another then."""
    from pairmine.schema import SCORE_PREFIX, scale_of

    run.say(f"suspects are told by {', '.join(name.removeprefix(SCORE_PREFIX) for name in summed)}")
    for name in {column if column in schema.names else SCORE_PREFIX + column: None for column in summed}:
        if name not in _NO_PROBABILITIES and name in schema.names and scale_of(schema.field(name)) is None:
            run.say(
                f"{name} comes without a scale, which jsonl, csv and tsv do not hold: --suspects sums it as it is, "
                "where it takes the logits of probabilities; keep sets as parquet between commands"
            )


def _take_by(*limits: list[str] | None) -> bool:
    """Whether any of these thresholds names no column, so that it is one on the column that decides."""
    return any(":" not in text for texts in limits for text in texts or ())


def _ends(flag: str, text: str | None, example: str) -> tuple[int | None, int | None] | None:
    """Two whole numbers with a colon between them, either of which may be left out."""
    from pairmine.errors import PairmineError

    if text is None:
        return None
    low, colon, high = text.partition(":")
    if not colon or not (low + high) or not all((end or "0").isdecimal() for end in (low, high)):
        raise PairmineError(f"{flag} {text}: write it as {example}")
    return (int(low) if low else None), (int(high) if high else None)


def _fillers(run: Run, corpus: str) -> pa.Table:
    from pairmine.cli.filter_fillers import corpus_fillers
    from pairmine.files.source import open_documents

    return corpus_fillers(run.reads(open_documents(corpus, run.say), "corpus").read())


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("filter")(filter_)
