"""Mining: candidates for hard negatives out of the corpus, by any number of retrievers.

Mining adds rows and never decides: candidates have a null label, the rank and the origin of the
list that they came from, and the score of every retriever; `filter` decides later, in seconds.
"""

from pairmine.stages.mine.retrievers import named_specs, open_retriever
from pairmine.stages.mine.stage import cut_from_documents, mine, mine_blocks, search_blocks
from pairmine.stages.mine.strategy import NEAREST, Strategy, wrapped
from pairmine.stages.mine.texts import Documents, Queries

__all__ = [
    "NEAREST",
    "Documents",
    "Queries",
    "Strategy",
    "cut_from_documents",
    "mine",
    "mine_blocks",
    "named_specs",
    "open_retriever",
    "search_blocks",
    "wrapped",
]
