from __future__ import annotations

import os
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pytest
from derive_samples import sample_of

from pairmine.cli.main import main
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.recipes import Recipe, all_recipes
from pairmine.schema import TEXT, check_pairs, pair_schema
from pairmine.stages.derive import derive

ALONE = [recipe for recipe in all_recipes() if not recipe.whole]
OF_DOCUMENTS = [recipe for recipe in ALONE if recipe.reads in ("documents", "code")]
TEXTS = [
    "It rained all day in the hills. The river rose by two metres in one night. Nobody was hurt by the flood.",
    "梅雨は東アジアの雨季である。五月から七月にかけて雨の多い日が続く。北海道には見られない現象である。",
    "short",
    "",
    None,
    "The same words. The same words. The same words.",
    "def area(r):\n    '''Area of a circle of radius r.'''\n    return 3.14 * r * r\n",
]


def corpus(texts: list[str | None]) -> pa.Table:
    count = len(texts)
    return pa.table(
        {
            "id": pa.array([f"d{at}" for at in range(count)], pa.string()),
            "title": pa.array(["Title of it"] * count, pa.large_string()),
            "text": pa.array(texts, pa.large_string()),
            "lang": pa.array(["en"] * count, pa.string()),
        }
    )


def run(recipe: Recipe, rows: pa.Table, seed: int = 0) -> Outcome:
    """The recipe on `rows`, with the options and resources of its sample."""
    sample = sample_of(recipe.name)
    return derive(recipe.name, rows, seed=seed, resources=sample.resources, **sample.options)


def rows_for(recipe: Recipe) -> pa.Table:
    table = sample_of(recipe.name).table
    if table is None:
        assert recipe.reads in ("documents", "code"), f"give {recipe.name} a sample in tests/derive_samples"
        return corpus(TEXTS)
    return table


def named(recipe: Recipe) -> str:
    return recipe.name


@pytest.mark.parametrize("recipe", all_recipes(), ids=named)
def test_an_empty_table_gives_an_empty_pair_set_with_the_columns_of_a_full_one(recipe: Recipe) -> None:
    rows = rows_for(recipe)
    outcome = run(recipe, rows.slice(0, 0))
    assert outcome.kept.num_rows == outcome.rejected.num_rows == outcome.rows_in == 0
    assert outcome.rejected.column_names == [*rows.column_names, "reason"]
    check_pairs(outcome.kept)
    assert run(recipe, rows).kept.schema == outcome.kept.schema


@pytest.mark.parametrize("recipe", ALONE, ids=named)
def test_pairs_do_not_depend_on_how_the_rows_are_chunked_or_ordered(recipe: Recipe) -> None:
    rows = rows_for(recipe)
    whole = run(recipe, rows, seed=5)
    parts = [run(recipe, rows.slice(at, 2), seed=5) for at in range(0, rows.num_rows, 2)]
    assert pa.concat_tables(part.kept for part in parts).to_pylist() == whole.kept.to_pylist()
    assert pa.concat_tables(part.rejected for part in parts).to_pylist() == whole.rejected.to_pylist()
    turned = run(recipe, rows.take(list(range(rows.num_rows))[::-1]), seed=5)
    assert sorted(map(str, turned.kept.to_pylist())) == sorted(map(str, whole.kept.to_pylist()))


@pytest.mark.parametrize("recipe", all_recipes(), ids=named)
def test_the_same_seed_gives_the_same_rows(recipe: Recipe) -> None:
    rows = rows_for(recipe)
    assert run(recipe, rows, seed=3).kept.equals(run(recipe, rows, seed=3).kept)


@pytest.mark.parametrize("recipe", OF_DOCUMENTS, ids=named)
def test_every_row_is_used_or_rejected_with_a_reason(recipe: Recipe) -> None:
    rows = rows_for(recipe)
    outcome = run(recipe, rows)
    used, rejected = set(outcome.kept["source_id"].to_pylist()), set(outcome.rejected["id"].to_pylist())
    assert used.isdisjoint(rejected)
    assert used | rejected == set(rows["id"].to_pylist())
    assert outcome.reshapes


@pytest.mark.parametrize("recipe", all_recipes(), ids=named)
def test_kept_is_a_pair_set_with_unique_ids(recipe: Recipe) -> None:
    outcome = run(recipe, rows_for(recipe))
    kept = outcome.kept
    check_pairs(kept)
    assert kept.num_rows > 0
    assert kept.schema == pair_schema(kept.schema)
    assert kept.schema.field("query").type == kept.schema.field("document").type == TEXT
    assert kept.column_names[:5] == ["query_id", "query", "doc_id", "document", "label"]
    assert {origin.partition("/")[0] for origin in kept["origin"].to_pylist()} == {f"derive:{recipe.name}"}
    assert len(set(zip(kept["query_id"].to_pylist(), kept["doc_id"].to_pylist(), strict=True))) == kept.num_rows
    assert all(text and text.strip() for name in ("query", "document") for text in kept[name].to_pylist())
    assert all(outcome.rejected["reason"].to_pylist())


@pytest.mark.parametrize("recipe", all_recipes(), ids=named)
def test_rows_of_one_query_are_together(recipe: Recipe) -> None:
    ids = run(recipe, rows_for(recipe)).kept["query_id"].to_pylist()
    assert len([each for each, _ in groupby(ids)]) == len(set(ids))


@pytest.mark.parametrize("recipe", OF_DOCUMENTS, ids=named)
def test_a_users_columns_come_along(recipe: Recipe) -> None:
    rows = rows_for(recipe)
    if "lang" not in rows.column_names:
        rows = rows.append_column("lang", pa.array(["en"] * rows.num_rows))
    kept = run(recipe, rows).kept
    assert kept["lang"].to_pylist() == ["en"] * kept.num_rows
    assert not {"id", "title", "text"} & set(kept.column_names)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", all_recipes(), ids=named)
def test_the_example_that_help_shows_works_when_pasted(recipe: Recipe, tmp_path: Path) -> None:
    if recipe.reads == "code":
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "m.py").write_text(TEXTS[-1] or "")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", recipe.example],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    written = [path for path in tmp_path.iterdir() if path.suffix in (".parquet", ".jsonl")]
    assert done.stdout or written


def test_another_seed_draws_other_crops_and_the_same_seed_the_same() -> None:
    rows = corpus(TEXTS)
    assert derive("crops", rows, seed=1).kept.equals(derive("crops", rows, seed=1).kept)
    assert not derive("crops", rows, seed=1).kept.equals(derive("crops", rows, seed=2).kept)


def test_a_users_column_that_bears_a_pair_sets_name_is_kept_under_another() -> None:
    rows = corpus(TEXTS[:1])
    rows = rows.append_column("label", pa.array(["flood"])).append_column("score_x", pa.array(["high"]))
    rows = rows.append_column("other_label", pa.array(["mine"]))
    kept = derive("adjacent", rows).kept
    assert set(kept["label"].to_pylist()) == {1}
    assert set(kept["other_other_label"].to_pylist()) == {"flood"}
    assert set(kept["other_label"].to_pylist()) == {"mine"}
    assert set(kept["other_score_x"].to_pylist()) == {"high"}


def test_a_file_of_rejects_can_be_tried_again() -> None:
    first = derive("ict", corpus(["too short", TEXTS[0]]))
    again = derive("crops", first.rejected)
    assert again.rejected.column_names == first.rejected.column_names
    assert again.rejected["reason"].to_pylist() == ["too short"]


def test_numbers_as_ids_become_text() -> None:
    kept = derive("adjacent", pa.table({"id": [7], "text": [TEXTS[0]]})).kept
    assert kept["source_id"].to_pylist() == ["7", "7"]
    assert kept["query_id"].to_pylist() == ["7#q0", "7#q1"]


def test_dictionary_encoded_texts_are_read() -> None:
    rows = pa.table({"id": ["a"], "text": pa.array([TEXTS[0]]).dictionary_encode()})
    assert derive("adjacent", rows).kept.num_rows == 2


@pytest.mark.parametrize(
    ("recipe", "rows", "message"),
    [
        ("crop", pa.table({"id": ["a"], "text": ["b"]}), "no recipe 'crop'; did you mean crops"),
        (
            "crops",
            pa.table({"id": ["a"], "body": ["b"]}),
            'recipe crops reads "id" and "text", and there is no "text" (found: id, body); rename the column',
        ),
        ("title", pa.table({"id": ["a"], "text": ["b"]}), 'recipe title reads "id", "text" and "title"'),
        ("nli", pa.table({"premise": ["a"]}), 'there is no "hypothesis" (found: premise)'),
        ("ict", pa.table({"text": ["b"]}), 'there is no "id" (found: text)'),
        ("ict", pa.table({"id": ["a"], "text": [1]}), '"text" holds int64; recipe ict needs text there'),
        ("ict", pa.table({"id": ["a", "b", "a"], "text": ["x"] * 3}), 'id "a" stands in rows 1 and 3'),
        ("ict", pa.table({"id": ["a", None], "text": ["x"] * 2}), '"id" is null in 1 of 2 rows'),
    ],
)
def test_a_wrong_table_is_one_line(recipe: str, rows: pa.Table, message: str) -> None:
    with pytest.raises(PairmineError) as error:
        derive(recipe, rows)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_option_is_told_before_any_row_is_read() -> None:
    with pytest.raises(PairmineError, match="--min-ratio is 2"):
        derive("crops", corpus([]), min_ratio=2)


def test_a_lexicon_without_a_second_column_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, corpus = tmp_path / "synonyms.tsv", tmp_path / "corpus.jsonl"
    table.write_text("word\tfoo\nrain\tbar\n", "utf-8")
    corpus.write_text('{"text": "It rained."}\n', "utf-8")
    words = ["derive", "words", str(corpus), "--ops", "synonym", "--synonyms", str(table), "-o", "-"]
    monkeypatch.setattr("sys.argv", ["pairmine", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert f'--synonyms {table}: no column for "other" (found: text, foo); its first line' in capsys.readouterr().err
