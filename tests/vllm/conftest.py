"""The suite that runs inside vLLM's own environment: `make test-vllm`. Elsewhere nothing here is collected.

The model is tiny and untrained (`tiny_model.py`), the engine is real: in process, as a server, and as a batch run.
What else is to run against it takes the fixture `tiny_model`, the folder of that model, and `LLM_ARGS`.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pairmine.backends.llms import LLM, Answer
from pairmine.llm.calls import Call, Sampling

_found = importlib.util.find_spec("vllm")
if _found is None or _found.origin is None:
    collect_ignore_glob = ["test_*.py"]

# The least that the CPU build needs to start quickly; 1 GiB of key-value cache is plenty for a tiny model.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
START_S = 240
SERVED = "served"
LLM_ARGS = {"dtype": "float32", "enforce_eager": True}

SCHEMA = {
    "type": "object",
    "properties": {"query": {"type": "string"}, "hard_negative": {"type": "string"}},
    "required": ["query", "hard_negative"],
    "additionalProperties": False,
}
MakeCall = Callable[..., Call]


@pytest.fixture(scope="session")
def llm_args() -> dict[str, Any]:
    """What `--vllm-arg` is to carry for the tiny model."""
    return dict(LLM_ARGS)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny chat model, written once."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    script = Path(__file__).with_name("tiny_model.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="session")
def llm(tiny_model: Path) -> Iterator[LLM]:
    """One engine for all tests: starting it is what takes long."""
    from pairmine.backends.vllm_engine import open_vllm

    model = open_vllm(str(tiny_model), args=LLM_ARGS, say=lambda line: None)
    yield model
    model.close()


@pytest.fixture
def make_call(llm: LLM) -> MakeCall:
    """A call to the engine: `make_call("text", schema=..., sample=..., max_tokens=..., ...)`."""

    def make(text: str, *, schema: Any = None, sample: int = 0, **sampling: Any) -> Call:
        messages = ({"role": "system", "content": "Answer in a few words."}, {"role": "user", "content": text})
        return Call(llm.model, messages, Sampling(**{"max_tokens": 200, **sampling}), schema, sample)

    return make


@pytest.fixture(scope="session")
def ask() -> Callable[[LLM, list[Call]], list[Answer]]:
    """Have a model answer all calls, as the stage does: submit while there is room, then wait."""

    def run(model: LLM, calls: list[Call]) -> list[Answer]:
        answers: list[Answer] = []
        waiting = iter(calls)
        call = next(waiting, None)
        while call is not None or model.under_way:
            while call is not None and model.room:
                model.submit(call)
                call = next(waiting, None)
            answers += model.wait()
        return answers

    return run


@pytest.fixture(scope="session")
def schema() -> dict[str, Any]:
    """The reply that the recipe `queries` asks for."""
    return SCHEMA


@pytest.fixture(scope="session")
def server(tiny_model: Path, llm: LLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server that serves the tiny model, under the name that calls in process carry as well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny_model)]
    command += ["--served-model-name", SERVED, llm.model, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--enforce-eager", "--enable-prompt-tokens-details"]
    command += ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
    # On a CPU, vLLM dies of a seeded request whose prompt it reads in two pieces: see ON_CPU in vllm_engine.py.
    command += ["--no-enable-chunked-prefill"]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_until_up(process, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="session")
def until_up() -> Callable[[subprocess.Popen[bytes], int, Path], None]:
    """Wait for a server of one's own: its process, its port and its log."""
    return wait_until_up


def wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"the server did not start:\n{log.read_text(errors='replace')[-3000:]}")
