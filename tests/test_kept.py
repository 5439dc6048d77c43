"""What a run on shards reads back from its own folder: data, and nothing that does something when it is read."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from pairmine.engines import kept
from pairmine.errors import PairmineError

ATTACKS = [
    ("pairmine.backends.leash", "subprocess.Popen", (["touch", "{}"],)),
    ("pairmine.files.partial", "Partial", ("{}",)),
    ("pairmine.files.partial", "write_atomically", ("{}", "x")),
    ("pairmine.files.partial", "os.mkdir", ("{}",)),
    ("pairmine.files.folder", "FolderSink", ("{}", {})),
    ("pairmine.engines.kept", "pickle.loads", (b"",)),
    ("pairmine.engines.kept", "importlib.import_module", ("antigravity",)),
    ("pairmine.engines.kept", "_Data.find_class", (None, "os", "system")),
    ("pairmine.stages.dedup.kernel.machine_code", "Library", ({}, b"")),
    ("pairmine.backends.leash", "Leash", ()),
    ("pairmine.__main__", "run", ()),
    ("pairmine", "import_module", ("os",)),
    ("os", "system", ("touch {}",)),
    ("posix", "system", ("touch {}",)),
    ("subprocess", "Popen", (["touch", "{}"],)),
    ("builtins", "eval", ("1",)),
    ("builtins", "exec", ("1",)),
    ("builtins", "getattr", ("", "upper")),
    ("builtins", "open", ("{}", "w")),
    ("builtins", "__import__", ("os",)),
    ("builtins", "object.__subclasses__", ()),
    ("numpy", "load", ("{}",)),
    ("numpy", "ndarray.tofile", ("{}",)),
    ("numpy", "f2py.os.system", ("touch {}",)),
    ("pyarrow.lib", "_pc", ()),
    ("pyarrow", "parquet.pq.os.system", ("touch {}",)),
    ("functools", "partial", (print,)),
    ("operator", "attrgetter", ("x",)),
    ("codecs", "decode", (b"", "zip")),
]


def calling(module: str, name: str, args: tuple[object, ...], protocol: int) -> bytes:
    """A pickle that calls what stands in a module, as `__reduce__` of an evil object makes it."""
    values = pickle.dumps(args, 2)[2:-1]
    if protocol >= 4:
        named = b"".join(b"\x8c" + bytes([len(each)]) + each.encode() for each in (module, name))
        return b"\x80\x04" + named + b"\x93" + values + b"R."
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + values + b"R."


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(("module", "name", "args"), ATTACKS)
def test_a_marker_that_would_do_something_is_refused(
    module: str, name: str, args: tuple[object, ...], protocol: int, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    filled = eval_in(args, str(made))
    with pytest.raises(PairmineError, match=rf"marker: (holds {module}|is damaged)"):
        kept.loads(calling(module, name, filled, protocol), "marker")
    assert not made.exists()


def eval_in(args: tuple[object, ...], path: str) -> tuple[object, ...]:
    """The arguments with a path in the place of braces."""
    return tuple(
        [each.format(path) for each in value]
        if isinstance(value, list)
        else value.format(path)
        if isinstance(value, str)
        else value
        for value in args
    )


@pytest.mark.parametrize(
    "content", [b"", b".", b"\x80\x05", b"\x80\x05N", b"c__main__\nx\n.", b"\x80\x05\x8e" + b"\xff" * 8]
)
def test_what_is_no_marker_is_damaged(content: bytes) -> None:
    with pytest.raises(PairmineError, match=r"marker: (is damaged|holds __main__\.x)"):
        kept.loads(content, "marker")
