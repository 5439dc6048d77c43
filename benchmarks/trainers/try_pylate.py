"""PyLate's contrastive and distillation losses on a ColBERT of MiniLM."""

from __future__ import annotations

from pathlib import Path

from _trial import TOKENS, Seen, Setting, Trial, logged, main, one_batch, step_arguments
from datasets import Dataset, load_dataset
from pylate import losses, models, utils
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments


def contrastive(target: str, *options: str) -> Trial:
    """Steps of the contrastive loss, columns as they stand."""

    def run(path: Path, setting: Setting) -> Seen:
        rows = load_dataset("parquet", data_files=str(path), split="train")
        model = _model(setting)
        return _trained(rows, rows.column_names, model, setting, losses.Contrastive(model=model))

    return Trial(target, "Contrastive, ColBERTCollator", run, options)


def distilled(target: str, *options: str) -> Trial:
    """Steps of the distillation loss; `KDProcessing` looks the texts up."""

    def run(folder: Path, setting: Setting) -> Seen:
        parts = {
            name: load_dataset("parquet", data_files=str(folder / f"{name}.parquet"), split="train")
            for name in ("train", "queries", "documents")
        }
        rows = parts["train"]
        columns = rows.column_names
        rows.set_transform(utils.KDProcessing(queries=parts["queries"], documents=parts["documents"]).transform)
        if "" in rows[0]["documents"]:
            raise RuntimeError("a document is not found by its id")
        model = _model(setting)
        return _trained(rows, columns, model, setting, losses.Distillation(model=model))

    return Trial(target, "Distillation, KDProcessing, ColBERTCollator", run, options, "")


def _model(setting: Setting) -> models.ColBERT:
    return models.ColBERT(
        model_name_or_path=str(setting.model), device="cpu", document_length=TOKENS, query_length=TOKENS // 2
    )


def _trained(rows: Dataset, columns: list[str], model: models.ColBERT, setting: Setting, loss: object) -> Seen:
    run = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**step_arguments(setting)),
        train_dataset=one_batch(rows),
        loss=loss,
        data_collator=utils.ColBERTCollator(tokenize_fn=model.tokenize),
    )
    run.train()
    return Seen(len(rows), columns, logged(run.state.log_history))


TRIALS = (
    contrastive("pylate-contrastive"),
    contrastive("st-triplet"),
    distilled("pylate-kd", "--scores", "dense"),
)

if __name__ == "__main__":
    main("PyLate", "pylate", TRIALS)
