"""From a recipe and a row to the prompt, and from the replies to the rows that come out.

What is drawn goes by the row's content, the sample and the seed, never by ids, positions or shards;
`pools` says what stays when a recipe is edited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from pairmine.errors import PairmineError
from pairmine.identity import content_id, normalise, seed_of
from pairmine.llm.calls import Message
from pairmine.llm.recipes.pools import Pool
from pairmine.llm.recipes.recipe import Choice, Emit, PromptRecipe, Step
from pairmine.llm.recipes.settings import check_shots, narrowed, read_options
from pairmine.llm.recipes.templates import compiled, compiled_expression, lookup, mistakes, said

_TURNS = ("user", "assistant")
_NO_INSTRUCTION = Choice("", "")
_IDS = ("id", "query_id", "doc_id")
_ID_OF: Mapping[str, Mapping[tuple[str, ...] | None, str]] = {
    "documents": {("row", "text"): "id"},
    "queries": {("row", "text"): "id"},
    "pairs": {("row", "query"): "query_id", ("row", "document"): "doc_id"},
}


class RowProblem(Exception):
    """A reply gives no row or score: it is to be rejected, and the run goes on.

    The message is the reason, such as "grade: not from 0 to 1". It holds nothing of the reply, so
    that reasons can be counted.
    """


class Item(NamedTuple):
    """One sample of one row. `words` are the texts of the `draws`, as templates and checks read them.

    `content` (16 bytes) is equal for rows that say the same in the columns that the recipe reads,
    whatever their ids; `seed` settles every draw.
    """

    row: dict[str, Any]
    sample: int
    content: bytes
    draws: dict[str, Choice]
    words: dict[str, str]
    seed: int

    @property
    def id(self) -> str | None:
        """The row's id, where what it reads has one."""
        found = self.row.get("id")
        return None if found is None else str(found)


class Prompt(NamedTuple):
    """What is sent, and what was drawn for it: `template` is "step/instruction", `exemplars` are names with commas."""

    messages: tuple[Message, ...]
    template: str
    exemplars: str


class Emitted(NamedTuple):
    """A row of the output.

    A text that was given keeps the id of its row, one that was written has the hash of its content;
    `source_id` is the id of the row that it was written for, None for pairs.
    """

    role: str
    step: str
    query_id: str
    query: str
    doc_id: str
    document: str
    label: int | None
    grade: float | None
    source_id: str | None


class Renderer:
    """Draws, prompts and rows of one recipe; templates are compiled once, here.

    `draws` narrows attributes: {"form": ["question", "keywords"]}; an open one takes any text.
    `options` sets variables, `shots` the number of exemplars in every step that has some. Raises
    PairmineError, naming what there is, for one that the recipe does not have.
    """

    def __init__(
        self,
        recipe: PromptRecipe,
        seed: int = 0,
        *,
        draws: Mapping[str, Sequence[str]] | None = None,
        options: Mapping[str, Any] | None = None,
        shots: int | None = None,
    ) -> None:
        self.recipe = recipe
        self.options = read_options(recipe, options or {})
        drawn = narrowed(recipe, draws or {})
        self._seed = seed
        self._columns = tuple(each.name for each in recipe.inputs)
        self._content_columns = tuple(name for name in self._columns if name not in _IDS)
        self._draws = [(draw.name, Pool(f"draws/{draw.name}", draw.choices)) for draw in drawn]
        self._own_ids = tuple((name, path[1]) for path, name in _ID_OF.get(recipe.reads, {}).items() if path)
        check_shots(recipe, shots)
        self._steps = {step.name: _StepPrompts(recipe, step, self.options, shots) for step in recipe.steps}
        self._emits = [_Row(recipe, emit, self.options) for emit in recipe.emits]
        self._score = _Template(recipe, "score", recipe.score, recipe.lines) if recipe.score else None

    def item(self, row: Mapping[str, Any], sample: int = 0) -> Item:
        """The `sample`-th draw of attributes for a row; a column that it lacks is null."""
        values = {name: row.get(name) for name in self._columns}
        digest = blake2b(digest_size=16)
        for name in self._content_columns:
            value = values[name]
            text = normalise(value if isinstance(value, str) else str(value)) if value is not None else ""
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d " % len(encoded))
            digest.update(encoded)
        content = digest.digest()
        for name, text_column in self._own_ids:
            if values[name] is None:
                values[name] = content_id(values[text_column] or "")
        seed = seed_of(self._seed, self.recipe.name, content.hex(), str(sample))
        drawn = {name: pool.first(seed) for name, pool in self._draws}
        return Item(values, sample, content, drawn, {name: choice.text for name, choice in drawn.items()}, seed)

    def prompt(self, item: Item, step: str, replies: Mapping[str, Mapping[str, Any]] | None = None) -> Prompt:
        """What `step` asks about the item; `replies` holds those of the steps that it comes `after`.

        Raises RowProblem where it cannot be asked about these replies.
        """
        return self._steps[step].prompt(item, replies or {})

    def emit(self, item: Item, replies: Mapping[str, Mapping[str, Any]]) -> list[Emitted]:
        """The rows that the replies give, in the order of the recipe; those of a reply that is missing are left out.

        Raises RowProblem where a template cannot be filled with what a reply says.
        """
        return [row for emit in self._emits if replies.keys() >= emit.needs for row in emit.rows(item, replies)]

    def score(self, item: Item, replies: Mapping[str, Mapping[str, Any]]) -> float:
        """The score in [0, 1] that the replies give, for a recipe that has one. Raises RowProblem as `emit` does."""
        if self._score is None:
            raise PairmineError(f"recipe {self.recipe.name} writes pairs and gives no score; use it with 'generate'")
        last = self.recipe.steps[-1].name
        return self._score.number(_context(item, self.options, replies, replies[last]))


class _StepPrompts:
    """The prompts of one step. All that does not depend on the row is rendered here, once."""

    def __init__(self, recipe: PromptRecipe, step: Step, options: Mapping[str, Any], shots: int | None) -> None:
        self._step = step
        self._options = options
        self._shots = (step.shots if shots is None else shots) if step.exemplars else 0
        self._instructions = Pool(f"{step.name}/instructions", step.instructions)
        self._exemplars = Pool(f"{step.name}/exemplars", step.exemplars)
        where = f"steps: {step.name}: prompt"
        self._prompt = _Template(recipe, where, step.prompt, step.lines, reason="prompt")
        self._system = (
            _Template(recipe, f"steps: {step.name}: system", step.system, step.lines) if step.system else None
        )
        self._turns = [
            _Template(recipe, f"steps: {step.name}: {side}", source, step.lines)
            for side, source in zip(("user", "assistant"), step.turns or (), strict=False)
        ]
        self._constant = {each.name: self._messages_of(each) for each in step.instructions or (_NO_INSTRUCTION,)}

    def _messages_of(self, instruction: Choice) -> tuple[list[Message], dict[str, list[Message]]]:
        """The system message, and the turns of each exemplar by name, as this instruction has them."""
        about = {"options": self._options, "instruction": instruction.text, "instruction_name": instruction.name}
        system = [_message("system", self._system.text(about))] if self._system else []
        turns: dict[str, list[Message]] = {}
        for exemplar in self._step.exemplars if self._turns else ():
            texts = [turn.text({**about, "exemplar": exemplar.fields}) for turn in self._turns]
            turns[exemplar.name] = [_message(role, text) for role, text in zip(_TURNS, texts, strict=True)]
        return system, turns

    def prompt(self, item: Item, replies: Mapping[str, Any]) -> Prompt:
        instruction = self._instructions.first(item.seed) if self._instructions.entries else _NO_INSTRUCTION
        exemplars = self._exemplars.top(item.seed, self._shots) if self._shots else []
        system, turns = self._constant[instruction.name]
        context = {
            "row": item.row,
            "draws": item.words,
            "options": self._options,
            "instruction": instruction.text,
            "instruction_name": instruction.name,
            "exemplars": [exemplar.fields for exemplar in exemplars],
            "replies": replies,
        }
        messages = [*system]
        if turns:
            for exemplar in exemplars:
                messages += turns[exemplar.name]
        # A prompt without an earlier reply in it fails for the template's sake, one with it perhaps for the reply's.
        text = self._prompt.filled(context) if self._step.after else self._prompt.text(context, item)
        messages.append(_message("user", text))
        name = self._step.name
        template = f"{name}/{instruction.name}" if instruction.name else name
        return Prompt(tuple(messages), template, ",".join([exemplar.name for exemplar in exemplars]))


class _Row:
    """One emitted row. A text that is the row's own comes through as it is, with the row's own id."""

    def __init__(self, recipe: PromptRecipe, emit: Emit, options: Mapping[str, Any]) -> None:
        self._recipe = recipe
        self._emit = emit
        self._options = options
        self.needs = frozenset(emit.needs)
        self._query = self._text("query", emit.query)
        self._document = self._text("document", emit.document)
        self._query_id = self._text("query_id", emit.query_id) if emit.query_id else None
        self._doc_id = self._text("doc_id", emit.doc_id) if emit.doc_id else None
        self._grade = self._text("grade", emit.grade) if emit.grade else None
        self._each = compiled_expression(emit.each) if emit.each else None
        own = _ID_OF.get(recipe.reads, {})
        self._own_query_id = own.get(self._query.path)
        self._own_doc_id = own.get(self._document.path)

    def _text(self, key: str, source: str) -> _Template:
        return _Template(
            self._recipe, f"emits: {self._emit.role}: {key}", source, self._emit.lines, reason=self._reason(key)
        )

    def _reason(self, key: str) -> str:
        """How the reasons of rejected rows call a template: with its role where there are several."""
        return f"{self._emit.role}: {key}" if len(self._recipe.emits) > 1 else key

    def rows(self, item: Item, replies: Mapping[str, Mapping[str, Any]]) -> list[Emitted]:
        context = _context(item, self._options, replies, replies[self._emit.step])
        if self._each is None:
            return [self._row(item, context)]
        return [self._row(item, {**context, "each": entry}) for entry in self._entries(self._each, context)]

    def _entries(self, each: Callable[[Mapping[str, Any]], Any], context: Mapping[str, Any]) -> list[Any]:
        try:
            entries = each(context)
        except mistakes():
            entries = None
        if not isinstance(entries, list):
            raise RowProblem(f"{self._reason('each')}: no list")
        return entries

    def _row(self, item: Item, context: Mapping[str, Any]) -> Emitted:
        query = self._query.filled(context)
        document = self._document.filled(context)
        return Emitted(
            role=self._emit.role,
            step=self._emit.step,
            query_id=self._id(self._query_id, self._own_query_id, query, context, item),
            query=query,
            doc_id=self._id(self._doc_id, self._own_doc_id, document, context, item),
            document=document,
            label=self._emit.label,
            grade=self._grade.number(context) if self._grade else None,
            source_id=item.id,
        )

    def _id(
        self, template: _Template | None, own: str | None, text: str, context: Mapping[str, Any], item: Item
    ) -> str:
        if template is not None:
            return template.filled(context)
        return str(item.row[own]) if own else content_id(text)


class _Template:
    """A template with its place in the file, for what only a row can bring to light.

    `reason` is how reasons of rejected rows call it.
    """

    def __init__(
        self, recipe: PromptRecipe, what: str, source: str, lines: Mapping[str, int], *, reason: str = ""
    ) -> None:
        key = what.rpartition(": ")[2]
        self._where = f"{recipe.path}:{lines.get(key, lines.get('exemplars', 0))}: {what}"
        self._render = compiled(source)
        self._reason = reason or key
        self.path = lookup(source)
        self._mistakes = mistakes()

    def text(self, context: Mapping[str, Any], item: Item | None = None) -> str:
        """The text of a prompt, without blanks around it, but a column of the row to the letter."""
        try:
            return self._fill(context)
        except self._mistakes as error:
            row = f" for row {_shown_id(item)}" if item else ""
            raise PairmineError(f"{self._where}: {said(error)}{row}; mend the template") from None

    def filled(self, context: Mapping[str, Any]) -> str:
        """The text that a reply gives, which is never blank; a column of the row is as it is. Raises RowProblem."""
        try:
            text = self._fill(context)
        except self._mistakes:
            text = ""
        if not text.strip() and (self.path is None or self.path[0] != "row"):
            raise RowProblem(f"{self._reason}: not filled")
        return text

    def number(self, context: Mapping[str, Any]) -> float:
        """The number in [0, 1] that the text spells. Raises RowProblem."""
        try:
            value = float(self.filled(context))
        except ValueError:
            raise RowProblem(f"{self._reason}: not a number") from None
        if not 0 <= value <= 1:
            raise RowProblem(f"{self._reason}: not from 0 to 1")
        return value

    def _fill(self, context: Mapping[str, Any]) -> str:
        if self.path is None:
            return self._render(context).strip()
        value: Any = context
        for name in self.path:
            value = value[name]
        text = value if isinstance(value, str) else "" if value is None else str(value)
        return text if self.path[0] == "row" else text.strip()


def _message(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def _context(
    item: Item, options: Mapping[str, Any], replies: Mapping[str, Any], reply: Mapping[str, Any]
) -> dict[str, Any]:
    return {"row": item.row, "draws": item.words, "options": options, "replies": replies, "reply": reply}


def _shown_id(item: Item | None) -> str:
    if item is None:
        return ""
    return str(item.id or item.row.get("query_id") or f"with sample {item.sample}")
