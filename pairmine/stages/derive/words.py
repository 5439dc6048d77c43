"""Views of a text by its words: doubled, left out, moved, masked or replaced by synonyms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from pairmine.errors import PairmineError
from pairmine.recipes import Option, Recipe, Resource
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import DOCUMENT, Derivation, Document, Found, FromDocument, views_of
from pairmine.stages.derive.wording import Wording, core, distinct, number_of, others_for, span_starts, wording
from pairmine.text import is_wordless

Lexicon = Mapping[str, tuple[str, ...]]
Edit = Callable[[Wording, Draws], Wording | None]
"""One change of a wording; None where there is nothing in it to change so."""

Change = Callable[["Changing", Draws], None]
"""One change made in a wording itself, none where there is nothing to change so: a long text has thousands."""

_Named = TypeVar("_Named")

_TRIES = 16

TOO_SHORT = Found((), "too short")
NO_VIEW = Found((), "no different view")
NO_WORDS = Found((), "no words")


def identity(*, views: int) -> FromDocument:
    """A text as the query of itself; the trainer's dropout makes the difference."""

    def of_document(document: Document, draws: Draws) -> Found:
        return Found(views_of(document.id, 0, [document.text] * views))

    return of_document


def repeat(*, views: int, rate: float, least: int, most: int, tokenizer: Any) -> FromDocument:
    """Some words twice in a row, in one side alone."""
    if least > most:
        raise PairmineError(f"--least {least} is above --most {most}; lower it")

    def how_many(count: int, draws: Draws) -> int:
        limit = max(least, min(most, int(rate * count)))
        return least + draws.below(limit - least + 1)

    def of_words(text: Wording, draws: Draws) -> Wording:
        return text.with_repeats(draws.sample(len(text), how_many(len(text), draws)))

    if tokenizer is None:
        return _edited(of_words, views=views, both=False, min_words=1)

    def of_document(document: Document, draws: Draws) -> Found:
        text = document.text
        spans = _token_spans(tokenizer, text)
        if not spans:
            return NO_WORDS

        def make() -> str:
            return _with_stretches_repeated(text, [spans[at] for at in draws.sample(len(spans), count())])

        def count() -> int:
            return how_many(len(spans), draws)

        found = distinct(make, views - 1, [text] if least else [])
        return Found(views_of(document.id, 0, [text, *found])) if found else NO_VIEW

    return of_document


def _token_spans(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """Where the tokens of `text` stand, without blanks; the bytes of one character count once."""
    spans: dict[tuple[int, int], None] = {}
    for start, end in tokenizer.encode(text, add_special_tokens=False).offsets:
        piece = text[start:end]
        if piece.strip():
            spans[start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())] = None
    return list(spans)


def _with_stretches_repeated(text: str, spans: list[tuple[int, int]]) -> str:
    """`text` with each of the ordered `spans` twice, apart where the stretch is a word of its own."""
    parts, done = [], 0
    for start, end in spans:
        alone = (not start or text[start - 1].isspace()) and (end == len(text) or text[end].isspace())
        parts += [text[done:end], " " if alone else "", text[start:end]]
        done = end
    return "".join([*parts, text[done:]])


def shuffle(*, views: int, both: bool) -> FromDocument:
    """The words of a text in a random order."""

    def edit(text: Wording, draws: Draws) -> Wording:
        return text.in_order(draws.shuffled(len(text)))

    return _edited(edit, views=views, both=both, min_words=2)


def cutoff(*, views: int, rate: float, both: bool) -> FromDocument:
    """A text without some of its words."""
    return _edited(_deletion(rate), views=views, both=both, min_words=2)


def clear(
    *,
    views: int,
    ops: str,
    per_view: int,
    rate: float,
    spans: int,
    span_rate: float,
    both: bool,
    synonyms: Lexicon | None,
) -> FromDocument:
    """Views by deletion of words or spans, by swapped spans and by synonyms."""
    edits: dict[str, Edit] = {
        "word-deletion": _deletion(rate),
        "span-deletion": _span_deletion(spans, span_rate),
        "reorder": _span_swaps(spans, span_rate),
        "substitution": _substitution(rate, synonyms or {}),
    }
    chosen = _chosen("clear", ops, edits, ("substitution",), synonyms)
    if per_view > len(chosen):
        raise PairmineError(f"--per-view {per_view} is more than the {len(chosen)} in --ops; lower it")

    def edit(text: Wording, draws: Draws) -> Wording | None:
        order = draws.shuffled(len(chosen))
        changed, made = text, 0
        for at in order:
            found = chosen[at](changed, draws)
            if found is not None and len(found):
                changed, made = found, made + 1
            if made == per_view:
                break
        return changed if made else None

    return _edited(edit, views=views, both=both, min_words=2)


def words(*, views: int, ops: str, rate: float, both: bool, synonyms: Lexicon | None) -> FromDocument:
    """Many small changes, each to one word: a synonym, an inserted one, a swap, a deletion."""
    lexicon = synonyms or {}
    edits: dict[str, Change] = {
        "deletion": _delete_one,
        "swap": _swap_two,
        "synonym": lambda text, draws: _one_synonym(text, draws, insert=False),
        "insertion": lambda text, draws: _one_synonym(text, draws, insert=True),
    }
    chosen = _chosen("words", ops, edits, ("synonym", "insertion"), synonyms)

    def edit(text: Wording, draws: Draws) -> Wording:
        changed = Changing(text, lexicon)
        for _ in range(number_of(len(text), rate)):
            chosen[draws.below(len(chosen))](changed, draws)
        return changed.wording

    return _edited(edit, views=views, both=both, min_words=2)


def mask_two(*, views: int, rate: float, mask_token: str) -> FromDocument:
    """Versions of a text with different words masked; the first is the query of the others."""
    if not mask_token.strip():
        raise PairmineError("--mask-token is blank; give the token that your model masks with, such as [MASK]")

    def of_document(document: Document, draws: Draws) -> Found:
        text = wording(document.text)
        masked = {at: _masked(word, mask_token) for at, word in enumerate(text.words) if not is_wordless(word)}
        places = list(masked)
        if len(places) < 2:
            return TOO_SHORT

        def make() -> str:
            picked = draws.sample(len(places), number_of(len(places), rate))
            return text.replaced({places[at]: masked[places[at]] for at in picked}).text()

        found = distinct(make, views, [])
        return Found(views_of(document.id, 0, found)) if len(found) > 1 else NO_VIEW

    return of_document


def _masked(word: str, mask_token: str) -> str:
    before, _, after = core(word)
    return before + mask_token + after


def _edited(edit: Edit, *, views: int, both: bool, min_words: int) -> FromDocument:
    """A recipe whose query is the text, or with `both` a view too, and whose documents are views by `edit`."""

    def of_document(document: Document, draws: Draws) -> Found:
        text = wording(document.text)
        if len(text) < min_words:
            return TOO_SHORT

        def make() -> str:
            changed = edit(text, draws)
            made = changed.text() if changed is not None else ""
            return "" if is_wordless(made) else made

        if is_wordless(document.text):
            return NO_WORDS
        found = distinct(make, views if both else views - 1, [document.text])
        if not both:
            found.insert(0, document.text)
        return Found(views_of(document.id, 0, found)) if len(found) > 1 else NO_VIEW

    return of_document


def _chosen(
    recipe: str, ops: str, edits: Mapping[str, _Named], with_synonyms: tuple[str, ...], synonyms: Lexicon | None
) -> list[_Named]:
    """The edits that a comma-separated list names; those that need synonyms must go with a list of them."""
    names = [name.strip() for name in ops.split(",") if name.strip()]
    if not names:
        raise PairmineError(f"--ops names none; choose of {', '.join(edits)}")
    if unknown := next((name for name in names if name not in edits), None):
        raise PairmineError(f"--ops has {unknown!r}; recipe {recipe} knows {', '.join(edits)}")
    needs = next((name for name in names if name in with_synonyms), None)
    if needs and synonyms is None:
        raise PairmineError(f"--ops {needs} needs --synonyms FILE, a table of a word and another for it, one to a row")
    if synonyms is not None and not needs:
        raise PairmineError(f"--synonyms has no use without {' or '.join(with_synonyms)} in --ops; add it there")
    return [edits[name] for name in dict.fromkeys(names)]


def _deletion(rate: float) -> Edit:
    return lambda text, draws: (
        text.without(draws.sample(len(text), number_of(len(text), rate))) if len(text) > 1 else None
    )


def _span_deletion(spans: int, share: float) -> Edit:
    def edit(text: Wording, draws: Draws) -> Wording | None:
        count = len(text)
        if count < 2:
            return None
        length = max(1, int(share * count + 0.5))
        number = max(1, min(int(spans * share * count / length), (count - 1) // length))
        starts = span_starts(count, number, min(length, count - 1), draws)
        return text.without([at for start in starts for at in range(start, start + length)])

    return edit


def _span_swaps(pairs: int, share: float) -> Edit:
    def edit(text: Wording, draws: Draws) -> Wording | None:
        count = len(text)
        if count < 2:
            return None
        length = max(1, min(int(share * count + 0.5), count // 2))
        number = max(1, min(int(pairs * share * count / length), count // (2 * length)))
        starts = span_starts(count, 2 * number, length, draws)
        mixed = [starts[at] for at in draws.shuffled(len(starts))]
        order = list(range(count))
        for one, other in zip(mixed[::2], mixed[1::2], strict=True):
            order[one : one + length], order[other : other + length] = (
                order[other : other + length],
                order[one : one + length],
            )
        return text.in_order(order)

    return edit


def _substitution(rate: float, lexicon: Lexicon) -> Edit:
    def edit(text: Wording, draws: Draws) -> Wording | None:
        choices = [(at, found) for at, word in enumerate(text.words) if (found := others_for(word, lexicon))]
        if not choices:
            return None
        picked = draws.sample(len(choices), max(1, int(rate * len(text) + 0.5)))
        return text.replaced({choices[at][0]: choices[at][1][draws.below(len(choices[at][1]))] for at in picked})

    return edit


class Changing:
    """A wording that is changed word by word, and finds words with synonyms in it however few there are."""

    def __init__(self, text: Wording, lexicon: Lexicon) -> None:
        self.wording = text.copy()
        self._lexicon = lexicon
        self._places: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.wording)

    def delete(self, at: int) -> None:
        """Take a word out."""
        self.wording.delete(at)
        if self._places is not None:
            first, end = np.searchsorted(self._places, (at, at + 1))
            self._places = np.concatenate([self._places[:first], self._places[end:] - 1])

    def insert(self, at: int, word: str) -> None:
        """Put a word in, before word number `at`."""
        self.wording.insert(at, word)
        if self._places is not None:
            self._places[np.searchsorted(self._places, at) :] += 1
            self._note(at)

    def put(self, at: int, word: str) -> None:
        """Have a word in place of another."""
        self.wording.words[at] = word
        if self._places is not None:
            self._note(at)

    def with_synonyms(self, draws: Draws) -> tuple[int, list[str]] | None:
        """A random word that has synonyms, and them; only where luck fails is every word looked at, and that once."""
        for _ in range(_TRIES):
            at = draws.below(len(self))
            if found := self._others(at):
                return at, found
        if self._places is None:
            self._places = np.array([at for at in range(len(self)) if self._others(at)], np.int64)
        if not len(self._places):
            return None
        at = int(self._places[draws.below(len(self._places))])
        return at, self._others(at)

    def _note(self, at: int) -> None:
        """Note whether the word that is at a place now has synonyms."""
        assert self._places is not None
        first, end = np.searchsorted(self._places, (at, at + 1))
        if self._others(at):
            if first == end:
                self._places = np.insert(self._places, first, at)
        elif first < end:
            self._places = np.delete(self._places, first)

    def _others(self, at: int) -> list[str]:
        return others_for(self.wording.words[at], self._lexicon)


def _delete_one(text: Changing, draws: Draws) -> None:
    if len(text) > 1:
        text.delete(draws.below(len(text)))


def _swap_two(text: Changing, draws: Draws) -> None:
    if len(text) > 1:
        one, other = draws.sample(len(text), 2)
        words = text.wording.words
        first, second = words[one], words[other]
        text.put(one, second)
        text.put(other, first)


def _one_synonym(text: Changing, draws: Draws, *, insert: bool) -> None:
    chosen = text.with_synonyms(draws)
    if chosen is None:
        return
    at, found = chosen
    other = found[draws.below(len(found))]
    if insert:
        text.insert(draws.below(len(text)), core(other)[1] or other)
    else:
        text.put(at, other)


VIEWS = Option(
    "views", int, 2, "texts of each document: a query and its positives (our default; Poly-view)", low=2, high=64
)
BOTH = "change the query too, not the positives alone"
SYNONYMS = Resource(
    "synonyms",
    "lexicon",
    "a table of a word and another for it, one to a row, for the operations with synonyms; "
    "leave words such as in, is, a out of it",
)
_FLOOD = """echo '{"id": "d1", "text": "It rained all day and the river rose by two metres."}' """


def _rate(default: float, meaning: str) -> Option:
    return Option("rate", float, default, meaning, low=0, high=0.9)


DERIVATIONS = (
    Derivation(
        Recipe(
            name="identity",
            group="views",
            summary="A text as its own positive; a trainer with dropout sees two different vectors.",
            paper="SimCSE (unsupervised), arXiv 2104.08821",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(VIEWS,),
            example=_FLOOD + "| pairmine derive identity - -o -",
        ),
        from_document=identity,
    ),
    Derivation(
        Recipe(
            name="repeat",
            group="views",
            summary="A text and a longer copy in which some words stand twice, so that length tells nothing.",
            paper="ESimCSE, arXiv 2109.04380",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                VIEWS,
                _rate(0.32, "most words repeated, as a part of the text (ESimCSE; for RoBERTa it takes 0.28 to 0.30)"),
                Option("least", int, 1, "fewest words repeated (our default; ESimCSE also draws none)", low=0),
                Option("most", int, 10, "most words repeated (ESimCSE)", low=1),
            ),
            example=_FLOOD + "| pairmine derive repeat - -o -",
            resources=(
                Resource(
                    "tokenizer",
                    "tokenizer",
                    "repeats this tokenizer's word pieces, as ESimCSE's released run does, in place of words",
                ),
            ),
        ),
        from_document=repeat,
    ),
    Derivation(
        Recipe(
            name="shuffle",
            group="views",
            summary="A text and its words in a random order.",
            paper="ConSERT, arXiv 2105.11741",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(VIEWS, Option("both", bool, False, f"{BOTH} (our default: one side)")),
            example=_FLOOD + "| pairmine derive shuffle - -o -",
        ),
        from_document=shuffle,
    ),
    Derivation(
        Recipe(
            name="cutoff",
            group="views",
            summary="A text and a copy without some of its words (token cutoff).",
            paper="ConSERT, arXiv 2105.11741",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                VIEWS,
                _rate(0.1, "words left out, as a part of the text, one at least (ConSERT, in tokens)"),
                Option("both", bool, False, f"{BOTH} (our default: one side)"),
            ),
            example=_FLOOD + "| pairmine derive cutoff - -o -",
        ),
        from_document=cutoff,
    ),
    Derivation(
        Recipe(
            name="clear",
            group="views",
            summary="Two views of a text by deleting words or spans, swapping spans or taking synonyms.",
            paper="CLEAR, arXiv 2012.15466",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                VIEWS,
                Option(
                    "ops",
                    str,
                    "word-deletion,span-deletion,reorder",
                    "what a view is drawn from: these and substitution, which needs --synonyms (CLEAR)",
                ),
                Option("per-view", int, 1, "operations on each view, one after the other (our default)", low=1, high=4),
                _rate(0.3, "words deleted or replaced, as a part of the text (our default)"),
                Option("spans", int, 5, "spans deleted, or pairs of spans swapped (our default)", low=1),
                Option(
                    "span-rate", float, 0.05, "length of a span, as a part of the text (our default)", low=0, high=0.5
                ),
                Option("both", bool, True, f"{BOTH} (CLEAR)"),
            ),
            example=_FLOOD + "| pairmine derive clear - -o -",
            resources=(SYNONYMS,),
        ),
        from_document=clear,
    ),
    Derivation(
        Recipe(
            name="words",
            group="views",
            summary="A text and a copy with small random changes: words deleted, swapped, inserted, replaced.",
            paper="Unsupervised Document Embedding via Contrastive Augmentation, arXiv 2103.14542",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                VIEWS,
                Option(
                    "ops",
                    str,
                    "deletion,swap",
                    "what each change is drawn from: these, synonym and insertion, which need --synonyms (our default)",
                ),
                _rate(0.1, "changes, as a part of the number of words (our default)"),
                Option("both", bool, False, f"{BOTH} (our default: one side)"),
            ),
            example=(
                "printf 'word\\tsynonym\\nrose\\tclimbed\\nriver\\tstream\\n' > synonyms.tsv; "
                + _FLOOD
                + "| pairmine derive words - --ops deletion,synonym --synonyms synonyms.tsv --rate 0.3 -o -"
            ),
            resources=(SYNONYMS,),
        ),
        from_document=words,
    ),
    Derivation(
        Recipe(
            name="mask-two",
            group="views",
            summary="Two copies of a text with different words masked.",
            paper="CPADE, arXiv 2208.09846",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                VIEWS,
                _rate(0.3, "words masked, as a part of the text (our default)"),
                Option("mask-token", str, "[MASK]", "what stands for a masked word (our default; BERT's)"),
            ),
            example=_FLOOD + "| pairmine derive mask-two - -o -",
        ),
        from_document=mask_two,
    ),
)
