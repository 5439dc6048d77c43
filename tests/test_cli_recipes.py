"""What `pairmine recipes` prints, for recipes of either kind and for a user's own file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pairmine.cli.main import main
from pairmine.errors import PairmineError
from pairmine.recipes import all_recipes, any_recipe, find_recipe, prompt_folder, prompt_names, prompt_recipes


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
    derive, _, llm = out.partition("with an LLM\n")
    assert [line.split()[0] for line in llm.splitlines()] == list(prompt_names())
    assert all(f"  {recipe.name} " in derive for recipe in all_recipes())


def test_needs_narrows_the_list(recipes: Shell) -> None:
    listed = [line.split()[0] for line in recipes("--needs", "llm")[1].splitlines()[1:]]
    assert listed == list(prompt_names())
    assert "queries" not in recipes("--needs", "none")[1]
    assert recipes("--needs", "encoder")[2] == "pairmine: no recipe needs encoder yet\n"
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
        parts += [value for each in step.exemplars for value in each.fields.values() if isinstance(value, str)]
        parts += [line.strip() for text in (step.system, step.prompt, *(step.turns or ())) for line in text.split("\n")]
        parts += [f"{check}: " for wanted in step.checks.values() for check in wanted]
    parts += [text for emit in recipe.emits for text in (emit.role, emit.query, emit.document)]
    assert [part for part in parts if part not in out] == []
    assert all(line == line.rstrip() for line in out.splitlines())


def test_json_holds_the_same_for_programs(recipes: Shell) -> None:
    (shown,) = json.loads(recipes("queries", "--json")[1])
    recipe = any_recipe("queries")
    assert (shown["name"], shown["needs"], shown["digest"]) == ("queries", "llm", recipe.digest)  # type: ignore[union-attr]
    assert [draw["name"] for draw in shown["draws"]] == ["form", "length", "difficulty", "language"]
    assert shown["steps"][0]["schema"]["required"] == ["query", "hard_negative"]
    everything = json.loads(recipes("--json")[1])
    assert [each["name"] for each in everything] == [*(each.name for each in all_recipes()), *prompt_names()]


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
    total = len(all_recipes()) + len(prompt_names())
    assert code == 2
    assert err == f"pairmine: no recipe 'querys'; did you mean queries? 'pairmine recipes' lists all {total}\n"
    assert "did you mean crops" in recipes("crop")[2]


def test_derive_sends_the_user_of_an_llm_recipe_to_its_page() -> None:
    with pytest.raises(PairmineError, match="recipe queries works with an LLM; 'pairmine recipes queries' shows how"):
        find_recipe("queries")


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
