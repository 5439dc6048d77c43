"""docs/write-a-recipe.md leaves out nothing that a recipe may say, and its Python runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from pairmine.llm.replies.checks import CHECKS
from pairmine.stages.derive.registry import Document

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "write-a-recipe.md").read_text("utf-8")


def fields() -> set[str]:
    """Every key that some part of a recipe file may have, as the code that reads it names them."""
    named: list[ast.AST] = []
    for module in (ROOT / "pairmine" / "llm" / "recipes").glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fields":
                named += node.args
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("optional", "_TURNS"):
                named.append(node.value)
    values = (each.value for node in named for each in ast.walk(node) if isinstance(each, ast.Constant))
    return {value for value in values if isinstance(value, str)}


def test_every_field_of_a_recipe_file_is_explained() -> None:
    explained = set(re.findall(r"\b[a-z_]+\b", " ".join(re.findall(r"`([^`\n]+)`", PAGE))))
    assert {"summary", "rounds", "candidate", "assistant", "temperature", "rest", "expect"} <= fields()
    assert fields() <= explained


def test_every_check_is_explained() -> None:
    assert {f"| `{name}` |" for name in CHECKS} <= set(re.findall(r"\| `\w+` \|", PAGE))


def test_the_recipe_in_python_gives_pairs() -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    [derivation] = names["DERIVATIONS"]
    lead = derivation.from_document(min_words=4)
    found = lead(Document("a", "The first sentence is here. Then two more. And this.", None), None)
    assert [(pair.query, pair.document) for pair in found.pairs] == [
        ("The first sentence is here.", "Then two more. And this.")
    ]
    assert lead(Document("b", "Only one.", None), None).reason == "only one sentence"
