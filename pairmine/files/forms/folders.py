"""Formats of several files: which file is which, and the texts of the ids in their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import orjson
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.files.forms.by_id import JUDGED, RANKED, TRIPLE, WITH_MARGIN
from pairmine.files.forms.faults import of_bytes
from pairmine.files.forms.group import At, Group
from pairmine.files.forms.lookup import Lookup, Names
from pairmine.files.forms.notes import Notes
from pairmine.files.forms.offsets import compare_counts, compare_offsets
from pairmine.files.forms.rows import BROKEN, Batch, read_rows, unit_of
from pairmine.files.forms.values import identities, parsed
from pairmine.files.locations import Shard, find_shards
from pairmine.files.raw import REST

_BY_ID = Names(("id",))


@dataclass(frozen=True)
class File:
    """Files of one kind in a folder: the first of the `patterns` that finds some, and how they are read."""

    patterns: tuple[str, ...]
    names: Names = _BY_ID
    fields: tuple[str, ...] = ()
    inside: str = ""


@dataclass(frozen=True)
class Folder:
    """The files of a format: its training rows, the texts that they name, `others` that the trainer opens.

    `doc_ids` and `query_ids` say what the numbers in the rows stand for, where such a file was kept.
    """

    rows: File
    corpus: File | None = None
    queries: File | None = None
    others: tuple[str, ...] = ()
    doc_ids: File | None = None
    query_ids: File | None = None


def _any(stem: str) -> tuple[str, ...]:
    return tuple(
        f"{stem}{ending}" for ending in (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", "/*.parquet", "/*.jsonl")
    )


_PASSAGES = Names(("_id", "id"), title=True)
_QRELS = (*JUDGED, REST)
_TABLES = Folder(
    File(("train.parquet",)),
    File(("documents.parquet",), Names(("document_id",))),
    File(("queries.parquet",), Names(("query_id",))),
)
_MTEB = Folder(
    File(("qrels/*.parquet", "qrels/*.jsonl", "default/*.parquet")),
    File(_any("corpus"), Names(("id", "_id"), title=True)),
    File(_any("queries"), Names(("id", "_id"))),
)

FOLDERS = {
    "tevatron-v2": Folder(File(("train.jsonl",)), File(("corpus.jsonl",), Names(("docid",)))),
    "pylate-kd": _TABLES,
    "st-ids": _TABLES,
    "nemo-corpus": Folder(
        File(("train.json",), inside="data"),
        File(("corpus/*.parquet",)),
        others=("corpus/merlin_metadata.json",),
    ),
    "contrastors": Folder(File(("shard-*.jsonl.gz",)), others=("counts.json", "offsets.json.gz")),
    "colbert-triples": Folder(
        File(("triples.train.colbert.jsonl",), fields=TRIPLE),
        File(("corpus.train.colbert.tsv",), fields=("id", "text")),
        File(("queries.train.colbert.tsv",), fields=("id", "text")),
        doc_ids=File(("corpus.ids.parquet",), Names(("pid",), ("doc_id",))),
        query_ids=File(("queries.ids.parquet",), Names(("qid",), ("query_id",))),
    ),
    "gpl": Folder(
        File(("gpl-training-data.tsv",), fields=WITH_MARGIN),
        File(("corpus.jsonl",), _PASSAGES),
        File(("qgen-queries.jsonl",), Names(("_id",))),
        others=("hard-negatives.jsonl", "qgen-qrels/train.tsv"),
    ),
    "beir": Folder(
        File(("qrels/*.tsv", "qrels.tsv"), fields=_QRELS),
        File(_any("corpus"), _PASSAGES),
        File(_any("queries"), Names(("_id", "id"))),
    ),
    "mteb": _MTEB,
    "mteb-reranking": _MTEB,
}


@dataclass
class FolderRows:
    """The training rows of the folder `base`, a `file` of it or all, and the texts behind their ids."""

    base: Path
    folder: Folder
    file: Path | None = None
    columns: dict[str, pa.Field] = field(default_factory=dict)

    def __post_init__(self) -> None:
        files = [self.file] if self.file else self._found(self.folder.rows)
        if not files:
            raise PairmineError(f"{self.base}: no {self.folder.rows.patterns[0]} in it; name the folder that has it")
        self.shards = [_shard(path) for path in files]
        texts = [file for file in (self.folder.corpus, self.folder.queries) if file]
        self.inputs = self.shards + [_shard(path) for file in texts for path in self._found(file)]
        self.unit = unit_of(self.shards[0])
        self.tests = self._tests()
        self._counts: dict[Path, int] = {}
        self._documents: Lookup | None = None
        self._queries: Lookup | None = None
        self._doc_ids, self._query_ids = (
            self._lookup(file, Notes(muted=True)) for file in (self.folder.doc_ids, self.folder.query_ids)
        )
        if len(files) > 1 and self.folder.rows.fields in (_QRELS, ()) and self.folder.queries:
            self.columns = {"split": pa.field("split", pa.string())}

    def batches(self, notes: Notes) -> Iterator[Batch]:
        """All rows. The texts are read before the first ones, and once."""
        if not notes.is_muted or self._documents is None:
            self._documents, self._queries = (
                self._lookup(self.folder.corpus, notes),
                self._lookup(self.folder.queries, notes),
            )
            self._look_at_others(notes)
        for shard in self.shards:
            self._counts[Path(shard.path)] = 0
            for batch in self._batches(shard, self.folder.rows, notes):
                self._compare_corpus(batch, notes)
                self._counts[Path(shard.path)] += len(batch.rows)
                yield batch
        if not notes.is_muted:
            self._look_behind(notes)

    def complete(self, groups: Sequence[Group], batch: Batch, notes: Notes) -> None:
        """Give `groups` their texts; an id that no file has is noted, and its text stays None."""
        if self.folder.corpus is not None:
            _resolve(groups, self._documents, notes)
        if self.folder.queries is not None:
            asked = [group for group in groups if group.query is None]
            found = self._queries.texts([g.query_id or "" for g in asked]) if self._queries else [None] * len(asked)
            for group, query in zip(asked, found, strict=True):
                group.query = query
                if query is None:
                    notes.add("unresolved-ids", group.place, f'no query "{group.query_id}"')
        if self._doc_ids is not None and self._query_ids is not None:
            _rename(groups, self._query_ids, self._doc_ids)
        if self.columns:
            name = batch.file.rpartition("/")[2].partition(".")[0]
            for group in groups:
                group.extra = (group.extra or {}) | {"split": [name] * len(group.texts)}

    def _tests(self) -> tuple[str, ...]:
        parts = [file for file in (self.folder.rows, self.folder.corpus, self.folder.queries) if file]
        own = ["missing-file", *of_bytes(pattern for file in parts for pattern in file.patterns)]
        if self.folder.corpus is not None:
            own += ["missing-field", "not-text", "unresolved-ids", "duplicate-ids"]
        if self.folder is FOLDERS["colbert-triples"]:
            own.append("numbers-apart")
        if self.folder is FOLDERS["contrastors"]:
            own += ["counts-differ", "offsets-differ", "folder-moved"]
        return tuple(own)

    def _batches(self, shard: Shard, file: File, notes: Notes) -> Iterator[Batch]:
        name = str(Path(shard.path).relative_to(self.base))
        batches = read_rows(shard, notes, file=name, fields=file.fields, inside=file.inside)
        return _without_header(batches, notes, name) if file.fields == _QRELS else batches

    def _found(self, file: File) -> list[Path]:
        return next((found for pattern in file.patterns if (found := sorted(self.base.glob(pattern)))), [])

    def _lookup(self, file: File | None, notes: Notes) -> Lookup | None:
        if file is None:
            return None
        found = self._found(file)
        if not found:
            notes.add("missing-file", file.patterns[0])
        batches: Iterator[Batch] = chain.from_iterable(self._batches(_shard(path), file, notes) for path in found)
        if self.folder is FOLDERS["colbert-triples"] and file is self.folder.corpus:
            batches = _numbered(batches, notes)
        return Lookup(batches, file.names, notes)

    def _look_at_others(self, notes: Notes) -> None:
        """What the trainer opens besides."""
        notes.among("missing-file", len(self.folder.others) + 2, "files")
        for name in self.folder.others:
            if not (self.base / name).is_file():
                notes.add("missing-file", name)

    def _look_behind(self, notes: Notes) -> None:
        """What can be compared once all rows are read."""
        if self.folder is FOLDERS["contrastors"]:
            compare_counts(self.base, self._counts, notes)
            compare_offsets(self.base, self._counts, notes)
        for path in sorted(self.base.glob("top_ranked/*.parquet")) if self.folder is _MTEB else ():
            for batch in self._batches(_shard(path), File(()), notes):
                self._look_at_ranked(batch, notes)

    def _compare_corpus(self, batch: Batch, notes: Notes) -> None:
        """NeMo finds the corpus of a question by the name that is written beside that corpus."""
        about = self.base / "corpus/merlin_metadata.json"
        if notes.is_muted or self.folder is not FOLDERS["nemo-corpus"] or not about.is_file():
            return
        try:
            name = orjson.loads(about.read_bytes())["corpus_id"]
        except (ValueError, KeyError, TypeError):
            notes.add("missing-field", "corpus/merlin_metadata.json", 'no "corpus_id"')
            return
        for at, row in enumerate(batch.rows):
            if row is not BROKEN and row.get("corpus_id") != name:
                notes.add("unresolved-ids", batch.place(at), f'no corpus "{row.get("corpus_id")}", it is "{name}"')

    def _look_at_ranked(self, batch: Batch, notes: Notes) -> None:
        at = At(notes)
        for number, row in enumerate(batch.rows):
            at.place = batch.place(number)
            value = row.get(RANKED)
            ids = identities(value, RANKED, at) if isinstance(value, list) else []
            texts = self._documents.texts(ids) if self._documents else [None] * len(ids)
            if None in texts:
                at.note("unresolved-ids", f'no document "{ids[texts.index(None)]}"')


def _resolve(groups: Sequence[Group], documents: Lookup | None, notes: Notes) -> None:
    ids = [each for group in groups for each in group.ids or ()]
    texts: list[str | None] = [None] * len(ids)
    if documents is not None:
        texts = documents.texts(ids)
    start = 0
    for group in groups:
        group.texts = texts[start : start + len(group.ids or ())]
        start += len(group.texts)
        if None in group.texts:
            missing = (group.ids or [""])[group.texts.index(None)]
            notes.add("unresolved-ids", group.place, f'no document "{missing}"')


def _rename(groups: Sequence[Group], queries: Lookup, documents: Lookup) -> None:
    """Put ids in the place of the numbers that stand for them."""
    asked = queries.texts([group.query_id or "" for group in groups])
    told = iter(documents.texts([each for group in groups for each in group.ids or ()]))
    for group, query_id in zip(groups, asked, strict=True):
        group.query_id = query_id or group.query_id
        group.ids = [next(told) or each for each in group.ids or ()]


def _numbered(batches: Iterator[Batch], notes: Notes) -> Iterator[Batch]:
    """The passages of ColBERT, whose ids are to be the numbers of their lines."""
    for batch in batches:
        for at, row in enumerate(batch.rows):
            if row is not BROKEN and row["id"] != str(batch.numbers[at] - 1):
                notes.add("numbers-apart", batch.place(at), f'"{row["id"]}" here')
        notes.among("numbers-apart", len(batch.rows), "lines")
        yield batch


def _without_header(batches: Iterator[Batch], notes: Notes, name: str) -> Iterator[Batch]:
    """Judgments without the first line, which readers skip; a first line that is a judgment is noted."""
    notes.among("qrels-header", 1, "files")
    for at, batch in enumerate(batches):
        if at == 0 and batch.rows:
            head = batch.rows[0]
            if head is BROKEN or parsed(head["score"]) is None:
                if list(head.values()) != list(JUDGED) and head is not BROKEN:
                    notes.add("qrels-header", name, f"the first line is {', '.join(map(str, head.values()))}"[:100])
                batch = Batch(batch.rows[1:], batch.numbers[1:], batch.unit, batch.file)
            else:
                notes.add("qrels-header", name, "the first line is a judgment")
        if batch.rows:
            yield batch


def _shard(path: Path) -> Shard:
    return find_shards(str(path))[0]


def find_folder(path: Path) -> str | None:
    """The format of a folder by the files in it, None for any other."""
    if not path.is_dir():
        return None

    def has(*patterns: str) -> bool:
        return any(next(path.glob(pattern), None) is not None for pattern in patterns)

    texts = has(*_any("corpus")) and has(*_any("queries"))
    claims = (
        ("colbert-triples", has("triples.train.colbert.jsonl")),
        ("gpl", has("gpl-training-data.tsv")),
        ("contrastors", has("shard-*.jsonl.gz") and has("counts.json", "offsets.json.gz")),
        ("nemo-corpus", has("train.json") and has("corpus/merlin_metadata.json", "corpus/*.parquet")),
        ("st-ids", has("train.parquet") and has("documents.parquet", "queries.parquet")),
        ("tevatron-v2", has("train.jsonl") and has("corpus.jsonl") and not has("qrels", "queries.jsonl")),
        ("mteb-reranking", texts and has("top_ranked/*.parquet")),
        ("mteb", texts and has("qrels/*.parquet", "default/*.parquet")),
        ("beir", texts and has("qrels/*.tsv", "qrels.tsv")),
    )
    return next((name for name, is_it in claims if is_it), None)
