"""The options of `pairmine score` alone, and which of all its options each kind of scorer takes."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

import typer

from pairmine.cli.llm_options import LlmOptions

_ROWS = "Rows"
_RERANK = "Server of rerank: models"

Band = Annotated[
    str | None,
    typer.Option(
        "--band",
        metavar="COLUMN:LOW:HIGH",
        help="Score only rows whose COLUMN lies in [LOW, HIGH), where another score is unsure, as ce:0.1:0.9; the rest "
        "get null. Of these, candidates alone unless --only says otherwise.",
        rich_help_panel=_ROWS,
    ),
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="KIND",
        help="Score only candidates (no label yet), positives or negatives; all is the default without --band.",
        rich_help_panel=_ROWS,
    ),
]
MaxJudged = Annotated[
    int | None,
    typer.Option(
        "--max-judged",
        min=1,
        help="Score at most so many pairs: with --band those nearest to its middle, else a sample; the same ones each "
        "time, and a higher number adds to them.",
        rich_help_panel=_ROWS,
    ),
]
Missing = Annotated[
    bool,
    typer.Option(
        "--missing",
        help="Keep the scores that are in the column already, and score only rows that have none, by the same model.",
        rich_help_panel=_ROWS,
    ),
]
Activation = Annotated[
    str,
    typer.Option(
        "--activation",
        help="With ce: what is made of the model's output: sigmoid gives a probability, whatever the model's own "
        "config says; none leaves the logit, which rules on relative margins refuse.",
        rich_help_panel="Encoder",
    ),
]
EndpointOption = Annotated[
    str,
    typer.Option(
        "--endpoint",
        help="rerank: only: rerank (Jina, Cohere, vLLM, Infinity, TEI) or score (vLLM).",
        rich_help_panel=_RERANK,
    ),
]
Scale = Annotated[
    str,
    typer.Option(
        "--scale",
        help="rerank: only: what the server's scores are: probability, similarity (both 0 to 1), cosine, or logit "
        "(raw scores).",
        rich_help_panel=_RERANK,
    ),
]
BatchDocuments = Annotated[
    int,
    typer.Option(
        "--batch-documents", min=1, help="rerank: only: most documents in one request.", rich_help_panel=_RERANK
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="What an LLM is asked: a recipe with a score, or a file; 'judge' by default.",
        rich_help_panel="Recipe",
    ),
]

ROWS = ("band", "only", "max_judged", "missing")
"""Options of every scorer, and of no teacher's vectors."""

_LOADED = {"max_length", "dtype", "backend", "device", "trust_remote_code", "store"}
_ENCODER = {*_LOADED, "query_prompt", "document_prompt", "truncate_dim"}
_SERVED = {"base_url", "api_key_file", "concurrency", "timeout", "retries"}
_RERANKED = {"endpoint", "scale", "batch_documents"}
_LLM = {field.name for field in fields(LlmOptions)}

TAKES: dict[str, set[str]] = {
    "ce": {*_LOADED, "activation"},
    "st": _ENCODER,
    "fake": _ENCODER,
    "rerank": {*_SERVED, *_RERANKED, "rpm", "tpm", "request_arg", "max_failed", "store", "dry_run"},
    "judge": {*_LLM, "recipe", "set_", "shots", "dry_run", "probe"},
    "ql:vllm": {"vllm_arg"},
    "ql:openai": _SERVED,
    "ql:hf": {"device"},
    "ql:fake": set(),
}
"""The options that each kind of scorer takes beside those that all take."""


def refused_by(kind: str) -> list[str]:
    """The options of other kinds, which a scorer of this `kind` would ignore."""
    return sorted(set().union(*TAKES.values()) - TAKES[kind])
