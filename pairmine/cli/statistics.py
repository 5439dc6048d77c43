"""The numbers of `pairmine stats` as lines for people."""

from __future__ import annotations

from typing import Any

_LABELS = ("positive", "negative", "undecided")
_QUANTILES = ("mean", "p5", "p50", "p95", "max")


def lines(found: dict[str, Any]) -> list[str]:
    """`Stats.to_dict()` as a few aligned tables."""
    out = [
        f"{found['rows']:,} rows, {found['queries']:,} queries, {found['documents']:,} documents",
        *(
            [f"{found['queries_without_positive']:,} queries have no positive"]
            if found["queries_without_positive"]
            else []
        ),
        "",
        *_table("rows by origin", _LABELS, _origins(found)),
        "",
        *_table(
            "rows per query",
            _QUANTILES,
            [(label, _cells(found["per_query"][label])) for label in _LABELS if _any(found["per_query"][label])],
        ),
        "",
        *_table(
            "length",
            _QUANTILES,
            [
                (f"{side} {unit}", _cells(found["lengths"][side][unit]))
                for side in ("query", "document")
                for unit in ("words", "characters")
            ],
        ),
    ]
    for name, score in found["scores"].items():
        scale = f" ({score['scale']})" if score.get("scale") else ""
        rows = [(label, _cells(score[label])) for label in _LABELS if score[label]["count"]]
        out += ["", *_table(f"{name}{scale}", _QUANTILES, rows), *_separation(score)]
    return out


_AUDITED = (
    ("alignment", "mean squared distance of a positive pair, 0 to 4; lower is better"),
    ("uniformity", "log mean Gaussian kernel of two texts, -8 to 0; lower is better"),
    ("mrr", "mean reciprocal rank of a positive"),
    ("hits@1", "share of positives that come first"),
    ("hits@3", "... that are among the first three"),
    ("hits@10", "... that are among the first ten"),
    ("mean_rank", "mean rank of a positive"),
    ("spearman", "rank correlation of cosine and grade"),
)


def audit_lines(found: dict[str, Any]) -> list[str]:
    """`stages.audit.audit` as a small table, with the numbers of another pair set where there are any."""
    heads = ["value"] + (["original", "difference"] if "original" in found else [])
    title = (
        f"{found['name']} on {found['positive_pairs']:,} positive pairs of {found['queries']:,} queries, "
        f"ranked among {found['candidates']:,} {found['among']}"
    )
    rows = []
    for name, _ in _AUDITED:
        if found[name] is None:
            continue
        values = [found[name]]
        if "original" in found:
            values += [found["original"][name], found["difference"][name]]
        rows.append((name, [_exact(value) for value in values]))
    meanings = dict(_AUDITED)
    table = _table("", tuple(heads), rows)
    return [
        "",
        title,
        table[0],
        *(f"{line}  {meanings[name]}" for line, (name, _) in zip(table[1:], rows, strict=True)),
    ]


def _exact(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}"


def _origins(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    rows = [(origin, [f"{counts[label]:,}" for label in _LABELS]) for origin, counts in found["origins"].items()]
    return [*rows, ("all", [f"{found['labels'][label]:,}" for label in _LABELS])]


def _separation(score: dict[str, Any]) -> list[str]:
    out = []
    if score.get("auc") is not None:
        out.append(f"  a positive scores above a negative of its query in {score['auc']:.1%} of pairs")
    if score.get("negatives_above_lowest_positive") is not None:
        share = score["negatives_above_lowest_positive"]
        out.append(f"  {share:.1%} of negatives score above their query's lowest positive")
    return out


def _any(summary: dict[str, Any]) -> bool:
    return bool(summary["count"] and summary["max"])


def _cells(summary: dict[str, Any]) -> list[str]:
    return [_number(summary[name]) for name in _QUANTILES]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if float(value).is_integer() and abs(value) >= 1:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[str, list[str]]]) -> list[str]:
    width = max([len(title), *(len(name) + 2 for name, _ in rows)])
    columns = [max([len(head), *(len(cells[i]) for _, cells in rows)]) for i, head in enumerate(heads)]
    out = [f"{title:<{width}}  " + "  ".join(f"{head:>{column}}" for head, column in zip(heads, columns, strict=True))]
    for name, cells in rows:
        out.append(
            f"  {name:<{width - 2}}  "
            + "  ".join(f"{cell:>{column}}" for cell, column in zip(cells, columns, strict=True))
        )
    return out
