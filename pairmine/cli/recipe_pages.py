"""A recipe of either kind in full, as a page for people or as data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from textwrap import indent
from typing import Any

from pairmine.llm.recipes.recipe import Choice, Emit, PromptRecipe, Step
from pairmine.recipes import Input, Recipe


def page(recipe: Recipe | PromptRecipe) -> str:
    """All that a recipe is, in plain text."""
    blocks = _derive_page(recipe) if isinstance(recipe, Recipe) else _prompt_page(recipe)
    return "\n\n".join([_head(recipe), *blocks, f"example\n  {recipe.example}"]) + "\n"


def as_dict(recipe: Recipe | PromptRecipe) -> dict[str, Any]:
    """All that a recipe is, as JSON has it."""
    shared = {
        "name": recipe.name,
        "group": recipe.group,
        "summary": recipe.summary,
        "paper": recipe.paper,
        "needs": recipe.needs,
        "reads": recipe.reads,
        "inputs": [{"name": i.name, "meaning": i.meaning, "aliases": list(i.aliases)} for i in recipe.inputs],
        "options": [{"name": o.name, "default": o.default, "meaning": o.meaning} for o in recipe.options],
    }
    own = {} if isinstance(recipe, Recipe) else _prompt_dict(recipe)
    return {**shared, **own, "example": recipe.example}


def _head(recipe: Recipe | PromptRecipe) -> str:
    facts = {"paper": recipe.paper, "needs": recipe.needs, "reads": recipe.reads}
    if isinstance(recipe, PromptRecipe):
        facts["digest"] = recipe.digest
    lines = [f"{f'{key}:':<7} {value}" for key, value in facts.items() if value]
    return f"{recipe.name}: {recipe.summary}\n\n" + "\n".join(lines)


def _derive_page(recipe: Recipe) -> list[str]:
    blocks = [_columns(recipe.inputs)] if recipe.inputs else []
    if recipe.options:
        rows = [(f"--{each.name}", f"{each.meaning} [default: {each.default}]") for each in recipe.options]
        blocks.append("options\n" + _table(rows, 18))
    return blocks


def _prompt_page(recipe: PromptRecipe) -> list[str]:
    blocks = [_columns(recipe.inputs)] if recipe.inputs else []
    if recipe.options:
        rows = [(each.name, f"{each.meaning} [default: {each.default}]") for each in recipe.options]
        blocks.append("variables (--set NAME=VALUE)\n" + _table(rows))
    for draw in recipe.draws:
        any_text = " or any text" if draw.is_open else ""
        title = f"draws {draw.name}: {draw.meaning} (--draw {draw.name}=NAME,...{any_text})"
        blocks.append(f"{title}\n{_pool(draw.choices)}")
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


def _columns(inputs: Sequence[Input]) -> str:
    rows = [
        (each.name, each.meaning + (f" (also: {', '.join(each.aliases)})" if each.aliases else "")) for each in inputs
    ]
    return "columns it reads\n" + _table(rows)


def _step(step: Step) -> list[str]:
    after = f" (after {', '.join(step.after)})" if step.after else ""
    blocks = [f"step {step.name}{after}"]
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
    label = {1: "label 1, positive", 0: "label 0, negative", None: "no label"}[emit.label]
    parts = [(key, value.strip()) for key, value in _emit_parts(emit).items()]
    return f"emits {emit.role} ({label}, from step {emit.step})\n{_table(parts)}"


def _emit_parts(emit: Emit) -> dict[str, str]:
    names = ("each", "query", "document", "query_id", "doc_id", "grade")
    return {name: value for name in names if (value := getattr(emit, name))}


def _pool(choices: Sequence[Choice]) -> str:
    return _table(
        (each.name, each.text + (f" [weight {each.weight:g}]" if each.weight != 1 else "")) for each in choices
    )


def _table(rows: Iterable[tuple[str, Any]], width: int = 14) -> str:
    lines = list(rows)
    width = max([width, *(len(name) for name, _ in lines)])
    return "\n".join(f"  {name:<{width}} {_plain(value)}" for name, value in lines)


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
        "draws": [
            {"name": draw.name, "meaning": draw.meaning, "open": draw.is_open, "choices": _choices_dict(draw.choices)}
            for draw in recipe.draws
        ],
        "steps": [_step_dict(step) for step in recipe.steps],
        "emits": [
            {"role": emit.role, "step": emit.step, "label": emit.label, **_emit_parts(emit)} for emit in recipe.emits
        ],
        "score": recipe.score,
        "duplicates": recipe.duplicates
        and {
            "fields": [".".join(path) for path in recipe.duplicates.fields],
            "threshold": recipe.duplicates.threshold,
        },
    }


def _choices_dict(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    return [{"name": each.name, "text": each.text, "weight": each.weight} for each in choices]


def _step_dict(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "after": list(step.after),
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
