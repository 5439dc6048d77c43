"""The stages that are killed: what each one reads and leaves, and the bench on which it is run and stopped."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from llm_server import LLMServer
from trust.warm_runs import UNDISTURBED, Done, Moment, WarmRuns

CISI = Path(__file__).parents[3] / "shared" / "data" / "cisi"
CONCURRENCY = 8
DOCUMENTS, PAIRS, ASKED = 400, 240, 60
EARLIER = b"what stood here before\n"
_STATE = ("store/", "index/", ".pairmine/", ".out.parquet.scratch/")
"""Where a run keeps what the next one takes up."""
_SEGMENT = re.compile(rb"segment-\d+")
_SHARD = re.compile(r"[0-9a-f]{16}(?=\.shard$)|[0-9a-f]{32}(?=/)")


def _alike(name: str) -> str:
    """`name` without what is drawn at random, or counts the runs that added to an index."""
    return _SHARD.sub("*", re.sub(r"segment-\d+", "segment", name))


@dataclass(frozen=True)
class Stage:
    """A command that writes `outputs`; `settings` make its blocks small, so that there are many moments between."""

    name: str
    words: str
    outputs: Sequence[str] = ("out.parquet",)
    settings: Mapping[str, Any] = field(default_factory=dict)
    asks: bool = False
    code: int = 0

    def __str__(self) -> str:
        return self.name


_LLM = f"--llm openai:test-model --base-url {{url}} --concurrency {CONCURRENCY} --ledger .pairmine/ledger.sqlite"
_SMALL_STORE = {"pairmine.backends.vectors.store:COMMIT_S": 0.0}
STAGES = [
    Stage(
        "derive",
        "derive ict {corpus} --rejects rejects.jsonl --summary counts.json -o out.parquet",
        ("out.parquet", "rejects.jsonl", "counts.json"),
    ),
    Stage(
        "dedup",
        "dedup {corpus} --rejects rejects.parquet --groups groups.parquet -o out.parquet",
        ("out.parquet", "rejects.parquet", "groups.parquet"),
    ),
    Stage(
        "dedup, bounded",
        "dedup {corpus} --index index --rejects rejects.parquet -o out.parquet",
        ("out.parquet", "rejects.parquet"),
        {"pairmine.cli.dedup_scale:BLOCK_ROWS": 100, "pairmine.cli.dedup_scale:_SHARES": 100_000},
    ),
    Stage(
        "generate",
        f"generate queries {{asked}} {_LLM} --rejects rejects.jsonl -o out.parquet",
        ("out.parquet", "rejects.jsonl"),
        asks=True,
    ),
    Stage(
        "mine",
        "mine {pairs} --corpus {corpus} --retriever bm25 --retriever fake: --store store --depth 8 -o out.parquet",
        settings=_SMALL_STORE,
    ),
    Stage("score", "score {mined} --scorer fake: --store store -o out.parquet", settings=_SMALL_STORE),
    Stage(
        "score by an LLM",
        f"score {{judged}} {_LLM.replace('--llm', '--scorer')} --recipe judge -o out.parquet",
        asks=True,
    ),
    Stage(
        "filter",
        "filter {scored} --no-relative-margin --by bm25 --negatives 3 --rejects rejects.parquet -o out.parquet",
        ("out.parquet", "rejects.parquet"),
    ),
    Stage(
        "mix",
        "mix {filtered} --split train=.8,dev=.2 -o out.{{split}}.parquet",
        ("out.train.parquet", "out.dev.parquet"),
    ),
    Stage("export", "export {filtered} --to st-ntuple -o out.jsonl", ("out.jsonl", "out.jsonl.ids.parquet")),
    Stage("export of a folder", "export {filtered} --to beir -o out", ("out/",)),
    Stage("embed", "embed {corpus} --encoder fake: --store store -o out.parquet", settings=_SMALL_STORE),
    Stage(
        "embed as a matrix",
        "embed {corpus} --encoder fake: --store store -o out.npy",
        ("out.npy", "out.ids.txt"),
        _SMALL_STORE,
    ),
    Stage("calibrate", "calibrate {scored} --json out.json --plot out.svg", ("out.json", "out.svg")),
    Stage("convert", "convert {corpus} -o out.csv.gz", ("out.csv.gz",)),
    Stage(
        "check --fix",
        "check {mined} --fix --rejects rejects.jsonl -o out.parquet",
        ("out.parquet", "rejects.jsonl"),
    ),
    Stage("report", "report {filtered} -o out.html", ("out.html",)),
]


def _of(output: str, files: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Those of `files` that are `output`, or stand in it where it is a folder."""
    is_folder = output.endswith("/")
    return ((name, files[name]) for name in files if name == output or (is_folder and name.startswith(output)))


@dataclass(frozen=True)
class Whole:
    """An undisturbed run: what it wrote, what lay there then, how often it touched the disk, and what it asked for."""

    files: Mapping[str, bytes]
    tree: frozenset[str]
    touches: int
    asked: int


class Bench:
    """Runs stages in an empty folder `out`, on inputs elsewhere."""

    def __init__(self, inputs: Path, runs: WarmRuns, server: LLMServer) -> None:
        self.runs, self.server = runs, server
        self.folder = runs.folder
        self._inputs = inputs
        self._seconds: dict[str, float] = {}
        self._wholes: dict[str, Whole] = {}
        self._replies: dict[str, str] = {}
        server.answer = self._answer

    def _answer(self, body: dict[str, Any]) -> str:
        return self._replies.setdefault(body["messages"][-1]["content"], _answer(body))

    def words(self, stage: Stage) -> list[str]:
        """Its command line."""
        inputs = {path.name.partition(".")[0]: path for path in self._inputs.iterdir()}
        return [*stage.words.format(url=self.server.base_url, **inputs).split(), "-q"]

    def run(self, stage: Stage, moment: Moment = UNDISTURBED) -> Done:
        """Run it, where it may take up what lies there."""
        done = self.runs.run(self.words(stage), moment, settings=stage.settings)
        if moment == UNDISTURBED:
            self._seconds[stage.name] = max(done.seconds, 0.9 * self._seconds.get(stage.name, 0.0))
        return done

    def seconds(self, stage: Stage) -> float:
        """How long it takes by now: a machine that others use as well is slower at times."""
        self.whole(stage)
        return self._seconds[stage.name]

    def moments(
        self, stage: Stage, draw: Random, signals: Sequence[int], *, by_touch: bool, gap: float = 0.0
    ) -> Moment:
        """A random one for the first signal; the others come after it, a touch or at most `gap` seconds each."""
        whole = self.whole(stage)
        if by_touch:
            first = draw.randint(1, whole.touches)
            return Moment(touches=[(first + number, each) for number, each in enumerate(signals)])
        first_s, times = draw.uniform(0.0, self.seconds(stage)), []
        for each in signals:
            times.append((first_s, each))
            first_s += draw.uniform(0.0, gap)
        return Moment(times=times)

    def whole(self, stage: Stage) -> Whole:
        """What it comes to when nobody disturbs it; twice the same bytes, or this fails."""
        if stage.name not in self._wholes:
            found = []
            for _ in range(2):  # the first one also imports
                self._seconds.pop(stage.name, None)
                self.clean()
                asked = self.server.requests
                done = self.run(stage)
                assert done.code == stage.code, f"{stage}: {done}"
                found.append(Whole(self.files(), self.tree(), done.touches, self.server.requests - asked))
            assert found[0].files == found[1].files, f"{stage}: two runs give other bytes"
            self._wholes[stage.name] = found[1]
        return self._wholes[stage.name]

    def clean(self) -> None:
        """Empty the folder, and forget what was sent."""
        self.server.paid_at.clear()
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    def put_earlier(self, stage: Stage) -> None:
        """Have outputs of an earlier run in the places of its outputs."""
        for name, content in self._earlier(stage).items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)

    def _earlier(self, stage: Stage) -> dict[str, bytes]:
        """What `put_earlier` puts there; a folder stays one that pairmine wrote."""
        files = {name: content for output in stage.outputs for name, content in _of(output, self.whole(stage).files)}
        return {name: content if name.endswith(".pairmine.json") else EARLIER for name, content in files.items()}

    def files(self) -> dict[str, bytes]:
        """What lies in the folder but for ledgers and stores, whose bytes tell of times."""
        paths = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        found = {str(path.relative_to(self.folder)): path for path in paths}
        outputs = (name for name in found if not name.startswith(("store/", ".pairmine/")))
        return {_alike(name): _SEGMENT.sub(b"segment", found[name].read_bytes()) for name in outputs}

    def tree(self) -> frozenset[str]:
        """The names of all that lies in the folder, of folders with a slash; those drawn at random are alike."""
        names = (f"{path.relative_to(self.folder)}{'/' * path.is_dir()}" for path in self.folder.rglob("*"))
        return frozenset(_alike(name) for name in names if name.rpartition("/")[2] != ".lock")

    def torn(self, stage: Stage, *, has_earlier: bool, may_lack_folder: bool) -> list[str]:
        """Outputs that are neither whole nor what was there before: that of an earlier run, or nothing.

        With `may_lack_folder` the earlier one of a folder may stand beside it, and nothing in its place.
        """
        here, found = self.files(), []
        for output in stage.outputs:
            before = dict(_of(output, self._earlier(stage))) if has_earlier else {}
            beside = any(re.match(rf"\.{re.escape(output[:-1])}\.\w+\.old/", name) for name in here)
            if may_lack_folder and output.endswith("/") and beside:
                before = {}
            if dict(_of(output, here)) not in (before, dict(_of(output, self.whole(stage).files))):
                found.append(output)
        return found

    def left_over(self, stage: Stage) -> set[str]:
        """What lies there beside outputs and what the next run takes up."""
        return {name for name in self.tree() - self.whole(stage).tree if not name.startswith(_STATE)}

    def settle(self) -> None:
        """Wait until the server has read all that a command that is gone has asked of it."""
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.request("GET", "/v1/models")  # it is taken after all that came before
        connection.getresponse().read()
        connection.close()
        end = time.monotonic() + 60
        while self.server.connections:
            assert time.monotonic() < end, "a connection outlives its command"
            time.sleep(0.002)

    def sent_before(self, moment: float) -> set[str]:
        """The replies that the server had sent by then (of time.monotonic) since `clean`."""
        return {self._replies[prompt] for prompt, at in dict(self.server.paid_at).items() if at < moment}

    def kept(self) -> set[str]:
        """The replies that the ledger holds, which is left as it is."""
        if not (self.folder / ".pairmine" / "ledger.sqlite").exists():
            return set()
        copy = self.folder.with_name("ledger")
        shutil.copytree(self.folder / ".pairmine", copy)
        try:
            connection = sqlite3.connect(copy / "ledger.sqlite")
            tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'replies'").fetchone()[0]
            found = connection.execute("SELECT text FROM replies").fetchall() if tables else []
            connection.close()
            texts = {row[0] for row in found}
            assert len(texts) == len(found)
            return texts
        finally:
            shutil.rmtree(copy)


def _answer(body: dict[str, Any]) -> str:
    """What the model says: the same whenever it is asked the same, and something else to each prompt."""
    prompt = body["messages"][-1]["content"]
    draw = Random(prompt)
    if '"score"' in body["messages"][0]["content"]:
        return json.dumps({"reason": f"Because of {draw.random()}.", "score": draw.randint(0, 10) / 2})
    words = [word for word in prompt.split() if word.isalpha()]
    query, passage = (" ".join(draw.choices(words, k=count)) for count in (8, 30))
    return json.dumps({"query": query, "hard_negative": passage})


def write_inputs(folder: Path, runs: WarmRuns) -> None:
    """A part of a real collection as a corpus and as pairs, and the pairs as the stages in turn leave them."""
    folder.mkdir()
    with gzip.open(CISI / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [{"id": each["_id"], "text": each["text"]} for each in map(json.loads, islice(lines, DOCUMENTS))]
    with gzip.open(CISI / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
        queries = {str(each["_id"]): each["text"] for each in map(json.loads, lines)}
    texts = {str(each["id"]): each["text"] for each in documents}
    judged = [line.split("\t")[:2] for line in (CISI / "qrels.tsv").read_text().splitlines()[1:]]
    pairs = [
        {"query_id": query, "query": queries[query], "doc_id": document, "document": texts[document], "label": 1}
        for query, document in judged
        if document in texts
    ][:PAIRS]
    _write(folder / "corpus.jsonl", documents)
    _write(folder / "asked.jsonl", documents[:ASKED])
    _write(folder / "pairs.jsonl", pairs)
    _write(folder / "judged.jsonl", pairs[:ASKED])
    for words in (
        "mine pairs.jsonl --corpus corpus.jsonl --retriever bm25 --depth 8 -o mined.parquet",
        "score mined.parquet --scorer fake: -o scored.parquet",
        "filter scored.parquet --no-relative-margin --by bm25 --negatives 3 -o filtered.parquet",
    ):
        done = runs.run([*words.split(), "-q"], folder=folder)
        assert done.code == 0, done.said


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def one_line(said: str) -> bool:
    """Whether that is how a command says that it was interrupted."""
    begins, ends = said.startswith("pairmine: "), said.endswith("run the same command again to continue\n")
    return begins and ends and said.count("\n") == 1


NAMES = {signal.SIGINT: "SIGINT", signal.SIGTERM: "SIGTERM", signal.SIGKILL: "SIGKILL"}
