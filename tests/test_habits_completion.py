"""What TAB offers in bash, zsh and fish."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from pairmine.cli import completion
from pairmine.cli.main import app


def offered(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str = "bash") -> str:
    """What is printed for a line whose last word is being written."""
    monkeypatch.setenv("_PAIRMINE_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        app([], standalone_mode=False, prog_name="pairmine")
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("pairmine mi", ["mine", "mix"]),
        ("pairmine derive ic", ["ict"]),
        ("pairmine derive ict --kee", ["--keep"]),
        ("pairmine generate quer", ["queries"]),
        ("pairmine recipes sync", ["syncse", "syncse-scratch"]),
        ("pairmine recipes --needs ", ["encoder", "llm"]),
        ("pairmine export pairs.parquet --to st-n", ["st-ntuple"]),
        ("pairmine mine pairs.parquet --retriever ", ["bm25", "st:", "npy:"]),
        ("pairmine score pairs.parquet --scorer ", ["ce:", "rerank:"]),
        ("pairmine mine pairs.parquet --retriever bm25 --fuse r", ["rrf", "round-robin"]),
        ("pairmine filter --pick s", ["simans", "softmax", "stratified"]),
        ("pairmine ledger ex", ["export"]),
        ("pairmine -q mine --de", ["--depth", "--device"]),
        ("pairmine help der", ["derive"]),
        ("pairmine derive words --op", ["--ops"]),
    ],
)
def test_tab_offers_what_fits(
    line: str, some: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = offered(line, monkeypatch, capsys).split()
    assert set(some) <= set(words)
    beginning = line.rpartition(" ")[2]
    assert all(word.startswith(beginning) for word in words)


@pytest.mark.parametrize("line", ["pairmine mine ", "pairmine derive ict ", "pairmine derive none --", "pairmine nil "])
def test_where_a_file_belongs_the_shell_offers_files_and_nothing_breaks(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = offered(line, monkeypatch, capsys).split()
    assert not [word for word in words if not word.startswith("-")] or line == "pairmine nil "


def test_zsh_and_fish_get_the_meaning_of_a_word_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "pairmine derive ic"
    assert "ict\tA sentence as the query for the rest of its passage" in offered(line, monkeypatch, capsys, "fish")
    assert '"ict":"A sentence as the query for the rest of its passage' in offered(line, monkeypatch, capsys, "zsh")


@pytest.mark.slow
def test_bash_completes_a_line_once_the_script_is_sourced(tmp_path: Path) -> None:
    folder = Path(sys.executable).parent
    if not (folder / "pairmine").exists():
        pytest.skip("pairmine is not installed as a command beside this Python")
    places = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    script = (
        "source <(_PAIRMINE_COMPLETE=source_bash pairmine)\n"
        'COMP_WORDS=(pairmine derive ic); COMP_CWORD=2; COMP_LINE="pairmine derive ic"\n'
        "complete -p pairmine\n"
        "_pairmine_completion pairmine\n"
        'echo "offers ${COMPREPLY[*]}"\n'
    )
    done = subprocess.run(["bash", "-ic", script], capture_output=True, text=True, env=places, check=False)
    assert "complete -o default -F _pairmine_completion pairmine" in done.stdout
    assert "offers ict" in done.stdout


def test_what_is_written_out_is_what_the_commands_take() -> None:
    from pairmine.backends.encoders.runtimes import BACKENDS
    from pairmine.backends.precision import DTYPES
    from pairmine.backends.vectors.codec import VECTOR_TYPES
    from pairmine.cli.scoring import KINDS
    from pairmine.stages.audit import AMONG
    from pairmine.stages.calibrate import PICKS as CALIBRATED
    from pairmine.stages.filter.picks import PICKS
    from pairmine.stages.filter.shortage import SHORTAGES
    from pairmine.stages.mine.retrievers import KINDS as RETRIEVERS
    from pairmine.stages.mix.components import APART, COPIES
    from pairmine.stages.mix.plan import BATCHES
    from pairmine.stages.score import SIDES

    known: dict[tuple[str, str], Any] = {
        ("mine", "--backend"): BACKENDS,
        ("mine", "--dtype"): DTYPES,
        ("mine", "--vector-type"): VECTOR_TYPES,
        ("mine", "--retriever"): RETRIEVERS,
        ("score", "--scorer"): KINDS,
        ("score", "--side"): SIDES,
        ("stats", "--rank-among"): AMONG,
        ("calibrate", "--pick"): CALIBRATED,
        ("filter", "--pick"): PICKS,
        ("filter", "--shortage"): SHORTAGES,
        ("mix", "--split-apart"): APART,
        ("mix", "--split-copies"): COPIES,
        ("mix", "--batches"): BATCHES,
    }
    for (command, flag), taken in known.items():
        words = completion.words_of(command, flag) or []
        assert {word.rstrip(":") for word, _ in words} == set(taken), (command, flag)


def test_every_option_with_a_list_of_words_exists() -> None:
    root: Any = typer.main.get_command(app)
    for name, options in completion._OWN.items():
        command = root.get_command(typer.Context(root), name)
        assert set(options) <= {flag for each in command.params for flag in each.opts}, name
