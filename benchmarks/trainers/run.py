"""Every export target, read by the trainer it is for: releases as installed, each in an environment of its own.

    python benchmarks/trainers/run.py --work FOLDER                              # all of them, some 20 GB of packages
    python benchmarks/trainers/run.py --work FOLDER --only pylate beir           # these, others as they were
    python benchmarks/trainers/run.py --work FOLDER --write docs/trainers.md     # and the matrix into that page

A trainer is `requirements/NAME.txt`, its releases, and `try_NAME.py`, which exports, hands the files to the trainer's
own code and prints what came of it. Where `requirements/NAME.alone.txt` stands beside, those packages are installed
without what they ask for. Pairs are drawn from --pairs, a decided pair set with `score_dense`, such as the one that
`make quickstart` builds. Environments and results are kept in the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BEGIN, END = "<!-- made by `make trainers`: begin -->", "<!-- end -->"
NAMES = sorted(path.stem for path in (HERE / "requirements").glob("*.txt") if not path.stem.endswith(".alone"))
Result = Mapping[str, Any]


def main() -> None:
    """Try the trainers, keep what each said, and print or write the matrix."""
    options = _options()
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    for name in options.only or NAMES:
        results = _tried(name, work, options)
        (work / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in results), "utf-8")
    kept = [_read(work / f"{name}.jsonl") for name in NAMES if (work / f"{name}.jsonl").exists()]
    matrix = _table([result for results in kept for result in results])
    if options.write:
        _write(options.write, matrix)
    print(matrix)
    if any("error" in result for results in kept for result in results):
        raise SystemExit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="environments, exports and results go there")
    parser.add_argument(
        "--pairs", type=Path, default=HERE.parents[1] / "examples" / "quickstart" / "build" / "pairs.parquet"
    )
    parser.add_argument("--pairmine", default=str(Path(sys.executable).with_name("pairmine")), help="the command")
    parser.add_argument("--queries", type=int, default=400, help="how many to draw from the pairs")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=[])
    parser.add_argument("--write", type=Path, help="a page with a place for the matrix")
    return parser.parse_args()


def _tried(name: str, work: Path, options: argparse.Namespace) -> list[Result]:
    """A result for each trial of a trainer; one with the error alone when its environment cannot be made."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    try:
        python = _environment(name, work)
    except RuntimeError as error:
        return [{"trainer": name, "version": "", "export": "", "ran": "installation", "error": str(error)}]
    command = [python, HERE / f"try_{name.replace('-', '_')}.py", "--pairmine", options.pairmine]
    command += ["--pairs", _drawn(work, options), "--model", _model(), "--work", work / "files" / name]
    said = work / f"{name}.out"
    with said.open("w") as out, (work / f"{name}.log").open("w") as log:
        subprocess.run(_words(command), stdout=out, stderr=log, env=_quiet(work))
    # Some libraries print on import.
    results = [
        json.loads(line)
        for line in said.read_text("utf-8").replace(f"{work}/", "").splitlines()
        if line.startswith("{")
    ]
    if not results:
        last = (work / f"{name}.log").read_text("utf-8", "replace").strip().splitlines()[-1:]
        return [{"trainer": name, "version": "", "export": "", "ran": "import", "error": "".join(last)}]
    return results


def _environment(name: str, work: Path) -> Path:
    """The Python of a trainer's environment, made anew when what it shall hold has changed."""
    home = work / "environments" / name
    python, made = home / "bin" / "python", home / "made.txt"
    files = [
        path for path in (HERE / "requirements" / f"{name}{end}" for end in (".txt", ".alone.txt")) if path.exists()
    ]
    wanted = "".join(path.read_text("utf-8") for path in files)
    if made.exists() and made.read_text("utf-8") == wanted:
        return python
    _call([sys.executable, "-m", "venv", "--clear", home])
    for path in files:
        alone = ["--no-deps"] if path.name.endswith(".alone.txt") else []
        _call([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *alone, "-r", path])
    made.write_text(wanted, "utf-8")
    return python


def _drawn(work: Path, options: argparse.Namespace) -> Path:
    """A pair set of `queries` queries, the same ones every time."""
    drawn = work / "pairs.parquet"
    _call([options.pairmine, "mix", options.pairs, "--size", options.queries, "-o", drawn, "--quiet"])
    return drawn


def _model() -> Path:
    """MiniLM as the extra `offline` brings it along."""
    from pairmine.backends.specs import locate, parse_spec

    return Path(locate(parse_spec("st:all-MiniLM-L6-v2", ("st",), "--model"), "--model"))


def _quiet(work: Path) -> dict[str, str]:
    """This environment, without a hub to ask."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(work / "hub"), "USE_HF": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **offline, "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}


def _call(command: Sequence[object]) -> None:
    done = subprocess.run(_words(command), capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise RuntimeError(errors[-1] if errors else f"{command[0]} ended with {done.returncode}")


def _words(command: Sequence[object]) -> list[str]:
    return [str(word) for word in command]


def _read(path: Path) -> list[Result]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _table(results: Sequence[Result]) -> str:
    """A row for each trial, in the order of the trainers' names."""
    head = ["trainer", "export", "what ran", "rows", "columns that it saw", "loss, first step to last"]
    rows = [head, ["---"] * len(head)]
    for each in results:
        seen = [f"not run: {each['error']}", "", ""] if "error" in each else _seen(each)
        rows.append([f"{each['trainer']} {each['version']}".strip(), f"`{each['export']}`", each["ran"], *seen])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _seen(result: Result) -> list[str]:
    columns = ", ".join(f"`{name}`" for name in result["columns"])
    losses = result["losses"]
    return [f"{result['rows']:,}", columns, f"{losses[0]:.3f} to {losses[-1]:.3f}" if losses else "loaded, not trained"]


def _write(page: Path, matrix: str) -> None:
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page}: no place for the matrix; write {BEGIN} and {END} where it shall stand")
    page.write_text(f"{before}{BEGIN}\n\n{matrix}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
