"""Candidates out of the lists that another search has written: `run:FILE`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers.protocol import NOT_FOUND, Hits
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError


class RunRetriever:
    """The lists of a run in place of a search, found by the ids of queries and documents: `take_ids` comes first.

    Scores are the run's own, NaN for a pair that it does not list. `say` takes lines for people.
    """

    scale = "run"

    def __init__(
        self,
        spec: Spec,
        *,
        score: str = "run",
        say: Callable[[str], None] | None = None,
        flag: str = "--retriever",
    ) -> None:
        self.name = spec.name
        self.score = score
        self._path = spec.target
        self._flag = f"{flag} {spec}"
        self._say = say or (lambda line: None)
        if "://" not in self._path and not Path(os.path.expanduser(self._path)).is_file():
            raise PairmineError(f"{self._flag}: no such file: {self._path}")
        self._ids = pa.array([], pa.string())
        self._query_ids = pa.array([], pa.string())
        self._places: np.ndarray | None = None
        self._bound: Any = None
        self._width = self._searchable = 0
        self._starts = np.zeros(1, np.int64)
        self._listed = self._keys = np.empty(0, np.int64)
        self._listed_scores = self._key_scores = np.empty(0, np.float32)
        self._source: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the ids, which are only for reading lists."""
        return {**self.__dict__, "_say": None, "_ids": None, "_places": None, "_query_ids": None, "_bound": None}

    @property
    def facts(self) -> dict[str, Any]:
        """What a lineage records: the file with its digest."""
        return {"run": self._source}

    def take_ids(self, ids: pa.Array, query_ids: pa.Array, places: np.ndarray | None = None) -> None:
        """The ids of the documents, in the order in which `index` gets their texts, and those of the queries.

        Where copies of a text are one document, it may have several ids: then `places` says the document of each.
        """
        self._ids, self._query_ids = ids, query_ids
        self._places = np.arange(len(ids)) if places is None else places

    def keep_only(self, most: np.ndarray, pair_queries: np.ndarray, pair_places: np.ndarray) -> None:
        """Hold no more than the best `most` (queries,) of each list, and single pairs (n,); before `prepare`.

        Without it all that a run has for the queries is held, 16 bytes a line.
        """
        from pairmine.files.runs import Bound

        self._bound = Bound(most, pair_queries, pair_places)

    def index(self, documents: Sequence[str], searchable: int, advance: Advance = nothing) -> None:
        """Note how many documents there are; their texts are not looked at."""
        self._width, self._searchable = len(documents), searchable
        advance(len(documents))

    def prepare(self, queries: Sequence[str], advance: Advance = nothing) -> None:
        """Read the lists of `queries`."""
        from pairmine.files.runs import read_run

        if self._places is None:
            raise RuntimeError("take_ids comes before prepare")
        found = read_run(self._path, self._query_ids, self._ids, self._places, bound=self._bound)
        self._source = {"file": Path(self._path).name, **({"sha256": found.sha256} if found.sha256 else {})}
        for line in _remarks(found, int((np.diff(found.starts) == 0).sum())):
            self._say(f"{self._path}: {line}")
        numbers = np.repeat(np.arange(len(queries)), np.diff(found.starts))
        is_searched = found.places < self._searchable
        self._starts = np.append(0, np.cumsum(is_searched))[found.starts]
        self._listed, self._listed_scores = found.places[is_searched], found.scores[is_searched]
        keys = numbers * self._width + found.places
        order = np.argsort(keys)
        self._keys, self._key_scores = keys[order], found.scores[order]
        advance(len(queries))

    def near(self, places: np.ndarray, texts: Sequence[str]) -> None:
        """A run has lists for queries alone."""
        raise PairmineError(
            f"{self._flag}: a run has lists for queries and none for documents; leave out --search-with positive"
        )

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """The first `k` documents of each list, in its order."""
        at = self._starts[queries][:, None] + np.arange(k)
        is_there = at < self._starts[np.asarray(queries) + 1][:, None]
        places = np.full(at.shape, NOT_FOUND, np.int64)
        scores = np.full(at.shape, -np.inf, np.float32)
        places[is_there] = self._listed[at[is_there]]
        scores[is_there] = self._listed_scores[at[is_there]]
        return places, scores

    def pair_scores(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """The run's scores of single pairs, NaN where it does not list them."""
        wanted = np.asarray(queries) * self._width + documents
        scores = np.full(len(wanted), np.nan, np.float32)
        if len(self._keys):
            at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
            is_listed = self._keys[at] == wanted
            scores[is_listed] = self._key_scores[at[is_listed]]
        return scores


def _remarks(found: Any, without: int) -> list[str]:
    """What people should know of a run, a line each."""
    lines = []
    if found.by_rank:
        lines.append("its third column counts up, so it is read as ranks, and the score is 1 / rank")
    if found.unknown_queries:
        shown = found.first_unknown["queries"]
        lines.append(f'{found.unknown_queries:,} of {found.lines:,} lines are for other queries, the first "{shown}"')
    if found.unknown_documents:
        shown = found.first_unknown["documents"]
        lines.append(f'{found.unknown_documents:,} lines list documents that are not searched, the first "{shown}"')
    if without:
        lines.append(f"{without:,} queries have no list in it")
    if found.twice:
        lines.append(f"{found.twice:,} lines list a document again; the better one counts")
    if found.disagreeing:
        lines.append(f"ranks and scores disagree for {found.disagreeing:,} queries; scores decide, as in trec_eval")
    return lines
