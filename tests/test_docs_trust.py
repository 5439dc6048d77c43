"""The page on trust takes its tables from what the campaign of faults left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trust_counts

PAGE = "".join(f"<!-- {name} -->\n\nNone yet.\n\n<!-- end -->\n\n" for name in trust_counts.TABLES)


def counted(**more: Any) -> dict[str, Any]:
    return {"counts": {}, "passed": 1, "failed": [], "skipped": {}, "is_over": True, "commit": "c0ffee" * 7} | more


def left() -> dict[str, Any]:
    """What a campaign of two modules leaves."""
    return {
        "counts-test_disk.json": counted(counts={"a run goes on": {"kills": 50, "stages": 1}}),
        "counts-test_limits.json": counted(
            counts={"a run goes on": {"kills": 1000}, "no disk": {"full": 3}}, skipped={"test_a": "no root"}
        ),
        "limits.json": [
            {"what": "a row", "command": "convert a", "code": 0, "mb": 90, "s": 0.5},
            {"what": "rows", "command": "dedup b", "code": 2, "mb": 1200, "s": 3.0},
        ],
        "determinism.json": {"derive": {"hash seeds": "the same bytes"}, "mine": {"workers": "the same rows"}},
    }


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], str]:
    """Has the page written from what is left of a campaign of two modules."""
    (tmp_path / "tests").mkdir()
    for name in ("disk", "limits"):
        (tmp_path / "tests" / f"test_{name}.py").touch()
    page = tmp_path / "page.md"

    def written(files: dict[str, Any]) -> str:
        for name, value in files.items():
            (tmp_path / name).write_text(json.dumps(value))
        page.write_text(PAGE)
        trust_counts.main()
        return page.read_text()

    monkeypatch.setattr(trust_counts, "FOUND", tmp_path)
    monkeypatch.setattr(trust_counts, "TESTS", tmp_path / "tests")
    monkeypatch.setattr("sys.argv", ["trust_counts.py", "--write", str(page)])
    return written


def test_counts_of_all_modules_are_added_and_every_table_is_filled(write: Any) -> None:
    page = write(left())
    assert "None yet" not in page
    assert "| a run goes on | 1,050 kills; 1 stages |\n| no disk | 3 full |" in page
    assert "2 tests passed, none failed, at c0ffeec0ffee." in page
    assert "- 1: no root" in page
    assert "| rows | `dedup b` | 2 | 1,200 | 3.0 |\n| a row | `convert a` | 0 | 90 | 0.5 |" in page
    assert "| stage | hash seeds | workers |" in page
    assert "| `mine` |  | the same rows |" in page


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (None, "test_limits has not run"),
        (counted(is_over=False), "test_limits was stopped"),
        (counted(failed=["test_a", "test_b"]), "test_limits failed in test_a, test_b"),
    ],
)
def test_counts_of_a_campaign_that_is_not_whole_are_not_shown(
    write: Any, tmp_path: Path, module: dict[str, Any] | None, told: str
) -> None:
    files = left() | {"counts-test_limits.json": module}
    if module is None:
        del files["counts-test_limits.json"]
    with pytest.raises(SystemExit, match=told):
        write(files)
    assert (tmp_path / "page.md").read_text() == PAGE


def test_the_page_has_a_place_for_every_table() -> None:
    text = (trust_counts.ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    for name in trust_counts.TABLES:
        assert trust_counts.filled(text, name, "a table") != text
