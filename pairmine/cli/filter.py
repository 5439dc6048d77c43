"""`pairmine filter`: which candidates become negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli import options as shared
from pairmine.cli.run import Run

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.stages.filter.deciding import RuleCount

_RULES = "Rules for candidates"
_LIMIT = "[COLUMN:]X"
_MORE = "What rules act on, and how"
_POSITIVES = "Rules for positives"
_GATES = "Gates and text rules, for every row"


def filter_(
    context: typer.Context,
    pairs: Annotated[
        str, typer.Argument(help="Pair set with candidates: a file, a folder of shards, or -.", show_default=False)
    ],
    output: shared.Output,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            help="Score column that decides, as ce or score_ce; by default ce, llm, dense or the only one.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    anchor: Annotated[
        str,
        typer.Option(
            "--anchor",
            metavar="min|median|mean|max|SHARE",
            help="Which score of a query's positives the margins are held to; 0.25 is a quantile.",
            rich_help_panel=_RULES,
        ),
    ] = "min",
    relative_margin: Annotated[
        list[str],
        typer.Option(
            "--relative-margin",
            metavar=_LIMIT,
            help="Reject a candidate above s - |s|*X, s the --anchor of its query's positives (0.05: arXiv 2407.15831; "
            "with --gate or --no-pick only where you name it). Repeat it, here and below, for further columns.",
            rich_help_panel=_RULES,
        ),
    ] = ["0.05"],  # noqa: B006
    no_relative_margin: Annotated[
        bool, typer.Option("--no-relative-margin", help="Leave that rule out.", rich_help_panel=_RULES)
    ] = False,
    absolute_margin: Annotated[
        list[str] | None,
        typer.Option(
            "--absolute-margin", metavar=_LIMIT, help="Reject a candidate above s - X.", rich_help_panel=_RULES
        ),
    ] = None,
    max_score: Annotated[
        list[str] | None,
        typer.Option(
            "--max-score", metavar=_LIMIT, help="Reject a candidate that scores above X.", rich_help_panel=_RULES
        ),
    ] = None,
    min_score: Annotated[
        list[str] | None,
        typer.Option(
            "--min-score", metavar=_LIMIT, help="Reject a candidate that scores below X.", rich_help_panel=_RULES
        ),
    ] = None,
    candidate_gate: Annotated[
        str | None,
        typer.Option(
            "--candidate-gate",
            metavar="COLUMN[:LOW:HIGH][:judge=COLUMN:T]",
            help="Reject candidates from HIGH on, which may be positives, and those between LOW and HIGH, or have a "
            "judge's score decide these (RocketQA, arXiv 2010.08191: ce:0.1:0.9, the default for ce).",
            rich_help_panel=_RULES,
        ),
    ] = None,
    suspects: Annotated[
        float | None,
        typer.Option(
            "--suspects",
            metavar="N",
            help="Of each query's best candidates reject the N, times the root of its number of positives, that are "
            "riskiest: high in score and near the known positives (10 where 'mine' wrote score_feedback, and then no "
            "margin unless you name one; ours).",
            rich_help_panel=_RULES,
        ),
    ] = None,
    no_suspects: Annotated[
        bool, typer.Option("--no-suspects", help="Leave that rule out.", rich_help_panel=_RULES)
    ] = False,
    suspects_pool: Annotated[
        int,
        typer.Option(
            "--suspects-pool", min=1, help="How many of a query's best candidates it looks at.", rich_help_panel=_RULES
        ),
    ] = 200,
    suspects_by: Annotated[
        str | None,
        typer.Option(
            "--suspects-by",
            metavar="COLUMN,COLUMN",
            help="What is summed, each within its query in standard deviations from the mean; the first tells which "
            "are best (the column that decides, and feedback).",
            rich_help_panel=_RULES,
        ),
    ] = None,
    skip: Annotated[
        int,
        typer.Option(
            "--skip", min=0, help="Reject the N best that the rules leave to each query.", rich_help_panel=_RULES
        ),
    ] = 0,
    ranks: Annotated[
        str | None,
        typer.Option(
            "--ranks",
            metavar="A:B",
            help="Keep candidates of these ranks, as 11:50, 11: or :50.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    drop_same_cluster: Annotated[
        bool,
        typer.Option(
            "--drop-same-cluster",
            help="Reject a candidate of a cluster that a positive of its query is in ('cluster' column, by 'mine').",
            rich_help_panel=_RULES,
        ),
    ] = False,
    min_positive_score: Annotated[
        list[str] | None,
        typer.Option(
            "--min-positive-score",
            metavar=_LIMIT,
            help="Reject a positive that scores below X.",
            rich_help_panel=_POSITIVES,
        ),
    ] = None,
    consistency: Annotated[
        list[str] | None,
        typer.Option(
            "--consistency",
            metavar="[COLUMN:]K",
            help="Reject a positive that K candidates of its query, or more, outscore (contrastors, arXiv 2402.01613).",
            rich_help_panel=_POSITIVES,
        ),
    ] = None,
    action: Annotated[
        list[str] | None,
        typer.Option(
            "--action",
            metavar="RULE=ACTION",
            help="drop; relabel: make it a positive (RLHN, arXiv 2505.16967); weight[:F]: multiply its weight by F "
            "(0.5: ours) and go on; keep: count it alone. As in gate-high=relabel. Repeat it for further rules.",
            rich_help_panel=_MORE,
        ),
    ] = None,
    exempt: Annotated[
        list[str] | None,
        typer.Option(
            "--exempt",
            metavar="ORIGIN",
            help="No rule acts on candidates of this origin, as 'generate:*'; what would have gone is counted.",
            rich_help_panel=_MORE,
        ),
    ] = None,
    hold: Annotated[
        list[str] | None,
        typer.Option(
            "--hold",
            metavar="ORIGIN",
            help="Negatives of this origin, decided before, are candidates again: to clean a set from elsewhere.",
            rich_help_panel=_MORE,
        ),
    ] = None,
    swap_by: Annotated[
        str | None,
        typer.Option(
            "--swap-by",
            metavar="COLUMN",
            help="Swap a positive and a negative of one query where the negative scores higher (MultiCSR).",
            rich_help_panel=_GATES,
        ),
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option(
            "--gate",
            metavar="COLUMN:LOW:HIGH",
            help="Below LOW a row is a negative, from HIGH on a positive, whatever it was meant to be; between, it "
            "leaves (GCSE, arXiv 2409.12887: st:0.75:0.80).",
            rich_help_panel=_GATES,
        ),
    ] = None,
    curate: Annotated[
        str | None,
        typer.Option(
            "--curate",
            metavar="COLUMN:LOW:HIGH",
            help="Positives below HIGH leave, negatives above LOW or not below their positive "
            "(MultiCSR, 3 of 5 for both: llm:0.6:0.6).",
            rich_help_panel=_GATES,
        ),
    ] = None,
    monotone: Annotated[
        str | None,
        typer.Option(
            "--monotone",
            metavar="COLUMN[:TOLERANCE[:cut]]",
            help="Drop queries whose rows, by rank or falling grade, rise in score by more than TOLERANCE (0), or cut "
            "them there.",
            rich_help_panel=_GATES,
        ),
    ] = None,
    complexity: Annotated[
        str | None,
        typer.Option(
            "--complexity",
            metavar="WORDS[:CLAUSES]",
            help="Reject documents of fewer words or clauses (5 is our choice, the idea DiHT's, arXiv 2301.02280).",
            rich_help_panel=_GATES,
        ),
    ] = None,
    max_edit_ratio: Annotated[
        float | None,
        typer.Option(
            "--max-edit-ratio",
            metavar="RATIO",
            help="Reject a positive that shares more than this part of its characters with the query (0.99: Polish "
            "mined paraphrases).",
            rich_help_panel=_GATES,
        ),
    ] = None,
    edit_distance: Annotated[
        str | None,
        typer.Option(
            "--edit-distance",
            metavar="A:B",
            help="Keep negatives that are this many words from the query, as 1:4, 1: or :4 (minimal edits).",
            rich_help_panel=_GATES,
        ),
    ] = None,
    edits_of: Annotated[
        str | None,
        typer.Option(
            "--edits-of",
            help="Have those two look at positives, negatives or all, not each at its own.",
            rich_help_panel=_GATES,
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight",
            metavar="NAME[:key=value,...]",
            help="Fill the column 'weight'; several multiply, and so does one that is there. punish-similar "
            "(phi=0.9), gaussian-decay (sigma=0.17), inverse-propensity (bins=10,bands=5,max=5), ordinal (tau=0.5), "
            "importance (temperature=0.1); by=COLUMN for each.",
        ),
    ] = None,
    negatives: Annotated[
        int, typer.Option("--negatives", min=1, help="Negatives per query (5: our default, after arXiv 2505.16967).")
    ] = 5,
    pick: Annotated[
        str,
        typer.Option(
            "--pick",
            metavar="NAME[:key=value,...]",
            help="top: the highest scores; random: a sample of the best (pool=10, arXiv 2407.15831); simans: a sample "
            "near what the positives score (a=200,b=0; arXiv 2210.11773 has a=0.5 for dot products); softmax "
            "(temperature=0.05); stratified: one of each stratum of the ranks (pool=50,strata=negatives); mmr: unlike "
            "each other (lambda=0.7,pool=50); cluster: the best of each in turn; inverse-propensity: a sample with "
            "odds for pairs whose look is rare for their score (pool=10). pool=N for each but top.",
        ),
    ] = "random",
    no_pick: Annotated[
        bool,
        typer.Option(
            "--no-pick",
            help="Choose nothing: rows keep their labels, and leave by the rules, gates and margins named alone "
            "(graded pairs, complete triplets); so does a query that loses its last positive to them.",
        ),
    ] = False,
    pool: Annotated[
        int | None,
        typer.Option(
            "--pool",
            min=1,
            help="How many of the best survivors --pick looks at; each has its own default.",
            show_default=False,
        ),
    ] = None,
    shortage: Annotated[
        str,
        typer.Option(
            "--shortage",
            metavar="keep|drop|fill|relax|relax+drop|relax+fill",
            help="A query with too few: keep it short, drop it, fill it with random documents, or relax: give it back "
            "what ranks, score limits, margins or suspects rejected, the nearest misses first.",
        ),
    ] = "keep",
    relax_steps: Annotated[
        int,
        typer.Option(
            "--relax-steps",
            min=1,
            max=100,
            metavar="N",
            help="How far --shortage relax goes: each step moves a rule by a quarter of its own number, so that 4 make "
            "a margin 0 and double a --max-score (ours).",
        ),
    ] = 4,
    corpus: Annotated[
        str | None,
        typer.Option(
            "--corpus", help="Where --shortage fill takes documents; the pair set's own without it.", show_default=False
        ),
    ] = None,
    seed: shared.Seed = 0,
    kind: shared.Format = None,
    rejects: shared.Rejects = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
) -> None:
    """Decide which candidates become negatives and what rows weigh; every other row leaves with a reason.

    Trying another margin takes seconds, since scores were stored by 'mine' and 'score'.

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
    from pairmine.cli.ahead import ahead
    from pairmine.cli.filter_report import report_rules
    from pairmine.cli.run import choice, given, without_effect
    from pairmine.errors import PairmineError
    from pairmine.files.source import open_pairs
    from pairmine.schema import FEEDBACK
    from pairmine.stages.filter import filter_pairs, looks_at_all, takes_by
    from pairmine.stages.filter.deciding import add_up
    from pairmine.stages.filter.picks import PICKS
    from pairmine.stages.filter.rules import SUSPECTS
    from pairmine.stages.filter.shortage import SHORTAGES

    choice("--pick", pick.partition(":")[0], tuple(PICKS))
    choice("--shortage", shortage, SHORTAGES)
    if "relax" not in shortage:
        without_effect(context, f"with --shortage {shortage}", "relax_steps")
    if corpus and "fill" not in shortage:
        raise PairmineError("--corpus has an effect with --shortage fill alone")
    if no_relative_margin:
        without_effect(context, "with --no-relative-margin", "relative_margin")
    if no_suspects:
        without_effect(context, "with --no-suspects", "suspects", "suspects_pool", "suspects_by")
    if no_pick:
        without_effect(context, "with --no-pick", "pick", "pool", "negatives", "shortage", "skip", "seed")
    else:
        _check_pool(context, pick, pool, negatives)
    if edits_of and max_edit_ratio is None and edit_distance is None:
        raise PairmineError("--edits-of has an effect with --max-edit-ratio or --edit-distance alone")
    if by is not None and not by.startswith("score_"):
        by = f"score_{by}"
    decides = not (no_pick or gate)
    held = given(context, "relative_margin") or (decides and not no_relative_margin)
    margins = relative_margin if held else []
    told = _take_by(margins if given(context, "relative_margin") else None, absolute_margin, max_score, min_score)
    told |= _take_by(min_positive_score, consistency) or suspects is not None
    wanted = _ends("--ranks", ranks, "11:50, 11: or :50")
    edits = _ends("--edit-distance", edit_distance, "1:4, 1: or :4")
    weights = weight or []
    if no_pick and by is not None and not (told or takes_by(weights)):
        raise PairmineError(
            "--by has no effect with --no-pick, since no margin, score limit or weight asks for it; leave one out"
        )
    own_fillers = "fill" in shortage and corpus is None
    whole = own_fillers or looks_at_all(None if no_pick else pick, weights)
    with Run(context, output, kind=kind, rejects=rejects, summary=summary, quiet=quiet) as run:
        source = run.reads(open_pairs(pairs, run.say), "pairs")
        fillers = _fillers(run, corpus) if corpus else None
        counts: list[RuleCount] = []
        chunks = [source.read()] if whole else source.chunks() if pairs == "-" else ahead(source.chunks())
        advance = run.begin("rows")
        for chunk in chunks:
            if by is None:
                by = _by(run, chunk, told=told, decides=decides)
            if suspects is None and decides and by and not no_suspects and FEEDBACK in chunk.column_names:
                suspects = SUSPECTS
            if suspects is None:
                without_effect(context, "without --suspects", "suspects_pool", "suspects_by")
            elif not given(context, "relative_margin"):
                margins = []
            if own_fillers:
                fillers = _own_fillers(chunk)
            outcome = filter_pairs(
                chunk,
                by=by,
                relative_margin=[margin for margin in margins if by or ":" in margin],
                absolute_margin=absolute_margin,
                max_score=max_score,
                min_score=min_score,
                ranks=wanted,
                negatives=negatives,
                pick=None if no_pick else pick,
                pool=pool,
                shortage=shortage,
                relax_steps=relax_steps,
                fillers=fillers,
                seed=seed,
                complexity=complexity,
                max_edit_ratio=max_edit_ratio,
                edit_distance=edits,
                edits_of=edits_of,
                swap_by=swap_by,
                gate=gate,
                curate=curate,
                monotone=monotone,
                drop_same_cluster=drop_same_cluster,
                weights=weights,
                anchor=anchor,
                min_positive_score=min_positive_score,
                consistency=consistency,
                candidate_gate=candidate_gate,
                suspects=suspects,
                suspects_pool=suspects_pool,
                suspects_by=suspects_by.split(",") if suspects_by else [],
                skip=skip,
                actions=action or [],
                exempt=exempt or [],
                hold=hold or [],
            )
            run.write(outcome)
            counts = add_up([counts, outcome.rules])
            advance(chunk.num_rows)
        report_rules(run, counts)
        _advise(run, negatives)
        _say_unmatched(run, exempt, hold)


def _check_pool(context: typer.Context, pick: str, pool: int | None, negatives: int) -> None:
    """Raise a PairmineError for a pool that has no effect, or is smaller than what is picked from it."""
    from pairmine.cli.run import given, without_effect
    from pairmine.errors import PairmineError
    from pairmine.stages.filter.picks import parse_pick

    picking = parse_pick(pick, pool)
    if "pool" in picking.told or "pool" not in picking.options:
        without_effect(context, f"with --pick {pick}", "pool")
    told = f"--pick {pick}" if "pool" in picking.told else f"--pool {pool}" if given(context, "pool") else ""
    if told and (picking.pool or negatives) < negatives:
        raise PairmineError(f"{told}: fewer than the {negatives} --negatives that are drawn from it")


def _advise(run: Run, negatives: int) -> None:
    """Say what to try when a rule starves most queries."""
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


def _take_by(*limits: list[str] | None) -> bool:
    """Whether any of these thresholds names no column, so that it is one on the column that decides."""
    return any(":" not in text for texts in limits for text in texts or ())


def _by(run: Run, chunk: pa.Table, *, told: bool, decides: bool) -> str | None:
    """The score column to decide by; None where none stands out and no rule that was told and no row needs one."""
    from pairmine.errors import PairmineError
    from pairmine.stages.filter import default_by

    try:
        by = default_by(chunk.schema)
    except PairmineError:
        if told or (decides and ("label" not in chunk.column_names or chunk["label"].null_count)):
            raise
        return None
    if told or decides:
        run.say(f"deciding by {by}")
    return by


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
    import pyarrow as pa

    from pairmine.files.source import open_documents
    from pairmine.identity import text_keys
    from pairmine.schema import document_text

    table = run.reads(open_documents(corpus, run.say), "corpus").read()
    texts = document_text(table).cast(pa.string())
    return pa.table({"doc_id": table["id"], "document": texts, "text_key": text_keys(texts)})


def _own_fillers(pairs: pa.Table) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    from pairmine.errors import PairmineError

    if "document" not in pairs.column_names:
        raise PairmineError("--shortage fill: the pair set has no document texts; pass --corpus")
    codes = pairs["doc_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    rows = pa.array(np.sort(np.unique(codes, return_index=True)[1]))
    return pairs.select(["doc_id", "document"]).take(rows)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("filter")(filter_)
