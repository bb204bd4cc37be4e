"""The critic: what a response is worth, token by token, judged from what the policy's own pass has at hand.

Both critics ride on the policy's forward pass: no second network, no second pass. They differ in what they
read. The value at a token sees the prompt and the tokens before it, never the token itself: a baseline that
knew the action would take credit away from it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from models.ranges import Count, check_ranges


@dataclass(frozen=True)
class CriticConfig:
    """What the critic reads."""

    critic: Literal["surprise", "head"] = "surprise"
    """surprise: final states, and how unlikely the policy found each token so far; it sends no gradient into
    the trunk. head: a linear map of the final state, trained together with the trunk."""
    critic_width: Count = 16
    """Of the surprise critic: width of each of its readings (twice that in its hidden layer)."""

    def __post_init__(self) -> None:
        check_ranges(self)


class Reading(NamedTuple):
    """What the policy's forward pass knows at each of the N response tokens of a batch, row by row."""

    hidden: Tensor
    """(N, H) final states, from which the tokens were chosen"""
    inputs: Tensor
    """(N, E) embeddings of the tokens read last there: those before the tokens chosen"""
    prompt: Tensor
    """(B, E) mean embedding of each prompt's tokens"""
    logprobs: Tensor
    """(N,) of the tokens chosen"""
    entropy: Tensor
    """(N,) of the distributions they were chosen from"""
    mask: Tensor
    """(B, T) bool, with N times True: where they stand"""

    def rows(self) -> list["Reading"]:
        """The same of each response by itself."""
        lengths = self.mask.sum(dim=1).tolist()
        tokens = (x.split(lengths) for x in (self.hidden, self.inputs, self.logprobs, self.entropy))
        parts = zip(*tokens, self.prompt.split(1), self.mask, strict=True)
        return [
            Reading(hidden, inputs, prompt, logprobs, entropy, mask[mask][None])
            for hidden, inputs, logprobs, entropy, prompt, mask in parts
        ]


def together(readings: Sequence[Reading]) -> Reading:
    """Readings of one response each as that of a batch."""
    lengths = torch.tensor([len(reading.hidden) for reading in readings])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]  # (B, T)
    hidden, inputs, prompt, logprobs, entropy, masks = zip(*readings, strict=True)
    return Reading(
        torch.cat(hidden),
        torch.cat(inputs),
        torch.cat(prompt),
        torch.cat(logprobs),
        torch.cat(entropy),
        mask.to(masks[0].device),
    )


class Critic(nn.Module, ABC):
    """Values as mean + unit · opinion(reading), the opinion starting at 0 everywhere.

    An opinion about numbers of size 1 learns at the same pace whatever the scale of the scores. (A critic
    drawn at random reports values many times the size of a reward, and the first updates go into taking
    them back.)
    """

    mean: Tensor
    """Of the scores it met first"""
    unit: Tensor
    """What it counts in: their spread; 1 before"""
    started: Tensor
    """bool: whether it has met any"""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, reading: Reading) -> Tensor:
        """(N,)"""
        return self.mean + self.unit * self.opinion(reading)

    @abstractmethod
    def opinion(self, reading: Reading) -> Tensor:
        """(N,), 0 until it is trained."""

    def start_at(self, mean: float, unit: float) -> None:
        """Make `mean` the value of everything, and `unit` what the critic counts in; before training."""
        self.mean.fill_(mean)
        self.unit.fill_(unit)
        self.started.fill_(True)


class ValueHead(Critic):
    """A linear map from the final hidden state to a value, in float32. Its gradient reaches the trunk."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def opinion(self, reading: Reading) -> Tensor:
        """See Critic."""
        return self.linear(reading.hidden.float()).squeeze(-1)


class SurpriseCritic(Critic):
    """What surprised the policy, and where: a small network on the trunk's states, in float32.

        Vₜ = MLP[W·hₜ, W″·p, g(Σᵤ sᵤ·W·hᵤ), g(Σᵤ W′·eᵤ), g(Σᵤ sᵤ), g(maxᵤ sᵤ), g(sₜ), Hₜ],   0 < u ≤ t

    hₜ final state, eₜ embedding of the token read last, p mean embedding of the prompt (each normalised);
    sₜ = −log π(aₜ₋₁) the surprise at that token, Hₜ the entropy of the policy's next one;
    g(x) = sign(x)·log(1 + |x|) keeps long sums in range. A final state is made for guessing the
    next token and hardly tells what a slip ten tokens ago has cost; its improbability tells at once, for the
    policy knows better than it sampled. The first sum remembers what the slips were, the second counts
    tokens (open parentheses).

    It reads detached tensors: the policy's gradient is that of the policy's loss alone.
    """

    def __init__(self, hidden_size: int, embedding_size: int, width: int) -> None:
        super().__init__()
        self.hidden_norm = nn.LayerNorm(hidden_size)
        self.input_norm = nn.LayerNorm(embedding_size)
        self.prompt_norm = nn.LayerNorm(embedding_size)
        self.read = nn.Linear(hidden_size, width)
        self.count = nn.Linear(embedding_size, width)
        self.ask = nn.Linear(embedding_size, width)
        self.mix = nn.Linear(4 * width + 4, 2 * width)
        self.value = nn.Linear(2 * width, 1)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def opinion(self, reading: Reading) -> Tensor:
        """See Critic."""
        mask = reading.mask
        state = _rows(self.read(self.hidden_norm(reading.hidden.detach().float())), mask)  # (B, T, W)
        token = _rows(self.count(self.input_norm(reading.inputs.detach().float())), mask)  # (B, T, W)
        chosen = _rows(-reading.logprobs.detach()[:, None], mask)  # (B, T, 1)
        entropy = _rows(reading.entropy.detach()[:, None], mask)  # (B, T, 1)
        surprise = _earlier(chosen)
        seen = torch.cat(
            [
                (state * surprise).cumsum(dim=1),
                # Without the first place: what stands there belongs to the prompt.
                torch.cat([torch.zeros_like(token[:, :1]), token[:, 1:]], dim=1).cumsum(dim=1),
                surprise.cumsum(dim=1),
                surprise.cummax(dim=1).values,
                surprise,
            ],
            dim=-1,
        )  # (B, T, 2W + 3)
        asked = self.ask(self.prompt_norm(reading.prompt.detach().float()))  # (B, W)
        asked = asked[:, None].expand(-1, mask.shape[1], -1)  # (B, T, W)
        features = torch.cat(
            [state, asked, seen.sign() * seen.abs().log1p(), entropy], dim=-1
        )  # (B, T, 4W + 4)
        return self.value(nn.functional.silu(self.mix(features[mask]))).squeeze(-1)


def build_critic(config: CriticConfig, hidden_size: int, embedding_size: int) -> ValueHead | SurpriseCritic:
    """The critic of a network with these sizes. It starts the same in every run, whatever the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if config.critic == "head":
            return ValueHead(hidden_size)
        return SurpriseCritic(hidden_size, embedding_size, config.critic_width)


def _rows(x: Tensor, mask: Tensor) -> Tensor:
    """(N, F) of the True places of a (B, T) mask as (B, T, F), zeros elsewhere."""
    rows = torch.zeros(*mask.shape, x.shape[-1], dtype=x.dtype, device=x.device)
    return rows.masked_scatter(mask[..., None], x)


def _earlier(x: Tensor) -> Tensor:
    """(B, T, F) moved one token on: at t stands what was at t - 1, and 0 at the first."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)
