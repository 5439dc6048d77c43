"""What the rows of a pair set cost: its recipes and models, looked up in the ledger of paid replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairmine.ledger import Total

Dollars = Callable[["Total"], "float | None"]


def spent(ledger: str, entries: Sequence[dict[str, Any]], found: dict[str, Any], price: str | None) -> dict[str, Any]:
    """Tokens and dollars by recipe and model, of the recipes that wrote or judged the rows of a pair set.

    They are named by its lineage, or by the origins in `found`, which `Stats.to_dict` gave. A ledger does not know
    which run a reply was for: the sums are of all runs with that recipe and model; nor does a row know which of
    several models wrote it, so that their rows are None then. `price` is what --price says, for all of them.
    """
    from pairmine.ledger import Ledger

    dollars = _dollars(price)
    asked = _asked(entries, found["templates"])
    with Ledger(ledger, read_only=True) as opened:
        totals = opened.totals()
    own = [total for total in totals if any(_is_of(total, each) for each in asked)]
    models_of = Counter(total.recipe for total in own)
    alone = {recipe: counts for recipe, counts in found["templates"].items() if models_of[recipe] == 1}
    rows = [_row(total, dollars(total), alone) for total in own]
    others = [dollars(total) for total in totals if total not in own]
    usd = _sum([row["usd"] for row in rows])
    return {
        "ledger": ledger,
        "recipes": rows,
        "usd": usd,
        "usd_per_row": _per(usd, found["rows"]),
        "usd_per_query": _per(usd, found["queries"]),
        "other_replies": sum(total.replies for total in totals if total not in own),
        "other_usd": _sum(others),
    }


def _asked(entries: Sequence[dict[str, Any]], templates: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Recipes, and the model that each was put to, None where that is not known."""
    found: list[tuple[str, str | None]] = []
    for entry in entries:
        for prompt in entry.get("prompts", []):
            found += [(prompt["name"], model["name"]) for model in entry.get("models", []) if "name" in model]
    known = {recipe for recipe, _ in found}
    return found + [(recipe, None) for recipe in templates if recipe not in known]


def _is_of(total: Total, asked: tuple[str, str | None]) -> bool:
    return total.recipe == asked[0] and asked[1] in (None, total.model)


def _row(total: Total, usd: float | None, templates: dict[str, Any]) -> dict[str, Any]:
    counts = templates.get(total.recipe)
    rows = sum(counts["rows"].values()) if counts else None
    return {
        "recipe": total.recipe,
        "model": total.model,
        "backend": total.backend,
        "replies": total.replies,
        "prompt_tokens": total.prompt_tokens,
        "cached_tokens": total.cached_tokens,
        "completion_tokens": total.completion_tokens,
        "usd": usd,
        "rows": rows,
        "usd_per_row": _per(usd, rows),
    }


def _dollars(price: str | None) -> Dollars:
    from pairmine.cli.ledger import list_price
    from pairmine.llm.money import parse_price

    if price is None:
        return list_price
    per_token = parse_price(price)
    return lambda total: per_token.usd(total.prompt_tokens, total.completion_tokens, total.cached_tokens)


def _sum(costs: Sequence[float | None]) -> float | None:
    """The sum of what is known, None where nothing is."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


def _per(usd: float | None, count: int | None) -> float | None:
    return usd / count if usd is not None and count else None
