"""Each shape for sentence-transformers with losses that take it, by bi-encoders, cross-encoders and sparse encoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from _trial import TOKENS, Seen, Setting, Trial, logged, main, one_batch, step_arguments
from datasets import Dataset, load_dataset
from sentence_transformers import (
    CrossEncoder,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
    SparseEncoder,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
    cross_encoder,
    sentence_transformer,
    sparse_encoder,
)
from sentence_transformers.util import resolve_ids

Read = Callable[[Path], tuple[Dataset, list[str]]]
"""The rows of an export as the trainer takes them, and the columns that are stored."""


def one_file(path: Path) -> tuple[Dataset, list[str]]:
    """A Parquet file, all columns in their order."""
    rows = load_dataset("parquet", data_files=str(path), split="train")
    return rows, rows.column_names


def by_ids(folder: Path) -> tuple[Dataset, list[str]]:
    """Ids that the library looks up while it trains."""
    rows, queries, documents = (one_file(folder / f"{name}.parquet")[0] for name in ("train", "queries", "documents"))
    columns = rows.column_names
    rows.set_transform(resolve_ids({"query_id": queries, "document_ids": documents}))
    return rows, columns


def biencoder(target: str, loss: str, *options: str, read: Read = one_file, ending: str = ".parquet") -> Trial:
    """Steps of a bi-encoder."""

    def run(path: Path, setting: Setting) -> Seen:
        model = SentenceTransformer(str(setting.model), device="cpu")
        model.max_seq_length = TOKENS
        made = getattr(sentence_transformer.losses, loss)(model)
        arguments = SentenceTransformerTrainingArguments(**step_arguments(setting))
        return _trained(read(path), SentenceTransformerTrainer, model=model, args=arguments, loss=made)

    return Trial(target, f"bi-encoder, {loss}", run, options, ending)


def reranker(target: str, loss: str, *options: str) -> Trial:
    """Steps of a cross-encoder, its head new."""

    def run(path: Path, setting: Setting) -> Seen:
        model = CrossEncoder(str(setting.model), num_labels=1, max_length=TOKENS, device="cpu")
        made = getattr(cross_encoder.losses, loss)(model)
        arguments = CrossEncoderTrainingArguments(**step_arguments(setting))
        return _trained(one_file(path), CrossEncoderTrainer, model=model, args=arguments, loss=made)

    return Trial(target, f"cross-encoder, {loss}", run, options)


def sparse(target: str, loss: str, *options: str) -> Trial:
    """Steps of a SPLADE model, its masked-language head new."""

    def run(path: Path, setting: Setting) -> Seen:
        model = SparseEncoder(str(setting.model), device="cpu")
        model.max_seq_length = TOKENS
        inner = getattr(sparse_encoder.losses, loss)(model)
        made = sparse_encoder.losses.SpladeLoss(model, inner, document_regularizer_weight=1e-4)
        arguments = SparseEncoderTrainingArguments(**step_arguments(setting))
        return _trained(one_file(path), SparseEncoderTrainer, model=model, args=arguments, loss=made)

    return Trial(target, f"sparse encoder, SpladeLoss of {loss}", run, options)


def _trained(read: tuple[Dataset, list[str]], trainer: Any, **settings: Any) -> Seen:
    rows, columns = read
    run = trainer(train_dataset=one_batch(rows), **settings)
    run.train()
    return Seen(len(rows), columns, logged(run.state.log_history))


DENSE = ("--scores", "dense")
TRIALS = (
    biencoder("st-pair", "MultipleNegativesRankingLoss"),
    biencoder("st-triplet", "TripletLoss"),
    biencoder("st-triplet", "MultipleNegativesRankingLoss"),
    reranker("st-triplet", "MultipleNegativesRankingLoss"),
    biencoder("st-ntuple", "MultipleNegativesRankingLoss"),
    biencoder("st-ntuple", "CachedMultipleNegativesRankingLoss", "--negatives", "2"),
    reranker("st-ntuple", "MultipleNegativesRankingLoss"),
    sparse("st-ntuple", "SparseMultipleNegativesRankingLoss"),
    biencoder("st-margin", "MarginMSELoss", *DENSE),
    sparse("st-margin", "SparseMarginMSELoss", *DENSE),
    biencoder("st-margin-list", "MarginMSELoss", *DENSE),
    biencoder("st-scores", "DistillKLDivLoss", *DENSE),
    biencoder("st-scores", "MarginMSELoss", *DENSE),
    reranker("st-labeled-list", "LambdaLoss"),
    reranker("st-labeled-list", "ListNetLoss"),
    reranker("st-labeled-list", "RankNetLoss", *DENSE),
    biencoder("st-pair-score", "CosineSimilarityLoss", *DENSE),
    biencoder("st-pair-score", "CoSENTLoss", *DENSE),
    biencoder("st-pair-class", "ContrastiveLoss"),
    reranker("st-pair-class", "BinaryCrossEntropyLoss"),
    biencoder("st-ids", "DistillKLDivLoss", *DENSE, read=by_ids, ending=""),
)

if __name__ == "__main__":
    main("sentence-transformers", "sentence-transformers", TRIALS)
