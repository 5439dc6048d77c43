"""Training rows as tables of a pair set: a row for each document, ids made from texts where there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa

from pairmine import schema
from pairmine.files.forms.group import Group
from pairmine.identity import content_id

PLACE = "place"
"""Where the pair stands in the file, for people."""
NUMBER = "_number"
"""The training row that a pair came from, counted from 0; gone from what leaves this package."""

Columns = Mapping[str, pa.Field]


def table_of(groups: Sequence[Group], columns: Columns) -> pa.Table:
    """The pairs of `groups`, in their order, with the `columns` that some group of the file has in its `extra`."""
    row = np.repeat(np.arange(len(groups)), [len(group.texts) for group in groups])
    at = pa.array(row)
    queries = pa.array([group.query for group in groups], pa.string()).dictionary_encode()
    documents = pa.array(list(chain.from_iterable(group.texts for group in groups)), pa.string()).dictionary_encode()
    found = {
        "query_id": pa.array([group.query_id for group in groups], pa.string()).take(at),
        "query": queries.take(at),
        "doc_id": _doc_ids(groups, documents),
        "document": documents,
        "label": pa.array(list(chain.from_iterable(group.labels for group in groups)), pa.int8()),
        "origin": pa.repeat("given", len(row)),
    }
    fields = {name: pa.field(name, values.type) for name, values in found.items()}
    for name, field in columns.items():
        found[name] = pa.array(_extra(groups, name), field.type)
        fields[name] = field
    if "origin" in columns:
        found["origin"] = found["origin"].fill_null("given")
    found[PLACE] = pa.array([group.place for group in groups], pa.string()).take(at)
    found[NUMBER] = pa.array(np.array([group.number for group in groups], np.int64)[row])
    table = pa.table(
        list(found.values()), schema=pa.schema([fields.get(n, pa.field(n, v.type)) for n, v in found.items()])
    )
    return schema.as_pairs(table)


def _doc_ids(groups: Sequence[Group], documents: pa.DictionaryArray) -> pa.Array:
    """The ids that the file has, and hashes of the texts for the others."""
    if all(group.ids is not None for group in groups):
        return pa.array(list(chain.from_iterable(group.ids or () for group in groups)), pa.string())
    of_text = [content_id(text) for text in documents.dictionary.to_pylist()]
    made = pa.array([*of_text, content_id("")]).take(documents.indices.fill_null(len(of_text)))
    if all(group.ids is None for group in groups):
        return made
    given: list[str | None] = []
    for group in groups:
        given += [None] * len(group.texts) if group.ids is None else group.ids
    return pa.array(given, pa.string()).fill_null(made)


def _extra(groups: Sequence[Group], name: str) -> list[object]:
    values: list[object] = []
    for group in groups:
        found = group.extra.get(name) if group.extra else None
        values += found if found is not None else [None] * len(group.texts)
    return values
