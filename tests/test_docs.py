"""The pages of docs/ hold together: their commands parse, their links lead somewhere, the site has them all.

Whether they show what is printed is for test_docs_output.py.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import _blocks
import pytest
import regenerate
import typer.main
import yaml
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
PAGES = regenerate.pages()
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
LINK = re.compile(r"(?<!`)\]\(([^)\s]+)\)")


def prose(text: str) -> str:
    """A page without its fenced blocks and code in lines."""
    return re.sub(r"`[^`\n]*`", "``", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def commands(block: _blocks.Block) -> Iterator[list[str]]:
    """The words after `pairmine` of every command of a block, options of make and of the shell put aside."""
    text = "\n".join(block.lines)
    if block.language == "console":
        text = "\n".join(step.command for step in _blocks.steps(block))
    text = re.sub(r"<<'?(\w+)'?.*?^\1$", "", text, flags=re.M | re.S).replace("\\\n", " ")
    text = re.sub(r"\|\s*\n", "| ", text)
    for line in text.splitlines():
        if "pairmine" in line:
            yield from _split(re.sub(r"\$[<@^]|\$\([^)]*\)|\$\{?\w+\}?", "X", line.strip()))


def _split(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;()"):
            while words and (re.fullmatch(r"\w+=.*", words[0]) or words[0] in ("time", "@")):
                words.pop(0)
            if words and words[0].lstrip("@-") == "pairmine":
                cut = next((n for n, each in enumerate(words) if set(each) <= set("<>")), len(words))
                yield words[1:cut]
            words = []
        else:
            words.append(word)


def parse(words: list[str]) -> None:
    """Let the command line read these words; whatever it does not take is raised.

    Options of the root that act as they are read, as --install-completion, are only looked up.
    """
    command = pairmine()
    if words and words[0].startswith("--"):
        assert any(words[0] in option.opts for option in command.params) or words[0] == "--help"
        return
    context = command.make_context("pairmine", list(words))
    while hasattr(command, "get_command") and (rest := [*context._protected_args, *context.args]):
        name, child, rest = command.resolve_command(context, rest)
        command, context = child, child.make_context(name, rest, parent=context)


@cache
def pairmine() -> Any:
    from pairmine.cli.main import app

    return typer.main.get_command(app)


@pytest.mark.parametrize("name", [name for name in NAMES if Path(name).name not in regenerate.GENERATED])
def test_every_command_that_a_page_shows_is_one_that_pairmine_takes(name: str) -> None:
    for block in _blocks.blocks((ROOT / name).read_text("utf-8")):
        only_shown = block.language in ("sh", "make") or block.exempt
        for words in commands(block) if only_shown else ():
            with contextlib.redirect_stdout(io.StringIO()):
                try:
                    parse(words)
                except Exception as error:
                    if type(error).__name__ not in ("Exit", "NoArgsIsHelpError"):
                        message = error.format_message() if hasattr(error, "format_message") else str(error)
                        pytest.fail(f"{name}:{block.line}: pairmine {shlex.join(words)}: {message}")


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_a_page_and_a_place_in_it(name: str) -> None:
    text = prose((ROOT / name).read_text("utf-8"))
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            assert re.fullmatch(r"https://[\w.-]+\.\w+(/\S*)?", target), f"{name}: {target}"
            continue
        path, _, anchor = target.partition("#")
        page = ((ROOT / name).parent / path) if path else ROOT / name
        assert page.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in anchors(page.read_text("utf-8")), f"{name}: {target}"


def anchors(text: str) -> set[str]:
    """The places of a page that a link may name, as the site and code hosts make them of its headings."""
    found = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in found}


@pytest.mark.parametrize("name", NAMES)
def test_files_that_a_page_names_exist(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    for path in re.findall(r"`((?:examples|benchmarks|docs|tests)/[\w./-]*\w/?)`", text):
        assert (ROOT / path).exists(), f"{name}: {path}"


OF_OTHERS = {"--no-enable-chunked-prefill", "--make", "--queries", "--runs", "--require-hashes"}
"""Options of vLLM, pip and `benchmarks/` that pages name in a sentence."""


def test_every_option_that_a_sentence_names_is_one_of_pairmine() -> None:
    option = re.compile(r"(?<![\w-])--[a-z][\w-]*")
    told = {page.stem: page.read_text("utf-8") for page in PAGES}
    known = {*option.findall(told["help"]), *option.findall(told["recipes"]), "--help", *OF_OTHERS}
    for name, text in told.items():
        sentences = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        named = {each for code in re.findall(r"`([^`\n]+)`", sentences) for each in option.findall(code)}
        assert named <= known, (name, named - known)


def test_the_site_has_every_page() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert set(re.findall(r"[\w-]+\.md", str(nav))) == pages


def test_the_site_asks_nobody_else() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert site["theme"]["font"] is False
    assert "repo_url" not in site
    assert site["strict"] is True


def test_the_help_page_is_up_to_date() -> None:
    assert regenerate.differences(ROOT / "docs" / "help.md") == [], "python docs/regenerate.py --write docs/help.md"


def test_a_console_block_is_parted_into_commands_with_what_they_print() -> None:
    page = "```console\n$ cat > a <<'END'\n$ no\nEND\n$ one \\\n  two\nx\n\n$ three |\n  four\n...\ny\n```\n"
    (block,) = _blocks.blocks(page)
    found = [(step.command, step.shown) for step in _blocks.steps(block)]
    assert found == [("cat > a <<'END'\n$ no\nEND", ()), ("one \\\n  two", ("x",)), ("three |\n  four", ("...", "y"))]


def test_an_exemption_holds_for_the_next_block_alone() -> None:
    page = "<!-- not run: a server -->\n\n```console\n$ a\n```\n<!-- not run: b -->\ntext\n```console\n$ a\n```\n"
    assert [block.exempt for block in _blocks.blocks(page)] == ["a server", None]


def test_a_block_that_is_not_closed_is_told() -> None:
    with pytest.raises(_blocks.PageError, match="line 2: this block is never closed"):
        _blocks.blocks("\n```console\n$ a\n")


def test_a_page_that_lies_is_told_and_mended() -> None:
    page = "# T\n\n```console\n$ echo one; echo two 3\nzero\n...\ntwo 4\n\n$ echo x >&2\nx\n```\n\nend\n"
    ran = _blocks.run_page(page, timeout_s=60)
    assert [each.agrees for each in ran] == [False, True]
    assert "-zero" in _blocks.difference("p.md", ran[0])
    mended = _blocks.rewritten(page, ran)
    assert mended == page.replace("zero\n...\ntwo 4", "one\ntwo 3")
    assert all(each.agrees for each in _blocks.run_page(mended, timeout_s=60))


def test_lines_left_out_stay_left_out_when_numbers_change() -> None:
    shown = ("rows 1", "...", "out 2")
    assert _blocks.elided(shown, ("rows 10", "a", "b", "out 20")) == ("rows 10", "...", "out 20")
    assert _blocks.elided(("...", "out 2"), ("a", "out 3")) == ("...", "out 3")
    assert _blocks.elided(("in 1", "..."), ("in 2", "b")) == ("in 2", "...")


def test_the_progress_of_a_slow_machine_is_no_difference() -> None:
    lines = ["pairmine embed: loading st:all-MiniLM-L6-v2, 10s", "pairmine mine: 1,000 of 2,000 rows in 1m20s", "x"]
    assert _blocks._without_progress("\n".join(lines)) == ("x",)


LINES = st.lists(st.sampled_from(["a", "b", "a 1", "...", ""]), max_size=6)


@given(LINES, st.lists(st.sampled_from(["a", "b", "a 1"]), max_size=6))
def test_what_replaces_a_wrong_output_is_always_true(shown: list[str], printed: list[str]) -> None:
    assert _blocks.matches(_blocks.elided(shown, printed), printed)


def test_a_command_that_fails_without_a_word_is_no_true_output() -> None:
    (ran,) = _blocks.run_page("```console\n$ false\n```\n", timeout_s=60)
    assert not ran.agrees
