"""What `pairmine filter` does with a table of whole queries, in this process or on a worker."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pairmine.errors import PairmineError

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.cli.filter_compared import Compared
    from pairmine.cli.filter_fillers import FillerFiles
    from pairmine.engines.shards import Piece
    from pairmine.stages.filter import Filtered
    from pairmine.stages.filter.deciding import RuleCount
    from pairmine.stages.filter.propensity import Compare


@dataclass(frozen=True)
class Choosing:
    """How the score column to decide by is found where --by names none.

    `told` says that a threshold was given without a column, `decides` that candidates become negatives, `suspects`
    that these are told by several scores.
    """

    candidate_gate: str | None
    told: bool
    decides: bool
    suspects: bool

    def by(self, pairs: pa.Table) -> str | None:
        """The column; None where none stands out and no rule that was told and no row needs one.

        A threshold without a column means the best judge there is, so `suspects` alone go by the dense score.
        """
        from pairmine.stages.filter import default_by

        try:
            judge = (self.candidate_gate or "").partition(":judge=")[2].rpartition(":")[0]
            return default_by(pairs.schema, suspects=self.suspects and not self.told, judge=judge)
        except PairmineError:
            if self.told or (self.decides and ("label" not in pairs.column_names or pairs["label"].null_count)):
                raise
            return None

    @property
    def is_worth_saying(self) -> bool:
        """Whether something is decided by that column."""
        return self.told or self.suspects or self.decides


@dataclass(frozen=True)
class FilterWork:
    """`filter_pairs` with the options of a run: `settings` as they are, the others as the first rows' columns say.

    `fillers` are the documents that fill shortages, a table or, on a cluster, files of them. With `whole` a shard is
    looked at as one table, and `compared` says how its rows compare with those of all shards.
    """

    settings: Mapping[str, Any]
    choosing: Choosing
    by: str | None
    suspects: float | None
    margins: Sequence[str]
    fillers: pa.Table | FillerFiles | None = None
    whole: bool = False
    compared: Compared | None = None

    def decide(self, pairs: pa.Table, fillers: pa.Table | None = None, compare: Compare | None = None) -> Filtered:
        """What the rules make of `pairs`, whole queries."""
        from pairmine.stages.filter import filter_pairs

        by = self.choosing.by(pairs) if self.by is None else self.by
        return filter_pairs(
            pairs,
            by=by,
            relative_margin=[margin for margin in self.margins if by or ":" in margin],
            suspects=self.suspects,
            fillers=fillers,
            compare=compare,
            **self.settings,
        )

    def open(self) -> FilterJob:
        """The documents that fill shortages are opened here."""
        from pairmine.cli.filter_fillers import FillerFiles

        files = self.fillers
        return FilterJob(self, files.table() if isinstance(files, FillerFiles) else files)

    def comparing(self) -> list[FilterWork]:
        """What asks how rows compare with those of other shards, in turn: the pick, then weights of what is kept."""
        from pairmine.stages.filter import looks_at_all

        pick, weights = self.settings["pick"], self.settings["weights"]
        first = [replace(self, settings={**self.settings, "weights": []})] if looks_at_all(pick, []) else []
        return [*first, *([self] if looks_at_all(None, weights) else [])]


@dataclass
class FilterJob:
    """Decides shard by shard; `sums` are the counts of the rules."""

    work: FilterWork
    fillers: pa.Table | None
    rules: Counter[str] = field(default_factory=Counter)

    def outcomes(self, piece: Piece) -> Iterator[Filtered]:
        """Each table of whole queries decided."""
        for pairs in tables_of(piece, whole=self.work.whole):
            compare = self.work.compared.of(piece) if self.work.compared else None
            found = self.work.decide(pairs, self.fillers, compare)
            self.rules.update(as_sums(found.rules))
            yield found

    def facts(self) -> dict[str, Any]:
        """Nothing: no model is at work."""
        return {}

    def sums(self) -> dict[str, int]:
        """See `as_sums`."""
        found, self.rules = self.rules, Counter()
        return found


def tables_of(piece: Piece, *, whole: bool = False) -> Iterator[pa.Table]:
    """The rows of a shard of a pair set in tables of whole queries, or all in one."""
    from pairmine.files.source import open_pairs

    source = open_pairs(piece.path, lambda line: None)
    return iter([source.read()]) if whole else source.chunks(unified=False)


_NUMBERS = ("of", "fires", "acted", "exempt")


def as_sums(counts: Sequence[RuleCount]) -> dict[str, int]:
    """The counts of rules as numbers to be added up over shards, each rule under its place and names."""
    found: dict[str, int] = {}
    for place, count in enumerate(counts):
        values = asdict(count)
        names = [place, *(values[name] for name in ("rule", "action", "among"))]
        found |= {json.dumps([*names, number]): values[number] for number in _NUMBERS}
    return found


def of_sums(sums: Mapping[str, int]) -> list[RuleCount]:
    """The counts of rules that `as_sums` made numbers of, added up."""
    from pairmine.stages.filter.deciding import RuleCount

    rules: dict[tuple[int, str, str, str], dict[str, int]] = {}
    for key, value in sums.items():
        *names, number = json.loads(key)
        rules.setdefault(tuple(names), {})[number] = value
    return [RuleCount(*names[1:], *(rules[names][number] for number in _NUMBERS)) for names in sorted(rules)]
