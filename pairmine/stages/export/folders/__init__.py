"""Formats of several files: each is a folder. One module per trainer; `by_id` holds what they share."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pairmine.schema import document_text
from pairmine.stages.export.folders import colbert, contrastors, distillation, evaluation, gpl, nemo, tevatron
from pairmine.stages.export.folders.by_id import Chunk, Files, Shared
from pairmine.stages.export.plan import Target
from pairmine.stages.export.rows import one_array

__all__ = ["TARGETS", "Chunk", "Files", "Shared", "whole_corpus"]

TARGETS: tuple[Target, ...] = (
    *tevatron.TARGETS,
    *distillation.TARGETS,
    *nemo.TARGETS,
    *contrastors.TARGETS,
    *colbert.TARGETS,
    *gpl.TARGETS,
    *evaluation.TARGETS,
)


def whole_corpus(target: Target, corpus: pa.Table, shared: Shared) -> Files:
    """What `corpus` (id, text, perhaps title) adds to the files of a folder: its documents that no pair has.

    "text" is what a pair set holds of a document: its title, a blank, its text. Raises PairmineError for a document
    whose text in the pair set is another one.
    """
    ids, texts = one_array(corpus["id"]), one_array(document_text(corpus))
    encoded = texts.dictionary_encode()
    found = shared.documents.add(ids, encoded.dictionary, encoded.indices.to_numpy())
    large = pa.large_string()
    empty = pa.nulls(len(ids), large)
    title = one_array(corpus["title"]).cast(large) if "title" in corpus.column_names else empty
    columns = {
        "id": ids,
        "text": texts,
        "title": pc.utf8_trim_whitespace(title.fill_null("")),
        "bare text": one_array(corpus["text"]).cast(large),
        "number": pa.array(found.number),
    }
    new = pa.array(found.first)
    return {
        name: pa.table({column: columns[part].take(new) for column, part in parts.items()})
        for name, parts in target.corpus.items()
    }
