"""Phrases of texts: what stands around them, and what could stand in their place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from pairmine.backends.encoders import Encoder
from pairmine.errors import PairmineError
from pairmine.identity import content_id, normalise
from pairmine.recipes import Input, Option, Recipe, Resource
from pairmine.schema import NEGATIVE
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import (
    DOCUMENT,
    PAIR,
    Derivation,
    DrawsOf,
    FoundInTable,
    FromTable,
    Pair,
)
from pairmine.stages.derive.wording import core
from pairmine.text import count_words, is_wordless, sentence_spans, word_pieces

_STOP_WORDS = frozenset(
    [
        "a",
        "about",
        "above",
        "after",
        "again",
        "all",
        "also",
        "am",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "because",
        "been",
        "before",
        "being",
        "below",
        "between",
        "both",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "doing",
        "down",
        "during",
        "each",
        "few",
        "for",
        "from",
        "further",
        "had",
        "has",
        "have",
        "having",
        "he",
        "her",
        "here",
        "hers",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "itself",
        "just",
        "may",
        "me",
        "might",
        "more",
        "most",
        "must",
        "my",
        "no",
        "nor",
        "not",
        "now",
        "of",
        "off",
        "on",
        "once",
        "only",
        "or",
        "other",
        "our",
        "out",
        "over",
        "own",
        "s",
        "same",
        "shall",
        "she",
        "should",
        "so",
        "some",
        "such",
        "t",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "through",
        "to",
        "too",
        "under",
        "until",
        "up",
        "upon",
        "us",
        "very",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whom",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
        "yet",
        "however",
        "therefore",
        "thus",
        "per",
        "via",
        "etc",
        "said",
        "says",
        "one",
        "two",
        "first",
    ]
)
"""English words that no phrase starts with, ends with or holds; ours."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_FUNCTION_WORDS = _set(
    "的 了 在 是 和 与 及 或 也 都 就 而 但 被 把 给 对 从 到 向 为 以 于 由 不 没 没有 这 那 这个 那个 "
    "这些 那些 他 她 它 他们 她们 我 我们 你 你们 其 之 所 着 过 地 得 并 并且 因为 所以 如果 还 又 再 很 更 最 "
    "个 一个 中 上 下 里 后 前 时 等 "
    "ที่ ซึ่ง อัน และ หรือ แต่ ใน บน ของ จาก ถึง กับ แก่ ต่อ โดย ด้วย เพื่อ เพราะ ว่า ให้ ได้ ไม่ เป็น คือ อยู่ มี "
    "จะ ก็ นี้ นั้น การ ความ เขา เธอ มัน พวกเขา เรา ฉัน แล้ว ยัง ไป มา ถูก เมื่อ ขณะ หลัง ก่อน อีก ทุก หลาย"
)
"""Chinese and Thai words that phrases stand between, ours; in Japanese it is what is written in hiragana alone."""

_HIRAGANA = re.compile("[\u3041-\u309fー]+")
_OPENS_PHRASE = re.compile(r"^[^\w\s'’\-]")
_ENDS_PHRASE = re.compile(r"[^\w\s'’\-]$")


def phrase_context(
    *, per_document: int, min_words: int, max_words: int, negatives: int, phrases: Sequence[str] | None
) -> FromTable:
    """A phrase as the query for a sentence that holds it; sentences that do not are its negatives."""
    if min_words > max_words:
        raise PairmineError(f"--min-words {min_words} is above --max-words {max_words}; lower it")
    wanted = {normalise(phrase) for phrase in phrases if phrase.strip()} if phrases is not None else None
    if wanted is not None:
        if not wanted:
            raise PairmineError("--phrases holds no phrase; write one to a line")
        max_words = max(len(word_pieces(phrase)[0]) for phrase in wanted)

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        ids, texts = rows["id"].to_pylist(), rows["text"].to_pylist()
        contexts = [list(_contexts(text or "")) for text in texts]
        places = [(row, at) for row, found in enumerate(contexts) for at in range(len(found))]
        pairs: list[tuple[int, Pair]] = []
        reasons: dict[int, str] = {}
        for row, found in enumerate(contexts):
            draws = draws_of(ids[row])
            candidates = [
                (at, phrase)
                for at, sentence in enumerate(found)
                for phrase in _phrases(sentence, min_words, max_words, wanted)
            ]
            if not candidates:
                reasons[row] = "no phrase" if found else "no text"
                continue
            seen: set[str] = set()
            for at, phrase in (candidates[drawn] for drawn in draws.sample(len(candidates), per_document)):
                if normalise(phrase) in seen:
                    continue
                seen.add(normalise(phrase))
                query_id = f"{ids[row]}#q{len(seen) - 1}"
                pairs.append((row, Pair(query_id, phrase, f"{ids[row]}#p{at}", found[at])))
                for other, where in _elsewhere(phrase, (row, at), places, contexts, negatives, draws):
                    document = contexts[other][where]
                    pairs.append((row, Pair(query_id, phrase, f"{ids[other]}#p{where}", document, NEGATIVE)))
        return FoundInTable(pairs, reasons)

    return of_table


def _contexts(text: str) -> Iterator[str]:
    for start, end in sentence_spans(text):
        sentence = text[start:end]
        if not is_wordless(sentence):
            yield sentence


def _phrases(sentence: str, fewest: int, most: int, wanted: set[str] | None) -> Iterator[str]:
    """Runs of words between stop words and marks, RAKE's candidates (Rose et al. 2010), or those that are `wanted`.

    A sentence that is nothing but its phrase is no context for it.
    """
    pieces, glue = word_pieces(sentence)
    total = count_words(sentence)
    if wanted is not None:
        for start in range(len(pieces)):
            for end in range(start + 1, min(len(pieces), start + most) + 1):
                phrase = core(glue.join(pieces[start:end]).strip())[1]
                if normalise(phrase) in wanted and end - start < len(pieces):
                    yield phrase
        return
    run: list[str] = []
    for piece in [*pieces, "."]:
        before, word, after = core(piece.strip())
        stops = _is_stop(word)
        if run and (stops or _OPENS_PHRASE.match(before)):
            if fewest <= len(run) <= most and len(run) < total:
                yield core(glue.join(run).strip())[1]
            run = []
        if not stops:
            run.append(piece)
        if run and _ENDS_PHRASE.search(after):
            if fewest <= len(run) <= most and len(run) < total:
                yield core(glue.join(run).strip())[1]
            run = []


def _is_stop(word: str) -> bool:
    """Whether no phrase holds this word: a stop word, or one without letters, such as a number."""
    return (
        not any(map(str.isalpha, word))
        or word.casefold() in _STOP_WORDS
        or word in _FUNCTION_WORDS
        or _HIRAGANA.fullmatch(word) is not None
    )


Place = tuple[int, int]
"""A row and the number of a sentence in it."""


def _elsewhere(
    phrase: str, here: Place, places: Sequence[Place], contexts: Sequence[Sequence[str]], wanted: int, draws: Draws
) -> list[Place]:
    """Places drawn at random whose sentences do not hold the phrase; fewer where few are found."""
    found: list[Place] = []
    key = normalise(phrase)
    for _ in range(wanted * 8 if len(places) > 1 else 0):
        place = places[draws.below(len(places))]
        if place != here and place not in found and key not in normalise(contexts[place[0]][place[1]]):
            found.append(place)
            if len(found) == wanted:
                break
    return found


_SWAPPED = ("entity", "subject", "action", "state")


def gcse_swap(*, views: int, entity_neighbours: int, part_neighbours: int, encoder: Encoder) -> FromTable:
    """For each text a part of it, with what of the same kind could stand in its place: near, far and other."""

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        kinds = [str(kind or "") for kind in rows["kind"].to_pylist()]
        types = rows["type"].to_pylist() if "type" in rows.column_names else [None] * rows.num_rows
        parts = rows["document"].to_pylist()
        groups = {at: (kinds[at], str(types[at] or "") if kinds[at] == "entity" else "") for at in range(len(kinds))}
        wanted = {kind: entity_neighbours if kind == "entity" else part_neighbours for kind in _SWAPPED}
        neighbours = _Neighbours(parts, groups, encoder, wanted)
        pairs: list[tuple[int, Pair]] = []
        reasons: dict[int, str] = {}
        for query_id, members in _by_text(rows["query_id"].to_pylist(), kinds, parts).items():
            reasons.update({at: "not a part that is swapped" for at in members if kinds[at] not in _SWAPPED})
            usable = [at for at in members if kinds[at] in _SWAPPED]
            draws = draws_of(query_id)
            rich = [at for at in usable if neighbours.has(at)] or usable
            for at in (rich[drawn] for drawn in draws.sample(len(rich), views)):
                extra = (kinds[at], *neighbours.of(at, draws), _count_of(rows, members, kinds))
                text = rows["query"][at].as_py()
                pairs.append((at, Pair(query_id, text, content_id(parts[at]), parts[at], None, extra)))
        chosen = {row for row, _ in pairs}
        reasons.update({row: "another part was drawn" for row in groups if row not in chosen and row not in reasons})
        return FoundInTable(pairs, reasons)

    return of_table


def _by_text(query_ids: Sequence[str], kinds: Sequence[str], parts: Sequence[str | None]) -> dict[str, list[int]]:
    """The rows of each text, a part of it once."""
    groups: dict[str, list[int]] = {}
    seen: set[tuple[str, str, str]] = set()
    for row, query_id in enumerate(query_ids):
        key = (query_id, kinds[row], normalise(parts[row] or ""))
        if key[2] and key not in seen:
            seen.add(key)
            groups.setdefault(query_id, []).append(row)
    return groups


def _count_of(rows: pa.Table, members: Sequence[int], kinds: Sequence[str]) -> float | None:
    if "count" not in rows.column_names:
        return None
    return next((rows["count"][at].as_py() for at in members if kinds[at] == "subject"), None)


class _Neighbours:
    """The parts of one kind by their vectors: FAISS, inner product of unit vectors, exact."""

    def __init__(
        self,
        parts: Sequence[str | None],
        groups: Mapping[int, tuple[str, str]],
        encoder: Encoder,
        wanted: Mapping[str, int],
    ) -> None:
        self._parts = parts
        self._groups = groups
        self._texts: dict[tuple[str, str], dict[str, str]] = {}
        for row, group in groups.items():
            part = parts[row] or ""
            if group[0] in wanted and part.strip():
                self._texts.setdefault(group, {}).setdefault(normalise(part), part)
        self._listed = {group: list(texts.values()) for group, texts in self._texts.items()}
        self._numbers = {group: {key: at for at, key in enumerate(texts)} for group, texts in self._texts.items()}
        self._near = {
            group: _ranked(list(texts.values()), encoder, wanted[group[0]]) for group, texts in self._texts.items()
        }

    def has(self, row: int) -> bool:
        """Whether another part is of this one's kind."""
        return len(self._texts.get(self._groups[row], ())) > 1

    def of(self, row: int, draws: Draws) -> tuple[str | None, str | None, str | None]:
        """The nearest neighbour, the farthest of the neighbours, and a part that is no neighbour; None for none."""
        group = self._groups[row]
        texts = self._listed.get(group, ())
        if len(texts) < 2:
            return None, None, None
        own = self._numbers[group][normalise(self._parts[row] or "")]
        near = self._near[group][own]
        taken = sorted({own, *near})
        other = None
        if len(texts) > len(taken):
            at = draws.below(len(texts) - len(taken))
            for number in taken:
                at += number <= at
            other = texts[at]
        return texts[near[0]], texts[near[-1]], other


def _ranked(texts: Sequence[str], encoder: Encoder, wanted: int) -> list[list[int]]:
    """The `wanted` nearest other texts of each, nearest first."""
    import faiss

    vectors = np.ascontiguousarray(encoder.encode(texts, "document"), np.float32)
    if len(texts) < 2:
        return [[] for _ in texts]
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    found = index.search(vectors, min(wanted + 1, len(texts)))[1]
    return [[int(other) for other in row if other not in (-1, at)][:wanted] for at, row in enumerate(found)]


DERIVATIONS = (
    Derivation(
        Recipe(
            name="phrase-context",
            group="structure",
            summary="A phrase as the query for a sentence around it, other sentences as its negatives.",
            paper="Phrase-BERT (Wang, Thompson and Iyyer 2021, arXiv 2109.06304)",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option("per-document", int, 1, "phrases drawn from each document (our default)", low=1),
                Option("min-words", int, 2, "words of the shortest run taken for a phrase (our default)", low=1),
                Option("max-words", int, 5, "words of the longest run taken for a phrase (our default)", low=1),
                Option("negatives", int, 1, "random contexts for each phrase (Phrase-BERT)", low=0),
            ),
            resources=(
                Resource(
                    "phrases",
                    "lines",
                    "phrases of any length to look for, one to a line; without it they are runs of words between "
                    "stop words, which we have for English, Chinese, Japanese and Thai",
                ),
            ),
            example=(
                """printf '%s\\n' '{"id": 1, "text": "The lighthouse keeper slept. A storm blew in from the sea."}' """
                """'{"id": 2, "text": "She sold second-hand books near the river."}' """
                "| pairmine derive phrase-context - -o -"
            ),
            whole=True,
        ),
        from_table=phrase_context,
    ),
    Derivation(
        Recipe(
            name="gcse-swap",
            group="structure",
            summary="For each text a part of it and what could stand in its place, for 'generate gcse'.",
            paper="GCSE (Lai et al. 2024, arXiv 2409.12887)",
            needs="encoder",
            reads="pairs",
            inputs=(
                *PAIR,
                Input("kind", "entity, subject, action or state, as 'generate gcse-extract' writes it"),
                Input("type", "of an entity its type", required=False),
                Input("count", "of a subject how many they are", required=False),
            ),
            options=(
                Option("views", int, 1, "parts drawn from each text (our default)", low=1),
                Option("entity-neighbours", int, 10, "neighbours of an entity among those of its type (GCSE)", low=1),
                Option("part-neighbours", int, 5, "neighbours of a subject, action or state (GCSE)", low=1),
            ),
            resources=(
                Resource("encoder", "encoder", "a bi-encoder, st:MODEL, that tells what is near", required=True),
            ),
            example=(
                """printf '%s\\n' '{"query": "Two dogs run.", "document": "dogs", "kind": "subject"}' """
                """'{"query": "A cat naps.", "document": "cat", "kind": "subject"}' """
                "| pairmine derive gcse-swap - --encoder fake: -o -"
            ),
            whole=True,
        ),
        from_table=gcse_swap,
        extra=(
            pa.field("kind", pa.string()),
            pa.field("near", pa.string()),
            pa.field("far", pa.string()),
            pa.field("other", pa.string()),
            pa.field("count", pa.float32()),
        ),
    ),
)
