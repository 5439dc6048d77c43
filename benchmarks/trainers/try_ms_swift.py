"""ms-swift's own training command on two layers of Qwen3 with random weights: embedders, rerankers and chats."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _trial import Seen, Setting, Trial, logged, main, one_batch, step_arguments
from swift.pipelines.train.sft import SwiftSft
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

WORDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "yes", "no"]


class OneBatch(SwiftSft):
    """Training as the command does it: all rows are read and encoded, and the steps are on a batch of them."""

    held = 0
    columns: Sequence[str] = ()

    def _get_dataset(self) -> Any:
        rows, others = super()._get_dataset()
        self.columns = rows.column_names
        return rows, others

    def _encode_dataset(self, *args: Any, **settings: Any) -> Any:
        rows, others = super()._encode_dataset(*args, **settings)
        self.held = len(rows)
        return [one_batch(rows), others]


def trial(target: str, kind: str, task: str, loss: str, *options: str, negatives: int = 3) -> Trial:
    """Steps of `swift sft`; `kind` names the model type, and with it the chat template."""

    def run(path: Path, setting: Setting) -> Seen:
        os.environ["MAX_NEGATIVE_SAMPLES"] = str(negatives)
        arguments = {
            "model": _model(setting.fresh("qwen3")),
            "model_type": kind,
            "template": kind,
            "task_type": task,
            "dataset": path,
            "max_length": 512,
            "truncation_strategy": "right",
            "torch_dtype": "float32",
            "tuner_type": "full",
            "split_dataset_ratio": 0,
            "load_from_cache_file": "false",
            **({"loss_type": loss} if loss else {}),
            **step_arguments(setting),
        }
        sft = OneBatch([word for name, value in arguments.items() for word in (f"--{name}", str(value))])
        found = sft.main()
        return Seen(sft.held, sft.columns, logged(found["log_history"]))

    return Trial(target, f"swift sft, {kind}, task_type {task}" + (f", {loss}" if loss else ""), run, options, ".jsonl")


def _model(folder: Path) -> Path:
    """A model of two layers whose tokens are bytes, with the special ones of Qwen3."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([], trainers.BpeTrainer(special_tokens=WORDS, initial_alphabet=alphabet))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


TRIALS = (
    trial("swift-embedding", "qwen3_emb", "embedding", "infonce"),
    trial("swift-embedding", "qwen3_emb", "embedding", "infonce", "--prompt", "Find the function."),
    trial("swift-embedding-score", "qwen3_emb", "embedding", "cosine_similarity", "--scores", "dense"),
    trial("swift-embedding-class", "qwen3_emb", "embedding", "contrastive"),
    trial("swift-reranker", "qwen3_reranker", "generative_reranker", "listwise_reranker"),
    trial("swift-reranker", "qwen3_reranker", "generative_reranker", "pointwise_reranker", "--prompt", "Find it."),
    trial("reranker-sft", "qwen3", "causal_lm", ""),
)

if __name__ == "__main__":
    main("ms-swift", "ms-swift", TRIALS)
