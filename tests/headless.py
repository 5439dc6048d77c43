"""A page in headless Chromium: what it shows, what keys do to it, what its console says, what it asks a network for.

It talks to chromedriver over HTTP with the standard library alone (W3C WebDriver).
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "ArrowDown": "\ue015", "ArrowUp": "\ue013"}


def why_not() -> str | None:
    """Why no page can be opened here; None where it can."""
    if not any(map(shutil.which, _BROWSERS)):
        return "no Chromium on this machine"
    return None if shutil.which("chromedriver") else "no chromedriver on this machine"


class Tab:
    """One open page."""

    def __init__(self, server: str, session: str) -> None:
        self._base = f"{server}/session/{session}"

    def open(self, url: str) -> None:
        """Go there and wait until it is loaded."""
        _call("POST", f"{self._base}/url", {"url": url})

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """The inner size of the window."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )

    def dark(self, wanted: bool) -> None:
        """Whether the reader prefers dark pages."""
        value = "dark" if wanted else "light"
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def devtools(self, command: str, **values: Any) -> Any:
        """A command of the DevTools protocol."""
        return _call("POST", f"{self._base}/goog/cdp/execute", {"cmd": command, "params": values})

    def run(self, script: str, *values: Any) -> Any:
        """What the body of a function of JavaScript returns."""
        return _call("POST", f"{self._base}/execute/sync", {"script": script, "args": list(values)})

    def press(self, *keys: str) -> None:
        """Press keys one after another, by name or as characters."""
        for key in keys:
            value = KEYS.get(key, key)
            actions = [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
            _call("POST", f"{self._base}/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of what is in sight, or of the whole page."""
        data = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def console(self) -> list[str]:
        """Errors and warnings of the console since the last call."""
        entries = _call("POST", f"{self._base}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Every address that a page asked for since the last call; the browser's own pages are left out."""
        entries = _call("POST", f"{self._base}/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent if not each["documentURL"].startswith("chrome")]


@contextmanager
def headless() -> Iterator[Tab]:
    """A tab in a browser of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder, _server() as server:
        options = {
            "args": [*_FLAGS, f"--user-data-dir={folder}"],
            "binary": next(path for path in map(shutil.which, _BROWSERS) if path),
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        session = _call("POST", f"{server}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        try:
            yield Tab(server, session)
        finally:
            _call("DELETE", f"{server}/session/{session}", None)


@contextmanager
def _server() -> Iterator[str]:
    """chromedriver on a port of its own choice."""
    with subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "started successfully on port" in line)
            yield f"http://127.0.0.1:{line.rstrip().rstrip('.').rpartition(' ')[2]}"
        finally:
            process.terminate()


def _call(method: str, url: str, body: Any, *, tries: int = 3) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.read().decode()[:2000]}") from None
    except urllib.error.URLError:
        if tries == 0:
            raise
        time.sleep(0.5)
        return _call(method, url, body, tries=tries - 1)
