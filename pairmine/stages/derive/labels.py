"""Labelled texts: the same label makes a positive, another one a negative; the label's description is a document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import content_id, text_key
from pairmine.recipes import Input, Option, Recipe, Resource
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.derive import cells
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import Derivation, DrawsOf, FoundInTable, FromTable, Pair


@dataclass
class _Text:
    """One distinct text: the row of its first copy, its sameness key, the labels of all copies, its domain."""

    row: int
    text: str
    key: int
    labels: dict[str, None]
    domain: str
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = content_id(self.text)


def _labelled(rows: pa.Table, name: str, separator: str, reasons: dict[int, str]) -> list[_Text]:
    """The distinct texts that have a label, in the order of the file; the column `name` holds the labels."""
    labels = cells.labels(rows, name, separator)
    domains = cells.ids(rows, "domain") if "domain" in rows.column_names else [""] * rows.num_rows
    found: dict[int, _Text] = {}
    for row, texts in enumerate(cells.text_lists(rows, "text")):
        if not texts or not labels[row]:
            reasons[row] = f"no {name}" if texts else "no text"
            continue
        own = dict.fromkeys(labels[row])
        is_new = False
        for text in texts:
            key = text_key(text)
            if key in found:
                found[key].labels |= own
            else:
                found[key] = _Text(row, text, key, dict(own), domains[row])
                is_new = True
        if not is_new:
            reasons[row] = "a copy of a text before it"
    return list(found.values())


def _unused(texts: Sequence[_Text], used: set[int], reasons: dict[int, str]) -> None:
    """Give the rows whose texts all came into no pair their reason; `used` holds the numbers of texts that did."""
    taken = {texts[at].row for at in used}
    reasons.update({each.row: "in no pair" for each in texts if each.row not in taken})


# --- Pairs of texts -----------------------------------------------------------------------------

Kinds = Callable[[int], Mapping[int, np.ndarray]]
"""The later texts that make a positive with text number i and those that make a negative, each (n,) int64."""


def labels(
    *, strategy: str, iterations: int, max_pairs: int, separator: str, across: bool, positives_only: bool
) -> FromTable:
    """Pairs of texts that share a label, and pairs that share none."""
    if iterations and strategy != "oversampling":
        raise PairmineError(f"--strategy {strategy} has no effect with --iterations; leave one of them out")

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        if across and "domain" not in rows.column_names:
            raise PairmineError("--across needs a column with the domain of each text; pass --domain-column")
        reasons: dict[int, str] = {}
        texts = _labelled(rows, "label", separator, reasons)
        kinds = _kinds(texts, across=across)
        there = _counts(kinds, len(texts))
        wanted = _wanted(there, len(texts), strategy, iterations)
        if positives_only:
            wanted[NEGATIVE] = 0
        distinct = {label: min(wanted[label], there[label]) for label in there}
        if max(distinct.values()) > max_pairs // 2:
            wanted = {label: min(count, max_pairs // 2) for label, count in wanted.items()}
        most = {label: min(wanted[label], there[label]) for label in there}
        drawn = _drawn(kinds, texts, there, most, draws_of("pairs"))
        columns = []
        for label, pairs in drawn.items():
            # SetFit goes round its shuffled pairs until it has as many as it wants: here a pair stands once.
            rounds, more = divmod(wanted[label], len(pairs))
            columns += [
                (one, -label, other, float(rounds + (place < more))) for place, (one, other) in enumerate(pairs)
            ]
        found = [_pair(texts[one], texts[other], -label, weight) for one, label, other, weight in sorted(columns)]
        _unused(texts, {at for pairs in drawn.values() for pair in pairs for at in pair}, reasons)
        left_out = sum(distinct.values()) - sum(most.values())
        return FoundInTable(found, reasons, {"pairs beyond --max-pairs": left_out} if left_out else {})

    return of_table


def _pair(query: _Text, document: _Text, label: int, weight: float) -> tuple[int, Pair]:
    return query.row, Pair(query.id, query.text, document.id, document.text, label, (weight,))


def _wanted(there: Mapping[int, int], texts: int, strategy: str, iterations: int) -> dict[int, int]:
    """How many pairs of each kind SetFit would make, repeats counted; none of a kind that there is not."""
    if iterations:
        wanted = dict.fromkeys(there, iterations * texts)
    elif strategy == "unique":
        wanted = dict(there)
    else:
        wanted = dict.fromkeys(there, (max if strategy == "oversampling" else min)(there.values()))
    return {label: count if there[label] else 0 for label, count in wanted.items()}


def _kinds(texts: Sequence[_Text], *, across: bool) -> Kinds:
    """Looks at one text at a time, so that the pairs of ten thousand texts are never in memory together."""
    number = {name: at for at, name in enumerate(dict.fromkeys(name for each in texts for name in each.labels))}
    owned = [[number[name] for name in each.labels] for each in texts]
    is_single = all(len(some) == 1 for some in owned)
    first = np.array([some[0] for some in owned], np.int64)
    members: list[list[int]] = [[] for _ in number]
    for at, some in enumerate(owned):
        for label in some:
            members[label].append(at)
    domains = np.unique(np.array([each.domain for each in texts], object), return_inverse=True)[1] if across else None

    def shared(at: int) -> np.ndarray:
        if is_single:
            found: np.ndarray = first == first[at]
            return found
        found = np.zeros(len(texts), bool)
        for label in owned[at]:
            found[members[label]] = True
        return found

    def of_text(at: int) -> Mapping[int, np.ndarray]:
        same = shared(at)[at + 1 :]
        usable = same if domains is None else same & (domains[at + 1 :] != domains[at])
        return {POSITIVE: np.flatnonzero(usable) + at + 1, NEGATIVE: np.flatnonzero(~same) + at + 1}

    return of_text


def _counts(kinds: Kinds, texts: int) -> dict[int, int]:
    counts = {POSITIVE: 0, NEGATIVE: 0}
    for at in range(texts):
        for label, others in kinds(at).items():
            counts[label] += len(others)
    return counts


def _drawn(
    kinds: Kinds, texts: Sequence[_Text], there: Mapping[int, int], wanted: Mapping[int, int], draws: Draws
) -> dict[int, list[tuple[int, int]]]:
    """As many pairs of each kind as are wanted, in a random order that depends on the two texts alone."""
    keys = np.array([each.key for each in texts], np.uint64)
    salt = np.uint64(int(draws.unit() * 2**53))
    bounds = {label: _bound(wanted[label], there[label]) for label in there if wanted[label]}
    pieces: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {label: [] for label in bounds}
    for at in range(len(texts)):
        for label, others in kinds(at).items():
            if label in bounds and len(others):
                hashes = _mixed(keys[others] + keys[at] + salt)
                below = hashes <= bounds[label]
                if below.any():
                    pairs = np.stack([np.full(int(below.sum()), at), others[below]])
                    pieces[label].append((pairs, hashes[below]))
    drawn: dict[int, list[tuple[int, int]]] = {}
    for label, some in pieces.items():
        pairs = np.concatenate([each for each, _ in some], axis=1)
        order = np.argsort(np.concatenate([hashes for _, hashes in some]), kind="stable")[: wanted[label]]
        drawn[label] = [(one, other) for one, other in pairs[:, order].T.tolist()]
    return drawn


def _bound(wanted: int, there: int) -> np.uint64:
    """The hash up to which enough pairs lie, but for one run in a billion."""
    share = (wanted + 6 * wanted**0.5 + 20) / there
    return np.uint64(2**64 - 1 if share >= 1 else int(share * 2**64))


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """The last step of SplitMix64 on each number, (n,) uint64."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: np.ndarray = mixed ^ (mixed >> np.uint64(31))
    return found


# --- Texts and descriptions of labels -----------------------------------------------------------


def label_text(*, negatives: str, separator: str, descriptions: Mapping[str, Sequence[str]] | None) -> FromTable:
    """A text as the query of its labels' descriptions, with those of other labels as negatives."""

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        reasons: dict[int, str] = {}
        texts = _labelled(rows, "label", separator, reasons)
        described = _described(dict.fromkeys(name for each in texts for name in each.labels), descriptions)
        pairs: list[tuple[int, Pair]] = []
        for each in texts:
            found = _with_descriptions(each, described, negatives, draws_of(each.id))
            if not any(pair.label == POSITIVE for pair in found):
                reasons[each.row] = "the text is the description of its label"
                continue
            reasons.pop(each.row, None)
            pairs += [(each.row, pair) for pair in found]
        return FoundInTable(pairs, reasons)

    return of_table


def _described(
    names: Mapping[str, None], descriptions: Mapping[str, Sequence[str]] | None
) -> dict[str, tuple[str, ...]]:
    """Each label with its descriptions: the user's, or its name in words."""
    if descriptions is None:
        return {name: (name.replace("_", " ").strip() or name,) for name in names}
    missing = [name for name in names if name not in descriptions]
    if missing:
        shown = ", ".join(missing[:6]) + (f", and {len(missing) - 6} more" if len(missing) > 6 else "")
        raise PairmineError(f"--descriptions has none for {len(missing)} of {len(names)} labels: {shown}; add them")
    return {name: tuple(each.strip() for each in found) for name, found in descriptions.items()}


def _with_descriptions(text: _Text, described: Mapping[str, Sequence[str]], negatives: str, draws: Draws) -> list[Pair]:
    right = {text_key(each): each for name in text.labels for each in described[name]}
    right.pop(text.key, None)
    pairs = [Pair(text.id, text.text, content_id(each), each, POSITIVE) for each in right.values()]
    if negatives == "none":
        return pairs
    wrong = {text_key(each): each for name, found in described.items() if name not in text.labels for each in found}
    others = [each for key, each in wrong.items() if key not in right and key != text.key]
    count = len(others) if negatives == "oversample" else len(right)
    chosen = [others[at] for at in draws.sample(len(others), count)]
    return pairs + [Pair(text.id, text.text, content_id(each), each, NEGATIVE) for each in chosen]


# --- Sets ---------------------------------------------------------------------------------------


def sets(*, positives: int, negatives: int, separator: str) -> FromTable:
    """A text of a set with others of the same set, and with texts of other sets as negatives."""

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        reasons: dict[int, str] = {}
        texts = _labelled(rows, "set", separator, reasons)
        members: dict[str, list[int]] = {}
        for at, each in enumerate(texts):
            for name in each.labels:
                members.setdefault(name, []).append(at)
        pairs: list[tuple[int, Pair]] = []
        used: set[int] = set()
        for at, each in enumerate(texts):
            draws = draws_of(each.id)
            mates = [mate for mate in dict.fromkeys(m for name in each.labels for m in members[name]) if mate != at]
            chosen = [(mates[place], POSITIVE) for place in draws.sample(len(mates), positives)]
            if chosen:
                chosen += [(other, NEGATIVE) for other in _outside(at, texts, negatives, draws)]
                used.add(at)
            for other, label in chosen:
                document = texts[other]
                pairs.append((each.row, Pair(each.id, each.text, document.id, document.text, label)))
        taken = {texts[at].row for at in used}
        reasons.update({each.row: "alone in its set" for each in texts if each.row not in taken})
        return FoundInTable(pairs, reasons)

    return of_table


def _outside(at: int, texts: Sequence[_Text], wanted: int, draws: Draws) -> Iterator[int]:
    """Up to `wanted` texts that share no set with text `at`: drawn at random, searched where draws find too few."""
    own = texts[at].labels.keys()
    found: set[int] = set()
    for _ in range(8 * wanted):
        other = draws.below(len(texts))
        if len(found) < wanted and other not in found and own.isdisjoint(texts[other].labels):
            found.add(other)
            yield other
    if len(found) < wanted:
        start = draws.below(len(texts))
        for step in range(len(texts)):
            other = (start + step) % len(texts)
            if len(found) < wanted and other not in found and own.isdisjoint(texts[other].labels):
                found.add(other)
                yield other


_SEPARATOR = Option(
    "separator", str, "", "what parts several labels in one cell; empty takes the cell as one (our default)"
)
_TEXT = Input(
    "text",
    "the labelled text, or a list of texts",
    ("sentence", "utterance", "query", "question", "texts", "content", "document"),
)
_LABELS = ("labels", "intent", "category", "class", "topic", "topics", "label_text", "coarse_label", "cluster", "tag")

DERIVATIONS = (
    Derivation(
        Recipe(
            name="labels",
            group="structure",
            summary="Texts of the same label as positives of each other, texts of different labels as negatives.",
            paper="SetFit, arXiv 2209.11055",
            needs="none",
            reads="rows",
            inputs=(
                _TEXT,
                Input("label", "its label, topic or cluster, or a list of them: any that is shared counts", _LABELS),
                Input("domain", "where the text comes from, for --across", ("source", "dataset"), required=False),
            ),
            options=(
                Option(
                    "strategy",
                    str,
                    "oversampling",
                    "oversampling weighs the rarer kind up to the other, undersampling draws as few of the commoner, "
                    "unique takes all as they are (SetFit)",
                    choices=("oversampling", "undersampling", "unique"),
                ),
                Option(
                    "iterations",
                    int,
                    0,
                    "this many positives and as many negatives for each text instead; 0 goes by --strategy (SetFit)",
                    low=0,
                ),
                Option(
                    "max-pairs",
                    int,
                    1_000_000,
                    "most rows, half of them positives (our default; SetFit is for few texts and sets none)",
                    low=2,
                ),
                _SEPARATOR,
                Option("across", bool, False, "positives between different domains alone (CLIM)"),
                Option("positives-only", bool, False, "no negatives, for losses that take them from the batch"),
            ),
            example=(
                """printf '%s\\n' '{"text": "Where is my card?", "label": "arrival"}' """
                """'{"text": "My card has not come.", "label": "arrival"}' """
                """'{"text": "What is the fee?", "label": "fee"}' | pairmine derive labels - -o -"""
            ),
            whole=True,
        ),
        from_table=labels,
        extra=(pa.field("weight", pa.float32()),),
    ),
    Derivation(
        Recipe(
            name="label-text",
            group="structure",
            summary="A text as the query of its label's description, descriptions of other labels as negatives.",
            paper="FusionSent, arXiv 2410.05770",
            needs="none",
            reads="rows",
            inputs=(_TEXT, Input("label", "its label, or a list of them: each is a positive", _LABELS)),
            options=(
                Option(
                    "negatives",
                    str,
                    "undersample",
                    "undersample draws as many wrong labels as there are right ones (our default), oversample takes "
                    "all wrong ones (both FusionSent), none takes none",
                    choices=("undersample", "oversample", "none"),
                ),
                _SEPARATOR,
            ),
            example=(
                """printf '%s\\n' '{"text": "Where is my card?", "label": "card_arrival"}' """
                """'{"text": "What is the fee?", "label": "transfer_fee"}' | pairmine derive label-text - -o -"""
            ),
            whole=True,
            resources=(
                Resource(
                    "descriptions",
                    "lexicon",
                    "a table of label and description; without it a label's name in words describes it",
                ),
            ),
        ),
        from_table=label_text,
    ),
    Derivation(
        Recipe(
            name="sets",
            group="structure",
            summary="Sets of example sentences, each for one meaning: the same set is a positive, another a negative.",
            paper="SetCSE, arXiv 2404.17606",
            needs="none",
            reads="rows",
            inputs=(
                _TEXT,
                Input(
                    "set",
                    "the set that the text is an example of, or a list of sets",
                    ("set_id", "semantics", "concept", "group", *_LABELS[:7], "label"),
                ),
            ),
            options=(
                Option("positives", int, 1, "others of the set for each text, drawn at random (our default)", low=1),
                Option("negatives", int, 5, "texts of other sets for each text, drawn at random (our default)", low=0),
                _SEPARATOR,
            ),
            example=(
                """printf '%s\\n' '{"set": "costs rise", "texts": ["Bread is dearer.", "Rents went up."]}' """
                """'{"set": "it rains", "texts": ["It pours.", "Take an umbrella."]}' | pairmine derive sets - -o -"""
            ),
            whole=True,
        ),
        from_table=sets,
    ),
)
