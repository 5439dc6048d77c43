"""Inputs for the recipes that change words, and those that a model or a list writes."""

from __future__ import annotations

import pyarrow as pa

from derive_samples.base import Sample
from pairmine.backends.masked import FakeMaskedLM
from pairmine.backends.translators import FakeTranslator

SYNONYMS = {"river": ("stream", "brook"), "rained": ("poured",), "night": ("evening",), "short": ("brief",)}
TAGS = {"river": ("NOUN",), "flood": ("NOUN",), "rose": ("VERB",), "fell": ("VERB",)}

SAMPLES: dict[str, Sample] = {
    "clear": Sample(
        options={"ops": "word-deletion,span-deletion,reorder,substitution"}, resources={"synonyms": SYNONYMS}
    ),
    "words": Sample(options={"ops": "deletion,swap,synonym,insertion"}, resources={"synonyms": SYNONYMS}),
    "phrase": Sample(resources={"synonyms": SYNONYMS, "paraphrases": {"short": ("not long",)}}),
    "distill-pool": Sample(resources={"tags": TAGS}),
    "attribute-flip": Sample(
        pa.table(
            {
                "id": ["g1", "g2", "g3", "g4"],
                "text": [
                    "In triangle ABC the side AB is 12 cm long and parallel to DE.",
                    "Nothing here to change.",
                    "",
                    "The river rose by two metres before 1908.",
                ],
            }
        )
    ),
    "mlm-edit": Sample(resources={"mlm": FakeMaskedLM()}),
    "backtranslation": Sample(
        options={"views": 3}, resources={"translator": FakeTranslator(), "back": FakeTranslator()}
    ),
    "representative-words": Sample(options={"skip_short": 0}),
    "code-soft": Sample(
        pa.table(
            {
                "query_id": ["q1", "q2", "q3"],
                "query": ["area of a circle", "円の面積", ""],
                "doc_id": ["c1", "c2", "c3"],
                "document": ["def area(r):\n    return 3.14 * r ** 2", "int area(int r) { return 3 * r * r; }", ""],
                "label": pa.array([1, 1, 1], pa.int8()),
            }
        )
    ),
}
