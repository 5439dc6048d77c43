"""Texts that something outside of them joins: one image, one article, one entity, one context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import content_id, normalise
from pairmine.recipes import Input, Option, Recipe
from pairmine.schema import NEGATIVE
from pairmine.stages.derive.cells import ids, text_lists, texts
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import (
    DOCUMENT,
    Derivation,
    DrawsOf,
    Found,
    FoundInTable,
    FromRow,
    FromTable,
    Pair,
)
from pairmine.text import is_wordless, word_pieces

_MOST_SIMILAR_AT_ONCE = 512
_MOST_PAIRS = 10_000_000
"""As many pairs of one column of groups fit into a few gigabytes; n texts of one group make n * (n - 1)."""


def grouped(rows: pa.Table, key: str, text: str) -> tuple[dict[str, dict[str, int]], dict[int, str]]:
    """The row of each text of each group, and why other rows belong to none; a row has a text or a list of them.

    Texts that `identity.normalise` leaves equal are one; groups and texts keep the order of the rows.
    """
    groups: dict[str, dict[str, int]] = {}
    seen: set[tuple[str, str]] = set()
    reasons: dict[int, str] = {}
    for row, (group, values) in enumerate(zip(ids(rows, key), text_lists(rows, text), strict=True)):
        full = [value for value in values if not is_wordless(value)]
        if not group or not full:
            reasons[row] = f"no {text}" if group else f"no {key}"
            continue
        new = {}
        for value in full:
            if (group, normalise(value)) not in seen:
                seen.add((group, normalise(value)))
                new[value] = row
        groups.setdefault(group, {}).update(new)
        if not new:
            reasons[row] = "duplicate"
    for members in groups.values():
        if len(members) == 1:
            reasons.update(dict.fromkeys(members.values(), f"alone with its {key}"))
    return {name: members for name, members in groups.items() if len(members) > 1}, reasons


def check_size(sizes: Mapping[str, int], most: int) -> None:
    """Raise PairmineError where groups of these `sizes` make more pairs than fit into memory."""
    made = {name: size * min(size - 1, most or size) for name, size in sizes.items()}
    if sum(made.values()) <= _MOST_PAIRS:
        return
    largest = max(made, key=lambda name: made[name])
    raise PairmineError(
        f"the groups make {sum(made.values()):,} pairs, {made[largest]:,} of them the {sizes[largest]:,} texts of "
        f'"{largest[:40]}"; give each query fewer with --per-query, such as 10'
    )


def pairs_of(name: str, members: Mapping[str, int], most: int, draws: Draws) -> Iterator[tuple[int, Pair]]:
    """Each member as the query of the others, at most `most` of them, drawn; with 0 of all. `name` opens the ids."""
    texts = list(members)
    known = [content_id(text) for text in texts]
    for at, query in enumerate(texts):
        query_id = f"{name}:{known[at]}"
        for chosen in draws.sample(len(texts) - 1, most or len(texts)):
            other = chosen + (chosen >= at)
            yield members[texts[other]], Pair(query_id, query, known[other], texts[other])


def co_captions(*, per_query: int) -> FromTable:
    """The captions of one image as positives of each other."""

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        groups, reasons = grouped(rows, "image", "caption")
        check_size({name: len(group) for name, group in groups.items()}, per_query)
        found = [pair for name, group in groups.items() for pair in pairs_of(name, group, per_query, draws_of(name))]
        return FoundInTable(found, reasons)

    return of_table


def same_source(*, threshold: float, ngram: int, per_query: int) -> FromTable:
    """The different headlines under which one article was printed, told by its near-copied text."""

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        titles = texts(rows, "title")
        names = rows["id"].to_pylist()
        reasons: dict[int, str] = {}
        prints: dict[str, dict[str, int]] = {}
        for members in _copies(rows, threshold, ngram):
            if len(members) == 1:
                reasons[members[0]] = "no other print of the text"
                continue
            by_title: dict[str, int] = {}
            for row in members:
                key = normalise(titles[row])
                if not key or is_wordless(key):
                    reasons[row] = "no title"
                elif by_title.setdefault(key, row) != row:
                    reasons[row] = "the same title"
            if len(by_title) == 1:
                reasons.update(dict.fromkeys(by_title.values(), "no other title"))
                continue
            prints[names[members[0]]] = {titles[row]: row for row in by_title.values()}
        check_size({name: len(named) for name, named in prints.items()}, per_query)
        found = [pair for name, named in prints.items() for pair in pairs_of(name, named, per_query, draws_of(name))]
        return FoundInTable(found, reasons)

    return of_table


def _copies(rows: pa.Table, threshold: float, ngram: int) -> list[list[int]]:
    """The rows whose texts are near copies of each other, group by group; blank texts are alone."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    from pairmine.stages.dedup.matches import Near, find_matches

    count = rows.num_rows
    if not count:
        return []
    near = Near(threshold, ngram=ngram, permutations=128, sentence_words=0, short_text_words=0, workers=1, seed=0)
    pairs = find_matches(rows["text"].cast(pa.large_string()), near).pairs
    edges = coo_matrix((np.ones(len(pairs.left), bool), (pairs.left, pairs.right)), shape=(count, count))
    groups: dict[int, list[int]] = {}
    for row, label in enumerate(connected_components(edges, directed=False)[1].tolist()):
        groups.setdefault(label, []).append(row)
    return list(groups.values())


def aliases(*, per_query: int, negatives: int, min_similarity: float) -> FromTable:
    """Names of one entity as positives of each other, names of others that look alike as negatives."""

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        groups, reasons = _entities(rows)
        check_size({entity: len(members) for entity, members in groups.items()}, per_query)
        names = [(entity, name) for entity, members in groups.items() for name in members]
        lookalikes = _lookalikes(names, negatives, min_similarity) if negatives else {}
        pairs: list[tuple[int, Pair]] = []
        for entity, members in groups.items():
            by_query: dict[str, list[tuple[int, Pair]]] = {}
            for row, pair in pairs_of(entity, members, per_query, draws_of(entity)):
                by_query.setdefault(pair.query, []).append((row, pair))
            for query, found in by_query.items():
                pairs += found
                for other, name in lookalikes.get((entity, query), ()):
                    row = groups[other][name]
                    pairs.append((row, Pair(f"{entity}:{content_id(query)}", query, content_id(name), name, NEGATIVE)))
        used = {row for row, _ in pairs}
        for members in groups.values():
            reasons.update({row: "no other name of its entity" for row in members.values() if row not in used})
        return FoundInTable(pairs, reasons)

    return of_table


def _entities(rows: pa.Table) -> tuple[dict[str, dict[str, int]], dict[int, str]]:
    """The names of each entity with their rows; a name of two entities tells nothing and is left out."""
    owners: dict[str, set[str]] = {}
    groups: dict[str, dict[str, int]] = {}
    reasons: dict[int, str] = {}
    seen: set[tuple[str, str]] = set()
    keys = ["" if key is None else str(key).strip() for key in rows["entity"].to_pylist()]
    names = texts(rows, "name")
    for key, name in zip(keys, names, strict=True):
        owners.setdefault(normalise(name), set()).add(key)
    for row, (key, name) in enumerate(zip(keys, names, strict=True)):
        plain = normalise(name)
        if not key or not plain or is_wordless(plain):
            reasons[row] = "no name" if key else "no entity"
        elif len(owners[plain]) > 1:
            reasons[row] = "a name of several entities"
        elif (key, plain) in seen:
            reasons[row] = "duplicate"
        else:
            seen.add((key, plain))
            groups.setdefault(key, {})[name] = row
    return groups, reasons


Name = tuple[str, str]
"""An entity and one of its names."""


def _lookalikes(names: Sequence[Name], most: int, least: float) -> dict[Name, list[Name]]:
    """For each name those of other entities that share most with it: cosine of character trigrams, weighed by idf."""
    from scipy.sparse import csr_matrix

    if len(names) < 2:
        return {}
    known: dict[str, int] = {}
    columns: list[int] = []
    starts = [0]
    for _, name in names:
        padded = f"  {normalise(name)} "
        columns += [known.setdefault(padded[at : at + 3], len(known)) for at in range(len(padded) - 2)]
        starts.append(len(columns))
    counts = csr_matrix((np.ones(len(columns), np.float32), columns, starts), shape=(len(names), len(known)))
    counts.sum_duplicates()
    counts.data[:] = 1
    spread = np.asarray(counts.sum(axis=0)).ravel()
    weighed = counts.multiply(np.log((1 + len(names)) / (1 + spread)) + 1).tocsr()
    weighed = csr_matrix(weighed.multiply(1 / np.sqrt(weighed.multiply(weighed).sum(axis=1))))
    numbers: dict[str, int] = {}
    owners = np.array([numbers.setdefault(entity, len(numbers)) for entity, _ in names], np.int64)
    turned = weighed.T.tocsr()
    found: dict[Name, list[Name]] = {}
    for start in range(0, len(names), _MOST_SIMILAR_AT_ONCE):
        block = (weighed[start : start + _MOST_SIMILAR_AT_ONCE] @ turned).tocsr()
        for at in range(block.shape[0]):
            others = block.indices[block.indptr[at] : block.indptr[at + 1]]
            scores = block.data[block.indptr[at] : block.indptr[at + 1]]
            close = (scores >= least) & (owners[others] != owners[start + at])
            others, scores = others[close], scores[close]
            order = others[np.lexsort((others, -scores))[:most]]
            found[names[start + at]] = [names[int(other)] for other in order]
    return found


def multi_queries(*, history: int, glue: str) -> FromRow:
    """The questions about one context, each with it; `history` earlier ones stand before a question that needs them."""

    def of_row(row: Mapping[str, Any], draws: Draws) -> Found:
        context = _text(row["context"], "context")
        value = row["queries"]
        listed = value if isinstance(value, list) else [value]
        asked = [_text(each, "queries") for each in listed if each is not None]
        if not context or is_wordless(context):
            return Found((), "no context")
        pairs: list[Pair] = []
        skipped: list[str] = []
        seen: set[str] = set()
        for turn, question in enumerate(asked):
            before = [each for each in asked[max(0, turn - history) : turn] if each] if history else []
            text = glue.join([*before, question])
            if not question or is_wordless(question):
                skipped.append("queries skipped: blank")
            elif normalise(text) in seen:
                skipped.append("queries skipped: duplicate")
            else:
                seen.add(normalise(text))
                pairs.append(Pair(content_id(text), text, content_id(context), context, extra=(turn,)))
        return Found(pairs, "no queries", skipped)

    return of_row


def descriptions(*, max_words: int) -> FromRow:
    """What something is called or how it is described in a few words, as the query for its first paragraph."""

    def of_row(row: Mapping[str, Any], draws: Draws) -> Found:
        text = _text(row["text"], "text")
        first = text.split("\n\n", 1)[0].strip()
        if not first or is_wordless(first):
            return Found((), "no text")
        pieces, glue = word_pieces(first)
        paragraph = glue.join(pieces[:max_words]).strip()
        names = row["aliases"]
        asked = [("description", row["description"]), *(("alias", each) for each in _listed(names))]
        pairs: list[Pair] = []
        seen = {normalise(paragraph)}
        for role, value in asked:
            query = _text(value, "description" if role == "description" else "aliases")
            if query and not is_wordless(query) and normalise(query) not in seen:
                seen.add(normalise(query))
                pairs.append(Pair(content_id(query), query, content_id(paragraph), paragraph, role=role))
        return Found(pairs, "no description")

    return of_row


def _text(value: Any, name: str) -> str:
    """A cell's text, "" for null; raises PairmineError for what is none, such as a record of a nested file."""
    if value is not None and not isinstance(value, str):
        raise PairmineError(f'"{name}" holds {str(value)[:60]!r}, where a text belongs; make a column of its texts')
    return (value or "").strip()


def _listed(value: Any) -> Sequence[Any]:
    """A list as it is; a text with | between names as the names."""
    if value is None:
        return ()
    return value if isinstance(value, list) else str(value).split("|")


_PER_QUERY = Option("per-query", int, 0, "most positives of each query, drawn; 0 takes all (our default)", low=0)

DERIVATIONS = (
    Derivation(
        Recipe(
            name="co-captions",
            group="structure",
            summary="Captions of one image as positives of each other.",
            paper="MCSE, its text side (Zhang et al. 2022, arXiv 2204.10931)",
            needs="none",
            reads="rows",
            inputs=(
                Input(
                    "image", "what the captions have in common", ("image_id", "filename", "file_name", "img_id", "url")
                ),
                Input(
                    "caption",
                    "a caption, or the list of them",
                    ("captions", "text", "sentence", "sentences", "raw", "title"),
                ),
            ),
            options=(_PER_QUERY,),
            example=(
                """printf '%s\\n' '{"image_id": 9, "caption": "A dog on a beach."}' """
                """'{"image_id": 9, "caption": "A brown dog runs along the sea."}' """
                "| pairmine derive co-captions - -o -"
            ),
            whole=True,
        ),
        from_table=co_captions,
    ),
    Derivation(
        Recipe(
            name="same-source",
            group="structure",
            summary="Headlines of one article in different papers, told by its near-copied text.",
            paper="HEADLINES (Silcock and Dell 2023, arXiv 2306.17810)",
            needs="none",
            reads="documents",
            inputs=(*DOCUMENT, Input("title", "its headline")),
            options=(
                Option(
                    "threshold",
                    float,
                    0.5,
                    "Jaccard similarity from which texts are prints of one article (our default)",
                    low=0.1,
                    high=1,
                ),
                Option("ngram", int, 3, "words in a shingle (our default)", low=1),
                _PER_QUERY,
            ),
            example=(
                """printf '%s\\n' """
                """'{"id": 1, "title": "Storm hits coast", "text": "A storm came on Monday and tore roofs off."}' """
                """'{"id": 2, "title": "Roofs torn off", "text": "A storm came on Monday and tore roofs off."}' """
                "| pairmine derive same-source - -o -"
            ),
            whole=True,
        ),
        from_table=same_source,
    ),
    Derivation(
        Recipe(
            name="aliases",
            group="structure",
            summary="Names of one entity as positives, names of others that look alike as negatives.",
            paper="CLIPPINGS, its text side (Arora et al. 2023, arXiv 2304.03464)",
            needs="none",
            reads="rows",
            inputs=(
                Input("entity", "what the names belong to", ("entity_id", "cluster", "cluster_id", "qid", "firm_id")),
                Input("name", "one of its names", ("alias", "text", "mention", "surface", "title", "record")),
            ),
            options=(
                _PER_QUERY,
                Option("negatives", int, 1, "look-alikes of each name (our default)", low=0),
                Option(
                    "min-similarity",
                    float,
                    0.3,
                    "cosine of character trigrams that a look-alike must have (our default)",
                    low=0,
                    high=1,
                ),
            ),
            example=(
                """printf '%s\\n' '{"entity": "a", "name": "Acme Steel Co."}' """
                """'{"entity": "a", "name": "Acme Steel Company"}' """
                """'{"entity": "b", "name": "Acme Steam Co."}' | pairmine derive aliases - -o -"""
            ),
            whole=True,
        ),
        from_table=aliases,
    ),
    Derivation(
        Recipe(
            name="multi-queries",
            group="structure",
            summary="All questions about one context, each with it, earlier ones before it if asked for.",
            paper="MuCo, multi-turn contrastive learning (Gu et al. 2026, arXiv 2602.06393)",
            needs="none",
            reads="rows",
            inputs=(
                Input(
                    "context",
                    "the text that the questions are about",
                    ("story", "passage", "document", "text", "article"),
                ),
                Input("queries", "a list of questions, or one", ("questions", "turns", "question", "query")),
            ),
            options=(
                Option("history", int, 0, "earlier questions put before each (our default)", low=0),
                Option("glue", str, " ", "what stands between them (our default)"),
            ),
            example=(
                """echo '{"context": "The mill was built in 1820.", """
                """"queries": ["When was the mill built?", "How old is it?"]}' """
                "| pairmine derive multi-queries - -o -"
            ),
            whole=True,
        ),
        from_row=multi_queries,
        extra=(pa.field("turn", pa.int32()),),
    ),
    Derivation(
        Recipe(
            name="descriptions",
            group="structure",
            summary="A short description, and other names, as queries for the first paragraph about a thing.",
            paper="WikiDes (Ta et al. 2022, arXiv 2209.13101)",
            needs="none",
            reads="rows",
            inputs=(
                Input(
                    "text",
                    "the article or its first paragraph",
                    ("paragraph", "document", "abstract", "summary", "extract"),
                ),
                Input("description", "what it is, in a few words", ("short_description", "gloss", "definition")),
                Input(
                    "aliases",
                    "other names, a list or a text with | between them",
                    ("alias", "also_known_as"),
                    required=False,
                ),
            ),
            options=(
                Option("max-words", int, 256, "words of the paragraph that are kept (WikiDes, in tokens)", low=1),
            ),
            example=(
                """echo '{"text": "The Elbe rises in the Giant Mountains.", """
                """"description": "river in Europe", "aliases": ["Labe"]}' """
                "| pairmine derive descriptions - -o -"
            ),
            whole=True,
        ),
        from_row=descriptions,
    ),
)
