"""A build of three documents from end to end, to see that the core works."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairmine.cli import voice
from pairmine.cli.doctor.facts import BROKEN, Fact
from pairmine.cli.environment import is_debugging

_TEXTS = {
    "rain": "It rained all day. The river rose by two metres. Nobody was hurt in the village.",
    "snow": "Snow fell on the hills. The roads were closed until noon. Trains ran late that day.",
    "sun": "The sun shone over the bay. Boats left early. Fishermen came home with full nets.",
}
_STEPS = {
    "derive": "derive ict {0}/corpus.jsonl --keep 0 -o {0}/pairs.parquet",
    "mine": "mine {0}/pairs.parquet --corpus {0}/corpus.jsonl --retriever bm25 --no-near -o {0}/mined.parquet",
    "filter": "filter {0}/mined.parquet --negatives 1 --no-relative-margin -o {0}/decided.parquet",
    "export": "export {0}/decided.parquet --to st-ntuple --sidecar none -o {0}/train.parquet",
}
_REMEDY = "pip install --force-reinstall pairmine; else report it with what 'pairmine --debug doctor' shows"

_FULL = "free space where temporary files go, or set TMPDIR to a folder that has some"


def trial() -> Iterator[Fact]:
    """Each step with the time it took; the first that fails ends it."""
    with tempfile.TemporaryDirectory(prefix="pairmine-doctor-") as folder:
        lines = [json.dumps({"id": name, "text": text}) for name, text in _TEXTS.items()]
        Path(folder, "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for name, command in _STEPS.items():
            started = time.monotonic()
            fault = _run([word.format(folder) for word in command.split()])
            seconds = time.monotonic() - started
            if fault:
                remedy = _FULL if os.strerror(errno.ENOSPC).lower() in fault.lower() else _REMEDY
                yield Fact(name, fault.replace(folder, "..."), BROKEN, remedy)
                return
            yield Fact(name, f"works, {seconds:.2f}s")


def _run(words: list[str]) -> str:
    """What went wrong with a command that is run in this process; empty where nothing did."""
    import typer

    from pairmine.cli.main import app

    spoken = voice.is_quiet(), voice.is_verbose()
    try:
        with _plain_environment(), contextlib.redirect_stderr(io.StringIO()):
            command: Any = typer.main.get_command(app)
            command(["--quiet", *words], standalone_mode=False)
        return ""
    except BaseException as error:  # whatever it is, it is what was asked for
        if is_debugging():
            import traceback

            traceback.print_exc()
        return f"{type(error).__name__}: {error}".splitlines()[0][:300]
    finally:
        voice.speak(quiet=spoken[0], verbose=spoken[1])


@contextlib.contextmanager
def _plain_environment() -> Iterator[None]:
    """Without the user's options, which are looked at elsewhere."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PAIRMINE_")}
    for name in kept:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(kept)
