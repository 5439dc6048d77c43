"""Arrow without pandas, which takes 0.2 s and 30 MB to import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


def leave_out_pandas() -> None:
    """Keep Arrow from importing pandas for the first array that it makes, only to know pandas' objects from others.

    It asks once and then goes without; `Table.to_pandas` still works. To be called by a program that hands no pandas
    objects to Arrow, before it uses Arrow; does nothing where pandas is there already.
    """
    if "pandas" in sys.modules:
        return
    import numpy as np
    import pyarrow as pa

    with _hidden():
        pa.array(np.zeros(1))
        pa.scalar("")


class _NoPandas:
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            _refuse(name)


def _refuse(name: str) -> NoReturn:
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@contextmanager
def _hidden() -> Iterator[None]:
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
