"""`pairmine check --engine ray` says what the local engine says, to the last letter, however the rows lie in shards."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray_shell import RayShell
from test_check_pairs import Planted, clean, faulty

from pairmine.cli import check_shards

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RayShell:
    found = RayShell(tmp_path, monkeypatch, capsys)
    found.without_ray()
    return found


def as_local(shell: RayShell, words: str, *, more: str = "--shard-rows 100") -> dict[str, Any]:
    """Runs `check` with `words` by both engines, compares all that they say, and returns it."""
    code = shell(f"check {words} --json")
    local = shell.out
    assert shell(f"check {words} --json --engine ray {more}") == code, shell.said
    assert json.loads(shell.out) == json.loads(local)
    assert shell.out == local
    assert not list(shell.folder.glob(".*.ray"))
    found: dict[str, Any] = json.loads(local)
    return found


def assert_same(one: pa.Table, other: pa.Table) -> None:
    assert other.schema.equals(one.schema)
    assert str(other.to_pylist()) == str(one.to_pylist())  # where a score is NaN too


def counts(found: dict[str, Any]) -> dict[str, int]:
    return {each["name"]: each["count"] for each in found["tests"]}


@pytest.mark.parametrize("rows", [300, 5000])
def test_every_fault_is_found_with_the_same_examples_whatever_the_shards(shell: RayShell, rows: int) -> None:
    planted = faulty()
    pq.write_table(planted.table(), "faulty.parquet")
    found = as_local(shell, "faulty.parquet --examples 5 --seed 3", more=f"--shard-rows {rows}")
    assert {name: count for name, count in counts(found).items() if count} == {
        name: len(rows) for name, rows in planted.faults.items()
    }


def test_other_files_are_looked_through_by_every_worker(shell: RayShell) -> None:
    table = clean(30)
    pq.write_table(table, "pairs.parquet")
    rows = table.to_pylist()
    shell.write("eval.jsonl", [{"query": rows[8]["query"], "document": rows[8]["document"]}])
    shell.write(
        "corpus.jsonl", [{"id": row["doc_id"], "text": row["document"] + "!" * (row["label"])} for row in rows[4:]]
    )
    shell.write("queries.jsonl", [{"id": "q1", "text": rows[4]["query"]}])
    found = as_local(
        shell,
        "pairs.parquet --against eval.jsonl --splits eval.jsonl --corpus corpus.jsonl --queries queries.jsonl",
        more="--shard-rows 30",
    )
    names = ("leakage", "leaked-documents", "straddling", "unresolved-ids", "stale-texts")
    assert [counts(found)[name] for name in names] == [1, 1, 4, 116, 29]


def test_near_copies_between_splits_are_found_across_shards(shell: RayShell) -> None:
    planted = Planted(2)
    for _ in range(30):
        planted.query()
    rows = planted.rows
    for one, other, side in ((8, 100, "document"), (60, 20, "document"), (4, 30, "query"), (21, 70, "query")):
        rows[other][side] = rows[one][side] + " And a little more."
    rows[88]["document"] = rows[12]["document"]
    table = planted.table()
    split = ["dev" if at < 16 else "test" if at < 40 else "train" for at in range(len(rows))]
    pq.write_table(table.append_column("split", pa.array(split)), "splits.parquet")
    found = as_local(shell, "splits.parquet --only straddling --examples 20", more="--shard-rows 25")
    places = {each["place"] for each in found["tests"][0]["examples"]}
    assert {"row 13", "row 89", "row 101", "row 61", "row 71"} <= places


def test_mending_drops_the_same_rows_for_the_same_reasons(shell: RayShell) -> None:
    planted = faulty()
    pq.write_table(planted.table(), "faulty.parquet")
    said = {}
    for name, more in (("local", ""), ("ray", "--engine ray --shard-rows 400")):
        shell(f"check faulty.parquet --fix -o {name}.parquet --rejects {name}-rejects.parquet --json {more}")
        said[name] = shell.out
    assert said["ray"] == said["local"]
    assert_same(shell.table("local.parquet"), shell.table("ray.parquet"))
    assert_same(shell.table("local-rejects.parquet"), shell.table("ray-rejects.parquet"))
    shell("check faulty.parquet --fix -o folder --json --engine ray --shard-rows 400")
    assert shell.out == said["local"]
    assert_same(shell.table("local.parquet"), shell.table("folder"))
    assert as_local(shell, "folder")["rows"] == shell.table("local.parquet").num_rows


def test_the_files_of_a_folder_are_tested_as_one_set(shell: RayShell) -> None:
    """Each is cut by a worker, unless a query goes on in the next file."""
    table = clean(40)
    for folder, cuts in (("whole", (0, 80, 84, 160)), ("torn", (0, 81, 160))):
        Path(folder).mkdir()
        for at, (first, last) in enumerate(pairwise(cuts)):
            pq.write_table(table.slice(first, last - first), f"{folder}/{at}.parquet")
        assert as_local(shell, folder, more="--shard-rows 50")["passed"]


def test_labels_that_are_none_are_told_and_named_in_the_rejects(shell: RayShell) -> None:
    pair = {"query": "how?", "document": "so", "origin": "given"}
    labels = [1, 3, 0, None, -2.5, 1]
    shell.write("p.jsonl", [pair | {"query_id": f"q{at // 2}", "label": label} for at, label in enumerate(labels)])
    assert counts(as_local(shell, "p.jsonl", more="--shard-rows 1"))["bad-labels"] == 2
    shell("check p.jsonl --fix -o ray.parquet --rejects lost.parquet --engine ray --shard-rows 1")
    assert {"bad-labels (3)", "bad-labels (-2.5)"} <= set(shell.table("lost.parquet")["reason"].to_pylist())


def test_rows_that_come_together_once_others_are_dropped_are_tested_together(shell: RayShell) -> None:
    planted = Planted(3)
    rows = planted.query()
    between = planted.query()
    for row in between:
        row["document"] = ""
    rows[3]["document"] = rows[0]["document"] + " more"
    rows[0]["document"] = rows[3]["document"] + " " + " ".join(planted.sentence() for _ in range(6))
    rows[3]["document"] = rows[0]["document"] + " And more of it."
    planted.rows.remove(rows[3])
    planted.rows.append(rows[3])
    pq.write_table(planted.table(), "apart.parquet")
    found = as_local(shell, "apart.parquet --fix -o out.parquet", more="--shard-rows 1")
    assert counts(found)["near-positive-among-negatives"] == 1


@pytest.mark.parametrize("rows", [0, 1])
def test_a_set_of_no_row_or_of_one_is_told_as_it_is(shell: RayShell, rows: int) -> None:
    pq.write_table(clean(1).slice(0, rows), "few.parquet")
    assert as_local(shell, "few.parquet")["rows"] == rows


def test_tokens_are_counted_by_the_workers(shell: RayShell) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save("tokenizer.json")
    pq.write_table(faulty().table(), "faulty.parquet")
    found = as_local(shell, "faulty.parquet --only over-long --tokenizer . --max-tokens 20")
    assert counts(found)["over-long"] > 10


def test_what_one_machine_alone_can_do_is_refused_in_a_line(shell: RayShell) -> None:
    shell.write("train.jsonl", [{"query": "a", "pos": ["b"], "neg": ["c"]}])
    assert shell("check train.jsonl --engine ray") == 2
    assert "is a file of flag-embedder, which one machine reads; leave out --engine ray" in shell.said

    assert shell("check train.jsonl --work-folder w") == 2
    assert "--work-folder has no effect without --engine ray" in shell.said


def test_a_run_that_was_interrupted_repeats_only_the_shards_that_are_missing(
    shell: RayShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(faulty().table(), "faulty.parquet")
    shell("check faulty.parquet --json")
    local = shell.out
    looked: list[int] = []
    plain = check_shards.Checker

    def checker(settings: Any, first: int) -> Any:
        looked.append(first)
        if len(looked) == 5:
            raise KeyboardInterrupt
        return plain(settings, first)

    monkeypatch.setattr(check_shards, "Checker", checker)
    words = "check faulty.parquet --json --engine ray --shard-rows 100 --work-folder ."
    assert shell(words) == 130
    done = looked[:4]
    looked[:] = [-1] * 10
    shell(words)
    assert not {*done} & {*looked[10:]}
    assert len(looked[10:]) == 7
    assert shell.out == local


def test_what_is_gathered_merges_in_any_order() -> None:
    from pairmine.stages.check.chunk import chunks_of
    from pairmine.stages.check.stage import Checker, Settings, report_of, run_checks, show_rows

    table = faulty().table()
    settings = Settings()
    whole = run_checks(lambda: [table], settings)

    class Again:
        def near_straddling(self, *facts: Any) -> None:
            """There are no splits."""

        def show(self, wanted: list[int]) -> Any:
            return show_rows(lambda: [table], wanted)

    parts = []
    for chunk in chunks_of([table.slice(at, 40) for at in range(0, table.num_rows, 40)], 40):
        checker = Checker(settings, chunk.first)
        checker.add(chunk)
        parts.append(checker.gathered)
    gathered = settings.gathered()
    for part in parts[::-2] + parts[-2::-2]:
        gathered.merge(part)
    assert not gathered.cuts_a_query
    report = report_of(gathered, settings, Again())
    assert report.findings == whole.findings
    assert report.drops.tolist() == whole.drops.tolist()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.skipif(not (DATA / "cisi").is_dir(), reason=f"no collection cisi in {DATA}")
def test_a_cluster_says_what_one_process_says_of_real_judgments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ray_cluster: str
) -> None:
    shell = RayShell(tmp_path, monkeypatch, capsys)
    pq.write_table(mined(), "pairs.parquet")
    where = f"--ray-address {ray_cluster} --shard-rows 2000"
    shell("check pairs.parquet --fix -o local.parquet --json --examples 5")
    local = shell.out
    shell(f"check pairs.parquet --fix -o ray.parquet --json --examples 5 --engine ray {where}")
    assert shell.out == local
    assert json.loads(local)["rows"] > 5000
    assert_same(shell.table("local.parquet"), shell.table("ray.parquet"))


def mined() -> pa.Table:
    """Pairs of titles and abstracts of CISI, each with some abstracts drawn at random as negatives."""
    import gzip
    import random

    from pairmine.schema import as_pairs

    with gzip.open(DATA / "cisi" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        corpus = [json.loads(line) for line in lines]
    draw, rows = random.Random(0), []
    for document in corpus:
        for other in [document, *draw.sample(corpus, 4)]:
            label, origin = (1, "given") if other is document else (0, "fill:random")
            texts = {"query": document["title"], "doc_id": other["_id"], "document": other["text"]}
            rows.append({"query_id": f"t{document['_id']}", **texts, "label": label, "origin": origin})
    return as_pairs(pa.Table.from_pylist(rows))
