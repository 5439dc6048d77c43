"""Pairs with a number: sentence pairs that people scored, result lists whose order is a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import content_id, text_keys
from pairmine.recipes import Input, Option, Recipe
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.derive.cells import ids, numbers, texts
from pairmine.stages.derive.registry import Derivation, DrawsOf, FoundInTable, FromTable, Pair

_NO_CUT = -1.0
_FROM_ONE = "scores, none of them below 1: where the scale starts at 1, as in SICK, pass --low 1"


def sts(*, low: float, high: float, positive_from: float, negative_to: float) -> FromTable:
    """Scored sentence pairs with the score as grade; a label only where a cut for it is given."""
    if low >= high:
        raise PairmineError(f"--low {low:g} is not below --high {high:g}; the best score is the higher one")
    if positive_from != _NO_CUT and negative_to >= positive_from:
        raise PairmineError(f"--negative-to {negative_to:g} is not below --positive-from {positive_from:g}; lower it")

    def label_of(grade: float) -> int | None:
        if positive_from != _NO_CUT and grade >= positive_from:
            return POSITIVE
        return NEGATIVE if grade <= negative_to else None

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        scores = numbers(rows, "score")
        grades = _grades(scores, low, high)
        first, second = texts(rows, "sentence1"), texts(rows, "sentence2")
        first_keys, second_keys = (text_keys(rows[name]).tolist() for name in ("sentence1", "sentence2"))
        reasons: dict[int, str] = {}
        groups: dict[int, dict[int, Pair]] = {}
        pairs: list[tuple[int, Pair]] = []
        spelled: dict[int, str] = {}
        for row, (one, other, grade) in enumerate(zip(first_keys, second_keys, grades, strict=True)):
            if not one or not other:
                reasons[row] = "only one sentence" if one or other else "no sentences"
            elif grade is None:
                reasons[row] = "no score"
            elif one == other:
                reasons[row] = "both sentences are the same"
            elif other in (group := groups.setdefault(one, {})):
                reasons[row] = "duplicate"
            else:
                query, document = spelled.setdefault(one, first[row]), spelled.setdefault(other, second[row])
                group[other] = Pair(content_id(query), query, content_id(document), document, label_of(grade), (grade,))
                pairs.append((row, group[other]))
        return FoundInTable(_together(pairs), reasons, _scale_notes(scores, low))

    return of_table


def _scale_notes(scores: Sequence[float | None], low: float) -> dict[str, int]:
    """How many scores look like those of a scale from 1 to 5 while `low` is 0, where that is all of them."""
    known = [score for score in scores if score is not None]
    return {_FROM_ONE: len(known)} if low == 0 and known and min(known) >= 1 and max(known) == 5 else {}


def _grades(scores: Sequence[float | None], low: float, high: float) -> list[float | None]:
    """Each score on the scale from 0 for `low` to 1 for `high`."""
    for row, score in enumerate(scores, start=1):
        if score is not None and not low <= score <= high:
            raise PairmineError(
                f'row {row}: "score" is {score:g}, outside --low {low:g} and --high {high:g}; '
                "give the ends of the scale that people used"
            )
    return [None if score is None else (score - low) / (high - low) for score in scores]


def _together(pairs: Sequence[tuple[int, Pair]]) -> list[tuple[int, Pair]]:
    """`pairs` with those of one query together, at the place of its first."""
    groups: dict[str, list[tuple[int, Pair]]] = {}
    for row, pair in pairs:
        groups.setdefault(pair.query_id, []).append((row, pair))
    return [each for group in groups.values() for each in group]


@dataclass(frozen=True)
class _Hit:
    """One result of a query: the row it stands in, the document, its rank from 1 or its score."""

    row: int
    doc_id: str
    document: str
    value: float


def ranked_log(
    *, by: str, curve: str, depth: int, min_score: float, query_part: float, document_part: float
) -> FromTable:
    """Results with the weight that their place in the list, or their clicks, give them; and a four-way split."""
    if by == "score" and curve != "linear":
        raise PairmineError(f"--curve {curve} is for ranks; with --by score the score itself is the curve")

    def grade_of_rank(rank: float) -> float:
        return 1.0 / rank if curve == "reciprocal" else (depth + 1 - rank) / depth

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        reasons: dict[int, str] = {}
        lists = _lists(rows, by, reasons)
        pairs: list[tuple[int, Pair]] = []
        for (query_id, query), hits in lists.items():
            best = max(hit.value for hit in hits)
            is_train_query = draws_of("query", query_id).unit() < query_part
            for hit in _ranked(hits, by):
                if by == "rank" and hit.value > depth:
                    reasons[hit.row] = f"below rank {depth}"
                elif by == "score" and hit.value < min_score:
                    reasons[hit.row] = f"score below {min_score:g}"
                else:
                    grade = grade_of_rank(hit.value) if by == "rank" else (hit.value / best if best else 0.0)
                    split = _split(is_train_query, draws_of("document", hit.doc_id).unit() < document_part)
                    extra = (grade, grade, split)
                    pairs.append((hit.row, Pair(query_id, query, hit.doc_id, hit.document, POSITIVE, extra)))
        return FoundInTable(pairs, reasons)

    return of_table


def _split(is_train_query: bool, is_train_document: bool) -> str:
    """The corner of the grid of queries and documents: both seen in training, one of them new, both new."""
    if is_train_query:
        return "train" if is_train_document else "novel_document"
    return "novel_query" if is_train_document else "zero_shot"


def _lists(rows: pa.Table, by: str, reasons: dict[int, str]) -> dict[tuple[str, str], list[_Hit]]:
    """The results of each query, in the order of the file, without rows that cannot be used."""
    queries, documents = texts(rows, "query"), texts(rows, "document")
    query_ids = _ids(rows, "query_id", queries)
    doc_ids = _ids(rows, "doc_id", documents)
    values = _values(rows, by)
    spelled: dict[str, str] = {}
    shown: dict[str, str] = {}
    lists: dict[tuple[str, str], list[_Hit]] = {}
    seen: dict[str, set[str]] = {}
    for row, (query, document) in enumerate(zip(queries, documents, strict=True)):
        query_id, doc_id = query_ids[row], doc_ids[row]
        if not query or not document:
            reasons[row] = "no document" if query else "no query"
            continue
        text = spelled.setdefault(query_id, query)
        hits = lists.setdefault((query_id, text), [])
        value = values(row, len(hits))
        if value is None:
            reasons[row] = f"no {by}"
        elif doc_id in seen.setdefault(query_id, set()):
            reasons[row] = "the document stands in the list already"
        else:
            seen[query_id].add(doc_id)
            hits.append(_Hit(row, doc_id, shown.setdefault(doc_id, document), value))
    return {query: hits for query, hits in lists.items() if hits}


def _ids(rows: pa.Table, name: str, contents: Sequence[str]) -> list[str]:
    """The ids of a column, a hash of the text where there is none."""
    found = ids(rows, name) if name in rows.column_names else [""] * rows.num_rows
    return [given or content_id(text) for given, text in zip(found, contents, strict=True)]


def _values(rows: pa.Table, by: str) -> Callable[[int, int], float | None]:
    """The rank or score of a row; a rank is the place in the file where no column holds it."""
    if by not in rows.column_names:
        if by == "score":
            raise PairmineError("--by score needs a column with it (clicks, say); pass --score-column, or --by rank")
        return lambda row, before: before + 1.0
    found = numbers(rows, by)
    least = 1 if by == "rank" else 0
    for row, value in enumerate(found, start=1):
        if value is not None and value < least:
            raise PairmineError(f'row {row}: "{by}" is {value:g}; a {by} starts at {least}')
    return lambda row, before: found[row]


def _ranked(hits: Sequence[_Hit], by: str) -> list[_Hit]:
    return sorted(hits, key=lambda hit: hit.value if by == "rank" else -hit.value)


_GRADE = pa.field("grade", pa.float32())
_RANKED: Mapping[str, str] = {
    "query": "what was asked for",
    "document": "what was shown",
    "rank": "its place in the list, from 1; the order of the file where there is none",
    "score": "how good it is, for --by score: clicks, purchases, a relevance",
}

DERIVATIONS = (
    Derivation(
        Recipe(
            name="sts",
            group="structure",
            summary="Sentence pairs that people scored, with the score as a grade from 0 to 1.",
            paper="Sentence-BERT, arXiv 1908.10084",
            needs="none",
            reads="rows",
            inputs=(
                Input("sentence1", "one sentence", ("sentence_a", "sent1", "text1", "s1", "premise")),
                Input("sentence2", "the other", ("sentence_b", "sent2", "text2", "s2", "hypothesis")),
                Input(
                    "score",
                    "how alike people found them",
                    ("similarity_score", "similarity", "relatedness_score", "relatedness", "gold", "rating", "label"),
                ),
            ),
            options=(
                Option("low", float, 0.0, "the score of sentences that share nothing: 0 in STS-B, 1 in SICK"),
                Option("high", float, 5.0, "the score of sentences that mean the same (Sentence-BERT divides by 5)"),
                Option(
                    "positive-from",
                    float,
                    _NO_CUT,
                    "grade from which a pair is a positive; -1 leaves the label open (our default)",
                    low=-1,
                    high=1,
                ),
                Option(
                    "negative-to",
                    float,
                    _NO_CUT,
                    "grade up to which a pair is a negative; -1 leaves the label open (our default)",
                    low=-1,
                    high=1,
                ),
            ),
            example=(
                """printf 'sentence1\\tsentence2\\tscore\\nA plane takes off.\\tAn air plane is leaving.\\t4.6\\n' """
                "> sts.tsv && pairmine derive sts sts.tsv -o -"
            ),
            whole=True,
        ),
        from_table=sts,
        extra=(_GRADE,),
    ),
    Derivation(
        Recipe(
            name="ranked-log",
            group="structure",
            summary="Results of searches, each with a weight from its place in the list or its clicks.",
            paper="GCL, arXiv 2404.08535",
            needs="none",
            reads="rows",
            inputs=(
                Input("query", _RANKED["query"], ("search_term", "search_query", "keyword", "keywords", "query_text")),
                Input(
                    "document",
                    _RANKED["document"],
                    ("title", "product_title", "product", "doc", "text", "passage", "item", "result"),
                ),
                Input("rank", _RANKED["rank"], ("position", "rank_position", "place"), required=False),
                Input(
                    "score",
                    _RANKED["score"],
                    ("clicks", "click_count", "purchases", "relevance", "score_linear"),
                    required=False,
                ),
                Input("query_id", "identity of the query", ("qid", "search_id"), required=False),
                Input(
                    "doc_id",
                    "identity of the document",
                    ("docid", "product_id", "item_id", "document_id", "asin"),
                    required=False,
                ),
            ),
            options=(
                Option("by", str, "rank", "what the weight comes from (rank: GCL)", choices=("rank", "score")),
                Option(
                    "curve",
                    str,
                    "linear",
                    "how the weight falls: linear, from 1 at rank 1 to 1/depth at the last (GCL), or 1/rank (ours)",
                    choices=("linear", "reciprocal"),
                ),
                Option("depth", int, 100, "results of a query that count (our default)", low=1),
                Option("min-score", float, 0.0, "with --by score: the least that counts (our default)", low=0),
                Option("query-part", float, 0.8, "part of the queries that training sees (GCL)", low=0, high=1),
                Option("document-part", float, 0.5, "part of the documents that training sees (GCL)", low=0, high=1),
            ),
            example=(
                """printf '%s\\n' 'query,title,position' 'warm socks,Wool socks,1' 'warm socks,Thin socks,2' """
                "> log.csv && pairmine derive ranked-log log.csv --depth 10 -o -"
            ),
            whole=True,
        ),
        from_table=ranked_log,
        extra=(_GRADE, pa.field("weight", pa.float32()), pa.field("split", pa.string())),
    ),
)
