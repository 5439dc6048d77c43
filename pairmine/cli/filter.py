"""`pairmine filter`: which candidates become negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli import options as shared
from pairmine.cli.run import Run

if TYPE_CHECKING:
    import pyarrow as pa

_RULES = "Rules for candidates"
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
    relative_margin: Annotated[
        float,
        typer.Option(
            "--relative-margin",
            min=0.0,
            help="Reject a candidate above s - |s|*MARGIN, s the lowest score of a positive of its query "
            "(0.05: arXiv 2407.15831; with --gate or --no-pick only where you name it).",
            rich_help_panel=_RULES,
        ),
    ] = 0.05,
    no_relative_margin: Annotated[
        bool, typer.Option("--no-relative-margin", help="Leave that rule out.", rich_help_panel=_RULES)
    ] = False,
    absolute_margin: Annotated[
        float | None,
        typer.Option("--absolute-margin", min=0.0, help="Reject a candidate above s - MARGIN.", rich_help_panel=_RULES),
    ] = None,
    max_score: Annotated[
        float | None, typer.Option("--max-score", help="Reject a candidate above this score.", rich_help_panel=_RULES)
    ] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="Reject a candidate below this score.", rich_help_panel=_RULES)
    ] = None,
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
            help="top: the highest scores; random: a sample of the best --pool (arXiv 2407.15831); "
            "inverse-propensity: that sample with odds for pairs whose look is rare for their score.",
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
        int, typer.Option("--pool", min=1, help="How many of the best survivors a sample is drawn from.")
    ] = 10,
    shortage: Annotated[
        str,
        typer.Option(
            "--shortage", help="A query with too few: keep it short, drop it, or fill it with random documents."
        ),
    ] = "keep",
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
    Order of the rules, each of which sees what the ones before it left:
      every row    1 --complexity  2 --max-edit-ratio  3 --edit-distance
                   4 --swap-by  5 --gate  6 --curate  7 --monotone
      candidates   8 queries without a positive, copies of a positive,
                     of the query or of each other
                   9 --ranks  10 --drop-same-cluster
                  11 --max-score  12 --min-score
                  13 --absolute-margin  14 --relative-margin
                  15 --pick and --negatives  16 --shortage
      kept rows   17 --weight
    With --no-pick 8, 15 and 16 are left out, but a query that 1 to 7 leave
    without the positive it came with leaves too, and with gaussian-decay every
    query to which --gate gives none. With --no-pick or --gate the relative
    margin acts where it is named alone.

    \b
      pairmine filter mined.parquet --negatives 7 --rejects rejected.parquet -o pairs.parquet
      pairmine filter scored.parquet --gate st:0.75:0.80 --weight gaussian-decay -o pairs.parquet
      pairmine filter graded.parquet --no-pick --weight ordinal -o weighed.parquet
    """
    from pairmine.cli.run import choice, given, without_effect
    from pairmine.errors import PairmineError
    from pairmine.files.source import open_pairs
    from pairmine.stages.filter import filter_pairs, looks_at_all, takes_by

    choice("--pick", pick, ("top", "random", "inverse-propensity"))
    choice("--shortage", shortage, ("keep", "drop", "fill"))
    if corpus and shortage != "fill":
        raise PairmineError("--corpus has an effect with --shortage fill alone")
    if no_relative_margin:
        without_effect(context, "with --no-relative-margin", "relative_margin")
    if no_pick:
        without_effect(context, "with --no-pick", "pick", "pool", "negatives", "shortage", "seed")
    elif pick == "top":
        without_effect(context, "with --pick top", "pool")
    elif given(context, "pool") and pool < negatives:
        raise PairmineError(f"--pool {pool}: fewer than the {negatives} --negatives that are drawn from it")
    if edits_of and max_edit_ratio is None and edit_distance is None:
        raise PairmineError("--edits-of has an effect with --max-edit-ratio or --edit-distance alone")
    if by is not None and not by.startswith("score_"):
        by = f"score_{by}"
    told = given(context, "relative_margin") or any(x is not None for x in (absolute_margin, max_score, min_score))
    decides = not (no_pick or gate)
    held = given(context, "relative_margin") or (decides and not no_relative_margin)
    margin = relative_margin if held else None
    wanted = _ends("--ranks", ranks, "11:50, 11: or :50")
    edits = _ends("--edit-distance", edit_distance, "1:4, 1: or :4")
    weights = weight or []
    if no_pick and by is not None and not (told or held or takes_by(weights)):
        raise PairmineError(
            "--by has no effect with --no-pick, since no margin, score limit or weight asks for it; leave one out"
        )
    own_fillers = shortage == "fill" and corpus is None
    whole = own_fillers or looks_at_all(None if no_pick else pick, weights)
    with Run(context, output, kind=kind, rejects=rejects, summary=summary, quiet=quiet) as run:
        source = run.reads(open_pairs(pairs, run.say), "pairs")
        fillers = _fillers(run, corpus) if corpus else None
        chunks = [source.read()] if whole else source.chunks()
        advance = run.begin("rows")
        for chunk in chunks:
            if by is None:
                by = _by(run, chunk, told=told, decides=decides)
            if own_fillers:
                fillers = _own_fillers(chunk)
            outcome = filter_pairs(
                chunk,
                by=by,
                relative_margin=margin if by else None,
                absolute_margin=absolute_margin,
                max_score=max_score,
                min_score=min_score,
                ranks=wanted,
                negatives=negatives,
                pick=None if no_pick else pick,  # type: ignore[arg-type]
                pool=pool,
                shortage=shortage,  # type: ignore[arg-type]
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
            )
            run.write(outcome)
            advance(chunk.num_rows)
        _advise(run, negatives)


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
