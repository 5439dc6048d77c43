"""`pairmine generate`: pairs that an LLM writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from pairmine.cli import engine_options as engines
from pairmine.cli import options as shared
from pairmine.cli.generate_input import open_bad_examples, open_input, read_bad_examples, size_of, upto
from pairmine.cli.llm_options import (
    DryRun,
    LlmOptions,
    OutputOrNone,
    Probe,
    Set,
    Shots,
    ask_again,
    assignments,
    of_kind,
    takes_llm_options,
)
from pairmine.cli.run import FAILED, Run, say, without_effect
from pairmine.errors import CHECK_FAILED, PairmineError

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.backends.specs import Spec
    from pairmine.cli.llm_session import Session
    from pairmine.llm.recipes.recipe import PromptRecipe
    from pairmine.llm.recipes.rendering import Renderer

_RECIPE = "Recipe"
_MONEY = "Money"
BAD_SHOTS = 2
_UNITS = ("pairs planned", "pairs")


@takes_llm_options
def generate(
    context: typer.Context,
    llm: Annotated[
        str, typer.Option("--llm", metavar="SPEC", help="openai:MODEL (any compatible server), vllm:MODEL, or fake:.")
    ],
    options: LlmOptions,
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A recipe's name ('pairmine recipes' lists them).", show_default=False),
    ] = None,
    source: Annotated[
        str | None,
        typer.Argument(metavar="INPUT", help="What the recipe reads: a file, a folder, or -.", show_default=False),
    ] = None,
    output: OutputOrNone = None,
    recipe_file: Annotated[
        str | None,
        typer.Option(
            "--recipe", metavar="FILE", help="A recipe of your own; RECIPE is left out.", rich_help_panel=_RECIPE
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            "--samples", min=1, max=1_000_000, help="How often each row is asked about.", rich_help_panel=_RECIPE
        ),
    ] = 1,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Read only so many rows, or queries.", rich_help_panel=_RECIPE),
    ] = None,
    draw: Annotated[
        list[str] | None,
        typer.Option(
            "--draw", metavar="NAME=A,B", help="Draw this attribute from these alone.", rich_help_panel=_RECIPE
        ),
    ] = None,
    set_: Set = None,
    shots: Shots = None,
    duplicates: Annotated[
        float | None,
        typer.Option(
            "--duplicates",
            min=0.3,
            max=1.0,
            help="Reject a generation this like an earlier one, in Jaccard similarity; the recipe's by default.",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    keep_duplicates: Annotated[
        bool,
        typer.Option(
            "--keep-duplicates", help="Reject none, but a query that was written before.", rich_help_panel=_RECIPE
        ),
    ] = False,
    bad_examples: Annotated[
        str | None,
        typer.Option(
            "--bad-examples",
            metavar="FILE",
            help="The --rejects of an earlier run, shown as what to avoid; or any table with reply and reason.",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    bad_shots: Annotated[
        int,
        typer.Option("--bad-shots", min=1, help="Bad examples per prompt.", rich_help_panel=_RECIPE),
    ] = BAD_SHOTS,
    dry_run: DryRun = False,
    probe: Probe = 0,
    seed: shared.Seed = 0,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column", metavar="NAME=COLUMN", help="Where a recipe's own input is found.", rich_help_panel="Columns"
        ),
    ] = None,
    id_column: shared.IdColumn = None,
    text_column: shared.TextColumn = None,
    title_column: shared.TitleColumn = None,
    query_column: shared.QueryColumn = None,
    document_column: shared.DocumentColumn = None,
    kind: shared.Format = None,
    rejects: shared.Rejects = None,
    summary: shared.Summary = None,
    quiet: shared.Quiet = False,
    engine: engines.Engine = "local",
    ray_address: engines.RayAddress = None,
    gpus_per_worker: engines.GpusPerWorker = 0.0,
    cpus_per_worker: engines.CpusPerWorker = 1.0,
    shard_rows: engines.ShardRows = engines.ROWS,
) -> None:
    """Have an LLM write positives and hard negatives.

    Where documents have no queries, or pairs no negatives, and what people would ask has to be written. Every reply
    is kept in a ledger: a run that was stopped goes on where it was, and what was paid for once is never asked
    again. --dry-run tells the cost before.

    \b
      pairmine generate queries corpus.jsonl --llm fake: -o tried.parquet
      pairmine generate queries corpus.jsonl --llm openai:gpt-5-mini --dry-run
      pairmine generate queries corpus.jsonl --llm vllm:Qwen/Qwen3-8B --samples 2 -o queries.parquet
    """
    from pairmine.backends.llms import KINDS
    from pairmine.backends.specs import parse_spec
    from pairmine.cli.engine_options import engine_of
    from pairmine.cli.llm_session import Session
    from pairmine.llm.recipes.rendering import Renderer

    found, path = _positions(recipe, source, recipe_file)
    context.params |= {"recipe": None if recipe_file else recipe, "source": path}
    spec = parse_spec(llm, KINDS, "--llm")
    options = of_kind(context, options, spec.kind)
    target = _check(context, found, path, output, spec)
    on_ray = engine_of(context)
    bad = open_bad_examples(bad_examples, say)
    render = partial(
        Renderer,
        found,
        seed,
        draws=_draws(draw or []),
        options=assignments("--set", set_ or []),
        shots=shots,
        bad_examples=read_bad_examples(bad, bad_examples),
        bad_shots=bad_shots,
    )
    renderer = render()
    columns = {
        "id": id_column,
        "text": text_column,
        "title": title_column,
        "query": query_column,
        "document": document_column,
        **assignments("--column", column or []),
    }
    threshold = None if keep_duplicates else duplicates or (found.duplicates.threshold if found.duplicates else None)
    if dry_run:
        from pairmine.cli.estimate import show_estimate
        from pairmine.stages.generate import tasks_of

        with Session(options, spec, found, say, only_looks=not probe) as session:
            tables = upto(open_input(found, path, columns, say), limit, found)
            show_estimate(
                session,
                renderer,
                lambda plan: tasks_of(plan, tables(), samples),
                command="generate",
                probe=probe,
                summary=summary,
            )
        return
    with (
        on_ray or nullcontext(),
        Run(
            context, target, kind=kind, rejects=rejects, summary=summary, quiet=quiet, units=_UNITS, engine=on_ray
        ) as run,
        Session(options, spec, found, run.say) as session,
    ):
        session.guard(run, recipe_file)
        opened = open_input(found, path, columns, run.say)
        if opened is not None:
            run.reads(opened, "source")
        if bad is not None:
            run.reads(bad, "bad_examples")
        tables = upto(opened, limit, found)
        if on_ray:
            from pairmine.cli.generate_shards import write_shards

            asked = write_shards(on_ray, run, session, render, opened, tables if limit else None, samples, threshold)
        else:
            asked = _write(run, session, renderer, tables, samples, threshold)
    _judge(run, options, asked)


def _write(
    run: Run,
    session: Session,
    renderer: Renderer,
    tables: Callable[[], Iterator[pa.Table]],
    samples: int,
    duplicates: float | None,
) -> int:
    """Write all pairs; how many samples there were."""
    from pairmine.stages.generate import tasks_of, write_pairs

    # A first look at all rows tells a bad line before the first call is paid for, and how much there is to do.
    reads = session.recipe.reads
    rows = 1 if reads == "nothing" else sum(size_of(table, reads) for table in tables())
    run.detail(**session.facts)
    asker = session.start()
    plan = session.plan(renderer)
    advance = run.begin("samples", rows * samples, session.status)
    outcomes = write_pairs(
        plan,
        tasks_of(plan, tables(), samples),
        asker,
        stand_in=session.spec.kind == "fake",
        duplicates=duplicates,
        window=session.window,
        advance=advance,
    )
    for outcome in outcomes:
        run.write(outcome)
    session.finish()
    run.sum_up(**session.spent())
    run.add_to_report(session.report())
    return rows * samples


def _judge(run: Run, options: LlmOptions, samples: int) -> None:
    """Exit 1 after the output was written, where too much of it is missing."""
    from pairmine.stages.generate.rows import LOST

    counts = run.counts()
    lost = counts.get("notes", {}).get(LOST, 0)
    planned, rejected = counts["rows_in"], counts["rejected"]
    failed = sum(count for reason, count in rejected.items() if reason.startswith(FAILED))
    if failed > options.max_failed * planned:
        most = max((reason for reason in rejected if reason.startswith(FAILED)), key=rejected.__getitem__)
        raise PairmineError(
            f"{failed:,} of {planned:,} pairs got no reply, more than --max-failed {options.max_failed:g} "
            f"({most.removeprefix(FAILED)}); "
            f"the output is written without them, {ask_again(options)}",
            exit_code=CHECK_FAILED,
        )
    if lost > options.max_failed * samples:
        raise PairmineError(
            f"{lost:,} of {samples:,} samples got no reply that tells their parts, more than --max-failed "
            f"{options.max_failed:g}; the output is written without them, {ask_again(options)}",
            exit_code=CHECK_FAILED,
        )
    if not counts["rows_out"]:
        if not rejected:
            raise PairmineError("no pairs came out: the recipe asks about none of these rows", exit_code=CHECK_FAILED)
        reason, count = max(rejected.items(), key=lambda item: item[1])
        of_all = f"{count:,} of {sum(rejected.values()):,} rejected"
        raise PairmineError(
            f"no pairs came out; {of_all}: {reason}; --rejects FILE shows the replies", exit_code=CHECK_FAILED
        )


def _check(context: typer.Context, recipe: PromptRecipe, path: str | None, output: str | None, spec: Spec) -> str:
    """The output, after a look at what cannot be right."""
    dry_run = context.params["dry_run"]
    if not recipe.emits:
        raise PairmineError(
            f"recipe {recipe.name} judges pairs and writes none; run 'pairmine score PAIRS --scorer {spec} "
            f"--recipe {recipe.name}'"
        )
    if path is None and recipe.reads != "nothing":
        raise PairmineError(f"recipe {recipe.name} reads {recipe.reads}; name the INPUT after the recipe")
    if path is not None and recipe.reads == "nothing":
        raise PairmineError(
            f"recipe {recipe.name} reads nothing; leave {path} out, --samples says how often it is asked"
        )
    if not dry_run and output is None:
        raise PairmineError("missing option '--output' / '-o'; only --dry-run goes without it")
    if dry_run:
        without_effect(context, "with --dry-run", "output", "rejects", "kind", "quiet")
    else:
        without_effect(context, "without --dry-run", "probe")
    if context.params["bad_examples"] is None:
        without_effect(context, "without --bad-examples", "bad_shots")
    if context.params["keep_duplicates"]:
        without_effect(context, "with --keep-duplicates", "duplicates")
    if context.params["batch_files"]:
        without_effect(context, "with --batch-files, which pays nobody", "max_usd", "max_tokens", "probe")
    engines.one_machine(context, "dry_run", "offline", "batch", "batch_files")
    if context.params["offline"]:
        without_effect(context, "with --offline", "batch", "batch_files", "concurrency", "rpm", "tpm", "probe")
    return output or ""


def _positions(recipe: str | None, source: str | None, recipe_file: str | None) -> tuple[PromptRecipe, str | None]:
    """The recipe and the input: with --recipe FILE, the one position there is names the input."""
    from pairmine.llm.recipes.file import load_recipe, load_recipe_file

    if recipe_file is not None:
        if source is not None:
            raise PairmineError(f"RECIPE {recipe} and --recipe {recipe_file} are both given; leave one of them out")
        return load_recipe_file(recipe_file), recipe
    if recipe is None:
        raise PairmineError("no RECIPE; name one ('pairmine recipes' lists them), or a file of your own with --recipe")
    return load_recipe(recipe), source


def _draws(given: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in given:
        name, equals, values = each.partition("=")
        chosen = [value.strip() for value in values.split(",") if value.strip()]
        if not equals or not chosen:
            raise PairmineError(f"--draw {each}: write NAME=A,B, as in --draw form=question,keywords")
        found[name.strip()] = chosen
    return found


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(generate)
