"""Vectors are kept: nothing is embedded twice, nothing stale is used, nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairmine.backends.encoders import FakeEncoder, Side, nothing
from pairmine.backends.vectors import store as module
from pairmine.backends.vectors.codec import Codec, quantise
from pairmine.backends.vectors.shards import Shard
from pairmine.backends.vectors.store import StoredVectors, VectorStore, distinct, kept_in, match
from pairmine.errors import GAVE_UP, PairmineError

TEXTS = [f"document {number} tells of {number % 7} rivers" for number in range(300)]
EVERYWHERE = [None, 0]
"""Budgets: all in memory, all on disk."""


class Counting(FakeEncoder):
    """Words hashed into vectors, in batches of 16 from the last text to the first; it notes what it was asked for."""

    def __init__(self, dim: int = 64, **more: Any) -> None:
        super().__init__(dim)
        self.asked: list[str] = []
        self._more = more

    def identity(self, side: Side) -> dict[str, Any]:
        return {**super().identity(side), **self._more}

    def parts(
        self, texts: Sequence[str], side: Side, advance: Any = nothing
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = np.arange(len(texts))[::-1]
        for start in range(0, len(texts), 16):
            rows = order[start : start + 16]
            some = [texts[row] for row in rows]
            self.asked += some
            yield rows, self.encode(some, side, advance)


def every(vectors: Any) -> np.ndarray:
    return vectors.block(0, len(vectors))


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.shard"))


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
@pytest.mark.parametrize("budget", EVERYWHERE)
def test_a_second_run_embeds_nothing_and_sees_the_same_vectors(tmp_path: Path, kind: str, budget: int | None) -> None:
    first, second = Counting(), Counting()
    one = VectorStore(tmp_path, vector_type=kind).vectors(first, TEXTS, "document", budget_bytes=budget)
    store = VectorStore(tmp_path, vector_type=kind)
    other = store.vectors(second, TEXTS, "document", budget_bytes=budget)
    unkept = VectorStore(None, vector_type=kind).vectors(Counting(), TEXTS, "document", budget_bytes=budget)

    assert sorted(first.asked) == sorted(TEXTS)
    assert second.asked == []
    assert (store.embedded, store.reused) == (0, len(TEXTS))
    assert isinstance(one, StoredVectors) == (budget == 0)
    assert every(one).dtype == np.float32
    assert every(one).tobytes() == every(other).tobytes() == every(unkept).tobytes()


@pytest.mark.parametrize("budget", EVERYWHERE)
def test_float32_and_float16_are_the_encoders_own_vectors_rounded(tmp_path: Path, budget: int | None) -> None:
    truth = FakeEncoder().encode(TEXTS, "document")
    for kind in ("float32", "float16"):
        store = VectorStore(tmp_path, vector_type=kind)
        found = store.vectors(Counting(), TEXTS, "document", budget_bytes=budget)
        assert (every(found) == truth.astype(kind).astype(np.float32)).all()
        places = np.array([299, 0, 7, 7, 150])
        assert (found.take(places) == truth[places].astype(kind).astype(np.float32)).all()
        assert found.block(10, 10).shape == (0, 64)


def test_int8_keeps_length_and_direction_of_real_looking_vectors() -> None:
    vectors = np.random.default_rng(0).standard_normal((500, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    codec = Codec("int8", 384)
    rows = codec.pack(vectors)
    found = codec.unpack(rows)
    assert rows.shape == (500, 388)
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 2e-6
    assert (found * vectors).sum(axis=1).min() > 0.9999
    # The step is 1/127 of the largest component; half of it is the most that rounding takes away, and the
    # scale differs from that step by the little that gives the length back.
    steps = np.abs(vectors).max(axis=1, keepdims=True) / 127
    assert (np.abs(found - vectors) < 0.51 * steps + 127 * steps * 2e-3).all()


def test_int8_takes_zeros_and_does_not_depend_on_neighbours() -> None:
    vectors = np.array([[0, 0, 0], [0.6, -0.8, 0], [1, 0, 0]], np.float32)
    steps, scales = quantise(vectors)
    assert steps.tolist() == [[0, 0, 0], [95, -127, 0], [127, 0, 0]]
    assert scales[0] == 0
    for row in range(3):
        alone = Codec("int8", 3).pack(vectors[row : row + 1])
        assert (alone == Codec("int8", 3).pack(vectors)[row]).all()


def test_one_new_document_is_one_embedded(tmp_path: Path) -> None:
    VectorStore(tmp_path).vectors(Counting(), TEXTS, "document")
    encoder, store = Counting(), VectorStore(tmp_path)
    store.vectors(encoder, [*TEXTS[:100], "a new one", *TEXTS[100:]], "document")
    assert encoder.asked == ["a new one"]
    assert (store.embedded, store.reused) == (1, 300)


def test_a_text_that_comes_often_is_embedded_once(tmp_path: Path) -> None:
    texts = ["b", "a", "b", "b", "c", "a"]
    truth = FakeEncoder().encode(texts, "query")
    for folder in (tmp_path, None):
        for budget in EVERYWHERE:
            encoder = Counting()
            done: list[int] = []
            store = VectorStore(folder)
            found = store.vectors(encoder, texts, "query", done.append, budget)
            assert (every(found) == truth).all()
            assert (found.take(np.array([5, 0])) == truth[[5, 0]]).all()
            assert sum(done) == 6
            assert sorted(encoder.asked) == (["a", "b", "c"] if folder is None or budget is None else [])


def test_texts_are_told_apart_to_the_last_byte(tmp_path: Path) -> None:
    texts = ["é", "e\u0301", "É", "e", " e", "e ", "", "東京", "東\ud800京", "a\0b", "a"]
    encoder = Counting()
    found = VectorStore(tmp_path).vectors(encoder, texts, "document")
    assert len(encoder.asked) == len(texts)
    assert (every(found) == FakeEncoder().encode(texts, "document")).all()


@pytest.mark.parametrize("folder", ["kept", None])
@pytest.mark.parametrize("budget", EVERYWHERE)
def test_no_texts_give_no_vectors(tmp_path: Path, folder: str | None, budget: int | None) -> None:
    store = VectorStore(folder and tmp_path / folder)
    assert len(store.vectors(Counting(), [], "document", budget_bytes=budget)) == 0
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    "other",
    [{"prompt": "query: "}, {"max_length": 64}, {"dtype": "bfloat16"}, {"sha256": "another"}, {"backend": "onnx"}],
)
def test_what_another_model_prompt_or_length_gave_is_never_used(tmp_path: Path, other: dict[str, Any]) -> None:
    plain = {"prompt": "", "max_length": 128, "dtype": "float32", "sha256": "one", "backend": "torch"}
    VectorStore(tmp_path).vectors(Counting(**plain), TEXTS, "document")
    encoder = Counting(**plain | other)
    VectorStore(tmp_path).vectors(encoder, TEXTS, "document")
    assert len(encoder.asked) == len(TEXTS)
    assert len(kept_in(tmp_path)) == 2


def test_vectors_of_another_type_on_disk_are_not_mixed_in(tmp_path: Path) -> None:
    VectorStore(tmp_path, vector_type="int8").vectors(Counting(), TEXTS, "document")
    found = VectorStore(tmp_path).vectors(Counting(), TEXTS, "document")
    assert (every(found) == FakeEncoder().encode(TEXTS, "document")).all()


def test_a_model_whose_weights_nobody_can_name_is_not_kept(tmp_path: Path) -> None:
    lines: list[str] = []
    for _ in range(2):
        encoder = Counting(unknown_weights="by chance")
        found = VectorStore(tmp_path, say=lines.append).vectors(encoder, TEXTS, "document")
        assert len(encoder.asked) == len(found) == len(TEXTS)
    assert lines == ["fake:: neither a digest nor a revision of its weights is known; its vectors are not kept"] * 2
    assert list(tmp_path.iterdir()) == []


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("vector", "its vectors do not agree with their checksum; 300 of them are embedded anew"),
        ("key", "its keys do not agree with their checksum; what it held is embedded anew"),
        ("head", "its head is damaged; what it held is embedded anew"),
        ("end", "it was cut short; what it held is embedded anew"),
        ("all", "its head is damaged; what it held is embedded anew"),
    ],
)
def test_a_damaged_shard_is_noticed_said_and_embedded_anew(tmp_path: Path, what: str, said: str) -> None:
    VectorStore(tmp_path).vectors(Counting(), TEXTS, "document")
    VectorStore(tmp_path).vectors(Counting(), ["another"], "document")
    big = max(shards(tmp_path), key=lambda path: path.stat().st_size)
    if what in ("end", "all"):
        os.truncate(big, big.stat().st_size - 1 if what == "end" else 0)
    else:
        flip(big, {"vector": -5, "key": 70, "head": 20}[what])
    lines: list[str] = []
    encoder = Counting()
    found = VectorStore(tmp_path, say=lines.append).vectors(encoder, [*TEXTS, "another"], "document", budget_bytes=0)
    assert lines == [f"{big}: {said}"]
    assert sorted(encoder.asked) == sorted(TEXTS)
    assert (every(found) == FakeEncoder().encode([*TEXTS, "another"], "document")).all()
    again = Counting()
    VectorStore(tmp_path, say=lines.append).vectors(again, TEXTS, "document")
    assert again.asked == []
    assert len(lines) == 1


def test_a_store_of_a_newer_pairmine_is_refused(tmp_path: Path) -> None:
    VectorStore(tmp_path).vectors(Counting(), TEXTS[:3], "document")
    (described,) = tmp_path.glob("*/identity.json")
    described.write_text(json.dumps(json.loads(described.read_text()) | {"format": 2}))
    with pytest.raises(PairmineError, match=r"written by a newer pairmine \(format 2, this one reads 1\); upgrade"):
        VectorStore(tmp_path).vectors(Counting(), TEXTS, "document")


def test_a_torn_description_is_written_anew(tmp_path: Path) -> None:
    VectorStore(tmp_path).vectors(Counting(), TEXTS[:3], "document")
    (described,) = tmp_path.glob("*/identity.json")
    described.write_text('{"form')
    encoder = Counting()
    VectorStore(tmp_path).vectors(encoder, TEXTS[:4], "document")
    assert encoder.asked == [TEXTS[3]]
    assert [kept.model for kept in kept_in(tmp_path)] == ["fake:"]


def test_vectors_of_another_length_under_one_name_are_an_error(tmp_path: Path) -> None:
    class Grown(Counting):
        def identity(self, side: Side) -> dict[str, Any]:
            return {"model": "same"}

    VectorStore(tmp_path).vectors(Grown(64), ["a"], "document")
    with pytest.raises(PairmineError, match="vectors of 32 and of 64 dimensions under one name of a model"):
        VectorStore(tmp_path).vectors(Grown(32), ["b"], "document")


def test_a_file_in_the_place_of_the_store_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(PairmineError, match="is a file; name a folder with --store, or none"):
        VectorStore(tmp_path / "file")
    with pytest.raises(PairmineError, match=r"--vector-type int4: choose float32, float16, int8"):
        VectorStore(tmp_path, vector_type="int4")


def test_corpora_that_grow_a_little_at_a_time_are_put_together(tmp_path: Path) -> None:
    truth = FakeEncoder().encode(TEXTS, "document")
    for end in range(10, 301, 10):
        encoder = Counting()
        # Every other run has the documents in another order.
        texts = TEXTS[:end] if end % 20 else TEXTS[:end][::-1]
        found = VectorStore(tmp_path).vectors(encoder, texts, "document", budget_bytes=0)
        assert len(encoder.asked) == 10
        assert (every(found) == (truth[:end] if end % 20 else truth[:end][::-1])).all()
        assert len(shards(tmp_path)) < 9
    assert sum(Shard(path).rows for path in shards(tmp_path)) == 300


def test_shards_hold_texts_in_their_order_although_they_come_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SHARD_ROWS", 64)
    monkeypatch.setattr(module, "_COMMIT_BYTES", 64 * 64)  # some small shards on the way
    VectorStore(tmp_path).vectors(Counting(), TEXTS, "document")
    keys = distinct(TEXTS)[0]
    place = {tuple(key): at for at, key in enumerate(keys.tolist())}
    found = [[place[tuple(key)] for key in Shard(path).keys.tolist()] for path in shards(tmp_path)]
    assert sorted(found) == [list(range(at, min(at + 64, 300))) for at in range(0, 300, 64)]


def test_vectors_on_disk_are_read_in_bounded_memory(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(20_000)]
    truth = FakeEncoder(256).encode(texts, "document")
    found = VectorStore(tmp_path).vectors(Counting(256), texts, "document", budget_bytes=1 << 20)
    assert truth.nbytes > 20e6
    tracemalloc.start()
    try:
        for start in range(0, 20_000, 500):
            assert (found.block(start, start + 500) == truth[start : start + 500]).all()
        places = np.random.default_rng(0).integers(0, 20_000, 500)
        assert (found.take(places) == truth[places]).all()
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_without_a_store_nothing_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = VectorStore(None).vectors(Counting(), TEXTS, "document", budget_bytes=0)
    assert list(tmp_path.iterdir()) == []
    assert (every(found) == FakeEncoder().encode(TEXTS, "document")).all()
    assert (found.take(np.array([3, 299, 3])) == FakeEncoder().encode(TEXTS, "document")[[3, 299, 3]]).all()


def test_a_temporary_folder_without_room_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    texts = [str(number) for number in range(8)]
    monkeypatch.setattr(FakeEncoder, "encode", lambda self, some, side, advance=nothing: np.zeros((len(some), 1 << 48)))
    with pytest.raises(PairmineError, match=r"GB of vectors are to be put there, and .* GB are free") as raised:
        module._Spool(Codec("float32", 1 << 48), len(texts))
    assert raised.value.exit_code == GAVE_UP


def test_keys_with_one_half_in_common_are_told_apart() -> None:
    among = np.array([[1, 1], [5, 2], [5, 4], [5, 9], [9, 0]], np.uint64)
    keys = np.array([[5, 9], [5, 3], [5, 4], [9, 0], [9, 1], [0, 0], [5, 2]], np.uint64)
    assert match(keys, among).tolist() == [3, -1, 2, 4, -1, -1, 1]
    assert match(keys, among[:0]).tolist() == [-1] * 7


def test_distinct_texts_are_numbered_as_they_first_come() -> None:
    texts = ["x", "y", "x", "z", "y", "x"]
    keys, first, of_text = distinct(texts)
    assert first.tolist() == [0, 1, 3]
    assert of_text.tolist() == [0, 1, 0, 2, 1, 0]
    assert len(np.unique(keys, axis=0)) == 3


# --- other processes ------------------------------------------------------------------------------------

SLOW = """
import sys, time
import numpy as np
from pairmine.backends.encoders import FakeEncoder, nothing
from pairmine.backends.vectors import store
store.COMMIT_S = 0.1
class Slow(FakeEncoder):
    asked = 0
    def parts(self, texts, side, advance=nothing):
        rest = np.arange(len(texts))[::-1]
        while len(rest):
            rows, rest = rest[:10], rest[10:]
            time.sleep({pause})
            Slow.asked += len(rows)
            yield rows, self.encode([texts[row] for row in rows], side, advance)
texts = [f"document {{number}} tells of {{number % 7}} rivers" for number in range({count})]
kept = store.VectorStore({folder!r})
try:
    found = kept.vectors(Slow(), texts, "document", budget_bytes=0)
    np.save({folder!r} + "-of-%d.npy" % __import__("os").getpid(), found.block(0, len(found)))
finally:
    print(Slow.asked, kept.reused)
"""


def slow(folder: Path, count: int = 300, pause: float = 0.02, **more: Any) -> subprocess.Popen[str]:
    script = SLOW.format(folder=str(folder), count=count, pause=pause)
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def wait_for_shards(folder: Path, count: int) -> None:
    end = time.monotonic() + 60
    while len(shards(folder)) < count:
        assert time.monotonic() < end, "no shards came"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_killed_loses_its_last_moments_at_most(tmp_path: Path, number: int) -> None:
    folder = tmp_path / "store"
    process = slow(folder)
    wait_for_shards(folder, 2)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -number
    # What was being written when the signal came may be there twice.
    saved = len(np.unique(np.concatenate([Shard(path).keys for path in shards(folder)]), axis=0))
    assert 0 < saved < 300
    if number == signal.SIGINT:  # but for a batch in the air, all that was asked for is there
        assert int(out.split()[0]) - 10 <= saved
    encoder = Counting()
    lines: list[str] = []
    found = VectorStore(folder, say=lines.append).vectors(encoder, TEXTS, "document", budget_bytes=0)
    assert len(encoder.asked) == 300 - saved
    assert (every(found) == FakeEncoder().encode(TEXTS, "document")).all()
    assert lines == []
    assert not list(folder.glob("*/.*.partial"))


def test_two_processes_share_a_store(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    both = [slow(folder, pause=0.01), slow(folder, pause=0.013)]
    for process in both:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
    for process in both:
        found = np.load(f"{folder}-of-{process.pid}.npy")
        assert (found == FakeEncoder().encode(TEXTS, "document")).all()
    encoder = Counting()
    VectorStore(folder).vectors(encoder, TEXTS, "document")
    assert encoder.asked == []


def test_what_another_process_puts_together_while_it_is_looked_for_is_not_embedded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    VectorStore(tmp_path).vectors(Counting(), TEXTS, "document")
    (only,) = shards(tmp_path)

    def opened(path: Path) -> Shard:
        """The shard at `path`, which another process has given another name just before."""
        if path == only and path.exists():
            path.rename(path.with_name(f"{'0' * 16}.shard"))
        return Shard(path)

    monkeypatch.setattr(module, "Shard", opened)
    encoder = Counting()
    VectorStore(tmp_path).vectors(encoder, TEXTS, "document")
    assert encoder.asked == []


def test_a_store_that_is_put_together_meanwhile_can_still_be_read(tmp_path: Path) -> None:
    for end in range(40, 281, 40):
        VectorStore(tmp_path).vectors(Counting(), TEXTS[:end], "document")
    before = VectorStore(tmp_path).vectors(Counting(), TEXTS[:280], "document", budget_bytes=0)
    old = set(shards(tmp_path))
    VectorStore(tmp_path).vectors(Counting(), TEXTS, "document")
    assert not old & set(shards(tmp_path))
    assert (every(before) == FakeEncoder().encode(TEXTS[:280], "document")).all()


def test_a_full_disk_stops_the_run_and_what_is_there_stays(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    VectorStore(folder).vectors(Counting(), TEXTS[:100], "document")

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))

    process = slow(folder, pause=0, preexec_fn=small_files)
    _, error = process.communicate(timeout=60)
    assert f"PairmineError: {folder}: file too large; the vectors that are there are safe, mend that" in error
    assert not list(folder.glob("*/.*.partial"))
    encoder = Counting()
    VectorStore(folder).vectors(encoder, TEXTS, "document")
    assert len(encoder.asked) == 200


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="pairmine-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_store_that_can_only_be_read_serves_what_it_has(open_folder: Path) -> None:
    folder = open_folder / "store"
    VectorStore(folder).vectors(Counting(), TEXTS, "document")
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    # Root may write everywhere: as somebody else, once everything is imported.
    script = "import os\n" + SLOW.format(folder=str(folder), count=300, pause=0).replace("np.save", "print")
    script = script.replace("store.COMMIT_S", "os.geteuid() or os.setuid(65534)\nstore.COMMIT_S")
    wants = [script, script.replace("range(300)", "range(301)")]
    found = [subprocess.run([sys.executable, "-c", each], capture_output=True, text=True) for each in wants]
    assert found[0].returncode == 0, found[0].stderr
    assert found[0].stdout.splitlines()[-1] == "0 300"
    where = f"{folder}: vectors cannot be kept there (permission denied); name another --store, or none"
    assert found[1].stderr.strip().endswith(where)
    assert found[1].stdout.splitlines()[-1] == "0 0"  # said before anything was embedded


def test_a_store_whose_disk_turns_read_only_is_worth_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> Path:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(module, "write_shard", refused)
    with pytest.raises(PairmineError, match=r"read-only file system; .* run the same command again") as error:
        VectorStore(tmp_path).vectors(Counting(), TEXTS, "document")
    assert error.value.exit_code == GAVE_UP


@pytest.mark.slow
def test_a_million_vectors_are_found_and_read_in_seconds(tmp_path: Path) -> None:
    class Cheap(Counting):
        def parts(
            self, texts: Sequence[str], side: Side, advance: Any = nothing
        ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            numbers = np.array([int(text) for text in texts], np.float32)
            yield np.arange(len(texts)), np.repeat(numbers[:, None], 64, axis=1)

    class Numbers(Sequence[str]):
        def __len__(self) -> int:
            return 1_000_000

        def __getitem__(self, at: Any) -> Any:
            return [str(number) for number in range(*at.indices(len(self)))] if isinstance(at, slice) else str(at)

    VectorStore(tmp_path).vectors(Cheap(), Numbers(), "document", budget_bytes=0)
    started = time.process_time()
    store = VectorStore(tmp_path)
    found = store.vectors(Cheap(), Numbers(), "document")
    took = time.process_time() - started
    assert (store.embedded, store.reused) == (0, 1_000_000)
    assert (every(found)[::997, 5] == np.arange(0, 1_000_000, 997)).all()
    assert took < 15
