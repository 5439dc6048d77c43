"""The command blocks of a page: found, run in their order, and held against what the page shows.

A block ```console has commands after `$ ` and what they print, on stdout and stderr together. A line `...` stands
for lines left out. `<!-- not run: why -->` before a block exempts it; `<!-- setup` ... `-->` holds lines of shell
that are run first and shown to nobody. All blocks of a page run in one shell and one fresh folder, offline.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = "..."
_MARK = "\x1e"
_FENCE = re.compile(r"^```(\w*)\s*$")
_EXEMPT = re.compile(r"^<!-- not run: (.+) -->$")
_SETUP = re.compile(r"^<!-- setup\n(.*?)^-->$", flags=re.M | re.S)
_PROGRESS = re.compile(r"^pairmine [\w -]+: ([\d,]+( of [\d,]+)? .* in (\d+h)?(\d+m)?\d+s\b|.+, (\d+h)?(\d+m)?\d+s$)")
_OF_THE_USER = ("PAIRMINE_", "OPENAI_", "HF_", "NO_COLOR", "FORCE_COLOR", "PYTHON", "MAKE")


class PageError(Exception):
    """A page cannot be run: a block is never closed, or its setup fails."""


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its opening fence, from 1, and `exempt` why it is not run."""

    line: int
    language: str
    lines: tuple[str, ...]
    exempt: str | None


@dataclass(frozen=True)
class Step:
    """A command as written, what the page shows of its output, and in which lines (from 0) that stands."""

    command: str
    shown: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Ran:
    """What a step printed when it ran, and its exit status."""

    step: Step
    printed: tuple[str, ...]
    status: int

    @property
    def agrees(self) -> bool:
        """Whether the page tells the truth; a command that fails without a word never agrees."""
        return matches(self.step.shown, self.printed) and (self.status == 0 or bool(self.printed))

    @property
    def broke(self) -> bool:
        """Whether a page must not show this: a traceback is our bug."""
        return any(line.startswith("Traceback (most recent call last)") for line in self.printed)


def blocks(text: str) -> list[Block]:
    """Every fenced block of a page, in their order."""
    found = []
    lines = text.splitlines()
    number, exempt = 0, None
    while number < len(lines):
        if opening := _FENCE.match(lines[number]):
            end = next((n for n in range(number + 1, len(lines)) if lines[n].rstrip() == "```"), None)
            if end is None:
                raise PageError(f"line {number + 1}: this block is never closed")
            found.append(Block(number + 1, opening[1], tuple(lines[number + 1 : end]), exempt))
            number, exempt = end, None
        elif reason := _EXEMPT.match(lines[number]):
            exempt = reason[1]
        elif lines[number].strip():
            exempt = None
        number += 1
    return found


def setup(text: str) -> str:
    """The lines of shell that come before the first block; none is ""."""
    return "".join(_SETUP.findall(text))


def steps(block: Block) -> Iterator[Step]:
    """The commands of a ```console block, each with what is shown below it."""
    number = 0
    while number < len(block.lines):
        if not block.lines[number].startswith("$ "):
            raise PageError(f"line {block.line + 1 + number}: a console block begins with '$ ' and a command")
        start = _end_of_command(block.lines, number)
        end = next((n for n in range(start, len(block.lines)) if block.lines[n].startswith("$ ")), len(block.lines))
        command = "\n".join(block.lines[number:start])[2:]
        yield Step(command, _trimmed(block.lines[start:end]), block.line + start, block.line + end)
        number = end


def _end_of_command(lines: Sequence[str], number: int) -> int:
    """The line after the command that begins at `number`: past continuations, and past a here-document."""
    here = None
    while True:
        line = lines[number]
        if here is None and (opened := re.search(r"<<-?\s*['\"]?(\w+)", line)):
            here = opened[1]
        elif line == here:
            return number + 1
        number += 1
        if number >= len(lines) or (here is None and not line.rstrip().endswith(("\\", "|", "&&"))):
            return number


def _trimmed(lines: Sequence[str]) -> tuple[str, ...]:
    """The lines without blanks at their ends, and without blank lines after the last one."""
    return tuple("\n".join(line.rstrip() for line in lines).rstrip("\n").split("\n")) if any(lines) else ()


def matches(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether these lines are the printed ones, any number of which may be left out where `...` stands."""
    pattern = "".join(r"(?:.*\n)*?" if line == LEFT_OUT else re.escape(line) + r"\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def elided(shown: Sequence[str], printed: Sequence[str]) -> tuple[str, ...]:
    """What was printed, with `...` where the page had it, as far as the lines around it are found, numbers aside."""
    kept = list(printed)
    for place, line in enumerate(shown):
        if line != LEFT_OUT:
            continue
        begin = 0 if place == 0 else _find(shown[place - 1], kept) + 1
        end = len(kept) if place + 1 == len(shown) else _find(shown[place + 1], kept, begin)
        if end > begin and (place == 0 or begin > 0):
            kept[begin:end] = [LEFT_OUT]
    return tuple(kept)


def _find(line: str, lines: Sequence[str], begin: int = 0) -> int:
    """Where such a line is among the others, whatever its numbers and blanks; -1 where it is not."""
    return next((n for n in range(begin, len(lines)) if masked(lines[n]) == masked(line)), -1)


def masked(line: str) -> str:
    """A line with its numbers and blanks made alike."""
    return re.sub(r"\s+", " ", re.sub(r"-?[\d,.]*\d", "0", line)).strip()


def environment() -> dict[str, str]:
    """What commands of a page see of the environment: the programs beside this Python, no key, no network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_USER)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    fixed = {"HF_HUB_OFFLINE": "1", "COLUMNS": "100", "LC_ALL": "C.UTF-8", "TERM": "dumb", "OMP_NUM_THREADS": "1"}
    return {**kept, **fixed, "PATH": path, "OMP_WAIT_POLICY": "PASSIVE"}


def run_page(text: str, *, timeout_s: float = 600) -> list[Ran]:
    """Run the blocks of a page in a folder that is gone afterwards; exempt ones are left out."""
    to_run = [block for block in blocks(text) if block.language == "console" and not block.exempt]
    wanted = [step for block in to_run for step in steps(block)]
    if not wanted:
        return []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "work")
        shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("build", "__pycache__"))
        return run_steps(wanted, folder, before=setup(text), env=environment(), timeout_s=timeout_s)


def run_steps(
    wanted: Sequence[Step], folder: Path, *, before: str = "", env: dict[str, str], timeout_s: float
) -> list[Ran]:
    """Run the commands in one shell, where the next one finds what the last one left behind."""
    mark = f"printf '{_MARK}%d\\n' $?\n"
    script = f"exec 2>&1\nset -e\n{before}\nset +e\n{mark}" + "".join(f"{step.command}\n{mark}" for step in wanted)
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        text=True, timeout=timeout_s, errors="replace",
    )  # fmt: skip
    parts = re.split(rf"{_MARK}(\d+)\n", done.stdout)
    if len(parts) != 2 * len(wanted) + 3:
        raise PageError(f"the shell ended early, with status {done.returncode}:\n{parts[-1]}")
    return [
        Ran(step, _without_progress(output), int(status))
        for step, output, status in zip(wanted, parts[2::2], parts[3::2], strict=False)
    ]


def _without_progress(output: str) -> tuple[str, ...]:
    """Its lines without those that only a slow machine shows, every ten seconds."""
    return _trimmed([line for line in output.split("\n") if not _PROGRESS.match(line)])


def difference(page: str, ran: Ran) -> str:
    """What the page shows beside what was printed, as a diff that begins with the command."""
    where = f"{page}:{ran.step.start + 1}"
    lines = difflib.unified_diff(ran.step.shown, ran.printed, f"{where} (shown)", "printed now", lineterm="")
    body = "\n".join(lines) or "(nothing was printed)"
    return f"{where}: $ {ran.step.command}\n(exit status {ran.status})\n{body}\n"


def rewritten(text: str, results: Sequence[Ran]) -> str:
    """The page with what was printed in the place of what it showed; what agrees stays as it is, and what broke."""
    lines = text.splitlines()
    for ran in reversed(results):
        if not ran.agrees and not ran.broke:
            more = [""] if ran.step.end < len(lines) and lines[ran.step.end].startswith("$ ") and ran.printed else []
            gap = more if ran.step.end > 0 and lines[ran.step.end - 1] == "" else []
            lines[ran.step.start : ran.step.end] = [*elided(ran.step.shown, ran.printed), *gap]
    return "\n".join(lines) + "\n"
