"""Picks of `filter`: each against a plain reference, how often a sample draws what, and what is refused."""

from __future__ import annotations

import gzip
import json
import math
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmine.cli.main import main
from pairmine.errors import PairmineError
from pairmine.outcome import Outcome
from pairmine.schema import TEXT, score_field
from pairmine.stages.filter import filter_pairs
from pairmine.stages.filter.luck import hashes
from pairmine.stages.filter.picks import parse_pick

SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string()),
        pa.field("query", TEXT),
        pa.field("doc_id", pa.string()),
        pa.field("document", TEXT),
        pa.field("label", pa.int8()),
        pa.field("origin", pa.string()),
        pa.field("rank", pa.int32()),
        score_field("st", "cosine"),
        score_field("logit", "logit"),
        pa.field("cluster", pa.int32()),
        pa.field("document_vector", pa.list_(pa.float32(), 4)),
    ]
)
VECTORS = [[1, 0, 0, 0], [0, -1, 0, 0], [0.5, 0.5, 0.5, 0.5], [0.5, -0.5, 0.5, -0.5], [2, 0, 0, 0], [0, 0, 0, 0]]
"""Their cosines have few binary digits, so that no rounding decides between a pick and its reference."""

IDS = [*(f"d{n}" for n in range(11)), "文書", "a long name of a document, as a path in an archive would be"]


def row(of: str, doc: str, label: int | None = None, score: float | None = None, **more: Any) -> dict[str, Any]:
    given = {"query_id": of, "query": f"question {of}", "doc_id": doc, "document": f"text of {doc}"}
    return {**given, "label": label, "origin": "test", "score_st": score, **more}


def run(rows: list[dict[str, Any]], pick: str, **options: Any) -> Outcome:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    return filter_pairs(table, **{"by": "score_st", "negatives": 2, **options, "pick": pick})


def negatives(outcome: Outcome, query: str = "q") -> list[str]:
    found = outcome.kept.filter((pc.field("label") == 0) & (pc.field("query_id") == query))
    return list(found["doc_id"].to_pylist())


# ------------------------------------------------------------------ the reference

MASK = 2**64 - 1


def mixed(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def hashed(text: str, seed: int) -> int:
    octets = text.encode()
    value = mixed(mixed(len(octets)) ^ (seed & MASK))
    for start in range(0, len(octets), 8):
        value = mixed(value ^ int.from_bytes(octets[start : start + 8].rjust(8, b"\0"), "little"))
    return value


def lot(one: dict[str, Any], seed: int) -> int:
    return mixed(hashed(one["query_id"], seed) ^ mixed(hashed(one["doc_id"], 0)))


def score(one: dict[str, Any]) -> float:
    return float(np.float32(one["score_st"]))


def sampled(pool: list[dict[str, Any]], seed: int, log_odds: list[float]) -> list[dict[str, Any]]:
    keys = [math.log(-math.log((lot(one, seed) + 1) / 2**64)) - odds for one, odds in zip(pool, log_odds, strict=True)]
    return [one for _, one in sorted(zip(keys, pool, strict=True), key=lambda pair: pair[0])]


def stratified(pool: list[dict[str, Any]], seed: int, strata: int) -> list[dict[str, Any]]:
    parts: dict[int, list[dict[str, Any]]] = {}
    for place, one in enumerate(pool):
        parts.setdefault(place * strata // len(pool), []).append(one)
    drawn = [sorted(part, key=lambda one: lot(one, seed)) for part in parts.values()]
    turns = [(turn, lot(one, seed), one["doc_id"], one) for part in drawn for turn, one in enumerate(part)]
    return [turn[-1] for turn in sorted(turns, key=lambda turn: turn[:3])]


def cosine(one: dict[str, Any], other: dict[str, Any]) -> float:
    a, b = one["document_vector"], other["document_vector"]
    length = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / length if length else 0.0


def marginal(pool: list[dict[str, Any]], need: int, balance: float) -> list[dict[str, Any]]:
    taken: list[dict[str, Any]] = []
    left = list(pool)
    while left and len(taken) < need:
        near = [max((cosine(one, other) for other in taken), default=0.0) for one in left]
        gains = [balance * score(one) - (1 - balance) * most for one, most in zip(left, near, strict=True)]
        taken.append(left.pop(gains.index(max(gains))))
    return taken


def by_cluster(pool: list[dict[str, Any]]) -> list[dict[str, Any]]:
    seen: Counter[int | None] = Counter()
    turns = []
    for place, one in enumerate(pool):
        turns.append((seen[one["cluster"]], place, one))
        seen[one["cluster"]] += 1
    return [turn[-1] for turn in sorted(turns, key=lambda turn: turn[:2])]


def expected(block: list[dict[str, Any]], spec: str, count: int, seed: int) -> list[str]:
    """The doc_ids of the negatives that a query is left with, in their order."""
    pick = parse_pick(spec)
    decided = [one for one in block if one["label"] == 0][:count]
    need = count - len(decided)
    candidates = sorted(
        (one for one in block if one["label"] is None), key=lambda o: (-score(o), o["rank"], o["doc_id"])
    )
    pool = candidates[: max(pick.pool or len(candidates), count)]
    anchor = min(score(one) for one in block if one["label"] == 1)
    if pick.name == "random":
        order = sorted(pool, key=lambda one: lot(one, seed))
    elif pick.name == "simans":
        odds = [-pick.number("a") * (score(one) - anchor - pick.number("b")) ** 2 for one in pool]
        order = sampled(pool, seed, odds)
    elif pick.name == "softmax":
        order = sampled(pool, seed, [score(one) / pick.number("temperature") for one in pool])
    elif pick.name == "stratified":
        order = stratified(pool, seed, int(pick.number("strata") or need)) if need else []
    elif pick.name == "mmr":
        order = marginal(pool, need, pick.number("lambda"))
    else:
        order = by_cluster(pool) if pick.name == "cluster" else pool
    chosen = order[:need]
    return [one["doc_id"] for one in [*decided, *(one for one in candidates if one in chosen)]]


SPECS = [
    "top",
    "random",
    "random:pool=4",
    "simans",
    "simans:a=4000,b=-0.1,pool=6",
    "simans:a=0",
    "softmax",
    "softmax:temperature=0.001,pool=5",
    "stratified",
    "stratified:pool=6",
    "stratified:strata=3",
    "stratified:strata=1,pool=7",
    "mmr",
    "mmr:lambda=0",
    "mmr:lambda=1,pool=6",
    "mmr:lambda=0.5",
    "cluster",
    "cluster:pool=5",
]


@st.composite
def blocks(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for number in range(draw(st.integers(1, 4))):
        docs = draw(st.permutations(IDS))[: draw(st.integers(2, len(IDS)))]
        for place, doc in enumerate(docs):
            label = 1 if place == 0 else draw(st.sampled_from([None, None, None, None, None, 0, 1]))
            one = row(f"q{number}", doc, label, draw(st.sampled_from([-0.25, 0.0, 0.1, 0.3, 0.31, 0.5, 0.9])))
            one |= {"rank": draw(st.integers(1, 5)), "cluster": draw(st.sampled_from([None, 1, 2, 3]))}
            rows.append(one | {"document_vector": draw(st.sampled_from(VECTORS))})
    return rows


@settings(max_examples=60, deadline=None)
@given(blocks(), st.sampled_from(SPECS), st.integers(1, 5), st.integers(-1, 3))
def test_every_pick_takes_what_its_definition_says(
    rows: list[dict[str, Any]], spec: str, count: int, seed: int
) -> None:
    outcome = run(rows, spec, negatives=count, seed=seed)
    for query in dict.fromkeys(one["query_id"] for one in rows):
        block = [one for one in rows if one["query_id"] == query]
        assert negatives(outcome, query) == expected(block, spec, count, seed)


@settings(max_examples=20, deadline=None)
@given(blocks(), st.sampled_from(SPECS), st.integers(0, 3))
def test_a_query_gets_the_same_picks_whatever_queries_share_the_call(
    rows: list[dict[str, Any]], spec: str, seed: int
) -> None:
    whole = run(rows, spec, seed=seed)
    for query in dict.fromkeys(one["query_id"] for one in rows):
        alone = run([one for one in rows if one["query_id"] == query], spec, seed=seed)
        assert negatives(alone, query) == negatives(whole, query)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=20) | st.sampled_from(IDS)), st.integers(-5, 5), st.integers(0, 3))
def test_luck_is_that_of_the_name_and_the_seed(ids: list[str], seed: int, cut: int) -> None:
    names = [one.encode("utf-8", "ignore").decode() for one in ids]
    assert hashes(pa.array(names, pa.string()).slice(cut), seed).tolist() == [hashed(n, seed) for n in names[cut:]]


def test_very_long_names_have_their_luck_too() -> None:
    found = hashes(pa.array(["x" * 300, "x" * 301, "x" * 300, "x"]), 0)
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 3


# ------------------------------------------------------------------ how often

QUERIES = 1500


def counts(pick: str, scores: list[float], anchor: float = 0.8) -> np.ndarray:
    """How often the candidate of each of `scores` is the one negative of a query."""
    rows = []
    for q in range(QUERIES):
        rows.append(row(f"q{q}", f"p{q}", 1, anchor))
        rows += [row(f"q{q}", f"{n}-{q}", None, one) for n, one in enumerate(scores)]
    kept = run(rows, pick, negatives=1).kept
    drawn = Counter(doc.partition("-")[0] for doc in kept["doc_id"].to_pylist())
    return np.array([drawn[str(n)] for n in range(len(scores))])


@pytest.mark.parametrize(
    ("pick", "log_odds"),
    [
        ("random", lambda s: 0 * s),
        ("simans", lambda s: -200 * (s - 0.8) ** 2),
        ("simans:a=50,b=-0.1", lambda s: -50 * (s - 0.7) ** 2),
        ("softmax:temperature=0.1", lambda s: s / 0.1),
        ("stratified:strata=1", lambda s: 0 * s),
    ],
)
def test_a_sample_draws_each_candidate_as_often_as_its_odds_say(pick: str, log_odds: Any) -> None:
    """Chi-square with 5 degrees of freedom: 20.5 is exceeded once in a thousand seeds."""
    scores = [0.85, 0.75, 0.7, 0.65, 0.6, 0.5]
    odds = np.exp(log_odds(np.array(scores)))
    should = QUERIES * odds / odds.sum()
    assert (((counts(pick, scores) - should) ** 2) / should).sum() < 20.5


def test_a_stratified_pick_takes_one_of_each_part_of_the_ranks() -> None:
    rows = [row("q", "p", 1, 0.9), *(row("q", f"d{n:02}", None, 0.8 - n / 100) for n in range(60))]
    places = [int(doc[1:]) for doc in negatives(run(rows, "stratified", negatives=5))]
    assert [place // 10 for place in places] == [0, 1, 2, 3, 4]


# ------------------------------------------------------------------ what differs


def test_mmr_passes_over_what_says_the_same() -> None:
    rows = [
        row("q", "p", 1, 0.9),
        row("q", "first", None, 0.8, document_vector=[1, 0, 0, 0]),
        row("q", "again", None, 0.79, document_vector=[1, 0, 0, 0]),
        row("q", "other", None, 0.5, document_vector=[0, 1, 0, 0]),
    ]
    assert negatives(run(rows, "mmr")) == ["first", "other"]
    assert negatives(run(rows, "mmr:lambda=1")) == ["first", "again"]
    assert negatives(run(rows, "top")) == ["first", "again"]


def test_vectors_read_from_json_serve_as_well() -> None:
    rows = [row("q", "p", 1, 0.9, document_vector=None)]
    rows += [row("q", f"d{n}", None, 0.8 - n / 9, document_vector=VECTORS[n % 3]) for n in range(6)]
    fixed = pa.Table.from_pylist(rows, schema=SCHEMA)
    place = fixed.schema.get_field_index("document_vector")
    for kind in (pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 4)):
        loose = pa.concat_tables([fixed.slice(n, 1) for n in range(7)])
        loose = loose.set_column(place, "document_vector", loose["document_vector"].cast(kind))
        outcome = filter_pairs(loose, by="score_st", pick="mmr", negatives=3)
        assert negatives(outcome) == ["d0", "d1", "d2"]


def test_the_cluster_pick_goes_round_the_clusters() -> None:
    clusters = {"a": 7, "b": 7, "c": 7, "d": 8, "e": None, "f": None}
    rows = [
        row("q", "p", 1, 0.9),
        *(row("q", d, None, 0.8 - n / 9, cluster=c) for n, (d, c) in enumerate(clusters.items())),
    ]
    assert negatives(run(rows, "cluster", negatives=3)) == ["a", "d", "e"]
    assert negatives(run(rows, "cluster", negatives=4)) == ["a", "b", "d", "e"]
    assert negatives(run(rows, "cluster:pool=3", negatives=3)) == ["a", "b", "c"]


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        ("best", 'pick "best": choose top, random, simans, softmax, stratified, mmr, cluster, inverse-propensity'),
        ("top:pool=3", 'pick top has no options, and "pool=3" was given'),
        ("random:pool=0", r"pick random: pool=0 is out of range; a whole number, 1 to 1e\+09"),
        ("random:pool=2.5", "pool=2.5 is out of range; a whole number"),
        ("random:size=3", '"size=3" is no option; write key=value with pool'),
        ("simans:a=-1", "pick simans: a=-1 is out of range; 0 or more"),
        ("simans:b=nan", "b=nan is out of range; a number"),
        ("softmax:temperature=0", "temperature=0 is out of range; above 0"),
        ("mmr:lambda=1.1", "lambda=1.1 is out of range; 0 to 1"),
        ("mmr:lambda=0.5,lambda=0.6", "lambda is given twice"),
        ("mmr", "pick mmr: 2 of 3 candidates have no document_vector; run 'pairmine score --vectors st:MODEL"),
    ],
)
def test_a_wrong_pick_is_named(pick: str, message: str) -> None:
    rows = [row("q", "p", 1, 0.9), *(row("q", f"d{n}", None, 0.8) for n in range(2))]
    rows.append(row("q", "d", None, 0.8, document_vector=VECTORS[0]))
    with pytest.raises(PairmineError, match=message.replace("(", r"\(")) as error:
        run(rows, pick)
    assert error.value.exit_code == 2


def test_a_pick_that_needs_more_than_there_is_says_how_to_get_it() -> None:
    rows = [row("q", "p", 1, 0.9), *(row("q", f"d{n}", None, 0.8, rank=n, score_logit=1.0) for n in range(1, 4))]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    for pick in ("simans", "softmax", "mmr", "inverse-propensity"):
        with pytest.raises(PairmineError, match=f"pick {pick} goes by a score; run 'pairmine score' first"):
            filter_pairs(table, by=None, pick=pick)
    for pick, unit in (("simans", "a=200"), ("softmax", "temperature=0.05"), ("mmr", "lambda=0.7")):
        with pytest.raises(PairmineError, match=f"default {unit} is made for cosines and probabilities"):
            filter_pairs(table, by="score_logit", pick=pick)
    with pytest.raises(PairmineError, match="1 queries have candidates and no positive with a score"):
        filter_pairs(table, by="score_logit", pick="simans:a=1", negatives=2)
    assert len(negatives(filter_pairs(table, by="score_logit", pick="softmax:temperature=1", negatives=2))) == 2
    bare = table.drop_columns(["document_vector", "cluster"])
    with pytest.raises(PairmineError, match="no column document_vector; run 'pairmine score --vectors st:MODEL"):
        filter_pairs(bare, by="score_st", pick="mmr", negatives=2)
    with pytest.raises(PairmineError, match="no column cluster; run 'pairmine mine --clusters' first"):
        filter_pairs(bare, by="score_st", pick="cluster", negatives=2)


@pytest.mark.parametrize("vector", [[math.nan, 0, 0, 0], [math.inf, 0, 0, 0], [None, 0, 0, 0]])
def test_vectors_that_hold_no_numbers_are_refused(vector: Any) -> None:
    rows = [row("q", "p", 1, 0.9), *(row("q", f"d{n}", None, 0.8, document_vector=vector) for n in range(3))]
    with pytest.raises(PairmineError, match="document_vector holds what is no finite number, first in row 2"):
        run(rows, "mmr")


def test_vectors_of_several_models_are_refused() -> None:
    rows = [row("q", "p", 1, 0.9), *(row("q", f"d{n}", None, 0.8) for n in range(3))]
    table = pa.Table.from_pylist(rows, schema=SCHEMA).drop_columns("document_vector")
    for values, message in (
        ([[1.0], [1.0, 2.0], [1.0], [3.0]], "1 to 2 dimensions"),
        ([[], [], [], []], "no vectors|0 to 0 dimensions"),
        ([["x"]] * 4, "no vectors"),
        (["x"] * 4, "no vectors"),
        ([None] * 4, "3 of 3 candidates have no document_vector"),
    ):
        wrong = table.append_column("document_vector", pa.array(values))
        with pytest.raises(PairmineError, match=message):
            filter_pairs(wrong, by="score_st", pick="mmr", negatives=2)


@pytest.mark.parametrize("pick", ["simans", "softmax", "stratified", "mmr", "cluster"])
def test_small_and_empty_pair_sets_pass_every_pick(pick: str) -> None:
    assert run([], pick).kept.num_rows == 0
    assert negatives(run([row("q", "p", 1, 0.9)], pick)) == []
    one = [row("q", "p", 1, 0.9), row("q", "d", None, 0.8)]
    assert negatives(run(one, pick)) == ["d"]
    lost = run([row("q", "d", None, 0.8, document_vector=VECTORS[0]), row("q", "e", None, 0.7)], pick)
    assert (lost.kept.num_rows, lost.rejected.num_rows) == (0, 2)


# ------------------------------------------------------------------ from a shell

CRANFIELD = Path(__file__).parents[2] / "shared" / "data" / "cranfield"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command in this process, in a folder of its own; gives its exit code and what it said."""
    monkeypatch.chdir(tmp_path)

    def run_words(words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["pairmine", *words.split()])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), capsys.readouterr().err

    return run_words


def write(name: str, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), name)


def test_picks_and_relaxing_from_a_shell(shell: Any) -> None:
    rows = [row("q", "p", 1, 0.8), *(row("q", f"s{n}", None, n / 100) for n in (90, 79, 75, 73, 71))]
    write("c.parquet", rows)
    words = "filter c.parquet --by st --relative-margin 0.1 --negatives 2 --pick simans:a=20,b=-0.1"
    code, said = shell(f"{words} --shortage relax -o out.parquet")
    assert code == 0, said
    assert "candidates taken back at step 1" in said
    assert pq.read_table("out.parquet")["decision"].to_pylist() == [None, None, "relaxed 1: relative-margin"]
    code, said = shell(f"{words} --shortage relax+fill --relax-steps 1 --negatives 3 --corpus c.jsonl -o out.parquet")
    assert (code, "no such file" in said) == (2, True)
    code, said = shell(
        "filter c.parquet --by st --no-relative-margin --pick cluster --pool 3 --negatives 3 -o out.parquet"
    )
    assert code == 0, said
    assert pq.read_table("out.parquet")["doc_id"].to_pylist() == ["p", "s90", "s79", "s75"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--pick top --pool 9", "pairmine: --pool has no effect with --pick top; leave one of them out"),
        ("--pick mmr:pool=9 --pool 9", "pairmine: --pool has no effect with --pick mmr:pool=9; leave one of them out"),
        ("--pool 3", "pairmine: --pool 3: fewer than the 5 --negatives that are drawn from it"),
        ("--pick softmax:pool=3", "pairmine: --pick softmax:pool=3: fewer than the 5 --negatives that are drawn"),
        ("--pick simans:c=1", 'pairmine: pick simans: "c=1" is no option; write key=value with a, b, pool'),
        ("--shortage pad", "pairmine: --shortage pad: choose keep, drop, fill, relax, relax+drop, relax+fill"),
        ("--relax-steps 2", "pairmine: --relax-steps has no effect with --shortage keep; leave one of them out"),
        (
            "--by st --no-relative-margin --shortage relax",
            "pairmine: shortage relax has no effect, since no rule is given",
        ),
        ("--shortage relax --corpus c.jsonl", "pairmine: --corpus has an effect with --shortage fill alone"),
    ],
)
def test_a_mistake_in_a_shell_gets_one_line(shell: Any, options: str, line: str) -> None:
    write("c.parquet", [row("q", "p", 1, 0.8), row("q", "d", None, 0.7)])
    code, said = shell(f"filter c.parquet {options} -o out.parquet")
    assert code == 2
    assert [found for found in said.splitlines() if found.startswith(line)], said


@pytest.mark.slow
@pytest.mark.skipif(not CRANFIELD.is_dir(), reason=f"no collection in {CRANFIELD}")
@pytest.mark.long
def test_real_negatives_by_mmr_are_less_alike_than_the_best_ones(shell: Any) -> None:
    """MiniLM's vectors of what BM25 finds for 5 queries of cranfield."""
    with gzip.open(CRANFIELD / "queries.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = {one["_id"]: one["text"] for one in map(json.loads, islice(file, 5))}
    judged = [line.split("\t") for line in (CRANFIELD / "qrels.tsv").read_text().splitlines()[1:]]
    best = {query: doc for query, doc, grade in judged if query in texts and float(grade) >= 3}
    with gzip.open(CRANFIELD / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        documents = {one["_id"]: one["text"] for one in map(json.loads, file)}
    write("p.parquet", [row(q, d, 1, query=texts[q], document=documents[d]) for q, d in best.items() if d in documents])
    model = "st:all-MiniLM-L6-v2"
    for words in (
        f"mine p.parquet --corpus {CRANFIELD}/corpus.jsonl.gz --retriever bm25 --depth 12 -o m.parquet",
        f"score m.parquet --scorer dense={model} -o s.parquet",
        f"score s.parquet --vectors {model} --side document -o v.parquet",
        "filter v.parquet --no-relative-margin --negatives 4 --pick top -o top.parquet",
        "filter v.parquet --no-relative-margin --negatives 4 --pick mmr:lambda=0.5 -o mmr.parquet",
    ):
        code, said = shell(words)
        assert code == 0, said
    alike = {name: likeness(pq.read_table(f"{name}.parquet")) for name in ("top", "mmr")}
    assert alike["mmr"] < alike["top"] - 0.03


def likeness(kept: pa.Table) -> float:
    """The mean cosine of two negatives of one query."""
    found = []
    for query in kept["query_id"].unique():
        own = kept.filter((pc.field("query_id") == query) & (pc.field("label") == 0))
        vectors = np.array(own["document_vector"].to_pylist())
        found.append((vectors @ vectors.T)[np.triu_indices(len(vectors), 1)].mean())
    return float(np.mean(found))
