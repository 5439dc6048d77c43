"""Is a text a refusal, an excuse or a question back, rather than an answer?

A sentence somebody meant may start the same way ("I'm sorry, but I can't come."), so a refusal must
name what only an assistant would: its nature, a request, or the text that it was to write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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


def _declined(sorry: str, task: str, verb: str) -> str:
    """Sorry, cannot, what was asked and what to do with it: the last two in either order, in one sentence."""
    here = r"[^.!?。！？\n]{0,120}"
    return rf"(?:{sorry})(?={here}(?:{task}))(?={here}(?:{verb}))"


_SENTENCE = r"[^.!?。！？\n]{0,80}"
_OTHERS = (
    r"\bals (?:eine? )?(?:ki\b|künstliche intelligenz|(?:großes )?(?:ki-)?sprachmodell)[^.!?\n]{0,40}"
    r"\b(?:kann|darf|habe|bin) ich\b",
    _declined(
        r"\b(?:tut mir leid|entschuldigung|leider|bedaure)\b[^.!?\n]{0,40}\b(?:kann ich|ich kann)\b",
        r"\b(?:anfrage|suchanfrage|aufforderung|anweisung|aufgabe|umformulierung|dabei"
        r"|(?:dies|gegeben|angegeben)\w* (?:anfrage|text\w*|satz\w*|dokument\w*|frage|inhalt\w*))\b",
        r"\b(?:erstellen|generieren|liefern|anbieten|beantworten|erfüllen|bereitstellen|umformulieren|schreiben|helfen)\b",
    ),
    rf"\ben tant qu(?:e |['’])(?:ia\b|intelligence artificielle|(?:grand )?modèle de langage|assistant){_SENTENCE}"
    r"\bje (?:ne|n['’]ai|suis)\b",
    _declined(
        r"\bdésolée?,? (?:mais )?je ne (?:peux|suis)\b",
        r"\b(?:cett?e|ce|votre) (?:demande|requête|question|phrase|texte|document|passage|contenu|consigne)\b",
        r"\b(?:fournir|générer|créer|écrire|répondre|reformuler|traduire|satisfaire|traiter|aider)\b",
    ),
    rf"\bcomo (?:un |uma? )?(?:modelo de (?:lenguaje|linguagem)|ia\b|inteligencia artificial|inteligência artificial)"
    rf"{_SENTENCE}\b(?:no (?:puedo|tengo|soy)|não (?:posso|tenho|sou))\b",
    _declined(
        r"\b(?:lo siento|lamento),? (?:pero )?no puedo\b",
        r"\b(?:est[ea]|es[ea]|tu|su) (?:solicitud|petición|consulta|pregunta|texto|documento|pasaje|frase|contenido)"
        r"\b|\bcon eso\b",
        r"\b(?:proporcionar|generar|crear|escribir|responder|cumplir|reformular|traducir|ayudar\w*)\b",
    ),
    _declined(
        r"\b(?:sinto muito|desculpe|lamento),? (?:mas )?(?:eu )?não (?:posso|consigo)\b",
        r"\b(?:est[ea]|ess[ea]|sua?) (?:solicitação|pedido|consulta|pergunta|texto|documento|frase|conteúdo)"
        r"\b|\bcom isso\b",
        r"\b(?:fornecer|gerar|criar|escrever|responder|atender|reformular|traduzir|ajudar)\b",
    ),
    rf"\b(?:come|in quanto) (?:modello linguistico|ia\b|intelligenza artificiale){_SENTENCE}\bnon (?:posso|ho|sono)\b",
    _declined(
        r"\bmi dispiace,? ma non (?:posso|sono in grado di)\b",
        r"\b(?:quest[ao]|tu[ao]|su[ao]) (?:richiesta|domanda|testo|documento|frase|contenuto)\b|\bcon questo\b",
        r"\b(?:forni\w+|gener\w+|crea\w+|scriver\w+|soddisfa\w+|risponder\w+|riformula\w+|aiuta\w+)\b",
    ),
    r"\bals (?:een )?(?:ai|ai-)?(?:taalmodel|ai)\b[^.!?\n]{0,40}\b(?:kan|heb|ben) ik\b",
    rf"(?:\bкак |^\W*я — ?)(?:большая )?(?:языковая модель|ии\b|искусственный интеллект){_SENTENCE}"
    r"\bне (?:могу|имею)\b",
    _declined(
        r"\b(?:извините|к сожалению|простите)[,.]? (?:но )?я не могу\b",
        r"\b(?:этот|этого|эту|ваш|вашу|данный|данную) (?:запрос|вопрос|просьбу|текст\w*|документ\w*|предложение)"
        r"|\bс этим\b",
        r"\b(?:предоставить|создать|сгенерировать|написать|выполнить|ответить|перевести|помочь)\b",
    ),
    r"(?:作为|我是)(?:一个|一名|一款)?(?:ai|人工智能)?(?:大?型?语言模型|助手|人工智能|ai)[^。！？\n]{0,30}?我?(?:无法|不能|没有)",
    _declined(
        r"(?:抱歉|对不起|很遗憾|不好意思)[，,。]?\s*(?:但是?)?我?.{0,6}(?:无法|不能)",
        r"请求|要求|任务|查询|[该此]类?(?:内容|文本|文档|段落|句子|信息|问题)|这个问题|您的问题|你的问题|改写|为您|为你",
        r"提供|协助|生成|回答|完成|满足|处理|继续|给出|改写|翻译",
    ),
    _declined(
        r"申し訳(?:ありません|ございません|ないです)(?:が|、|。)",
        r"リクエスト|要求|要望|ご?質問|クエリ|この(?:文|テキスト|内容)|その(?:文|テキスト|内容)|コンテンツ",
        r"(?:でき|出来|いたし|致し)(?:ません|かね)",
    ),
    r"(?:ai|言語モデル|人工知能)(?:として|である|なので|ですので)[^。！？\n]{0,40}(?:できません|出来ません|かねます)",
    _declined(
        r"죄송(?:합니다|하지만)",
        r"요청|질문|콘텐츠|내용|쿼리|문서|텍스트|문장",
        r"(?:생성|제공|도와|답변|처리).{0,12}(?:수 없|어렵)",
    ),
    _declined(
        r"(?:عذر[اًا]+|آسف|أعتذر)[،,]? ?(?:ولكن |لكن )?(?:لا (?:أستطيع|يمكنني))",
        r"(?:هذا|هذه) (?:الطلب|المحتوى|النص|السؤال|المهمة)|طلبك|في ذلك",
        r"تقديم|إنشاء|تلبية|المساعدة|كتابة|الإجابة",
    ),
    _declined(
        r"\bxin lỗi,? (?:nhưng )?tôi không thể",
        r"yêu cầu|câu hỏi này|nội dung này|văn bản này|điều đó|việc này",
        r"cung cấp|tạo|giúp|trả lời|thực hiện|đáp ứng",
    ),
    r"\büzgünüm,? (?:ancak |ama )?(?:bu )?(?:isteği|talebi|talebinizi|isteğinizi)[^.!?\n]{0,60}"
    r"(?:yerine getirem|karşılayam|yanıtlayam|yapamam)",
)


# In a field of a reply that is otherwise as it should be, one sign is not enough: people look up and write
# "I can't share this document with my team". A refusal names an assistant and what it cannot, or is sorry,
# cannot, and speaks of what it was asked.
_ASKED = (
    r"(?:(?:this|that|your|the) (?:requests?|prompts?|instructions?|task)\b|(?:search )?quer(?:y|ies)\b|paraphras\w+"
    r"|(?:hard )?negatives?\b"
    r"|(?:provided|given|this|that) (?:sentence|text|passage|document|content)\b"
    r"|(?:explicit|sexual|harmful|offensive|hateful|inappropriate|illegal) \w+"
    r"|with (?:that|this)\s*(?:[.,!;]|\Z))"
)
_WRITE = (
    r"(?:fulfil\w*|comply|assist|help|provide|generate|create|produce|write|re-?write|paraphrase|re-?phrase|summari[sz]e"
    r"|translate|answer|respond|process|complete|engage)"
)
_WANTING = (
    r"(?:\b(?:cannot|can['’]?t|can not|(?:do not|don['’]t) have|unable|not able|am not|won['’]t|must decline|sorry)\b"
    r"|['’]m not\b)"
)
_IN_FIELDS = (
    rf"{_START}as an? (?:{_MODEL}){_ABOUT_ME},? (?:i|my)\b[^.!?\n]{{0,80}}?{_WANTING}",
    rf"{_START}(?:i am|i['’]m) (?:just |only |merely )?an? (?:{_MODEL}){_ABOUT_ME}[^.!?\n]{{0,40}}?{_WANTING}",
    rf"{_SORRY}[^.!?\n]{{0,60}}\b(?:{_CANNOT}) (?:directly )?{_WRITE}\b[^.!?\n]{{0,80}}?\b{_ASKED}",
    rf"{_START}(?:{_CANNOT}) (?:fulfil\w*|comply with|assist with|help with) (?:this|that|your|the) "
    r"(?:requests?|prompts?|instructions?|task)\b",
    rf"{_SORRY}[^.!?\n]{{0,80}}\b(?:{_LACK})[^.!?\n]{{0,60}}\b(?:provided|given|this|that) "
    r"(?:sentence|text|passage|document|content)\b",
    rf"{_START}it (?:seems|looks|appears)(?: like| that)? (?:you|there) (?:haven['’]t|have not|didn['’]t|did not|was no"
    r"|is no)[^.!?\n]{0,20}\b(?:provided?|included?|given|shared?|text|sentence|passage|document)\b[^.!?\n]{0,40}",
    rf"{_START}the (?:document|text|passage|input)(?: you)?(?: has| have)?(?: been)? (?:provided|supplied) "
    r"(?:does not|doesn['’]t) (?:contain|include|provide|have) (?:enough|sufficient|any)\b",
    r"\b(?:please|could you|can you|kindly)(?: please)? (?:provide|share|give|specify|paste|supply|send)(?: me)?"
    r"(?: with)? (?:the|a|your)\b[^.!?\n]{0,30}?\b(?:sentence|text|passage|document|input)\b[^.!?\n]{0,40}?"
    rf"\b(?:(?:like|want) me to|(?:so (?:that )?i can|and i(?:['’]ll| will| can)) (?:then )?{_WRITE})\b",
    r"\b(?:against|violat\w+) my (?:content |usage |safety |ethical )?(?:policy|policies|guidelines|programming)\b",
)


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


_REFUSAL = _any_of((*_ENGLISH, *_OTHERS))
_REFUSAL_IN_FIELD = _any_of((*_IN_FIELDS, *_OTHERS))


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
    """Whether `text`, a whole reply, opens by declining, excusing itself or asking back instead of answering."""
    return _is_found(_REFUSAL, text)


def is_refusal_in_field(text: str) -> bool:
    """Whether `text`, a field of a reply that fits its schema, surely declines.

    A model that wrote the JSON it was asked for has mostly done its task, so this takes two signs.
    """
    return _is_found(_REFUSAL_IN_FIELD, text)


def _is_found(pattern: re.Pattern[str], text: str) -> bool:
    opening = text[:_LOOKED_AT]
    words = opening.translate(_PUNCTUATION).lower()
    if words and max(words) <= _LAST_LATIN and _SIGN_WORDS.isdisjoint(words.split()):
        return False
    return pattern.search(opening) is not None
