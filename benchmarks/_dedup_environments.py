"""Environments for the peers of `dedup.py`: one for each, made once and kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

VERSIONS = Path(__file__).with_name("dedup-peers.txt")

PACKAGES: dict[str, tuple[str, ...]] = {
    "datasketch": ("datasketch", "xxhash"),
    "datatrove": ("datatrove[io]", "regex", "spacy", "tokenizers", "xxhash<4"),
    "duckdb": ("duckdb",),
    "gaoya": ("gaoya",),
    "rensa": ("rensa",),
    # Its MinHash uses these of all that it asks for; Spark and ONNX alone would be 600 MB.
    "text-dedup": ("click", "click-option-group", "datasets", "ftfy", "regex", "rich", "scipy", "tqdm", "xxhash"),
}
ALONE = {"text-dedup": "text-dedup"}
"""Packages that are installed without what they ask for."""


def python_of(folder: Path, name: str) -> Path:
    """The Python of the environment `name`, which is made if it is not there; SystemExit says why it cannot be."""
    home = folder / name
    python, made = home / "bin" / "python", home / "made.txt"
    wanted = VERSIONS.read_text() + " ".join(PACKAGES[name])
    if not made.exists() or made.read_text() != wanted:
        print(f"making the environment of {name}", file=sys.stderr)
        _call([sys.executable, "-m", "venv", "--clear", home])
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", VERSIONS]
        if name in ALONE:
            _call([*install, "--no-deps", ALONE[name]])
        _call([*install, "numpy", "pyarrow", *PACKAGES[name]])
        made.write_text(wanted)
    return python


def _call(command: list[str | Path]) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise SystemExit(errors[-1] if errors else f"exit code {done.returncode}")
