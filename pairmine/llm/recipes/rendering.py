"""From a recipe and a row to the prompt, and from the replies to the rows that come out.

What is drawn goes by the row's content, the sample and the seed, never by ids, positions or shards;
`pools` says what stays when a recipe is edited.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, NamedTuple

from pairmine.errors import PairmineError
from pairmine.identity import content_id, normalise, seed_of
from pairmine.llm.calls import Message
from pairmine.llm.recipes.bad_examples import BadExample, avoiding
from pairmine.llm.recipes.pools import Pool
from pairmine.llm.recipes.recipe import CANDIDATES, LABELS, Choice, Draw, Emit, PromptRecipe, Step
from pairmine.llm.recipes.settings import check_counts, check_shots, narrowed, read_options
from pairmine.llm.recipes.templates import compiled, compiled_expression, lookup, mistakes, said, text_of
from pairmine.schema import SCORE_PREFIX

_TURNS = ("user", "assistant")
_NO_INSTRUCTION = Choice("", "")
_NOTHING_MORE: Mapping[str, str | float | None] = MappingProxyType({})
_IDS = ("id", "query_id", "doc_id")
_ID_OF: Mapping[str, Mapping[tuple[str, ...] | None, str]] = {
    "documents": {("row", "text"): "id"},
    "queries": {("row", "text"): "id"},
    "pairs": {("row", "query"): "query_id", ("row", "document"): "doc_id"},
    "groups": {("row", "query"): "query_id"},
}


class RowProblem(Exception):
    """A reply gives no row or score: it is to be rejected, and the run goes on.

    The message is the reason, such as "grade: not from 0 to 1". It holds nothing of the reply, so
    that reasons can be counted.
    """


class Item(NamedTuple):
    """One sample of one row, or a `part` of it.

    `words` are the texts of the `draws`, as templates and checks read them.
    `content` (16 bytes) is equal for rows that say the same in the columns that the recipe reads,
    whatever their ids; `seed` settles every draw.
    """

    row: dict[str, Any]
    sample: int
    content: bytes
    draws: dict[str, Choice]
    words: dict[str, str]
    seed: int
    part: Any = None

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
    `source_id` is the id of the row that it was written for, None for pairs. `more` are further columns: texts,
    numbers, or None where there is nothing to say. `candidate` is the place of the document among the row's
    candidates, from 0, where it is one of them.
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
    more: Mapping[str, str | float | None] = _NOTHING_MORE
    candidate: int | None = None


class Refused(NamedTuple):
    """A row that the replies give and the recipe does not want."""

    role: str
    reason: str


class Renderer:
    """Draws, prompts and rows of one recipe; templates are compiled once, here.

    `draws` narrows attributes: {"form": ["question", "keywords"]}; an open one takes any text.
    `options` sets variables, `shots` the number of exemplars in every step that has some. Of the
    `bad_examples`, `bad_shots` are drawn for each prompt and shown as what to avoid. Raises
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
        bad_examples: Sequence[BadExample] = (),
        bad_shots: int = 2,
    ) -> None:
        self.recipe = recipe
        self.options = read_options(recipe, options or {})
        check_counts(recipe, self.options)
        drawn = narrowed(recipe, draws or {})
        self._seed = seed
        self._columns = tuple(each.name for each in recipe.inputs)
        self._content_columns = tuple(name for name in self._columns if name not in _IDS)
        pools = [_Drawing(draw, self.options) for draw in drawn]
        self._draws = [drawing for drawing in pools if not drawing.is_per_part]
        self._draws_of_part = [drawing for drawing in pools if drawing.is_per_part]
        self._own_ids = tuple((name, path[1]) for path, name in _ID_OF.get(recipe.reads, {}).items() if path)
        check_shots(recipe, shots)
        self._steps = {
            step.name: _StepPrompts(recipe, step, self.options, shots, _BadShots(step, bad_examples, bad_shots))
            for step in recipe.steps
        }
        if bad_examples and not any(step.shows_bad_examples for step in self._steps.values()):
            found = ", ".join(sorted({str(each.step) for each in bad_examples}))
            raise PairmineError(
                f"the bad examples are of other steps than recipe {recipe.name} has (found: {found}); "
                "give the rejects of a run of this recipe, or leave their column step out"
            )
        self._emits = [_Row(recipe, emit, self.options) for emit in recipe.emits]
        self._score = _Template(recipe, "score", recipe.score, recipe.lines) if recipe.score else None
        self._parts = compiled_expression(recipe.expand.each) if recipe.expand else None
        self._only = compiled_expression(recipe.only.test) if recipe.only else None
        self._only_of = {step.name: compiled_expression(step.only) for step in recipe.steps if step.only}
        self._plans_all = not any(emit.only for emit in recipe.emits) and not self._only_of

    def item(self, row: Mapping[str, Any], sample: int = 0) -> Item:
        """The `sample`-th draw of attributes for a row; a column that it lacks is null."""
        values = {name: row.get(name) for name in self._columns}
        digest = blake2b(digest_size=16)
        for name in self._content_columns:
            value = values[name]
            if name == CANDIDATES and self.recipe.reads == "groups":
                value = [(each["text"], each["label"], each["rank"]) for each in value or ()]
            text = normalise(value if isinstance(value, str) else str(value)) if value is not None else ""
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d " % len(encoded))
            digest.update(encoded)
        content = digest.digest()
        for name, text_column in self._own_ids:
            if values[name] is None:
                values[name] = content_id(values[text_column] or "")
        seed = seed_of(self._seed, self.recipe.name, content.hex(), str(sample))
        drawn = {drawing.name: drawing.choice(seed) for drawing in self._draws}
        return Item(values, sample, content, drawn, {name: choice.text for name, choice in drawn.items()}, seed)

    def parts(self, item: Item, reply: Mapping[str, Any]) -> list[Any]:
        """The parts of which the reply to the step that is expanded tells. Raises RowProblem where it has no list."""
        if self._parts is None:
            return []
        try:
            parts = self._parts(_context(item, self.options, {}, reply))
        except mistakes():
            parts = None
        if not isinstance(parts, list):
            raise RowProblem("expand: no list")
        return parts

    def part_of(self, item: Item, part: Any) -> Item | None:
        """The item of one part, which has draws of its own; None for a part that says nothing.

        Its `content` and `seed` go by what the item and the part say; equal parts have the same.
        """
        try:
            plain = _normalised(part)
        except RecursionError:
            return None
        if _says_nothing(plain):
            return None
        said = plain if isinstance(plain, str) else json.dumps(plain, sort_keys=True, ensure_ascii=False)
        digest = blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16, key=item.content).digest()
        seed = seed_of(0, str(item.seed), "part", said)
        drawn = {**item.draws, **{drawing.name: drawing.choice(seed) for drawing in self._draws_of_part}}
        words = {name: choice.text for name, choice in drawn.items()}
        return Item(item.row, item.sample, digest, drawn, words, seed, part)

    def refusal(self, item: Item) -> str | None:
        """Why the row is not for this recipe; None where it is."""
        only = self.recipe.only
        if self._only is None or only is None:
            return None
        try:
            return None if self._only(_row_context(item, self.options)) else only.reason
        except mistakes():
            return "only: cannot be told"

    def asks(self, item: Item, step: str, replies: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether `step` is asked about the item at all. Raises RowProblem where these replies do not tell."""
        only = self._only_of.get(step)
        if only is None:
            return True
        try:
            return bool(only({**_row_context(item, self.options), "replies": replies}))
        except mistakes():
            raise RowProblem("only: cannot be told") from None

    def planned(
        self, item: Item, replies: Mapping[str, Mapping[str, Any]], skipped: Collection[str] = ()
    ) -> Sequence[Emit]:
        """What is to come of the item where the steps `skipped` are not asked: the emits that need none of them."""
        if self._plans_all:
            return self.recipe.emits
        return [row.emit for row in self._emits if row.is_planned(item, replies, skipped)]

    def prompt(
        self,
        item: Item,
        step: str,
        replies: Mapping[str, Mapping[str, Any]] | None = None,
        previous: Sequence[Mapping[str, Any]] = (),
    ) -> Prompt:
        """What `step` asks about the item; `replies` holds those of the steps that it comes `after`, `previous` its own
        of earlier rounds.

        Raises RowProblem where it cannot be asked about these replies.
        """
        return self._steps[step].prompt(item, replies or {}, previous)

    def emit(self, item: Item, replies: Mapping[str, Mapping[str, Any]]) -> list[Emitted | Refused]:
        """The rows that the replies give, in the order of the recipe; those of a reply that is missing are left out.

        Raises RowProblem where a template cannot be filled with what a reply says; for a row of a list it is refused.
        """
        emits = [emit for emit in self._emits if replies.keys() >= emit.needs]
        if not self._plans_all:
            emits = [emit for emit in emits if emit.is_planned(item, replies)]
        return [row for emit in emits for row in emit.rows(item, replies)]

    def score(self, item: Item, replies: Mapping[str, Mapping[str, Any]]) -> float:
        """The score in [0, 1] that the replies give, for a recipe that has one. Raises RowProblem as `emit` does."""
        if self._score is None:
            raise PairmineError(f"recipe {self.recipe.name} writes pairs and gives no score; use it with 'generate'")
        last = self.recipe.steps[-1].name
        return self._score.number(_context(item, self.options, replies, replies[last]))


class _Drawing:
    """An attribute to be drawn: one choice, or several together."""

    def __init__(self, draw: Draw, options: Mapping[str, Any]) -> None:
        self.name = draw.name
        self.is_per_part = draw.is_per_part
        self._pool = Pool(f"draws/{draw.name}", draw.choices)
        self._count = draw.several.of(options) if draw.several else None

    def choice(self, seed: int) -> Choice:
        """What is drawn: of several choices the texts joined with "; ", the names with commas."""
        if self._count is None:
            return self._pool.first(seed)
        drawn = self._pool.several(seed, self._count)
        return Choice(",".join([each.name for each in drawn]), "; ".join([each.text for each in drawn]))


class _BadShots:
    """Replies that were no good, of which some are shown in each prompt of a step."""

    def __init__(self, step: Step, examples: Sequence[BadExample], shots: int) -> None:
        own = [each for each in examples if each.step in (None, step.name)]
        self._pool = Pool(f"{step.name}/bad", own)
        self._shots = shots if own else 0

    def __bool__(self) -> bool:
        return self._shots > 0

    def before(self, text: str, seed: int) -> str:
        """The prompt, with what to avoid in front of it."""
        return avoiding(self._pool.top(seed, self._shots), text) if self._shots else text


class _StepPrompts:
    """The prompts of one step. All that does not depend on the row is rendered here, once."""

    def __init__(
        self, recipe: PromptRecipe, step: Step, options: Mapping[str, Any], shots: int | None, bad: _BadShots
    ) -> None:
        self._step = step
        self._options = options
        self._bad = bad
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

    @property
    def shows_bad_examples(self) -> bool:
        """Whether there are any for this step."""
        return bool(self._bad)

    def _messages_of(self, instruction: Choice) -> tuple[list[Message], dict[str, list[Message]]]:
        """The system message, and the turns of each exemplar by name, as this instruction has them."""
        about = {"options": self._options, "instruction": instruction.text, "instruction_name": instruction.name}
        system = [_message("system", self._system.text(about))] if self._system else []
        turns: dict[str, list[Message]] = {}
        for exemplar in self._step.exemplars if self._turns else ():
            texts = [turn.text({**about, "exemplar": exemplar.fields}) for turn in self._turns]
            turns[exemplar.name] = [_message(role, text) for role, text in zip(_TURNS, texts, strict=True)]
        return system, turns

    def prompt(self, item: Item, replies: Mapping[str, Any], previous: Sequence[Mapping[str, Any]]) -> Prompt:
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
            "part": item.part,
            "round": len(previous) + 1,
            "previous": previous,
            "seed": item.seed,
        }
        messages = [*system]
        if turns:
            for exemplar in exemplars:
                messages += turns[exemplar.name]
        # A prompt without an earlier reply in it fails for the template's sake, one with it perhaps for the reply's.
        has_replies = self._step.after or previous or item.part is not None
        text = self._prompt.filled(context) if has_replies else self._prompt.text(context, item)
        messages.append(_message("user", self._bad.before(text, item.seed)))
        name = self._step.name
        template = f"{name}/{instruction.name}" if instruction.name else name
        return Prompt(tuple(messages), template, ",".join([exemplar.name for exemplar in exemplars]))


class _Row:
    """One emitted row. A text that is the row's own comes through as it is, with the row's own id."""

    def __init__(self, recipe: PromptRecipe, emit: Emit, options: Mapping[str, Any]) -> None:
        self._recipe = recipe
        self.emit = emit
        self._options = options
        self.needs = frozenset(emit.needs)
        self._query = self._text("query", emit.query)
        self._document = self._text("document", emit.document) if emit.candidate is None else None
        self._candidate = compiled_expression(emit.candidate) if emit.candidate else None
        self._only = compiled_expression(emit.only) if emit.only else None
        self._query_id = self._text("query_id", emit.query_id) if emit.query_id else None
        self._doc_id = self._text("doc_id", emit.doc_id) if emit.doc_id else None
        self._grade = self._text("grade", emit.grade) if emit.grade else None
        self._label = self._text("label", emit.label) if isinstance(emit.label, str) else None
        self._columns = [(name, self._text(f"columns: {name}", text)) for name, text in emit.columns.items()]
        self._numbers = [(name, self._text(f"numbers: {name}", text)) for name, text in emit.numbers.items()]
        self._each = compiled_expression(emit.each) if emit.each else None
        self._when = compiled_expression(emit.when.test) if emit.when else None
        own = _ID_OF.get(recipe.reads, {})
        self._own_query_id = own.get(self._query.path)
        self._own_doc_id = own.get(self._document.path) if self._document else None

    def _text(self, key: str, source: str) -> _Template:
        where = f"emits: {self.emit.role}: {key}"
        reason = self._reason(key.rpartition(": ")[2])
        return _Template(self._recipe, where, source, self.emit.lines, reason=reason)

    def _reason(self, key: str) -> str:
        """How the reasons of rejected rows call a template: with its role where there are several."""
        return f"{self.emit.role}: {key}" if len(self._recipe.emits) > 1 else key

    def is_planned(self, item: Item, replies: Mapping[str, Mapping[str, Any]], skipped: Collection[str] = ()) -> bool:
        """Whether there is such a row to be had, as far as the replies tell."""
        if any(step in skipped for step in self.emit.needs):
            return False
        if self._only is None or not replies.keys() >= set(self.emit.only_after):
            return True
        context = _context(item, self._options, replies, replies.get(self.emit.step, {}))
        try:
            return bool(self._only(context))
        except mistakes():
            return True

    def rows(self, item: Item, replies: Mapping[str, Mapping[str, Any]]) -> list[Emitted | Refused]:
        context = _context(item, self._options, replies, replies[self.emit.step])
        if self._each is None:
            return [self._row(item, context)]
        entries = self._entries(self._each, context)
        return [self._entry(item, {**context, "each": entry, "index": at}) for at, entry in enumerate(entries)]

    def _entries(self, each: Callable[[Mapping[str, Any]], Any], context: Mapping[str, Any]) -> list[Any]:
        try:
            entries = each(context)
        except mistakes():
            entries = None
        if not isinstance(entries, list):
            raise RowProblem(f"{self._reason('each')}: no list")
        return entries

    def _entry(self, item: Item, context: Mapping[str, Any]) -> Emitted | Refused:
        """The row of one entry of a list; what is wrong with it is nothing to the others."""
        try:
            return self._row(item, context)
        except RowProblem as problem:
            return Refused(self.emit.role, str(problem))

    def _row(self, item: Item, context: Mapping[str, Any]) -> Emitted | Refused:
        if self.emit.when is not None and not self._is_wanted(context):
            return Refused(self.emit.role, f"{self.emit.role}: {self.emit.when.reason}")
        query = self._query.filled(context)
        candidate, document, doc_id = self._document_of(context, item)
        return Emitted(
            role=self.emit.role,
            step=self.emit.step,
            query_id=self._id(self._query_id, self._own_query_id, query, context, item),
            query=query,
            doc_id=doc_id,
            document=document,
            label=self._label_of(context),
            grade=self._grade.number(context) if self._grade else None,
            source_id=item.id,
            more=self._more(context) if self._columns or self._numbers else _NOTHING_MORE,
            candidate=candidate,
        )

    def _document_of(self, context: Mapping[str, Any], item: Item) -> tuple[int | None, str, str]:
        """The document and its id, and its place among the row's candidates, where it is one of them."""
        if self._document is not None:
            text = self._document.filled(context)
            return None, text, self._id(self._doc_id, self._own_doc_id, text, context, item)
        assert self._candidate is not None
        try:
            found = self._candidate(context)
        except mistakes():
            found = None
        at = next((at for at, each in enumerate(item.row[CANDIDATES]) if each is found), None)
        if at is None:
            raise RowProblem(f"{self._reason('candidate')}: not one of the query's")
        return at, found["text"], found["doc_id"]

    def _is_wanted(self, context: Mapping[str, Any]) -> bool:
        assert self._when is not None
        try:
            return bool(self._when(context))
        except mistakes():
            raise RowProblem(f"{self._reason('when')}: cannot be told") from None

    def _label_of(self, context: Mapping[str, Any]) -> int | None:
        if self._label is None:
            return self.emit.label if isinstance(self.emit.label, int) else None
        text = self._label.said(context).casefold()
        if text not in LABELS:
            raise RowProblem(f"{self._reason('label')}: neither 1 nor 0")
        return LABELS[text]

    def _more(self, context: Mapping[str, Any]) -> dict[str, str | float | None]:
        found: dict[str, str | float | None] = {name: text.said(context) or None for name, text in self._columns}
        for name, template in self._numbers:
            text = template.said(context)
            found[name] = self._number(name, text) if text else None
        return found

    def _number(self, name: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise RowProblem(f"{self._reason(name)}: not a number")
        if name.startswith(SCORE_PREFIX) and not 0 <= value <= 1:
            raise RowProblem(f"{self._reason(name)}: not from 0 to 1")
        if name == "weight" and value < 0:
            raise RowProblem(f"{self._reason(name)}: below 0")
        if name == "rank" and not (value >= 1 and value.is_integer()):
            raise RowProblem(f"{self._reason(name)}: no rank from 1")
        return value

    def _id(
        self, template: _Template | None, own: str | None, text: str, context: Mapping[str, Any], item: Item
    ) -> str:
        if template is not None:
            # A column that is null gives no id, and a text without one has the hash of its content.
            return template.filled(context) or content_id(text)
        return str(item.row[own]) if own else content_id(text)


class _Template:
    """A template with its place in the file, for what only a row can bring to light.

    `reason` is how reasons of rejected rows call it.
    """

    def __init__(
        self, recipe: PromptRecipe, what: str, source: str, lines: Mapping[str, int], *, reason: str = ""
    ) -> None:
        key = what.rpartition(": ")[2]
        line = lines.get(what.partition(": ")[2].partition(": ")[2], lines.get(key, lines.get("exemplars", 0)))
        self._where = f"{recipe.path}:{line}: {what}"
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

    def said(self, context: Mapping[str, Any]) -> str:
        """The text, which may be blank. Raises RowProblem where it cannot be filled."""
        try:
            return self._fill(context).strip()
        except self._mistakes:
            raise RowProblem(f"{self._reason}: not filled") from None

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
        if self.path[0] == "row":
            return text_of(value)
        return "" if value is None else str(value).strip()


def _normalised(value: Any) -> Any:
    """A value of JSON with every text in it normalised."""
    if isinstance(value, str):
        return normalise(value)
    if isinstance(value, list):
        return [_normalised(each) for each in value]
    return {key: _normalised(each) for key, each in value.items()} if isinstance(value, dict) else value


def _says_nothing(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_says_nothing, value.values()))
    return all(map(_says_nothing, value)) if isinstance(value, list) else value in ("", None)


def _message(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def _row_context(item: Item, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"row": item.row, "draws": item.words, "options": options, "part": item.part}


def _context(
    item: Item, options: Mapping[str, Any], replies: Mapping[str, Any], reply: Mapping[str, Any]
) -> dict[str, Any]:
    return {**_row_context(item, options), "replies": replies, "reply": reply}


def _shown_id(item: Item | None) -> str:
    if item is None:
        return ""
    return str(item.id or item.row.get("query_id") or f"with sample {item.sample}")
