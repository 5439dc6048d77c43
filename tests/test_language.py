"""A text in the wrong language is told only where there is no doubt."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from pairmine.llm.replies.language import is_in_another_language, is_not_in, language_named

DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="needs the shared data beside the checkout")

ENGLISH = "The old bridge over the river was closed for repairs last winter."
GERMAN = "Die alte Brücke über den Fluss war im letzten Winter wegen Reparaturen gesperrt."
RUSSIAN = "Старый мост через реку прошлой зимой закрыли на ремонт."


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *(("German", "de"), ("de", "de"), ("de-AT", "de"), ("日本語", "ja"), (" FRENCH ", "fr"), ("Português", "pt")),
        *(("zh-Hans", "zh"), ("Chinese (simplified)", "zh"), ("the language of the document", None), ("", None)),
    ],
)
def test_a_language_is_known_by_its_names_and_codes(name: str, code: str | None) -> None:
    assert language_named(name) == code


@pytest.mark.parametrize(
    ("text", "reference", "differs"),
    [
        (GERMAN, ENGLISH, True),
        (RUSSIAN, ENGLISH, True),
        ("橋は冬に閉鎖された", ENGLISH, True),
        (ENGLISH, ENGLISH[::-1], False),
        ("Brücke", ENGLISH, False),
        ("", ENGLISH, False),
        ("12 + 7 = 19", RUSSIAN, False),
        ("Windows Server 2019", "Установка Windows Server 2019 на новый компьютер", False),
    ],
)
def test_only_a_sure_difference_counts(text: str, reference: str, differs: bool) -> None:
    assert is_in_another_language(text, reference) is differs


def test_a_text_is_held_to_the_language_that_was_drawn() -> None:
    assert is_not_in(ENGLISH, "de")
    assert is_not_in(ENGLISH, "ja")
    assert not is_not_in(GERMAN, "de")
    assert not is_not_in("好的", "zh")
    assert not is_not_in("Most je bio zatvoren zbog popravaka prošle zime.", "sr")


def test_a_letter_belongs_to_one_script_only() -> None:
    assert not is_not_in("यह पुल पिछली सर्दियों में बंद था", "hi")
    assert not is_not_in("작년 겨울에 다리가 폐쇄되었습니다", "ko")
    assert is_in_another_language("작년 겨울에 다리가 폐쇄되었습니다", "यह पुल पिछली सर्दियों में बंद था")


@pytest.mark.parametrize(
    ("code", "one", "other"),
    [
        ("sr", "Регистрација возила у Србији обавља се у полицији.", "Kako da registrujem automobil u Srbiji"),
        (
            "kk",
            "Ескі көпір өткен қыста жөндеу жұмыстарына байланысты жабылды.",
            "Eski köpir ötken qysta nege jabyldy jäne qashan ashylady?",
        ),
        ("az", "Köhnə körpü ötən qış təmir üçün bağlanmışdı.", "Көһнә көрпү өтән гыш нијә бағланмышды?"),
        (
            "uz",
            "Eski koʻprik oʻtgan qishda taʼmirlash uchun yopilgan edi.",
            "Эски кўприк ўтган қишда нима учун ёпилган эди?",
        ),
        ("pa", "ਪੁਰਾਣਾ ਪੁਲ ਪਿਛਲੀ ਸਰਦੀਆਂ ਵਿੱਚ ਮੁਰੰਮਤ ਲਈ ਬੰਦ ਸੀ।", "پرانا پل پچھلی سردیاں وچ مرمت لئی کیوں بند سی؟"),
        (
            "ms",
            "Jambatan lama di atas sungai itu ditutup pada musim lalu untuk dibaiki.",
            "جمبتن لاما دأتس سوڠاي ايت دتوتوڤ اونتوق دباءيقي",
        ),
        (
            "jv",
            "Kreteg lawas ing ndhuwur kali ditutup mangsa adhem kepungkur amarga didandani.",
            "كرتيڬ لاواس إڠ دهووور كالي دتوتوڤ",
        ),
    ],
)
def test_a_language_with_two_scripts_may_answer_in_either(code: str, one: str, other: str) -> None:
    assert not is_in_another_language(one, other)
    assert not is_in_another_language(other, one)
    assert not is_not_in(one, code)
    assert not is_not_in(other, code)
    assert is_in_another_language(ENGLISH, one) or code == "ms"
    assert is_not_in(ENGLISH, code) or code == "uz"


def test_a_second_script_excuses_no_third_language() -> None:
    serbian = "Регистрација возила у Србији обавља се у полицији."
    assert is_in_another_language(GERMAN, serbian)
    assert is_in_another_language("أغلق الجسر القديم فوق النهر الشتاء الماضي للإصلاحات.", serbian)
    assert is_in_another_language("Stari most je zatvoren prošle zime zbog popravaka ceste.", RUSSIAN)
    assert is_not_in(RUSSIAN, "sr")


@needs_data
def test_pairs_of_one_language_pass_and_most_others_do_not() -> None:
    by_language: dict[str, list[tuple[str, str]]] = defaultdict(list)
    with gzip.open(DATA / "xnli-dev" / "dev.jsonl.gz", "rt") as lines:
        for row in map(json.loads, lines):
            by_language[row["lang"]].append((row["premise"], row["hypothesis"]))
    del by_language["hi"], by_language["ur"]  # Many of their sentences are in Latin letters.
    rejected = Counter(
        language
        for language, pairs in by_language.items()
        for premise, hypothesis in pairs[:600]
        if is_in_another_language(hypothesis, premise)
    )
    assert rejected.total() <= 0.005 * 600 * len(by_language)
    caught = [
        is_in_another_language(other[1], one[0])
        for first, second in (("en", "de"), ("fr", "es"), ("en", "vi"), ("ru", "el"), ("zh", "en"), ("tr", "sw"))
        for one, other in zip(by_language[first][:600], by_language[second][:600], strict=True)
        if min(len(one[0]), len(other[1])) > 60
    ]
    assert len(caught) > 300
    assert sum(caught) > 0.8 * len(caught)
