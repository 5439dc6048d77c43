"""Mixing: several pair sets as one, in shares that temper their sizes, and perhaps planned batches."""

from pairmine.stages.mix.sources import Source
from pairmine.stages.mix.stage import BATCHES, Weighing, check_settings, mix

__all__ = ["BATCHES", "Source", "Weighing", "check_settings", "mix"]
