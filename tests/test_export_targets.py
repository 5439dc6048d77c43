"""Single-table formats: each trap of each trainer, and what is refused before anything is written."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_export import TWO_QUERIES, Row, pair_set, reasons

from pairmine.errors import PairmineError
from pairmine.files.groups import text_bytes
from pairmine.files.sink import Sink
from pairmine.stages.export import TARGETS, Survey, export, find_target, survey
from pairmine.stages.export.requirements import check_survey
from pairmine.stages.export.survey import Surveyor

DATA = Path(__file__).parents[2] / "shared" / "data"
SCORES = pa.array([0.9, 0.1, 0.2, 0.3, 0.4, 0.8, 0.7], pa.float32())


def kept(to: str, pairs: pa.Table | None = None, **options: Any) -> list[dict[str, Any]]:
    pairs = pair_set(TWO_QUERIES, score_ce=SCORES) if pairs is None else pairs
    return export(pairs, to=to, **options).outcome.kept.to_pylist()


# --- sentence-transformers ------------------------------------------------------------------------


def test_st_margin_is_the_positive_s_score_less_the_negative_s() -> None:
    rows = kept("st-margin", scores="ce")
    assert list(rows[0]) == ["anchor", "positive", "negative", "label"]
    assert [round(row["label"], 6) for row in rows] == [0.8, 0.7, 0.6, 0.4, 0.3]


def test_st_margin_list_has_a_margin_for_each_negative() -> None:
    (row,) = kept("st-margin-list", scores="ce", negatives=3)
    assert list(row) == ["anchor", "positive", "negative_1", "negative_2", "negative_3", "label"]
    assert row["label"] == [0.8, 0.7, 0.6]


def test_st_scores_has_the_positive_s_score_first_and_one_more_than_there_are_negatives() -> None:
    rows = kept("st-scores", scores="ce", negatives=1)
    assert [row["label"] for row in rows] == [[0.9, 0.1], [0.8, 0.4], [0.7, 0.4]]
    assert [row["positive"] for row in rows] == ["text of p1", "text of p2", "text of p3"]


def test_st_labeled_list_puts_the_positives_first_wherever_they_stand() -> None:
    rows = kept("st-labeled-list")
    assert rows[1] == {
        "query": "text of q2",
        "docs": ["text of p2", "text of p3", "text of n4"],
        "labels": [1.0, 1.0, 0.0],
    }
    assert kept("st-labeled-list", scores="ce")[1]["labels"] == [0.8, 0.7, 0.4]
    assert kept("st-labeled-list", pair_set([("q", "p", 1)])) == []


def test_the_grade_may_stand_for_a_score() -> None:
    pairs = pair_set(TWO_QUERIES[:2], grade=pa.array([1, 0.25], pa.float32()))
    assert kept("st-labeled-list", pairs, scores="grade")[0]["labels"] == [1.0, 0.25]


@pytest.mark.parametrize("to", ["st-margin", "st-margin-list", "st-scores"])
def test_a_format_made_of_scores_asks_for_them(to: str) -> None:
    with pytest.raises(PairmineError, match=f"{to} needs --scores NAME, a score column that 'pairmine score' wrote"):
        export(pair_set(TWO_QUERIES), to=to)


# --- FlagEmbedding --------------------------------------------------------------------------------


def test_flag_reranker_reads_other_keys_for_its_instructions() -> None:
    row = kept("flag-reranker", prompt="Find it.", passage_prompt="A passage.", scores="ce")[0]
    assert list(row) == ["query", "pos", "neg", "pos_scores", "neg_scores", "query_prompt", "passage_prompt"]
    assert (row["query_prompt"], row["passage_prompt"]) == ("Find it.", "A passage.")


def test_flag_embedder_writes_the_kind_of_task_that_was_named() -> None:
    assert kept("flag-embedder", task="symmetric_class")[0]["type"] == "symmetric_class"
    with pytest.raises(PairmineError, match="--task sts: choose normal, symmetric_class"):
        kept("flag-embedder", task="sts")


@pytest.mark.parametrize("to", ["flag-embedder", "flag-reranker"])
def test_files_of_flag_embedding_have_the_same_keys_whatever_is_in_them(to: str) -> None:
    other = pair_set([("q", "p", 1), ("q", "n", 0)], score_ce=pa.array([1, 0], pa.float32()), query=["?"] * 2)
    for options in ({}, {"scores": "ce"}, {"prompt": ""}):
        assert list(kept(to, **options)[0]) == list(kept(to, other, **options)[0])


# --- Tevatron, PyLate, ms-swift, SimCSE, NeMo -----------------------------------------------------


def test_tevatron_passages_have_the_key_title_even_where_there_is_none() -> None:
    row = kept("tevatron")[0]
    assert row["positive_passages"] == [{"docid": "p1", "title": "", "text": "text of p1"}]
    assert (row["query_id"], [each["docid"] for each in row["negative_passages"]]) == ("q1", ["n1", "n2", "n3"])


def test_tevatron_does_not_say_a_title_twice_that_stands_before_the_text() -> None:
    documents = ["Rome was built", "Rome", "Romeo loved", "Oslo"]
    pairs = pair_set([("q", "p", 1), *(("q", f"n{i}", 0) for i in range(3))], document=documents)
    pairs = pairs.append_column("title", pa.array(["Rome", "Rome", "Rome", None]))
    (row,) = kept("tevatron", pairs)
    passages = [*row["positive_passages"], *row["negative_passages"]]
    assert [(each["title"], each["text"]) for each in passages] == [
        ("Rome", "was built"),
        ("Rome", "Rome"),
        ("Rome", "Romeo loved"),
        ("", "Oslo"),
    ]


def test_tevatron_scores_stand_in_every_passage() -> None:
    row = kept("tevatron", scores="ce", negatives=2)[0]
    assert [each["score"] for each in row["positive_passages"] + row["negative_passages"]] == [0.9, 0.1, 0.2]


def test_pylate_calls_the_first_column_query_so_that_it_gets_the_marker_of_queries() -> None:
    assert list(kept("pylate-contrastive", negatives=2)[0]) == ["query", "positive", "negative_1", "negative_2"]


def test_swift_embedding_has_exactly_one_positive_and_any_number_of_negatives() -> None:
    rows = kept("swift-embedding", pair_set([*TWO_QUERIES, ("q3", "p4", 1)]))
    assert [len(row["positive_messages"]) for row in rows] == [1, 1, 1, 1]
    assert [len(row["negative_messages"]) for row in rows] == [3, 1, 1, 0]
    assert rows[1]["positive_messages"] == [[{"role": "user", "content": "text of p2"}]]


def test_swift_reranker_lets_an_assistant_say_the_documents_and_keeps_all_positives() -> None:
    row = kept("swift-reranker", prompt="Judge.")[1]
    assert row["messages"] == [{"role": "system", "content": "Judge."}, {"role": "user", "content": "text of q2"}]
    assert row["positive_messages"] == [[{"role": "assistant", "content": f"text of p{i}"}] for i in (2, 3)]


def test_swift_pairs_carry_a_label() -> None:
    pairs = pair_set(TWO_QUERIES[:2], grade=pa.array([0.8, None], pa.float32()))
    assert [row["label"] for row in kept("swift-embedding-score", pairs)] == [0.8]
    assert [row["label"] for row in kept("swift-embedding-class", pairs)] == [1.0, 0.0]


def test_swift_before_3_9_has_rejected_responses_and_stumbles_over_no_named_picture() -> None:
    texts = ["a page", "an <image> tag", "plain", "third", "fourth", "p", "p <video>"]
    exported = export(pair_set(TWO_QUERIES, document=texts), to="swift-legacy", prompt="Find it.")
    assert exported.outcome.kept.to_pylist() == [
        {
            "query": "text of q1",
            "response": "a page",
            "rejected_response": ["plain", "third"],
            "system": "Find it.",
        },
        {"query": "text of q2", "response": "p", "rejected_response": ["fourth"], "system": "Find it."},
    ]
    because = "ms-swift 3.8 looks for a picture, film or sound that the text names"
    assert reasons(exported) == [("q1", "n1", because), ("q2", "p3", because)]


def test_simcse_loses_no_text_that_pandas_takes_for_a_missing_one(tmp_path: Path) -> None:
    rows: list[Row] = [("q1", "p1", 1), ("q1", "n1", 0), ("q2", "p2", 1), ("q2", "n2", 0)]
    exported = export(pair_set(rows, document=['a, "b"\r\nc', "x", "NA", "null"]), to="simcse-triplet")
    assert [reason for _, _, reason in reasons(exported)] == [
        "SimCSE takes the text for a missing one",
        "SimCSE takes the text for a missing one",
    ]
    written(exported.outcome.kept, tmp_path / "train.csv")
    with (tmp_path / "train.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["sent0", "sent1", "hard_neg"], ["text of q1", 'a, "b"\r\nc', "x"]]


def test_a_query_that_a_trainer_misreads_takes_its_rows_with_it() -> None:
    exported = export(pair_set([("q", "p", 1), ("q", "n", 0)], query=["None"] * 2), to="simcse-pair")
    assert [doc for _, doc, _ in reasons(exported)] == ["p", "n"]
    assert survey(pair_set([("q", "p", 1)], query=["None"]), find_target("simcse-pair")).positives == 0


def test_nemo_has_a_line_for_each_positive_since_it_trains_on_the_first_alone() -> None:
    rows = kept("nemo-inline")
    assert [row["pos_doc"] for row in rows] == [["text of p1"], ["text of p2"], ["text of p3"]]
    assert [len(row["neg_doc"]) for row in rows] == [3, 1, 1]


# --- what is checked first ------------------------------------------------------------------------


def test_missing_scores_are_counted_over_the_whole_pair_set_and_only_where_they_are_used() -> None:
    pairs = pair_set(TWO_QUERIES, score_ce=pa.array([0.9, None, 0.2, None, 0.4, 0.8, float("nan")], pa.float32()))
    target = find_target("st-scores")
    seen = survey(pairs, target, "score_ce")
    with pytest.raises(PairmineError, match=r"2 of 5 rows to export have no score_ce; run 'pairmine score'"):
        check_survey(target, seen, negatives=1, first_positive=False, scores="score_ce")
    with pytest.raises(PairmineError, match=r"1 of 4 rows to export"):
        check_survey(target, seen, negatives=1, first_positive=True, scores="score_ce")
    with pytest.raises(PairmineError, match=r"2 of 4 rows to export"):
        check_survey(target, seen, negatives=3, first_positive=False, scores="score_ce")


def test_a_pair_set_without_negatives_is_told_so_before_anything_is_written() -> None:
    seen = survey(pair_set([("q", "p", 1), ("q2", "n", 0)]))
    with pytest.raises(PairmineError, match="no training row for nemo-inline comes out of it; 2 queries have 1 pos"):
        check_survey(find_target("nemo-inline"), seen, negatives=None, first_positive=False, scores=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "st-pair-class", "positives": "first"}, "--positives has no effect on st-pair-class: every pair is a"),
        ({"to": "tevatron", "prompt": "x"}, "--prompt has no effect on tevatron"),
        ({"to": "flag-embedder", "passage_prompt": "x"}, "--passage-prompt has no effect on flag-embedder: it carries"),
        ({"to": "st-pair", "task": "normal"}, "--task has no effect on st-pair: it carries no kind of task"),
        ({"to": "st-margin", "scores": "dense"}, "the pair set has no score_dense (score columns: score_ce); run"),
        ({"to": "st-margin", "scores": "grade"}, "the pair set has no grade (score columns: score_ce)"),
    ],
)
def test_an_option_that_does_nothing_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PairmineError) as raised:
        kept(**options)
    assert message in str(raised.value)


QUERIES = st.lists(
    st.lists(st.tuples(st.sampled_from([0, 0, 1]), st.booleans(), st.sampled_from(["x", " "])), min_size=1, max_size=5),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(QUERIES, st.integers(1, 3), st.booleans(), st.lists(st.integers(1, 4), max_size=6))
def test_the_survey_counts_what_the_export_finds_however_the_rows_are_cut(
    queries: list[list[tuple[int, bool, str]]], negatives: int, first: bool, cuts: list[int]
) -> None:
    flat = [(f"q{number}", *row) for number, rows in enumerate(queries) for row in rows]
    pairs = pair_set(
        [(query, f"d{at}", label) for at, (query, label, _, _) in enumerate(flat)],
        document=[text for *_, text in flat],
        score_ce=pa.array([0.5 if scored else None for _, _, scored, _ in flat], pa.float32()),
    )
    surveyor, at = Surveyor("score_ce"), 0
    for length in [*cuts, len(flat)]:
        surveyor.add(pairs.slice(at, length))
        at += length
    seen = surveyor.result()
    assert seen == survey(pairs)
    missing, used = seen.unscored(negatives, negatives, first_positive=first)
    chosen = (
        export(pairs, to="st-ntuple", negatives=negatives, positives="first" if first else "each")
        .outcome.rejected["doc_id"]
        .to_pylist()
    )
    rows = [
        score
        for doc, score in zip(*(pairs[name].to_pylist() for name in ("doc_id", "score_ce")), strict=True)
        if doc not in chosen
    ]
    assert (missing, used) == (rows.count(None), len(rows))


# --- the command ----------------------------------------------------------------------------------


def written(table: pa.Table, path: Path) -> Path:
    sink = Sink(str(path), None)
    sink.write(table)
    sink.commit([])
    return path


class Command:
    """`pairmine export` over one pair set, in this process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *words: object) -> tuple[int, str, str]:
        from pairmine.cli.main import main

        self._monkeypatch.setattr(sys, "argv", ["pairmine", "export", *map(str, words)])
        self._monkeypatch.chdir(self.folder)
        with pytest.raises(SystemExit) as left:
            main()
        out, err = self._capsys.readouterr()
        return int(left.value.code or 0), out, err


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    written(pair_set(TWO_QUERIES, score_ce=SCORES), tmp_path / "pairs.parquet")
    return Command(tmp_path, capsys, monkeypatch)


def test_the_list_groups_formats_by_trainer_and_names_the_release_read(command: Command) -> None:
    code, out, _ = command("--list")
    assert code == 0
    assert out.startswith("sentence-transformers, read against 6.2.0\n  st-pair ")
    assert all(f"  {name} " in out for name in TARGETS)
    assert "\nTevatron, read against 0.1.0 and its repository of 2025\n" in out
    facts = {each["name"]: each for each in json.loads(command("--list", "--json")[1])}
    assert set(facts) == set(TARGETS)
    assert facts["st-margin"]["requires"] == ["--scores"]
    assert all(each["version"] and each["summary"] and each["formats"] for each in facts.values())
    assert command("--json")[0] == 2


def test_nothing_is_left_behind_where_a_requirement_is_not_met(command: Command) -> None:
    missing = pair_set(TWO_QUERIES, score_ce=pa.array([0.9, None, 0.2, 0.3, 0.4, 0.8, 0.7], pa.float32()))
    written(missing, command.folder / "pairs.parquet")
    code, _, err = command("pairs.parquet", "--to", "st-margin", "--scores", "ce", "-o", "out.parquet")
    assert (code, err) == (
        2,
        "pairmine: pairs.parquet: 1 of 7 rows to export have no score_ce; run 'pairmine score' on them first\n",
    )
    assert [path.name for path in command.folder.iterdir()] == ["pairs.parquet"]


@pytest.mark.parametrize(
    ("to", "output", "message"),
    [
        ("flag-embedder", "out.jsonl.gz", "out.jsonl.gz: FlagEmbedding opens files that end in .jsonl or .json alone"),
        ("simcse-pair", "out.CSV", "out.CSV: SimCSE opens files that end in .csv alone; name it so"),
        ("flag-embedder", "out.parquet", "out.parquet: FlagEmbedding reads jsonl, not parquet; change the ending"),
        ("simcse-pair", "tsv.csv", 'tsv.csv: SimCSE takes a file with "tsv" in its name for one parted by tabs'),
        ("simcse-pair", "out.jsonl", "out.jsonl: SimCSE reads csv, not jsonl"),
    ],
)
def test_a_file_that_the_trainer_would_not_open_is_not_written(
    command: Command, to: str, output: str, message: str
) -> None:
    code, _, err = command("pairs.parquet", "--to", to, "-o", output)
    assert code == 2
    assert message in err


def test_a_planned_order_is_kept_and_the_sidecar_names_the_batch_and_the_weight(command: Command) -> None:
    rows: list[Row] = [(f"q{i}", f"{kind}{i}", int(kind == "p")) for i in (3, 1, 2, 0) for kind in "pn"]
    batch = pa.array([0, 0, 0, 0, 1, 1, 1, 1], pa.int32())
    weight = pa.array([1, 0.5] * 4, pa.float32())
    written(pair_set(rows, batch=batch, weight=weight), command.folder / "pairs.parquet")
    for to in ("st-ntuple", "st-labeled-list"):
        assert command("pairs.parquet", "--to", to, "-o", f"{to}.parquet", "-q")[0] == 0
        train, beside = (pq.read_table(command.folder / f"{to}.parquet{end}") for end in ("", ".ids.parquet"))
        assert train.column(0).to_pylist() == [f"text of q{i}" for i in (3, 1, 2, 0)]
        assert not {"batch", "weight"} & set(train.column_names)
        assert beside["batch"].to_pylist() == [0, 0, 1, 1]
        assert beside["weight"].to_pylist() == [[1.0, 0.5]] * 4


def test_a_format_that_breaks_a_plan_says_so(command: Command) -> None:
    rows: list[Row] = [("q0", "p0", 1), ("q0", "n0", 0), ("q0", "n1", 0)]
    written(pair_set(rows, batch=pa.array([0, 0, 0], pa.int32())), command.folder / "pairs.parquet")
    assert (
        "2 training rows of 1 planned queries" in command("pairs.parquet", "--to", "st-triplet", "-o", "t.parquet")[2]
    )
    assert "planned" not in command("pairs.parquet", "--to", "st-ntuple", "-o", "n.parquet")[2]


@pytest.mark.parametrize("to", [name for name, target in TARGETS.items() if "parquet" in target.formats])
def test_parquet_and_json_lines_hold_the_same(command: Command, to: str) -> None:
    scores = ("--scores", "ce") if "scores" in find_target(to).takes else ()
    for ending in ("parquet", "jsonl"):
        assert command("pairs.parquet", "--to", to, *scores, "-o", f"out.{ending}", "-q")[0] == 0
    lines = [json.loads(line) for line in (command.folder / "out.jsonl").read_text().splitlines()]
    table = pq.read_table(command.folder / "out.parquet").to_pylist()
    assert [{key: _rounded(value) for key, value in row.items()} for row in table] == lines
    assert lines


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def test_an_unknown_format_is_answered_with_the_nearest(command: Command) -> None:
    code, _, err = command("pairs.parquet", "--to", "swift-embeding", "-o", "x.jsonl")
    assert code == 2
    assert 'no export target "swift-embeding"; did you mean swift-embedding?' in err


def test_a_survey_of_nothing_is_empty() -> None:
    assert Surveyor().result() == Survey()


def test_row_groups_count_the_texts_of_chats_so_that_memory_stays_bounded() -> None:
    chats = export(pair_set(TWO_QUERIES), to="reranker-sft").outcome.kept
    sizes = [sum(len(turn["role"]) + len(turn["content"]) for turn in chat) for chat in chats["messages"].to_pylist()]
    assert text_bytes(chats).tolist() == sizes


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data beside the checkout")
@pytest.mark.parametrize("to", ["st-triplet", "swift-legacy", "simcse-triplet", "tevatron", "nemo-inline"])
def test_real_triplets_reach_the_trainer_letter_by_letter(command: Command, to: str) -> None:
    with gzip.open(DATA / "negation" / "semantoneg_triplets.jsonl.gz", "rt", encoding="utf-8") as file:
        found = [json.loads(line) for line in islice(file, 300)]
    by_anchor = {each["anchor"]: (each["positives"][0], each["hard_negatives"][0]) for each in found}
    texts = [(anchor, *documents) for anchor, documents in by_anchor.items()]
    lines = (json.dumps(dict(zip(("anchor", "positive", "negative"), each, strict=True))) for each in texts)
    (command.folder / "triplets.jsonl").write_text("\n".join(lines))
    output = command.folder / f"out.{find_target(to).formats[0]}"
    assert command("triplets.jsonl", "--to", to, "-o", output, "-q")[0] == 0
    assert _texts_in(output) == texts


def _texts_in(path: Path) -> list[tuple[str, ...]]:
    """The three texts of each training row, however the format nests them."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return [tuple(row) for row in csv.reader(file)][1:]
    rows = (
        pq.read_table(path).to_pylist() if path.suffix == ".parquet" else map(json.loads, path.read_text().splitlines())
    )
    return [tuple(_leaves([value for name, value in row.items() if name != "query_id"])) for row in rows]


def _leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [value["text"]]
    return [value] if isinstance(value, str) else [leaf for each in value for leaf in _leaves(each)]


def test_more_negatives_than_there_are_is_answered_with_how_many_there_are(command: Command) -> None:
    code, _, err = command("pairs.parquet", "--to", "st-ntuple", "--negatives", "9", "-o", "out.parquet")
    assert (code, err) == (
        2,
        "pairmine: pairs.parquet: no training row for st-ntuple comes out of it; 2 queries have 3 positives "
        "and at most 3 negatives, and it needs 9; pass --negatives 3\n",
    )
