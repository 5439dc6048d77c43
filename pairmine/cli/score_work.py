"""What `pairmine score` does with the rows of a pair set, as plain data: this process opens it, or every worker."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pairmine.backends import scorers
from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.specs import Spec
from pairmine.cli.model_work import LIMITS, ModelJob, Say, quiet, share_of
from pairmine.cli.scoring import Explains, Keeps, check_same_model, checked_rows
from pairmine.files.source import PairSource, open_pairs
from pairmine.outcome import Outcome
from pairmine.stages.score_rows import RowChoice, score_chosen

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import pyarrow as pa

    from pairmine.engines.shards import Piece

NO_SCORE = "no score: "
"""How a sum is called that counts pairs without a score; the reason follows."""


class FillJob(ModelJob):
    """A loaded model that fills columns of whole queries."""

    @abstractmethod
    def of(self, pairs: pa.Table, advance: Advance = nothing) -> Outcome:
        """`pairs` with the columns."""

    def outcomes(self, piece: Piece) -> Iterator[Outcome]:
        """What the rows of a shard come to."""
        return map(self.of, open_pairs(piece.path, quiet).chunks())

    def held(self) -> AbstractContextManager[object]:
        """Lets go of the model at its end."""
        return nullcontext()


@dataclass(frozen=True)
class ScoreWork:
    """The column `score_<name>` for the rows of `choice`; `settings` are those of `open_scorer`."""

    spec: Spec
    settings: Mapping[str, Any]
    choice: RowChoice
    name: str
    sides: tuple[str, ...] = ("query", "document")

    def open(self, say: Say = quiet) -> FillJob:
        """See `shards.Work`."""
        return _ScoreJob(self, scorers.open_scorer(self.spec, say=say, **self.settings))

    @property
    def store(self) -> str | None:
        """The folder where what was computed is kept; None where nothing is."""
        return self.settings.get("store")

    def shared_by(self, workers: int) -> ScoreWork:
        """What one of `workers` does, which keep to a server's limits together."""
        if not set(LIMITS) & self.settings.keys():
            return self
        return replace(self, settings={**self.settings, **share_of(self.settings, workers)})

    def check(self, source: PairSource, facts: Mapping[str, Any]) -> None:
        """Raise a PairmineError where --missing would fill up what another model began; `source` was read."""
        if self.choice.wanted.missing:
            check_same_model(source, self.name, facts)


class _ScoreJob(FillJob):
    def __init__(self, work: ScoreWork, model: scorers.Scorer) -> None:
        super().__init__()
        self._work = work
        self._model = model

    def of(self, pairs: pa.Table, advance: Advance = nothing) -> Outcome:
        return score_chosen(pairs, self._model, self._work.choice, name=self._work.name, advance=advance)

    def facts(self) -> dict[str, Any]:
        return {"models": [{"name": self._work.spec.name, **self._model.facts}]}

    def totals(self) -> dict[str, int]:
        model = self._model
        found: dict[str, int] = {}
        if isinstance(model, Explains):
            found = {"asked": model.asked} | {NO_SCORE + reason: count for reason, count in model.reasons.items()}
        if isinstance(model, Keeps):
            found |= {"scored": model.asked, "reused": model.reused}
        elif isinstance(model, scorers.BiEncoderScorer) and model.store is not None:
            found |= {"embedded": model.store.embedded, "reused": model.store.reused}
        return found

    def held(self) -> AbstractContextManager[object]:
        return closing(self._model) if isinstance(self._model, scorers.Closes) else nullcontext()


@dataclass(frozen=True)
class ColumnsWork:
    """A teacher's vectors as columns, or what the positives say; `settings` are those of `open_encoder`.

    `flag` is the option that asks for it, --vectors or --feedback, and `side` one of `stages.score.SIDES`. `store` is
    a folder, None to keep nothing.
    """

    flag: str
    spec: Spec
    side: str
    store: str | None
    settings: Mapping[str, Any]
    choice: RowChoice

    @property
    def sides(self) -> tuple[str, ...]:
        """The texts that every row must have."""
        from pairmine.stages.score import SIDES

        return SIDES[self.side]

    def open(self, say: Say = quiet) -> FillJob:
        """See `shards.Work`."""
        return _ColumnsJob(self, say)

    def shared_by(self, workers: int) -> ColumnsWork:
        """Itself: no server is asked."""
        return self

    def check(self, source: PairSource, facts: Mapping[str, Any]) -> None:
        """Nothing can be wrong: the columns are filled anew."""


class _ColumnsJob(FillJob):
    def __init__(self, work: ColumnsWork, say: Say) -> None:
        from pairmine.backends.encoders import open_encoder
        from pairmine.backends.vectors.store import VectorStore
        from pairmine.stages.score import VectorAdder
        from pairmine.stages.score_feedback import FeedbackAdder

        super().__init__()
        self._name = work.spec.name
        self._store = VectorStore(work.store, say=say)
        encoder = open_encoder(work.spec, flag=work.flag, **work.settings)
        is_feedback = work.flag == "--feedback"
        self._adder: FeedbackAdder | VectorAdder = (
            FeedbackAdder(encoder, self._store) if is_feedback else VectorAdder(encoder, work.side, self._store)
        )

    def of(self, pairs: pa.Table, advance: Advance = nothing) -> Outcome:
        return self._adder.add(pairs, advance)

    def facts(self) -> dict[str, Any]:
        return {"models": [{"name": self._name, **self._adder.facts}]}

    def totals(self) -> dict[str, int]:
        return {"embedded": self._store.embedded, "reused": self._store.reused}


FillWork = ScoreWork | ColumnsWork
"""Columns that one model fills, and what it must know beforehand."""


@dataclass(frozen=True)
class Look:
    """Makes what looks through a shard first, for rows without a text and for what there is to choose from."""

    sides: tuple[str, ...]
    choice: RowChoice

    def __call__(self) -> Callable[[Piece], RowChoice]:
        return self._look

    def _look(self, piece: Piece) -> RowChoice:
        choice = deepcopy(self.choice)
        checked_rows(open_pairs(piece.path, quiet), self.sides, choice)
        return choice


@dataclass(frozen=True)
class Facts:
    """Makes what loads a worker's model and tells its facts, before any row is given to it."""

    work: FillWork

    def __call__(self) -> Callable[[None], dict[str, Any]]:
        return lambda _: self.work.open().facts()
