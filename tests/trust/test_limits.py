"""Inputs that are too long, too many, too wide, too deep or too odd: an answer or a clear refusal, in bounded memory.

What grows is run at two sizes: four times the size may take no more than eight times the time, twice of which is what
fixed costs and a busy machine explain. Every figure of the whole campaign goes into build/trust/limits.json.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from derive_samples import sample_of
from measured import Ended, run
from trust.large_inputs import (
    documents,
    long_text,
    pairs,
    text,
    write_crowd,
    write_one_word,
    write_rows,
    write_wide,
)

from pairmine.errors import PairmineError
from pairmine.recipes import Recipe, all_recipes
from pairmine.stages.derive import derive

LIMITS = Path(__file__).parents[2] / "build" / "trust" / "limits.json"
PROMISE = "an answer or a clear line, in bounded memory"
TIMES = 4
MOST_GROWTH = 8.0
REFUSES = {
    ("a query with", "calibrate"): "no candidates (label null) to choose from; run 'pairmine mine' first",
    ("odd texts", "export"): "52 of 65 rows have no label yet; run 'pairmine filter' first",
    ("ids of 1 MB", "export"): "16 of 20 rows have no label yet; run 'pairmine filter' first",
    ("blank documents", "derive"): "no pairs come out of it",
}
"""What is refused, and by what command: the words that say why."""
LEAST_S = 0.5
"""Below this a difference of processor seconds says nothing."""

Note = Callable[..., Ended]


@pytest.fixture(scope="module")
def figures(campaign: Any) -> Iterator[list[dict[str, Any]]]:
    """What was measured, written at the end of the whole campaign."""
    found: list[dict[str, Any]] = []
    yield found
    if campaign.is_whole:
        LIMITS.parent.mkdir(parents=True, exist_ok=True)
        LIMITS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@pytest.fixture
def answers(campaign: Any, figures: list[dict[str, Any]], tmp_path: Path) -> Note:
    """Runs a command in the test's folder, and sees to it that it answers within `most_mb`.

    It has to do its work (exit code 0), unless `code` or REFUSES says that it refuses what it is given, and how.
    """

    def answered(what: str, words: str, most_mb: float, code: int = 0, says: str = "", **more: Any) -> Ended:
        for (of, begin), line in REFUSES.items():
            if what.startswith(of) and words.startswith(begin):
                code, says = 2, line
        ended = run(words, tmp_path, **more)
        figures.append(
            {
                "what": what,
                "command": " ".join(words.split()[:2]),
                "code": ended.code,
                "mb": round(ended.peak_mb),
                "s": round(ended.cpu_s, 1),
            }
        )
        assert ended.is_answer, ended
        assert ended.code == code, ended
        assert says in ended.said, ended
        assert ended.peak_mb < most_mb, ended
        assert not [path.name for path in tmp_path.glob(".*")], ended
        campaign.count(PROMISE, "answered" if ended.code < 2 else "refused in one line")
        return ended

    return answered


def of_whole(campaign: Any, is_short: bool = False) -> None:
    """Leave the rest of a test to the whole campaign, unless it belongs to the short one too."""
    if not (campaign.is_whole or is_short):
        pytest.skip("of the whole campaign")


def grows_in_a_line(small: Ended, large: Ended, idle_s: float) -> None:
    """Four times the size took no more than eight times the time."""
    one, other = small.cpu_s - idle_s, large.cpu_s - idle_s
    assert other < MOST_GROWTH * max(one, LEAST_S), f"{one:.1f} s, then {other:.1f} s\n{small}\n{large}"


# --- one long row -------------------------------------------------------------------------------

LONG_ROW = {
    "convert {} -o out.parquet": 12,
    "convert {} -o out.jsonl.gz": 12,
    "head {} -n 1": 12,
    "derive ict {} -o out.parquet": 60,
    "derive crops {} -o out.parquet": 60,
    "derive title {} -o out.parquet": 20,
    "derive identity {} -o out.parquet": 20,
    "dedup {} -o out.parquet --memory 1GB": 60,
    "dedup {} --exact-only -o out.parquet": 30,
    "mine few.jsonl --corpus {} --retriever bm25 -o out.parquet --memory 1GB": 60,
    "mine few.jsonl --corpus {} --retriever fake: -o out.parquet --memory 1GB": 60,
    "embed {} --encoder fake: --store none -o out.parquet": 30,
    "generate queries {} --llm fake: --ledger l.sqlite -o out.parquet": 60,
}
"""Commands that meet a corpus, and how many times the row's size they may hold beyond `IDLE_MB`."""
IDLE_MB = 330.0


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_row_of_very_many_letters_is_one_row(campaign: Any, answers: Note, tmp_path: Path, ending: str) -> None:
    size_mb = campaign.times(50, 4)
    row = {"id": "long", "title": "A long one", "text": long_text(size_mb * 1_000_000)}
    path = write_rows(
        tmp_path / f"c{ending}", [*documents(10), row, *({**each, "id": f"e{each['id']}"} for each in documents(5))]
    )
    write_rows(tmp_path / "few.jsonl", pairs(4, 0))
    of_whole(campaign, ending == ".jsonl")
    commands = LONG_ROW if campaign.is_whole else list(LONG_ROW)[:1]
    for words in commands:
        what = f"a row of {size_mb} MB, {ending}"
        answers(what, words.format(path.name), IDLE_MB + LONG_ROW[words] * size_mb, timeout_s=400)
        if words.startswith("convert"):
            (found,) = (each["text"] for each in rows_in(tmp_path / words.split()[-1]) if each["id"] == "long")
            assert found == row["text"], f"{words}: the text is another one"
        (tmp_path / "l.sqlite").unlink(missing_ok=True)


def rows_in(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file, or of JSON lines, packed or not."""
    if path.suffix == ".parquet":
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return found
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


LONG_PAIR = {
    "check {} --json": 40,
    "stats {} --json": 30,
    "report {} -o out.html": 40,
    "filter {} --negatives 2 -o out.parquet": 30,
    "score {} --scorer fake: -o out.parquet": 30,
    "export {} --to st-pair -o out.jsonl": 30,
    "mix {} -o out.parquet": 60,
    "dedup {} --by pair -o out.parquet": 60,
    "convert {} --as pairs -o out.parquet": 20,
}


def test_a_pair_of_very_long_texts_is_one_pair(campaign: Any, answers: Note, tmp_path: Path) -> None:
    size_mb = campaign.times(50, 2)
    rows = list(pairs(6))
    rows[0]["document"] = long_text(size_mb * 1_000_000)
    rows[0]["query"] = rows[0]["query"] + long_text(1_000_000)
    for row in rows[1:5]:
        row["query"] = rows[0]["query"]
    write_rows(tmp_path / "p.parquet", [{**row, "label": row["label"] or 0} for row in rows])
    write_rows(tmp_path / "open.parquet", rows)
    for words, times in LONG_PAIR.items() if campaign.is_whole else list(LONG_PAIR.items())[:1]:
        name = "open.parquet" if words.startswith("filter") else "p.parquet"
        answers(f"a pair of {size_mb} MB", words.format(name), IDLE_MB + times * (size_mb + 2), timeout_s=400)
        if words.startswith(("filter", "score", "mix", "dedup", "convert")):
            found = {(each["query"], each["document"]) for each in rows_in(tmp_path / "out.parquet")}
            assert (rows[0]["query"], rows[0]["document"]) in found, f"{words}: the pair is another one"


# --- very many rows -----------------------------------------------------------------------------


def test_millions_of_rows_of_one_word_take_a_line_of_time_and_no_memory(
    campaign: Any, answers: Note, tmp_path: Path
) -> None:
    large = campaign.times(10_000_000, 100_000)
    converted, deduped = [], []
    for rows in (large // TIMES, large):
        write_one_word(tmp_path / "c.jsonl", rows)
        what = f"{rows:,} rows of one word"
        # 16 bytes for each id, some times that while runs of them are merged.
        converted.append(answers(what, "convert c.jsonl -o c.parquet", IDLE_MB + 100e-6 * rows, timeout_s=400))
        deduped.append(answers(what, "dedup c.parquet --memory 2GB -o out.parquet", 2200, timeout_s=400))
        assert pq.ParquetFile(tmp_path / "c.parquet").metadata.num_rows == rows
        assert pq.ParquetFile(tmp_path / "out.parquet").metadata.num_rows == 1
    for each in (converted, deduped):
        grows_in_a_line(*each, idle_s=0.5)
        campaign.count("time grows with the input, not with its square", "four times the size")


CROWD = {
    "mine {} --retriever bm25 --depth 20": 1,
    "mine {} --retriever fake: --depth 20": 1,
    "score {} --scorer fake:": 1,
    "filter {} --negatives 2": 1,
    "mix {} --batches mixed --batch-size 8": 1,
    "export {} --to st-pair": 1,
    "export {} --to st-triplet --negatives 2": 1,
    "export {} --to st-labeled-list": 1,
    "check {} --json": 0,
    "stats {} --json": 0,
    "calibrate {} --feedback none --naive-rate 0.1": 0,
    "report {}": 2,
    "dedup {} --by pair": 1,
    "convert {} --as pairs": 1,
}
OUTPUTS = {0: "", 1: " -o out.parquet", 2: " -o out.html"}


@pytest.mark.parametrize("words", CROWD)
def test_a_query_with_a_hundred_thousand_positives_grows_in_a_line(
    campaign: Any, answers: Note, tmp_path: Path, words: str
) -> None:
    large = campaign.times(100_000, 8_000)
    of_whole(campaign, words.split()[0] in ("filter", "mix"))
    ended = []
    for positives in (large // TIMES, large) if campaign.is_whole else (large,):
        write_crowd(tmp_path / "p.parquet", positives)
        command = words.format("p.parquet") + OUTPUTS[CROWD[words]]
        ended.append(answers(f"a query with {positives:,} positives", command, 900))
    if campaign.is_whole:
        grows_in_a_line(*ended, idle_s=0.5)
        campaign.count("time grows with the input, not with its square", "four times the size")


def test_a_hundred_thousand_origins_and_sources_grow_in_a_line(campaign: Any, answers: Note, tmp_path: Path) -> None:
    commands = {
        "stats p.parquet --json": 800,
        "report p.parquet -o out.html": 1500,
        "check p.parquet --json": 700,
        "filter p.parquet --negatives 1 -o out.parquet": 700,
        "mix p.parquet -o out.parquet": 700,
        "dedup p.parquet --by pair -o out.parquet": 900,
        "export p.parquet --to st-pair -o out.jsonl": 700,
    }
    of_whole(campaign)
    sizes = (25_000, 100_000)
    ended: dict[str, list[Ended]] = {words: [] for words in commands}
    for rows in sizes:
        table = pa.Table.from_pylist(
            [
                {
                    **row,
                    "label": int(not at % 2),
                    "rank": at % 50 + 1,
                    "origin": f"generate:recipe{at % 7}/role {at}" if at % 3 else f"mine:retriever {at}",
                    "source": f"source {at}",
                    "task": f"task {at}",
                    "template": f"template {at}",
                }
                for at, row in enumerate(_rows_of(rows))
            ]
        )
        pq.write_table(table, tmp_path / "p.parquet")
        for words, most_mb in commands.items():
            ended[words].append(answers(f"{rows:,} origins, sources and tasks", words, most_mb))
    for each in ended.values():
        if len(each) > 1:
            grows_in_a_line(*each, idle_s=0.5)
            campaign.count("time grows with the input, not with its square", "four times the size")


def _rows_of(rows: int) -> Iterator[dict[str, Any]]:
    """So many rows, two for each query."""
    return pairs((rows + 1) // 2, 1)


# --- very many columns --------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".csv"])
def test_ten_thousand_columns_come_through(campaign: Any, answers: Note, tmp_path: Path, ending: str) -> None:
    of_whole(campaign, ending == ".parquet")
    columns = campaign.times(10_000, 2_000)
    corpus = write_wide(tmp_path / f"c{ending}", columns, 60)
    commands = ["convert {} -o out.parquet", "derive title {} -o out.parquet", "dedup {} -o out.parquet", "info {}"]
    commands += ["convert {} -o out.csv", "head {} -n 2"]
    for words in commands if campaign.is_whole else commands[:1]:
        answers(f"{columns:,} columns, {ending}", words.format(corpus.name), 900)
    if ending == ".parquet":
        found = write_wide(tmp_path / "p.parquet", columns, 100, are_pairs=True)
        more = [
            *(
                "filter {} --negatives 2 -o out.parquet",
                "score {} --scorer fake: -o out.parquet",
                "mix {} -o out.parquet",
            ),
            *("check {} --json", "stats {} --json", "report {} -o out.html", "mine {} --retriever bm25 -o out.parquet"),
        ]
        for words in more if campaign.is_whole else ():
            answers(f"{columns:,} columns, pairs", words.format(found.name), 1200)


def test_columns_cost_a_line_of_time(campaign: Any, answers: Note, tmp_path: Path) -> None:
    of_whole(campaign)
    ended = []
    large = 16_000
    for columns in (large // TIMES, large):
        corpus = write_wide(tmp_path / "c.parquet", columns, 20)
        (tmp_path / "two").mkdir(exist_ok=True)
        for part in (1, 2):
            rows = pq.read_table(corpus)
            ids = pa.array([f"{part}-{at}" for at in range(rows.num_rows)])
            pq.write_table(rows.set_column(0, "id", ids), tmp_path / "two" / f"{part}.parquet")
        ended.append(answers(f"{columns:,} columns, two files", "convert two -o out.parquet", 1500))
    grows_in_a_line(*ended, idle_s=0.5)


def test_names_that_are_values_are_refused_before_they_fill_the_memory(
    campaign: Any, answers: Note, tmp_path: Path
) -> None:
    """A file of a megabyte, whose table would have 900 million cells."""
    of_whole(campaign)
    write_rows(tmp_path / "c.jsonl", ({"id": f"d{at}", "text": text(at, 1), f"k{at}": at} for at in range(30_000)))
    says = "columns, more than 20,000; are their names values?"
    answers("a name of its own in each of 30,000 rows", "convert c.jsonl -o out.parquet", 900, code=2, says=says)


# --- long ids and names -------------------------------------------------------------------------

LONG_NAMES = [
    "convert {c} -o out.parquet",
    "derive ict {c} -o out.parquet",
    "dedup {c} -o out.parquet",
    "embed {c} --encoder fake: --store none -o out.npy",
    "generate queries {c} --llm fake: --ledger l.sqlite -o out.parquet",
    "mine {p} --corpus {c} --retriever bm25 -o out.parquet",
    "filter {p} --negatives 1 -o out.parquet",
    "mix {p} -o out.parquet",
    "check {p}",
    "stats {p}",
    "report {p} -o out.html",
    "export {p} --to st-pair -o out.jsonl",
    "dedup {p} --by pair -o out.parquet",
]


def test_ids_of_a_megabyte_are_ids(campaign: Any, answers: Note, tmp_path: Path) -> None:
    name = "n" * 1_000_000
    rows = [{**row, "id": f"{row['id']}{name}"} for row in documents(6)]
    write_rows(tmp_path / "c.jsonl", rows)
    some = [{**row, **{key: f"{row[key]}{name}" for key in ("query_id", "doc_id", "origin")}} for row in pairs(4)]
    write_rows(tmp_path / "p.jsonl", some)
    for words in LONG_NAMES if campaign.is_whole else LONG_NAMES[8:9]:
        ended = answers("ids of 1 MB", words.format(c="c.jsonl", p="p.jsonl"), 1000)
        longest = max(map(len, ended.said.splitlines() or [""]))
        assert longest < 5_000, f"{words}: a line of {longest:,} letters on stderr"
        (tmp_path / "l.sqlite").unlink(missing_ok=True)
    if (page := tmp_path / "out.html").exists():
        assert page.stat().st_size < 3_000_000


def test_an_error_that_names_an_id_of_a_megabyte_is_a_line_that_people_read(
    campaign: Any, answers: Note, tmp_path: Path
) -> None:
    of_whole(campaign)
    name = "a\nb\x1b[2J" + "n" * 1_000_000
    write_rows(tmp_path / "c.jsonl", [{"id": name, "text": "one"}, {"id": name, "text": "two"}])
    answers(
        "a wrong id of 1 MB",
        "convert c.jsonl -o out.parquet",
        IDLE_MB,
        code=2,
        says="give each document an id of its own",
    )


# --- small and odd corpora ----------------------------------------------------------------------

SMALL = {
    "one document": [{"id": "a", "title": "One", "text": text(1)}],
    "all documents the same": [{"id": f"a{at}", "title": "One", "text": text(1)} for at in range(8)],
    "blank documents": [{"id": "a", "title": "", "text": ""}, {"id": "b", "title": " ", "text": "\u200b \n"}],
}
ON_SMALL = [
    "convert {c} -o out.parquet",
    "derive ict {c} -o out.parquet",
    "derive crops {c} -o out.parquet",
    "dedup {c} -o out.parquet",
    "embed {c} --encoder fake: --store none -o out.parquet",
    "mine {p} --corpus {c} --retriever bm25 --depth 1000 -o out.parquet",
    "mine {p} --corpus {c} --retriever fake: --depth 1000000 -o out.parquet",
    "mine {p} --corpus {c} --retriever fake: --index ivf -o out.parquet",
    "mine {p} --corpus {c} --retriever fake: --retriever bm25 --fuse rrf --keep 3 -o out.parquet",
    "filter {p} --negatives 5 --shortage fill --corpus {c} -o out.parquet",
    "generate queries {c} --llm fake: --ledger l.sqlite -o out.parquet",
]


@pytest.mark.parametrize("name", SMALL)
def test_a_corpus_of_next_to_nothing_is_one(campaign: Any, answers: Note, tmp_path: Path, name: str) -> None:
    of_whole(campaign, name == "one document")
    write_rows(tmp_path / "c.jsonl", SMALL[name])
    write_rows(tmp_path / "p.jsonl", pairs(3, 1))
    for words in ON_SMALL if campaign.is_whole else ON_SMALL[6:7]:
        answers(name, words.format(c="c.jsonl", p="p.jsonl"), 700)
        (tmp_path / "l.sqlite").unlink(missing_ok=True)


def test_more_neighbours_than_documents_are_all_of_them(answers: Note, tmp_path: Path) -> None:
    write_rows(tmp_path / "c.jsonl", documents(30))
    write_rows(tmp_path / "p.jsonl", pairs(5, 0))
    words = "mine p.jsonl --corpus c.jsonl --retriever fake: --depth 1000000 -o out.parquet"
    answers("a million neighbours of 30 documents", words, 500)
    # The positive is masked, and so is no other document.
    assert pq.ParquetFile(tmp_path / "out.parquet").metadata.num_rows == 5 * 30


# --- odd texts ----------------------------------------------------------------------------------

ODD = {
    "right to left": "שלום עולם, مرحبا بالعالم \u202bmixed\u202c with \u200fmarks",
    "overrides": "\u202eevil\u202c \u2066isolated\u2069 \u2067text\u2069",
    "composed": "Caf\u00e9 na\u00efve \u1e69 \uac01",
    "decomposed": "Cafe\u0301 nai\u0308ve s\u0323\u0307 \u1100\u1161\u11a8",
    "zero width": "zero\u200bwidth\u200cjoin\u200ders\u2060and\ufeffmarks",
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f3f4\U000e0067\U000e007f \u2764\ufe0f \U0001f1e9",
    "NUL": "nul\0 in the\0 middle\0",
    "controls": "bell\x07 escape\x1b[31m delete\x7f next\x85 line\u2028 paragraph\u2029",
    "blanks": " \t\u00a0\u3000\u200b",
    "nothing": "",
    "private": "\ue000\uf8ff\U000f0000\U0010ffff \ufffe\uffff",
    "accents": "a" + "\u0301" * 500,
    "folds": "Stra\u00dfe STRASSE \ufb01 \u0130I \u01c4 \u1e9e",
}


def test_odd_texts_go_through_every_stage(campaign: Any, answers: Note, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"{name}-{at}{value[:8].strip() or 'x'}",
            "title": value,
            "text": f"{value} {text(at, 2)}" if at else value,
        }
        for name, value in ODD.items()
        for at in range(2)
    ]
    write_rows(tmp_path / "c.jsonl", rows)
    some = [
        {
            **row,
            "query": f"{row['query']} {list(ODD.values())[at % len(ODD)]}",
            "document": list(ODD.values())[at % len(ODD)] + row["document"],
            "query_id": row["query_id"] + "\u202e\0",
        }
        for at, row in enumerate(pairs(13))
    ]
    texts: dict[str, str] = {}
    for row in some:
        row["document"] = texts.setdefault(row["doc_id"], row["document"])
        row["query"] = texts.setdefault(row["query_id"], row["query"])
    write_rows(tmp_path / "p.jsonl", some)
    documents_of = {row["id"]: (row["title"], row["text"]) for row in rows}
    queries_of = {row["query_id"]: row["query"] for row in some}
    texts_of = {row["doc_id"]: row["document"] for row in some}
    for words in dict.fromkeys([*LONG_NAMES, *ON_SMALL]) if campaign.is_whole else (LONG_NAMES[0], LONG_NAMES[8]):
        ended = answers("odd texts", words.format(c="c.jsonl", p="p.jsonl"), 900)
        (tmp_path / "l.sqlite").unlink(missing_ok=True)
        if ended.code or not words.endswith("out.parquet"):
            continue
        found = rows_in(tmp_path / "out.parquet")
        assert found, words
        if words.startswith(("convert", "dedup {c}")):
            assert {row["id"]: (row["title"] or "", row["text"]) for row in found}.items() <= documents_of.items(), (
                words
            )
        if words.startswith("convert"):
            assert len(found) == len(rows)
        if "{p}" in words:
            assert {row["query_id"]: row["query"] for row in found}.items() <= queries_of.items(), words
        if words.startswith(("mix", "dedup {p}")) or (words.startswith("filter") and "fill" not in words):
            assert {row["doc_id"]: row["document"] for row in found}.items() <= texts_of.items(), words


def test_two_forms_of_one_text_are_one_text(campaign: Any, answers: Note, tmp_path: Path) -> None:
    of_whole(campaign)
    forms = [ODD["composed"] + " " + text(1), ODD["decomposed"] + " " + text(1)]
    write_rows(tmp_path / "c.jsonl", [{"id": f"d{at}", "text": each} for at, each in enumerate(forms)])
    answers("two normal forms", "dedup c.jsonl --exact-only -o out.parquet", 500)
    assert pq.ParquetFile(tmp_path / "out.parquet").metadata.num_rows == 1


def test_a_hundred_thousand_accents_on_a_letter_take_a_line_of_time(
    campaign: Any, answers: Note, tmp_path: Path
) -> None:
    of_whole(campaign)
    ended = []
    large = 400_000
    for accents in (large // TIMES, large):
        odd = "a" + "\u0301\u0316" * (accents // 2)
        write_rows(tmp_path / "c.jsonl", [{"id": "a", "text": odd + text(1)}, {"id": "b", "text": odd + text(2)}])
        ended.append(answers(f"{accents:,} accents on a letter", "dedup c.jsonl -o out.parquet", 900))
    grows_in_a_line(*ended, idle_s=0.5)


OF_DOCUMENTS = [recipe for recipe in all_recipes() if recipe.reads == "documents"]


def _derived(recipe: Recipe, texts: list[str]) -> tuple[int, float]:
    """How many pairs a recipe makes of some documents, -1 where it refuses them, and its processor seconds."""
    rows = pa.table(
        {
            "id": [f"d{at}" for at in range(len(texts))],
            "title": pa.array([value[:40] for value in texts], pa.large_string()),
            "text": pa.array(texts, pa.large_string()),
            "lang": ["en"] * len(texts),
        }
    )
    sample = sample_of(recipe.name)
    started = time.process_time()
    try:
        made = derive(recipe.name, rows, resources=sample.resources, **sample.options).kept.num_rows
    except PairmineError:
        made = -1
    return made, time.process_time() - started


@pytest.mark.parametrize("recipe", OF_DOCUMENTS, ids=lambda recipe: recipe.name)
def test_a_recipe_takes_odd_texts_and_a_line_of_time_for_a_long_one(campaign: Any, recipe: Recipe) -> None:
    if recipe.needs != "none":
        pytest.skip(f"needs a model ({recipe.needs})")
    _derived(recipe, [*ODD.values(), *(f"{value} {text(1)} {value}" for value in ODD.values())])
    campaign.count(PROMISE, "odd texts through a recipe")
    if campaign.is_whole:
        (small, one), (large, other) = (_derived(recipe, [long_text(size)]) for size in (250_000, 1_000_000))
        assert other < MOST_GROWTH * max(one, 0.1), f"{small:,} pairs in {one:.2f} s, {large:,} pairs in {other:.2f} s"
        campaign.count("time grows with the input, not with its square", "four times the size")


REFUSED = {
    "half a surrogate pair": ('{"id":"1","text":"\\ud800 alone"}', "c.jsonl:1: not valid JSON"),
    "the other half": ('{"id":"1","text":"\\udc00 alone"}', "c.jsonl:1: not valid JSON"),
    "an id of 2^63": (
        '{"id":1,"text":"a"}\n{"id":9223372036854775808,"text":"b"}',
        'c.jsonl:2: "id" is 9223372036854775808',
    ),
    "an id of 2^64": ('{"id":1,"text":"a"}\n{"id":18446744073709551616,"text":"b"}', 'c.jsonl:2: "id" holds a number'),
    "a number that is not exact": ('{"id":9007199254740993,"text":"a"}\n{"id":1.5,"text":"b"}', '"id" '),
    "lists in lists": ('{"id":"1","text":"a","m":' + "[" * 900 + "]" * 900 + "}", '"m" is nested more than 60'),
    "objects in objects": (
        '{"id":"1","text":"a","m":' + '{"a":' * 900 + "1" + "}" * 901,
        '"m" is nested more than 60',
    ),
    "deeper than any parser": (
        '{"id":"1","text":"a","m":' + "[" * 10**5 + "]" * 10**5 + "}",
        "c.jsonl:1: not valid JSON",
    ),
    "two columns of one name": ("", 'c.csv:1: the header has "text" twice'),
    "no row": ("\n\n", "no rows in it; a corpus needs at least one"),
    "no byte": ("", "the file is empty"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_table_holds_is_told_with_its_place(campaign: Any, answers: Note, tmp_path: Path, what: str) -> None:
    of_whole(campaign, what in ("half a surrogate pair", "lists in lists"))
    content, says = REFUSED[what]
    name = "c.csv" if says.startswith("c.csv") else "c.jsonl"
    (tmp_path / name).write_text("id,text,text\n1,a,b\n" if name == "c.csv" else content, encoding="utf-8")
    answers(what, f"convert {name} -o out.parquet", IDLE_MB, code=2, says=says)


def test_the_largest_whole_number_is_an_id(campaign: Any, answers: Note, tmp_path: Path) -> None:
    of_whole(campaign)
    write_rows(tmp_path / "c.jsonl", [{"id": 2**63 - 1, "text": "a"}, {"id": -(2**63), "text": "b"}])
    answers("ids at the ends of 64 bits", "convert c.jsonl -o out.parquet", IDLE_MB)
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == [str(2**63 - 1), str(-(2**63))]


def test_names_that_are_no_utf8_are_names_or_told_of(campaign: Any, tmp_path: Path) -> None:
    """A file may be called anything on Linux; a text may not."""
    of_whole(campaign)
    odd = "c\udcff.jsonl"
    write_rows(tmp_path / odd, documents(3))
    for words in (["convert", odd, "-o", "out.parquet"], ["info", "out.parquet"], ["info", odd, "--json"]):
        ended = run(words, tmp_path)
        assert ended.is_answer, ended
        assert ended.code == 0, ended
    ended = run(["embed", odd, "--encoder", "fake:", "--prompt", "p\udcff", "-o", "out.npy"], tmp_path)
    assert ended.is_answer, ended
    assert ended.code == 2, ended


def test_what_is_asked_for_without_bound_is_refused(campaign: Any, answers: Note, tmp_path: Path) -> None:
    of_whole(campaign)
    write_rows(tmp_path / "p.jsonl", [{**row, "label": row["label"] or 0} for row in pairs(4)])
    write_rows(tmp_path / "c.jsonl", documents(10))
    what = "numbers without bound"
    answers(
        what, "export p.jsonl --to st-ntuple --negatives 1000000000 -o out.parquet", IDLE_MB, code=2, says="--negatives"
    )
    answers(what, "export p.jsonl --to st-triplet --negatives 1000000000 -o out.parquet", IDLE_MB + 200)
    answers(
        what,
        "mine p.jsonl --corpus c.jsonl --retriever bm25 --depth 1000000000 -o out.parquet",
        500,
        code=2,
        says="--depth",
    )
    answers(what, "filter p.jsonl --negatives 1000000000 --shortage fill --corpus c.jsonl -o out.parquet", 500)
    answers(what, "mix p.jsonl --size 1000000000 -o out.parquet", 500, code=2, says="--size")
