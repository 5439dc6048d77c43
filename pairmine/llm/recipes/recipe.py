"""A recipe for an LLM as it was read from its file: what is drawn, asked, checked and emitted.

`file` makes these out of YAML and vouches for them; `rendering` turns them into prompts and rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pairmine.llm.calls import Sampling
from pairmine.recipes import Input

Reads = Literal["documents", "queries", "pairs", "groups", "rows", "nothing"]

CANDIDATES = "candidates"
"""The column of a recipe that reads groups: the rows of a query in the pair set, as a list."""

PLAIN_FIELD = "text"
"""The one field of a reply that has no schema."""

ALL_ROUNDS = "rounds"
"""The field in which a step that is asked in rounds has the replies of all of them."""

MOST_ROUNDS = 200

LABELS: Mapping[str, int | None] = {"1": 1, "0": 0, "": None, "true": 1, "false": 0}
"""What the template of a label may give, in lower case."""


@dataclass(frozen=True)
class Count:
    """A number that a recipe file gives, or leaves to the variable `option`, whose default it then is."""

    number: int
    option: str | None = None

    def of(self, options: Mapping[str, Any]) -> int:
        """The number under these values of the variables."""
        return self.number if self.option is None else int(options[self.option])


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
    Of `several` different choices the texts are joined with "; ", in the order in which they were drawn. Where
    it `is_per_part`, every part of a row has a draw of its own.
    """

    name: str
    meaning: str
    choices: tuple[Choice, ...]
    is_open: bool = False
    several: Count | None = None
    is_per_part: bool = False


@dataclass(frozen=True)
class Exemplar:
    """A worked example that is shown to the model; `fields` are what the templates of its turns read."""

    name: str
    fields: Mapping[str, Any]
    line: int = 0


@dataclass(frozen=True)
class Setting:
    """A variable of the templates (`options.NAME`) that a user may set with `--set NAME=VALUE`.

    A number is from `low` to `high`, which may both be reached; None stands for no limit.
    """

    name: str
    default: str | int | float | bool
    meaning: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Step:
    """One question to the model, asked for each row and sample.

    `shots` of the `exemplars` are drawn. With `turns`, a template for the user and one for the
    assistant, they become turns of the chat; without, the prompt lists them itself. Without a
    `schema` the reply is plain text, called "text" in `checks` and templates. `after` are the
    steps whose replies the prompt reads. Where the expression `only` does not hold it is not asked; `only_after` are
    the steps whose replies that reads. With `rounds` it is asked so often, one after the other, and sees
    what it said before. `reads` are the variables of all its templates, such as ("options", "audience"), and
    `lines` says where in the file each part begins.
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
    rounds: Count | None = None
    only: str | None = None
    only_after: tuple[str, ...] = ()
    reads: frozenset[tuple[str, ...]] = frozenset()
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields of a reply, in the order of the schema."""
        return tuple(self.schema["properties"]) if self.schema else (PLAIN_FIELD,)


@dataclass(frozen=True)
class Expand:
    """A step that is asked first, and a list in its reply, whose entries are parts.

    All other steps are asked, and all rows made, for each part. `expected` is how many parts an estimate
    reckons with before a reply has been seen, and `basis` says where that number comes from.
    """

    step: str
    each: str
    expected: Count
    basis: str
    lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class When:
    """An expression on which a row depends, and why there is no row where it does not hold."""

    test: str
    reason: str


@dataclass(frozen=True)
class Emit:
    """A row of the output that a reply gives; the texts are templates.

    `each` is an expression whose value is a list: one row for each of its entries, which the
    templates see as `each`, with its place in the list, from 0, as `index`. `candidate` is an expression that gives
    one of the row's candidates, whose text and id are then the document's; `document` is blank with it. Where the
    expression `only` does not hold there is no such row to be had, and none is missed; `only_after` are the steps whose
    replies that reads. `label` is 1, 0, None or a template.
    `columns` and `numbers` are further columns, by name. `needs` are the steps whose replies the row is made of;
    where one is missing, so is the row. `lines` says where in the file each part begins.
    """

    role: str
    step: str
    query: str
    document: str
    query_id: str | None = None
    doc_id: str | None = None
    label: int | str | None = None
    grade: str | None = None
    each: str | None = None
    when: When | None = None
    candidate: str | None = None
    only: str | None = None
    only_after: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
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
    are the columns that it reads, those that every table of its kind has included. Where there is no column for
    the input `rest`, it is all columns that no other input names, as one mapping. Of a query's group `most` rows are
    read. Rows for which `only` does not hold are rejected before anything is asked. `digest` stands
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
    rest: str | None = None
    most: Count | None = None
    only: When | None = None
    expand: Expand | None = None
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
