"""`score`: the same numbers as the model itself gives, each pair once, whatever stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.backends import models
from pairmine.backends.encoders import FakeEncoder, nothing
from pairmine.backends.models import Advance
from pairmine.backends.scorers import BiEncoderScorer, CrossEncoderScorer
from pairmine.backends.specs import Spec
from pairmine.backends.vectors.exact import row_products
from pairmine.cli.main import app
from pairmine.errors import PairmineError
from pairmine.schema import as_pairs, empty_pairs, scale_of
from pairmine.stages.score import VectorAdder, open_scorer, score_pairs

CROSS_ENCODER = Path(__file__).parents[2] / "shared" / "models" / "cross-encoder-minilm"
needs_cross_encoder = pytest.mark.skipif(not CROSS_ENCODER.is_dir(), reason=f"no cross-encoder in {CROSS_ENCODER}")
WORDS = ["wing", "lift", "drag", "flow", "fin", "heat", "東京", "boundary", "layer", "supersonic"]


class CountingScorer:
    """Scores a pair by its lengths and remembers what it was asked."""

    scale = "logit"

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.asked: list[tuple[str, str]] = []

    def score(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing) -> np.ndarray:
        self.asked += zip(queries, documents, strict=True)
        return np.array(
            [len(query) + len(text) / 100 for query, text in zip(queries, documents, strict=True)], np.float32
        )


def pairs_of(texts: Sequence[tuple[str | None, str | None]], **columns: list[Any]) -> pa.Table:
    numbers = range(len(texts))
    table = {
        "query_id": pa.array([f"q{number}" for number in numbers], pa.string()),
        "query": pa.array([query for query, _ in texts], pa.string()),
        "doc_id": pa.array([f"d{number}" for number in numbers], pa.string()),
        "document": pa.array([text for _, text in texts], pa.string()),
        "origin": pa.array(["given"] * len(texts), pa.string()),
    }
    return as_pairs(pa.table({**table, **columns}))


def random_texts(number: int, seed: int = 0) -> list[tuple[str, str]]:
    draw = np.random.default_rng(seed)
    sizes = draw.integers(1, 90, (number, 2))
    return [(" ".join(draw.choice(WORDS, one % 12 + 1)), " ".join(draw.choice(WORDS, two))) for one, two in sizes]


def test_equal_pairs_are_scored_once_and_every_row_gets_its_score() -> None:
    scorer = CountingScorer()
    outcome = score_pairs(
        pairs_of([("a", "bb"), ("a", "bb"), ("a", "b"), ("aa", "bb"), ("a", "bb")]), scorer, name="ce"
    )
    assert sorted(scorer.asked) == [("a", "b"), ("a", "bb"), ("aa", "bb")]
    assert outcome.kept["score_ce"].to_pylist() == pytest.approx([1.02, 1.02, 1.01, 2.02, 1.02])


def test_a_spec_serves_as_a_scorer_in_python() -> None:
    import pairmine

    pairs = pairs_of([("wing", "lift"), ("fin", "東京")])
    by_spec = score_pairs(pairs, "fake:").kept
    assert by_spec.equals(score_pairs(pairs, pairmine.open_scorer("fake:"), name="fake").kept)
    assert "score_second" in score_pairs(pairs, "second=fake:").kept.column_names
    assert "score_mine" in score_pairs(pairs, "second=fake:", name="mine").kept.column_names
    with pytest.raises(
        PairmineError,
        match="--scorer bm25: no such kind of model; known: ce:MODEL, st:MODEL, rerank:MODEL, ql:MODEL",
    ):
        score_pairs(pairs, "bm25")
    with pytest.raises(PairmineError, match=r"--scorer cross/encoder: .* did you mean st:cross/encoder"):
        pairmine.open_scorer("cross/encoder")
    with pytest.raises(PairmineError, match="pass name="):
        score_pairs(pairs, CountingScorer())


def test_texts_from_several_dictionaries_are_told_apart() -> None:
    scorer = CountingScorer()
    whole = pa.concat_tables([pairs_of([("a", "b"), ("c", "dd")]), pairs_of([("c", "dd"), ("a", "b")])])
    outcome = score_pairs(whole, scorer, name="ce")
    assert len(scorer.asked) == 2
    assert outcome.kept["query"].to_pylist() == ["a", "c", "c", "a"]
    assert outcome.kept["score_ce"].to_pylist() == pytest.approx([1.01, 1.02, 1.02, 1.01])


def test_the_scale_is_recorded_and_other_columns_stay() -> None:
    pairs = pairs_of([("a", "b")], mine=["kept"], score_ce=[0.5], score_bm25=[3.0])
    kept = score_pairs(pairs, CountingScorer(), name="ce").kept
    assert scale_of(kept.schema.field("score_ce")) == "logit"
    assert kept.select(["mine", "score_bm25"]).to_pylist() == [{"mine": "kept", "score_bm25": 3.0}]
    assert kept["score_ce"].to_pylist() == pytest.approx([1.01])


def test_no_rows_give_no_rows_and_the_column() -> None:
    kept = score_pairs(empty_pairs(), CountingScorer(), name="ce").kept
    assert kept.num_rows == 0
    assert "score_ce" in kept.column_names


def test_a_row_without_a_text_is_named() -> None:
    with pytest.raises(PairmineError, match=r'1 of 2 rows have no document text, the first is row 2 \(query "q1"'):
        score_pairs(pairs_of([("a", "b"), ("a", None)]), CountingScorer(), name="ce")
    with pytest.raises(PairmineError, match="no query text"):
        score_pairs(pairs_of([(None, "b")]), CountingScorer(), name="ce")
    with pytest.raises(PairmineError, match='no "document" texts'):
        score_pairs(pairs_of([("a", "b")]).drop_columns(["document"]), CountingScorer(), name="ce")


def test_a_bi_encoder_embeds_each_text_once_over_all_chunks() -> None:
    asked: list[str] = []

    class Counting(FakeEncoder):
        def encode(self, texts: Sequence[str], side: Any, advance: Advance = nothing) -> np.ndarray:
            asked.extend(f"{side} {text}" for text in texts)
            return super().encode(texts, side, advance)

    scorer = BiEncoderScorer(Counting())
    texts = [("wing", "lift"), ("wing", "drag"), ("fin", "lift"), ("fin", "wing"), ("wing", "lift")]
    whole = score_pairs(pairs_of(texts), scorer, name="st").kept["score_st"].to_pylist()
    parts = [score_pairs(pairs_of([text]), scorer, name="st").kept["score_st"][0].as_py() for text in texts]
    assert parts == whole
    assert sorted(asked) == ["document drag", "document lift", "document wing", "query fin", "query wing"]


def test_a_product_has_the_same_bits_whatever_stands_beside_it() -> None:
    draw = np.random.default_rng(0)
    for dim in (1, 3, 64, 383, 384):
        one, other = (draw.standard_normal((50, dim), np.float32) for _ in range(2))
        rows = draw.integers(0, 50, (2, 9000))
        whole = row_products(one, other, *rows)
        alone = [row_products(one, other, rows[0, [at]], rows[1, [at]])[0] for at in range(0, 9000, 250)]
        assert np.array_equal(whole[::250], alone)


# --- the real cross-encoder ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def cross_encoder() -> CrossEncoderScorer:
    return CrossEncoderScorer(Spec("ce", str(CROSS_ENCODER)), device="cpu", dtype="float32")


@needs_cross_encoder
def test_probabilities_are_those_of_the_model(cross_encoder: CrossEncoderScorer) -> None:
    import torch

    texts = random_texts(30)
    kept = score_pairs(pairs_of(texts), cross_encoder, name="ce").kept
    wanted = cross_encoder._model.predict(texts, activation_fn=torch.nn.Sigmoid(), show_progress_bar=False)
    np.testing.assert_allclose(kept["score_ce"].to_numpy(), wanted, atol=1e-5)
    assert scale_of(kept.schema.field("score_ce")) == "probability"


@needs_cross_encoder
def test_a_pair_has_the_same_probability_in_every_chunk_and_batch(
    cross_encoder: CrossEncoderScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = pairs_of([(query, text[:150]) for query, text in random_texts(14)])
    whole = score_pairs(pairs, cross_encoder, name="ce").kept["score_ce"]
    parts = [score_pairs(pairs.slice(at, 5), cross_encoder, name="ce").kept["score_ce"] for at in range(0, 14, 5)]
    assert [score for part in parts for score in part.to_pylist()] == whole.to_pylist()
    monkeypatch.setattr(models, "TOKENS_PER_BATCH", 200)
    turned = score_pairs(pairs.take(pa.array(np.arange(14)[::-1])), cross_encoder, name="ce").kept["score_ce"]
    assert turned.to_pylist()[::-1] == whole.to_pylist()


@needs_cross_encoder
@pytest.mark.slow
def test_the_command_gives_the_same_bytes_with_one_worker_and_two(tmp_path: Path) -> None:
    import torch

    threads = torch.get_num_threads()
    pq.write_table(pairs_of(random_texts(20)), tmp_path / "pairs.parquet")
    outputs = []
    for workers in (1, 2):
        out = tmp_path / f"{workers}.parquet"
        arguments = ["score", tmp_path / "pairs.parquet", "--scorer", f"ce:{CROSS_ENCODER}", "--workers", workers]
        app([*map(str, arguments), "-o", str(out), "-q"], standalone_mode=False)
        outputs.append(out.read_bytes())
    torch.set_num_threads(threads)
    assert outputs[0] == outputs[1]
    assert str(CROSS_ENCODER.parent).encode() not in outputs[0]


def test_a_cross_encoder_takes_no_prompts(tmp_path: Path) -> None:
    pairs, out = tmp_path / "pairs.parquet", tmp_path / "out.parquet"
    pq.write_table(pairs_of([("a", "b")]), pairs)
    with pytest.raises(PairmineError, match="--query-prompt has no effect with --scorer ce:some/model"):
        app(
            ["score", str(pairs), "--scorer", "ce:some/model", "--query-prompt", "q: ", "-o", str(out)],
            standalone_mode=False,
        )
    with pytest.raises(PairmineError, match="--query-prompt has no effect with --scorer ce:some/model"):
        open_scorer("ce:some/model", query_prompt="q: ")
    assert not out.exists()


# --- a teacher's vectors ------------------------------------------------------------------------


def test_vectors_are_those_of_the_teacher_on_every_row() -> None:
    texts = [("wing", "lift"), ("wing", "drag"), ("東京", "lift")]
    adder = VectorAdder(FakeEncoder())
    kept = adder.add(pairs_of(texts, mine=["a", "b", "c"])).kept
    for side, column in enumerate(("query_vector", "document_vector")):
        wanted = FakeEncoder().encode([text[side] for text in texts], "query")
        assert kept.schema.field(column).type == pa.list_(pa.float32(), 64)
        np.testing.assert_array_equal(np.array(kept[column].to_pylist(), np.float32), wanted)
    assert kept["mine"].to_pylist() == ["a", "b", "c"]
    assert adder.add(kept).kept.equals(kept)


def test_one_side_alone_may_be_embedded_and_the_other_may_lack_texts() -> None:
    kept = VectorAdder(FakeEncoder(), "query").add(pairs_of([("a", None)])).kept
    assert "query_vector" in kept.column_names
    assert "document_vector" not in kept.column_names
    with pytest.raises(PairmineError, match="1 of 1 rows have no document text"):
        VectorAdder(FakeEncoder()).add(pairs_of([("a", None)]))
    with pytest.raises(PairmineError, match="--side left: choose query, document, both"):
        VectorAdder(FakeEncoder(), "left")


def test_a_text_is_embedded_once_over_all_chunks_and_no_rows_give_the_columns() -> None:
    asked: list[str] = []

    class Counting(FakeEncoder):
        def encode(self, texts: Sequence[str], side: Any, advance: Advance = nothing) -> np.ndarray:
            asked.extend(text for text in texts if text)
            return super().encode(texts, side, advance)

    adder = VectorAdder(Counting(), "document")
    for chunk in ([("a", "x"), ("b", "y")], [("c", "x")]):
        adder.add(pairs_of(chunk))
    assert sorted(asked) == ["x", "y"]
    kept = VectorAdder(FakeEncoder()).add(empty_pairs()).kept
    assert kept.schema.field("document_vector").type == pa.list_(pa.float32(), 64)


@pytest.mark.parametrize("ending", ["parquet", "arrow", "jsonl"])
def test_vectors_are_written_and_read_again(tmp_path: Path, ending: str) -> None:
    pairs, out = tmp_path / "pairs.parquet", tmp_path / f"out.{ending}"
    pq.write_table(pairs_of([("wing", "lift"), ("fin", "東京")]), pairs)
    app(["score", str(pairs), "--vectors", "fake:", "-o", str(out), "-q"], standalone_mode=False)
    app(["score", str(out), "--scorer", "fake:", "-o", str(tmp_path / "next.parquet"), "-q"], standalone_mode=False)
    found = np.array(pq.read_table(tmp_path / "next.parquet")["query_vector"].to_pylist(), np.float32)
    np.testing.assert_allclose(found, FakeEncoder().encode(["wing", "fin"], "query"), atol=1e-6)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "pass --scorer for a score, --vectors for vectors"),
        (["--scorer", "fake:", "--vectors", "fake:"], "and one of them"),
        (["--vectors", "ce:some/model"], "--vectors ce:some/model: no such kind of model; known: st:MODEL, fake"),
        (["--vectors", "fake:", "--side", "left"], "--side left: choose query, document, both"),
        (["--vectors", "fake:", "--recipe", "judge"], "--recipe has no effect with --vectors"),
    ],
)
def test_what_does_not_go_with_vectors_is_refused(tmp_path: Path, words: list[str], line: str) -> None:
    pq.write_table(pairs_of([("a", "b")]), tmp_path / "pairs.parquet")
    with pytest.raises(PairmineError) as told:
        app(
            ["score", str(tmp_path / "pairs.parquet"), *words, "-o", str(tmp_path / "o.parquet")], standalone_mode=False
        )
    assert line in str(told.value)
