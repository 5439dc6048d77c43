"""Trainers' files at length: any pair set through every format and back, real sets, files with bytes spoilt."""

from __future__ import annotations

import gzip
import json
import random
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from form_rows import NO_NEGATIVES, UNLABELLED, exported, opened, pair_set, read
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.errors import PairmineError
from pairmine.files.forms import open_form
from pairmine.files.source import open_pairs
from pairmine.schema import as_pairs, check_pairs
from pairmine.stages.export import TARGETS

pytestmark = pytest.mark.slow

FLATTENED = {"colbert-triples"}
DATA = Path(__file__).parents[2] / "shared" / "data" / "climate-fever"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def pair_sets(draw: st.DrawFn) -> pa.Table:
    """Queries of one or two positives and as many negatives each, documents shared between them, texts of any kind."""
    count, negatives = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    words = draw(st.lists(texts, min_size=8, max_size=8))
    titled = draw(st.booleans())
    rows: list[dict[str, Any]] = []
    for query in range(count):
        positives = draw(st.integers(1, 2))
        for doc in draw(st.permutations(range(8)))[: positives + negatives]:
            label = int(sum(row["query_id"] == f"q{query}" for row in rows) < positives)
            title = f"T{doc} {words[doc]}".strip() if titled else ""
            body = f"d{doc} {words[doc]}"
            row = {
                "query_id": f"q{query}",
                "query": f"q{query} {words[query]}",
                "doc_id": f"doc{doc}",
                "document": f"{title} {body}" if titled else body,
                "label": label,
                "grade": draw(st.floats(0, 1, width=32)),
                "score_ce": draw(st.floats(-8, 8, width=32)),
                "origin": "given",
            }
            rows.append(row | ({"title": title} if titled else {}))
    table = pa.Table.from_pylist(rows)
    kinds = {"label": pa.int8(), "grade": pa.float32(), "score_ce": pa.float32()}
    for name, kind in kinds.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    return as_pairs(table)


def flat(text: str) -> str:
    return re.sub("[\t\r\n]", " ", text)


def labelled(table: pa.Table, name: str) -> set[tuple[str, str, int | None]]:
    clean = flat if name in FLATTENED else str
    return {
        (clean(row["query"]), clean(row["document"]), None if name in UNLABELLED else row["label"])
        for row in table.to_pylist()
        if row["label"] or name not in NO_NEGATIVES
    }


@pytest.mark.parametrize("name", sorted(TARGETS))
@settings(max_examples=12, deadline=None)
@given(pairs=pair_sets(), rows=st.integers(1, 9), has_sidecar=st.booleans())
def test_any_pair_set_comes_back_as_it_was_exported(name: str, pairs: pa.Table, rows: int, has_sidecar: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        out = exported(Path(folder), name, patch, pairs)
        beside = Path(f"{out}.ids.parquet")
        if not has_sidecar and beside.exists():
            beside.unlink()
        form = opened(out)
        tables = list(form.chunks(rows))
        found = pa.concat_tables(tables)
        assert form.findings == []
        assert labelled(found, name) == labelled(pairs, name)
        ids = [set(table["query_id"].to_pylist()) for table in tables]
        assert sum(map(len, ids)) == len(set().union(*ids))
        if beside.exists():
            assert scores(found) == {key: value for key, value in scores(pairs).items() if key in scores(found)}
        if "score_given" in found.column_names and name != "st-pair-score":
            assert given_scores(found, pairs)


def scores(table: pa.Table) -> dict[tuple[str, str], float]:
    return {(row["query_id"], row["doc_id"]): row["score_ce"] for row in table.to_pylist()}


def given_scores(found: pa.Table, pairs: pa.Table) -> bool:
    """Whether the scores in the file are those of the pair set, or its grades."""
    known = {(flat(row["query"]), flat(row["document"])): {row["score_ce"], row["grade"]} for row in pairs.to_pylist()}
    rows = [row for row in found.to_pylist() if row["score_given"] is not None]
    return all(row["score_given"] in known[flat(row["query"]), flat(row["document"])] for row in rows)


@pytest.fixture(scope="module")
def claims() -> pa.Table:
    """Claims of climate-fever with judged passages: all positives and two negatives each, titles before the texts."""
    if not DATA.exists():
        pytest.skip("needs ../shared/data beside the checkout")
    texts = {row["_id"]: row for row in compressed(DATA / "corpus.jsonl.gz")}
    queries = {row["_id"]: row["text"] for row in compressed(DATA / "queries.jsonl.gz")}
    once = set({(row["title"], row["text"]): doc for doc, row in texts.items()}.values())
    judged: dict[str, dict[bool, list[str]]] = {}
    for line in (DATA / "qrels.tsv").read_text().splitlines()[1:]:
        query, doc, score = line.split("\t")[:3]
        if doc in once:
            judged.setdefault(query, {True: [], False: []})[int(score) > 0].append(doc)
    rows = [
        {
            "query_id": query,
            "query": queries[query],
            "doc_id": doc,
            "document": f"{texts[doc]['title']} {texts[doc]['text']}",
            "label": label,
            "grade": label * 0.5,
            "score_ce": float(place),
            "origin": "given",
            "title": texts[doc]["title"],
        }
        for query, docs in judged.items()
        if docs[True] and len(docs[False]) >= 2
        for label, some in ((1, docs[True]), (0, docs[False][:2]))
        for place, doc in enumerate(some)
    ]
    table = pa.Table.from_pylist(rows)
    kinds = {"label": pa.int8(), "grade": pa.float32(), "score_ce": pa.float32()}
    for name, kind in kinds.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    return as_pairs(table)


def compressed(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_judged_claims_come_back_from_every_format_without_a_finding(
    name: str, claims: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = opened(exported(tmp_path, name, monkeypatch, claims))
    found = read(form)
    assert claims.num_rows > 1000
    assert form.findings == []
    assert labelled(found, name) == labelled(claims, name)


# --- Files that somebody spoilt ------------------------------------------------------------------

BITS = (
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\t", b"\r\n", b"0", b"null", b"true", b"NaN", b"1e999", b"-1"),
    *(b"\\ud800", b"\xff", b"[]", b"{}", b'""', b"9" * 30, b'"label":', b'"query":', b"\x00", b"\xef\xbb\xbf"),
)


def spoilt(content: bytes, draw: random.Random) -> bytes:
    """`content` with a few bytes put in, taken out, changed or repeated."""
    spoils = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 5])):
        at, way = draw.randrange(len(spoils) + 1), draw.randrange(4)
        if way == 0:
            spoils[at:at] = draw.choice(BITS)
        elif way == 1:
            del spoils[at : at + draw.choice([1, 1, 3, 20, 200])]
        elif way == 2:
            spoils[at : at + 1] = bytes([draw.randrange(256)])
        else:
            start = draw.randrange(len(spoils) + 1)
            spoils[at:at] = spoils[start : start + draw.randrange(80)]
    return bytes(spoils)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_file_with_spoilt_bytes_gives_findings_or_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = exported(tmp_path, name, monkeypatch, pair_set())
    files = sorted(path for path in (out.rglob("*") if out.is_dir() else [out]) if path.is_file())
    draw = random.Random(name)
    for turn in range(150):
        path = draw.choice(files)
        content = path.read_bytes()
        path.write_bytes(spoilt(content, draw))
        if told := look_at(out, name if turn % 2 else None, draw.choice([1, 3, 65_536])):
            assert "\n" not in told
        path.write_bytes(content)


def look_at(out: Path, name: str | None, rows: int) -> str | None:
    """What `check` does with a form: pairs that are pairs, announced findings; or the line of an error."""
    try:
        form = open_form(str(out), lambda line: None, form=name)
        if form is None:
            return None
        for table in form.chunks(rows):
            check_pairs(table)
    except PairmineError as error:
        return str(error)
    assert {finding.name for finding in form.findings} <= {test for test, _, _ in form.tests}
    assert all(finding.to_dict() for finding in form.findings)
    return None


def test_a_form_reads_as_fast_as_a_pair_set(tmp_path: Path) -> None:
    """No more than half as long again as `open_pairs` for the same lists; here for 8,000 queries of eight texts."""
    words = random.Random(0)
    known = [" ".join(str(words.random()) for _ in range(12)) for _ in range(2000)]
    rows = (
        json.dumps(
            {"query": f"{number} {known[number % 7]}", "pos": [known[number % 2000]], "neg": words.sample(known, 7)}
        )
        for number in range(8_000)
    )
    (tmp_path / "a.jsonl").write_text("".join(f"{row}\n" for row in rows))
    path = str(tmp_path / "a.jsonl")
    times = {"form": [], "pairs": []}  # type: dict[str, list[float]]
    for _ in range(2):
        for name, source in (("pairs", open_pairs(path, lambda line: None)), ("form", opened(Path(path)))):
            start = time.process_time()
            count = sum(table.num_rows for table in source.chunks())
            times[name].append(time.process_time() - start)
            assert count == 64_000
    assert min(times["form"]) < 1.5 * min(times["pairs"])
