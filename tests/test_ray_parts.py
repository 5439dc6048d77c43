"""Shards of an input, parts of an output and what a killed run leaves: without Ray, on a pool of this process."""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pairmine.engines import kept
from pairmine.engines.cut import pieces_of
from pairmine.engines.parts import fold, write_parts
from pairmine.engines.shards import Counts, InProcess, Piece, Written
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files import lineage
from pairmine.files.sharded import PartedOutput, WorkFolder, read_tables
from pairmine.files.sink import Sink
from pairmine.files.source import open_documents, open_pairs
from pairmine.outcome import Outcome, with_reason


def nothing(line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Upper:
    """Writes documents in capitals and rejects those without a vowel; notes every shard in a file."""

    log: str

    def open(self) -> Upper:
        return self

    def outcomes(self, piece: Piece) -> Iterator[Written]:
        with Path(self.log).open("a") as log:
            log.write(f"{piece.number}\n")
        for table in open_documents(piece.path, nothing).tables():
            wanted = pc.match_substring_regex(table["text"], "[aeiouäö]")
            kept, rejected = table.filter(wanted), table.filter(pc.invert(wanted))
            kept = kept.set_column(1, "text", pc.utf8_upper(kept["text"]))
            outcome = Outcome(kept, with_reason(rejected, "no vowel"), rows_in=table.num_rows)
            yield Written(outcome, {"ids": kept.select(["id"])})

    def facts(self) -> dict[str, Any]:
        return {"models": []}

    def sums(self) -> dict[str, int]:
        return {"shards": 1}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    texts = ["Lima", "xyz", "Ärger", "東京 a", "brr", "Oslo", "pst", "Köln"]
    path.write_text("".join(json.dumps({"_id": f"d{at}", "text": text}) + "\n" for at, text in enumerate(texts)))
    return path


def run(
    corpus: Path, target: Path, log: Path, *, rows: int = 2, seed: int = 0
) -> tuple[Counts, dict[str, PartedOutput]]:
    folder = WorkFolder(str(target), {"rows": rows, "of": str(corpus)})
    outputs = {
        name: PartedOutput(f"{target}{ending}", None, folder, name)
        for name, ending in (("out", target.suffix and ""), ("rejects", ".rejects.jsonl"), ("ids", ".ids"))
    }
    pieces = pieces_of(open_documents(str(corpus), nothing), folder, "1", rows=rows)
    counts = Counts()
    for _, done in write_parts(InProcess(seed=seed), folder, pieces, Upper(str(log)), outputs, step="write"):
        counts.add(done.counts)
        assert done.sums == {"shards": 1}
    return counts, outputs


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 100])
def test_parts_in_their_order_are_what_the_whole_comes_to(corpus: Path, tmp_path: Path, rows: int) -> None:
    counts, outputs = run(corpus, tmp_path / "out.parquet", tmp_path / "log", rows=rows, seed=rows)
    for output in outputs.values():
        output.commit([])
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == ["d0", "d2", "d3", "d5", "d7"]
    rejected = [json.loads(line) for line in (tmp_path / "out.parquet.rejects.jsonl").read_text().splitlines()]
    assert [(row["id"], row["reason"]) for row in rejected] == [(f"d{at}", "no vowel") for at in (1, 4, 6)]
    assert (counts.rows_in, counts.kept, dict(counts.rejected)) == (8, 5, {"no vowel": 3})


def test_a_folder_of_parts_says_what_is_in_it_and_is_read_as_one_table(corpus: Path, tmp_path: Path) -> None:
    _, outputs = run(corpus, tmp_path / "out", tmp_path / "log", rows=3)
    for output in outputs.values():
        output.commit([{"command": "x", "inputs": []}])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".pairmine.json",
        "part-00000.parquet",
        "part-00001.parquet",
        "part-00002.parquet",
    ]
    source = open_documents(str(tmp_path / "out"), nothing)
    assert source.read()["text"].to_pylist() == ["LIMA", "ÄRGER", "東京 A", "OSLO", "KÖLN"]
    assert source.entries == [{"command": "x", "inputs": []}]
    again = open_documents(str(tmp_path / "out"), nothing)
    pieces = pieces_of(again, WorkFolder(str(tmp_path / "next"), {}), "1", rows=1)
    assert [(piece.rows, piece.first) for piece in pieces] == [(2, 0), (2, 2), (1, 4)]
    assert again.entries == source.entries
    assert again.rows == 5


def test_names_of_very_many_parts_stand_in_the_order_of_their_rows(tmp_path: Path) -> None:
    output = PartedOutput(str(tmp_path / "many"), None, WorkFolder(str(tmp_path / "many"), {}), "out")
    output.expect(100_001)
    names = [output.part(number) for number in (0, 99_999, 100_000)]
    assert names == sorted(names)
    output.expect(3)
    assert output.part(2).endswith("/part-00002.parquet")


def test_parts_without_rows_are_passed_over(tmp_path: Path) -> None:
    output = PartedOutput(str(tmp_path / "some"), None, WorkFolder(str(tmp_path / "some"), {}), "out")
    for number, ids in enumerate([["a", "b"], [], ["c"]]):
        sink = Sink(output.part(number))
        sink.write(pa.table({"id": pa.array(ids, pa.string()), "text": pa.array(ids, pa.string())}))
        sink.commit([])
    output.expect(3)
    output.commit([])
    source = open_documents(str(tmp_path / "some"), nothing)
    pieces = pieces_of(source, WorkFolder(str(tmp_path / "next"), {}), "1", rows=1)
    assert [(piece.number, piece.rows, piece.first) for piece in pieces] == [(0, 2, 0), (1, 1, 2)]
    held = pa.concat_tables(read_piece for piece in pieces for read_piece in read_tables(piece.path))
    assert held["id"].to_pylist() == source.read()["id"].to_pylist() == ["a", "b", "c"]


def test_a_run_that_was_killed_repeats_only_unfinished_shards(corpus: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    target = tmp_path / "out.parquet"
    run(corpus, target, log)
    done = sorted((tmp_path / ".out.parquet.ray/done/write").iterdir())
    assert [path.name for path in done] == [f"0000{number}.json" for number in range(4)]
    done[2].unlink()
    log.unlink()
    counts, outputs = run(corpus, target, log)
    assert log.read_text() == "2\n"
    assert counts.kept == 5
    outputs["out"].commit([])
    assert pq.read_table(target).num_rows == 5


def test_a_place_that_turns_read_only_is_worth_another_try(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a fault of the input it would take with it what is finished."""
    real = open

    def refused(path: Any, *rest: Any, **more: Any) -> Any:
        if "/out/.part-00003" in str(path) and "xb" in rest:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", refused)
        with pytest.raises(PairmineError, match="read-only file system") as error:
            run(corpus, tmp_path / "out", tmp_path / "log")
    assert error.value.exit_code == GAVE_UP
    run(corpus, tmp_path / "out", tmp_path / "log")
    assert Counter((tmp_path / "log").read_text().split()) == {"0": 1, "1": 1, "2": 1, "3": 2}


def test_a_part_that_somebody_removed_is_worth_another_try(tmp_path: Path) -> None:
    with pytest.raises(PairmineError, match="was removed while it was in use; run the same command again") as error:
        list(read_tables(str(tmp_path / "part-00000.parquet")))
    assert error.value.exit_code == GAVE_UP


def test_a_work_folder_that_the_disk_would_not_remove_is_no_fault(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = WorkFolder(str(tmp_path / "out"), {"of": str(corpus)})

    def refused(path: Any, *rest: Any, **more: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refused)
        folder.remove()
    again = WorkFolder(str(tmp_path / "out"), {"of": str(corpus)})
    again.remove()
    assert not Path(again.path).exists()


def test_another_run_starts_from_nothing(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "out.parquet", tmp_path / "log", rows=2)
    (tmp_path / "log").unlink()
    run(corpus, tmp_path / "out.parquet", tmp_path / "log", rows=4)
    assert sorted((tmp_path / "log").read_text().split()) == ["0", "1"]


def test_shards_hold_whole_queries(tmp_path: Path) -> None:
    rows = [{"query": f"q{query}", "document": f"d{query}.{at}"} for query in range(6) for at in range(query + 1)]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pieces = pieces_of(open_pairs(str(pairs), nothing), WorkFolder(str(tmp_path / "out"), {}), "1", rows=4)
    held = [pa.concat_tables(read_tables(piece.path)) for piece in pieces]
    assert [piece.rows for piece in pieces] == [6, 4, 5, 6]
    assert [piece.first for piece in pieces] == [0, 6, 10, 15]
    assert pa.concat_tables(held)["document"].to_pylist() == [row["document"] for row in rows]
    queries = [set(table["query_id"].to_pylist()) for table in held]
    assert sum(map(len, queries)) == 6


def test_an_input_that_is_cut_is_not_read_again(corpus: Path, tmp_path: Path) -> None:
    folder = WorkFolder(str(tmp_path / "out"), {})
    first = open_documents(str(corpus), nothing)
    pieces = pieces_of(first, folder, "1", rows=3)
    corpus.write_text(corpus.read_text().replace("Lima", "Rome"))
    second = open_documents(str(corpus), nothing)
    assert pieces_of(second, folder, "1", rows=3) == pieces
    assert second.rows == first.rows == 8


def test_faults_of_an_input_are_those_of_the_usual_reader(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n')
    with pytest.raises(PairmineError, match='id "a" stands at'):
        pieces_of(open_documents(str(path), nothing), WorkFolder(str(tmp_path / "out"), {}), "1", rows=1)


def test_what_others_put_into_a_folder_is_never_replaced(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(PairmineError, match=r"holds what pairmine did not write \(thesis.txt\)"):
        PartedOutput(str(tmp_path / "out"), None, WorkFolder(str(tmp_path / "out"), {}), "out")


def test_a_run_replaces_what_the_last_one_wrote(corpus: Path, tmp_path: Path) -> None:
    for rows, parts in ((2, 4), (4, 2)):
        _, outputs = run(corpus, tmp_path / "out", tmp_path / "log", rows=rows)
        outputs["out"].commit([])
        assert len(list((tmp_path / "out").glob("part-*"))) == parts
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".old")] == []


def test_parts_may_lie_at_an_address(corpus: Path, tmp_path: Path) -> None:
    folder = WorkFolder(f"file://{tmp_path}/far/out", {})
    output = PartedOutput(f"file://{tmp_path}/far/out", None, folder, "out")
    pieces = pieces_of(open_documents(str(corpus), nothing), folder, "1", rows=3)
    list(write_parts(InProcess(), folder, pieces, Upper(str(tmp_path / "log")), {"out": output}, step="write"))
    output.commit([])
    source = open_documents(f"file://{tmp_path}/far/out", nothing)
    assert source.read()["id"].to_pylist() == ["d0", "d2", "d3", "d5", "d7"]
    (tmp_path / "far/out/.unfinished").write_text("")
    with pytest.raises(PairmineError, match="is not finished; run it again"):
        open_documents(f"file://{tmp_path}/far/out", nothing)


def _rows_of(piece: Piece) -> int:
    return piece.rows


def counting() -> Callable[[Piece], int]:
    """Makes what counts a shard's rows."""
    return _rows_of


def test_what_a_fold_found_is_kept_for_the_next_run(corpus: Path, tmp_path: Path) -> None:
    folder = WorkFolder(str(tmp_path / "out"), {})
    pieces = pieces_of(open_documents(str(corpus), nothing), folder, "1", rows=3)
    for _ in range(2):
        found = fold(InProcess(), folder, pieces, counting, step="count")
        assert sorted((piece.number, rows) for piece, rows in found) == [(0, 3), (1, 3), (2, 2)]
    assert len(list(Path(folder.path, "done/count").iterdir())) == 3


def test_a_machine_that_does_not_see_the_folder_says_so(corpus: Path, tmp_path: Path) -> None:
    folder = WorkFolder(str(tmp_path / "out"), {})
    pieces = pieces_of(open_documents(str(corpus), nothing), folder, "1", rows=3)
    os.rename(folder.path, tmp_path / "elsewhere")
    with pytest.raises(PairmineError, match="does not see its folder; name one that all machines"):
        list(fold(InProcess(), folder, pieces, counting, step="count"))


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def test_a_marker_that_holds_more_than_data_is_refused() -> None:
    table = pa.table({"a": pa.array(["x", None]).dictionary_encode(), "b": [[1], []], "c": np.float32([1, 2])})
    held = {"table": table, "array": np.arange(3, dtype=np.uint64), "counts": Counts(rows_in=3), "set": {1, "é"}}
    read = kept.loads(kept.dumps(held), "here")
    assert read["table"].equals(table)
    assert read["counts"] == held["counts"]
    assert read["array"].tolist() == [0, 1, 2]
    with pytest.raises(PairmineError, match=r"here: holds posix.system, which no run leaves there"):
        kept.loads(kept.dumps(_Evil()), "here")
    with pytest.raises(PairmineError, match="here: is damaged"):
        kept.loads(b"\x80\x05nonsense", "here")


class Unpickled(InProcess):
    """A pool whose `make` may hold functions, as what Ray sends may."""

    def map(self, make: Any, items: Any, **of_workers: Any) -> Any:
        return super().map(partial(_of, len(_MADE) - 1), items) if not _MADE.append(make) else iter(())


_MADE: list[Any] = []


def _of(at: int) -> Any:
    return _MADE[at]()


def write_folder(folder: Path, rows: list[list[dict[str, Any]]]) -> Path:
    folder.mkdir()
    for at, some in enumerate(rows):
        (folder / f"{at}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    return folder


def cut(source: Any, tmp_path: Path, *, rows: int = 2) -> tuple[list[Piece], list[dict[str, Any]]]:
    pieces = pieces_of(source, WorkFolder(str(tmp_path / "out"), {}), "1", rows=rows, pool=Unpickled)
    return pieces, pa.concat_tables(each for piece in pieces for each in read_tables(piece.path)).to_pylist()


def test_files_of_a_folder_are_cut_by_the_workers_as_one_reader_would(tmp_path: Path) -> None:
    rows = [[{"_id": f"{file}.{at}", "text": f"text {file} {at}"} for at in range(3)] for file in range(3)]
    folder = write_folder(tmp_path / "in", rows)
    source, usual = open_documents(str(folder), nothing), open_documents(str(folder), nothing)
    pieces, found = cut(source, tmp_path)
    assert found == usual.read().to_pylist()
    assert [Path(piece.path).name for piece in pieces[:2]] == ["part-00000-00000.parquet", "part-00000-00001.parquet"]
    assert [(piece.rows, piece.first) for piece in pieces] == [(2, 0), (1, 2), (2, 3), (1, 5), (2, 6), (1, 8)]
    records = [lineage.Lineage(), lineage.Lineage()]
    for record, each in zip(records, (source, usual), strict=True):
        each.add_to(record, "source")
    assert records[0].inputs == records[1].inputs


def test_files_that_concern_each_other_are_read_one_after_the_other(tmp_path: Path) -> None:
    repeated = write_folder(tmp_path / "a", [[{"id": "x", "text": "one"}, {"id": "y", "text": "two"}]] * 2)
    assert [row["id"] for row in cut(open_documents(str(repeated), nothing), tmp_path / "a")[1]] == ["x", "y"]
    other = write_folder(tmp_path / "b", [[{"id": "x", "text": "one"}], [{"id": "x", "text": "two"}]])
    with pytest.raises(PairmineError, match=r'1.jsonl:1: id "x" stands at .*0.jsonl:1 with another text'):
        cut(open_documents(str(other), nothing), tmp_path / "b")
    late = write_folder(tmp_path / "c", [[{"id": "x", "text": "one"}], [{"id": "y", "text": "two", "title": "T"}]])
    assert [row["title"] for row in cut(open_documents(str(late), nothing), tmp_path / "c")[1]] == [None, "T"]
    pairs = [[{"query": "q", "document": f"{file}"}] for file in range(2)]
    spread = write_folder(tmp_path / "d", pairs)
    pieces, found = cut(open_pairs(str(spread), nothing), tmp_path / "d", rows=1)
    assert [row["document"] for row in found] == ["0", "1"]
    assert len(pieces) == 1


def write_pairs(path: Path, negatives: list[int], *, group_rows: int) -> Path:
    """A pair set as pairmine writes it, a positive and so many negatives for each query."""
    rows = [
        {"query_id": f"q{at}", "query": f"{at}?", "doc_id": f"d{at}-{n}", "document": f"that {at} {n}", "label": label}
        for at, count in enumerate(negatives)
        for n, label in enumerate([1] + [0] * count)
    ]
    (path.parent / "plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = open_pairs(str(path.parent / "plain.jsonl"), nothing)
    sink = Sink(str(path))
    for table in source.chunks():
        sink.write(table)
    sink.commit([{"command": "x", "inputs": []}])
    rewrite(path, pq.read_table(path), group_rows)
    return path


def rewrite(path: Path, table: pa.Table, group_rows: int) -> None:
    """Write other rows there, with what the file says of how it came to be."""
    ours = {lineage.KEY: pq.read_metadata(path).metadata[lineage.KEY]}
    pq.write_table(table.replace_schema_metadata(ours), path, row_group_size=group_rows)


@pytest.mark.parametrize(("rows", "group_rows"), [(1, 1), (3, 2), (4, 5), (7, 100), (5, 3)])
def test_rows_of_a_file_of_ours_are_taken_where_they_are(tmp_path: Path, rows: int, group_rows: int) -> None:
    path = write_pairs(tmp_path / "pairs.parquet", [0, 3, 1, 9, 0, 0, 2, 5], group_rows=group_rows)
    whole = open_pairs(str(path), nothing).read()
    source = open_pairs(str(path), nothing)
    folder = WorkFolder(str(tmp_path / "out.parquet"), {})
    pieces = pieces_of(source, folder, "1", rows=rows)
    assert len(pieces) > 1
    assert source.rows == whole.num_rows
    assert source.entries == [{"command": "x", "inputs": []}]
    each = [open_pairs(piece.path, nothing).read() for piece in pieces]
    assert [(table.num_rows, table["query_id"][0].as_py()) for table in each] == [
        (piece.rows, whole["query_id"][piece.first].as_py()) for piece in pieces
    ]
    assert all(piece.rows >= rows for piece in pieces[:-1])
    assert pa.concat_tables(each).to_pylist() == whole.to_pylist()
    assert not list(Path(folder.path).rglob("*.parquet"))
    ids = [set(table["query_id"].to_pylist()) for table in each]
    assert sum(map(len, ids)) == len(set.union(*ids))


def test_a_fault_in_a_range_is_named_by_the_row_of_the_whole_file(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.parquet", [0] * 8, group_rows=3)
    table = pq.read_table(path)
    labels = pa.array([1, 1, 1, 1, 1, 7, 1, 1], pa.int8())
    rewrite(path, table.set_column(table.column_names.index("label"), "label", labels), 3)
    pieces = pieces_of(open_pairs(str(path), nothing), WorkFolder(str(tmp_path / "out"), {}), "1", rows=2)
    open_pairs(pieces[1].path, nothing).read()
    with pytest.raises(PairmineError, match=r"pairs\.parquet: row 6"):
        open_pairs(pieces[2].path, nothing).read()


def test_a_file_of_ours_that_does_not_fall_apart_is_read_as_ever(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.parquet", [1] * 4, group_rows=2)
    table = pq.read_table(path)
    rewrite(path, pa.concat_tables([table, table.slice(0, 1)]), 2)
    with pytest.raises(PairmineError, match="stand"):
        pieces_of(open_pairs(str(path), nothing), WorkFolder(str(tmp_path / "out"), {}), "1", rows=2)


def test_a_file_that_changes_under_a_range_is_told(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.parquet", [1] * 4, group_rows=2)
    pieces = pieces_of(open_pairs(str(path), nothing), WorkFolder(str(tmp_path / "out"), {}), "1", rows=2)
    write_pairs(path, [1] * 40, group_rows=2)
    with pytest.raises(PairmineError, match=r"pairs\.parquet: was changed while it was read"):
        open_pairs(pieces[0].path, nothing)


def test_a_reference_to_no_rows_is_refused(tmp_path: Path) -> None:
    for name, text in (("a", "[]"), ("b", '{"file": "x.rowrange", "rows": [0, 1], "bytes": 3}'), ("c", "")):
        (tmp_path / f"{name}.rowrange").write_text(text)
        with pytest.raises(PairmineError, match="name the file itself"):
            open_pairs(str(tmp_path / f"{name}.rowrange"), nothing)
