"""FlagEmbedding's own runners on its JSON lines: its embedder, its reranker, and both taught by a teacher's scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from _trial import TOKENS, Seen, Setting, Trial, logged, main, one_batch, step_arguments
from FlagEmbedding.abc.finetune.reranker import (
    AbsRerankerDataArguments,
    AbsRerankerModelArguments,
    AbsRerankerTrainingArguments,
)
from FlagEmbedding.finetune.embedder.encoder_only.base import (
    EncoderOnlyEmbedderDataArguments,
    EncoderOnlyEmbedderModelArguments,
    EncoderOnlyEmbedderRunner,
    EncoderOnlyEmbedderTrainingArguments,
)
from FlagEmbedding.finetune.reranker.encoder_only.base import EncoderOnlyRerankerRunner

EMBEDDER = (
    EncoderOnlyEmbedderRunner,
    EncoderOnlyEmbedderModelArguments,
    EncoderOnlyEmbedderDataArguments,
    EncoderOnlyEmbedderTrainingArguments,
)
RERANKER = (
    EncoderOnlyRerankerRunner,
    AbsRerankerModelArguments,
    AbsRerankerDataArguments,
    AbsRerankerTrainingArguments,
)


def trial(target: str, ran: str, kind: tuple[Any, ...], *options: str, **data: Any) -> Trial:
    """Steps by the runner that the command line of FlagEmbedding calls."""

    def run(path: Path, setting: Setting) -> Seen:
        runner, model_arguments, data_arguments, training_arguments = kind
        run = runner(
            model_args=model_arguments(model_name_or_path=str(setting.model)),
            data_args=data_arguments(
                train_data=[str(path)], train_group_size=5, query_max_len=TOKENS, passage_max_len=TOKENS, **data
            ),
            training_args=training_arguments(**step_arguments(setting)),
        )
        rows = run.train_dataset.dataset
        run.train_dataset.dataset = one_batch(rows)
        run.trainer.train()
        return Seen(len(rows), rows.column_names, logged(run.trainer.state.log_history))

    return Trial(target, ran, run, options, ".jsonl")


DISTIL: dict[str, Any] = {"knowledge_distillation": True}
TRIALS = (
    trial("flag-embedder", "EncoderOnlyEmbedderRunner", EMBEDDER),
    trial(
        "flag-embedder",
        "EncoderOnlyEmbedderRunner, the rows' own instruction",
        EMBEDDER,
        "--prompt",
        "Find the function: ",
        "--task",
        "normal",
        query_instruction_for_retrieval="that of the rows is taken instead",
    ),
    trial("flag-embedder", "EncoderOnlyEmbedderRunner, distilled", EMBEDDER, "--scores", "dense", **DISTIL),
    trial("flag-reranker", "EncoderOnlyRerankerRunner", RERANKER),
    trial(
        "flag-reranker",
        "EncoderOnlyRerankerRunner, the rows' own instructions",
        RERANKER,
        "--prompt",
        "Query: ",
        "--passage-prompt",
        "Function: ",
        query_instruction_for_rerank="that of the rows is taken instead",
        passage_instruction_for_rerank="that of the rows is taken instead",
    ),
    trial("flag-reranker", "EncoderOnlyRerankerRunner, distilled", RERANKER, "--scores", "dense", **DISTIL),
)

if __name__ == "__main__":
    main("FlagEmbedding", "FlagEmbedding", TRIALS)
