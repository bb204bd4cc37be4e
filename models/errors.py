"""What goes wrong with models and their files, in one line that says what to do."""

import torch

# What running a module answers to a way of calling it, or of using its parts, that it does not have.
MISFIT = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class ModelError(ValueError):
    """A model, tokenizer or checkpoint cannot be used as it is."""


class LogitsNotFinite(ModelError):
    """A model gives no numbers."""

    def __init__(self, rows: list[int]) -> None:
        """`rows`: of the batch that was decoded."""
        super().__init__("the model's logits are not numbers: its weights are damaged, or overflow")
        self.rows = rows


def out_of_memory(error: BaseException) -> bool:
    """Whether this is how Python, torch on a GPU, or torch on the CPU (which has no class for it) say so."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


class UnwritableText(ModelError):
    """A tokenizer has no ids for a text: it would come back changed, or hold a stop token."""
