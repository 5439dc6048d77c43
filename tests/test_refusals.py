"""Refusals are told from sentences that start like one."""

from __future__ import annotations

import pytest

from pairmine.llm.replies.refusals import is_refusal


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
