"""Inputs for the recipes that cut spans, sentences and outlines."""

from __future__ import annotations

import pyarrow as pa

from derive_samples.base import Sample

_FLOOD = "It rained all day in the hills. The river rose by two metres in one night. Nobody was hurt by the flood."
_MILL = (
    "The mill is owned by Ada Lee. It rains a lot in the valley. However, the road to the mill is old. "
    "The wheel turns slowly, because the river is low."
)
_RAIN = "梅雨は東アジアの雨季である。五月から七月にかけて、雨の多い日が続く。北海道には見られない現象である。"
_WIKI = (
    "'''Rain''' falls from [[cloud|clouds]] in drops.\n== History ==\nOld Rome had rain gauges of stone. They were "
    "heavy.\n=== Early ===\nNobody knows the first one of them.\n== See also ==\n* [[Snow]] and other kinds of water"
)


def _corpus(*texts: str | None) -> pa.Table:
    return pa.table(
        {
            "id": pa.array([f"d{at}" for at in range(len(texts))], pa.string()),
            "title": pa.array(["A title"] * len(texts), pa.large_string()),
            "text": pa.array(texts, pa.large_string()),
        }
    )


def _pairs(*rows: tuple[str | None, str | None, int | None]) -> pa.Table:
    return pa.table(
        {
            "query_id": [f"q{at}" for at in range(len(rows))],
            "query": pa.array([query for query, _, _ in rows], pa.string()),
            "doc_id": [f"d{at}" for at in range(len(rows))],
            "document": pa.array([document for _, document, _ in rows], pa.string()),
            "label": pa.array([label for _, _, label in rows], pa.int8()),
            "lang": ["en"] * len(rows),
        }
    )


_ASKED = _pairs(
    ("who owns the mill", _MILL, 1),
    ("雨の多い日", _RAIN, 1),
    ("was anybody hurt", _FLOOD, None),
    ("who owns the river", _FLOOD, 0),
    ("ghost", "One sentence only.", 1),
    ("no document", None, 1),
    ("", _FLOOD, 1),
)

SAMPLES = {
    "spans": Sample(
        _corpus(_FLOOD, _RAIN, "short", "", None, "* " * 60, _MILL),
        options={"anchors": 1, "min_words": 2, "max_words": 6},
    ),
    "discourse": Sample(_corpus(_FLOOD, _RAIN, "short", "", None, _MILL), options={"context_sentences": 1}),
    "split": Sample(_corpus(_FLOOD, _RAIN, "short", "", None, _MILL)),
    "outline": Sample(_corpus(_FLOOD, _RAIN, "short", "", None, _WIKI)),
    "sections": Sample(
        pa.table(
            {
                "article": ["Rain", "Rain", "Mill", None, "Mill", "Mill"],
                "section": ["What", "Where", "Owner", None, "Road", "Road"],
                "text": [_RAIN, _FLOOD, "The mill is owned by Ada Lee. She is old.", _WIKI, _MILL, None],
            }
        )
    ),
    "subcontext": Sample(_ASKED, options={"chunk_words": 12, "top": 1}),
    "multi-grain": Sample(_ASKED),
    "doc-diff": Sample(
        _pairs(
            ("A man sleeps.", "Someone is asleep.", 1),
            ("It rains.", "The sun shines.", 0),
            ("猫は寝る。", "猫が寝ている。", 1),
            ("A dog runs.", "A dog stands.", 0),
            ("left", "over", 1),
            ("nobody", "knows", None),
            ("", "blank", 1),
        ),
        options={"sentences": 2},
    ),
}
