"""Is a text a refusal, an excuse or a question back, rather than an answer?

A sentence somebody meant may start the same way ("I'm sorry, but I can't come."), so a refusal must
name what only an assistant would: its nature, a request, or the text that it was to write.
"""

from __future__ import annotations

import re

_LOOKED_AT = 400
"""A refusal starts within the first characters; whatever follows, the answer is spoilt."""

_START = r"(?:^|[.!?;:,\n。，！])[\s\"'*]*(?:(?:but|however|that|and|for|as|then|please note)\b,? )*"
_SORRY = r"\b(?:sorry|afraid|apologi[sz]e|apologies|unfortunately|regrettably)\b"
_CANNOT = (
    r"(?:i|we)(?:['’]m| am| are)? (?:currently |simply |really |just )?"
    r"(?:cannot|can['’]?t|can not|unable to|not able to|don['’]t have the \w+ to|won['’]t|will not|will be unable to"
    r"|not comfortable"
    r"|must decline|(?:have|need) to decline|not (?:allowed|permitted|programmed|designed) to)"
)
_LACK = (
    r"(?:i|we) (?:currently )?(?:do not|don['’]t) (?:currently )?have (?:(?:direct|real[- ]time|any) )*"
    r"(?:access to|the (?:ability|capability|capacity) to|browsing|enough (?:information|context)|information about)"
)
_SERVE = (
    r"(?:fulfil\w*|comply|assist|help|provide|generate|create|produce|write|re-?write|paraphrase|re-?phrase"
    r"|summari[sz]e"
    r"|translate|answer|respond|process|complete|continue|perform|browse|retrieve|discuss|discover|engage|correct"
    r"|offer|share|access|fetch|search|do)"
)
_TASK = (
    r"(?:requests?|prompts?|instructions?|(?:search )?quer(?:y|ies)|paraphrases?|(?:hard )?negatives?|"
    r"(?:that|the|this|your|provided|given) (?:sentence|text|passage|document|content|material|task|conversation|topic)"
    r"|your (?:question|spelling)|(?:explicit|sexual|harmful|offensive|hateful|inappropriate|illegal|such"
    r"|this kind of|this type of) \w+"
    r"|the internet|real[- ]time|external (?:web)?sites|URLs|a response|an answer to)"
)
_MODEL = (
    r"(?:ai|artificial intelligence)(?: language)?(?: model| assistant| system| chatbot| program)?"
    r"|(?:large |text-based )?language model|virtual assistant|chat ?bot|(?:responsible|ethical"
    r"|helpful)[\w ]{0,24} assistant"
)
_ABOUT_ME = r"(?: (?:developed|created|trained|designed|made|without|called|named)\b[^,.]{0,50})?"

_ENGLISH = (
    rf"{_START}as an? (?:{_MODEL}){_ABOUT_ME},? (?:i\b|i['’]m|it is|my\b)",
    rf"{_START}(?:i am|i['’]m) (?:just |only |merely )?an? (?:{_MODEL}){_ABOUT_ME}(?:[.,]| and| so| that| which)",
    rf"{_SORRY}[^.!?\n]{{0,60}}\b(?:{_CANNOT}) (?:directly )?{_SERVE}\b(?! (?:you|him|her|them|us|it"
    rf"|my)\b(?! with (?:that|this|your)))",
    rf"{_START}(?:{_CANNOT}) (?:(?:directly|actually|automatically) )?[\"“]?{_SERVE}\b[^.!?\n]{{0,60}}?\b{_TASK}",
    rf"{_SORRY}[^.!?\n]{{0,80}}\b(?:{_LACK})",
    rf"{_START}(?:{_LACK})[^.!?\n]{{0,60}}\b{_TASK}",
    rf"{_START}(?:i (?:do not|don['’]t) understand|i['’]m (?:not sure (?:i|what you)|having trouble)"
    rf"|i am not sure)[^.!?\n]{{0,40}}"
    r"\b(?:your (?:request|question|query|prompt|instructions?)|(?:the|this) (?:request|prompt|task))\b",
    r"\b(?:please|could you|can you|kindly)(?: please)? (?:provide|share|give|specify|paste|supply"
    r"|send)(?: me)?(?: with)? "
    r"(?:the|a|your|more|some|any)\b[^.!?\n]{0,60}?(?:\bme to\b|so (?:that )?i can|and i(?:['’]ll| will| can)"
    r"|you(?:['’]d| would)? (?:like|want)"
    r"|to (?:paraphrase|rewrite|rephrase))",
    rf"{_START}(?:it (?:seems|looks|appears)(?: like| that)?[^.!?\n]{{0,20}} )?(?:you|there)(?:['’]ve| have| was| is)? "
    r"(?:haven['’]t|have not|didn['’]t|did not|not|no) (?:yet )?(?:provided?|included?|given|shared?|text|sentence"
    r"|passage|document)\b",
    rf"{_START}(?:the|this|your) (?:document|text|passage|input)(?: you)?(?: has| have)?(?: been)? (?:provided|gave"
    rf"|supplied|shared) "
    r"(?:does not|doesn['’]t|is (?:empty|blank|incomplete|too short)|appears to be|seems to be|only contains)",
    r"\b(?:against|violat\w+) (?:my|our|the|openai['’]s) (?:content |usage |safety )?(?:policy|policies|guidelines"
    r"|programming)",
    rf"{_SORRY}[^.!?\n]{{0,20}}\bthe (?:statement|sentence|text|passage|query)\b",
    r"\bprovide me with (?:your|the) (?:search term|text|sentence|word|passage)\b|\bhelpful, respectful,? and honest\b",
    rf"{_START}i must (?:inform you|politely point out|point out) that",
)
_OTHERS = (
    r"^\W*als (?:eine? )?(?:ki\b|künstliche intelligenz|(?:großes )?(?:ki-)?sprachmodell)",
    r"(?:tut mir leid|entschuldigung|leider)\b[^.!?\n]{0,40}\bkann ich|(?:tut mir leid"
    r"|entschuldigung),? (?:aber )?ich kann"
    r"[^.!?\n]{0,80}\b(?:erstellen|generieren|liefern|anbieten|beantworten|erfüllen|bereitstellen|umformulieren"
    r"|dabei(?: nicht)? helfen)",
    r"^\W*en tant qu(?:e |['’])(?:ia\b|intelligence artificielle|(?:grand )?modèle de langage|assistant)",
    r"désolée?,? (?:mais )?je ne (?:peux|suis)[^.!?\n]{0,40}\b(?:fournir|générer|créer|répondre à (?:cette|votre)"
    r"|reformuler|satisfaire|aider avec)",
    r"^\W*como (?:un )?(?:modelo de (?:lenguaje|linguagem)|ia\b|inteligencia artificial|inteligência artificial)",
    r"lo siento,? (?:pero )?no puedo (?:proporcionar|generar|crear|responder a|cumplir|ayudarte con|ayudar con)",
    r"(?:sinto muito|desculpe|lamento),? (?:mas )?(?:eu )?não (?:posso|consigo) (?:fornecer|gerar|criar|atender"
    r"|responder a|ajudar com)",
    r"^\W*(?:come|in quanto) (?:modello linguistico|ia\b|intelligenza artificiale)",
    r"mi dispiace,? ma non (?:posso|sono in grado di) (?:fornir|gener|crear|soddisfar|rispondere a quest|aiutarti con)",
    r"^\W*als (?:een )?(?:ai\b|taalmodel)",
    r"^\W*(?:я —? ?|как )(?:большая )?(?:языковая модель|ии\b|искусственный интеллект)",
    r"(?:извините|к сожалению|простите)[,.]? (?:но )?я не могу (?:предоставить|создать|сгенерировать|выполнить"
    r"|ответить на этот|помочь с)",
    r"^\W*(?:作为|我是)(?:一个|一名|一款)?(?:ai|人工智能|大?型?语言模型)",
    r"(?:抱歉|对不起|很遗憾|不好意思)[，,。]?\s*(?:但是?)?我?.{0,6}(?:无法|不能)(?:提供|协助|生成|回答|完成|满足|处理|为您|为你|继续|给出)",
    r"申し訳(?:ありません|ございません|ないです)(?:が|、|。).{0,40}(?:生成|お答え|対応|提供|作成|要求|リクエスト)",
    r"^\W*(?:私は)?(?:ai|言語モデル|人工知能)(?:として|である|なので|ですので)",
    r"죄송(?:합니다|하지만).{0,60}(?:생성|제공|도와|답변|요청).{0,12}(?:수 없|어렵)",
    r"(?:عذر[اًا]+|آسف|أعتذر)[،,]? ?(?:ولكن |لكن )?(?:لا (?:أستطيع|يمكنني)) (?:تقديم|إنشاء|تلبية|المساعدة في)",
    r"xin lỗi,? (?:nhưng )?tôi không thể (?:cung cấp|tạo|giúp bạn với|trả lời)",
    r"üzgünüm,? (?:ancak |ama )?(?:bu )?(?:isteği|talebi|talebinizi|isteğinizi)",
)
_REFUSAL = re.compile("|".join(f"(?:{pattern})" for pattern in (*_ENGLISH, *_OTHERS)), re.IGNORECASE)


# A refusal in Latin letters has one of these words; looking for them takes a twentieth of the time.
_SIGNS = (
    "i im ive we you youve my there please kindly provide provided gave supplied shared ai bot chatbot "
    "model assistant sorry afraid apologize apologise apologies unfortunately regrettably policy policies "
    "guidelines programming ich ki sprachmodell künstliche je ia intelligence siento modelo modello "
    "inteligencia inteligência lamento desculpe muito dispiace intelligenza taalmodel üzgünüm"
)
_SIGN_WORDS = frozenset(_SIGNS.split())
_PUNCTUATION = {ord(mark): None for mark in "'’"} | {ord(mark): " " for mark in '.,;:!?"“”„«»()[]{}*_-–—…/‘·•→'}
_LAST_LATIN = "\u024f"


def is_refusal(text: str) -> bool:
    """Whether `text` opens by declining, excusing itself or asking back instead of answering."""
    opening = text[:_LOOKED_AT]
    words = opening.translate(_PUNCTUATION).lower()
    if words and max(words) <= _LAST_LATIN and _SIGN_WORDS.isdisjoint(words.split()):
        return False
    return _REFUSAL.search(opening) is not None
