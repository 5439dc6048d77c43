"""NeMo Automodel's loaders and collators; its recipes want a CUDA device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from _trial import BATCH, TOKENS, Seen, Setting, Trial, main
from nemo_automodel.components.datasets.llm import retrieval_dataset, retrieval_dataset_inline
from nemo_automodel.components.datasets.llm.retrieval_collator import BiEncoderCollator, CrossEncoderCollator
from transformers import AutoTokenizer


def loaded(target: str, module: Any, kind: str, ending: str) -> Trial:
    """A batch of one positive and four negatives to a question."""

    def run(path: Path, setting: Setting) -> Seen:
        file = path if ending else path / "train.json"
        rows = module.make_retrieval_dataset([str(file)], model_type=kind, n_passages=5)
        batch = rows[:BATCH]
        columns = list(batch)
        batch = [dict(zip(columns, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        if not all(text for row in batch for text in [row["question"], *row["doc_text"]]):
            raise RuntimeError("a text is empty")
        _collate(kind, setting)(batch)
        return Seen(len(rows), columns)

    name = module.__name__.rpartition(".")[2]
    collator = "BiEncoderCollator" if kind == "bi_encoder" else "CrossEncoderCollator"
    return Trial(target, f"{name}, {collator}", run, ending=ending)


def _collate(kind: str, setting: Setting) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(setting.model)
    if kind == "bi_encoder":
        return BiEncoderCollator(tokenizer, q_max_len=TOKENS, p_max_len=TOKENS)
    return CrossEncoderCollator(TOKENS, tokenizer=tokenizer)


TRIALS = tuple(
    loaded(target, module, kind, ending)
    for target, module, ending in (
        ("nemo-inline", retrieval_dataset_inline, ".jsonl"),
        ("nemo-corpus", retrieval_dataset, ""),
    )
    for kind in ("bi_encoder", "cross_encoder")
)

if __name__ == "__main__":
    main("NeMo Automodel", "nemo-automodel", TRIALS)
