"""Documents a second of every recipe of `pairmine derive` that needs no model, on one core.

    python benchmarks/derive.py                           # every recipe: texts of 20 words, then of 100
    python benchmarks/derive.py crops ict --corpus my.jsonl
    python benchmarks/derive.py --words 250 --rows 5000

A recipe that reads documents gets real English: the language reference and the docstrings that come with Python,
cut after whole sentences and with their line breaks as blanks, or the texts of --corpus in the same way. One that
reads pairs gets sentences of those texts with the rest of each, one that reads code the modules of Python's own
library. One that reads a table of its own gets the rows of its test over and over, with a number on every text, so
that its rows are as short as there. Reading and writing files is not measured. Seconds are those of the process
(CPU), the median of the runs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from pydoc_data.topics import topics
from statistics import median
from typing import Any

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from derive_samples import sample_of

from pairmine.errors import PairmineError
from pairmine.files.source import open_documents
from pairmine.recipes import MODELS, Recipe, all_recipes
from pairmine.stages.derive import derive
from pairmine.text import count_words, sentences

OPTIONS: dict[str, dict[str, Any]] = {
    "spans": {"anchors": 1, "min_words": 4, "max_words": 10},
    "subcontext": {"chunk_words": 24, "top": 1},
}
"""Settings of recipes whose defaults are for longer texts."""

NAMES = {"article", "word", "entity", "group", "set", "image", "name"}
"""Columns, besides those of ids, whose one word or number makes rows of one thing."""

MODULES = "argparse ast asyncio collections csv decimal email functools heapq http inspect json logging"


def main() -> None:
    """Time the recipes and print a table."""
    options = _options()
    known = {recipe.name: recipe for recipe in all_recipes()}
    chosen = [known[name] for name in options.recipes or known]
    print(f"{'recipe':<22}{'reads':<11}", *(f"{f'{words} words':>14}" for words in options.words), "  rows/s", sep="")
    for recipe in chosen:
        if recipe.needs != "none" or any(each.kind in MODELS and each.required for each in recipe.resources):
            print(f"{recipe.name:<22}{recipe.reads:<11}  needs a model: {recipe.needs}")
            continue
        cells = []
        rates = []
        for words in options.words if recipe.reads in ("documents", "pairs") else options.words[:1]:
            found = _measure(recipe, words, options)
            cells.append(f"{found[0]:>14,.0f}" if found else f"{'no pairs':>14}")
            rates += [f"{found[1]:,.0f}"] if found else []
        print(f"{recipe.name:<22}{recipe.reads:<11}", *cells, "  ", " ".join(rates), sep="", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help="some recipes (default: all)")
    parser.add_argument("--corpus", help="texts to use instead of Python's own documentation")
    parser.add_argument("--words", type=int, nargs="+", default=[20, 100], help="words in a document (20 100)")
    parser.add_argument("--rows", type=int, default=10_000, help="documents of a run (10000)")
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args()


def _measure(recipe: Recipe, words: int, options: argparse.Namespace) -> tuple[float, float] | None:
    """Input rows a second and output rows a second; None where the recipe makes nothing of any input."""
    for rows, settings, resources in _inputs(recipe, words, options):
        taken, made = [], 0
        for _ in range(options.runs):
            started = time.process_time()
            try:
                outcome = derive(recipe.name, rows, resources=resources, **settings)
            except PairmineError:  # it wants a resource, which the next input has
                break
            taken.append(time.process_time() - started)
            made = outcome.kept.num_rows
        if made:
            return rows.num_rows / median(taken), made / median(taken)
    return None


def _inputs(
    recipe: Recipe, words: int, options: argparse.Namespace
) -> Iterator[tuple[pa.Table, dict[str, Any], dict[str, Any]]]:
    """What the recipe is tried on until it gives pairs: rows, settings and resources."""
    sample = sample_of(recipe.name)
    models = {each.keyword for each in recipe.resources if each.kind in MODELS}
    files = {name: value for name, value in sample.resources.items() if name not in models}
    if recipe.reads == "code":
        yield _code(), {}, {}
    elif recipe.reads == "documents":
        rows = _documents(words, options.corpus, options.rows)
        yield rows, OPTIONS.get(recipe.name, {}), {}
        yield rows, dict(sample.options), files
    elif recipe.reads == "pairs" and recipe.group != "code":
        yield _pairs(words, options.corpus, options.rows), OPTIONS.get(recipe.name, {}), {}
    if sample.table is not None:
        yield _repeated(sample.table, options.rows, _numbered), dict(sample.options), files
        yield _repeated(sample.table, options.rows, lambda _, value, __: value), dict(sample.options), files


@cache
def _documents(words: int, corpus: str | None, rows: int) -> pa.Table:
    """`rows` texts of about so many words; the texts there are, over and over under new ids where they are too few."""
    texts = list(islice(_texts(words, corpus), rows))
    if not texts:
        raise SystemExit(f"no text of {words} words")
    texts = (texts * -(-rows // len(texts)))[:rows]
    ids = [f"d{at}" for at in range(rows)]
    return pa.table({"id": ids, "title": [text[:40] for text in texts], "text": texts})


def _texts(words: int, corpus: str | None) -> Iterator[str]:
    """Runs of whole sentences with `words` words at least, none of which runs over the end of a source."""
    sources = open_documents(corpus, lambda _: None).read()["text"].to_pylist() if corpus else _documentation()
    for source in sources:
        run: list[str] = []
        length = 0
        for sentence in sentences(source):
            run.append(" ".join(sentence.split()))
            length += count_words(sentence)
            if length >= words:
                yield " ".join(run)
                run, length = [], 0


def _documentation() -> Iterator[str]:
    yield from topics.values()
    for name in MODULES.split():
        module = importlib.import_module(name)
        for each in vars(module).values():
            if isinstance(text := getattr(each, "__doc__", None), str):
                yield text


@cache
def _pairs(words: int, corpus: str | None, rows: int) -> pa.Table:
    """A sentence of each text with the rest of it, every other one marked as a negative."""
    documents = _documents(words, corpus, rows)["text"].to_pylist()
    cut = [(sentences(text), text) for text in documents]
    found = [(parts[0], text[len(parts[0]) :].strip()) for parts, text in cut if len(parts) > 1] or [("no", "pair")]
    return pa.table(
        {
            "query_id": [f"q{at}" for at in range(len(found))],
            "query": [query for query, _ in found],
            "doc_id": [f"d{at}" for at in range(len(found))],
            "document": [document for _, document in found],
            "label": pa.array([at % 2 for at in range(len(found))], pa.int8()),
        }
    )


def _repeated(table: pa.Table, rows: int, change: Callable[[str, Any, int], Any]) -> pa.Table:
    """The rows of `table` over and over, each value as `change` makes it out of its column, itself and its copy."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        values, kind = table[name].to_pylist(), table.schema.field(name).type
        changed = [change(name, value, copy) for copy in range(-(-rows // table.num_rows)) for value in values]
        columns[name] = pa.array(changed, kind.value_type if pa.types.is_dictionary(kind) else kind)
    return pa.table(columns)


def _numbered(name: str, value: Any, copy: int) -> Any:
    """The value of this copy of a row: a text of several words or the name of a thing is another one in each."""
    is_name = name.endswith("id") or name in NAMES
    if isinstance(value, str) and (is_name or " " in value):
        return f"{value} {copy}"
    return value + 1000 * copy if isinstance(value, int) and is_name else value


@cache
def _code() -> pa.Table:
    """The modules at the top of Python's own library."""
    folder = Path(json.__file__).parents[1]
    names = sorted(each.name for each in pkgutil.iter_modules([str(folder)]) if not each.ispkg)
    sources = [(name, folder / f"{name}.py") for name in names]
    texts = [(f"{name}.py", path.read_text(encoding="utf-8")) for name, path in sources if path.exists()]
    return pa.table({"id": [name for name, _ in texts], "text": [text for _, text in texts]})


if __name__ == "__main__":
    main()
