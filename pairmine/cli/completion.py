"""What the shell offers at a press of TAB; where nothing is listed here, it offers the names of files.

The words are written out, since importing the modules that own them takes longer than people wait; a test
compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Words = list[tuple[str, str]]
"""What can be written, each with its meaning, which may be empty."""


def plain(text: str) -> Words:
    """Words that need no explanation, parted by blanks."""
    return [(word, "") for word in text.split()]


_ENCODERS: Words = [
    ("st:", "a sentence-transformers model"),
    ("openai:", "embeddings of a server"),
    ("fake:", "a stand-in"),
]
_LLMS: Words = [
    ("openai:", "a chat model behind a server"),
    ("vllm:", "a model on a GPU of this machine"),
    ("fake:", "a stand-in that asks nobody"),
]
_RETRIEVERS: Words = [("bm25", "by words"), *_ENCODERS, ("npy:", "ready-made vectors"), ("run:", "a TREC run")]
_SCORERS: Words = [
    ("ce:", "a cross-encoder"),
    ("st:", "a bi-encoder"),
    ("rerank:", "a server that reranks"),
    ("openai:", "a chat model that judges"),
    ("vllm:", "a model on a GPU of this machine"),
    ("ql:", "likelihood of the query"),
    ("fake:", "a stand-in"),
]
_SHARED: dict[str, Words] = {
    "--backend": plain("torch onnx onnx-int8 openvino"),
    "--device": plain("cpu cuda cuda:* mps"),
    "--dtype": plain("auto float32 bfloat16 float16"),
    "--encoder": _ENCODERS,
    "--format": plain("parquet arrow jsonl csv tsv"),
    "--llm": _LLMS,
    "--vector-type": plain("float32 float16 int8"),
}
_OWN: dict[str, dict[str, Words]] = {
    "recipes": {"--needs": plain("none encoder cross-encoder mlm translator llm")},
    "mine": {
        "--fuse": plain("union rrf round-robin"),
        "--index": plain("exact ivf hnsw pq auto"),
        "--retriever": _RETRIEVERS,
        "--search-with": plain("query positive"),
        "--within": plain("second all"),
    },
    "embed": {"--side": plain("document query")},
    "score": {"--scorer": _SCORERS, "--side": plain("query document both")},
    "filter": {
        "--pick": plain("top random simans softmax stratified mmr cluster inverse-propensity"),
        "--shortage": plain("keep drop fill relax relax+drop relax+fill"),
        "--anchor": plain("min median mean max"),
    },
    "calibrate": {"--judge": _LLMS, "--pick": plain("top random")},
    "dedup": {
        "--action": plain("drop mark"),
        "--against-side": plain("queries documents both"),
        "--by": plain("document query pair"),
        "--exact": plain("normalised bytes words"),
        "--group": plain("chain star"),
        "--shingles": plain("words characters"),
    },
    "mix": {
        "--batches": plain("none mixed source clusters"),
        "--bucket": plain("none length"),
        "--by": plain("queries pairs"),
        "--split-apart": plain("queries positives documents"),
        "--split-copies": plain("near exact ids"),
    },
    "export": {"--positives": plain("each first")},
    "stats": {"--rank-among": plain("documents texts")},
}


def offer(command: str, params: Iterable[Any]) -> None:
    """Have the options and arguments of a command offer what can be written there."""
    for each in params:
        listed = _listed(command, each)
        if listed is not None:
            each.shell_complete = _offering(listed)


def items(found: Iterable[tuple[str, str]]) -> list[Any]:
    """Words with what they mean, as typer takes them."""
    from typer._click.shell_completion import CompletionItem

    return [CompletionItem(word, help=meaning or None) for word, meaning in found]


def words_of(command: str, flag: str) -> Words | None:
    """What is written out for an option of a command; None where nothing is."""
    return _OWN.get(command, {}).get(flag) or _SHARED.get(flag)


def _listed(command: str, param: Any) -> Callable[[], Words] | None:
    if param.param_type_name == "argument":
        if command == "generate" and param.name == "recipe":
            return _prompts
        return _recipes if command == "recipes" and param.name == "name" else None
    if command == "export" and "--to" in param.opts:
        return _targets
    if command == "recipes" and "--paper" in param.opts:
        return _systems
    for flag in param.opts:
        if words := words_of(command, flag):
            return lambda: words
    return None


def _offering(listed: Callable[[], Words]) -> Callable[[Any, str], list[Any]]:
    def complete(context: Any, incomplete: str) -> list[Any]:
        return items([each for each in listed() if each[0].startswith(incomplete)])

    return complete


def _prompts() -> Words:
    from pairmine.recipes import prompt_names

    return [(name, "") for name in prompt_names()]


def _recipes() -> Words:
    from pairmine.methods import METHODS
    from pairmine.recipes import all_recipes

    derived = [(each.name, each.summary) for each in all_recipes()]
    return [*derived, *_prompts(), *((each.name, each.summary) for each in METHODS)]


def _targets() -> Words:
    from pairmine.stages.export import TARGETS

    return [(name, "") for name in TARGETS]


def _systems() -> Words:
    from pairmine.papers import SYSTEMS

    return [(each.name, "") for each in SYSTEMS if " " not in each.name]  # a shell takes a blank for a new word
