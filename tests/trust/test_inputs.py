"""Damaged files of every kind that pairmine reads: each is a line, and none a traceback, a hang or a full memory."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from trust import fuzz_mutations
from trust.fuzz_readers import all_readers
from typer.testing import CliRunner

from pairmine.cli.main import app, main
from pairmine.errors import PairmineError

HERE = Path(__file__).parent
DATA = Path(__file__).parents[3] / "shared" / "data"
needs_collections = pytest.mark.skipif(not DATA.is_dir(), reason="the test collections are not beside the checkout")
PROMISE = "damaged inputs"
ENVIRONMENT = {
    "PYTHONPATH": str(HERE.parent),
    "PAIRMINE_STORE": "none",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENAI_API_KEY": "none",
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder in memory, where there is one: what is written there is synced in no time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def seeds(place: Path) -> Path:
    """Good files for every reader, by commands of one process."""
    folder = place / "made"
    folder.mkdir()
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"seeds": str(folder / "seeds"), "data": str(DATA), "folder": str(folder)}))
    done = _worker(plan)
    failed = folder / "failed"
    assert done == 0, failed.read_text() if failed.exists() else (folder / "said").read_text()
    return folder / "seeds"


def _worker(plan: Path, timeout_s: float = 900) -> int | None:
    """The exit code of the process that does what a plan says; None where it does not end in time."""
    command = [sys.executable, "-m", "trust.fuzz_worker", str(plan)]
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return subprocess.run(command, env={**os.environ, **ENVIRONMENT}, timeout=timeout_s, **quiet).returncode
    except subprocess.TimeoutExpired:
        return None


def _results(folder: Path, kept: Path, seeds: Path, tries: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """What came of every try, some in each process; one that a try ends is followed by another from behind it."""
    folder.mkdir(parents=True)
    kept.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    while left := tries[len(found) : len(found) + _IN_A_PROCESS]:
        plan = {"seeds": str(seeds), "folder": str(folder), "kept": str(kept), "tries": left}
        (folder / "plan.json").write_text(json.dumps(plan))
        (folder / "results").write_text("")
        code = _worker(folder / "plan.json")
        rows = [json.loads(line) for line in (folder / "results").read_text().splitlines()]
        done = [row for row in rows if "begin" not in row]
        found += done
        if code == 0:
            assert len(done) == len(left)
            continue
        reader, number = rows[-1]["begin"] if rows else ("the worker", 0)
        trace = (folder / "trace").read_text()[-3000:]
        said = (folder / "said").read_text(errors="replace")[-1500:]
        why = "took too long, or ended the process"
        if code is None or code < 0:
            why = f"ended the process by {signal.Signals(-code).name}" if code else "took too long, with others"
        found.append(
            {"reader": reader, "number": number, "damage": "?", "code": None, "line": said, "fault": f"{why}: {trace}"}
        )
    return found


_IN_A_PROCESS = 500


@needs_collections
def test_no_damaged_file_brings_a_traceback_a_hang_or_a_full_memory(
    tmp_path: Path, place: Path, seeds: Path, campaign: Any
) -> None:
    readers = all_readers(seeds)
    each = -(-campaign.times(20_000, 380) // len(readers))
    tries = [(reader.name, number) for reader in readers for number in range(each)]
    kinds = {reader.name: reader.kind for reader in readers}
    workers = campaign.times(2, 1)
    with ThreadPoolExecutor(workers) as pool:
        parts = [(place / f"fuzz-{at}", tmp_path / "kept", seeds, tries[at::workers]) for at in range(workers)]
        found = [result for some in pool.map(lambda part: _results(*part), parts) for result in some]
    for result in (each for each in found if each["code"] is not None):
        what = "read" if result["code"] in (0, 1) else "refused in a line"
        campaign.count(f"{PROMISE}: {kinds.get(result['reader'], '?')}", what)
    faults = [f"{row['reader']}:{row['number']} ({row['damage']}): {row['fault']}" for row in found if row["fault"]]
    assert not faults, f"{len(faults)} of {len(found)} tries, files in {tmp_path}/kept:\n" + "\n\n".join(faults[:40])
    assert len(found) == len(tries)


# --- bombs --------------------------------------------------------------------------------------

_MOST_MB = 2_000
_BOMB_S = 600
_PIECE = 32 << 20


def _packed(fill: bytes, size: int, ending: str) -> bytes:
    """`size` bytes of `fill`, packed: one member that comes again and again, so that it is made in no time."""
    return fuzz_mutations.pack(fill * (_PIECE // len(fill)), ending) * (size // _PIECE)


_CONVERT = "convert {} -q -o out.parquet"
BOMBS = [
    *[
        (f"bomb.jsonl{ending}", fill, _CONVERT)
        for ending in (".gz", ".zst")
        for fill in (b"\0", b"[", b'{"a":', b"x", b" ")
    ],
    *[(f"bomb.{kind}.gz", fill, _CONVERT) for kind in ("csv", "tsv", "txt") for fill in (b"\0", b"x", b'"')],
    ("bomb.json.gz", b"[" + b"1," * 100, _CONVERT),
    (
        "bomb.run.gz",
        b"x",
        "mine pairs.parquet --corpus corpus.jsonl --retriever run:{} -q -o out.parquet",
    ),
    ("bomb.trec.gz", b"x", "mine pairs.parquet --corpus corpus.jsonl --retriever bm25 --known {} -q -o out.parquet"),
    ("bomb.jsonl.gz", b"\0", "check {} --form flag-embedder -q"),
    ("bomb.json.gz", b"[[", "check {} --form dpr -q"),
    ("bomb.jsonl.gz", b"\0", "ledger import {} --ledger new.sqlite -q"),
]


@needs_collections
def test_what_unpacks_to_ten_gigabytes_is_refused_within_the_memory_bound(
    tmp_path: Path, seeds: Path, campaign: Any
) -> None:
    """The files have about a megabyte to a gigabyte; a line of ten gigabytes is refused where it passes the limit."""
    size = campaign.times(10 << 30, 1 << 30)
    for name, fill, line in BOMBS[:: campaign.times(1, 8)]:
        folder = tmp_path / "bomb"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(seeds / "plain", folder)
        (folder / name).write_bytes(_packed(fill, size, Path(name).suffix))
        code, said, peak = _measured(folder, line.format(name))
        assert code in (1, 2), (name, fill, code, said[-1500:])
        assert len(said.splitlines()) == (code == 2), (name, fill, said)
        assert name in said or code == 1, said
        assert peak < _MOST_MB, (name, fill, peak, said)
        campaign.count(f"{PROMISE}: bombs", f"refused within {_MOST_MB:,} MB of memory")


def _measured(folder: Path, line: str) -> tuple[int, str, int]:
    """The exit code of a command line, what it says, and the most memory that it took, in MB."""
    words = [sys.executable, "-m", "pairmine", *shlex.split(line)]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            words, cwd=folder, env={**os.environ, **ENVIRONMENT}, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        end = time.monotonic() + _BOMB_S
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            if time.monotonic() > end:
                process.kill()
                process.wait()
                pytest.fail(
                    f"{line}: not over after {_BOMB_S} s: {(folder / 'said').read_text(errors='replace')[-1500:]}"
                )
            time.sleep(0.02)
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, (folder / "said").read_text(errors="replace"), usage.ru_maxrss >> 10


# --- values of any kind -------------------------------------------------------------------------

_NAMES = [
    *(
        "id",
        "_id",
        "text",
        "title",
        "query",
        "document",
        "query_id",
        "doc_id",
        "label",
        "grade",
        "origin",
        "rank",
        "weight",
    ),
    *(
        "score_ce",
        "pos",
        "neg",
        "positive",
        "negative",
        "negative_1",
        "batch",
        "source_id",
        "anchor",
        "scores",
        "docs",
        "labels",
    ),
]


def _values() -> st.SearchStrategy[Any]:
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.sampled_from([0, 1, 1.0, "1", "q1", "d1", "rain"]),
        st.floats(),
        st.text(st.characters(codec="utf-8"), max_size=20),
        st.sampled_from(["\ud800", "a\ud83d", ""]),
    )
    return st.recursive(
        scalars,
        lambda inside: (
            st.lists(inside, max_size=4) | st.dictionaries(st.sampled_from(["a", "id", "text", ""]), inside, max_size=3)
        ),
        max_leaves=6,
    )


def _rows() -> st.SearchStrategy[list[Any]]:
    names = st.one_of(st.sampled_from(_NAMES), st.sampled_from(_NAMES), st.text(max_size=5))
    row = st.dictionaries(names, _values(), max_size=7)
    return st.lists(st.one_of(row, row, row, row, _values()), min_size=1, max_size=6)


def _kinds() -> st.SearchStrategy[pa.DataType]:
    plain = st.sampled_from(
        [
            *(
                pa.string(),
                pa.large_string(),
                pa.string_view(),
                pa.binary(),
                pa.null(),
                pa.bool_(),
                pa.int8(),
                pa.int64(),
            ),
            *(
                pa.uint64(),
                pa.float16(),
                pa.float32(),
                pa.float64(),
                pa.date32(),
                pa.timestamp("us"),
                pa.decimal128(9, 2),
            ),
            *(pa.dictionary(pa.int8(), pa.string()), pa.time32("s"), pa.duration("ms"), pa.binary(2)),
        ]
    )
    return st.recursive(
        plain,
        lambda inside: st.one_of(
            inside.map(pa.list_),
            inside.map(pa.large_list),
            inside.map(lambda kind: pa.list_(kind, 2)),
            inside.map(lambda kind: pa.struct([("a", kind), ("id", pa.string())])),
            inside.map(lambda kind: pa.map_(pa.string(), kind)),
        ),
        max_leaves=2,
    )


def _values_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Values of an Arrow type, and nulls."""
    is_kind = pa.types
    if is_kind.is_dictionary(kind):
        return _values_of(kind.value_type)
    if is_kind.is_map(kind):
        return st.none() | st.lists(st.tuples(st.text(max_size=2), _values_of(kind.item_type)), max_size=2)
    if is_kind.is_fixed_size_list(kind):
        return st.none() | st.lists(_values_of(kind.value_type), min_size=kind.list_size, max_size=kind.list_size)
    if is_kind.is_nested(kind) and not is_kind.is_struct(kind):
        return st.none() | st.lists(_values_of(kind.value_type), max_size=3)
    if is_kind.is_struct(kind):
        return st.none() | st.fixed_dictionaries({field.name: _values_of(field.type) for field in kind})
    plain: dict[Any, st.SearchStrategy[Any]] = {
        **dict.fromkeys(
            (pa.string(), pa.large_string(), pa.string_view()), st.sampled_from(["", "a", "rain", "q1", "\0"])
        ),
        **dict.fromkeys((pa.int8(), pa.int64(), pa.uint64()), st.integers(0, 127)),
        **dict.fromkeys(
            (pa.float16(), pa.float32(), pa.float64()), st.sampled_from([0.0, 1.0, -1.5, float("nan"), float("inf")])
        ),
        **{pa.bool_(): st.booleans(), pa.binary(): st.binary(max_size=3), pa.binary(2): st.just(b"xy")},
    }
    return st.none() | plain.get(kind, st.none())


COMMANDS = [
    "convert {} -q -o out.parquet",
    "convert {} --as pairs -q -o out.arrow",
    "convert {} --as queries -q -o out.csv",
    "head {} --json -q",
    "info {} -q",
    "check {} --workers 1 -q",
    "stats {} --workers 1 -q",
    "filter {} --negatives 1 -q -o out.jsonl",
    "dedup {} --exact-only --workers 1 -q -o out.parquet",
    "export {} --to st-ntuple -q -o out.jsonl",
]


_COMMAND_S = 60


class _TookTooLong(BaseException):
    """Nothing of pairmine's that catches exceptions is to catch this one."""


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    """Ends what takes too long where Python runs; where it does not come to that, the whole test's limit does."""

    def end(number: int, frame: object) -> None:
        raise _TookTooLong(f"not over after {_COMMAND_S} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(_COMMAND_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _told_in_a_line(line: str, path: Path) -> str:
    """Run a command line in this process; how it ended: "read" or "refused in a line"."""
    with _in_time():
        done = CliRunner().invoke(app, shlex.split(line.format(path.name)))
    assert done.exception is None or isinstance(done.exception, PairmineError | SystemExit), (
        f"{line}: {path.read_bytes()!r}: {''.join(traceback.format_exception(*done.exc_info))}"
    )
    if isinstance(done.exception, PairmineError):
        assert done.exception.exit_code in (1, 2), f"{line}: {done.exception}"
        return "refused in a line"
    assert done.exit_code in (0, 1), f"{line}: {path.read_bytes()!r}: {done.output}"
    return "read"


def _settings(count: int) -> settings:
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )


def test_rows_of_any_json_are_read_or_refused(tmp_path: Path, campaign: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "rows.jsonl"

    @_settings(campaign.times(800, 40))
    @given(_rows(), st.sampled_from(COMMANDS))
    def check(rows: list[Any], line: str) -> None:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        campaign.count(f"{PROMISE}: JSON of any values", _told_in_a_line(line, path))

    check()


def test_tables_of_any_types_are_read_or_refused(
    tmp_path: Path, campaign: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    @_settings(campaign.times(800, 40))
    @given(st.data(), st.sampled_from(COMMANDS), st.sampled_from(["parquet", "arrow"]))
    def check(data: st.DataObject, line: str, ending: str) -> None:
        names = data.draw(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=5, unique=True))
        count = data.draw(st.integers(0, 4))
        columns = {}
        for name in names:
            kind = data.draw(st.one_of(st.just(pa.string()), _kinds()))
            values = data.draw(st.lists(_values_of(kind), min_size=count, max_size=count))
            columns[name] = pa.array(values, kind)
        path = tmp_path / f"rows.{ending}"
        table = pa.table(columns)
        try:
            pq.write_table(table, path) if ending == "parquet" else pa.feather.write_feather(
                table, path, "uncompressed"
            )
        except pa.ArrowException:
            campaign.count(f"{PROMISE}: tables of any types", "not tried: Arrow does not write such a table")
            return
        campaign.count(f"{PROMISE}: tables of any types", _told_in_a_line(line, path))

    check()


# --- words of the command line ------------------------------------------------------------------

_FILTER = "filter mined.parquet -q -o out.parquet"
_MIX = "mix pairs.parquet -q -o out.parquet"
_GENERATE = "generate queries corpus.jsonl --llm fake: --ledger none.sqlite --dry-run -q -o out.parquet"
WORDS = {
    "mine pairs.parquet --corpus corpus.jsonl --workers 1 -q -o out.parquet --retriever": [
        "bm25",
        "npy:docs.npy,queries.npy",
        "run:run.trec",
        "a=bm25",
    ],
    "mine pairs.parquet --corpus corpus.jsonl --retriever bm25 --workers 1 -q -o out.parquet --ranks": [
        "1:5",
        "31:100",
    ],
    "mine pairs.parquet --corpus corpus.jsonl --retriever bm25 --workers 1 -q -o out.parquet --memory": ["8GB", "100M"],
    f"{_FILTER} --pick": ["simans:a=200,b=0", "mmr:lambda=0.7,pool=50", "softmax:temperature=0.05", "random:pool=10"],
    f"{_FILTER} --candidate-gate": ["bm25:0.1:0.9", "bm25"],
    f"{_FILTER} --max-score": ["bm25:0.3", "0.5"],
    f"{_FILTER} --relative-margin": ["0.05", "bm25:0.05"],
    f"{_FILTER} --anchor": ["min", "0.25"],
    f"{_FILTER} --ranks": ["11:50", ":50"],
    f"{_FILTER} --weight": ["gaussian-decay", "ordinal"],
    f"{_FILTER} --shortage": ["relax+fill", "keep"],
    f"{_FILTER} --action": ["max-score=relabel", "gate-high=drop"],
    f"{_FILTER} --suspects-by": ["bm25,feedback"],
    f"{_MIX} --weight": ["pairs=2", "pairs=0.5"],
    f"{_MIX} --split": ["train=.8,dev=.2", "dev=1,train=rest"],
    f"{_MIX} --split-by": ["group:source_id", "time:rank"],
    "calibrate mined.parquet --workers 1 -q --rule": ["max-score@bm25=0.3,0.5", "ranks=1,2", "none"],
    "calibrate mined.parquet --workers 1 -q --anchor": ["min", "0.5"],
    "convert bare.tsv -q -o out.parquet --columns": ["id,text,...", "id,text,_", "text"],
    "dedup corpus.jsonl --workers 1 -q -o out.parquet --keep": ["best:id", "longest"],
    "dedup corpus.jsonl --workers 1 -q -o out.parquet --memory": ["2GB"],
    "check pairs.parquet --workers 1 -q --max": ["hubs=0.02", "copies=3"],
    f"{_GENERATE} --set": ["count=2", "audience=experts"],
    f"{_GENERATE} --price": ["0.15,0.60"],
    f"{_GENERATE} --request-arg": ['a={"b": true}', "top_k=20"],
    "stats pairs.parquet --workers 1 -q --tokenizer": ["tokenizer", "o200k"],
    "ledger prune --ledger ledger.sqlite --dry-run -q --before": ["2026-01-31", "30d", "12h"],
    "store list --store": ["store", "none"],
}
"""Options with words of a form of their own, and some that are good."""
_ODD_WORDS = [
    "",
    ":",
    "=",
    ",",
    ":::",
    "a=b=c",
    "nan",
    "inf",
    "1e999",
    "-1",
    "0",
    "9" * 400,
    "\u0663",
    "a\nb",
    "--x",
    "*",
    "\ud800",
    "x" * 5000,
]


@needs_collections
def test_odd_words_on_the_command_line_are_refused_in_a_line(
    tmp_path: Path, seeds: Path, campaign: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(seeds / "plain", tmp_path / "plain")
    monkeypatch.chdir(tmp_path / "plain")
    monkeypatch.setenv("PAIRMINE_STORE", "none")
    for number in range(campaign.times(800, 40)):
        draw = random.Random(f"words:{number}")
        start, good = draw.choice(list(WORDS.items()))
        word = draw.choice(good)
        for _ in range(draw.choice((1, 1, 2))):
            at = draw.randrange(len(word) + 1)
            odd = draw.choice([*_ODD_WORDS, *":=,.@-+ 0x"])
            word = draw.choice((word[:at] + odd + word[at:], word[:at] + odd + word[at + 1 :], word[:at], odd))
        monkeypatch.setattr(sys, "argv", ["pairmine", *start.split(), word])
        with _in_time(), pytest.raises(SystemExit) as left:
            main()
        code, said = left.value.code, capsys.readouterr().err
        shown = f"words:{number}: {start} {word[:200]!r}: {code} {said}"
        assert code in (0, 1, 2), shown
        assert code != 2 or (said.startswith("pairmine: ") and said.count("\n") == 1), shown
        campaign.count(f"{PROMISE}: words of the command line", "refused in a line" if code == 2 else "taken")


# --- inputs that reach new code -----------------------------------------------------------------

GUIDED = {
    **{"jsonl": "corpus.jsonl", "csv": "table.csv", "tsv": "table.tsv", "gz": "corpus.jsonl.gz", "pairs": "long.jsonl"},
    **{"parquet": "corpus.parquet", "arrow": "corpus.arrow", "npy": "docs.npy", "lineage": "parts/.pairmine.json"},
    **{"form": "train.jsonl", "qrels": "qrels.trec", "run": "run.trec", "labels": "labels.jsonl", "recipe": "own.yaml"},
    **{"entries": "replies.jsonl", "batch": "batch/results-00001.jsonl"},
}
"""The readers of `fuzz_atheris`, and what each starts from."""


@needs_collections
def test_no_input_that_reaches_new_code_brings_a_traceback(tmp_path: Path, seeds: Path, campaign: Any) -> None:
    if importlib.util.find_spec("atheris") is None:
        line = "atheris is not installed: pip install atheris==3.0.0"
        pytest.fail(line) if campaign.is_whole else pytest.skip(line)
    runs = campaign.times(5_000, 50)
    names = list(GUIDED)[:: campaign.times(1, len(GUIDED))]
    with ThreadPoolExecutor(campaign.times(2, 1)) as pool:
        done = pool.map(lambda name: _guided(name, tmp_path / name, seeds / "plain" / GUIDED[name], runs), names)
    for name, (code, said) in zip(names, done, strict=True):
        assert code == 0, f"{name}, input in {tmp_path / name}: {said[-4000:]}"
        campaign.count(f"{PROMISE}: inputs found by coverage (atheris)", "no traceback", runs)


def _guided(name: str, folder: Path, seed: Path, runs: int) -> tuple[int, str]:
    """How a process ended that fuzzed a reader, from a good file on, and what it said."""
    (folder / "corpus").mkdir(parents=True)
    shutil.copy(seed, folder / "corpus" / "seed")
    limits = ["-seed=11", f"-runs={runs}", "-timeout=60", "-rss_limit_mb=4000", "-max_len=20000"]
    command = [sys.executable, "-m", "trust.fuzz_atheris", name, str(folder), *limits]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **ENVIRONMENT}, capture_output=True, timeout=900)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")
