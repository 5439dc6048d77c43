"""Conversations: what answers what, and how far apart two turns are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import content_id, text_key
from pairmine.recipes import Input, Option, Recipe
from pairmine.schema import NEGATIVE
from pairmine.stages.derive.cells import ids
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import Derivation, DrawsOf, Found, FoundInTable, FromRow, FromTable, Pair
from pairmine.text import is_wordless

_TEXT_KEYS = ("text", "content", "utterance", "value", "message", "body")
_SPEAKER_KEYS = ("speaker", "role", "from", "author", "user", "name")


class Turn(NamedTuple):
    """What was said, and by whom; "" where that is not told."""

    text: str
    speaker: str


def _turns(value: Any, separator: str) -> list[Turn]:
    """The turns of a conversation: a list of texts or of objects with text and speaker, or one text with separators."""
    if isinstance(value, str):
        value = value.split(separator) if separator else [value]
    turns = [_turn(each) for each in value or ()]
    return [turn for turn in turns if turn.text and not is_wordless(turn.text)]


def _turn(value: Any) -> Turn:
    if value is None:
        return Turn("", "")
    if isinstance(value, str):
        return Turn(value.strip(), "")
    if isinstance(value, Mapping):
        text = next((value[key] for key in _TEXT_KEYS if isinstance(value.get(key), str)), None)
        speaker = next((value[key] for key in _SPEAKER_KEYS if value.get(key) is not None), "")
        if text is not None:
            return Turn(text.strip(), str(speaker))
        if not any(key in value for key in _TEXT_KEYS):
            raise PairmineError(
                f"a turn has no text (found: {', '.join(value)}); write turns as texts, or as objects with "
                f"{', '.join(_TEXT_KEYS[:3])} or {_TEXT_KEYS[3]}"
            )
        return Turn("", "")
    raise PairmineError(f"a turn is {str(value)[:40]!r}; write turns as texts, or as objects with a text and a speaker")


# --- Replies ------------------------------------------------------------------------------------


def reply(*, before: int, answers_of: str, separator: str) -> FromRow:
    """Each turn of a conversation as the answer to what was said before it."""

    def of_row(row: Mapping[str, Any], draws: Draws) -> Found:
        turns = _turns(row["turns"], separator)
        if len(turns) < 2:
            return Found((), "fewer than two turns")
        name = _name(row["id"], turns)
        pairs, skipped = [], []
        for at in range(1, len(turns)):
            said = turns[max(at - before, 0) : at]
            if answers_of and turns[at].speaker != answers_of:
                continue
            if turns[at].speaker and turns[at].speaker == turns[at - 1].speaker:
                skipped.append("turns after one of the same speaker")
            elif text_key(turns[at].text) in {text_key(turn.text) for turn in said}:
                skipped.append("turns that repeat the one before")
            else:
                query = "\n".join(turn.text for turn in said)
                pairs.append(Pair(f"{name}#q{at}", query, f"{name}#t{at}", turns[at].text))
        return Found(pairs, "no reply in it" + (f" by {answers_of}" if answers_of else ""), skipped)

    return of_row


def _name(given: Any, turns: Sequence[Turn]) -> str:
    named = str(given).strip() if given is not None else ""
    return named or content_id("\n".join(turn.text for turn in turns))


# --- Distances ----------------------------------------------------------------------------------


class _Talk(NamedTuple):
    """One conversation: its name, the row that it or its first turn stands in, its turns."""

    name: str
    row: int
    turns: Sequence[Turn]


def dialogue(*, window: int, triples: bool, random: int, joint: str, separator: str) -> FromTable:
    """Turns of one conversation, graded by how near they are to each other; random turns of others with grade 0."""

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        reasons: dict[int, str] = {}
        talks = _talks(rows, separator, reasons)
        if random and len(talks) == 1:
            raise PairmineError("--random draws turns from other conversations, and there is only one; pass --random 0")
        pairs: list[tuple[int, Pair]] = []
        for talk in talks:
            found = [
                each
                for at in range(len(talk.turns))
                for each in _from_turn(talk, at, window, triples, joint, random, talks, draws_of)
            ]
            if not found:
                reasons[talk.row] = "fewer than three turns" if triples else "no two different turns"
            pairs += [(talk.row, pair) for pair in found]
        return FoundInTable(pairs, reasons)

    return of_table


def _talks(rows: pa.Table, separator: str, reasons: dict[int, str]) -> list[_Talk]:
    """The conversations: one to a row, or rows of one id together where a row holds a single turn."""
    names = ids(rows, "id") if "id" in rows.column_names else [""] * rows.num_rows
    found: dict[str, _Talk] = {}
    for row, value in enumerate(rows["turns"].to_pylist()):
        turns = _turns(value, separator)
        name = names[row] or content_id("\n".join(turn.text for turn in turns))
        if not turns:
            reasons[row] = "no turns"
        elif name not in found:
            found[name] = _Talk(name, row, turns)
        elif len(turns) == 1 and names[row]:
            found[name] = found[name]._replace(turns=[*found[name].turns, *turns])
        else:
            reasons[row] = "the same conversation again"
    return list(found.values())


def _from_turn(
    talk: _Talk,
    at: int,
    window: int,
    triples: bool,
    joint: str,
    random: int,
    talks: Sequence[_Talk],
    draws_of: DrawsOf,
) -> Iterator[Pair]:
    """The rows whose window begins at turn `at`, those of one query together."""
    last = min(at + window, len(talk.turns))
    contexts = [(at, second) for second in range(at + 1, last - 1)] if triples else [(at,)]
    for context in contexts:
        texts = [talk.turns[each].text for each in context]
        query, query_id = joint.join(texts), f"{talk.name}#q" + "-".join(map(str, context))
        seen = {text_key(text) for text in (*texts, query)}
        for later in range(context[-1] + 1, last):
            text = talk.turns[later].text
            if (key := text_key(text)) not in seen:
                seen.add(key)
                grade = _grade(context, later, window)
                yield Pair(query_id, query, f"{talk.name}#t{later}", text, None, (grade, later - context[-1]))
        if context[-1] + 1 < last:
            for doc_id, text in _elsewhere(talk, talks, random, seen, draws_of(query_id)):
                yield Pair(query_id, query, doc_id, text, NEGATIVE, (0.0, None), "random")


def _grade(context: Sequence[int], later: int, window: int) -> float:
    """How near turn `later` is to the context: (window - distance) / window for one turn; for two turns their mean
    distance, from 1 for the nearest to 0.2 for the farthest that a window has room for."""
    if len(context) == 1:
        return (window - (later - context[0])) / window
    mean = sum(later - each for each in context) / len(context)
    nearest, farthest = 1.5, window - 1.5
    return 1.0 - 0.8 * (mean - nearest) / (farthest - nearest) if farthest > nearest else 1.0


def _elsewhere(
    talk: _Talk, talks: Sequence[_Talk], wanted: int, seen: set[int], draws: Draws
) -> Iterator[tuple[str, str]]:
    """Up to `wanted` turns of other conversations, drawn at random, none of which says what was `seen`."""
    left = wanted
    for _ in range(8 * wanted):
        other = talks[draws.below(len(talks))]
        at = draws.below(len(other.turns))
        key = text_key(other.turns[at].text)
        if left and other.name != talk.name and key not in seen:
            seen.add(key)
            left -= 1
            yield f"{other.name}#t{at}", other.turns[at].text


_TURNS = Input(
    "turns",
    "a list of turns (texts, or objects with text and speaker), or one text with --separator between them",
    ("dialog", "dialogue", "dialogs", "conversation", "conversations", "messages", "utterances", "thread", "text"),
)
_ID = Input(
    "id", "identity of the conversation", ("_id", "dialogue_id", "dialog_id", "conversation_id"), required=False
)
_BETWEEN = Option("separator", str, "__eou__", "what parts the turns of a conversation in one text (DailyDialog)")

DERIVATIONS = (
    Derivation(
        Recipe(
            name="reply",
            group="structure",
            summary="Each turn of a conversation as the answer to the turn before it.",
            paper="Universal Sentence Encoder, arXiv 1803.11175",
            needs="none",
            reads="rows",
            inputs=(_TURNS, _ID),
            options=(
                Option("before", int, 1, "turns before the answer that make the query, one to a line (USE)", low=1),
                Option("answers-of", str, "", "the speaker whose turns are answers; empty takes all (our default)"),
                _BETWEEN,
            ),
            example=(
                """echo '{"messages": [{"role": "user", "content": "When is high tide?"}, """
                """{"role": "assistant", "content": "At noon."}]}' | pairmine derive reply - -o -"""
            ),
        ),
        from_row=reply,
    ),
    Derivation(
        Recipe(
            name="dialogue",
            group="structure",
            summary="Turns of a conversation, graded by their distance; turns of other conversations with grade 0.",
            paper="Curved contrastive learning, arXiv 2211.07591; Triple-Encoders, arXiv 2402.12332",
            needs="none",
            reads="rows",
            inputs=(_TURNS, _ID),
            options=(
                Option(
                    "window", int, 5, "turns that are compared; distance i has grade (5-i)/5 (Triple-Encoders)", low=2
                ),
                Option(
                    "triples",
                    bool,
                    False,
                    "two turns as the query of a later one, grades 0.2 to 1 (Triple-Encoders)",
                ),
                Option(
                    "random",
                    int,
                    1,
                    "turns of others for each query, grade 0 (ours; Triple-Encoders draws queries)",
                    low=0,
                ),
                Option("joint", str, " ", "with --triples: what joins the two turns of a query (our default)"),
                _BETWEEN,
            ),
            example=(
                """printf '%s\\n' 'When is high tide? __eou__ At noon. __eou__ Then we sail. __eou__' """
                """'Is it far? __eou__ Two miles. __eou__' > talks.txt && pairmine derive dialogue talks.txt -o -"""
            ),
            whole=True,
        ),
        from_table=dialogue,
        extra=(pa.field("grade", pa.float32()), pa.field("distance", pa.int32())),
    ),
)
