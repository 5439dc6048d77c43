"""The card of an export, and the push to a hub: here a fake one that answers what the library asks."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pairmine.cli.main import main
from pairmine.errors import PairmineError
from pairmine.files.hub import check_repository
from pairmine.schema import as_pairs
from pairmine.stages.export import find_target
from pairmine.stages.export.card import Facts, card, fenced, size_category

TRAP = "---\n```\n# A heading <script>alert(1)</script>\n````\n[a](b) | --- |"


class FakeHub(ThreadingHTTPServer):
    """A hub that keeps what is sent to it. No real one: it knows the addresses of one commit and nothing else."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: list[str | None] = []
        self.status = 200
        self.is_private = True


class _Answers(BaseHTTPRequestHandler):
    server: FakeHub

    def do_GET(self) -> None:
        self.answer({"id": "org/name", "sha": "a" * 40, "private": self.server.is_private, "siblings": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
            return
        self.server.tokens.append(self.headers["Authorization"])
        if self.server.status != 200:
            self.send_error(self.server.status)
        elif self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self.answer({"url": f"http://{self.headers['Host']}/datasets/org/name"})
        elif "/preupload/" in self.path:
            asked = [each["path"] for each in json.loads(body)["files"]]
            modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in asked]
            self.answer({"files": modes})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"http://{self.headers['Host']}/datasets/org/name/commit/{'a' * 40}"
            self.answer({"success": True, "commitOid": "a" * 40, "commitUrl": url})
        else:
            self.send_error(404)

    def answer(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    from huggingface_hub import constants, hf_api

    server = FakeHub()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(hf_api.constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_environment")
    yield server
    server.shutdown()
    server.server_close()


class Here:
    """Runs export in a folder; its exit code and what it says."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, heard: pytest.CaptureFixture[str]) -> None:
        patch.chdir(folder)
        self._patch, self._heard = patch, heard
        pq.write_table(pairs(), "pairs.parquet")

    def __call__(self, *words: str) -> tuple[int, str]:
        self._patch.setattr(sys, "argv", ["pairmine", "export", "pairs.parquet", *words])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), self._heard.readouterr().err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(tmp_path, monkeypatch, capsys)


def pairs(text: str = "tea") -> pa.Table:
    rows = [("q1", "p1", 1), ("q1", "n1", 0), ("q2", "p2", 1), ("q2", "n2", 0), ("q3", "n3", 0)]
    return as_pairs(
        pa.table(
            {
                "query_id": [query for query, _, _ in rows],
                "query": [f"{text} {query}" for query, _, _ in rows],
                "doc_id": [doc for _, doc, _ in rows],
                "document": [f"{text} {doc}" for _, doc, _ in rows],
                "label": pa.array([label for _, _, label in rows], pa.int8()),
                "origin": ["given"] * len(rows),
            }
        )
    )


def header(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


NTUPLE = ("--to", "st-ntuple", "-q", "-o", "train.parquet")


def test_a_card_has_a_header_that_the_hub_reads_and_says_what_left(here: Here) -> None:
    code, said = here(*NTUPLE, "--card", "CARD.md", "--license", "cc-by-4.0", "--language", "en", "--language", "ja")
    assert code == 0, said
    text = Path("CARD.md").read_text("utf-8")
    assert header(text) == {
        "language": ["en", "ja"],
        "license": "cc-by-4.0",
        "pretty_name": "train.parquet",
        "size_categories": ["n<1K"],
        "task_categories": ["text-retrieval"],
        "tags": ["pairmine", "sentence-transformers"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "train.parquet"}]},
            {"config_name": "ids", "data_files": [{"split": "train", "path": "train.parquet.ids.parquet"}]},
        ],
    }
    assert '{"anchor":"tea q1","positive":"tea p1","negative_1":"tea n1"}' in text
    assert "  rejected: query has no positive  1\ntraining rows   2\n" in text
    assert "pairmine export pairs.parquet --to st-ntuple -o out.parquet\n" in text


def test_a_card_names_no_folder_of_this_machine(here: Here, tmp_path: Path) -> None:
    code, said = here("--to", "tevatron-v2", "-q", "-o", str(tmp_path / "out"))
    assert code == 0, said
    assert str(tmp_path) not in (tmp_path / "out/README.md").read_text("utf-8")
    assert str(tmp_path) not in (tmp_path / "out/.pairmine.json").read_text("utf-8")


def facts(**given: Any) -> Facts:
    fields: dict[str, Any] = {
        "name": "set",
        "target": find_target("st-pair"),
        "files": ["train.parquet"],
        "counts": {"rows_in": 2, "rows_out": 1, "rejected": {}},
        "commands": ["pairmine export x"],
        "examples": [],
    }
    return Facts(**(fields | given))


def test_a_card_names_no_file_that_went_down_a_pipe(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    assert here(*NTUPLE, "--sidecar", "-", "--card", "C.md")[0] == 0
    assert "\nFiles: `train.parquet`.\n" in Path("C.md").read_text("utf-8")


def test_no_text_of_the_data_ends_a_block_of_the_card(here: Here) -> None:
    text = card(facts(name=TRAP, examples=[{"anchor": TRAP}], commands=[f"pairmine export '{TRAP}'"], files=[TRAP]))
    assert header(text)["pretty_name"] == TRAP
    outside, fence = [], ""
    for line in text.split("---\n", 2)[2].split("\n"):
        ticks = re.match("`{3,}", line)
        if not fence and ticks:
            fence = ticks[0]
        elif fence and line == fence:
            fence = ""
        elif not fence:
            outside.append(line)
    assert not fence
    assert [line for line in outside if line.startswith("#")] == [
        next(line for line in outside if line.startswith("# ")),
        *("## Rows", "## Counts", "## How it was made"),
    ]
    assert "<script>" not in re.sub("`[^`]*`", "", "\n".join(outside).replace("\\`", ""))


@given(st.lists(st.text(alphabet="`~a\n\r -#"), max_size=5))
def test_a_fence_is_closed_by_its_last_line_alone(lines: list[str]) -> None:
    first, *body, last = fenced("text", lines).split("\n")
    assert first == f"{last}text"
    assert set(last) == {"`"}
    assert not any(line.strip().startswith(last) for line in body)


@pytest.mark.parametrize(
    ("rows", "name"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**6, "1M<n<10M")]
)
def test_sizes_are_named_as_the_hub_names_them(rows: int, name: str) -> None:
    assert size_category(rows) == name


def test_a_folder_has_a_card_unless_none_is_wanted(here: Here) -> None:
    assert here("--to", "pylate-kd", "-o", "out")[0] == 2
    assert here("--to", "st-ids", "-q", "-o", "out")[0] == 0
    configs = header(Path("out/README.md").read_text("utf-8"))["configs"]
    assert [(each["config_name"], each.get("default")) for each in configs] == [
        ("train", True),
        ("documents", None),
        ("queries", None),
    ]
    assert here("--to", "st-ids", "-q", "-o", "bare", "--card", "none")[0] == 0
    assert sorted(path.name for path in Path("bare").iterdir())[0:2] == [".pairmine.json", "documents.parquet"]
    assert not Path("bare/README.md").exists()


def test_a_push_sends_the_files_and_a_card_in_one_commit_with_the_token_of_the_environment(
    here: Here, hub: FakeHub
) -> None:
    code, said = here(*NTUPLE[:2], "-o", "train.parquet", "--push-to", "org/name", "--private", "--license", "mit")
    assert code == 0, said
    assert sorted(hub.files) == ["README.md", "train.parquet", "train.parquet.ids.parquet"]
    assert hub.files["train.parquet"] == Path("train.parquet").read_bytes()
    assert header(hub.files["README.md"].decode())["license"] == "mit"
    assert "private" in json.dumps(hub.created[0])
    assert hub.created[0]["type"] == "dataset"
    assert set(hub.tokens) == {"Bearer hf_of_the_environment"}
    assert "sent 3 files" in said
    assert "hf_of_the_environment" not in said


def test_a_folder_is_sent_as_it_lies_there(here: Here, hub: FakeHub) -> None:
    code, said = here("--to", "beir", "-q", "-o", "out", "--push-to", "org/name")
    assert code == 0, said
    assert {name: Path("out", name).read_bytes() for name in hub.files} == hub.files
    assert {"README.md", "corpus.jsonl", "qrels/test.tsv", "queries.jsonl"} <= set(hub.files)
    assert "private" not in json.dumps(hub.created[0])


@pytest.mark.parametrize(("status", "line"), [(401, "set HF_TOKEN"), (403, "set HF_TOKEN"), (400, "answered 400")])
def test_a_push_that_is_refused_ends_with_3_and_leaves_the_files(
    here: Here, hub: FakeHub, status: int, line: str
) -> None:
    hub.status = status
    code, said = here(*NTUPLE, "--push-to", "org/name")
    assert code == 3
    assert len(said.splitlines()) == 1, said
    assert line in said
    assert "train.parquet is written, and the same command sends it again" in said
    assert pq.read_table("train.parquet").num_rows == 2


def test_a_hub_that_is_not_there_or_not_to_be_asked_ends_with_3(
    here: Here, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, said = here(*NTUPLE, "--push-to", "org/name")
    assert (code, "org/name: " in said) == (3, True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.shutdown()
    hub.server_close()
    code, said = here(*NTUPLE, "--push-to", "org/name")
    assert (code, "could not be sent" in said) == (3, True)


def test_a_push_without_a_token_is_refused_before_anything_is_written(
    here: Here, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    code, said = here(*NTUPLE, "--push-to", "org/name")
    assert (code, "no token for the hub; set HF_TOKEN" in said) == (2, True), said
    assert not Path("train.parquet").exists()
    assert here(*NTUPLE, "--push-to", "org/name", "--dry-run")[0] == 0


def test_nothing_private_goes_to_a_repository_that_is_public_already(here: Here, hub: FakeHub) -> None:
    hub.is_private = False
    code, said = here(*NTUPLE, "--push-to", "org/name", "--private")
    assert code != 0
    assert "is there already and public" in said
    assert not hub.files


def test_a_dry_run_says_what_would_be_sent_and_asks_nobody(here: Here, hub: FakeHub) -> None:
    code, said = here(*NTUPLE, "--push-to", "org/name", "--private", "--dry-run")
    assert code == 0
    assert "would send 3 files" in said
    assert "the private dataset org/name" in said
    assert "pairmine:   README.md  " in said
    assert not hub.tokens


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((*NTUPLE, "--private"), "--private has no effect without --push-to"),
        ((*NTUPLE, "--dry-run"), "--dry-run has no effect without --push-to"),
        ((*NTUPLE, "--license", "mit"), "--license has no effect without --card or --push-to"),
        ((*NTUPLE, "--push-to", "name"), "--push-to name: is no repository of the hub; write OWNER/NAME"),
        ((*NTUPLE, "--card", "C.md", "--license", "CC BY\n4.0"), "as the hub spells it"),
        ((*NTUPLE, "--card", "C.md", "--language", "English"), "a code such as en or pt-BR"),
        (("--to", "st-pair", "-o", "-", "--push-to", "a/b"), "--push-to sends files; name one with -o"),
        (("--to", "st-pair", "-o", "-", "--card", "C.md"), "--card describes files; name one with -o"),
        ((*NTUPLE, "--card", "train.parquet"), "both name train.parquet"),
        ((*NTUPLE, "--card", "pairs.parquet"), "is an input too and would be lost"),
        ((*NTUPLE, "--card", "-"), "--card -: the card is a file beside the others; name it"),
        ((*NTUPLE, "--card", ""), "--card '': the card is a file beside the others; name it"),
        ((*NTUPLE, "--card", "none"), "--card none has no effect on a file that is not pushed; leave it out"),
        ((*NTUPLE[:3], "-o", "memory://a.parquet", "--push-to", "a/b"), "name one with -o on this machine"),
        ((*NTUPLE, "--sidecar", "-", "--push-to", "a/b"), "name one with --sidecar on this machine, not -"),
        ((*NTUPLE, "--sidecar", "other/train.parquet", "--push-to", "a/b"), "two files would have one name there"),
    ],
)
def test_options_of_the_hub_that_do_nothing_are_refused(here: Here, words: tuple[str, ...], line: str) -> None:
    before = Path("pairs.parquet").read_bytes()
    code, said = here(*words)
    assert (code, line in said) == (2, True), said
    assert Path("pairs.parquet").read_bytes() == before


@pytest.mark.parametrize(
    "name", ["name", "a/b/c", "/b", "a/", "a b/c", "../x", "a/..", "ü/x", "-a/b", "a/b-", "a/.b", "a/b.", "a/b.git"]
)
def test_what_is_no_name_of_a_repository_is_refused_before_anything_is_written(name: str) -> None:
    with pytest.raises(PairmineError, match="OWNER/NAME"):
        check_repository(name)
