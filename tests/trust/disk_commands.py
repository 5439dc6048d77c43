"""Every command that writes, on a little real data, run in this process as a shell runs it."""

from __future__ import annotations

import gc
import gzip
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from trust.disk_faults import FailingDisk

from pairmine.cli import dedup_scale
from pairmine.cli.main import main
from pairmine.cli.ray_run import RayEngine
from pairmine.engines.shards import InProcess

_DATA = Path(__file__).parents[3] / "shared" / "data"
_COLLECTION = _DATA / "cranfield"
_DOCUMENTS = 120
_QUERIES = 40


@dataclass(frozen=True)
class Command:
    """A command line, run in a folder where `in/` has what it reads.

    `outputs` are what it writes, the one that stands for all first. What `keeps` names is there for the next run and
    stays; what `resumes` names may be left by a run that failed, and is gone after one that did not. Of those that
    `differ` from run to run (what a run paid for) only that they are whole is compared.
    """

    name: str
    words: str
    outputs: tuple[str, ...]
    keeps: tuple[str, ...] = ()
    resumes: tuple[str, ...] = ()
    differ: tuple[str, ...] = ()
    is_bounded: bool = False
    stdin: str | None = None


_CARD = "--card card.md --license mit"
COMMANDS = (
    Command(
        "derive",
        "derive crops in/corpus.jsonl --workers 1 --rejects no.jsonl --summary s.json -o out.parquet",
        ("out.parquet", "no.jsonl", "s.json"),
    ),
    Command("convert", "convert in/corpus.jsonl -o out.jsonl.gz", ("out.jsonl.gz",)),
    Command("convert-arrow", "convert in/corpus.jsonl -o out.arrow --summary s.json", ("out.arrow", "s.json")),
    Command("convert-csv", "convert in/corpus.jsonl -o out.csv", ("out.csv",)),
    Command("convert-pipe", "convert - -o out.parquet", ("out.parquet",), stdin="in/corpus.jsonl"),
    Command("convert-apart", "convert in/apart.jsonl --as pairs -o out.parquet", ("out.parquet",)),
    Command(
        "dedup",
        "dedup in/corpus.jsonl --rejects no.parquet --summary s.json -o out.parquet",
        ("out.parquet", "no.parquet", "s.json"),
    ),
    Command(
        "dedup-bounded",
        "dedup in/corpus.jsonl --rejects no.parquet -o out.parquet",
        ("out.parquet", "no.parquet"),
        resumes=(".out.parquet.scratch",),
        is_bounded=True,
    ),
    Command(
        "dedup-index",
        "dedup in/corpus.jsonl --index seen -o out.parquet",
        ("out.parquet",),
        keeps=("seen",),
        resumes=(".out.parquet.scratch",),
        is_bounded=True,
    ),
    Command(
        "generate",
        "generate queries in/corpus.jsonl --llm fake: --limit 25 --ledger kept/ledger.sqlite --rejects no.parquet "
        "--summary s.json -o out.parquet",
        ("out.parquet", "no.parquet", "s.json"),
        keeps=("kept",),
        differ=("s.json",),
    ),
    Command(
        "mine",
        "mine in/pairs.parquet --corpus in/corpus.jsonl --retriever bm25 --retriever fake: --depth 10 --store store "
        "--workers 1 --summary s.json -o out.parquet",
        ("out.parquet", "s.json"),
        keeps=("store",),
        differ=("s.json",),
    ),
    Command(
        "score",
        "score in/mined.parquet --scorer fake: --store store --summary s.json -o out.parquet",
        ("out.parquet", "s.json"),
        keeps=("store",),
        differ=("s.json",),
    ),
    Command(
        "filter",
        "filter in/mined.parquet --negatives 3 --rejects no.parquet --summary s.json -o out.parquet",
        ("out.parquet", "no.parquet", "s.json"),
    ),
    Command(
        "mix",
        "mix in/pairs.parquet other=in/derived.parquet --batches source --batch-size 8 --summary s.json -o out.parquet",
        ("out.parquet", "s.json"),
    ),
    Command(
        "mix-split",
        "mix in/pairs.parquet --split train=.6,dev=.2,test=.2 -o out.{split}.parquet",
        ("out.train.parquet", "out.dev.parquet", "out.test.parquet"),
    ),
    Command(
        "export",
        f"export in/filtered.parquet --to st-ntuple {_CARD} --rejects no.parquet -o out.parquet",
        ("out.parquet", "out.parquet.ids.parquet", "card.md", "no.parquet"),
    ),
    Command("export-array", "export in/filtered.parquet --to dpr -o out.json", ("out.json", "out.json.ids.parquet")),
    Command(
        "export-folder",
        "export in/filtered.parquet --to colbert-triples --rejects no.parquet -o out",
        ("out", "no.parquet"),
    ),
    Command(
        "export-shards",
        "export in/filtered.parquet --to contrastors --card none --summary s.json -o out",
        ("out", "s.json"),
    ),
    Command(
        "embed",
        "embed in/corpus.jsonl --encoder fake: --store store -o out.parquet",
        ("out.parquet",),
        keeps=("store",),
    ),
    Command(
        "embed-npy",
        "embed in/corpus.jsonl --encoder fake: --store none -o out.npy",
        ("out.npy", "out.ids.txt"),
    ),
    Command(
        "check-fix",
        "check in/flawed.jsonl --fix --junit test.xml --rejects no.parquet -o out.parquet",
        ("out.parquet", "no.parquet", "test.xml"),
    ),
    Command(
        "calibrate",
        "calibrate in/mined.parquet --json found.json --plot curves.svg",
        ("found.json", "curves.svg"),
    ),
    Command("report", "report in/filtered.parquet --stage in/mined.parquet -o out.html", ("out.html",)),
    Command("ledger-export", "ledger export out.jsonl --ledger in/ledger.sqlite", ("out.jsonl",)),
    Command(
        "ray-derive",
        "derive crops in/corpus.jsonl --engine ray --shard-rows 40 --rejects no.parquet -o out.parquet",
        ("out.parquet", "no.parquet"),
        resumes=(".out.parquet.ray",),
    ),
    Command(
        "ray-folder",
        "filter in/mined.parquet --negatives 3 --engine ray --shard-rows 150 -o out",
        ("out",),
        resumes=(".out.ray",),
    ),
    Command(
        "ray-generate",
        "generate queries in/corpus.jsonl --llm fake: --limit 25 --engine ray --shard-rows 10 "
        "--ledger kept/ledger.sqlite -o out.parquet",
        ("out.parquet",),
        keeps=("kept",),
        resumes=(".out.parquet.ray",),
    ),
)
BY_NAME = {command.name: command for command in COMMANDS}


@dataclass(frozen=True)
class Said:
    """What a command came to: its exit code, its lines on stderr, and what it printed."""

    code: int
    lines: list[str]
    out: str

    @property
    def shown(self) -> str:
        """The same, for the message of a failed test."""
        return f"exit {self.code}: " + "\n".join(self.lines)


def run(command: Command, folder: Path, *, more: str = "") -> Said:
    """Run it in `folder`, with its errors alone on stderr and its temporary files in `tmp` there."""
    return run_words([*command.words.split(), *more.split(), "-q"], folder, command)


def run_words(words: Sequence[str], folder: Path, command: Command | None = None) -> Said:
    """Run these words as `pairmine` does, in this process."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    before = sys.argv, sys.stdout, sys.stderr, sys.stdin, os.getcwd(), tempfile.tempdir
    (folder / "tmp").mkdir(exist_ok=True)
    with _settled(command), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "tmp"))
        patch.delenv("PAIRMINE_DEBUG", raising=False)
        os.chdir(folder)
        tempfile.tempdir = None
        sys.argv, sys.stdout, sys.stderr = ["pairmine", *words], out, err
        if command is not None and command.stdin is not None:
            sys.stdin = io.TextIOWrapper(io.BytesIO((folder / command.stdin).read_bytes()))
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        finally:
            sys.argv, sys.stdout, sys.stderr, sys.stdin = before[:4]
            os.chdir(before[4])
            tempfile.tempdir = before[5]
    return Said(code, err.getvalue().splitlines(), out.buffer.getvalue().decode())  # type: ignore[attr-defined]


@contextmanager
def _settled(command: Command | None) -> Iterator[None]:
    """A cluster in this process, and a corpus that fits into memory unless the command is to do without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RayEngine, "cluster", property(lambda engine: InProcess()))
        if command is not None and command.is_bounded:
            patch.setattr(dedup_scale, "read_within", lambda source, room, each=None: None)
            patch.setattr(dedup_scale, "BLOCK_ROWS", 40)
            patch.setattr(dedup_scale, "_SHARES", 100_000)
        yield


class Bench:
    """The inputs, and what each command makes of them when nothing disturbs it."""

    def __init__(self, folder: Path) -> None:
        if not _COLLECTION.is_dir():
            pytest.skip(f"no {_COLLECTION}: the real collection that the campaign works on is not here")
        self.folder = folder
        self.inputs = folder / "in"
        self.inputs.mkdir()
        self._whole: dict[str, dict[str, Any]] = {}
        self._operations: dict[str, list[str]] = {}
        self._placed: dict[str, int] = {}
        self._make_inputs()

    def _make_inputs(self) -> None:
        with gzip.open(_COLLECTION / "corpus.jsonl.gz", "rt") as lines:
            rows = [json.loads(line) for line, _ in zip(lines, range(_DOCUMENTS), strict=False)]
        rows += [{**row, "_id": f"again-{row['_id']}"} for row in rows[:20]]
        self._put("corpus.jsonl", rows)
        steps = [
            "derive title in/corpus.jsonl -o in/pairs.parquet",
            "derive crops in/corpus.jsonl -o in/derived.parquet",
            "mine in/pairs.parquet --corpus in/corpus.jsonl --retriever bm25 --depth 10 -o in/mined.parquet",
            "filter in/mined.parquet --negatives 2 -o in/filtered.parquet",
            "generate queries in/corpus.jsonl --llm fake: --limit 30 --ledger in/ledger.sqlite -o in/written.parquet",
            "convert in/filtered.parquet --as pairs -o in/filtered.jsonl",
        ]
        for words in steps:
            said = run_words([*words.split(), "-q"], self.folder)
            assert said.code == 0, f"{words}: {said.shown}"
        pairs = [json.loads(line) for line in (self.inputs / "filtered.jsonl").read_text().splitlines()]
        self._put("flawed.jsonl", [pair for pair in pairs for _ in range(1 + (pair["label"] == 0))])
        texts = [{"anchor": pair["query"], "positive": pair["document"]} for pair in pairs if pair["label"] == 1]
        self._put("apart.jsonl", [*texts[::2], *texts[::3]])

    def _put(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (self.inputs / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def fresh(self, place: Path, command: Command) -> Path:
        """`place` empty but for the inputs and, where the outputs will be, older ones."""
        clear(place)
        (place / "tmp").mkdir()
        (place / "in").symlink_to(self.inputs, target_is_directory=True)
        for name in command.outputs:
            old = self._old_folder(command) if "." not in name else None
            if old is not None:
                shutil.copytree(old, place / name)
            else:
                (place / name).write_text("an older output\n")
        return place

    def _old_folder(self, command: Command) -> Path:
        """What an earlier run of the command wrote: nothing else is ever replaced by a folder."""
        place = self.folder / f"old-{command.name}"
        if not place.exists():
            place.mkdir()
            (place / "in").symlink_to(self.inputs, target_is_directory=True)
            said = run(command, place, more="--seed 7" if command.name == "ray-folder" else "")
            assert said.code == 0, said.shown
            mark = place / "out" / ".pairmine.json"
            mark.write_text(mark.read_text() + "\n")  # as good as another one
        return place / "out"

    def whole(self, command: Command) -> dict[str, Any]:
        """The outputs of an undisturbed run."""
        if command.name not in self._whole:
            for _ in range(2):  # the first run in a process does more: it looks for places, and prepares kernels
                place = self.fresh(self.folder / "try", command)  # a format may name the folder in which OUT lies
                with FailingDisk(place) as disk:
                    said = run(command, place)
                assert said.code == 0, said.shown
            assert left_over(place, command) == [], command.name
            self._whole[command.name] = state(place, command.outputs)
            self._operations[command.name] = disk.seen
            self._placed[command.name] = 1 + disk.seen.index("rename", _first_of_outputs(disk, command))
            shutil.rmtree(place)
            # What was imported stays: each look for files that somebody still holds would go through it all.
            gc.collect()
            gc.freeze()
        return self._whole[command.name]

    def steps_before_any_is_placed(self, command: Command) -> int:
        """How much of that comes before the first output has its place."""
        self.whole(command)
        return self._placed[command.name]

    def operations(self, command: Command) -> list[str]:
        """What an undisturbed run does to the disk, step by step."""
        self.whole(command)
        return self._operations[command.name]


def _first_of_outputs(disk: FailingDisk, command: Command) -> int:
    """Where in what was done the first output was about to be renamed."""
    starts = [f".{name}." for name in command.outputs]
    renames = (at for at, each in enumerate(disk.seen) if each == "rename")
    return next(
        at for at in renames if Path(disk.places[at]).name.startswith(tuple(starts)) or "/parts/" in disk.places[at]
    )


def clear(place: Path) -> None:
    """Make `place` an empty folder; it may be where a disk is mounted.

    A file that an earlier run was stopped in and that has no name any more takes its room until Python lets go of it.
    """
    gc.collect()
    place.mkdir(parents=True, exist_ok=True)
    for each in place.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def state(place: Path, names: Sequence[str]) -> dict[str, Any]:
    """The bytes of each of these files, of a folder those of all files in it, None of what is not there."""
    return {name: _bytes_of(place / name) for name in names}


def _bytes_of(path: Path) -> Any:
    if path.is_dir():
        return {str(each.relative_to(path)): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()}
    return path.read_bytes() if path.exists() else None


def left_over(place: Path, command: Command) -> list[str]:
    """What lies in `place` that no output, no input and nothing to be kept accounts for."""
    gc.collect()
    known = {"in", "tmp", "ballast", *command.outputs, *command.keeps}
    found = [each.name for each in place.iterdir() if each.name not in known]
    found += [f"tmp/{each.name}" for each in (place / "tmp").iterdir()] if (place / "tmp").is_dir() else []
    for name in command.keeps:
        found += [str(each.relative_to(place)) for each in (place / name).rglob("*.partial")]
    return sorted(found)
