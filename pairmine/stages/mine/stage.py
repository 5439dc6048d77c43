"""The stage: take everything in, search, put the candidates behind the rows of their query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from pairmine import schema
from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers import DenseRetriever, ReadyRetriever, Retriever, RunRetriever
from pairmine.backends.specs import DENSE, Spec
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome, no_rejects
from pairmine.stages.mine.fusion import UNION, Fusion
from pairmine.stages.mine.masks import Known, Masks, similarity_of
from pairmine.stages.mine.near_copies import NEAR, near_as_dedup
from pairmine.stages.mine.overlap import Sources
from pairmine.stages.mine.remine import Since
from pairmine.stages.mine.retrievers import checked, opened
from pairmine.stages.mine.search import BLOCK_QUERIES, OnMasked, open_search
from pairmine.stages.mine.strategy import NEAREST, Strategy, innermost, wrapped
from pairmine.stages.mine.texts import Documents, Queries


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
    found = open_search(
        pairs,
        queries,
        documents,
        retrievers,
        depth=depth,
        strategy=strategy,
        masks=masks,
        fusion=fusion,
        sources=sources,
        since=since,
        feedback=feedback,
        on_masked=on_masked,
        budget_bytes=budget_bytes,
    )
    together = found.together(block)
    for first in range(0, max(len(queries), 1), together):
        yield from found.outcomes(first, min(first + together, len(queries)), block)
