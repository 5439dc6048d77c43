"""What `pairmine ledger` shows, writes, takes in and removes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from pairmine.cli import ledger as command
from pairmine.cli.command import adopt
from pairmine.errors import PairmineError
from pairmine.ledger import Batch, Entry, Ledger
from pairmine.llm.calls import Reply

DAY = 86_400


class Here:
    """Runs `pairmine ledger` in a folder and takes what it prints."""

    def __init__(self, heard: pytest.CaptureFixture[str]) -> None:
        self._heard = heard
        self.dollars: Any = None

    def __call__(self, *words: str) -> tuple[str, str]:
        app = typer.Typer(rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})
        app.callback()(lambda: None)
        command.register(app, self.dollars)
        adopt(app)
        self._heard.readouterr()
        app(["ledger", *words], standalone_mode=False)
        out, err = self._heard.readouterr()
        return out, err

    def refuses(self, *words: str) -> str:
        with pytest.raises(PairmineError) as raised:
            self(*words)
        assert raised.value.exit_code == 2
        return str(raised.value)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAIRMINE_LEDGER", raising=False)
    return Here(capsys)


def an_entry(number: int, recipe: str = "queries", model: str = "small", age_days: int = 0) -> Entry:
    created = int(time.time()) - age_days * DAY - 60
    return Entry(
        bytes([number]) * 20, Reply(f"reply {number}", "stop", 1000, 200, 500), recipe, model, "openai", created
    )


def fill(path: str = ".pairmine/ledger.sqlite", *more: Entry) -> None:
    with Ledger(path) as ledger:
        ledger.add([an_entry(1), an_entry(2, age_days=40), an_entry(3, "judge", "large"), *more])


def keys(path: str = ".pairmine/ledger.sqlite") -> set[int]:
    with Ledger(path, read_only=True) as ledger:
        return {entry.key[0] for some in ledger.entries() for entry in some}


def test_a_missing_ledger_is_told_and_not_made(here: Here, tmp_path: Path) -> None:
    for words in ([], ["info"], ["export", "x.jsonl"], ["prune", "--recipe", "x"], ["--json"]):
        assert here.refuses(*words).startswith(".pairmine/ledger.sqlite: no ledger there; 'pairmine generate' makes it")
    assert list(tmp_path.iterdir()) == []


def test_the_table_adds_up_by_recipe_and_model(here: Here) -> None:
    fill()
    today = time.strftime("%Y-%m-%d", time.localtime(time.time() - 60))
    out, err = here()
    lines = out.splitlines()
    assert lines[0].startswith(".pairmine/ledger.sqlite: 3 replies, ")
    assert lines[2].split("  ")[0] == "recipe"
    assert lines[3].split() == ["judge", "large", "openai", "1", "1,000", "500", "200", "7", "bytes", today, today]
    assert lines[4].split()[:7] == ["queries", "small", "openai", "2", "2,000", "1,000", "400"]
    assert lines[5].split()[:5] == ["all", "3", "3,000", "1,500", "600"]
    assert "dollars" not in out
    assert err == ""
    assert here("info")[0] == out


def test_dollars_are_shown_where_a_price_is_known_and_the_sum_says_that_it_is_a_floor(here: Here) -> None:
    fill()
    here.dollars = lambda total: 1234.5 if total.model == "small" else None
    out, _ = here()
    cells = [line.split() for line in out.splitlines()[2:]]
    assert "dollars" in cells[0]
    assert cells[1][7] == "-"
    assert cells[2][7] == "1,234.50"
    assert cells[3][5:7] == ["from", "1,234.50"]
    assert [source["usd"] for source in json.loads(here("--json")[0])["sources"]] == [None, 1234.5]
    here.dollars = lambda total: 0.00031
    assert "0.0006" in here()[0]


def test_an_empty_ledger_and_batches_under_way_are_shown(here: Here) -> None:
    with Ledger(".pairmine/ledger.sqlite") as ledger:
        ledger.save_batch(Batch("batch_1", "openai", "in_progress", (b"x" * 20,)))
    lines = here()[0].splitlines()
    assert lines[0].startswith(".pairmine/ledger.sqlite: 0 replies, ")
    assert lines[1:] == ["1 batch under way at a provider"]


def test_json_has_the_same_numbers(here: Here) -> None:
    fill()
    for words in (["--json"], ["info", "--json"]):
        found = json.loads(here(*words)[0])
        assert (found["ledger"], found["replies"], found["open_batches"]) == (".pairmine/ledger.sqlite", 3, 0)
        judge = found["sources"][0]
        assert (judge["recipe"], judge["model"], judge["prompt_tokens"]) == ("judge", "large", 1000)
        assert judge["first"].endswith("Z")
        assert "usd" not in judge


def test_the_ledger_is_named_by_a_flag_or_by_the_environment(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    fill("elsewhere.sqlite")
    assert here("--ledger", "elsewhere.sqlite")[0].startswith("elsewhere.sqlite: 3 replies")
    assert here("info", "--ledger", "elsewhere.sqlite")[0].startswith("elsewhere.sqlite: 3 replies")
    monkeypatch.setenv("PAIRMINE_LEDGER", "elsewhere.sqlite")
    assert here()[0].startswith("elsewhere.sqlite: 3 replies")
    assert here("info")[0].startswith("elsewhere.sqlite: 3 replies")


def test_a_flag_before_the_word_is_told_and_not_ignored(here: Here) -> None:
    fill()
    line = "--ledger before 'info' has no effect; write it after that word"
    assert here.refuses("--ledger", "elsewhere.sqlite", "info") == line
    assert here.refuses("--json", "export", "x.jsonl").startswith("--json before 'export' has no effect")


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz", "r.jsonl.zst", "r.parquet"])
def test_export_and_import_carry_every_reply_to_another_ledger(here: Here, name: str) -> None:
    fill()
    assert here("export", name) == ("", f"pairmine: 3 replies written to {name}\n")
    assert here("import", name, "--ledger", "new/l.sqlite")[1] == f"pairmine: {name}: 3 new of 3 replies\n"
    assert here("import", name, "--ledger", "new/l.sqlite")[1] == f"pairmine: {name}: 0 new of 3 replies\n"
    with Ledger(".pairmine/ledger.sqlite") as old, Ledger("new/l.sqlite") as new:
        assert list(old.entries()) == list(new.entries())
        assert old.totals() == new.totals()


def test_export_writes_json_lines_to_a_pipe_and_only_what_was_asked_for(here: Here) -> None:
    fill()
    done = subprocess.run(
        [sys.executable, "-c", "import typer; from pairmine.cli.ledger import group; group()", "export", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["reply 1", "reply 2", "reply 3"]
    here("export", "r.jsonl", "--recipe", "queries", "--before", "30d")
    assert [json.loads(line)["text"] for line in Path("r.jsonl").read_text().splitlines()] == ["reply 2"]
    _, err = here("export", "none.jsonl", "--model", "gpt")
    assert "0 replies written to none.jsonl" in err
    assert "has replies to the recipes judge, queries, of the models large, small" in err


def test_other_ledgers_are_imported_as_they_are(here: Here) -> None:
    fill("a.sqlite", an_entry(8))
    fill("b.db", an_entry(9))
    _, err = here("import", "a.sqlite", "b.db")
    assert err == "pairmine: a.sqlite: 4 new of 4 replies\npairmine: b.db: 1 new of 4 replies\n"
    assert keys() == {1, 2, 3, 8, 9}


def test_what_cannot_be_imported_is_told(here: Here) -> None:
    fill()
    assert here.refuses("import", ".pairmine/ledger.sqlite").startswith(".pairmine/ledger.sqlite: is the ledger itself")
    assert here.refuses("import", "none.jsonl") == "none.jsonl: no such file or folder"
    fill("other.sqlite", an_entry(9))
    assert here.refuses("import", "other.sqlite", "none.jsonl") == "none.jsonl: no such file or folder"
    Path("bad.jsonl").write_text('{"key": "x"}\n')
    assert here.refuses("import", "bad.jsonl").startswith("bad.jsonl:1: no entry of a ledger")
    assert keys() == {1, 2, 3}


def test_prune_shows_what_would_go_and_removes_it_only_when_told(here: Here) -> None:
    fill()
    out, err = here("prune", "--recipe", "queries", "--before", "30d", "--dry-run")
    assert out == ""
    assert "queries" in err
    assert err.endswith("pairmine: 1 reply would go; nothing was removed\n")
    assert "pass --yes" in here.refuses("prune", "--recipe", "queries", "--before", "30d")
    assert keys() == {1, 2, 3}
    err = here("prune", "--recipe", "queries", "--before", "30d", "--yes")[1]
    assert "pairmine: 1 reply removed, " in err
    assert keys() == {1, 3}
    err = here("prune", "--recipe", "queries", "--before", "30d", "--yes")[1]
    assert err.startswith("pairmine: nothing to remove\npairmine: .pairmine/ledger.sqlite: has replies to the recipes")


@pytest.mark.parametrize(("answer", "left"), [(True, {3}), (False, {1, 2, 3})])
def test_prune_asks_on_a_terminal(here: Here, monkeypatch: pytest.MonkeyPatch, answer: bool, left: set[int]) -> None:
    fill()
    asked: list[str] = []

    def confirm(question: str, err: bool) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr(typer, "confirm", confirm)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    here("prune", "--recipe", "queries")
    assert asked == ["pairmine: remove 2 replies from .pairmine/ledger.sqlite for good?"]
    assert keys() == left


def test_prune_without_a_condition_or_with_flags_at_odds_is_told(here: Here) -> None:
    fill()
    assert here.refuses("prune", "--yes") == "nothing says what goes; name it with --recipe, --model or --before"
    assert "--yes has no effect with --dry-run" in here.refuses("prune", "--recipe", "queries", "--yes", "--dry-run")
    assert keys() == {1, 2, 3}


def test_before_takes_days_and_ages_and_tells_the_rest(here: Here) -> None:
    fill()
    tomorrow = time.strftime("%Y-%m-%d", time.localtime(time.time() + DAY))
    for before, count in (("2001-01-01", 0), ("1d", 1), ("12h", 1), ("41d", 0), ("0d", 3), (tomorrow, 3)):
        err = here("prune", "--before", before, "--dry-run")[1]
        assert ("nothing to remove" in err) if not count else (f" {count} repl" in err), before
    for before in ("yesterday", "30", "", "2026-13-01", "-3d"):
        line = here.refuses("prune", "--before", before, "--dry-run")
        assert line == f"--before {before}: write a day such as 2026-01-31, or an age such as 30d or 12h"


def test_each_help_begins_with_a_sentence_and_has_an_example(here: Here) -> None:
    for words in ([], ["info"], ["export"], ["import"], ["prune"]):
        out, _ = here(*words, "--help")
        assert "\n  pairmine ledger" in out.replace("\n    pairmine", "\n  pairmine"), words
        assert "--ledger" in out
    assert "prune" in here("-h")[0]


@pytest.mark.slow
def test_an_export_goes_through_a_pipe_into_another_ledger(tmp_path: Path) -> None:
    command = f"{sys.executable} -c 'from pairmine.cli.main import main; main()'"
    (tmp_path / "c.jsonl").write_text('{"id": "1", "text": "The old harbour has two lights and a mole."}\n')
    line = f"{command} generate queries c.jsonl --llm fake: -q -o o.parquet && {command} ledger export - | "
    line += f"{command} ledger import - --ledger other.sqlite"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with Ledger(tmp_path / "other.sqlite", read_only=True) as other:
        assert sum(total.replies for total in other.totals()) == 1
