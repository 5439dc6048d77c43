"""`pairmine filter`: which candidates become negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli import options as shared
from pairmine.cli.run import Run

if TYPE_CHECKING:
    import pyarrow as pa

_RULES = "Rules"


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
            "(0.05: arXiv 2407.15831).",
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
    negatives: Annotated[
        int, typer.Option("--negatives", min=1, help="Negatives per query (5: our default, after arXiv 2505.16967).")
    ] = 5,
    pick: Annotated[
        str,
        typer.Option("--pick", help="top: the highest scores; random: a sample of the best --pool (arXiv 2407.15831)."),
    ] = "random",
    pool: Annotated[
        int, typer.Option("--pool", min=1, help="How many of the best survivors --pick random draws from.")
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
    """Decide which candidates become negatives; every other row leaves with a reason.

    Rules are tried in the order known positives and copies, ranks, scores, absolute and relative
    margin, pick. Trying another margin takes seconds, since scores were stored by 'mine' and 'score'.

    \b
      pairmine filter mined.parquet --negatives 7 --rejects rejected.parquet -o pairs.parquet
    """
    from pairmine.cli.run import choice, given, without_effect
    from pairmine.errors import PairmineError
    from pairmine.files.source import open_pairs
    from pairmine.stages.filter import default_by, filter_pairs

    choice("--pick", pick, ("top", "random"))
    choice("--shortage", shortage, ("keep", "drop", "fill"))
    if corpus and shortage != "fill":
        raise PairmineError("--corpus has an effect with --shortage fill alone")
    if no_relative_margin:
        without_effect(context, "with --no-relative-margin", "relative_margin")
    if pick == "top":
        without_effect(context, "with --pick top", "pool")
    elif given(context, "pool") and pool < negatives:
        raise PairmineError(f"--pool {pool}: fewer than the {negatives} --negatives that are drawn from it")
    if by is not None and not by.startswith("score_"):
        by = f"score_{by}"
    margin = None if no_relative_margin else relative_margin
    wanted = _ranks(ranks)
    whole = shortage == "fill" and corpus is None
    with Run(context, output, kind=kind, rejects=rejects, summary=summary, quiet=quiet) as run:
        source = run.reads(open_pairs(pairs, run.say), "pairs")
        fillers = _fillers(run, corpus) if corpus else None
        chunks = [source.read()] if whole else source.chunks()
        advance = run.begin("rows")
        for chunk in chunks:
            if by is None:
                by = default_by(chunk.schema)
                run.say(f"deciding by {by}" if by else "no scores: deciding by rank")
            if whole:
                fillers = _own_fillers(chunk)
            outcome = filter_pairs(
                chunk,
                by=by,
                relative_margin=margin,
                absolute_margin=absolute_margin,
                max_score=max_score,
                min_score=min_score,
                ranks=wanted,
                negatives=negatives,
                pick=pick,  # type: ignore[arg-type]
                pool=pool,
                shortage=shortage,  # type: ignore[arg-type]
                fillers=fillers,
                seed=seed,
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


def _ranks(text: str | None) -> tuple[int | None, int | None] | None:
    from pairmine.errors import PairmineError

    if text is None:
        return None
    low, colon, high = text.partition(":")
    if not colon or not (low + high) or not (low or "0").isdigit() or not (high or "0").isdigit():
        raise PairmineError(f"--ranks {text}: write it as 11:50, 11: or :50")
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
