"""Batch plans of `mix`: no false negative that is known, batches of near lengths, shards for several ranks."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.cli.lineage import commands
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.files.lineage import decode
from pairmine.identity import normalise
from pairmine.outcome import Outcome
from pairmine.schema import as_pairs
from pairmine.stages.mine.near_copies import near_as_dedup
from pairmine.stages.mix import Batching, Source, Weighing, interned, joined, mix

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no collections in {DATA}")
NEAR = near_as_dedup(0.8)
ALL = Weighing(alpha=1)


def pairs(*rows: tuple[str, str, str, str, int | None]) -> pa.Table:
    """A pair set of rows (query_id, query, doc_id, document, label)."""
    names = ("query_id", "query", "doc_id", "document", "label")
    return as_pairs(pa.Table.from_pylist([{**dict(zip(names, row, strict=True)), "origin": "given"} for row in rows]))


def passage(number: int, version: int = 0) -> str:
    """A passage of 90 words; version 1 nearly copies version 0 (similarity 0.93), version 2 is it in capitals."""
    words = [f"w{number}x{place}" for place in range(90)]
    if version == 1:
        words[45] = "another"
    return " ".join(words).upper() if version == 2 else " ".join(words)


def draws_in(table: pa.Table) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The rows of each query of a written table, with its batch."""
    for _, rows in itertools.groupby(table.to_pylist(), key=lambda row: row["query_id"]):
        found = list(rows)
        assert len({row["batch"] for row in found}) == 1
        yield found[0]["batch"], found


def sizes(outcome: Outcome) -> list[int]:
    """How many queries each batch holds, in the order of the rows."""
    counts = Counter(batch for batch, _ in draws_in(outcome.kept))
    assert list(counts) == list(range(len(counts)))
    return list(counts.values())


# --- the guarantee, by brute force --------------------------------------------------------------------


def shingles(text: str) -> set[tuple[str, ...]]:
    words = normalise(text).split()
    return {tuple(words[start : start + 3]) for start in range(len(words) - 2)} or {tuple(words)}


def same(one: dict[str, Any], other: dict[str, Any], near: bool) -> bool:
    """Whether the documents of two rows are one."""
    texts = [normalise(row["document"]) for row in (one, other)]
    if one["doc_id"] == other["doc_id"] or texts[0] == texts[1]:
        return True
    sets = [shingles(text) for text in texts]
    return near and len(sets[0] & sets[1]) >= 0.8 * len(sets[0] | sets[1])


def check_guarantee(tables: Sequence[pa.Table], kept: pa.Table, ranks: int, near: bool) -> None:
    """Look at every pair of queries of every step, and at every row that any table has about them."""
    known: dict[str, list[dict[str, Any]]] = {}
    for row in itertools.chain.from_iterable(table.to_pylist() for table in tables):
        if row["label"] == 1:
            known.setdefault(normalise(row["query"]), []).append(row)
    steps: dict[int, list[list[dict[str, Any]]]] = {}
    for batch, rows in draws_in(kept):
        steps.setdefault(batch // ranks, []).append(rows)
    for draws in steps.values():
        for anchor, other in itertools.permutations(draws, 2):
            query = normalise(anchor[0]["query"])
            assert query != normalise(other[0]["query"])
            for row, positive in itertools.product(other, known.get(query, [])):
                assert not same(row, positive, near), (query, row, positive)
                assert normalise(row["document"]) != query
    for _, rows in draws_in(kept):
        for row, positive in itertools.product(rows, known.get(normalise(rows[0]["query"]), [])):
            assert row["label"] != 0 or not same(row, positive, False)


DOCUMENTS = [
    (f"{prefix}{number}.{version}", passage(number, version))
    for prefix in ("d", "copy")
    for number in range(5)
    for version in range(3)
]
ROWS = st.lists(st.tuples(st.sampled_from(DOCUMENTS), st.sampled_from([1, 1, 0, 0, None])), min_size=1, max_size=4)
SETS = st.lists(st.tuples(st.sampled_from(["lift?", "LIFT?", "drag?", "flow?", "heat?", "翼?"]), ROWS), max_size=10)


def pair_set(name: str, queries: list[tuple[str, list[tuple[tuple[str, str], int | None]]]]) -> Source:
    rows = [
        (f"{name}{number}", text, *document, label)
        for number, (text, found) in enumerate(queries)
        for document, label in found
    ]
    return Source(name, pairs(*rows) if rows else pairs(("q", "", "d", "", 1)).slice(0, 0))


@settings(max_examples=40, deadline=None)
@given(
    SETS,
    SETS,
    st.sampled_from(["mixed", "source"]),
    st.integers(1, 4),
    st.integers(1, 2),
    st.booleans(),
    st.sampled_from(["none", "length"]),
    st.sampled_from(["each", "together"]),
    st.booleans(),
    st.sampled_from([None, 12]),
)
def test_no_batch_holds_a_false_negative_that_any_row_tells_of(
    one: Any,
    other: Any,
    kind: str,
    size: int,
    ranks: int,
    full: bool,
    bucket: str,
    positives: str,
    near: bool,
    drawn: int | None,
) -> None:
    sources = [pair_set("a", one), pair_set("b", other)]
    batching = Batching(kind, size, full, ranks, bucket, positives, NEAR if near else None)
    weighing = Weighing(alpha=1, size=drawn, repeat=drawn is not None)
    outcome = mix(sources, weighing, batching, seed=0)
    check_guarantee([source.pairs for source in sources], outcome.kept, ranks, near)
    found = sizes(outcome)
    assert len(found) % ranks == 0
    assert max(found, default=0) <= size
    assert not full or set(found) <= {size}
    if kind == "source":
        of_batch = {(row["batch"], row["source"]) for row in outcome.kept.to_pylist()}
        assert len(of_batch) == len(found)


@settings(max_examples=20, deadline=None)
@given(SETS, st.integers(1, 4), st.sampled_from(["each", "together"]))
def test_every_row_is_in_a_batch_or_rejected_with_its_reason(rows: Any, size: int, positives: str) -> None:
    source = pair_set("a", rows)
    outcome = mix([source], ALL, Batching("mixed", size, positives=positives), seed=0)
    left = Counter(outcome.rejected["reason"].to_pylist())
    assert set(left) <= {"a: a known positive of its query"}
    columns = ("query", "doc_id", "label")
    given_rows = Counter(tuple(row[name] for name in columns) for row in source.pairs.to_pylist())
    found = Counter(tuple(row[name] for name in columns) for row in outcome.kept.to_pylist())
    found += Counter(tuple(row[name] for name in columns) for row in outcome.rejected.to_pylist())
    assert set(found) == set(given_rows)
    assert found[None, None, None] == 0
    positives_in = {key: count for key, count in given_rows.items() if key[2] == 1}
    assert {key: count for key, count in found.items() if key[2] == 1} == positives_in


# --- what it says of one case each --------------------------------------------------------------------


def plan_of(*rows: tuple[str, str, str, str, int | None], **settings: Any) -> tuple[list[set[str]], Outcome]:
    """The query ids of each batch of two."""
    batching = Batching(**{"kind": "mixed", "size": 2, "near": NEAR, **settings})
    outcome = mix([Source("a", pairs(*rows))], ALL, batching, seed=0)
    found: dict[int, set[str]] = {}
    for batch, draw in draws_in(outcome.kept):
        found.setdefault(batch, set()).add(draw[0]["query_id"])
    return list(found.values()), outcome


def test_two_queries_with_one_positive_never_meet_but_a_shared_negative_may() -> None:
    batches, _ = plan_of(("q1", "lift", "d1", passage(1), 1), ("q2", "drag", "d1", passage(1), 1))
    assert sorted(batches, key=min) == [{"q1"}, {"q2"}]
    batches, _ = plan_of(
        ("q1", "lift", "d1", passage(1), 1),
        ("q1", "lift", "d3", passage(3), 0),
        ("q2", "drag", "d2", passage(2), 1),
        ("q2", "drag", "d3", passage(3), 0),
    )
    assert batches == [{"q1", "q2"}]


def test_a_negative_that_is_another_querys_positive_keeps_the_two_apart() -> None:
    rows = [
        ("q1", "lift", "d1", passage(1), 1),
        ("q1", "lift", "n", passage(2, 1), 0),
        ("q2", "drag", "d2", passage(2), 1),
    ]
    assert len(plan_of(*rows)[0]) == 2
    assert len(plan_of(*rows, near=None)[0]) == 1
    rows[1] = ("q1", "lift", "n", passage(2, 2), 0)
    assert len(plan_of(*rows, near=None)[0]) == 2


def test_a_positive_that_only_a_query_of_the_same_text_has_counts_too() -> None:
    # q3 is in no batch with q1 since it holds what q2, the same question, has as a positive.
    batches, _ = plan_of(
        ("q1", "What is lift?", "d1", passage(1), 1),
        ("q2", "what is  LIFT?", "d2", passage(2), 1),
        ("q3", "drag", "d3", passage(3), 1),
        ("q3", "drag", "d2", passage(2), 0),
        size=3,
    )
    assert sorted(map(len, batches)) == [1, 1, 1]


def test_a_document_that_is_the_query_itself_or_that_it_was_cut_from_is_no_negative_of_it() -> None:
    batches, _ = plan_of(("q1", "lift of wings", "d1", passage(1), 1), ("q2", "drag", "d2", "Lift of  wings", 1))
    assert len(batches) == 2
    table = pairs(("q1", "lift", "d1", passage(1), 1), ("q2", "drag", "d2", passage(2), 1))
    cut = as_pairs(table.append_column("source_id", pa.array(["d2", None])))
    assert max(sizes(mix([Source("a", cut)], ALL, Batching("mixed", 2), seed=0))) == 1


def test_a_row_that_denies_a_known_positive_of_its_query_is_rejected() -> None:
    _, outcome = plan_of(
        ("q1", "lift", "d1", passage(1), 1),
        ("q1", "lift", "d2", passage(2), 0),
        ("q2", "lift", "d2", passage(2), 1),
        ("q2", "lift", "n", passage(2, 1), 0),
    )
    assert outcome.rejected.select(["query_id", "doc_id", "reason"]).to_pylist() == [
        {"query_id": "q1", "doc_id": "d2", "reason": "a: a known positive of its query"}
    ]
    # An edited passage may be a negative on purpose.
    assert "n" in outcome.kept["doc_id"].to_pylist()


def test_each_positive_has_a_batch_of_its_own_with_all_the_negatives_or_all_stay_together() -> None:
    rows = [
        ("q1", "lift", "d1", passage(1), 1),
        ("q1", "lift", "n", passage(4), 0),
        ("q1", "lift", "d2", passage(2), 1),
        ("q2", "drag", "d3", passage(3), 1),
    ]
    batches, outcome = plan_of(*rows)
    assert sorted(map(sorted, batches)) in ([["q1"], ["q1#2", "q2"]], [["q1", "q2"], ["q1#2"]])
    documents = {
        name: [row["doc_id"] for row in found] for _, found in draws_in(outcome.kept) for name in [found[0]["query_id"]]
    }
    assert documents == {"q1": ["d1", "n"], "q1#2": ["n", "d2"], "q2": ["d3"]}
    assert outcome.added == 1
    assert plan_of(*rows, positives="together")[0] == [{"q1", "q2"}]


def test_upsampled_queries_never_meet_themselves() -> None:
    rows = [(f"q{n}", f"question {n}", f"d{n}", passage(n), 1) for n in range(40)]
    weighing = Weighing(size=120, repeat=True)
    outcome = mix([Source("a", pairs(*rows))], weighing, Batching("source", 4, near=NEAR), seed=0)
    assert sizes(outcome) == [4] * 30
    met = Counter((row["batch"], row["query"]) for row in outcome.kept.to_pylist())
    assert set(met.values()) == {1}


def test_sets_without_texts_are_planned_by_their_ids_and_say_so() -> None:
    table = pairs(("q1", "", "d1", "", 1), ("q2", "", "d1", "", 1), ("q3", "", "d2", "", 1))
    for found in (table, table.drop_columns(["query", "document"])):
        outcome = mix([Source("a", found)], ALL, Batching("mixed", 3, bucket="length", near=NEAR), seed=0)
        assert sorted(sizes(outcome)) == [1, 2]
        assert outcome.notes["rows without a text, known by their ids alone"] == 3


def test_ten_answers_of_ten_thousand_queries_are_planned_at_once() -> None:
    rows = [(f"q{n}", f"text {n}", f"label{n % 10}", f"about topic {n % 10}", 1) for n in range(10_000)]
    outcome = mix([Source("a", pairs(*rows))], ALL, Batching("mixed", 64), seed=0)
    assert sizes(outcome) == [10] * 1000


# --- lengths and ranks --------------------------------------------------------------------------------


def wordy(count: int) -> Source:
    """Queries whose documents have from 1 to 200 words."""
    draw = np.random.default_rng(0)
    words = draw.integers(1, 200, count)
    rows = [(f"q{n}", f"question {n}", f"d{n}", f"{n} " * int(words[n]), 1) for n in range(count)]
    return Source("a", pairs(*rows))


def test_batches_by_length_pad_less_and_the_counts_say_how_much() -> None:
    outcome = mix([wordy(400)], ALL, Batching("source", 16, bucket="length"), seed=0)
    assert sizes(outcome) == [16] * 25
    before, after = (outcome.notes[f"padding {how}, in percent"] for how in ("before", "by length"))
    read = filled = 0
    for _, rows in itertools.groupby(outcome.kept.to_pylist(), key=lambda row: row["batch"]):
        found = list(rows)
        for name in ("query", "document"):
            lengths = [len(row[name].encode()) for row in found]
            read, filled = read + max(lengths) * len(lengths), filled + sum(lengths)
    assert after == round(100 * (1 - filled / read)) < 10 < 40 < before


def test_ranks_take_disjoint_and_complete_shards_with_one_source_in_a_step() -> None:
    sources = [wordy(50), Source("b", pairs(*((f"b{n}", f"{n}?", f"e{n}", f"text {n}", 1) for n in range(70))))]
    outcome = mix(sources, ALL, Batching("source", 4, ranks=3), seed=0)
    table = outcome.kept.to_pylist()
    shards = [{row["query_id"] for row in table if row["batch"] % 3 == rank} for rank in range(3)]
    assert sum(map(len, shards)) == len(set.union(*shards)) == 118
    steps: dict[int, set[str]] = {}
    for row in table:
        steps.setdefault(row["batch"] // 3, set()).add(row["source"])
    assert all(len(names) == 1 for names in steps.values())
    # 70 = 5 x 12 + 10: the short step is dealt out behind the full ones. 50 = 4 x 12 + 2 are too few for three ranks.
    assert sizes(outcome) == [4] * 27 + [4, 3, 3]
    assert outcome.rejected["reason"].to_pylist() == ["a: left over, fewer queries than ranks"] * 2


def test_a_step_too_small_for_its_ranks_is_rejected_and_full_ones_are_whole() -> None:
    outcome = mix([wordy(26)], ALL, Batching("mixed", 4, ranks=3), seed=0)
    assert sizes(outcome) == [4] * 6
    assert outcome.rejected["reason"].to_pylist() == ["a: left over, fewer queries than ranks"] * 2
    outcome = mix([wordy(34)], ALL, Batching("mixed", 4, full=True, ranks=3), seed=0)
    assert sizes(outcome) == [4] * 6
    assert outcome.rejected["reason"].to_pylist() == ["a: left over, no full batch"] * 10


def test_short_batches_stand_last_so_that_reading_in_order_gives_the_plan() -> None:
    sources = [Source(name, wordy(count).pairs) for name, count in (("a", 9), ("b", 21), ("c", 14))]
    assert sizes(mix(sources, ALL, Batching("source", 4), seed=0))[:9] == [4] * 9


def test_counts_of_queries_leave_out_those_that_no_batch_took() -> None:
    outcome = mix([wordy(10)], ALL, Batching("mixed", 4, full=True), seed=0)
    assert outcome.notes["queries of a"] == 8


def test_an_earlier_plan_is_forgotten_where_the_order_changes() -> None:
    sources = [Source(name, mix([wordy(9)], ALL, Batching("mixed", 3), seed=0).kept) for name in ("a", "b")]
    mixed = mix(sources, ALL, seed=0)
    assert "batch" not in mixed.kept.column_names
    assert mixed.notes["rows whose planned batch is forgotten, since their order changes"] == 18
    assert sizes(mix(sources, ALL, Batching("source", 3), seed=0)) == [3] * 6


# --- the command --------------------------------------------------------------------------------------


def run(*arguments: object) -> None:
    app([str(each) for each in arguments], standalone_mode=False)


def test_clusters_come_from_vectors_that_embed_wrote(tmp_path: Path) -> None:
    rows = [(f"{kind}{n}", f"{kind} {n}", f"{kind}-{n}", f"{n} {kind} text", 1) for n in range(8) for kind in "ab"]
    pq.write_table(pairs(*rows), tmp_path / "web.parquet")
    ids = [row[0] for row in rows]
    np.save(tmp_path / "web.npy", np.array([[1, 0.1] if each[0] == "a" else [0.1, 1] for each in ids], np.float32))
    (tmp_path / "web.ids.txt").write_text("\n".join(ids))
    out = tmp_path / "out.parquet"
    plan = ("--batches", "clusters", "--batch-size", 4, "--clusters", 2, "-o", out, "-q")
    run("mix", tmp_path / "web.parquet", "--vectors", f"web={tmp_path / 'web.npy'}", *plan)
    kinds = {(row["batch"], row["query_cluster"], row["query_id"][0]) for row in pq.read_table(out).to_pylist()}
    assert len(kinds) == 4
    line = commands(decode(pq.read_metadata(out).metadata, "out"))[-1]
    assert "--vectors web=web.npy" in line
    assert str(tmp_path) not in line
    run("embed", tmp_path / "web.parquet", "--side", "query", "--encoder", "fake:", "-o", tmp_path / "v.parquet", "-q")
    run("mix", tmp_path / "web.parquet", "--vectors", tmp_path / "v.parquet", *plan)
    (tmp_path / "web.ids.txt").write_text("\n".join(["x", *ids[1:]]))
    with pytest.raises(PairmineError, match=r'1 of 16 queries of web have no vector in web\.npy, the first is "a0"'):
        run("mix", tmp_path / "web.parquet", "--vectors", tmp_path / "web.npy", *plan)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--ranks", 2), "--ranks has no effect with --batches none"),
        (("--no-near",), "--no-near has no effect with --batches none"),
        (("--batches", "mixed", "--batch-size", 2, "--vectors", "v.npy"), "--vectors has no effect with --batches"),
        (("--batches", "mixed", "--batch-size", 2, "--no-near", "--near", 0.7), "--near has no effect with --no-near"),
        (("--batches", "mixed", "--batch-size", 2, "--near", 2), "--near 2: a Jaccard similarity"),
        (("--batches", "mixed"), "--batches mixed wants --batch-size"),
        (("--batches", "clusters", "--batch-size", 2), "wants --encoder, as in st:all-MiniLM-L6-v2, or --vectors"),
        (("--batches", "clusters", "--batch-size", 2, "--vectors", "v.npy", "--store", "s"), "--store has no effect"),
        (("--batches", "clusters", "--batch-size", 2, "--vectors", "no.npy"), "--vectors: no such file: no.npy"),
        (("--batches", "mixed", "--batch-size", 2, "--bucket", "words"), "--bucket words: choose none, length"),
    ],
)
def test_options_that_do_nothing_or_do_not_fit_are_one_line(
    tmp_path: Path, options: tuple[object, ...], line: str
) -> None:
    pq.write_table(wordy(3).pairs, tmp_path / "a.parquet")
    with pytest.raises(PairmineError) as told:
        run("mix", tmp_path / "a.parquet", *options, "-o", tmp_path / "out.parquet", "-q")
    assert line in str(told.value)
    assert not (tmp_path / "out.parquet").exists()


@needs_data
def test_a_real_collection_is_planned_the_same_by_any_number_of_workers(tmp_path: Path) -> None:
    out, again, summary = tmp_path / "out.parquet", tmp_path / "again.parquet", tmp_path / "summary.json"
    plan = ("mix", DATA / "cranfield", "--batches", "mixed", "--batch-size", 8, "--bucket", "length", "-q")
    run(*plan, "-o", out, "--summary", summary, "--workers", 1)
    run(*plan, "-o", again, "--workers", 2)
    assert out.read_bytes() == again.read_bytes()
    told = json.loads(summary.read_text())
    assert told["rows_in"] + told.get("added", 0) == told["rows_out"] + sum(told["rejected"].values())
    assert told["notes"]["padding by length, in percent"] < told["notes"]["padding before, in percent"]
    check_guarantee([], pq.read_table(out), 1, False)


# --- reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hashes_collide", [False, True])
def test_tables_joined_have_the_same_rows_and_each_text_once(
    monkeypatch: pytest.MonkeyPatch, hashes_collide: bool
) -> None:
    if hashes_collide:
        monkeypatch.setattr(interned, "exact_keys", lambda column, exact: np.zeros(len(column), np.uint64))
    texts = ["lift", "翼", None, "", "lift", " ", "drag", "翼", "", "lift"]
    rows = [{"query_id": f"q{n}", "query": text, "doc_id": "d", "document": text} for n, text in enumerate(texts)]
    table = as_pairs(pa.Table.from_pylist([{**row, "origin": "given"} for row in rows]))
    parts = [table.slice(0, 3), table.slice(3, 0), table.slice(3, 4), table.slice(7)]
    whole = joined(parts)
    assert whole.equals(table.combine_chunks()) or whole.to_pylist() == table.to_pylist()
    assert whole["query"].num_chunks == 1
    if not hashes_collide:
        assert sorted(whole["document"].chunk(0).dictionary.to_pylist()) == ["", " ", "drag", "lift", "翼"]
    assert joined([table.slice(0, 0)]).num_rows == 0


def test_more_texts_than_one_column_can_hold_are_one_line_and_splits_by_id_need_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(f"q{n}", f"question {n}", f"d{n}", passage(n), 1) for n in range(20)]
    pq.write_table(pairs(*rows), tmp_path / "a.parquet")
    command = ("mix", tmp_path / "a.parquet", "-q", "-o", tmp_path / "out.parquet")
    monkeypatch.setattr(interned, "_MOST_BYTES", 5000)
    for options in (("--batches", "mixed", "--batch-size", 2), ("--split", "dev=5,train=rest")):
        with pytest.raises(PairmineError, match='texts of "document" take more than 2 GB, the most that mix holds'):
            run(*command, *options)
        assert not (tmp_path / "out.parquet").exists()
    run(*command, "--split", "dev=5,train=rest", "--split-copies", "ids")
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 20


def test_an_empty_pair_set_gives_an_empty_plan(tmp_path: Path) -> None:
    pq.write_table(wordy(1).pairs.slice(0, 0), tmp_path / "none.parquet")
    pq.write_table(wordy(5).pairs, tmp_path / "some.parquet")
    for names, rows in ((["none"], 0), (["none", "some"], 5)):
        inputs = [tmp_path / f"{name}.parquet" for name in names]
        run("mix", *inputs, "--alpha", 1, "--batches", "mixed", "--batch-size", 2, "-o", tmp_path / "o.parquet", "-q")
        assert pq.read_table(tmp_path / "o.parquet").num_rows == rows
