"""A recipe for an LLM as it was read from its file: what is drawn, asked, checked and emitted.

`file` makes these out of YAML and vouches for them; `rendering` turns them into prompts and rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pairmine.llm.calls import Sampling
from pairmine.recipes import Input

Reads = Literal["documents", "queries", "pairs", "rows", "nothing"]

PLAIN_FIELD = "text"
"""The one field of a reply that has no schema."""


@dataclass(frozen=True)
class Choice:
    """An entry of a pool. Draws go by its name, so that its text may be edited without moving any row."""

    name: str
    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Draw:
    """An attribute that is drawn for every row and sample, such as the form or the length of a query.

    Where it `is_open`, a user may ask for any text (`--draw language=Basque`), not just for a choice by name.
    """

    name: str
    meaning: str
    choices: tuple[Choice, ...]
    is_open: bool = False


@dataclass(frozen=True)
class Exemplar:
    """A worked example that is shown to the model; `fields` are what the templates of its turns read."""

    name: str
    fields: Mapping[str, Any]
    line: int = 0


@dataclass(frozen=True)
class Setting:
    """A variable of the templates (`options.NAME`) that a user may set with `--set NAME=VALUE`."""

    name: str
    default: str | int | float | bool
    meaning: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One question to the model, asked for each row and sample.

    `shots` of the `exemplars` are drawn. With `turns`, a template for the user and one for the
    assistant, they become turns of the chat; without, the prompt lists them itself. Without a
    `schema` the reply is plain text, called "text" in `checks` and templates. `after` are the
    steps whose replies the prompt reads. `lines` says where in the file each part begins.
    """

    name: str
    prompt: str
    system: str = ""
    instructions: tuple[Choice, ...] = ()
    exemplars: tuple[Exemplar, ...] = ()
    shots: int = 0
    turns: tuple[str, str] | None = None
    schema: Mapping[str, Any] | None = None
    sampling: Sampling = field(default_factory=Sampling)
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields of a reply, in the order of the schema."""
        return tuple(self.schema["properties"]) if self.schema else (PLAIN_FIELD,)


@dataclass(frozen=True)
class Emit:
    """A row of the output that a reply gives; the texts are templates.

    `each` is an expression whose value is a list: one row for each of its entries, which the
    templates see as `each`. `needs` are the steps whose replies the row is made of; where one is
    missing, so is the row. `lines` says where in the file each part begins.
    """

    role: str
    step: str
    query: str
    document: str
    query_id: str | None = None
    doc_id: str | None = None
    label: int | None = None
    grade: str | None = None
    each: str | None = None
    needs: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Duplicates:
    """Generations are compared with each other by MinHash: which fields, and from what Jaccard similarity on."""

    fields: tuple[tuple[str, str], ...]
    threshold: float


@dataclass(frozen=True)
class PromptRecipe:
    """A way of having pairs written, or judged, by an LLM.

    Either `emits` rows or yields a `score` (a template whose value is a number in [0, 1]). `inputs`
    are the columns that it reads, those that every table of its kind has included. `digest` stands
    for the bytes of the file in the lineage; `path` is how errors call the file.
    """

    name: str
    summary: str
    paper: str
    reads: Reads
    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    draws: tuple[Draw, ...] = ()
    options: tuple[Setting, ...] = ()
    emits: tuple[Emit, ...] = ()
    score: str | None = None
    duplicates: Duplicates | None = None
    example: str = ""
    digest: str = ""
    path: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The heading under which it is listed."""
        return "with an LLM"

    @property
    def needs(self) -> str:
        """What it runs, in the words of `recipes.Recipe`."""
        return "llm"

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)
