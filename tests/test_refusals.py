"""Refusals are told from sentences that start like one."""

from __future__ import annotations

import pytest

from pairmine.llm.replies.refusals import is_refusal, is_refusal_in_field


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, but I can’t help with that.",
        "I cannot fulfill this request.",
        "As an AI language model, I don't have personal opinions.",
        "I am just an AI and cannot browse the internet.",
        "Unfortunately, I do not have access to the document.",
        "I apologize, but the sentence you provided contains a slur.",
        "I'm not able to generate a paraphrase of this content.",
        "Sure! Please provide the text you would like me to rewrite.",
        "It seems you haven't provided a sentence.",
        "The passage provided does not contain enough information.",
        "This goes against my content policy.",
        "Als KI-Sprachmodell kann ich das nicht.",
        "Je suis désolé, mais je ne peux pas reformuler cette phrase.",
        "Lo siento, pero no puedo generar ese contenido.",
        "Извините, я не могу выполнить этот запрос.",
        "作为一个人工智能语言模型，我无法回答。",
        "申し訳ありませんが、そのリクエストにはお答えできません。",
    ],
)
def test_a_refusal_is_told(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot swim.",
        "I'm sorry, but I can't come to the party.",
        "I'm sorry I couldn't help Tom.",
        "I can't help you with your luggage.",
        "I don't understand the meaning of the question.",
        "As an AI researcher, she cannot accept the result.",
        "Please give me a little more time to think about it.",
        "He apologised for the delay.",
        "Unfortunately, the museum is closed on Mondays.",
        "Es tut mir leid, ich kann heute nicht kommen.",
        "抱歉，我迟到了。",
        "why language models refuse to answer",
        "a model of a two-level library",
    ],
)
def test_a_sentence_that_only_starts_like_one_survives(text: str) -> None:
    assert not is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I cannot write a query for this text.",
        "I'm sorry, but I can't help with that.",
        "I cannot fulfill this request.",
        "As an AI language model, I don't have personal opinions.",
        "I am just an AI and cannot browse the internet.",
        "It seems you haven't provided a document.",
        "The passage provided does not contain enough information.",
        "Please provide the text you would like me to rewrite.",
        "This goes against my content policy.",
        "Als KI-Sprachmodell kann ich das nicht.",
        "Es tut mir leid, aber ich kann diese Anfrage nicht beantworten.",
        "Je suis désolé, mais je ne peux pas reformuler cette phrase.",
        "Lo siento, pero no puedo generar ese contenido.",
        "Sinto muito, mas não posso atender a essa solicitação.",
        "Mi dispiace, ma non posso soddisfare questa richiesta.",
        "Извините, я не могу выполнить этот запрос.",
        "作为一个人工智能语言模型，我无法回答。",
        "很抱歉，我无法提供该内容。",
        "申し訳ありませんが、そのリクエストにはお答えできません。",
        "죄송합니다. 죄송하지만 이 요청에는 답변을 제공할 수 없습니다.",
    ],
)
def test_a_field_that_declines_with_two_signs_is_told(text: str) -> None:
    assert is_refusal_in_field(text)
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "can you give me some tips so I can lower my electricity bill",
        "could you send me the form so I can apply for a visa",
        "Leider kann ich morgen nicht zur Party kommen.",
        "Das Gerät ist defekt. Leider kann ich keine Ersatzteile finden.",
        "Unfortunately, the text was lost in the fire.",
        "I can't share this document with my team",
        "I cannot access the internet from my hotel room since the router is broken.",
        "I don't have access to the building after six.",
        "I am just an AI, so be kind",
        "As an AI model I was trained to play chess, said the robot in the 1999 film.",
        "Como IA ajuda médicos no diagnóstico",
        "Come IA e robot cambiano il lavoro",
        "Как ИИ меняет медицину",
        "als AI banen overneemt, wat dan",
        "AIとして働くには",
        "我是AI爱好者",
        "抱歉，我无法完成作业。",
        "Désolé, je ne peux pas répondre à votre invitation",
        "Lo siento, no puedo crear otra cuenta",
        "Desculpe, mas não posso ajudar com a mudança no sábado.",
        "Mi dispiace, ma non posso aiutarti con il trasloco.",
        "К сожалению, я не могу создать учетную запись на сайте",
        "죄송합니다, 오늘은 도와드리기 어렵습니다.",
        "Üzgünüm, bu isteği ben yapmadım.",
        "Users whose posts are against our policy lose their account.",
        "We cannot provide this type of service outside the city.",
        "Please provide your passport and two photos to the clerk, and I will stamp it.",
        "the document provided is empty of any signature.",
    ],
)
def test_a_field_that_somebody_may_have_meant_survives(text: str) -> None:
    assert not is_refusal_in_field(text)
