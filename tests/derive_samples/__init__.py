"""Inputs for the recipes of `derive`, by name: one module here for each group of recipes."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from derive_samples.base import Sample

SAMPLES: dict[str, Sample] = {}
for _path in sorted(Path(__file__).parent.glob("*.py")):
    if _path.stem not in ("__init__", "base"):
        SAMPLES.update(import_module(f"derive_samples.{_path.stem}").SAMPLES)


def sample_of(name: str) -> Sample:
    """The input that the recipe is tried on."""
    return SAMPLES.get(name, Sample())
