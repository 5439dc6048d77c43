"""The stage: search, leave out what is masked, put the candidates behind the rows of their query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.retrievers import NOT_FOUND, DenseRetriever, Hits, Retriever
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, no_rejects
from pairmine.stages.mine.candidates import Candidates, last_ranks, rank_names
from pairmine.stages.mine.masks import REASONS, Masks
from pairmine.stages.mine.retrievers import checked, opened
from pairmine.stages.mine.strategy import NEAREST, NearDocument, Strategy, aim, clusters_of, wrapped
from pairmine.stages.mine.texts import Documents, Queries

BLOCK_QUERIES = 4096
CLUSTER = "cluster"


def mine(
    pairs: pa.Table,
    corpus: pa.Table | None,
    retrievers: Sequence[Retriever | str],
    *,
    depth: int,
    titles: bool | None = None,
    strategy: Strategy = NEAREST,
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

    Given rows keep their values; where one has no document text, the corpus fills it in.

    `strategy` says which documents are taken: the nearest by default, of which the `depth` first are looked at
    and those in its bands kept, with the ranks that they have there. Near the positive document, a column
    `score_near_<name>` holds the similarity to it; with clusters, `cluster` holds every document's.
    """
    outcomes = list(mine_blocks(pairs, corpus, retrievers, depth=depth, titles=titles, strategy=strategy))
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
    block: int = BLOCK_QUERIES,
) -> Iterator[Outcome]:
    """`mine`, a block of queries at a time."""
    if depth < 1:
        raise PairmineError(f"--depth {depth}: at least 1")
    wanted = checked(retrievers)
    strategy.check(depth, len(wanted), sum(_is_dense(each) for each in wanted))
    schema.check_pairs(pairs)
    pairs = schema.as_pairs(pairs)
    queries = Queries.of(pairs)
    documents = Documents.of(pairs, corpus, titles=not cut_from_documents(pairs) if titles is None else titles)
    ready = wrapped(opened(wanted), strategy)
    for retriever in ready if len(queries) else ():
        retriever.index(documents.texts, documents.searchable)
        retriever.prepare(queries.texts)
    yield from search_blocks(pairs, queries, documents, ready, depth=depth, block=block, strategy=strategy)


def _is_dense(retriever: Retriever | tuple[Spec, str]) -> bool:
    if isinstance(retriever, tuple):
        return retriever[0].kind != "bm25"
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
) -> Iterator[Outcome]:
    """The candidates of each block of queries, once the retrievers, `wrapped` for the strategy, took everything in.

    Without queries the retrievers need not have taken anything in, and one block without rows comes.
    """
    own = [schema.SCORE_PREFIX + retriever.score for retriever in retrievers]
    own += [schema.SCORE_PREFIX + _near_name(retriever) for retriever in retrievers if _is_near(retriever)]
    own += [CLUSTER] if strategy.clusters is not None else []
    plain = pairs.drop_columns([name for name in own if name in pairs.column_names])
    plain = _with_texts(plain, documents)
    masks = Masks.of(pairs, queries, documents)
    aim(retrievers, queries, documents, masks.positive)
    found = _Found(plain, queries, documents, masks, retrievers, strategy)
    for start in range(0, max(len(queries), 1), block):
        yield found.block(depth, start, min(start + block, len(queries)))


def _with_texts(pairs: pa.Table, documents: Documents) -> pa.Table:
    """`pairs` with the text that the corpus has for each document that came without one."""
    if "document" in pairs.column_names and not pairs["document"].null_count:
        return pairs
    places = documents.of_pair
    used, codes = np.unique(places[places >= 0], return_inverse=True)
    all_codes = np.zeros(len(places), np.int32)
    all_codes[places >= 0] = codes
    texts = documents.column.take(pa.array(used)).cast(pa.string()).combine_chunks()
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

    def block(self, depth: int, first: int, last: int) -> Outcome:
        """The rows of the queries `first` to `last`, with up to `depth` candidates of each behind them."""
        queries, documents, retrievers = self.queries, self.documents, self.retrievers
        numbers = np.arange(first, last)
        notes: Counter[str] = Counter()
        hits = [_search(retriever, numbers, self.masks, depth, self.strategy, notes) for retriever in retrievers]
        low, high = int(queries.starts[first]), int(queries.starts[last])
        given = self.pairs.slice(low, high - low)
        given_queries = queries.of_rows(first, last) + first
        given_places = documents.of_pair[low:high]
        earlier = last_ranks(given, given_queries - first, len(numbers), retrievers)
        candidates = Candidates.of(hits, numbers, self.masks.width, earlier)

        found = candidates.table(queries, documents, retrievers)
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
        for name in rank_names(retrievers):
            if name not in given.column_names:
                given = given.append_column(name, pa.nulls(given.num_rows, pa.int32()))
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


def _search(
    retriever: Retriever, numbers: np.ndarray, masks: Masks, depth: int, strategy: Strategy, notes: Counter[str]
) -> Hits:
    """Of the first `depth` documents of each query that are not masked, those in the bands, each at its rank.

    So many more are searched as the query has masked ones; queries are taken together by the
    power of two above that number, so that one with thousands of positives slows no other down.
    """
    places = np.full((len(numbers), depth), NOT_FOUND, np.int64)
    scores = np.full((len(numbers), depth), -np.inf, np.float32)
    room = 1 << np.ceil(np.log2(np.maximum(masks.per_query[numbers], 1))).astype(np.int64)
    for spare in np.unique(room):
        members = np.flatnonzero(room == spare)
        found, values = retriever.search(numbers[members], depth + int(spare))
        reasons = masks.find(numbers[members], found)
        free = (reasons == NOT_FOUND) & (found != NOT_FOUND)
        taken = np.cumsum(free, axis=1)
        for number, reason in enumerate(REASONS):
            if masked := int(((reasons == number) & (taken < depth)).sum()):
                notes[f"masked for {retriever.name}: {reason}"] += masked
        rows, columns = np.nonzero(free & (taken <= depth))
        target = (members[rows], taken[rows, columns] - 1)
        places[target] = found[rows, columns]
        scores[target] = values[rows, columns]
    if short := len(numbers) - int((places[:, -1] != NOT_FOUND).sum()):
        notes[f"queries with fewer than {depth} candidates from {retriever.name}"] = short
    kept = strategy.keeps((places, scores))
    if outside := int((places != NOT_FOUND).sum()) - int(kept.sum()):
        notes[f"outside the band of {retriever.name}"] = outside
    return np.where(kept, places, NOT_FOUND), scores
