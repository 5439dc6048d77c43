"""The stage: search, leave out what is masked, put the candidates behind the rows of their query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers import NOT_FOUND, DenseRetriever, Hits, ReadyRetriever, Retriever, RunRetriever
from pairmine.backends.specs import DENSE, Spec
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, no_rejects
from pairmine.stages.feedback import FEEDBACK, Rows, is_candidate
from pairmine.stages.mine.candidates import RRF, Candidates, last_fused_rank, last_ranks, rank_names
from pairmine.stages.mine.feedback import Feedback
from pairmine.stages.mine.fusion import UNION, Fusion
from pairmine.stages.mine.masks import REASONS, Known, Masks, similarity_of
from pairmine.stages.mine.near_copies import NEAR, near_as_dedup
from pairmine.stages.mine.overlap import Sources
from pairmine.stages.mine.remine import Since
from pairmine.stages.mine.retrievers import checked, opened
from pairmine.stages.mine.strategy import (
    NEAREST,
    NearDocument,
    Strategy,
    aim,
    clusters_of,
    first_dense,
    innermost,
    wrapped,
)
from pairmine.stages.mine.texts import Documents, Queries

BLOCK_QUERIES = 4096
CLUSTER = "cluster"
PREVIOUS_RANK = "previous_rank"
_HIT_BYTES = 96
"""What a place of a list takes while it is searched and sorted out."""
_TEXT_COPIES = 4
_MOST_TEXT_BYTES = 1 << 30
OnMasked = Callable[[pa.Table], None]


def mine(
    pairs: pa.Table,
    corpus: pa.Table | None,
    retrievers: Sequence[Retriever | str],
    *,
    depth: int,
    titles: bool | None = None,
    strategy: Strategy = NEAREST,
    fusion: Fusion = UNION,
    sources: Sources | None = None,
    since: Since | None = None,
    near: float | None = NEAR,
    near_cosine: float | None = None,
    group: str | None = None,
    known: pa.Table | None = None,
    feedback: bool = True,
) -> Outcome:
    """`pairs` with up to `depth` candidates per query and retriever added behind each query's rows.

    `corpus` has the columns id, text and perhaps title; without one the documents of `pairs` are
    searched. `titles` puts each title before its text; unset, it does so unless pairs were cut from
    documents (`cut_from_documents`), which hold no titles. `retrievers` are specs ("bm25",
    "st:MODEL") or what `open_retriever` returns.

    Exact copies in the corpus (by normalised text) are one candidate, under the id of the first.
    Never a candidate: a positive of the query or of another one with the same text, the document
    that it was cut from, a copy of either with or without its title, the query's own text, a
    document that the query has a row for already. Ranks go on after those of an earlier run.

    Nor is a near copy of a positive, of its source or of the query, by the rules of `dedup` at a Jaccard
    similarity of `near` (None lets near copies be); a document with a cosine of `near_cosine` to a positive, by the
    first dense retriever; one with a positive's value in the column `group` of the corpus or the pair set. All
    this holds for the positives of `known` too, rows of query_id and doc_id.

    Given rows keep their values; where one has no document text, the corpus fills it in.

    `strategy` says which documents are taken: the nearest by default, of which the `depth` first are looked at
    and those in its bands kept, with the ranks that they have there. Near the positive document, a column
    `score_near_<name>` holds the similarity to it; with clusters, `cluster` holds every document's.

    `fusion` makes one list of those of several retrievers, of which bands then are. `sources` counts what each
    retriever brings; `since` compares with an earlier mined set, whose ranks stand in the column `previous_rank`.

    With `feedback` and a dense retriever, the column `score_feedback` has, by the first such retriever, the mean cosine
    of every row's document to the other known positives of its query less that to the query's candidates.
    """
    blocks = mine_blocks(
        pairs,
        corpus,
        retrievers,
        depth=depth,
        titles=titles,
        strategy=strategy,
        fusion=fusion,
        sources=sources,
        since=since,
        near=near,
        near_cosine=near_cosine,
        group=group,
        known=known,
        feedback=feedback,
    )
    outcomes = list(blocks)
    notes: Counter[str] = Counter()
    for outcome in outcomes:
        notes.update(outcome.notes)
    kept = pa.concat_tables([outcome.kept for outcome in outcomes])
    added = sum(outcome.added for outcome in outcomes)
    return Outcome(kept, no_rejects(kept), rows_in=pairs.num_rows, added=added, notes=notes)


def mine_blocks(
    pairs: pa.Table,
    corpus: pa.Table | None,
    retrievers: Sequence[Retriever | str],
    *,
    depth: int,
    titles: bool | None = None,
    strategy: Strategy = NEAREST,
    fusion: Fusion = UNION,
    sources: Sources | None = None,
    since: Since | None = None,
    near: float | None = NEAR,
    near_cosine: float | None = None,
    group: str | None = None,
    known: pa.Table | None = None,
    feedback: bool = True,
    block: int = BLOCK_QUERIES,
) -> Iterator[Outcome]:
    """`mine`, a block of queries at a time."""
    if depth < 1:
        raise PairmineError(f"--depth {depth}: at least 1")
    wanted = checked(retrievers)
    fusion.check(depth, len(wanted), strategy.ranks)
    strategy.check(fusion.cut(depth), len(wanted), sum(_is_dense(each) for each in wanted))
    schema.check_pairs(pairs)
    pairs = schema.as_pairs(pairs)
    queries = Queries.of(pairs)
    titles = not cut_from_documents(pairs) if titles is None else titles
    documents = Documents.of(pairs, corpus, titles=titles, group=group, known=known)
    loaded = opened(wanted)
    similarity = similarity_of(loaded, near_cosine)
    ready = wrapped(loaded, strategy)
    masks = Masks.of(
        pairs,
        queries,
        documents,
        near=None if near is None else near_as_dedup(near),
        near_cosine=near_cosine,
        similarity=similarity,
        known=None if known is None else Known.of(known, queries, documents),
    )
    for retriever in ready if len(queries) else ():
        take_in(retriever, pairs, queries, documents, masks, depth=depth)
    yield from search_blocks(
        pairs,
        queries,
        documents,
        ready,
        depth=depth,
        block=block,
        strategy=strategy,
        masks=masks,
        fusion=fusion,
        sources=sources,
        since=since,
        feedback=feedback,
    )


def take_in(
    retriever: Retriever,
    pairs: pa.Table,
    queries: Queries,
    documents: Documents,
    masks: Masks,
    *,
    depth: int,
    watch: Callable[[str, int], Advance] = lambda what, total: nothing,
) -> None:
    """Have `retriever` embed, index or look up everything that is searched, and all queries.

    `watch` starts a count of something and gives what adds to it.
    """
    inner = innermost(retriever)
    if isinstance(inner, ReadyRetriever | RunRetriever):
        ids, places = documents.named(pairs)
        inner.take_ids(ids, queries.ids, places)
    if isinstance(inner, RunRetriever) and masks.similar is None:
        rows = queries.of_rows(0, len(queries))
        inner.keep_only(depth + masks.per_query, rows, documents.of_pair)
    what = f"documents for {retriever.name}"
    retriever.index(documents.texts, documents.searchable, watch(what, len(documents.texts)))
    retriever.prepare(queries.texts, watch(f"queries for {retriever.name}", len(queries)))


def _is_dense(retriever: Retriever | tuple[Spec, str]) -> bool:
    if isinstance(retriever, tuple):
        return retriever[0].kind in DENSE
    return isinstance(retriever, DenseRetriever)


def cut_from_documents(pairs: pa.Table) -> bool:
    """Whether documents of `pairs` were cut from the texts of others, as the recipes of `derive` do.

    Such documents have no titles, so candidates with titles would be told from positives at a glance.
    """
    return "source_id" in pairs.column_names and pairs["source_id"].null_count < pairs.num_rows


def search_blocks(
    pairs: pa.Table,
    queries: Queries,
    documents: Documents,
    retrievers: Sequence[Retriever],
    *,
    depth: int,
    block: int = BLOCK_QUERIES,
    strategy: Strategy = NEAREST,
    masks: Masks | None = None,
    fusion: Fusion = UNION,
    sources: Sources | None = None,
    since: Since | None = None,
    feedback: bool = False,
    on_masked: OnMasked | None = None,
    budget_bytes: int = 1 << 30,
) -> Iterator[Outcome]:
    """The candidates of each block of queries, once the retrievers, `wrapped` for the strategy, took everything in.

    Without queries the retrievers need not have taken anything in, and one block without rows comes.
    So many queries are searched together as `budget_bytes` has room for. `sources` and `since` are told what was
    found; `on_masked` gets the masked documents that stood among a query's candidates, as rows with a reason. With
    `feedback` the first dense retriever adds `score_feedback`.
    """
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
    found = _Found(
        plain, queries, documents, masks, retrievers, strategy, fusion, sources, since, told, on_masked, budget_bytes
    )
    together = max(block, budget_bytes // (_HIT_BYTES * (depth + 8) * len(retrievers)) // block * block)
    for first in range(0, max(len(queries), 1), together):
        last = min(first + together, len(queries))
        notes: Counter[str] = Counter()
        hits = [found.search(number, np.arange(first, last), depth, notes) for number in range(len(retrievers))]
        for start in range(first, max(last, first + 1), block):
            end = min(start + block, last)
            for low, high in found.in_pieces(start, end, [places[start - first : end - first] for places, _ in hits]):
                rows = slice(low - first, high - first)
                yield found.block(depth, low, high, [(places[rows], scores[rows]) for places, scores in hits], notes)
                notes = Counter()


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
class _Found:
    """Everything that the blocks of a search share."""

    pairs: pa.Table
    queries: Queries
    documents: Documents
    masks: Masks
    retrievers: Sequence[Retriever]
    strategy: Strategy
    fusion: Fusion
    sources: Sources | None
    since: Since | None
    told: Feedback | None
    on_masked: OnMasked | None
    budget_bytes: int

    def search(self, number: int, queries: np.ndarray, depth: int, notes: Counter[str]) -> Hits:
        """Of the first `depth` documents of each query that are not masked, those in the bands, each at its rank.

        So many more are searched as the query has masked ones; queries are taken together by the
        power of two above that number, so that one with thousands of positives slows no other down. What only
        shows when a document was found, that it is too like a positive, is made up for by searching deeper.
        """
        retriever = self.retrievers[number]
        places = np.full((len(queries), depth), NOT_FOUND, np.int64)
        scores = np.full((len(queries), depth), -np.inf, np.float32)
        room = 1 << np.ceil(np.log2(np.maximum(self.masks.per_query[queries], 1))).astype(np.int64)
        rows = np.arange(len(queries))
        while len(rows):
            short = []
            for spare in np.unique(room[rows]):
                wide = depth + int(spare)
                asking = rows[room[rows] == spare]
                together = max(1, self.budget_bytes // (_HIT_BYTES * wide))
                for low in range(0, len(asking), together):
                    members = asking[low : low + together]
                    hits = retriever.search(queries[members], wide)
                    for start in range(0, len(members), BLOCK_QUERIES):
                        part = slice(start, start + BLOCK_QUERIES)
                        some = hits[0][part], hits[1][part]
                        taken = self._take(number, queries, members[part], some, (places, scores), notes)
                        short.append(members[part][~taken])
            rows = np.concatenate(short)
            room[rows] *= 4
        if few := len(queries) - int((places[:, -1] != NOT_FOUND).sum()):
            notes[f"queries with fewer than {depth} candidates from {retriever.name}"] += few
        kept = self.strategy.keeps((places, scores))
        if outside := int((places != NOT_FOUND).sum()) - int(kept.sum()):
            notes[f"outside the band of {retriever.name}"] += outside
        return np.where(kept, places, NOT_FOUND), scores

    def _take(
        self,
        number: int,
        queries: np.ndarray,
        rows: np.ndarray,
        hits: Hits,
        into: Hits,
        notes: Counter[str],
    ) -> np.ndarray:
        """Put what is free of the found documents (n, m) into `rows` (n,); says for which of them that is enough."""
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
            self._hand_on_masked(number, queries[rows], found, values, reasons, masked)
        line, column = np.nonzero(free & (taken <= depth) & enough[:, None])
        target = (rows[line], taken[line, column] - 1)
        places[target] = found[line, column]
        scores[target] = values[line, column]
        return enough

    def _hand_on_masked(
        self,
        number: int,
        queries: np.ndarray,
        found: np.ndarray,
        values: np.ndarray,
        reasons: np.ndarray,
        masked: np.ndarray,
    ) -> None:
        assert self.on_masked is not None
        retriever = self.retrievers[number]
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
        self.on_masked(table)

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
        used = np.unique(np.concatenate([self.documents.of_pair[low:high], *(each.ravel() for each in places)]))
        size = int(self.documents.texts.sizes(used[used >= 0]).sum())
        if last - first < 2 or size <= min(self.budget_bytes // _TEXT_COPIES, _MOST_TEXT_BYTES):
            yield first, last
            return
        half = (last - first) // 2
        yield from self.in_pieces(first, first + half, [each[:half] for each in places])
        yield from self.in_pieces(first + half, last, [each[half:] for each in places])

    def block(self, depth: int, first: int, last: int, hits: Sequence[Hits], notes: Counter[str]) -> Outcome:
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
        candidates = self.fusion.fused(union, depth, first, fused_before)
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
        if bare := len(numbers) - len(np.unique(given_queries[self.masks.positive[low:high]])):
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
