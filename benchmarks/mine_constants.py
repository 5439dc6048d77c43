"""What each part of mining costs per million documents, queries or rows: the constants of docs/scale.md.

    python benchmarks/mine_constants.py                       # every part, about ten minutes on two cores
    python benchmarks/mine_constants.py search index --dim 768
    python benchmarks/mine_constants.py --documents 20000 --queries 2000

Each part runs in a process of its own on made-up texts of 60 words and unit vectors around 500 centres (those of
`mine_scale.py`), and prints seconds and bytes per million, or for a search seconds per million queries times
million documents; peaks are those of this run, above what was held before. Seconds elapse on all cores unless CPU is
said. The dearest part, the model, is timed by `embed.py`.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from _process import memory_mb

if TYPE_CHECKING:
    import numpy as np

    from pairmine.stages.mine import Documents

MILLION = 1e6


def main() -> None:
    """Make the data and run the parts one after the other."""
    options = _options()
    if options.part:
        PARTS[options.part](options)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        data = [sys.executable, str(Path(__file__).with_name("mine_scale.py")), "--step", "data", "--folder", folder]
        data += ["--sizes", str(options.documents), "--queries", str(options.queries), "--seed", "0"]
        subprocess.run(data, check=True)
        base = [sys.executable, __file__, "--folder", folder, "--dim", *map(str, options.dim)]
        base += ["--documents", str(options.documents), "--queries", str(options.queries), "--index", *options.index]
        if options.vectors is not None:
            base += ["--vectors", str(options.vectors), "--query-vectors", str(options.query_vectors)]
        print(f"{options.documents:,} documents, {options.queries:,} queries, depth {DEPTH}", flush=True)
        for part in options.parts:
            subprocess.run([*base, "--part", part], check=True)


DEPTH = 100


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--dim", type=int, nargs="+", default=[384, 768, 1024], help="of searches")
    parser.add_argument("--vectors", type=Path, help="of documents, .npy, for the indexes instead of made-up ones")
    parser.add_argument("--query-vectors", type=Path, help="of queries, .npy")
    parser.add_argument("--index", nargs="+", default=["ivf", "hnsw", "pq"], choices=["ivf", "hnsw", "pq"])
    parser.add_argument("--folder", type=Path, help="where files are put meanwhile")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.parts = options.parts or list(PARTS)
    if wrong := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {' '.join(wrong)}; there are {', '.join(PARTS)}")
    return options


class _Taken:
    """Seconds, CPU seconds and bytes of a piece of work, known once it is done."""

    seconds = cpu_s = kept_bytes = peak_bytes = 0.0


@contextmanager
def _timed() -> Iterator[_Taken]:
    """Times what stands in it, and sees how much memory it holds then and held at most above what there was."""
    taken = _Taken()
    before = _settled_mb()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest resident set so far
    start, cpu = time.perf_counter(), time.process_time()
    yield taken
    taken.seconds, taken.cpu_s = time.perf_counter() - start, time.process_time() - cpu
    taken.peak_bytes = (memory_mb("VmHWM") - before) * 1e6
    taken.kept_bytes = (_settled_mb() - before) * 1e6


def _settled_mb() -> float:
    """Resident MB once what is free was given back."""
    gc.collect()
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return memory_mb("VmRSS")


def _say(what: str, **figures: float) -> None:
    cells = "  ".join(f"{name.replace('_', ' ')} {value:,.3g}" for name, value in figures.items())
    print(f"{what:<44}{cells}", flush=True)


def _corpus(options: argparse.Namespace) -> Path:
    return options.folder / f"corpus-{options.documents}.parquet"


def _vectors(options: argparse.Namespace, rows: int, dim: int, seed: int) -> np.ndarray:
    """Unit vectors around 500 centres, the same centres for every seed."""
    import numpy as np
    from mine_scale import CENTRES, _unit_vectors

    centres = np.random.default_rng(0).standard_normal((CENTRES, dim), np.float32)
    return _unit_vectors(centres, seed, rows)


# The parts.


def _texts(options: argparse.Namespace) -> None:
    """Reading the corpus, its keys, the temporary file of texts, the numbers that stay in memory."""
    import pyarrow.parquet as pq

    import pairmine.stages.mine
    from pairmine.files.source import open_documents, open_pairs
    from pairmine.files.text_pool import TextPool
    from pairmine.stages.mine import Corpus, Documents, Queries

    paths = str(options.folder / "pairs.parquet"), lambda _: None
    open_pairs(*paths).read()
    with _timed() as taken:
        pairs = open_pairs(*paths).read()
    _say("a pair set, per million rows", s=taken.seconds * 1e6 / pairs.num_rows, kept_MB=pairs.nbytes / pairs.num_rows)
    queries = Queries.of(pairs)
    per = MILLION / options.documents
    few = pairs.slice(0, 10)
    pairmine.stages.mine.Masks.of(few, Queries.of(few), Documents.of(few, None), near=_near())  # imports what it needs
    for kind in ("parquet", "jsonl"):
        path = _corpus(options)
        if kind == "jsonl":
            import pyarrow as pa

            path = path.with_suffix(".jsonl")
            table = pq.read_table(_corpus(options))
            with path.open("w") as file:
                for row in table.to_pylist():
                    file.write(f'{{"id": "{row["id"]}", "text": "{row["text"]}"}}\n')
            del table
            pa.default_memory_pool().release_unused()
        with _timed() as taken:
            for _ in open_documents(str(path), lambda _: None).each():
                pass
        _say(f"reading {kind}", s=taken.seconds * per, CPU_s=taken.cpu_s * per, file_GB=path.stat().st_size * per / 1e9)
    pool = TextPool(0)
    with _timed() as taken:
        corpus = Corpus.of(open_documents(str(_corpus(options)), lambda _: None).each(), storage=pool)
    _say(
        "reading, text keys, temporary file",
        s=taken.seconds * per,
        CPU_s=taken.cpu_s * per,
        disk_GB=pool.bytes_on_disk * per / 1e9,
        kept_MB=_bytes_in(corpus) * per / 1e6,
        peak_MB=taken.peak_bytes / 1e6,
    )
    with _timed() as taken:
        documents = Documents.of(pairs, corpus)
    _say(
        "places and copies",
        s=taken.seconds * per,
        kept_MB=_bytes_in(documents, known=corpus) * per / 1e6,
        peak_MB=taken.peak_bytes / 1e6,
    )
    with _timed() as taken:
        pairmine.stages.mine.Masks.of(pairs, queries, documents, near=_near())
    _say("near copies, MinHash", s=taken.seconds * per, CPU_s=taken.cpu_s * per, peak_MB=taken.peak_bytes / 1e6)


def _bytes_in(one: object, known: object = None) -> int:
    """Bytes of all arrays that `one` holds and `known` does not."""
    return sum(size for at, size in _arrays(one).items() if at not in _arrays(known))


def _arrays(one: object) -> dict[int, int]:
    """The bytes of each array that an object holds, by where it lies."""
    if isinstance(one, list | tuple):
        parts = list(one)
    elif hasattr(one, "nbytes"):
        buffers = one.chunks if hasattr(one, "chunks") else [one]
        return {each.buffers()[-1].address if hasattr(each, "buffers") else id(each): each.nbytes for each in buffers}
    else:
        parts = list(getattr(one, "__dict__", {}).values())
    return {at: size for part in parts for at, size in _arrays(part).items()}


def _near() -> object:
    from pairmine.cli.run import cores
    from pairmine.stages.mine import near_as_dedup

    return near_as_dedup(0.8, cores(0))


def _types(options: argparse.Namespace) -> None:
    """Vectors of each type: bytes of a million on disk, seconds to write, and to read them once as float32."""
    from pairmine.backends.vectors.codec import VECTOR_TYPES, Codec

    rows = min(options.documents, 200_000)
    per = MILLION / rows
    for dim in options.dim:
        vectors = _vectors(options, rows, dim, 1)
        for kind in VECTOR_TYPES:
            codec = Codec(kind, dim)
            path = options.folder / "vectors.bin"
            with _timed() as writing, path.open("wb") as file:
                for start in range(0, rows, 8192):
                    file.write(codec.pack(vectors[start : start + 8192]).tobytes())
            with _timed() as reading, path.open("rb") as file:
                while data := file.read(8192 * codec.row_bytes):
                    codec.unpack(_rows_of(data, codec.row_bytes))
            _say(
                f"{kind}, {dim} dimensions",
                disk_GB=path.stat().st_size * per / 1e9,
                write_s=writing.seconds * per,
                write_CPU_s=writing.cpu_s * per,
                read_s=reading.seconds * per,
                read_CPU_s=reading.cpu_s * per,
            )
        path.unlink()


def _rows_of(data: bytes, row_bytes: int) -> np.ndarray:
    import numpy as np

    return np.frombuffer(data, np.uint8).reshape(-1, row_bytes)


def _search(options: argparse.Namespace) -> None:
    """Exact search of vectors in memory: seconds per million queries times million documents."""
    from pairmine.backends.vectors import InMemory
    from pairmine.backends.vectors.exact import ExactSearch, has_bfloat16

    passes = ("bfloat16", "float32") if has_bfloat16() else ("float32",)
    for dim in options.dim:
        documents = InMemory(_vectors(options, options.documents, dim, 1))
        queries = _vectors(options, options.queries, dim, 2)
        per = MILLION / options.documents * MILLION / options.queries
        for first in passes:
            search = ExactSearch(documents, len(documents), first_pass=first)
            search.search(queries[:256], DEPTH)
            with _timed() as taken:
                search.search(queries, DEPTH)
            _say(
                f"exact, {dim} dimensions, first pass {first}",
                s_per_million_x_million=taken.seconds * per,
                CPU_s=taken.cpu_s * per,
                peak_MB=taken.peak_bytes / 1e6,
            )


def _index(options: argparse.Namespace) -> None:
    """Indexes: seconds to build and measure, per million documents; seconds of search as above; bytes."""
    import numpy as np

    from pairmine.backends.vectors import InMemory
    from pairmine.backends.vectors.approximate import ApproximateSearch, describe, index_bytes

    if options.vectors is not None:
        documents, queries = InMemory(np.load(options.vectors)), np.load(options.query_vectors)
    else:
        documents = InMemory(_vectors(options, options.documents, options.dim[0], 1))
        queries = _vectors(options, options.queries, options.dim[0], 2)
    dim = documents.dim
    per = MILLION / len(documents)
    for kind in options.index:
        with _timed() as building:
            search = ApproximateSearch.of(
                kind, documents, len(documents), queries, depth=DEPTH, budget_bytes=8 << 30, target_recall=0.98
            )
        with _timed() as searching:
            search.search(queries, DEPTH)
        _say(
            f"{kind}, {dim} dimensions",
            build_s=building.seconds * per,
            build_CPU_s=building.cpu_s * per,
            s_per_million_x_million=searching.seconds * per * MILLION / len(queries),
            CPU_s=searching.cpu_s * per * MILLION / len(queries),
            planned_GB=index_bytes(kind, len(documents), dim) * per / 1e9,
        )
        print(f"{'':<4}{describe(search.facts)}", flush=True)


def _words(options: argparse.Namespace) -> None:
    """BM25: seconds and bytes of the index per million documents, of the search as above."""
    from pairmine.backends.retrievers import open_retriever
    from pairmine.backends.specs import parse_spec

    documents = _documents(options)
    texts = documents.texts
    asked = [" ".join(text.split()[2:12]) for text in texts[: options.queries]]
    bm25 = open_retriever(parse_spec("bm25", ("bm25",), "--retriever"))
    per = MILLION / options.documents
    with _timed() as building:
        bm25.index(texts, documents.searchable)
    bm25.prepare(asked)
    import numpy as np

    with _timed() as searching:
        for start in range(0, len(asked), 4096):
            bm25.search(np.arange(start, min(start + 4096, len(asked))), DEPTH)
    _say(
        "bm25, 60 words, queries of 10",
        build_s=building.seconds * per,
        build_CPU_s=building.cpu_s * per,
        kept_GB=building.kept_bytes * per / 1e9,
        peak_GB=building.peak_bytes * per / 1e9,
        s_per_million_x_million=searching.seconds * per * MILLION / len(asked),
        CPU_s=searching.cpu_s * per * MILLION / len(asked),
    )


def _documents(options: argparse.Namespace) -> Documents:
    from pairmine.files.source import open_documents, open_pairs
    from pairmine.stages.mine import Corpus, Documents

    pairs = open_pairs(str(options.folder / "pairs.parquet"), lambda _: None).read()
    return Documents.of(pairs, Corpus.of(open_documents(str(_corpus(options)), lambda _: None).each()))


def _rows(options: argparse.Namespace) -> None:
    """Candidates as rows: the whole command at two numbers of queries over few documents, and the difference."""
    from _process import PAIRMINE, run

    folder = options.folder / "rows"
    counts = (options.queries, 3 * options.queries)
    found = []
    for queries in counts:
        folder.mkdir()
        data = [sys.executable, str(Path(__file__).with_name("mine_scale.py")), "--step", "data", "--folder", folder]
        subprocess.run([*data, "--sizes", "10000", "--queries", str(queries), "--seed", "0"], check=True)
        out = folder / "out.parquet"
        command = [PAIRMINE, "mine", folder / "pairs.parquet", "--corpus", folder / "corpus-10000.parquet", "--no-near"]
        command += ["--retriever", f"npy:{folder / 'documents-10000.npy'},{folder / 'queries.npy'}", "--quiet"]
        cost = run([*command, "--depth", str(DEPTH), "-o", out])
        found.append((cost.seconds, cost.cpu_s, out.stat().st_size))
        shutil.rmtree(folder)
    seconds, cpu_s, size = (more - less for less, more in zip(*found, strict=True))
    per = MILLION / ((counts[1] - counts[0]) * DEPTH)
    _say("rows (search of 10,000 documents in it)", s=seconds * per, CPU_s=cpu_s * per, file_GB=size * per / 1e9)


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "texts": _texts,
    "vectors": _types,
    "search": _search,
    "index": _index,
    "bm25": _words,
    "rows": _rows,
}

if __name__ == "__main__":
    main()
