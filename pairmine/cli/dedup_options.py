"""The options of `dedup`: what is compared, what stays, what is done with the rest, and which test sets."""

from __future__ import annotations

from typing import Annotated

import typer

from pairmine.cli.run import choice, given, without_effect

_COPIES = "What a copy is"
_STAYS = "What stays, and what is written of the rest"
_PAIRS = "Pair sets"
_AGAINST = "Test sets"
_LARGE = "Large corpora"

NEAR = ("threshold", "ngram", "shingles", "permutations", "sentence_words", "short_text_words", "group")
_GROUPS = ("keep", "group", "groups_file", "group_ids", "spread_labels", "merge")
_OF_TEST_SETS = ("against_side", "against_split", "against_column", "containment", "whole_below", "against_only")

Input = Annotated[
    str,
    typer.Argument(
        metavar="INPUT", help="A corpus or a pair set: a file, a folder of shards, or -.", show_default=False
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="File to write, by ending; - is standard output. Not with --dry-run.",
        rich_help_panel="Output",
    ),
]
By = Annotated[
    str,
    typer.Option(
        "--by",
        help="What must not repeat, and is held against test sets: document, or in a pair set also query or pair.",
        rich_help_panel=_COPIES,
    ),
]
ExactOnly = Annotated[
    bool, typer.Option("--exact-only", help="Remove exact copies alone; no MinHash.", rich_help_panel=_COPIES)
]
Exact = Annotated[
    str,
    typer.Option(
        "--exact",
        metavar="normalised|bytes|words",
        help="What an exact copy is: the same text but for NFKC, case and blanks; the same bytes; or the same words, "
        "whatever the punctuation.",
        rich_help_panel=_COPIES,
    ),
]
Threshold = Annotated[
    float,
    typer.Option(
        "--threshold",
        min=0.0,
        max=1.0,
        help="Jaccard similarity from which texts are near copies.",
        rich_help_panel=_COPIES,
    ),
]
Ngram = Annotated[
    int, typer.Option("--ngram", min=1, max=1000, help="Words (or characters) to a shingle.", rich_help_panel=_COPIES)
]
Shingles = Annotated[
    str,
    typer.Option(
        "--shingles",
        metavar="words|characters",
        help="What texts are compared by; with characters pass a longer --ngram, as 12.",
        rich_help_panel=_COPIES,
    ),
]
Permutations = Annotated[
    int,
    typer.Option("--permutations", min=16, max=65536, help="Length of a MinHash signature.", rich_help_panel=_COPIES),
]
SentenceWords = Annotated[
    int,
    typer.Option(
        "--sentence-words",
        min=0,
        help="Two texts of fewer words are near copies only where just order and punctuation differ (our default).",
        rich_help_panel=_COPIES,
    ),
]
ShortTextWords = Annotated[
    int,
    typer.Option(
        "--short-text-words",
        min=0,
        help="Two texts of fewer words are near copies only where words were added or left out, none replaced "
        "(our default).",
        rich_help_panel=_COPIES,
    ),
]
Keep = Annotated[
    str,
    typer.Option(
        "--keep",
        metavar="first|longest|best:COLUMN",
        help="Which of a group stays; best is the highest number or the latest date in a column, a text's best row "
        "counting in a pair set.",
        rich_help_panel=_STAYS,
    ),
]
Group = Annotated[
    str,
    typer.Option(
        "--group",
        metavar="chain|star",
        help="chain: copies of copies are one group; star: each must be a copy of the one that stays.",
        rich_help_panel=_STAYS,
    ),
]
Action = Annotated[
    str,
    typer.Option(
        "--action",
        metavar="drop|mark",
        help="mark: all rows stay, and those that would leave say so in the columns reason, duplicate_of, similarity "
        "and similar_to.",
        rich_help_panel=_STAYS,
    ),
]
Groups = Annotated[
    str | None,
    typer.Option(
        "--groups",
        metavar="FILE",
        help="Write every group of two or more there, member by member.",
        rich_help_panel=_STAYS,
    ),
]
IdsOnly = Annotated[
    bool,
    typer.Option(
        "--ids-only", help="Write the ids of what stays, without texts and other columns.", rich_help_panel=_STAYS
    ),
]
GroupIds = Annotated[
    bool,
    typer.Option(
        "--group-ids",
        help="Add query_group and document_group: the id of the copy that stays, for every row, whatever --by says.",
        rich_help_panel=_STAYS,
    ),
]
SpreadLabels = Annotated[
    bool,
    typer.Option(
        "--spread-labels",
        help="First make a positive of every row whose document copies a positive of its query.",
        rich_help_panel=_PAIRS,
    ),
]
Merge = Annotated[
    bool,
    typer.Option(
        "--merge",
        help="Rows of a copy move to the document (or with --by query to the query) that stays, in place of leaving.",
        rich_help_panel=_PAIRS,
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        metavar="EVAL",
        help="Remove what is in this test set, whole, nearly, or as a part of a longer text: a BEIR folder, a pair "
        "set, a corpus, a query file, or text with one item to a line. Repeat it for further sets.",
        show_default=False,
        rich_help_panel=_AGAINST,
    ),
]
AgainstSide = Annotated[
    str,
    typer.Option(
        "--against-side",
        metavar="queries|documents|both",
        help="What to look for of BEIR folders and pair sets: queries, relevant documents, or both.",
        rich_help_panel=_AGAINST,
    ),
]
AgainstSplit = Annotated[
    str | None,
    typer.Option(
        "--against-split",
        help="By which judgments of a BEIR folder; test where there are several.",
        show_default=False,
        rich_help_panel=_AGAINST,
    ),
]
AgainstColumn = Annotated[
    str | None,
    typer.Option(
        "--against-column",
        help="Column with the texts of a test set that is neither BEIR folder nor pair set.",
        show_default=False,
        rich_help_panel=_AGAINST,
    ),
]
Containment = Annotated[
    float,
    typer.Option(
        "--containment",
        min=0.0,
        max=1.0,
        help="Share of a test text's word n-grams that a longer text must hold (ours, measured: docs/dedup.md).",
        rich_help_panel=_AGAINST,
    ),
]
WholeBelow = Annotated[
    int,
    typer.Option(
        "--whole-below",
        min=1,
        metavar="WORDS",
        help="A test text of fewer words is not looked for inside of longer ones (ours).",
        rich_help_panel=_AGAINST,
    ),
]
AgainstOnly = Annotated[
    bool,
    typer.Option("--against-only", help="Remove what is in the test sets and nothing else.", rich_help_panel=_AGAINST),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Memory that a corpus may take, as 2GB; a larger one is read three times, with its sketches on disk. Half "
        "of what is free by default.",
        show_default=False,
        rich_help_panel=_LARGE,
    ),
]
Scratch = Annotated[
    str | None,
    typer.Option(
        "--scratch",
        metavar="FOLDER",
        help="Where a corpus that does not fit into --memory has its sketches; beside OUT by default.",
        show_default=False,
        rich_help_panel=_LARGE,
    ),
]
Index = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="FOLDER",
        help="The documents that earlier runs kept: their copies leave, and what stays is added to them.",
        show_default=False,
        rich_help_panel=_LARGE,
    ),
]
Append = Annotated[
    bool,
    typer.Option("--append/--no-append", help="With --index: add what stays, or only look.", rich_help_panel=_LARGE),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only count, and show the largest groups; write nothing.", rich_help_panel="Output"),
]


def check(context: typer.Context) -> None:
    """Raise a PairmineError for a value that is none, and for an option without effect."""
    from pairmine.errors import PairmineError

    values = context.params
    choice("--by", values["by"], ("document", "query", "pair"))
    choice("--exact", values["exact"], ("normalised", "bytes", "words"))
    choice("--shingles", values["shingles"], ("words", "characters"))
    choice("--group", values["group"], ("chain", "star"))
    choice("--action", values["action"], ("drop", "mark"))
    choice("--against-side", values["against_side"], ("queries", "documents", "both"))
    if values["keep"] not in ("first", "longest") and not values["keep"].removeprefix("best:"):
        raise PairmineError(f"--keep {values['keep']}: choose first, longest, best:COLUMN")
    if not values["against"]:
        without_effect(context, "without --against", *_OF_TEST_SETS)
    if values["exact_only"]:
        without_effect(context, "with --exact-only", *NEAR, "containment", "whole_below")
    if values["against_only"]:
        without_effect(context, "with --against-only", *_GROUPS, "permutations", "sentence_words", "short_text_words")
    if values["action"] == "mark":
        without_effect(context, "with --action mark", "merge")
    if values["ids_only"]:
        for name in ("group_ids", "spread_labels", "merge"):
            without_effect(context, "with --ids-only", name)
        if values["action"] == "mark":
            raise PairmineError("--action mark writes columns beside all rows; leave out --ids-only")
    if values["dry_run"]:
        without_effect(context, "with --dry-run", "output", "kind", "rejects", "groups_file")
    elif not given(context, "output"):
        raise PairmineError("missing option '--output' / '-o'; only --dry-run goes without it")
