"""The catalogue of bad inputs in tests/bad: each is told in one line, which names the place and the remedy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bad.catalogue import BAD, Bad

from pairmine.cli.main import main

_STAY = ("lock", "l.sqlite")
"""What a later run takes up: an index, and a ledger without replies."""


def told(words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a command, and all that it says on stderr."""
    monkeypatch.setattr(sys, "argv", ["pairmine", *words])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # which `main` sets
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    code = ended.value.code
    return code if isinstance(code, int) else 0, capfd.readouterr().err


@pytest.mark.parametrize("bad", BAD, ids=[bad.what for bad in BAD])
def test_a_bad_input_is_one_line_with_its_place_and_the_remedy(
    bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAIRMINE_STORE", "none")
    bad.make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, said = told([*bad.command.split(" "), "-q"], monkeypatch, capfd)
    assert (code, said) == (bad.code, f"pairmine: {bad.line}\n")
    assert [path for path in tmp_path.rglob("*") if path not in before and path.name not in _STAY] == []


def test_the_catalogue_has_every_reader_and_no_entry_twice() -> None:
    assert len(BAD) >= 80
    assert len({bad.what for bad in BAD}) == len(BAD)
