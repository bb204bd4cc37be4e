"""The short ways that a network's own modules get when it is loaded, or planned as if it were."""

from torch import nn
from transformers import PreTrainedModel

from models.causal_attention import quicken_attention
from models.heap import keep_freed
from models.layer_form import quicken_layers
from models.rms_norm import quicken_norms, unknown_norms
from models.rotary import quicken_rotary, unknown_rotary
from models.swiglu import quicken_gates, unknown_gates


def quicken(network: PreTrainedModel) -> None:
    """Let a network's norms, rotary positions, gates, attention and whole layers go the short way, where it
    is known to be theirs.

    Attention that goes another way than by transformers' function of torch's kernels, goes on so. What is
    freed on the way is kept for the next layer.
    """
    keep_freed()
    quicken_attention()
    quicken_norms(network)
    quicken_rotary(network)
    quicken_gates(network)
    quicken_layers(network)  # of parts that are quick by now


def plain_ways(network: nn.Module) -> list[str]:
    """What of a quickened network was not recognised, and goes its own way."""
    norms = [f"norms ({name})" for name in unknown_norms(network)]
    rotary = [f"rotary positions ({name})" for name in unknown_rotary(network)]
    return norms + rotary + [f"gates ({name})" for name in unknown_gates(network)]
