"""vLLM's run_batch on request files as `--batch-files` writes them, and its results read back."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from pairmine.backends.batch_files import open_batch_files
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.llm.calls import Call, Failure, Reply, Sampling

BATCH_S = 300
COUNT = 40


def calls(schema: Any) -> list[Call]:
    def one(text: str, schema: Any) -> Call:
        return Call("tiny", ({"role": "user", "content": text},), Sampling(max_tokens=200), schema)

    return [one(f"Write about {number}.", schema if number % 2 else None) for number in range(COUNT)] + [
        one("word " * 9000, None)
    ]


def test_requests_are_run_elsewhere_and_their_results_read_back(
    tiny_model: Path, tmp_path: Path, ask: Any, schema: Any
) -> None:
    folder = tmp_path / "exchange"
    _, told = exchange(folder, calls(schema), ask)
    assert told is not None
    assert told.exit_code == GAVE_UP
    assert f"{COUNT + 1} requests are in {folder}" in str(told)
    run_as_told(str(told), tiny_model)
    answers, told = exchange(folder, calls(schema), ask)
    assert told is None
    for number, call in enumerate(calls(schema)[:COUNT]):
        answer = answers[call.key]
        assert isinstance(answer, Reply)
        assert answer.prompt_tokens > 0
        if number % 2 and answer.finish_reason == "stop":
            assert list(json.loads(answer.text)) == ["query", "hard_negative"]
    assert isinstance(answers[calls(schema)[COUNT].key], Failure)


def exchange(folder: Path, asked: list[Call], ask: Any) -> tuple[dict[bytes, Any], PairmineError | None]:
    """One run of the command: what the calls got, and what is left to do."""
    model = open_batch_files("tiny", folder, say=lambda line: None)
    try:
        return {call.key: answer for call, answer in ask(model, asked)}, model.unfinished()
    finally:
        model.close()


def run_as_told(message: str, tiny_model: Path) -> None:
    """The command of the message, with what this machine and the model's place add to it."""
    found = re.search(r"e\.g\. python (.*), and run this command again", message)
    assert found, message
    words = shlex.split(found[1])
    words[words.index("--model") + 1] = str(tiny_model)
    command = [sys.executable, *words, "--served-model-name", "tiny", "--dtype", "float32", "--enforce-eager"]
    command.append("--no-enable-chunked-prefill")
    done = subprocess.run(command, capture_output=True, text=True, timeout=BATCH_S)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
