"""Exact and near duplicates of a corpus, of queries, of documents, of whole pairs; and what is in a test set."""

from pairmine.stages.dedup.against import Against, EvalSet
from pairmine.stages.dedup.stage import Deduped, dedup

__all__ = ["Against", "Deduped", "EvalSet", "dedup"]
