from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmine.text import count_words, has_unspaced, is_wordless, sentence_spans, sentences, word_pieces, words

ANY_TEXT = st.text(st.sampled_from("aB1 .!?\n\t。」、あ東ก็เ์\u3000\u00a0-\"')(é한\u0301"), max_size=60) | st.text(
    max_size=40
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rained. The river rose! Was anyone hurt?", ["It rained.", "The river rose!", "Was anyone hurt?"]),
        ("Dr. Ada met J. Smith, i.e. the mayor. He left.", ["Dr. Ada met J. Smith, i.e. the mayor.", "He left."]),
        ("The U.S. Army left the U.S. The end.", ["The U.S. Army left the U.S.", "The end."]),
        ("See Fig. 3 and No. 5. He said no. Then he left.", ["See Fig. 3 and No. 5.", "He said no.", "Then he left."]),
        (
            "Smith et al. Proposed it. Patients with MS. All left.",
            ["Smith et al. Proposed it.", "Patients with MS.", "All left."],
        ),
        ("It cost 3.5 dollars at example.org today. Cheap.", ["It cost 3.5 dollars at example.org today.", "Cheap."]),
        ('He asked: "Why?" she wondered. "Because." Then…', ['He asked: "Why?" she wondered.', '"Because."', "Then…"]),
        ("Rome fell.[3] Then came others.", ["Rome fell.[3]", "Then came others."]),
        ("all small. no capitals here? none.", ["all small.", "no capitals here?", "none."]),
        ("One class.. The next . . . And more.", ["One class..", "The next . . .", "And more."]),
        ("1. Wash. 2. Dry.", ["1. Wash.", "2. Dry."]),
        ("Er kam z.B. Montag. Sie ging bzw. Lief weg.", ["Er kam z.B. Montag.", "Sie ging bzw. Lief weg."]),
        ("¿Quién es? ¡Nadie! El fin.", ["¿Quién es?", "¡Nadie!", "El fin."]),
    ],
)
def test_latin_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("次は？はい。「そう。」と言った。終わり", ["次は？", "はい。", "「そう。」と言った。", "終わり"]),
        ("价格是3.5元。好！", ["价格是3.5元。", "好！"]),
        ("値は３．５です．次へ．", ["値は３．５です．", "次へ．"]),
        ("यह है। वह कौन है?", ["यह है।", "वह कौन है?"]),
        ("ما هذا؟ هذا كتاب.", ["ما هذا؟", "هذا كتاب."]),
        ("그는 갔다. 그녀도 갔다.", ["그는 갔다.", "그녀도 갔다."]),
        ("Он ушёл. Она осталась, т.е. Ждала.", ["Он ушёл.", "Она осталась, т.е. Ждала."]),
    ],
)
def test_sentences_of_other_scripts_end_at_their_own_marks(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_thai_is_cut_at_blanks_once_a_phrase_is_as_long_as_a_sentence() -> None:
    phrase = "ประเทศเป็นที่รู้จักดีในเรื่องความเด่นในการกรีฑาระยะกลาง"
    long = f"{phrase} {phrase}"
    assert sentences(f"{long} {long}") == [long, long]
    assert sentences("เคนยา มี") == ["เคนยา มี"]


@pytest.mark.parametrize(
    "text",
    ["ไมเคิล อี. แมนน์ และ เรย์มอนด์ เอส. แบรดลีย์", "เมื่อ ค.ศ. 981 มีรางกว้าง 1,435 มม. (4 ฟุต)", "โดย ดับเบิลยู. โมต เขียนว่า"],
)
def test_a_full_stop_in_thai_shortens_a_word_and_ends_no_sentence(text: str) -> None:
    assert sentences(text) == [text]


def test_headings_and_list_items_are_sentences_of_their_own() -> None:
    text = "Introduction\n1. First thing\n2. Second thing\n- a bullet\n\nLast words\r\nThe end."
    assert sentences(text) == [
        "Introduction",
        "1. First thing",
        "2. Second thing",
        "- a bullet",
        "Last words",
        "The end.",
    ]


def test_a_line_break_inside_wrapped_prose_ends_nothing() -> None:
    text = "This line is as long as the lines of prose that\nsomebody has wrapped at a margin. Next."
    assert sentences(text) == [text[:-6], "Next."]


def test_stray_marks_stay_with_the_sentence_before_them() -> None:
    assert sentences("What is this . . ? Nobody knows.") == ["What is this . . ?", "Nobody knows."]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\u3000\t"])
def test_blank_text_has_no_sentences_and_no_words(text: str) -> None:
    assert sentences(text) == []
    assert words(text) == []
    assert count_words(text) == 0


@given(ANY_TEXT)
def test_sentences_lose_nothing_but_white_space(text: str) -> None:
    spans = sentence_spans(text)
    assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


@given(ANY_TEXT, st.data())
def test_any_run_of_words_joins_to_what_stands_in_the_text(text: str, data: st.DataObject) -> None:
    pieces, glue = word_pieces(text)
    first = data.draw(st.integers(0, len(pieces)))
    last = data.draw(st.integers(first, len(pieces)))
    assert glue.join(pieces[first:last]).strip() in text
    assert glue.join(pieces).strip() == text.strip()
    if not has_unspaced(text):
        assert [piece.strip() for piece in pieces] == words(text)
        assert len(pieces) == count_words(text)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("東京は日本の首都です。", ["東京", "は", "日本", "の", "首都", "です。"]),
        ("我们在北京大学学习。", ["我们", "在", "北京", "大学", "学习。"]),
        ("ประเทศไทยมีประชากรจำนวนมาก", ["ประเทศไทย", "มี", "ประชากร", "จำนวน", "มาก"]),
        ("ខ្ញុំស្រឡាញ់ភាសាខ្មែរ", ["ខ្ញុំ", "ស្រឡាញ់", "ភាសាខ្មែរ"]),
        ("「東京」へiPhone-15を (now)", ["「東京」", "へ", "iPhone-15", "を ", "(now)"]),
    ],
)
def test_texts_without_blanks_are_cut_between_words_and_marks_stay_with_theirs(text: str, pieces: list[str]) -> None:
    assert word_pieces(text) == (pieces, "")


def test_half_a_character_in_a_text_without_blanks_does_not_stop_the_cut() -> None:
    assert "".join(word_pieces("東京\ud800は")[0]) == "東京\ud800は"


def test_words_without_blanks_are_characters_with_their_marks() -> None:
    assert words("Cut 東京タワー, please.") == ["Cut", "東", "京", "タ", "ワ", "ー", ",", "please."]
    assert words("はい。OK") == ["は", "い。", "OK"]
    assert words("เป็นน้ำ") == ["เป็", "น", "น้ำ"]
    assert words("한국어 문장") == ["한국어", "문장"]
    assert words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]


@pytest.mark.parametrize(
    "unit",
    [
        ".",
        ".)",
        " ",
        "\n",
        "a",
        "a. ",
        "e.g. ",
        "[1]",
        ".[1]",
        "。",
        "」",
        "ก ",
        "(((. ",
        "あ",
        "\u0301",
        "- \n",
        "hey. ",
        "A.\n",
        "。）",
    ],
)
def test_time_grows_with_the_length_of_the_text_and_no_faster(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    start = time.perf_counter()
    sentence_spans(text)
    count_words(text)
    word_pieces(text)
    assert time.perf_counter() - start < 5


def test_marks_and_emoji_alone_are_no_words() -> None:
    assert is_wordless("* * * --- 🎉 _")
    assert not is_wordless("- 7")
    assert not is_wordless("¿東?")
