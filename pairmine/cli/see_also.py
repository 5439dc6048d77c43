"""What stands at the end of a command's help: exit codes, files that it keeps, and where to read on."""

from __future__ import annotations

from collections.abc import Sequence

_ASKS = frozenset({"derive", "embed", "mine", "score", "dedup", "mix", "stats"})
"""Commands that may load a model or ask a server."""
_COUNTS_FAILURES = frozenset({"generate", "score", "calibrate"})
_TESTS = frozenset({"check", "doctor"})
_KEEPS = {
    "generate": ".pairmine/ledger.sqlite, every reply that was paid for",
    "ledger": ".pairmine/ledger.sqlite, every reply that was paid for",
    "embed": ".pairmine/vectors, so that no text is embedded twice",
    "mine": ".pairmine/vectors, so that no text is embedded twice",
    "store": ".pairmine/vectors, so that no text is embedded twice",
    "score": ".pairmine/vectors and .pairmine/ledger.sqlite, so that no pair is scored twice",
    "calibrate": ".pairmine/ledger.sqlite with --judge, every reply that was paid for",
}
_READ_ON = {
    "recipes": ("docs/recipes.md, docs/write-a-recipe.md", ("derive", "generate")),
    "derive": ("docs/derive.md, docs/recipes.md", ("recipes", "generate", "mine")),
    "generate": ("docs/generate.md, docs/recipes.md", ("recipes", "ledger", "mine")),
    "ledger": ("docs/generate.md", ("generate",)),
    "embed": ("docs/embed.md", ("mine", "store")),
    "store": ("docs/embed.md", ("embed", "mine")),
    "mine": ("docs/mine.md, docs/scale.md", ("score", "filter")),
    "score": ("docs/score.md", ("mine", "filter", "calibrate")),
    "filter": ("docs/decisions.md", ("calibrate", "mine", "export")),
    "calibrate": ("docs/decisions.md", ("filter", "score")),
    "dedup": ("docs/dedup.md", ("mix", "check")),
    "mix": ("docs/mix.md", ("dedup", "export")),
    "export": ("docs/export.md, docs/trainers.md", ("check", "convert")),
    "convert": ("docs/convert.md", ("export", "info")),
    "check": ("docs/check.md", ("stats", "report")),
    "info": ("docs/design.md", ("head", "stats")),
    "head": ("docs/design.md", ("info", "stats")),
    "stats": ("docs/stats.md", ("report", "calibrate")),
    "report": ("docs/report.md", ("stats", "check")),
    "doctor": ("docs/doctor.md, docs/habits.md", ()),
}


def notes_on(path: Sequence[str]) -> list[tuple[str, str]]:
    """The notes on a command, given its words; none for the program itself.

    >>> notes_on(["info"])[0]
    ('exit code', '0 done; 2 the command line or an input is wrong')
    """
    if not path or path[0] not in _READ_ON:
        return []
    command = path[0]
    notes = [("exit code", _exits(command))]
    if command in _KEEPS:
        notes.append(("keeps", _KEEPS[command]))
    pages, others = _READ_ON[command]
    return [*notes, ("see also", ", ".join([pages, *(f"pairmine {other}" for other in others)]))]


def _exits(command: str) -> str:
    if command == "doctor":
        return "0 the core works; 1 something that it needs does not"
    parts = ["0 done"]
    if command in _TESTS:
        parts.append("1 a test failed")
    if command in _COUNTS_FAILURES:
        parts.append("1 done, but more calls failed than --max-failed allows")
    parts.append("2 the command line or an input is wrong")
    if command in _ASKS | _COUNTS_FAILURES:
        parts.append("3 a model, a server or the disk gave up")
        parts.append("130 interrupted; after both the same command goes on")
    else:
        parts += ["3 the disk gave up", "130 interrupted"]
    return "; ".join(parts)
