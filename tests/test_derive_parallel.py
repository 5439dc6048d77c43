from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the real collections in ../shared/data")


def texts(outcome: Outcome) -> list[tuple[str, str]]:
    kept = outcome.kept
    return list(zip(kept["query"].to_pylist(), kept["document"].to_pylist(), strict=True))


def reasons(outcome: Outcome) -> dict[str, int]:
    return dict(Counter(outcome.rejected["reason"].to_pylist()))


def lines(path: Path, most: int) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line, _ in zip(stream, range(most), strict=False)]


def test_a_source_with_two_translations_is_one_query_with_both() -> None:
    rows = pa.table({"source": ["Guten Tag.", "Danke.", "Guten Tag."], "target": ["Hello.", "Thanks.", "Good day."]})
    outcome = derive("parallel", rows)
    assert texts(outcome) == [("Guten Tag.", "Hello."), ("Guten Tag.", "Good day."), ("Danke.", "Thanks.")]
    assert len(set(outcome.kept["query_id"].to_pylist())) == 2


def test_what_is_no_translation_leaves_with_its_reason() -> None:
    rows = pa.table(
        {
            "source": ["", "Wort", "OK then", "***", "Ja", "Ja"],
            "target": ["x", None, "ok  THEN", "stars", "one two three four five six seven eight nine ten", "Yes"],
        }
    )
    outcome = derive("parallel", rows)
    assert texts(outcome) == [("Ja", "Yes")]
    assert outcome.rejected["reason"].to_pylist() == [
        "no source text",
        "no translation",
        "the translation is the source",
        "no words",
        "lengths too far apart",
    ]
    assert len(texts(derive("parallel", rows, max_ratio=0))) == 2


def test_both_ways_makes_each_side_a_query() -> None:
    rows = pa.table({"source": ["Ja"], "target": ["Yes"]})
    assert texts(derive("parallel", rows, both_ways=True)) == [("Ja", "Yes"), ("Yes", "Ja")]


def test_two_files_stand_side_by_side_and_must_be_equally_long() -> None:
    rows = pa.table({"source": ["eins", "", "drei"]})
    outcome = derive("parallel", rows, resources={"target": ["one", "two", "three"]})
    assert texts(outcome) == [("eins", "one"), ("drei", "three")]
    with pytest.raises(PairmineError, match="the input has 3 rows and --target 2 lines"):
        derive("parallel", rows, resources={"target": ["one", "two"]})
    with pytest.raises(PairmineError, match=r'no "target" \(found: source\); pass --target-column'):
        derive("parallel", rows)
    both = pa.table({"source": ["eins"], "target": ["one"]})
    with pytest.raises(PairmineError, match="--target names a file, and the input has translations of its own"):
        derive("parallel", both, resources={"target": ["one"]})


def groups(**columns: Sequence[object]) -> pa.Table:
    return pa.table(columns)


def test_a_group_of_languages_is_one_query_with_all_others_as_positives() -> None:
    rows = groups(group=[1, 1, 1], lang=["en", "de", "fr"], text=["Hello.", "Hallo.", "Salut."])
    outcome = derive("parallel-groups", rows, pivot="de")
    assert texts(outcome) == [("Hallo.", "Hello."), ("Hallo.", "Salut.")]
    assert outcome.kept["query_lang"].to_pylist() == ["de", "de"]
    assert outcome.kept["lang"].to_pylist() == ["en", "fr"]
    drawn = {texts(derive("parallel-groups", rows, seed=seed))[0][0] for seed in range(40)}
    assert drawn == {"Hello.", "Hallo.", "Salut."}


def test_a_group_without_the_pivots_language_or_without_company_leaves() -> None:
    rows = groups(group=[1, 1, 2, None, 1], lang=["en", "de", "de", "en", "de"], text=["a b", "c d", "e", "f", "c d"])
    assert reasons(derive("parallel-groups", rows)) == {"alone in its group": 1, "no group": 1, "duplicate": 1}
    assert reasons(derive("parallel-groups", rows, pivot="fr"))["no text in fr in its group"] == 2
    with pytest.raises(PairmineError, match="--pivot names a language, and there is no column of languages"):
        derive("parallel-groups", rows.drop_columns("lang"), pivot="en")


def test_translations_of_one_sentence_paraphrase_each_other() -> None:
    rows = pa.table(
        {
            "pivot": ["Gute Nacht!", "gute  nacht!", "Gute Nacht!", "Danke.", "Ja.", "Ja."],
            "translation": ["Good night!", "Sleep well!", "good night!", "Thanks.", "Yes.", "yes."],
        }
    )
    outcome = derive("pivot", rows)
    assert [sorted(pair) for pair in texts(outcome)] == [["Good night!", "Sleep well!"]]
    assert outcome.rejected["reason"].to_pylist() == ["duplicate", *["fewer than two translations"] * 3]
    assert {texts(derive("pivot", rows, seed=seed))[0][0] for seed in range(20)} == {"Good night!", "Sleep well!"}


def test_translations_into_different_languages_are_no_paraphrases() -> None:
    rows = pa.table(
        {
            "pivot": ["Ja."] * 4,
            "translation": ["Yes.", "Oui.", "Sure.", "Bien sûr."],
            "lang": ["en", "fr", "en", "fr"],
        }
    )
    outcome = derive("pivot", rows)
    assert sorted(sorted(pair) for pair in texts(outcome)) == [["Bien sûr.", "Oui."], ["Sure.", "Yes."]]
    assert sorted(outcome.kept["lang"].to_pylist()) == ["en", "fr"]
    assert derive("pivot", rows.drop_columns("lang")).kept.num_rows == 6


def test_wordings_that_hardly_differ_give_no_pair() -> None:
    long = "It is a truth universally acknowledged that a single man in possession of a fortune must want a wife"
    rows = pa.table({"pivot": ["x"] * 3, "translation": [long, long + ".", "Rich bachelors want to marry."]})
    outcome = derive("pivot", rows)
    assert outcome.kept.num_rows == 2
    assert all("Rich bachelors want to marry." in pair for pair in texts(outcome))


class Compass:
    """Vectors as the test sets them."""

    facts: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, angles: dict[str, float]) -> None:
        self._angles = angles

    def encode(self, texts: Sequence[str], side: str, advance: object = None) -> np.ndarray:
        turned = np.array([self._angles[text] for text in texts])
        return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


def test_with_an_encoder_translations_far_from_their_source_leave() -> None:
    compass = Compass({"Ja.": 0.0, "Yes.": 0.3, "Sure.": 0.5, "Bicycle.": 1.2})
    rows = pa.table({"pivot": ["Ja."] * 3, "translation": ["Yes.", "Sure.", "Bicycle."]})
    outcome = derive("pivot", rows, resources={"encoder": compass})
    assert [sorted(pair) for pair in texts(outcome)] == [["Sure.", "Yes."]]
    assert reasons(outcome) == {"far from its source": 1}
    stricter = derive("pivot", rows, resources={"encoder": compass}, min_cosine=0.9)
    assert reasons(stricter) == {"far from its source": 2, "no other wording": 1}


@needs_data
@pytest.mark.slow
def test_tatoeba_gives_every_translation_and_paraphrases_through_english() -> None:
    rows = pa.Table.from_pylist(lines(DATA / "tatoeba" / "pairs.jsonl.gz", 30_000))
    outcome = derive("parallel", rows.rename_columns(["_id", "lang", "source", "target"]))
    assert outcome.kept.num_rows + outcome.rejected.num_rows == rows.num_rows == 25_938
    assert outcome.kept.num_rows > 25_000
    rows = rows.rename_columns(["_id", "lang", "translation", "pivot"])
    assert derive("pivot", rows.drop_columns("lang")).kept.num_rows > 3_000
    assert reasons(derive("pivot", rows)) == {"fewer than two translations": rows.num_rows}


@needs_data
def test_xquads_questions_are_groups_of_twelve_languages() -> None:
    found = lines(DATA / "xquad" / "queries.jsonl.gz", 20_000)
    rows = pa.table(
        {name: [row[key] for row in found] for name, key in (("group", "parallel"), ("lang", "lang"), ("text", "text"))}
    )
    outcome = derive("parallel-groups", rows, pivot="en")
    per_query = Counter(outcome.kept["query_id"].to_pylist())
    assert len(per_query) == 1190
    assert Counter(per_query.values()).most_common(1)[0][0] == 11


def test_the_same_text_in_other_capitals_is_no_translation() -> None:
    rows = pa.table({"group": [1, 1, 1], "text": ["Hello", "HELLO", "Hallo"], "lang": ["en", "nl", "de"]})
    outcome = derive("parallel-groups", rows, pivot="en")
    assert list(zip(outcome.kept["query"].to_pylist(), outcome.kept["document"].to_pylist(), strict=True)) == [
        ("Hello", "Hallo")
    ]
    assert outcome.rejected["reason"].to_pylist() == ["duplicate"]


def test_thousands_of_translations_of_one_sentence_are_not_all_compared() -> None:
    rows = pa.table({"pivot": ["Hallo"] * 5000, "translation": [f"hello number {at * at}" for at in range(5000)]})
    kept = derive("pivot", rows).kept
    assert kept.num_rows == 10
    assert all(query != document for query, document in zip(kept["query"], kept["document"], strict=True))
