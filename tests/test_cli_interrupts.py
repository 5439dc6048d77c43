"""Ctrl-C, once and twice, wherever it comes: one line, nothing left over."""

from __future__ import annotations

import contextlib
import gc
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from pairmine.cli import interrupts
from pairmine.cli.main import main
from pairmine.cli.run import Run
from pairmine.files.partial import Partial
from pairmine.files.sink import Sink

SAID = "pairmine: interrupted; nothing was half-written, run the same command again to continue\n"


@pytest.fixture
def convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "text": "one"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pairmine", "convert", "corpus.jsonl", "-q", "-o", "out.jsonl"])
    return tmp_path


def press(*_: Any, **__: Any) -> None:
    signal.raise_signal(signal.SIGINT)


def check_interrupted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130
    assert capsys.readouterr().err == SAID
    assert [path.name for path in folder.iterdir()] == ["corpus.jsonl"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_while_the_first_is_answered_changes_nothing(
    convert: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remove = Partial.remove

    def remove_pressed(self: Partial) -> None:
        press()
        remove(self)

    monkeypatch.setattr(Sink, "write", press)
    monkeypatch.setattr(Partial, "remove", remove_pressed)
    check_interrupted(convert, capsys)


def test_an_interrupt_just_after_an_output_was_begun_leaves_nothing(
    convert: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Run, "__enter__", press)
    check_interrupted(convert, capsys)


def test_an_interrupt_before_anything_was_begun_says_how_to_go_on(
    convert: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pairmine.cli.voice.timed", press)
    check_interrupted(convert, capsys)


def test_an_interrupt_that_python_can_raise_nowhere_comes_again_and_shows_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Late:
        def __del__(self) -> None:
            press()

    def drop() -> None:
        Late()
        time.sleep(5)

    with pytest.raises(KeyboardInterrupt), interrupts.heard():
        drop()
    assert capsys.readouterr().err == ""


class Opened:
    """Closes in the end what it holds, as an event loop does."""

    def __init__(self) -> None:
        press()
        self.handle = 0

    def __del__(self) -> None:
        self.handle += 1


def test_what_an_interrupt_leaves_half_made_shows_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with interrupts.heard():
        with contextlib.suppress(KeyboardInterrupt):
            Opened()
        gc.collect()
    assert capsys.readouterr().err == ""


def test_an_error_in_a_finalizer_is_shown_where_nothing_was_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    with interrupts.heard():
        Opened.__new__(Opened)
        gc.collect()
    assert "AttributeError" in capsys.readouterr().err


def test_an_interrupt_while_a_library_makes_code_has_the_same_exit_code(tmp_path: Path) -> None:
    (tmp_path / "stopped.py").write_text(
        textwrap.dedent(
            """
            import sys
            from pairmine.cli import interrupts
            with interrupts.heard(to_the_end=True):
                try:
                    exec("import signal; signal.raise_signal(signal.SIGINT)\\n'never reached'")
                except KeyboardInterrupt:
                    sys.exit(interrupts.CODE)
            """
        )
    )
    done = subprocess.run([sys.executable, "-m", "stopped"], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


def test_an_interrupt_while_the_first_handler_is_set_is_answered_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "stopped.py").write_text(
        textwrap.dedent(
            """
            import signal
            from pairmine.__main__ import run
            install = signal.signal
            def pressed(number, handler):
                before = install(number, handler)
                if number == signal.SIGINT and callable(handler):
                    signal.raise_signal(signal.SIGINT)
                return before
            signal.signal = pressed
            run()
            """
        )
    )
    done = subprocess.run([sys.executable, "-m", "stopped"], cwd=tmp_path, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (130, SAID)


def test_what_comes_once_all_is_settled_changes_nothing() -> None:
    with interrupts.heard():
        interrupts.settle()
        press()


def test_what_the_shell_had_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.heard():
            press()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_while_a_class_is_made_is_an_interrupt(tmp_path: Path) -> None:
    (tmp_path / "stopped.py").write_text(
        textwrap.dedent(
            """
            import signal
            import pairmine.cli.main
            from pairmine.__main__ import run
            class Pressing:
                def __set_name__(self, owner, name):
                    signal.raise_signal(signal.SIGINT)
            def interrupted():
                class Loaded:
                    member = Pressing()
            pairmine.cli.main.main = interrupted
            run()
            """
        )
    )
    done = subprocess.run([sys.executable, "-m", "stopped"], cwd=tmp_path, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (130, SAID)
