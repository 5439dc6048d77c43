"""A tree of Python files as a table of (id, text): the id is a file's path inside the tree."""

from __future__ import annotations

import io
import os
import tokenize
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.whole import read_whole

_BATCH_FILES = 64
_LEFT_OUT = {"__pycache__", "site-packages", "node_modules", ".git", ".venv", "venv"}


class CodeTree:
    """Every .py file below a folder (or one file), in the order of their paths.

    Left out are `__pycache__`, hidden folders, virtual environments and site-packages, and links
    to folders. A file that cannot be decoded has null text.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = path
        self.rows = 0
        self._root = Path(path)
        if not self._root.exists():
            raise PairmineError(f"{path}: no such file or folder")
        self._files = [self._root] if self._root.is_file() else sorted(_python_files(self._root))
        if not self._files:
            raise PairmineError(f"{path}: no .py files in it; name a folder with Python source")
        self._digest = sha256()

    def tables(self) -> Iterator[pa.Table]:
        """Tables with columns id and text, some files each."""
        self.rows = 0
        self._digest = sha256()
        for start in range(0, len(self._files), _BATCH_FILES):
            files = self._files[start : start + _BATCH_FILES]
            ids = [self._id(file) for file in files]
            texts = [self._text(file, name) for file, name in zip(files, ids, strict=True)]
            self.rows += len(files)
            yield pa.table({"id": pa.array(ids, pa.string()), "text": pa.array(texts, pa.large_string())})

    def read(self) -> pa.Table:
        """All files as one table."""
        return pa.concat_tables(self.tables())

    def add_to(self, record: lineage.Lineage, role: str) -> None:
        """Record the tree with a digest over paths and contents; to be called when all of it was read."""
        record.add_input(role, [], path=self.path, sha256=self._digest.hexdigest(), rows=self.rows)

    def _id(self, file: Path) -> str:
        return file.name if file == self._root else file.relative_to(self._root).as_posix()

    def _text(self, file: Path, name: str) -> str | None:
        try:
            content = read_whole(file)
        except OSError as error:
            line = f"{file}: {(error.strerror or str(error)).lower()}; make it readable, or take it out of the folder"
            raise PairmineError(line) from None
        self._digest.update(f"{name} {sha256(content).hexdigest()}\n".encode("utf-8", "surrogateescape"))
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
            return io.TextIOWrapper(io.BytesIO(content), encoding).read()
        except (SyntaxError, UnicodeDecodeError, LookupError):
            return None


def _python_files(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if name not in _LEFT_OUT and not name.startswith(".")]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))
