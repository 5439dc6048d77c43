"""What the site does to a page: the copy button of a console block takes its commands, and nothing that they print."""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from _blocks import blocks, steps

_WITH_A_PROMPT = re.compile(r'<div class="highlight">(?=<pre\b(?:(?!</pre>).)*?<span class="gp">)', flags=re.S)


def on_page_content(html: str, *, page: Any, **_: Any) -> str:
    """Called by mkdocs with each page; the theme copies what stands in `data-copy`."""
    shown = [block for block in blocks(page.markdown) if block.language == "console"]
    to_copy = iter(["\n".join(step.command for step in steps(block)) for block in shown])
    return _WITH_A_PROMPT.sub(lambda _: f'<div class="highlight" data-copy="{escape(next(to_copy))}">', html)
