"""What stands around an answer goes, the answer stays."""

from __future__ import annotations

import pytest

from pairmine.llm.replies.chatter import (
    has_several_answers,
    is_announced,
    preamble_length,
    without_chatter,
    without_thinking,
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('The sentence can be rewritten as follows:\n\n"It rains."', "It rains."),
        ("I'm happy to help. Here's a revised version of the sentence:\n\n**It rains.**", "It rains."),
        ('The text should read: "It rains."', "It rains."),
        ("It rains.\n\nHere's a breakdown of the changes:\n\n* one\n* two", "It rains."),
        ("It rains. (Corrected spelling errors: rain)", "It rains."),
        ('"It rains."\n\nHere, "rains" stands for bad weather.', "It rains."),
        ("It rains.\n\nLet me know if you need any further help!", "It rains."),
        (
            "Let me know if you have any questions about my rate.",
            "Let me know if you have any questions about my rate.",
        ),
        ("It rains.\n\n(In the original, the verb was in the past tense.)", "It rains."),
        (
            "It rains.\nThe original owner left.\nI used to live there.",
            "It rains.\nThe original owner left.\nI used to live there.",
        ),
        ("First paragraph.\n\nSecond paragraph.", "First paragraph.\n\nSecond paragraph."),
        ("The mean (corrected for age) rose.", "The mean (corrected for age) rose."),
        ("'It's raining.'", "It's raining."),
        ("„Es regnet.“", "Es regnet."),
        ("", ""),
    ],
)
def test_the_answer_is_found(text: str, answer: str) -> None:
    assert without_chatter(text)[0] == answer


@pytest.mark.parametrize(
    "text", ["It is 5:30: time to go.", "Sure, he came.", "Here is my house.", "Note: wet paint", "a"]
)
def test_a_sentence_is_no_preamble(text: str) -> None:
    assert preamble_length(text) == 0


@pytest.mark.parametrize(
    "text",
    [
        "Great Britain and Ireland, 1801:\nThe union took effect on 1 January.",
        "Translation: Homer's Iliad was put into English by Pope in 1720.",
        "Result: The home team won three to one after extra time.",
        "Explanation: Ice floats because it is less dense than water.",
        "Alternatives to plastic bags:\nGlass, paper and cloth are common.",
        "Summary of corrected accounts for 2019:\nRevenue rose by a tenth.",
        "This is the simplified method: take the sum and halve it.",
        "Okay, so here is what happened in 1912.\nThe ship left port.",
        "I have two options: the train at noon or the bus.",
        "We made the following changes: new roof, windows and doors.",
        "Here is the problem: we have no money.",
        "translation: what does 'bonjour' mean",
        "The query language SQL: a short history",
        "Claro, vamos à praia amanhã!\nEstá sol.",
        "",
    ],
)
def test_a_heading_announces_no_field(text: str) -> None:
    assert not is_announced(text, "query")
    assert not is_announced(text, "hard_negative")


@pytest.mark.parametrize(
    "text",
    [
        "Here is the search query: bees dancing",
        "Here's a hard negative based on the document: Bees sleep.",
        "Sure! Here is a rewritten version of the text:\nBees dance.",
        "I have generated the following query for you: bees dancing",
        "Sure!\nbees dancing",
        "Certainly, I'd be happy to help. Bees dance.",
        "**Query:** bees dancing",
        "Search query: bees dancing",
        "Hier ist die Suchanfrage: Bienen tanzen",
        "以下是查询：蜜蜂跳舞",
    ],
)
def test_a_field_that_announces_itself_is_told(text: str) -> None:
    assert is_announced(text, "query")


@pytest.mark.parametrize(
    ("text", "kept", "never_ended"),
    [
        ("<think>a</think>b", "b", False),
        ("a</think>b", "b", False),
        ("<think>a <think>b</think>c", "c", False),
        ("<THINKING>a</THINKING> b <think>c</think> d", "b  d", False),
        ("[THINK]a[/THINK]b", "b", False),
        ("<think>a", "a", True),
        ("the tag <think> opens a thought", "the tag <think> opens a thought", False),
        ("<|channel|>analysis<|message|>a", "", True),
    ],
)
def test_thoughts_are_taken_out(text: str, kept: str, never_ended: bool) -> None:
    said, _, is_open = without_thinking(text)
    assert (said, is_open) == (kept, never_ended)


@pytest.mark.parametrize(
    ("text", "several"),
    [
        ("1. a\n2. b", True),
        ("Some ways:\n* a\n* b", True),
        ("**Option A:** x\n**Option B:** y", True),
        ("It rains.\n\nAlternatively:\n\nIt pours.", True),
        ("It rains.\n\nCorrected text:\n\nIt rains.", True),
        ("1. FC Köln won.", False),
        ("He has two of them.\nOr so he says.", False),
        ("- and then it rained", False),
    ],
)
def test_a_list_of_answers_is_told_from_an_answer(text: str, several: bool) -> None:
    assert has_several_answers(text) is several
