"""Is a text written in the language it should be in? Only a sure "no" counts, since most texts are short.

The script settles most cases at once, unless a language is written in several; between languages of
one script a classifier must be confident about both sides. `py3langid` loads in 0.1 s, on the first
text that the script leaves open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

_READ = 600
"""Characters of a text that are looked at: more make no guess better."""

_SHARED_WORDS, _SHARED_PART = 3, 0.4
"""From here on two texts have so many words in common that they are in one language, whatever it is: Spanish
shares "de", "la" and "en" with French, and not two words in five."""

_FEW_LETTERS = {"latin": 12, "cyrillic": 8}
_FEW_LETTERS_OF_OTHERS = 4
"""Fewer letters of a script are a name or a brand, whatever the language around them."""

_ENOUGH_LETTERS = 24
"""From here on the classifier is asked; a single word of a language is often a word of three."""
_SURE = 0.9
_RULED_OUT = 0.02

# Escaped: a letter with a mark may be stored as two code points, and turn a range into half of Unicode.
_SCRIPTS = {
    "latin": (
        "\u0041-\u005a\u0061-\u007a\u00aa\u00ba\u00c0-\u00d6"
        "\u00d8-\u00f6\u00f8-\u02af\u1e00-\u1eff\ufb00-\ufb06\uff21-\uff3a\uff41-\uff5a"
    ),
    "cyrillic": "\u0400-\u052f\u1c80-\u1c88\u2de0-\u2dff\ua640-\ua69f",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "arabic": "\u0620-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc",
    "hebrew": "\u0590-\u05ff\ufb1d-\ufb4f",
    "armenian": "\u0531-\u058f",
    "georgian": "\u10a0-\u10ff\u1c90-\u1cbf\u2d00-\u2d2d",
    "devanagari": "\u0900-\u0963\u0966-\u097f",
    "bengali": "\u0980-\u09ff",
    "gurmukhi": "\u0a00-\u0a7f",
    "gujarati": "\u0a80-\u0aff",
    "tamil": "\u0b80-\u0bff",
    "telugu": "\u0c00-\u0c7f",
    "kannada": "\u0c80-\u0cff",
    "malayalam": "\u0d00-\u0d7f",
    "sinhala": "\u0d80-\u0dff",
    "thai": "\u0e01-\u0e4e",
    "lao": "\u0e81-\u0edf",
    "burmese": "\u1000-\u109f",
    "khmer": "\u1780-\u17d3",
    "ethiopic": "\u1200-\u137c",
    "hangul": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3",
    "cjk": (
        "\u3005-\u3006\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
        "\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
    ),
}

_LANGUAGES = {
    "af": "afrikaans",
    "am": "amharic|አማርኛ",
    "ar": "arabic|العربية|عربي",
    "az": "azerbaijani|azərbaycan",
    "be": "belarusian|беларуская",
    "bg": "bulgarian|български",
    "bn": "bengali|bangla|বাংলা",
    "bs": "bosnian|bosanski",
    "ca": "catalan|català",
    "cs": "czech|čeština|česky",
    "cy": "welsh|cymraeg",
    "da": "danish|dansk",
    "de": "german|deutsch|deu|ger",
    "el": "greek|ελληνικά",
    "en": "english|eng",
    "es": "spanish|español|castellano|castilian|spa",
    "et": "estonian|eesti",
    "eu": "basque|euskara",
    "fa": "persian|farsi|فارسی",
    "fi": "finnish|suomi",
    "fr": "french|français|fra|fre",
    "ga": "irish|gaeilge",
    "gl": "galician|galego",
    "gu": "gujarati|ગુજરાતી",
    "he": "hebrew|עברית",
    "hi": "hindi|हिन्दी|हिंदी",
    "hr": "croatian|hrvatski",
    "hu": "hungarian|magyar",
    "hy": "armenian|հայերեն",
    "id": "indonesian|bahasa indonesia",
    "is": "icelandic|íslenska",
    "it": "italian|italiano|ita",
    "ja": "japanese|日本語|jpn",
    "jv": "javanese|basa jawa",
    "ka": "georgian|ქართული",
    "kk": "kazakh|қазақша|қазақ тілі",
    "km": "khmer|cambodian|ខ្មែរ",
    "kn": "kannada|ಕನ್ನಡ",
    "ko": "korean|한국어|kor",
    "la": "latin|latina",
    "lo": "lao|ລາວ",
    "lt": "lithuanian|lietuvių",
    "lv": "latvian|latviešu",
    "mk": "macedonian|македонски",
    "ml": "malayalam|മലയാളം",
    "mr": "marathi|मराठी",
    "ms": "malay|bahasa melayu",
    "my": "burmese|myanmar|မြန်မာ",
    "ne": "nepali|नेपाली",
    "nl": "dutch|nederlands|nld",
    "no": "norwegian|norsk|nb|nn|bokmål|nynorsk",
    "pa": "punjabi|ਪੰਜਾਬੀ",
    "pl": "polish|polski",
    "pt": "portuguese|português|brazilian portuguese|por",
    "ro": "romanian|română",
    "ru": "russian|русский|rus",
    "si": "sinhala|සිංහල",
    "sk": "slovak|slovenčina",
    "sl": "slovenian|slovene|slovenščina",
    "sq": "albanian|shqip",
    "sr": "serbian|српски|srpski",
    "sv": "swedish|svenska",
    "sw": "swahili|kiswahili",
    "ta": "tamil|தமிழ்",
    "te": "telugu|తెలుగు",
    "th": "thai|ไทย|ภาษาไทย",
    "tl": "tagalog|filipino",
    "tr": "turkish|türkçe",
    "uk": "ukrainian|українська",
    "ur": "urdu|اردو",
    "uz": "uzbek|oʻzbek|o'zbek|oʻzbekcha|ўзбек",
    "vi": "vietnamese|tiếng việt",
    "zh": "chinese|mandarin|中文|汉语|漢語|简体中文|繁體中文|simplified chinese|traditional chinese|zho|chi",
}
_SCRIPT_OF = {
    **dict.fromkeys(("be", "bg", "mk", "ru", "uk"), "cyrillic"),
    **dict.fromkeys(("ar", "fa", "ur"), "arabic"),
    **dict.fromkeys(("hi", "mr", "ne"), "devanagari"),
    **dict.fromkeys(("ja", "zh"), "cjk"),
    **{"el": "greek", "he": "hebrew", "hy": "armenian", "ka": "georgian", "bn": "bengali"},
    **{"gu": "gujarati", "ta": "tamil", "te": "telugu", "kn": "kannada", "ml": "malayalam", "si": "sinhala"},
    **{"th": "thai", "lo": "lao", "my": "burmese", "km": "khmer", "am": "ethiopic", "ko": "hangul"},
    **dict.fromkeys(("az", "bs", "jv", "kk", "ms", "pa", "sr", "uz"), ""),
}
"""Languages written in another script than Latin; "" for one that is written in several."""


@dataclass(frozen=True)
class _SeveralScripts:
    """Languages written in any of `scripts`, and those that the classifier is sure to see in the one it never saw."""

    languages: frozenset[str]
    scripts: frozenset[str]
    mistaken_for: frozenset[str]


_SEVERAL_SCRIPTS = (
    _SeveralScripts(frozenset({"sr", "bs", "hr"}), frozenset({"latin", "cyrillic"}), frozenset({"sl", "mk", "bg"})),
    _SeveralScripts(
        frozenset({"az", "kk", "ky", "ug", "uz"}),
        frozenset({"latin", "cyrillic", "arabic"}),
        frozenset({"ba", "crh", "tk", "tt"}),
    ),
    _SeveralScripts(frozenset({"pa"}), frozenset({"gurmukhi", "arabic"}), frozenset({"pnb", "skr", "ur"})),
    _SeveralScripts(frozenset({"jv", "ms"}), frozenset({"latin", "arabic"}), frozenset({"id"})),
)

# Languages that the classifier cannot tell apart in a sentence or two.
_ALIKE = (
    frozenset({"no", "nb", "nn", "da", "sv"}),
    frozenset({"hr", "bs", "sr", "sl", "mk", "bg"}),
    frozenset({"id", "ms", "jv"}),
    frozenset({"cs", "sk"}),
    frozenset({"pt", "gl", "es", "ca"}),
    frozenset({"nl", "af"}),
    frozenset({"hi", "mr", "ne"}),
    frozenset({"ru", "uk", "be", "bg", "mk"}),
)


def language_named(name: str) -> str | None:
    """The two-letter code of the language that `name` means ("German", "de", "de-AT", "日本語"); None if unknown."""
    return _codes().get(name.strip().casefold()) or _codes().get(re.split(r"[-_(]", name.strip().casefold())[0].strip())


def is_in_another_language(text: str, reference: str) -> bool:
    """Whether `text` is surely in a language other than that of `reference`; False where there is doubt."""
    script, other = _script(text), _script(reference)
    if script and other and script != other:
        return not _is_quoted(text, reference) and not _may_be_one_in_two_scripts(text, reference)
    if not script or not other or min(_letters(text), _letters(reference)) < _ENOUGH_LETTERS:
        return False
    if _share_words(text[:_READ], reference[:_READ]):
        return False
    if max(_guess(text[:_READ]).values()) < _SURE:
        return False
    wanted = _guess(reference[:_READ])
    code = max(wanted, key=wanted.__getitem__)
    return wanted[code] >= _SURE and _is_surely_not(text, code)


def is_not_in(text: str, code: str) -> bool:
    """Whether `text` is surely not in the language `code` (two letters); False where there is doubt."""
    script, wanted = _script(text), _SCRIPT_OF.get(code, "latin")
    if script and wanted and script != wanted:
        return True
    if not script or _letters(text) < _ENOUGH_LETTERS or not _is_surely_not(text, code):
        return False
    return not any(code in each.languages and _may_be_one_of(each, text, script) for each in _SEVERAL_SCRIPTS)


def surest_language(text: str) -> str | None:
    """The code of the language that `text` is in, None where it is short or the classifier is unsure."""
    if not _script(text) or _letters(text) < _ENOUGH_LETTERS:
        return None
    guess = _guess(text[:_READ])
    best = _best(text)
    return best if guess[best] >= _SURE else None


def _may_be_one_in_two_scripts(text: str, reference: str) -> bool:
    """Whether a language that is written in the scripts of both may be that of both, as Serbian may."""
    script, other = _script(text), _script(reference)
    return any(
        (_best(text) in each.languages or _best(reference) in each.languages)
        and _may_be_one_of(each, text, script)
        and _may_be_one_of(each, reference, other)
        for each in _SEVERAL_SCRIPTS
        if {script, other} <= each.scripts
    )


def _may_be_one_of(group: _SeveralScripts, text: str, script: str) -> bool:
    """Whether `text` may be in a language of `group`: the classifier says so, is unsure, or errs as it always does."""
    best = _best(text)
    is_known = best in group.languages | group.mistaken_for
    return script in group.scripts and (is_known or _guess(text[:_READ])[best] < _SURE)


def _best(text: str) -> str:
    """The code of the language that `text` is most likely in."""
    guess = _guess(text[:_READ])
    return max(guess, key=guess.__getitem__)


def _is_surely_not(text: str, code: str) -> bool:
    guess = _guess(text[:_READ])
    if code not in guess:
        return False
    best = _best(text)
    alike = any(best in group and code in group for group in _ALIKE)
    return guess[best] >= _SURE and guess[code] <= _RULED_OUT and not alike


def _share_words(text: str, reference: str) -> bool:
    """Whether much of `text` is made of words of `reference`: it takes a twentieth of the classifier's time."""
    words = set(text.casefold().split())
    shared = len(words.intersection(reference.casefold().split()))
    return shared >= _SHARED_WORDS and shared >= _SHARED_PART * len(words)


def _is_quoted(text: str, reference: str) -> bool:
    """Whether the words of `text` stand in `reference`: a product's name is in no language."""
    words = re.findall(r"\w+", text.casefold())
    held = reference.casefold()
    return sum(word in held for word in words) * 2 >= len(words)


def _script(text: str) -> str:
    """The script of four letters in five of `text`; "" where there are few letters or several scripts."""
    counts = _script_counts(text[:_READ])
    if not counts:
        return ""
    script = max(counts, key=counts.__getitem__)
    enough = counts[script] >= _FEW_LETTERS.get(script, _FEW_LETTERS_OF_OTHERS)
    return script if enough and counts[script] >= 0.8 * sum(counts.values()) else ""


def _letters(text: str) -> int:
    """Letters of `text`; one of a script that writes a syllable or a word in a sign counts for three."""
    counts = _script_counts(text[:_READ])
    return sum(count * (3 if script in ("cjk", "hangul") else 1) for script, count in counts.items())


@lru_cache(maxsize=512)
def _script_counts(text: str) -> Mapping[str, int]:
    if text.isascii():
        letters = len(text.translate(_NO_ASCII_LETTERS))
        return {"latin": letters} if letters else {}
    counts: dict[str, int] = {}
    for match in _script_runs().finditer(text):
        script = str(match.lastgroup)
        counts[script] = counts.get(script, 0) + match.end() - match.start()
    return counts


_NO_ASCII_LETTERS = {code: None for code in range(128) if not chr(code).isalpha()}


@cache
def _script_runs() -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<{name}>[{letters}]+)" for name, letters in _SCRIPTS.items()))


@cache
def _codes() -> Mapping[str, str]:
    names = {name: code for code, names in _LANGUAGES.items() for name in names.split("|")}
    return {**names, **{code: code for code in _LANGUAGES}}


@lru_cache(maxsize=512)
def _guess(text: str) -> Mapping[str, float]:
    """The probability of each language, by code."""
    return dict(_identifier().rank(text))


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
