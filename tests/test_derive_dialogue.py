from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.stages.derive import derive

TALK = ["one", "two", "three", "four", "five", "six"]


def talks(*turns: Any, **columns: list[Any]) -> pa.Table:
    return pa.table({"turns": list(turns), **columns})


def graded(outcome: Outcome) -> list[tuple[str, str, float | None]]:
    return [(row["query"], row["document"], round(row["grade"], 4)) for row in outcome.kept.to_pylist()]


def short(outcome: Outcome) -> list[tuple[str, str]]:
    return [(row["query"], row["document"]) for row in outcome.kept.to_pylist()]


def reasons(outcome: Outcome) -> list[str]:
    return outcome.rejected["reason"].to_pylist()


def said(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"from": speaker, "value": text} for speaker, text in turns]


# --- reply -------------------------------------------------------------------------------------


def test_each_turn_answers_the_one_before_it() -> None:
    outcome = derive("reply", talks(["When is high tide?", "At noon.", "Then we sail."], id=["t"]))
    assert short(outcome) == [("When is high tide?", "At noon."), ("At noon.", "Then we sail.")]
    assert outcome.kept["query_id"].to_pylist() == ["t#q1", "t#q2"]
    assert outcome.kept["doc_id"].to_pylist() == ["t#t1", "t#t2"]


def test_daily_dialog_lines_are_parted_at_their_marks() -> None:
    outcome = derive("reply", talks("雨ですか。 __eou__ はい。 __eou__ ", "Hm. __eou__"))
    assert short(outcome) == [("雨ですか。", "はい。")]
    assert reasons(outcome) == ["fewer than two turns"]


def test_only_answers_of_a_speaker_and_never_of_the_same_one() -> None:
    talk = said(("human", "Hi."), ("gpt", "Hello."), ("gpt", "How can I help?"), ("human", "Tides?"), ("gpt", "Noon."))
    every = derive("reply", talks(talk))
    assert short(every) == [("Hi.", "Hello."), ("How can I help?", "Tides?"), ("Tides?", "Noon.")]
    assert every.notes == {"turns after one of the same speaker": 1}
    assert short(derive("reply", talks(talk), answers_of="gpt")) == [("Hi.", "Hello."), ("Tides?", "Noon.")]
    assert reasons(derive("reply", talks(talk), answers_of="bot")) == ["no reply in it by bot"]


def test_more_turns_before_make_a_longer_query() -> None:
    assert short(derive("reply", talks(["a", "b", "c", "d"]), before=2)) == [("a", "b"), ("a\nb", "c"), ("b\nc", "d")]


def test_an_echo_is_no_answer_and_blank_turns_are_none() -> None:
    outcome = derive("reply", talks(["Yes.", "YES.", "", None, "...", "No."]))
    assert short(outcome) == [("YES.", "No.")]
    assert outcome.notes == {"turns that repeat the one before": 1}


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([{"who": "a", "said": "b"}], "a turn has no text (found: who, said); write turns as texts"),
        ([[1, 2]], "a turn is 1; write turns as texts"),
    ],
)
def test_turns_without_a_text_are_told(turns: Any, message: str) -> None:
    given = turns if isinstance(turns[0], dict) else turns[0]
    with pytest.raises(PairmineError) as error:
        derive("reply", talks(given))
    assert str(error.value).startswith(message.replace("1;", "'1';"))


# --- dialogue ----------------------------------------------------------------------------------


def test_a_turn_further_on_has_a_lower_grade_up_to_the_end_of_the_window() -> None:
    outcome = derive("dialogue", talks(TALK), random=0)
    assert graded(outcome)[:5] == [
        ("one", "two", 0.8),
        ("one", "three", 0.6),
        ("one", "four", 0.4),
        ("one", "five", 0.2),
        ("two", "three", 0.8),
    ]
    # Five turns have 4, 4, 3, 2 and 1 turns of the window behind them.
    assert outcome.kept.num_rows == 14
    assert outcome.kept["distance"].to_pylist()[:4] == [1, 2, 3, 4]
    assert set(outcome.kept["label"].to_pylist()) == {None}


def test_every_conversation_is_used_and_short_ones_too() -> None:
    outcome = derive("dialogue", talks(["a", "b"], ["c", "d"], ["e"]), random=0)
    assert graded(outcome) == [("a", "b", 0.8), ("c", "d", 0.8)]
    assert reasons(outcome) == ["no two different turns"]


def test_triples_are_graded_by_the_mean_distance_from_one_to_a_fifth() -> None:
    outcome = derive("dialogue", talks(TALK[:5]), triples=True, random=0, joint=" | ")
    found = {(query, document): grade for query, document, grade in graded(outcome)}
    # Triple-Encoders adds (5 - i) / 5 of both contexts and stretches the sums to 0.2 ... 1.
    assert found["one | two", "three"] == 1.0
    assert found["one | two", "five"] == 0.2
    assert found["one | four", "five"] == 0.6
    assert found["three | four", "five"] == 1.0
    assert len(found) == 10


def test_random_turns_come_from_other_conversations_with_grade_nothing() -> None:
    rows = talks(TALK, ["red", "green", "blue"], ["One", "white"])
    outcome = derive("dialogue", rows, random=2, seed=4)
    drawn = [row for row in outcome.kept.to_pylist() if row["origin"] == "derive:dialogue/random"]
    assert all(row["grade"] == 0 and row["label"] == 0 and row["distance"] is None for row in drawn)
    for row in drawn:
        own = next(talk for talk in (TALK, ["red", "green", "blue"], ["One", "white"]) if row["query"] in talk)
        assert row["document"] not in own
        assert row["document"].casefold() != row["query"].casefold()
    assert len(drawn) == 2 * len({row["query_id"] for row in outcome.kept.to_pylist()})
    assert not outcome.kept.equals(derive("dialogue", rows, random=2, seed=5).kept)


def test_rows_of_one_conversation_are_its_turns() -> None:
    rows = talks("a", "x", "b", "y", id=["1", "2", "1", "2"])
    assert graded(derive("dialogue", rows, random=0)) == [("a", "b", 0.8), ("x", "y", 0.8)]


def test_what_was_said_twice_counts_at_its_nearer_place() -> None:
    outcome = derive("dialogue", talks(["a", "b", "A", "b", "c"]), random=0)
    assert graded(outcome)[:2] == [("a", "b", 0.8), ("a", "c", 0.2)]


def test_a_single_conversation_has_no_others_to_draw_from() -> None:
    with pytest.raises(PairmineError, match="there is only one; pass --random 0"):
        derive("dialogue", talks(TALK))


def test_the_same_conversation_twice_is_read_once() -> None:
    outcome = derive("dialogue", talks(["a", "b"], ["a", "b"], ["c", "d"]), random=0)
    assert short(outcome) == [("a", "b"), ("c", "d")]
    assert reasons(outcome) == ["the same conversation again"]
