"""What a terminal would obey is written out, in errors, in what is said, and in rows that are shown on one."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pairmine.cli import voice
from pairmine.cli.main import main
from pairmine.visible import visible, visible_lines

ESCAPE = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202eturned\x7f"


def test_nothing_that_moves_a_cursor_or_turns_letters_is_left() -> None:
    assert visible(f"a\n{ESCAPE}") == "a\\n\\x1b[31mred\\x1b]0;title\\x07\\u009b2J\\u202eturned\\u007f"
    assert visible_lines("a\tb\nc\rd") == "a\tb\nc\\rd"
    assert visible("\ud800") == "\\ud800"


@pytest.mark.parametrize(
    "text", ["日本語 ไทย עברית العربية", "e\u0301 \u200d\u200c \xa0 \ufeff", "👩\u200d🔬 \U0010ffff"]
)
def test_letters_of_any_script_stay(text: str) -> None:
    assert visible(text) == text


def test_a_line_of_json_still_means_the_same() -> None:
    row = {"text": ESCAPE + '\n\\ " é'}
    assert json.loads(visible_lines(json.dumps(row, ensure_ascii=False))) == row


def test_a_file_name_with_escapes_is_told_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pairmine", "head", f"no{ESCAPE}\nfile.jsonl"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said[:-1].isprintable()


def test_what_is_said_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    voice.say(f"{ESCAPE}\npairmine: a forged line")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said[:-1].isprintable()


@pytest.mark.parametrize(
    "words",
    ["head rows.jsonl", "head rows.jsonl --json", "dedup rows.jsonl -q -o -", "dedup rows.jsonl -q --format csv -o -"],
)
@pytest.mark.slow
def test_rows_on_a_terminal_do_not_command_it(tmp_path: Path, words: str) -> None:
    rows = [{"id": "1\x1b[2J", "text": f"the text {ESCAPE}", "title": ESCAPE}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pairmine", *words.split()]
    with subprocess.Popen(command, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while block := os.read(ours, 65536):
                shown += block
        except OSError:  # the other end is closed
            pass
        assert process.wait(60) == 0
    os.close(ours)
    text = shown.decode().replace("\r\n", "\n")
    assert "the text" in text
    assert visible_lines(text) == text, text
