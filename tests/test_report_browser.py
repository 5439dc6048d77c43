"""The report in headless Chromium: hostile rows stay text, nothing is asked for, keys and filters do their work."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import headless
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.files.lineage import encode
from pairmine.report.gather import Look, as_rejected
from pairmine.report.page import Material, page
from pairmine.report.rows import rows_data
from pairmine.schema import as_pairs, score_field

pytestmark = [pytest.mark.slow, pytest.mark.skipif(headless.why_not() is not None, reason=str(headless.why_not()))]

HOSTILE = [
    "</script><script>window.broken = 1</script>",
    '"><img src="x:y" onerror="window.broken = 2">',
    "<svg onload=window.broken=3><a href='javascript:window.broken=4'>click</a>",
    "javascript:window.broken=5",
    "{{ window.broken = 6 }} ${window.broken=7} <%= 1 %>",
    "\u202eright to left\u202c and \u2066more\u2069 \u200f",
    "\x00\x01\x1b[31mred\x7f \ufffd \ufeff",
    "<!--<script>" + "]]>" + "\u2028\u2029",
    "word " * 10_000,
    "日本語の文書 한국어 ไทย",
    "<style>*{display:none}</style><base href='https://example.invalid/'>",
    "<iframe src='https://example.invalid/a'></iframe><link rel=stylesheet href='https://example.invalid/b'>",
]
IDS = [
    "constructor",
    "__proto__",
    "toString",
    "hasOwnProperty",
    "q<b>1</b>",
    "item-0",
    "data",
    "browser",
    "a\nb",
    "",
    " ",
    "é🙂",
]


def hostile_pairs() -> pa.Table:
    rows = [
        (query, text, document)
        for (query, text), document in itertools.product(zip(IDS, HOSTILE, strict=True), range(4))
    ]
    count = len(rows)
    table = pa.table(
        {
            "query_id": [query for query, _, _ in rows],
            "query": [text for _, text, _ in rows],
            "doc_id": [IDS[at % len(IDS)] for at in range(count)],
            "document": [HOSTILE[at % len(HOSTILE)] for at in range(count)],
            "label": pa.array([1 if document == 0 else 0 for _, _, document in rows], pa.int8()),
            "origin": [("__proto__", "constructor", HOSTILE[0])[document % 3] for _, _, document in rows],
            "rank": pa.array([document or None for _, _, document in rows], pa.int32()),
            "<img src=x onerror=window.broken=8>": [HOSTILE[1]] * count,
            "__proto__": [HOSTILE[0]] * count,
        }
    )
    scores = pa.array([1.0 - 0.01 * at for at in range(count)], pa.float32())
    return as_pairs(table.append_column(score_field("x</script>", "cosine"), scores))


def material(pairs: pa.Table, **more: Any) -> Material:
    look = Look(0, 2000)
    look.add(pairs)
    rejected = pairs.slice(1, 3).append_column("reason", pa.array(["__proto__", HOSTILE[0], HOSTILE[1]]))
    entries = [
        {
            "command": "derive " + HOSTILE[0],
            "version": HOSTILE[1],
            "inputs": [{"file": HOSTILE[0], "rows": 3}],
            "options": {"__proto__": HOSTILE[1], "path": HOSTILE[2], "odd": "\ud800"},
            "models": [{"model": HOSTILE[0], "sha256": HOSTILE[1]}],
            "counts": {"rows_in": 3, "rejected": {HOSTILE[0]: 2}, "rows_out": 1, "notes": {HOSTILE[1]: 3}},
        }
    ]
    seen = look.seen(HOSTILE[0], None, [])
    commands = [[f"pairmine derive {HOSTILE[1]}"]]
    data = rows_data(look.sample.table(), as_rejected(rejected, "r", 0))
    return Material(HOSTILE[0], HOSTILE[1], seen, entries, commands, data, **more)


@pytest.fixture(scope="module")
def tab() -> Iterator[headless.Tab]:
    with headless.headless() as opened:
        opened.size(1280, 900)
        yield opened


def show(tab: headless.Tab, folder: Path, text: str) -> None:
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    tab.open("about:blank")
    tab.console(), tab.requests()
    tab.open(path.as_uri())


def status(tab: headless.Tab) -> str:
    return str(tab.run("return document.querySelector('.status').textContent"))


def choose(tab: headless.Tab, label: str, value: str) -> None:
    """Choose an option of a control by the words that it shows."""
    tab.run(
        "const [label, value] = arguments;"
        "const labels = [...document.querySelectorAll('.controls label')];"
        "const select = labels.find((each) => each.firstChild.textContent === label).querySelector('select');"
        "select.value = [...select.options].find((each) => each.textContent === value).value;"
        "select.dispatchEvent(new Event('change'));",
        label,
        value,
    )


def first_item(tab: headless.Tab) -> str:
    return str(tab.run("return document.querySelector('.item').textContent"))


def test_hostile_rows_stay_text_and_nothing_is_asked_for(tab: headless.Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, page(material(hostile_pairs())))
    tab.press("j")
    for _ in IDS:
        tab.press("Enter", "j", "Enter", "j", "Escape", "j")
    choose(tab, "List", "rows")
    for name in ("query", "positive", "nothing"):
        tab.run(
            "const select = document.querySelector('.detail select'); select.value = arguments[0];"
            "select.dispatchEvent(new Event('change'))",
            name,
        )
    tab.press("/", *"</script", "Escape", "?")
    tab.run("for (const each of document.querySelectorAll('details')) each.open = true")
    assert tab.run("return window.broken") is None
    assert tab.console() == []
    assert [url for url in tab.requests() if not url.startswith(("file:", "data:"))] == []
    made = "#browser :is(img, script, iframe, style, link, base, svg, a), main :is(img, iframe, script)"
    assert tab.run("return document.querySelectorAll(arguments[0]).length", made) == 0
    assert tab.run("return document.querySelectorAll('script').length") == 2
    assert tab.run(
        "return [...document.links].every((each) => each.href.startsWith(location.href.split('#')[0] + '#'))"
    )


def test_characters_that_cannot_be_seen_are_named(tab: headless.Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, page(material(hostile_pairs())))
    tab.press("/", *"right", "Enter")
    shown = tab.run("return document.querySelector('.detail').innerText")
    assert "U+202E" in shown
    assert "\u202e" not in shown


def test_names_cannot_turn_the_letters_around_them(tab: headless.Tab, tmp_path: Path) -> None:
    pairs = sample_pairs(2)
    for column, text in (("doc_id", "d\u202elive"), ("origin", "o\u2067\U000e0041"), ("query_id", "q\u202elive")):
        names = pa.array([f"{text}{at // 20 if column == 'query_id' else at}" for at in range(40)])
        pairs = pairs.set_column(pairs.column_names.index(column), column, names)
    pairs = pairs.set_column(pairs.column_names.index("query"), "query", pa.array([" "] * 40)).append_column(
        score_field("x\u202ey", "cosine"), pa.array([0.5] * 40, pa.float32())
    )
    show(tab, tmp_path, page(material(as_pairs(pairs))))
    tab.press("j")
    shown = tab.run("return document.getElementById('browser').outerHTML")
    assert "d\ufffdlive" in shown
    assert not set(shown) & set("\u202e\u2067\U000e0041")
    assert first_item(tab).startswith("q\ufffdlive"), "a query without letters is told by its id"
    assert tab.console() == []


def test_on_paper_charts_stand_two_to_a_line_and_tables_stay_folded(tab: headless.Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, sample_page())
    tab.size(700, 900)
    tab.devtools("Emulation.setEmulatedMedia", media="print")
    try:
        columns = "return getComputedStyle(document.querySelector('.cards')).gridTemplateColumns.split(' ').length"
        assert tab.run(columns) == 2
        assert tab.run("return document.querySelector('.numbers').getClientRects().length") == 0
        assert tab.run("return document.getElementById('rows').getClientRects().length") == 0
        assert len(tab.devtools("Page.printToPDF", printBackground=False)["data"]) > 1000
        assert tab.run("return document.querySelectorAll('.numbers[open], .step[open]').length") == 0
    finally:
        tab.devtools("Emulation.setEmulatedMedia", media="")
        tab.size(1280, 900)


def test_a_policy_lets_no_other_script_run(tab: headless.Tab, tmp_path: Path) -> None:
    text = page(material(hostile_pairs())).replace("</body>", "<script>window.broken = 1</script></body>")
    show(tab, tmp_path, text)
    assert tab.run("return window.broken") is None
    assert any("Content Security Policy" in line for line in tab.console())


def sample_pairs(queries: int = 100) -> pa.Table:
    rows = [(query, place) for query in range(queries) for place in range(20)]
    words = ("apple", "pear", "quince", "plum", "fig")
    table = pa.table(
        {
            "query_id": [f"q{query:03}" for query, _ in rows],
            "query": [f"where does the {words[query % 5]} number {query} grow" for query, _ in rows],
            "doc_id": [f"d{query}-{place}" for query, place in rows],
            "document": [
                f"The {words[(query + place) % 5]} of garden {query} stands in row {place}." * 4
                for query, place in rows
            ],
            "label": pa.array([1 if place == 0 else 0 if place < 15 else None for _, place in rows], pa.int8()),
            "origin": ["given" if place == 0 else "mine:bm25" if place % 2 else "mine:dense" for _, place in rows],
            "rank": pa.array([place or None for _, place in rows], pa.int32()),
        }
    )
    scores = pa.array([0.8 if place == 0 else 0.01 * place + 0.002 * query for query, place in rows], pa.float32())
    return as_pairs(table.append_column(score_field("ce", "probability"), scores))


def sample_page() -> str:
    pairs = sample_pairs()
    look = Look(0, 2000)
    look.add(pairs)
    return page(
        Material("Gardens", "pairs.parquet", look.seen("pairs.parquet", None, []), [], [], rows_data(pairs, None))
    )


def test_search_filters_and_sorting_find_what_they_say(tab: headless.Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, sample_page())
    assert status(tab) == "100 queries, 2,000 rows"
    tab.press("/", *"QUINCE number 7 ")
    assert status(tab).startswith("2") or "queries" in status(tab)
    found = tab.run("return document.querySelectorAll('.detail mark.hit').length")
    assert found > 0
    tab.press("Escape")
    choose(tab, "Label", "negative")
    assert status(tab) == "100 queries, 1,400 rows"
    choose(tab, "Origin", "mine:dense")
    assert status(tab) == "100 queries, 700 rows"
    choose(tab, "List", "rows")
    choose(tab, "Sort", "ce, high first")
    assert "0.338" in first_item(tab)
    choose(tab, "Sort", "ce, low first")
    assert "0.02" in first_item(tab)
    choose(tab, "Sort", "ce, nearest the positive")
    assert "-0.462" in first_item(tab)
    tab.press("/", *"nowhere to be found")
    assert status(tab).startswith("Nothing found")
    assert tab.console() == []


def test_keys_move_open_and_come_back(tab: headless.Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, sample_page())
    chosen = "return document.querySelector('.item[aria-selected=true]').id"
    assert tab.run(chosen) == "item-0"
    tab.press("j", "j", "k", "j")
    assert tab.run(chosen) == "item-2"
    tab.press("ArrowDown", "ArrowUp")
    assert tab.run(chosen) == "item-2"
    assert tab.run("return document.activeElement.getAttribute('aria-activedescendant')") == "item-2"
    tab.press("Enter", "j", "Enter")
    assert tab.run("return document.activeElement.matches('.row.whole')")
    tab.press("Escape")
    assert tab.run("return document.activeElement.matches('.list')")
    tab.press("?")
    assert tab.run("return document.querySelector('dialog').open")
    tab.press("Escape")
    for _ in range(60):
        tab.press("j")
    assert tab.run(
        "return document.querySelector('.item[aria-selected=true]').getBoundingClientRect().bottom <= innerHeight + 1"
    )


def test_two_thousand_rows_stay_smooth(tab: headless.Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, sample_page())
    choose(tab, "List", "rows")
    spent = tab.run(
        "const list = document.querySelector('.list'), input = document.querySelector('input[type=search]');"
        "const start = performance.now();"
        "for (let at = 0; at < 20; at += 1) { input.value = 'garden ' + at; input.dispatchEvent(new Event('input')); }"
        "const searched = (performance.now() - start) / 20;"
        "input.value = ''; input.dispatchEvent(new Event('input')); list.scrollTop = 60000;"
        "return [searched, list.querySelectorAll('.item').length];"
    )
    assert spent[0] < 150, "milliseconds for each letter typed"
    assert spent[1] < 60
    assert tab.run("return document.querySelectorAll('*').length") < 3000


@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_sticks_out_of_a_window(tab: headless.Tab, tmp_path: Path, width: int) -> None:
    show(tab, tmp_path, page(material(hostile_pairs())))
    tab.size(width, 800, phone=width < 500)
    tab.run("for (const each of document.querySelectorAll('details')) each.open = true")
    assert tab.run("return document.documentElement.scrollWidth") <= width
    tab.size(1280, 900)


def test_light_and_dark_can_be_chosen_and_texts_keep_their_contrast(tab: headless.Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, sample_page())
    colours = (
        "const name = arguments[0], probe = document.createElement('p'); document.body.append(probe);"
        "const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true });"
        "const of = (what) => { probe.style.color = `var(--${what})`; pen.fillStyle = getComputedStyle(probe).color;"
        " pen.fillRect(0, 0, 1, 1); return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3); };"
        "const found = [of(name), of('card'), of('page')]; probe.remove(); return found;"
    )
    for dark in (False, True):
        tab.dark(dark)
        for name in ("ink", "soft", "accent", "positive", "negative", "undecided", "rejected"):
            text, card, ground = tab.run(colours, name)
            assert contrast(text, card) >= 4.5, (name, dark)
            assert contrast(text, ground) >= 4.5, (name, dark)
    tab.dark(False)
    light = tab.run("return getComputedStyle(document.body).backgroundColor")
    tab.run("document.getElementById('theme').click()")
    assert tab.run("return getComputedStyle(document.body).backgroundColor") != light


def contrast(one: list[int], other: list[int]) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2)."""

    def light(colour: list[int]) -> float:
        parts = [value / 255 for value in colour]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_without_scripts_everything_but_the_rows_is_there(tab: headless.Tab, tmp_path: Path) -> None:
    tab.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        show(tab, tmp_path, sample_page())
        tree = tab.devtools("Accessibility.getFullAXTree")["nodes"]
        names = {node.get("name", {}).get("value", "") for node in tree if not node.get("ignored")}
        assert any(name.startswith("score_ce: share of each label") for name in names)
        assert any("Switch scripts on to look through them" in name for name in names)
        assert not any(name == "Search" for name in names)
    finally:
        tab.devtools("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.long
def test_a_million_rows_make_a_page_below_three_megabytes(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from pairmine.cli.main import app

    text = pa.array([f"{at} " + "a long passage of some text with <marks> & signs, " * 40 for at in range(5000)])
    indices = pa.array([(at * 7919) % 5000 for at in range(100_000)], pa.int32())
    documents = pa.DictionaryArray.from_arrays(indices, text)
    with pq.ParquetWriter(tmp_path / "big.parquet", _big(0, documents).schema.with_metadata(encode([]))) as writer:
        for part in range(10):
            writer.write_table(_big(part, documents))
    done = CliRunner().invoke(app, ["report", str(tmp_path / "big.parquet"), "-q", "-o", str(tmp_path / "r.html")])
    assert done.exit_code == 0, done.output
    size = (tmp_path / "r.html").stat().st_size
    assert 500_000 < size < 3_000_000


def _big(part: int, documents: pa.Array) -> pa.Table:
    rows = [(f"q{(part * 100_000 + at) // 5}", at % 5) for at in range(100_000)]
    table = pa.table(
        {
            "query_id": [query for query, _ in rows],
            "query": [f"the question {query}" for query, _ in rows],
            "doc_id": [f"d{(at * 7919) % 5000}" for at in range(100_000)],
            "document": documents,
            "label": pa.array([int(place == 0) for _, place in rows], pa.int8()),
            "origin": ["given" if place == 0 else "mine:bm25" for _, place in rows],
        }
    )
    scores = pa.array([(at * 31 % 977) / 977 for at in range(100_000)], pa.float32())
    return table.append_column(score_field("ce", "probability"), scores)
