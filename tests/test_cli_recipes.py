"""What `pairmine recipes` prints, for recipes of either kind and for a user's own file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pairmine.cli.main import main
from pairmine.errors import PairmineError
from pairmine.methods import METHODS
from pairmine.recipes import (
    all_recipes,
    any_recipe,
    catalogue,
    find_recipe,
    prompt_folder,
    prompt_names,
    prompt_recipes,
)


class Shell:
    """Runs `pairmine recipes` and takes what it prints."""

    def __init__(self, patch: pytest.MonkeyPatch, heard: pytest.CaptureFixture[str]) -> None:
        self._patch, self._heard = patch, heard

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self._patch.setattr(sys, "argv", ["pairmine", "recipes", *words])
        with pytest.raises(SystemExit) as left:
            main()
        return (int(left.value.code or 0), *self._heard.readouterr())


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def test_both_kinds_are_listed_those_with_an_llm_in_a_group_of_their_own(recipes: Shell) -> None:
    code, out, _ = recipes()
    assert code == 0
    derive, _, rest = out.partition("with an LLM\n")
    llm, _, options = rest.partition("mining\n")
    assert [line.split()[0] for line in llm.splitlines()] == list(prompt_names())
    assert all(f"  {recipe.name} " in derive for recipe in all_recipes())
    assert all(f"  {method.name} " in f"mining\n{options}" for method in METHODS)


def test_needs_narrows_the_list(recipes: Shell) -> None:
    lines = [line.split()[0] for line in recipes("--needs", "llm")[1].splitlines() if line.startswith("  ")]
    assert set(lines) == {*prompt_names(), *(method.name for method in METHODS if method.needs == "llm")}
    assert "  queries " not in recipes("--needs", "none")[1]
    assert "  mlm-edit " in recipes("--needs", "mlm")[1]
    assert recipes("--needs", "mlm", "--paper", "SimCSE")[2] == "pairmine: no recipe of SimCSE needs mlm\n"
    code, _, err = recipes("queries", "--needs", "none")
    assert code == 2
    assert err.startswith("pairmine: --needs has no effect with the name of a recipe, queries")


@pytest.mark.parametrize("name", prompt_names())
def test_a_recipe_is_shown_whole(recipes: Shell, name: str) -> None:
    _, out, _ = recipes(name)
    recipe = next(each for each in prompt_recipes() if each.name == name)
    parts = [recipe.summary, recipe.paper, recipe.digest, recipe.example, recipe.score or ""]
    for draw in recipe.draws:
        parts += [draw.meaning, *(choice.text for choice in draw.choices)]
    for step in recipe.steps:
        parts += [choice.text for choice in step.instructions]
        shown = [value for each in step.exemplars for value in each.fields.values() if isinstance(value, str)]
        parts += [line.strip() for value in shown for line in value.splitlines()]
        parts += [line.strip() for text in (step.system, step.prompt, *(step.turns or ())) for line in text.split("\n")]
        parts += [f"{check}: " for wanted in step.checks.values() for check in wanted]
    written = [text for emit in recipe.emits for text in (emit.role, emit.query, emit.document)]
    parts += [line.strip() for text in written for line in text.splitlines()]
    assert [part for part in parts if part not in out] == []
    assert all(line == line.rstrip() for line in out.splitlines())


def test_json_holds_the_same_for_programs(recipes: Shell) -> None:
    (shown,) = json.loads(recipes("queries", "--json")[1])
    recipe = any_recipe("queries")
    assert (shown["name"], shown["needs"], shown["digest"]) == ("queries", "llm", recipe.digest)  # type: ignore[union-attr]
    assert [draw["name"] for draw in shown["draws"]] == ["form", "length", "difficulty", "language"]
    assert shown["steps"][0]["schema"]["required"] == ["query", "hard_negative"]
    everything = json.loads(recipes("--json")[1])
    assert [each["name"] for each in everything] == [each.name for each in catalogue()]
    assert {each["kind"] for each in everything} == {"derive", "generate", "score", "option"}


def test_a_file_of_ones_own_is_shown_or_told_by_line(recipes: Shell, tmp_path: Path) -> None:
    text = (prompt_folder() / "paraphrase.yaml").read_text("utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace("name: paraphrase", "name: mine"), "utf-8")
    assert recipes(str(tmp_path / "mine.yaml"))[1].startswith("mine: The same text in other words")
    (tmp_path / "bad.yaml").write_text(text.replace("{{ row.text }}", "{{ row.txt }}", 1), "utf-8")
    code, _, err = recipes(str(tmp_path / "bad.yaml"))
    assert code == 2
    assert err.endswith("steps: rewrite: prompt: row has no txt; did you mean text?\n")
    assert err.count("\n") == 1


def test_a_misspelt_name_is_answered_with_names_of_both_kinds(recipes: Shell) -> None:
    code, _, err = recipes("querys")
    assert code == 2
    assert err.startswith("pairmine: no recipe 'querys'; did you mean queries")
    assert err.endswith(f"'pairmine recipes' lists all {len(catalogue())}\n")
    assert "did you mean crops" in recipes("crop")[2]


def test_a_method_that_is_an_option_is_shown_with_its_command(recipes: Shell) -> None:
    _, out, _ = recipes("gate")
    assert "pairmine filter --gate COLUMN:LOW:HIGH" in out
    with pytest.raises(PairmineError, match="gate is an option: pairmine filter --gate"):
        find_recipe("gate")


def test_the_recipes_of_a_paper_are_found_by_its_name_or_number(recipes: Shell) -> None:
    by_name, by_number = recipes("--paper", "contriever")[1], recipes("--paper", "2112.09118")[1]
    assert by_name == by_number
    assert [line.split()[0] for line in by_name.splitlines() if line.startswith("  ")] == ["crops"]
    for name, found in (("USE", "reply"), ("SCT", "backtranslation"), ("Align/uniform", "align-uniform")):
        shown = [line.split()[0] for line in recipes("--paper", name)[1].splitlines() if line.startswith("  ")]
        assert found in shown
        assert "labels" not in shown
    code, _, err = recipes("--paper", "Contrivr")
    assert code == 2
    assert "--paper Contrivr: no such system; did you mean Contriever" in err


def test_derive_sends_the_user_of_an_llm_recipe_to_its_page() -> None:
    with pytest.raises(PairmineError, match="recipe queries works with an LLM; 'pairmine recipes queries' shows how"):
        find_recipe("queries")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crops", "recipe crops needs no LLM; run 'pairmine derive crops'"),
        ("clusters", "clusters is an option: pairmine mine --clusters"),
    ],
)
def test_generate_says_where_a_recipe_of_another_command_belongs(name: str, message: str) -> None:
    from pairmine.llm.recipes.file import load_recipe

    with pytest.raises(PairmineError, match=message):
        load_recipe(name)


def test_no_name_is_given_twice() -> None:
    names = [each.name for each in (*all_recipes(), *prompt_recipes())]
    assert len(set(names)) == len(names)


def test_the_help_of_derive_reads_no_yaml_and_no_templates() -> None:
    code = (
        "import sys; from pairmine.recipes import find_recipe, prompt_names; find_recipe('ict'); prompt_names();"
        "print([name for name in ('yaml', 'jinja2', 'pairmine.llm.recipes.file') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_names_that_files_give_to_the_columns_of_a_corpus_or_pair_set_are_shown(recipes: Shell) -> None:
    assert "text           the document (also: contents, content," in recipes("shuffle")[1]
    shown = json.loads(recipes("code-soft", "--json")[1])[0]
    inputs = {each["name"]: each for each in shown["inputs"]}
    assert "positive" in inputs["document"]["aliases"]
    assert inputs["document"]["required"]
    assert not inputs["label"]["required"]
    side = next(each for each in shown["options"] if each["name"] == "side")
    assert side["choices"] == ["pair", "code", "query"]


def test_nothing_found_is_an_empty_list_of_json(recipes: Shell) -> None:
    assert recipes("--paper", "PROP", "--needs", "llm", "--json")[:2] == (0, "[]\n")
