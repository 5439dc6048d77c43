"""Graphs of ids: documents that one list names together, documents that name each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import text_key
from pairmine.recipes import Input, Option, Recipe, Resource
from pairmine.schema import NEGATIVE, document_text
from pairmine.stages.derive import cells
from pairmine.stages.derive.registry import Derivation, DrawsOf, FoundInTable, FromTable, Pair

_ABSENT = "not in --corpus"


@dataclass(frozen=True)
class _Corpus:
    """The texts of the documents by id, in the corpus's order, and the domain of each where a column names it."""

    texts: dict[str, str]
    keys: dict[str, int]
    places: dict[str, int]
    domains: dict[str, str]


def _corpus(documents: pa.Table, domain_column: str) -> _Corpus:
    names = documents["id"].to_pylist()
    texts = {name: text.strip() for name, text in zip(names, document_text(documents).to_pylist(), strict=True) if text}
    texts = {name: text for name, text in texts.items() if text}
    domains: dict[str, str] = {}
    if domain_column:
        if domain_column not in documents.column_names:
            found = ", ".join(documents.column_names)
            raise PairmineError(f"--domain-field {domain_column}: the corpus has no such column (found: {found})")
        domains = dict(zip(names, cells.ids(documents, domain_column), strict=True))
    return _Corpus(
        texts,
        {name: text_key(text) for name, text in texts.items()},
        {name: place for place, name in enumerate(names)},
        domains,
    )


def _edges(rows: pa.Table) -> list[tuple[str, tuple[str, ...]]]:
    """Who names whom, row by row: one id, or a list of them."""
    return list(zip(cells.ids(rows, "citing"), cells.labels(rows, "cited"), strict=True))


def co_citation(
    *, min_count: int, max_list: int, per_document: int, undirected: bool, domain_field: str, corpus: pa.Table
) -> FromTable:
    """Two documents that are named together as a pair."""

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        known = _corpus(corpus, domain_field)
        reasons: dict[int, str] = {}
        lists = _lists(rows, known, undirected, reasons)
        notes = {}
        if long := [name for name, members in lists.items() if len(members) > max_list]:
            notes[f"lists of more than {max_list}, left out"] = len(long)
        counts: dict[tuple[str, str], int] = {}
        first: dict[tuple[str, str], int] = {}
        for members in lists.values():
            together = sorted(members, key=known.places.__getitem__) if len(members) <= max_list else ()
            for pair in combinations(together, 2):
                counts[pair] = counts.get(pair, 0) + 1
                first.setdefault(pair, max(members[pair[0]], members[pair[1]]))
        kept = {pair: count for pair, count in counts.items() if count >= min_count and _differ(pair, known)}
        pairs = [
            (first[pair], _pair(*pair, known, (count, *_domain(pair, known, domain_field))))
            for pair, count in _best(kept, known, per_document)
        ]
        _explain(lists, kept, max_list, reasons)
        return FoundInTable(pairs, reasons, notes)

    return of_table


def _lists(rows: pa.Table, known: _Corpus, undirected: bool, reasons: dict[int, str]) -> dict[str, dict[str, int]]:
    """For each id what it names, with the row of each; ids without a text in the corpus are left out."""
    lists: dict[str, dict[str, int]] = {}
    for row, (citing, cited) in enumerate(_edges(rows)):
        if not citing or not cited:
            reasons[row] = "no id"
            continue
        edges = [(citing, name) for name in cited] + [(name, citing) for name in cited if undirected]
        there = [(source, name) for source, name in edges if name in known.texts and source != name]
        for source, name in there:
            lists.setdefault(source, {}).setdefault(name, row)
        if not there:
            reasons[row] = "an id that names itself" if set(cited) == {citing} else _ABSENT
    return lists


def _differ(pair: tuple[str, str], known: _Corpus) -> bool:
    return known.keys[pair[0]] != known.keys[pair[1]]


def _domain(pair: tuple[str, str], known: _Corpus, field: str) -> tuple[str | None, ...]:
    """The domain of both documents, None where they have two or none; nothing where none was asked for."""
    if not field:
        return ()
    one, other = (known.domains[name] for name in pair)
    return (one if one and one == other else None,)


def _best(counts: dict[tuple[str, str], int], known: _Corpus, most: int) -> Iterator[tuple[tuple[str, str], int]]:
    """The pairs in the corpus's order, of each query those that are named together most often."""
    groups: dict[str, list[tuple[int, int, str]]] = {}
    for (query, document), count in counts.items():
        groups.setdefault(query, []).append((-count, known.places[document], document))
    for query in sorted(groups, key=known.places.__getitem__):
        found = sorted(groups[query])
        for count, _, document in found[:most] if most else found:
            yield (query, document), -count


def _explain(
    lists: dict[str, dict[str, int]], kept: dict[tuple[str, str], int], max_list: int, reasons: dict[int, str]
) -> None:
    """Why a row's documents came into no pair: alone, in too long a list, too seldom together."""
    used = {name for pair in kept for name in pair}
    found: dict[int, str] = {}
    for members in lists.values():
        for name, row in members.items():
            if len(members) > max_list:
                found.setdefault(row, f"in a list of more than {max_list}")
            elif len(members) == 1:
                found.setdefault(row, "alone in its list")
            elif name in used:
                found[row] = ""
            else:
                found.setdefault(row, "too seldom together")
    reasons.update({row: reason for row, reason in found.items() if reason})


def _pair(query: str, document: str, known: _Corpus, extra: tuple[Any, ...] = ()) -> Pair:
    return Pair(query, known.texts[query], document, known.texts[document], extra=extra)


def _co_citation_columns(*, domain_field: str, **options: Any) -> Sequence[pa.Field]:
    count = pa.field("count", pa.int32())
    return [count, pa.field("domain", pa.string())] if domain_field else [count]


def citations(*, hard_negatives: int, corpus: pa.Table) -> FromTable:
    """A document as the query of those that it names, with some that only those name as hard negatives."""

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        known = _corpus(corpus, "")
        reasons: dict[int, str] = {}
        groups: dict[str, dict[str, tuple[int, Pair]]] = {}
        for row, (citing, cited) in enumerate(_edges(rows)):
            reasons[row] = _reason(citing, cited, known)
            for name in cited:
                if citing in known.texts and name in known.texts and _differ((citing, name), known):
                    reasons[row] = "duplicate"
                    groups.setdefault(citing, {}).setdefault(name, (row, _pair(citing, name, known)))
        pairs: list[tuple[int, Pair]] = []
        for citing, group in groups.items():
            pairs += group.values()
            row = next(iter(group.values()))[0]
            further = _further(citing, groups, known)
            drawn = draws_of(citing).sample(len(further), hard_negatives) if hard_negatives else []
            pairs += [(row, _pair(citing, further[at], known)._replace(label=NEGATIVE)) for at in drawn]
        for row, _ in pairs:
            reasons.pop(row, None)
        return FoundInTable(pairs, reasons)

    return of_table


def _further(citing: str, groups: Mapping[str, Mapping[str, object]], known: _Corpus) -> list[str]:
    """What the documents that `citing` names name themselves, and it does not, nor a copy of what it names."""
    near = {known.keys[name] for name in (citing, *groups[citing])}
    found = dict.fromkeys(far for name in groups[citing] for far in groups.get(name, ()))
    return [name for name in found if known.keys[name] not in near]


def _reason(citing: str, cited: Sequence[str], known: _Corpus) -> str:
    if not citing or not cited:
        return "no id"
    if set(cited) == {citing}:
        return "an id that names itself"
    is_there = citing in known.texts and any(name in known.texts for name in cited)
    return "both documents have the same text" if is_there else _ABSENT


_CITING = Input(
    "citing",
    "identity of what names others: a paper, a page, a session, a basket",
    (
        *("citing_id", "citing_paper", "from", "from_id", "source", "source_id", "paper_id", "corpusid", "citing_doi"),
        *("session", "session_id", "basket", "basket_id", "user", "user_id", "query_id", "id"),
    ),
)
_CITED = Input(
    "cited",
    "identity of what it names, or a list of them",
    (
        *("cited_id", "cited_paper", "to", "to_id", "target", "target_id", "references", "referenced_works"),
        *("outbound_citations", "cited_doi", "links", "items", "item", "item_id", "doc_id", "product_id"),
    ),
)
_CORPUS = Resource(
    "corpus", "documents", "the documents that the ids stand for: id, text and perhaps title", required=True
)

_EXAMPLE = (
    """printf '%s\\n' '{"id": "a", "text": "Tides of the North Sea."}' '{"id": "b", "text": "Storm surges."}' """
    """> docs.jsonl && printf 'citing,cited\\n"""
)

DERIVATIONS = (
    Derivation(
        Recipe(
            name="co-citation",
            group="structure",
            summary="Two documents that a third one cites together, or that any list of ids holds together.",
            paper="MoE co-citation, arXiv 2401.15713",
            needs="none",
            reads="rows",
            inputs=(_CITING, _CITED),
            options=(
                Option("min-count", int, 1, "lists that must hold both documents (our default)", low=1),
                Option("max-list", int, 100, "longest list that counts; longer ones say little (our default)", low=2),
                Option(
                    "per-document",
                    int,
                    0,
                    "most positives of a query, those named together most often; 0 takes all (our default)",
                    low=0,
                ),
                Option("undirected", bool, False, "let each link count both ways"),
                Option(
                    "domain-field",
                    str,
                    "",
                    "column of the corpus with the domain; a pair has it where both agree (MoE co-citation)",
                ),
            ),
            example=f"{_EXAMPLE}x,a\\nx,b\\n' > x.csv && pairmine derive co-citation x.csv --corpus docs.jsonl -o -",
            whole=True,
            resources=(_CORPUS,),
        ),
        from_table=co_citation,
        extra=_co_citation_columns,
    ),
    Derivation(
        Recipe(
            name="citations",
            group="structure",
            summary="A document as the query of those that it cites or links to.",
            paper="SPECTER, arXiv 2004.07180",
            needs="none",
            reads="rows",
            inputs=(_CITING, _CITED),
            options=(
                Option(
                    "hard-negatives",
                    int,
                    0,
                    "negatives out of what its positives cite and it does not (SPECTER; 0 is our default)",
                    low=0,
                ),
            ),
            example=f"{_EXAMPLE}a,b\\n' > links.csv && pairmine derive citations links.csv --corpus docs.jsonl -o -",
            whole=True,
            resources=(_CORPUS,),
        ),
        from_table=citations,
    ),
)
