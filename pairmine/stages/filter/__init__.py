"""Decides which candidates become negatives, what each row weighs, and says of every other row why it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, no_rejects, with_reason
from pairmine.schema import SCORE_PREFIX, as_pairs, check_pairs, pair_score_names
from pairmine.stages.filter.anchors import parse_anchor
from pairmine.stages.filter.choice import Choice, choose
from pairmine.stages.filter.deciding import RuleCount
from pairmine.stages.filter.gates import Gates, parse_band, parse_monotone, pass_gates, relabelled
from pairmine.stages.filter.known import reject_bereft
from pairmine.stages.filter.picks import MOST, Pick, parse_pick
from pairmine.stages.filter.propensity import Compare
from pairmine.stages.filter.rows import read_labels, read_queries
from pairmine.stages.filter.rules import (
    RELAXABLE,
    SUSPECTS_POOL,
    Limits,
    Rules,
    check_by,
    check_rules,
    find_suspects,
    parse_actions,
    parse_candidate_gate,
    parse_limits,
)
from pairmine.stages.filter.shortage import Fillers, Shortage, parse_shortage
from pairmine.stages.filter.texts import TextRules, parse_complexity, reject_texts
from pairmine.stages.filter.verdicts import Verdicts
from pairmine.stages.filter.weights import parse_weights, weigh


@dataclass(frozen=True)
class Filtered(Outcome):
    """What `filter_pairs` returns: an `Outcome` with a line per rule, in their order."""

    rules: Sequence[RuleCount] = ()


def filter_pairs(
    pairs: pa.Table,
    *,
    by: str | None,
    negatives: int = 5,
    relative_margin: Limits = None,
    absolute_margin: Limits = None,
    max_score: Limits = None,
    min_score: Limits = None,
    ranks: tuple[int | None, int | None] | None = None,
    pick: str | None = "top",
    pool: int | None = None,
    shortage: str = "keep",
    relax_steps: int = 4,
    fillers: pa.Table | None = None,
    seed: int = 0,
    complexity: str | None = None,
    max_edit_ratio: float | None = None,
    edit_distance: tuple[int | None, int | None] | None = None,
    edits_of: str | None = None,
    swap_by: str | None = None,
    gate: str | None = None,
    curate: str | None = None,
    monotone: str | None = None,
    drop_same_cluster: bool = False,
    weights: Sequence[str] = (),
    anchor: str | float = "min",
    min_positive_score: Limits = None,
    consistency: Limits = None,
    candidate_gate: str | None = None,
    suspects: float | None = None,
    suspects_pool: int = SUSPECTS_POOL,
    suspects_by: Sequence[str] = (),
    skip: int = 0,
    actions: Sequence[str] | Mapping[str, str] = (),
    exempt: Sequence[str] = (),
    hold: Sequence[str] = (),
    compare: Compare | None = None,
) -> Filtered:
    """Leave each query its positives and `negatives` negatives out of its candidates.

    `pairs` holds whole queries, the rows of one query together: label 1 positives, label 0 negatives
    decided before (given, or written by an LLM), null candidates. First rules and gates for every row,
    in this order, those alone that are given:

    - `complexity` "WORDS[:CLAUSES]": a document with fewer leaves (after the caption filter of DiHT);
    - `max_edit_ratio`: a positive or undecided row that shares more than this share of characters with
      its query leaves; `edit_distance` (low, high), None for an open end: a negative or undecided row
      leaves that is not that many words from its query; `edits_of` "positives", "negatives", "all"
      chooses the rows of both;
    - `swap_by` COLUMN: the positive labels of a query go to its highest-scored decided rows (MultiCSR);
    - `gate` "COLUMN:LOW:HIGH": below LOW a row is a negative, from HIGH on a positive, whatever it was
      meant to be, between the two it leaves (GCSE);
    - `curate` "COLUMN:LOW:HIGH": a positive below HIGH leaves, a negative above LOW, a negative that
      does not score below all positives of its query (MultiCSR);
    - `monotone` "COLUMN[:TOLERANCE[:drop|cut]]": a query's rows, ordered by rank, else by falling grade,
      leave together, or from there on, where their score rises.

    Then the choice. A query without a positive leaves as a whole, and so does a row that is, by id or by
    copied text (`identity.text_key`), a positive, a positive's source, the query, or a document that the
    query has already (the first stays, decided before candidate). What is left enters the rules, which
    act in the order of `rules.RULES`:

    - `min_positive_score`: a positive that scores less leaves; `consistency` K: a positive leaves that K
      candidates of its query outscore. A query that loses its last positive leaves;
    - `ranks`: a candidate's `rank` lies outside, inclusive at both ends, None for an open end;
    - `drop_same_cluster`: its `cluster` is that of a positive of its query;
    - `candidate_gate` "COLUMN:LOW:HIGH[:judge=COLUMN:T]": from HIGH on it is a candidate positive, between
      LOW and HIGH it leaves, or is a candidate positive from T on and a negative below, where the judge's
      column has a score (RocketQA);
    - `max_score`, `min_score`: it scores above, below;
    - `absolute_margin`: ``s > p - margin``, where p is the `anchor` of the scores of its query's positives:
      "min", "median", "mean", "max", or a quantile, as 0.25;
    - `relative_margin`: ``s > p - abs(p) * margin``, a margin that stays one where scores are negative;
    - `suspects` N: among its query's `suspects_pool` best it is one of the N, times the square root of the
      number of positives, with the highest sum of `suspects_by`, each as a z score over that pool. At most
      0.9 of the pool are, and where negatives are picked, `negatives` of the pool never are. The sum is by
      default of column `by`, `score_feedback`, the mean cosine to the known positives less that to the
      candidates, and `score_ce` where there is one; probabilities enter as logits;
    - `skip` N: it is one of the N best that the other rules leave.

    A threshold is a number on the scale of column `by`, "COLUMN:NUMBER" for another one, or a list of
    those, one for each column. With `by` None, `rank` decides the order. Every rule looks at all that
    entered, whatever the others say, so that `Filtered.rules` counts each on the same number of rows; a
    row's reason is that of the first that fires. `actions` ("RULE=drop|relabel|weight[:F]|keep") have a
    rule make positives of those rows instead, multiply their weight by F and go on to the next rule, or
    count them alone; the column `decision` says so of rows that stay. Margins are held to the positives
    that came, not to relabelled ones.

    Rows with label 0 obey none of the rules, nor do candidates whose `origin` fits a pattern in `exempt`;
    both are counted where a rule would have fired. Label 0 rows whose origin fits one in `hold` are
    candidates again. Decided negatives count towards `negatives`, and of too many the last leave.

    Of the candidates that are left, `pick` "NAME[:key=value,...]" chooses (`picks.PICKS` has options and
    sources); `pool` stands for the pick's own:

    - "top": the highest scores, ties by rank, then doc_id;
    - "random": a seeded sample of the `pool` best, "inverse-propensity" the same with odds by
      `propensity.Propensity`, which makes pairs likely whose look is rare for their score;
    - "simans": a sample with odds ``exp(-a (s - p - b)^2)``, "softmax": with odds ``exp(s / temperature)``;
    - "stratified": the `pool` cut by rank into as many `strata` as negatives, one from each by lot;
    - "mmr": one after the other by ``lambda s - (1 - lambda) c``, c the highest cosine of `document_vector`
      to what is picked; "cluster": the best of each `cluster`, then the second of each.

    A query still short of `negatives` keeps what it has (`shortage` "keep"), leaves as a whole ("drop"), or
    gets random documents from `fillers` ("fill": doc_id, document and, if at hand, their
    `identity.text_keys` as `text_key`), none of which the query came with in any row. With "relax" it first
    gets back candidates that nothing rejected but `ranks`, score limits, margins and `suspects`, those that
    break them least first: at step k of `relax_steps` each of these rules gives way by k quarters of its own
    number, so that a margin of 0.04 is 0.03, 0.02, 0.01 and 0. The column `decision` says which rule and step
    ("relaxed 2: relative-margin"). "relax+drop" and "relax+fill" go on with what is still short.

    With `pick` None nothing is chosen: known rows, `skip`, the pick and the shortage are left out, and
    every row that the others leave stays in its place with its label, null too. Sets with grades and no
    labels, or complete triplets, pass that way. Queries leave that came with a positive and lost the last
    one to a rule or a gate and, where a weight measures from positives, all queries that `gate`, which
    decides every label, gives none.

    Last, `weights` ("NAME[:key=value,...]", see `weights.KINDS`) multiply into the column `weight`,
    which counts as 1 where it is null or was not there. "inverse-propensity", as a weight or a pick,
    compares a row with all others of `pairs`, or as `compare` does where these are part of a larger set.

    In `kept` each query has its positives, relabelled ones last, decided negatives, picked negatives best
    first, those that came back, fills. A weight that is there is a number from 0 on. `notes` counts queries
    that were short, exempt rows by the rule that would have fired, labels that rules and gates changed,
    candidates that came back by step, and rows that each weight lowered or raised.
    The margins follow NV-Retriever (arXiv 2407.15831), `TopK-MarginPos` and `TopK-PercPos`.

    Raises PairmineError for options out of range, for a missing score, rank, grade or label that a
    rule needs, for a threshold or margin on a scale where it means nothing, and for rows of one query
    that are apart.
    """
    gates = _gates(swap_by, gate, curate, monotone)
    plain = None if complexity is None else parse_complexity(complexity)
    texts = TextRules(plain, max_edit_ratio, edit_distance, edits_of)
    texts.check()
    factors = parse_weights(weights)
    picking = None if pick is None else parse_pick(pick, pool)
    lack = parse_shortage(shortage, relax_steps)
    _check_choices(negatives=negatives, pool=pool, picking=picking, shortage=shortage)
    if "label" not in pairs.column_names:
        relates = any(x is not None for x in (relative_margin, absolute_margin, consistency, suspects))
        pairs = _undecided(
            pairs, may_be=gate is not None or not (pick or relates or drop_same_cluster or gates.needs_labels)
        )
    pairs = _checked(pairs)
    schema = pairs.schema
    check_by(by, schema)
    rules = Rules(
        by=by,
        anchor=parse_anchor(anchor),
        min_positive_score=parse_limits("min positive score", min_positive_score, schema, by),
        consistency=parse_limits("consistency", consistency, schema, by),
        ranks=ranks or (None, None),
        cluster=drop_same_cluster,
        gate=None if candidate_gate is None else parse_candidate_gate(candidate_gate, schema),
        max_score=parse_limits("max score", max_score, schema, by),
        min_score=parse_limits("min score", min_score, schema, by),
        absolute_margin=parse_limits("absolute margin", absolute_margin, schema, by),
        relative_margin=parse_limits("relative margin", relative_margin, schema, by),
        suspects=find_suspects(
            suspects, suspects_pool, suspects_by, schema, by, spared=0 if picking is None else negatives
        ),
        skip=skip,
        actions=parse_actions(actions),
        exempt=tuple(exempt),
        hold=tuple(hold),
    )
    check_rules(rules, schema)
    _check_relaxes(lack, rules)
    if picking is not None:
        picking.check(schema, by)
    supply = Fillers(fillers, schema) if lack.last == "fill" else None
    choice = Choice(rules, negatives, picking, lack, supply, seed, compare)

    verdicts, notes = Verdicts(pairs.num_rows), dict[str, int]()
    if texts or gates:
        gated, notes = _gated(pairs, texts, gates, verdicts)
        if pick is None:
            bereft = any(weight.needs_positives for weight in factors) and gates.gate is not None
            reject_bereft(pairs, gated, verdicts, all_queries=bereft)
        pairs = gated
    chosen = choose(pairs, choice, verdicts)
    kept, notes = chosen.kept, notes | chosen.notes
    if factors:
        kept, weighed = weigh(kept, factors, by, compare)
        notes |= weighed
    rejected = no_rejects(pairs)
    if pairs.num_rows:
        rejected = with_reason(pairs.filter(pa.array(~verdicts.alive)), verdicts.reasons())
    return Filtered(kept, rejected, pairs.num_rows, added=chosen.added, notes=notes, rules=chosen.rules)


def default_by(schema: pa.Schema, *, suspects: bool = False, judge: str | None = None) -> str:
    """The score column to filter by: score_ce, else score_llm, else score_dense, else the only one.

    Where `suspects` is the rule, score_dense comes first: it says how hard a candidate is to the retriever, and what
    a cross-encoder thinks is one of the opinions that are summed. The column of a gate's `judge` is left out, since
    a judge is asked about what lies between the thresholds alone.
    """
    names = [name for name in pair_score_names(schema) if name not in (judge, f"{SCORE_PREFIX}{judge}")]
    first = ("score_dense",) if suspects else ()
    for name in (*first, "score_ce", "score_llm", "score_dense"):
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    if names:
        raise PairmineError(
            f"several score columns and no word on which to use: pass --by with one of {', '.join(names)}"
        )
    raise PairmineError("no score column to filter by; run 'pairmine score' first")


def looks_at_all(pick: str | None, weights: Sequence[str]) -> bool:
    """Whether these compare rows of different queries, so that `filter_pairs` wants all rows at once."""
    picks_of_all = pick is not None and parse_pick(pick).looks_at_all
    return picks_of_all or any(weight.looks_at_all for weight in parse_weights(weights))


def takes_by(weights: Sequence[str]) -> bool:
    """Whether one of these weights goes by the score column that `filter_pairs` decides by."""
    return any(weight.takes_by for weight in parse_weights(weights))


def _gates(swap_by: str | None, gate: str | None, curate: str | None, monotone: str | None) -> Gates:
    return Gates(
        swap_by,
        None if gate is None else parse_band("gate", gate),
        None if curate is None else parse_band("curate", curate, may_cross=True),
        None if monotone is None else parse_monotone("monotone", monotone),
    )


def _gated(pairs: pa.Table, texts: TextRules, gates: Gates, verdicts: Verdicts) -> tuple[pa.Table, dict[str, int]]:
    """`pairs` with the labels that the gates give, and counts; what the rules reject goes to `verdicts`."""
    query, _ = read_queries(pairs)
    label = read_labels(pairs)
    notes = reject_texts(pairs, label, texts, verdicts) if texts else {}
    label, changes = pass_gates(pairs, query, label, gates, verdicts)
    return relabelled(pairs, label), notes | changes


def _check_choices(*, negatives: int, pool: int | None, picking: Pick | None, shortage: str) -> None:
    for name, value in (("negatives", negatives), ("pool", pool)):
        if value is not None and not 1 <= value <= MOST:
            raise PairmineError(f"{name} is {value}; it must be 1 or more{', and no more than 1e9' * (value > MOST)}")
    if picking is None and shortage != "keep":
        raise PairmineError(f'shortage "{shortage}" has no effect where nothing is picked; leave one of them out')


def _check_relaxes(shortage: Shortage, rules: Rules) -> None:
    if shortage.steps and not RELAXABLE.intersection(rules.names):
        raise PairmineError(
            f"shortage relax has no effect, since no rule is given that can give way ({', '.join(sorted(RELAXABLE))}); "
            "leave it out"
        )


def _undecided(pairs: pa.Table, *, may_be: bool) -> pa.Table:
    """`pairs` with labels, all null, where that `may_be`."""
    if not may_be:
        raise PairmineError(
            f"no label column, so no positives to hold candidates against (found: {_found(pairs)}); "
            "without them a gate can decide labels, and picking nothing (--no-pick), without margins, clusters, "
            "--swap-by and --curate, leaves rows undecided"
        )
    return pairs.append_column("label", pa.nulls(pairs.num_rows, pa.int8()))


def _checked(pairs: pa.Table) -> pa.Table:
    pairs = as_pairs(pairs)
    check_pairs(pairs)
    return pairs


def _found(pairs: pa.Table) -> str:
    return ", ".join(pairs.column_names) or "no columns"
