"""Made-up English for the benchmarks of `generate`: documents, and replies that pass the checks of recipe `queries`."""

from __future__ import annotations

import json
from hashlib import blake2b


def _words(text: str) -> list[str]:
    return text.split()


_ADJECTIVES = _words(
    "old new small large narrow quiet early late heavy light wooden iron northern southern eastern western public "
    "private broken painted famous forgotten modern local foreign simple careful cheap costly dry wet warm cold deep "
    "shallow bright dark empty crowded sacred"
)
_NOUNS = _words(
    "harbour bridge school mill theatre library garden market tower railway canal museum hospital bakery printer "
    "teacher captain farmer merchant doctor painter council river valley island forest road ferry lighthouse archive "
    "orchard brewery quarry church cellar stable dock workshop barn kitchen"
)
_VERBS = _words(
    "rebuilt sold measured painted moved closed opened repaired described visited bought abandoned enlarged studied "
    "copied guarded flooded planned defended searched counted mapped rented cleaned divided"
)
_PLACES = _words(
    "Arden Belmont Carwick Dunmore Elston Farleigh Glenhaven Harwell Inverley Jarrow Kelby Lorne Marsden Norwood "
    "Oakham Penrose Quarrington Redmarsh Selby Thornton Ulverton Verwood Wexcombe Yarmouth Ashford Brackley Corfe "
    "Denholm Everley Fordham"
)
_DOCUMENT = (
    "In {year} the {adjective} {noun} of {place} was {verb} by a {noun2}, because the {adjective2} {noun3} could no "
    "longer be used.",
    "Most people in {place} remember how the {noun} stood beside the {adjective} {noun2} and was later {verb} again.",
    "Its {adjective} {noun} had been {verb} twice before, and each time the {noun2} paid for the work with money from "
    "the {noun3}.",
    "A letter of {year} says that the {noun2} near {place} kept a list of everything that was {verb} during the "
    "{adjective} winter.",
)
# No three words in a row are the same in each query: real ones do not all begin alike either.
_QUERIES = (
    "who {0} the {1} of {2} and the {3}, before {4}?",
    "{0} {1} {2} {3} {4} {5}",
    "why the {0} and the {1} of {2} were {3} by {4}",
    "did {0} explain the {1} of {2}, and was {3} a {4}?",
)
_NEGATIVES = (
    "Visitors usually ask about the {0} of the {1}, which was {2} by somebody with a {3} for reasons of his own. "
    "Nothing is known about the {4} who worked there, but the {5} is still shown to guests on Sundays.",
    "The {0} has another {1} as well. It was {2} after a long quarrel with the owner of the {3}, because he could no "
    "longer see the {4} and wanted a {5} in its place.",
)


def document(number: int, sentences: int = 5) -> str:
    """Document `number`, always the same; a sentence has about 18 words."""
    return " ".join(_sentence(f"{number}/{each}") for each in range(sentences))


def answer(prompt: str) -> str:
    """The reply to a prompt, always the same: a query and a hard negative as JSON, with words of the document.

    A model takes up such words too, so that the checks have as much to compare as with a real reply.
    """
    text = prompt.partition("<document>")[2].partition("</document>")[0]
    words = [word.strip(".,") for word in text.split() if len(word) > 3]
    return json.dumps(
        {"query": _written(_QUERIES, words, prompt), "hard_negative": _written(_NEGATIVES, words, f"not {prompt}")}
    )


def _sentence(name: str) -> str:
    draw = _draw(name)
    return _DOCUMENT[draw[0] % len(_DOCUMENT)].format(
        adjective=_ADJECTIVES[draw[1] % len(_ADJECTIVES)],
        adjective2=_ADJECTIVES[draw[2] % len(_ADJECTIVES)],
        noun=_NOUNS[draw[3] % len(_NOUNS)],
        noun2=_NOUNS[draw[4] % len(_NOUNS)],
        noun3=_NOUNS[draw[5] % len(_NOUNS)],
        verb=_VERBS[draw[6] % len(_VERBS)],
        place=_PLACES[draw[7] % len(_PLACES)],
        year=1500 + int.from_bytes(draw[8:10], "little") % 500,
    )


def _written(templates: tuple[str, ...], words: list[str], name: str) -> str:
    draw = _draw(name)
    return templates[draw[0] % len(templates)].format(*(words[each % len(words)] for each in draw[1:7]))


def _draw(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=16).digest()
