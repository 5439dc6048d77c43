"""Hours, dollars, storage and memory of a pipeline past one machine, from constants that were measured.

    python benchmarks/scale_plan.py                                   # both plans of docs/scale.md
    python benchmarks/scale_plan.py --documents 30 --queries 0.5      # your own, in millions
    python benchmarks/scale_plan.py --set cores=192 --set node_usd=7.1 --set nodes=8 --set embed=2500
    python benchmarks/scale_plan.py --list                            # the constants by name
    python benchmarks/scale_plan.py --write docs/scale.md             # the page again

A plan is arithmetic: CPU seconds of all workers, divided by the cores and lengthened by what Ray adds, then what the
driver does alone. Constants are CPU seconds for a million rows on one core, and bytes per row.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

Values = dict[str, float]


@dataclass(frozen=True)
class Constant:
    """A number of the plan, and where it comes from."""

    value: float
    what: str
    source: str = ""


CLUSTER = {
    "nodes": Constant(16, "nodes for everything but models", "a choice"),
    "cores": Constant(64, "cores of each: AWS m7a.16xlarge, AMD EPYC of the 4th generation", "data sheet"),
    "node_gb": Constant(256, "GB of memory of each", "data sheet"),
    "node_usd": Constant(3.71, "dollars an hour for each, on demand, us-east-1", "assumed, as of 2025"),
    "network": Constant(1.5, "GB a second of each", "data sheet: 25 Gbit/s, half of it"),
    "gpus": Constant(16, "GPUs for models: AWS g6.xlarge, one NVIDIA L4 and 4 cores", "a choice"),
    "gpu_usd": Constant(0.80, "dollars an hour for each", "assumed, as of 2025"),
    "store_usd": Constant(0.023, "dollars for a GB and month of object storage", "assumed, as of 2025"),
}
GPU = {
    "gpu_embed": Constant(3_000, "documents a second, MiniLM on one L4", "assumed, not measured"),
    "gpu_score": Constant(1_500, "pairs a second, a cross-encoder of that size", "assumed, not measured"),
    "gpu_write": Constant(1_000, "tokens a second that an LLM of 8 billion weights writes", "assumed, not measured"),
}
DATA = {
    "text": Constant(0.16, "GB of a million documents of 60 words, Parquet", "`benchmarks/mine_constants.py`"),
    "vector": Constant(0.77, "GB of a million vectors of 384 numbers, float16", "`benchmarks/mine_constants.py`"),
    "row": Constant(0.05, "GB of a million candidate rows with texts", "`benchmarks/mine_constants.py`: 0.02 to 0.16"),
    "reply": Constant(1.09, "GB of a million replies of 900 bytes in the ledger", "see generate.md"),
    "tokens": Constant(60, "tokens of a reply", "a choice"),
    "depth": Constant(50, "candidates of each query", "a choice"),
    "negatives": Constant(7, "negatives that stay", "a choice"),
}
WORK: dict[str, Constant] = {
    "overhead": Constant(
        1.2, "times the CPU seconds below, for all that a worker waits", "`benchmarks/ray.py`: 0.85 to 1.18"
    ),
    "start": Constant(10, "seconds until the workers of a command are there", "8 to 10 on two cores"),
    "pass": Constant(0.6, "seconds from pass to pass, in workers that are there", "16 empty items, after the first"),
    "shard": Constant(65_536, "rows of a shard", "the default"),
    "item": Constant(0.008, "seconds that Ray takes for a shard, one after another", "300 empty shards"),
    "worker_gb": Constant(0.5, "GB of a worker", "the peak of one"),
    "model_gb": Constant(1.0, "GB of a worker with a small model", "the peak of one"),
    "dedup": Constant(
        50, "dedup: a million documents, all steps", "`benchmarks/ray.py`: 84 s for 3.4 million on two cores"
    ),
    "keys": Constant(
        0.3, "dedup: GB of keys that meet, for a million documents", "counted: 12 bytes for each of 25 bands"
    ),
    "sharing": Constant(
        0.2, "dedup: documents that share a key, of all", "assumed; half of them in the measured corpus"
    ),
    "bundles": Constant(1.23, "dedup: GB that meet for a million that share a key", "counted"),
    "bundle": Constant(
        0.02,
        "dedup: millions of documents that share keys in a bundle, which are compared together",
        "a constant of ours",
    ),
    "bands": Constant(25, "dedup: bands of a sketch", "at a threshold of 0.8"),
    "range": Constant(4.2, "dedup: millions of keys of a band that meet at once", "a constant of ours"),
    "place_bytes": Constant(
        128,
        "dedup: bytes on the driver for what a shard has for a bundle, or a range of keys",
        "1 to 4 million of them",
    ),
    "place_s": Constant(1.2e-6, "dedup: on the driver, for each of these", "1 to 4 million of them"),
    "dedup_bytes": Constant(140, "dedup: bytes on the driver, a document that shares a key", "1,000,000 passages"),
    "write_driver": Constant(
        51, "generate: on the driver, copies and the ledger", "39,000 queries, 40,000 replies a second"
    ),
    "write_bytes": Constant(8, "generate: bytes a query on the driver, with `--keep-duplicates`", "counted"),
    "embed": Constant(18_900, "embed: a million documents of 130 words, MiniLM in bfloat16", "53 a second and core"),
    "search": Constant(7_700, "mine: a million queries, a million documents, 384 numbers, exact", "100 GFLOP/s a core"),
    "bm25": Constant(4_500, "mine: the same by bm25", "`benchmarks/mine_constants.py`"),
    "word_span": Constant(2, "mine: millions of documents of a span that is searched by words", "a constant of ours"),
    "word_span_gb": Constant(1.1, "mine: GB of such a span in a worker", "8 bytes a posting"),
    "merge": Constant(0.08, "mine: a million hits merged", "1,000 queries, lists of 108"),
    "mine_driver": Constant(2.2, "mine: on the driver, a million documents", "200,000 documents"),
    "mine_bytes": Constant(216, "mine: bytes a document on the driver, at the peak", "200,000 documents"),
    "mine_shared": Constant(68, "mine: bytes a document on every machine", "200,000 documents, ids of 8 letters"),
    "score": Constant(30_300, "score: a million pairs of 150 words, a small cross-encoder", "33 a second and core"),
    "filter": Constant(4, "filter: a million rows", "330,000 rows"),
    "mix": Constant(12.4, "mix: a million rows", "330,000 rows"),
    "mix_driver": Constant(0.9, "mix: on the driver, a million rows in batches", "330,000 rows"),
    "mix_bytes": Constant(200, "mix: bytes a row on the driver", "330,000 rows"),
    "export": Constant(8, "export: a million rows", "150,000 rows"),
    "check": Constant(9, "check: a million rows", "65,536 rows"),
    "check_driver": Constant(2.5, "check: on the driver, a million rows", "65,536 rows"),
    "check_bytes": Constant(110, "check: bytes a row on the driver, at the peak", "65,536 rows"),
    "stats": Constant(3.7, "stats: a million rows", "65,536 rows"),
    "stats_driver": Constant(0.3, "stats: on the driver, a million rows", "65,536 rows"),
    "stats_bytes": Constant(95, "stats: bytes a distinct document on the driver, at the peak", "65,536 rows"),
}
CONSTANTS = CLUSTER | GPU | DATA | WORK
PLANS = ((100.0, 1.0), (1000.0, 10.0))
"""Millions of documents and of queries."""


@dataclass(frozen=True)
class Step:
    """A command of the plan: its rows, and how often they are passed over; seconds of all cores, of the driver alone
    and of all GPUs; GB of each kind. `worker_gb` is what one worker holds, `shared_gb` what each machine does.
    """

    name: str
    rows: float
    passes: int = 1
    cpu_s: float = 0
    driver_s: float = 0
    gpu_s: float = 0
    moved_gb: float = 0
    written_gb: float = 0
    driver_gb: float = 0
    worker_gb: float = 0
    shared_gb: float = 0

    def hours(self, c: Values) -> float:
        """Elapsed: what is moved goes on beside the work, what the driver does behind it."""
        work = max(self.cpu_s * c["overhead"] / (c["nodes"] * c["cores"]), self.moved_gb / c["nodes"] / c["network"])
        if self.gpu_s:
            work = self.gpu_s * c["overhead"] / c["gpus"]
        of_ray = c["start"] + self.passes * (c["pass"] + self.rows * 1e6 / c["shard"] * c["item"])
        return (of_ray + work + self.driver_s) / 3600

    def node_gb(self, c: Values) -> float:
        """What is held on a machine: by a worker for each core, or by one for its GPU."""
        return (self.worker_gb or c["worker_gb"]) * (1 if self.gpu_s else c["cores"]) + self.shared_gb

    def dollars(self, c: Values) -> float:
        """Of the nodes that it runs on: those with GPUs, or the others."""
        price = c["gpus"] * c["gpu_usd"] if self.gpu_s else c["nodes"] * c["node_usd"]
        return self.hours(c) * price


def steps(documents: float, queries: float, c: Values) -> Iterator[Step]:
    """The pipeline over so many millions of documents and queries, each query with a positive."""
    candidates = queries * (c["depth"] + 1)
    scored = Step("score", candidates, 2, written_gb=candidates * c["row"], worker_gb=c["model_gb"])
    embedded = Step("embed", documents, written_gb=documents * c["vector"], worker_gb=c["model_gb"])
    yield _dedup(documents, c)
    yield Step(
        "generate, on GPUs",
        queries,
        passes=2,
        gpu_s=queries * 1e6 * c["tokens"] / c["gpu_write"],
        driver_s=queries * c["write_driver"],
        written_gb=queries * (c["reply"] + c["row"]),
        driver_gb=queries * c["write_bytes"] / 1e3,
        worker_gb=c["model_gb"],
    )
    yield replace(embedded, name="embed, on CPUs", cpu_s=documents * c["embed"])
    yield replace(embedded, name="embed, on GPUs", gpu_s=documents * 1e6 / c["gpu_embed"])
    shards = documents * 1e6 / c["shard"]
    yield _mine("mine, exact", c["search"], documents, queries, min(2 * c["nodes"] * c["cores"], shards), c)
    of_words = _mine("mine, bm25", c["bm25"], documents, queries, documents / c["word_span"], c)
    yield replace(of_words, worker_gb=c["worker_gb"] + c["word_span_gb"])
    yield replace(scored, name="score, on CPUs", cpu_s=candidates * c["score"])
    yield replace(scored, name="score, on GPUs", gpu_s=candidates * 1e6 / c["gpu_score"])
    yield from _of_pairs(candidates, queries * (c["negatives"] + 1), c)


def _dedup(documents: float, c: Values) -> Step:
    sharing = documents * c["sharing"]
    # A row for each shard and range of keys, and then one for each shard and bundle.
    shards = documents * 1e6 / c["shard"]
    of_keys, of_bundles = shards * c["bands"] * documents / c["range"], shards * sharing / c["bundle"]
    return Step(
        "dedup",
        documents,
        passes=8,
        cpu_s=documents * c["dedup"],
        driver_s=(of_keys + of_bundles) * c["place_s"],
        moved_gb=2 * (documents * c["keys"] + sharing * c["bundles"]),
        written_gb=documents * c["text"],
        driver_gb=sharing * c["dedup_bytes"] / 1e3 + max(of_keys, of_bundles) * c["place_bytes"] / 1e9,
    )


def _mine(name: str, search: float, documents: float, queries: float, spans: float, c: Values) -> Step:
    """A list of each of so many spans of the corpus for every query: 12 bytes a hit, written and read."""
    hits = queries * c["depth"] * spans
    return Step(
        name,
        documents,
        passes=4,
        cpu_s=documents * queries * search + hits * c["merge"],
        driver_s=documents * c["mine_driver"],
        moved_gb=2 * hits * 12e-3,
        written_gb=queries * (c["depth"] + 1) * c["row"],
        driver_gb=documents * c["mine_bytes"] / 1e3,
        shared_gb=documents * c["mine_shared"] / 1e3,
    )


def _of_pairs(candidates: float, pairs: float, c: Values) -> Iterator[Step]:
    kept_gb = pairs * c["row"]
    yield Step("filter", candidates, passes=2, cpu_s=candidates * c["filter"], written_gb=kept_gb)
    yield Step(
        "mix",
        pairs,
        passes=3,
        cpu_s=pairs * c["mix"],
        driver_s=pairs * c["mix_driver"],
        moved_gb=2 * kept_gb,
        written_gb=kept_gb,
        driver_gb=pairs * c["mix_bytes"] / 1e3,
    )
    yield Step("export", pairs, passes=2, cpu_s=pairs * c["export"], written_gb=kept_gb)
    for name in ("check", "stats"):
        yield Step(
            name,
            pairs,
            passes=2,
            cpu_s=pairs * c[name],
            driver_s=pairs * c[f"{name}_driver"],
            driver_gb=pairs * c[f"{name}_bytes"] / 1e3,
        )


def main() -> None:
    """Print the constants or the plans, or write them into the page."""
    options = _options()
    values = {name: each.value for name, each in CONSTANTS.items()} | dict(options.set)
    plans = [(options.documents, options.queries)] if options.documents else PLANS
    if options.list:
        print("\n".join(constants(values)))
    elif options.write:
        page = options.write.read_text("utf-8")
        page = _between(page, "constants", constants(values))
        options.write.write_text(_between(page, "plans", _all(plans, values)), "utf-8")
    else:
        print("\n".join(_all(plans, values)))


def constants(values: Values) -> list[str]:
    """A table of all constants."""
    lines = ["| name | value | what | from |", "|---|---|---|---|"]
    return lines + [
        f"| `{name}` | {values[name]:,g} | {each.what} | {each.source} |" for name, each in CONSTANTS.items()
    ]


def plan(documents: float, queries: float, c: Values) -> list[str]:
    """A table of the steps, and what follows from it."""
    lines = [
        f"**{documents:,.0f} million documents, {queries:,g} million queries**",
        "",
        "| command | CPU hours | elapsed | dollars | moved, GB | written, GB | a node holds, GB | the driver, GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for step in steps(documents, queries, c):
        gigabytes = (step.moved_gb, step.written_gb, step.node_gb(c), step.driver_gb)
        shown = [_figure(step.cpu_s / 3600), _time(step.hours(c)), *map(_figure, (step.dollars(c), *gigabytes))]
        lines.append(f"| {step.name} | {' | '.join(shown)} |")
    taken = [step for step in steps(documents, queries, c) if not step.name.endswith((", on CPUs", ", bm25"))]
    kept = sum(step.written_gb for step in taken)
    hours, dollars = sum(step.hours(c) for step in taken), sum(step.dollars(c) for step in taken)
    return [
        *lines,
        "",
        f"In all, models on GPUs and mining by vectors: {_figure(hours)} hours and {_figure(dollars)} dollars, and "
        f"{_figure(kept)} GB in files, {_figure(kept * c['store_usd'])} dollars a month.",
    ]


def _all(plans: tuple[tuple[float, float], ...] | list[tuple[float, float]], values: Values) -> list[str]:
    lines: list[str] = []
    for documents, queries in plans:
        lines += [*plan(documents, queries, values), ""]
    return lines[:-1]


def _figure(value: float) -> str:
    """Two figures that count, since no constant is known better."""
    if value < 0.005:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _time(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 1 else f"{_figure(hours)} h"


def _between(page: str, name: str, lines: list[str]) -> str:
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if start not in page or end not in page:
        raise SystemExit(f"the page has no {start} and {end}")
    replaced: Callable[[re.Match[str]], str] = lambda found: "\n".join([start, *lines, end])  # noqa: E731
    return re.sub(f"{re.escape(start)}.*?{re.escape(end)}", replaced, page, flags=re.S)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=float, help="in millions; without it 100 and 1,000")
    parser.add_argument("--queries", type=float, default=1, help="in millions")
    parser.add_argument("--set", type=_setting, action="append", default=[], metavar="NAME=VALUE", help="a constant")
    parser.add_argument("--list", action="store_true", help="show the constants")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put both into this page")
    return parser.parse_args()


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    if name not in CONSTANTS:
        raise argparse.ArgumentTypeError(f'no constant "{name}"; known: {", ".join(CONSTANTS)}')
    return name, float(value)


if __name__ == "__main__":
    main()
