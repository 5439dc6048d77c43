"""`pairmine derive`: a subcommand for every recipe that needs no LLM, made from the recipe itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairmine.cli import engine_options as engines
from pairmine.cli import options as shared
from pairmine.cli.command import Command, Group
from pairmine.cli.resources import metavar
from pairmine.cli.run import Run, cores
from pairmine.errors import PairmineError

if TYPE_CHECKING:
    from pairmine.outcome import Outcome
    from pairmine.recipes import Option, Recipe, Resource

_HELP = """Make pairs out of texts themselves, or of structure that they have; no LLM.

Where documents, titles, links, labels or conversations can give both sides of a pair: it costs nothing and runs
anywhere. 'pairmine derive RECIPE --help' says what a recipe reads.

\b
  pairmine derive ict corpus.jsonl -o pairs.parquet
  pairmine derive title corpus.jsonl -o pairs.parquet
"""


class _Recipes(Group):
    """Looks recipes up when they are asked for, so that `pairmine --help` need not import them."""

    def list_commands(self, ctx: Any) -> list[str]:
        from pairmine.recipes import all_recipes

        return [recipe.name for recipe in all_recipes()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        from pairmine.recipes import find_recipe

        if ctx.resilient_parsing and cmd_name not in self.list_commands(ctx):
            return None
        return _command(find_recipe(cmd_name))

    def summaries(self, ctx: Any) -> list[tuple[str, str]]:
        from pairmine.recipes import all_recipes

        return [(recipe.name, recipe.summary.rstrip(".")) for recipe in all_recipes()]


def _command(recipe: Recipe) -> Any:
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(recipe.name, help=_help(recipe), cls=Command)(_function(recipe))
    command = typer.main.get_command(single)
    command.name = recipe.name
    return command


def _help(recipe: Recipe) -> str:
    columns = ""
    if recipe.inputs:
        columns = "\n\nReads the columns " + ", ".join(
            f"{each.name} ({each.meaning})" if each.meaning else each.name for each in recipe.inputs
        )
    return f"{recipe.summary}\n\n{recipe.paper}{columns}\n\n\b\n  {recipe.example}\n"


def _function(recipe: Recipe) -> Any:
    """A function with the shared options and the recipe's own, as typer reads them from a signature."""

    def run(context: typer.Context, **given: Any) -> None:
        _derive(recipe, context, given)

    own: dict[str, tuple[Any, Any]] = {each.keyword: (_resource(each), None) for each in recipe.resources}
    own |= {option.keyword: (_annotation(option), option.default) for option in recipe.options}
    parameters = [inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    for name, (annotation, default) in {**_shared(recipe), **own}.items():
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    parameters.sort(key=lambda each: each.default is not inspect.Parameter.empty)
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _annotation(option: Option) -> Any:
    name = option.name
    flags = (f"--{name}/--no-{name}",) if option.kind is bool else (f"--{name}",)
    meaning = option.meaning + (f" ({', '.join(option.choices)})" if option.choices else "")
    offered = (lambda: list(option.choices)) if option.choices else None
    return Annotated[option.kind, typer.Option(*flags, help=meaning, rich_help_panel="Recipe", autocompletion=offered)]


def _resource(resource: Resource) -> Any:
    flag = f"--{resource.name}"
    return Annotated[
        str | None,
        typer.Option(
            flag, metavar=metavar(resource), help=resource.meaning, rich_help_panel="Recipe", show_default=False
        ),
    ]


def _shared(recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    what = {
        "documents": "A corpus: a file, a folder of shards, a BEIR folder, or -.",
        "pairs": "A pair set: a file, a folder of shards, a BEIR folder, or -.",
        "rows": "A table: a file, a folder of shards, or -.",
        "code": "A folder with Python source.",
    }[recipe.reads]
    found: dict[str, tuple[Any, Any]] = {
        "source": (
            Annotated[str, typer.Argument(metavar="INPUT", help=what, show_default=False)],
            inspect.Parameter.empty,
        ),
        "output": (shared.Output, inspect.Parameter.empty),
        "sample": (
            Annotated[
                int | None,
                typer.Option("--sample", min=1, help="Keep the pairs of this many queries, a seeded sample."),
            ],
            None,
        ),
        "seed": (shared.Seed, 0),
        "workers": (shared.Workers, 0),
        "engine": (engines.Engine, "local"),
        "ray_address": (engines.RayAddress, None),
        "gpus_per_worker": (engines.GpusPerWorker, 0.0),
        "cpus_per_worker": (engines.CpusPerWorker, 1.0),
        "shard_rows": (engines.ShardRows, engines.ROWS),
        "kind": (shared.Format, None),
        "rejects": (shared.Rejects, None),
        "summary": (shared.Summary, None),
        "quiet": (shared.Quiet, False),
    }
    if recipe.reads != "code":
        found["columns"] = (shared.Fields, None)
    for name in _column_names(recipe):
        flag = f"--{name.replace('_', '-')}-column"
        found[f"{name}_column"] = (
            Annotated[str | None, typer.Option(flag, help=f"Column with the {name}.", rich_help_panel="Columns")],
            None,
        )
    return found


def _column_names(recipe: Recipe) -> list[str]:
    if recipe.reads == "documents":
        return ["id", "text", "title"]
    return [each.name for each in recipe.inputs] if recipe.reads in ("rows", "pairs") else []


def _derive(recipe: Recipe, context: typer.Context, given: dict[str, Any]) -> None:
    from contextlib import nullcontext
    from functools import partial

    from pairmine.cli.engine_options import engine_of
    from pairmine.cli.resources import open_resources
    from pairmine.engines.local import map_tables
    from pairmine.recipes import MODELS, read_options
    from pairmine.stages.derive import check, derive

    options = {option.keyword: given[option.keyword] for option in recipe.options}
    read_options(recipe, options)
    unit = {"documents": "documents", "pairs": "pairs", "rows": "rows", "code": "files"}[recipe.reads]
    engine = engine_of(context)
    if engine and recipe.whole:
        raise PairmineError(
            f"recipe {recipe.name} looks at the whole input at once, which one machine does; leave out --engine ray"
        )
    with (
        engine or nullcontext(),
        Run(
            context,
            given["output"],
            kind=given["kind"],
            rejects=given["rejects"],
            summary=given["summary"],
            quiet=given["quiet"],
            units=(unit, "pairs"),
            engine=engine,
        ) as run,
    ):
        source = run.reads(_open(recipe, run, given), "source")
        resources = open_resources(recipe, run, given)
        check(recipe.name, resources=resources, **options)
        if engine:
            from pairmine.cli.derive_shards import derive_shards

            derive_shards(engine, run, source, recipe, resources, options, given)
            _some_pairs(run, given["source"])
            return
        stage = partial(derive, recipe.name, seed=given["seed"], resources=resources, **options)
        # A model has threads of its own, and would be loaded by every process.
        alone = recipe.whole or any(each.kind in MODELS and each.keyword in resources for each in recipe.resources)
        advance = run.begin(unit)
        tables = iter([source.read()]) if recipe.whole else source.tables()
        outcomes = map_tables(stage, tables, workers=1 if alone else cores(given["workers"]))
        if given["sample"]:
            outcomes = iter([_sampled(outcomes, given["sample"], given["seed"])])
        try:
            for outcome in outcomes:
                run.write(outcome)
                advance(outcome.rows_in)
        except PairmineError as error:
            raise _placed(error, given["source"]) from None
        _some_pairs(run, given["source"])


def _placed(error: PairmineError, source: str) -> PairmineError:
    """A stage knows rows; here they get the name of their file."""
    line = str(error)
    name = "standard input" if source == "-" else source
    return PairmineError(line if name in line else f"{name}: {line}", exit_code=error.exit_code)


def _some_pairs(run: Run, source: str) -> None:
    counts = run.counts()
    if not counts["rows_out"] and counts["rejected"]:
        reason, count = max(counts["rejected"].items(), key=lambda item: item[1])
        most = f"{count:,} of {counts['rows_in']:,} rejected: {reason}"
        raise PairmineError(f"{source}: no pairs come out of it; {most}; name an input that fits the recipe")


def _sampled(outcomes: Iterator[Outcome], size: int, seed: int) -> Outcome:
    """All outcomes as one, with the pairs of `size` queries."""
    from pairmine.outcome import joined
    from pairmine.stages.derive.sample import sample_queries

    whole = joined(list(outcomes))
    kept = sample_queries(whole.kept, size, seed=seed)
    left_out = whole.kept.num_rows - kept.num_rows
    notes = {**whole.notes, "pairs not in the sample": left_out} if left_out else whole.notes
    return replace(whole, kept=kept, notes=notes)


def _open(recipe: Recipe, run: Run, given: dict[str, Any]) -> Any:
    from pairmine.files.code import CodeTree
    from pairmine.files.columns import Wanted
    from pairmine.files.source import open_documents, open_pairs, open_rows

    columns = {name: given[f"{name}_column"] for name in _column_names(recipe)}
    if recipe.reads == "code":
        return CodeTree(given["source"])
    fields = shared.field_names(given["columns"])
    if recipe.reads == "documents":
        return open_documents(given["source"], run.say, columns=columns, fields=fields)
    if recipe.reads == "pairs":
        return open_pairs(given["source"], run.say, columns=columns, fields=fields)
    wanted = [
        Wanted(each.name, each.aliases, f"--{each.name.replace('_', '-')}-column", each.required)
        for each in recipe.inputs
    ]
    return open_rows(given["source"], wanted, run.say, fields=fields, **columns)


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(cls=_Recipes, help=_HELP, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name="derive")

    @group.callback()
    def _derive_group() -> None:
        """Keep the group a group, whose commands are looked up."""
