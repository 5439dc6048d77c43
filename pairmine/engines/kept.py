"""What a shard came to, as a file that a run which goes on reads back."""

from __future__ import annotations

import importlib
import io
import pickle
import re
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

from pairmine.errors import PairmineError

_DATA = {
    "builtins": r"set|frozenset|complex|slice|range|object",
    "collections": r"Counter|OrderedDict|defaultdict|deque",
    "copyreg": r"_reconstructor",
    "numpy": r"ndarray|dtype",
    "numpy.core.multiarray": r"_reconstruct|scalar",
    "numpy._core.multiarray": r"_reconstruct|scalar",
    "numpy._core.numeric": r"_frombuffer",
    "pyarrow.lib": r"_reconstruct\w*|_restore\w*|type_for_alias|py_buffer|Buffer|schema|field|list_|large_list|struct"
    r"|dictionary|chunked_array|ChunkedArray|Table|RecordBatch|Schema|Field|\w+Type|\w+Array",
}
"""Names that data is put together by, by their module."""
_HOLDS_DATA = (tuple, dict, list, Enum)
_STAGES, _MACHINE_CODE = "pairmine.stages.", "pairmine.stages.dedup.kernel."
"""A stage opens no file and starts nothing; the one exception runs the machine code that it is given."""


def dumps(result: Any) -> bytes:
    """`result` as bytes."""
    return pickle.dumps(result, 5)


def loads(content: bytes | memoryview, where: str) -> Any:
    """What `dumps` made the bytes of; raises PairmineError for anything that is more than data and classes of ours."""
    try:
        return _Data(io.BytesIO(content)).load()
    except PairmineError as error:
        raise PairmineError(f"{where}: {error}; remove the folder and run the same command again") from None
    except Exception as error:
        raise PairmineError(
            f"{where}: is damaged ({type(error).__name__}); remove the folder and run the same command again"
        ) from None


def _class_of_ours(module: str, name: str) -> Any:
    """A class of ours that holds data, and does nothing when it is made but to look at it.

    A name may lead out of the module to what it imports, as to `subprocess.Popen`, and a class of ours may open a file.
    """
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = vars(found).get(part)
        if found is None or getattr(found, "__module__", None) != module:
            break
    else:
        is_of_a_stage = module.startswith(_STAGES) and not module.startswith(_MACHINE_CODE)
        if isinstance(found, type) and (is_of_a_stage or is_dataclass(found) or issubclass(found, _HOLDS_DATA)):
            return found
    raise PairmineError(f"holds {module}.{name}, which no run leaves there")


class _Data(pickle.Unpickler):
    """Reads numbers, texts, arrays, tables and objects of our classes, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for."""
        if module.startswith("pairmine."):
            return _class_of_ours(module, name)
        if re.fullmatch(_DATA.get(module, "$^"), name):
            return super().find_class(module, name)
        raise PairmineError(f"holds {module}.{name}, which no run leaves there")
