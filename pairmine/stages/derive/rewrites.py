"""A text in other clothes: a pool of rewritten copies for a teacher to label, and wrappings by templates."""

from __future__ import annotations

from collections.abc import Sequence

from pairmine.errors import PairmineError
from pairmine.recipes import Option, Recipe, Resource
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import DOCUMENT, Derivation, Document, Found, FromDocument, Pair, views_of
from pairmine.stages.derive.wording import Wording, core, like, wording
from pairmine.stages.derive.words import NO_VIEW, NO_WORDS, Lexicon
from pairmine.text import is_wordless

TEMPLATES = (
    'This sentence : "{text}" means {mask} .',
    'This sentence of "{text}" means {mask} .',
    'The sentence : "{text}" can be summed up as {mask} .',
    '"{text}" , in one word : {mask} .',
)
"""Wrappings in the manner of PromptBERT's (our own words apart from the first)."""

_LONGEST_CROP = 5


def distill_pool(
    *, rounds: int, mask: float, replace: float, crop: float, mask_token: str, tags: Lexicon | None
) -> FromDocument:
    """Rewritten copies of a text, undecided, for a teacher to label."""
    if mask + replace > 1:
        raise PairmineError(f"--mask {mask:g} and --replace {replace:g} make more than 1 together; lower one of them")
    if replace and tags is None:
        raise PairmineError(
            f"recipe distill-pool replaces {replace:g} of the words by words of the same kind: give --tags FILE, "
            "a table of a word and its part of speech or other tag, one to a row, or set --replace 0"
        )
    if not replace and tags is not None:
        raise PairmineError("--tags has no use with --replace 0; leave one of them out")
    pools: dict[str, list[str]] = {}
    for word, of_word in (tags or {}).items():
        for tag in of_word:
            pools.setdefault(tag, []).append(word)

    def another(word: str, draws: Draws) -> str:
        before, inside, after = core(word)
        of_word = (tags or {}).get(inside) or (tags or {}).get(inside.lower())
        if not of_word:
            return word
        pool = pools[of_word[draws.below(len(of_word))]]
        return before + like(inside, pool[draws.below(len(pool))]) + after

    def masked(word: str) -> str:
        before, inside, after = core(word)
        return before + mask_token + after if inside else word

    def rewritten(text: Wording, draws: Draws) -> str:
        words, gaps = text.words, text.gaps
        if draws.unit() < crop:
            length = 1 + draws.below(min(_LONGEST_CROP, len(words)))
            start = draws.below(len(words) - length + 1)
            words = words[start : start + length]
            gaps = None if gaps is None else gaps[start : start + length]
        drawn = draws.units(len(words))
        changed = words.copy()
        for at in (drawn < mask + replace).nonzero()[0].tolist():
            changed[at] = masked(words[at]) if drawn[at] < mask else another(words[at], draws)
        return Wording(changed, gaps).text()

    def of_document(document: Document, draws: Draws) -> Found:
        if is_wordless(document.text):
            return NO_WORDS
        text = wording(document.text)
        made = dict.fromkeys(rewritten(text, draws) for _ in range(rounds))
        kept = [each for each in made if each != document.text.strip() and not is_wordless(each)]
        name = document.id
        pairs = [Pair(f"{name}#q0", document.text, f"{name}#p{at}", each, None) for at, each in enumerate(kept)]
        return Found(pairs) if pairs else NO_VIEW

    return of_document


def template_views(*, views: int, mask_token: str, templates: Sequence[str] | None) -> FromDocument:
    """A text in several wrappings, the first of them as the query of the others."""
    given = TEMPLATES if templates is None else templates
    known = list(dict.fromkeys(line.strip() for line in given if line.strip()))
    where = "--templates" if templates is not None else "the list of templates"
    if templates is not None and not known:
        raise PairmineError("--templates holds no template; write one to a line, with {text} where the text belongs")
    for line in known:
        if "{text}" not in line:
            raise PairmineError(f'{where} has "{line[:60]}" without {{text}}; write it where the text belongs')
    if views > len(known):
        raise PairmineError(f"--views {views} is more than the {len(known)} templates; add some with --templates FILE")
    parts = [line.replace("{mask}", mask_token).split("{text}") for line in known]

    def of_document(document: Document, draws: Draws) -> Found:
        text = document.text.strip()
        if is_wordless(text):
            return NO_WORDS
        chosen = draws.shuffled(len(parts))[:views]
        return Found(views_of(document.id, 0, [text.join(parts[at]) for at in chosen]))

    return of_document


_MASK_TOKEN = Option("mask-token", str, "[MASK]", "what stands for a masked word (our default; BERT's)")

DERIVATIONS = (
    Derivation(
        Recipe(
            name="distill-pool",
            group="views",
            summary="Many rewritten copies of a text, undecided: a pool for a teacher model to score.",
            paper="Distilling Task-Specific Knowledge from BERT into Simple Neural Networks, arXiv 1903.12136",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option(
                    "rounds",
                    int,
                    20,
                    "copies made of each text; repeated ones count once (the paper)",
                    low=1,
                    high=1000,
                ),
                Option("mask", float, 0.1, "chance of each word to be masked (the paper)", low=0, high=1),
                Option(
                    "replace",
                    float,
                    0.1,
                    "chance of each word to be replaced by one of its kind (the paper)",
                    low=0,
                    high=1,
                ),
                Option(
                    "crop",
                    float,
                    0.25,
                    "chance of a copy to be cut down to a run of 1 to 5 words (the paper)",
                    low=0,
                    high=1,
                ),
                _MASK_TOKEN,
            ),
            example=(
                "printf 'word\\ttag\\nriver\\tNOUN\\nhill\\tNOUN\\nrose\\tVERB\\nfell\\tVERB\\n' > tags.tsv; "
                """echo '{"id": "d1", "text": "The river rose by two metres."}' """
                "| pairmine derive distill-pool - --tags tags.tsv -o -"
            ),
            resources=(
                Resource(
                    "tags",
                    "lexicon",
                    "a table of a word and its part of speech, one to a row; a word is replaced by another with "
                    "one of its tags, each with the same chance (the paper takes frequent ones more often)",
                ),
            ),
        ),
        from_document=distill_pool,
    ),
    Derivation(
        Recipe(
            name="template-views",
            group="views",
            summary="A text wrapped in two templates, each a view of it.",
            paper="PromptBERT, arXiv 2201.04337",
            needs="none",
            reads="documents",
            inputs=DOCUMENT,
            options=(
                Option("views", int, 2, "wrappings of each text, of different templates (PromptBERT)", low=2, high=64),
                Option("mask-token", str, "[MASK]", "what {mask} in a template becomes (PromptBERT)"),
            ),
            example=("""echo '{"id": "d1", "text": "It rained all day."}' | pairmine derive template-views - -o -"""),
            resources=(
                Resource(
                    "templates",
                    "lines",
                    "templates, one to a line, with {text} and perhaps {mask}, in place of our four",
                ),
            ),
        ),
        from_document=template_views,
    ),
)
