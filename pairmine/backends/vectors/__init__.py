"""Vectors of texts: where they lie, how they are kept, how the nearest ones are found."""

from pairmine.backends.vectors.matrix import InMemory, Joined, Subset, Vectors, as_vectors
from pairmine.backends.vectors.search import Searcher

__all__ = ["InMemory", "Joined", "Searcher", "Subset", "Vectors", "as_vectors"]
