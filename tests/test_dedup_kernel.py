"""The two paths that read texts: they agree with each other, with `tokens` and `normalise`, and with datasketch."""

from __future__ import annotations

import os
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pairmine.errors import PairmineError
from pairmine.identity import normalise
from pairmine.stages.dedup import kernel, scan
from pairmine.stages.dedup.kernel import (
    compiled,
    exact_keys,
    machine_code,
    native,
    plain_segments,
    read_column,
    sketch,
    tables,
)
from pairmine.stages.dedup.kernel import slices as kernel_slices
from pairmine.stages.dedup.kernel.hashes import mixed
from pairmine.stages.dedup.kernel.looks import Look
from pairmine.stages.dedup.kernel.minhash import Bands, band_keys, banding
from pairmine.stages.dedup.kernel.shingles import Ragged, Texts
from pairmine.stages.dedup.kernel.slices import EXACT, Sketches
from pairmine.stages.dedup.matches import Near
from pairmine.tokens import Kind, kind_of, tokens

try:
    import numba  # noqa: F401

    PATHS = ("plain", "compiled")
except ImportError:
    PATHS = ("plain",)

# Code points that compose, change places, expand, fold, stand alone or are blank, beside some of each large script.
SPECIAL = (
    "aeiouAÉßſŉǰΐİıKÅﬁﬃ½…™①㌀㍿㌖ﷺ\u0300\u0301\u0308\u0323\u0327\u0345\u0338\u093c\u094d\u0e49\u0e48\u0f71\u0f72\u3099"
    "ΣσςᾳᾼԷևẞℌＡｶﾞガは東京語ーไทน้ำລາວមရကनक़ड़हि한글"
    "ᄀᄒ\u1161\u11a8각가اَُّאָ\u05bc\u200d\ufe0f😀👍🏽_'’-.!  \t\n\u00a0\u2003\u3000"
    "\u0085\x1c\x1f\x00\x7fꭰᏠ\u0b47\u0b3e\u0bc6\u0bbe\u1100\u1161\u11a8\U000110ba\U00011099\U0001d15e\U0002f81a\U00020000\U000e0100"
)
LETTERS = st.one_of(st.sampled_from(SPECIAL), st.characters(exclude_categories=["Cs"]), st.sampled_from("abc  .,-"))
UNICODE = st.lists(st.text(LETTERS, max_size=24), max_size=8)


def near(**changes: Any) -> Near:
    values = {"threshold": 0.8, "ngram": 3, "permutations": 16, "sentence_words": 0, "short_text_words": 0}
    return Near(**{**values, "workers": 1, "seed": 0, **changes})


def column(texts: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.large_string())])


def assert_same_sketches(one: Sketches, other: Sketches) -> None:
    for name in ("exact", "keys", "shingles", "words"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)


def assert_same_sets(one: Texts, other: Texts) -> None:
    for name in ("shingles", "words"):
        np.testing.assert_array_equal(getattr(one, name).values, getattr(other, name).values, name)
        np.testing.assert_array_equal(getattr(one, name).offsets, getattr(other, name).offsets, name)


def rows(sets: Ragged) -> list[list[int]]:
    return [row.tolist() for row in np.split(sets.values, sets.offsets[1:-1])] if len(sets) else []


# Against the definitions


@pytest.mark.parametrize("engine", PATHS)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(UNICODE)
@example(
    ["e\u0301", "é", "E\u0301", "\u0301e", "ΐ", "ｶﾞ", "ガ", "각", "\u1100\u1161\u11a8", "\u0323\u0307", "\u0307\u0323"]
)
@example(["a\u0e49\u0e48", "ù\u0323", "น้ำ", "\u0fb2\u0f71\u0f80", "\u00a8", "a\u00a8", "ﷺ", "x\u0345", "ᾳ", "क\u093c"])
def test_words_are_those_of_the_tokeniser(engine: str, texts: list[str]) -> None:
    found = read_column(column(texts), near(engine=engine))
    words = [tokens(text) for text in texts]
    alone = read_column(column([word for row in words for word in row]), near(engine="plain"))
    assert alone.words.sizes.tolist() == [1] * len(alone.words)
    hashes = iter(alone.words.values.tolist())
    for text, row, bag, shingles in zip(texts, words, rows(found.words), rows(found.shingles), strict=True):
        counts = Counter(next(hashes) for _ in row)
        assert len(bag) == len(row), text
        assert set(counts) <= set(bag), text
        windows = {tuple(row[at : at + 3]) for at in range(max(1, len(row) - 2))} if row else set()
        assert len(shingles) == len(windows), text


@pytest.mark.parametrize("engine", PATHS)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(UNICODE, st.sampled_from(EXACT))
@example(["a b", " A\u00a0\tB ", "ab", "a  b", "", " ", "a.b", "a. b", "\x00", "\x00\x00", "!", "?"], "normalised")
@example(["Don't panic", "don t PANIC!", "!!", "", "panic don t"], "words")
@example(["a", "a\x00", "a\x00\x00", "\u3000", " ", "A", "abcdefgh", "abcdefghi", "abcdefgh\x00"], "bytes")
@example(["E\u0301 x", "e\u0301 x", "\u00e9 x", "\u00c9 x", "e\u0301 x"], "bytes")
def test_exact_keys_are_equal_just_where_texts_are(engine: str, texts: list[str], exact: str) -> None:
    keys = exact_keys(column(texts), exact, engine=engine).tolist()
    value = {"normalised": normalise, "bytes": str, "words": lambda text: tuple(tokens(text))}[exact]
    for text, key in zip(texts, keys, strict=True):
        assert (key == 0) == (not tokens(text) if exact == "words" else not normalise(text))
    filled = [(value(text), key) for text, key in zip(texts, keys, strict=True) if key]
    assert len({text for text, _ in filled}) == len({key for _, key in filled}) == len(set(filled))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(UNICODE, st.integers(1, 5))
def test_shingles_of_characters_are_runs_of_the_normalised_text(texts: list[str], ngram: int) -> None:
    found = read_column(column(texts), near(ngram=ngram, unit="character", engine="plain"))
    for text, shingles in zip(map(normalise, texts), rows(found.shingles), strict=True):
        windows = {text[at : at + ngram] for at in range(max(1, len(text) - ngram + 1))} if text else set()
        assert len(shingles) == len(windows)


@pytest.mark.slow
@pytest.mark.parametrize("engine", PATHS)
@pytest.mark.parametrize("around", [("", ""), ("न", "\u094d"), ("각", " \u0301")])
def test_every_code_point_is_read_as_in_python(engine: str, around: tuple[str, str]) -> None:
    texts = [letter.join(around) for letter in map(chr, range(0x110000)) if not "\ud800" <= letter <= "\udfff"]
    found = sketch(column(texts), near(engine=engine))
    key_of: dict[str, int] = {}
    keys = found.exact.tolist()
    assert all(key_of.setdefault(normalise(text), key) == key for text, key in zip(texts, keys, strict=True))
    assert len(set(keys)) == len(key_of)
    assert found.words.tolist() == [len(tokens(text)) for text in texts]


def test_the_kind_of_a_code_point_is_what_the_tokeniser_makes_of_it() -> None:
    for letter in {*SPECIAL, *map(chr, range(0x800)), *map(chr, range(0x3000, 0x3100))}:
        kinds = {Kind.LETTER: [f"{letter}a"], Kind.ALONE: [letter, "a"]}
        if normalise(letter) == letter:
            assert tokens(f"{letter}a") == kinds.get(kind_of(letter), ["a"]), hex(ord(letter))


# One path against the other


@pytest.mark.skipif("compiled" not in PATHS, reason="numba is not installed")
@settings(max_examples=80, deadline=None, derandomize=True)
@given(UNICODE, st.integers(1, 4), st.sampled_from(["word", "character"]), st.sampled_from(EXACT))
def test_compiled_and_plain_paths_give_the_same(texts: list[str], ngram: int, unit: str, exact: str) -> None:
    ways = [near(ngram=ngram, unit=unit, engine=engine) for engine in ("plain", "compiled")]
    assert_same_sketches(*(sketch(column(texts), way, exact=exact) for way in ways))
    assert_same_sets(*(read_column(column(texts), way) for way in ways))


@pytest.mark.parametrize("engine", PATHS)
@pytest.mark.parametrize("unit", ["word", "character"])
def test_threads_and_slices_change_nothing(engine: str, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{SPECIAL[i % 90 :]} word{i} {SPECIAL[: i % 70]}" for i in range(300)] + ["", " "]
    whole = pa.array(texts, pa.large_string())
    one = sketch(column(texts), near(unit=unit, engine=engine))
    sets = read_column(column(texts), near(unit=unit, engine=engine))
    monkeypatch.setattr(kernel_slices, "_SLICE_BYTES", 2000)
    monkeypatch.setattr(kernel_slices, "_SLICE_TEXTS", 7)
    chunks = pa.chunked_array([whole.slice(0, 11), whole.slice(11, 0), whole.slice(11, 140), whole.slice(151)])
    assert_same_sketches(one, sketch(chunks, near(unit=unit, engine=engine, workers=3)))
    assert_same_sets(sets, read_column(chunks, near(unit=unit, engine=engine, workers=3)))
    assert_same_sketches(one, sketch(chunks.cast(pa.string()), near(unit=unit, engine=engine)))
    assert_same_sketches(one, sketch(whole.dictionary_encode(), near(unit=unit, engine=engine)))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.text(LETTERS, min_size=30, max_size=400), st.integers(6, 60), st.sampled_from(["word", "character"]))
@example("a" * 300, 16, "word")
@example(" " * 300 + "ab" + " " * 100, 16, "character")
@example("ab\u0301 " * 80, 20, "character")
def test_a_text_read_in_pieces_is_the_text(text: str, window: int, unit: str) -> None:
    whole = sketch(column([text]), near(unit=unit, engine="plain"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_segments, "_WINDOW", window)
        patch.setattr(plain_segments, "_CUT_WITHIN", 5)
        assert_same_sketches(whole, sketch(column([text]), near(unit=unit, engine="plain")))


# MinHash


@pytest.mark.parametrize("engine", PATHS)
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_signatures_are_those_of_datasketch(engine: str, seed: int) -> None:
    from datasketch import MinHash

    texts = ["one two three four five", "東京 タワー 2nd naïve", "word", "a b " * 400]
    wanted = near(seed=seed, permutations=24, threshold=0.95, engine=engine)
    keys = sketch(column(texts), wanted).keys
    sets = read_column(column(texts), wanted).shingles
    bands, per_band = banding(0.95, 24)
    factors = Bands.drawn(bands, per_band, seed).factors
    for text, row in enumerate(rows(sets)):
        minima = MinHash(bands * per_band, seed=seed, hashfunc=lambda shingle: shingle >> 32, scheme="affine32")
        minima.update_batch(row)
        signature = minima.hashvalues.reshape(bands, per_band).astype(np.uint64)
        assert keys[:, text].tolist() == mixed((signature * factors).sum(axis=1, dtype=np.uint64)).tolist()


def test_the_permutations_are_those_of_datasketch() -> None:
    from datasketch import MinHash

    for seed, count in ((0, 1), (1, 128), (2**32 - 1, 56)):
        bands = Bands.drawn(count, 1, seed)
        assert np.array_equal(MinHash(count, seed=seed, scheme="affine32").permutations, [bands.scale, bands.shift])


def test_an_empty_set_has_no_keys() -> None:
    sets = Ragged(np.array([1 << 40, 5], np.uint64), np.array([0, 0, 2, 2]))
    keys = band_keys(sets, Bands.drawn(4, 2, 0))
    assert keys.shape == (4, 3)
    assert not keys[:, [0, 2]].any()
    assert keys[:, 1].all()


# Ugly input


@pytest.mark.parametrize("engine", PATHS)
@pytest.mark.parametrize("texts", [[], [""], [None, "a"], ["\u3000"], ["\x00"], ["😀" * 3]])
def test_what_holds_nothing_makes_no_trouble(engine: str, texts: list[str | None]) -> None:
    found = sketch(pa.array(texts, pa.large_string()), near(engine=engine))
    assert len(found.exact) == len(texts) == found.keys.shape[1]
    assert len(read_column(pa.array(texts, pa.large_string()), near(engine=engine)).words) == len(texts)


@pytest.mark.parametrize("engine", PATHS)
def test_a_column_without_chunks_is_empty(engine: str) -> None:
    nothing = pa.chunked_array([], pa.large_string())
    assert sketch(nothing, near(engine=engine)).keys.shape[1] == 0
    assert len(read_column(nothing, near(engine=engine)).shingles) == 0


@pytest.mark.parametrize("engine", PATHS)
def test_bytes_that_are_no_text_are_refused(engine: str) -> None:
    broken = pa.array([b"fine", b"\xc3("]).view(pa.string())
    with pytest.raises(PairmineError, match=r"not UTF-8 .*; write the file again as UTF-8"):
        sketch(broken, near(engine=engine))


@pytest.mark.slow
@pytest.mark.parametrize("engine", PATHS)
@pytest.mark.parametrize("text", ["abcdefgh " * 5_500_000, "x" * 50_000_000, "東" * 17_000_000, " " * 50_000_000])
def test_a_text_of_50_megabytes_is_read(engine: str, text: str) -> None:
    found = sketch(column(["a", text, "b"]), near(engine=engine))
    assert found.words.tolist() == [1, {"a": 5_500_000, "x": 1, "東": 17_000_000, " ": 0}[text[0]], 1]


def test_without_numba_the_plain_path_is_taken_and_asking_for_the_other_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("compiled_texts", "compiled_words"):
        monkeypatch.delitem(sys.modules, f"pairmine.stages.dedup.kernel.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(native, "_library", None)
    monkeypatch.setattr(machine_code, "kept", lambda sources: None)
    monkeypatch.setattr(compiled, "_WORTH_LOADING", 0)
    monkeypatch.setattr(compiled, "_unusable", set())
    assert sketch(column(["a b"]), near()).words.tolist() == [2]
    with pytest.raises(PairmineError, match=r"needs numba .*; run: pip install 'pairmine\[fast\]'"):
        sketch(column(["a b"]), near(engine="compiled"))


def test_little_text_is_read_by_numpy_and_many_small_batches_are_not_little(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(compiled, "_loaded", lambda name, may_compile: loaded.append(name))
    monkeypatch.setattr(compiled, "_asked", Counter())
    monkeypatch.setattr(compiled, "_WORTH_NUMBA", 1000)
    for _ in range(3):
        compiled.compiled("no_such", 400)
    assert loaded == ["no_such"]
    compiled.compiled("no_such", 5000, engine="plain")
    assert len(loaded) == 1


def test_a_few_megabytes_take_machine_code_that_is_there_but_do_not_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(native, "load", lambda *, may_compile: asked.append(may_compile))
    monkeypatch.setattr(native, "is_loaded", lambda: False)
    monkeypatch.setattr(compiled, "_asked", Counter())
    for size in (900_000, 2_000_000, 15_000_000):
        compiled.compiled(compiled.NATIVE, size)
    assert asked == [False, True]


def test_a_line_says_so_while_code_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(compiled, "_TOLD_AFTER_CPU_S", -1)
    monkeypatch.setattr(compiled, "_loaded", lambda name, may_compile: sleep(0.3))
    compiled.compiled("compiled_crowds", 0, engine="compiled", tell=said.append)
    assert said == ["compiling for this machine, once: about ten seconds"]
    monkeypatch.setattr(machine_code, "_folders", lambda: [Path(os.devnull) / "below"])
    compiled.compiled("compiled_crowds", 0, engine="compiled", tell=said.append)
    assert said[1].startswith("compiling for this run, about ten seconds; to do so once, set NUMBA_CACHE_DIR")


def test_threads_that_wait_for_the_same_code_say_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(compiled, "_TOLD_AFTER_CPU_S", -1)
    ready = Event()
    monkeypatch.setattr(compiled, "_loaded", lambda name, may_compile: ready.wait(10))
    ask = partial(compiled.compiled, "compiled_crowds", 0, engine="compiled", tell=said.append)
    threads = [Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    sleep(0.5)
    ready.set()
    for thread in threads:
        thread.join()
    assert len(said) == 1


@pytest.fixture
def sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Path], list[Any]]:
    """What `machine_code` is handed: a source file and a function made from it."""
    numba = pytest.importorskip("numba")

    @machine_code.to_keep(numba.int64(numba.int64[::1], numba.boolean))
    def total(values, doubles):  # type: ignore[no-untyped-def]
        found = 0
        for value in values:
            found += value
        return 2 * found if doubles else found

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    (tmp_path / "source.py").write_text("one")
    return [tmp_path / "source.py"], [total]


def test_machine_code_is_kept_until_its_source_changes_and_a_torn_file_is_none(
    sums: tuple[list[Path], list[Any]], tmp_path: Path
) -> None:
    sources, functions = sums
    assert machine_code.kept(sources) is None
    values = np.arange(10)
    assert machine_code.keep(sources, functions).total(values, False) == 45
    kept = machine_code.kept(sources)
    assert kept is not None
    assert kept.total(values, True) == 90
    (file,) = (tmp_path / "kept").iterdir()
    whole = file.read_bytes()
    for torn in (b"", b"{", whole[:-100], whole.replace(b"total", b"tota1", 1)):
        file.write_bytes(torn)
        assert machine_code.kept(sources) is None
    file.write_bytes(whole)
    assert machine_code.kept(sources) is not None
    sources[0].write_text("two")
    assert machine_code.kept(sources) is None


def test_machine_code_takes_no_array_of_another_type(sums: tuple[list[Path], list[Any]]) -> None:
    library = machine_code.keep(*sums)
    for values in (np.arange(10.0), np.arange(10)[::2], np.arange(10).reshape(2, 5)):
        with pytest.raises(AssertionError, match=r"where int64\*1 is expected"):
            library.total(values, False)


def test_machine_code_serves_the_run_where_it_cannot_be_kept(
    sums: tuple[list[Path], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", os.path.join(os.devnull, "below"))
    assert not machine_code.can_keep()
    assert machine_code.keep(*sums).total(np.arange(3), False) == 3
    assert machine_code.kept(sums[0]) is None


def test_a_cache_folder_closed_to_this_user_is_no_place_to_keep_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.write_text("stands for a folder of another user, which root would enter")
    stat = Path.stat

    def refuse(path: Path, **how: Any) -> os.stat_result:
        if closed in path.parents:
            raise PermissionError(13, "Permission denied")
        return stat(path, **how)

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(closed / "below"))
    assert not machine_code.can_keep()


def test_a_user_without_a_home_gets_no_folder_named_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert all(folder.is_absolute() for folder in machine_code._folders())


@pytest.mark.skipif("compiled" not in PATHS, reason="numba is not installed")
@pytest.mark.parametrize(
    "fault",
    [RuntimeError("cannot cache function: no locator available"), OSError(28, "No space left on device"), EOFError()],
    ids=["nowhere", "full", "torn"],
)
def test_where_compiled_code_cannot_be_kept_it_is_compiled_for_the_run_alone(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    from numba import config

    def import_module(name: str) -> str:
        if before == config.CACHE_DIR:
            raise fault
        return name

    before = config.CACHE_DIR
    monkeypatch.setattr(config, "CACHE_DIR", before)
    monkeypatch.setattr(compiled.importlib, "import_module", import_module)
    assert compiled.compiled("compiled_crowds", 0, engine="compiled") == "pairmine.stages.dedup.kernel.compiled_crowds"


def test_a_numba_that_fails_is_told_of_once_and_numpy_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, may_compile: bool) -> None:
        raise SystemError("initialization of _internal failed")

    said: list[str] = []
    monkeypatch.setattr(compiled, "_loaded", fail)
    monkeypatch.setattr(compiled, "_WORTH_LOADING", 0)
    monkeypatch.setattr(compiled, "_unusable", set())
    fault = "SystemError: initialization of _internal failed"
    for _ in range(2):
        assert sketch(column(["a b"]), near(), tell=said.append).words.tolist() == [2]
    remedy = "pip install -U 'pairmine[fast]' may mend it; numpy does the work"
    assert said == [f"compiled code cannot be used ({fault}); {remedy}"]
    with pytest.raises(PairmineError, match="compiled code cannot be used"):
        sketch(column(["a b"]), near(engine="compiled"))


@pytest.mark.parametrize("engine", PATHS)
def test_sketches_made_while_texts_are_read_are_those_made_afterwards(engine: str) -> None:
    texts = [f"line {number} of {number % 7} Caf\u00e9 e\u0301" for number in range(200)] + ["", "東京 x"]
    settings = near(engine=engine, workers=2)
    ahead = kernel.Ahead(settings, "normalised")
    for start in range(0, len(texts), 30):
        ahead.take(column(texts[start : start + 30]))
    found, wanted = ahead.result(), sketch(column(texts), settings)
    assert found is not None
    for name in ("exact", "keys", "shingles", "words"):
        assert getattr(found, name).tolist() == getattr(wanted, name).tolist()


def test_of_a_text_that_is_not_utf8_the_sketches_made_ahead_say_nothing() -> None:
    bad = pa.array([b"fine", b"caf\xe9"]).view(pa.string())
    ahead = kernel.Ahead(near(), "normalised")
    ahead.take(pa.chunked_array([bad]))
    assert ahead.result() is None


def test_a_scan_takes_room_for_what_it_finds_not_for_all_that_a_long_text_might_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("numba")
    native.load()
    (texts,) = kernel_slices.slices(pa.array(["a b", "abc " * 5000, "", "c d e f"], pa.large_string()))
    even = kernel_slices.settled(texts, native)
    full = np.full(1024, 2**64 - 1, np.uint64)
    every = [Look(length, length > 2, full) for length in (1, 2, 3)]
    (whole, found), (wanted_whole, wanted) = (way(even, True, every) for way in (native.scan, scan.plain_scan))
    assert whole.tolist() == wanted_whole.tolist()
    for one, other in zip(found, wanted, strict=True):
        assert one.texts.tolist() == other.texts.tolist()
        assert one.hashes.tolist() == other.hashes.tolist()
    rooms: list[int] = []
    monkeypatch.setattr(native, "_larger", lambda values, filled, room: rooms.append(room) or np.empty(room))
    native.scan(even, True, [Look(8, True, np.zeros(1024, np.uint64))])
    assert rooms == []


def test_half_a_code_point_from_a_reply_is_no_word() -> None:
    assert kernel.read_texts(["a\ud800b", "a b"], 2).words.sizes.tolist() == [2, 2]


def test_letters_that_no_text_had_so_far_are_looked_at_again_once_they_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("numba")
    native.load()
    known = tables.Letters()
    monkeypatch.setattr(tables, "letters", lambda: known)
    (texts,) = kernel_slices.slices(pa.array(["Cafe\u0301", "cafe"], pa.large_string()))
    assert native.uneven(texts).tolist() == [True, False]
    assert known.folded[0x301]
    assert not known.folded[0x302]
