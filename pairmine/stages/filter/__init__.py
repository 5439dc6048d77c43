"""Decides which candidates become negatives, what each row weighs, and says of every other row why it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, no_rejects, with_reason
from pairmine.schema import as_pairs, check_pairs, score_names
from pairmine.stages.filter.choice import INVERSE_PROPENSITY, Choice, choose
from pairmine.stages.filter.gates import Gates, parse_band, parse_monotone, pass_gates, relabelled
from pairmine.stages.filter.rows import read_labels, read_queries
from pairmine.stages.filter.rules import Limits, Verdicts, reject_bereft
from pairmine.stages.filter.shortage import Fillers
from pairmine.stages.filter.texts import TextRules, parse_complexity, reject_texts
from pairmine.stages.filter.weights import parse_weights, weigh

Pick = Literal["top", "random", "inverse-propensity"]
Shortage = Literal["drop", "keep", "fill"]


def filter_pairs(
    pairs: pa.Table,
    *,
    by: str | None,
    negatives: int = 5,
    relative_margin: float | None = None,
    absolute_margin: float | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    ranks: tuple[int | None, int | None] | None = None,
    pick: Pick | None = "top",
    pool: int = 10,
    shortage: Shortage = "keep",
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
) -> Outcome:
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

    Then the choice. A row is rejected by the first of

    1. its query has no positive (all of the query's rows go);
    2. it is, by id or by copied text (`identity.text_key`), a positive, a positive's source, the
       query, or a document that the query has already (the first stays, decided before candidate);
    3. its `rank` lies outside `ranks`, inclusive at both ends, None for an open end;
    4. `drop_same_cluster`: its `cluster` is that of a positive of its query;
    5. its score lies above `max_score` or below `min_score`;
    6. ``s > p - absolute_margin``, where p is the lowest score of the query's positives;
    7. ``s > p - abs(p) * relative_margin``, a margin that stays one where scores are negative;
    8. it is not picked: `pick` "top" takes the highest scores (ties by rank, then doc_id), "random" a
       seeded sample of the `pool` best, "inverse-propensity" the same with odds by
       `propensity.Propensity`, which makes pairs likely whose look is rare for their score.

    Scores are those of column `by`, or with None there are no score rules and `rank` decides the
    order. Rows with label 0 obey rules 1 and 2 alone, count towards `negatives`, and of too many
    the last leave. A query still short of `negatives` keeps what it has ("keep"), leaves as a whole
    ("drop"), or gets random documents from `fillers` ("fill": doc_id, document and, if at hand, their
    `identity.text_keys` as `text_key`), none of which the query came with in any row.

    With `pick` None nothing is chosen: rules 1, 2 and 8 and the shortage are left out, and every row
    that the others leave stays in its place with its label, null too. Sets with grades and no labels,
    or complete triplets, pass that way. Rule 1 remains for queries that came with a positive and lost
    the last one to a rule or a gate, and, where a weight measures from positives, for all queries that
    `gate`, which decides every label, gives none.

    Last, `weights` ("NAME[:key=value,...]", see `weights.KINDS`) multiply into the column `weight`,
    which counts as 1 where it is null or was not there. "inverse-propensity", as a weight or a pick,
    compares a row with all others of `pairs`.

    In `kept` each query has its positives, decided negatives, picked negatives best first, fills.
    A weight that is there is a number from 0 on. `notes` counts queries that were short, decided
    negatives that a score rule would have rejected, labels that gates changed, and rows that each
    weight lowered or raised.
    The margins follow NV-Retriever (arXiv 2407.15831), `TopK-MarginPos` and `TopK-PercPos`.

    Raises PairmineError for options out of range, for a missing score, rank, grade or label that a
    rule needs, for a relative margin on logits, and for rows of one query that are apart.
    """
    limits = Limits(by, relative_margin, absolute_margin, max_score, min_score, ranks)
    gates = _gates(swap_by, gate, curate, monotone)
    plain = None if complexity is None else parse_complexity(complexity)
    texts = TextRules(plain, max_edit_ratio, edit_distance, edits_of)
    texts.check()
    factors = parse_weights(weights)
    _check_choices(negatives=negatives, pick=pick, pool=pool, shortage=shortage, by=by)
    relates = limits.needs_positives or drop_same_cluster or gates.needs_labels
    pairs = _checked(pairs, needs_label=gate is None and (pick is not None or relates))
    limits.check(pairs.schema)
    supply = Fillers(fillers, pairs.schema) if shortage == "fill" else None
    choice = Choice(limits, drop_same_cluster, negatives, pick, pool, shortage == "drop", supply, seed)

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
        kept, weighed = weigh(kept, factors, by)
        notes |= weighed
    rejected = no_rejects(pairs)
    if pairs.num_rows:
        rejected = with_reason(pairs.filter(pa.array(~verdicts.alive)), verdicts.reasons())
    return Outcome(kept, rejected, pairs.num_rows, added=chosen.added, notes=notes)


def default_by(schema: pa.Schema) -> str:
    """The score column to filter by: score_ce, else score_llm, else score_dense, else the only one."""
    names = score_names(schema)
    for name in ("score_ce", "score_llm", "score_dense"):
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
    return pick == INVERSE_PROPENSITY or any(weight.looks_at_all for weight in parse_weights(weights))


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


def _check_choices(*, negatives: int, pick: str | None, pool: int, shortage: str, by: str | None) -> None:
    for name, value in (("negatives", negatives), ("pool", pool)):
        if value < 1:
            raise PairmineError(f"{name} is {value}; it must be 1 or more")
    known = {"pick": (pick, get_args(Pick)), "shortage": (shortage, get_args(Shortage))}
    for name, (choice, choices) in known.items():
        if choice is not None and choice not in choices:
            raise PairmineError(f'{name} is "{choice}"; it is one of: {", ".join(choices)}')
    if pick is None and shortage != "keep":
        raise PairmineError(f'shortage "{shortage}" has no effect where nothing is picked; leave one of them out')
    if pick == INVERSE_PROPENSITY and by is None:
        raise PairmineError("pick inverse-propensity bands candidates by a score; run 'pairmine score' or pass by")


def _checked(pairs: pa.Table, *, needs_label: bool) -> pa.Table:
    if "label" not in pairs.column_names:
        if needs_label:
            raise PairmineError(
                f"no label column, so no positives to hold candidates against (found: {_found(pairs)}); "
                "without them a gate can decide labels, and picking nothing (--no-pick), without margins, clusters, "
                "--swap-by and --curate, leaves rows undecided"
            )
        pairs = pairs.append_column("label", pa.nulls(pairs.num_rows, pa.int8()))
    pairs = as_pairs(pairs)
    check_pairs(pairs)
    return pairs


def _found(pairs: pa.Table) -> str:
    return ", ".join(pairs.column_names) or "no columns"
