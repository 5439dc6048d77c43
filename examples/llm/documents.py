"""A corpus without a download: what the Python standard library that is installed here says about itself.

    python3 documents.py 200 > corpus.jsonl

One JSON object a line, with `id`, `title` and `text`: docstrings of at least 30 words, of modules, classes and
functions. Of all there are, 200 are drawn, always the same ones; `all` in place of the number takes every one.
"""

import ast
import json
import random
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

FEWEST_WORDS = 30
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}


def documents(stdlib: Path) -> Iterator[tuple[str, str]]:
    """The name and the docstring of all that is documented under `stdlib`, in the order of the paths."""
    for file in sorted(stdlib.rglob("*.py")):
        path = file.relative_to(stdlib).with_suffix("")
        if LEFT_OUT.isdisjoint(path.parts):
            yield from docstrings(ast.parse(file.read_bytes()), ".".join(path.parts).removesuffix(".__init__"))


def docstrings(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """The same for `node`, which goes by `name`, and all inside it."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node) or ""
        if len(text.split()) >= FEWEST_WORDS:
            yield name, text
    for child in ast.iter_child_nodes(node):
        is_named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        yield from docstrings(child, f"{name}.{child.name}" if is_named else name)


def main(wanted: str) -> None:
    """Print so many of them, or `all`, as JSON lines."""
    found: dict[str, str] = {}
    for name, text in documents(Path(sysconfig.get_paths()["stdlib"])):
        found.setdefault(name, text)  # a name may be defined anew for another system
    chosen = list(found) if wanted == "all" else random.Random(0).sample(list(found), min(int(wanted), len(found)))
    for name in chosen:
        print(json.dumps({"id": name, "title": name, "text": found[name]}))


if __name__ == "__main__":
    main(sys.argv[1])
