"""`pairmine score`: a score column."""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable

import typer

from pairmine.cli import encoder_options as encoder
from pairmine.cli import options as shared
from pairmine.cli.llm_options import (
    DryRun,
    LlmOptions,
    OutputOrNone,
    Probe,
    Set,
    Shots,
    ask_again,
    assignments,
    takes_llm_options,
)
from pairmine.cli.run import FAILED, Run, say, without_effect
from pairmine.errors import CHECK_FAILED, PairmineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pairmine.backends.specs import Spec
    from pairmine.files.source import PairSource
    from pairmine.llm.judging import Judge

_JUDGE = "Judge"
_KINDS = ("ce", "st", "openai", "vllm", "ql", "fake")
_ENCODER_ONLY = ("truncate_dim", "backend")
_MODEL_ONLY = (
    *("query_prompt", "document_prompt", "max_length", "dtype", "device", "trust_remote_code"),
    *_ENCODER_ONLY,
)
_SERVED = ("base_url", "api_key_file", "concurrency", "timeout", "retries")
_JUDGE_ONLY = ("recipe", "set_", "shots", "dry_run", "probe")


@takes_llm_options
def score(
    context: typer.Context,
    pairs: Annotated[
        str, typer.Argument(help="Pair set: a file, a folder of shards, a BEIR folder, or -.", show_default=False)
    ],
    options: LlmOptions,
    scorer: Annotated[
        str | None,
        typer.Option(
            "--scorer",
            help="ce:MODEL (a probability), st:MODEL (a cosine), an LLM as a judge: openai:MODEL, vllm:MODEL, or the "
            "likelihood of the query given the document: ql:vllm:MODEL, ql:openai:MODEL, ql:hf:MODEL; "
            "NAME=SPEC names the column.",
            show_default=False,
        ),
    ] = None,
    vectors: Annotated[
        str | None,
        typer.Option(
            "--vectors",
            metavar="st:MODEL",
            help="In place of a score: a teacher's vectors as columns query_vector and document_vector.",
            show_default=False,
        ),
    ] = None,
    side: Annotated[str, typer.Option("--side", help="With --vectors: of query, document or both.")] = "both",
    output: OutputOrNone = None,
    query_prompt: encoder.QueryPrompt = None,
    document_prompt: encoder.DocumentPrompt = None,
    max_length: encoder.MaxLength = None,
    truncate_dim: encoder.TruncateDim = None,
    dtype: encoder.Dtype = "auto",
    backend: encoder.Backend = "torch",
    device: encoder.Device = None,
    trust_remote_code: encoder.TrustRemoteCode = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="What an LLM is asked: a recipe with a score, or a file; 'judge' by default.",
            rich_help_panel=_JUDGE,
        ),
    ] = None,
    set_: Set = None,
    shots: Shots = None,
    dry_run: DryRun = False,
    probe: Probe = 0,
    workers: shared.Workers = 0,
    split: shared.Split = None,
    query_column: shared.QueryColumn = None,
    document_column: shared.DocumentColumn = None,
    kind: shared.Format = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
) -> None:
    """Add one score column to every row of a pair set; drops nothing.

    A cross-encoder fills score_ce with probabilities, a bi-encoder score_st with cosines, an LLM
    score_llm with its verdict in [0, 1], a language model score_ql with the mean log-probability of the
    query's tokens given the document (UPR, Sachan et al. 2022, arXiv 2204.07496). Equal pairs are scored
    once, and texts of like length together. --vectors adds a teacher's vectors for distillation.

    \b
      pairmine score mined.parquet --scorer ce:models/reranker -o scored.parquet
      pairmine score mined.parquet --scorer openai:gpt-5-mini --recipe judge --dry-run
      pairmine score mined.parquet --scorer ql:vllm:Qwen/Qwen3-0.6B-Base -o scored.parquet
      pairmine score parallel.parquet --vectors st:all-MiniLM-L6-v2 --side query -o taught.parquet
    """
    from pairmine.backends.specs import parse_spec, slug
    from pairmine.files.source import open_pairs

    def opened(tell: Callable[[str], None]) -> PairSource:
        return open_pairs(pairs, tell, split=split, replay=True, query=query_column, document=document_column)

    settings: dict[str, object] = {
        "max_length": max_length,
        "device": device,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
        "query_prompt": query_prompt,
        "document_prompt": document_prompt,
        "truncate_dim": truncate_dim,
        "backend": backend,
    }
    if (scorer is None) == (vectors is None):
        raise PairmineError("pass --scorer for a score, or --vectors for vectors, and one of them")
    if vectors is not None:
        target = _checked_for_vectors(context, vectors, side, output)
        with Run(context, target, kind=kind, summary=summary, quiet=quiet) as run:
            _add_vectors(run, run.reads(opened(run.say), "pairs"), vectors, side, workers, **settings)
        return
    assert scorer is not None
    without_effect(context, "without --vectors", "side")
    spec = parse_spec(scorer, _KINDS, "--scorer")
    is_judge = spec.kind in ("openai", "vllm") or (spec.kind == "fake" and recipe is not None)
    name = slug(spec.alias) if spec.alias else "llm" if is_judge else spec.kind
    target = _checked(context, spec, is_judge, output)

    if is_judge:
        judging = _Judging(options, spec, recipe or "judge", set_ or [], shots)
        if dry_run:
            judging.estimate(opened(say), probe, summary)
            return
        with Run(context, target, kind=kind, summary=summary, quiet=quiet) as run:
            judging.run(run, run.reads(opened(run.say), "pairs"), name)
        judging.complain()
        return
    with Run(context, target, kind=kind, summary=summary, quiet=quiet) as run:
        if spec.kind == "ql":
            settings = {"device": device, **_likelihood_settings(options, run)}
        elif spec.kind == "ce":
            settings = {name: value for name, value in settings.items() if name not in _ENCODER_ONLY}
        _score_by_model(run, run.reads(opened(run.say), "pairs"), spec, name, workers, **settings)


def _score_by_model(run: Run, source: PairSource, spec: Spec, name: str, workers: int, **settings: object) -> None:
    from pairmine.backends.models import use_threads
    from pairmine.backends.scorers import open_scorer
    from pairmine.stages.score import score_pairs

    rows = _checked_rows(source)
    use_threads(workers)
    model = open_scorer(spec, **settings)  # type: ignore[arg-type]
    run.detail(models=[{"name": spec.name, **model.facts}])
    advance = run.begin("rows", rows)
    with closing(model) if isinstance(model, _Closes) else nullcontext():
        for chunk in source.chunks():
            run.write(score_pairs(chunk, model, name=name, advance=advance))


@runtime_checkable
class _Closes(Protocol):
    """A scorer that holds an engine or connections."""

    def close(self) -> None:
        """Let go of them."""


def _likelihood_settings(options: LlmOptions, run: Run) -> dict[str, object]:
    return {
        "base_url": options.base_url,
        "key_file": options.api_key_file,
        "concurrency": options.concurrency,
        "timeout_s": options.timeout,
        "retries": options.retries,
        "vllm_args": assignments("--vllm-arg", options.vllm_arg or []),
        "say": run.say,
    }


def _add_vectors(
    run: Run,
    source: PairSource,
    vectors: str,
    side: str,
    workers: int,
    **settings: object,
) -> None:
    from pairmine.backends.encoders import open_encoder
    from pairmine.backends.models import use_threads
    from pairmine.backends.specs import parse_spec
    from pairmine.stages.score import SIDES, VectorAdder

    spec = parse_spec(vectors, ("st", "fake"), "--vectors")
    rows = _checked_rows(source, SIDES[side])
    use_threads(workers)
    encoder = open_encoder(spec, flag="--vectors", **settings)  # type: ignore[arg-type]
    adder = VectorAdder(encoder, side)
    run.detail(models=[{"name": spec.name, **adder.facts}])
    advance = run.begin("rows", rows)
    for chunk in source.chunks():
        run.write(adder.add(chunk, advance))


class _Judging:
    """An LLM as the scorer of one run."""

    def __init__(self, options: LlmOptions, spec: Spec, recipe: str, given: list[str], shots: int | None) -> None:
        from pairmine.llm.recipes.file import load_recipe
        from pairmine.llm.recipes.rendering import Renderer

        self._options = options
        self._spec = spec
        self._recipe = load_recipe(recipe)
        if self._recipe.score is None:
            raise PairmineError(
                f"recipe {self._recipe.name} writes pairs and gives no score; "
                f"run 'pairmine generate {self._recipe.name} INPUT --llm {spec}'"
            )
        self._renderer = Renderer(self._recipe, options=assignments("--set", given), shots=shots)
        self._judge: Judge

    def run(self, run: Run, source: PairSource, name: str) -> None:
        """Score everything in `source`."""
        from pairmine.cli.llm_session import Session
        from pairmine.llm.judging import Judge
        from pairmine.stages.score import score_pairs

        with Session(self._options, self._spec, self._recipe, run.say) as session:
            session.guard(run, self._recipe.path)
            rows = _checked_rows(source)
            run.detail(**session.facts)
            self._judge = Judge(session.plan(self._renderer), session.start(), {}, session.window)
            advance = run.begin("rows", rows, session.status)
            for chunk in source.chunks():
                run.write(score_pairs(chunk, self._judge, name=name, advance=advance))
            session.finish()
            run.sum_up(**session.spent())
            reasons = [f"no score for {count:,} pairs: {reason}" for reason, count in self._judge.reasons.most_common()]
            run.add_to_report([*reasons, *session.report()])

    def estimate(self, source: PairSource, probe: int, summary: str | None) -> None:
        """Tell what it would cost."""
        from pairmine.cli.estimate import show_estimate
        from pairmine.cli.llm_session import Session
        from pairmine.llm.judging import verdicts
        from pairmine.stages.score import distinct_pairs

        _checked_rows(source)
        with Session(self._options, self._spec, self._recipe, say, only_looks=not probe) as session:
            show_estimate(
                session,
                self._renderer,
                lambda plan: (task for chunk in source.chunks() for task in verdicts(plan, *distinct_pairs(chunk)[:2])),
                command="score",
                probe=probe,
                summary=summary,
            )

    def complain(self) -> None:
        """Exit 1 after the output was written, where too many pairs got no reply."""
        failed = sum(count for reason, count in self._judge.reasons.items() if reason.startswith(FAILED))
        if failed > self._options.max_failed * self._judge.asked:
            raise PairmineError(
                f"{failed:,} of {self._judge.asked:,} pairs got no reply, more than --max-failed "
                f"{self._options.max_failed:g}; the output is written with null for them, {ask_again(self._options)}",
                exit_code=CHECK_FAILED,
            )


def _checked_rows(source: PairSource, sides: tuple[str, ...] = ("query", "document")) -> int:
    """How many rows there are, after a look at all of them for what cannot be scored."""
    from pairmine.stages.score import check_texts

    rows = 0
    for chunk in source.chunks():
        check_texts(chunk, sides)
        rows += chunk.num_rows
    return rows


def _checked(context: typer.Context, spec: Spec, is_judge: bool, output: str | None) -> str:
    """The output, after a look at options that this kind of scorer does not take."""
    from pairmine.backends.specs import locate

    if spec.kind == "ql":
        _check_likelihood(context, spec)
    elif is_judge:
        without_effect(context, f"with --scorer {spec}", *_MODEL_ONLY)
        if not context.params["dry_run"]:
            without_effect(context, "without --dry-run", "probe")
    else:
        without_effect(context, f"with --scorer {spec}", *_JUDGE_ONLY, *(field.name for field in fields(LlmOptions)))
        if spec.kind == "ce":
            without_effect(context, f"with --scorer {spec}", *_ENCODER_ONLY)
        if spec.kind in ("ce", "st"):
            locate(spec, "--scorer")
    if output is None and not context.params["dry_run"]:
        raise PairmineError("missing option '--output' / '-o'; only --dry-run goes without it")
    return output or ""


def _check_likelihood(context: typer.Context, spec: Spec) -> None:
    """Raise a PairmineError for what a likelihood of this kind does not take."""
    from pairmine.backends.likelihood import inner_spec

    inner = inner_spec(spec)
    taken = {"vllm": {"vllm_arg"}, "openai": set(_SERVED), "hf": {"device"}, "fake": set[str]()}[inner.kind]
    names = (*_MODEL_ONLY, *_JUDGE_ONLY, *(field.name for field in fields(LlmOptions)))
    without_effect(context, f"with --scorer {spec}", *(name for name in names if name not in taken))


def _checked_for_vectors(context: typer.Context, vectors: str, side: str, output: str | None) -> str:
    from pairmine.backends.specs import locate, parse_spec
    from pairmine.cli.run import choice
    from pairmine.stages.score import SIDES

    choice("--side", side, tuple(SIDES))
    spec = parse_spec(vectors, ("st", "fake"), "--vectors")
    without_effect(context, "with --vectors", *_JUDGE_ONLY, *(field.name for field in fields(LlmOptions)))
    if spec.kind == "st":
        locate(spec, "--vectors")
    if output is None:
        raise PairmineError("missing option '--output' / '-o'")
    return output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(score)
