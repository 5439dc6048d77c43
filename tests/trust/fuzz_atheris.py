"""Readers under a fuzzer that looks for inputs which reach new code: atheris, libFuzzer for Python.

    python -m trust.fuzz_atheris READER FOLDER -runs=N -seed=N     FOLDER/corpus holds what it starts from

It ends with exit code 77 and leaves the input in FOLDER where a reader raises anything but the error that is a line.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

# To instrument takes its time: what the recipes are read by is left alone for all other readers.
_INSTRUMENTED = ["pairmine.llm.recipes"] if sys.argv[1:2] == ["recipe"] else ["pairmine.files"]

with atheris.instrument_imports(include=_INSTRUMENTED):
    import numpy as np
    import pyarrow as pa

    from pairmine.backends.batch_files import read_row
    from pairmine.backends.requests import Malformed
    from pairmine.errors import PairmineError
    from pairmine.files import lineage
    from pairmine.files.beir import find_beir
    from pairmine.files.entries import read_entries
    from pairmine.files.forms import open_form
    from pairmine.files.labels import Labels
    from pairmine.files.qrels import open_known
    from pairmine.files.runs import read_run
    from pairmine.files.source import open_documents, open_pairs
    from pairmine.files.vectors import read_vectors
    from pairmine.llm.recipes.file import read_recipe

_IDS = pa.array(["q1", "q2", "d1", "d2"])


def _quiet(line: str) -> None:
    """Nobody listens."""


def _documents(path: str) -> None:
    for table in open_documents(path, _quiet).tables():
        table.to_pylist()


def _pairs(path: str) -> None:
    for table in open_pairs(path, _quiet).chunks():
        table.to_pylist()


def _form(path: str) -> None:
    form = open_form(path, _quiet)
    for table in form.chunks() if form else ():
        table.to_pylist()


def _vectors(path: str) -> None:
    read_vectors([Path(path)], pa.array(["d1", "d2"]), np.arange(2), 2, budget_bytes=1 << 20)


def _labels(path: str) -> None:
    Labels(path).table()


def _entries(path: str) -> None:
    for some in read_entries(path):
        assert all(len(entry.key) == 20 for entry in some)


def _batch(path: str) -> None:
    for line in Path(path).read_bytes().split(b"\n"):
        try:
            read_row(line)
        except Malformed:
            continue


READERS: dict[str, tuple[str, Callable[[str], object]]] = {
    "jsonl": ("x.jsonl", _documents),
    "csv": ("x.csv", _documents),
    "tsv": ("x.tsv", _documents),
    "parquet": ("x.parquet", _documents),
    "arrow": ("x.arrow", _documents),
    "gz": ("x.jsonl.gz", _documents),
    "pairs": ("x.jsonl", _pairs),
    "form": ("x.jsonl", _form),
    "qrels": ("x.trec", lambda path: open_known(path, _quiet).read()),
    "run": ("x.trec", lambda path: read_run(path, _IDS, _IDS, np.arange(4))),
    "npy": ("x.npy", _vectors),
    "labels": ("x.jsonl", _labels),
    "entries": ("x.jsonl", _entries),
    "batch": ("x.jsonl", _batch),
    "recipe": ("x.yaml", lambda path: read_recipe(Path(path).read_bytes(), path)),
    "lineage": ("x", lambda path: lineage.decode({lineage.KEY: Path(path).read_bytes()}, path)),
}
"""Each reader with the name of the file that it reads."""


def main() -> None:
    """Fuzz the reader that the command line names."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    file, read = READERS[name]
    work = folder / "work"
    work.mkdir(exist_ok=True)
    (work / "x.ids.txt").write_text("d1\nd2\n")
    os.chdir(work)
    assert find_beir(".") is None

    def try_one(data: bytes) -> None:
        Path(file).write_bytes(data)
        with contextlib.suppress(PairmineError):
            read(file)

    atheris.Setup([sys.argv[0], *sys.argv[3:], str(folder / "corpus")], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
