"""The stage: which rows leave because another one says the same, or a test set does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.dedup import spread
from pairmine.stages.dedup.choice import Choice, Giant, giants, group_names, members
from pairmine.stages.dedup.compared import Compared, Rules
from pairmine.stages.dedup.groups import GROUPS
from pairmine.stages.dedup.kernel import Sketches
from pairmine.stages.dedup.kernel.compiled import Tell
from pairmine.stages.dedup.kernel.minhash import banding
from pairmine.stages.dedup.leaving import Loss, Verdicts, losses, reject_copies, reject_stranded, told_columns, told_of
from pairmine.stages.dedup.matches import Near
from pairmine.stages.dedup.preference import check_keep
from pairmine.stages.dedup.units import Units, codes_of, is_pair_set, sides_named

if TYPE_CHECKING:
    from pairmine.stages.dedup.against import Against
    from pairmine.stages.dedup.semantic import Meaning

BY = ("query", "document", "pair")
EXACT = ("normalised", "bytes", "words")
UNITS = ("word", "character")
ACTIONS = ("drop", "mark")


@dataclass(frozen=True)
class Deduped(Outcome):
    """What `dedup` returns: an `Outcome`, what was chosen on each side, and what is worth a warning.

    `choices` are those of the sides that were compared, the query side first; that of pairs comes last. `giants` are
    groups that look like a chain of different texts, `losses` what each source lost.
    """

    choices: Sequence[Choice] = ()
    giants: Sequence[Giant] = ()
    losses: Sequence[Loss] = ()

    def members(self) -> pa.Table:
        """Every group of two or more, member by member; see `choice.members`."""
        return pa.concat_tables([members(choice) for choice in self.choices])


def dedup(
    table: pa.Table,
    *,
    by: str,
    near: bool,
    threshold: float,
    ngram: int,
    permutations: int,
    workers: int = 1,
    seed: int = 0,
    keep: str = "first",
    exact: str = "normalised",
    sentence_words: int = 32,
    short_text_words: int = 80,
    unit: str = "word",
    group: str = "chain",
    action: str = "drop",
    group_ids: bool = False,
    spread_labels: bool = False,
    merge: bool = False,
    against: Against | None = None,
    against_only: bool = False,
    meaning: Meaning | None = None,
    ids_only: bool = False,
    engine: str = "auto",
    tell: Tell | None = None,
    sketches: Sketches | None = None,
) -> Deduped:
    """Drop the rows of a corpus or a pair set that copy another row, or a text of a test set.

    A table with `query_id` is a pair set, any other a corpus (`id`, `text`, optional `title`).
    What is compared is settled by `by`:

    - ``document``: a corpus's rows, or the documents of a pair set; there, rows with one `doc_id`
      hold one document, and all rows of a copy under another `doc_id` leave.
    - ``query``: all rows of a query that copies another `query_id` leave.
    - ``pair``: a row leaves when its query and its document both copy those of another row.

    A query that loses all its positives that way loses its other rows as well.

    Exact copies share a normalised text (NFKC, case, blanks; or their ``bytes``, or their ``words``
    alone, without punctuation). Near copies share enough of their sets of `ngram`-word shingles (or
    with `unit` "character" of as many code points): a Jaccard similarity >= `threshold`, computed
    exactly for each pair that MinHash brings up (Broder, On the resemblance and containment of
    documents, 1997), which is 99.9 % or more of those at the threshold. In texts that both have fewer
    than `short_text_words` words, a near copy adds words or drops them, but replaces none; below
    `sentence_words`, it differs in word order or punctuation at most. 0 turns either rule off.
    Copies of copies form one group, a ``chain``; in a ``star`` each text is itself a copy of the one
    that stays. Of each group the `first` one stays, or the ``longest``, or ``best:COLUMN``, the one
    with the highest number there. Blank texts copy nothing. Any number of `workers`, and any `engine`,
    gives the same rows; `tell` takes a line for people: that code is compiled, that columns are replaced.
    `sketches` are those of a corpus's texts with these settings, where `kernel.Ahead` has made them.

    With `meaning` texts leave as well whose vectors say the same as that of one that stays; see `semantic`. The
    similarity is then a cosine.

    Rows whose query, document or either, as `by` says, is in the test sets of `against` leave before
    copies are sought; with `against_only` nothing else leaves. With `spread_labels` a row whose document
    copies a positive of its query becomes one before anything leaves, and with `merge` rows move to
    the copy that stays in place of leaving; see `spread`.

    `rejected` has `reason` and then `duplicate_of`, the id that stayed (``by="pair"``: its
    `query_id`, a tab, its `doc_id`), `similarity` in [0, 1] float64, and `similar_to`, the id it was
    measured with: for an exact copy the one it repeats (1.0), for a near copy the one that stayed,
    or where those two are connected by others only, its best match. For ``by="pair"`` it is the
    lower one of both sides' similarities to the pair that stayed. All three are null in rows that
    leave for want of a positive. With test sets there is `against` as well, the name of one.
    ``action="mark"`` keeps all rows and puts these columns beside them; `ids_only` leaves nothing but the ids
    in what is kept. With `group_ids` every row has the ids of the kept copies in `query_group` and
    `document_group`, whatever `by` says.

    Raises PairmineError for a setting out of range, a column that is missing, a null text, one
    id with two texts, and `permutations` too few for `threshold`.
    """
    _check_choices(
        by=(by, BY), exact=(exact, EXACT), unit=(unit, UNITS), group=(group, GROUPS), action=(action, ACTIONS)
    )
    check_keep(keep, table.schema)
    settings = Near(
        threshold, ngram, permutations, sentence_words, short_text_words, workers, seed, unit=unit, engine=engine
    )
    if near:
        check_near(settings)
    if meaning is not None and by == "pair":
        raise PairmineError("--semantic compares the texts of one side; pass --by query or --by document")
    if tell:
        tell_replaced(table, action=action, group_ids=group_ids, against=against, tell=tell)
    if spread_labels or merge:
        spread.check_labels(table, by, spreads=spread_labels, merges=merge, action=action)
    sides = sides_named(table, by)
    whole = Compared(table, Rules(exact, settings if near else None, keep, group, workers, tell, meaning, sketches))
    for side in sides:
        whole.units(side)
    notes: Counter[str] = Counter()
    if spread_labels:
        table, counts = spread.spread_labels(table, _query_labels(whole, sides), _labels(whole, "document"))
        notes.update(counts)
    verdicts = Verdicts(table.num_rows, against=against is not None)
    if against is not None:
        for side in sides:
            reject_contaminated(verdicts, against, whole.units(side))
        reject_stranded(verdicts, table)
    rest, rows = whole.rows(~verdicts.leaves), np.flatnonzero(~verdicts.leaves)
    if group_ids:
        table = _with_groups(table, rest, rows)
    merged, choices, large = None, [], []
    if not against_only:
        choices = [rest.choice(side) for side in dict.fromkeys([*sides, by])]
        large = [giant for side in sides for giant in giants(rest.written(side), rest.copies(side))]
        if merge:
            merged = _merge(verdicts, table, rest, rows, by)
            notes["rows moved to the copy that stays"] = merged.moved
        else:
            reject_copies(verdicts, choices[-1], rest.item_of_row(by), rows)
            reject_stranded(verdicts, table)
        notes.update(_counts([whole] if rest is whole else [whole, rest], choices[-1]))
    lost = losses(table, verdicts.leaves)
    rejected = verdicts.rejected(table)
    if action == "mark":
        notes.update({f"marked: {reason}": count for reason, count in reasons_of(rejected)})
        kept, rejected = verdicts.marked(table), rejected.slice(0, 0)
    else:
        kept = (
            merged.pairs
            if merged is not None
            else (only_ids(table) if ids_only else table).filter(pa.array(~verdicts.leaves))
        )
    return Deduped(
        kept, rejected, rows_in=len(verdicts.leaves), notes=notes, choices=choices, giants=large, losses=lost
    )


def only_ids(table: pa.Table) -> pa.Table:
    """The ids of a corpus or a pair set without the rest."""
    return table.select(["query_id", "doc_id"] if is_pair_set(table) else ["id"])


def tell_replaced(table: pa.Table, *, action: str, group_ids: bool, against: Against | None, tell: Tell) -> None:
    """Tell which columns of `table` are lost in what stays, since others of their names come in their place."""
    made = list(told_columns(against=against is not None)) if action == "mark" else []
    made += group_columns(table) if group_ids else []
    if lost := [f'"{name}"' for name in made if name in table.column_names]:
        which = f"{', '.join(lost)} of the input {'is' if len(lost) == 1 else 'are'}"
        tell(f"{which} replaced; rename what you want to keep")


def _check_choices(**choices: tuple[str, tuple[str, ...]]) -> None:
    for name, (value, known) in choices.items():
        if value not in known:
            raise PairmineError(f'--{name} is "{value}"; pass one of {", ".join(known)}')


def check_near(near: Near) -> None:
    """Raise a PairmineError for a setting out of range."""
    if not 0 < near.threshold <= 1:
        raise PairmineError(f"--threshold is {near.threshold:g}; pass a Jaccard similarity above 0 and up to 1")
    for name, least in (
        ("ngram", 1),
        ("permutations", 1),
        ("workers", 1),
        ("sentence_words", 0),
        ("short_text_words", 0),
    ):
        if getattr(near, name) < least:
            raise PairmineError(f"--{name.replace('_', '-')} is {getattr(near, name)}; pass {least} or more")
    banding(near.threshold, near.permutations)


def _labels(compared: Compared, side: str) -> np.ndarray:
    """A number for each row, equal for rows whose texts on that side are copies, (rows,) int64."""
    labels: np.ndarray = compared.copies(side).groups[compared.units(side).of_row]
    return labels


def _query_labels(compared: Compared, sides: Sequence[str]) -> np.ndarray:
    """A number for each row's query; queries that copy each other are one where queries are compared."""
    return _labels(compared, "query") if "query" in sides else codes_of(compared.table["query_id"])[0]


def reject_contaminated(verdicts: Verdicts, against: Against, units: Units) -> None:
    """Let the rows leave whose text on one side is in a test set."""
    hits = against.find(units.texts)
    hit_of = np.full(len(units.ids), -1)
    hit_of[hits.places] = np.arange(len(hits.places))
    rows = np.flatnonzero(hit_of[units.of_row] >= 0)
    told = against.told(hits.take(hit_of[units.of_row[rows]]))
    verdicts.reject(rows, told)


def group_columns(table: pa.Table) -> list[str]:
    """The columns that say of which group a row's texts are."""
    return ["query_group", "document_group"] if is_pair_set(table) else ["document_group"]


def _with_groups(table: pa.Table, rest: Compared, rows: np.ndarray) -> pa.Table:
    """`table` with the id of each row's kept copy, side by side; null in rows that a test set took before."""
    place = np.zeros(table.num_rows, np.int64)
    place[rows] = np.arange(len(rows))
    gone = np.ones(table.num_rows, bool)
    gone[rows] = False
    for name in group_columns(table):
        side = name.removesuffix("_group")
        names = group_names(rest.choice(side), rest.item_of_row(side))
        column = names.take(pa.array(place, mask=gone))
        table = table.drop_columns([name]) if name in table.column_names else table
        table = table.append_column(name, column)
    return table


def _merge(verdicts: Verdicts, table: pa.Table, rest: Compared, rows: np.ndarray, side: str) -> spread.Merged:
    """Move rows to the copy that stays, and let those leave that find their place taken."""
    units, choice = rest.units(side), rest.choice(side)
    merged = spread.merge(table.take(pa.array(rows)), units, choice)
    verdicts.reject(rows[merged.met], told_of(choice, units.of_row[merged.met], spread.MERGED))
    return merged


def _counts(compared: Sequence[Compared], choice: Choice) -> dict[str, int]:
    found = [copies for each in compared for copies in each.found]
    return {
        "groups": choice.groups,
        "largest group": int(choice.sizes.max(initial=0)) if choice.groups else 0,
        "pairs compared": sum(copies.compared for copies in found),
        "pairs passed over": sum(copies.passed_over for copies in found),
    }


def reasons_of(rejected: pa.Table) -> list[tuple[str, int]]:
    counts = pc.value_counts(rejected["reason"].combine_chunks())
    return [(each["values"], each["counts"]) for each in counts.to_pylist()]
