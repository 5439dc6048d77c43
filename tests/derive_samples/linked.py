"""Translations, captions, entities, contexts, phrases."""

from __future__ import annotations

import pyarrow as pa

from derive_samples.base import Sample
from pairmine.backends.encoders import FakeEncoder

STORM = "A storm hit the coast on Monday night and tore the roofs off forty houses near the old harbour."

SAMPLES = {
    "parallel": Sample(
        pa.table(
            {
                "source": ["Guten Morgen.", "東京は首都です。", "", "OK", "สวัสดีครับ", "Guten Morgen."],
                "target": ["Good morning.", "Tokyo is the capital.", "nothing", "ok", "Hello.", "Morning!"],
            }
        )
    ),
    "parallel-groups": Sample(
        pa.table(
            {
                "group": ["7", "7", "7", "8", "9", "9"],
                "lang": ["en", "de", "zh", "en", "en", "th"],
                "text": ["Good morning.", "Guten Morgen.", "早上好。", "Alone.", "Hello.", "สวัสดี"],
            }
        )
    ),
    "pivot": Sample(
        pa.table(
            {
                "pivot": ["Gute Nacht!", "gute nacht!", "Gute  Nacht!", "Danke.", "Ja."],
                "translation": ["Good night!", "Sleep well!", "good night!", "Thanks.", None],
            }
        )
    ),
    "co-captions": Sample(
        pa.table(
            {
                "image": [9, 9, 9, 3, None],
                "caption": ["A dog on a beach.", "一只狗在海边奔跑。", "a dog on a  beach.", "Alone.", "No image."],
            }
        )
    ),
    "same-source": Sample(
        pa.table(
            {
                "id": ["a", "b", "c", "d"],
                "title": ["Storm hits coast", "Roofs torn off", "storm  hits coast", "Elsewhere"],
                "text": [
                    STORM,
                    STORM + " Nobody was hurt.",
                    STORM,
                    "The council met on Tuesday and talked of parking.",
                ],
            }
        )
    ),
    "aliases": Sample(
        pa.table(
            {
                "entity": ["a", "a", "b", "b", "c", None],
                "name": ["Acme Steel Co.", "Acme Steel Company", "Acme Steam Co.", "Acme Steamers", "Zenith", "x"],
            }
        )
    ),
    "multi-queries": Sample(
        pa.table(
            {
                "context": ["The mill was built in 1820.", "工場は1820年に建てられた。", ""],
                "queries": [["When was it built?", "", "How old is it?"], ["いつ建てられましたか。"], ["Who?"]],
            }
        )
    ),
    "descriptions": Sample(
        pa.table(
            {
                "text": ["The Elbe rises in the Giant Mountains.\n\nIt is long.", "京都は古い都である。", None],
                "description": ["river in Europe", "日本の都市", "nothing"],
                "aliases": ["Labe|Elbe", None, None],
            }
        )
    ),
    "gcse-swap": Sample(
        pa.table(
            {
                "query_id": ["q1", "q1", "q2", "q3", "q3"],
                "query": ["Two dogs run."] * 2 + ["A cat naps."] + ["Three cows graze."] * 2,
                "doc_id": ["d1", "d2", "d3", "d4", "d5"],
                "document": ["dogs", "run", "cat", "cows", "animals"],
                "kind": ["subject", "action", "subject", "subject", "topic"],
                "type": pa.nulls(5, pa.string()),
                "count": pa.array([2, None, 1, 3, None], pa.float32()),
            }
        ),
        resources={"encoder": FakeEncoder()},
    ),
}
