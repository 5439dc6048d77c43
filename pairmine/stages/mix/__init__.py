"""Mixing: several pair sets as one, in shares that temper their sizes, and perhaps planned batches."""

from pairmine.stages.mix.draws import Weighing
from pairmine.stages.mix.interned import joined
from pairmine.stages.mix.plan import Batching
from pairmine.stages.mix.sources import Source
from pairmine.stages.mix.stage import check_settings, mix
from pairmine.stages.mix.topics import VectorsOf, by_encoder

__all__ = ["Batching", "Source", "VectorsOf", "Weighing", "by_encoder", "check_settings", "joined", "mix"]
