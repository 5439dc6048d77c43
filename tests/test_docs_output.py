"""Every page shows what its commands print, and the site opens in a browser without an error or an outside request."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import regenerate
from _blocks import blocks, steps
from headless import headless, why_not

ROOT = Path(__file__).parents[1]
MKDOCS = ROOT / os.environ.get("DOCS_VENV", ".docs-venv") / "bin" / "mkdocs"
WITH_BLOCKS = [page for page in regenerate.pages() if "```console" in page.read_text("utf-8")]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=[page.name for page in WITH_BLOCKS])
def test_a_page_shows_what_is_printed(page: Path) -> None:
    assert "\n".join(regenerate.differences(page)) == "", f"python docs/regenerate.py --write {page.relative_to(ROOT)}"


def test_the_help_page_has_what_a_terminal_of_100_columns_gets() -> None:
    text = (ROOT / "docs" / "help.md").read_text("utf-8")
    for words in (["filter"], ["ledger", "export"]):
        command = [str(Path(sys.executable).with_name("pairmine")), *words, "--help"]
        env = {**os.environ, "COLUMNS": "100"}
        shown = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
        assert "\n".join(line.rstrip() for line in shown.stdout.splitlines()).rstrip() in text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not MKDOCS.exists():
        pytest.skip("the site needs mkdocs-material: make docs-env")
    folder = tmp_path_factory.mktemp("site")
    command = [str(MKDOCS), "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_the_site_holds_every_page_and_nothing_of_the_code(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        place = site if page.stem == "index" else site / page.stem
        assert (place / "index.html").exists(), page.name
    assert list(site.rglob("*.py")) == []


def test_the_copy_button_of_a_console_block_takes_its_commands_alone(site: Path) -> None:
    for page in WITH_BLOCKS[1:]:
        found = [block for block in blocks(page.read_text("utf-8")) if block.language == "console"]
        html = (site / page.stem / "index.html").read_text("utf-8")
        copied = [unescape(text) for text in re.findall(r'<div class="highlight" data-copy="([^"]*)">', html)]
        assert copied == ["\n".join(step.command for step in steps(block)) for block in found], page.name


def test_the_site_names_no_file_of_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        fetched = re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text("utf-8"))
        assert fetched == [], page.relative_to(site)


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_its_pages_open_without_an_error_or_an_outside_request(site: Path, address: str) -> None:
    with headless() as page:
        page.requests()
        for html in sorted(site.rglob("index.html")):
            page.open(f"{address}/{html.parent.relative_to(site).as_posix()}/".replace("/./", "/"))
            assert page.console() == [], html.parent.name
            assert [url for url in page.requests() if not url.startswith((address, "data:", "blob:"))] == []
            assert page.run("return document.querySelector('h1') !== null"), html.parent.name


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_its_search_finds_a_command(site: Path, address: str) -> None:
    with headless() as page:
        page.open(f"{address}/?q=hard+negatives")
        found = "return document.querySelectorAll('.md-search-result__item').length"
        for _ in range(50):
            if page.run(found):
                break
            time.sleep(0.2)
        assert page.run(found) > 0
