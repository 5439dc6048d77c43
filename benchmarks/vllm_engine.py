"""Tokens per second of the backend `vllm:` next to a bare `LLM.chat`, on the same engine, prompts and sampling.

Both use one engine, whose prefix cache is emptied before each run; runs take turns. The bare side gets all
prompts and ready-made sampling parameters in one call. Ours submits calls while there is room and waits, as
the stage does. The model is the tiny one of the tests: the smaller a model, the more our part weighs.

    make vllm-env && .vllm-venv/bin/python benchmarks/vllm_engine.py
    python benchmarks/vllm_engine.py --model Qwen/Qwen3-8B --calls 20000        # where there is a GPU
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from pydoc_data.topics import topics
from statistics import median
from typing import Any

from pairmine.backends.vllm_engine import ON_CPU, VllmEngine, open_vllm
from pairmine.llm.calls import Call, Reply, Sampling

SIDES = ("LLM.chat", "pairmine")
SCHEMA = {
    "type": "object",
    "properties": {"query": {"type": "string"}, "hard_negative": {"type": "string"}},
    "required": ["query", "hard_negative"],
    "additionalProperties": False,
}
INSTRUCTION = (
    "Write a search query that the passage answers, and a passage on the same topic that does not answer it. " * 3
)


def main() -> None:
    """Run both sides in turn and print the ratios."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        args: dict[str, Any] = {}
        if not options.model:
            options.model = str(Path(folder) / "tiny")
            script = Path(__file__).parents[1] / "tests" / "vllm" / "tiny_model.py"
            subprocess.run([sys.executable, str(script), options.model], check=True, capture_output=True)
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
            args = {"dtype": "float32", "enforce_eager": True, **ON_CPU}
        llm = open_vllm(options.model, args=args, say=lambda line: print(line, file=sys.stderr))
        try:
            for schema in (None, SCHEMA):
                _compare(llm, options, schema)
        finally:
            llm.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder or a hub name; the tests' tiny model by default")
    parser.add_argument("--calls", type=int, default=1500)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    return parser.parse_args()


def _compare(llm: VllmEngine, options: argparse.Namespace, schema: dict[str, Any] | None) -> None:
    calls = _calls(llm.model, options, schema)
    _ours(llm, calls[:8])
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    texts: dict[str, Any] = {}
    for number in range(options.runs):
        for side in SIDES if number % 2 == 0 else SIDES[::-1]:
            llm._engine._llm.reset_prefix_cache()  # type: ignore[union-attr]
            start = time.perf_counter()
            tokens, texts[side] = (_bare if side == "LLM.chat" else _ours)(llm, calls)
            rates[side].append(tokens / (time.perf_counter() - start))
    bare, ours = (median(rates[side]) for side in SIDES)
    kind = "JSON by schema" if schema else "plain text"
    pairs = " ".join(f"{mine / theirs:.3f}" for theirs, mine in zip(*rates.values(), strict=True))
    same = sum(texts["pairmine"][key] == text for key, text in texts["LLM.chat"].items())
    print(
        f"{kind}: {len(calls):,} calls, {tokens:,} tokens written; LLM.chat {bare:,.0f} tokens/s, "
        f"pairmine {ours:,.0f} tokens/s, ratio {ours / bare:.3f} (runs: {pairs}); same texts {same:,}"
    )


def _calls(model: str, options: argparse.Namespace, schema: dict[str, Any] | None) -> list[Call]:
    draw = random.Random(0)
    words = " ".join(topics[name] for name in sorted(topics)).split()
    extra = {} if schema else {"ignore_eos": True}
    sampling = Sampling(max_tokens=options.max_tokens, extra=extra)
    calls = []
    for _ in range(options.calls):
        start = draw.randrange(len(words) - 100)
        passage = " ".join(words[start : start + draw.randint(10, 60)])
        messages = ({"role": "system", "content": INSTRUCTION}, {"role": "user", "content": passage})
        calls.append(Call(model, messages, sampling, schema))
    return calls


def _bare(llm: VllmEngine, calls: list[Call]) -> tuple[int, dict[bytes, str]]:
    engine = llm._engine
    assert engine is not None
    params = [engine._sampling(call, call.sampling.extra) for call in calls]
    outputs = engine._llm.chat([list(call.messages) for call in calls], params, use_tqdm=False)
    texts = {call.key: output.outputs[0].text for call, output in zip(calls, outputs, strict=True)}
    return sum(len(output.outputs[0].token_ids) for output in outputs), texts


def _ours(llm: VllmEngine, calls: list[Call]) -> tuple[int, dict[bytes, str]]:
    texts: dict[bytes, str] = {}
    tokens, waiting = 0, iter(calls)
    call = next(waiting, None)
    while call is not None or llm.under_way:
        while call is not None and llm.room:
            llm.submit(call)
            call = next(waiting, None)
        for answered, reply in llm.wait():
            assert isinstance(reply, Reply)
            texts[answered.key] = reply.text
            tokens += reply.completion_tokens
    return tokens, texts


if __name__ == "__main__":
    main()
