"""The options of `filter`: what is chosen, and by which rules, gates and weights."""

from __future__ import annotations

from typing import Annotated

import typer

from pairmine.cli.run import choice, given, lay_aside, without_effect, written

_CHOICE = "What is chosen"
_RULES = "Rules for candidates"
_POSITIVES = "Rules for positives"
_MORE = "What rules act on, and how"
_GATES = "Gates and text rules, for every row"
_WEIGHT = "Weights"
_LIMIT = "[COLUMN:]X"

Pairs = Annotated[
    str, typer.Argument(help="Pair set with candidates: a file, a folder of shards, or -.", show_default=False)
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        help="Score column that decides, as ce or score_ce; by default ce, llm, dense or the only one, and dense first "
        "where --suspects is all that asks for a score.",
        rich_help_panel=_RULES,
    ),
]
Negatives = Annotated[
    int,
    typer.Option(
        "--negatives",
        min=1,
        help="Negatives per query (5: our default, after arXiv 2505.16967).",
        rich_help_panel=_CHOICE,
    ),
]
Pick = Annotated[
    str,
    typer.Option(
        "--pick",
        metavar="NAME[:key=value,...]",
        help="top: the highest scores; random: a sample of the best (pool=10, arXiv 2407.15831); simans: a sample "
        "near what the positives score (a=200,b=0; arXiv 2210.11773 has a=0.5 for dot products); softmax "
        "(temperature=0.05); stratified: one of each stratum of the ranks (pool=50,strata=negatives); mmr: unlike "
        "each other (lambda=0.7,pool=50); cluster: the best of each in turn; inverse-propensity: a sample with "
        "odds for pairs whose look is rare for their score (pool=10). pool=N for each but top.",
        rich_help_panel=_CHOICE,
    ),
]
NoPick = Annotated[
    bool,
    typer.Option(
        "--no-pick",
        help="Choose nothing: rows keep their labels, and leave by the rules, gates and margins named alone "
        "(graded pairs, complete triplets); so does a query that loses its last positive to them.",
        rich_help_panel=_CHOICE,
    ),
]
Pool = Annotated[
    int | None,
    typer.Option(
        "--pool",
        min=1,
        help="How many of the best survivors --pick looks at; each has its own default.",
        show_default=False,
        rich_help_panel=_CHOICE,
    ),
]
Shortage = Annotated[
    str,
    typer.Option(
        "--shortage",
        metavar="keep|drop|fill|relax|relax+drop|relax+fill",
        help="A query with too few: keep it short, drop it, fill it with random documents, or relax: give it back "
        "what ranks, score limits, margins or suspects rejected, the nearest misses first.",
        rich_help_panel=_CHOICE,
    ),
]
RelaxSteps = Annotated[
    int,
    typer.Option(
        "--relax-steps",
        min=1,
        max=100,
        metavar="N",
        help="How far --shortage relax goes: each step moves a rule by a quarter of its own number, so that 4 make "
        "a margin 0 and double a --max-score (ours).",
        rich_help_panel=_CHOICE,
    ),
]
Corpus = Annotated[
    str | None,
    typer.Option(
        "--corpus",
        help="Where --shortage fill takes documents; the pair set's own without it.",
        show_default=False,
        rich_help_panel=_CHOICE,
    ),
]
Ranks = Annotated[
    str | None,
    typer.Option(
        "--ranks",
        metavar="A:B",
        help="Keep candidates of these ranks, as 11:50, 11: or :50.",
        rich_help_panel=_RULES,
    ),
]
DropSameCluster = Annotated[
    bool,
    typer.Option(
        "--drop-same-cluster",
        help="Reject a candidate of a cluster that a positive of its query is in ('cluster' column, by 'mine').",
        rich_help_panel=_RULES,
    ),
]
CandidateGate = Annotated[
    str | None,
    typer.Option(
        "--candidate-gate",
        metavar="COLUMN[:LOW:HIGH][:judge=COLUMN:T]",
        help="Reject candidates from HIGH on, which may be positives, and those between LOW and HIGH, or have a "
        "judge's score decide these (RocketQA, arXiv 2010.08191: ce:0.1:0.9, the default for ce).",
        rich_help_panel=_RULES,
    ),
]
MaxScore = Annotated[
    list[str] | None,
    typer.Option("--max-score", metavar=_LIMIT, help="Reject a candidate that scores above X.", rich_help_panel=_RULES),
]
MinScore = Annotated[
    list[str] | None,
    typer.Option("--min-score", metavar=_LIMIT, help="Reject a candidate that scores below X.", rich_help_panel=_RULES),
]
Anchor = Annotated[
    str,
    typer.Option(
        "--anchor",
        metavar="min|median|mean|max|SHARE",
        help="Which score of a query's positives the margins are held to; 0.25 is a quantile.",
        rich_help_panel=_RULES,
    ),
]
AbsoluteMargin = Annotated[
    list[str] | None,
    typer.Option("--absolute-margin", metavar=_LIMIT, help="Reject a candidate above s - X.", rich_help_panel=_RULES),
]
RelativeMargin = Annotated[
    list[str],
    typer.Option(
        "--relative-margin",
        metavar=_LIMIT,
        help="Reject a candidate above s - |s|*X, s the --anchor of its query's positives (0.05: arXiv 2407.15831; "
        "with --gate or --no-pick only where you name it). Repeat it, here and below, for further columns.",
        rich_help_panel=_RULES,
    ),
]
NoRelativeMargin = Annotated[
    bool, typer.Option("--no-relative-margin", help="Leave that rule out.", rich_help_panel=_RULES)
]
Suspects = Annotated[
    float | None,
    typer.Option(
        "--suspects",
        metavar="N",
        help="Of each query's best candidates reject the N, times the root of its number of positives, that are "
        "riskiest: high in score and near the known positives; never so many that fewer than --negatives are left "
        "of them (10 where 'mine' wrote score_feedback, and then no margin unless you name one; ours).",
        rich_help_panel=_RULES,
    ),
]
NoSuspects = Annotated[bool, typer.Option("--no-suspects", help="Leave that rule out.", rich_help_panel=_RULES)]
SuspectsPool = Annotated[
    int,
    typer.Option(
        "--suspects-pool", min=1, help="How many of a query's best candidates it looks at.", rich_help_panel=_RULES
    ),
]
SuspectsBy = Annotated[
    str | None,
    typer.Option(
        "--suspects-by",
        metavar="COLUMN,COLUMN",
        help="What is summed, each within its query in standard deviations from the mean; the first tells which "
        "are best (the column that decides, feedback, and ce where it is there).",
        rich_help_panel=_RULES,
    ),
]
Skip = Annotated[
    int,
    typer.Option("--skip", min=0, help="Reject the N best that the rules leave to each query.", rich_help_panel=_RULES),
]
MinPositiveScore = Annotated[
    list[str] | None,
    typer.Option(
        "--min-positive-score",
        metavar=_LIMIT,
        help="Reject a positive that scores below X.",
        rich_help_panel=_POSITIVES,
    ),
]
Consistency = Annotated[
    list[str] | None,
    typer.Option(
        "--consistency",
        metavar="[COLUMN:]K",
        help="Reject a positive that K candidates of its query, or more, outscore (contrastors, arXiv 2402.01613).",
        rich_help_panel=_POSITIVES,
    ),
]
Action = Annotated[
    list[str] | None,
    typer.Option(
        "--action",
        metavar="RULE=ACTION",
        help="drop; relabel: make it a positive (RLHN, arXiv 2505.16967); weight[:F]: multiply its weight by F "
        "(0.5: ours) and go on; keep: count it alone. As in gate-high=relabel. Repeat it for further rules.",
        rich_help_panel=_MORE,
    ),
]
Exempt = Annotated[
    list[str] | None,
    typer.Option(
        "--exempt",
        metavar="ORIGIN",
        help="No rule acts on candidates of this origin, as 'generate:*'; what would have gone is counted.",
        rich_help_panel=_MORE,
    ),
]
Hold = Annotated[
    list[str] | None,
    typer.Option(
        "--hold",
        metavar="ORIGIN",
        help="Negatives of this origin, decided before, are candidates again: to clean a set from elsewhere.",
        rich_help_panel=_MORE,
    ),
]
Complexity = Annotated[
    str | None,
    typer.Option(
        "--complexity",
        metavar="WORDS[:CLAUSES]",
        help="Reject documents of fewer words or clauses (5 is our choice, the idea DiHT's, arXiv 2301.02280).",
        rich_help_panel=_GATES,
    ),
]
MaxEditRatio = Annotated[
    float | None,
    typer.Option(
        "--max-edit-ratio",
        metavar="RATIO",
        help="Reject a positive that shares more than this part of its characters with the query (0.99: Polish "
        "mined paraphrases).",
        rich_help_panel=_GATES,
    ),
]
EditDistance = Annotated[
    str | None,
    typer.Option(
        "--edit-distance",
        metavar="A:B",
        help="Keep negatives that are this many words from the query, as 1:4, 1: or :4 (minimal edits).",
        rich_help_panel=_GATES,
    ),
]
EditsOf = Annotated[
    str | None,
    typer.Option(
        "--edits-of",
        help="Have those two look at positives, negatives or all, not each at its own.",
        rich_help_panel=_GATES,
    ),
]
SwapBy = Annotated[
    str | None,
    typer.Option(
        "--swap-by",
        metavar="COLUMN",
        help="Swap a positive and a negative of one query where the negative scores higher (MultiCSR).",
        rich_help_panel=_GATES,
    ),
]
Gate = Annotated[
    str | None,
    typer.Option(
        "--gate",
        metavar="COLUMN:LOW:HIGH",
        help="Below LOW a row is a negative, from HIGH on a positive, whatever it was meant to be; between, it "
        "leaves (GCSE, arXiv 2409.12887: st:0.75:0.80).",
        rich_help_panel=_GATES,
    ),
]
Curate = Annotated[
    str | None,
    typer.Option(
        "--curate",
        metavar="COLUMN:LOW:HIGH",
        help="Positives below HIGH leave, negatives above LOW or not below their positive "
        "(MultiCSR, 3 of 5 for both: llm:0.6:0.6).",
        rich_help_panel=_GATES,
    ),
]
Monotone = Annotated[
    str | None,
    typer.Option(
        "--monotone",
        metavar="COLUMN[:TOLERANCE[:cut]]",
        help="Drop queries whose rows, by rank or falling grade, rise in score by more than TOLERANCE (0), or cut "
        "them there.",
        rich_help_panel=_GATES,
    ),
]
Weight = Annotated[
    list[str] | None,
    typer.Option(
        "--weight",
        metavar="NAME[:key=value,...]",
        help="Fill the column 'weight'; several multiply, and so does one that is there. punish-similar "
        "(phi=0.9), gaussian-decay (sigma=0.17), inverse-propensity (bins=10,bands=5,max=5), ordinal (tau=0.5), "
        "importance (temperature=0.1); by=COLUMN for each.",
        rich_help_panel=_WEIGHT,
    ),
]


def check(
    context: typer.Context,
    *,
    pick: str | None,
    negatives: int,
    pool: int | None,
    shortage: str,
    corpus: str | None,
    no_relative_margin: bool,
    no_suspects: bool,
    suspects_pool: int,
    gate: str | None,
    edits: bool,
) -> None:
    """Raise a PairmineError for options that cannot take effect with the others.

    `pick` is None with --no-pick, `gate` is None where negatives of some origin are candidates again.
    """
    from pairmine.errors import PairmineError
    from pairmine.stages.filter.shortage import SHORTAGES

    choice("--shortage", shortage, SHORTAGES)
    if "relax" not in shortage:
        without_effect(context, f"with --shortage {shortage}", "relax_steps")
    if corpus and "fill" not in shortage:
        lay_aside(context, "corpus")
        raise PairmineError("--corpus has an effect with --shortage fill alone")
    if no_relative_margin:
        without_effect(context, "with --no-relative-margin", "relative_margin")
    if no_suspects:
        without_effect(context, "with --no-suspects", "suspects", "suspects_pool", "suspects_by")
    if gate is not None:
        without_effect(context, "with --gate, which leaves no candidate to choose", "pick", "pool", "skip")
    if pick is None:
        without_effect(context, "with --no-pick", "pick", "pool", "negatives", "shortage", "skip", "seed")
    else:
        _check_pick(context, pick, pool, negatives)
        if given(context, "suspects_pool") and suspects_pool <= negatives:
            raise PairmineError(
                f"--suspects-pool {suspects_pool}: none of them is suspected, since the rule leaves the {negatives} "
                "--negatives that are picked; look at more of a query's candidates"
            )
    if not edits:
        lay_aside(context, "edits_of")
        if written(context, "edits_of"):
            raise PairmineError("--edits-of has an effect with --max-edit-ratio or --edit-distance alone")


def check_anchor(context: typer.Context, margins: list[str] | None, pick: str | None) -> None:
    """Raise a PairmineError for an --anchor that neither a margin nor the pick is held to."""
    from pairmine.errors import PairmineError

    if margins or (pick or "").partition(":")[0] == "simans":
        return
    lay_aside(context, "anchor")
    if written(context, "anchor"):
        raise PairmineError(
            "--anchor has no effect, since no margin is held to it (suspects stand in for the usual one where there is "
            "feedback); name one, as in --relative-margin 0.05"
        )


def _check_pick(context: typer.Context, pick: str, pool: int | None, negatives: int) -> None:
    """Raise a PairmineError for an unknown pick, and for a pool without effect or too small for what is picked."""
    from pairmine.errors import PairmineError
    from pairmine.stages.filter.picks import PICKS, parse_pick

    choice("--pick", pick.partition(":")[0], tuple(PICKS))
    picking = parse_pick(pick, pool)
    if "pool" in picking.told or "pool" not in picking.options:
        without_effect(context, f"with --pick {pick}", "pool")
    told = f"--pick {pick}" if "pool" in picking.told else f"--pool {pool}" if given(context, "pool") else ""
    if told and (picking.pool or negatives) < negatives:
        raise PairmineError(f"{told}: fewer than the {negatives} --negatives that are drawn from it")


def names(flag: str, text: str | None) -> list[str]:
    """The names in `text`, which commas part; none for None."""
    from pairmine.errors import PairmineError

    found = [name.strip() for name in text.split(",")] if text is not None else []
    if not all(found):
        raise PairmineError(f"{flag} {text}: write it as NAME,NAME, as dense,feedback")
    return found
