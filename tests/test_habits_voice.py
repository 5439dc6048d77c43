"""How much is said: --quiet, --verbose, colours and bars, on a terminal and on a pipe."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pairmine.cli.main import app
from pairmine.cli.progress import Progress
from pairmine.cli.voice import shown
from pairmine.errors import PairmineError

Shell = Callable[[str], str]
ESCAPE = "\x1b"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)
    texts = ["It rained all day. The river rose by two metres.", "Snow fell on the hills. The roads were closed."]
    Path("corpus.jsonl").write_text("".join(json.dumps({"id": str(n), "text": t}) + "\n" for n, t in enumerate(texts)))

    def run(line: str) -> str:
        capfd.readouterr()
        app(line.split(), standalone_mode=False)
        return capfd.readouterr().err

    return run


@pytest.mark.parametrize(
    "line",
    [
        "-q derive ict corpus.jsonl -o pairs.parquet",
        "derive ict corpus.jsonl -o pairs.parquet -q",
        "derive -q ict corpus.jsonl -o pairs.parquet",
        "-q convert corpus.jsonl -o corpus.parquet",
        "-q head corpus.jsonl",
        "info corpus.jsonl --quiet",
        pytest.param("generate -q queries corpus.jsonl --llm fake: -o asked.parquet", marks=pytest.mark.slow),
    ],
)
def test_quiet_says_nothing_wherever_it_stands(shell: Shell, line: str) -> None:
    assert shell(line) == ""


def test_quiet_leaves_errors(shell: Shell) -> None:
    with pytest.raises(PairmineError, match="no such file"):
        shell("-q head nothing.jsonl")


def test_verbose_says_what_was_read_how_fast_and_how_much_memory_it_took(shell: Shell) -> None:
    usual = shell("derive ict corpus.jsonl -o pairs.parquet")
    more = shell("-v derive ict corpus.jsonl -o pairs.parquet")
    assert set(usual.splitlines()) < set(more.splitlines())
    assert re.search(r"pairmine: corpus.jsonl: 2 rows read as jsonl in [\d.]+s, [\d,]+ rows/s\n", more)
    assert re.search(r"pairmine: derive ict: 2 documents in [\d.]+s, [\d,]+/s\n", more)
    assert re.search(
        r"pairmine: [\d.]+s in all, [\d.]+ [MG]B of memory at most( and [\d.]+ [MG]B in a process of its own)?\n", more
    )
    assert shell("derive ict corpus.jsonl -o pairs.parquet") == usual


def test_verbose_tells_where_a_model_came_from_and_what_was_kept(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRMINE_STORE", "store")
    assert "0 of 2 texts were embedded before" in shell("embed corpus.jsonl --encoder fake: -o a.npy -v")
    assert "2 of 2 texts were embedded before" in shell("embed corpus.jsonl --encoder fake: -o b.npy -v")


def test_neither_is_part_of_how_a_file_came_to_be(shell: Shell) -> None:
    shell("-v derive ict corpus.jsonl -o loud.parquet")
    shell("-q derive ict corpus.jsonl -o still.parquet")
    assert Path("loud.parquet").read_bytes() == Path("still.parquet").read_bytes()


def test_the_command_line_is_over_the_environment_and_both_at_once_are_refused(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRMINE_QUIET", "1")
    assert shell("derive ict corpus.jsonl -o pairs.parquet") == ""
    assert "in all" in shell("derive ict corpus.jsonl -o pairs.parquet -v")
    assert "in all" in shell("-v derive ict corpus.jsonl -o pairs.parquet")
    monkeypatch.delenv("PAIRMINE_QUIET")
    monkeypatch.setenv("PAIRMINE_VERBOSE", "true")
    assert "in all" in shell("derive ict corpus.jsonl -o pairs.parquet")
    for line in ("-q -v head corpus.jsonl", "head corpus.jsonl -q -v"):
        with pytest.raises(PairmineError, match="--quiet and --verbose say the opposite"):
            shell(line)


# --- bars and colours ---------------------------------------------------------------------------

_SLOW = """
import time
from pairmine.cli.progress import Progress
progress = Progress("mine", quiet=False)
advance = progress.begin("documents [a.b] searched", 40)
for _ in range(40):
    time.sleep(0.01)
    advance(1)
progress.end()
"""


def on_a_terminal(*command: str, **variables: str) -> str:
    """What a command writes to stderr where that is a terminal."""
    ours, theirs = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        command, stdout=theirs, stderr=theirs, stdin=theirs, env={**plain, "TERM": "xterm-256color", **variables}
    )
    os.close(theirs)
    heard = b""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                heard += os.read(ours, 65_536)
            except OSError:
                break
        elif process.poll() is not None:
            break
    assert process.wait(timeout=60) == 0, heard
    os.close(ours)
    return heard.decode()


def colours(text: str) -> list[str]:
    """The escape sequences that set a colour, not those that move the cursor."""
    return [
        each for each in re.findall(r"\x1b\[([\d;]*)m", text) if re.search(r"(^|;)(3[0-8]|4[0-8]|9[0-7])(;|$)", each)
    ]


def test_a_terminal_gets_a_bar_in_colours_with_the_time_that_is_left() -> None:
    shown = on_a_terminal(sys.executable, "-c", _SLOW)
    assert colours(shown)
    assert "documents [a.b] searched" in shown
    assert "40/40" in shown
    assert re.search(r"\d:\d\d:\d\d", shown)


@pytest.mark.slow
def test_no_color_takes_the_colours_and_leaves_the_bar() -> None:
    shown = on_a_terminal(sys.executable, "-c", _SLOW, NO_COLOR="1")
    assert colours(shown) == []
    assert "40/40" in shown


@pytest.mark.slow
def test_a_dumb_terminal_and_a_pipe_get_no_escape_even_where_colours_are_forced() -> None:
    assert ESCAPE not in on_a_terminal(sys.executable, "-c", _SLOW, TERM="dumb", FORCE_COLOR="1")
    forced = {**os.environ, "FORCE_COLOR": "1"}
    done = subprocess.run([sys.executable, "-c", _SLOW], capture_output=True, text=True, env=forced, check=True)
    assert ESCAPE not in done.stderr + done.stdout


@pytest.mark.slow
def test_help_and_errors_have_no_colours_on_any_terminal() -> None:
    for words in (["--help"], ["mine", "--help"]):
        shown = on_a_terminal(sys.executable, "-m", "pairmine", *words, FORCE_COLOR="1")
        assert ESCAPE not in shown


def test_a_file_that_is_read_for_long_shows_how_far_it_is_and_steps_back_for_a_stage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pairmine.cli import progress as module

    clock = iter(range(0, 10_000, 3))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    watch = Progress("filter", quiet=False)
    advance = watch.reading("pairs.parquet", 1000)
    for _ in range(6):
        advance(100)
    watch.begin("queries", 10)
    advance(100)
    said = capsys.readouterr().err.splitlines()
    assert said == ["pairmine filter: 300 of 1,000 rows of pairs.parquet in 12s, about 28s left"]


def test_a_model_that_is_loaded_for_long_is_named_meanwhile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pairmine.backends.specs import parse_spec
    from pairmine.cli import progress as module

    monkeypatch.setattr(module, "EVERY_S", 0.01)
    watch = Progress("embed", quiet=False)
    for text in ("fake:", "st:all-MiniLM-L6-v2"):
        with watch.loading(parse_spec(text, ("st", "fake"), "--encoder")):
            time.sleep(0.05)
    said = capsys.readouterr().err.splitlines()
    assert set(said) == {"pairmine embed: loading st:all-MiniLM-L6-v2, 0s"}


def test_an_input_tells_how_much_is_ahead_where_that_is_cheap(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pairmine.files.source import open_texts

    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "a.csv").write_text('text\n"one\nline"\n')
    pq.write_table(pa.table({"text": ["one", "two", "three"]}), tmp_path / "a.parquet")
    ahead = {
        ending: open_texts(str(tmp_path / f"a.{ending}"), print).rows_ahead() for ending in ("jsonl", "csv", "parquet")
    }
    assert ahead == {"jsonl": 2, "csv": None, "parquet": 3}


@pytest.mark.parametrize("letter", ["x", "\u202e", "\x1b"])
@pytest.mark.parametrize("count", [3_900, 4_000, 100_000])
def test_a_line_has_no_more_than_4000_letters_however_they_are_written(letter: str, count: int) -> None:
    line = f"pairmine: {shown(f'c.jsonl: {letter * count}; mend the row')}\n"
    assert len(line) <= 4_000
    assert line.startswith("pairmine: c.jsonl: ")
    assert line.endswith("; mend the row\n")
