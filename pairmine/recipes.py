"""Recipes: what each one needs, reads and takes, with the paper that its defaults come from."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairmine.errors import PairmineError

if TYPE_CHECKING:
    from pairmine.llm.recipes.recipe import PromptRecipe
    from pairmine.methods import Method


@dataclass(frozen=True)
class Input:
    """A column that a recipe reads, with the names that real files give it."""

    name: str
    meaning: str
    aliases: tuple[str, ...] = ()
    required: bool = True


@dataclass(frozen=True)
class Option:
    """A setting of a recipe. `name` is its flag without the dashes in front; `low` and `high` may both be reached."""

    name: str
    kind: type
    default: int | float | str | bool
    meaning: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def keyword(self) -> str:
        """The option's name as a Python keyword; a word of the language gets a `_` behind it."""
        return _keyword(self.name)


@dataclass(frozen=True)
class Resource:
    """What a recipe works with besides its input: a model, or a file of the user's.

    `name` is its flag without the dashes in front. `kind` is one of `RESOURCES`, which says what the
    recipe's function is handed. Where a recipe has alternatives, none of them is `required` and its
    function says what is missing.
    """

    name: str
    kind: str
    meaning: str
    required: bool = False

    @property
    def keyword(self) -> str:
        """The resource's name as a Python keyword."""
        return self.name.replace("-", "_")


MODELS = ("mlm", "encoder", "translator")
"""The kinds of resource that are models, written as a spec."""

RESOURCES = {
    "mlm": "a masked language model, mlm:NAME_OR_PATH: `backends.masked.MaskedLM`",
    "encoder": "a bi-encoder, st:NAME_OR_PATH: `backends.encoders.Encoder`",
    "translator": "a translation model, mt:NAME_OR_PATH: `backends.translators.Translator`",
    "tokenizer": "a folder or hub name with a tokenizer.json: `tokenizers.Tokenizer`",
    "lexicon": "a table of a word or text and another for it, one to a row: a mapping of text to a tuple of texts",
    "documents": "a corpus: an Arrow table of id, text and perhaps title",
    "lines": "a file with one text to a line: a list of texts",
}
"""Each kind of resource, with what the user gives and what a recipe's function is handed for it."""


@dataclass(frozen=True)
class Recipe:
    """One way of making pairs.

    `needs` is what it cannot do without: "none" where text code does it all, "encoder", "mlm",
    "translator". `reads` is the kind of its input: "documents" (a corpus), "pairs" (a pair set),
    "rows" (a table with the columns in `inputs`) or "code" (a tree of Python files as a table of id
    and text). `example` is a command that works when pasted. `whole` says that it must see the whole
    table; otherwise each row stands alone and chunks of any size give the same pairs.
    """

    name: str
    group: str
    summary: str
    paper: str
    needs: str
    reads: str
    inputs: tuple[Input, ...]
    options: tuple[Option, ...]
    example: str
    whole: bool = False
    resources: tuple[Resource, ...] = ()


@cache
def all_recipes() -> tuple[Recipe, ...]:
    """Every recipe of `derive`, group by group, in the order in which they are listed for people."""
    from pairmine.stages.derive.registry import derivations

    return tuple(derivation.recipe for derivation in derivations().values())


def find_recipe(name: str) -> Recipe:
    """The recipe of `derive` called `name`; raises PairmineError with the names nearest to it where there is none."""
    by_name = {recipe.name: recipe for recipe in all_recipes()}
    if name in by_name:
        return by_name[name]
    if name in prompt_names():
        raise PairmineError(f"recipe {name} works with an LLM; 'pairmine recipes {name}' shows how to run it")
    raise unknown_recipe(name, tuple(by_name))


def prompt_folder() -> Path:
    """Where the recipes for an LLM are, one YAML file each."""
    return Path(__file__).parent / "prompts"


@cache
def prompt_names() -> tuple[str, ...]:
    """The names of the recipes for an LLM that come with pairmine, without reading them."""
    return tuple(sorted(path.stem for path in prompt_folder().glob("*.yaml")))


def prompt_recipes() -> tuple[PromptRecipe, ...]:
    """Every recipe for an LLM that comes with pairmine, by name."""
    from pairmine.llm.recipes.file import load_recipe

    return tuple(load_recipe(name) for name in prompt_names())


def catalogue() -> tuple[Recipe | PromptRecipe | Method, ...]:
    """Everything that has a name here, group by group: recipes of both kinds, and methods that are options."""
    from pairmine.methods import METHODS

    listed: list[Recipe | PromptRecipe | Method] = [*all_recipes(), *prompt_recipes(), *METHODS]
    groups = dict.fromkeys(each.group for each in listed)
    return tuple(each for group in groups for each in listed if each.group == group)


def any_recipe(name_or_path: str) -> Recipe | PromptRecipe | Method:
    """What is called so, of any kind, or the recipe for an LLM in a file that ends in .yaml or .yml."""
    from pairmine.llm.recipes.file import load_recipe
    from pairmine.methods import METHODS

    if name_or_path in prompt_names() or name_or_path.endswith((".yaml", ".yml")):
        return load_recipe(name_or_path)
    by_name: dict[str, Recipe | Method] = {each.name: each for each in METHODS}
    by_name.update((each.name, each) for each in all_recipes())
    if name_or_path in by_name:
        return by_name[name_or_path]
    raise unknown_recipe(name_or_path, (*by_name, *prompt_names()))


def unknown_recipe(name: str, known: Sequence[str]) -> PairmineError:
    """The error for `name`, which is none of the `known`: where it belongs, or which of them are nearest to it."""
    from pairmine.methods import METHODS

    if any(recipe.name == name for recipe in all_recipes()):
        return PairmineError(f"recipe {name} needs no LLM; run 'pairmine derive {name}'")
    if method := next((each for each in METHODS if each.name == name), None):
        return PairmineError(f"{name} is an option: {method.option}; 'pairmine recipes {name}' shows how to run it")
    near = difflib.get_close_matches(name.casefold(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    total = len(all_recipes()) + len(prompt_names()) + len(METHODS)
    return PairmineError(f"no recipe {name!r}; {hint}'pairmine recipes' lists all {total}")


def read_options(recipe: Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's options by Python keyword: what was `given`, else the default.

    Keys may be spelled as flag or keyword, and a text stands for the value that it spells, so that
    a command line can be handed over as it is. Raises PairmineError, naming the flag, for an
    option that the recipe does not have and for a value that it cannot take.
    """
    by_keyword = {option.keyword: option for option in recipe.options}
    values = {option.keyword: option.default for option in recipe.options}
    for name, value in given.items():
        keyword = _keyword(name.lstrip("-"))
        if keyword not in by_keyword:
            raise PairmineError(_unknown_option(recipe, keyword))
        values[keyword] = _read(by_keyword[keyword], value)
    return values


def _keyword(name: str) -> str:
    plain = name.replace("-", "_")
    return f"{plain}_" if iskeyword(plain) else plain


def _unknown_option(recipe: Recipe, keyword: str) -> str:
    flag = keyword.replace("_", "-")
    names = [option.name for option in recipe.options]
    near = difflib.get_close_matches(flag, names, n=1)
    if near:
        hint = f"did you mean --{near[0]}?"
    else:
        hint = f"it takes {', '.join('--' + name for name in names)}" if names else "it takes none"
    return f"recipe {recipe.name} has no option --{flag}; {hint}"


def _read(option: Option, value: Any) -> int | float | str | bool:
    read = _as_kind(option, value)
    if read is None:
        wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[option.kind]
        raise PairmineError(f"--{option.name} is {value!r}; give {wanted}")
    if option.choices and read not in option.choices:
        raise PairmineError(f"--{option.name} is {read!r}; choose {', '.join(option.choices)}")
    too_low = option.low is not None and not isinstance(read, str) and read < option.low
    too_high = option.high is not None and not isinstance(read, str) and read > option.high
    if too_low or too_high:
        raise PairmineError(f"--{option.name} is {read:g}; give {_range(option)}")
    return read


def _as_kind(option: Option, value: Any) -> int | float | str | bool | None:
    """`value` as the option's kind, or None where it is no such thing."""
    if option.kind is bool:
        return {"true": True, "false": False}.get(str(value).lower())
    if option.kind is str:
        return value if isinstance(value, str) else None
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
        if option.kind is float:
            return number if math.isfinite(number) else None
        return int(value) if number.is_integer() else None
    except (TypeError, ValueError, OverflowError):
        return None


def _range(option: Option) -> str:
    if option.low is None:
        return f"at most {option.high:g}"
    if option.high is None:
        return f"at least {option.low:g}"
    return f"a value from {option.low:g} to {option.high:g}"
