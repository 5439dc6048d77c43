"""`pairmine calibrate` from a shell: tables, JSON, a picture, labels, judges, mistakes."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from test_calibrate import ranked

from pairmine.cli.main import main
from pairmine.files.labels import Labels
from pairmine.stages.calibrate import RULE_NAMES

NAMES = ("label", "score_dense")
DATA = Path(__file__).parents[2] / "shared" / "data"
MODELS = Path(__file__).parents[2] / "shared" / "models"


class Shell:
    """Runs commands in this process, in a folder of their own that holds a mined set."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, heard: pytest.CaptureFixture[str]) -> None:
        patch.chdir(folder)
        self.folder, self._patch, self._heard = folder, patch, heard

    def __call__(self, words: str, typed: str = "") -> tuple[int, str, str]:
        """The exit code, standard output and what was said on stderr."""
        self._patch.setattr(sys, "argv", ["pairmine", *shlex.split(words)])
        self._patch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as left:
            main()
        heard = self._heard.readouterr()
        return int(left.value.code or 0), heard.out, heard.err


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    pq.write_table(ranked(20), tmp_path / "mined.parquet")
    return Shell(tmp_path, monkeypatch, capsys)


def qrels(shell: Shell, share: float = 0.3) -> None:
    pairs = pq.read_table(shell.folder / "mined.parquet")
    rows = pairs.filter(pc.is_null(pairs["label"])).select(["query_id", "doc_id"]).to_pylist()
    draw = np.random.default_rng(0)
    lines = [f"{row['query_id']} 0 {row['doc_id']} {int(draw.random() < share)}\n" for row in rows]
    (shell.folder / "qrels.txt").write_text("".join(lines))


def test_the_command_that_is_shown_leaves_what_the_table_says(shell: Shell) -> None:
    qrels(shell, 0.1)
    words = "calibrate mined.parquet --qrels qrels.txt --pick top --target-false-negatives 0.08 --json found.json"
    code, out, _ = shell(words)
    assert code == 0
    shown = out.splitlines()[-1].strip()
    assert shown.startswith("pairmine filter mined.parquet --by ")
    best = json.loads((shell.folder / "found.json").read_text())["target"]["best"]
    code, _, said = shell(shown.removeprefix("pairmine "))
    assert code == 0, said
    assert pq.read_table(shell.folder / "filtered.parquet").num_rows == best["rows"]
    assert best["false_negatives"]["rate"] <= 0.08


def test_each_line_of_a_table_has_a_cell_for_each_head(shell: Shell) -> None:
    qrels(shell, 0.1)
    _, out, _ = shell("calibrate mined.parquet --qrels qrels.txt --rule ranks=3,10")
    shown = [line.split() for line in out.split("\n\n")[1].splitlines()]
    assert " ".join(shown[1]) == "threshold pass negatives short dense rank false negatives"
    assert [len(line) for line in shown[2:]] == [9, 8, 8]


def test_a_rule_for_positives_shows_how_many_stay_in_table_json_and_picture(shell: Shell) -> None:
    qrels(shell, 0.1)
    words = "--rule consistency@dense=1,20 --rule ranks=3 --json found.json --plot curves.svg"
    code, out, said = shell(f"calibrate mined.parquet --qrels qrels.txt {words}")
    assert code == 0, said
    ofs, others = (part.splitlines() for part in out.split("\n\n")[1:3])
    assert ofs[0] == "consistency on score_dense"
    assert ofs[1].split()[:4] == ["threshold", "positives", "queries", "short"]
    assert others[1].split()[:4] == ["threshold", "pass", "negatives", "short"]
    assert max(map(len, ofs)) <= 80
    rule = json.loads((shell.folder / "found.json").read_text())["rules"][0]
    strict = rule["points"][-1]
    assert (rule["rule"], strict["value"]) == ("consistency", 1.0)
    assert ofs[-1].split()[1:3] == [str(strict["positives"]), str(strict["queries"] - strict["lost"])]
    assert "consistency on score_dense" in (shell.folder / "curves.svg").read_text()
    code, _, said = shell(f"filter mined.parquet {strict['flags']} -o kept.parquet")
    assert code == 0, said
    assert pq.read_table("kept.parquet").num_rows == strict["rows"]


def test_help_names_every_rule(shell: Shell) -> None:
    shown = "".join(shell("calibrate --help")[1].replace("│", " ").split())
    assert [name for name in RULE_NAMES if name not in shown] == []


def test_tables_fit_80_columns_and_end_with_thresholds_to_take_and_a_command_that_runs(shell: Shell) -> None:
    qrels(shell, 0.1)
    for evidence, head in (
        ("--feedback none", "left of naive"),
        ("--naive-rate 0.3 --feedback none", "false negatives"),
        ("--qrels qrels.txt", "false negatives"),
    ):
        code, out, said = shell(f"calibrate mined.parquet {evidence}")
        assert code == 0, said
        *above, command = out.splitlines()
        assert max(map(len, above)) <= 80
        assert "which threshold? the hardest picks that leave few queries short" in above
        assert above[-1].startswith("at most ")
        assert any(line.endswith(head) for line in above)
        code, _, said = shell(command.strip().removeprefix("pairmine "))
        assert code == 0, said


def test_hidden_positives_are_held_to_no_target_since_they_do_not_tell_how_many_are_false(shell: Shell) -> None:
    code, out, said = shell("calibrate mined.parquet --target-false-negatives 0.05")
    assert (code, out) == (2, "")
    assert said.splitlines()[-1].startswith("pairmine: --target-false-negatives: hidden positives tell which part")
    found = json.loads(shell("calibrate mined.parquet --feedback none --json -")[1])
    assert found["estimate"] == "of_naive"
    assert found["naive"]["of_naive"]["rate"] == 1.0
    found = json.loads(shell("calibrate mined.parquet --naive-rate 0.3 --feedback none --json -")[1])
    assert found["estimate"] == "false_negatives"
    assert found["naive"]["false_negatives"]["rate"] == 0.3


@pytest.mark.slow
def test_the_model_that_mined_measures_anew_what_hidden_positives_change(shell: Shell) -> None:
    texts = [f"{kind} of the number {at}, {kind[::-1]}" for kind in ("story", "recipe", "law") for at in range(20)]
    given = [{"query": f"a {text[:12]}", "document": text, "label": 1} for text in texts]
    given += [{"query": row["query"], "document": texts[at - 20], "label": 1} for at, row in enumerate(given[:40])]
    shell.folder.joinpath("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    shell.folder.joinpath("corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    code, _, said = shell(
        "mine pairs.jsonl --corpus corpus.jsonl --retriever st:all-MiniLM-L6-v2 --depth 20 --store kept -o x.parquet"
    )
    assert code == 0, said
    code, out, said = shell("calibrate x.parquet --rule suspects --store kept")
    assert code == 0, said
    assert "score_feedback without what is hidden: from the vectors of all-MiniLM-L6-v2 in kept" in said
    assert "no estimate" not in out + said
    assert shell("calibrate x.parquet --rule suspects --feedback st:all-MiniLM-L6-v2 --store kept")[1] == out
    code, out, said = shell("calibrate x.parquet --rule suspects --store none")
    assert code == 0
    assert "score_feedback is not computed anew, since --store none keeps no vectors; pass --feedback" in said
    assert "no estimate for suspects, since" in said
    pq.write_table(pq.read_table("x.parquet").replace_schema_metadata(None), "bare.parquet")
    assert (
        "the file does not tell which model made it" in shell("calibrate bare.parquet --rule suspects --store kept")[2]
    )


def test_json_takes_the_place_of_the_tables_on_standard_output_and_repeats_to_the_byte(shell: Shell) -> None:
    words = "calibrate mined.parquet --json - --rule max-score --plot curves.svg"
    code, out, _ = shell(words)
    picture = (shell.folder / "curves.svg").read_bytes()
    assert code == 0
    found = json.loads(out)
    assert {rule["rule"] for rule in found["rules"]} == {"max-score"}
    assert found["rules"][0]["points"][0]["false_negatives"]["rows"] > 0
    assert shell(words)[1] == out
    assert (shell.folder / "curves.svg").read_bytes() == picture


def test_hidden_positives_that_nothing_picks_are_said_to_tell_nothing(shell: Shell) -> None:
    pairs = ranked(20)
    low = [0.01 if label == 1 else score for label, score in zip(*(pairs[n].to_pylist() for n in NAMES), strict=True)]
    pairs = pairs.set_column(7, pairs.schema.field("score_dense"), pa.array(low, pa.float32()))
    pq.write_table(pairs, shell.folder / "low.parquet")
    for words in ("", "--naive-rate 0.3"):
        code, out, said = shell(f"calibrate low.parquet --rule ranks --by dense {words}")
        assert code == 0, said
        assert "none of the hidden positives is picked even without a rule" in said
        assert "which threshold? nothing here tells" in out


def test_a_rule_without_an_estimate_is_not_said_to_leave_much(shell: Shell) -> None:
    code, out, said = shell("calibrate mined.parquet --rule suspects --feedback none")
    assert code == 0, said
    assert "no estimate for suspects" in said
    assert "which threshold? nothing here tells" in out


def test_parts_that_no_threshold_reaches_are_named_as_parts(shell: Shell) -> None:
    code, out, said = shell("calibrate mined.parquet --rule max-score@ce=0.999 --by dense")
    assert code == 0, said
    assert "which threshold? none leaves 50% of naive's false negatives or less" in out


def test_without_evidence_there_are_curves_and_a_line_that_says_how_to_get_an_estimate(shell: Shell) -> None:
    pq.write_table(ranked(5, positives=1), shell.folder / "single.parquet")
    code, out, said = shell("calibrate single.parquet")
    assert code == 0
    assert "nothing to estimate false negatives from" in out
    assert "false negatives  " not in out
    assert "no query has two positives" in said
    assert "--qrels, --judge or --label" in said
    code, _, said = shell("calibrate single.parquet --target-false-negatives 0.05")
    assert (code, said.count("\n")) == (2, 1)
    assert "not how many there are" in said
    code, _, said = shell("calibrate single.parquet --naive-rate 0.4 --target-false-negatives 0.05")
    assert code == 2
    assert "wants an estimate" in said


def test_a_target_that_nothing_reaches_names_the_nearest_and_the_ways_on(shell: Shell) -> None:
    qrels(shell, 0.6)
    code, out, _ = shell("calibrate mined.parquet --qrels qrels.txt --target-false-negatives 0.01 --confident")
    assert code == 0
    assert "no threshold reaches it; the lowest is " in out
    assert "not reached" in out
    assert "pairmine filter" not in out


# ------------------------------------------------------------------ labels


def test_labels_are_kept_as_they_come_and_a_later_run_goes_on_behind_them(shell: Shell) -> None:
    words = "calibrate mined.parquet --label --labels labels.jsonl --sample 8"
    code, _, said = shell(words, "y\nmaybe\nn\n?\nq\n")
    assert code == 0, said
    assert '"maybe" is no answer' in said
    assert [row["label"] for row in lines(shell)] == [1, 0, None]
    code, _, said = shell(words, "n\nn\nn\nn\nn\n")
    assert code == 0
    assert said.count("Does the document answer") == 5
    assert [row["label"] for row in lines(shell)] == [1, 0, None, 0, 0, 0, 0, 0]
    code, out, said = shell("calibrate mined.parquet --labels labels.jsonl")
    assert code == 0
    assert "7 labels of candidates" in out
    assert "Does the document" not in said


def lines(shell: Shell) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (shell.folder / "labels.jsonl").read_text().splitlines()]


def test_a_labeller_sees_the_query_its_positives_and_the_document(shell: Shell) -> None:
    _, _, said = shell("calibrate mined.parquet --label --labels labels.jsonl --sample 3", "n\nq\n")
    first = lines(shell)[0]
    assert f"query: query {first['query_id']}" in said
    assert f"document: text of {first['doc_id']}" in said
    assert said.count("known positive: text of p") >= 3
    assert "(1 more known positives)" in said


def test_a_slip_is_mended_by_going_back_one(shell: Shell) -> None:
    words = "calibrate mined.parquet --label --labels labels.jsonl --sample 5"
    assert shell(words, "b\ny\ny\nb\nn\nq\n")[0] == 0
    with Labels("labels.jsonl") as labels:
        assert labels.table()["label"].to_pylist() == [1, 0]


def test_labels_that_cannot_be_kept_are_told_before_anything_is_asked(shell: Shell) -> None:
    code, _, said = shell("calibrate mined.parquet --label --labels nowhere/labels.jsonl", "y\n")
    assert (code, said.splitlines()[-1]) == (2, "pairmine: nowhere/labels.jsonl: no such file or directory")
    assert "Does the document" not in said


def test_a_text_cannot_send_commands_to_the_terminal(shell: Shell) -> None:
    pairs = pq.read_table("mined.parquet")
    texts = pa.array([f"\x1b[2J{text}\n\tend\x07" for text in pairs["document"].to_pylist()])
    pq.write_table(pairs.set_column(pairs.schema.get_field_index("document"), "document", texts), "odd.parquet")
    _, _, said = shell("calibrate odd.parquet --label --labels labels.jsonl", "n\nq\n")
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "document: \ufffd[2Jtext of " in said


def test_a_few_dozen_labels_of_what_is_picked_without_a_rule_give_the_naive_rate(shell: Shell) -> None:
    code, out, _ = shell("calibrate mined.parquet --label --labels labels.jsonl --sample 30", "n\n" * 30)
    assert code == 0
    assert "too little is known" in out
    assert "--rule none" in out
    words = "calibrate mined.parquet --rule none --label --labels naive.jsonl --sample 30"
    code, out, _ = shell(words, "y\n" * 9 + "n\n" * 21)
    assert code == 0
    command = out.splitlines()[-1].strip()
    assert command.startswith("pairmine calibrate mined.parquet --naive-rate 0.")
    code, out, _ = shell(f"{command.removeprefix('pairmine ')} --feedback none --target-false-negatives 0.1")
    assert code == 0
    assert "pairmine filter mined.parquet" in out


def test_texts_that_are_not_there_cannot_be_labelled(shell: Shell) -> None:
    pq.write_table(ranked(3).drop_columns(["document"]), "bare.parquet")
    code, _, said = shell("calibrate bare.parquet --label --labels labels.jsonl", "y")
    assert code == 2
    assert said.splitlines()[-1] == 'pairmine: the pair set has no "document" texts to score or embed'
    assert shell("calibrate bare.parquet")[0] == 0


def test_nothing_labelled_is_one_clear_line(shell: Shell) -> None:
    code, _, said = shell("calibrate mined.parquet --label --labels labels.jsonl", "")
    assert code == 2
    assert said.splitlines()[-1] == (
        "pairmine: labels.jsonl: no labels yet; run the same command with --label to give some"
    )


@pytest.mark.slow
def test_an_interrupt_keeps_every_answer_that_was_given(shell: Shell) -> None:
    command = [sys.executable, "-m", "pairmine", "calibrate", "mined.parquet", "--label", "--labels", "labels.jsonl"]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert started.stdin is not None
    started.stdin.write(b"y\nn\n")
    started.stdin.flush()
    until = time.monotonic() + 60
    while time.monotonic() < until and not ((shell.folder / "labels.jsonl").exists() and len(lines(shell)) == 2):
        time.sleep(0.1)
    os.kill(started.pid, signal.SIGINT)
    out, said = started.communicate(timeout=30)
    assert started.returncode == 130
    assert out == b""
    assert b"Traceback" not in said
    assert [row["label"] for row in lines(shell)] == [1, 0]


def test_a_torn_last_line_is_dropped_and_a_whole_one_without_its_end_kept(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    good = '{"query_id": "猫", "doc_id": "d1", "label": 1}'
    for torn, count in (('\n{"query_id": "q", "do', 1), ("", 1), ("\n", 1)):
        path.write_text(good + torn, encoding="utf-8")
        with Labels(str(path)) as labels:
            assert len(labels) == count
            labels.add("q", "d\n2", None)
        with Labels(str(path)) as labels:
            assert labels.table().to_pylist() == [
                {"query_id": "猫", "doc_id": "d1", "label": 1},
                {"query_id": "q", "doc_id": "d\n2", "label": None},
            ]


def test_two_who_label_into_one_file_keep_what_both_say(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    with Labels(str(path)) as one, Labels(str(path)) as other:
        one.add("q", "d1", 1)
        other.add("q", "d2", 0)
        one.add("q", "d3", 1)
    with Labels(str(path)) as both:
        assert both.table()["doc_id"].to_pylist() == ["d1", "d2", "d3"]


@pytest.mark.parametrize("bad", ["[]", '{"query_id": "q", "doc_id": 3, "label": 1}', '{"query_id": "q"}', "no json"])
def test_a_line_that_is_no_label_is_told_with_its_place(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(f'{bad}\n{{"query_id": "q", "doc_id": "d", "label": 0}}\n')
    from pairmine.errors import PairmineError

    with pytest.raises(PairmineError, match=r"labels.jsonl:1: is no label; write"):
        Labels(str(path))


# ------------------------------------------------------------------ judges


def test_a_judge_is_priced_first_and_asked_about_the_sample_alone(shell: Shell) -> None:
    words = "calibrate mined.parquet --judge fake: --sample 30 --rule ranks"
    code, out, _ = shell(f"{words} --dry-run")
    assert code == 0
    assert "samples        30" in out
    assert "--- prompt 1 ---" in out
    code, out, said = shell(words)
    assert code == 0
    assert "estimated from 30 verdicts of fake: (relevant from 0.5)" in out
    assert "30 replies asked for" in said
    code, _, said = shell(words)
    assert "30 replies from the ledger" in said


@pytest.mark.parametrize(
    ("words", "asked"), [("", "<query>"), ("--set max_words=9", "<query>"), ("--set relation=similarity", "<first>")]
)
def test_a_judge_is_asked_whether_the_document_answers_the_query(shell: Shell, words: str, asked: str) -> None:
    code, out, said = shell(f"calibrate mined.parquet --judge fake: --sample 3 --rule ranks --dry-run {words}")
    assert code == 0, said
    assert asked in out.partition("--- prompt 1 ---")[2]


@pytest.mark.slow
@pytest.mark.skipif(not MODELS.exists(), reason="needs ../shared/models beside the checkout")
def test_a_cross_encoder_judges_too(shell: Shell) -> None:
    words = f"calibrate mined.parquet --judge ce:{MODELS}/cross-encoder-minilm --sample 10 --rule ranks --store kept"
    code, out, said = shell(words)
    assert code == 0, said
    assert "10 verdicts of ce:cross-encoder-minilm" in out
    _, again, said = shell(words)
    assert "0 pairs scored, 10 found in kept" in said
    assert again == out


# ------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--qrels q --judge ce:x", "--qrels and --judge are several ways to tell false negatives; choose one"),
        ("--hide 0.3 --labels x", "--labels and --hide are several ways"),
        ("--label", "--label wants a file to keep labels in; pass --labels FILE"),
        ("--sample 5", "--sample has no effect without --judge"),
        ("--judged-only", "--judged-only has no effect without --qrels"),
        ("--dry-run", "--dry-run has no effect without --judge"),
        ("--confident", "--confident has an effect with --target-false-negatives alone"),
        ("--pick mmr", "--pick mmr: choose top, random"),
        ("--pick top --pool 9", "--pool has no effect with --pick top"),
        ("--pool 3", "--pool 3: fewer than the 5 --negatives"),
        ("--plot curves.png", "--plot curves.png: the picture is an SVG; give the file that ending"),
        ("--negatives 99999999999999999999", "negatives is 99999999999999999999; it must be 1 or more, and no more"),
        ("--rule ranks=2.5", "rule ranks=2.5: thresholds are whole numbers parted by commas, as in ranks=5,10"),
        ("--rule skip=2.5", "rule skip=2.5: thresholds are whole numbers parted by commas, as in skip=5,10"),
        ("--rule skip=-1", "skip -1 is out of range"),
        ("--rule consistency@dense=0", "consistency 0 is out of range"),
        ("--rule min-positive-score@ce=2", "min positive score 2 is outside what score_ce holds"),
        ("--rule min-score@ce=2", "min score 2 is outside what score_ce holds"),
        ("--rule ranks=inf", "rule ranks=inf: thresholds are whole numbers"),
        ("--rule max-score@ce=nan", "rule max-score@ce=nan: thresholds are numbers parted by commas"),
        ("--judge openai:m --store kept", "--store has no effect with --judge openai:m"),
        ("--judge ce:x --max-usd 3", "--max-usd has no effect with --judge ce:x"),
        ("--judge openai:m --judge-threshold 2", "--judge-threshold 2: verdicts are from 0 to 1"),
        ("--plot mined.parquet", "--plot mined.parquet: is an input too and would be lost"),
        ("--plot x.svg --json x.svg", "--json and --plot both name x.svg"),
        ("--qrels nowhere.tsv", "nowhere.tsv: no such file"),
        ("--qrels mined.parquet --split test", "--split test is for BEIR folders"),
        ("--rule margin", "mined.parquet: rule margin cannot be tried on this pair set; these can:"),
        ("--target-false-negatives 2", "--target-false-negatives"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(shell: Shell, words: str, line: str) -> None:
    code, out, said = shell(f"calibrate mined.parquet {words}")
    assert code == 2, said
    assert out == ""
    assert line in said.splitlines()[-1]


def test_a_set_without_rows_positives_or_candidates_is_one_line_with_its_name(shell: Shell) -> None:
    pairs = pq.read_table("mined.parquet")
    for name, rows in (
        ("empty", pairs.slice(0, 0)),
        ("lone", pairs.filter(pc.is_null(pairs["label"]))),
        ("bare", pairs.filter(pc.is_valid(pairs["label"]))),
    ):
        pq.write_table(rows, f"{name}.parquet")
        code, _, said = shell(f"calibrate {name}.parquet")
        assert code == 2
        assert said.splitlines()[-1].startswith(f"pairmine: {name}.parquet: no")


def test_judgments_with_grades_count_from_where_it_is_said(shell: Shell) -> None:
    pairs = pq.read_table("mined.parquet")
    rows = pairs.filter(pc.is_null(pairs["label"])).select(["query_id", "doc_id"])
    graded = rows.append_column("score", pa.array([at % 3 for at in range(rows.num_rows)]))
    pq.write_table(graded, "judged.parquet")
    rates = []
    for words in ("", "--positive-from 2"):
        _, out, _ = shell(f"calibrate mined.parquet --qrels judged.parquet --rule ranks --json - {words}")
        rates.append(json.loads(out)["naive"]["false_negatives"]["rate"])
    assert rates[0] > 1.6 * rates[1] > 0.2


# ------------------------------------------------------------------ real collections


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data beside the checkout")
@pytest.mark.parametrize("name", ["cranfield", "cisi"])
def test_on_a_judged_collection_the_estimates_are_the_counts_and_skipping_ranks_helps(shell: Shell, name: str) -> None:
    """Half of each query's positives known, all judgments as evidence: what the quality benchmark counts."""
    import gzip

    with gzip.open(DATA / name / "corpus.jsonl.gz", "rt", encoding="utf-8") as corpus:
        texts = {row["_id"]: f"{row['title']} {row['text']}".strip() for row in map(json.loads, corpus)}
    with gzip.open(DATA / name / "queries.jsonl.gz", "rt", encoding="utf-8") as queries:
        asked = {row["_id"]: row["text"] for row in map(json.loads, queries)}
    positives: dict[str, list[str]] = {}
    for line in (DATA / name / "qrels.tsv").read_text().splitlines()[1:]:
        query, doc, grade = line.split("\t")
        if float(grade) > 0 and texts.get(doc):
            positives.setdefault(query, []).append(doc)
    several = [query for query, docs in sorted(positives.items()) if len(docs) > 1][:12]
    positives = {query: positives[query][:12] for query in several}
    known = [(query, doc) for query in several for doc in positives[query][::2]]
    shell.folder.joinpath("known.jsonl").write_text(
        "".join(
            json.dumps({"query_id": q, "query": asked[q], "doc_id": d, "document": texts[d], "label": 1}) + "\n"
            for q, d in known
        )
    )
    wanted = {doc for query in several for doc in positives[query]} | set(list(texts)[:150])
    shell.folder.joinpath("corpus.jsonl").write_text(
        "".join(json.dumps({"id": doc, "text": texts[doc]}) + "\n" for doc in sorted(wanted) if texts[doc])
    )
    code, _, said = shell(
        "mine known.jsonl --corpus corpus.jsonl --retriever st:all-MiniLM-L6-v2 --depth 50 -o half.parquet"
    )
    assert code == 0, said
    judged = [{"query_id": query, "doc_id": doc, "score": 1} for query in several for doc in positives[query]]
    pq.write_table(pa.Table.from_pylist(judged), "judged.parquet")
    words = "calibrate half.parquet --pick top --json - --qrels judged.parquet"
    found = json.loads(shell(words)[1])
    relevant = {(query, doc) for query in several for doc in positives[query]}
    code, _, _ = shell(f"filter half.parquet {found['naive']['flags']} -o picked.parquet")
    assert code == 0
    picked = pq.read_table("picked.parquet")
    picks = picked.filter(pc.equal(picked["label"], 0)).select(["query_id", "doc_id"]).to_pylist()
    count = sum((pick["query_id"], pick["doc_id"]) in relevant for pick in picks)
    naive = found["naive"]["false_negatives"]["rate"]
    assert naive == pytest.approx(count / len(picks), abs=1e-6)
    assert naive > 0.15
    ranks = next(rule for rule in found["rules"] if rule["rule"] == "ranks")["points"]
    skipped = next(point for point in ranks if point["value"] == 10.0)["false_negatives"]
    assert skipped["rate"] < naive
    suspects = next(rule for rule in found["rules"] if rule["rule"] == "suspects")["points"]
    assert next(point for point in suspects if point["value"] == 10.0)["false_negatives"]["rate"] < naive
