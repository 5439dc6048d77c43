"""Every reader of pairmine with a good input of each kind, made of small slices of real collections, and a command.

`make_seeds` writes a folder for each reader; what is tried is a copy of it with one file damaged.
"""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from trust import fuzz_mutations as m

ROWS = 12


@dataclass(frozen=True)
class Reader:
    """A command, in a folder with good files, of which one of `damaged` is damaged by one of `changes`.

    `kind` is what docs/trust.md calls it. `keeps` are the beginnings of names that a run which fails may leave.
    """

    name: str
    kind: str
    argv: str
    damaged: tuple[str, ...]
    changes: Sequence[m.Change]
    stdin: str | None = None
    keeps: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """The command line."""
        return self.argv.split()


_CONVERT = "convert {} -q -o out.parquet"
_PAIRS = "convert {} --as pairs -q -o out.parquet"
_MINE = "mine pairs.parquet --corpus corpus.jsonl --workers 1 -q -o out.parquet --retriever"
_BATCH = "generate queries corpus.jsonl --llm openai:tiny --batch-files {}"
_VECTORS = (*m.PARQUET, *m.BYTES)
_MARK = ".pairmine.json"
_INDEX = [f"index/segment-00001.{part}" for part in ("keys", "ids", "shingles", "words")]

_JSONL_GZ, _JSONL_ZST = m.packed(".gz", m.JSON), m.packed(".zst", m.JSON)
_CSV = [*m.TEXT, *m.TEXT, *m.BYTES]


def _file(name: str, kind: str, file: str, changes: Sequence[m.Change], argv: str = _CONVERT, **more: Any) -> Reader:
    return Reader(name, kind, argv.format(file), (file,), changes, **more)


READERS: list[Reader] = [
    _file("jsonl", "JSON lines", "corpus.jsonl", m.JSON),
    _file("jsonl-pairs", "JSON lines", "long.jsonl", m.JSON, _PAIRS),
    _file("jsonl-lists", "JSON lines", "lists.jsonl", m.JSON, _PAIRS),
    _file("json", "JSON array", "corpus.json", m.JSON),
    _file("gz", "gzip", "corpus.jsonl.gz", _JSONL_GZ),
    _file("gz-csv", "gzip", "table.csv.gz", m.packed(".gz", _CSV)),
    _file("zst", "zstd", "corpus.jsonl.zst", _JSONL_ZST),
    _file("csv", "CSV and TSV", "table.csv", _CSV),
    _file("tsv", "CSV and TSV", "table.tsv", _CSV),
    _file("fields", "CSV and TSV", "bare.tsv", _CSV, "convert {} --columns id,text,... -q -o out.parquet"),
    _file("lines", "text lines", "lines.txt", _CSV),
    _file("parquet", "Parquet", "corpus.parquet", m.PARQUET, "convert {} -q -o out.jsonl"),
    _file("parquet-again", "Parquet", "corpus.parquet", m.PARQUET),
    _file("parquet-head", "Parquet", "mined.parquet", m.PARQUET, "head {} --json -q"),
    _file("parquet-pairs", "Parquet", "mined.parquet", m.PARQUET, "filter {} --negatives 2 -q -o out.parquet"),
    _file("parquet-check", "Parquet", "pairs.parquet", m.PARQUET, "check {} --workers 1 -q"),
    _file("lineage", "lineage metadata", "mined.parquet", [m.lineage], "info {} -q"),
    _file(
        "lineage-pairs", "lineage metadata", "mined.parquet", [m.lineage], "filter {} --negatives 2 -q -o out.parquet"
    ),
    _file("lineage-report", "lineage metadata", "pairs.parquet", [m.lineage], "report {} --no-check -q -o out.html"),
    _file("arrow-file", "Arrow IPC", "corpus.arrow", m.ARROW),
    _file("arrow-stream", "Arrow IPC", "mined.arrows.arrow", m.ARROW, "filter {} --negatives 2 -q -o out.parquet"),
    _file("arrow-head", "Arrow IPC", "mined.arrows.arrow", m.ARROW, "head {} -q"),
    Reader(
        "stdin-arrow",
        "standard input",
        "filter - --negatives 2 -q -o out.parquet",
        ("mined.arrows.arrow",),
        m.ARROW,
        "mined.arrows.arrow",
    ),
    Reader("stdin-jsonl", "standard input", "convert - -q -o out.parquet", ("corpus.jsonl",), m.JSON, "corpus.jsonl"),
    Reader(
        "stdin-gz", "standard input", "convert - -q -o out.parquet", ("corpus.jsonl.gz",), _JSONL_GZ, "corpus.jsonl.gz"
    ),
    Reader("beir-corpus", "BEIR folders", _PAIRS.format("beir"), ("beir/corpus.jsonl", "beir/queries.jsonl"), m.JSON),
    Reader("beir-qrels", "BEIR folders", _PAIRS.format("beir"), ("beir/qrels/test.tsv",), _CSV),
    Reader(
        "shards", "folders of shards", "convert shards -q -o out.parquet", ("shards/a.jsonl", "shards/b.jsonl"), m.JSON
    ),
    Reader("parts", "marks of folders", "info parts -q", (f"parts/{_MARK}",), m.JSON),
    Reader(
        "parts-read", "marks of folders", "filter parts --negatives 2 -q -o out.parquet", (f"parts/{_MARK}",), m.JSON
    ),
    Reader("export-mark", "marks of folders", "info by-id -q", (f"by-id/{_MARK}",), m.JSON),
    Reader(
        "export-again",
        "marks of folders",
        "export pairs.parquet --to tevatron-v2 -q -o by-id",
        (f"by-id/{_MARK}",),
        m.JSON,
        keeps=("by-id",),
    ),
    _file("known", "TREC judgments", "qrels.trec", _CSV, f"{_MINE} bm25 --known {{}}"),
    _file(
        "qrels",
        "TREC judgments",
        "judged.trec",
        _CSV,
        "calibrate mined.parquet --qrels {} --rule relative-margin@bm25 --workers 1 -q",
    ),
    _file(
        "qrels-table",
        "TREC judgments",
        "judged.tsv",
        _CSV,
        "calibrate mined.parquet --qrels {} --rule relative-margin@bm25 --workers 1 -q",
    ),
    _file("run", "TREC runs", "run.trec", _CSV, f"{_MINE} run:{{}}"),
    Reader("npy", ".npy vectors", f"{_MINE} npy:docs.npy,queries.npy", ("docs.npy", "queries.npy"), m.NPY),
    Reader("npy-ids", ".npy vectors", f"{_MINE} npy:docs.npy,queries.npy", ("docs.ids.txt",), m.TEXT + m.BYTES),
    Reader("npy-ids-json", ".npy vectors", f"{_MINE} npy:json/docs.npy,queries.npy", ("json/docs.ids.json",), m.JSON),
    Reader("npy-ids-npy", ".npy vectors", f"{_MINE} npy:ids/docs.npy,queries.npy", ("ids/docs.ids.npy",), m.NPY),
    Reader(
        "vectors-parquet", "tables of vectors", f"{_MINE} npy:docs.parquet,queries.npy", ("docs.parquet",), m.PARQUET
    ),
    Reader("vectors-arrow", "tables of vectors", f"{_MINE} npy:docs.arrow,queries.npy", ("docs.arrow",), m.ARROW),
    _file(
        "labels",
        "labels",
        "labels.jsonl",
        m.JSON,
        "calibrate mined.parquet --labels {} --rule relative-margin@bm25 --workers 1 -q",
    ),
    _file(
        "ledger-import",
        "exported replies",
        "replies.jsonl",
        m.JSON,
        "ledger import {} --ledger new.sqlite -q",
        keeps=("new.sqlite",),
    ),
    _file(
        "ledger-parquet",
        "exported replies",
        "replies.parquet",
        m.PARQUET,
        "ledger import {} --ledger new.sqlite -q",
        keeps=("new.sqlite",),
    ),
    _file(
        "ledger",
        "ledgers",
        "ledger.sqlite",
        m.BYTES,
        "ledger export --ledger {} -q out.jsonl",
        keeps=("ledger.sqlite",),
    ),
    _file("ledger-info", "ledgers", "ledger.sqlite", m.BYTES, "ledger info --ledger {} -q", keeps=("ledger.sqlite",)),
    _file(
        "ledger-used",
        "ledgers",
        "ledger.sqlite",
        m.BYTES,
        "generate queries corpus.jsonl --llm fake: --ledger {} -q -o out.parquet",
        keeps=("ledger.sqlite", "out.parquet", ".out"),
    ),
    Reader(
        "batch-files",
        "batch files",
        f"{_BATCH.format('batch')} --ledger new.sqlite -q -o out.parquet",
        ("batch/results-00001.jsonl",),
        m.JSON,
        keeps=("new.sqlite", "batch"),
    ),
    Reader(
        "batch-files-gz",
        "batch files",
        f"{_BATCH.format('packed')} --ledger new.sqlite -q -o out.parquet",
        ("packed/results-00001.jsonl.gz",),
        _JSONL_GZ,
        keeps=("new.sqlite", "packed"),
    ),
    Reader(
        "index",
        "indexes of dedup",
        "dedup corpus.jsonl --index index --workers 1 -q -o out.parquet",
        ("index/manifest.json",),
        m.JSON,
        keeps=("index",),
    ),
    Reader("index-info", "indexes of dedup", "info index -q", ("index/manifest.json",), m.JSON),
    Reader(
        "index-parts",
        "indexes of dedup",
        "dedup copies.jsonl --index index --workers 1 -q -o out.parquet",
        tuple(_INDEX),
        [m.arrays_foot, m.arrays_foot, *m.BYTES],
        keeps=("index",),
    ),
    Reader(
        "against",
        "test sets",
        "dedup corpus.jsonl --against lines.txt --workers 1 -q -o out.parquet",
        ("lines.txt",),
        _CSV,
    ),
    Reader(
        "against-pairs",
        "test sets",
        "dedup corpus.jsonl --against long.jsonl --workers 1 -q -o out.parquet",
        ("long.jsonl",),
        m.JSON,
    ),
    Reader("store", "vector stores", "store list --store store -q", ("store/*/*.json",), m.JSON, keeps=("store",)),
    Reader(
        "store-used",
        "vector stores",
        "embed corpus.jsonl --encoder fake: --store store -q -o out.parquet",
        ("store/*/*.shard", "store/*/*.json"),
        m.JSON,
        keeps=("store",),
    ),
    _file("recipe", "recipes", "own.yaml", m.YAML, "recipes {} -q"),
    _file(
        "recipe-used",
        "recipes",
        "own.yaml",
        m.YAML,
        "generate {} corpus.jsonl --llm fake: --ledger new.sqlite -q -o out.parquet",
        keeps=("new.sqlite", "out.parquet", ".out"),
    ),
    _file(
        "lexicon",
        "lists of words",
        "words.tsv",
        _CSV,
        "derive phrase corpus.jsonl --synonyms {} --paraphrases words2.tsv --workers 1 -q -o out.parquet",
    ),
    _file(
        "target",
        "lists of words",
        "target.txt",
        _CSV,
        "derive parallel lines.txt --columns source --target {} --workers 1 -q -o out.parquet",
    ),
    _file(
        "tokenizer",
        "tokenizers",
        "tokenizer/tokenizer.json",
        m.JSON,
        "stats pairs.parquet --tokenizer tokenizer -q",
    ),
    _file("code", "trees of code", "code/a.py", m.TEXT + m.BYTES, "derive code code --workers 1 -q -o out.parquet"),
    _file("rejects", "rejected rows", "rejected.parquet", m.PARQUET, "stats pairs.parquet --rejects {} -q"),
    _file("since", "earlier sets", "mined.parquet", m.PARQUET, f"{_MINE} bm25 --since {{}}"),
    Reader("sidecar", "sidecars", "check train.jsonl --workers 1 -q", ("train.jsonl.ids.parquet",), m.PARQUET),
    Reader("sidecar-stats", "sidecars", "stats train.jsonl -q", ("train.jsonl.ids.parquet",), m.PARQUET),
]

_IN_JSONL = ("st-triplet", "st-scores", "st-labeled-list", "flag-embedder", "tevatron", "swift-embedding")
FORMS = {
    **dict.fromkeys((*_IN_JSONL, "nemo-inline", "reranker-sft"), "train.jsonl"),
    **{"st-ntuple": "train.parquet", "swift-reranker": "train.parquet", "st-pair-score": "train.arrow"},
    **{"simcse-triplet": "train.csv", "dpr": "train.json"},
    **dict.fromkeys(("st-ids", "tevatron-v2", "pylate-kd", "nemo-corpus", "contrastors", "colbert-triples"), ""),
    **dict.fromkeys(("gpl", "beir", "mteb", "mteb-reranking"), ""),
}
"""The formats of trainers, and the file of each that is one; the others are folders."""

_CHANGES = {
    **{".jsonl": m.JSON, ".json": m.JSON, ".gz": _JSONL_GZ},
    **{".parquet": m.PARQUET, ".arrow": m.ARROW, ".csv": _CSV, ".tsv": _CSV},
}


def readers_of_forms(seeds: Path) -> list[Reader]:
    """A reader for each trainer's format: `check` with every file of it damaged in turn, and `stats`."""
    found = []
    for form, file in FORMS.items():
        path = f"form/{file}" if file else "form"
        base = seeds / f"form-{form}"
        names = sorted(str(each.relative_to(base)) for each in (base / "form").rglob("*") if each.is_file())
        for ending in sorted(
            {Path(name).suffix for name in names if not name.endswith((_MARK, ".md", ".ids.parquet"))}
        ):
            some = tuple(name for name in names if name.endswith(ending) and not name.endswith((_MARK, ".ids.parquet")))
            if some and ending in _CHANGES:
                name = f"form-{form}"
                argv = f"check {path} --form {form} --workers 1 -q" if ending != ".tsv" else f"stats {path} -q"
                found.append(Reader(f"{name}{ending}", "trainers' files", argv, some, _CHANGES[ending]))
    return found


def all_readers(seeds: Path) -> list[Reader]:
    """Every reader whose seeds are in that folder."""
    return [*READERS, *readers_of_forms(seeds)]


def seed_folder(seeds: Path, reader: Reader) -> Path:
    """The folder with a reader's good files."""
    return seeds / (reader.name.rpartition(".")[0] if reader.name.startswith("form-") else "plain")


# --- making them --------------------------------------------------------------------------------


def _rows(path: Path, count: int) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in itertools.islice(lines, count)]


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def make_seeds(folder: Path, data: Path, run: Callable[..., None]) -> None:
    """Good files for every reader below `folder`; `run` runs a command line in a folder, to end with a code."""
    plain = folder / "plain"
    plain.mkdir(parents=True)
    _collection(plain, data)
    for line in (
        "convert corpus.jsonl -q -o corpus.parquet",
        "convert corpus.jsonl -q -o corpus.arrow",
        "convert beir --as pairs -q -o given.parquet",
        "mine given.parquet --corpus corpus.jsonl --retriever bm25 --workers 1 --depth 8 -q -o mined.parquet",
        "filter mined.parquet --negatives 2 -q --rejects rejected.parquet -o pairs.parquet",
        "export pairs.parquet --to st-ntuple -q -o train.jsonl",
        "export pairs.parquet --to tevatron-v2 -q -o by-id",
        "dedup corpus.jsonl --index index --workers 1 -q -o kept.parquet",
        "embed corpus.jsonl --encoder fake: --store store -q -o docs.parquet",
        "embed corpus.jsonl --encoder fake: --store none -q -o docs.arrow",
        "embed corpus.jsonl --encoder fake: --store none -q -o docs.npy",
        "embed beir/queries.jsonl --encoder fake: --side query --store none -q -o queries.npy",
        "generate queries corpus.jsonl --llm fake: --ledger ledger.sqlite -q -o written.parquet",
        "ledger export --ledger ledger.sqlite -q replies.jsonl",
        "ledger export --ledger ledger.sqlite -q replies.parquet",
    ):
        run(plain, line)
    run(plain, f"{_BATCH.format('batch')} --ledger asked.sqlite -q -o none.parquet", 3)
    (plain / "asked.sqlite").unlink()
    _derived(plain)
    for form, file in FORMS.items():
        base = folder / f"form-{form}"
        base.mkdir()
        scores = " --scores bm25" if form in ("st-scores", "pylate-kd", "gpl", "st-pair-score") else ""
        corpus = " --corpus corpus.jsonl" if form in ("beir", "mteb", "mteb-reranking", "gpl") else ""
        if file:
            (base / "form").mkdir()
        run(
            plain, f"export pairs.parquet --to {form}{scores}{corpus} -q -o ../{base.name}/form{'/' * bool(file)}{file}"
        )


def _collection(plain: Path, data: Path) -> None:
    documents = [
        {"id": row["_id"], "title": row["title"], "text": row["text"][:300]}
        for row in _rows(data / "scifact/corpus.jsonl.gz", ROWS)
    ]
    queries = [{"_id": row["_id"], "text": row["text"]} for row in _rows(data / "scifact/queries.jsonl.gz", 4)]
    lines = [row["text"].splitlines()[0][:120] for row in documents]
    _write(plain / "corpus.jsonl", documents)
    _write(plain / "copies.jsonl", [{**row, "id": f"c{row['id']}"} for row in documents])
    (plain / "corpus.json").write_text(json.dumps(documents, indent=1))
    for ending in (".gz", ".zst"):
        (plain / f"corpus.jsonl{ending}").write_bytes(m.pack((plain / "corpus.jsonl").read_bytes(), ending))
    for name, mark in (("table.csv", ","), ("table.tsv", "\t")):
        rows = [
            mark.join((row["id"], f'"{line}"' if mark == "," else line))
            for row, line in zip(documents, lines, strict=True)
        ]
        (plain / name).write_text("\n".join([f"id{mark}text", *rows]) + "\n")
    (plain / "table.csv.gz").write_bytes(m.pack((plain / "table.csv").read_bytes(), ".gz"))
    (plain / "bare.tsv").write_text(
        "".join(f"{row['id']}\t{line}\t7\n" for row, line in zip(documents, lines, strict=True))
    )
    (plain / "lines.txt").write_text("\n".join(lines) + "\n")
    (plain / "target.txt").write_text("\n".join(" ".join(reversed(line.split())) for line in lines) + "\n")
    (plain / "words.tsv").write_text("word\tother\ncells\tunits\nbrain\tmind\nbone\tskeleton\n")
    (plain / "words2.tsv").write_text("word\tother\nin vivo\tin life\nof the\tfrom the\n")
    judged = [
        (query["_id"], row["id"], at) for at, (query, row) in enumerate(itertools.product(queries, documents[:3]))
    ]
    _write(
        plain / "beir/corpus.jsonl", [{"_id": row["id"], **{k: row[k] for k in ("title", "text")}} for row in documents]
    )
    _write(plain / "beir/queries.jsonl", queries)
    (plain / "beir/qrels").mkdir()
    qrels = "".join(f"{query}\t{doc}\t{at % 3}\n" for query, doc, at in judged)
    (plain / "beir/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels)
    (plain / "qrels.trec").write_text("".join(f"{query} 0 {doc} {at % 3}\n" for query, doc, at in judged))
    # Those of `calibrate` have to be of candidates, which what is known is not.
    all_judged = [(q["_id"], d["id"], at) for at, (q, d) in enumerate(itertools.product(queries, documents))]
    rows = "".join(f"{query}\t{doc}\t{at % 2}\n" for query, doc, at in all_judged)
    (plain / "judged.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    (plain / "judged.trec").write_text("".join(f"{query} 0 {doc} {at % 2}\n" for query, doc, at in all_judged))
    ranked = itertools.product(queries, enumerate(documents, 1))
    (plain / "run.trec").write_text(
        "".join(f"{q['_id']} Q0 {d['id']} {at} {9 - at / 2} tag\n" for q, (at, d) in ranked)
    )
    long = [
        {"query": q["text"], "document": d["text"], "label": int(at == 0)}
        for q in queries
        for at, d in enumerate(documents[:3])
    ]
    _write(plain / "long.jsonl", long)
    _write(
        plain / "lists.jsonl",
        [{"query": q["text"], "pos": [lines[at]], "neg": lines[at + 1 : at + 3]} for at, q in enumerate(queries)],
    )
    _write(plain / "shards/a.jsonl", documents[:6])
    _write(plain / "shards/b.jsonl", documents[6:])
    (plain / "code").mkdir()
    (plain / "code/a.py").write_text(
        'def area(side):\n    """The area of a square with this side, in its unit squared."""\n    return side * side\n'
    )
    recipes = Path(__file__).parents[2] / "prompts"
    shutil.copy(recipes / "queries.yaml", plain / "own.yaml")
    (plain / "tokenizer").mkdir()
    _tokenizer(plain / "tokenizer/tokenizer.json", lines)


def _tokenizer(path: Path, lines: Sequence[str]) -> None:
    words = sorted({word for line in lines for word in line.lower().split()})
    vocabulary = {word: at for at, word in enumerate(["[UNK]", *words])}
    body = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }  # fmt: skip
    path.write_text(json.dumps(body))


def _derived(plain: Path) -> None:
    """What is made of outputs: a stream, a folder in parts, labels, ids beside vectors, results of a batch."""
    mined = m.read_parquet((plain / "mined.parquet").read_bytes())
    m.write_arrow(mined, plain / "mined.arrows.arrow", as_file=False, ends=mined.schema.metadata[b"pairmine"])
    parts = plain / "parts"
    parts.mkdir()
    bare = mined.replace_schema_metadata(None)
    half = mined.num_rows // 2
    lineage = json.loads(mined.schema.metadata[b"pairmine"])["lineage"]
    for name, some in (("part-00000.parquet", bare.slice(0, half)), ("part-00001.parquet", bare.slice(half))):
        pq.write_table(some, parts / name)
    mark = {
        "files": ["part-00000.parquet", "part-00001.parquet"],
        "format": 1,
        "lineage": lineage,
        "rows": [half, mined.num_rows - half],
    }
    (parts / _MARK).write_text(json.dumps(mark, indent=1))
    undecided = [row for row in mined.to_pylist() if row["label"] is None]
    _write(
        plain / "labels.jsonl",
        [{"query_id": r["query_id"], "doc_id": r["doc_id"], "label": at % 2} for at, r in enumerate(undecided)],
    )
    ids = (plain / "docs.ids.txt").read_text().split()
    for name in ("json", "ids"):
        (plain / name).mkdir()
        shutil.copy(plain / "docs.npy", plain / name / "docs.npy")
    (plain / "json/docs.ids.json").write_text(json.dumps(ids))
    np.save(plain / "ids/docs.ids.npy", np.array(ids))
    _results(plain)


def _results(plain: Path) -> None:
    """Results as a provider writes them, for the requests that a run left there."""
    asked = (plain / "batch/requests-00001.jsonl").read_text().splitlines()
    keys = [json.loads(line)["custom_id"] for line in asked]
    texts = [json.loads(line)["text"] for line in (plain / "replies.jsonl").read_text().splitlines()]
    rows = []
    for key, text in zip(keys, texts, strict=True):
        message = {"role": "assistant", "content": text}
        body = {
            "model": "tiny",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3},
        }
        rows.append(
            {
                "id": "b",
                "custom_id": key,
                "response": {"status_code": 200, "request_id": "r", "body": body},
                "error": None,
            }
        )
    _write(plain / "batch/results-00001.jsonl", rows)
    (plain / "packed").mkdir()
    (plain / "packed/results-00001.jsonl.gz").write_bytes(
        m.pack((plain / "batch/results-00001.jsonl").read_bytes(), ".gz")
    )
