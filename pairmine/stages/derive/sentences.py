"""Sentences and clauses of a text as rows with labels: what follows what, what belongs where, what it is made of."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import normalise
from pairmine.recipes import Option, Recipe, Resource
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.derive.cuts import (
    POSITIONS,
    SENTENCE_WORDS,
    Span,
    full_sentences,
    is_full,
    paragraphs,
    word_starts,
)
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import (
    DOCUMENT,
    Derivation,
    Document,
    DrawsOf,
    Found,
    FoundInTable,
    FromDocument,
    FromTable,
    Pair,
)
from pairmine.text import count_words, has_unspaced, sentence_spans

_CONNECTIVES = {
    "addition": "additionally, also, besides, further, furthermore, in addition, likewise, moreover",
    "contrast": "but, however, in contrast, instead, nevertheless, nonetheless, on the contrary, on the other hand, "
    "otherwise, rather, yet, even so",
    "time": "afterwards, at the same time, before that, earlier, eventually, later, meanwhile, next, previously, "
    "since then, subsequently, then",
    "result": "accordingly, as a result, because of this, consequently, for this reason, hence, so, therefore, thus",
    "specific": "for example, for instance, in particular, namely, notably, specifically",
    "compare": "by comparison, in comparison, in the same way, similarly",
    "strengthen": "in fact, indeed, in other words, that is",
    "return": "anyway, in any case, still",
    "recognize": "admittedly, certainly, clearly, naturally, obviously, of course, undoubtedly",
}
"""What may open a sentence, by the kind of link to the one before. The kinds follow the paper, the lists are ours.

"Although" is not among them: it links the clauses of its own sentence.
"""

_MAY_LACK_COMMA = (
    "furthermore, moreover, but, nevertheless, nonetheless, on the other hand, yet, even so, afterwards, meanwhile, "
    "since then, then, accordingly, because of this, consequently, for this reason, hence, so, therefore, thus, "
    "for example, for instance, in particular, in fact, indeed, in other words, of course"
)
_WITHOUT_COMMA = frozenset(_MAY_LACK_COMMA.split(", "))
"""Those that link without a comma after them. The others do other work there: "Further studies", "In contrast to",
"That is why", "Clearly defined costs"."""

_NOT_BEFORE = r"(?!\s+(?:far|another|again|that|many|much|few|little|long|as|is|are|was|were|do|does|did)\b)"
"""What makes something else of "so", "thus" and "yet"."""

_KINDS = ("order", "next", "conjunction")


def discourse(
    *,
    kinds: str,
    context_sentences: int,
    candidates: int,
    per_document: int,
    min_words: int,
    connectives: Mapping[str, Sequence[str]] | None,
) -> FromDocument:
    """Is this order right, which sentence comes next, and which kind of link joins two sentences."""
    wanted = dict.fromkeys(kind.strip() for kind in kinds.split(",") if kind.strip())
    if not wanted or not set(wanted) <= set(_KINDS):
        raise PairmineError(f"--kinds is {kinds!r}; give some of {', '.join(_KINDS)}, with commas between them")
    links = _links(connectives)
    makers: dict[str, Callable[[_Run, Draws, int], Iterator[Pair]]] = {
        "order": _orders,
        "next": partial(_nexts, context=context_sentences, candidates=candidates),
        "conjunction": partial(_conjunctions, links=links, min_words=min_words),
    }

    def of_document(document: Document, draws: Draws) -> Found:
        places, full = full_sentences(document.text, min_words)
        if len(places) < 2:
            return Found((), "only one sentence")
        keys = {at: normalise(document.text[slice(*places[at])]) for at in full}
        run = _Run(document.id, document.text, places, full, keys)
        pairs = [pair for kind in wanted for pair in makers[kind](run, draws, per_document)]
        return Found(pairs) if pairs else Found((), "no example of any kind")

    return of_document


class _Links(NamedTuple):
    """Connectives as a pattern for the start of a sentence, and the kind of link that each stands for."""

    pattern: re.Pattern[str]
    kinds: Mapping[str, str]


def _links(connectives: Mapping[str, Sequence[str]] | None) -> _Links:
    if connectives is None:
        kinds = {word: kind for kind, words in _CONNECTIVES.items() for word in words.split(", ")}
    else:
        kinds = {normalise(word): found[0] for word, found in connectives.items() if found}
    longest_first = sorted(kinds, key=len, reverse=True)
    ends = (_link_end(word, is_ours=connectives is None) for word in longest_first)
    words = (re.escape(word).replace(r"\ ", r"\s+") + end for word, end in zip(longest_first, ends, strict=True))
    return _Links(re.compile(rf"({'|'.join(words) or '(?!)'})[\s,:、，：]*", re.IGNORECASE), kinds)


def _link_end(word: str, *, is_ours: bool) -> str:
    """The pattern of what must follow a connective."""
    if is_ours and word not in _WITHOUT_COMMA:
        return r"(?=\s*[,:])"
    if is_ours and word in ("so", "thus", "yet"):
        return r"(?![\w-])" + _NOT_BEFORE
    return "" if has_unspaced(word) else r"(?![\w-])"


class _Run(NamedTuple):
    """The sentences of a document: where they stand, and the numbers of those that are worth a row."""

    name: str
    text: str
    places: list[Span]
    full: list[int]
    keys: dict[int, str]

    def following(self, length: int) -> list[int]:
        """The number of each sentence that opens a run of `length` full ones which all differ."""
        keys = self.keys
        runs = (at for at in self.full if at + length - 1 in keys)
        return [at for at in runs if len({keys.get(at + step, "") for step in range(length)} - {""}) == length]

    def pair(
        self, query: tuple[str, Span], document: tuple[str, Span], label: int, role: str, *own: str | None
    ) -> Pair:
        """A row of two stretches of the text, each with the end of its id."""
        (query_id, asked), (doc_id, place) = query, document
        extra = (*asked, *place, *(own or (None, None)))
        texts = self.text[slice(*asked)], self.text[slice(*place)]
        return Pair(self.name + query_id, texts[0], self.name + doc_id, texts[1], label, extra, role)


def _drawn(found: list[int], most: int, draws: Draws) -> Iterator[int]:
    return map(found.__getitem__, draws.sample(len(found), most or len(found)))


def _orders(run: _Run, draws: Draws, most: int) -> Iterator[Pair]:
    """Two neighbours in their order, or turned around."""
    for at in _drawn(run.following(2), most, draws):
        label = POSITIVE if draws.unit() < 0.5 else NEGATIVE
        first, second = (at, at + 1) if label == POSITIVE else (at + 1, at)
        query, document = (f"#o{at}", run.places[first]), (f"#p{second}", run.places[second])
        yield run.pair(query, document, label, "order")


def _nexts(run: _Run, draws: Draws, most: int, *, context: int, candidates: int) -> Iterator[Pair]:
    """A stretch of sentences with the one that follows, and with others from further on."""
    before_others = [at for at in run.following(context + 1) if at + context < run.full[-1]]
    for at in _drawn(before_others, most, draws):
        after = at + context
        used = {run.keys[number] for number in range(at, after + 1)}
        others = [number for number in run.full if number > after and run.keys[number] not in used]
        if not others:
            continue
        query = f"#n{at}", (run.places[at][0], run.places[after - 1][1])
        yield run.pair(query, (f"#p{after}", run.places[after]), POSITIVE, "next")
        for other in _drawn(others, candidates - 1, draws):
            yield run.pair(query, (f"#p{other}", run.places[other]), NEGATIVE, "next")


def _conjunctions(run: _Run, draws: Draws, most: int, *, links: _Links, min_words: int) -> Iterator[Pair]:
    """A sentence with the next one, whose connective is taken off and kept in a column."""
    found: dict[int, tuple[str, Span]] = {}
    for at in run.following(2):
        start, end = run.places[at + 1]
        link = links.pattern.match(run.text, start, end)
        if link and is_full(run.text[link.end() : end], min_words):
            found[at] = normalise(link[1]), (link.end(), end)
    for at in _drawn(list(found), most, draws):
        word, rest = found[at]
        yield run.pair(
            (f"#c{at}", run.places[at]), (f"#r{at + 1}", rest), POSITIVE, "conjunction", word, links.kinds[word]
        )


def contains(*, per_document: int, own: int, foreign: int, foreign_from: str, min_words: int) -> FromTable:
    """Paragraphs with sentences that stand in them, and with sentences that do not."""

    def of_table(rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
        texts = [text or "" for text in rows["text"].to_pylist()]
        others = _Foreign(texts, min_words, foreign_from)
        pairs: list[tuple[int, Pair]] = []
        reasons: dict[int, str] = {}
        for row, name in enumerate(rows["id"].to_pylist()):
            found = others.paragraphs_of(row)
            if not found:
                reasons[row] = "no paragraph of two sentences" if texts[row].strip() else "no text"
                continue
            draws = draws_of(name)
            for number in draws.sample(len(found), per_document or len(found)):
                pairs += [(row, pair) for pair in _contained(name, number, found, row, others, draws, own, foreign)]
        return FoundInTable(pairs, reasons)

    return of_table


class _Paragraph(NamedTuple):
    place: Span
    sentences: list[Span]


class _Foreign:
    """The paragraphs of all documents, found when they are asked for, and sentences from elsewhere."""

    def __init__(self, texts: list[str], min_words: int, source: str) -> None:
        self.texts = texts
        self._min_words = min_words
        self._is_near = source == "document"
        self._found: dict[int, list[_Paragraph]] = {}

    def paragraphs_of(self, row: int) -> list[_Paragraph]:
        """The document's paragraphs that have two full sentences or more."""
        if row not in self._found:
            self._found[row] = list(_paragraphs(self.texts[row], self._min_words))
        return self._found[row]

    def draw(self, row: int, number: int, draws: Draws) -> tuple[int, Span] | None:
        """The row and place of a sentence from another paragraph, None where the draw fell on none."""
        other = row if self._is_near else _another(row, len(self.texts), draws)
        found = self.paragraphs_of(other)
        if not found or (len(found) == 1 if self._is_near else other == row):
            return None
        at = _another(number, len(found), draws) if self._is_near else draws.below(len(found))
        sentences = found[at].sentences
        return other, sentences[draws.below(len(sentences))]


def _another(number: int, count: int, draws: Draws) -> int:
    """A number in [0, `count`) other than `number`, which stays where there is no other."""
    return (number + 1 + draws.below(count - 1)) % count if count > 1 else number


def _paragraphs(text: str, min_words: int) -> Iterator[_Paragraph]:
    for start, end in paragraphs(text):
        places = [(start + first, start + last) for first, last in sentence_spans(text[start:end])]
        full = [place for place in places if is_full(text[slice(*place)], min_words)]
        if len(full) > 1:
            yield _Paragraph((start, end), full)


_ATTEMPTS = 8
"""How often a foreign sentence is drawn again that does not exist or stands in the paragraph too, and a cutout."""


def _contained(
    name: str,
    number: int,
    found: list[_Paragraph],
    row: int,
    others: _Foreign,
    draws: Draws,
    own: int,
    foreign: int,
) -> Iterator[Pair]:
    """The rows of one paragraph: `own` of its sentences, then `foreign` ones."""
    paragraph = found[number]
    text = others.texts[row]
    whole = text[slice(*paragraph.place)]
    query_id, query_place = f"{name}#q{number}", paragraph.place
    for at in draws.sample(len(paragraph.sentences), own):
        place = paragraph.sentences[at]
        doc_id = f"{name}#p{number}-{at}"
        yield Pair(query_id, whole, doc_id, text[slice(*place)], POSITIVE, (*query_place, *place), "own")
    normal, taken = normalise(whole), set[str]()
    for _ in range(foreign * _ATTEMPTS):
        if len(taken) == foreign:
            break
        drawn = others.draw(row, number, draws)
        sentence = others.texts[drawn[0]][slice(*drawn[1])] if drawn else ""
        key = normalise(sentence)
        if drawn and key not in taken and key not in normal:
            extra = (*query_place, *(drawn[1] if drawn[0] == row else (None, None)))
            yield Pair(query_id, whole, f"{name}#f{number}-{len(taken)}", sentence, NEGATIVE, extra, "foreign")
            taken.add(key)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SUBORDINATORS = _set(
    "because although though while whereas unless until if when since after before as once whenever wherever "
    "which who whose whom where provided whether weil obwohl während wenn nachdem bevor damit dass parce puisque "
    "quoique lorsque afin porque aunque mientras cuando"
)
_COORDINATORS = _set("and but or so yet nor und aber oder denn sondern et mais ou donc y pero o")
_FOCUS = "mainly|mostly|largely|partly|chiefly|primarily|especially|particularly|simply|just|only|even|perhaps|not|as"
"""What stands before a subordinator and goes with it."""

_FOCUS_WORDS = frozenset(_FOCUS.split("|"))

# A dash without blanks is a clause's only where it is a long one: 1939–1945, Paris–Lyon.
_BREAK = re.compile(
    r"[;:,](?=\s)\s*|(?<!\d)—\s*|(?<=\s)[-–—]+\s+|[；：，、؛،]\s*"
    rf"|\s+(?=(?:(?:{_FOCUS})\s+)?(?:because|although|though|whereas|unless|until|while|weil|obwohl|porque|aunque)\b)",
    re.IGNORECASE,
)
_FOCUS_BEFORE = re.compile(rf"(?:{_FOCUS})\Z", re.IGNORECASE)
_COMMAS = ",，、،"
_KANA = re.compile("[\u3041-\u30fa]")
"""Japanese: there 、 is the comma; in Chinese it stands between the items of a list."""

_ITEM_WORDS = 3
"""Between two commas, fewer words than these are an item of a list rather than a clause."""

_FIRST_WORD = re.compile(r"[^\W\d_]+")


class _Halves(NamedTuple):
    """A sentence in two: where each part stands in it, and which part only qualifies the other (or neither)."""

    left: Span
    right: Span
    satellite: str


def split(
    *,
    satellite_drop: float,
    cutouts: int,
    min_cut: float,
    max_cut: float,
    fallback: str,
    per_document: int,
    min_words: int,
) -> FromDocument:
    """A sentence as the query of the two parts that it is made of, and of copies that lack a stretch of it."""
    if min_cut > max_cut:
        raise PairmineError(f"--min-cut {min_cut:g} is above --max-cut {max_cut:g}; lower it")

    def parts(name: str, text: str, place: Span, draws: Draws) -> list[Pair]:
        sentence = text[slice(*place)]
        halves = _halves(sentence, min_words) or (_middle(sentence, min_words) if fallback == "middle" else None)
        if halves is None:
            return []
        begin = place[0]
        drops = halves.satellite if draws.unit() < satellite_drop else ""
        pairs = [
            Pair(f"{name}q", sentence, f"{name}{side[0]}", sentence[slice(*cut)], POSITIVE,
                 (*place, begin + cut[0], begin + cut[1]), side)
            for side, cut in (("left", halves.left), ("right", halves.right))
            if side != drops
        ]  # fmt: skip
        drawn = (_cut_out(sentence, halves, min_cut, max_cut, draws) for _ in range(cutouts * _ATTEMPTS))
        for number, cut_out in enumerate(islice(_different(drawn), cutouts)):
            extra = (*place, None, None)
            pairs.append(Pair(f"{name}q", sentence, f"{name}x{number}", cut_out, NEGATIVE, extra, "cutout"))
        return pairs

    def of_document(document: Document, draws: Draws) -> Found:
        text = document.text
        places, full = full_sentences(text, 2 * min_words)
        if not full:
            return Found((), "too short")
        made = ((at, parts(f"{document.id}#{at}", text, places[at], draws)) for at in full)
        made_of = [pairs for _, pairs in made if pairs]
        chosen = draws.sample(len(made_of), per_document or len(made_of))
        pairs = [pair for at in chosen for pair in made_of[at]]
        return Found(pairs) if pairs else Found((), "no clause ends inside")

    return of_document


def _halves(sentence: str, min_words: int) -> _Halves | None:
    """The sentence cut where a clause ends, nearest to its middle among the surest ends; None where none does."""
    breaks = list(_BREAK.finditer(sentence))
    if "、" in sentence and not _KANA.search(sentence):
        breaks = [found for found in breaks if found[0][0] != "、"]
    if breaks and _BRACKET.search(sentence):
        breaks = _outside_brackets(sentence, breaks)
    edges = [0, *(found.end() for found in breaks), len(sentence)]
    ends = []
    for number, found in enumerate(breaks):
        if found[0].isspace() and _FOCUS_BEFORE.search(sentence, max(0, found.start() - 14), found.start()):
            continue
        word = _opening(sentence, found.end())
        clauses = sentence[edges[number] : found.start()], sentence[found.end() : edges[number + 2]]
        items = [count_words(clause) < _ITEM_WORDS for clause in clauses]
        from_middle = abs(len(sentence) - found.start() - found.end())
        ends.append((_rank(found[0].strip(), word, *items), from_middle, found.span(), word))
    for *_, (end, start), word in sorted(ends)[:_TRIES]:
        if is_full(sentence[:end], min_words) and is_full(sentence[start:], min_words):
            return _Halves((0, len(sentence[:end].rstrip())), (start, len(sentence)), _satellite(sentence, word))
    return None


_TRIES = 50
"""How many ends are tried: where so many have nothing before or after them, so have all."""

_OPENING, _CLOSING = "([{（「『《“", ")]}）」』》”"
_BRACKET = re.compile(f"[{re.escape(_OPENING + _CLOSING)}]")


def _outside_brackets(sentence: str, breaks: list[re.Match[str]]) -> list[re.Match[str]]:
    """Those of the breaks that stand in no bracket."""
    outside = []
    brackets = _BRACKET.finditer(sentence)
    bracket = next(brackets, None)
    depth = 0
    for found in breaks:
        while bracket and bracket.start() < found.start():
            depth = max(0, depth + (1 if bracket[0] in _OPENING else -1))
            bracket = next(brackets, None)
        if depth == 0:
            outside.append(found)
    return outside


def _rank(mark: str, word: str, after_item: bool, before_item: bool) -> int:
    """How sure it is that a clause ends at `mark` before `word`, between what may be items of a list: 0 is surest."""
    if mark and mark not in _COMMAS:
        return 0
    opens = not mark or word in _SUBORDINATORS or word in _COORDINATORS
    return (1 if opens else 2) + (after_item + 2 * before_item if mark else 0)


def _satellite(sentence: str, word: str) -> str:
    """The part that a subordinator opens: the right one begins with `word`."""
    if word in _SUBORDINATORS:
        return "right"
    return "left" if _opening(sentence, 0) in _SUBORDINATORS else ""


def _opening(text: str, at: int) -> str:
    """The word that opens a clause: its first one, or the subordinator that follows "mainly" and its like."""
    words = _FIRST_WORD.finditer(text, at, at + 40)
    first, second = (found[0].casefold() if found else "" for found in (next(words, None), next(words, None)))
    return second if second in _SUBORDINATORS and first in _FOCUS_WORDS else first


def _middle(sentence: str, min_words: int) -> _Halves | None:
    """The sentence cut between the two words in its middle."""
    starts = word_starts(sentence)
    at = starts[(len(starts) - 1) // 2]
    left, right = (0, len(sentence[:at].rstrip())), (at, len(sentence))
    full = is_full(sentence[slice(*left)], min_words) and is_full(sentence[slice(*right)], min_words)
    return _Halves(left, right, "") if full else None


def _cut_out(sentence: str, halves: _Halves, least: float, most: float, draws: Draws) -> str:
    """The sentence without one stretch of its words, whose length is a share of theirs between the two.

    The stretch takes the end of the left clause and the start of the right one, and something stays of
    both: a copy with a whole clause in it, or a piece of one, would be as good a part as the positives
    are. "" where there is no such copy.
    """
    starts = word_starts(sentence)
    count = len(starts) - 1
    before, after = (bisect_left(starts, edge) for edge in (halves.left[1], halves.right[0]))
    length = max(after - before + 2, int((least + (most - least) * draws.unit()) * count))
    lowest, highest = max(1, after - length + 1), min(before - 1, count - 1 - length)
    if lowest > highest:
        return ""
    first = lowest + draws.below(highest - lowest + 1)
    left = sentence[: starts[first]] + sentence[starts[first + length] :]
    return "" if any(sentence[slice(*half)] in left for half in (halves.left, halves.right)) else left


def _different(texts: Iterable[str]) -> Iterator[str]:
    """The texts that are not empty and say what none before them does."""
    keys = {""}
    for text in texts:
        if (key := normalise(text)) not in keys:
            keys.add(key)
            yield text


_PER_DOCUMENT = Option(
    "per-document", int, 0, "most queries from each document, drawn at random; 0 takes all (our default)", low=0
)

DERIVATIONS = (
    Derivation(
        Recipe(
            name="discourse",
            group="views",
            summary="Labelled rows about the flow of a text: is this the order, what comes next, how are two "
            "sentences linked.",
            paper="Discourse-based objectives (Jernite, Bowman, Sontag), arXiv 1705.00557",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option(
                    "kinds",
                    str,
                    "order,next,conjunction",
                    "which rows to make: two sentences in order or turned around, candidates for the next sentence, "
                    "a link between two sentences (the paper)",
                ),
                Option("context-sentences", int, 3, "sentences before the next one (our default)", low=1),
                Option(
                    "candidates",
                    int,
                    5,
                    "candidates for the next sentence, the right one included (our default)",
                    low=2,
                ),
                Option(
                    "per-document",
                    int,
                    2,
                    "most examples of each kind from each document; 0 takes all (our default)",
                    low=0,
                ),
                SENTENCE_WORDS,
            ),
            resources=(
                Resource(
                    "connectives",
                    "lexicon",
                    "what opens a linked sentence and the kind of link, instead of our English list",
                ),
            ),
            example=(
                """echo '{"id": "d1", "text": "It rained all day. The river rose by two metres. However, nobody in """
                """town was hurt."}' | pairmine derive discourse - -o -"""
            ),
        ),
        from_document=discourse,
        extra=(*POSITIONS, pa.field("connective", pa.string()), pa.field("link", pa.string())),
    ),
    Derivation(
        Recipe(
            name="contains",
            group="views",
            summary="A paragraph with a sentence of its own (1) and with a sentence from elsewhere (0).",
            paper="Sentence content (Vu, Iyyer), arXiv 1906.03656",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option(
                    "per-document",
                    int,
                    0,
                    "most paragraphs from each document, drawn at random; 0 takes all (our default)",
                    low=0,
                ),
                Option("own", int, 1, "sentences of the paragraph itself (our default)", low=1),
                Option("foreign", int, 1, "sentences from elsewhere (our default)", low=0, high=1_000_000),
                Option(
                    "foreign-from",
                    str,
                    "corpus",
                    "whether foreign sentences come from other documents or from other paragraphs of the same one "
                    "(our default)",
                    choices=("corpus", "document"),
                ),
                SENTENCE_WORDS,
            ),
            example=(
                """printf '%s\\n' '{"id": "d1", "text": "It rained all day. The river rose by two metres."}' """
                """'{"id": "d2", "text": "The mill has been closed for years. Its wheel is of oak."}' """
                "| pairmine derive contains - -o -"
            ),
            whole=True,
        ),
        from_table=contains,
        extra=POSITIONS,
    ),
    Derivation(
        Recipe(
            name="split",
            group="views",
            summary="A sentence with the two clauses that it is made of, and with copies that lack a part (0).",
            paper="Composition-contrastive learning, arXiv 2307.07380",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option(
                    "satellite-drop",
                    float,
                    0.2,
                    "chance that a clause which only qualifies the other one gives no row (the paper)",
                    low=0,
                    high=1,
                ),
                Option(
                    "cutouts",
                    int,
                    1,
                    "copies that lack words of both clauses around the cut, as hard negatives (our default)",
                    low=0,
                ),
                Option(
                    "min-cut",
                    float,
                    0.2,
                    "shortest stretch to cut out, as a part of the sentence (our default)",
                    low=0,
                    high=1,
                ),
                Option(
                    "max-cut",
                    float,
                    0.5,
                    "longest stretch to cut out, as a part of the sentence (our default)",
                    low=0,
                    high=1,
                ),
                Option(
                    "fallback",
                    str,
                    "none",
                    "what to do with a sentence in which no clause ends: leave it out, or cut it in the middle "
                    "(our default)",
                    choices=("none", "middle"),
                ),
                _PER_DOCUMENT,
                Option(
                    "min-words",
                    int,
                    3,
                    "words of the shorter clause; where blanks part no words, those of a dictionary (our default)",
                    low=1,
                ),
            ),
            example=(
                """echo '{"id": "d1", "text": "The river rose by two metres in one night, because it had rained all """
                """day in the hills."}' | pairmine derive split - -o -"""
            ),
        ),
        from_document=split,
        extra=POSITIONS,
    ),
)
