"""What `--help` shows: pages that fit the terminal, and examples that work when pasted."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import typer

from pairmine.cli.main import app
from pairmine.cli.manual import parts_of

NOT_RUN = {
    "ce:cross-encoder/": "a cross-encoder of the model hub",
    "rerank:": "a server that reranks",
    "vllm:": "a GPU",
    "--label --labels": "somebody who labels",
    "--push-to": "an account at the model hub",
}
"""What an example needs that a test has not; it must parse all the same."""
ANYTHING = {"check"}
"""Commands whose example may end with 1: the sample files are no training data."""


@cache
def commands() -> list[tuple[list[str], Any]]:
    """Every command with its words; of the recipes of derive, which a test of their own runs, the first."""

    def walk(command: Any, path: list[str]) -> Iterator[tuple[list[str], Any]]:
        yield path, command
        if hasattr(command, "list_commands"):
            context = typer.Context(command)
            names = command.list_commands(context)
            for name in names[:1] if path == ["derive"] else names:
                yield from walk(command.get_command(context, name), [*path, name])

    return list(walk(typer.main.get_command(app), []))


def examples() -> list[str]:
    return [
        example
        for path, command in commands()
        for example in parts_of(command.help or "")[1]
        if path[:1] != ["derive"] or len(path) == 1
        if not example.startswith("#")
    ]


def page(path: list[str], columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    capsys.readouterr()
    app([*path, "--help"], standalone_mode=False, prog_name="pairmine")
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 100])
def test_no_page_is_cut_off_or_wider_than_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, command in commands():
        shown = page(path, columns, monkeypatch, capsys)
        quoted = parts_of(command.help or "")[1] if path[:1] == ["derive"] and len(path) > 1 else []
        wide = [line for line in shown.splitlines() if len(line) > columns and not quoted]
        assert not wide, (path, wide)
        cut = [line for line in shown.splitlines() if re.search(r"\w\.\.\.$", line) and not line.startswith("Usage")]
        assert not cut, (path, cut)
        assert command.help, path


def test_every_command_says_when_it_is_for_shows_an_example_and_where_to_read_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, command in commands():
        paragraphs, shown = parts_of(command.help or "")
        assert shown, path
        assert paragraphs[0], path
        if not path:
            continue
        assert len(paragraphs) > 1 or len(path) > 1, path
        text = page(path, 80, monkeypatch, capsys)
        assert "\nNotes:\n  exit code" in text, path
        assert "see also" in text, path


def test_a_folded_example_is_the_same_command_when_it_is_pasted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, command in commands():
        text = page(path, 80, monkeypatch, capsys)
        block = re.split(r"\nExamples?:\n", text)[1].split("\n\n")[0]
        pasted = [" ".join(line.split()) for line in re.sub(r" \\\n +", " ", block).splitlines()]
        wanted = [" ".join(each.split()) for each in parts_of(command.help or "")[1]]
        assert [line for line in pasted if not line.startswith("#")] == [
            each for each in wanted if not each.startswith("#")
        ], path


def test_the_pages_that_a_help_names_are_there() -> None:
    from pairmine.cli.see_also import notes_on

    root = Path(__file__).parent.parent
    for path, _ in commands():
        for name, text in notes_on(path):
            for word in re.findall(r"docs/[\w-]+\.md", text) if name == "see also" else ():
                assert (root / word).is_file(), word


def test_help_before_a_command_is_help_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for words in (["help", "ledger", "export"], ["ledger", "export", "--help"], ["ledger", "help", "export"]):
        capsys.readouterr()
        app(words, standalone_mode=False)
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] == shown[2] != ""
    app(["help"], standalone_mode=False)
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("minne x", "no such command 'minne'; did you mean 'mine'?"),
        ("mine x --dpeth 3", "--depth"),
        ("derive itc x", "did you mean ict"),
        ("ledger exprot x", "did you mean 'export'?"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_nearest_one(line: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pairmine", *line.split()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


# --- examples -----------------------------------------------------------------------------------

_WORDS = (
    *("river", "mill", "wheel", "oak", "tide", "storm", "harbour", "bridge"),
    *("village", "road", "snow", "sun", "wind", "field", "stone", "boat"),
)


def _text(number: int) -> str:
    one, two, three = (_WORDS[(number * step + step) % len(_WORDS)] for step in (1, 3, 7))
    return f"The {one} by the {two} was old in {1800 + number}. Nobody knew the {three}. It stood for {number} years."


def _run(line: str) -> int:
    result = app(shlex.split(line)[1:], standalone_mode=False)
    return result if isinstance(result, int) else 0


def _rows(path: str, rows: list[dict[str, Any]]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _make_samples() -> None:
    """The files that examples speak of, small, by the commands that would make them."""
    documents = [{"id": f"d{n}", "title": f"{_WORDS[n % 16]} {n}", "text": _text(n)} for n in range(140)]
    _rows("corpus.jsonl", documents)
    Path("corpus.jsonl.gz").write_bytes(gzip.compress(Path("corpus.jsonl").read_bytes()))
    _rows("triplets.jsonl", [{"anchor": _text(1), "positive": _text(2), "negative": _text(3)}])
    _rows("pairs.jsonl", [{"query": f"who {n}", "document": _text(n), "label": 1} for n in range(20)])
    known = [
        {"query": f"{_WORDS[n % 16]} of {1800 + n}", "document": _text(2 * n + m)} for n in range(20) for m in (0, 1)
    ]
    _rows("known.jsonl", [{**row, "label": 1} for row in known])
    _rows("graded.jsonl", [{"query": f"q{n}", "document": _text(n), "grade": n % 6 / 5} for n in range(20)])
    Path("held-out.txt").write_text(_text(3) + "\n")
    Path("train.jsonl").write_text(json.dumps({"query": "who", "pos": [_text(1)], "neg": [_text(2)]}) + "\n")
    Path("eval").mkdir()
    for line in (
        "convert corpus.jsonl -o corpus.parquet",
        "convert graded.jsonl --as pairs -o graded.parquet",
        "derive ict corpus.jsonl --sample 20 -o nli.parquet",
        "derive adjacent corpus.jsonl --sample 20 -o definitions.parquet",
        "derive repeat corpus.jsonl --sample 20 -o paraphrased.parquet",
        "mine known.jsonl --corpus corpus.jsonl --retriever dense=fake: --depth 30 -o mined.parquet",
        "score mined.parquet --scorer st=fake: -o with_st.parquet",
    ):
        assert _run(f"pairmine -q {line}") == 0, line
    _score_and_judge()
    for line in (
        "filter scored.parquet --by dense --negatives 7 --rejects rejected.parquet -o pairs.parquet",
        "export pairs.parquet --to beir -o eval/beir",
        "generate queries corpus.jsonl --llm fake: --limit 5 -o queries.parquet",
        "ledger export replies.jsonl.zst",
        "embed corpus.jsonl -o vectors.parquet",
    ):
        assert _run(f"pairmine -q {line}") == 0, line


def _score_and_judge() -> None:
    """A column as a cross-encoder would write it, and judgments of some candidates."""
    table = pq.read_table("with_st.parquet")
    chance = pc.cast(pc.divide(pc.add(table["score_st"], 1.0), 2.0), pa.float32())
    field = pa.field("score_ce", pa.float32(), metadata={"scale": "probability"})
    pq.write_table(table.append_column(field, chance), "scored.parquet")
    rows = table.select(["query_id", "doc_id", "label"]).to_pylist()
    judged = [
        f"{row['query_id']} 0 {row['doc_id']} {n % 5 == 0:d}" for n, row in enumerate(rows) if row["label"] is None
    ]
    Path("qrels.tsv").write_text("\n".join(judged) + "\n")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("samples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("PAIRMINE_STORE", raising=False)
        patch.setenv("HF_HUB_OFFLINE", "1")
        _make_samples()
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("example", dict.fromkeys(examples()))
def test_an_example_works_when_pasted(
    example: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if reason := next((reason for part, reason in NOT_RUN.items() if part in example), None):
        pytest.skip(f"needs {reason}")
    here = tmp_path / "here"
    shutil.copytree(samples, here)
    monkeypatch.chdir(here)
    if "|" in example:
        places = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", example], capture_output=True, check=False, env=places)
        assert done.returncode == 0, done.stderr.decode()
        return
    code = _run(example)
    assert code == 0 or (code == 1 and example.split()[1] in ANYTHING), capfd.readouterr().err
