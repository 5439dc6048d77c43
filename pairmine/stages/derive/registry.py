"""How a recipe of `derive` is declared, and the list of all of them.

A module of recipes holds `DERIVATIONS`; a new module is added to `_MODULES`. Every kind of recipe
is a function of its options and resources that checks them against each other and returns what does
the work: a function of one document or row where each stands alone, of several documents where a
model takes them together, of the table where the recipe must see it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa

from pairmine.recipes import Input, Recipe
from pairmine.schema import POSITIVE
from pairmine.stages.derive.draws import Draws

_MODULES = (
    "views",
    "spans",
    "sentences",
    "outline",
    "passages",
    "structure",
    "nli",
    "scored",
    "labels",
    "definitions",
    "dialogue",
    "citations",
    "translate",
    "parallel",
    "linked",
    "phrases",
    "code",
    "words",
    "noise",
    "rewrites",
    "flips",
    "models",
    "representative",
    "codeviews",
)

PAIR = (
    Input("query_id", "identity of the query; a hash of its text where there is none", required=False),
    Input("query", "the query"),
    Input("doc_id", "identity of the document; a hash of its text where there is none", required=False),
    Input("document", "the document"),
    Input("label", "1 positive, 0 negative, blank undecided", required=False),
)
"""The inputs of a recipe that reads a pair set, whose reader knows the names that files give them."""

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
    """One row to be; `extra` holds the values of the recipe's own columns, or is empty where all are null.

    `role` tells the rows of a recipe that makes several kinds apart: `origin` is "derive:NAME/ROLE".
    """

    query_id: str
    query: str
    doc_id: str
    document: str
    label: int | None = POSITIVE
    extra: tuple[object, ...] = ()
    role: str = ""


class Found(NamedTuple):
    """The pairs of one row; `reason` says why there are none, `skipped` why parts of the row gave none."""

    pairs: Sequence[Pair]
    reason: str = ""
    skipped: Sequence[str] = ()


class FoundInTable(NamedTuple):
    """(row number, pair) in the order of the output, the reason of each row that gave none, by number, and counts
    that are worth telling."""

    pairs: Sequence[tuple[int, Pair]]
    reasons: Mapping[int, str]
    notes: Mapping[str, int] = MappingProxyType({})


DrawsOf = Callable[..., Draws]
"""The draws of what its arguments name, texts that stay the same wherever a row stands: an id, a premise."""

FromDocument = Callable[[Document, Draws], Found]
FromDocuments = Callable[[Sequence[Document], Sequence[Draws]], Sequence[Found]]
FromRow = Callable[[Mapping[str, Any], Draws], Found]
FromTable = Callable[[pa.Table, DrawsOf], FoundInTable]


@dataclass(frozen=True)
class Derivation:
    """A recipe and the function that carries it out, given the recipe's options and resources by keyword.

    One of the functions is set. Each row of a `from_document`, `from_documents` or `from_row` recipe
    stands alone; blank documents never reach the first two, and `from_row` sees the columns in the
    recipe's `inputs`, null where a row or the table lacks one; where the recipe is `whole`, the rows of
    one query are brought together after it. A resource that was not given is None.
    `extra` are the columns that the recipe adds, or a function of its options that names them; `grade`,
    `weight` and `score_<name>` may be among them.
    """

    recipe: Recipe
    from_document: Callable[..., FromDocument] | None = None
    from_documents: Callable[..., FromDocuments] | None = None
    from_row: Callable[..., FromRow] | None = None
    from_table: Callable[..., FromTable] | None = None
    extra: Sequence[pa.Field] | Callable[..., Sequence[pa.Field]] = field(default=())


@cache
def derivations() -> dict[str, Derivation]:
    """Every recipe of `derive` by name, in the order of the modules."""
    found: dict[str, Derivation] = {}
    for module in _MODULES:
        for derivation in import_module(f"pairmine.stages.derive.{module}").DERIVATIONS:
            found[derivation.recipe.name] = derivation
    return found


def views_of(name: str, number: int, views: Sequence[str]) -> list[Pair]:
    """The first of `views` of one thing as the query of the others; `number` tells a document's things apart.

    Ids are `name`#q0, #p0, #p1 for views of thing 0, `name`#q1, #p2, #p3 for those of thing 1.
    """
    query, *others = views
    first = number * len(others)
    return [Pair(f"{name}#q{number}", query, f"{name}#p{at}", text) for at, text in enumerate(others, first)]


def together(pairs: Sequence[tuple[int, Pair]]) -> list[tuple[int, Pair]]:
    """`pairs` with those of one query next to each other, queries in the order in which they first appear.

    Of pairs with the same query and document the first stays.
    """
    by_query: dict[str, dict[str, tuple[int, Pair]]] = {}
    for row, pair in pairs:
        by_query.setdefault(pair.query_id, {}).setdefault(pair.doc_id, (row, pair))
    return [found for documents in by_query.values() for found in documents.values()]


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
