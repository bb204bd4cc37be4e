"""Keys and values that several heads share, on a GPU that has no kernel for them so.

Rows need no attention mask (models/rows.py), and without one transformers hands shared keys and values to
torch as they are. There one kernel takes them: flash attention, for 16 bits, from compute capability 8.0 on.
Elsewhere, on a V100 or in float32, torch would go the plain way, which keeps L x L scores of every head for
the backward pass: with 14 heads at 1,024 tokens 66 MiB a layer and row in place of 8 (counted on a CPU). So
there they are repeated, one copy for each head, as transformers does where there is a mask. Read in the
sources and tried on a CPU; on such a GPU it was not run.
"""

import torch
from transformers.integrations import sdpa_attention


def has_kernel(dtype: torch.dtype, capability: tuple[int, int]) -> bool:
    """Whether a GPU of this compute capability has one for numbers of this format."""
    return dtype.itemsize == 2 and capability >= (8, 0)


def repeat_shared_heads() -> None:
    """From now on, in this process."""
    sdpa_attention.use_gqa_in_sdpa = _never


def _never(*_: object, **__: object) -> bool:
    return False
