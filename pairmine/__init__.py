"""Mine, write, filter and deduplicate training pairs for embedding models, retrievers and rerankers.

The stages behind the commands work on Arrow tables: ``from pairmine import generate, mine, filter_pairs``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_STAGES = {
    "derive": "pairmine.stages.derive",
    "generate": "pairmine.stages.generate",
    "open_llm": "pairmine.backends.llms",
    "Ledger": "pairmine.ledger",
    "mine": "pairmine.stages.mine",
    "open_retriever": "pairmine.stages.mine",
    "score_pairs": "pairmine.stages.score",
    "open_scorer": "pairmine.stages.score",
    "filter_pairs": "pairmine.stages.filter",
    "calibrate": "pairmine.stages.calibrate",
    "dedup": "pairmine.stages.dedup",
    "mix": "pairmine.stages.mix",
    "export": "pairmine.stages.export",
    "check": "pairmine.stages.check",
    "stats": "pairmine.stages.stats",
    "Stats": "pairmine.stages.stats",
    "PairmineError": "pairmine.errors",
    "Outcome": "pairmine.outcome",
}

__all__ = [*sorted(_STAGES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _STAGES:
        raise AttributeError(f"module 'pairmine' has no attribute {name!r}")
    return getattr(import_module(_STAGES[name]), name)
