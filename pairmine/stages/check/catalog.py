"""The data tests: their names, how grave they are, what they count, and what mends what they find."""

from __future__ import annotations

from dataclasses import dataclass

from pairmine.stages.check.finding import ERROR, NOTE, WARNING

HUB_SHARE, HUB_TIMES, HUB_LEAST = 0.01, 10.0, 10
"""A hub is a negative of more than 1 % of the queries that have any, of ten times as many as the mean document, and of
ten at least (ours). In a small corpus every document comes often, which the second bound allows for."""

CROWD_BATCH, CROWD_LEAST = 64, 10
"""A positive is crowded where a random batch of 64 holds one of its queries at least on the mean (ours)."""

OUTLIER_Z = 12.0
"""Robust z-scores above it are outliers (ours): the usual 3.5 finds some in every set, whose scores have long tails."""

SURE_SHARE = 0.9
"""From here on one language is that of the set, or the length of a document tells its label (ours)."""

REVERSED_SHARE = 0.5
"""A column is suspect where more queries than so score every positive below a negative (ours)."""

COPIED_WORDS = 5
"""A query of so many words that stands in its document word for word was copied from there (ours)."""

LONG_CHARACTERS = 32_768
"""Without a tokenizer: 8,192 tokens of four letters, more than common embedding models read (ours)."""

NEAR_COPY = 0.8
"""The Jaccard similarity from which texts are near copies, as in `dedup`."""


@dataclass(frozen=True)
class DataTest:
    """One test. `what` completes "N of M rows: ..."; `remedy` is the line that mends it.

    `usual` is the share up to which nothing is said, since the test itself errs that often. `needs` says what must be
    there for it to run, "" where any pair set will do.
    """

    name: str
    severity: str
    unit: str
    what: str
    remedy: str
    needs: str = ""
    fixable: bool = False
    usual: float = 0.0


_TEXTS = "texts in the pair set"
_LABELS = "rows of label 1 and of label 0"
_FIX = "pairmine check PAIRS --fix -o OUT drops them"

TESTS: tuple[DataTest, ...] = (
    DataTest("no-rows", ERROR, "file", "there are no rows", "look at the command that wrote the file"),
    DataTest(
        "bad-labels",
        ERROR,
        "rows",
        "the label is none of 1, 0 and null",
        f'write graded judgments into "grade" (0 to 1); {_FIX}',
        needs="a column label",
        fixable=True,
    ),
    DataTest(
        "empty-texts",
        ERROR,
        "rows",
        "the query or the document is empty",
        _FIX,
        needs=_TEXTS,
        fixable=True,
    ),
    DataTest(
        "positive-among-negatives",
        ERROR,
        "negatives",
        "a negative is a positive of its query, by id, by text or as the document that the positive was cut from",
        f"{_FIX}; pairmine filter never lets one through",
        needs=_LABELS,
        fixable=True,
    ),
    DataTest(
        "near-positive-among-negatives",
        WARNING,
        "negatives",
        "a negative is a near copy of a positive of its query",
        "pairmine mine --near masks them; where an LLM edited a positive on purpose, leave them in",
        needs=_TEXTS + " and " + _LABELS,
    ),
    DataTest(
        "negative-copies-query",
        ERROR,
        "negatives",
        "a negative has the text of its query",
        _FIX,
        needs=_TEXTS + " and " + _LABELS,
        fixable=True,
    ),
    DataTest(
        "label-conflicts",
        ERROR,
        "negatives",
        "the same query and document texts have label 1 under another query id",
        f"label 1 wins: {_FIX}",
        needs=_TEXTS + " and " + _LABELS,
        fixable=True,
    ),
    DataTest(
        "duplicate-positives",
        WARNING,
        "positives",
        "a positive repeats an earlier one of its query, by text, or by id where there are no texts",
        _FIX,
        needs="rows of label 1",
        fixable=True,
    ),
    DataTest(
        "duplicate-negatives",
        WARNING,
        "negatives",
        "a negative repeats an earlier one of its query, by text, or by id where there are no texts",
        _FIX,
        needs="rows of label 0",
        fixable=True,
    ),
    DataTest(
        "one-id-two-texts",
        ERROR,
        "ids",
        "an id stands for two texts",
        "give each text an id of its own, or leave the id column out to have ids made from the texts",
        needs=_TEXTS,
    ),
    DataTest(
        "rows-apart",
        ERROR,
        "queries",
        "rows of a query stand apart, with other queries between them",
        "pairmine convert PAIRS --as pairs -o OUT brings them together",
    ),
    DataTest(
        "unresolved-ids",
        ERROR,
        "rows",
        "the doc_id or query_id is not in the file that is to hold its text",
        "name the corpus that the pairs were made from, or drop the rows",
        needs="--corpus or --queries",
    ),
    DataTest(
        "stale-texts",
        WARNING,
        "rows",
        "the text differs from the one that the id has in the corpus or query file",
        "an export by id would train on the other text; make the pairs anew, or keep the old corpus",
        needs="--corpus or --queries",
    ),
    DataTest(
        "leakage",
        ERROR,
        "queries",
        "the query is in an evaluation set, exactly, nearly or as a part",
        "pairmine dedup PAIRS --by query --against EVAL -o OUT removes them",
        needs="--against",
    ),
    DataTest(
        "leaked-documents",
        WARNING,
        "positives",
        "the positive is in an evaluation set, exactly, nearly or as a part",
        "pairmine dedup PAIRS --against EVAL -o OUT removes them; one corpus for training and test has some",
        needs="--against",
    ),
    DataTest(
        "straddling",
        ERROR,
        "rows",
        "the query or the positive is in another split too, exactly or nearly",
        "pairmine mix PAIRS --split train=.9,dev=.1 -o DIR parts a set so that none is",
        needs="--splits or a column split",
    ),
    DataTest(
        "query-copies-document",
        WARNING,
        "positives",
        "the query stands in its positive word for word, or nearly is it",
        "pairmine filter --max-edit-ratio 0.8 drops near copies; such pairs teach to match words, and no more",
        needs=_TEXTS + " and rows of label 1",
    ),
    DataTest(
        "no-positive",
        WARNING,
        "queries",
        "the query has negatives and no positive",
        "pairmine filter rejects such queries, and most exports leave them out",
        needs="rows of label 1",
    ),
    DataTest(
        "no-negative",
        WARNING,
        "queries",
        "the query has no negative while others do",
        "pairmine mine finds some; FlagEmbedding stops at a query without any",
        needs="rows of label 0",
    ),
    DataTest(
        "uneven-negatives",
        NOTE,
        "queries",
        "the query has some negatives, and fewer than most queries",
        "pairmine filter --negatives N --shortage fill evens them out; n-tuples need as many in every row",
        needs="rows of label 0",
    ),
    DataTest(
        "undecided",
        NOTE,
        "rows",
        "the row has neither a label nor a grade",
        "pairmine filter decides on candidates",
    ),
    DataTest(
        "duplicate-queries",
        WARNING,
        "queries",
        "the text of the query stands under an earlier query id too",
        "pairmine dedup PAIRS --by query --exact-only --merge -o OUT: in a batch each is a negative of the other",
        needs=_TEXTS,
    ),
    DataTest(
        "hubs",
        WARNING,
        "negatives",
        "the document is a negative of very many queries",
        "pairmine mine --depth with another retriever, or pairmine filter --pick random, spreads them",
        needs="rows of label 0",
    ),
    DataTest(
        "crowded-positives",
        WARNING,
        "positives",
        "the document is the positive of so many queries that a batch of 64 holds two of them",
        "pairmine mix --batches plans batches in which no positive is a negative of another row",
        needs="rows of label 1",
    ),
    DataTest(
        "batch-conflicts",
        ERROR,
        "rows",
        "the document answers another query of its batch",
        "pairmine mix PAIRS --batches mixed --batch-size N -o OUT plans them anew",
        needs="a column batch",
    ),
    DataTest(
        "bad-scores",
        ERROR,
        "rows",
        "a score is infinite, not a number, or outside of the scale that its column declares",
        "pairmine score PAIRS -o OUT writes the column anew",
        needs="score columns",
    ),
    DataTest(
        "constant-scores",
        WARNING,
        "scores",
        "every row of a score column has one value",
        "score with another model: this column tells nothing apart",
        needs="score columns",
    ),
    DataTest(
        "score-outliers",
        NOTE,
        "scores",
        "a score lies far from those of its column and label",
        "look at these rows; pairmine filter --min-score and --max-score drop them",
        needs="score columns without bounds",
    ),
    DataTest(
        "positives-below-negatives",
        WARNING,
        "scored queries",
        "a score column puts every positive below a negative in most queries",
        "the column is a distance, or of another model's pairs; score again",
        needs="score columns and both labels",
    ),
    DataTest(
        "suspected-false-negatives",
        NOTE,
        "judged negatives",
        "a judge (cross-encoder or LLM) scores the negative at least as high as a positive of its query",
        "pairmine filter --relative-margin 0.05 drops them",
        needs="a score_ce, score_llm or probability column and both labels",
    ),
    DataTest(
        "length-tells-label",
        WARNING,
        "pairs",
        "positives and negatives differ so much in length that length alone tells them apart",
        "look for a template or a cut text on one side",
        needs=_TEXTS + " and " + _LABELS,
    ),
    DataTest(
        "bad-grades",
        ERROR,
        "rows",
        "the grade is not in [0, 1]",
        "divide by the highest grade",
        needs="a column grade",
    ),
    DataTest(
        "bad-weights",
        ERROR,
        "rows",
        "the weight is negative, infinite or not a number",
        "pairmine filter --weight writes the column anew",
        needs="a column weight",
    ),
    DataTest(
        "over-long",
        WARNING,
        "rows",
        "a text is longer than the model reads, so its end is cut off; a note without --tokenizer",
        "cut documents into passages first, or train with a longer limit",
        needs=_TEXTS,
    ),
    DataTest(
        "one-letter-texts",
        WARNING,
        "rows",
        "the query or document is a single letter, as when a list was read from a string",
        "look where the texts were written: [text] and not text belongs into a list column",
        needs=_TEXTS,
    ),
    DataTest(
        "broken-text",
        WARNING,
        "rows",
        "a text has signs of a wrong encoding: U+FFFD, UTF-8 read as Latin-1, control characters",
        "read the source again as UTF-8 (the Python package ftfy mends what was read wrongly)",
        needs=_TEXTS,
    ),
    DataTest(
        "markup-in-texts",
        NOTE,
        "rows",
        "a text has HTML tags or entities",
        "strip them before training, unless the model is to read HTML",
        needs=_TEXTS,
        usual=0.01,
    ),
    DataTest(
        "prompts-in-texts",
        NOTE,
        "rows",
        "a text begins with a model's prompt, which training adds once more",
        "cut the prompt off and pass it to pairmine export --prompt",
        needs=_TEXTS,
    ),
    DataTest(
        "language-mixture",
        WARNING,
        "sampled positives",
        "the query is surely in another language than its positive",
        "drop these pairs, or skip this test for a cross-lingual set",
        needs=_TEXTS + " and rows of label 1",
        usual=0.01,
    ),
    DataTest(
        "stray-language",
        NOTE,
        "sampled positives",
        "the document is surely in another language than nine in ten of the others",
        "drop these documents, or give their language enough pairs to be learnt",
        needs=_TEXTS + " and rows of label 1",
        usual=0.005,
    ),
    DataTest(
        "made-by-fake",
        WARNING,
        "rows",
        "the text or the score was made by the stand-in fake:",
        "run the command again with a real model",
    ),
)

BY_NAME = {test.name: test for test in TESTS}
