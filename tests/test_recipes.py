from __future__ import annotations

import re

import pytest

from pairmine.errors import PairmineError
from pairmine.papers import SYSTEMS, System
from pairmine.recipes import MODELS, RESOURCES, all_recipes, catalogue, find_recipe, read_options

RECIPES = all_recipes()


def test_the_recipes_of_derive_are_found_by_name() -> None:
    for name in ("crops", "ict", "adjacent", "title", "nli", "code"):
        assert find_recipe(name).name == name


def test_recipe_names_are_unique() -> None:
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)


def test_an_unknown_recipe_is_answered_with_the_names_nearest_to_it() -> None:
    with pytest.raises(PairmineError, match=r"no recipe 'crop'; did you mean crops.*'pairmine recipes' lists all \d+"):
        find_recipe("crop")
    with pytest.raises(PairmineError, match=r"no recipe 'xyzzy'; 'pairmine recipes' lists"):
        find_recipe("xyzzy")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_recipe_says_what_a_user_must_know(recipe) -> None:  # type: ignore[no-untyped-def]
    assert recipe.summary.endswith(".")
    assert recipe.needs in ("none", *MODELS)
    assert recipe.reads in ("documents", "pairs", "rows", "code")
    assert f"pairmine derive {recipe.name} " in recipe.example
    assert recipe.paper
    assert all(column.meaning for column in recipe.inputs)
    assert all(each.kind in RESOURCES and each.meaning for each in recipe.resources)
    needed = {each.kind for each in recipe.resources if each.required}
    assert recipe.needs == "none" or recipe.needs in {each.kind for each in recipe.resources}
    assert not needed & set(MODELS) or recipe.needs in needed


def test_names_are_unique_among_recipes_of_all_kinds() -> None:
    names = [each.name for each in catalogue()]
    assert [name for name in names if names.count(name) > 1] == []


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_every_recipe_of_a_paper_is_there(system: System) -> None:
    assert set(system.recipes) <= {each.name for each in catalogue()}


def test_every_recipe_is_some_papers() -> None:
    named = {name for system in SYSTEMS for name in system.recipes}
    assert sorted({each.name for each in catalogue()} - named - OURS) == []


OURS = {"judge", "suspects"}
"""Recipes that no paper of the table describes."""


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_default_is_a_value_that_its_option_takes(recipe) -> None:  # type: ignore[no-untyped-def]
    defaults = {option.name: option.default for option in recipe.options}
    assert read_options(recipe, defaults) == {option.keyword: option.default for option in recipe.options}
    for option in recipe.options:
        assert type(option.default) is option.kind
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", option.name)
        assert option.meaning


def test_options_may_come_as_flags_and_texts_from_a_command_line() -> None:
    given = {"--min-ratio": "0.2", "max_ratio": 0.4, "views": "3"}
    values = read_options(find_recipe("crops"), given)
    assert (values["min_ratio"], values["max_ratio"], values["views"]) == (0.2, 0.4, 3)
    assert values["chunk_words"] == 256
    assert read_options(find_recipe("nli"), {"keep-unpaired": "true"})["keep_unpaired"] is True


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("crops", {"min_ration": 0.2}, "recipe crops has no option --min-ration; did you mean --min-ratio?"),
        ("title", {"zzz": 1}, "recipe title has no option --zzz; it takes --min-words"),
        ("crops", {"min_ratio": 1.5}, "--min-ratio is 1.5; give a value from 0 to 1"),
        ("crops", {"min_ratio": "half"}, "--min-ratio is 'half'; give a number"),
        ("crops", {"min_ratio": float("nan")}, "--min-ratio is nan; give a number"),
        ("crops", {"views": 2.5}, "--views is 2.5; give a whole number"),
        ("crops", {"views": True}, "--views is True; give a whole number"),
        ("crops", {"views": None}, "--views is None; give a whole number"),
        ("ict", {"per_document": 0}, "--per-document is 0; give at least 1"),
        ("nli", {"keep_unpaired": "maybe"}, "--keep-unpaired is 'maybe'; give true or false"),
        ("code", {"query": "page"}, "--query is 'page'; choose paragraph, sentence"),
        ("code", {"query": 3}, "--query is 3; give text"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_the_flag(recipe: str, options: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(PairmineError) as error:
        read_options(find_recipe(recipe), options)
    assert str(error.value) == message
