"""What the script of every trainer does: export, hand the file to the trainer's own code, print what it made of it.

It runs in the trainer's environment, which has no pairmine: the command comes as a path.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

STEPS = 5
BATCH = 8
TOKENS = 64
RATE = 1e-4


@dataclass(frozen=True)
class Setting:
    """Where things are: the command, a pair set, a BERT with pooling (MiniLM), and a folder to write into."""

    pairmine: str
    pairs: Path
    model: Path
    work: Path

    def fresh(self, name: str) -> Path:
        """A new empty folder inside `work`, for what a trainer saves."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


@dataclass(frozen=True)
class Seen:
    """What the trainer made of an export: rows that it holds, its columns, and the loss of each step it took."""

    rows: int
    columns: Sequence[str]
    losses: Sequence[float] = field(default=())


@dataclass(frozen=True)
class Trial:
    """An export target and what reads it. `ending` is that of OUT, and empty where OUT is a folder."""

    target: str
    ran: str
    run: Callable[[Path, Setting], Seen]
    options: Sequence[str] = ()
    ending: str = ".parquet"

    @property
    def command(self) -> str:
        """The export as a user writes it."""
        return " ".join(["--to", self.target, *self.options])


def step_arguments(setting: Setting) -> dict[str, Any]:
    """What every trainer that is one of transformers is told: five steps on a CPU, each loss logged."""
    return {
        "output_dir": str(setting.fresh("model")),
        "max_steps": STEPS,
        "per_device_train_batch_size": BATCH,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
    }


def one_batch(rows: Any) -> Any:
    """A batch of rows from all over a `datasets.Dataset`: trained on again and again, its loss has to fall."""
    return rows.select([number * len(rows) // BATCH for number in range(BATCH)])


def logged(history: Sequence[Mapping[str, float]]) -> list[float]:
    """The loss of every step out of the log of a trainer of transformers."""
    return [entry["loss"] for entry in history if "loss" in entry]


def main(trainer: str, package: str, trials: Sequence[Trial]) -> None:
    """Run the trials and print a line of JSON for each; exit code 1 when one of them failed."""
    setting, only = _arguments()
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever trainers print themselves goes to where people look.
    os.dup2(2, 1)
    failed = False
    for number, trial in enumerate(trials):
        if only and trial.target not in only:
            continue
        found = {"trainer": trainer, "version": version(package), "export": trial.command, "ran": trial.ran}
        try:
            found |= _facts(trial.run(_exported(trial, number, setting), setting))
        except Exception as error:
            traceback.print_exc()
            found["error"] = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            failed = True
        print(json.dumps(found, ensure_ascii=False), file=results, flush=True)
    raise SystemExit(int(failed))


def _arguments() -> tuple[Setting, list[str]]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairmine", required=True, help="the command")
    for name in ("pairs", "model", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="targets")
    options = parser.parse_args()
    return Setting(options.pairmine, options.pairs, options.model, options.work), options.only


def _exported(trial: Trial, number: int, setting: Setting) -> Path:
    """The export of a trial; RuntimeError with the line that pairmine says when it refuses."""
    out = setting.fresh(f"{number}-{trial.target}") / f"train{trial.ending}"
    command = [setting.pairmine, "export", setting.pairs, "--to", trial.target, *trial.options, "-o", out, "--quiet"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"export ended with {done.returncode}")
    return out


def _facts(seen: Seen) -> dict[str, object]:
    if not seen.rows:
        raise RuntimeError("the trainer holds no row")
    if any(not math.isfinite(loss) for loss in seen.losses):
        raise RuntimeError(f"losses are {list(seen.losses)}")
    return asdict(seen)


if __name__ == "__main__":
    sys.exit("run run.py; it makes the environments and calls the script of each trainer")
