"""Samples of labelled rows: judged and scored pairs, labels, dictionaries, conversations, links."""

from __future__ import annotations

import pyarrow as pa

from derive_samples.base import Sample

CORPUS = pa.table(
    {
        "id": ["a", "b", "c", "d"],
        "text": ["Tides of the North Sea.", "Storm surges in estuaries.", "梅雨は雨季である。", ""],
        "title": [None, "Surges", None, None],
        "domain": ["sea", "sea", "rain", "rain"],
    }
)

SAMPLES: dict[str, Sample] = {
    "nli": Sample(
        pa.table(
            {
                "premise": ["A man sleeps.", "A man sleeps.", "It snows.", "", "雨が降る。", "雨が降る。"],
                "hypothesis": ["Someone rests.", "A man runs.", "It is cold.", "x", "地面が濡れる。", "空は晴れだ。"],
                "label": ["entailment", "contradiction", "neutral", "-", "entailment", "contradiction"],
                "genre": ["x"] * 6,
            }
        )
    ),
    "sts": Sample(
        pa.table(
            {
                "sentence1": ["A plane takes off.", "A man plays.", "A plane takes off.", "", "雨が降る。"],
                "sentence2": ["An air plane leaves.", "A dog runs.", "A girl sings.", "x", "雨だ。"],
                "score": ["5.0", "0.5", "0", "1", ""],
            }
        )
    ),
    "ranked-log": Sample(
        pa.table(
            {
                "query": ["warm socks", "tea", "warm socks", "tea", "tea"],
                "document": ["Wool socks", "Green tea", "Thin socks", "", "Black tea"],
                "rank": [2, 1, 1, 2, 3],
            }
        )
    ),
    "labels": Sample(
        pa.table(
            {
                "text": ["Where is my card?", "My card has not come.", "What is the fee?", "Fees?", "fees?", None],
                "label": ["arrival", "arrival", "fee", "fee", "fee", "fee"],
            }
        )
    ),
    "label-text": Sample(
        pa.table(
            {
                "text": ["Where is my card?", "My card has not come.", "What is the fee?", "fee", ""],
                "label": ["card_arrival", "card_arrival", "fee", "fee", "fee"],
            }
        )
    ),
    "sets": Sample(
        pa.table(
            {
                "text": ["Bread is dearer.", "Rents went up.", "It pours.", "Take an umbrella.", "Alone."],
                "set": ["costs", "costs", "rain", "rain", "none"],
            }
        )
    ),
    "definitions": Sample(
        pa.table(
            {
                "word": ["ebb", "ebb", "flow", "雨", "", "tide"],
                "definition": [
                    "the going out of the tide",
                    "a poor state",
                    "the rising tide",
                    "空から降る水",
                    "x",
                    "tide",
                ],
            }
        )
    ),
    "reply": Sample(
        pa.table(
            {
                "turns": [
                    [{"role": "user", "content": "When is high tide?"}, {"role": "assistant", "content": "At noon."}],
                    [{"role": "user", "content": "Hello?"}],
                    [{"role": "user", "content": "雨ですか。"}, {"role": "assistant", "content": "はい。"}],
                    None,
                ]
            }
        )
    ),
    "dialogue": Sample(
        pa.table(
            {
                "turns": [
                    "When is high tide? __eou__ At noon. __eou__ Then we sail. __eou__",
                    "Is it far? __eou__ Two miles. __eou__",
                    "",
                    "Hm. __eou__",
                ]
            }
        )
    ),
    "co-citation": Sample(
        pa.table({"citing": ["x", "x", "x", "y", "z"], "cited": ["a", "b", "c", "a", "nowhere"]}),
        resources={"corpus": CORPUS},
    ),
    "citations": Sample(
        pa.table({"citing": ["a", "a", "b", "b"], "cited": ["b", "c", "a", "d"]}), resources={"corpus": CORPUS}
    ),
    "translate": Sample(
        pa.table(
            {
                "query_id": ["q1", "q1", "q2"],
                "query": ["A man sleeps.", "A man sleeps.", "It snows."],
                "doc_id": ["d1", "d2", "d3"],
                "document": ["Someone rests.", "A man runs.", "It is cold."],
                "label": [1, 0, 1],
            }
        ),
        resources={
            "translations": {
                "A man sleeps.": ("Ein Mann schläft.",),
                "Someone rests.": ("Jemand ruht.",),
                "A man runs.": ("Ein Mann rennt.",),
            }
        },
    ),
}
