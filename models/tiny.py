"""The embedded default: a byte-level BPE tokenizer and a small Llama, made here from scratch.

They are ordinary transformers classes, so every path they take is the one a 1.3B model takes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from models.ranges import Count, check_ranges

PAD, EOS = "<|pad|>", "<|end|>"


@dataclass(frozen=True)
class TinyConfig:
    """Shape of the embedded model; 0.5 million parameters by default."""

    vocab_size: int = 512
    """Tokens of the byte-level BPE, bytes and special tokens included."""
    hidden_size: Count = 128
    """Width of the residual stream."""
    layers: Count = 2
    """Transformer blocks."""
    heads: Count = 4
    """Attention heads."""
    feed_forward: Count = 384
    """Width inside the feed-forward blocks."""
    max_positions: Count = 2048
    """Longest prompt and response together, in tokens."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.vocab_size < 258:
            raise ValueError(f"vocab_size must hold 256 bytes and 2 special tokens, not {self.vocab_size}")
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of 2 x heads ({self.heads})")


def build_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on `texts`: every string survives encoding and decoding unchanged."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, clean_up_tokenization_spaces=False
    )


def build_model(tokenizer: PreTrainedTokenizerFast, config: TinyConfig, seed: int) -> LlamaForCausalLM:
    """A Llama with random weights that depend on `seed` alone."""
    llama = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.feed_forward,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.max_positions,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(llama).float()
