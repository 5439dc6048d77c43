"""Texts in several languages that say the same: translations as pairs, as groups, as a way to paraphrases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from math import isqrt
from typing import Any

import numpy as np
import pyarrow as pa

from pairmine.backends.encoders import Encoder
from pairmine.errors import PairmineError
from pairmine.identity import content_id, normalise
from pairmine.recipes import Input, Option, Recipe, Resource
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import Derivation, DrawsOf, FoundInTable, FromTable, Pair, together
from pairmine.stages.filter.surface import alike
from pairmine.text import count_words, is_wordless

_ENGLISH = ("eng", "en", "english")
_TRIED_FOR_EACH = 1000
"""Pairs of wordings compared for each wanted one: a sentence with thousands of translations has millions."""


def parallel(*, max_ratio: float, both_ways: bool, target: Sequence[str] | None) -> FromTable:
    """A text and its translations, or with `both_ways` each side as the query of the other."""

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        sources, targets = rows["source"].to_pylist(), _targets(rows, target)
        pairs: list[tuple[int, Pair]] = []
        reasons: dict[int, str] = {}
        seen: set[tuple[str, str]] = set()
        for row, (one, other) in enumerate(zip(map(_text, sources), map(_text, targets), strict=True)):
            if reason := _unfit(one, other, max_ratio) or ("duplicate" if (one, other) in seen else ""):
                reasons[row] = reason
                continue
            seen.add((one, other))
            ids = content_id(one), content_id(other)
            pairs.append((row, Pair(ids[0], one, ids[1], other)))
            if both_ways:
                pairs.append((row, Pair(ids[1], other, ids[0], one)))
        return FoundInTable(together(pairs), reasons)

    return of_table


def _targets(rows: pa.Table, lines: Sequence[str] | None) -> Sequence[Any]:
    """The translations: a column, or the lines of another file."""
    if lines is None:
        if "target" not in rows.column_names:
            raise PairmineError(
                f'no "target" (found: {", ".join(rows.column_names)}); pass --target-column NAME, or --target FILE '
                "where the translations are a file of their own"
            )
        found: list[Any] = rows["target"].to_pylist()
        return found
    if "target" in rows.column_names:
        raise PairmineError("--target names a file, and the input has translations of its own; leave one of them out")
    if len(lines) != rows.num_rows:
        raise PairmineError(
            f"the input has {rows.num_rows:,} rows and --target {len(lines):,} lines, which must stand side by side; "
            "read a text file with --columns source, so that its blank lines count"
        )
    return lines


def _text(value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise PairmineError(f"{str(value)[:40]!r} stands where a text belongs; name the column that holds texts")
    return (value or "").strip()


def _unfit(source: str, target: str, max_ratio: float) -> str:
    """Why a pair of lines is no translation; "" where nothing speaks against it."""
    if not source or not target:
        return "no source text" if not source else "no translation"
    if is_wordless(source) or is_wordless(target):
        return "no words"
    if normalise(source) == normalise(target):
        return "the translation is the source"
    lengths = sorted((count_words(source), count_words(target)))
    return "lengths too far apart" if max_ratio and lengths[1] > max_ratio * max(lengths[0], 1) else ""


def parallel_groups(*, pivot: str) -> FromTable:
    """What says the same in several languages: one member as the query, all others as its positives."""

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        languages = rows["lang"].to_pylist() if "lang" in rows.column_names else [None] * rows.num_rows
        if pivot and "lang" not in rows.column_names:
            raise PairmineError("--pivot names a language, and there is no column of languages; leave it out")
        groups, reasons = _members(rows)
        pairs: list[tuple[int, Pair]] = []
        for key, members in groups.items():
            if len(members) < 2:
                reasons.update(dict.fromkeys(members.values(), "alone in its group"))
                continue
            texts = list(members)
            query = _query_of(texts, [languages[members[text]] for text in texts], pivot, draws_of(key))
            if query is None:
                reasons.update(dict.fromkeys(members.values(), f"no text in {pivot} in its group"))
                continue
            query_id = f"{key}:{content_id(query)}"
            for text in texts:
                if text != query:
                    extra = (languages[members[query]], languages[members[text]])
                    pairs.append((members[text], Pair(query_id, query, content_id(text), text, extra=extra)))
        return FoundInTable(pairs, reasons)

    return of_table


def _members(rows: pa.Table) -> tuple[dict[str, dict[str, int]], dict[int, str]]:
    """The texts of each group with their rows, and why other rows belong to none."""
    groups: dict[str, dict[str, int]] = {}
    seen: set[tuple[str, str]] = set()
    reasons: dict[int, str] = {}
    for row, (key, value) in enumerate(zip(rows["group"].to_pylist(), rows["text"].to_pylist(), strict=True)):
        text = _text(value)
        if key is None or not str(key).strip():
            reasons[row] = "no group"
        elif not text or is_wordless(text):
            reasons[row] = "no text"
        elif (str(key), normalise(text)) in seen:
            reasons[row] = "duplicate"
        else:
            seen.add((str(key), normalise(text)))
            groups.setdefault(str(key), {})[text] = row
    return groups, reasons


def _query_of(texts: Sequence[str], languages: Sequence[object], pivot: str, draws: Draws) -> str | None:
    if not pivot:
        return texts[draws.below(len(texts))]
    return next((text for text, language in zip(texts, languages, strict=True) if language == pivot), None)


def pivot(*, min_hits: int, min_cosine: float, max_ratio: float, per_group: int, encoder: Encoder | None) -> FromTable:
    """Translations of one source sentence as paraphrases of each other."""
    near = alike(max_ratio)

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        groups, reasons = _by_pivot(rows)
        for key in list(groups):
            if sum(len(group) for group in groups[key].values()) < min_hits or len(groups[key]) < 2:
                reasons.update(
                    {row: "fewer than two translations" for group in groups.pop(key).values() for row in group}
                )
        if encoder is not None:
            _keep_close(groups, rows, encoder, min_cosine, reasons)
        pairs: list[tuple[int, Pair]] = []
        used: set[int] = set()
        for key, texts in groups.items():
            firsts = [group[0] for group in texts.values()]
            found = _paraphrases(
                rows["translation"].take(pa.array(firsts, pa.int64())).to_pylist(), near, per_group, draws_of(key)
            )
            for one, other, pair in found:
                pairs.append((firsts[other], pair._replace(extra=(key.rpartition("\n")[2] or None,))))
                used.update((firsts[one], firsts[other]))
            for group in texts.values():
                reasons.update(dict.fromkeys(group[1:], "duplicate"))
        for texts in groups.values():
            reasons.update({group[0]: "no other wording" for group in texts.values() if group[0] not in used})
        return FoundInTable(together(pairs), reasons)

    return of_table


Groups = dict[str, dict[str, list[int]]]
"""By pivot, and the language that it was translated into where that is known, the rows of each wording, normalised."""


def _by_pivot(rows: pa.Table) -> tuple[Groups, dict[int, str]]:
    groups: Groups = {}
    reasons: dict[int, str] = {}
    languages = rows["lang"].to_pylist() if "lang" in rows.column_names else [""] * rows.num_rows
    columns = zip(rows["pivot"].to_pylist(), rows["translation"].to_pylist(), languages, strict=True)
    for row, (source, text, language) in enumerate(columns):
        key, wording = normalise(_text(source)), normalise(_text(text))
        if not key or not wording:
            reasons[row] = "no source text" if not key else "no translation"
        else:
            groups.setdefault(f"{key}\n{language or ''}", {}).setdefault(wording, []).append(row)
    return groups, reasons


def _keep_close(groups: Groups, rows: pa.Table, encoder: Encoder, least: float, reasons: dict[int, str]) -> None:
    """Take out the wordings whose vectors are not near enough to their pivot's, and groups of which one is left."""
    keys = list(groups)
    vectors = encoder.encode(
        [str(rows["pivot"][next(iter(groups[key].values()))[0]].as_py()) for key in keys], "document"
    )
    wordings = [(at, wording) for at, key in enumerate(keys) for wording in groups[key]]
    firsts = pa.array([groups[keys[at]][wording][0] for at, wording in wordings], pa.int64())
    others = encoder.encode(rows["translation"].take(firsts).to_pylist(), "document")
    owners = np.array([at for at, _ in wordings], np.int64)
    close = (vectors[owners] * others).sum(axis=1) > least if len(wordings) else np.empty(0, bool)
    for (at, wording), is_close in zip(wordings, close.tolist(), strict=True):
        if not is_close:
            reasons.update(dict.fromkeys(groups[keys[at]].pop(wording), "far from its source"))
    for key in keys:
        if len(groups[key]) < 2:
            reasons.update({row: "no other wording" for group in groups.pop(key).values() for row in group})


def _pair_number(number: int) -> tuple[int, int]:
    """The pair with this number in the order (0, 1), (0, 2), (1, 2), (0, 3), ..."""
    larger = (1 + isqrt(1 + 8 * number)) // 2
    return number - larger * (larger - 1) // 2, larger


def _paraphrases(texts: Sequence[str], near: Any, most: int, draws: Draws) -> list[tuple[int, int, Pair]]:
    """Pairs of different enough wordings, at most `most`, each turned round by a draw."""
    texts = [text.strip() for text in texts]
    prepared = [near.prepare(text) for text in texts]
    every = len(texts) * (len(texts) - 1) // 2
    tried: Iterable[tuple[int, int]] = combinations(range(len(texts)), 2)
    if most and every > most * _TRIED_FOR_EACH:
        tried = map(_pair_number, draws.sample(every, most * _TRIED_FOR_EACH))
    apart = [(one, other) for one, other in tried if not near.compare(prepared[one], prepared[other])]
    pairs = []
    for at in draws.sample(len(apart), most or len(apart)):
        one, other = apart[at] if draws.unit() < 0.5 else apart[at][::-1]
        pair = Pair(content_id(texts[one]), texts[one], content_id(texts[other]), texts[other])
        pairs.append((one, other, pair))
    return pairs


_SOURCE = Input("source", "the text", ("src", "source_text", "text", "sentence", "sentence1", *_ENGLISH))

DERIVATIONS = (
    Derivation(
        Recipe(
            name="parallel",
            group="structure",
            summary="A text with its translation.",
            paper="Multilingual distillation (Reimers and Gurevych 2020, arXiv 2004.09813)",
            needs="none",
            reads="rows",
            inputs=(
                _SOURCE,
                Input(
                    "target",
                    "its translation; --target FILE where it is in a file of its own",
                    ("tgt", "target_text", "translation", "sentence2", *_ENGLISH),
                    required=False,
                ),
            ),
            options=(
                Option(
                    "max-ratio",
                    float,
                    9.0,
                    "how many times as many words one side may have; 0 for any (9, as Moses' cleaning script)",
                    low=0,
                ),
                Option("both-ways", bool, False, "each side as the query of the other (our default: source to target)"),
            ),
            resources=(
                Resource("target", "lines", "the translations, a line for each line of the input (Moses' layout)"),
            ),
            example=(
                """echo '{"en": "Where is the station?", "source": "Wo ist der Bahnhof?"}' """
                "| pairmine derive parallel - -o -"
            ),
            whole=True,
        ),
        from_table=parallel,
    ),
    Derivation(
        Recipe(
            name="parallel-groups",
            group="structure",
            summary="What says the same in several languages, as one query with many positives.",
            paper="1-to-K (Nie et al. 2024, arXiv 2406.18254)",
            needs="none",
            reads="rows",
            inputs=(
                Input(
                    "group",
                    "what texts that say the same have in common",
                    ("parallel", "concept_id", "group_id", "set_id"),
                ),
                Input("text", "the text", ("sentence", "caption", "translation")),
                Input("lang", "its language", ("language", "lang_id", "locale"), required=False),
            ),
            options=(
                Option(
                    "pivot", str, "", "language of the query; a member drawn at random without it (1-to-K: no pivot)"
                ),
            ),
            example=(
                """printf '%s\\n' '{"group": "7", "lang": "en", "text": "Good morning."}' """
                """'{"group": "7", "lang": "de", "text": "Guten Morgen."}' """
                """'{"group": "7", "lang": "fr", "text": "Bonjour."}' | pairmine derive parallel-groups - -o -"""
            ),
            whole=True,
        ),
        from_table=parallel_groups,
        extra=(pa.field("query_lang", pa.string()), pa.field("lang", pa.string())),
    ),
    Derivation(
        Recipe(
            name="pivot",
            group="structure",
            summary="Translations of one sentence as paraphrases of each other.",
            paper="Mined paraphrases (Dadas 2022, arXiv 2207.12759)",
            needs="none",
            reads="rows",
            inputs=(
                Input("pivot", "the sentence that was translated", ("source", "src", "source_text", *_ENGLISH)),
                Input("translation", "a translation of it", ("target", "tgt", "target_text", "text", "sentence")),
                Input(
                    "lang",
                    "the translation's language; without it all are taken to be of one",
                    ("language", "target_lang"),
                    required=False,
                ),
            ),
            options=(
                Option("min-hits", int, 2, "translations that a sentence must have (Dadas)", low=2),
                Option(
                    "min-cosine",
                    float,
                    0.7,
                    "with --encoder, a translation must be nearer than this (Dadas)",
                    low=-1,
                    high=1,
                ),
                Option(
                    "max-ratio",
                    float,
                    0.99,
                    "wordings that are more alike, by Levenshtein ratio, give no pair (Dadas)",
                    low=0.5,
                    high=1,
                ),
                Option(
                    "per-group",
                    int,
                    10,
                    "most pairs out of one sentence's translations; 0 takes all (our default)",
                    low=0,
                ),
            ),
            resources=(
                Resource(
                    "encoder",
                    "encoder",
                    "a multilingual bi-encoder that checks translations against their source; unchecked without it",
                ),
            ),
            example=(
                """printf '%s\\n' '{"source": "Gute Nacht!", "target": "Good night!"}' """
                """'{"source": "Gute Nacht!", "target": "Sleep well!"}' | pairmine derive pivot - -o -"""
            ),
            whole=True,
        ),
        from_table=pivot,
        extra=(pa.field("lang", pa.string()),),
    ),
)
