"""Training folders for GPL (Wang et al. 2022, arXiv 2112.07577): triples with margins, beside a BEIR folder."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pairmine.stages.export.folders.by_id import Chunk, Files, check_ids, crossed, documents, id_lists, queries
from pairmine.stages.export.plan import Options, Plan, Target, per_query
from pairmine.stages.export.rows import PairRows, document_ids, one_array, query_ids
from pairmine.stages.export.scores import scores, short
from pairmine.stages.export.titles import bare_texts, titles


def with_margins(rows: PairRows, plan: Plan, options: Options) -> pa.Table:
    """`query_id`, `positive_id`, `negative_id`, `margin`: the positive's score less the negative's."""
    owner, positive, negative = crossed(plan)
    higher, lower = (short(scores(rows, options.scores or "", at)).to_numpy() for at in (positive, negative))
    columns = {
        "query_id": query_ids(rows, plan.anchors[owner]),
        "positive_id": document_ids(rows, positive),
        "negative_id": document_ids(rows, negative),
        "margin": short(higher - lower),
    }
    types = [pa.string(), pa.string(), pa.string(), pa.float64()]
    return pa.table(columns, schema=pa.schema(list(zip(columns, types, strict=True))))


def fill(chunk: Chunk) -> Files:
    """The margins, the texts, and the negatives by query, which GPL would mine anew where it does not find them."""
    for name in ("query_id", "positive_id", "negative_id"):
        check_ids(one_array(chunk.kept[name]), name.removesuffix("_id"), "gpl")
    pairs, plan, new, asked = chunk.rows, chunk.plan, documents(chunk).rows, queries(chunk)
    corpus = {"_id": document_ids(pairs, new), "title": titles(pairs, new), "text": bare_texts(pairs, new)}
    negatives = pa.StructArray.from_arrays([id_lists(pairs, plan.negatives)], names=["pairmine"])
    hard = {"qid": query_ids(pairs, plan.anchors), "pos": id_lists(pairs, plan.positives), "neg": negatives}
    return {
        "gpl-training-data.tsv": chunk.kept,
        "hard-negatives.jsonl": pa.table(hard),
        "corpus.jsonl": pa.table(corpus),
        "qgen-queries.jsonl": pa.table({"_id": query_ids(pairs, asked), "text": pairs.query_texts.plain(asked)}),
        "qgen-qrels/train.tsv": _judgments(pairs, plan),
    }


def _judgments(rows: PairRows, plan: Plan) -> pa.Table:
    owner = np.repeat(plan.anchors, plan.positives.sizes)
    ones = pa.array(np.ones(len(owner), np.int32))
    return pa.table(
        {
            "query-id": query_ids(rows, owner),
            "corpus-id": document_ids(rows, plan.positives.rows),
            "score": ones,
        }
    )


TARGETS = (
    Target(
        name="gpl",
        trainer="GPL",
        version="0.1.4",
        summary="triples of ids with the margin of their scores, beside a BEIR folder; needs --scores",
        columns=("query_id", "positive_id", "negative_id", "margin"),
        formats=("folder",),
        needs="some negatives",
        arrange=per_query,
        build=with_margins,
        takes=frozenset({"negatives", "scores"}),
        requires=frozenset({"scores"}),
        fill=fill,
        corpus={"corpus.jsonl": {"_id": "id", "title": "title", "text": "bare text"}},
        layouts={"gpl-training-data.tsv": "bare tsv"},
    ),
)
