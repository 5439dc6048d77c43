"""Tevatron's dense trainer on its first layout. Its newer layout has no release: its repository alone reads that."""

from __future__ import annotations

from pathlib import Path

from _trial import TOKENS, Seen, Setting, Trial, logged, main, step_arguments
from tevatron.arguments import DataArguments, DenseTrainingArguments, ModelArguments
from tevatron.data import QPCollator, TrainDataset
from tevatron.datasets import HFTrainDataset
from tevatron.modeling import DenseModel
from tevatron.trainer import DenseTrainer
from transformers import AutoTokenizer


def dense(path: Path, setting: Setting) -> Seen:
    """Steps of what `tevatron.driver.train` puts together."""
    data = DataArguments(
        # Under any name but "json", which is for rows that are numbers already, it tokenizes what it reads.
        dataset_name=path.suffix.removeprefix("."),
        train_n_passages=4,
        q_max_len=TOKENS,
        p_max_len=TOKENS,
        dataset_proc_num=1,
    )
    data.train_path = [str(path)]
    arguments = DenseTrainingArguments(**step_arguments(setting), remove_unused_columns=False)
    names = ModelArguments(model_name_or_path=str(setting.model))
    tokenizer = AutoTokenizer.from_pretrained(setting.model, use_fast=False)
    read = HFTrainDataset(tokenizer, data, str(setting.work / "cache"))
    columns = read.dataset.column_names
    rows = TrainDataset(data, read.process(), tokenizer)
    trainer = DenseTrainer(
        model=DenseModel.build(names, data, arguments),
        args=arguments,
        train_dataset=rows,
        data_collator=QPCollator(tokenizer, max_q_len=TOKENS, max_p_len=TOKENS),
    )
    rows.trainer = trainer
    trainer.train()
    return Seen(len(rows), columns, logged(trainer.state.log_history))


TRIALS = (
    Trial("tevatron", "HFTrainDataset, QPCollator, DenseTrainer", dense),
    Trial("tevatron", "the same, scores in the passages left alone", dense, ("--scores", "dense")),
)

if __name__ == "__main__":
    main("Tevatron", "tevatron", TRIALS)
