"""A small random model of every architecture that the tests try, and which of them are refused."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch
import transformers as t
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from models.sft_data import Demonstration

POSITIONS = 512
WINDOW = 8
"""Of sliding attention: shorter than the prompts, so that it matters."""

_ENDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
_SHAPE = {"vocab_size": 264, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, **_ENDS}
_LLAMA = {
    **_SHAPE,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
}
_HEADS = {**_LLAMA, "head_dim": 8}
_SLIDING = {**_HEADS, "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_MIXED = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
_GPT2 = {"vocab_size": 264, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS, **_ENDS}
_OPT = {**_SHAPE, "ffn_dim": 48, "max_position_embeddings": POSITIONS}
_FALCON = {**_SHAPE, "max_position_embeddings": POSITIONS}
_ALIBI = {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True}
_LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "shared_expert_intermediate_size": 16,
}
_LATENT = {
    **_LLAMA,
    **_MIXED,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}

WORKING: dict[str, Any] = {
    "llama": lambda: t.LlamaConfig(**_LLAMA),
    "mistral": lambda: t.MistralConfig(**_HEADS, sliding_window=WINDOW),
    "qwen2": lambda: t.Qwen2Config(**_LLAMA, tie_word_embeddings=True),
    "qwen3": lambda: t.Qwen3Config(**_HEADS),
    "qwen3-moe": lambda: t.Qwen3MoeConfig(**_HEADS, **_MIXED, num_experts=4),
    "mixtral": lambda: t.MixtralConfig(**_LLAMA, num_local_experts=4, num_experts_per_tok=2),
    "deepseek-v2": lambda: t.DeepseekV2Config(**_LATENT),
    "gemma": lambda: t.GemmaConfig(**_HEADS),
    "gemma2": lambda: t.Gemma2Config(**_SLIDING, query_pre_attn_scalar=8),
    "gemma3-text": lambda: t.Gemma3TextConfig(**_SLIDING, query_pre_attn_scalar=8),
    "phi": lambda: t.PhiConfig(**_LLAMA),
    "phi3": lambda: t.Phi3Config(**_LLAMA),
    "starcoder2": lambda: t.Starcoder2Config(**_LLAMA, sliding_window=WINDOW),
    "gpt-neox": lambda: t.GPTNeoXConfig(**_FALCON, intermediate_size=48),
    "gpt2": lambda: t.GPT2Config(**_GPT2),
    "gpt-bigcode": lambda: t.GPTBigCodeConfig(**_GPT2),
    "gpt-neo": lambda: t.GPTNeoConfig(
        vocab_size=264,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        max_position_embeddings=POSITIONS,
        attention_types=[[["global", "local"], 1]],
        window_size=WINDOW,
        **_ENDS,
    ),
    "opt": lambda: t.OPTConfig(**_OPT, word_embed_proj_dim=32),
    "opt-350m": lambda: t.OPTConfig(**_OPT, word_embed_proj_dim=16, do_layer_norm_before=False),
    "bloom": lambda: t.BloomConfig(vocab_size=264, hidden_size=32, n_layer=2, n_head=4, **_ENDS),
    "falcon": lambda: t.FalconConfig(**_FALCON),
    "falcon-alibi": lambda: t.FalconConfig(**_FALCON, **_ALIBI),
    "codegen": lambda: t.CodeGenConfig(**_GPT2, rotary_dim=4),
    "mpt": lambda: t.MptConfig(
        vocab_size=264, d_model=32, n_layers=2, n_heads=4, max_seq_len=POSITIONS, expansion_ratio=2, **_ENDS
    ),
    "smollm3": lambda: t.SmolLM3Config(**_LLAMA),
    "granite": lambda: t.GraniteConfig(**_LLAMA, logits_scaling=13.0, embedding_multiplier=6.0),
    "cohere": lambda: t.CohereConfig(**_LLAMA, logit_scale=0.3),
    "cohere2": lambda: t.Cohere2Config(**_HEADS, logit_scale=0.3, sliding_window=WINDOW),
}

REFUSED: dict[str, Any] = {
    "lfm2": lambda: t.Lfm2Config(**_LLAMA, layer_types=["conv", "full_attention"]),
    "mamba": lambda: t.MambaConfig(vocab_size=264, hidden_size=32, num_hidden_layers=2, **_ENDS),
    "qwen3-next": lambda: t.Qwen3NextConfig(**_HEADS, **_MIXED, **_LINEAR, num_experts=4),
    "recurrent-gemma": lambda: t.RecurrentGemmaConfig(**_LLAMA, lru_width=32, attention_window_size=WINDOW),
    "rwkv": lambda: t.RwkvConfig(vocab_size=264, hidden_size=32, num_hidden_layers=2, **_ENDS),
    "bert": lambda: t.BertConfig(**_SHAPE, intermediate_size=48, is_decoder=True),
}

FAMILIES = (
    *("llama", "qwen2", "mistral", "gemma2", "granite", "mixtral", "deepseek-v2"),
    *("gpt-neox", "gpt2", "gpt-neo", "opt-350m", "bloom"),
)
"""One for each way to norm, to place, to mask, to share and to scale; their relatives are slow."""


def relatives_slow(names: Iterable[str]) -> list[Any]:
    """Rows of a test: those of FAMILIES, and the others as slow ones."""
    return [name if name in FAMILIES else pytest.param(name, marks=pytest.mark.slow) for name in names]


def small_model(name: str, sharpness: float = 5.0, positions: int = POSITIONS) -> PreTrainedModel:
    """With weights so large that a wrong mask, position or scale shows; the same in every run."""
    config = (WORKING | REFUSED)[name]()
    for key in ("n_positions", "max_seq_len", "max_position_embeddings"):
        if getattr(config, key, None) == POSITIONS:
            setattr(config, key, positions)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(sharpness)
    return model


EXPERTS = {"qwen3_moe": ("gate_proj", "up_proj", "down_proj"), "mixtral": ("w1", "w2", "w3")}
"""Of models that hold all experts in one tensor: the names in a checkpoint, by which peft knows them."""


def linear_layers(model: PreTrainedModel) -> tuple[str, ...]:
    """Last names of all layers that may have an adapter; not the output layer."""
    head = model.get_output_embeddings()
    return tuple(
        sorted(
            {*EXPERTS.get(model.config.model_type, ())}
            | {
                name.rpartition(".")[2]
                for name, module in model.named_modules()
                if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
            }
        )
    )


def transformers_loss(model: Any, demonstrations: Sequence[Demonstration], eos_id: int) -> float:
    """Mean cross-entropy per completion token by the model's own `labels`, row by row, without padding."""
    total, tokens = 0.0, 0
    for demo in demonstrations:
        ids = torch.tensor([[*demo.prompt_ids, *demo.completion_ids, eos_id]])
        labels = ids.clone()
        labels[0, : len(demo.prompt_ids)] = -100
        number = len(demo.completion_ids) + 1
        with torch.no_grad():
            total += model(input_ids=ids, labels=labels).loss.item() * number
        tokens += number
    return total / tokens
