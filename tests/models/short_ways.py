"""A model by a short way and by the plain one."""

import torch
from torch import nn

from models.adapter import checkpoint_layers
from models.shortcuts import Shortcut

IDS = (13 * torch.arange(2 * 9) + 5).remainder(264).reshape(2, 9)


def check_same_either_way(network: nn.Module, shortcut: Shortcut, *, recompute: bool) -> None:
    """States, and the gradients of a loss with many directions; `recompute`: under gradient checkpointing."""
    if recompute:
        checkpoint_layers(network)
    short = states_and_gradients(network)
    with shortcut.off():
        plain = states_and_gradients(network)
    torch.testing.assert_close(short, plain, rtol=1e-3, atol=1e-3)


def states_and_gradients(network: nn.Module) -> list[torch.Tensor]:
    network.zero_grad()
    states = network.get_decoder()(IDS, use_cache=False).last_hidden_state
    (states * torch.linspace(-1, 1, states.numel()).reshape(states.shape)).sum().backward()
    return [states.detach(), *(p.grad for p in network.parameters() if p.grad is not None)]
