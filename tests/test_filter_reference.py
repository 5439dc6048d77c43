"""`filter`: every rule and combination against a reference that decides row by row."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.identity import text_key, text_keys
from pairmine.outcome import Outcome
from pairmine.schema import TEXT
from pairmine.stages.filter import filter_pairs

OPTIONS: dict[str, Any] = {
    "by": "score_ce",
    "relative_margin": None,
    "absolute_margin": None,
    "max_score": None,
    "min_score": None,
    "ranks": None,
    "negatives": 2,
    "pick": "top",
    "pool": 10,
    "shortage": "keep",
}
TEXTS = ["alpha", " Alpha\n", "beta", "gamma", "日本の法律", "日本の 法律", "ﬁne", "FINE", "", None]
IDS = [*(f"d{n}" for n in range(9)), "文書"]
SCORES = [-2.5, -1.0, -0.0, 0.0, 0.2, 0.19, 0.5, 0.50001, 1.0]


SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string()),
        pa.field("query", TEXT),
        pa.field("doc_id", pa.string()),
        pa.field("document", TEXT),
        pa.field("label", pa.int8()),
        pa.field("origin", pa.string()),
        pa.field("rank", pa.int32()),
        pa.field("source_id", pa.string()),
        pa.field("score_ce", pa.float32()),
        pa.field("line", pa.int64()),
    ]
)


def pairs_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def run(pairs: pa.Table, **options: Any) -> Outcome:
    return filter_pairs(pairs, **{**OPTIONS, **options})


# ------------------------------------------------------------------ the reference


def mixed(value: int) -> int:
    mask = 2**64 - 1
    value = (value + 0x9E3779B97F4A7C15) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return value ^ (value >> 31)


def hashed(text: str, seed: int) -> int:
    octets = text.encode()
    value = mixed(mixed(len(octets)) ^ seed)
    for start in range(0, len(octets), 8):
        value = mixed(value ^ int.from_bytes(octets[start : start + 8].rjust(8, b"\0"), "little"))
    return value


def float32(value: float) -> float:
    return float(np.float32(value))


class Reference:
    """The rules as the docstring of `filter_pairs` words them, a row at a time."""

    def __init__(self, rows: list[dict[str, Any]], options: dict[str, Any]) -> None:
        self.o = options
        self.kept: list[int] = []
        self.reasons: dict[int, str] = {}
        self.notes: Counter[str] = Counter()
        blocks: dict[str, list[dict[str, Any]]] = {}
        for one in rows:
            blocks.setdefault(one["query_id"], []).append(one)
        for block in blocks.values():
            self.query(block)

    def reject(self, rows: list[dict[str, Any]], reason: str) -> None:
        for one in rows:
            self.reasons.setdefault(one["line"], reason)

    def left(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in rows if one["line"] not in self.reasons]

    def query(self, block: list[dict[str, Any]]) -> None:
        n = self.o["negatives"]
        positives = [one for one in block if one["label"] == 1]
        if not positives:
            return self.reject(block, "query has no positive")
        others = [one for one in block if one["label"] != 1]
        self.known(positives, others)
        decided = self.left([one for one in others if one["label"] == 0])
        candidates = self.left([one for one in others if one["label"] is None])
        for reason, fires in self.rules(positives):
            if "rank" not in reason:
                self.notes[f"exempt, but {reason}"] += sum(map(fires, decided))
            self.reject([one for one in candidates if fires(one)], reason)
        self.reject(decided[n:], "surplus")
        picks = self.pick(self.left(candidates), max(n - len(decided), 0))
        self.reject([one for one in candidates if one not in picks], "not picked")
        negatives = decided[:n] + picks
        if len(negatives) < n:
            self.notes[f"queries with fewer than {n} negatives"] += 1
            if self.o["shortage"] == "drop":
                return self.reject(block, f"query has {len(negatives)} of {n} negatives")
        self.kept += [one["line"] for one in positives + negatives]
        return None

    def known(self, positives: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
        texts = {text_key(one["document"]) for one in positives} - {0}
        for one in others:
            key = text_key(one["document"])
            if one["doc_id"] in {p["doc_id"] for p in positives}:
                self.reject([one], "same document as a positive")
            elif one["doc_id"] in {p["source_id"] for p in positives}:
                self.reject([one], "source of a positive")
            elif key in texts:
                self.reject([one], "copy of a positive")
            elif key and key == text_key(one["query"]):
                self.reject([one], "copy of the query")
        decided_first = sorted(others, key=lambda one: one["label"] is None)
        seen_ids, seen_texts = set(), set()
        for one in decided_first:
            if one["doc_id"] in seen_ids:
                self.reject([one], "same document twice")
            seen_ids.add(one["doc_id"])
        for one in self.left(decided_first):
            key = text_key(one["document"])
            if key in seen_texts:
                self.reject([one], "same text twice")
            seen_texts |= {key} - {0}

    def rules(self, positives: list[dict[str, Any]]) -> list[tuple[str, Any]]:
        o, rules = self.o, []
        lowest = min((math.nan if p["score_ce"] is None else float32(p["score_ce"]) for p in positives), default=0)
        if o["ranks"]:
            low, high = o["ranks"]
            name = f"rank outside {'' if low is None else low}:{'' if high is None else high}"
            rules.append((name, lambda r: r["rank"] < (low or 1) or r["rank"] > (high or 10**9)))
        limits = [
            ("max_score", "score above {0:g}", lambda s, m: s > float32(m)),
            ("min_score", "score below {0:g}", lambda s, m: s < float32(m)),
            ("absolute_margin", "within {0:g} of the lowest positive", lambda s, m: s > float32(lowest - m)),
        ]
        for name, reason, fires in limits:
            if o[name] is not None:
                rules.append((reason.format(o[name]), self.scored(fires, o[name])))
        if (share := o["relative_margin"]) is not None:
            fires = self.scored(lambda s, r: s > float32(lowest - abs(lowest) * r), share)
            rules.append((f"within {share * 100:g}% of the lowest positive", fires))
        return rules

    @staticmethod
    def scored(fires: Any, threshold: float) -> Any:
        return lambda one: one["score_ce"] is not None and fires(float32(one["score_ce"]), threshold)

    def pick(self, survivors: list[dict[str, Any]], need: int) -> list[dict[str, Any]]:
        def place(one: dict[str, Any]) -> tuple[Any, ...]:
            rank = math.inf if one["rank"] is None else one["rank"]
            return (-float32(one["score_ce"]) if self.o["by"] else 0, rank, one["doc_id"])

        best = sorted(survivors, key=place)
        if self.o["pick"] == "top":
            return best[:need]
        pool = best[: max(self.o["pool"], self.o["negatives"])]
        return sorted(sorted(pool, key=self.lot)[:need], key=place)

    def lot(self, one: dict[str, Any]) -> int:
        return mixed(hashed(one["query_id"], self.o["seed"]) ^ mixed(hashed(one["doc_id"], 0)))


@st.composite
def blocks(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, 5))):
        query = draw(st.sampled_from(["alpha", "no such text", "日本の法律", None]))
        for _ in range(draw(st.integers(1, 10))):
            label = draw(st.sampled_from([None, None, None, 0, 1]))
            unscored = label == 0 and draw(st.booleans())
            one = {
                "query_id": f"q{number}",
                "query": query,
                "doc_id": draw(st.sampled_from(IDS)),
                "document": draw(st.sampled_from(TEXTS)),
                "label": label,
                "origin": "test",
                "rank": None if unscored else draw(st.integers(1, 12)),
                "source_id": draw(st.none() | st.sampled_from(IDS)),
                "score_ce": None if unscored else draw(st.sampled_from(SCORES)),
                "line": len(rows),
            }
            rows.append(one)
    return rows


@st.composite
def choices(draw: st.DrawFn) -> dict[str, Any]:
    limits: dict[str, list[float]] = {
        "relative_margin": [0.0, 0.05, 0.5],
        "absolute_margin": [0.0, 0.3],
        "max_score": [0.2, 0.5],
        "min_score": [-1.0, 0.0],
    }
    scored = draw(st.booleans())
    options = {name: draw(st.none() | st.sampled_from(values)) if scored else None for name, values in limits.items()}
    return {
        **options,
        "by": "score_ce" if scored else None,
        "ranks": draw(st.sampled_from([None, (None, 8), (3, None), (2, 9)])),
        "negatives": draw(st.integers(1, 4)),
        "pick": draw(st.sampled_from(["top", "random"])),
        "pool": draw(st.integers(1, 6)),
        "shortage": draw(st.sampled_from(["keep", "drop"])),
        "seed": draw(st.integers(0, 3)),
    }


@settings(max_examples=200, deadline=None)
@given(blocks(), choices())
def test_every_row_is_kept_or_rejected_as_the_rules_say(rows: list[dict[str, Any]], options: dict[str, Any]) -> None:
    expected = Reference(rows, options)
    outcome = run(pairs_of(rows), **options)
    assert outcome.kept["line"].to_pylist() == expected.kept
    rejected = zip(outcome.rejected["line"].to_pylist(), outcome.rejected["reason"].to_pylist(), strict=True)
    assert list(rejected) == sorted(expected.reasons.items())
    assert {k: v for k, v in outcome.notes.items() if v and "without text" not in k} == +expected.notes
    assert outcome.kept["label"].null_count == 0


def by_query(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for one in table.to_pylist():
        found.setdefault(one["query_id"], []).append(one)
    return found


FILLERS = pa.table(
    {"doc_id": [f"d{n}" for n in range(4)] + [f"f{n}" for n in range(10)], "document": TEXTS[:4] + TEXTS}
)


@settings(max_examples=80, deadline=None)
@given(blocks(), choices(), st.sampled_from(["keep", "drop", "fill"]), st.integers(1, 40))
def test_a_query_gets_the_same_rows_whatever_queries_share_the_call(
    rows: list[dict[str, Any]], options: dict[str, Any], shortage: str, copies: int
) -> None:
    options |= {"shortage": shortage, "fillers": pa.concat_tables([FILLERS] * copies)}
    whole = run(pairs_of(rows), **options)
    alone = [run(pairs_of([one for one in rows if one["query_id"] == f"q{n}"]), **options) for n in range(5)]
    for side in ("kept", "rejected"):
        pieces = pa.concat_tables([getattr(outcome, side) for outcome in alone])
        assert by_query(getattr(whole, side)) == by_query(pieces)


@settings(max_examples=80, deadline=None)
@given(blocks(), choices(), st.booleans())
def test_no_fill_or_negative_is_a_positive_a_source_the_query_or_a_rejected_row(
    rows: list[dict[str, Any]], options: dict[str, Any], keyed: bool
) -> None:
    fillers = FILLERS.append_column("text_key", pa.array(text_keys(FILLERS["document"]))) if keyed else FILLERS
    outcome = run(pairs_of(rows), **(options | {"shortage": "fill", "fillers": fillers}))
    came = by_query(pairs_of(rows))
    for query, block in by_query(outcome.kept).items():
        fills = [one for one in block if one["origin"] == "fill:random"]
        positives = [one for one in block if one["label"] == 1]
        negatives = [one for one in block if one["label"] == 0]
        assert block == positives + negatives
        assert negatives[len(negatives) - len(fills) :] == fills
        texts = [text_key(one["document"]) for one in negatives if text_key(one["document"])]
        ids = [one["doc_id"] for one in negatives]
        assert len(set(texts)) == len(texts)
        assert len(set(ids)) == len(ids)
        assert not set(texts) & {text_key(p[name]) for p in positives for name in ("document", "query")}
        assert not set(ids) & {p[name] for p in positives for name in ("doc_id", "source_id")}
        taken = {one["doc_id"] for one in came[query]} | {p["source_id"] for p in positives}
        read = {text_key(one[name]) for one in came[query] for name in ("document", "query")} | {0}
        possible = {
            key
            for one in FILLERS.to_pylist()
            if one["doc_id"] not in taken
            if (key := text_key(one["document"])) not in read
        }
        assert {text_key(one["document"]) for one in fills} <= possible
        assert len(fills) == min(options["negatives"] - len(negatives) + len(fills), len(possible))
        assert all(
            one["score_ce"] is None and one["rank"] is None and one["query"] == block[0]["query"] for one in fills
        )
    assert outcome.added == sum(one["origin"] == "fill:random" for one in outcome.kept.to_pylist())
