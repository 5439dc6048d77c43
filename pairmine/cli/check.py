"""`pairmine check`: data tests of any pair set, for people and for CI."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import typer

from pairmine.cli import check_options as own
from pairmine.cli import engine_options as engines
from pairmine.cli import options as shared
from pairmine.cli.run import say, without_effect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa

    from pairmine.cli.check_shards import Shards
    from pairmine.cli.ray_run import RayEngine
    from pairmine.stages.check.outside import Lookup
    from pairmine.stages.check.stage import Report, Settings
    from pairmine.stages.check.verdict import Limit as Most
    from pairmine.stages.dedup.against import Against


def check(
    context: typer.Context,
    source: own.Source = None,
    only: own.Only = None,
    skip: own.Skip = None,
    most: own.Most = None,
    list_: own.List = False,
    tokenizer: own.Tokenizer = None,
    max_tokens: own.MaxTokens = 512,
    corpus: own.Corpus = None,
    queries: own.Queries = None,
    against: own.Against = None,
    splits: own.Splits = None,
    form: own.Form = None,
    split: shared.Split = None,
    fix: own.Fix = False,
    output: own.Output = None,
    kind: shared.Format = None,
    rejects: shared.Rejects = None,
    as_json: own.AsJson = False,
    junit: own.Junit = None,
    examples: own.Examples = 3,
    seed: shared.Seed = 0,
    workers: shared.Workers = 0,
    quiet: shared.Quiet = False,
    engine: engines.Engine = "local",
    ray_address: engines.RayAddress = None,
    cpus_per_worker: engines.CpusPerWorker = 1.0,
    shard_rows: engines.ShardRows = engines.ROWS,
    work_folder: engines.WorkFolder = None,
) -> None:
    """Data tests of any pair set; exit 1 when one fails.

    Reads pair sets of pairmine and the files of every trainer that 'pairmine export' writes for. An error fails,
    a warning and a note are shown; --max NAME=0.01 sets a limit of your own for a test. --fix drops the rows that
    are safe to drop, says how many and why, and tests what is left.

    \b
      pairmine check pairs.parquet
      pairmine check train.jsonl --against eval/beir --max hubs=0.02 --junit check.xml
      pairmine check pairs.parquet --fix -o mended.parquet --rejects dropped.parquet
    """
    from pairmine.cli import check_report as reports
    from pairmine.errors import CHECK_FAILED, PairmineError

    if list_:
        without_effect(context, "with --list", *_NOT_LISTED)
        reports.show_list(_open(source, form, split).form if source else None, as_json=as_json)
        return
    if source is None:
        raise PairmineError("name a pair set to check, or pass --list; see 'pairmine check --help'")
    _check_options(context, source)
    cluster = engines.engine_of(context, None if fix and not work_folder else engines.place_without_output(context))
    opened = _open(source, form, split)
    names, limits = _names(opened, only or [], skip or [], most or [])
    _check_needs(context, opened, {"--only": only or [], "--max": list(limits)})
    settings = _settings(context, names, has_places=opened.form is not None)
    with cluster or nullcontext():
        shards = _shards(cluster, opened, tokenizer, quiet) if cluster else None
        report = shards.check(settings) if shards else _tested(opened, settings, quiet)
        results = reports.Results.of(opened.name, opened.form, report, settings, limits)
        for name in only or []:
            if name in results.not_run:
                needs = results.not_run[name]
                raise PairmineError(f"--only {name}: {opened.name} cannot be tested so; it needs {needs}")
        if fix:
            from pairmine.cli.check_fix import mended

            before, dropped = results, Counter(report.reasons)
            results = mended(
                context, opened, report, settings, lambda left: before.after(left, dropped, limits), shards
            )
    reports.show(results, as_json=as_json)
    if junit and not fix:
        reports.write_junit(junit, results)
    if failed := results.failed:
        tests = "1 test fails" if len(failed) == 1 else f"{len(failed)} tests fail"
        raise PairmineError(f"{opened.name}: {tests} ({', '.join(failed)})", exit_code=CHECK_FAILED)


_NOT_LISTED = (
    *("only", "skip", "most", "tokenizer", "max_tokens", "corpus", "queries", "against", "splits"),
    *("fix", "output", "kind", "rejects", "junit", "examples", "seed", "workers"),
    *("engine", "ray_address", "cpus_per_worker", "shard_rows", "work_folder"),
)


def _check_options(context: typer.Context, source: str) -> None:
    from pairmine.cli.run import place_of
    from pairmine.errors import PairmineError
    from pairmine.files.partial import check_place

    values: dict[str, Any] = context.params
    if not values["fix"]:
        without_effect(context, "without --fix", "output", "kind", "rejects")
    elif values["output"] is None:
        raise PairmineError("--fix: name a file for the mended pairs with -o OUT")
    elif "-" in (values["output"], values["rejects"]):
        raise PairmineError("--fix -o -: standard output has the report; name a file")
    if values["engine"] != "ray":
        without_effect(context, "without --engine ray", "work_folder")
    if values["tokenizer"] is None:
        without_effect(context, "without --tokenizer", "max_tokens")
    if values["junit"] == "-":
        raise PairmineError("--junit -: standard output has the report; name a file")
    taken = {place_of(path) for path in (values["output"], values["rejects"]) if path}
    if values["junit"] and place_of(values["junit"]) in taken:
        raise PairmineError(f"--junit {values['junit']}: would take the place of the pairs; name another file")
    if values["junit"]:
        check_place(values["junit"])
    for flag, paths in (("--against", values["against"]), ("--splits", values["splits"])):
        for path in paths or []:
            if source != "-" and place_of(path) == place_of(source):
                raise PairmineError(f"{flag} {path}: is the pair set itself; name another file")


class Opened:
    """What is tested: a pair set as it stands, or a trainer's file, and `form`, its format, None for the first."""

    def __init__(self, source: Any, form: Any) -> None:
        self.source = source
        self.form = form
        self.name: str = getattr(source, "name", source.path) if form is None else form.path

    @property
    def added(self) -> tuple[str, ...]:
        """The columns that the reader adds for the tests."""
        from pairmine.stages.check.chunk import BAD_LABEL
        from pairmine.stages.check.stage import PLACE

        return (BAD_LABEL,) if self.form is None else (PLACE,)

    def tables(self) -> Iterable[pa.Table]:
        """Its rows from the start."""
        if self.form is not None:
            rows: Iterable[pa.Table] = self.form.chunks()
        else:
            rows = self.source.tables()
        return rows


def _open(source: str, form: str | None, split: str | None) -> Opened:
    from pairmine.errors import PairmineError
    from pairmine.files.forms import open_form
    from pairmine.files.unchecked import open_unchecked

    if form and split:
        raise PairmineError(f"--split {split}: is for BEIR folders that are read by themselves; leave out --form")
    found = None if split else open_form(source, say, form=form)
    if found is not None:
        return Opened(found, found)
    return Opened(open_unchecked(source, say, split=split), None)


def _names(
    opened: Opened, only: Sequence[str], skip: Sequence[str], most: Sequence[str]
) -> tuple[list[str], dict[str, Most]]:
    """The tests that are to run, those of the form among them, and the limits of some."""
    from pairmine.errors import PairmineError
    from pairmine.stages.check.stage import NAMES, chosen
    from pairmine.stages.check.verdict import parse_limits

    known = list(dict.fromkeys([*NAMES, *(name for name, _, _ in (opened.form.tests if opened.form else ()))]))
    names = chosen(only, skip, known)
    limits = parse_limits(most, known)
    for name in limits:
        if name not in names:
            raise PairmineError(f"--max {name}=...: --only or --skip leaves this test out")
    return names, limits


_OTHER_FILES = {
    "leakage": ("against",),
    "leaked-documents": ("against",),
    "unresolved-ids": ("corpus", "queries"),
    "stale-texts": ("corpus", "queries"),
}
"""The tests that look at other files, and the options that name those."""


def _check_needs(context: typer.Context, opened: Opened, asked: Mapping[str, Sequence[str]]) -> None:
    """Raise a PairmineError where a test is asked for that lacks its other file: CI would take that for a pass."""
    from pairmine.errors import PairmineError

    of_form = {name for name, _, _ in (opened.form.tests if opened.form else ())}
    for flag, names in asked.items():
        for name in names:
            needed = _OTHER_FILES.get(name, ())
            if needed and name not in of_form and not any(context.params[option] for option in needed):
                options = " or ".join(f"--{option}" for option in needed)
                raise PairmineError(f"{flag} {name}: is not tested without {options}; add it")


def _settings(context: typer.Context, names: list[str], *, has_places: bool) -> Settings:
    from pairmine.cli.run import cores
    from pairmine.files.source import open_documents, open_queries
    from pairmine.stages.check.stage import Settings
    from pairmine.stages.check.texts import Limit

    values: dict[str, Any] = context.params
    workers = cores(values["workers"])
    limit = Limit(values["max_tokens"], counter(values["tokenizer"])) if values["tokenizer"] else Limit()
    return Settings(
        tests=names,
        limit=limit,
        documents=_lookup(open_documents, values["corpus"]),
        queries=_lookup(open_queries, values["queries"]),
        against=_texts_of("--against", values["against"] or [], workers),
        splits=_texts_of("--splits", values["splits"] or [], workers),
        examples=values["examples"],
        has_places=has_places,
        seed=values["seed"],
        workers=workers,
    )


def _lookup(opener: Any, path: str | None) -> Lookup | None:
    from pairmine.stages.check.outside import Lookup

    return Lookup.of(opener(path, say).tables()) if path else None


def counter(given: str) -> Any:
    """Counts tokens by the tokenizer.json of a folder or a model, with the tokens that stand at both ends."""
    from pairmine.llm.counting import counter_for

    folder = given
    if given.startswith("st:"):
        from pairmine.backends.specs import locate, parse_spec

        folder = locate(parse_spec(given, ("st",), "--tokenizer"), "--tokenizer")
    counter = counter_for("", tokenizer=folder)
    return lambda texts: [count + _MARKS for count in counter.count(texts)]


_MARKS = 2
"""Encoders put a mark before each text and one behind it."""


def _texts_of(flag: str, paths: Sequence[str], workers: int) -> Against | None:
    """The texts of evaluation sets or other splits, indexed."""
    from pairmine.errors import PairmineError
    from pairmine.files.eval_texts import open_eval_texts
    from pairmine.stages.check.outside import index_texts
    from pairmine.stages.dedup.against import EvalSet

    sets = []
    for path in paths:
        texts = open_eval_texts(path, say)
        table = texts.read()
        if not table.num_rows:
            raise PairmineError(f"{flag} {path}: holds no text to look for; leave it out")
        sets.append(EvalSet(texts.name, table["id"].combine_chunks(), table["text"]))
    return index_texts(sets, workers) if sets else None


def _shards(engine: RayEngine, opened: Opened, tokenizer: str | None, quiet: bool) -> Shards:
    from pairmine.cli.check_shards import Shards
    from pairmine.errors import PairmineError

    if opened.form is not None:
        form = opened.form.name
        raise PairmineError(f"{opened.name}: is a file of {form}, which one machine reads; leave out --engine ray")
    return Shards(engine, opened, tokenizer, quiet=quiet)


def _tested(opened: Opened, settings: Settings, quiet: bool) -> Report:
    from pairmine.cli.progress import Progress
    from pairmine.lean_arrow import leave_out_pandas
    from pairmine.stages.check.stage import run_checks

    leave_out_pandas()
    progress = Progress("check", quiet=quiet)
    try:
        return run_checks(opened.tables, settings, progress.begin("rows", None))
    finally:
        progress.end()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)
