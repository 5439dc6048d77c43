"""The page on trust takes its tables from what the campaign of faults left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trust_counts

PAGE = "".join(f"<!-- {name} -->\n\nNone yet.\n\n<!-- end -->\n\n" for name in trust_counts.TABLES)


def left(folder: Path) -> None:
    """What two workers leave: counts each, and one of them the limits and the settings."""
    files = {
        "counts-gw0.json": {"a killed run goes on": {"kills": 50, "stages": 1}},
        "counts-gw1.json": {"a killed run goes on": {"kills": 1000}, "no disk": {"full": 3}},
        "limits.json": [
            {"what": "a row", "command": "convert a", "code": 0, "mb": 90, "s": 0.5},
            {"what": "rows", "command": "dedup b", "code": 2, "mb": 1200, "s": 3.0},
        ],
        "determinism.json": {"derive": {"hash seeds": "the same bytes"}, "mine": {"workers": "the same rows"}},
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))


def write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    page = folder / "page.md"
    page.write_text(PAGE)
    monkeypatch.setattr(trust_counts, "FOUND", folder)
    monkeypatch.setattr("sys.argv", ["trust_counts.py", "--write", str(page)])
    trust_counts.main()
    return page.read_text()


def test_counts_of_all_workers_are_added_and_every_table_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(tmp_path)
    page = write(tmp_path, monkeypatch)
    assert "None yet" not in page
    assert "| a killed run goes on | 1,050 kills; 1 stages |\n| no disk | 3 full |" in page
    assert "| rows | `dedup b` | 2 | 1,200 | 3.0 |\n| a row | `convert a` | 0 | 90 | 0.5 |" in page
    assert "| stage | hash seeds | workers |" in page
    assert "| `mine` |  | the same rows |" in page


def test_a_table_without_figures_stays_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left(tmp_path)
    (tmp_path / "limits.json").unlink()
    page = write(tmp_path, monkeypatch)
    assert page.count("None yet") == 1
    assert "limits: no " in capsys.readouterr().err


def test_the_page_has_a_place_for_every_table() -> None:
    text = (Path(trust_counts.ROOT) / "docs" / "trust.md").read_text(encoding="utf-8")
    for name in trust_counts.TABLES:
        assert trust_counts.filled(text, name, "a table") != text
