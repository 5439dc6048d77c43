"""What models write around their answer: thoughts, courtesies, notes, quotation marks; and refusals.

The patterns are habits seen in real replies, English first. Each is held to what a sentence that
somebody meant could not easily be: "I cannot swim." is an answer, "I cannot fulfil this request." is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_FLAGS = re.IGNORECASE | re.DOTALL

_LOOKED_AT = 600
"""Characters in which a preamble stands: the patterns try many ways, which a long line would multiply."""
_MOST_ROUNDS = 8
"""Layers that are taken off: quotes in bold under a heading are three, a thousand are no answer."""

# Thoughts ---------------------------------------------------------------------------------------

_TAG = r"(?:think(?:ing)?|thought|reasoning|reflection|analysis|scratchpad|seed:think)"
_THOUGHT_TAG = re.compile(
    rf"(?P<start><{_TAG}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel>thought)"
    rf"|</{_TAG}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<channel\|>",
    _FLAGS,
)
_HARMONY = re.compile(
    r"<\|channel\|>\s*+(\w++)[^<]*+<\|message\|>(.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)", _FLAGS
)
_ANSWER_TAG = re.compile(
    r"\s*(?:<(answer|output|response|result|final)>(.*?)</\1>"
    r"|<\|begin_of_solution\|>(.*?)(?:<\|end_of_solution\|>|\Z))\s*",
    _FLAGS,
)
# A turn that the model went on to write for the user, and the marks of a turn's end.
_TURN_END = re.compile(
    r"<\|(?:im_end|eot_id|end_of_text|endoftext|end|eom_id|return)\|>|</s>|<end_of_turn>|<\|im_start\|>"
    r"|(?:^|(?<=[\n.!?\"]))[^\S\n]*+###? ?(?:Human|User|Instruction|Input|Assistant)\s*:.*"
    r"|(?<=\n)(?:Human|USER)\s*:.*",
    re.DOTALL,
)


def without_thinking(text: str) -> tuple[str, list[str], bool]:
    """The text after the model's thoughts, the repairs that took, and whether the thoughts never ended."""
    repairs: list[str] = []
    if "<|channel|>" in text:
        parts = _HARMONY.findall(text)
        final = [body for channel, body in parts if channel.casefold() == "final"]
        return (final[-1] if final else "").strip(), ["channel tags"], bool(parts) and not final
    kept, is_open = _outside_thoughts(text)
    if len(kept) < len(text):
        repairs.append("think block")
    if answer := _ANSWER_TAG.fullmatch(kept):
        kept = answer[2] or answer[3] or ""
        repairs.append("answer tag")
    if turn := _TURN_END.search(kept):
        kept = kept[: turn.start()]
        repairs.append("text after the turn")
    return kept.strip(), repairs, is_open


def _outside_thoughts(text: str) -> tuple[str, bool]:
    """`text` without its thoughts, and whether it opens with one that never ends, whose text is then all there is.

    An end without a start closes all that came before: the template of some models opens the block itself.
    """
    tags = list(_THOUGHT_TAG.finditer(text))
    last_end = max((place for place, tag in enumerate(tags) if tag["start"] is None), default=-1)
    kept, at, is_inside = "", 0, False
    for place, tag in enumerate(tags):
        if tag["start"] is None:
            kept, at, is_inside = kept if is_inside else "", tag.end(), False
        elif not is_inside and place < last_end:
            kept, is_inside = kept + text[at : tag.start()], True
    if last_end + 1 < len(tags) and not text[at : tags[last_end + 1].start()].strip():
        return text[tags[-1].end() :], True
    return kept + text[at:], False


# Courtesies -------------------------------------------------------------------------------------

_MADE = (
    r"\b(?:versions?|renditions?|re-?writ\w+|re-?wrote|re-?phras\w+|paraphras\w+|re-?word\w*|reformulat\w+|simplif\w+"
    r"|simpler|clearer|concise|correct\w*|revis\w+|refined|translat\w+|summar\w+|modified|improved|generated|attempt"
    r"|alternatives?|transform\w*|chang(?:ed?|ing)|synthesi[sz]\w+|quer(?:y|ies)|hard negative|ambigu\w+)\b"
)
_THING = (
    r"\b(?:sentences?|texts?|statements?|passages?|paragraphs?|questions?|answers?|responses?|outputs?|results?"
    r"|documents?|negatives?|positives?|examples?|suggestions?|options?|ways?|JSON|synonyms?|list|titles?)\b"
)
_YES = (
    r"(?:sure(?: thing)?|certainly|of course|absolutely|got it|understood|great|okay|ok|alright|no problem"
    r"|natürlich|gerne|bien sûr|claro|por supuesto|certo|naturalmente|конечно"
    r"|好的|当然(?:可以)?|没问题|はい|もちろんです?|물론(?:입니다|이죠)?)"
)
_HERE = (
    r"(?:here(?:['’]s| is| are| you go| you are)|this is|below (?:is|are)|the following (?:is|are)|(?:i|we)(?:['’]ve"
    r"| have)? \w{1,20}\b"
    r"|hier (?:ist|sind)|voici|voilà|aquí (?:está|tienes|tiene)|este es|ecco|aqui está|вот"
    r"|以下是|这是|下面是|以下は|こちら(?:は|が)|다음은)"
)
_LEAD = r"(?:[^\n:]{0,240}?[.!！。,，][^\S\n]*)?"
_NOT_NOTES = r"(?![^\n:]{0,200}\b(?:breakdown|explanations?|changes|why|corrections made|errors)\b(?! corrected))"
_OPENERS = (
    # "Sure! Here is a simplified version of the text:"
    re.compile(
        rf"(?:{_YES}[^\w\n]*\s*)?{_LEAD}{_HERE}{_NOT_NOTES}(?=[^\n:：]{{0,200}}(?:{_MADE}))[^\n:：]{{0,200}}[:：]\s*",
        _FLAGS,
    ),
    # "Here are some synonyms:" and a line end
    re.compile(
        rf"(?:{_YES}[^\w\n]*\s*)?{_LEAD}{_HERE}{_NOT_NOTES}(?=[^\n:：]{{0,200}}(?:{_THING}))[^\n:：]{{0,200}}[:：]\**[^\S\n]*\n\s*",
        _FLAGS,
    ),
    # The other languages: "以下是改写后的句子：", "Voici la phrase :" and a line end
    re.compile(
        rf"(?:{_YES}[^\w\n]*\s*)?(?:hier (?:ist|sind)|voici|aquí|ecco|aqui|вот|以下是|这是|下面是|以下は|こちら|다음은)"
        rf"[^\n:：]{{0,120}}[:：][^\S\n]*\n\s*",
        _FLAGS,
    ),
    # "The corrected text is:", "The sentence can be rewritten as follows:" and a line end
    re.compile(rf"(?=[^\n:]{{0,240}}{_MADE})[^\n:]{{1,240}}:\**[^\S\n]*\n\s*", _FLAGS),
    re.compile(
        rf"the (?=[^\n:]{{0,60}}{_MADE})[^\n:]{{0,120}}\b(?:is|reads|would be|should read"
        rf"|should be)(?: as follows)?:\s*",
        _FLAGS,
    ),
    re.compile(
        r"(?:the|it) (?:\w+ )?(?:sentence|text|statement)? ?(?:should|would|could) (?:now )?(?:be"
        r"|read)[^\n:]{0,40}:\s*",
        _FLAGS,
    ),
    # 'The statement can be simplified as: "..."' and nothing else
    re.compile(
        rf"(?=[^\n:]{{0,240}}{_MADE})[^\n:]{{1,240}}:[^\S\n]*(?=([\"'])[^\n\"]{{0,300}}\1\Z|“[^\n”]{{0,300}}”\Z)",
        _FLAGS,
    ),
    # "Sure, I can help with that!" on a line of its own
    re.compile(rf"{_YES}\b[^\n:]{{0,140}}[!.:,！。：，]?[^\S\n]*\n\s*(?=\S)", _FLAGS),
)
_LABEL_WORDS = (
    r"(?:(?:re-?written|paraphrased?|re-?phrased|revised|corrected|simplified|academic|generated|final"
    r"|synthesi[sz]ed|new|my) ?)?"
    r"(?:sentence|text|version|response|answer|output|paraphrase|re-?write|rewritten|paraphrased|revised|corrected"
    r"|simplified"
    r"|query|search query|hard negative|explanation|translation|result|umformulierung|reformulation"
    r"|paráfrasis|改写|答案|回答)"
)
_LABEL = re.compile(rf"(?:#+\s*|\*\*|__)?{_LABEL_WORDS}\s?(?:\*\*|__)?\s*[:：](?:\*\*|__)?\s*", _FLAGS)

# The openers of a field, where headings are no fault: who speaks, or "here is", and the thing that was to be written.
_WRITTEN = (
    r"(?:search quer(?:y|ies)|quer(?:y|ies)|hard[- ]negatives?|paraphrases?|re-?writ\w+|re-?phras\w+|reformulations?"
    r"|(?:translated|simplified|revised|corrected|generated|improved|academic) \w+|versions?|translations?"
    r"|(?:sentence|text|passage|question|answer|response|JSON)(?= (?:that|for|you|in|based|about|of)\b|\W{0,4}[:：]))"
)
_WRITTEN_ABROAD = (
    r"(?:such)?anfragen?|umformulierungen?|übersetzungen?|satz|requêtes?|reformulations?|traductions?|phrase"
    r"|consultas?|pregunta|traducción|frase|tradução|запрос\w*|перевод\w*|предложени\w+|вариант\w*"
    r"|查询|問題|问题|改写|句子|翻译|回答|答案|クエリ|質問|言い換え|翻訳|文章|쿼리|질문|문장|번역"
)
_DID = (
    r"(?:wrote|written|re-?wrote|re-?written|generated|created|made|prepared|produced|drafted|translated|simplified"
    r"|paraphrased|rephrased|reworded|came up with|come up with)"
)
_ANNOUNCED = re.compile(
    rf"(?:{_YES}\s?[!.,:，！。：]+\s*)?(?:"
    rf"(?:here(?:['’]s| is| are)|below (?:is|are))\b[^\n:：]{{0,100}}?\b{_WRITTEN}[^\n:：]{{0,100}}[:：]"
    rf"|(?:i|we)(?:['’]ve| have)? {_DID}\b[^\n:：]{{0,60}}?\b{_WRITTEN}[^\n:：]{{0,100}}[:：]"
    r"|(?:hier (?:ist|sind)|voici|aquí (?:está|tienes|tiene)|ecco|aqui está|вот"
    r"|以下是|下面是|以下は|こちら[はが]|다음은)"
    rf"[^\n:：]{{0,60}}?(?:{_WRITTEN_ABROAD})[^\n:：]{{0,60}}[:：])"
    rf"|{_YES}\s?[!.,:，！。：]+[^\S\n]*\n"
    rf"|{_YES}\s?[!.,，！。]+\s*i(?:['’]d be| would be|['’]m| am|['’]ll| will| can)\b[^\n:]{{0,60}}"
    r"\b(?:help|happy|glad)\b",
    _FLAGS,
)

_NOTE = "|".join(
    (
        r"(?:please )?note(?: that\b|:)",
        r"(?:key |spelling )?(?:explanations?|corrections?|changes|reasoning)(?: made| of \w+)?(?:\*\*)?:",
        r"corrected (?:spelling|grammar|(?:\w+ )?errors)",
        r"here(?:['’]s| is| are) (?:(?:a|the|my|some) )?(?:breakdown|explanations?|why|changes|corrections|how)\b",
        r"in this (?:version|revised|re-?writ|re-?phras|paraphras|simplified)",
        r"this (?:revised|corrected|synthesized|re-?writ\w+|version|revision|re-?phras\w+|paraphras\w+|simplified)\b",
        r"this (?:sentence|text) has been",
        r"i (?:made|changed|corrected|replaced|re-?wrote|simplified|removed) (?:the|some|a|\")",
        r"i(?:['’]ve| have) (?:made|changed|corrected|replaced|rewritten|simplified|used|removed|kept)",
        r"i hope (?:this|that|these|it)|would you like me to|is there anything|feel free to (?:ask|let me know if)",
        r"let me know if (?:this|there|you(?:['’]d| would)? (?:like|need|want|have any (?:other|further|more)))",
        r"if you (?:need|want|would like) (?:any|me to|more)",
        r"(?:the )?original (?:text|sentence|version)[^\n:]{0,20}:|the (?:changes|corrections|spelling errors)\b",
        r"by (?:using|replacing|changing) (?:the (?:word|term|phrase)|[\"“'])",
        r"(?:word|token) count",
    )
)
_TAIL = re.compile(rf"\n[^\S\n]*+(?:[(\[*_#>-]{{1,4}}[^\S\n]*+)?(?:{_NOTE}).*", _FLAGS)
_BRACKETED_TAIL = re.compile(
    r"[(\[](?:note|corrected|simplified|explanation|word count)\b[^()]{0,300}[)\]]\s*\Z"
    r"|\n[^\S\n]*+\n[^\S\n]*+\((?:in|i|the|this)\b[^()]{20,600}\)\s*\Z",
    _FLAGS,
)

_FENCE = re.compile(r"\s*```[\w-]*[^\S\n]*\n?(.*?)(?:```\s*|\Z)", re.DOTALL)
_PAIRS = {'"': '"', "“": "”", "„": "“", "«": "»", "「": "」", "『": "』", "'": "'", "‘": "’", "`": "`"}
_BOLD = re.compile(r"(\*\*|__)(?!\s)([^*_\n]+)\1")


def without_chatter(text: str) -> tuple[str, list[str]]:
    """The answer inside `text`, and the names of what was taken away from around it."""
    repairs: list[str] = []
    text = text.strip()
    for _ in range(_MOST_ROUNDS):
        before = text
        for repair, strip in _STRIPS.items():
            shorter = strip(text).strip()
            if shorter and shorter != text:
                text = shorter
                repairs.append(repair)
        if text == before:
            break
    return text, list(dict.fromkeys(repairs))


def preamble_length(text: str) -> int:
    """How many characters of `text` announce the answer ("Sure! Here is the query: ..."); 0 for none."""
    if not any(mark in text for mark in ":：\n"):
        return 0
    opening = text[:_LOOKED_AT]
    for pattern in (*_OPENERS, _LABEL):
        if match := pattern.match(opening):
            return match.end()
    return 0


def is_announced(text: str, field: str) -> bool:
    """Whether `text`, the value of `field` in a reply's JSON, opens by announcing itself.

    It says "Here is the query: ...", "Sure!" on a line of its own, or the field's name before a colon. Less than
    that is a heading, which a passage may well have: "Translation: Homer's Iliad was put into English ...".
    """
    opening = text[:_LOOKED_AT].lstrip()
    name = _LABEL.match(opening)
    if name and re.sub(r"[\W_]+", "", name[0]).casefold().endswith(re.sub(r"[\W_]+", "", field).casefold()):
        return True
    return _ANNOUNCED.match(opening) is not None


def _without_fence(text: str) -> str:
    match = _FENCE.fullmatch(text)
    return match[1] if match and "```" not in match[1] else text


def _without_preamble(text: str) -> str:
    return text[preamble_length(text) :]


def _without_tail(text: str) -> str:
    return _BRACKETED_TAIL.sub("", _TAIL.sub("", text))


def _first_of_quoted(text: str) -> str:
    """The first paragraph, where it alone is in quotation marks and the rest is talk about it."""
    first, *rest = re.split(r"\n[^\S\n]*\n", text)
    if not rest or _without_quotes(first.strip()) == first.strip() or has_several_answers(text):
        return text
    return text if any(part.strip()[:1] in _PAIRS for part in rest) else first


def _without_quotes(text: str) -> str:
    closer = _PAIRS.get(text[:1])
    inside = text[1:-1]
    is_wrapped = closer and len(text) > 2 and text[-1] == closer and text[0] not in inside and closer not in inside
    if closer in ("'", "’") and is_wrapped is False and len(text) > 2 and text[-1] == closer:
        # An apostrophe inside is no closing quote.
        is_wrapped = not re.search(r"(?<!\w)['’‘]|['’](?!\w)", inside)
    return inside if is_wrapped else text


def _without_emphasis(text: str) -> str:
    match = _BOLD.fullmatch(text)
    return match[2] if match else text


_STRIPS: dict[str, Callable[[str], str]] = {
    "code fence": _without_fence,
    "preamble": _without_preamble,
    "text after the answer": _without_tail,
    "text after the quoted answer": _first_of_quoted,
    "wrapping quotes": _without_quotes,
    "emphasis": _without_emphasis,
}

# Several answers --------------------------------------------------------------------------------

_NUMBERED = re.compile(r"[^\S\n]*+(?:\*\*|#++ )?\(?\d{1,2}[.):]\)?(?:\*\*)?\s+\S")
_OPTION = re.compile(
    r"(?:^|\n)[^\S\n]*+(?:\*\*|#++ ?+|[-*] )*+(?:option|version|alternative|paraphrase|rewrite|variant|variante|versión"
    r"|选项|版本)"
    r" ?(?:[1-3]|[a-c]|one|two)\b",
    re.IGNORECASE,
)
_OR = re.compile(
    r"\n[^\S\n]*+[*_(]{0,4}(?:or|alternatively|another (?:option|way"
    r"|version))\b[^\n:]{0,80}?(?:[:)*_]{0,4}[^\S\n]*+\n|:?[^\S\n]*+[\"“])"
    r"|\n[^\S\n]*+(?:\*\*|#++ )?(?:re-?write|re-?written|paraphrased?|re-?phrased|revised|corrected?|simplified)"
    r"(?: (?:sentence|text|version))?(?: should be)?(?:\*\*)?:",
    re.IGNORECASE,
)
_BULLET = re.compile(r"[^\S\n]*+[-*•+] ++\S")


def has_several_answers(text: str) -> bool:
    """Whether `text` is a list of answers, or offers options: "1. ... 2. ...", "Option A: ...", "... Or: ..."."""
    if len(_OPTION.findall(text)) > 1 or _OR.search(text):
        return True
    lines = [line for line in text.split("\n") if line.strip()]
    for kind in (_NUMBERED, _BULLET):
        items = [place for place, line in enumerate(lines) if kind.match(line)]
        if len(items) > 1 and (items[0] == 0 or lines[items[0] - 1].rstrip().endswith((":", "：", "*"))):
            return True
    return False
