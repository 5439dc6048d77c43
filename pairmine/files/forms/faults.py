"""What can be wrong with the form of a trainer's file, apart from the pairs in it: one name for each fault."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pairmine.files.locations import format_of
from pairmine.stages.check.finding import ERROR, NOTE, WARNING


@dataclass(frozen=True)
class Fault:
    """A fault by its `name`. `what` is said of all rows that have it, `remedy` mends it."""

    name: str
    severity: str
    what: str
    remedy: str


_EXPORT = "read it with 'pairmine convert --as pairs', mend it there, and export it again"

FAULTS = {
    fault.name: fault
    for fault in (
        # What no reader gets past.
        Fault("invalid-json", ERROR, "is no JSON; trainers stop at such a line", "mend or remove the line"),
        Fault(
            "nan-in-json", ERROR, "holds NaN or Infinity, which JSON does not know", "write a number, or drop the row"
        ),
        Fault("not-an-object", ERROR, "is JSON, but not an object with fields", 'write {"query": ...}, one to a line'),
        Fault("not-utf8", ERROR, "is not UTF-8", "convert the file first, for example: iconv -f latin1 -t utf-8"),
        Fault(
            "uneven-fields",
            ERROR,
            "has another number of fields than the format; a tab or quote in a text does that",
            "replace tabs and line ends in texts by blanks, or close the quote",
        ),
        Fault("missing-file", ERROR, "a file that the trainer opens is not in the folder", _EXPORT),
        # Fields and their types.
        Fault("missing-field", ERROR, "lacks a field that the trainer reads", "write the field, or drop the row"),
        Fault(
            "string-for-list",
            ERROR,
            "has a string where a list belongs; trainers take it for a list of single characters",
            'write ["text"] for "text"',
        ),
        Fault("list-for-string", ERROR, "has a list where one text belongs", "write one text, a row for each"),
        Fault("not-text", ERROR, "has a number or an object where a text belongs", "write it as a text"),
        Fault("mixed-types", ERROR, "holds a field as text here and as a number there", "write all of them alike"),
        Fault(
            "keys-vary",
            WARNING,
            "has a field that most rows lack, or lacks one that they have",
            "give the field to every row, or to none",
        ),
        Fault("unread-field", NOTE, "has a field that this trainer does not read", "drop it, or see how it is spelt"),
        # Columns that are taken by their order.
        Fault(
            "extra-column",
            ERROR,
            "the trainer takes every column for a text, and this one is none of the format's (ids are tokenised too)",
            "keep ids and notes in another file",
        ),
        Fault(
            "column-order",
            ERROR,
            "the trainer takes columns by their order, whatever their names, and this is another order",
            "write the query first, then the positive, then the negatives",
        ),
        Fault(
            "several-labels",
            ERROR,
            "the first of label, labels, score and scores is the label, and the others are read as texts",
            "keep one of them",
        ),
        Fault("too-many-columns", ERROR, "SimCSE refuses a file of more than three columns", "keep three"),
        Fault(
            "misread-texts",
            ERROR,
            "has a text that the trainer takes for something else, as NA for a missing one",
            "drop the row, or put the text in other words",
        ),
        # Numbers.
        Fault("scores-as-text", ERROR, "has a score that is no number", "write scores as numbers, without quotes"),
        Fault(
            "uneven-lengths", ERROR, "has another number of scores than of documents", "give each document one score"
        ),
        Fault(
            "score-beyond-1",
            WARNING,
            "has a score outside of -1 to 1, which no cosine reaches: losses of cosines do not learn it",
            "divide by the largest score, as STS scores of 0 to 5 by 5; losses of logits take it as it is",
        ),
        Fault(
            "label-not-0-1",
            ERROR,
            "has a label that is neither 0 nor 1",
            "write 1 or 0; a grade goes into a score, and 'pairmine derive nli' reads classes of NLI",
        ),
        # Documents of a row.
        Fault("empty-positives", ERROR, "has no positive; training fails there", "drop the row"),
        Fault("empty-negatives", ERROR, "has no negative, and this trainer fails there", "drop the row, or mine some"),
        Fault(
            "n-varies",
            ERROR,
            "has another number of negatives than other rows; this trainer wants the same in each",
            "export again with --negatives N",
        ),
        Fault("several-positives", WARNING, "has several positives, of which the trainer takes one", "a row for each"),
        Fault("repeated-rows", WARNING, "is the same as an earlier row", "drop it; in a batch it is its own negative"),
        Fault("missing-title", WARNING, "has a passage without the key that rerankers read", 'write "title": ""'),
        # Chats.
        Fault("chat-layout", ERROR, "is no chat as this trainer reads it", _EXPORT),
        Fault("wrong-role", WARNING, "gives a document another role than the trainer expects", _EXPORT),
        Fault("prompt-missing", WARNING, "lacks the instruction that other rows or the trainer want", _EXPORT),
        # Files that name each other.
        Fault("unresolved-ids", ERROR, "names an id that no file beside it has", "add the text, or drop the row"),
        Fault("duplicate-ids", ERROR, "repeats an id; readers keep the first or the last of them", "an id for each"),
        Fault(
            "numbers-apart",
            ERROR,
            "has another number than its line, from 0, by which ColBERT finds a passage",
            "export it again",
        ),
        Fault(
            "qrels-header",
            ERROR,
            "the first line is a judgment, and readers skip the first line",
            "begin the file with query-id, corpus-id and score, parted by tabs",
        ),
        Fault("counts-differ", ERROR, "counts.json says another number of rows than there are", "export it again"),
        Fault(
            "offsets-differ",
            ERROR,
            "offsets.json.gz says other places than the lines have, and the trainer cuts its rows there",
            "export it again",
        ),
        Fault("folder-moved", ERROR, "counts.json names another folder; shards are not found there", "export it anew"),
        Fault(
            "sidecar-differs",
            WARNING,
            "the sidecar beside the file has other rows; its ids are not used there",
            "remove the sidecar, or export both again",
        ),
        # Files and bytes.
        Fault(
            "wrong-file-kind",
            WARNING,
            "is a kind of file that this trainer does not open, or reads in another way",
            _EXPORT,
        ),
        Fault("byte-order-mark", WARNING, "begins with a byte order mark", "save the file as UTF-8 without one"),
        Fault("line-ends", WARNING, "ends in a carriage return, which some readers keep", "for example: dos2unix FILE"),
    )
}

ONLY_FOR_TRAINERS = frozenset(
    {
        *("extra-column", "column-order", "several-labels", "empty-positives", "empty-negatives", "n-varies"),
        *("missing-file", "folder-moved", "counts-differ", "offsets-differ", "numbers-apart", "qrels-header"),
    }
)
"""Errors in training that take nothing from the pairs."""

_JSON = ("invalid-json", "nan-in-json", "not-an-object", "not-utf8", "byte-order-mark", "line-ends")
_DELIMITED = ("uneven-fields", "not-utf8", "byte-order-mark", "line-ends")


def of_bytes(names: Iterable[str]) -> tuple[str, ...]:
    """The faults that files of these `names` may have before a row is looked at, by their endings."""
    kinds = {known[0] for name in names if (known := format_of(name))}
    return (*(_JSON if "jsonl" in kinds else ()), *(_DELIMITED if kinds & {"csv", "tsv"} else ()))
