"""The numbers of a pair set, gathered chunk by chunk in bounded memory."""

from pairmine.stages.stats.stage import Stats, stats

__all__ = ["Stats", "stats"]
