"""Pseudo-queries out of a document's own words: of two word sets, the one that stands for it better is preferred."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pairmine.backends.masked import MaskedLM
from pairmine.recipes import Option, Recipe, Resource
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import DOCUMENT, Derivation, DrawsOf, FoundInTable, FromTable, Pair
from pairmine.stages.derive.wording import core, is_mark, wording
from pairmine.text import word_pieces

_OFTEN = 1e-4
"""How often a word may be among all words before it is drawn less (word2vec's subsampling, as PROP has it)."""

_SATURATION = 0.01
_MOST_CONTRAST = 100.0
_ATTEMPTS = 8
"""How often two sets that are equally likely are drawn again."""


class _Model(NamedTuple):
    """The words that a document's sets are drawn from: their cumulated chances, and what each adds to a set's score."""

    words: Sequence[str]
    summed: Sequence[float]
    scores: Sequence[float]


def representative_words(
    *,
    draws: int,
    mean_length: float,
    vocabulary: int,
    min_count: int,
    short: int,
    skip_short: float,
    anchor: str,
    stopwords: Sequence[str] | None,
    mlm: MaskedLM | None,
) -> FromTable:
    """Pairs of word sets of equal length for each document, the likelier one labelled 1 and the other 0."""
    left_out = {word.strip().casefold() for word in stopwords or ()}

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        ids, texts = rows["id"].to_pylist(), rows["text"].to_pylist()
        full = [at for at, text in enumerate(texts) if text and not text.isspace()]
        reasons = {at: "no text" for at, text in enumerate(texts) if not text or text.isspace()}
        counts = [_counts(texts[at], left_out) for at in full]
        models = (
            _Unigrams(counts, vocabulary, min_count)
            if mlm is None
            else _Attention(counts, mlm.attention([texts[at] for at in full]), mlm, [texts[at] for at in full])
        )
        pairs: list[tuple[int, Pair]] = []
        for number, at in enumerate(full):
            drawn = draws_of(ids[at])
            skipped = drawn.unit() < skip_short
            if skipped and counts[number].total() < short:
                reasons[at] = "short document"
                continue
            model = models.of(number, drawn)
            found = _preferences(ids[at], texts[at], model, drawn) if len(model.words) > 1 else []
            if found:
                pairs += [(at, pair) for pair in found]
            else:
                reasons[at] = "too few words" if len(model.words) < 2 else "all words equally likely"
        return FoundInTable(pairs, reasons)

    def _preferences(name: str, text: str, model: _Model, drawn: Draws) -> list[Pair]:
        pairs = []
        for number in range(draws):
            length = 0
            while not length:
                length = drawn.poisson(mean_length)
            length = min(length, len(model.words) - 1)
            for _ in range(_ATTEMPTS):
                sets = [_word_set(model, length, drawn) for _ in range(2)]
                scores = [math.fsum(model.scores[at] for at in chosen) for chosen in sets]
                if scores[0] != scores[1]:
                    break
            else:
                continue
            better = 0 if scores[0] > scores[1] else 1
            for label, side in ((POSITIVE, better), (NEGATIVE, 1 - better)):
                words = " ".join(model.words[at] for at in sets[side])
                role, extra = ("better" if label else "worse"), (scores[side],)
                if anchor == "document":
                    ids = f"{name}#q{number}", text, f"{name}#w{2 * number + 1 - label}", words
                else:
                    ids = f"{name}#w{2 * number + 1 - label}", words, name, text
                pairs.append(Pair(*ids, label, extra, role))
        return pairs

    return of_table


def _counts(text: str, left_out: set[str]) -> Counter[str]:
    words = (core(word)[1].casefold() for word in wording(text).words)
    return Counter(word for word in words if word and word not in left_out)


def _word_set(model: _Model, length: int, drawn: Draws) -> list[int]:
    """`length` different words by their chances, as numbers; fewer where the others have next to no chance."""
    chosen: dict[int, None] = {}
    total = model.summed[-1]
    for _ in range(length * _ATTEMPTS):
        chosen[min(bisect_right(model.summed, drawn.unit() * total), len(model.words) - 1)] = None
        if len(chosen) == length:
            return list(chosen)
    rest = (at for at in range(len(model.words)) if at not in chosen)
    return [*chosen, *(at for at, _ in zip(rest, range(length - len(chosen)), strict=False))]


class _Unigrams:
    """PROP: each document's unigram model with Dirichlet smoothing, mu the mean length of documents.

    The background is in how many documents a word stands, as a part of the sum over all words. Words
    that a document lacks are drawn from it, until there are `vocabulary` words.
    """

    def __init__(self, counts: Sequence[Counter[str]], vocabulary: int, min_count: int) -> None:
        self._counts = counts
        self._vocabulary = vocabulary
        total: Counter[str] = Counter()
        documents: Counter[str] = Counter()
        for each in counts:
            total.update(each)
            documents.update(each.keys())
        self._words = sorted(word for word, count in total.items() if count >= min_count)
        self._numbers = {word: number for number, word in enumerate(self._words)}
        every = total.total()
        self._mu = every / max(1, len(counts))
        of_documents = np.array([documents[word] for word in self._words], np.float64)
        self._background = of_documents / max(1.0, of_documents.sum())
        self._summed = np.cumsum(self._background)
        self._kept = np.array([_kept(total[word] / every) for word in self._words], np.float64)

    def of(self, number: int, drawn: Draws) -> _Model:
        """The model of one document."""
        counts = self._counts[number]
        own = [self._numbers[word] for word in counts if word in self._numbers]
        chosen = np.array(own, np.int64)
        here = np.array([counts[self._words[at]] for at in own], np.float64)
        if (missing := self._vocabulary - len(own)) > 0 and self._words:
            spots = np.searchsorted(self._summed, drawn.units(missing) * self._summed[-1], side="right")
            others = np.setdiff1d(np.minimum(spots, len(self._words) - 1), chosen)
            chosen = np.concatenate([chosen, others])
            here = np.concatenate([here, np.zeros(len(others))])
        chances = (here + self._mu * self._background[chosen]) / (counts.total() + self._mu)
        summed = np.cumsum(chances * self._kept[chosen])
        return _Model([self._words[at] for at in chosen.tolist()], summed.tolist(), np.log(chances).tolist())


def _kept(frequency: float) -> float:
    return min(1.0, math.sqrt(_OFTEN / frequency) + _OFTEN / frequency)


class _Attention:
    """B-PROP: the attention that a masked language model's first position pays to each word of a document.

    Summed over the places of a word, saturated as v / (v + 0.01), made a distribution, and held
    against the mean over all documents: p * -log2(mean), at most 100. Sets are drawn by the softmax.
    """

    def __init__(
        self, counts: Sequence[Counter[str]], attention: Sequence[np.ndarray], mlm: MaskedLM, texts: Sequence[str]
    ) -> None:
        self._saturated = [
            _saturated(text, spans, weights, words)
            for text, spans, weights, words in zip(texts, mlm.spans(texts), attention, counts, strict=True)
        ]
        mean: dict[str, float] = {}
        for each in self._saturated:
            for word, weight in each.items():
                mean[word] = mean.get(word, 0.0) + weight
        total = math.fsum(mean.values()) or 1.0
        self._mean = {word: weight / total for word, weight in mean.items()}

    def of(self, number: int, drawn: Draws) -> _Model:
        """The model of one document."""
        weights = self._saturated[number]
        total = math.fsum(weights.values()) or 1.0
        words = list(weights)
        contrast = [min(weights[word] / total * -math.log2(self._mean[word]), _MOST_CONTRAST) for word in words]
        return _Model(words, list(accumulate(map(math.exp, contrast))), contrast)


def _saturated(
    text: str, spans: Sequence[tuple[int, int]], weights: np.ndarray, counted: Mapping[str, int]
) -> dict[str, float]:
    """The attention to each word of letters: the sum over its tokens and places, saturated."""
    summed: dict[str, float] = {}
    words = _word_spans(text)
    at = 0
    for (start, _), weight in zip(spans, weights.tolist(), strict=True):
        while at < len(words) and words[at][1] <= start:
            at += 1
        if at < len(words) and words[at][0] <= start:
            word = text[slice(*words[at])].casefold()
            if word in counted and all(letter.isalpha() or is_mark(letter) for letter in word):
                summed[word] = summed.get(word, 0.0) + weight
    return {word: weight / (weight + _SATURATION) for word, weight in summed.items() if weight > 0}


def _word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of `text` start and end, without the punctuation on them."""
    pieces, glue = word_pieces(text)
    found, at = [], len(text) - len(text.lstrip())
    for piece in pieces:
        before, inside, _ = core(piece.rstrip())
        if inside:
            start = at + len(before)
            found.append((start, start + len(inside)))
        at += len(piece) + len(glue)
    return found


DERIVATIONS = (
    Derivation(
        Recipe(
            name="representative-words",
            group="views",
            summary="Two sets of words for a document, the one that represents it better preferred to the other.",
            paper="PROP, arXiv 2010.10137; with --mlm B-PROP, arXiv 2104.09791",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option("draws", int, 10, "pairs of word sets from each document (PROP)", low=1),
                Option(
                    "mean-length",
                    float,
                    3.0,
                    "mean number of words in a set, Poisson distributed (PROP)",
                    low=0.1,
                    high=50,
                ),
                Option(
                    "vocabulary",
                    int,
                    500,
                    "words that sets are drawn from: the document's, filled up with others (PROP)",
                    low=0,
                ),
                Option("min-count", int, 1, "how often a word must stand in the corpus (our default; PROP: 10)", low=1),
                Option("short", int, 100, "words below which a document is short (PROP)", low=0),
                Option("skip-short", float, 0.8, "chance of a short document to be left out (PROP)", low=0, high=1),
                Option(
                    "anchor",
                    str,
                    "document",
                    "document: it is the query of both sets, as for triplets; words: each set is a query for it (PROP)",
                    choices=("document", "words"),
                ),
            ),
            example=(
                """echo '{"id": "d1", "text": "The river rose by two metres and flooded the lower town."}' """
                "| pairmine derive representative-words - --skip-short 0 -o -"
            ),
            whole=True,
            resources=(
                Resource(
                    "stopwords", "lines", "words that are never drawn, one to a line (PROP leaves stop words out)"
                ),
                Resource(
                    "mlm", "mlm", "a masked language model whose attention weighs the words, in place of their counts"
                ),
            ),
        ),
        from_table=representative_words,
        extra=(pa.field("likelihood", pa.float32()),),
    ),
)
