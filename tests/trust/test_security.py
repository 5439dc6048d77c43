"""What somebody may try who writes the rows, a recipe, a model, a server's answers, or files beside ours."""

from __future__ import annotations

import ast
import gzip
import itertools
import json
import os
import random
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import headless
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dedup_shell import Shell
from embedding_server import EmbeddingServer
from llm_server import LLMServer, Request, Response, error, reply
from trust import marked_keys
from trust.hostile import ESCAPES, FORMULAS, NAMES, PIECES, REACHES, STATEMENTS

from pairmine.stages.export import TARGETS

ROOT = Path(__file__).parents[2]
SCIFACT = ROOT.parent / "shared" / "data" / "scifact"
LIMIT_S = 300  # a command on a cluster waits for its workers to start, minutes on a busy machine


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def run(folder: Path, words: str | Sequence[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command as a process of its own."""
    command = [sys.executable, "-m", "pairmine", *(words.split() if isinstance(words, str) else words)]
    own = {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, timeout=LIMIT_S, check=False)


def assert_one_line(said: str, code: int, *codes: int) -> None:
    assert code in codes, f"exit {code}: {said}"
    assert said.startswith("pairmine: "), said
    assert said.count("\n") == 1, said
    assert said[:-1].isprintable() or not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said[:-1]), said


# --- keys ---------------------------------------------------------------------------------------------

KEYS = "keys in no output"


def corpus(folder: Path, count: int = 12) -> None:
    """Real passages where they are here, and pairs of them."""
    if not SCIFACT.is_dir():
        pytest.skip("shared/data/scifact is not here")
    with gzip.open(SCIFACT / "corpus.jsonl.gz", "rt", encoding="utf-8") as source:
        lines = [json.loads(line) for line in itertools.islice(source, count)]
    rows = [{"id": str(row.get("_id", row.get("id"))), "title": row.get("title"), "text": row["text"]} for row in lines]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = [
        {"query_id": row["id"], "query": row["title"], "doc_id": row["id"], "document": row["text"], "label": 1}
        for row in rows
    ]
    pairs = [
        each
        for row in pairs
        for each in (
            row,
            {**row, "doc_id": pairs[0]["doc_id"] + "n", "label": 0, "document": "A passage about nothing of the kind."},
        )
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))


COMMANDS = """
0 recipes queries
0 derive title corpus.jsonl -o title.parquet --rejects rejects.derive.jsonl --summary derive.json
1 generate paraphrase corpus.jsonl {llm} -o written.parquet --rejects rejects.jsonl --summary generate.json
0 generate paraphrase corpus.jsonl {llm} --dry-run --probe 2 --summary dry.json
0 ledger info --json
0 ledger export replies.jsonl.gz
0 embed corpus.jsonl --encoder openai:test-model {server} -o vectors.npy --summary embed.json
0 store list --json
0 mine title.parquet --corpus corpus.jsonl --retriever openai:test-model {server} --retriever bm25 -o mined.parquet
2 score mined.parquet --scorer ql:openai:test-model {server} -o never.parquet
0 score title.parquet --scorer rerank:test-model {server} --scale probability -o reranked.parquet --summary score.json
3 score title.parquet --scorer rerank:refused {server} --scale probability -o never.parquet
0 filter mined.parquet --by bm25 --negatives 2 -o pairs.parquet --rejects left.parquet --summary filter.json
0 calibrate mined.parquet --json calibrated.json --plot curves.svg
0 dedup corpus.jsonl --index index --append -o kept.jsonl
0 mix pairs.parquet title.parquet -o mixed.parquet
0 export pairs.parquet --to st-triplet -o train.parquet
0 export pairs.parquet --to beir -o beir
3 export pairs.parquet --to st-pair --push-to nobody/nothing -o pushed.parquet
0 convert corpus.jsonl -o corpus.arrow
0 check pairs.parquet --json
0 info pairs.parquet --json
0 head pairs.parquet
0 stats pairs.parquet --json
0 report pairs.parquet --rejects left.parquet -o report.html
0 doctor
2 convert s3://nobody-has-this/corpus.jsonl -o never.jsonl
2 convert http://me:{password}@127.0.0.1:9/corpus.jsonl -o never.jsonl
2 convert hf://datasets/nobody/nothing/corpus.jsonl -o never.jsonl
3 generate queries corpus.jsonl --llm openai:no-such-model {server} -o never.parquet
3 generate queries corpus.jsonl --llm openai:redirected {server} -o never.parquet
3 generate queries corpus.jsonl --llm openai:refused {server} -o never.parquet
3 generate queries corpus.jsonl --llm openai:test-model --batch {server} -o never.parquet
"""
"""Every command, with the exit code that it is to have: some fail, on their way to somebody who has the key."""


_SHORT = ("derive", "generate paraphrase corpus.jsonl {llm} -o", "generate queries", "embed", "score title")
"""The commands of the short campaign begin so."""


class Parrot(EmbeddingServer):
    """Every other answer is an error that says the key back, in all the ways in which servers do."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = lambda body: json.dumps({"paraphrase": "In other words, the very same was found.", "score": 5})
        self.count = 0
        self.plan = lambda body, prompt, before: self.complaint() if before == 0 and self.count % 2 else None
        self.fails = lambda body, before: self.complaint(503) if self.is_new(body) else None
        self.heard: dict[str, str] = {}
        self.keys: set[str] = set()
        self.said: set[str] = set()
        self.met: set[str] = set()
        self.route("POST", "/v1/rerank", self.rerank)

    def is_new(self, body: dict[str, Any]) -> bool:
        text = json.dumps(body, sort_keys=True)
        return text not in self.met and not self.met.add(text)  # type: ignore[func-returns-value]

    def rerank(self, request: Request) -> Response:
        body = request.json()
        if self.is_new(body):
            return self.complaint(503)
        found = [{"index": at, "relevance_score": 0.5 + at / 1000} for at in range(len(body["documents"]))]
        return reply(200, {"model": "test-model", "results": found})

    def respond(self, request: Request) -> Response:
        self.count += 1
        self.heard = request.headers
        self.keys |= {self.key_heard} - {""}
        if "batches" in request.path or "/files" in request.path or "completions" in request.path.split("/chat")[0]:
            return self.complaint(401)
        if b'"redirected"' in request.body:
            return Response(307, b"", {"location": f"http://127.0.0.1:9/?key={self.key_heard}"})
        if b'"refused"' in request.body:
            return self.complaint(401)
        return super().respond(request)

    @property
    def key_heard(self) -> str:
        """The key as it came; of a password in an address, what it was before it was sent as base64."""
        kind, _, key = self.heard.get("authorization", "").partition(" ")
        return b64decode(key).decode().partition(":")[2] if kind == "Basic" else key

    def complaint(self, status: int = 0) -> Response:
        draw = random.Random(self.count)
        status = status or draw.choice((400, 422, 500, 503, 429))
        forms = said_back(self.key_heard)
        chosen = draw.sample(sorted(forms), 3)
        self.said.update(chosen)
        said = f"{'x' * (self.count * 37 % 200)} Incorrect API key: {' '.join(forms[name] for name in chosen)} (sorry)"
        return error(status, said, headers={"retry-after-ms": "5"})


def said_back(key: str) -> dict[str, str]:
    """A key in all the ways in which servers say it back: whole and cut off, and each of these as it is written."""
    half = max(len(key) // 2, 12)
    parts = {
        "whole": key,
        "start": key[:16],
        "most": key[:30],
        "half": key[:half],
        "rest": key[-half:],
        "end": key[-14:],
    }
    written: dict[str, Callable[[str], str]] = {
        "plain": str,
        "reversed": lambda part: part[::-1],
        "quoted": lambda part: quote(part, safe=""),
        "quoted with +": quote_plus,
        "JSON": lambda part: json.dumps(part).replace("/", "\\/"),
        "hex": lambda part: part.encode().hex(),
        "HEX": lambda part: part.encode().hex().upper(),
        "base64": lambda part: b64encode(part.encode()).decode(),
        "base64 of a header": lambda part: b64encode(f"Bearer {part}".encode()).decode(),
        "base64 of a pair": lambda part: b64encode(f"me:{part}".encode()).decode(),
        "base64 for addresses": lambda part: urlsafe_b64encode(f"x{part}".encode()).decode(),
    }
    return {f"{name} of the {of}": write(part) for name, write in written.items() for of, part in parts.items()}


WAYS = ("environment", "file", "address")


@pytest.mark.parametrize("way", WAYS)
def test_a_marked_key_is_found_in_nothing_that_any_command_leaves(tmp_path: Path, way: str, campaign: Any) -> None:
    here, home, temporary = (tmp_path / name for name in ("here", "home", "temporary"))
    for folder in (here, home, temporary):
        folder.mkdir()
    corpus(here, campaign.times(40, 6))
    environment = {
        **{name: value for name, value in marked_keys.KEYS.items() if way == "environment" or name != "OPENAI_API_KEY"},
        **{"HOME": str(home), "TMPDIR": str(temporary), "XDG_CACHE_HOME": str(home / "cache"), "HF_HUB_OFFLINE": "0"},
        **{"HF_ENDPOINT": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "PAIRMINE_DEBUG": "1"},
        **{"PAIRMINE_STORE": "store", "PAIRMINE_RETRIES": "2", "AWS_EC2_METADATA_DISABLED": "true"},
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    }
    (here / "key.txt").write_text(marked_keys.OF_A_FILE)
    watched = Watch()
    with Parrot() as server, watched:
        address = server.base_url
        if way == "address":
            address = address.replace("http://", f"http://me:{marked_keys.OF_AN_ADDRESS}@")
        keyed = f"--base-url {address}" + (" --api-key-file key.txt" if way == "file" else "")
        chosen = COMMANDS.strip().splitlines()
        if not campaign.is_whole:
            chosen = [line for line in chosen if line[2:].startswith(_SHORT)]
        for line in chosen:
            words = line[2:].format(
                llm=f"--llm openai:test-model {keyed}",
                server=keyed,
                address=address,
                password=marked_keys.OF_AN_ADDRESS,
            )
            done = run(here, [*words.split(), "--verbose"], **environment)
            said = done.stdout + done.stderr
            assert not marked_keys.leaks(said, line), f"{line}\n{said.decode(errors='replace')[-2000:]}"
            assert done.returncode == int(line[0]), f"{line}\n{said.decode(errors='replace')[-2000:]}"
            (here / "said.log").open("ab").write(said)
            campaign.count(KEYS, "commands with marked keys, all their output searched")
        assert server.count > 10
        assert marked_keys.BY_WAY[way] in server.keys, "no server heard the key, and nothing is proved"
        assert len(server.said) > 15
        campaign.count(KEYS, "ways in which servers said the key back", len(server.said))
    found = marked_keys.leaks_below(tmp_path, but=frozenset({"here/key.txt"}))
    assert not found, "\n".join(found[:10])
    assert not watched.seen_in_commands, watched.seen_in_commands
    files = sum(each.is_file() for each in tmp_path.rglob("*"))
    assert files > 8
    campaign.count(KEYS, "files searched, every byte", files)
    assert_private(here)


class Watch:
    """Looks at the command lines of all processes, again and again, for a key."""

    def __init__(self) -> None:
        self.seen_in_commands: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        allowed = marked_keys.OF_AN_ADDRESS.encode()  # who writes a password into an address has it in his command line
        while not self._over.wait(0.2):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes().replace(allowed, b"")
                except OSError:
                    continue
                self.seen_in_commands += marked_keys.leaks(line, line.decode(errors="replace"))


RAY_COMMANDS = """
1 generate paraphrase corpus.jsonl --llm openai:test-model {server} -o written.parquet --rejects rejects.parquet
0 derive title corpus.jsonl -o title.parquet
0 embed corpus.jsonl --encoder openai:test-model {server} -o vectors.npy
0 score title.parquet --scorer rerank:test-model {server} --scale probability -o reranked.parquet
3 generate queries corpus.jsonl --llm openai:refused {server} -o never.parquet
"""


@pytest.mark.parametrize("way", WAYS)
def test_a_marked_key_is_found_in_nothing_of_a_run_on_ray(tmp_path: Path, way: str, campaign: Any) -> None:
    """A cluster of this machine: its logs, its command lines, and what the run leaves behind."""
    if not campaign.is_whole:
        pytest.skip("in the whole campaign")
    pytest.importorskip("ray")
    corpus(tmp_path, 12)
    (tmp_path / "key.txt").write_text(marked_keys.OF_A_FILE)
    keys = {name: value for name, value in marked_keys.KEYS.items() if way == "environment" or name != "OPENAI_API_KEY"}
    # Names of sockets are short.
    with tempfile.TemporaryDirectory(prefix="pm", dir="/tmp") as logs, Parrot() as server, Watch() as watched:
        environment = {**keys, "RAY_TMPDIR": logs, "PAIRMINE_DEBUG": "1", "PAIRMINE_RETRIES": "2"}
        address = server.base_url
        if way == "address":
            address = address.replace("http://", f"http://me:{marked_keys.OF_AN_ADDRESS}@")
        keyed = f"--base-url {address}" + (" --api-key-file key.txt" if way == "file" else "")
        for line in RAY_COMMANDS.strip().splitlines():
            words = f"{line[2:].format(server=keyed)} --engine ray --shard-rows 4 --verbose"
            done = run(tmp_path, words, **environment)
            said = done.stdout + done.stderr
            assert not marked_keys.leaks(said, line), f"{line}\n{said.decode(errors='replace')[-2000:]}"
            assert done.returncode == int(line[0]), said.decode(errors="replace")[-2000:]
            campaign.count(KEYS, "commands with marked keys on a cluster, all their output searched")
        assert marked_keys.BY_WAY[way] in server.keys, "no server heard the key, and nothing is proved"
        assert any(Path(logs).rglob("*.log")), "Ray wrote its logs elsewhere, and nothing is proved"
        found = [
            *marked_keys.leaks_below(tmp_path, but=frozenset({"key.txt"})),
            *marked_keys.leaks_below(Path(logs)),
        ]
        campaign.count(KEYS, "files of clusters searched", sum(each.is_file() for each in Path(logs).rglob("*")))
    assert not found, "\n".join(found[:10])
    assert not watched.seen_in_commands, watched.seen_in_commands


def assert_private(folder: Path) -> None:
    """What holds replies, vectors or keys is for its user alone."""
    for path in [*folder.rglob("*.sqlite*"), *folder.glob("store")]:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, f"{path}: {stat.filemode(path.stat().st_mode)}"


def test_the_search_would_find_a_key(tmp_path: Path) -> None:
    """Else the campaign above proves nothing."""
    for key in marked_keys.ALL:
        for name, said in said_back(key).items():
            assert marked_keys.leaks(f"an error: {said}.".encode(), name), f"{key}: {name}: {said}"
    assert not marked_keys.leaks(b"an error of 12 words and no key: sk-ENV, pw-ADD, s3SEC", "none")
    key = marked_keys.KEYS["OPENAI_API_KEY"]
    table = pa.table({"text": ["nothing", f"a {key} b"]})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    (tmp_path / "b.log").write_text(key[::-1])
    (tmp_path / "c.log").write_text(b64encode(f"Bearer {key}".encode()).decode())
    (tmp_path / "d.log").write_text(f"cut short: {key[:16]}")
    found = " ".join(marked_keys.leaks_below(tmp_path))
    assert all(f"{name}." in found for name in "abcd"), found


def test_processes_that_need_no_key_have_none(tmp_path: Path, campaign: Any) -> None:
    from pairmine.backends.leash import Leash

    before = dict(os.environ)
    os.environ.update(marked_keys.KEYS)
    try:
        leash = Leash()
        environment = Path(f"/proc/{leash._process.pid}/environ").read_bytes()
        leash.close()
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert b"PATH=" in environment
    assert not marked_keys.leaks(environment, "the leash")
    campaign.count(KEYS, "environments of processes that need no key, searched")


# --- templates ----------------------------------------------------------------------------------------

TEMPLATES = "templates in a sandbox"
RECIPE = """\
name: attack
summary: An attack.
paper: none
reads: documents
example: pairmine generate attack.yaml corpus.jsonl -o pairs.parquet
steps:
  ask:
    prompt: |
      Reply with JSON. {{ row.text }}
      @
    schema:
      properties:
        query: {type: string}
emits:
  positive:
    step: ask
    query: "{{ reply.query }}"
    document: "{{ row.text }}"
    label: 1
"""
_WORLD = re.compile(r"<(class|function|built-in|module|bound method)|root:|0x[0-9a-f]{8}")


def attacks() -> list[str]:
    return [*("{{ " + each + " }}" for each in REACHES.split()), *STATEMENTS]


def test_no_prompt_of_a_recipe_reaches_what_it_has_no_business_with(shell: Shell, campaign: Any) -> None:
    """Each recipe that is refused has one line; of those that are not, the prompt shows nothing but the row."""
    (shell.folder / "corpus.jsonl").write_text('{"id": "1", "text": "A text with words."}\n')
    given = attacks()
    if not campaign.is_whole:
        given = random.Random(11).sample(given, 30)
    refused = 0
    words = "generate attack.yaml corpus.jsonl --llm fake: --ledger none.sqlite --dry-run"
    (shell.folder / "attack.yaml").write_text(RECIPE.replace("@", "{{ row.text | upper }}"))
    code, shown, said = heard(shell, words.split())
    assert (code, "A TEXT WITH WORDS." in shown) == (0, True), f"the recipe is no good, and nothing is proved: {said}"
    for attack in given:
        body = RECIPE.replace("@", attack.replace("\n", " "))
        (shell.folder / "attack.yaml").write_text(body)
        started, before = time.process_time(), peak()
        code, shown, said = heard(shell, words.split())
        took, grown = time.process_time() - started, peak() - before
        assert took < 20, f"{attack[:80]}: {took:.0f} s"
        assert grown < 600 << 20, f"{attack[:80]}: {grown >> 20} MB"
        if code:
            assert_one_line(said, code, 2)
            assert len(said) < 1200, said
            refused += 1
        assert not _WORLD.search(said + shown), f"{attack[:80]}: {said} {shown[:2000]}"
        assert "Traceback" not in said
        campaign.count(TEMPLATES, "attacks on a recipe's templates, refused in one line or without effect")
    assert refused > len(given) * 0.8


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_what_stands_in_a_row_is_never_a_template(shell: Shell, campaign: Any) -> None:
    """Rows full of templates come out as they are, and no server is asked with anything else."""
    given = random.Random(5).sample(attacks(), campaign.times(120, 25))
    rows = [{"id": str(at), "text": f"{each[:500]} a text of some words"} for at, each in enumerate(given)]
    (shell.folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (shell.folder / "mine.yaml").write_text(RECIPE.replace("      @\n", ""))
    with LLMServer(
        lambda body: json.dumps({"query": "{{ ask.__class__ }} {% include 'x' %} of row"}), keeps_bodies=True
    ) as server:
        words = (
            f"generate mine.yaml corpus.jsonl --llm openai:test-model --base-url {server.base_url} -q --ledger l.sqlite"
        )
        code, said = shell(f"{words} -o out.parquet --max-failed 1")
        prompts = " ".join(body["messages"][-1]["content"] for body in server.bodies)
    assert code in (0, 1), said
    assert all(each["text"].strip() in prompts for each in rows), "a row was changed on its way"
    assert set(pq.read_table(shell.folder / "out.parquet")["query"].to_pylist()) <= {
        "{{ ask.__class__ }} {% include 'x' %} of row"
    }
    campaign.count(TEMPLATES, "rows full of templates, that came out as they are", len(rows))


# --- the page -----------------------------------------------------------------------------------------

PAGE = "the report under hostile text"


def hostile(draw: random.Random) -> str:
    return "".join(draw.choices(PIECES, k=draw.randint(1, 6))).encode("utf-8", "replace").decode()


@pytest.mark.skipif(headless.why_not() is not None, reason=str(headless.why_not()))
def test_no_page_runs_or_asks_for_anything(tmp_path: Path, shell: Shell, campaign: Any) -> None:
    with headless.headless() as tab:
        for seed in range(campaign.times(25, 1)):
            draw = random.Random(seed)
            names = [f"{at}{hostile(draw)[:20]}" if at % 2 else str(at) for at in range(20)]
            rows = [
                {
                    "query_id": names[at // 3],
                    "query": f"q{at // 3}",
                    "doc_id": f"{at} {hostile(draw)}",
                }
                | {
                    "document": hostile(draw),
                    "label": 1 if at % 3 == 0 else 0,
                    "origin": hostile(draw) or "x",
                    "mine": hostile(draw),
                }
                | {hostile(random.Random(seed + 1)) or "y": hostile(draw)}
                for at in range(60)
            ]
            for row in rows:
                row["query"] = f"{row['query']} {hostile(random.Random(row['query_id']))}"
            (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            code, said = shell("convert pairs.jsonl --as pairs -q -o pairs.parquet")
            assert code == 0, f"seed {seed}: {said}"
            code, said = shell("report pairs.parquet -q -o report.html")
            assert code == 0, f"seed {seed}: {said}"
            page = (tmp_path / "report.html").read_text(encoding="utf-8")
            assert "Content-Security-Policy" in page
            tab.open("about:blank")
            tab.console(), tab.requests()
            tab.open((tmp_path / "report.html").as_uri())
            time.sleep(0.3)
            broken = tab.run("return [window.broken, typeof window.broken, document.querySelectorAll('.item').length]")
            assert broken[1] == "undefined", f"seed {seed}: a script of a row ran"
            assert broken[2] > 0, f"seed {seed}: the rows are not there"
            asked = [each for each in tab.requests() if not str(each).startswith(("file:", "data:", "about:"))]
            assert not asked, f"seed {seed}: {asked}"
            assert not tab.console(), f"seed {seed}: {tab.console()}"
            strange = tab.run(
                "return [...document.querySelectorAll('iframe,object,embed,base,form[action],link[href],img,video')]"
                ".map((each) => each.outerHTML.slice(0, 80)).filter((each) => !each.startsWith('<link rel=\"icon\"'))"
            )
            assert not strange, f"seed {seed}: {strange}"
            campaign.count(PAGE, "pages of hostile rows opened in a browser: nothing ran, nothing was asked for")


# --- tables and terminals -----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_what_a_spreadsheet_takes_for_a_formula_is_counted_and_stays_as_it_is(
    shell: Shell, ending: str, campaign: Any
) -> None:
    rows = [{"id": str(at), "text": f"{each} and so on"} for at, each in enumerate([*FORMULAS, "a text", "1=2"])]
    (shell.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, said = shell(f"convert in.jsonl -o out.{ending}")
    assert code == 0
    assert f"out.{ending}: {len(FORMULAS)} cells begin with =, +, - or @: open it as text" in said
    assert shell(f"convert out.{ending} -q -o back.jsonl")[0] == 0
    back = [json.loads(line) for line in (shell.folder / "back.jsonl").read_text().splitlines()]
    assert [row["text"] for row in back] == [row["text"] for row in rows]
    campaign.count("tables for spreadsheets", "formulas told and left as they are", len(FORMULAS))


def test_no_error_and_no_word_of_a_run_commands_a_terminal_or_forges_a_line(shell: Shell, campaign: Any) -> None:
    """Ids, texts, column names and file names with escapes, in data with a fault of every kind."""
    for seed in range(campaign.times(400, 40)):
        draw = random.Random(seed)
        bad = partial(with_escapes, draw)
        name = f"in{draw.choice(ESCAPES)}.jsonl".replace("/", "")
        rows: list[dict[str, Any]] = [
            {"id": bad(), "text": f"{bad()} a text", bad(): bad()},
            {"id": "same", "text": "one"},
            draw.choice(
                [
                    {"id": "same", "text": f"another {bad()}"},
                    {bad(): 1},
                    {"id": bad(), "text": 5},
                    {"id": None, "text": bad()},
                ]
            ),
        ]
        (shell.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = draw.choice(
            [
                "dedup {} -o out.jsonl",
                "derive title {} -o out.parquet",
                "convert {} --as pairs -o out.parquet",
                "head {}",
                "check {}",
                "embed {} --encoder fake: -o out.npy",
                "mine {} --retriever bm25 -o out.parquet",
                "info {}",
                "stats {}",
            ]
        )
        code, said = raw(shell, [*words.replace("{}", "@").split(), "-q"], name)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", said), f"seed {seed}: {said!r}"
        assert "Traceback" not in said, f"seed {seed}: {said}"
        assert code in (0, 1, 2), f"seed {seed}: {said}"
        assert said.count("\n") == (1 if code == 2 else 0), f"seed {seed}: {said!r}"
        assert not said or said.startswith("pairmine: "), f"seed {seed}: {said!r}"
        loud = raw(shell, words.replace("{}", "@").split(), name)[1]
        assert not re.search(r"^pairmine: 0 rows rejected$", loud, re.M), f"seed {seed}: {loud!r}"
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", loud), f"seed {seed}: {loud!r}"
        campaign.count("words on a terminal", "runs on data with escapes, that printed none")


def with_escapes(draw: random.Random) -> str:
    return f"{draw.choice('abc')}{draw.choice(ESCAPES)}{draw.choice('xyz')}"


def raw(shell: Shell, words: list[str], name: str) -> tuple[int, str]:
    """A command on a file whose name has blanks and worse; its exit code and what it said on stderr."""
    code, _, said = heard(shell, [name if word == "@" else word for word in words])
    return code, said


def heard(shell: Shell, words: list[str]) -> tuple[int, str, str]:
    """The exit code of a command, what it wrote on standard output, and what it said."""
    from pairmine.cli.main import main

    shell._patch.setattr(sys, "argv", ["pairmine", *words])
    with pytest.raises(SystemExit) as left:
        main()
    said = shell._heard.readouterr()
    return int(left.value.code or 0), said.out, said.err


# --- paths --------------------------------------------------------------------------------------------

PATHS = "paths out of data"


def hostile_pairs() -> pa.Table:
    rows = []
    for at, name in enumerate(NAMES):
        for label in (1, 0, 0):
            document = f"{name} a document {at} of label {label} {len(rows)}"
            row = {
                "query_id": f"{name}#{at}",
                "query": f"{name} a query {at}",
                "doc_id": f"{name}#{len(rows)}",
                "document": document,
            }
            rows.append(
                {
                    **row,
                    "label": label,
                    "origin": f"mine:{name}",
                    "title": name,
                    "group": name,
                    "score_ce": 0.9 - 0.1 * label,
                }
            )
    return pa.Table.from_pylist(rows)


def test_no_id_title_or_origin_leads_out_of_the_output(shell: Shell, campaign: Any) -> None:
    """All formats that there are, from rows whose every text is a path; beside OUT there is nothing new."""
    inside = shell.folder / "in" / "side"
    inside.mkdir(parents=True)
    shell._patch.chdir(inside)
    pq.write_table(hostile_pairs(), inside / "pairs.parquet")
    given = (
        sorted(TARGETS)
        if campaign.is_whole
        else [*random.Random(2).sample(sorted(TARGETS), 8), "beir", "tevatron-v2", "contrastors"]
    )
    done = 0
    for target in given:
        ending = TARGETS[target].formats[0]
        out = f"out-{target}" if ending == "folder" else f"out-{target}.{ending}"
        code, said = shell(f"export pairs.parquet --to {target} --scores ce -q -o {out}")
        if code and "--scores" in said:
            code, said = shell(f"export pairs.parquet --to {target} -q -o {out}")
        assert code in (0, 2), f"{target}: {said}"
        if code:
            assert_one_line(said, code, 2)
        assert_only(inside, {"pairs.parquet", f"out-{target}"}, target)
        done += code == 0
        campaign.count(PATHS, "exports of rows whose ids are paths, with nothing outside")
        clear(inside)
    assert done > len(given) / 2
    for words in (
        "mix pairs.parquet --split a=.5,b=rest -q -o out-{split}.parquet",
        "mix pairs.parquet --split a=.5,b=rest --split-by group:group -q -o out-{split}.parquet",
        "derive title pairs.parquet --text-column document --title-column title -q -o out-t.parquet",
        "dedup pairs.parquet -q -o out-d.parquet",
        "filter pairs.parquet --negatives 1 -q -o out-f.parquet --rejects out-r.parquet",
        "report pairs.parquet -q -o out-r.html",
    ):
        code, said = shell(words)
        assert code in (0, 2), said
        assert_only(inside, {"pairs.parquet", "out-"}, words)
        clear(inside)


def assert_only(folder: Path, known: set[str], what: str) -> None:
    for place in (folder, *list(folder.parents)[:2]):
        here = {"side", "in"} if place != folder else known
        strange = [
            each.name for each in place.iterdir() if not any(each.name.lstrip(".").startswith(name) for name in here)
        ]
        assert not strange, f"{what}: {place}: {strange}"
    for each in folder.rglob("*"):
        assert each.resolve().is_relative_to(folder), f"{what}: {each} leads out of the output"
        assert not each.is_symlink()


def clear(folder: Path) -> None:
    for each in folder.iterdir():
        if each.name.startswith(("out-", ".out-")):
            shutil.rmtree(each) if each.is_dir() else each.unlink()


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", ".", "a\nb", "", "x" * 300, "a\x00b", "~"])
def test_a_name_of_a_split_is_no_path(shell: Shell, name: str, campaign: Any) -> None:
    inside = shell.folder / "in" / "side"
    inside.mkdir(parents=True)
    shell._patch.chdir(inside)
    pq.write_table(hostile_pairs(), inside / "pairs.parquet")
    from pairmine.cli.main import main

    shell._patch.setattr(
        sys,
        "argv",
        ["pairmine", "mix", "pairs.parquet", "--split", f"{name}=.5,b=rest", "-q", "-o", "out-{split}.parquet"],
    )
    with pytest.raises(SystemExit) as left:
        main()
    said = shell._heard.readouterr().err
    assert left.value.code in (0, 2), said
    if left.value.code:
        assert_one_line(said, 2, 2)
    assert_only(inside, {"pairs.parquet", "out-"}, name)
    campaign.count(PATHS, "names of splits that are paths, refused or harmless")


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002])
def test_files_have_the_permissions_that_the_user_asks_for(tmp_path: Path, mask: int, campaign: Any) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "title": "One", "text": "A text of some words."}\n' * 1)
    before = os.umask(mask)
    try:
        said = run(
            tmp_path,
            "generate queries corpus.jsonl --llm fake: --ledger deep/l.sqlite -o out.parquet --summary s.json",
        )
        assert said.returncode == 0, said.stderr
        assert run(tmp_path, "embed corpus.jsonl --encoder fake: --store deep/store -o v.npy").returncode == 0
    finally:
        os.umask(before)
    for name in ("out.parquet", "s.json", "v.npy"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~mask, name
    for name, mode in (("deep/l.sqlite", 0o600), ("deep/store", 0o700)):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode, name
    campaign.count("permissions", "outputs as the umask says, ledgers and stores for their user alone")


# --- code that is not ours ----------------------------------------------------------------------------

_CODE = """
import pathlib
pathlib.Path({made!r}).write_text("it ran")
class Own:
    pass
class Module(Own):
    @classmethod
    def load(cls, *args, **kwargs):
        return cls()
"""


def model_with_code(folder: Path, made: Path, how: str) -> str:
    """A model's folder that brings code along, in one of the ways in which the libraries know some."""
    import tiny_models

    tiny_models.bert(folder)
    (folder / "own.py").write_text(_CODE.format(made=str(made)))
    config = json.loads((folder / "config.json").read_text())
    if how == "auto_map":
        config |= {
            "auto_map": {
                "AutoConfig": "own.Own",
                "AutoModel": "own.Own",
                "AutoModelForSequenceClassification": "own.Own",
            },
            "model_type": "own",
        }
    if how == "activation":
        config |= {
            "sentence_transformers": {"activation_fn": "own.Own", "version": "6.0.0"},
            "architectures": ["BertForSequenceClassification"],
        }
    (folder / "config.json").write_text(json.dumps(config))
    if how == "modules":
        (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "own.Module"}]))
    if how == "tokenizer":
        found = json.loads((folder / "tokenizer_config.json").read_text())
        found |= {"auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}, "tokenizer_class": "Own"}
        (folder / "tokenizer_config.json").write_text(json.dumps(found))
    return str(folder)


@pytest.mark.parametrize("how", ["modules", "auto_map", "tokenizer", "activation"])
def test_a_model_that_brings_code_runs_none_of_it(tmp_path: Path, shell: Shell, how: str, campaign: Any) -> None:
    pytest.importorskip("torch")
    made = tmp_path / "made"
    folder = model_with_code(tmp_path / "model", made, how)
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "text": "A text."}\n')
    pq.write_table(hostile_pairs().slice(0, 3), tmp_path / "pairs.parquet")
    shell._patch.syspath_prepend(folder)  # as when one stands in the model's folder
    words = (
        f"score pairs.parquet --scorer ce:{folder} -q -o out.parquet"
        if how == "activation"
        else f"embed corpus.jsonl --encoder st:{folder} -q -o out.npy"
    )
    code, said = shell(words)
    assert not made.exists(), said
    assert code in (0, 2, 3), said
    assert "Traceback" not in said
    campaign.count("code that is not ours", "models that bring code along, none of it run")


def test_pickled_weights_beside_safe_ones_are_refused(
    tmp_path: Path, shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    import pickle

    import tiny_models

    made = tmp_path / "made"

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(made),)

    folder = Path(tiny_models.bert(tmp_path / "model"))
    (folder / "1_Dense").mkdir()
    (folder / "1_Dense" / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "text": "A text."}\n')
    capsys.readouterr()  # the bar of the model that was written
    code, said = shell(f"embed corpus.jsonl --encoder st:{folder} -q -o out.npy")
    assert not made.exists()
    assert_one_line(said, code, 2)
    assert "pickled" in said


# --- the source ---------------------------------------------------------------------------------------

_OWN_PICKLES: dict[str, set[str]] = {
    "engines/kept.py": {"dumps", "_Data"},
    "engines/shards.py": {"InProcess.map", "InProcess.shuffle", "_Unpacking.__call__"},
    "engines/ray/cluster.py": {"Cluster._map", "Cluster._sent"},
    "engines/ray/services.py": {"started", "_Holder.call"},
    "engines/ray/shuffle.py": {"shuffled", "_rows", "_joining.answer_of"},
    "engines/ray/worker.py": {"Made.made", "packed_error", "raise_error", "answers", "_answer"},
}
"""What passes between the processes of a run on Ray, and the unpickler of data alone: classes and functions by file."""
_NEVER = re.compile(
    r"(builtins\.)?(eval|exec|compile|__import__)|runpy\.\w+|code\.(interact|Interactive\w+)|pty\.spawn|tempfile\.mktemp"
    r"|os\.(system|popen|startfile|exec\w+|spawn\w+|posix_spawnp?|fork)|asyncio\.create_subprocess_shell"
    r"|subprocess\.(call|check_call|check_output|getoutput|getstatusoutput)|(.*\.)?subprocess_shell"
    r"|yaml\.(load|load_all|unsafe_load\w*|full_load\w*|(C?Unsafe|C?Full|C)?Loader)|torch\.load|joblib\.load"
    r"|(pandas|numpy)\.(read_pickle|fromregex)|marshal\.\w+|shelve\.\w+|dill\.\w+"
)
_PICKLES = re.compile(
    r"(c?_?pickle|cloudpickle|ray\.cloudpickle|pickle\._\w+)\.(loads?|dumps?|Unpickler|_loads?|_Unpickler)"
)
_HIDING = re.compile(r"builtins|os|subprocess|pickle|_pickle|cloudpickle|marshal|shelve|dill")


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "pairmine").rglob("*.py")):
        yield path.relative_to(ROOT / "pairmine").as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def test_nothing_in_the_source_runs_what_it_reads(campaign: Any) -> None:
    faults = []
    count = 0
    for name, tree in sources():
        count += 1
        faults += [f"{name}:{problem}" for problem in problems(tree, _OWN_PICKLES.get(name, set()))]
    assert not faults, "\n".join(faults)
    campaign.count("the source", "modules without pickles of files, shells, eval, or YAML that makes objects", count)


def test_every_function_that_may_pickle_is_there_and_does() -> None:
    """A name that is left over here would let something else through one day."""
    for name, tree in sources():
        for own in _OWN_PICKLES.get(name, set()):
            assert list(problems(tree, _OWN_PICKLES[name] - {own})), f"{name}: {own}"


def problems(tree: ast.Module, may_pickle: set[str] = frozenset()) -> Iterator[str]:  # type: ignore[assignment]
    """What runs what it reads: whatever it is called here, called or handed on, or the base of a class."""
    known = imported(tree)
    empty = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node) == "exec('')"}
    for node, within in inside(tree):
        at = f"{getattr(node, 'lineno', 0)} {within}"
        if isinstance(node, ast.Name | ast.Attribute) and id(node) not in empty:
            name = full_name(node, known)
            if _NEVER.fullmatch(name):
                yield f"{at}: {name}"
            if _PICKLES.fullmatch(name) and not any(f"{within}.".startswith(f"{own}.") for own in may_pickle):
                yield f"{at}: {name} outside of the engine's own processes"
        if isinstance(node, ast.ImportFrom) and any(each.name == "*" for each in node.names) and not node.level:
            yield f"{at}: everything of {node.module}"
        if isinstance(node, ast.Call):
            yield from (f"{at}: {problem}" for problem in problems_of_call(node, known))


def problems_of_call(node: ast.Call, known: dict[str, str]) -> Iterator[str]:
    called = full_name(node.func, known)
    settings = {each.arg: each.value for each in node.keywords}
    if called == "numpy.load" and not is_constant(settings.get("allow_pickle"), False):
        yield "numpy.load without allow_pickle=False"
    if "allow_pickle" in settings and not is_constant(settings["allow_pickle"], False):
        yield "allow_pickle"
    if "shell" in settings:
        yield "a shell"
    if called.startswith("subprocess.") and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
        yield "a command as one text"
    if called in ("getattr", "vars", "importlib.import_module") and node.args:
        first = node.args[0]
        of = str(first.value) if isinstance(first, ast.Constant) else full_name(first, known)
        if _HIDING.fullmatch(of) and not (len(node.args) > 1 and isinstance(node.args[1], ast.Constant) and of == "os"):
            yield f"{called} of {of}"
    if is_constant(settings.get("trust_remote_code"), True):
        yield "trust_remote_code"


def imported(tree: ast.Module) -> dict[str, str]:
    """What the names that a module imports stand for."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {each.asname: each.name for each in node.names if each.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            known |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    # A name for a name: `load = pickle.loads`.
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name | ast.Attribute):
            known |= {
                each.id: value
                for each in node.targets
                if isinstance(each, ast.Name) and (value := full_name(node.value, known)) and each.id not in known
            }
    return known


def full_name(node: ast.AST, known: dict[str, str]) -> str:
    """ "numpy.load" for `np.load`; "" for what is no name."""
    text = ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""
    if not re.fullmatch(r"[\w.]+", text):
        return ""
    first, dot, rest = text.partition(".")
    name = f"{known.get(first, first)}{dot}{rest}"
    # `self._ray.cloudpickle` is Ray's too.
    return re.sub(r"^.*\b(?=cloudpickle\.|np\.load$)", "", name).replace("np.load", "numpy.load")


def inside(tree: ast.AST, within: str = "") -> Iterator[tuple[ast.AST, str]]:
    """Every node with the class and function that it stands in."""
    for node in ast.iter_child_nodes(tree):
        name = within
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{within}.{node.name}".lstrip(".")
        yield node, name
        yield from inside(node, name)


def is_constant(node: ast.expr | None, value: Any) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize(
    "code",
    [
        "eval('1')",
        "import builtins; builtins.exec(text)",
        "import pickle; pickle.loads(b'')",
        "import pickle as data; data.loads(b'')",
        "from pickle import loads; loads(b'')",
        "from pickle import loads as read; map(read, texts)",
        "from pickle import *",
        "import pickle; read = pickle.loads",
        "import pickle\nclass Own(pickle.Unpickler): pass",
        "from pickle import Unpickler as Base\nclass Own(Base): pass",
        "import pickle; getattr(pickle, 'lo' + 'ads')(b'')",
        "from ray import cloudpickle; cloudpickle.loads(b'')",
        "def f(self): return self._ray.cloudpickle.loads(b'')",
        "import numpy as np; np.load(path)",
        "import numpy; numpy.load(path, allow_pickle=True)",
        "from numpy import load; load(path)",
        "from numpy.lib.format import read_array; read_array(file, allow_pickle=yes)",
        "import subprocess; subprocess.run('ls', shell=True)",
        "from subprocess import run; run('ls -l')",
        "import asyncio; asyncio.create_subprocess_shell(text)",
        "from asyncio import create_subprocess_shell as start; start(text)",
        "import os; os.execvp(name, words)",
        "import os; os.spawnl(0, name)",
        "from os import posix_spawn; posix_spawn(name, words, {})",
        "from os import system as do; do(text)",
        "load(trust_remote_code=True)",
        "import yaml; yaml.load(text)",
        "from yaml import Loader; read(text, Loader)",
        "import marshal; marshal.loads(b'')",
    ],
)
def test_the_search_of_the_source_would_find_it(code: str) -> None:
    assert list(problems(ast.parse(code)))


def test_the_search_of_the_source_lets_through_what_is_named_alone() -> None:
    tree = ast.parse("import pickle\nclass A:\n    def f(self): pickle.loads(b'')\ndef g(): pickle.loads(b'')")
    assert len(list(problems(tree))) == 2
    assert len(list(problems(tree, {"A.f"}))) == 1
    assert not list(problems(tree, {"A", "g"}))
    assert len(list(problems(tree, {"A.f", "gg"}))) == 1


# --- dependencies -------------------------------------------------------------------------------------

LOCK = ROOT / "requirements.lock"


def test_every_dependency_is_pinned_with_hashes_and_no_place_of_a_machine(campaign: Any) -> None:
    text = LOCK.read_text()
    assert not re.search(
        r"file:|https?://(?!pypi\.org)|/(?:home|tmp|opt|work|root)/|--(?:extra-)?index-url|--find-links|@ ", text
    )
    pinned = {}
    for entry in re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^ *#.*\n", "", text), flags=re.I):
        if found := re.match(r"([A-Za-z0-9._-]+)==(\S+)", entry):
            hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)
            assert hashes, f"{found[1]} has no hash"
            pinned[found[1].lower().replace("_", "-")] = found[2]
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(each for name in extras if name != "vllm" for each in extras[name])]
    for each in wanted:
        name = re.split(r"[\[<>=!~; ]", each)[0].lower().replace("_", "-")
        assert name in pinned, f"{name} is not in {LOCK.name}: make lock"
    tested = re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / "constraints-dev.txt").read_text())
    assert tested
    for name, version in tested:
        own = pinned.get(name.lower().replace("_", "-"), version)
        assert own.partition("+")[0] == version.partition("+")[0], f"{name}: the tests take {version}: make lock"
    campaign.count("dependencies", "pinned with hashes", len(pinned))
