"""Reads a recipe for an LLM from YAML, and tells every mistake in it by file and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b
from typing import get_args

from pairmine.errors import PairmineError
from pairmine.files.whole import read_whole
from pairmine.llm.recipes.emits import read_emits
from pairmine.llm.recipes.expansion import expanded_step, read_expand
from pairmine.llm.recipes.parts import (
    read_draws,
    read_duplicates,
    read_inputs,
    read_most,
    read_settings,
    sentence,
)
from pairmine.llm.recipes.recipe import Emit, PromptRecipe, Reads, Step
from pairmine.llm.recipes.steps import Vocabulary, read_steps, read_when, replies_of, reply_of
from pairmine.llm.recipes.trial import try_rows
from pairmine.llm.recipes.yaml_nodes import Node, read_nodes
from pairmine.recipes import prompt_folder, prompt_names, unknown_recipe


def load_recipe(name_or_path: str) -> PromptRecipe:
    """The recipe of that name from `prompts/`, or out of a file whose name ends in .yaml or .yml.

    Raises PairmineError for a name that is none, a file that cannot be read and every mistake in it.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        return load_recipe_file(name_or_path)
    if name_or_path not in prompt_names():
        raise unknown_recipe(name_or_path, prompt_names())
    return _packaged(name_or_path)


def load_recipe_file(path: str) -> PromptRecipe:
    """The recipe in a file, whatever its name ends in. Raises what `load_recipe` raises."""
    return read_recipe(_bytes_of(path), path)


@cache
def _packaged(name: str) -> PromptRecipe:
    return read_recipe((prompt_folder() / f"{name}.yaml").read_bytes(), f"{name}.yaml")


def _bytes_of(path: str) -> bytes:
    try:
        return read_whole(path)
    except OSError as error:
        raise PairmineError(f"{path}: {error.strerror or error}; name a recipe file that can be read") from None


def read_recipe(data: bytes, path: str) -> PromptRecipe:
    """The recipe in the bytes of a YAML file; `path` is how errors call the file."""
    parts = read_nodes(data, path).fields(
        ("name", "summary", "reads", "steps"),
        ("paper", "example", "inputs", "options", "draws", "only", "groups", "expand", "emits", "score", "duplicates"),
    )
    reads = parts["reads"].one_of(get_args(Reads))
    options = read_settings(parts.get("options"))
    inputs, rest = read_inputs(parts.get("inputs"), reads)
    words = Vocabulary(
        inputs=inputs,
        options=options,
        draws=read_draws(parts.get("draws"), options, has_parts="expand" in parts),
        expanded=expanded_step(parts),
    )
    words.read.update(("options", str(draw.several.option)) for draw in words.draws if draw.several)
    most = read_most(parts["groups"], reads, options) if "groups" in parts else None
    if most:
        words.read.add(("options", str(most.option)))
    only = read_when(parts["only"], words, words.of_row) if "only" in parts else None
    steps = read_steps(parts["steps"], words, is_score="score" in parts)
    expand = read_expand(parts["expand"], words, steps) if "expand" in parts else None
    emits = _emits(parts, words, steps)
    score = _score(parts, words, steps)
    _check_all_is_read(parts, words, steps, emits)
    recipe = PromptRecipe(
        name=parts["name"].name(),
        summary=sentence(parts["summary"]),
        paper=sentence(parts["paper"]) if "paper" in parts else "",
        reads=reads,  # type: ignore[arg-type]
        inputs=words.inputs,
        steps=steps,
        draws=words.draws,
        options=words.options,
        rest=rest,
        most=most,
        only=only,
        expand=expand,
        emits=emits,
        score=score,
        duplicates=read_duplicates(parts["duplicates"], steps, words.expanded) if "duplicates" in parts else None,
        example=sentence(parts["example"]) if "example" in parts else "",
        digest=blake2b(data, digest_size=8).hexdigest(),
        path=path,
        lines={key: node.first_line for key, node in parts.items()},
    )
    try_rows(recipe)
    return recipe


def _emits(parts: Mapping[str, Node], words: Vocabulary, steps: Sequence[Step]) -> tuple[Emit, ...]:
    """The rows that come out; none where the recipe yields a score."""
    if ("emits" in parts) == ("score" in parts):
        node = parts.get("score", parts["steps"])
        raise PairmineError(f"{node.file}:{node.key_line}: a recipe has either emits or a score; give one of them")
    if "emits" not in parts:
        return ()
    return read_emits(parts["emits"], words, steps)


def _score(parts: Mapping[str, Node], words: Vocabulary, steps: Sequence[Step]) -> str | None:
    """The template of the score, which reads the last step's reply as `reply`."""
    if "score" not in parts:
        return None
    if parts["reads"].text() != "pairs":
        raise parts["score"].error("a score is for a pair; write reads: pairs")
    if "expand" in parts:
        raise parts["expand"].error("a pair has one score, not one for each part; take expand out")
    words.uses(parts["score"], {**words.of_row, "reply": reply_of(steps[-1]), "replies": replies_of(steps)})
    return parts["score"].text()


def _check_all_is_read(
    parts: Mapping[str, Node], words: Vocabulary, steps: Sequence[Step], emits: Sequence[Emit]
) -> None:
    """What nothing reads is a mistake: a flag without effect, a draw that only seems to matter, a call for nothing."""
    last = {steps[-1].name} if "score" in parts else set()
    expanded = {words.expanded} if words.expanded else set()
    needed = (*(emit.needs for emit in emits), *(step.after for step in steps), *(step.only_after for step in steps))
    answered = last.union(expanded, *needed)
    for step in steps:
        if step.name not in answered and ("replies",) not in words.read:
            raise _unread(parts["steps"], step.name, "no row, score or later step reads its reply")
    for key, names in (("options", words.options), ("draws", words.draws)):
        for each in names:
            if (key, each.name) not in words.read and (key,) not in words.read:
                raise _unread(parts[key], each.name, f"no template reads {key}.{each.name}")


def _unread(node: Node, name: str, why: str) -> PairmineError:
    entry = node.entries()[name]
    return entry.error(f"{why}; use it or take it out", entry.key_line)
