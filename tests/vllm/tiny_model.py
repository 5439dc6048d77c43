"""Write a tiny chat model with untrained weights: `python tiny_model.py FOLDER [--hidden 128]`.

Two Llama layers and a tokenizer trained on the help texts that Python carries. The weights are random but for one
thing: the end of a turn and the closing quote of a JSON string are made likely, so that plain replies end by
themselves after some thirty tokens, and replies under a JSON schema close their strings.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from pydoc_data.topics import topics

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<|pad|>", "<|start|>", "<|end|>"]
# Word for word what a reply costs: every role is a line of its own, and thinking can be switched off as Qwen3's can.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>\n{% endif %}{% endif %}"
)
LIKELY = {"<|end|>": 1 / 60, '"': 1 / 60}


def write_model(folder: Path, *, hidden: int = 128, context: int = 4096, vocabulary: int = 2048) -> None:
    """The model and its tokenizer in `folder`; the same numbers give the same weights."""
    tokenizer = _tokenizer(vocabulary, context)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=context,
            tie_word_embeddings=False,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            dtype="float32",
        )
    )
    _make_likely(model, {tokenizer.convert_tokens_to_ids(token): chance for token, chance in LIKELY.items()})
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def _tokenizer(vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([topics[name] for name in sorted(topics)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|start|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def _make_likely(model: LlamaForCausalLM, chances: dict[int, float]) -> None:
    """Give each token of `chances` about that chance, wherever it stands.

    One dimension of the hidden state is the same for all tokens; the output layer reads it for these tokens alone.
    """
    others = model.config.vocab_size
    with torch.no_grad():
        embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
        embedding[:, 0] = 100 * embedding.std()
        head[:, 0] = 0
        probe = model.model(input_ids=torch.arange(others)[None, :64]).last_hidden_state[0, :, 0].mean()
        for token, chance in chances.items():
            head[token] = 0
            head[token, 0] = math.log(chance * others / (1 - chance)) / probe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--context", type=int, default=4096)
    asked = parser.parse_args()
    write_model(asked.folder, hidden=asked.hidden, context=asked.context)


if __name__ == "__main__":
    main()
