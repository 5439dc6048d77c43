"""Options from the environment: what a shell, a Makefile or a container sets once for many commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from pairmine.cli import environment
from pairmine.cli.main import app
from pairmine.errors import PairmineError

CORPUS = [
    {"id": "d1", "text": "It rained all day. The river rose by two metres. Nobody was hurt in the village."},
    {"id": "d2", "text": "Snow fell on the hills. The roads were closed until noon. Trains ran late."},
    {"id": "d3", "text": "The sun shone over the bay. Boats left early. Fishermen came home with full nets."},
]
Shell = Callable[[str], str]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)
    Path("corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CORPUS))

    def run(line: str) -> str:
        capfd.readouterr()
        app(line.split(), standalone_mode=False)
        return capfd.readouterr().err

    return run


def write_scored(shell: Shell) -> None:
    """A query with a positive, two candidates that are copies, and a negative, as pairs.parquet."""
    rows = [
        {"query": "rain", "document": document, "label": label, "score_st": 0.9 - n / 10}
        for n, (document, label) in enumerate([("wet", 1), ("damp", None), ("damp", None), ("dry", 0)])
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shell("convert pairs.jsonl --as pairs -o pairs.parquet")


def lineage(path: str) -> dict[str, Any]:
    from pairmine.files.peek import describe

    entries = describe(path, lambda _: None)["lineage"]
    found: dict[str, Any] = entries[-1]["options"]
    return found


def test_a_variable_is_as_good_as_the_flag_and_the_lineage_shows_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRMINE_DERIVE_ICT_KEEP", "0.5")
    monkeypatch.setenv("PAIRMINE_SEED", "7")
    monkeypatch.setenv("PAIRMINE_DERIVE_ICT_OUTPUT", "by_variable.parquet")
    shell("derive ict corpus.jsonl")
    for name in ("PAIRMINE_DERIVE_ICT_KEEP", "PAIRMINE_SEED", "PAIRMINE_DERIVE_ICT_OUTPUT"):
        monkeypatch.delenv(name)
    shell("derive ict corpus.jsonl --keep 0.5 --seed 7 -o by_flag.parquet")
    assert Path("by_variable.parquet").read_bytes() == Path("by_flag.parquet").read_bytes()
    assert lineage("by_variable.parquet") | {"keep": 0.5, "seed": 7} == lineage("by_variable.parquet")


def test_the_flag_is_over_the_own_variable_and_that_over_the_general_one(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []
    for name, value in (("PAIRMINE_SEED", "1"), ("PAIRMINE_DERIVE_SEED", "2"), ("PAIRMINE_DERIVE_ICT_SEED", "3")):
        monkeypatch.setenv(name, value)
        shell("derive ict corpus.jsonl -o pairs.parquet")
        seeds.append(lineage("pairs.parquet")["seed"])
    shell("derive ict corpus.jsonl -o pairs.parquet --seed 4")
    assert [*seeds, lineage("pairs.parquet")["seed"]] == [1, 2, 3, 4]


def test_a_repeatable_option_takes_words_as_a_shell_would(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell("derive ict corpus.jsonl -o pairs.parquet")
    monkeypatch.setenv("PAIRMINE_MINE_RETRIEVER", "bm25 'again=bm25'")
    shell("mine pairs.parquet --corpus corpus.jsonl -o mined.parquet")
    assert lineage("mined.parquet")["retriever"] == ["bm25", "again=bm25"]
    monkeypatch.setenv("PAIRMINE_MINE_RETRIEVER", "bm25 'again")
    with pytest.raises(PairmineError, match="PAIRMINE_MINE_RETRIEVER=bm25 'again: a quote is not closed"):
        shell("mine pairs.parquet --corpus corpus.jsonl -o mined.parquet")


@pytest.mark.parametrize(("text", "is_on"), [("1", True), ("TRUE", True), ("0", False), ("off", False), ("", False)])
def test_a_switch_is_on_or_off_and_empty_is_not_set(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, text: str, is_on: bool
) -> None:
    shell("derive ict corpus.jsonl -o pairs.parquet")
    monkeypatch.setenv("PAIRMINE_MINE_NO_FEEDBACK", text)
    monkeypatch.setenv("PAIRMINE_MINE_RETRIEVER", "st=fake:")
    shell("mine pairs.parquet --corpus corpus.jsonl -o mined.parquet")
    assert lineage("mined.parquet").get("no_feedback", False) is is_on


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PAIRMINE_MINE_DEPTH", "many", "PAIRMINE_MINE_DEPTH=many: input should be a valid integer"),
        ("PAIRMINE_MINE_DEPTH", "0", "PAIRMINE_MINE_DEPTH=0: "),
        ("PAIRMINE_QUIET", "perhaps", "PAIRMINE_QUIET=perhaps: is a switch; write 1 or 0, true or false"),
        ("PAIRMINE_VECTOR_TYPE", "int7", "--vector-type is set by $PAIRMINE_VECTOR_TYPE"),
    ],
)
def test_a_bad_value_is_told_by_the_name_of_its_variable(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(PairmineError) as raised:
        shell("mine corpus.jsonl -o mined.parquet")
    assert message in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_flag_is_never_blamed_on_the_variable_that_it_overrides(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRMINE_VECTOR_TYPE", "float16")
    monkeypatch.setenv("PAIRMINE_MINE_DEPTH", "50")
    with pytest.raises(PairmineError) as raised:
        shell("mine corpus.jsonl --vector-type int7 -o mined.parquet")
    assert "PAIRMINE" not in str(raised.value)
    with pytest.raises(typer.BadParameter):
        shell("mine corpus.jsonl --depth many -o mined.parquet")


@pytest.mark.slow
def test_a_limit_for_servers_is_idle_where_nobody_is_asked(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RPM", "5"), ("BASE_URL", "http://localhost:1/v1"), ("MAX_USD", "1"), ("DTYPE", "float16")):
        monkeypatch.setenv(f"PAIRMINE_{name}", value)
    shell("generate queries corpus.jsonl --llm fake: -o asked.parquet")
    shell("embed corpus.jsonl --encoder fake: -o vectors.npy")
    with pytest.raises(PairmineError, match="--rpm has no effect"):
        shell("generate queries corpus.jsonl --llm fake: --rpm 5 -o asked.parquet")


def test_what_has_no_effect_is_refused_on_the_command_line_and_idle_in_the_environment(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell("derive ict corpus.jsonl -o pairs.parquet")
    mine = "mine pairs.parquet --corpus corpus.jsonl --retriever bm25 -o mined.parquet"
    with pytest.raises(PairmineError, match="--device is for"):
        shell(f"{mine} --device cpu")
    monkeypatch.setenv("PAIRMINE_DEVICE", "cuda")
    monkeypatch.setenv("PAIRMINE_MINE_DTYPE", "float16")
    shell(mine)
    assert "device" not in lineage("mined.parquet")
    assert lineage("mined.parquet")["dtype"] == "auto"


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("PAIRMINE_DEDUP_AGAINST_ONLY", "1", "dedup pairs.parquet --exact-only"),
        ("PAIRMINE_FILTER_RELATIVE_MARGIN", "0.1", "filter pairs.parquet --no-relative-margin --no-pick"),
        ("PAIRMINE_MIX_REPEAT", "1", "mix pairs.parquet"),
        ("PAIRMINE_MINE_FUSE", "rrf", "mine pairs.parquet --corpus corpus.jsonl --retriever bm25"),
        ("PAIRMINE_MINE_RRF_K", "7", "mine pairs.parquet --corpus corpus.jsonl --retriever bm25"),
    ],
)
def test_what_is_idle_changes_neither_rows_nor_lineage(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    write_scored(shell)
    shell(f"{line} -o plain.parquet")
    monkeypatch.setenv(name, value)
    shell(f"{line} -o idle.parquet")
    assert Path("idle.parquet").read_bytes() == Path("plain.parquet").read_bytes()


def test_the_own_variable_of_a_command_is_over_the_general_one_for_stores_too(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRMINE_STORE", "general")
    monkeypatch.setenv("PAIRMINE_EMBED_STORE", "own")
    shell("embed corpus.jsonl --encoder fake: -o vectors.npy")
    assert (Path("own").is_dir(), Path("general").exists()) == (True, False)


def test_an_error_that_quotes_a_value_names_its_variable(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scored(shell)
    for name, value, line in (
        ("PAIRMINE_EXPORT_TO", "st-pear", "export pairs.parquet -o train.parquet"),
        ("PAIRMINE_FILTER_MAX_SCORE", "high", "filter pairs.parquet -o decided.parquet"),
        ("PAIRMINE_MINE_KNOWN", "none.jsonl", "mine pairs.parquet --retriever bm25 -o mined.parquet"),
    ):
        monkeypatch.setenv(name, value)
        with pytest.raises(PairmineError, match=rf"is set by \${name}\)"):
            shell(line)


@pytest.mark.parametrize(("text", "is_on"), [("", False), ("0", False), ("Off", False), ("1", True), ("yes", True)])
def test_debugging_is_a_switch_like_the_others(monkeypatch: pytest.MonkeyPatch, text: str, is_on: bool) -> None:
    monkeypatch.setenv("PAIRMINE_DEBUG", text)
    assert environment.is_debugging() is is_on


def test_a_misspelt_variable_is_told_once_it_could_matter(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAIRMINE_DERIVE_ICT_SEDE", "PAIRMINE_WORKER", "PAIRMINE_KEEP"):
        monkeypatch.setenv(name, "1")
    for name in ("PAIRMINE_MINE_DEPHT", "PAIRMINE_DEBUG", "PAIRMINE_PROJECT", "PAIRMINE_DEVICE"):
        monkeypatch.setenv(name, "1")  # another command's, another's own, or one that this command has no use for
    said = [
        line for line in shell("derive ict corpus.jsonl -o pairs.parquet").splitlines() if "names no option" in line
    ]
    assert said == [
        "pairmine: $PAIRMINE_DERIVE_ICT_SEDE names no option; did you mean $PAIRMINE_DERIVE_ICT_SEED?",
        "pairmine: $PAIRMINE_KEEP names no option; did you mean $PAIRMINE_DERIVE_ICT_KEEP?",
        "pairmine: $PAIRMINE_WORKER names no option; did you mean $PAIRMINE_WORKERS?",
    ]


def test_general_variables_mean_the_same_everywhere_and_no_two_options_share_a_name() -> None:
    found: dict[str, set[str]] = {}
    kinds: dict[str, set[Any]] = {}

    def walk(command: Any, path: list[str]) -> None:
        for option in environment.options_of(command) if path else ():
            own, *_ = environment.names_of(path, option)
            found.setdefault(own, set()).add(f"{' '.join(path)} {environment.flag_of(option)}")
            word = environment.flag_of(option).lstrip("-").upper().replace("-", "_")
            if word in environment.GENERAL:
                kinds.setdefault(word, set()).add((option.bare_type(), option.multiple, option.is_flag))
        for name in command.list_commands(typer.Context(command)) if hasattr(command, "list_commands") else ():
            walk(command.get_command(typer.Context(command), name), [*path, name])

    walk(typer.main.get_command(app), [])
    assert {name: options for name, options in found.items() if len(options) > 1} == {}
    assert {word: each for word, each in kinds.items() if len(each) > 1} == {}
    assert set(kinds) == environment.GENERAL
