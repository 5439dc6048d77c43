"""A recipe of either kind in full, as a page for people or as data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from textwrap import indent
from typing import Any

from pairmine.files import columns
from pairmine.llm.recipes.recipe import Choice, Count, Draw, Emit, PromptRecipe, Setting, Step
from pairmine.llm.recipes.yaml_nodes import span
from pairmine.methods import Method
from pairmine.recipes import Input, Option, Recipe

_TEMPLATES_OF_ROWS = ("only", "each", "query", "document", "candidate", "query_id", "doc_id", "grade")


def page(recipe: Recipe | PromptRecipe | Method) -> str:
    """All that a recipe is, in plain text."""
    if isinstance(recipe, Method):
        facts = {"paper": recipe.paper, "needs": recipe.needs, "option": recipe.option, "defaults": recipe.defaults}
        lines = [f"{f'{key}:':<9} {value}" for key, value in facts.items() if value]
        return f"{recipe.name}: {recipe.summary}\n\n" + "\n".join(lines) + f"\n\nexample\n  {recipe.example}\n"
    blocks = _derive_page(recipe) if isinstance(recipe, Recipe) else _prompt_page(recipe)
    return "\n\n".join([_head(recipe), *blocks, f"example\n  {recipe.example}"]) + "\n"


def as_dict(recipe: Recipe | PromptRecipe | Method) -> dict[str, Any]:
    """All that a recipe is, as JSON has it; `kind` is the command that it belongs to, "option" for a method."""
    if isinstance(recipe, Method):
        return {**asdict(recipe), "kind": "option"}
    shared = {
        "name": recipe.name,
        "kind": "derive" if isinstance(recipe, Recipe) else "score" if recipe.score else "generate",
        "group": recipe.group,
        "summary": recipe.summary,
        "paper": recipe.paper,
        "needs": recipe.needs,
        "reads": recipe.reads,
        "inputs": [
            {"name": i.name, "meaning": i.meaning, "aliases": list(i.aliases), "required": i.required}
            for i in inputs_of(recipe)
        ],
        "options": [
            {"name": o.name, "default": o.default, "meaning": o.meaning, **_limits(o), **_chosen_of(o)}
            for o in recipe.options
        ],
    }
    own = _derive_dict(recipe) if isinstance(recipe, Recipe) else _prompt_dict(recipe)
    return {**shared, **own, "example": recipe.example}


def _derive_dict(recipe: Recipe) -> dict[str, Any]:
    return {
        "resources": [
            {"name": each.name, "kind": each.kind, "required": each.required, "meaning": each.meaning}
            for each in recipe.resources
        ]
    }


def _head(recipe: Recipe | PromptRecipe) -> str:
    facts = {"paper": recipe.paper, "needs": recipe.needs, "reads": recipe.reads}
    if isinstance(recipe, PromptRecipe):
        facts["digest"] = recipe.digest
    lines = [f"{f'{key}:':<7} {value}" for key, value in facts.items() if value]
    return f"{recipe.name}: {recipe.summary}\n\n" + "\n".join(lines)


def _derive_page(recipe: Recipe) -> list[str]:
    blocks = [_columns(inputs_of(recipe))] if recipe.inputs else []
    rows = [(f"--{each.name}", each.meaning) for each in recipe.resources]
    rows += [(f"--{each.name}", f"{each.meaning}{_choices(each)} [default: {each.default}]") for each in recipe.options]
    if rows:
        blocks.append("options\n" + _table(rows, 18))
    return blocks


def _limits(option: Option | Setting) -> dict[str, float]:
    return {name: value for name in ("low", "high") if (value := getattr(option, name)) is not None}


def _range(option: Setting) -> str:
    return f", {span(option.low, option.high)}" if _limits(option) else ""


def _chosen_of(option: Option | Setting) -> dict[str, list[str]]:
    return {"choices": list(option.choices)} if option.choices else {}


def inputs_of(recipe: Recipe | PromptRecipe) -> list[Input]:
    """The columns that a recipe reads, with what files call them, which a corpus or pair set leaves to its reader."""
    known = {"documents": columns.DOCUMENT, "pairs": columns.PAIR}.get(recipe.reads or "", ())
    aliases = {each.name: each.aliases for each in known}
    return [replace(each, aliases=each.aliases or aliases.get(each.name, ())) for each in recipe.inputs]


def _choices(option: Option | Setting) -> str:
    return f" ({', '.join(option.choices)})" if option.choices else ""


def _prompt_page(recipe: PromptRecipe) -> list[str]:
    blocks = [_columns(inputs_of(recipe), recipe.rest)] if recipe.inputs else []
    if recipe.most:
        blocks.append(f"of each query it reads the first {_count(recipe.most)} rows")
    if recipe.only:
        blocks.append(f"only rows for which\n  {recipe.only.test.strip()}\n  else: {recipe.only.reason}")
    if recipe.options:
        rows = [
            (each.name, f"{each.meaning}{_choices(each)} [default: {each.default}{_range(each)}]")
            for each in recipe.options
        ]
        blocks.append("variables (--set NAME=VALUE)\n" + _table(rows))
    for draw in recipe.draws:
        any_text = " or any text" if draw.is_open else ""
        title = f"draws {draw.name}: {draw.meaning}{_how_drawn(draw)} (--draw {draw.name}=NAME,...{any_text})"
        blocks.append(f"{title}\n{_pool(draw.choices)}")
    if recipe.expand:
        rows = [("parts", recipe.expand.each), ("expected", f"{_count(recipe.expand.expected)} in an estimate")]
        title = f"expands the reply of step {recipe.expand.step}: other steps are asked, and rows made, for each part"
        blocks.append(f"{title}\n{_table(rows)}")
    blocks += [block for step in recipe.steps for block in _step(step)]
    blocks += [_emit(emit) for emit in recipe.emits]
    if recipe.score:
        blocks.append(f"score\n  {recipe.score.strip()}")
    if recipe.duplicates:
        fields = ", ".join(".".join(path) for path in recipe.duplicates.fields)
        blocks.append(
            f"near-duplicates among the replies\n  {fields}, from a similarity of {recipe.duplicates.threshold}"
        )
    return blocks


def _columns(inputs: Sequence[Input], rest: str | None = None) -> str:
    rows = []
    for each in inputs:
        also = f" (also: {', '.join(each.aliases)})" if each.aliases else ""
        others = "; without one, all columns that are not named here" if each.name == rest else ""
        rows.append((each.name, each.meaning + also + others))
    return "columns it reads\n" + _table(rows)


def _step(step: Step) -> list[str]:
    after = f" (after {', '.join(step.after)})" if step.after else ""
    rounds = f", asked {_count(step.rounds)} times in a row" if step.rounds else ""
    only = f"\n  only where {step.only.strip()}" if step.only else ""
    blocks = [f"step {step.name}{after}{rounds}{only}"]
    if step.instructions:
        blocks.append(f"  instructions, of which one is drawn\n{indent(_pool(step.instructions), '  ')}")
    if step.system:
        blocks.append(f"  system\n{_quoted(step.system)}")
    if step.exemplars:
        shown = [f"    {each.name}\n{indent(_table(each.fields.items()), '    ')}" for each in step.exemplars]
        blocks.append(f"  exemplars, of which {step.shots} are drawn\n" + "\n".join(shown))
    for side, turn in zip(("user", "assistant"), step.turns or (), strict=False):
        blocks.append(f"  an exemplar's turn of the {side}\n{_quoted(turn)}")
    blocks.append(f"  prompt\n{_quoted(step.prompt)}")
    if step.schema:
        blocks.append("  schema of the reply\n" + _quoted(json.dumps(step.schema, ensure_ascii=False)))
    blocks.append("  sampling\n" + indent(_table(_sampling(step).items()), "  "))
    checks = [
        (field, f"{name}: {_plain(value)}") for field, wanted in step.checks.items() for name, value in wanted.items()
    ]
    if checks:
        blocks.append("  checks, besides those that every text must pass\n" + indent(_table(checks), "  "))
    return blocks


def _emit(emit: Emit) -> str:
    labels = {1: "label 1, positive", 0: "label 0, negative", None: "no label"}
    label = "label by the reply" if isinstance(emit.label, str) else labels[emit.label]
    parts = [(key, value.strip()) for key, value in _emit_parts(emit).items()]
    return f"emits {emit.role} ({label}, from step {emit.step})\n{_table(parts)}"


def _emit_parts(emit: Emit) -> dict[str, str]:
    parts = {name: value for name in _TEMPLATES_OF_ROWS if (value := getattr(emit, name))}
    if emit.when:
        parts |= {"when": emit.when.test, "else": emit.when.reason}
    if isinstance(emit.label, str):
        parts["label"] = emit.label
    return {**parts, **emit.columns, **emit.numbers}


def _how_drawn(draw: Draw) -> str:
    several = f", {_count(draw.several)} at once" if draw.several else ""
    return several + (", anew for every part" if draw.is_per_part else "")


def _count(count: Count) -> str:
    return str(count.number) if count.option is None else f"options.{count.option}"


def _pool(choices: Sequence[Choice]) -> str:
    return _table(
        (each.name, each.text + (f" [weight {each.weight:g}]" if each.weight != 1 else "")) for each in choices
    )


def _table(rows: Iterable[tuple[str, Any]], width: int = 14) -> str:
    lines = list(rows)
    width = max([width, *(len(name) for name, _ in lines)])
    between = "\n" + " " * (width + 3)
    return "\n".join(f"  {name:<{width}} {between.join(_plain(value).splitlines())}".rstrip() for name, value in lines)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _quoted(text: str) -> str:
    """A text set apart by bars, so that its own indents and blank lines can be told."""
    return "\n".join(f"  | {line}".rstrip() for line in text.rstrip().split("\n"))


def _sampling(step: Step) -> dict[str, Any]:
    sampling = step.sampling
    facts: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.stop:
        facts["stop"] = list(sampling.stop)
    return {**facts, **({"extra": dict(sampling.extra)} if sampling.extra else {})}


def _prompt_dict(recipe: PromptRecipe) -> dict[str, Any]:
    return {
        "digest": recipe.digest,
        "rest": recipe.rest,
        "most": recipe.most and _count(recipe.most),
        "only": recipe.only and {"test": recipe.only.test, "reason": recipe.only.reason},
        "expand": recipe.expand and {"step": recipe.expand.step, "each": recipe.expand.each},
        "draws": [
            {
                "name": draw.name,
                "meaning": draw.meaning,
                "open": draw.is_open,
                "several": draw.several and _count(draw.several),
                "per": "part" if draw.is_per_part else "row",
                "choices": _choices_dict(draw.choices),
            }
            for draw in recipe.draws
        ],
        "steps": [_step_dict(step) for step in recipe.steps],
        "emits": [_emit_dict(emit) for emit in recipe.emits],
        "score": recipe.score,
        "duplicates": recipe.duplicates
        and {
            "fields": [".".join(path) for path in recipe.duplicates.fields],
            "threshold": recipe.duplicates.threshold,
        },
    }


def _emit_dict(emit: Emit) -> dict[str, Any]:
    when = {"when": {"test": emit.when.test, "reason": emit.when.reason}} if emit.when else {}
    more = {key: dict(found) for key, found in (("columns", emit.columns), ("numbers", emit.numbers)) if found}
    parts = {name: value for name in _TEMPLATES_OF_ROWS if (value := getattr(emit, name))}
    return {"role": emit.role, "step": emit.step, "label": emit.label, **parts, **when, **more}


def _choices_dict(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    return [{"name": each.name, "text": each.text, "weight": each.weight} for each in choices]


def _step_dict(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "after": list(step.after),
        "rounds": step.rounds and _count(step.rounds),
        "only": step.only,
        "instructions": _choices_dict(step.instructions),
        "system": step.system,
        "exemplars": [{"name": each.name, **_fields(each.fields)} for each in step.exemplars],
        "shots": step.shots,
        "turns": list(step.turns) if step.turns else None,
        "prompt": step.prompt,
        "schema": step.schema,
        "sampling": _sampling(step),
        "checks": step.checks,
    }


def _fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"fields": dict(fields)}
