"""Ready-made vectors as a retriever: every form of file, joined by ids, and all that can be wrong with them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.backends.retrievers.ready import ReadyRetriever, split_target
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError
from pairmine.stages.mine import named_specs

DIM = 12
DOCS = [f"d{number}" for number in range(40)]
QUERIES = [f"q{number}" for number in range(9)]


def unit(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


D, Q = unit(len(DOCS), 1), unit(len(QUERIES), 2)


def table(path: Path, ids: list[str], vectors: np.ndarray, kind: str = "fixed") -> Path:
    """`vectors` with their ids in a file of one of the forms."""
    if path.suffix == ".npy":
        np.save(path, vectors)
        path.with_suffix(".ids.txt").write_text("".join(f"{each}\n" for each in ids))
        return path
    columns: dict[str, Any] = {"id": pa.array(ids, pa.string())}
    if kind == "int8":
        scale = np.abs(vectors).max(axis=1) / 127
        steps = np.rint(vectors / scale[:, None]).astype(np.int8)
        columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(steps.ravel()), vectors.shape[1])
        columns["scale"] = pa.array(scale, pa.float32())
    elif kind == "list":
        columns["vector"] = pa.array([list(map(float, vector)) for vector in vectors], pa.list_(pa.float64()))
    else:
        columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    found = pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(found, path, row_group_size=7)
    elif kind == "stream":
        with pa.OSFile(str(path), "wb") as handle, pa.ipc.new_stream(handle, found.schema) as writer:
            writer.write_table(found)
    else:
        with pa.OSFile(str(path), "wb") as handle, pa.ipc.new_file(handle, found.schema) as writer:
            writer.write_table(found, max_chunksize=11)
    return path


def opened(target: str, lines: list[str] | None = None, **options: Any) -> ReadyRetriever:
    return ReadyRetriever(Spec("npy", target), say=None if lines is None else lines.append, **options)


def searched(retriever: ReadyRetriever, docs: list[str] = DOCS, queries: list[str] = QUERIES, k: int = 5) -> Any:
    retriever.take_ids(pa.array(docs, pa.string()), pa.array(queries, pa.string()))
    retriever.index(["text"] * len(docs), len(docs))
    retriever.prepare(["text"] * len(queries))
    return retriever.search(np.arange(len(queries)), k)


def brute_force(docs: np.ndarray, queries: np.ndarray, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    products = queries.astype(np.float64) @ docs.astype(np.float64).T
    places = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return places, np.take_along_axis(products, places, axis=1)


@pytest.mark.parametrize("budget", [1 << 30, 0], ids=["in memory", "on disk"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [("d.npy", ""), ("d.parquet", "fixed"), ("d.parquet", "list"), ("d.arrow", "fixed"), ("d.arrow", "stream")],
)
def test_every_form_finds_what_a_matrix_product_finds(tmp_path: Path, name: str, kind: str, budget: int) -> None:
    order = np.random.default_rng(3).permutation(len(DOCS))
    docs = table(tmp_path / name, [DOCS[row] for row in order] + ["more"], np.vstack([D[order], -D[:1]]), kind)
    queries = table(tmp_path / f"q{Path(name).suffix}", QUERIES, Q, kind)
    places, scores = searched(opened(f"{docs},{queries}", vectors_bytes=budget))
    expected, products = brute_force(D, Q)
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_allclose(scores, products, atol=1e-6)


@pytest.mark.parametrize("budget", [1 << 30, 0], ids=["in memory", "on disk"])
@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_other_types_and_lengths_are_read_as_unit_vectors(tmp_path: Path, dtype: Any, budget: int) -> None:
    lines: list[str] = []
    docs = table(tmp_path / "d.npy", DOCS, (D * 5).astype(dtype))
    retriever = opened(f"{docs},{table(tmp_path / 'q.npy', QUERIES, Q)}", lines, vectors_bytes=budget)
    _, scores = searched(retriever)
    assert lines == ["40 document vectors of d were not of unit length, and are now"]
    _, products = brute_force(D, Q)
    np.testing.assert_allclose(scores, products, atol=2e-3)
    found = retriever.document_vectors.take(np.array([3, 0, 39]))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(retriever.document_vectors.block(2, 5)[1], found[0])


def test_int8_vectors_come_back_by_their_scales(tmp_path: Path) -> None:
    docs = table(tmp_path / "d.parquet", DOCS, D, "int8")
    _, scores = searched(opened(f"{docs},{table(tmp_path / 'q.parquet', QUERIES, Q)}"))
    np.testing.assert_allclose(scores, brute_force(D, Q)[1], atol=2e-2)


def test_disk_and_memory_give_the_same_bits(tmp_path: Path) -> None:
    rough = D * np.linspace(0.2, 3, len(DOCS), dtype=np.float32)[:, None]
    queries = table(tmp_path / "q.npy", QUERIES, Q)
    found = []
    for name in ("d.npy", "d.parquet"):
        docs = table(tmp_path / name, DOCS, rough)
        for budget in (1 << 30, 0):
            retriever = opened(f"{docs},{queries}", vectors_bytes=budget)
            searched(retriever)
            found.append(retriever.document_vectors.take(np.arange(len(DOCS))))
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])


def test_one_file_may_hold_documents_and_queries_and_a_folder_several_files(tmp_path: Path) -> None:
    both = table(tmp_path / "both.npy", DOCS + QUERIES, np.vstack([D, Q]))
    expected = searched(opened(str(both)))[0]
    (tmp_path / "parts").mkdir()
    table(tmp_path / "parts" / "0.npy", DOCS[:25], D[:25])
    table(tmp_path / "parts" / "1.parquet", DOCS[25:] + QUERIES, np.vstack([D[25:], Q]))
    np.testing.assert_array_equal(searched(opened(str(tmp_path / "parts")))[0], expected)
    np.testing.assert_array_equal(expected, brute_force(D, Q)[0])


def test_documents_that_only_the_pair_set_has_are_never_found_and_have_no_score(tmp_path: Path) -> None:
    lines: list[str] = []
    retriever = opened(f"{table(tmp_path / 'd.npy', DOCS, D)},{table(tmp_path / 'q.npy', QUERIES, Q)}", lines)
    retriever.take_ids(pa.array([*DOCS, "elsewhere"]), pa.array(QUERIES))
    retriever.index(["text"] * 41, 40)
    retriever.prepare(["text"] * 9)
    assert lines == ["1 documents that only the pair set has are without a vector in d: no score"]
    assert (retriever.search(np.arange(9), 50)[0].max(axis=1) == 39).all()
    scores = retriever.pair_scores(np.array([0, 0]), np.array([40, 7]))
    assert np.isnan(scores[0])
    assert scores[1] == pytest.approx(float(Q[0] @ D[7]), abs=1e-6)
    with pytest.raises(PairmineError, match="1 positives that only the pair set has are without a vector"):
        retriever.near(np.array([3, 40]), ["a", "b"])


def test_a_copy_may_have_the_vector_under_any_of_its_ids(tmp_path: Path) -> None:
    docs = table(tmp_path / "d.npy", ["copy", *DOCS[1:]], D)
    retriever = opened(f"{docs},{table(tmp_path / 'q.npy', QUERIES, Q)}")
    retriever.take_ids(pa.array([*DOCS, "copy"]), pa.array(QUERIES), np.append(np.arange(40), 0))
    retriever.index(["text"] * 40, 40)
    np.testing.assert_array_equal(retriever.document_vectors.take(np.arange(40)), D)


@pytest.mark.parametrize("ending", [".ids.txt", ".ids.json", ".ids.npy"])
def test_ids_may_stand_beside_in_three_forms(tmp_path: Path, ending: str) -> None:
    ids = ["a b", "é日", "10"]
    np.save(tmp_path / "v.npy", unit(3, 5))
    path = tmp_path / f"v{ending}"
    if ending == ".ids.npy":
        np.save(path, np.array(ids))
    else:
        path.write_bytes(json.dumps(ids).encode() if ending == ".ids.json" else "a b\r\né日\n10\n".encode())
    retriever = opened(f"{tmp_path / 'v.npy'},{tmp_path / 'v.npy'}")
    searched(retriever, ids[::-1], ids[:1])
    np.testing.assert_array_equal(retriever.document_vectors.take(np.arange(3)), unit(3, 5)[::-1])


def test_ids_that_are_missing_twice_or_too_few_are_told(tmp_path: Path) -> None:
    docs, queries = table(tmp_path / "d.npy", DOCS, D), table(tmp_path / "q.npy", QUERIES, Q)
    with pytest.raises(PairmineError, match='2 of 42 documents have no vector, the first is "x"'):
        searched(opened(f"{docs},{queries}"), [*DOCS, "x", "y"])
    with pytest.raises(PairmineError, match='1 of 10 queries have no vector, the first is "new"'):
        searched(opened(f"{docs},{queries}"), DOCS, [*QUERIES, "new"])
    (tmp_path / "d.ids.txt").write_text("\n".join([*DOCS[:-1], "d3"]))
    with pytest.raises(PairmineError, match=r'row 40 is a second vector with the id "d3"'):
        searched(opened(f"{docs},{queries}"))
    (tmp_path / "d.ids.txt").write_text("d0\n")
    with pytest.raises(PairmineError, match=r"d\.ids\.txt: 1 ids for 40 vectors in d\.npy"):
        searched(opened(f"{docs},{queries}"))
    (tmp_path / "d.ids.txt").unlink()
    with pytest.raises(PairmineError, match=r"has no ids; put them beside it in d\.ids\.txt"):
        searched(opened(f"{docs},{queries}"))


@pytest.mark.parametrize(("value", "kind"), [(0, "zero"), (np.nan, "not finite"), (np.inf, "not finite")])
@pytest.mark.parametrize("name", ["d.npy", "d.parquet"])
def test_a_vector_that_cannot_be_compared_names_its_id(tmp_path: Path, name: str, value: float, kind: str) -> None:
    bad = D.copy()
    bad[7] = value
    docs, queries = table(tmp_path / name, DOCS, bad), table(tmp_path / "q.npy", QUERIES, Q)
    for budget in (1 << 30, 0):
        with pytest.raises(PairmineError, match=f'the vector of "d7" is {kind}'):
            searched(opened(f"{docs},{queries}", vectors_bytes=budget))


def test_files_that_are_no_vectors_are_told(tmp_path: Path) -> None:
    queries = table(tmp_path / "q.npy", QUERIES, Q)
    with pytest.raises(PairmineError, match="no such file"):
        opened(f"{tmp_path / 'none.npy'},{queries}")
    (tmp_path / "x.csv").write_text("a")
    with pytest.raises(PairmineError, match="is no file of vectors"):
        opened(str(tmp_path / "x.csv"))
    for content, told in (
        (np.array(["a"], object), "cannot be read as vectors"),
        (np.zeros(4, np.float32), r"matrix \(n, dim\)"),
        (np.zeros((4, 4), np.int64), "of float16, float32 or float64"),
        (np.asfortranarray(np.ones((40, 3), np.float32)), "column by column"),
    ):
        np.save(tmp_path / "d.npy", content, allow_pickle=True)
        with pytest.raises(PairmineError, match=told):
            searched(opened(f"{tmp_path / 'd.npy'},{queries}"))
    for name in ("cut.npy", "cut.parquet", "cut.arrow"):
        whole = table(tmp_path / name, DOCS, D).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(PairmineError, match="cannot be read as"):
            searched(opened(f"{tmp_path / name},{queries}"))
    pq.write_table(pa.table({"id": ["a"], "embedding": [[1.0]]}), tmp_path / "d.parquet")
    with pytest.raises(PairmineError, match=r'no "vector" \(found: id, embedding\)'):
        searched(opened(f"{tmp_path / 'd.parquet'},{queries}"))
    pq.write_table(pa.table({"id": ["a", "b"], "vector": [[1.0], [1.0, 2.0]]}), tmp_path / "d.parquet")
    with pytest.raises(PairmineError, match='the vector of "b" has 2 numbers, others 1'):
        searched(opened(f"{tmp_path / 'd.parquet'},{queries}"), ["a", "b"])


def test_documents_and_queries_of_two_models_are_told_apart_by_their_length(tmp_path: Path) -> None:
    docs, queries = table(tmp_path / "d.npy", DOCS, D), table(tmp_path / "q.npy", QUERIES, Q[:, :6])
    with pytest.raises(PairmineError, match="vectors of documents have 12 numbers and those of queries 6"):
        searched(opened(f"{docs},{queries}"))


def test_names_come_from_the_file_and_columns_from_what_else_searches(tmp_path: Path) -> None:
    ((spec, score),) = named_specs(["npy:/x/docs.parquet,/x/queries.parquet"])
    assert (spec.name, score, spec.public()) == ("docs", "dense", "npy:docs.parquet,queries.parquet")
    assert [score for _, score in named_specs(["npy:a/one.npy", "two=npy:b/one.npy"])] == ["one", "two"]
    with pytest.raises(PairmineError, match="both fill the column"):
        named_specs(["npy:a/one.npy", "npy:b/one.npy"])
    with pytest.raises(PairmineError, match="name a file after the colon, as in npy:"):
        named_specs(["npy:"])
    (tmp_path / "a,b.npy").touch()
    assert split_target(f"{tmp_path}/a,b.npy") == (f"{tmp_path}/a,b.npy", None)
    assert split_target(f"{tmp_path}/a,b.npy,q.npy") == (f"{tmp_path}/a,b.npy", "q.npy")
    assert split_target("none.npy,q.npy") == ("none.npy", "q.npy")


def test_one_file_for_both_never_gives_a_query_the_vector_of_the_document_with_its_id(tmp_path: Path) -> None:
    numbers = [str(number) for number in range(40)]  # as BEIR folders number both sides
    docs = table(tmp_path / "d.npy", numbers, D)
    with pytest.raises(PairmineError, match=r'9 ids are those of a query and of a document, the first is "0".*npy:DOC'):
        searched(opened(str(docs)), numbers, numbers[:9])
    found = searched(opened(f"{docs},{docs}"), numbers, numbers[:9])[0]
    assert found[:, 0].tolist() == list(range(9))  # meant so: queries that are documents find themselves


def test_a_folder_may_have_a_shard_without_rows(tmp_path: Path) -> None:
    table(tmp_path / "0.parquet", DOCS + QUERIES, np.vstack([D, Q]))
    pq.write_table(pa.table({"id": pa.array([], pa.string()), "vector": pa.array([], pa.list_(pa.float32()))}),
                   tmp_path / "1.parquet")  # fmt: skip
    np.testing.assert_array_equal(searched(opened(str(tmp_path)))[0], brute_force(D, Q)[0])


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"id": [["a"]], "vector": [[1.0]]}, "cannot be read as a table of vectors .*cast"),
        ({"id": [b"\xff"], "vector": [[1.0]]}, "cannot be read as a table of vectors .*UTF8"),
        ({"id": ["a"], "vector": pa.array([[]], pa.list_(pa.float32()))}, 'the vector of "a" has no numbers'),
        ({"id": ["a"], "vector": pa.array([[1]], pa.list_(pa.int8())), "scale": ["much"]}, "cannot be read .*much"),
        ({"id": ["a"], "vector": [[1e300]]}, 'the vector of "a" is not finite'),
        ({"id": ["a"], "vector": pa.array([[1e-40]], pa.list_(pa.float32()))}, 'the vector of "a" is too small'),
        ({"id": ["a"], "vector": [["1"]]}, "vectors are object, and wanted as float16"),
    ],
)
def test_columns_of_another_kind_are_one_line_and_no_traceback(
    tmp_path: Path, columns: dict[str, Any], told: str, ending: str
) -> None:
    found, path = pa.table(columns), tmp_path / f"d.{ending}"
    if ending == "parquet":
        pq.write_table(found, path)
    else:
        with pa.OSFile(str(path), "wb") as handle, pa.ipc.new_file(handle, found.schema) as writer:
            writer.write_table(found)
    with pytest.raises(PairmineError, match=told):
        searched(opened(f"{path},{table(tmp_path / 'q.npy', QUERIES, Q)}"), ["a"])


def test_a_damaged_head_of_a_matrix_and_ids_that_never_end_are_told(tmp_path: Path) -> None:
    queries, docs = table(tmp_path / "q.npy", QUERIES, Q), table(tmp_path / "d.npy", DOCS, D)
    whole = docs.read_bytes()
    for at in range(0, 128, 3):
        docs.write_bytes(whole[:at] + b"(" + whole[at + 1 :])
        with contextlib.suppress(PairmineError):  # not every byte matters, but none makes a traceback
            searched(opened(f"{docs},{queries}"))
    docs.write_bytes(whole)
    (tmp_path / "d.ids.txt").rename(tmp_path / "gone")
    (tmp_path / "d.ids.json").write_text("[" * 100_000)
    with pytest.raises(PairmineError, match="cannot be read as ids"):
        searched(opened(f"{docs},{queries}"))


@pytest.mark.parametrize("kind", ["archive", "pickle", "zip"])
def test_archives_and_pickles_named_npy_are_told(tmp_path: Path, kind: str) -> None:
    queries, docs = table(tmp_path / "q.npy", QUERIES, Q), table(tmp_path / "d.npy", DOCS, D)
    with docs.open("wb") as handle:
        if kind == "archive":
            np.savez(handle, D)
        elif kind == "pickle":
            np.save(handle, np.array([{}], dtype=object), allow_pickle=True)
        else:
            handle.write(b"PK\x03\x04" + bytes(99))
    with pytest.raises(PairmineError, match=r"d.npy: cannot be read as vectors .*; write it by numpy.save"):
        searched(opened(f"{docs},{queries}"))


def test_a_table_of_vectors_that_ends_beyond_its_numbers_is_told(tmp_path: Path) -> None:
    queries = table(tmp_path / "q.npy", QUERIES, Q)
    docs = table(tmp_path / "d.arrow", DOCS, D, "list")
    lengths = np.arange(12, dtype=np.int32) * DIM
    content = docs.read_bytes()
    assert lengths.tobytes() in content
    lengths[-1] = 2**31 - 1
    docs.write_bytes(content.replace((np.arange(12, dtype=np.int32) * DIM).tobytes(), lengths.tobytes()))
    with pytest.raises(PairmineError, match=r"d.arrow: cannot be read as a table of vectors"):
        searched(opened(f"{docs},{queries}"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads its peak memory from /proc")
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_table_in_one_piece_is_not_read_into_memory_as_a_whole(tmp_path: Path, ending: str) -> None:
    count, dim = 100_000, 256  # 100 MB in one row group, or one batch
    script = textwrap.dedent(f"""
        import numpy as np, pyarrow as pa, pyarrow.parquet as pq
        from pathlib import Path
        from pairmine.files.vectors import read_vectors
        def peak():
            return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) >> 10
        ids = pa.array([str(number) for number in range({count})])
        before = peak()
        found = read_vectors([Path("d.{ending}")], ids, np.arange({count}), {count}, budget_bytes=1)
        for start in range(0, {count}, 8192):
            found.vectors.block(start, min(start + 8192, {count}))
        print(peak() - before, len(found.vectors), int(found.missing.sum()))
    """)
    vectors = np.random.default_rng(0).normal(size=(count, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
    found = pa.table({"id": pa.array([str(number) for number in range(count)]), "vector": rows})
    if ending == "parquet":
        pq.write_table(found, tmp_path / "d.parquet", row_group_size=count)
    else:
        with pa.OSFile(str(tmp_path / "d.arrow"), "wb") as handle, pa.ipc.new_file(handle, found.schema) as writer:
            writer.write_table(found)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    grown, length, missing = map(int, done.stdout.split())
    assert (length, missing) == (count, 0)
    assert grown < 95  # MB; the whole of it would be 100 at the least, and was 370 for a batch of Arrow
