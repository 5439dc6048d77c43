"""`generate`: pairs that an LLM writes."""

from __future__ import annotations

from pairmine.stages.generate.groups import group_starts
from pairmine.stages.generate.stage import generate, tasks_of, write_pairs

__all__ = ["generate", "group_starts", "tasks_of", "write_pairs"]
