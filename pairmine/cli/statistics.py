"""The numbers of `pairmine stats` as lines for people: short tables, and nothing that is empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_LABELS = ("positive", "negative", "undecided")
_QUANTILES = ("mean", "p5", "p50", "p95", "max")
_HUBS, _VALUES, _REASONS = 3, 12, 4
_ORIGINS = 20
_WIDTH, _NAME = 100, 48

Rows = list[tuple[str, list[str]]]


def lines(found: dict[str, Any]) -> list[str]:
    """What `cli.stats.numbers` found as a few aligned tables with blank lines between them."""
    sections = [_head(found), _origins(found), _per_query(found), _lengths(found), _ranks(found), *_scores(found)]
    sections += [_hardness(found), _hubs(found["hubs"]), *_templates(found["templates"]), _spent(found.get("spent"))]
    if "encoder" in found:
        sections.append(audit_lines(found["encoder"]))
    return "\n\n".join("\n".join(section) for section in sections if section).split("\n")


def _head(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['rows']:,} rows, {found['queries']:,} queries, {found['documents']:,} documents"]
    if found["queries_without_positive"]:
        lines.append(f"{found['queries_without_positive']:,} queries have no positive")
    return lines


def _origins(found: dict[str, Any]) -> list[str]:
    origins = found["origins"]
    rows = [(origin, _labels(origins[origin])) for origin in _largest(origins, lambda counts: sum(counts.values()))]
    if left := len(origins) - len(rows):
        others = {label: found["labels"][label] - sum(origins[name][label] for name, _ in rows) for label in _LABELS}
        rows.append((f"{left:,} more", _labels(others)))
    return table("rows by origin", _LABELS, [*rows, ("all", _labels(found["labels"]))])


def _largest(origins: dict[str, Any], size: Callable[[Any], int]) -> list[str]:
    """The origins in their order; of very many the largest, all others are in the JSON."""
    largest = set(sorted(origins, key=lambda name: (-size(origins[name]), name))[:_ORIGINS])
    return [name for name in origins if name in largest]


def _per_query(found: dict[str, Any]) -> list[str]:
    counts = found["per_query"]
    rows = [(label, _cells(counts[label])) for label in _LABELS if counts[label]["max"]]
    return table("rows per query", _QUANTILES, rows)


def _lengths(found: dict[str, Any]) -> list[str]:
    rows, over = [], []
    for side, name in (("query", "queries"), ("document", "documents of rows")):
        for unit in ("tokens", "words", "characters"):
            lengths = found["lengths"][side].get(unit)
            if lengths and lengths["count"]:
                rows.append((f"{side} {unit}", _cells(lengths)))
                if lengths.get("over") is not None:
                    over.append(
                        f"  more than {lengths['limit']:,} tokens: {_share(lengths['share_over'])} of the {name}"
                    )
    return [*table("length", _QUANTILES, rows), *over] if rows else []


def _ranks(found: dict[str, Any]) -> list[str]:
    ranks = found["ranks"]
    rows = [(label, _cells(ranks[label])) for label in _LABELS if ranks[label]["count"]]
    return table("rank", _QUANTILES, rows) if rows else []


def _scores(found: dict[str, Any]) -> Iterator[list[str]]:
    for name, score in found["scores"].items():
        scale = f" ({score['scale']})" if score.get("scale") else ""
        rows = [(label, _cells(score[label])) for label in _LABELS if score[label]["count"]]
        if rows:
            yield [*table(f"{name}{scale}", _QUANTILES, rows), *_separation(score)]


def _separation(score: dict[str, Any]) -> list[str]:
    out = []
    if score["auc"] is not None:
        out.append(f"  a positive scores above a negative of its query in {score['auc']:.1%} of pairs")
    if score["negatives_above_lowest_positive"] is not None:
        share = score["negatives_above_lowest_positive"]
        out.append(f"  {share:.1%} of negatives score above their query's lowest positive")
    if score["overlap"] is not None:
        out.append(f"  the scores of positives and negatives overlap by {score['overlap']:.1%}")
    return out


def _hardness(found: dict[str, Any]) -> list[str]:
    rows: Rows = []
    for name, hardness in found["hardness"].items():
        score = found["scores"][name]
        means = hardness["queries"]["mean"], hardness["margin"]["mean"], hardness["relative_margin"]["p50"]
        above = _share(score["negatives_above_lowest_positive"])
        rows.append((name, [_count(score["negative"]["count"]), *map(_number, means), above]))
        origins = hardness["origins"]
        for origin in _largest(origins, lambda own: int(own["negatives"])) if len(origins) > 1 else ():
            own = origins[origin]
            cells = [_count(own["negatives"]), _number(own["mean"]), _number(own["margin"]), "", _share(own["above"])]
            rows.append((f"  {origin}", cells))
    return table("hardness", ("negatives", "score", "margin", "relative p50", "above"), rows) if rows else []


def _hubs(hubs: dict[str, Any]) -> list[str]:
    if not hubs["top"]:
        return []
    what = "negatives" if hubs["of"] == "negative" else "candidates"
    rows = [(each["doc_id"], [_count(each["queries"])]) for each in hubs["top"][:_HUBS]]
    shown = table("hubs", ("queries",), rows)
    texts = [each["document"] or "" for each in hubs["top"][:_HUBS]]
    out = [shown[0], *(_cut(f"{line}  {_plain(text)}") for line, text in zip(shown[1:], texts, strict=True))]
    share, skewness, gini = (hubs[name] for name in ("top_percent_share", "skewness", "gini"))
    out.append(f"  1 % of the documents hold {share:.1%} of {hubs['rows']:,} {what}, {hubs['never']:,} hold none")
    return [*out, f"  skewness {_number(skewness)}, Gini coefficient {_number(gini)}"]


def _templates(templates: dict[str, Any]) -> Iterator[list[str]]:
    for recipe, found in templates.items():
        heads = [label for label in _LABELS if found["rows"][label]]
        rejected = any(cell["rejected"] for values in found["by"].values() for cell in values.values())
        heads += ["rejected"] if rejected else []
        rows = [(role, _chosen(counts, heads)) for role, counts in found["roles"].items()]
        for name, values in found["by"].items():
            if len(values) > 1:
                rows += [(f"{name} {_plain(value)}", _chosen(cell, heads)) for value, cell in _most(values)]
        yield [_planned(recipe, found), *(table("", tuple(heads), rows) if heads and rows else []), *_reasons(found)]


def _planned(recipe: str, found: dict[str, Any]) -> str:
    here = f"{sum(found['rows'].values()):,} rows here"
    if found["planned"] is None:
        return f"recipe {recipe}: {here}"
    return f"recipe {recipe}: {found['planned']:,} rows planned, {found['written']:,} written, {here}"


def _reasons(found: dict[str, Any]) -> list[str]:
    reasons = sorted(found["rejected"].items(), key=lambda each: (-each[1], each[0]))
    shown = [f"  rejected: {_cut(_plain(reason), 70)}  {count:,}" for reason, count in reasons[:_REASONS]]
    rest = sum(count for _, count in reasons[_REASONS:])
    return [*shown, *([f"  rejected for other reasons  {rest:,}"] if rest else [])]


def _most(values: dict[str, Any]) -> list[tuple[str, Any]]:
    """The values with the most rows, rejected ones too; all others are in the JSON."""
    order = sorted(values.items(), key=lambda each: (-sum(count or 0 for count in each[1].values()), each[0]))
    return order[:_VALUES]


def _chosen(counts: dict[str, Any], heads: list[str]) -> list[str]:
    return [_count(counts.get(head)) for head in heads]


def _spent(spent: dict[str, Any] | None) -> list[str]:
    if spent is None:
        return []
    heads = ("replies", "tokens in", "cached", "tokens out", "rows", "dollars", "per 1,000 rows")
    names = ("replies", "prompt_tokens", "cached_tokens", "completion_tokens", "rows")
    rows = []
    for each in spent["recipes"]:
        cells = [*(_count(each[name]) for name in names), _dollars(each["usd"]), _of_thousand(each["usd_per_row"])]
        rows.append((f"{each['recipe']}, {each['model']}", cells))
    if not rows:
        return [f"{spent['ledger']}: holds no reply to a recipe of this pair set"]
    out = table("spent in all runs", heads, rows)
    if spent["usd"] is not None:
        each = f"{_of_thousand(spent['usd_per_row'])} per 1,000 rows, {_of_thousand(spent['usd_per_query'])} per 1,000"
        out.append(f"  {_dollars(spent['usd'])} dollars in all: {each} queries of this pair set")
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
    shown = table("", tuple(heads), rows)
    told = (f"{line}  {meanings[name]}" for line, (name, _) in zip(shown[1:], rows, strict=True))
    return [title, shown[0], *told]


def table(title: str, heads: tuple[str, ...], rows: Rows) -> list[str]:
    """A line of heads and one for each row, in columns; names stand on one line and are cut where they are long."""
    rows = [(_name(name), cells) for name, cells in rows]
    width = max([len(title), *(len(name) + 2 for name, _ in rows)])
    columns = [max([len(head), *(len(cells[i]) for _, cells in rows)]) for i, head in enumerate(heads)]
    out = [f"{title:<{width}}  " + "  ".join(f"{head:>{column}}" for head, column in zip(heads, columns, strict=True))]
    for name, cells in rows:
        shown = "  ".join(f"{cell:>{column}}" for cell, column in zip(cells, columns, strict=True))
        out.append(f"  {name:<{width - 2}}  {shown}".rstrip())
    return out


def _labels(counts: dict[str, int]) -> list[str]:
    return [_count(counts[label]) for label in _LABELS]


def _cells(summary: dict[str, Any]) -> list[str]:
    return [_number(summary[name]) for name in _QUANTILES]


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _exact(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}"


def _dollars(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def _of_thousand(value: float | None) -> str:
    return _dollars(None if value is None else 1000 * value)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if float(value).is_integer() and abs(value) >= 1:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def _plain(text: str) -> str:
    """`text` on one line, without what a terminal would obey."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _name(name: str) -> str:
    """A name as a table shows it; what is set in stays so."""
    return " " * (len(name) - len(name.lstrip(" "))) + _cut(_plain(name), _NAME)


def _cut(line: str, width: int = _WIDTH) -> str:
    return (line if len(line) <= width else line[: width - 3] + "...").rstrip()
