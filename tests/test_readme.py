"""The README says what is true: its commands run, its links lead somewhere, nothing is missing from it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

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


def test_what_it_shows_of_the_recipes_is_what_users_get() -> None:
    (paper, shown) = re.findall(r"^\$ pairmine recipes --paper (\w+)\n(.*?)^```", README, flags=re.M | re.S)[0]
    command = [sys.executable, "-m", "pairmine", "recipes", "--paper", paper]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == shown


def test_files_that_it_names_exist_and_nothing_waits_to_be_filled_in() -> None:
    assert "@@" not in README
    for name in re.findall(r"`((?:examples|benchmarks|docs)/[\w./-]*)`", README):
        assert (ROOT / name).exists(), name
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_its_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"^make ([\w-]+)", "\n".join(blocks("sh")), flags=re.M):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_its_python_prints_what_it_says() -> None:
    (source,) = blocks("python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "README.md", "exec"), {})
    assert printed.getvalue().strip() == source.strip().rpartition("# ")[2]


def test_its_error_line_is_the_one_that_users_get(tmp_path: Path) -> None:
    rows = [{"id": str(number), "text" if number < 16 else "body": "t"} for number in range(17)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-m", "pairmine", "convert", "corpus.jsonl", "-o", "out.parquet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    (line,) = re.findall(r"^pairmine: corpus.jsonl:17:.*$", README, flags=re.M)
    assert done.returncode == 2
    assert done.stderr.startswith(line)


@pytest.mark.parametrize("name", ["CHANGELOG.md", "LICENSE", "Makefile", "constraints-dev.txt"])
def test_what_a_project_has_is_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0
