"""Weights that hang on rows of all shards: what each shard brings is gathered, weighed as one, and handed back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from pairmine.cli.filter_work import FilterWork
    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run
    from pairmine.engines.shards import Piece
    from pairmine.files.sharded import WorkFolder
    from pairmine.stages.filter.propensity import Propensity

Asked = tuple["Propensity", "np.ndarray", "np.ndarray"]
"""A question that the rows of a shard come to: by what they are weighed, their scores and their ratios."""


@dataclass(frozen=True)
class Compared:
    """The answers to the first `rounds` sets of questions, in a folder that every worker sees."""

    folder: WorkFolder
    rounds: int = 0

    def of(self, piece: Piece) -> Answering:
        """Answers for the rows of a shard, in the order in which they are asked for."""
        known: list[np.ndarray] = []
        for number in range(self.rounds):
            known += _read(self.folder, number, piece)
        return Answering(known)


class Answering:
    """Weighs rows by what is known of all shards, and notes what is not known yet; those rows weigh 1 so far."""

    def __init__(self, known: Sequence[np.ndarray]) -> None:
        self._known = list(known)
        self.open: list[Asked] = []

    def __call__(self, propensity: Propensity, scores: np.ndarray, ratios: np.ndarray) -> np.ndarray:
        import numpy as np

        if self._known:
            return self._known.pop(0)
        self.open.append((propensity, scores, ratios))
        return np.ones(len(scores))


def compare_all(engine: RayEngine, run: Run, pieces: Sequence[Piece], works: Sequence[FilterWork]) -> Compared:
    """Gather and weigh for each of `works` in turn: what is picked decides which rows are there to be weighed.

    This process holds 12 bytes for each row that is weighed, and some 40 while it weighs them.
    """
    compared = Compared(engine.folder)
    for number, work in enumerate(works):
        make = _Asking(replace(work, compared=compared))
        what, step = f"rows compared, {number + 1} of {len(works)}", f"ask {number}"
        asked = {piece.number: found for piece, found in engine.fold(run, pieces, make, what=what, step=step)}
        _answer(engine.folder, number, pieces, [asked[piece.number] for piece in pieces])
        compared = replace(compared, rounds=number + 1)
    return compared


@dataclass(frozen=True)
class _Asking:
    work: FilterWork

    def __call__(self) -> Callable[[Piece], list[Asked]]:
        from pairmine.cli.filter_work import tables_of

        job = self.work.open()

        def ask(piece: Piece) -> list[Asked]:
            assert self.work.compared is not None
            compare = self.work.compared.of(piece)
            (pairs,) = tables_of(piece, whole=True)
            self.work.decide(pairs, job.fillers, compare)
            return compare.open

        return ask


def _answer(folder: WorkFolder, number: int, pieces: Sequence[Piece], asked: Sequence[Sequence[Asked]]) -> None:
    """Weigh the rows of all shards together, question by question, and write each shard its part."""
    import numpy as np

    answers: list[list[np.ndarray]] = [[] for _ in pieces]
    for same in zip(*asked, strict=True):
        scores, ratios = (np.concatenate([each[place] for each in same]) for place in (1, 2))
        weights = same[0][0].weights(scores, ratios)
        cuts = np.cumsum([len(each[1]) for each in same])[:-1]
        for mine, part in zip(answers, np.split(weights, cuts), strict=True):
            mine.append(part)
    for piece, mine in zip(pieces, answers, strict=True):
        _write(folder, number, piece, mine)


def _name(number: int, piece: Piece) -> str:
    return f"compared/{number}/{piece.number:05}.txt"


def _write(folder: WorkFolder, number: int, piece: Piece, answers: Sequence[np.ndarray]) -> None:
    import base64

    lines = [base64.b85encode(each.astype("<f8").tobytes()).decode() for each in answers]
    folder.write(_name(number, piece), "\n".join([str(len(lines)), *lines]))


def _read(folder: WorkFolder, number: int, piece: Piece) -> list[np.ndarray]:
    import base64

    import numpy as np

    count, *lines = (folder.read(_name(number, piece)) or "0").split("\n")
    return [np.frombuffer(base64.b85decode(line), "<f8") for line in lines[: int(count)]]
