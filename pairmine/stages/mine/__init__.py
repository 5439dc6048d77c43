"""Mining: candidates for hard negatives out of the corpus, by any number of retrievers.

Mining adds rows and never decides: candidates have a null label, the rank and the origin of the
list that they came from, and the score of every retriever; `filter` decides later, in seconds.
"""

from pairmine.stages.mine.fusion import UNION, Fusion
from pairmine.stages.mine.masks import Known, Masks, similarity_of
from pairmine.stages.mine.near_copies import near_as_dedup
from pairmine.stages.mine.overlap import Sources
from pairmine.stages.mine.remine import Since
from pairmine.stages.mine.retrievers import named_specs, open_retriever
from pairmine.stages.mine.search import open_search
from pairmine.stages.mine.stage import cut_from_documents, mine, mine_blocks, search_blocks, take_in
from pairmine.stages.mine.strategy import NEAREST, Strategy, innermost, wrapped
from pairmine.stages.mine.texts import Corpus, Documents, Queries

__all__ = [
    "NEAREST",
    "UNION",
    "Corpus",
    "Documents",
    "Fusion",
    "Known",
    "Masks",
    "Queries",
    "Since",
    "Sources",
    "Strategy",
    "cut_from_documents",
    "innermost",
    "mine",
    "mine_blocks",
    "named_specs",
    "near_as_dedup",
    "open_retriever",
    "open_search",
    "search_blocks",
    "similarity_of",
    "take_in",
    "wrapped",
]
