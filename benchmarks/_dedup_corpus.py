"""Passages with planted near copies, out of text that lies on every machine with pairmine.

The text: docstrings, comments and documents of Python and of the packages installed beside pairmine, pydoc's topics,
the licences of /usr/share. A passage is neighbouring paragraphs of one file, about 90 words. A paragraph that was seen
before is taken once in ten times, so that natural near copies are there but no family of a thousand. Where the text
runs short, passages follow again with their letters exchanged: words that nobody has written yet.
"""

from __future__ import annotations

import random
import re
import string
import sysconfig
from collections.abc import Callable, Iterator
from itertools import chain, count, islice
from pathlib import Path
from pydoc_data.topics import topics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 150_000
PLANTED_IN_BLOCK = 40_000
SHORTEST, LONGEST = 40, 150
SEEN_BEFORE_TAKEN = 10

Copyist = Callable[[str, random.Random, list[str]], str]
"""Makes a near copy of a text, with the words of other texts to put in."""


def write(path: Path, planted: Path, rows: int, seed: int) -> None:
    """Write `rows` passages (id, text), and which of them were planted: copy, original (row numbers), kind.

    A copy stands within 150,000 rows of its original. A row's id is its number.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = _originals(seed)
    plants: list[pa.Table] = []
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows, BLOCK):
            block, plant = _block(texts, min(BLOCK, rows - start), start, random.Random(f"{seed}/{start}"))
            ids = map(str, range(start, start + len(block)))
            writer.write_table(pa.table([list(ids), block], schema=schema), row_group_size=16_384)
            plants.append(plant)
    pq.write_table(pa.concat_tables(plants), planted)


def _block(texts: Iterator[str], rows: int, start: int, rng: random.Random) -> tuple[list[str], pa.Table]:
    import pyarrow as pa

    copies = rows * PLANTED_IN_BLOCK // BLOCK
    originals = list(islice(texts, rows - copies))
    words = [word for text in rng.choices(originals, k=2_000) for word in text.split()]
    kinds = list(KINDS)
    sources = rng.choices(range(len(originals)), k=copies)
    made = [kinds[number % len(kinds)] for number in range(copies)]
    everything = originals + [
        KINDS[kind](originals[source], rng, words) for kind, source in zip(made, sources, strict=True)
    ]
    order = list(range(rows))
    rng.shuffle(order)
    place = {old: start + new for new, old in enumerate(order)}
    columns = {
        "copy": [place[len(originals) + number] for number in range(copies)],
        "original": [place[source] for source in sources],
        "kind": made,
    }
    return [everything[old] for old in order], pa.table(columns)


# Natural text.


def _originals(seed: int) -> Iterator[str]:
    """Distinct passages without an end: all natural ones in random order, then again with exchanged letters."""
    natural = list(dict.fromkeys(_passages(random.Random(seed))))
    random.Random(seed).shuffle(natural)
    yield from natural
    for number in count(1):
        exchanged = _exchange(random.Random(f"{seed}/letters/{number}"))
        yield from (text.translate(exchanged) for text in natural)


def _exchange(rng: random.Random) -> dict[int, str]:
    letters = list(string.ascii_lowercase)
    rng.shuffle(letters)
    lower = "".join(letters)
    return str.maketrans(string.ascii_letters, lower + lower.upper())


def _passages(rng: random.Random) -> Iterator[str]:
    seen: set[str] = set()
    for source in _sources():
        run: list[str] = []
        wanted = rng.randint(SHORTEST, LONGEST)
        for words in _paragraphs(source):
            paragraph = " ".join(words)
            if paragraph in seen and rng.randrange(SEEN_BEFORE_TAKEN):
                continue
            seen.add(paragraph)
            run += words
            while len(run) >= wanted:
                yield " ".join(run[:wanted])
                run, wanted = run[wanted:] if len(run) > 2 * LONGEST else [], rng.randint(SHORTEST, LONGEST)


def _paragraphs(source: str) -> Iterator[list[str]]:
    """The words of each paragraph that is prose; one of thousands of words is a list of them."""
    for paragraph in source.split("\n\n"):
        words = paragraph.split()
        if not 6 <= len(words) < 1_000 or ">>>" in paragraph:
            continue
        if sum(word.strip(".,:;!?()`'\"*").isalpha() for word in words) >= 0.7 * len(words):
            yield words


_PROSE_IN_CODE = re.compile(r'"""(.*?)"""|\'\'\'(.*?)\'\'\'|((?:^[ \t]*#[^\n]*\n)+)', re.DOTALL | re.MULTILINE)
_COMMENT_SIGN = re.compile(r"^[ \t]*#+[:!]?[ \t]?", re.MULTILINE)


def _sources() -> Iterator[str]:
    yield from topics.values()
    folders = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    paths = chain(Path("/usr/share/common-licenses").glob("*"), *(folder.rglob("*") for folder in folders))
    for path in sorted({path.resolve() for path in paths if path.suffix in ("", ".py", ".md", ".rst", ".txt")}):
        if not path.is_file() or (path.suffix == "" and "common-licenses" not in path.parts):
            continue
        text = path.read_text("utf-8", errors="ignore")
        if path.suffix == ".py":
            parts = _PROSE_IN_CODE.findall(text)
            text = "\n\n".join(double or single or _COMMENT_SIGN.sub("", comment) for double, single, comment in parts)
        yield text


# Copies.


def _edited(share: float) -> Copyist:
    """That share of the words, one at least, replaced, left out, doubled by another one, or moved by one."""

    def edit(text: str, rng: random.Random, words: list[str]) -> str:
        own = text.split()
        for place in rng.sample(range(len(own) - 1), max(1, round(share * len(own)))):
            what = rng.randrange(4)
            if what == 0:
                own[place] = rng.choice(words)
            elif what == 1:
                own[place] = ""
            elif what == 2:
                own[place] += " " + rng.choice(words)
            else:
                own[place], own[place + 1] = own[place + 1], own[place]
        return " ".join(word for word in own if word)

    return edit


def _misspelt(text: str, rng: random.Random, words: list[str]) -> str:
    own = text.split()
    for place in rng.sample(range(len(own)), max(1, len(own) // 50)):
        letter = rng.randrange(len(own[place]))
        own[place] = own[place][:letter] + rng.choice(string.ascii_lowercase) + own[place][letter + 1 :]
    return " ".join(own)


def _punctuation(text: str, rng: random.Random, words: list[str]) -> str:
    own = [word.rstrip(".,;:!?") if rng.random() < 0.5 else word for word in text.split()]
    return " ".join(word + rng.choice(",;") if rng.random() < 0.05 else word for word in own if word)


def _case(text: str, rng: random.Random, words: list[str]) -> str:
    return rng.choice([str.upper, str.lower, str.swapcase])(text)


def _blanks(text: str, rng: random.Random, words: list[str]) -> str:
    return "".join(word + rng.choice([" ", "  ", "\n", "\t", " \n\n"]) for word in text.split())


def _reordered(text: str, rng: random.Random, words: list[str]) -> str:
    sentences = re.split(r"(?<=[.:;!?]) ", text)
    if len(sentences) == 1:
        own = text.split()
        sentences = [" ".join(own[: len(own) // 2]), " ".join(own[len(own) // 2 :])]
    place = rng.randrange(1, len(sentences))
    return " ".join(sentences[place:] + sentences[:place])


def _cut(share: float) -> Copyist:
    def cut(text: str, rng: random.Random, words: list[str]) -> str:
        own = text.split()
        left = round(share * len(own))
        return " ".join(own[:left] if rng.random() < 0.5 else own[-left:])

    return cut


def _prefixed(text: str, rng: random.Random, words: list[str]) -> str:
    return f"Updated on {rng.randint(1, 28)} May {rng.randint(1990, 2025)} by {rng.choice(words)}: {text}"


def _suffixed(text: str, rng: random.Random, words: list[str]) -> str:
    ends = (
        "Read more on our pages about",
        "See the notes below for all that concerns",
        "This text was last changed by",
    )
    return f"{text} {rng.choice(ends)} {rng.choice(words)} {rng.choice(words)}."


def _other_forms(text: str, rng: random.Random, words: list[str]) -> str:
    """The same text to NFKC: full-width letters, ligatures, or no-break blanks and mathematical letters."""
    what = rng.randrange(3)
    if what == 0:
        return text.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)})
    if what == 1:
        return re.sub("ffi|ff|fi|fl", lambda found: _LIGATURES[found[0]], text).replace(" ", "\u2003")
    bold = {ord("a") + letter: 0x1D41A + letter for letter in range(26)}
    return "\u00a0".join(word.translate(bold) if rng.random() < 0.2 else word for word in text.split(" "))


_LIGATURES = {"ffi": "ﬃ", "ff": "ﬀ", "fi": "ﬁ", "fl": "ﬂ"}

KINDS: dict[str, Copyist] = {
    "exact": lambda text, rng, words: text,
    "1 % of words": _edited(0.01),
    "3 % of words": _edited(0.03),
    "5 % of words": _edited(0.05),
    "10 % of words": _edited(0.10),
    "misspelt": _misspelt,
    "punctuation": _punctuation,
    "case": _case,
    "blanks": _blanks,
    "Unicode forms": _other_forms,
    "sentences moved": _reordered,
    "cut to 90 %": _cut(0.90),
    "cut to 75 %": _cut(0.75),
    "prefix": _prefixed,
    "suffix": _suffixed,
}
"""The near copies that are planted, as many of each."""
