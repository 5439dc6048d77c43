"""Labels from whoever sits at the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from pairmine.files.labels import Labels

_ANSWERS = {"y": 1, "yes": 1, "n": 0, "no": 0, "?": None}
_ASK = "Does the document answer the query? y, n, ? for unsure, b to go back, q to stop: "
_KNOWN = 3
"""So many known positives are shown beside a document."""
_LONGEST = {"known positive": 400}
_LONG = 3000
"""So many characters of a text are shown."""


def ask(sample: pa.Table, positives: dict[str, list[str]], labels: Labels) -> None:
    """Show each row of `sample` that has no label yet and keep what is answered, until q or the end of the input.

    `positives` are texts by query_id. Everything is shown on stderr, and answers are lines of standard input.
    """
    rows = sample.select(["query_id", "query", "doc_id", "document"]).to_pylist()
    todo = [number for number, row in enumerate(rows, 1) if (row["query_id"], row["doc_id"]) not in labels]
    at = 0
    while at < len(todo):
        row = rows[todo[at] - 1]
        _show(f"\n{todo[at]} of {len(rows)}")
        _show_row(row, positives.get(row["query_id"], []))
        answer = _answer()
        if answer == "q":
            return
        if answer == "b":
            at = max(at - 1, 0)
            continue
        labels.add(row["query_id"], row["doc_id"], _ANSWERS[answer])
        at += 1


def _show_row(row: dict[str, str], known: list[str]) -> None:
    _show("query", row["query"])
    for text in known[:_KNOWN]:
        _show("known positive", text)
    if len(known) > _KNOWN:
        _show(f"({len(known) - _KNOWN} more known positives)")
    _show("document", row["document"])


def _answer() -> str:
    while True:
        sys.stderr.write(_ASK)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            sys.stderr.write("\n")
            return "q"
        answer = line.strip().lower()
        if answer in ("q", "b") or answer in _ANSWERS:
            return answer
        _show(f'"{answer[:20]}" is no answer')


def _show(head: str, text: str | None = None) -> None:
    if text is None:
        sys.stderr.write(f"{head}\n")
        return
    longest = _LONGEST.get(head, _LONG)
    text = "".join(each if each.isprintable() else "\ufffd" for each in " ".join(text.split()))
    text = text if len(text) <= longest else f"{text[:longest]} ..."
    width = min(shutil.get_terminal_size((100, 20)).columns, 100)
    shown = textwrap.fill(f"{head}: {text}", width, subsequent_indent="    ", break_long_words=False)
    sys.stderr.write(f"{shown}\n")
