"""From Arrow's buffers to what finds copies: the hot code of `dedup`, by numpy and in machine code."""

from pairmine.stages.dedup.kernel.reading import Ahead, Sketches, exact_keys, read_column, read_texts, sketch

__all__ = ["Ahead", "Sketches", "exact_keys", "read_column", "read_texts", "sketch"]
