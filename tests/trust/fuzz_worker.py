"""A process that tries damaged files, one after another, each in a folder of its own, and says what came of each.

    python -m trust.fuzz_worker PLAN.json

A try that lasts too long ends the process with the stacks of its threads; what it takes of memory is bounded. Whoever
started the process goes on behind the try that ended it, and knows by the last line of the results which one that was.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import random
import re
import resource
import shutil
import sys
import traceback
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from trust import fuzz_mutations as m
from trust.fuzz_readers import Reader, all_readers, make_seeds, seed_folder

from pairmine.visible import visible

LIMIT_S = 60
MOST_BYTES = 3 << 30
MOST_GROWTH = 1 << 30
_ODD_NAMES = (
    "a\nb",
    "ü\u202e\u2028é",
    "x" * 200,
    "caf\udce9",
    " lead",
    "a;rm -rf $HOME",
    "%s%n{0}",
    "[1]*?",
    "\x1b[31m",
)
_DO = (
    "add|check|choose|close|convert|decompress|drop|embed|empty|export|fetch|free|give|indent|install|keep|leave|look|make|mend"
    "|mine|move|name|pass|pipe|put|read|remove|rename|run|save|set|take|upgrade|use|write"
)
"""What a line tells its reader to do, at the front of a clause."""
_SENTENCES = (
    r"did you mean \S|did the command (?:before the pipe|that wrote it) fail\?|(?:its|the) first line must name "
    r"|it wants the columns |one for each is wanted"
    r"|a text (?:with a colon in it|that begins with \S+ or \S+) needs |known: |these can: "
    r"|--[a-z-]+ takes |'pairmine [a-z-]+[^']*' (?:shows|reads|lists) "
)
"""Sentences that say so without telling it."""
_REMEDY = re.compile(rf"[;:] (?:[^;]*?(?:, (?:so |or |and )?|: |\b(?:or|and) ))?(?:{_DO})\b(?!:)|; (?:{_SENTENCES})")
_PLAIN = re.compile(r"[^;]*: (?:no such file|too many levels of symbolic links|file name too long)")
"""What the system says of a name, and needs no more."""
_IN_ROWS = re.compile(r"\.(?:jsonl|csv|tsv|txt|trec)(?:\.gz|\.zst)?$")
_ROW = re.compile(r":\d+\b|\b(?:row|line|lines|element) \d")
_OF_THE_FILE = re.compile(
    r"is empty|no rows in it|no lines in it|holds \S+ data|holds text that is not compressed|cannot be read as "
    r"|(?:gzip|zstd) file is truncated|none of 0 |no column for |the ending says no format|the first of them "
    r"|no pairs come out|which must stand side by side|requests? (?:is|are) in |ids for \d|have no vector|no such file"
    r"|no input is left|first line must name|no labels yet|of its \d+ mined rows"
)
"""What is said of all rows, or of none."""
_RENAMED = " under another name"
_GAVE_UP = re.compile(r"mend that and run the same command again$|out of memory")
_OF_THE_DISK = ("full", "nobody")
"""What the system says of these it says of a disk that is broken."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u2028\u2029]")


@dataclass
class Result:
    """What came of a try: `fault` says what is wrong with it, "" where all is well."""

    reader: str
    number: int
    damage: str
    code: int | None = None
    line: str = ""
    fault: str = ""


class Bench:
    """Runs command lines in this process, with what they print in a file."""

    def __init__(self, folder: Path) -> None:
        self.trace = (folder / "trace").open("w")
        self._said = os.open(folder / "said", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC)
        self._shown = os.open(folder / "shown", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC)
        os.dup2(self._said, 2)
        os.dup2(self._shown, 1)

    def run(self, words: list[str], stdin: Path | None = None) -> tuple[int | None, str, str]:
        """The exit code (None for an exception), what was said on stderr, and the traceback."""
        from pairmine.cli.main import main

        sys.argv = ["pairmine", *words]
        _taken(self._said)  # what numpy warned of while the damage was made
        before = sys.stdin
        trace = ""
        code: int | None = None
        try:
            if stdin is not None:
                descriptor = os.open(stdin, os.O_RDONLY | os.O_NONBLOCK)
                sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(descriptor)))
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        except BaseException:
            trace = traceback.format_exc()
        finally:
            if sys.stdin is not before:
                sys.stdin.close()
            sys.stdin = before
            sys.stdout.flush()
            sys.stderr.flush()
        said = _taken(self._said).decode("utf-8", "replace")
        _taken(self._shown)
        return code, said, trace


def _taken(descriptor: int) -> bytes:
    found = os.pread(descriptor, 1 << 20, 0)
    os.ftruncate(descriptor, 0)
    return found


def try_one(bench: Bench, reader: Reader, number: int, good: Path, work: Path) -> Result:
    """Damage a copy of the good files in `work`, run the reader's command there, and judge what it does."""
    draw = random.Random(f"{reader.name}:{number}")
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(good, work, copy_function=_linked)
    os.chdir(work)
    words, stdin = reader.words, reader.stdin
    pattern = draw.choice(reader.damaged)
    target = draw.choice(sorted(work.glob(pattern))) if "*" in pattern else work / pattern
    damage = _damage(target, reader, draw)
    if stdin is None and draw.random() < 0.05:
        words, target = _renamed(words, pattern, target, draw)
        damage += _RENAMED
    before = _names(work)
    result = Result(reader.name, number, damage)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if stdin is not None and not target.is_file():
        return result  # what no shell can put there
    _bound_memory()
    faulthandler.dump_traceback_later(LIMIT_S, exit=True, file=bench.trace)
    result.code, said, trace = bench.run(words, target if stdin is not None else None)
    faulthandler.cancel_dump_traceback_later()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown) << 10
    result.line = said.strip("\n")[:1500]
    left = [each for each in _names(work) - before if not each.startswith(reader.keeps or "\0")]
    left = [each for each in left if not each.endswith(("-shm", "-wal"))]
    places = _places(reader, target, words, work)
    in_rows = bool(_IN_ROWS.search(target.name)) and damage.removesuffix(_RENAMED) not in m.PLACES
    result.fault = fault_of(result.code, said, trace, places, in_rows=in_rows, may_give_up=damage in _OF_THE_DISK)
    if not result.fault and result.code in (2, 3) and left:
        result.fault = f"left behind: {left}"
    if not result.fault and grown > MOST_GROWTH:
        result.fault = f"took {grown >> 20} MB"
    return result


def _linked(source: str, target: str) -> None:
    """A link to a good file, and a copy of one that is written to where it stands."""
    (shutil.copy if source.endswith(".sqlite") else os.link)(source, target)


def _damage(target: Path, reader: Reader, draw: random.Random) -> str:
    """Damage a file, or put something else in its place; what was done."""
    if draw.random() < 0.06:
        what = draw.choice(m.PLACES)
        m.put_in_place(target, what, draw)
        return what
    data = target.read_bytes()
    target.unlink()
    names = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        change = draw.choice(list(reader.changes))
        if not data:
            break
        try:
            changed = change(data, draw)
        except Exception as error:  # what was damaged before cannot be read by a way that reads it
            names.append(f"{change.__name__} failed: {type(error).__name__}")
            changed = draw.choice(m.BYTES)(data, draw)
        data = changed
        names.append(change.__name__)
    target.write_bytes(data)
    return ", ".join(names)


def _renamed(words: list[str], pattern: str, target: Path, draw: random.Random) -> tuple[list[str], Path]:
    if pattern not in words:
        return words, target
    odd = draw.choice(_ODD_NAMES) + "".join(target.suffixes)
    new = str(Path(pattern).with_name(odd))
    target.rename(target.with_name(odd))
    return [new if word == pattern else word for word in words], target.with_name(odd)


def _names(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*")}


def _places(reader: Reader, target: Path, words: list[str], work: Path) -> list[str]:
    """What a line may name as the place: a file of the command line, the damaged one's folder, the option of either."""
    inside = target.relative_to(work)
    found = [inside.name, *(str(each) for each in inside.parents if each.name)]
    for before, word in pairwise(words):
        files = [
            each for each in re.split("[,:]", word) if each in (inside.name, str(inside)) or (work / each).exists()
        ]
        if files and not word.startswith("-"):
            found += files
            found += [before] if before.startswith("--") else []
    return [*found, *map(visible, found), *(["standard input"] if reader.stdin else [])]


def fault_of(
    code: int | None, said: str, trace: str, places: list[str], *, in_rows: bool = False, may_give_up: bool = False
) -> str:
    """What is wrong with how a command ended; "" where nothing is.

    `places` are words that may stand for the damaged file. `in_rows` is true where a file of rows is damaged in them,
    so that the line has to say in which one.
    """
    if code is None:
        return f"a traceback: {trace}"
    if "Traceback (most recent call last)" in said or "Exception ignored" in said:
        return f"a traceback: {said}"
    if code not in (0, 1, 2, 3):
        return f"exit code {code}"
    if code in (0, 1):
        return ""
    lines = said.splitlines()
    if len(said.strip("\n").split("\n")) != 1 or not said.startswith("pairmine: "):
        return f"{len(lines)} lines: {said!r}"
    if _CONTROL.search(said.strip("\n")):
        return f"control characters in the line: {said!r}"
    if len(said) > 4000:
        return f"a line of {len(said)} characters: {said[:300]!r}"
    line = said.strip("\n").removeprefix("pairmine: ")
    if not any(_names_place(line, place) for place in places if place):
        return f"no place in the line: {said!r}"
    if not _REMEDY.search(line) and not _PLAIN.match(line):
        return f"no remedy in the line: {said!r}"
    if in_rows and code == 2 and not _ROW.search(line) and not _OF_THE_FILE.search(line):
        return f"no row in the line: {said!r}"
    if code == 3 and not may_give_up and _GAVE_UP.search(said.strip()):
        return f"given up where the input is bad: {said!r}"
    return ""


def _names_place(line: str, place: str) -> bool:
    """Whether `place` stands in what comes before the remedy, as a word of its own."""
    told = line.partition("; ")[0]
    return re.search(rf"(?:^|[\s/(\"',:]){re.escape(place)}(?:$|[\s:/,)\"'])", told) is not None


def _bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES, hard))


def make(seeds: Path, data: Path, folder: Path) -> None:
    """Write the good files of every reader, by commands of this process."""
    bench = Bench(folder)

    def run(inside: Path, line: str, *wanted: int, stdin: Path | None = None) -> None:
        os.chdir(inside)
        code, said, trace = bench.run(line.split(), stdin)
        if code not in (wanted or (0,)):
            (folder / "failed").write_text(f"{line}: {code} {said}{trace}")
            sys.exit(1)

    make_seeds(seeds, data, run)
    # A command that refuses even good files would try nothing. (1: contrastors' files name the folder they were in.)
    for reader in all_readers(seeds):
        work = folder / "good"
        shutil.copytree(seed_folder(seeds, reader), work, copy_function=_linked)
        run(work, reader.argv, 0, 1, stdin=work / reader.stdin if reader.stdin else None)
        shutil.rmtree(work)
    os.chdir("/")


def main(plan: Path) -> None:
    """Try what the plan says; a line of results for each."""
    said = json.loads(plan.read_text())
    if "data" in said:
        make(Path(said["seeds"]), Path(said["data"]), Path(said["folder"]))
        return
    readers = {reader.name: reader for reader in all_readers(Path(said["seeds"]))}
    folder = Path(said["folder"])
    bench = Bench(folder)
    faulthandler.enable(bench.trace)
    results = (folder / "results").open("a")
    for name, number in said["tries"]:
        results.write(json.dumps({"begin": [name, number]}) + "\n")
        results.flush()
        reader = readers[name]
        result = try_one(bench, reader, number, seed_folder(Path(said["seeds"]), reader), folder / "try")
        if result.fault:
            kept = Path(said["kept"]) / f"{name}-{number}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder / "try", kept, symlinks=True, ignore=_no_files)
        results.write(json.dumps(asdict(result)) + "\n")
        results.flush()
    os.chdir("/")


def _no_files(folder: str, names: list[str]) -> set[str]:
    """What cannot be copied: pipes, sockets and links to devices."""
    return {
        name
        for name in names
        if not (Path(folder, name).is_file() or Path(folder, name).is_dir()) or Path(folder, name).is_symlink()
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
