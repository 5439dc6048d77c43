"""Training files for ms-swift: chats of one turn, for its embedders and its rerankers, new layout and old.

The layout changed with 3.9: before, a line held `query`, `response` and `rejected_response`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.schema import TEXT
from pairmine.stages.export.plan import Lists, Options, Plan, Target, per_positive, per_query
from pairmine.stages.export.rows import PairRows, labels
from pairmine.stages.export.scores import grades, short

TRAINER = "ms-swift"
VERSION = "4.6.0"
LEGACY_VERSION = "3.8.0"
_TURN = pa.struct([("role", pa.string()), ("content", pa.large_string())])
_CHAT = pa.list_(_TURN)
_CHATS = pa.list_(_CHAT)


def embedder(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`messages` with the query, `positive_messages` with one chat, `negative_messages` with any number."""
    return _chats(rows, plan, options, "user")


def reranker(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """The same with several positives, where the documents are what an assistant says."""
    return _chats(rows, plan, options, "assistant")


def embedder_score(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`messages`, `positive_messages` with the second text whatever its label, and `label`, its grade or score."""
    return _labelled(rows, plan, options, short(grades(rows, plan, options)))


def embedder_class(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`messages`, `positive_messages` with the second text, and `label`, 1 or 0."""
    values = pa.array(labels(rows.pairs)[plan.positives.rows], pa.float64())
    return _labelled(rows, plan, options, values)


def legacy(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query`, `response`, `rejected_response`; with a prompt `system`. For embedders and rerankers."""
    columns: list[tuple[str, pa.DataType, pa.Array]] = [
        ("query", TEXT, rows.query_texts.take(plan.anchors)),
        ("response", TEXT, rows.documents.take(plan.positives.rows)),
        (
            "rejected_response",
            pa.list_(pa.large_string()),
            plan.negatives.arrow(rows.documents.plain(plan.negatives.rows)),
        ),
    ]
    if options.prompt is not None:
        columns.append(("system", pa.string(), pa.repeat(pa.scalar(options.prompt), len(plan.anchors))))
    schema = pa.schema([(name, kind) for name, kind, _ in columns])
    return pa.table([values for _, _, values in columns], schema=schema)


def _chats(rows: PairRows, plan: Plan, options: Options, role: str) -> pa.Table:
    columns = {
        "messages": _asked(rows, plan, options),
        "positive_messages": _told(rows, plan.positives, role),
        "negative_messages": _told(rows, plan.negatives, role),
    }
    types = (_CHAT, _CHATS, _CHATS)
    return pa.table(list(columns.values()), schema=pa.schema(list(zip(columns, types, strict=True))))


def _labelled(rows: PairRows, plan: Plan, options: Options, values: pa.Array) -> pa.Table:
    columns = {
        "messages": _asked(rows, plan, options),
        "positive_messages": _told(rows, plan.positives, "user"),
        "label": values,
    }
    types = (_CHAT, _CHATS, pa.float64())
    return pa.table(list(columns.values()), schema=pa.schema(list(zip(columns, types, strict=True))))


def _asked(rows: PairRows, plan: Plan, options: Options) -> pa.ListArray:
    """A chat per training row with its query, after the instruction where there is one."""
    queries = rows.query_texts.plain(plan.anchors)
    if options.prompt is None:
        return _one_turn_each(queries, "user")
    count = len(queries)
    both = pa.concat_arrays([pa.repeat(pa.scalar(options.prompt, pa.large_string()), count), queries])
    order = np.stack([np.arange(count), np.arange(count) + count], axis=1).reshape(-1)
    roles = pa.array(["system", "user"]).take(pa.array(np.tile([0, 1], count)))
    turns = pa.StructArray.from_arrays([roles, both.take(pa.array(order))], fields=list(_TURN))
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * 2, pa.int32()), turns)


def _told(rows: PairRows, lists: Lists, role: str) -> pa.ListArray:
    """A list of chats per training row, one for each document."""
    return lists.arrow(_one_turn_each(rows.documents.plain(lists.rows), role))


def _one_turn_each(texts: pa.Array, role: str) -> pa.ListArray:
    turns = pa.StructArray.from_arrays([pa.repeat(pa.scalar(role), len(texts)), texts], fields=list(_TURN))
    return pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1), pa.int32()), turns)


def _names_media(texts: pa.Array) -> pa.Array:
    return pc.match_substring_regex(texts, "<(image|video|audio)>")


FORMATS = ("jsonl", "parquet")
ENDINGS = (".jsonl", ".json", ".parquet")

TARGETS = (
    Target(
        name="swift-embedding",
        trainer=TRAINER,
        version=VERSION,
        summary="chats of query, one positive and its negatives, for embedders with InfoNCE (3.9 and later)",
        columns=("messages", "positive_messages", "negative_messages"),
        formats=FORMATS,
        endings=ENDINGS,
        needs="any negatives",
        arrange=per_positive,
        build=embedder,
        takes=frozenset({"negatives", "prompt"}),
    ),
    Target(
        name="swift-embedding-score",
        trainer=TRAINER,
        version=VERSION,
        summary="chats of two texts and their grade, or a score, for cosine_similarity",
        columns=("messages", "positive_messages", "label"),
        formats=FORMATS,
        endings=ENDINGS,
        needs="single pairs",
        arrange=per_positive,
        build=embedder_score,
        takes=frozenset({"scores", "prompt"}),
    ),
    Target(
        name="swift-embedding-class",
        trainer=TRAINER,
        version=VERSION,
        summary="chats of two texts and their label, 1 or 0, for contrastive and online_contrastive",
        columns=("messages", "positive_messages", "label"),
        formats=FORMATS,
        endings=ENDINGS,
        needs="single pairs",
        arrange=per_positive,
        build=embedder_class,
        takes=frozenset({"prompt"}),
    ),
    Target(
        name="swift-reranker",
        trainer=TRAINER,
        version=VERSION,
        summary="chats of query, positives and negatives, for its rerankers (3.9 and later)",
        columns=("messages", "positive_messages", "negative_messages"),
        formats=FORMATS,
        endings=ENDINGS,
        needs="some negatives",
        arrange=per_query,
        build=reranker,
        takes=frozenset({"negatives", "prompt"}),
    ),
    Target(
        name="swift-legacy",
        trainer=TRAINER,
        version=LEGACY_VERSION,
        summary="query, response and rejected responses, for embedders and rerankers of 3.8 and before",
        columns=("query", "response", "rejected_response", "system"),
        formats=FORMATS,
        endings=ENDINGS,
        needs="some negatives",
        arrange=per_positive,
        build=legacy,
        takes=frozenset({"negatives", "prompt"}),
        unreadable=_names_media,
        because="ms-swift 3.8 looks for a picture, film or sound that the text names",
    ),
)
