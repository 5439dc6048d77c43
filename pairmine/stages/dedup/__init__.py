"""Exact and near duplicates: of a corpus, of queries, of documents, of whole pairs."""

from pairmine.stages.dedup.stage import dedup

__all__ = ["dedup"]
