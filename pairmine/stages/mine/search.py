"""The search of a run: the lists of blocks of queries, what is masked left out, and the rows that come of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.retrievers import NOT_FOUND, Hits, Retriever
from pairmine.distinct import distinct
from pairmine.outcome import Outcome, no_rejects
from pairmine.stages.feedback import FEEDBACK, Rows, is_candidate
from pairmine.stages.mine.candidates import RRF, Candidates, last_fused_rank, last_ranks, rank_names
from pairmine.stages.mine.feedback import Feedback
from pairmine.stages.mine.fusion import UNION, Fusion
from pairmine.stages.mine.masks import REASONS, Masks
from pairmine.stages.mine.overlap import Sources
from pairmine.stages.mine.remine import Since
from pairmine.stages.mine.strategy import NEAREST, NearDocument, Strategy, aim, clusters_of, first_dense
from pairmine.stages.mine.texts import Documents, Queries

BLOCK_QUERIES = 4096
CLUSTER = "cluster"
PREVIOUS_RANK = "previous_rank"
_HIT_BYTES = 96
"""What a place of a list takes while it is searched and sorted out."""
_TEXT_COPIES = 4
_MOST_TEXT_BYTES = 1 << 30
Turn = tuple[int, int, int]
"""When lists are looked through: the number of their retriever, the round, and how many masked ones have room."""
OnMasked = Callable[[pa.Table, Turn], None]


def open_search(
    pairs: pa.Table,
    queries: Queries,
    documents: Documents,
    retrievers: Sequence[Retriever],
    *,
    depth: int,
    strategy: Strategy = NEAREST,
    masks: Masks | None = None,
    fusion: Fusion = UNION,
    sources: Sources | None = None,
    since: Since | None = None,
    feedback: bool = False,
    on_masked: OnMasked | None = None,
    budget_bytes: int = 1 << 30,
) -> Search:
    """The search of `search_blocks`, ready to be asked for the rows of queries."""
    own = [schema.SCORE_PREFIX + retriever.score for retriever in retrievers]
    own += [schema.SCORE_PREFIX + _near_name(retriever) for retriever in retrievers if _is_near(retriever)]
    own += [CLUSTER] if strategy.clusters is not None else []
    own += [PREVIOUS_RANK] if since is not None else []
    dense = first_dense(retrievers) if feedback else None
    own += [schema.FEEDBACK] if dense is not None else []
    plain = pairs.drop_columns([name for name in own if name in pairs.column_names])
    masks = Masks.of(pairs, queries, documents) if masks is None else masks
    if fusion.fuses:  # then the band is one of the fused list
        strategy, fusion = replace(strategy, ranks=None), replace(fusion, ranks=strategy.ranks)
    aim(retrievers, queries, documents, masks.positive)
    told = Feedback.of(dense, documents, masks, budget_bytes // 4) if dense is not None else None
    if sources is not None:
        sources.know(queries, documents, masks)
    if since is not None:
        since.prepare(queries, documents, masks, retrievers, fusion.cut(depth))
    return Search(
        plain,
        queries,
        documents,
        masks,
        retrievers,
        strategy,
        fusion,
        depth,
        sources,
        since,
        told,
        on_masked,
        budget_bytes,
    )


def _with_texts(pairs: pa.Table, documents: Documents, places: np.ndarray) -> pa.Table:
    """`pairs` with the text that the corpus has for each document that came without one; `places` are those (n,)."""
    used, codes = np.unique(places[places >= 0], return_inverse=True)
    all_codes = np.zeros(len(places), np.int32)
    all_codes[places >= 0] = codes
    texts = documents.texts.take(used).cast(pa.string())
    found = pa.DictionaryArray.from_arrays(pa.array(all_codes, mask=places < 0), texts)
    if "document" not in pairs.column_names:
        return pairs.append_column("document", found)
    given = pairs["document"].cast(pa.string()).combine_chunks()
    whole = pc.coalesce(given, found.cast(pa.string())).dictionary_encode()
    return pairs.set_column(pairs.column_names.index("document"), "document", whole)


@dataclass(frozen=True)
class Search:
    """Everything that the blocks of a search share."""

    pairs: pa.Table
    queries: Queries
    documents: Documents
    masks: Masks
    retrievers: Sequence[Retriever]
    strategy: Strategy
    fusion: Fusion
    depth: int
    sources: Sources | None
    since: Since | None
    told: Feedback | None
    on_masked: OnMasked | None
    budget_bytes: int

    def together(self, block: int = BLOCK_QUERIES) -> int:
        """How many queries are searched together: whole blocks, as many as the budget has room for, or part of one."""
        row_bytes = _HIT_BYTES * (self.most + 8) * len(self.retrievers)
        rows = max(1, self.budget_bytes // row_bytes)
        return rows if rows < block else rows // block * block

    @property
    def most(self) -> int:
        """How long a query's list is: `depth`, or as many as there are documents."""
        return min(self.depth, max(self.documents.searchable, 1))

    def outcomes(self, first: int, last: int, block: int = BLOCK_QUERIES) -> Iterator[Outcome]:
        """The rows of the queries `first` to `last`, which are searched together, a block at a time."""
        notes: Counter[str] = Counter()
        numbers = np.arange(first, last)
        hits = [self.search(number, numbers, notes) for number in range(len(self.retrievers))]
        for start in range(first, max(last, first + 1), block):
            end = min(start + block, last)
            for low, high in self.in_pieces(start, end, [places[start - first : end - first] for places, _ in hits]):
                rows = slice(low - first, high - first)
                yield self.block(low, high, [(places[rows], scores[rows]) for places, scores in hits], notes)
                notes = Counter()

    def spare(self, queries: np.ndarray) -> np.ndarray:
        """How many documents beyond `depth` are looked for at first for each of `queries`, (n,) int64: powers of 2."""
        needed = np.maximum(self.masks.per_query[queries], 1)
        return np.asarray(1 << np.ceil(np.log2(needed)).astype(np.int64))

    def search(self, number: int, queries: np.ndarray, notes: Counter[str]) -> Hits:
        """Of the first `depth` documents of each query that are not masked, those in the bands, each at its rank.

        So many more are searched as the query has masked ones; queries are taken together by the
        power of two above that number, so that one with thousands of positives slows no other down. What only
        shows when a document was found, that it is too like a positive, is made up for by searching deeper.
        """
        retriever, depth = self.retrievers[number], self.most
        places = np.full((len(queries), depth), NOT_FOUND, np.int64)
        scores = np.full((len(queries), depth), -np.inf, np.float32)
        room = self.spare(queries)
        rows = np.arange(len(queries))
        turn = 0
        while len(rows):
            short = []
            for spare in distinct(room[rows]):
                wide = depth + int(spare)
                asking = rows[room[rows] == spare]
                together = max(1, self.budget_bytes // (_HIT_BYTES * wide))
                for low in range(0, len(asking), together):
                    members = asking[low : low + together]
                    hits = retriever.search(queries[members], wide)
                    for start in range(0, len(members), BLOCK_QUERIES):
                        part = slice(start, start + BLOCK_QUERIES)
                        some = hits[0][part], hits[1][part]
                        told = (number, turn, int(spare))
                        taken = self._take(told, queries, members[part], some, (places, scores), notes)
                        short.append(members[part][~taken])
            rows = np.concatenate(short)
            room[rows] *= 4
            turn += 1
        full = int((places[:, -1] != NOT_FOUND).sum()) if depth == self.depth else 0
        if few := len(queries) - full:
            notes[f"queries with fewer than {self.depth} candidates from {retriever.name}"] += few
        kept = self.strategy.keeps((places, scores))
        if outside := int((places != NOT_FOUND).sum()) - int(kept.sum()):
            notes[f"outside the band of {retriever.name}"] += outside
        return np.where(kept, places, NOT_FOUND), scores

    def _take(
        self,
        turn: Turn,
        queries: np.ndarray,
        rows: np.ndarray,
        hits: Hits,
        into: Hits,
        notes: Counter[str],
    ) -> np.ndarray:
        """Put what is free of the found documents (n, m) into `rows` (n,); says for which of them that is enough."""
        number = turn[0]
        found, values = hits
        places, scores = into
        depth = places.shape[1]
        reasons = self.masks.find(queries[rows], found, depth)
        free = (reasons == NOT_FOUND) & (found != NOT_FOUND)
        taken = np.cumsum(free, axis=1)
        enough = (taken[:, -1] >= depth) | (found[:, -1] == NOT_FOUND)
        masked = (reasons != NOT_FOUND) & (taken < depth) & enough[:, None]
        for reason, name in enumerate(REASONS):
            if count := int((reasons[masked] == reason).sum()):
                notes[f"masked for {self.retrievers[number].name}: {name}"] += count
        if self.sources is not None:
            self.sources.saw(number, queries[rows[enough]], found[enough], reasons[enough] != NOT_FOUND)
        if self.on_masked is not None:
            self._hand_on_masked(turn, queries[rows], found, values, reasons, masked)
        line, column = np.nonzero(free & (taken <= depth) & enough[:, None])
        target = (rows[line], taken[line, column] - 1)
        places[target] = found[line, column]
        scores[target] = values[line, column]
        return enough

    def _hand_on_masked(
        self,
        turn: Turn,
        queries: np.ndarray,
        found: np.ndarray,
        values: np.ndarray,
        reasons: np.ndarray,
        masked: np.ndarray,
    ) -> None:
        assert self.on_masked is not None
        retriever = self.retrievers[turn[0]]
        line, column = np.nonzero(masked)
        table = self.masks.table(
            self.queries,
            self.documents,
            queries[line],
            found[line, column],
            reasons[line, column],
            origin=pa.repeat(pa.scalar(f"mine:{retriever.name}"), len(line)),
            rank=pa.array(column + 1, pa.int32()),
            score=pa.array(values[line, column], pa.float32()),
        )
        self.on_masked(table, turn)

    @cached_property
    def lacks_texts(self) -> bool:
        """Whether pairs came without the text of their document."""
        return "document" not in self.pairs.column_names or self.pairs["document"].null_count > 0

    def in_pieces(self, first: int, last: int, places: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
        """The queries `first` to `last`, halved until the texts of a piece's documents fit into the budget.

        `places` are the lists of all retrievers, (queries, depth) each. Texts stand in memory some times over before
        they are written.
        """
        low, high = int(self.queries.starts[first]), int(self.queries.starts[last])
        used = distinct(np.concatenate([self.documents.of_pair[low:high], *(each.ravel() for each in places)]))
        size = int(self.documents.texts.sizes(used[used >= 0]).sum())
        if last - first < 2 or size <= min(self.budget_bytes // _TEXT_COPIES, _MOST_TEXT_BYTES):
            yield first, last
            return
        half = (last - first) // 2
        yield from self.in_pieces(first, first + half, [each[:half] for each in places])
        yield from self.in_pieces(first + half, last, [each[half:] for each in places])

    def block(self, first: int, last: int, hits: Sequence[Hits], notes: Counter[str]) -> Outcome:
        """The rows of the queries `first` to `last`, with their candidates, of which `hits` are each one's list."""
        queries, documents, retrievers = self.queries, self.documents, self.retrievers
        numbers = np.arange(first, last)
        low, high = int(queries.starts[first]), int(queries.starts[last])
        given = self.pairs.slice(low, high - low)
        if self.lacks_texts:
            given = _with_texts(given, documents, documents.of_pair[low:high])
        given_queries = queries.of_rows(first, last) + first
        given_places = documents.of_pair[low:high]
        earlier = last_ranks(given, given_queries - first, len(numbers), retrievers)
        union = Candidates.of(hits, numbers, self.masks.width, earlier)
        fused_before = last_fused_rank(given, given_queries - first, len(numbers), retrievers)
        candidates = self.fusion.fused(union, self.depth, first, fused_before)
        if self.sources is not None:
            self.sources.add(union, candidates)

        found = candidates.table(queries, documents, retrievers)
        if candidates.rrf is not None and RRF.name not in given.column_names:
            given = given.append_column(RRF, pa.nulls(given.num_rows, pa.float32()))
        for number, retriever in enumerate(retrievers):
            field = schema.score_field(retriever.score, retriever.scale)
            given = given.append_column(field, _floats(retriever.pair_scores(given_queries, given_places)))
            if isinstance(retriever, NearDocument):
                scores = retriever.pair_scores(candidates.query, candidates.place)
            else:
                scores = candidates.scores(number, retriever, hits[number], first, earlier)
            found = found.append_column(field, _floats(scores))
            if isinstance(retriever, NearDocument):
                near = schema.score_field(_near_name(retriever), retriever.scale)
                given = given.append_column(near, _floats(retriever.near_scores(given_queries, given_places)))
                scores = retriever.near_scores(candidates.query, candidates.place)
                found = found.append_column(near, _floats(scores))
        if self.told is not None:
            scores = self.told.scores(
                Rows(
                    np.concatenate([given_queries, candidates.query]),
                    np.concatenate([given_places, candidates.place]),
                    np.append(self.masks.positive[low:high], np.zeros(len(candidates), bool)),
                    np.append(is_candidate(given), np.ones(len(candidates), bool)),
                )
            )
            given = given.append_column(FEEDBACK, scores.slice(0, given.num_rows))
            found = found.append_column(FEEDBACK, scores.slice(given.num_rows))
        for name in rank_names(retrievers):
            if name not in given.column_names:
                given = given.append_column(name, pa.nulls(given.num_rows, pa.int32()))
        if self.since is not None:
            previous = self.since.add(candidates, first, last)
            given = given.append_column(PREVIOUS_RANK, pa.nulls(given.num_rows, pa.int32()))
            found = found.append_column(PREVIOUS_RANK, pa.array(previous, pa.int32(), mask=previous == 0))
        if (clusters := clusters_of(retrievers)) is not None:
            given = given.append_column(CLUSTER, pa.array(clusters[given_places], pa.int32()))
            found = found.append_column(CLUSTER, pa.array(clusters[candidates.place], pa.int32()))
        if bare := len(numbers) - len(distinct(given_queries[self.masks.positive[low:high]])):
            notes["queries without a positive"] = bare
        kept = _behind_each_query(given, given_queries, found, candidates.query)
        return Outcome(kept, no_rejects(kept), rows_in=given.num_rows, added=found.num_rows, notes=notes)


def _floats(scores: np.ndarray) -> pa.Array:
    return pa.array(scores, pa.float32(), from_pandas=True)


def _is_near(retriever: Retriever) -> bool:
    return isinstance(retriever, NearDocument)


def _near_name(retriever: Retriever) -> str:
    return f"near_{retriever.score}"


def _behind_each_query(
    given: pa.Table, given_queries: np.ndarray, found: pa.Table, found_queries: np.ndarray
) -> pa.Table:
    """The rows of both, query by query: first those given, then those found."""
    joined = schema.concat_pairs([given, found]).unify_dictionaries().combine_chunks()
    order = np.argsort(np.concatenate([given_queries, found_queries]), kind="stable")
    return joined.take(pa.array(order))
