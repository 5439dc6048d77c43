"""How a recipe of `derive` is declared, and the list of all of them.

A module of recipes holds `DERIVATIONS`; a new module is added to `_MODULES`. Either kind of recipe
is a function of its options that checks them against each other and returns what does the work: a
function of one document where each row stands alone, a function of the table where the recipe must
see it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import NamedTuple

import pyarrow as pa

from pairmine.recipes import Input, Recipe
from pairmine.schema import POSITIVE
from pairmine.stages.derive.draws import Draws

_MODULES = ("views", "structure", "code")

DOCUMENT = (
    Input("id", "identity of the document; a hash of its text where there is none", required=False),
    Input("text", "the document"),
)
"""The inputs of a recipe that reads a corpus, whose reader knows the names that files give them."""


class Document(NamedTuple):
    """One row of a corpus or of a tree of code; its text is not blank, its title is None where it has none."""

    id: str
    text: str
    title: str | None


class Pair(NamedTuple):
    """One row to be; `extra` holds the values of the recipe's own columns."""

    query_id: str
    query: str
    doc_id: str
    document: str
    label: int = POSITIVE
    extra: tuple[object, ...] = ()


class Found(NamedTuple):
    """The pairs of one row; `reason` says why there are none, `skipped` why parts of the row gave none."""

    pairs: Sequence[Pair]
    reason: str = ""
    skipped: Sequence[str] = ()


class FoundInTable(NamedTuple):
    """(row number, pair) in the order of the output, and the reason of each row that gave none, by number."""

    pairs: Sequence[tuple[int, Pair]]
    reasons: Mapping[int, str]


FromDocument = Callable[[Document, Draws], Found]
FromTable = Callable[[pa.Table], FoundInTable]


@dataclass(frozen=True)
class Derivation:
    """A recipe and the function that carries it out, given the recipe's options by keyword.

    One of `from_document` and `from_table` is set. `extra` are the columns that the recipe adds.
    """

    recipe: Recipe
    from_document: Callable[..., FromDocument] | None = None
    from_table: Callable[..., FromTable] | None = None
    extra: Sequence[pa.Field] = field(default=())


@cache
def derivations() -> dict[str, Derivation]:
    """Every recipe of `derive` by name, in the order of the modules."""
    found: dict[str, Derivation] = {}
    for module in _MODULES:
        for derivation in import_module(f"pairmine.stages.derive.{module}").DERIVATIONS:
            found[derivation.recipe.name] = derivation
    return found


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts, or nothing but nulls."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)
    )
