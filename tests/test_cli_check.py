"""`pairmine check` from a shell: verdicts and exit codes, JSON and JUnit for CI, --fix, files of all sorts."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_check_pairs import clean, faulty

from pairmine.cli.check_report import Result, Results, write_junit
from pairmine.cli.main import app
from pairmine.errors import CHECK_FAILED, PairmineError
from pairmine.files.lineage import decode
from pairmine.stages.check import Example, Finding
from pairmine.stages.check.catalog import TESTS

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no collections in {DATA}")
FIXABLE = {test.name for test in TESTS if test.fixable}

Captured = pytest.CaptureFixture[str]


def run(*arguments: object) -> None:
    app(["check", *(str(each) for each in arguments)], standalone_mode=False)


def fails(*arguments: object) -> str:
    """The line with which a check leaves that fails."""
    with pytest.raises(PairmineError) as error:
        run(*arguments)
    assert error.value.exit_code == CHECK_FAILED
    return str(error.value)


def refused(*arguments: object) -> str:
    """The line for a command or an input that is wrong."""
    with pytest.raises(PairmineError) as error:
        run(*arguments)
    assert error.value.exit_code == 2
    return str(error.value)


def told(capsys: Captured, *arguments: object) -> dict[str, Any]:
    """What --json says, by test, whether the check fails or not."""
    capsys.readouterr()
    with suppress(PairmineError):
        run(*arguments, "--json")
    report = json.loads(capsys.readouterr().out)
    return {**report, "by_name": {test["name"]: test for test in report["tests"]}}


@pytest.fixture
def clean_file(tmp_path: Path) -> Path:
    pq.write_table(clean(20), tmp_path / "clean.parquet")
    return tmp_path / "clean.parquet"


@pytest.fixture
def faulty_file(tmp_path: Path) -> Path:
    pq.write_table(faulty().table(), tmp_path / "faulty.parquet")
    return tmp_path / "faulty.parquet"


def write_lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pair(query: str, doc: str, label: Any = 1, /, **more: Any) -> dict[str, Any]:
    texts = {"query": f"question {query}", "document": f"passage {doc}"}
    return {"query_id": query, "doc_id": doc, "label": label, **texts, **more}


def test_a_clean_set_passes_and_says_what_was_looked_at(clean_file: Path, capsys: Captured) -> None:
    run(clean_file)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{clean_file}: 80 rows"
    assert "  positive-among-negatives       ok  0 of 60 negatives" in lines
    assert "not run, --list says what they need: unresolved-ids, stale-texts, leakage, leaked-documents," in lines
    assert lines[-1] == "34 passed"


def test_faults_are_shown_with_their_rows_and_what_mends_them(faulty_file: Path, capsys: Captured) -> None:
    line = fails(faulty_file, "--only", "negative-copies-query", "--only", "hubs")
    assert line == f"{faulty_file}: 1 test fails (negative-copies-query)"
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[1].split()) == "negative-copies-query FAIL 1 of 822 negatives 0.12%"
    assert lines[2].split()[:2] == ["hubs", "warn"]
    assert "  row 814" in lines
    assert "  -> pairmine check PAIRS --fix -o OUT drops them" in lines
    assert sum(line.startswith("  row ") for line in lines) == 4


def test_max_lets_an_error_pass_and_makes_a_warning_fail(faulty_file: Path) -> None:
    run(faulty_file, "--only", "negative-copies-query", "--max", "negative-copies-query=1")
    run(faulty_file, "--only", "negative-copies-query", "--max", "negative-copies-query=0.01")
    assert fails(faulty_file, "--only", "hubs", "--max", "hubs=11").endswith("1 test fails (hubs)")
    fails(faulty_file, "--only", "hubs", "--max", "hubs=0.01")
    run(faulty_file, "--only", "hubs", "--max", "hubs=12")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--max", "hubs"], "--max hubs: write NAME=0.01 for a share up to 1.0, or NAME=25 for a count"),
        (["--max", "hubs=1.5"], "--max hubs=1.5: write NAME=0.01 for a share up to 1.0, or NAME=25 for a count"),
        (["--max", "hub=1"], "--max hub: no test of this name; did you mean hubs?"),
        (["--max", "hubs=1", "--max", "hubs=2"], "--max hubs=2: hubs has a limit already; give each test one"),
        (["--max", "hubs=1", "--skip", "hubs"], "--max hubs=...: --only or --skip leaves this test out"),
        (["--only", "hubs", "--skip", "hubs"], "--only hubs and --skip hubs: leave one of them out"),
        (["--skip", "xyz"], "--skip xyz: no test of this name; --list names them"),
        (["--fix"], "--fix: name a file for the mended pairs with -o OUT"),
        (["--fix", "-o", "-"], "--fix -o -: standard output has the report; name a file"),
        (["-o", "x.parquet"], "--output has no effect without --fix; leave one of them out"),
        (["--max-tokens", "9"], "--max-tokens has no effect without --tokenizer; leave one of them out"),
        (["--junit", "-"], "--junit -: standard output has the report; name a file"),
        (["--list", "--fix"], "--fix has no effect with --list; leave one of them out"),
    ],
)
def test_options_that_cannot_be_are_refused_in_a_line(clean_file: Path, arguments: list[str], line: str) -> None:
    assert refused(clean_file, *arguments) == line


def test_the_pair_set_itself_is_no_evaluation_set(clean_file: Path) -> None:
    assert refused(clean_file, "--against", clean_file).endswith("is the pair set itself; name another file")


def test_the_list_names_every_test(capsys: Captured) -> None:
    run("--list")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [test.name for test in TESTS]
    run("--list", "--json")
    assert {each["name"] for each in json.loads(capsys.readouterr().out) if each["fixable"]} == FIXABLE


def test_a_mended_file_has_no_fault_left_that_can_be_mended(
    faulty_file: Path, tmp_path: Path, capsys: Captured
) -> None:
    mended, dropped = tmp_path / "mended.parquet", tmp_path / "dropped.parquet"
    before = told(capsys, faulty_file)["by_name"]
    fails(faulty_file, "--fix", "-o", mended, "--rejects", dropped)
    after = told(capsys, mended)["by_name"]
    assert {name for name in FIXABLE & set(before) if before[name]["count"]}
    assert not {name for name in FIXABLE & set(after) if after[name]["count"]}
    reasons = pq.read_table(dropped)["reason"].to_pylist()
    assert sorted(reasons) == sorted(name for name in FIXABLE & set(before) for _ in range(before[name]["count"]))
    rows_in = pq.read_table(faulty_file).num_rows
    assert pq.read_table(mended).num_rows + len(reasons) == rows_in
    assert decode(pq.read_metadata(mended).metadata, "")[-1]["counts"]["rows_in"] == rows_in


def test_mending_says_how_many_rows_it_dropped_for_each_test(
    faulty_file: Path, tmp_path: Path, capsys: Captured
) -> None:
    capsys.readouterr()
    fails(faulty_file, "--fix", "-o", tmp_path / "mended.parquet")
    shown = capsys.readouterr()
    assert shown.out.startswith("mended pairs: 1,093 rows\n")
    empty = next(line for line in shown.out.splitlines() if "empty-texts" in line)
    assert empty.endswith("2 dropped")
    assert "  rejected: empty-texts" in shown.err


def test_the_same_file_is_mended_to_the_same_bytes(faulty_file: Path, tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        fails(faulty_file, "--fix", "-o", tmp_path / name, "-q")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_an_input_is_never_overwritten_by_what_is_mended(faulty_file: Path) -> None:
    assert "is an input too and would be lost" in refused(faulty_file, "--fix", "-o", faulty_file)
    assert "is an input too and would be lost" in refused(faulty_file, "--junit", faulty_file)


def test_labels_that_are_none_are_found_and_leave_with_what_they_were(tmp_path: Path, capsys: Captured) -> None:
    rows = [pair("q1", "d1"), pair("q1", "d2", 3), pair("q1", "d3", 0), pair("q2", "d4", -1), pair("q2", "d5", None)]
    path = write_lines(tmp_path / "p.jsonl", *rows)
    found = told(capsys, path, "--fix", "-o", tmp_path / "out.jsonl", "--rejects", tmp_path / "rejects.jsonl")
    assert found["by_name"]["bad-labels"]["dropped"] == 2
    rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [(each["doc_id"], each["reason"]) for each in rejects] == [
        ("d2", "bad-labels (3)"),
        ("d4", "bad-labels (-1)"),
    ]
    assert "bad_label" not in json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])


def test_rows_without_an_origin_beside_others_end_in_a_line_that_mends_them(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "pairs.jsonl", {**pair("who", "me"), "origin": "given"}, pair("what", "that"))
    assert '"origin" is null in 1 of 2 rows; write "given" there' in refused(path)


def test_labels_that_are_none_are_found_in_a_table_of_texts(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("query_id,query,doc_id,document,label\nq,who,a,me,1\nq,who,b,you,2\nq,who,c,they,0\n")
    assert told(capsys, path)["by_name"]["bad-labels"]["count"] == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--only", "leakage"], "--only leakage: is not tested without --against; add it"),
        (["--max", "leaked-documents=0.1"], "--max leaked-documents: is not tested without --against; add it"),
        (["--only", "stale-texts"], "--only stale-texts: is not tested without --corpus or --queries; add it"),
        (["--only", "batch-conflicts"], "it needs a column batch"),
    ],
)
def test_a_test_that_is_asked_for_and_cannot_run_does_not_pass(
    faulty_file: Path, tmp_path: Path, arguments: list[str], line: str
) -> None:
    table = tmp_path / "pairs.parquet"
    pq.write_table(pq.read_table(faulty_file).drop_columns(["batch"]), table)
    assert line in refused(table, *arguments)


def test_rows_apart_and_ids_with_two_texts_are_findings_and_no_end_of_the_reading(
    tmp_path: Path, capsys: Captured
) -> None:
    rows = [pair("q1", "d1"), pair("q2", "d2"), pair("q1", "d3", 0), pair("q2", "d1", 0, document="another text")]
    found = told(capsys, write_lines(tmp_path / "p.jsonl", *rows))["by_name"]
    assert (found["rows-apart"]["count"], found["one-id-two-texts"]["count"]) == (2, 1)
    assert found["one-id-two-texts"]["examples"][0]["note"] == "its doc_id has another text in row 1"


def test_a_corpus_and_queries_are_looked_up(tmp_path: Path, capsys: Captured) -> None:
    path = write_lines(tmp_path / "p.jsonl", pair("q1", "d1"), pair("q1", "d2", 0), pair("q2", "d3"))
    corpus = write_lines(tmp_path / "c.jsonl", *({"id": f"d{n}", "text": f"passage d{n}"} for n in (1, 2)))
    queries = write_lines(tmp_path / "q.jsonl", *({"id": f"q{n}", "text": f"question q{n}!"} for n in (1, 2)))
    found = told(capsys, path, "--corpus", corpus, "--queries", queries)["by_name"]
    assert found["unresolved-ids"]["examples"][0]["doc_id"] == "d3"
    assert (found["unresolved-ids"]["count"], found["stale-texts"]["count"]) == (1, 3)


def test_evaluation_sets_and_other_splits_are_held_against_the_pairs(
    clean_file: Path, tmp_path: Path, capsys: Captured
) -> None:
    rows = pq.read_table(clean_file).to_pylist()
    held = {name: rows[4][name] for name in ("query_id", "query", "doc_id", "document", "label")}
    path = write_lines(tmp_path / "eval.jsonl", held)
    found = told(capsys, clean_file, "--against", path, "--splits", path)["by_name"]
    assert found["leakage"]["examples"][0]["place"] == "row 5"
    counts = {name: found[name]["count"] for name in ("leakage", "leaked-documents", "straddling")}
    assert counts == {"leakage": 1, "leaked-documents": 1, "straddling": 4}


def test_a_pipe_is_read_like_a_file(
    clean_file: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess
    import sys

    with clean_file.open("rb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "pairmine", "check", "-", "--only", "empty-texts"], stdin=stream, capture_output=True
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().endswith("\n\n1 passed\n")


def test_a_string_where_a_list_belongs_is_found_in_a_file_of_a_trainer(tmp_path: Path, capsys: Captured) -> None:
    good = {"query": "capital of Peru", "pos": ["Lima is the capital of Peru."], "neg": ["Cusco lies in the Andes."]}
    path = write_lines(tmp_path / "train.jsonl", good, {**good, "query": "and now?", "neg": "a single text"})
    found = told(capsys, path)
    assert found["form"] == "flag-embedder"
    assert found["by_name"]["string-for-list"]["verdict"] == "fail"
    assert found["by_name"]["string-for-list"]["examples"][0]["place"] == "line 2"
    run(path, "--skip", "string-for-list")


def test_a_file_of_a_trainer_is_mended_into_a_pair_set(tmp_path: Path, capsys: Captured) -> None:
    row = {
        "query": "capital of Peru",
        "pos": ["Lima is the capital of Peru."],
        "neg": ["Cusco lies high up.", "", "LIMA"],
    }
    path = write_lines(tmp_path / "train.jsonl", {**row, "neg": [*row["neg"], "lima is the capital of peru."]})
    found = told(capsys, path, "--fix", "-o", tmp_path / "out.jsonl", "--rejects", tmp_path / "rejects.jsonl")
    assert found["passed"]
    kept = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [each["document"] for each in kept] == ["Lima is the capital of Peru.", "Cusco lies high up.", "LIMA"]
    assert all("place" not in each for each in kept)


def test_a_column_of_the_users_own_is_no_place_and_stays(tmp_path: Path, capsys: Captured) -> None:
    path = write_lines(
        tmp_path / "p.jsonl", pair("q1", "d1", place="Oslo"), pair("q1", "d2", 0, document="", place="Rome")
    )
    assert told(capsys, path)["by_name"]["empty-texts"]["examples"][0]["place"] == "row 2"
    run(path, "--fix", "-o", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["place"] == "Oslo"


def test_a_file_without_rows_fails(tmp_path: Path) -> None:
    pq.write_table(clean(1).slice(0, 0), tmp_path / "none.parquet")
    assert fails(tmp_path / "none.parquet").endswith("1 test fails (no-rows)")


def test_tokens_are_counted_by_the_tokenizer_of_a_folder(tmp_path: Path, capsys: Captured) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    path = write_lines(tmp_path / "p.jsonl", pair("q1", "d1"), pair("q1", "d2", 0, document="word " * 9))
    found = told(capsys, path, "--tokenizer", tmp_path, "--max-tokens", 10)["by_name"]
    assert [each["note"] for each in found["over-long"]["examples"]] == ["11 tokens, 10 at most"]
    assert "no tokenizer.json there" in refused(path, "--tokenizer", tmp_path / "nowhere")


HOSTILE = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(HOSTILE, min_size=4, max_size=4))
def test_junit_is_valid_xml_whatever_stands_in_the_texts(texts: list[str], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("junit") / "check.xml"
    example = Example("row 1", *texts, note=texts[0])
    findings = [Finding(name, "error", 1, 2, "what", "remedy", examples=(example,)) for name in ("a", "b")]
    results = [Result(each, said) for each, said in zip(findings, ("FAIL", "warn"), strict=True)]
    write_junit(str(path), Results(texts[1], None, 2, results, {"c": "--against"}))
    suite = Tree.parse(path).getroot()
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "skipped": "1",
    }
    assert [[child.tag for child in case] for case in suite] == [["failure"], ["system-out"], ["skipped"]]


def test_junit_has_a_case_for_each_test(faulty_file: Path, tmp_path: Path) -> None:
    fails(faulty_file, "--junit", tmp_path / "check.xml")
    suite = Tree.parse(tmp_path / "check.xml").getroot()
    assert [case.get("name") for case in suite if case.find("failure") is not None] == [
        *("empty-texts", "positive-among-negatives", "negative-copies-query", "label-conflicts", "one-id-two-texts"),
        *("rows-apart", "bad-scores", "bad-grades", "bad-weights"),
    ]
    assert len(suite) == len(TESTS)


def test_junit_is_there_before_the_mended_pairs_or_neither_is(faulty_file: Path, tmp_path: Path) -> None:
    mended, dropped = tmp_path / "mended.parquet", tmp_path / "dropped.parquet"
    words = [faulty_file, "--fix", "-o", mended, "--rejects", dropped, "--junit"]
    assert "make it first" in refused(*words, tmp_path / "nowhere" / "check.xml")
    assert not mended.exists()
    assert not dropped.exists()
    fails(*words, tmp_path / "check.xml")
    suite = Tree.parse(tmp_path / "check.xml").getroot()
    failed = {case.get("name") for case in suite if case.find("failure") is not None}
    assert failed  # what cannot be dropped
    assert not failed & FIXABLE, "these are the tests of what is left"
    assert mended.exists()
    assert dropped.exists()


def test_a_terminal_gets_no_control_characters(tmp_path: Path, capsys: Captured) -> None:
    path = write_lines(tmp_path / "p.jsonl", pair("q1", "d\u001b[2J1", document="red \u001b[31m alert"))
    run(path, "--only", "broken-text")
    shown = capsys.readouterr().out
    assert "\u001b" not in shown
    assert "red \\x1b[31m alert" in shown


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "the file is empty"),
        ("{}\n", 'no "query"'),
        ('{"id": "a", "text": "b"}\n', 'no "query"'),
    ],
)
def test_what_is_no_pair_set_is_refused_in_a_line(tmp_path: Path, content: str, line: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(content)
    assert line in refused(path)


@needs_data
@pytest.mark.slow
def test_real_collections_pass_but_for_what_is_wrong_in_them(capsys: Captured) -> None:
    scifact = told(capsys, DATA / "scifact")
    assert scifact["passed"]
    assert {each["name"] for each in scifact["tests"] if each["verdict"] != "ok"} == {
        *("query-copies-document", "duplicate-queries", "broken-text"),
    }
    cranfield = told(capsys, DATA / "cranfield")["by_name"]["empty-texts"]
    assert (cranfield["verdict"], cranfield["count"]) == ("fail", 1)


@needs_data
@pytest.mark.slow
@pytest.mark.long
def test_many_languages_and_many_judgments_raise_no_false_alarm(capsys: Captured) -> None:
    for name, expected in (
        ("xquad", {"query-copies-document", "duplicate-queries", "broken-text"}),
        ("jsquad", {"query-copies-document", "duplicate-queries"}),
        ("npl", {"duplicate-positives"}),
        ("stackfaq", {"query-copies-document"}),
    ):
        found = told(capsys, DATA / name)
        assert {each["name"] for each in found["tests"] if each["verdict"] != "ok"} == expected, name


@needs_data
@pytest.mark.slow
def test_one_language_in_another_is_found_among_real_questions(tmp_path: Path, capsys: Captured) -> None:
    with gzip.open(DATA / "xquad" / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line) for line in lines]
    english = [each["text"] for each in texts if each["_id"].startswith("en-")]
    german = [each["text"] for each in texts if each["_id"].startswith("de-")]
    rows = [pair(f"q{n}", f"d{n}", query=text, document=english[n + 1]) for n, text in enumerate(english[:600])]
    for number in range(0, 600, 20):
        rows[number]["query"] = german[number]
    found = told(capsys, write_lines(tmp_path / "p.jsonl", *rows), "--only", "language-mixture", "--examples", 20)
    mixture = found["by_name"]["language-mixture"]
    planted = {f"row {number + 1}" for number in range(0, 600, 20)}
    assert {each["place"] for each in mixture["examples"]} <= planted
    assert mixture["count"] >= 15


def test_python_gets_the_same_as_the_command(clean_file: Path, capsys: Captured) -> None:
    from pairmine import check

    report = check(pq.read_table(clean_file))
    found = told(capsys, clean_file)
    assert {each.name: each.count for each in report.findings} == {
        name: each["count"] for name, each in found["by_name"].items()
    }
    with pytest.raises(PairmineError):
        check(pa.table({"a": [1]}))
