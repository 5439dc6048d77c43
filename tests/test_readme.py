"""The README says what is true: nothing is missing from it, and its Python runs.

Its commands, links and outputs are for test_docs.py and test_docs_output.py, as those of every page.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def test_every_command_is_in_it() -> None:
    shown = subprocess.run([sys.executable, "-m", "pairmine", "--help"], capture_output=True, text=True, check=True)
    commands = re.findall(r"^  (\w+) ", shown.stdout.partition("Commands:")[2], flags=re.M)
    assert len(commands) > 8
    for command in commands:
        assert re.search(rf"`(pairmine )?{command}\b", README), command


def test_nothing_in_it_waits_to_be_filled_in() -> None:
    assert "@@" not in README


def test_its_newcomer_needs_nothing_that_it_does_not_say() -> None:
    shown = "\n".join(blocks("console"))
    assert shown.index("make quickstart") < shown.index(". .venv/bin/activate") < shown.index("$ pairmine")


def test_its_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"^\$ make ([\w-]+)", "\n".join(blocks("console")), flags=re.M)
    assert targets[:2] == ["quickstart", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_its_python_prints_what_it_says() -> None:
    (source,) = blocks("python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "README.md", "exec"), {})
    assert printed.getvalue().strip() == source.strip().rpartition("# ")[2]


@pytest.mark.slow
def test_its_makefile_builds_a_training_file(tmp_path: Path) -> None:
    (rules,) = blocks("make")
    shutil.copy(ROOT / "examples" / "start" / "pages.jsonl", tmp_path / "corpus.jsonl")
    (tmp_path / "held-out.jsonl").write_text('{"id": "t1", "text": "may dogs come into the reading room?"}\n')
    (tmp_path / "Makefile").write_text(rules.replace("ce:models/reranker", "ce=fake:"), "utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}
    command = ["make", "train.parquet"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    again = subprocess.run([*command, "--question"], cwd=tmp_path, env=env)
    assert (tmp_path / "train.parquet").stat().st_size > 0
    assert again.returncode == 0, "nothing is left to do"


@pytest.mark.parametrize("name", ["CHANGELOG.md", "LICENSE", "Makefile", "constraints-dev.txt"])
def test_what_a_project_has_is_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


def newcomer() -> ModuleType:
    loader = SourceFileLoader("newcomer", str(ROOT / ".ci" / "newcomer"))
    spec = spec_from_loader("newcomer", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_its_newcomer_does_all_that_it_shows_but_the_tests() -> None:
    done = [step.command for step in newcomer().commands(README, with_tests=False)]
    shown = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert [command.splitlines()[0] for command in done] == [line for line in shown if line != "make test"]


def test_its_newcomer_forgives_numbers_only_where_they_depend_on_the_machine() -> None:
    page = "<!-- not run: .ci/newcomer does -->\n```console\n$ a\nrows 1,490\n```\n\n```console\n$ b\nrows 2\n```\n"
    module = newcomer()
    (first, loosely), (second, strictly) = module.commands(page, with_tests=False).items()
    assert module.keeps_its_word(module.Ran(first, ("rows 300",), 0), loosely=loosely)
    assert not module.keeps_its_word(module.Ran(first, ("rows 300",), 1), loosely=loosely)
    assert not module.keeps_its_word(module.Ran(second, ("rows 3",), 0), loosely=strictly)


def test_its_newcomer_takes_the_files_as_they_lie_where_git_does_not_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = newcomer()
    monkeypatch.setattr(module, "ROOT", tmp_path / "no repository")
    assert not module.cloned(tmp_path / "clone")
    assert "git does not clone this" in capsys.readouterr().err


def test_its_newcomer_tells_what_is_strewn_over_the_clone(tmp_path: Path) -> None:
    module = newcomer()
    for name in (
        "README.md",
        "docs/a.md",
        "build/first/pairs.parquet",
        ".git/config",
        "env/pyvenv.cfg",
        "env/lib/b.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert module.files(tmp_path) == {"README.md", "docs/a.md"}
