"""`pairmine mine`: candidates for hard negatives."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli import encoder_options as encoder
from pairmine.cli import engine_options as engines
from pairmine.cli import fusion_options as fused
from pairmine.cli import index_options as indexing
from pairmine.cli import mask_options as masking
from pairmine.cli import options as shared
from pairmine.cli import server_options as server
from pairmine.cli import store_options as stored
from pairmine.cli.llm_options import OutputOrNone
from pairmine.cli.run import Run, choice, given, lay_aside, without_effect, written
from pairmine.distinct import distinct

_CHOICE = "Which documents"
_MOST_DEPTH = 1_000_000
_TAKEN_BY = {
    **dict.fromkeys(("query_prompt", "document_prompt", "max_length", "truncate_dim"), ("st", "openai")),
    **dict.fromkeys(("dtype", "backend", "trust_remote_code"), ("st",)),
    "device": ("st", "npy"),
    **dict.fromkeys(("bm25_k1", "bm25_b"), ("bm25",)),
    **dict.fromkeys(server.NAMES, ("openai",)),
}
"""The kinds of retrievers that an option is for."""

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    import pyarrow as pa

    from pairmine.backends.encoders import EmbeddingServer, Encoder, Side
    from pairmine.backends.models import Advance
    from pairmine.backends.retrievers import MakeSearcher, Retriever
    from pairmine.backends.specs import Spec
    from pairmine.backends.vectors import Vectors
    from pairmine.backends.vectors.store import VectorStore
    from pairmine.memory import Memory
    from pairmine.stages.mine import Strategy
    from pairmine.stages.mine.texts import Corpus, Documents


def mine(
    context: typer.Context,
    pairs: Annotated[
        str, typer.Argument(help="Pair set: a file, a folder of shards, a BEIR folder, or -.", show_default=False)
    ],
    output: OutputOrNone = None,
    corpus: Annotated[
        str | None,
        typer.Option(
            "--corpus",
            help="Documents to search; without it, those of the pair set, or a BEIR folder's own corpus.",
            show_default=False,
        ),
    ] = None,
    retriever: Annotated[
        list[str],
        typer.Option(
            "--retriever",
            help="st:MODEL, openai:MODEL, bm25, npy:DOCUMENTS[,QUERIES] (ready-made vectors) or run:FILE (TREC), "
            "several times for several; NAME=SPEC names the score column.",
        ),
    ] = ["st:all-MiniLM-L6-v2"],  # noqa: B006 (typer copies it)
    depth: Annotated[
        int, typer.Option("--depth", min=1, help="Candidates per query and retriever; with --ranks, the last of them.")
    ] = 100,
    search_with: Annotated[
        str,
        typer.Option(
            "--search-with",
            help="What is searched with: the query, or its first positive document: query, positive.",
            rich_help_panel=_CHOICE,
        ),
    ] = "query",
    ranks: Annotated[
        str | None,
        typer.Option(
            "--ranks", metavar="LOW:HIGH", help="Keep these ranks of each list, as 31:100.", rich_help_panel=_CHOICE
        ),
    ] = None,
    score_range: Annotated[
        str | None,
        typer.Option(
            "--score-range",
            metavar="LOW:HIGH",
            help="Of the --depth first, keep those with such a score, as 0.3:0.8 or :0.8.",
            rich_help_panel=_CHOICE,
        ),
    ] = None,
    clusters: Annotated[
        int | None,
        typer.Option(
            "--clusters",
            metavar="K",
            help="Put documents into K clusters (ClusterNS: 128), and take candidates from the one whose centroid is "
            "second nearest to the positive; adds the column cluster.",
            rich_help_panel=_CHOICE,
        ),
    ] = None,
    within: Annotated[
        str,
        typer.Option(
            "--within",
            help="With --clusters: candidates of the second nearest cluster, or of all: second, all.",
            rich_help_panel=_CHOICE,
        ),
    ] = "second",
    fuse: fused.Fuse = "union",
    keep: fused.Keep = None,
    rrf_k: fused.RrfK = 60,
    fuse_weights: fused.FuseWeights = None,
    since: fused.SincePath = None,
    near: masking.Near = 0.8,
    no_near: masking.NoNear = False,
    near_cosine: masking.NearCosine = None,
    group_column: masking.GroupColumn = None,
    known: masking.Known = None,
    rejects: masking.Rejects = None,
    no_feedback: Annotated[
        bool,
        typer.Option(
            "--no-feedback",
            help="Leave out score_feedback: the mean cosine of each document to the known positives of its query "
            "less that to the query's candidates, by the first retriever with vectors.",
        ),
    ] = False,
    index: indexing.Index = "exact",
    recall: indexing.RecallOf = 0.98,
    seed: shared.Seed = 0,
    query_prompt: encoder.QueryPrompt = None,
    document_prompt: encoder.DocumentPrompt = None,
    max_length: encoder.MaxLength = None,
    truncate_dim: encoder.TruncateDim = None,
    dtype: encoder.Dtype = "auto",
    backend: encoder.Backend = "torch",
    device: encoder.Device = None,
    trust_remote_code: encoder.TrustRemoteCode = False,
    store: stored.StorePath = stored.DEFAULT,
    vector_type: stored.VectorType = "float32",
    bm25_k1: Annotated[float, typer.Option("--bm25-k1", help="bm25: how slowly a word that comes again counts.")] = 1.5,
    bm25_b: Annotated[
        float, typer.Option("--bm25-b", help="bm25: how far long documents are held back, 0 to 1.")
    ] = 0.75,
    title: Annotated[
        bool | None,
        typer.Option(
            "--title/--no-title",
            help="Put a document's title before its text; unset, unless pairs were cut from documents.",
            show_default=False,
        ),
    ] = None,
    base_url: server.BaseUrl = None,
    api_key_file: server.ApiKeyFile = None,
    concurrency: server.Concurrency = None,
    rpm: server.Rpm = None,
    tpm: server.Tpm = None,
    request_arg: server.RequestArg = None,
    tokenizer: server.Tokenizer = None,
    memory: shared.Memory = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say how long it would take, and how much memory and disk."),
    ] = False,
    workers: shared.Workers = 0,
    engine: engines.Engine = "local",
    ray_address: engines.RayAddress = None,
    gpus_per_worker: engines.GpusPerWorker = 0.0,
    cpus_per_worker: engines.CpusPerWorker = 1.0,
    shard_rows: engines.ShardRows = engines.ROWS,
    split: shared.Split = None,
    id_column: shared.IdColumn = None,
    text_column: shared.TextColumn = None,
    title_column: shared.TitleColumn = None,
    query_column: shared.QueryColumn = None,
    document_column: shared.DocumentColumn = None,
    query_id_column: shared.QueryIdColumn = None,
    doc_id_column: shared.DocIdColumn = None,
    label_column: shared.LabelColumn = None,
    kind: shared.Format = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
) -> None:
    """Add candidates for hard negatives to every query of a pair set.

    Once there are positives, to find what a model takes for one of them. FAISS over a bi-encoder, BM25, or
    several at once. Known positives, their copies and near
    copies, the documents that they were cut from and the query's own text are never candidates. Every
    row gets every retriever's score, and with vectors score_feedback, by which 'pairmine filter' suspects false
    negatives: how much nearer its document is to the query's other known positives than to the query's candidates
    (after Rocchio 1971). Nothing is decided here, 'pairmine filter' does that.

    Other candidates than the nearest: --clusters (ClusterNS, Deng et al. 2023, arXiv 2305.09892), --search-with
    positive, which adds score_near_NAME, the similarity to the positive, and bands. With the model in training
    as the retriever, run again each time it was saved, this is ANCE (Xiong et al. 2020, arXiv 2007.00808);
    --since says what changed.

    \b
      pairmine mine pairs.parquet --corpus corpus.jsonl -o mined.parquet
      pairmine mine pairs.parquet --corpus corpus.jsonl --retriever st:all-MiniLM-L6-v2 --retriever bm25 -o both.parquet
      pairmine mine pairs.parquet --corpus corpus.jsonl --clusters 128 --depth 10 -o clustered.parquet
      pairmine mine pairs.parquet --corpus corpus.jsonl --search-with positive --score-range 0.4:0.8 -o near.parquet
      pairmine mine pairs.parquet --corpus corpus.jsonl --since mined.parquet -o again.parquet
      pairmine mine pairs.parquet --corpus corpus.jsonl --dry-run
    """
    from pairmine.backends.encoders import nothing
    from pairmine.backends.models import use_threads
    from pairmine.backends.retrievers import DenseRetriever
    from pairmine.backends.specs import DENSE
    from pairmine.backends.vectors.codec import VECTOR_TYPES
    from pairmine.cli.mine_plan import Plan, Rehearsal, show_plan
    from pairmine.errors import PairmineError
    from pairmine.files.beir import find_beir
    from pairmine.files.qrels import open_known
    from pairmine.files.source import open_documents, open_pairs
    from pairmine.files.text_pool import TextPool
    from pairmine.memory import Memory
    from pairmine.stages.mine import (
        Corpus,
        Documents,
        Known,
        Masks,
        Queries,
        cut_from_documents,
        named_specs,
        open_search,
        search_blocks,
        similarity_of,
        take_in,
        wrapped,
    )

    corpus_only = {
        "--id-column": id_column,
        "--text-column": text_column,
        "--title-column": title_column,
        "--title" if title else "--no-title": title is not None,
    }
    named = named_specs(retriever)
    if clusters is None:
        without_effect(context, "without --clusters", "within")
        if index == "exact":
            without_effect(context, "without --clusters", "seed")
    indexing.check(context, named, index, recall, clusters)
    ray = engines.engine_of(context)
    if ray:
        from pairmine.cli import mine_indexes, mine_shards

        mine_shards.check(named, index, clusters, dry_run)
    strategy = _strategy(search_with, ranks, score_range, clusters, within, seed)
    if strategy.ranks and not given(context, "depth"):
        depth = strategy.ranks[1]
    fusion = fused.fusion_of(context, len(named), fuse, keep, rrf_k, fuse_weights)
    if depth > _MOST_DEPTH:
        raise PairmineError(f"--depth {depth}: at most {_MOST_DEPTH:,}")
    fusion.check(depth, len(named), strategy.ranks)
    strategy.check(fusion.cut(depth), len(named), sum(spec.kind in DENSE for spec, _ in named))
    searched = corpus if corpus is not None or find_beir(pairs) is None else pairs
    settings = {
        "query_prompt": query_prompt,
        "document_prompt": document_prompt,
        "max_length": max_length,
        "truncate_dim": truncate_dim,
        "dtype": dtype,
        "backend": backend,
        "device": device,
        "trust_remote_code": trust_remote_code,
    }
    at = dict(zip(server.NAMES, (base_url, api_key_file, concurrency, rpm, tpm, request_arg, tokenizer), strict=True))
    _check_options(context, named, [flag for flag, used in corpus_only.items() if used and searched is None])
    choice("--vector-type", vector_type, VECTOR_TYPES)
    if not any(spec.kind in stored.EMBED for spec, _ in named):
        without_effect(context, "without a retriever that embeds", "store", "vector_type")
    if not any(spec.kind in DENSE for spec, _ in named):
        without_effect(context, "without a retriever that has vectors", "no_feedback")
    threads = max(1, int(cpus_per_worker)) if ray else workers
    near_copies = masking.near_copies(context, near, no_near, threads)
    if not 0 <= bm25_k1 < math.inf or not 0 <= bm25_b <= 1:
        raise PairmineError(f"--bm25-k1 {bm25_k1:g} and --bm25-b {bm25_b:g}: k1 is 0 or more, b is from 0 to 1")
    words = {"k1": bm25_k1, "b": bm25_b}
    room = Memory.of(memory)
    if dry_run:
        without_effect(context, "with --dry-run", "output", "kind", "rejects")
        rehearsal = Rehearsal(summary, quiet=quiet)
    elif output is None:
        raise PairmineError("missing option '--output' / '-o'; only --dry-run goes without it")

    def opened_run() -> Any:
        return rehearsal if dry_run else Run(context, str(output), kind=kind, summary=summary, quiet=quiet, engine=ray)

    with ray or nullcontext(), opened_run() as run:
        masked_to = run.open_extra("--rejects", rejects) if rejects else None
        for path in (each for spec, _ in named for each in _files_of(spec)):
            run.guard("what a retriever reads", path)
        pair_source = run.reads(
            open_pairs(
                pairs,
                run.say,
                split=split,
                query=query_column,
                document=document_column,
                query_id=query_id_column,
                doc_id=doc_id_column,
                label=label_column,
            ),
            "pairs",
        )
        corpus_source = None
        if searched is not None:
            corpus_source = run.reads(
                open_documents(searched, run.say, id=id_column, text=text_column, title=title_column), "corpus"
            )
            if corpus is None:
                run.say(f"{pairs} is a BEIR folder, so its own corpus is searched; --corpus names another")
        known_source = run.reads(open_known(known, run.say), "known") if known else None
        before = fused.read_since(since, run)
        vectors = stored.open_store(store, vector_type, run.say)
        searcher = indexing.searcher_maker(
            index,
            recall,
            depth=depth,
            budget_bytes=room.work,
            threads=workers,
            seed=seed,
            device=search_device(device),
            say=run.say,
        )
        cluster = None
        if ray:
            searches_on = search_device(device) or ("cuda" if gpus_per_worker else None)
            keeps = None if store == stored.NONE else store
            tuning = mine_indexes.Tuning(index, recall, depth, seed)
            cluster = mine_shards.Cluster(ray, run, room, settings, keeps, vector_type, threads, searches_on, tuning)
        with run.progress.loading(*(spec for spec, _ in named)):
            opened = (
                cluster.open(named, words)
                if cluster
                else _open(named, vectors, room, workers, settings, words, server.server_of(at), run.say, searcher)
            )
        retrievers = wrapped(opened, strategy)
        similarity = similarity_of(opened, near_cosine)
        table = pair_source.read()
        elsewhere = None if known_source is None else known_source.read()
        with_titles = title if title is not None else not cut_from_documents(table)
        own_corpus = None
        pool = TextPool(room.texts)
        if corpus_source is not None:
            grouped: dict[str, Any] = {
                "titles": with_titles,
                "group": group_column,
                "may_lack_group": group_column in table.column_names,
            }
            own_corpus = (
                cluster.corpus(corpus_source, **grouped)
                if cluster
                else Corpus.of(corpus_source.each(), storage=pool, **grouped)
            )
            if title is None and own_corpus.has_titles and not with_titles:
                run.say(
                    "pairs cut from documents hold no titles, so the corpus is searched without them; "
                    "--title puts them back"
                )
        queries = Queries.of(table)
        documents = Documents.of(table, own_corpus, titles=with_titles, group=group_column, known=elsewhere)
        if own_corpus is not None and title is None and with_titles:
            _tell_bare_positives(run, table, documents, own_corpus)
        own_corpus = None  # its ids and keys, tens of bytes a document, are in `documents` now
        known_too = None if elsewhere is None else Known.of(elsewhere, queries, documents)
        if documents.copies:
            run.say(f"{documents.copies} documents are exact copies of others; each text is searched once")
        if documents.blank:
            run.say(f"{documents.blank} documents have no text and cannot be candidates")
        use_threads(0 if ray else workers)
        if dry_run:
            held = table.nbytes + pool.bytes_in_memory
            plan = Plan(queries, documents, room, vectors, depth, index, workers, held, near_copies is not None)
            show_plan(plan, opened, spooled=pool.bytes_on_disk, summary=summary)
            return
        most_read = documents.searchable if near_copies else None
        masks = Masks.of(
            table,
            queries,
            documents,
            near=near_copies,
            near_cosine=near_cosine,
            similarity=similarity,
            known=known_too,
            advance=nothing if cluster else run.begin("documents read for near copies", most_read),
            spread=cluster.near_copies(documents) if cluster else None,
        )
        for each in retrievers if len(queries) else ():
            take_in(each, table, queries, documents, masks, depth=depth, **({} if cluster else {"watch": run.begin}))
        counted = cluster or vectors
        run.sum_up(embedded=counted.embedded, reused=counted.reused)
        if counted.embedded or counted.reused:
            run.say(stored.embedded_words(counted.embedded, counted.reused, vectors.folder))
        sources = fused.sources_of(retrievers, depth, strategy)
        on_masked = masking.rejects_into(masked_to, masks, queries, documents)
        asked: dict[str, Any] = {
            "depth": depth,
            "strategy": strategy,
            "masks": masks,
            "fusion": fusion,
            "sources": sources,
            "since": before,
            "feedback": not no_feedback,
            "budget_bytes": room.work,
        }
        if cluster:
            cluster.settle(opened, documents)
            cluster.rows(open_search(table, queries, documents, retrievers, **asked), on_masked)
        else:
            watch = run.begin("documents searched", None)
            for each in opened:
                if isinstance(each, DenseRetriever):
                    each.searching = watch
            for outcome in search_blocks(table, queries, documents, retrievers, on_masked=on_masked, **asked):
                run.write(outcome)
        fused.report_on(run, sources, before)
        run.detail(models=[{"name": each.name, **each.facts} for each in retrievers])
        indexing.settle(context, index, opened)


def _strategy(
    search_with: str, ranks: str | None, score_range: str | None, clusters: int | None, within: str, seed: int
) -> Strategy:
    from pairmine.errors import PairmineError
    from pairmine.stages.mine import Strategy

    band = None
    if ranks is not None:
        low, colon, high = ranks.partition(":")
        if not (colon and low.isdecimal() and high.isdecimal()):
            raise PairmineError(f"--ranks {ranks}: write LOW:HIGH, as in 31:100")
        band = (int(low), int(high))
    scores = None
    if score_range is not None:
        low, colon, high = score_range.partition(":")
        try:
            scores = (float(low or "-inf"), float(high or "inf"))
        except ValueError:
            colon = ""
        if not colon or score_range == ":":
            raise PairmineError(f"--score-range {score_range}: write LOW:HIGH, as in 0.3:0.8, or :0.8")
    return Strategy(search_with, band, scores, clusters, within, seed)


def _tell_bare_positives(run: Run, pairs: pa.Table, documents: Documents, corpus: Corpus) -> None:
    """Say so where positives lack the titles that candidates will have: a model could tell them by that alone."""
    import numpy as np

    positives = distinct(documents.pair_keys[np.asarray(pairs["label"].fill_null(0)) == 1])
    if bare := corpus.bare(positives):
        run.say(
            f"{bare} of {len(positives)} positives are texts of the corpus without their titles, and candidates have "
            "them: a model can tell them apart by that alone; --no-title leaves titles out"
        )


def _check_options(context: typer.Context, named: list[tuple[Spec, str]], corpus_options: list[str]) -> None:
    """Raise a PairmineError for an option that cannot take effect."""
    from pairmine.errors import PairmineError

    kinds = {spec.kind for spec, _ in named}
    for name, takers in _TAKEN_BY.items():
        if not kinds.isdisjoint(takers):
            continue
        lay_aside(context, name)
        if written(context, name):
            flag = "--" + name.replace("_", "-")
            whose = " and ".join(kind if kind == "bm25" else f"{kind}:" for kind in takers)
            raise PairmineError(f"{flag} is for {whose} retrievers, and there is none; leave it out")
    if corpus_options:
        raise PairmineError(f"{corpus_options[0]} is for the --corpus, and there is none; leave it out or pass one")


def _files_of(spec: Spec) -> tuple[str, ...]:
    """The files that a retriever reads as they are."""
    from pairmine.backends.retrievers.ready import split_target

    if spec.kind == "npy":
        return tuple(path for path in split_target(spec.target) if path)
    return (spec.target,) if spec.kind == "run" else ()


def _open(
    named: list[tuple[Spec, str]],
    store: VectorStore,
    room: Memory,
    threads: int,
    settings: Mapping[str, Any],
    bm25: Mapping[str, Any],
    server: EmbeddingServer,
    say: Callable[[str], None],
    make_searcher: MakeSearcher | None = None,
) -> list[Retriever]:
    """The retrievers; the dense ones share the memory for vectors, an eighth of it for those of queries."""
    from pairmine.backends.retrievers import open_retriever
    from pairmine.backends.specs import DENSE

    share = room.vectors // max(sum(spec.kind in DENSE for spec, _ in named), 1)

    def embed(encoder: Encoder, texts: Sequence[str], side: Side, advance: Advance) -> Vectors:
        return store.vectors(encoder, texts, side, advance, share // 8 if side == "query" else share // 8 * 7)

    at_server = {name: settings[name] for name, takers in _TAKEN_BY.items() if name in settings and "openai" in takers}
    of_kind: dict[str, Mapping[str, Any]] = {
        "st": settings,
        "openai": at_server | {"server": server, "say": say},
        "npy": {"vectors_bytes": share, "say": say},
        "run": {"say": say},
        "bm25": bm25,
    }
    found = []
    for spec, score in named:
        own = of_kind.get(spec.kind, {})
        common: dict[str, Any] = {
            "score": score,
            "threads": threads,
            "embed": embed,
            "budget_bytes": room.work,
            "make_searcher": make_searcher,
        }
        found.append(open_retriever(spec, search_device=search_device(settings["device"]), **common, **own))
    return found


def search_device(device: str | None) -> str | None:
    """Where vectors are searched that `device` embeds: on the first GPU of several."""
    return device.partition(",")[0].replace("*", "0") if device and device.startswith("cuda") else None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(mine)
