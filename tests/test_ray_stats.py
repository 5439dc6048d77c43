"""`pairmine stats --engine ray` gives the numbers of the local engine, to the last digit, however the rows lie."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray_shell import RayShell

from pairmine.engines import kept
from pairmine.schema import as_pairs, score_field
from pairmine.stages.stats import Stats
from pairmine.stages.stats.hubs import Hubs, Leading

DATA = Path(__file__).parents[2] / "shared" / "data"
ORIGINS = ("given", "mine:bm25", "mine:dense", "generate:queries/negative", "generate:queries/positive/fake")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RayShell:
    monkeypatch.delenv("PAIRMINE_LEDGER", raising=False)
    found = RayShell(tmp_path, monkeypatch, capsys)
    found.without_ray()
    pq.write_table(a_set(60), "pairs.parquet")
    return found


def a_set(queries: int, seed: int = 0) -> pa.Table:
    """Queries with any number of rows of any label; few documents, so that many of them are hubs with equal counts."""
    draw, rows = random.Random(seed), []
    for query in range(queries):
        for doc in draw.sample(range(30), draw.randint(1, 8)):
            label = draw.choice([1, 0, 0, None])
            text = None if doc == 7 else f"text {'ä研 ' * (doc % 5)}of {doc}"
            ids = {"query_id": f"q{query}", "query": "why so " * (query % 4), "doc_id": f"dé{doc}", "document": text}
            rows.append({**ids, "label": label, "origin": draw.choice(ORIGINS), "rank": draw.choice([None, 1, 2, 90])})
    scores = np.random.default_rng(seed).normal(size=len(rows)).astype(np.float32)
    scores[::7] = np.nan
    table = pa.Table.from_pylist(rows).append_column("form", pa.array([draw.choice(["claim", None]) for _ in rows]))
    return as_pairs(table.append_column(score_field("dense", "cosine"), pa.array(scores)))


def as_local(shell: RayShell, words: str, *, rows: int = 70, more: str = "") -> dict[str, Any]:
    """Runs `stats` with `words` by both engines, compares what they say, and returns it."""
    assert shell(f"stats {words} --json") == 0, shell.said
    local = shell.out
    assert shell(f"stats {words} --json --engine ray --shard-rows {rows} {more}") == 0, shell.said
    assert shell.out == local
    assert not list(shell.folder.glob(".*.ray"))
    found: dict[str, Any] = json.loads(local)
    return found


@pytest.mark.parametrize("rows", [25, 5000])
def test_all_numbers_are_equal_whatever_the_shards(shell: RayShell, rows: int) -> None:
    found = as_local(shell, "pairs.parquet", rows=rows)
    assert [found["queries"], found["documents"], len(found["hubs"]["top"])] == [60, 30, 10]
    assert found["templates"]["queries"]["by"]["form"]["claim"]["negative"]


def test_tokens_and_rejected_rows_are_counted_too(shell: RayShell) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save("tokenizer.json")
    lost = a_set(9, seed=1)
    pq.write_table(lost.append_column("reason", pa.array(["too long"] * lost.num_rows)), "lost.parquet")
    found = as_local(shell, "pairs.parquet --tokenizer tokenizer.json --max-tokens 3 --rejects lost.parquet")
    assert found["lengths"]["document"]["tokens"]["over"] > 10
    assert found["templates"]["queries"]["rejected"]["too long"] > 3


def test_an_encoder_sees_the_same_sample(shell: RayShell) -> None:
    found = as_local(shell, "pairs.parquet --encoder fake: --sample 20 --seed 4")
    assert found["encoder"]["queries"] > 2
    as_local(shell, "pairs.parquet --encoder fake: --sample 1000 --against pairs.parquet", rows=150)


def test_a_folder_of_parts_is_counted_as_it_lies(shell: RayShell) -> None:
    assert shell("filter pairs.parquet --no-pick -o parts --engine ray --shard-rows 60") == 0, shell.said
    assert len(list(Path("parts").glob("part-*"))) > 2
    as_local(shell, "parts", more="--work-folder .")


@pytest.mark.parametrize("rows", [0, 1])
def test_a_set_of_no_row_or_of_one_is_told_as_it_is(shell: RayShell, rows: int) -> None:
    pq.write_table(a_set(1).slice(0, rows), "few.parquet")
    assert as_local(shell, "few.parquet")["rows"] == rows


def test_what_would_gather_all_texts_here_is_refused(shell: RayShell) -> None:
    assert shell("stats pairs.parquet --encoder fake: --sample 0 --engine ray") == 2
    assert shell.said.endswith(
        "--sample 0 would keep all texts on this machine; name a size, or leave out --engine ray\n"
    )


def test_a_fault_in_one_shard_ends_in_a_line(shell: RayShell) -> None:
    table = a_set(9)
    apart = pa.concat_tables([table, table.slice(0, 1)])
    pq.write_table(apart, "apart.parquet")
    assert shell("stats apart.parquet --engine ray --shard-rows 5") == 2
    assert 'rows of query "q0" stand apart' in shell.said
    assert not list(shell.folder.glob(".*.ray"))


def merged(parts: list[Stats]) -> Stats:
    whole = Stats()
    for part in parts:
        whole.merge(kept.loads(kept.dumps(part), "a marker"))
    return whole


@pytest.mark.parametrize("seed", range(2))
def test_counts_merge_in_any_order_from_any_process(seed: int) -> None:
    table, draw = a_set(40, seed), random.Random(seed)
    starts = np.flatnonzero(np.array(table["query_id"][1:]) != np.array(table["query_id"][:-1])) + 1
    cuts = sorted(draw.sample(starts.tolist(), 6))
    parts = [table.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, table.num_rows], strict=True)]
    counted = []
    for part in parts:
        counted.append(Stats())
        counted[-1].add(part)
    whole, plain = merged(draw.sample(counted, len(counted))), Stats()
    plain.add(table)
    leading = whole.hubs.leading()
    whole.hubs.take_names(named for part in parts for named in leading.named(part))
    assert whole.to_dict() == plain.to_dict()


def test_keys_of_documents_are_the_same_in_every_process() -> None:
    """A hash of Python's is another one in the next process."""
    hubs = Hubs()
    ids = pa.chunked_array([["a", "b"]])
    for query in range(2):
        hubs.add(ids, np.array([query, query]), np.zeros(2, int), None)
    found = hubs.leading()
    assert sorted(found.keys.tolist()) == sorted([6462361384359597843, -3752348012050879001])
    assert isinstance(found, Leading)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.skipif(not (DATA / "cisi").is_dir(), reason=f"no collection cisi in {DATA}")
def test_a_cluster_counts_what_one_process_counts_of_real_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ray_cluster: str
) -> None:
    from test_ray_check import mined

    shell = RayShell(tmp_path, monkeypatch, capsys)
    pq.write_table(mined(), "pairs.parquet")
    words = "pairs.parquet --encoder fake: --sample 200"
    found = as_local(shell, words, rows=1500, more=f"--ray-address {ray_cluster}")
    assert found["documents"] > 1000
