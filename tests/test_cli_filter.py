"""`pairmine filter` from a shell: gates, text rules and weights, what the summary says, mistakes."""

from __future__ import annotations

import gzip
import json
import math
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pairmine.cli.filter import filter_
from pairmine.cli.main import main
from pairmine.stages.filter.rules import RULES

DATA = Path(__file__).parents[2] / "shared" / "data"


class Shell:
    """Runs commands in this process, in a folder of their own."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, heard: pytest.CaptureFixture[str]) -> None:
        patch.chdir(folder)
        self.folder, self._patch, self._heard = folder, patch, heard

    def __call__(self, words: str) -> tuple[int, str]:
        """The exit code and what was said on stderr."""
        self._patch.setattr(sys, "argv", ["pairmine", *words.split()])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), self._heard.readouterr().err

    def write(self, name: str, rows: list[dict[str, Any]]) -> None:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def rows(self, name: str) -> list[dict[str, Any]]:
        if name.endswith(".parquet"):
            return list(pq.read_table(self.folder / name).to_pylist())
        return [json.loads(line) for line in (self.folder / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


TRIPLETS = [
    {"query": "A man plays a guitar.", "document": "A man is making music.", "label": 1, "score_st": 0.82},
    {"query": "A man plays a guitar.", "document": "A man plays a drum.", "label": 0, "score_st": 0.7},
    {"query": "猫が寝ている。", "document": "ネコは眠っている。", "label": 1, "score_st": 0.77},
    {"query": "猫が寝ている。", "document": "猫が走っている。", "label": 0, "score_st": 0.6},
    {"query": "Two dogs run.", "document": "Dogs are running.", "label": 1, "score_st": 0.93},
    {"query": "Two dogs run.", "document": "Two dogs walk slowly.", "label": 0, "score_st": 0.95},
]


def test_a_gate_and_a_weight_and_what_the_summary_says_of_them(shell: Shell) -> None:
    shell.write("t.jsonl", TRIPLETS)
    code, said = shell(
        "filter t.jsonl --gate st:0.75:0.80 --weight gaussian-decay -o out.parquet --rejects r.jsonl --summary s.json"
    )
    assert code == 0, said
    assert [(row["document"], row["label"], round(row["weight"], 3)) for row in shell.rows("out.parquet")] == [
        ("A man is making music.", 1, 1),
        ("A man plays a drum.", 0, round(1 - math.exp(-0.5 * (0.12 / 0.17) ** 2), 3)),
        ("Dogs are running.", 1, 1),
        ("Two dogs walk slowly.", 1, 1),
    ]
    assert [(row["document"], row["reason"]) for row in shell.rows("r.jsonl")] == [
        ("ネコは眠っている。", "between the gates 0.75 and 0.8 of score_st"),
        ("猫が走っている。", "query has no positive"),
    ]
    summary = json.loads((shell.folder / "s.json").read_text())
    assert summary["rows_in"] == 6
    assert summary["rejected"] == {"between the gates 0.75 and 0.8 of score_st": 1, "query has no positive": 1}
    assert summary["notes"] == {
        "gaussian-decay: rows below 1": 1,
        "meant as negatives, made positives by the gate": 1,
        "queries with fewer than 5 negatives": 2,
    }


def test_a_gate_and_a_decay_pass_where_nothing_is_picked(shell: Shell) -> None:
    shell.write("t.jsonl", TRIPLETS)
    code, said = shell(
        "filter t.jsonl --no-pick --gate st:0.75:0.80 --weight gaussian-decay -o out.jsonl --rejects r.jsonl"
    )
    assert code == 0, said
    assert [row["document"] for row in shell.rows("out.jsonl")] == [
        "A man is making music.",
        "A man plays a drum.",
        "Dogs are running.",
        "Two dogs walk slowly.",
    ]
    assert [(row["document"], row["reason"]) for row in shell.rows("r.jsonl")] == [
        ("ネコは眠っている。", "between the gates 0.75 and 0.8 of score_st"),
        ("猫が走っている。", "query has no positive"),
    ]


def test_swap_and_curate_are_the_two_stages_of_multicsr(shell: Shell) -> None:
    shell.write("t.jsonl", TRIPLETS)
    code, said = shell("filter t.jsonl --swap-by st --curate st:0.9:0.9 --negatives 1 -o out.jsonl")
    assert code == 0, said
    assert [(row["document"], row["label"]) for row in shell.rows("out.jsonl")] == [("Two dogs walk slowly.", 1)]
    assert "pairs swapped for their scores" in said


def test_graded_rows_without_scores_and_labels_are_weighed_where_they_stand(shell: Shell) -> None:
    rows = [
        {"query_id": "q", "query": "a", "doc_id": f"d{n}", "document": f"text {n}", "grade": grade}
        for n, grade in enumerate((0.2, 1.0, 0.5))
    ]
    shell.write("g.jsonl", rows)
    code, said = shell("filter g.jsonl --no-pick --weight ordinal:tau=1 -o out.jsonl")
    assert code == 0, said
    kept = shell.rows("out.jsonl")
    assert [row["doc_id"] for row in kept] == ["d0", "d1", "d2"]
    assert [round(row["weight"], 4) for row in kept] == [round(math.exp(-0.8), 4), 1, round(math.exp(-0.5), 4)]
    assert [row["label"] for row in kept] == [1, 1, 1]  # what a file without labels is read as


def test_a_set_in_which_all_is_decided_needs_no_score(shell: Shell) -> None:
    shell.write("g.jsonl", [{**row, "grade": row["score_st"], "score_st": None} for row in TRIPLETS])
    rows = [{key: value for key, value in row.items() if key != "score_st"} for row in shell.rows("g.jsonl")]
    shell.write("g.jsonl", rows)
    code, said = shell("filter g.jsonl --curate grade:0.8:0.8 --negatives 1 -o out.jsonl")
    assert code == 0, said
    assert [row["document"] for row in shell.rows("out.jsonl")] == [
        "A man is making music.",
        "A man plays a drum.",
        "Dogs are running.",
    ]


def test_a_weight_that_looks_at_all_rows_does_not_hang_on_how_they_come(shell: Shell) -> None:
    rows = [
        {
            "query_id": f"q{q}",
            "query": f"alpha beta {q % 7}",
            "doc_id": f"d{q}-{n}",
            "document": f"{'alpha' if n % 3 else 'gamma'} {'beta' if q % 2 else 'delta'} {n}",
            "label": 1 if n == 0 else None,
            "score_st": math.sin(q * 5 + n) / 2,
        }
        for q in range(60)
        for n in range(6)
    ]
    shell.write("m.jsonl", rows)
    (shell.folder / "shards").mkdir()
    shell.write("shards/a.jsonl", rows[:121])
    shell.write("shards/b.jsonl", rows[121:])
    options = (
        "--pick inverse-propensity --negatives 2 --no-relative-margin --weight inverse-propensity --weight importance"
    )
    for source, out in (("m.jsonl", "whole.jsonl"), ("shards", "parts.jsonl")):
        code, said = shell(f"filter {source} {options} -o {out}")
        assert code == 0, said
    assert shell.rows("whole.jsonl") == shell.rows("parts.jsonl")
    assert len(shell.rows("whole.jsonl")) == 180
    assert len({round(row["weight"], 3) for row in shell.rows("whole.jsonl")}) > 5


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--weight dclr", 'pairmine: weight "dclr": choose punish-similar, gaussian-decay'),
        ("--weight punish-similar:by=ce", "pairmine: punish-similar: no column ce; columns to choose from: score_st"),
        ("--gate st", "pairmine: gate st: write it as COLUMN:LOW:HIGH"),
        ("--edit-distance 4", "pairmine: --edit-distance 4: write it as 1:4, 1: or :4"),
        (
            "--suspects 3 --suspects-pool 5",
            "pairmine: --suspects-pool 5: none of them is suspected, since the rule leaves the 5 --negatives that are "
            "picked; look at more of a query's candidates",
        ),
        ("--edits-of all", "pairmine: --edits-of has an effect with --max-edit-ratio or --edit-distance alone"),
        ("--no-pick --negatives 3", "pairmine: --negatives has no effect with --no-pick; leave one of them out"),
        (
            "--no-pick --by score_ce",
            "pairmine: --by has no effect with --no-pick, since no margin, score limit or weight asks for it; "
            "leave one out",
        ),
        ("--no-pick --shortage drop", "pairmine: --shortage has no effect with --no-pick; leave one of them out"),
        ("--complexity many", "pairmine: complexity many: write it as WORDS[:CLAUSES], as in 5 or 5:2"),
        (
            "--drop-same-cluster",
            "pairmine: no cluster column, so no clusters to compare; run 'pairmine mine --clusters'",
        ),
        (
            "--no-pick --by ce --max-score 0.5",
            "pairmine: t.jsonl: no column score_ce (found: score_st); run 'pairmine score' first",
        ),
        ("--pick best", "pairmine: --pick best: choose top, random, simans, softmax"),
        ("--negatives 99999999999999999999", "pairmine: negatives is 99999999999999999999; it must be 1 or more, and"),
        ("--pool 99999999999999999999", "pairmine: pool is 99999999999999999999; it must be 1 or more, and no more"),
        ("--pick random:pool=1e30", "pairmine: pick random: pool=1e30 is out of range; a whole number, 1 to 1e+09"),
        ("--pick simans:a=x", 'pairmine: pick simans: a=x: "x" is no number; it is 0 or more'),
        ("--anchor median --no-relative-margin", "pairmine: --anchor has no effect, since no margin is held to it"),
        ("--anchor median --no-pick", "pairmine: --anchor has no effect, since no margin is held to it"),
        ("--gate st:0.7:0.8 --pick top", "pairmine: --pick has no effect with --gate, which leaves no candidate"),
        ("--gate st:0.7:0.8 --skip 2", "pairmine: --skip has no effect with --gate, which leaves no candidate"),
        (
            "--by rank --suspects 3",
            "pairmine: t.jsonl: no column score_rank (found: score_st); run 'pairmine score' first",
        ),
    ],
)
def test_a_mistake_gets_one_line_and_no_output(shell: Shell, options: str, line: str) -> None:
    shell.write("t.jsonl", TRIPLETS)
    code, said = shell(f"filter t.jsonl {options} -o out.jsonl")
    assert code == 2
    assert [found for found in said.splitlines() if found.startswith(line)], said
    assert "Traceback" not in said
    assert not (shell.folder / "out.jsonl").exists()


MINED = [
    {
        "query_id": "q",
        "query": "a",
        "doc_id": doc,
        "document": f"text {doc}",
        "label": label,
        "origin": origin,
        **scores,
    }
    for doc, label, origin, scores in (
        ("p", 1, "given", {"score_ce": 0.9, "score_dense": 0.8, "score_feedback": None}),
        ("high", None, "mine:x", {"score_ce": 0.95, "score_dense": 0.5, "score_feedback": 0.4}),
        ("near", None, "mine:x", {"score_ce": 0.3, "score_dense": 0.79, "score_feedback": 0.1}),
        ("far", None, "mine:x", {"score_ce": 0.2, "score_dense": 0.4, "score_feedback": -0.1}),
        ("written", 0, "generate:x", {"score_ce": 0.95, "score_dense": 0.4, "score_feedback": 0.0}),
    )
]


def test_every_rule_is_counted_on_the_same_candidates_on_the_screen_and_in_the_summary(shell: Shell) -> None:
    shell.write("m.jsonl", MINED)
    code, said = shell(
        "filter m.jsonl --max-score ce:0.9 --relative-margin dense:0.05 --action max-score=relabel --no-suspects "
        "-o out.jsonl --summary s.json"
    )
    assert code == 0, said
    assert [(row["doc_id"], row["label"], row["decision"]) for row in shell.rows("out.jsonl")] == [
        ("p", 1, None),
        ("high", 1, "relabelled by max-score"),
        ("written", 0, None),
        ("far", 0, None),
    ]
    table = """pairmine: rules, each held against the 3 candidates that entered
  rule                        fires  share      acted on  exempt
  max-score ce:0.9                1  33.3%  1 relabelled       1
  relative-margin dense:0.05      1  33.3%    1 rejected       0
"""
    assert table in said
    rules = json.loads((shell.folder / "s.json").read_text())["rules"]
    assert rules[0] == {
        "rule": "max-score ce:0.9",
        "action": "relabel",
        "among": "candidates",
        "of": 3,
        "fires": 1,
        "acted": 1,
        "exempt": 1,
    }


@pytest.mark.parametrize(
    ("options", "rules"),
    [
        ("", ["suspects 10"]),
        ("--relative-margin 0.1", ["relative-margin ce:0.1", "suspects 10"]),
        ("--no-suspects", ["relative-margin ce:0.05"]),
        ("--no-suspects --no-relative-margin", []),
        ("--suspects 2 --suspects-by dense,feedback --suspects-pool 50", ["suspects 2"]),
        ("--no-pick", []),
        ("--no-pick --by ce --suspects 1", ["suspects 1"]),
    ],
)
def test_suspects_stand_in_for_the_margin_where_there_is_feedback(shell: Shell, options: str, rules: list[str]) -> None:
    shell.write("m.jsonl", MINED)
    code, said = shell(f"filter m.jsonl {options} -o out.jsonl --summary s.json")
    assert code == 0, said
    assert [one["rule"] for one in json.loads((shell.folder / "s.json").read_text())["rules"]] == rules


@pytest.mark.parametrize(
    ("options", "by", "told_by"),
    [
        ("", "score_dense", "dense, feedback, ce"),
        ("--by ce", None, "ce, feedback"),
        ("--suspects 3", "score_dense", "dense, feedback, ce"),
        ("--max-score 0.9", "score_ce", "ce, feedback"),
        ("--suspects-by dense,feedback", "score_dense", "dense, feedback"),
    ],
)
def test_what_decides_and_what_suspects_are_told_by_is_said(
    shell: Shell, options: str, by: str | None, told_by: str
) -> None:
    shell.write("m.jsonl", MINED)
    code, said = shell(f"filter m.jsonl {options} -o out.jsonl")
    assert code == 0, said
    assert by is None or f"deciding by {by}" in said
    assert f"suspects are told by {told_by}\n" in said


def test_a_score_that_a_file_of_text_left_without_its_scale_is_told(shell: Shell) -> None:
    shell.write("m.jsonl", MINED)
    assert (
        "score_ce comes without a scale, which jsonl, csv and tsv do not hold" in shell("filter m.jsonl -o o.jsonl")[1]
    )
    for options in ("--suspects-by dense,feedback --suspects 1", "--no-suspects"):
        assert "without a scale" not in shell(f"filter m.jsonl {options} -o o.jsonl")[1]


def test_without_feedback_the_margin_is_the_rule(shell: Shell) -> None:
    shell.write("m.jsonl", [{key: row[key] for key in row if key != "score_feedback"} for row in MINED])
    code, said = shell("filter m.jsonl -o out.jsonl --summary s.json")
    assert code == 0, said
    assert [one["rule"] for one in json.loads((shell.folder / "s.json").read_text())["rules"]] == [
        "relative-margin ce:0.05"
    ]
    code, said = shell("filter m.jsonl --suspects-pool 9 -o out.jsonl")
    assert (code, said.splitlines()[-1]) == (
        2,
        "pairmine: --suspects-pool has no effect without --suspects; leave one of them out",
    )


def test_negatives_from_elsewhere_are_not_held_to_nothing(shell: Shell) -> None:
    """A set of FlagEmbedding's shape has no scores: keeping every negative would look like having cleaned it."""
    shell.write("flag.jsonl", [{"query": "a b", "pos": ["x y"], "neg": ["n1", "n2"]}])
    code, said = shell("filter flag.jsonl --hold * -o out.jsonl")
    assert code == 2
    assert said.splitlines()[-1].startswith("pairmine: hold * has no effect, since there is neither a rule")
    assert shell("filter flag.jsonl -o out.jsonl")[0] == 0


def test_an_anchor_that_suspects_leave_without_a_margin_is_refused(shell: Shell) -> None:
    shell.write("m.jsonl", MINED)
    code, said = shell("filter m.jsonl --anchor median -o out.jsonl")
    assert code == 2
    assert "--anchor has no effect, since no margin is held to it (suspects stand in for the usual one" in said
    for words in ("--absolute-margin dense:0.1", "--relative-margin dense:0.1", "--no-suspects", "--pick simans"):
        code, said = shell(f"filter m.jsonl --anchor median {words} -o out.jsonl")
        assert code == 0, said


def test_feedback_cannot_decide_and_the_line_says_what_can(shell: Shell) -> None:
    shell.write("m.jsonl", MINED)
    code, said = shell("filter m.jsonl --by feedback -o out.jsonl")
    assert code == 2
    assert "score_feedback says how near a document is to the known positives" in said


def test_a_judge_of_what_lies_between_does_not_decide_the_rest(shell: Shell) -> None:
    judged = [
        {name: value for name, value in row.items() if name not in ("score_ce", "score_feedback")}
        | {"score_llm": 0.9 if row["doc_id"] == "high" else None}
        for row in MINED
    ]
    shell.write("m.jsonl", judged)
    for judge in ("llm", "score_llm"):
        words = f"--candidate-gate dense:0.45:0.6:judge={judge}:0.5 --no-relative-margin --negatives 1 --pick top"
        code, said = shell(f"filter m.jsonl {words} -o out.jsonl")
        assert code == 0, said
        assert "deciding by score_dense" in said
    code, said = shell("filter m.jsonl -o out.jsonl")
    assert code == 2
    assert "have no score_llm; run 'pairmine score' first, or decide by another column (--by)" in said


def test_nobody_is_told_to_fill_what_was_filled(shell: Shell) -> None:
    rows = [{**row, "query_id": f"q{n}", "score_feedback": None} for n in range(6) for row in MINED]
    shell.write("m.jsonl", rows)
    words = "filter m.jsonl --no-suspects --max-score dense:0.1 --negatives 9 -o out.jsonl"
    code, said = shell(words)
    assert code == 0
    assert "6 queries are short of negatives" in said
    code, said = shell(f"{words} --shortage fill")
    assert code == 0
    assert "queries are short" not in said
    assert "queries with fewer than 9 negatives before they were filled" in said


@pytest.mark.parametrize("columns", ["ce,", ",", "dense,,ce"])
def test_a_list_of_columns_with_a_gap_is_refused(shell: Shell, columns: str) -> None:
    shell.write("m.jsonl", MINED)
    code, said = shell(f"filter m.jsonl --suspects 1 --suspects-by {columns} -o out.jsonl")
    assert (code, said.splitlines()[-1]) == (
        2,
        f"pairmine: --suspects-by {columns}: write it as NAME,NAME, as dense,feedback",
    )


def test_a_pattern_of_origins_that_fits_nothing_is_said(shell: Shell) -> None:
    shell.write("m.jsonl", MINED)
    code, said = shell("filter m.jsonl --hold generate:* --exempt nobody:* -o out.jsonl")
    assert code == 0, said
    assert "pairmine: --exempt nobody:*: fits the origin of no such row; 'pairmine stats' shows the origins" in said
    assert "--hold" not in said


def test_the_help_names_the_rules_in_the_order_in_which_they_act() -> None:
    text = filter_.__doc__ or ""
    places = [text.index(f" {kind.name}") for kind in RULES]
    assert places == sorted(places)


def test_chains_of_real_grades_are_cut_where_they_first_rise(shell: Shell) -> None:
    path = DATA / "sick" / "train.jsonl.gz"
    if not path.exists():
        pytest.skip("no sick collection beside this checkout")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file]
    chains: dict[str, list[dict[str, Any]]] = {}
    for one in pairs:
        chain = chains.setdefault(one["sentence1"], [])
        grade = round((one["score"] - 1) / 4, 3)
        chain.append({"query": one["sentence1"], "document": one["sentence2"], "grade": grade, "rank": len(chain) + 1})
    expected = []
    for chain in chains.values():
        falls = [at == 0 or row["grade"] <= chain[at - 1]["grade"] for at, row in enumerate(chain)]
        expected += chain[: falls.index(False) if False in falls else None]
    shell.write("l.jsonl", [row for chain in chains.values() for row in chain])
    code, said = shell("filter l.jsonl --no-pick --monotone grade:0:cut -o out.jsonl")
    assert code == 0, said
    kept = [(row["query"], row["document"]) for row in shell.rows("out.jsonl")]
    assert kept == [(row["query"], row["document"]) for row in expected]
    assert len(pairs) * 0.5 < len(kept) < len(pairs)
