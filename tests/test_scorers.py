"""Scorers by themselves: what is kept is never asked again, what was cut is counted, what cannot be is refused."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_score import CROSS_ENCODER, needs_cross_encoder, pairs_of, random_texts

from pairmine.backends.encoders import FakeEncoder, nothing
from pairmine.backends.models import Advance
from pairmine.backends.scorers import BiEncoderScorer, CrossEncoderScorer, KeptScorer, Scored, open_scorer, remembered
from pairmine.backends.scorers.kept import pair_keys
from pairmine.backends.specs import Spec
from pairmine.backends.vectors import store
from pairmine.backends.vectors.store import VectorStore, kept_in
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.schema import scale_of
from pairmine.stages.score import VectorAdder, score_pairs

SPEC = Spec("ce", str(CROSS_ENCODER))
SPELLINGS = st.text(st.sampled_from("ab \x00é東\udc80"), max_size=4)


class CountingScorer:
    """Scores a pair by its characters, some pairs at a time from the last on, and notes what it was asked.

    It cuts pairs of more than 8 characters, and breaks off after `most` pairs.
    """

    scale = "probability"
    max_length = 8

    def __init__(self, most: int = 1 << 30, **identity: Any) -> None:
        self.facts: dict[str, Any] = {"model": "ce:counting"}
        self.asked: list[tuple[str, str]] = []
        self._identity = {"sha256": "0" * 64, **identity}
        self._most = most

    def identity(self) -> dict[str, Any]:
        return self._identity

    def parts(
        self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing
    ) -> Iterator[tuple[np.ndarray, Scored]]:
        pairs = list(zip(queries, documents, strict=True))
        for end in range(len(pairs), 0, -3):
            rows = np.arange(max(end - 3, 0), end)
            if len(self.asked) >= self._most:
                raise KeyboardInterrupt
            self.asked += [pairs[row] for row in rows]
            advance(len(rows))
            yield rows, expected([pairs[row] for row in rows])


def expected(pairs: Sequence[tuple[str, str]]) -> Scored:
    scores = [(31 * len(query) + sum(map(ord, query + "|" + document)) % 997) / 1e4 for query, document in pairs]
    is_cut = [len(query + document) > CountingScorer.max_length for query, document in pairs]
    return Scored(np.array(scores, np.float32), np.array(is_cut, bool))


def scored(scorer: Any, pairs: Sequence[tuple[str, str]], advance: Advance = nothing) -> Scored:
    found: Scored = scorer.scored([query for query, _ in pairs], [document for _, document in pairs], advance)
    return found


def equal(one: Scored, other: Scored) -> bool:
    return one.scores.tobytes() == other.scores.tobytes() and bool((one.is_cut == other.is_cut).all())


def changed_model(tmp_path: Path, file: str, changed: dict[str, Any]) -> str:
    """The folder of the real cross-encoder with other values in one of its JSON files."""
    folder = tmp_path / "model"
    folder.mkdir()
    for each in CROSS_ENCODER.iterdir():
        (folder / each.name).symlink_to(each)
    (folder / file).unlink()
    (folder / file).write_text(json.dumps(json.loads((CROSS_ENCODER / file).read_text()) | changed))
    return str(folder)


# --- what is kept ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.tuples(SPELLINGS, SPELLINGS), max_size=12), min_size=1, max_size=4))
def test_kept_scores_are_those_of_the_model_and_each_pair_is_asked_once(
    tmp_path_factory: pytest.TempPathFactory, calls: list[list[tuple[str, str]]]
) -> None:
    folder, known = tmp_path_factory.mktemp("store"), set[tuple[str, str]]()
    for pairs in calls:
        counting, done = CountingScorer(), [0]
        kept = KeptScorer(counting, folder)
        assert equal(
            scored(kept, pairs, lambda count, done=done: done.append(done.pop() + count)),  # type: ignore[misc]
            expected(pairs),
        )
        assert sorted(counting.asked) == sorted(set(pairs) - known)
        assert (kept.asked, kept.reused) == (len(set(pairs) - known), len(set(pairs) & known))
        assert done == [len(pairs)]
        known |= set(pairs)


def test_two_texts_of_a_pair_are_told_apart_however_they_are_cut_or_ordered() -> None:
    pairs = [("ab", "c"), ("a", "bc"), ("c", "ab"), ("abc", ""), ("", "abc"), ("a\x00", "b"), ("a", "\x00b")]
    keys = pair_keys([query for query, _ in pairs], [document for _, document in pairs])
    assert len(np.unique(keys, axis=0)) == len(pairs)
    assert pair_keys([], []).shape == (0, 2)


def test_a_run_that_was_interrupted_asks_only_for_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "COMMIT_S", 0.0)
    pairs = [(str(number), "text") for number in range(60)]
    first = CountingScorer(most=20)
    with pytest.raises(KeyboardInterrupt):
        scored(KeptScorer(first, tmp_path), pairs)
    second = CountingScorer()
    assert equal(scored(KeptScorer(second, tmp_path), pairs), expected(pairs))
    assert len(first.asked) == 21
    assert not set(first.asked) & set(second.asked)
    assert len(list(tmp_path.glob("*/*.shard"))) < 8


@pytest.mark.parametrize("changed", ["sha256", "max_length", "dtype", "backend", "scale", "prompt"])
def test_another_model_length_type_or_scale_never_gets_old_scores(tmp_path: Path, changed: str) -> None:
    scored(KeptScorer(CountingScorer(), tmp_path), [("a", "b")])
    other = CountingScorer(**{changed: "another"})
    scored(KeptScorer(other, tmp_path), [("a", "b")])
    assert other.asked == [("a", "b")]


def test_scores_of_a_model_that_nothing_identifies_are_not_kept(tmp_path: Path) -> None:
    lines: list[str] = []
    counting = CountingScorer(unknown_weights="this run")
    kept = KeptScorer(counting, tmp_path, lines.append)
    assert equal(scored(kept, [("a", "b"), ("a", "b")]), expected([("a", "b")] * 2))
    assert counting.asked == [("a", "b")]
    assert "its scores are not kept" in lines[0]
    assert not list(tmp_path.iterdir())


def test_damaged_scores_are_told_and_asked_anew(tmp_path: Path) -> None:
    pairs = [(str(number), "text") for number in range(20)]
    scored(KeptScorer(CountingScorer(), tmp_path), pairs)
    shard = next(tmp_path.glob("*/*.shard"))
    body = bytearray(shard.read_bytes())
    body[-5] ^= 1
    shard.write_bytes(body)
    lines: list[str] = []
    assert equal(scored(KeptScorer(CountingScorer(), tmp_path, lines.append), pairs), expected(pairs))
    assert "its scores do not agree with their checksum; 20 of them are scored anew" in lines[0]


def test_a_file_in_place_of_the_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PairmineError, match="is a file; name a folder with --store, or none"):
        KeptScorer(CountingScorer(), tmp_path / "file")


def test_two_processes_at_once_leave_each_score_once_and_right(tmp_path: Path) -> None:
    pairs = [(str(number), "text") for number in range(40)]
    one, other = KeptScorer(CountingScorer(), tmp_path), KeptScorer(CountingScorer(), tmp_path)

    class Meanwhile(CountingScorer):
        """While this one works, another process scores the same pairs."""

        def parts(self, *pairs_: Any) -> Iterator[tuple[np.ndarray, Scored]]:
            scored(other, pairs)
            yield from super().parts(*pairs_)

    assert equal(scored(KeptScorer(Meanwhile(), tmp_path), pairs), expected(pairs))
    assert equal(scored(one, pairs), expected(pairs))
    assert one.asked == 0


def test_the_store_lists_scores_beside_vectors_and_prunes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored(KeptScorer(CountingScorer(), tmp_path), [("a", "b"), ("a", "c")])
    VectorStore(tmp_path).vectors(FakeEncoder(), ["a"], "query")
    assert sorted(each.holds for each in kept_in(tmp_path)) == ["scores", "vectors"]

    def run(*words: str) -> str:
        app(["store", *words, "--store", str(tmp_path)], standalone_mode=False)
        told = capsys.readouterr()
        return told.out + told.err

    assert run("list").startswith(f"{tmp_path}: 2 scores and 1 vector, ")
    found = {each["holds"]: each for each in json.loads(run("list", "--json"))["vectors"]}
    assert (found["scores"]["scores"], found["scores"]["dim"]) == (2, None)
    assert "2 scores removed" in run("prune", "--model", "counting", "-y")
    assert run("list").startswith(f"{tmp_path}: 1 vector, ")


def test_a_bi_encoder_finds_its_vectors_in_the_store_and_scores_alike(tmp_path: Path) -> None:
    asked: list[str] = []

    class Counting(FakeEncoder):
        def parts(
            self, texts: Sequence[str], side: Any, advance: Advance = nothing
        ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            asked.extend(texts)
            return super().parts(texts, side, advance)

    pairs = pairs_of([("wing", "lift"), ("wing", "drag"), ("fin", "lift"), ("fin", "東京")])
    plain = score_pairs(pairs, BiEncoderScorer(FakeEncoder()), name="st").kept
    for _ in range(2):
        kept = score_pairs(pairs, BiEncoderScorer(Counting(), VectorStore(tmp_path)), name="st").kept
        assert kept.equals(plain)
        assert len(asked) == 5
    adder = VectorAdder(Counting(), "document", VectorStore(tmp_path))
    assert adder.add(pairs).kept.equals(VectorAdder(FakeEncoder(), "document").add(pairs).kept)
    assert len(asked) == 5


# --- the real cross-encoder -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cross_encoder() -> CrossEncoderScorer:
    return CrossEncoderScorer(SPEC, device="cpu", dtype="float32", max_length=64)


@needs_cross_encoder
def test_pairs_that_were_not_read_to_their_end_are_counted(cross_encoder: CrossEncoderScorer, tmp_path: Path) -> None:
    query = "what is lift"  # three tokens, and three special ones
    texts = [(query, "wing " * 58), (query, "wing " * 59), ("fin " * 40, "lift " * 30), (query, "wing"), (query, "")]
    pairs = pairs_of([*texts, texts[1]])
    outcome = score_pairs(pairs, cross_encoder, name="ce")
    assert outcome.notes == {"rows cut at 64 tokens": 3}
    for _ in range(2):
        again = score_pairs(pairs, KeptScorer(cross_encoder, tmp_path), name="ce")
        assert again.notes == outcome.notes
        assert again.kept.equals(outcome.kept)


@needs_cross_encoder
def test_a_logit_is_what_the_model_says_and_its_column_says_so(cross_encoder: CrossEncoderScorer) -> None:
    raw = CrossEncoderScorer(SPEC, device="cpu", dtype="float32", max_length=64, activation="none")
    pairs = pairs_of(random_texts(4))
    logits, probabilities = (score_pairs(pairs, each, name="ce").kept for each in (raw, cross_encoder))
    assert scale_of(logits.schema.field("score_ce")) == "logit"
    found = 1 / (1 + np.exp(-logits["score_ce"].to_numpy().astype(np.float64)))
    np.testing.assert_array_equal(found.astype(np.float32), probabilities["score_ce"].to_numpy())
    assert raw.identity() != cross_encoder.identity()
    with pytest.raises(PairmineError, match="--activation tanh: choose sigmoid, none"):
        CrossEncoderScorer(SPEC, activation="tanh")


@needs_cross_encoder
def test_sixteen_bits_leave_a_pair_its_bits_in_every_company_and_near_float32(
    cross_encoder: CrossEncoderScorer,
) -> None:
    texts = [(query, document[:120]) for query, document in random_texts(12)]
    half = CrossEncoderScorer(SPEC, device="cpu,cpu", dtype="bfloat16", max_length=64)
    whole = scored(half, texts).scores
    alone = np.concatenate([scored(half, [text]).scores for text in texts])
    assert alone.tobytes() == whole.tobytes()
    np.testing.assert_allclose(whole, scored(cross_encoder, texts).scores, atol=0.02)


@needs_cross_encoder
def test_a_chat_template_is_read_to_its_end_whatever_the_length(tmp_path: Path) -> None:
    import torch

    settings_of = {"chat_template": "{% for each in messages %}{{ each.content }} {% endfor %}and so the two match:"}
    folder = changed_model(tmp_path, "tokenizer_config.json", settings_of)
    scorer = CrossEncoderScorer(Spec("ce", folder), device="cpu", dtype="float32")
    texts = [("what is lift", "wing " * number) for number in range(6, 12)]
    wanted = scorer._model.predict(texts, batch_size=1, activation_fn=torch.nn.Sigmoid(), show_progress_bar=False)
    np.testing.assert_allclose(scored(scorer, texts).scores, wanted, atol=1e-5)


@needs_cross_encoder
@pytest.mark.parametrize("backend", ["onnx", "onnx-int8", "openvino"])
def test_another_runtime_gives_near_scores_whatever_stands_beside_them(
    cross_encoder: CrossEncoderScorer, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = ["openvino"] if backend == "openvino" else ["onnxruntime", "onnx"]
    if not all(importlib.util.find_spec(package) for package in packages):
        with pytest.raises(PairmineError, match=f"--backend {backend} needs the package {packages[0]}"):
            CrossEncoderScorer(SPEC, backend=backend)
        return
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    other = CrossEncoderScorer(SPEC, backend=backend, max_length=64)
    texts = random_texts(12)
    found = scored(other, texts).scores
    allowed = {"onnx": 1e-5, "onnx-int8": 0.15, "openvino": 0.02}[backend]
    np.testing.assert_allclose(found, scored(cross_encoder, texts).scores, atol=allowed)
    assert scored(other, texts[3:5]).scores.tobytes() == found[3:5].tobytes()
    assert other.identity() != cross_encoder.identity()


# --- what a store remembers of a model ------------------------------------------------------------------------


class LoadedScorer(CountingScorer):
    """In place of a cross-encoder: `made` has the options of each that was loaded, and what they give it to be."""

    made: ClassVar[list[dict[str, Any]]] = []
    dtype = "float32"

    def __init__(self, spec: Spec, **options: Any) -> None:
        super().__init__(dtype=self.dtype)
        self.made.append(options)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(remembered, "CrossEncoderScorer", LoadedScorer)
    monkeypatch.setattr(LoadedScorer, "made", [])
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    return tmp_path / "model"


def kept_scorer(folder: Path, **options: Any) -> Any:
    return open_scorer(Spec("ce", str(folder)), store=folder.parent / "store", **options)


def test_a_known_model_is_loaded_when_a_score_is_missing_and_once(folder: Path) -> None:
    assert equal(scored(kept_scorer(folder), [("a", "b")]), expected([("a", "b")]))
    again = kept_scorer(folder)
    assert equal(scored(again, [("a", "b")]), expected([("a", "b")]))
    assert len(LoadedScorer.made) == 1
    for pairs in ([("a", "b"), ("c", "d")], [("e", "f")]):
        assert equal(scored(again, pairs), expected(pairs))
    assert len(LoadedScorer.made) == 2


def test_a_model_of_the_hub_is_known_by_its_revision(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = folder.parent / "hub" / "models--some--reranker"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache.parent))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", None)
    for revision, loaded in (("a" * 40, 1), ("a" * 40, 1), ("b" * 40, 2)):
        (cache / "snapshots" / revision).mkdir(parents=True, exist_ok=True)
        (cache / "snapshots" / revision / "config.json").write_text("{}")
        (cache / "refs").mkdir(exist_ok=True)
        (cache / "refs" / "main").write_text(revision)
        open_scorer(Spec("ce", "some/reranker"), store=folder.parent / "store")
        assert len(LoadedScorer.made) == loaded


@pytest.mark.parametrize("change", ["weights", "option", "library", "machine", "torn"])
def test_a_model_that_may_be_another_is_loaded_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    kept_scorer(folder)
    options: dict[str, Any] = {}
    if change == "weights":
        (folder / "model.safetensors").write_bytes(b"others")
    elif change == "option":
        options = {"max_length": 64}
    elif change == "library":
        monkeypatch.setattr(remembered, "version", lambda name: "another")
    elif change == "machine":
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    else:
        next((folder.parent / "store" / "models").iterdir()).write_text('{"facts": ')
    kept_scorer(folder, **options)
    assert LoadedScorer.made == [{}, options]


def test_a_model_that_turns_out_otherwise_than_noted_ends_the_run_and_is_noted_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_scorer(folder)
    monkeypatch.setattr(LoadedScorer, "dtype", "bfloat16")
    with pytest.raises(PairmineError, match="is loaded otherwise than the last time; run the same command again"):
        scored(kept_scorer(folder), [("a", "b")])
    assert equal(scored(kept_scorer(folder), [("a", "b")]), expected([("a", "b")]))


# --- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"backend": "tensorrt"}, "--backend tensorrt: choose torch, onnx, onnx-int8, openvino"),
        ({"backend": "onnx", "device": "cuda"}, "--backend onnx runs on the CPU"),
        ({"backend": "onnx", "dtype": "bfloat16"}, "--dtype bfloat16 has no effect with --backend onnx"),
        ({"device": "cpu,meta"}, "several devices must be of one kind"),
    ],
)
def test_options_that_a_cross_encoder_cannot_take_are_refused(options: dict[str, Any], line: str) -> None:
    if not CROSS_ENCODER.is_dir():
        pytest.skip(f"no cross-encoder in {CROSS_ENCODER}")
    with pytest.raises(PairmineError) as told:
        open_scorer(SPEC, **options)
    assert line in str(told.value)


@needs_cross_encoder
@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"architectures": ["Qwen3ForCausalLM"]}, "is a language model .Qwen3ForCausalLM., no cross-encoder"),
        ({"id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}}, "cannot be loaded|has 2 outputs"),
    ],
)
def test_a_language_model_or_a_classifier_is_no_cross_encoder(tmp_path: Path, changed: Any, line: str) -> None:
    folder = changed_model(tmp_path, "config.json", changed)
    with pytest.raises(PairmineError, match=line):
        open_scorer(Spec("ce", folder), device="cpu")


# --- the command ----------------------------------------------------------------------------------------------


@needs_cross_encoder
def test_the_second_run_loads_no_model_and_writes_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pairs_of([(query, text[:60]) for query, text in random_texts(8)]), tmp_path / "pairs.parquet")
    outputs = []
    for number, where in enumerate(["none", str(tmp_path / "store"), str(tmp_path / "store")]):
        if number == 2:
            monkeypatch.setattr(remembered, "CrossEncoderScorer", None)
        out = tmp_path / f"{number}.parquet"
        words = ["score", tmp_path / "pairs.parquet", "--scorer", f"ce:{CROSS_ENCODER}", "--store", where, "-o", out]
        app(list(map(str, words)), standalone_mode=False)
        outputs.append((out.read_bytes(), capsys.readouterr().err))
    assert outputs[0][0] == outputs[1][0] == outputs[2][0]
    assert "8 pairs scored, 0 found in" in outputs[1][1]
    assert "0 pairs scored, 8 found in" in outputs[2][1]


OFTEN = """
import pairmine.backends.vectors.store as store
from pairmine.cli.main import main
store.COMMIT_S = 0.2
main()
"""


@pytest.mark.slow
@needs_cross_encoder
@pytest.mark.long
def test_a_run_that_is_killed_keeps_what_it_scored(tmp_path: Path) -> None:
    pairs, kept = tmp_path / "pairs.parquet", tmp_path / "store"
    pq.write_table(pairs_of(random_texts(600)), pairs)
    words = ["score", str(pairs), "--scorer", f"ce:{CROSS_ENCODER}", "--store", str(kept), "-q"]
    killed = subprocess.Popen([sys.executable, "-c", OFTEN, *words, "-o", str(tmp_path / "torn.parquet")])
    deadline = time.monotonic() + 300
    while not list(kept.glob("*/*.shard")) and time.monotonic() < deadline and killed.poll() is None:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "torn.parquet").exists()
    before = sum(each.rows for each in kept_in(kept))
    assert 0 < before <= 600
    for number, where in enumerate([str(kept), "none"]):
        words[words.index("--store") + 1] = where
        app([*words, "-o", str(tmp_path / f"{number}.parquet")], standalone_mode=False)
    assert (tmp_path / "0.parquet").read_bytes() == (tmp_path / "1.parquet").read_bytes()
    assert sum(each.rows for each in kept_in(kept)) >= 600


@needs_cross_encoder
@pytest.mark.parametrize("rows", [0, 1])
def test_a_pair_set_of_no_row_or_one_is_scored(tmp_path: Path, rows: int) -> None:
    pairs, out = tmp_path / "pairs.parquet", tmp_path / "out.parquet"
    pq.write_table(pairs_of([("wing", "東京 \U0001f6e9")]).slice(0, rows), pairs)
    words = ["--scorer", f"ce:{CROSS_ENCODER}", "--activation", "none", "--store", str(tmp_path / "store"), "-q"]
    app(["score", str(pairs), *words, "-o", str(out)], standalone_mode=False)
    found = pq.read_table(out)
    assert found.num_rows == rows
    assert found.schema.field("score_ce").type == pa.float32()
    assert scale_of(found.schema.field("score_ce")) == "logit"
