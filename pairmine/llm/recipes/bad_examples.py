"""Replies that were turned down before, shown to the model as what to avoid.

Good and bad examples side by side, as in contrastive in-context learning (Gao and Das 2024, arXiv 2401.17390).
The bad ones are what an earlier run rejected, each with the reason, where the paper has the model find out for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from pairmine.errors import PairmineError
from pairmine.identity import seed_of
from pairmine.llm.recipes.parts import MOST_IN_POOL

FAILED = "failed: "
"""How the reason of a row begins that got no reply."""

_SUBJECTS = ("text", "query", "document")
_LONGEST_SUBJECT = 400
_LONGEST_REPLY = 1200
_OF_OTHERS = ("near copy of an earlier generation", "its query was written before", "repeated part")
"""Reasons that lie in what else was written: such a reply is no bad example by itself."""


class BadExample(NamedTuple):
    """A reply with what was wrong about it; `step` is None where it may belong to any."""

    name: str
    subject: str
    reply: str
    reason: str
    step: str | None = None


def bad_examples(rows: Iterable[Mapping[str, Any]], where: str) -> list[BadExample]:
    """The bad examples in rejected rows: each reply once, without calls that failed and copies of other rows' replies.

    Of more than 1,000 so many are chosen, by what they say. Raises PairmineError where there is none; `where` is
    how it calls the rows.
    """
    found: dict[str, BadExample] = {}
    for row in rows:
        example = _example(row)
        if example is not None:
            found.setdefault(example.name, example)
    if not found:
        raise PairmineError(
            f"{where}: no row has both a reply and a reason to learn from; give the --rejects of an earlier run"
        )
    return sorted(found.values(), key=lambda each: seed_of(0, each.name))[:MOST_IN_POOL]


def _example(row: Mapping[str, Any]) -> BadExample | None:
    reply, reason = (str(row.get(key) or "").strip() for key in ("reply", "reason"))
    if not reply or not reason or reason.startswith(FAILED) or reason in _OF_OTHERS:
        return None
    texts = (row.get(key) for key in _SUBJECTS)
    subject = next((text.strip() for text in texts if isinstance(text, str) and text.strip()), "")
    step = row.get("step")
    name = blake2b("\0".join([subject, reply, reason]).encode("utf-8", "replace"), digest_size=8).hexdigest()
    return BadExample(
        name, _cut(subject, _LONGEST_SUBJECT), _cut(reply, _LONGEST_REPLY), reason, str(step) if step else None
    )


def _cut(text: str, longest: int) -> str:
    """The beginning of a long text, in characters that every server takes."""
    whole = text.encode("utf-8", "replace").decode()
    return whole if len(whole) <= longest else f"{whole[:longest].rstrip()} ..."


def avoiding(examples: Sequence[BadExample], prompt: str) -> str:
    """The prompt behind examples of what to avoid."""
    shown = "\n\n".join(map(_shown, examples))
    head = "Earlier replies that were turned down, each with the reason. Do not make these mistakes."
    return f"{head}\n\n{shown}\n\nWhat you are to answer now:\n\n{prompt}"


def _shown(example: BadExample) -> str:
    subject = [f"Input: {example.subject}"] if example.subject else []
    return "\n".join([*subject, f"Bad reply: {example.reply}", f"What is wrong with it: {example.reason}"])
