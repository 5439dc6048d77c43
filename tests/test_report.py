"""The report: the numbers it shows are those of the set, and no set is too odd for it."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pairmine.cli.main import main
from pairmine.errors import PairmineError
from pairmine.files.lineage import encode
from pairmine.report.charts import Chart, Frame, Line, round_numbers, steps
from pairmine.report.flow import nodes_of
from pairmine.report.funnel import Level
from pairmine.report.gather import Look, as_rejected
from pairmine.report.markup import embedded, escaped, share, tag
from pairmine.report.page import LARGEST, Material, fitting, page
from pairmine.report.rows import COLUMNS, LONGEST, fitted, rows_data
from pairmine.report.sample import QuerySample, lot
from pairmine.report.survival import survival_cards
from pairmine.report.thresholds import Threshold, thresholds
from pairmine.schema import as_pairs, empty_pairs, score_field
from pairmine.stages.stats import Stats


def pair_set(queries: int = 4, negatives: int = 3, **columns: Any) -> pa.Table:
    rows = [
        (f"q{query}", f"d{query}-{place}", place == 0) for query in range(queries) for place in range(negatives + 1)
    ]
    made = {
        "query_id": [query for query, _, _ in rows],
        "query": [f"what is {query}" for query, _, _ in rows],
        "doc_id": [doc for _, doc, _ in rows],
        "document": [f"a text about {doc} and more" for _, doc, _ in rows],
        "label": pa.array([int(positive) for _, _, positive in rows], pa.int8()),
        "origin": ["given" if positive else "mine:bm25" for _, _, positive in rows],
    }
    table = pa.table(made | columns)
    score = pa.array([0.9 if positive else 0.1 * (at % 7) for at, (_, _, positive) in enumerate(rows)], pa.float32())
    return as_pairs(table.append_column(score_field("ce", "probability"), score) if rows else table)


ENTRIES: list[dict[str, Any]] = [
    {
        "command": "mine",
        "version": "0.1.0",
        "inputs": [
            {"role": "pairs", "file": "p.jsonl", "rows": 4, "sha256": "ab"},
            {"role": "corpus", "file": "c.jsonl", "rows": 90},
        ],
        "options": {"depth": 10, "retriever": ["bm25"]},
        "models": [{"model": "bm25", "k1": 1.5}],
        "counts": {"rows_in": 4, "added": 40, "rejected": {}, "rows_out": 44},
    },
    {
        "command": "filter",
        "version": "0.1.0",
        "inputs": [{"role": "pairs", "stage": 0, "rows": 44}],
        "options": {"max_score": ["ce:0.35"], "relative_margin": ["0.05"], "by": "ce", "negatives": 3},
        "counts": {"rows_in": 44, "rejected": {"not picked": 20, "score above 0.35": 8}, "rows_out": 16},
    },
]


def written(
    folder: Path, table: pa.Table, name: str = "pairs.parquet", entries: list[dict[str, Any]] | None = None
) -> str:
    metadata = encode(entries) if entries else None
    pq.write_table(table.replace_schema_metadata(metadata), folder / name)
    return name


class Here:
    """Runs `pairmine report` in a folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, heard: pytest.CaptureFixture[str]) -> None:
        patch.chdir(folder)
        self.folder, self._patch, self._heard = folder, patch, heard

    def __call__(self, *words: str, fails: bool = False) -> str:
        self._patch.setattr(sys, "argv", ["pairmine", "report", *words])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = self._heard.readouterr()
        assert (left.value.code == 2) if fails else not left.value.code, err
        return err if fails else (self.folder / "r.html").read_text(encoding="utf-8") if "-" not in words else out


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(tmp_path, monkeypatch, capsys)


class Parsed(HTMLParser):
    """The page's elements and texts, and the data in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside = ""
        self.data: Any = None
        self.feed(text)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        self._inside = name

    def handle_data(self, text: str) -> None:
        kind = self.elements[-1][1].get("type") if self.elements else None
        if self._inside == "script" and kind == "application/json":
            self.data = json.loads(text)
        elif self._inside not in ("script", "style"):
            self.texts.append(text)

    def handle_endtag(self, name: str) -> None:
        self._inside = ""

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.texts).split())


def test_the_numbers_of_the_page_are_those_of_stats(here: Here) -> None:
    pairs = pair_set()
    found = Stats()
    found.add(pairs)
    numbers = found.to_dict()["scores"]["score_ce"]
    shown = Parsed(here(written(here.folder, pairs, entries=ENTRIES), "-o", "r.html")).said
    for said in (
        "16 rows",
        "4 queries",
        "16 documents",
        "3 negatives per query",
        "4 positive, 25%",
        "12 negative, 75%",
    ):
        number, _, what = said.partition(" ")
        assert said in shown or re.search(rf"{what} {number}", shown), said
    assert f"AUC {numbers['auc']:.3f}" in shown
    assert f"in {numbers['auc']:.1%} of {numbers['compared_pairs']} pairs" in shown
    assert f"{numbers['negatives_above_lowest_positive']:.1%} of negatives score above" in shown


def test_every_stage_shows_its_command_counts_and_reasons(here: Here) -> None:
    text = here(written(here.folder, pair_set(), entries=ENTRIES), "-o", "r.html")
    shown = Parsed(text).said
    assert "pairmine mine p.jsonl --corpus c.jsonl --depth 10 --retriever bm25 -o step1.parquet" in shown
    assert "44 in − 28 rejected → 16 out" in shown
    assert "4 in + 40 added → 44 out" in shown
    assert "not picked 20 45%" in shown
    assert "score above 0.35 8 18%" in shown
    assert "max score 0.35" in shown
    assert "set: 0.35" in shown


def test_the_same_input_and_seed_give_the_same_bytes(here: Here) -> None:
    name = written(here.folder, pair_set(24), entries=ENTRIES)
    first = here(name, "--rows", "40", "-o", "r.html")
    assert here(name, "--rows", "40", "-o", "r.html") == first
    assert here(name, "--rows", "40", "--seed", "1", "-o", "r.html") != first
    assert here(name, "--rows", "40", "-o", "-") == first


def test_rejected_rows_stand_beside_those_that_were_kept(here: Here) -> None:
    pairs = pair_set(30)
    rejected = pair_set(40).append_column(
        "reason", pa.array(["too near", "a rare one" + " " * 0, *["not picked"] * 158])
    )
    rejected = rejected.set_column(4, "label", pa.nulls(160, pa.int8()))
    name, away = written(here.folder, pairs), written(here.folder, rejected, "away.parquet")
    data = Parsed(here(name, "--rejects", away, "--rows", "60", "-o", "r.html")).data
    assert sorted(data["reasons"]) == ["a rare one", "not picked", "too near"]
    assert len(data["rows"]) <= 80
    kept = [row for row in data["rows"] if row[5] is None]
    assert {row[3] for row in kept} == {0, 1}
    assert all(row[3] is None for row in data["rows"] if row[5] is not None)
    gone = {data["queries"][row[0]][0] for row in data["rows"]}
    assert "q0" in gone


def test_rejected_documents_of_a_stage_without_pairs_are_shown_too(here: Here) -> None:
    away = pa.table({"id": ["a", "b"], "text": ["one", None], "reason": ["too short", "no text"]})
    name = written(here.folder, away, "away.parquet")
    data = Parsed(here(written(here.folder, pair_set()), "--rejects", name, "-o", "r.html")).data
    assert {row[1] for row in data["rows"] if row[5] is not None} == {"a", "b"}
    assert set(data["reasons"]) == {"too short", "no text"}


def test_an_earlier_stage_shows_the_scores_that_the_threshold_was_held_to(here: Here) -> None:
    mined = pair_set(6, 9).set_column(
        4, "label", pa.array([1 if at % 10 == 0 else None for at in range(60)], pa.int8())
    )
    earlier = written(here.folder, mined, "mined.parquet")
    shown = Parsed(here(written(here.folder, pair_set(), entries=ENTRIES), "--stage", earlier, "-o", "r.html")).said
    assert "mined.parquet, 60 rows" in shown
    assert "max-score on score_ce, on 54 candidates of 6 queries" in shown


@pytest.mark.parametrize(
    "odd",
    [
        empty_pairs(),
        pair_set(1, 0),
        pair_set().drop_columns(["score_ce"]),
        pair_set().drop_columns(["label"]),
        pair_set().drop_columns(["query", "document"]),
        pair_set(score_other=pa.nulls(16, pa.float32())),
        pair_set(label=pa.array([1] * 16, pa.int8())),
        pair_set(label=pa.array([0] * 16, pa.int8())),
        pair_set(query=["日本語の質問 🙂 \u202e"] * 16, document=["", None, "\x00\x1b", "é" * 9000] * 4),
        pair_set(
            vector=pa.array([[1.0, float("nan")]] * 16), when=pa.array(range(16), pa.timestamp("s")), big=[2**60] * 16
        ),
    ],
    ids=[
        *("empty", "one row", "no scores", "no labels", "no texts", "null scores"),
        *("only positives", "only negatives", "unicode", "odd columns"),
    ],
)
def test_no_set_is_too_odd_for_it(here: Here, odd: pa.Table) -> None:
    text = here(written(here.folder, odd), "-o", "r.html")
    parsed = Parsed(text)
    assert len(parsed.data["rows"]) == odd.num_rows
    assert "carries no lineage" in parsed.said
    assert "nan" not in json.dumps(parsed.data)


def test_the_data_tests_are_told_in_a_line_and_shown_with_examples(here: Here) -> None:
    wrong = pair_set(3).slice(8, 1).set_column(4, "label", pa.array([0], pa.int8()))
    name = written(here.folder, pa.concat_tables([pair_set(3), wrong]))
    shown = Parsed(here(name, "-o", "r.html")).said
    assert re.search(r"\d+ data tests: [1-9] error", shown)
    assert "positive-among-negatives 1 of" in shown
    assert "Remedy:" in shown
    assert "Every query has a positive." in Parsed(here(name, "--no-check", "-o", "r.html")).said


def test_a_trainers_file_is_read_as_pairs(here: Here) -> None:
    rows = [{"query": f"q {at}", "pos": [f"a right text {at}"], "neg": [f"a wrong text {at}"]} for at in range(3)]
    (here.folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    text = here("train.jsonl", "-o", "r.html")
    assert "a wrong text 2" in text
    assert "3 negative, 50%" in Parsed(text).said


def test_it_says_what_it_wrote_unless_it_is_to_be_quiet(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    name = written(here.folder, pair_set())
    sys.argv = ["pairmine", "report", name, "-o", "r.html"]
    with pytest.raises(SystemExit):
        main()
    assert "r.html: 0.1 MB, with 16 rows of 4 queries to look through" in capsys.readouterr().err
    here(name, "-q", "--rows", "0", "-o", "r.html")
    assert Parsed((here.folder / "r.html").read_text(encoding="utf-8")).data["rows"] == []


def test_what_makes_no_sense_is_refused_in_one_line(here: Here) -> None:
    name = written(here.folder, pair_set())
    assert "-o pairs.parquet: is an input too" in here(name, "-o", name, fails=True)
    assert "the page is HTML; give the file the ending .html" in here(name, "-o", "r.pdf", fails=True)
    assert 'pairs.parquet: no "reason"' in here(name, "--rejects", name, "-o", "r.html", fails=True)
    assert "--rejects -: is read beside PAIRS" in here(name, "--rejects", "-", "-o", "r.html", fails=True)
    assert not (here.folder / "r.html").exists()


@pytest.mark.slow
def test_a_page_of_long_texts_stays_below_three_megabytes_and_says_what_it_leaves_out() -> None:
    texts = [f"{at} " + "<long & text> " * 2000 for at in range(600)]
    pairs = pair_set(150, 3, document=texts)
    data = rows_data(pairs, None)
    assert len(embedded(data).encode()) < 2_500_000
    assert data["queries"]
    assert all(len(text) <= LONGEST for text in data["texts"])
    assert dict(data["cut"])[data["rows"][0][2]] == len(texts[0])


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec=None)), st.text())
def test_no_text_can_leave_the_place_it_is_written_to(text: str, name: str) -> None:
    for hostile in (text, f"{name}</script><!--<script>{text}\u2028]]>"):
        body = embedded({"text": hostile})
        assert not re.search(r"[<>&\u2028\u2029]", body)
        assert json.loads(body) == {"text": hostile}
        made = tag("p", hostile, title=hostile)
        inner = Parsed(made)
        assert [element for element, _ in inner.elements] == ["p"]
        assert "\x00" not in made
        assert not re.search(r"[\u202a-\u202e\ud800-\udfff]", made)


def test_escaped_text_reads_as_it_was_written() -> None:
    assert escaped("""a < b & "c" 'd'""") == "a &lt; b &amp; &quot;c&quot; &#39;d&#39;"
    assert tag("p", "a", None, tag("b", "<")) == "<p>a<b>&lt;</b></p>"
    assert tag("input", type_="search", hidden=True, id=None) == '<input type="search" hidden>'


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=20),
    st.integers(1, 30),
    st.integers(0, 5),
    st.lists(st.integers(0, 19), max_size=3),
)
@example(sizes=[2, 3, 4, 1], rows=4, seed=1, cuts=[])
def test_the_queries_drawn_do_not_depend_on_the_chunks(sizes: list[int], rows: int, seed: int, cuts: list[int]) -> None:
    parts = [
        pa.table({"query_id": [f"q{n}"] * size, "doc_id": [str(i) for i in range(size)], "origin": ["x"] * size})
        for n, size in enumerate(sizes)
    ]
    wanted = {f"q{cut}" for cut in cuts[:1]}

    def drawn(groups: list[list[pa.Table]]) -> list[dict[str, Any]]:
        sample = QuerySample(rows, seed, most=4, wanted=wanted)
        for group in groups:
            if group:
                sample.add(as_pairs(pa.concat_tables(group)))
        found = sample.table()
        return [] if found is None else found.to_pylist()

    whole = drawn([parts])
    assert drawn([[part] for part in parts]) == whole
    at = sorted({0, *(min(cut, len(parts)) for cut in cuts), len(parts)})
    assert drawn([parts[low:high] for low, high in pairwise(at)]) == whole
    queries = {row["query_id"] for row in whole}
    assert len(whole) <= max(rows, 4)
    assert all(
        len([row for row in whole if row["query_id"] == query]) == min(sizes[int(query[1:])], 4) for query in queries
    )
    if wanted & {f"q{n}" for n in range(len(sizes))}:
        assert wanted <= queries


def test_a_lot_hangs_on_the_seed_and_the_name_alone() -> None:
    assert lot(0, "a") == lot(0, "a") != lot(1, "a")
    assert lot(0, "ab", "c") != lot(0, "a", "bc")


def test_thresholds_are_read_off_the_lineage_with_their_columns() -> None:
    def of(**options: Any) -> list[tuple[str, str, float]]:
        entry = {"command": "filter", "options": options, "counts": {"rejected": options.pop("rejected", {})}}
        return [(each.rule, each.column, each.value) for each in thresholds([entry], ["score_ce", "score_dense"])]

    assert of(max_score=["dense:0.7"], by="score_ce") == [("max-score", "score_dense", 0.7)]
    assert of(min_score=["0.1"]) == [("min-score", "score_ce", 0.1)]
    assert of(candidate_gate="ce:0.2:0.8:judge=llm:0.5") == [
        ("candidate-gate", "score_ce", 0.2),
        ("candidate-gate", "score_ce", 0.8),
    ]
    assert of(candidate_gate="ce") == [("candidate-gate", "score_ce", 0.1), ("candidate-gate", "score_ce", 0.9)]
    assert of(relative_margin=["0.05"], by="dense") == [("relative-margin", "score_dense", 0.05)]
    suspects = {"suspected false negative: near its query's positives": 3}
    assert of(relative_margin=["0.05"], by="dense", rejected=suspects) == []
    held = suspects | {"within 5% of the lowest positive": 2}
    assert of(relative_margin=["0.05"], by="dense", rejected=held) == [("relative-margin", "score_dense", 0.05)]
    assert of(max_score=["gone:0.7"], min_score=["ce:nan"], absolute_margin="odd") == []


def test_of_very_many_thresholds_the_lowest_and_the_highest_are_drawn() -> None:
    entries = [
        {"command": "filter", "options": {"max_score": [f"ce:0.{at}"]}, "counts": {"rejected": {}}}
        for at in range(1, 10)
    ]
    found = thresholds(entries, ["score_ce"])
    assert [each.text for each in found] == ["max score 0.1, lowest of 9", "max score 0.9, highest of 9"]
    assert len(thresholds(entries[:4], ["score_ce"])) == 4


def test_a_margin_that_was_set_is_marked_on_its_survival_curve() -> None:
    look = Look(0)
    look.add(pair_set(6, 9))
    marks = [Threshold("absolute-margin", "score_ce", 0.25)]
    cards = [Parsed(card) for card in survival_cards(look.seen("x", 3, marks).survival, marks)]
    card = next(card for card in cards if "absolute-margin on score_ce" in card.said)
    assert "set: 0.25" in card.said
    assert "0.25 54 100% 6" in card.said
    others = survival_cards(look.seen("x", 3, []).survival, [])
    assert not any("absolute-margin" in card for card in others)


def test_files_and_stages_are_drawn_once_and_before_what_reads_them() -> None:
    mixed = [
        *ENTRIES,
        {"command": "derive ict", "inputs": [{"file": "c.jsonl", "rows": 90}], "counts": {}},
        {
            "command": "mix",
            "inputs": [{"stage": 1, "rows": 16}, {"stage": 2, "rows": 5}, {"stage": 1, "rows": 16}],
            "counts": {},
        },
    ]
    nodes = nodes_of(mixed, "out", "21 rows")
    assert [node.title for node in nodes] == ["p.jsonl", "c.jsonl", "mine", "filter", "derive ict", "mix", "out"]
    assert nodes[5].inputs == (3, 4)
    assert all(source < at for at, node in enumerate(nodes) for source in node.inputs)


def test_a_stage_whose_rows_are_of_another_kind_is_told_from_one_that_loses_rows() -> None:
    assert not Level.of(ENTRIES[0]).reshapes
    assert Level.of(
        {"command": "derive ict", "counts": {"rows_in": 9, "rows_out": 40, "rejected": {"short": 2}}}
    ).reshapes


def test_a_histogram_has_an_area_of_one_and_axes_have_round_numbers() -> None:
    outline = steps([0.0, 0.5, 1.0, 2.0], [1, 3, 4])
    assert sum(y * (right - left) for (left, y), (right, _) in pairwise(outline)) == pytest.approx(1)
    assert steps([0.0, 1.0], [0]) == []
    assert round_numbers(0.013, 0.97) == [0.2, 0.4, 0.6, 0.8]
    assert round_numbers(5.0, 5.0) == [5.0]
    flat = Frame.around(Chart("", "", [Line("", "", [(3.0, 1.0), (3.0, 1.0)])]))
    assert flat.left < 3.0 < flat.right


def test_shares_never_show_something_as_nothing() -> None:
    assert [share(0, 5), share(1, 1_000_000), share(1, 30), share(1, 3), share(1, 0)] == [
        "0%",
        "<0.1%",
        "3.3%",
        "33%",
        "-",
    ]


@pytest.mark.slow
def test_a_page_of_very_many_stages_and_columns_stays_small_and_keeps_the_last_stage() -> None:
    pairs = pair_set()
    for number in range(30):
        pairs = pairs.append_column(score_field(f"s{number}", "cosine"), pa.array([0.5] * 16, pa.float32()))
    entries: list[dict[str, Any]] = [
        {"command": "derive code", "inputs": [{"file": f"{at}.jsonl", "rows": at}], "options": {"note": "x" * 3000}}
        | {"counts": {"rows_in": at, "rows_out": at, "rejected": {f"reason {at}-{n}": 1 for n in range(20)}}}
        for at in range(200)
    ]
    mixed = {"command": "mix", "inputs": [{"stage": at, "rows": at} for at in range(200)]}
    entries.append(mixed | {"counts": {"rows_in": 200, "rows_out": 16}})
    look = Look(0, 100)
    look.add(pairs)
    commands = [["pairmine " + "x" * 3000]] * 201
    body = rows_data(pairs, None)
    body["texts"][0] = "y" * 4_000_000
    material = fitting(Material("t", "x", look.seen("x", None, []), entries, commands, body))
    text = page(material)
    assert len(text.encode()) <= LARGEST
    shown = Parsed(text)
    assert "201 mix" in shown.said
    assert "earlier stages not shown here" in shown.said
    assert "192 more inputs" in shown.said
    assert "191 more inputs" not in shown.said
    assert "12 of 31 score columns" in shown.said
    assert shown.data["queries"] == []


@given(st.integers(0, 12_000))
@settings(max_examples=20, deadline=None)
def test_rows_that_do_not_fit_are_left_out_by_query(room: int) -> None:
    body = rows_data(pair_set(12), None)
    held = fitted(body, room)
    assert len(embedded(held).encode()) <= room or not held["queries"]
    for name in ("queries", "rows", "values", "texts"):
        assert held[name] == body[name][: len(held[name])]
    assert len(held["rows"]) == len(held["values"]) == len(held["more"]) == 4 * len(held["queries"])
    assert all(row[2] < len(held["texts"]) for row in held["rows"])


def test_one_value_is_drawn_as_a_needle_with_room_on_both_sides() -> None:
    frame = Frame.around(Chart("", "", [Line("", "", steps([0.023105, 0.023106], [1]))]))
    assert frame.x(0.023106) - frame.x(0.023105) < 2
    assert frame.left < 0.022 < 0.024 < frame.right


def test_rejects_without_a_reason_are_no_rejects() -> None:
    with pytest.raises(PairmineError, match='no "reason"'):
        as_rejected(pair_set(), "f.parquet", 0)


def test_nothing_in_the_page_is_styled_or_scripted_in_place() -> None:
    look = Look(0, 100)
    look.add(pair_set())
    marks = thresholds(ENTRIES, ["score_ce"])
    seen = look.seen("x", None, marks)
    text = page(
        Material("t", "x", seen, ENTRIES, [["pairmine mine"], ["pairmine filter"]], rows_data(pair_set(), None), marks)
    )
    parsed = Parsed(text)
    for name, attributes in parsed.elements:
        assert not {"style", "src", "srcset"} & attributes.keys(), name
        assert not any(key.startswith("on") for key in attributes)
        assert (attributes.get("href") or "#").startswith(("#", "data:image/svg+xml,")), attributes
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_a_training_file_shows_the_lineage_of_the_ids_beside_it(here: Here) -> None:
    name = written(here.folder, pair_set(), entries=ENTRIES)
    here._patch.setattr(sys, "argv", ["pairmine", "export", name, "--to", "flag-embedder", "-q", "-o", "train.jsonl"])
    with pytest.raises(SystemExit):
        main()
    shown = Parsed(here("train.jsonl", "-o", "r.html")).said
    assert "pairmine export step2.parquet --to flag-embedder -o out.jsonl" in shown
    assert "3 negatives per query" in shown or "negatives per query 3" in shown


def test_rows_of_a_query_that_stand_apart_are_brought_together(here: Here) -> None:
    mixed = pair_set(3).take(pa.array([0, 4, 1, 5, 2, 6, 3, 7, 8, 9, 10, 11]))
    shown = Parsed(here(written(here.folder, mixed), "-o", "r.html"))
    assert "12 rows" in shown.said or "rows 12" in shown.said
    assert len(shown.data["queries"]) == 3


def test_rows_of_very_many_columns_are_shown_with_some_of_them() -> None:
    data = rows_data(pair_set(**{f"c{at}": [at] * 16 for at in range(200)}), None)
    assert data["others"] == [f"c{at}" for at in range(COLUMNS)]
    assert data["columns_left_out"] == 200 - COLUMNS
    assert "columns_left_out" not in rows_data(pair_set(), None)
