"""Takes the pictures of the report that README.md and docs/report.md show, with headless Chromium.

    make -C examples/quickstart && python docs/picture.py examples/quickstart/build

The folder is what the quickstart built. Pictures go to docs/images; each stays below 250 kB.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from headless import Tab, headless, why_not  # noqa: E402

_MOST = 250_000
_TITLE = "Python functions by docstring"


def main(build: Path, folder: Path) -> None:
    """Make the report of what is in `build`, and put its pictures into `folder`."""
    if (reason := why_not()) is not None:
        sys.exit(f"picture: {reason}; install chromium and chromium-driver")
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place, headless() as tab:
        page = Path(place) / "report.html"
        words = ["--rejects", str(build / "rejected.parquet"), "--stage", str(build / "mined.parquet")]
        command = [sys.executable, "-m", "pairmine", "report", str(build / "pairs.parquet"), *words]
        subprocess.run([*command, "--title", _TITLE, "-o", str(page)], check=True)
        tab.dark(False)
        tab.size(1280, 900)
        tab.open(page.as_uri())
        take(tab, folder / "report.png", "body", 0)
        take(tab, folder / "report-scores.png", "#scores", 760)
        take(tab, folder / "report-rows.png", "#rows", 860)
        tab.dark(True)
        take(tab, folder / "report-dark.png", "#funnel", 720)


def take(tab: Tab, path: Path, place: str, height: int) -> None:
    """A picture of the page from the element `place` on."""
    tab.size(1280, height or 900)
    tab.run("document.querySelector(arguments[0]).scrollIntoView()", place)
    tab.picture(path)
    if (size := path.stat().st_size) > _MOST:
        sys.exit(f"picture: {path} has {size:,} bytes, more than {_MOST:,}; take a smaller part of the page")


if __name__ == "__main__":
    main(Path(sys.argv[1]), ROOT / "docs" / "images")
