"""What a shell sees: whole outputs or none, one line for an error, the right exit code."""

from __future__ import annotations

import errno
import gc
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pairmine.cli.main import main
from pairmine.files.partial import Partial

COMMAND = [sys.executable, "-c", "from pairmine.cli.main import main; main()"]


def run(folder: Path, *words: str, **settings: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *words], cwd=folder, capture_output=True, check=False, **settings)  # type: ignore[call-overload]


class Here:
    """Runs a command in this process, which is faster; for what needs no process of its own."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, heard: pytest.CaptureFixture[str]) -> None:
        patch.chdir(folder)
        self._patch, self._heard = patch, heard

    def __call__(self, *words: str) -> tuple[int, str, list[str]]:
        self._patch.setattr(sys, "argv", ["pairmine", *words])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = self._heard.readouterr()
        return int(left.value.code or 0), out, err.splitlines()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(tmp_path, monkeypatch, capsys)


def corpus(folder: Path, rows: int, name: str = "c.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps({"id": f"d{i}", "text": f"text {i} " * 20}) + "\n" for i in range(rows)))
    return path


def leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith((".", "out"))]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        (
            "c.jsonl",
            b'{"id":"1","speech":"x"}\n',
            'c.jsonl:1: no "text" (found: id, speech); pass --text-column speech',
        ),
        ("c.jsonl", b'{"id":"1","text":["x"]}\n', 'c.jsonl:1: "text" is a list where a string belongs'),
        ("c.jsonl", b'{"id":"1","text":"\xe9"}\n', "c.jsonl:1: not UTF-8"),
        (
            "c.jsonl.gz",
            gzip.compress(b'{"id":"1","text":"x"}\n' * 999, mtime=0)[:-20],
            "c.jsonl.gz: the gzip file is truncated",
        ),
        ("c.parquet", b"PAR1", "c.parquet: not a whole Parquet file"),
        ("c.jsonl", b'{"id":"1","text":"x"}\n{"id":"1","text":"y"}\n', 'c.jsonl:2: id "1" stands at c.jsonl:1 with'),
        ("c.jsonl", b"", "c.jsonl: the file is empty"),
        ("c.jsonl", b'{"id":"1","text":null}\n', 'c.jsonl:1: "text" is null'),
        ("notes.md", b"x", ".: a folder without shards (found: notes.md)"),
    ],
)
def test_bad_input_is_one_line_exit_2_and_no_output(
    here: Here, tmp_path: Path, name: str, content: bytes, line: str
) -> None:
    (tmp_path / name).write_bytes(content)
    code, out, said = here("convert", "." if name == "notes.md" else name, "-o", "out.parquet")
    assert (code, len(said), out) == (2, 1, "")
    assert said[0].startswith(f"pairmine: {line}")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["-o", "no/out.parquet"], "no/out.parquet: no folder no; make it first"),
        (["-o", "folder"], "folder: the ending says no format"),
        (["-o", "folder.parquet"], "folder.parquet: is a folder; name a file in it"),
        (["-o", "-", "--summary", "-"], "-o and --summary both name standard output"),
        (["-o", "out.parquet", "--summary", "out.parquet"], "-o and --summary both name out.parquet"),
        (["-o", "out.parquet", "--summary", "no/s.json"], "no/s.json: no folder no; make it first"),
        (["-o", "out.parquet", "--as", "corps"], "--as corps: "),
        (["-o", "out.parquet", "--split", "test"], "--split"),
    ],
)
def test_an_output_that_cannot_be_is_one_line(here: Here, tmp_path: Path, words: list[str], line: str) -> None:
    corpus(tmp_path, 1)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.parquet").mkdir()
    code, out, said = here("convert", "c.jsonl", *words)
    assert (code, len(said), out) == (2, 1, "")
    assert said[0].startswith(f"pairmine: {line}")
    assert sorted(os.listdir(tmp_path)) == ["c.jsonl", "folder", "folder.parquet"]


def test_quiet_says_nothing_and_the_summary_holds_the_counts(here: Here, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"_id":"1","body":"x"}\n{"_id":"1","body":"x"}\n')
    assert here("convert", "c.jsonl", "-q", "-o", "out.parquet", "--summary", "out.json") == (0, "", [])
    assert json.loads((tmp_path / "out.json").read_text()) == {
        "command": "convert",
        "notes": {"rows of the source that repeat an id, read once": 1},
        "rejected": {},
        "rows_in": 1,
        "rows_out": 1,
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.jsonl", '{"id":"1","text":"x"}\n{"id":"1","text":"x"}\n{"id":"2","text":"y"}\n{"id":"1","text":"x"}\n'),
        ("c.csv", "text\nx\nx\ny\nx\n"),
    ],
)
def test_dedup_accounts_for_every_line_that_repeats(here: Here, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    words = ["--exact-only", "-q", "-o", "out.parquet", "--rejects", "rejects.parquet", "--summary", "out.json"]
    assert here("dedup", name, *words) == (0, "", [])
    counts = json.loads((tmp_path / "out.json").read_text())
    assert (counts["rows_in"], counts["rejected"], counts["rows_out"]) == (4, {"exact copy": 2}, 2)
    gone = pq.read_table(tmp_path / "rejects.parquet")
    assert gone["duplicate_of"].to_pylist() == gone["id"].to_pylist()


def test_convert_draws_the_line_between_graded_judgments_and_remembers_it(here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text('{"_id":"1","text":"x"}\n{"_id":"2","text":"y"}\n')
    (folder / "queries.jsonl").write_text('{"_id":"q","text":"?"}\n')
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\nq\t2\t2\n")
    words = ["convert", "b", "--positive-from", "2", "-q", "-o", "out.parquet"]
    assert here(*words, "--as", "pairs") == (0, "", [])
    assert pq.read_table(tmp_path / "out.parquet")["label"].to_pylist() == [0, 1]
    assert "--positive-from 2" in here("info", "out.parquet")[1]
    code, _, said = here(*words)
    assert (code, said) == (2, ["pairmine: --positive-from has no effect with --as corpus"])


def test_a_pipe_gives_the_same_bytes_as_a_file_between_two_commands(here: Here, tmp_path: Path) -> None:
    corpus(tmp_path, 3000)
    for ending in ("parquet", "arrow"):
        assert here("convert", "c.jsonl", "-o", f"step.{ending}")[0] == 0
        assert here("convert", f"step.{ending}", "-o", f"{ending}.parquet")[0] == 0
    piped = run(tmp_path, "convert", "c.jsonl", "-o", "-").stdout
    assert run(tmp_path, "convert", "-", "-o", "piped.parquet", input=piped).returncode == 0
    contents = {(tmp_path / f"{name}.parquet").read_bytes() for name in ("parquet", "arrow", "piped")}
    assert len(contents) == 1


@pytest.mark.slow
def test_a_stream_that_breaks_off_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    corpus(tmp_path, 3000)
    piped = run(tmp_path, "convert", "c.jsonl", "-q", "-o", "-").stdout
    for size in (200, 20_000, len(piped) - 1000):
        done = run(tmp_path, "convert", "-", "-o", "out.parquet", input=piped[:size])
        assert done.returncode == 2, size
        assert done.stderr.startswith(b"pairmine: standard input")
        assert done.stderr.count(b"\n") == 1
        assert leftovers(tmp_path) == []


def test_json_lines_come_through_standard_input_plain_and_compressed(tmp_path: Path) -> None:
    rows = corpus(tmp_path, 3).read_bytes()
    for content in (rows, gzip.compress(rows, mtime=0)):
        done = run(tmp_path, "convert", "-", "-q", "-o", "-", "--format", "jsonl", input=content)
        assert list(map(json.loads, done.stdout.splitlines())) == list(map(json.loads, rows.splitlines()))


def test_a_reader_that_leaves_early_causes_no_traceback(tmp_path: Path) -> None:
    corpus(tmp_path, 40_000)
    for words in (
        ["convert", "c.jsonl", "-q", "-o", "-", "--format", "jsonl"],
        ["convert", "c.jsonl", "-q", "-o", "-"],
    ):
        process = subprocess.Popen([*COMMAND, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait() == 128 + signal.SIGPIPE


@contextmanager
def under_way(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A conversion that has read what it got and waits for more; its partial file is there."""
    command = [*COMMAND, "convert", "-", "-q", "-o", "out.parquet"]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, **pipes) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"id":"1","text":"x"}\n')
        process.stdin.flush()
        patience = time.monotonic() + 20
        while not leftovers(folder) and time.monotonic() < patience:
            time.sleep(0.02)
        yield process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_exits_130_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    with under_way(tmp_path) as process:
        process.send_signal(number)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 130
    assert said == b"pairmine: interrupted; nothing was half-written, run the same command again to continue\n"
    assert leftovers(tmp_path) == []


def test_what_a_killed_run_leaves_is_removed_by_the_next(tmp_path: Path) -> None:
    corpus(tmp_path, 1)
    with under_way(tmp_path) as process:
        process.kill()
    assert [name.rpartition(".")[2] for name in leftovers(tmp_path)] == ["partial"]
    assert run(tmp_path, "convert", "c.jsonl", "-o", "out.parquet").returncode == 0
    assert leftovers(tmp_path) == ["out.parquet"]


def test_two_runs_into_one_target_both_finish_and_one_of_them_is_there(tmp_path: Path) -> None:
    corpus(tmp_path, 5)
    with under_way(tmp_path) as process:
        assert run(tmp_path, "convert", "c.jsonl", "-o", "out.parquet").returncode == 0
        assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 5
        process.communicate()
    assert process.returncode == 0
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 1
    assert leftovers(tmp_path) == ["out.parquet"]


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "arrow", "csv.gz"])
@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_nothing(here: Here, tmp_path: Path, ending: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        rows = "".join(json.dumps({"id": str(i), "text": os.urandom(500).hex()}) + "\n" for i in range(400))
        (tmp_path / "c.jsonl").write_text(rows)
        code, _, said = here("convert", "c.jsonl", "-o", f"disk/out.{ending}")
        gc.collect()
        assert (code, len(said)) == (3, 1)
        assert said[0].startswith(f"pairmine: disk/out.{ending}: no space left on device; nothing was put there")
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_columns_that_show_late_are_all_there(here: Here, tmp_path: Path) -> None:
    rows = [json.dumps({"id": str(i), "text": f"{i} " + "x" * 600}) for i in range(20_000)]
    rows.append(json.dumps({"id": "z", "text": "z", "title": "T", "tags": ["a"]}))
    (tmp_path / "c.jsonl").write_text("\n".join(rows))
    assert here("convert", "c.jsonl", "-o", "out.parquet", "--summary", "s.json")[0] == 0
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.slice(20_000).to_pylist() == [{"id": "z", "title": "T", "text": "z", "tags": ["a"]}]
    assert json.loads((tmp_path / "s.json").read_text())["rows_out"] == found.num_rows == 20_001


def test_an_unreachable_hub_is_one_line_and_quick(tmp_path: Path) -> None:
    started = time.monotonic()
    settings = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    done = run(tmp_path, "convert", "hf://datasets/org/name/c.jsonl", "-o", "out.parquet", env=settings)
    assert done.returncode == 2
    assert done.stderr.startswith(b"pairmine: hf://datasets/org/name/c.jsonl: cannot be read (")
    assert done.stderr.count(b"\n") == 1
    assert time.monotonic() - started < 15
    assert os.listdir(tmp_path) == []


def test_tsv_that_cannot_hold_a_text_as_it_is_says_so(here: Here, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"id":"1","text":"a\\tb\\nc"}\n{"id":"2","text":"d"}\n')
    code, _, said = here("convert", "c.jsonl", "-o", "out.tsv")
    assert code == 0
    assert "out.tsv: 1 cells had tabs or line ends, now blanks; write .csv, .jsonl or .parquet" in said[0]
    assert (tmp_path / "out.tsv").read_text() == "id\ttext\n1\ta b c\n2\td\n"


# --- a disk that gives up -------------------------------------------------------------------------------


def refuse(number: int) -> Callable[..., None]:
    """What a call does on a disk that says so."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refused


def test_no_output_is_put_in_place_before_all_are_on_disk(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus(tmp_path, 5)
    words = ("derive", "crops", "c.jsonl", "--workers", "1", "-o", "out.parquet", "--rejects", "no.jsonl")
    older = {"out.parquet", "no.jsonl", "s.json"}
    for name in older:
        (tmp_path / name).write_text("older")
    sync = Partial.sync
    full = refuse(errno.ENOSPC)
    monkeypatch.setattr(Partial, "sync", lambda self: full() if self.target == "out.parquet" else sync(self))
    code, _, said = here(*words, "--summary", "s.json", "-q")
    assert (code, len(said)) == (3, 1)
    assert said[0].startswith("pairmine: out.parquet: no space left on device; nothing was put there")
    assert {name for name in older if (tmp_path / name).read_text() == "older"} == older
    assert sorted(os.listdir(tmp_path)) == sorted({*older, "c.jsonl"})


def test_vectors_never_stand_beside_the_ids_of_others(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus(tmp_path, 5)
    for name in ("out.npy", "out.ids.txt"):
        (tmp_path / name).write_text("older")
    sync = Partial.sync
    full = refuse(errno.ENOSPC)
    monkeypatch.setattr(Partial, "sync", lambda self: full() if self.target == "out.npy" else sync(self))
    code, _, said = here("embed", "c.jsonl", "--encoder", "fake:", "--store", "none", "-q", "-o", "out.npy")
    assert (code, len(said)) == (3, 1)
    assert (tmp_path / "out.npy").read_text() == (tmp_path / "out.ids.txt").read_text() == "older"


def test_a_summary_that_cannot_be_written_is_told_before_the_work(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus(tmp_path, 5)
    monkeypatch.setattr("pairmine.files.source.Source.tables", refuse(errno.EIO))
    code, _, said = here("convert", "c.jsonl", "-o", "out.parquet", "--summary", "no/s.json")
    assert (code, said) == (2, ["pairmine: no/s.json: no folder no; make it first"])
    assert os.listdir(tmp_path) == ["c.jsonl"]


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, 3), (errno.EDQUOT, 3), (errno.EIO, 3), (errno.EROFS, 2), (errno.EACCES, 2)]
)
def test_a_disk_that_gives_up_is_exit_3_and_a_place_that_refuses_is_exit_2(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    corpus(tmp_path, 5)
    monkeypatch.setattr(Partial, "_beside", refuse(number))
    found, _, said = here("convert", "c.jsonl", "-o", "out.parquet")
    assert (found, len(said)) == (code, 1)
    assert said[0].startswith(f"pairmine: out.parquet: {os.strerror(number).lower()}; ")


def test_a_leftover_that_cannot_be_removed_does_not_hide_what_went_wrong(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus(tmp_path, 5)
    with monkeypatch.context() as patch:
        patch.setattr(Partial, "sync", refuse(errno.ENOSPC))
        patch.setattr(Path, "unlink", refuse(errno.EROFS))
        code, _, said = here("convert", "c.jsonl", "-o", "out.parquet")
    assert (code, len(said)) == (3, 1)
    assert "no space left on device" in said[0]
    assert here("convert", "c.jsonl", "-o", "out.parquet", "-q")[0] == 0
    assert leftovers(tmp_path) == ["out.parquet"]


@pytest.mark.parametrize("words", ["recipes", "--version", "convert c.jsonl --format jsonl -o -"])
@pytest.mark.slow
def test_printing_onto_a_full_disk_is_one_line_and_exit_3(tmp_path: Path, words: str) -> None:
    corpus(tmp_path, 5)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, *words.split()], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 3
    assert done.stderr.startswith(b"pairmine: standard output: no space left on device; ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.slow
def test_a_log_on_a_full_disk_changes_neither_the_output_nor_the_exit_code(tmp_path: Path) -> None:
    corpus(tmp_path, 5)
    with open("/dev/full", "wb") as full:
        done = [
            subprocess.run([*COMMAND, "convert", name, "-o", "out.parquet"], cwd=tmp_path, stderr=full, check=False)
            for name in ("c.jsonl", "nothing.jsonl")
        ]
    assert [each.returncode for each in done] == [0, 2]
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 5


def test_a_pipe_that_finds_no_room_for_its_copy_names_tmpdir(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"id":"1","text":"x"}\n')))
    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse(errno.ENOSPC))
    code, _, said = here("convert", "-", "-o", "out.parquet")
    assert (code, len(said)) == (3, 1)
    assert said[0].endswith(
        "no place for a copy of the input (no space left on device); set TMPDIR to a folder that has some"
    )


NO_UTF8 = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict"}


@pytest.mark.parametrize("words", [["head", "c.jsonl", "--json"], ["info", "out.parquet", "--json"], ["recipes"]])
@pytest.mark.slow
def test_what_goes_down_a_pipe_is_utf8_in_every_locale(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "c.jsonl").write_text('{"id":"1","text":"é 日本","größe":1}\n', encoding="utf-8")
    assert run(tmp_path, "convert", "c.jsonl", "-q", "-o", "out.parquet").returncode == 0
    plain, odd = run(tmp_path, *words), run(tmp_path, *words, env={**os.environ, **NO_UTF8})
    assert (odd.returncode, odd.stderr) == (0, b"")
    assert odd.stdout == plain.stdout


@pytest.mark.slow
def test_a_name_that_is_no_utf8_is_a_name_and_a_text_that_is_none_is_told(tmp_path: Path) -> None:
    odd = os.fsdecode(b"c\xff.jsonl")
    corpus(tmp_path, 3, odd)
    assert run(tmp_path, "convert", odd, "-q", "-o", "out.parquet").returncode == 0
    assert b"c\\udcff.jsonl" in run(tmp_path, "info", "out.parquet", "--json").stdout
    done = run(tmp_path, "derive", "title", "out.parquet", "--title-column", odd, "-o", "no.parquet")
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_an_error_about_an_id_of_a_megabyte_is_a_line_that_people_read(tmp_path: Path) -> None:
    rows = [{"id": "n" * 1_000_000, "text": text} for text in ("one", "two")]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = run(tmp_path, "convert", "c.jsonl", "-q", "-o", "out.parquet").stderr
    assert len(said) < 5_000
    assert said.count(b"\n") == 1
    assert said.endswith(b"or drop the id column to have ids made from the texts\n")
