from __future__ import annotations

from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.stages.derive import derive
from pairmine.stages.derive.codeviews import tokens_of

AREA = "def area(r):\n    return 3.14 * r ** 2  # square"


def pairs(*rows: tuple[str | None, str | None, int | None]) -> pa.Table:
    return pa.table(
        {
            "query_id": [f"q{at}" for at in range(len(rows))],
            "query": pa.array([query for query, _, _ in rows], pa.string()),
            "doc_id": [f"c{at}" for at in range(len(rows))],
            "document": pa.array([code for _, code, _ in rows], pa.string()),
            "label": pa.array([label for _, _, label in rows], pa.int8()),
        }
    )


def made(**given: Any) -> list[dict[str, Any]]:
    return [
        row
        for seed in range(60)
        for row in derive("code-soft", pairs(("area of a circle", AREA, 1)), seed=seed, **given).kept.to_pylist()
    ]


def kinds(code: str) -> list[tuple[str, str]]:
    return [(code[start:end], kind) for start, end, kind in tokens_of(code)]


def test_tokens_of_python_and_of_c_have_their_kinds() -> None:
    assert kinds(AREA) == [
        ("def", "keyword"),
        ("area", "identifier"),
        ("(", "punctuation"),
        ("r", "identifier"),
        (")", "punctuation"),
        (":", "operator"),
        ("return", "keyword"),
        ("3.14", "number"),
        ("*", "operator"),
        ("r", "identifier"),
        ("**", "operator"),
        ("2", "number"),
        ("# square", "comment"),
    ]
    assert kinds('/* a "b" */ if (x1 != 1e-5) s = "a\\"b"; // end') == [
        ('/* a "b" */', "comment"),
        ("if", "keyword"),
        ("(", "punctuation"),
        ("x1", "identifier"),
        ("!=", "operator"),
        ("1e-5", "number"),
        (")", "punctuation"),
        ("s", "identifier"),
        ("=", "operator"),
        ('"a\\"b"', "string"),
        (";", "punctuation"),
        ("// end", "comment"),
    ]
    assert kinds("x = '''a\n# b''' # c")[2:] == [("'''a\n# b'''", "string"), ("# c", "comment")]


@pytest.mark.parametrize("code", ["'open", "/* open", '"""open', "\\", "§ é 変数 = 1", "", "\n\n"])
def test_code_that_is_none_is_cut_all_the_same(code: str) -> None:
    spans = tokens_of(code)
    assert all(0 <= start < end <= len(code) for start, end, _ in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_two_of_thirteen_tokens_are_masked_or_named_and_the_rest_stays() -> None:
    rows = made(how="mask")
    assert {row["document"].count("[MASK]") for row in rows} == {1, 2}
    assert all(row["query"] == "area of a circle" for row in rows)
    named = made(how="type", replaced=1)
    assert {row["document"].count("<") for row in named} == {2}
    assert all("<identifier>" in row["document"] or "<" in row["document"] for row in named)
    one_kind = made(how="type-one-kind", replaced=1)
    for row in one_kind:
        assert len({part.partition(">")[0] for part in row["document"].split("<")[1:]}) == 1


def test_a_soft_copy_keeps_its_layout() -> None:
    for row in made(how="mask", replaced=1):
        assert row["document"].count("\n") == 1
        assert "\n    " in row["document"]


def test_code_and_query_can_be_paired_with_their_own_copies() -> None:
    code = made(side="code")[0]
    assert (code["query_id"], code["query"], code["origin"]) == ("c0", AREA, "derive:code-soft/code")
    query = made(side="query")[0]
    assert (query["query_id"], query["query"], query["origin"]) == ("q0", "area of a circle", "derive:code-soft/query")
    assert query["document"].count("[MASK]") == 1
    assert len(made(views=4)) == 60 * 3


def test_negatives_and_empty_sides_are_rejected_and_undecided_pairs_stay_so() -> None:
    rows = pairs(("q", AREA, 0), ("", AREA, 1), ("q", None, 1), ("undecided", AREA, None))
    outcome = derive("code-soft", rows)
    assert outcome.rejected["reason"].to_pylist() == ["a negative pair", "no text", "no text"]
    assert outcome.kept["label"].to_pylist() == [None]
    assert derive("code-soft", rows, side="code").kept.num_rows == 2


def test_what_the_pair_was_cut_from_stays_known() -> None:
    rows = (
        pairs(("q", AREA, 1)).append_column("source_id", pa.array(["file.py"])).append_column("path", pa.array(["p"]))
    )
    kept = derive("code-soft", rows).kept
    assert kept["source_id"].to_pylist() == ["file.py"]
    assert kept["path"].to_pylist() == ["p"]


def test_a_blank_mask_is_an_error() -> None:
    with pytest.raises(PairmineError, match="--mask-token is blank"):
        made(mask_token="")
