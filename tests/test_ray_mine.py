"""`pairmine mine --engine ray` gives what the local engine gives, however the corpus and the queries lie in shards."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import random
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray_shell import RayShell, assert_same

from pairmine.cli import mine_shards
from pairmine.engines.mining import read_told, told_by
from pairmine.engines.shards import InProcess
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files.lineage import decode
from pairmine.files.sharded import WorkFolder
from pairmine.stages.mine.search import Search

CISI = Path(__file__).parents[2] / "shared" / "data" / "cisi"
WORDS = ["blood", "heart", "lung", "ärzte", "研究", "study", "result", "of", "the", "patients", "acute", "Read_CSV"]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RayShell:
    found = RayShell(tmp_path, monkeypatch, capsys)
    found.without_ray()
    monkeypatch.setattr(mine_shards, "_POSTINGS", 100)
    monkeypatch.setattr(mine_shards, "_FEWEST_QUERIES", 3)
    found.write("corpus.jsonl", corpus(60))
    found.write("pairs.jsonl", positives(13))
    return found


def corpus(count: int) -> list[dict[str, Any]]:
    """Documents with copies among them, near copies, a blank one, and titles for some."""
    draw = random.Random(7)
    rows: list[dict[str, Any]] = []
    for at in range(count):
        text = " ".join(draw.choices(WORDS, k=draw.randint(1, 14)))
        text = rows[at - 7]["text"] if at % 11 == 10 else "" if at == 20 else text
        text = f"{rows[at - 5]['text']} of" if at % 13 == 12 else text
        rows.append({"id": f"d{at}", "text": text, "title": f"title {at % 4}" if at % 3 == 0 else None, "page": at % 9})
    return rows


def positives(queries: int) -> list[dict[str, Any]]:
    """Queries with a positive or two and a negative, two of the same text, one without a positive."""
    draw = random.Random(3)
    documents = corpus(60)
    rows = []
    for query in range(queries):
        text = "heart of the study" if query in (2, 5) else " ".join(draw.choices(WORDS, k=4))
        for at in range(1 + query % 3):
            doc = documents[draw.randrange(60)]
            label = 0 if at == 2 or query == 4 else 1
            rows.append(
                {"query_id": f"q{query}", "query": text, "doc_id": doc["id"], "label": label, "origin": "given"}
            )
        if query % 5 == 0:
            row = {"query_id": f"q{query}", "query": text, "doc_id": f"own{query}", "label": 1, "origin": "given"}
            rows.append(row | {"document": "the patients of the heart study"})
    return [row | {"document": row.get("document")} for row in rows]


SOME = (
    "--retriever fake: --retriever bm25",
    "--retriever fake: --search-with positive --ranks 2:5 --near-cosine 0.05",
)
OTHERS = (
    "--retriever fake:",
    "--retriever bm25 --search-with positive",
    "--retriever fake: --retriever bm25 --fuse rrf --keep 5",
    "--retriever fake: --retriever bm25 --fuse round-robin --ranks 2:4",
    "--retriever fake: --no-near --no-feedback --group-column page",
    "--retriever bm25 --no-title --near 0.5",
    "--retriever fake: --score-range :0.4",
    "--retriever a=fake: --retriever b=fake: --vector-type int8",
)


@pytest.mark.parametrize("options", [*SOME, *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)])
def test_ray_mines_as_the_local_engine_does(shell: RayShell, options: str) -> None:
    kept = "--store none" if "fake" in options else ""
    local, ray = shell.same(f"mine pairs.jsonl --corpus corpus.jsonl --depth 6 {kept} {options}", rows=20)
    assert counts(ray) == counts(local)
    assert lineage("ray.parquet") == lineage("local.parquet")


def counts(said: str) -> list[str]:
    """The lines for people but those on how far it is, which come on a slow machine."""
    return [line for line in said.splitlines() if not re.match("pairmine mine: .* in [0-9]", line)]


def lineage(name: str) -> list[dict[str, Any]]:
    """What a file says of its making."""
    return decode(pq.read_metadata(name).metadata, name)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 40])
def test_the_number_of_workers_and_shards_changes_nothing(shell: RayShell, workers: int) -> None:
    shell.pool.workers = workers
    words = "mine pairs.jsonl --corpus corpus.jsonl --depth 60 --store none --retriever fake: --retriever bm25"
    shell.same(words, rows=1 if workers == 40 else 1000)


@pytest.mark.slow
def test_a_folder_of_parts_is_mined_part_by_part_into_another(shell: RayShell) -> None:
    on_ray = "--engine ray --shard-rows 20"
    words = "--corpus corpus.jsonl --depth 5 --retriever bm25"
    assert shell(f"mine pairs.jsonl {words} -o first {on_ray} --rejects masked") == 0, shell.said
    assert shell(f"mine pairs.jsonl {words} -o first.parquet --rejects masked.parquet") == 0, shell.said
    words = "--corpus corpus.jsonl --depth 5 --retriever fake: --store none"
    assert shell(f"mine first {words} -o second {on_ray}") == 0, shell.said
    assert shell(f"mine first.parquet {words} -o second.parquet") == 0, shell.said
    for name in ("first", "masked", "second"):
        assert shell.table(name).to_pylist() == shell.table(f"{name}.parquet").to_pylist()


@pytest.mark.slow
def test_queries_and_documents_without_words_have_no_candidates(shell: RayShell) -> None:
    row = {"query": "unheard of", "doc_id": "d1", "document": "x y", "label": 1, "origin": "given"}
    shell.write("pairs.jsonl", [{"query_id": "a"} | row, {"query_id": "b"} | row | {"query": "..."}])
    shell.same("mine pairs.jsonl --corpus corpus.jsonl --depth 3 --retriever bm25", rows=20)
    shell.write("blank.jsonl", [{"id": f"d{at}", "text": ""} for at in range(3)])
    shell.same("mine pairs.jsonl --corpus blank.jsonl --retriever bm25 --retriever fake: --store none", rows=2)


@pytest.mark.slow
def test_vectors_are_found_in_the_store_by_either_engine(shell: RayShell) -> None:
    words = "mine pairs.jsonl --corpus corpus.jsonl --depth 5 --retriever fake: --store kept --summary counts.json"
    assert shell(f"{words} -o ray.parquet --engine ray --shard-rows 20") == 0, shell.said
    assert shell(f"{words} -o local.parquet") == 0, shell.said
    assert json.loads(Path("counts.json").read_text())["embedded"] == 0
    assert_same(shell.table("local.parquet"), shell.table("ray.parquet"))


@pytest.mark.slow
def test_without_a_corpus_the_documents_of_the_pair_set_are_searched(shell: RayShell) -> None:
    rows = [row for row in positives(13) if row["document"]]
    shell.write("own.jsonl", rows * 1)
    shell.same("mine own.jsonl --depth 4 --store none --retriever fake: --retriever bm25")


@pytest.mark.slow
def test_positives_known_elsewhere_are_masked_and_an_earlier_run_is_compared(shell: RayShell) -> None:
    Path("known.tsv").write_text("q1 0 d3 1\nq3 0 d8 1\n")
    words = "mine pairs.jsonl --corpus corpus.jsonl --depth 6 --retriever bm25 --known known.tsv"
    shell.same(words, rows=20)
    Path("local.parquet").rename("before.parquet")
    shell.same(f"{words} --since before.parquet --bm25-b 0.2", rows=20)


@pytest.mark.slow
def test_ready_vectors_and_runs_are_taken_as_the_local_engine_takes_them(shell: RayShell) -> None:
    assert shell("embed corpus.jsonl --encoder fake: --store none -o documents.npy") == 0, shell.said
    assert shell("embed pairs.jsonl --side query --encoder fake: --store none -o queries.npy") == 0, shell.said
    Path("a.run").write_text("".join(f"q{at} Q0 d{doc} 1 {9 - doc} x\n" for at in range(9) for doc in range(9)))
    vectors = "--retriever npy:documents.npy,queries.npy --retriever run:a.run"
    shell.same(f"mine pairs.jsonl --corpus corpus.jsonl --depth 6 {vectors}", rows=20)


def test_what_nobody_searched_is_no_part_of_the_lineage(shell: RayShell) -> None:
    shell.write("pairs.jsonl", [row | {"label": 0} for row in positives(2)])
    shell.same("mine pairs.jsonl --corpus corpus.jsonl --search-with positive --store none --retriever fake:", rows=20)
    assert lineage("ray.parquet") == lineage("local.parquet")


class Foreign:
    """What no run of ours leaves behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("called",)


def test_what_a_shard_told_is_read_as_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = WorkFolder(str(tmp_path / "out"), {})
    folder.write(told_by(0), base64.b85encode(pickle.dumps(Foreign())).decode())
    with pytest.raises(PairmineError, match=r"holds builtins\.print"):
        read_told(folder, 0)
    assert not capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("queries", [0, 1])
def test_ray_mines_for_one_query_and_none(shell: RayShell, queries: int) -> None:
    assert shell("mine pairs.jsonl --corpus corpus.jsonl --depth 1 --retriever bm25 -o few.parquet") == 0, shell.said
    pq.write_table(pq.read_table("few.parquet").slice(0, queries), "few.parquet")
    shell.same("mine few.parquet --corpus corpus.jsonl --depth 3 --store none --retriever fake: --retriever bm25")


class Failing(InProcess):
    """A pool that gives up after so many items; `taken` are the kinds of work that it did."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last
        self.taken: list[str] = []

    def map(self, make: Any, items: Any, **more: Any) -> Iterator[tuple[int, Any]]:
        kind = type(getattr(make, "work", getattr(make, "make", make))).__name__
        for place, result in super().map(make, items, **more):
            self.taken.append(kind)
            if len(self.taken) == self.last:
                raise PairmineError("the cluster went away", exit_code=GAVE_UP)
            yield place, result


@pytest.mark.slow
@pytest.mark.long
def test_a_run_that_was_stopped_anywhere_goes_on_and_does_nothing_twice(shell: RayShell) -> None:
    words = "mine pairs.jsonl --corpus corpus.jsonl --depth 4 --store none --retriever fake: --near-cosine 0.3"
    words += " --engine ray --shard-rows 20"
    whole = shell.pool = Failing(0)
    assert shell(f"{words} -o whole.parquet --rejects whole-rejects.parquet") == 0, shell.said
    assert set(whole.taken) == {"TakeIn", "Embedding", "_Searching", "_Merging", "Copying", "Probing", "Mining"}
    for last in range(1, len(whole.taken), 3):
        first = shell.pool = Failing(last)
        assert shell(f"{words} -o out.parquet --rejects out-rejects.parquet") == GAVE_UP
        second = shell.pool = Failing(0)
        assert shell(f"{words} -o out.parquet --rejects out-rejects.parquet") == 0, shell.said
        for kind in ("TakeIn", "Embedding", "Copying", "_Searching", "_Merging", "Mining"):
            assert first.taken.count(kind) + second.taken.count(kind) == whole.taken.count(kind)
        assert_same(shell.table("whole.parquet"), shell.table("out.parquet"))
        assert_same(shell.table("whole-rejects.parquet"), shell.table("out-rejects.parquet"))


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_workers(shell: RayShell) -> None:
    words = "mine pairs.jsonl --corpus corpus.jsonl --depth 9 --store none --retriever fake:"
    assert shell(f"{words} -o whole.parquet") == 0, shell.said
    on_ray = "--engine ray --shard-rows 1 -o out.parquet"
    whole = shell.pool = Failing(0)
    whole.workers = 20
    assert shell(f"{words} {on_ray}") == 0, shell.said
    for turn in (1, 2):
        last = len(whole.taken) - whole.taken[::-1].index("_Merging") - turn
        shell.pool = Failing(last)
        shell.pool.workers = 20
        assert shell(f"{words} {on_ray}") == GAVE_UP
        shell.pool.workers, shell.pool.last = 10, 0  # spans of three documents each, not two
        assert shell(f"{words} {on_ray}") == 0, shell.said
        assert_same(shell.table("whole.parquet"), shell.table("out.parquet"))


def test_a_run_goes_on_with_another_room_of_memory(shell: RayShell, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "mine pairs.jsonl --corpus corpus.jsonl --depth 4 --retriever bm25 --engine ray --shard-rows 20"

    def mined(name: str, together: int, last: int) -> list[str]:
        monkeypatch.setattr(Search, "together", lambda search: together)
        pool = shell.pool = Failing(last)
        assert shell(f"{words} -o {name}.parquet --rejects {name}-rejects.parquet") == GAVE_UP * bool(last)
        return pool.taken

    whole = mined("whole", 4, 0)
    mined("out", 4, len(whole) - 2)
    mined("out", 7, 0)
    assert_same(shell.table("whole.parquet"), shell.table("out.parquet"))
    assert_same(shell.table("whole-rejects.parquet"), shell.table("out-rejects.parquet"))


def test_a_run_goes_on_with_fewer_workers_and_the_same_shards(shell: RayShell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mine_shards, "_SHARDS_A_WORKER", 1)
    words = "mine pairs.jsonl --corpus corpus.jsonl --depth 4 --retriever bm25 --engine ray --shard-rows 1"

    def mined(name: str, workers: int, last: int) -> list[str]:
        pool = shell.pool = Failing(last)
        pool.workers = workers
        assert shell(f"{words} -o {name}.parquet") == GAVE_UP * bool(last)
        return pool.taken

    whole = mined("whole", 4, 0)
    assert whole.count("Mining") == 5  # of three queries or fewer; one worker would have one shard
    mined("out", 4, len(whole) - 2)
    mined("out", 1, 0)
    assert_same(shell.table("whole.parquet"), shell.table("out.parquet"))


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_mines_real_texts_with_a_real_model_as_one_machine_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ray_cluster: str
) -> None:
    if not CISI.is_dir():
        pytest.skip("shared/data/cisi is not there")
    shell = RayShell(tmp_path, monkeypatch, capsys)
    few_of_cisi(tmp_path / "cisi", 160)
    words = "mine cisi --depth 20 --retriever st:all-MiniLM-L6-v2 --retriever bm25"
    words += " --rejects {engine}-rejects.parquet -o {engine}.parquet --store none"
    assert shell(words.format(engine="local")) == 0, shell.said
    on_ray = f"--engine ray --ray-address {ray_cluster} --shard-rows 50"
    assert shell(f"{words.format(engine='ray')} {on_ray}") == 0, shell.said
    for local, ray in (("local", "ray"), ("local-rejects", "ray-rejects")):
        assert_nearly_same(shell.table(f"{local}.parquet"), shell.table(f"{ray}.parquet"))
    assert lineage("ray.parquet") == lineage("local.parquet")


def few_of_cisi(folder: Path, count: int) -> None:
    """The first documents of CISI, with what is known of them."""
    folder.mkdir()
    with gzip.open(CISI / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        (folder / "corpus.jsonl").write_text("".join(islice(lines, count)), encoding="utf-8")
    (folder / "queries.jsonl").write_bytes(gzip.decompress((CISI / "queries.jsonl.gz").read_bytes()))
    head, *judged = (CISI / "qrels.tsv").read_text().splitlines(keepends=True)
    known = [line for line in judged if int(line.split("\t")[1]) <= count]
    (folder / "qrels.tsv").write_text(head + "".join(known))


def assert_nearly_same(one: pa.Table, other: pa.Table) -> None:
    """The same rows in the same order; cosines may differ by the batch that a text was embedded in."""
    assert other.schema.equals(one.schema)
    for name in one.column_names:
        if pa.types.is_floating(one.schema.field(name).type):
            columns = (column[name].to_numpy() for column in (other, one))
            np.testing.assert_allclose(*columns, atol=1e-6, rtol=0)
        else:
            assert other[name].to_pylist() == one[name].to_pylist()


def test_what_cannot_be_spread_is_refused_with_the_remedy(shell: RayShell) -> None:
    words = "mine pairs.jsonl --corpus corpus.jsonl -o out --engine ray"
    for options, line in (
        ("--retriever fake: --index hnsw", "--index hnsw"),
        ("--retriever fake: --clusters 2", "--clusters 2"),
        ("--retriever openai:any", "write its vectors with 'pairmine embed'"),
    ):
        assert shell(f"{words} {options}") == 2
        assert line in shell.said
        assert "leave out --engine ray" in shell.said


def test_a_group_that_no_document_names_is_one_line(shell: RayShell) -> None:
    words = "mine pairs.jsonl --corpus corpus.jsonl -o out --engine ray --retriever bm25"
    assert shell(f"{words} --group-column nowhere") == 2
    assert "--group-column nowhere: no such column" in shell.said
