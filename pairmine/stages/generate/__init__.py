"""`generate`: pairs that an LLM writes."""

from __future__ import annotations

from pairmine.stages.generate.stage import generate, tasks_of, write_pairs

__all__ = ["generate", "tasks_of", "write_pairs"]
