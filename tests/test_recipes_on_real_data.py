"""Every recipe of `derive` from the shell, on a real collection that fits it."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pairmine.cli.main import main
from pairmine.recipes import Recipe, all_recipes
from pairmine.schema import check_pairs

DATA = Path(__file__).parents[2] / "shared" / "data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs the real collections in ../shared/data"),
]
Row = dict[str, Any]


def rows_in(name: str) -> Iterator[Row]:
    path = DATA / name
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def runs_as_a_log() -> Iterator[Row]:
    documents = {row["_id"]: row["text"] for row in rows_in("trec-dl-2021/corpus.jsonl.gz")}
    queries = {row["_id"]: row["text"] for row in rows_in("trec-dl-2021/queries.jsonl.gz")}
    for run in rows_in("trec-dl-2021/runs.jsonl.gz"):
        for rank, name in enumerate(run["docs"][:10], start=1):
            if name in documents and run["query-id"] in queries:
                yield {"query": queries[run["query-id"]], "document": documents[name], "position": rank}


def lemmas() -> Iterator[Row]:
    for row in rows_in("wordnet-definitions/synsets.jsonl.gz"):
        for lemma in row["lemmas"]:
            yield {"entity_id": row["_id"], "name": lemma.replace("_", " ")}


def dictionary() -> Iterator[Row]:
    for row in rows_in("wordnet-definitions/synsets.jsonl.gz"):
        for lemma in row["lemmas"]:
            yield {"word": lemma.replace("_", " "), "definition": row["definition"]}


def examples_with_parts() -> Iterator[Row]:
    for row in rows_in("wordnet-definitions/synsets.jsonl.gz"):
        lemma = row["lemmas"][0].replace("_", " ")
        for example in row["examples"][:1]:
            if lemma in example:
                yield {"query": example, "document": lemma, "kind": "entity", "type": row["_id"][-1]}


def questions_by_passage() -> Iterator[Row]:
    passages = {row["_id"]: row["text"] for row in rows_in("jsquad/corpus.jsonl.gz")}
    asked: dict[str, list[str]] = {}
    queries = {row["_id"]: row["text"] for row in rows_in("jsquad/queries.jsonl.gz")}
    for line in (DATA / "jsquad" / "qrels.tsv").read_text("utf-8").splitlines()[1:]:
        query, passage, _ = line.split("\t")
        asked.setdefault(passage, []).append(queries[query])
    for passage, questions in asked.items():
        yield {"context": passages[passage], "questions": questions}


def english(name: str, text: str) -> Callable[[], Iterator[Row]]:
    return lambda: ({"id": str(at), "text": row[text]} for at, row in enumerate(rows_in(name)))


def graded() -> Iterator[Row]:
    for row in rows_in("sick/train.jsonl.gz"):
        yield {"query": row["sentence1"], "document": row["sentence2"], "grade": (row["score"] - 1) / 4, "label": None}


def synonyms() -> Iterator[Row]:
    for row in rows_in("wordnet-definitions/synsets.jsonl.gz"):
        first, *others = (lemma.replace("_", " ") for lemma in row["lemmas"])
        yield from ({"word": first, "synonym": other} for other in others)


def parts_of_speech() -> Iterator[Row]:
    for row in rows_in("wordnet-definitions/synsets.jsonl.gz"):
        yield from ({"text": lemma, "other": row["_id"][-1]} for lemma in row["lemmas"])


def citation_links() -> Iterator[Row]:
    for line in (DATA / "cacm" / "citation_pairs.tsv").read_text("utf-8").splitlines()[1:]:
        citing, cited = line.split("\t")
        yield {"citing": citing, "cited": cited}


def translations_of_one_language() -> Iterator[Row]:
    """Tatoeba's, as if their languages were one: it has a sentence once in each."""
    return ({"pivot": row["eng"], "translation": row["text"]} for row in rows_in("tatoeba/pairs.jsonl.gz"))


def stsb(language: str) -> Iterator[Row]:
    return (row for row in rows_in("stsb-multi/dev.jsonl.gz") if row["lang"] == language)


def english_pairs() -> Iterator[Row]:
    grades = {(row["sentence1"], row["sentence2"]): row["score"] / 5 for row in stsb("en")}
    for (query, document), grade in grades.items():
        yield {"query": query, "document": document, "grade": grade, "label": None}


def german_for_english() -> Iterator[Row]:
    for one, other in zip(stsb("en"), stsb("de"), strict=True):
        yield from ({"text": one[side], "translation": other[side]} for side in ("sentence1", "sentence2"))


@dataclass(frozen=True)
class On:
    """A collection, as a file under ../shared/data or as rows made out of one, and at most so many rows of it.

    `options` are given as they stand, `beside` are files to be written first, by flag.
    """

    source: str | Callable[[], Iterable[Row]]
    options: tuple[str, ...]
    rows: int
    beside: Mapping[str, Callable[[], Iterable[Row]]]


def on(source: str | Callable[[], Iterable[Row]], *options: str, rows: int = 400, **beside: Any) -> On:
    return On(source, options, rows, beside)


SENTENCES = english("sick/train.jsonl.gz", "sentence1")
RUNS: dict[str, On] = {
    "crops": on("cisi/corpus.jsonl.gz"),
    "ict": on("jsquad/corpus.jsonl.gz"),
    "adjacent": on("xquad/corpus.jsonl.gz", rows=2880),
    "spans": on("excerpt-queries/documents.jsonl.gz"),
    "context-window": on("tydiqa-goldp/corpus.jsonl.gz"),
    "ordered-triples": on("cisi/corpus.jsonl.gz"),
    "discourse": on("cisi/corpus.jsonl.gz"),
    "contains": on("xquad/corpus.jsonl.gz"),
    "split": on("cranfield/corpus.jsonl.gz"),
    "outline": on("claude-docs-synthetic/corpus.jsonl.gz"),
    "sections": on("claude-docs-synthetic/corpus.jsonl.gz"),
    "subcontext": on("scifact"),
    "multi-grain": on("scifact"),
    "doc-diff": on(graded, rows=4000),
    "title": on("cacm/corpus.jsonl.gz"),
    "nli": on("xnli-dev/dev.jsonl.gz", rows=2490),
    "sts": on("stsb-multi/dev.jsonl.gz"),
    "ranked-log": on(runs_as_a_log),
    "labels": on("banking77/queries.jsonl.gz", "--label-column", "intent"),
    "label-text": on("banking77/queries.jsonl.gz", "--label-column", "intent"),
    "sets": on("banking77/queries.jsonl.gz", "--set-column", "intent"),
    "parallel": on("tatoeba/pairs.jsonl.gz"),
    "parallel-groups": on("xquad/queries.jsonl.gz", rows=14_280),
    "pivot": on(translations_of_one_language, rows=26_000),
    "co-captions": on("stackfaq/queries.jsonl.gz", "--image-column", "thread", "--caption-column", "text"),
    "same-source": on("license-texts/corpus.jsonl.gz"),
    "aliases": on(lemmas),
    "multi-queries": on(questions_by_passage),
    "descriptions": on("pubmedqa/rows.jsonl.gz", "--text-column", "abstract", "--description-column", "question"),
    "phrase-context": on("npl/corpus.jsonl.gz"),
    "gcse-swap": on(examples_with_parts, "--encoder", "st:all-MiniLM-L6-v2"),
    "identity": on(SENTENCES),
    "repeat": on("jsquad/corpus.jsonl.gz"),
    "shuffle": on(SENTENCES),
    "cutoff": on(SENTENCES),
    "clear": on("xquad/corpus.jsonl.gz"),
    "words": on("cranfield/corpus.jsonl.gz"),
    "mask-two": on("jsquad/corpus.jsonl.gz"),
    "noise": on(SENTENCES),
    "ocr": on("record-duplicates/records.jsonl.gz"),
    "phrase": on(english("breaking-nli/pairs.jsonl.gz", "hypothesis"), synonyms=synonyms, paraphrases=synonyms),
    "distill-pool": on(SENTENCES, tags=parts_of_speech),
    "template-views": on(english("tatoeba/pairs.jsonl.gz", "text")),
    "attribute-flip": on("tenk-synthetic-queries/corpus.jsonl.gz"),
    "representative-words": on("cisi/corpus.jsonl.gz"),
    "definitions": on(dictionary),
    "citations": on(citation_links, "--corpus", str(DATA / "cacm" / "corpus.jsonl.gz"), rows=3000),
    "co-citation": on(citation_links, "--corpus", str(DATA / "cacm" / "corpus.jsonl.gz"), rows=3000),
    "translate": on(english_pairs, translations=german_for_english),
}
NO_COLLECTION = {
    "reply": "no conversations are at hand; tests/test_derive_dialogue.py has some of each layout",
    "dialogue": "no conversations are at hand; tests/test_derive_dialogue.py has some of each layout",
    "code": "the quickstart runs it on the standard library",
    "code-soft": "reads what code writes; tests/test_derive_codeviews.py runs it on real functions",
    "mlm-edit": "no masked language model is at hand; run with random weights in tests of its own",
    "backtranslation": "no translation model is at hand; run with random weights in tests of its own",
}


def written(path: Path, rows: Iterable[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def test_every_recipe_is_run_here_or_says_why_not() -> None:
    assert sorted(each.name for each in all_recipes()) == sorted([*RUNS, *NO_COLLECTION])


@pytest.mark.parametrize("recipe", [each for each in all_recipes() if each.name in RUNS], ids=lambda each: each.name)
def test_it_gives_pairs_of_real_text(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RUNS[recipe.name]
    source = DATA / run.source if isinstance(run.source, str) else tmp_path
    if not source.is_dir() or not isinstance(run.source, str):
        found = rows_in(run.source) if isinstance(run.source, str) else run.source()
        source = written(tmp_path / "rows.jsonl", islice(found, run.rows))
    beside = [(f"--{name}", str(written(tmp_path / f"{name}.jsonl", make()))) for name, make in run.beside.items()]
    out, summary = tmp_path / "pairs.parquet", tmp_path / "counts.json"
    words = ["derive", recipe.name, str(source), *run.options, *chain(*beside), "-o", str(out)]
    words += ["--summary", str(summary), "-q"]
    monkeypatch.setattr(sys, "argv", ["pairmine", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    pairs = pq.read_table(out)
    check_pairs(pairs)
    counts = json.loads(summary.read_text("utf-8"))
    assert counts["rows_out"] == pairs.num_rows > 0
    assert sum(counts["rejected"].values()) <= counts["rows_in"]
    ids = list(zip(pairs["query_id"].to_pylist(), pairs["doc_id"].to_pylist(), strict=True))
    assert len(set(ids)) == len(ids)
    assert all(text.strip() for name in ("query", "document") for text in pairs[name].unique().to_pylist())
