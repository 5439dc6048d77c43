"""`pairmine mine`: candidates for hard negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli import options as shared
from pairmine.cli.run import Run, given, without_effect

_CHOICE = "Which documents"

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.backends.retrievers import Retriever
    from pairmine.backends.specs import Spec
    from pairmine.stages.mine import Strategy


def mine(
    context: typer.Context,
    pairs: Annotated[
        str, typer.Argument(help="Pair set: a file, a folder of shards, a BEIR folder, or -.", show_default=False)
    ],
    output: shared.Output,
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
            "--retriever", help="st:MODEL or bm25, several times for several; NAME=SPEC names the score column."
        ),
    ] = ["st:all-MiniLM-L6-v2"],  # noqa: B006 (typer copies it)
    depth: Annotated[
        int, typer.Option("--depth", min=1, help="Candidates per query and retriever; with --ranks, the last of them.")
    ] = 100,
    near: Annotated[
        str,
        typer.Option(
            "--near",
            help="What candidates are near to: the query, or its first positive document.",
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
    seed: shared.Seed = 0,
    query_prompt: Annotated[
        str | None,
        typer.Option("--query-prompt", help="Text before every query, or the name of one of the model's prompts."),
    ] = None,
    document_prompt: Annotated[str | None, typer.Option("--document-prompt", help="The same for documents.")] = None,
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", min=1, help="Tokens of a text that are read; the model's own by default."),
    ] = None,
    title: Annotated[
        bool | None,
        typer.Option(
            "--title/--no-title",
            help="Put a document's title before its text; unset, unless pairs were cut from documents.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps; chosen by itself otherwise.")
    ] = None,
    workers: shared.Workers = 0,
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

    FAISS over a bi-encoder, BM25, or several at once. Known positives, their copies, the
    documents that they were cut from and the query's own text are never candidates. Every row
    gets every retriever's score; nothing is decided here, 'pairmine filter' does that.

    Other candidates than the nearest: --clusters (ClusterNS, Deng et al. 2023, arXiv 2305.09892), --near document,
    which adds score_near_NAME, the similarity to the positive, and bands. With the model in training
    as the retriever, run again each time it was saved, this is ANCE (Xiong et al. 2020, arXiv 2007.00808).

    \b
      pairmine mine pairs.parquet --corpus docs.jsonl --retriever st:all-MiniLM-L6-v2 --retriever bm25 -o mined.parquet
      pairmine mine pairs.parquet --corpus docs.jsonl --clusters 128 --depth 10 -o mined.parquet
      pairmine mine pairs.parquet --corpus docs.jsonl --near document --score-range 0.4:0.8 -o mined.parquet
    """
    from pairmine.backends.models import use_threads
    from pairmine.files.beir import find_beir
    from pairmine.files.source import open_documents, open_pairs
    from pairmine.stages.mine import Documents, Queries, named_specs, search_blocks, wrapped

    corpus_only = {
        "--id-column": id_column,
        "--text-column": text_column,
        "--title-column": title_column,
        "--title" if title else "--no-title": title is not None,
    }
    named = named_specs(retriever)
    if clusters is None:
        without_effect(context, "without --clusters", "within", "seed")
    strategy = _strategy(near, ranks, score_range, clusters, within, seed)
    if strategy.ranks and not given(context, "depth"):
        depth = strategy.ranks[1]
    strategy.check(depth, len(named), sum(spec.kind != "bm25" for spec, _ in named))
    searched = corpus if corpus is not None or find_beir(pairs) is None else pairs
    _check_options(
        named,
        {
            "--query-prompt": query_prompt,
            "--document-prompt": document_prompt,
            "--max-length": max_length,
            "--device": device,
        },
        [flag for flag, used in corpus_only.items() if used and searched is None],
    )
    with Run(context, output, kind=kind, summary=summary, quiet=quiet) as run:
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
        table = pair_source.read()
        known = corpus_source.read() if corpus_source else None
        if title is None and known is not None:
            title = _with_titles(table, known, run)
        opened = _open(
            named,
            workers,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            max_length=max_length,
            device=device,
        )
        retrievers = wrapped(opened, strategy)
        queries, documents = Queries.of(table), Documents.of(table, known, titles=title is not False)
        if documents.copies:
            run.say(f"{documents.copies} documents are exact copies of others; each text is searched once")
        if documents.blank:
            run.say(f"{documents.blank} documents have no text and cannot be candidates")
        use_threads(workers)
        for each in retrievers if len(queries) else ():
            each.index(
                documents.texts, documents.searchable, run.begin(f"documents for {each.name}", len(documents.texts))
            )
            each.prepare(queries.texts, run.begin(f"queries for {each.name}", len(queries)))
        run.detail(models=[{"name": each.name, **each.facts} for each in retrievers])
        advance = run.begin("rows", None)
        for outcome in search_blocks(table, queries, documents, retrievers, depth=depth, strategy=strategy):
            run.write(outcome)
            advance(outcome.kept.num_rows)


def _strategy(
    near: str, ranks: str | None, score_range: str | None, clusters: int | None, within: str, seed: int
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
    return Strategy(near, band, scores, clusters, within, seed)


def _with_titles(pairs: pa.Table, corpus: pa.Table, run: Run) -> bool:
    """Whether titles are searched when the user did not say; where they are left out, that is said."""
    from pairmine.stages.mine import cut_from_documents

    if not cut_from_documents(pairs):
        return True
    if "title" in corpus.column_names and corpus["title"].null_count < corpus.num_rows:
        run.say(
            "pairs cut from documents hold no titles, so the corpus is searched without them; --title puts them back"
        )
    return False


def _check_options(named: list[tuple[Spec, str]], model_options: dict[str, object], corpus_options: list[str]) -> None:
    """Raise a PairmineError for an option that cannot take effect."""
    from pairmine.errors import PairmineError

    unused = [flag for flag, value in model_options.items() if value is not None]
    if unused and not any(spec.kind == "st" for spec, _ in named):
        raise PairmineError(f"{unused[0]} is for st: retrievers, and there is none; leave it out")
    if corpus_options:
        raise PairmineError(f"{corpus_options[0]} is for the --corpus, and there is none; leave it out or pass one")


def _open(
    named: list[tuple[Spec, str]],
    threads: int,
    *,
    query_prompt: str | None,
    document_prompt: str | None,
    max_length: int | None,
    device: str | None,
) -> list[Retriever]:
    from pairmine.backends.retrievers import open_retriever

    retrievers = []
    for spec, score in named:
        settings = {}
        if spec.kind == "st":
            settings = {"query_prompt": query_prompt, "document_prompt": document_prompt, "max_length": max_length}
        retrievers.append(open_retriever(spec, score=score, threads=threads, device=device, **settings))
    return retrievers


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(mine)
