"""The critic: what it may see, what its gradient reaches, and that surprise tells what a state does not."""

import math

import pytest
import torch
from torch import Tensor

from models.batch import TokenBatch
from models.critic import CriticConfig, Reading, SurpriseCritic, build_critic
from models.policy import Policy

CRITICS = ["surprise", "head"]
TUNES = ["lora", "full"]
LENGTHS = (5, 1, 7)


def batch(
    responses: list[list[int]], prompts: tuple[tuple[int, ...], ...] = ((9, 40), (7,), (5, 6))
) -> TokenBatch:
    """Ragged rows, padded with 0."""
    p, t = max(map(len, prompts)), max(map(len, responses))
    return TokenBatch(
        torch.tensor([[0] * (p - len(x)) + list(x) for x in prompts]),
        torch.tensor([[False] * (p - len(x)) + [True] * len(x) for x in prompts]),
        torch.tensor([x + [0] * (t - len(x)) for x in responses]),
        torch.tensor([[True] * len(x) + [False] * (t - len(x)) for x in responses]),
    )


def responses() -> list[list[int]]:
    return [[50 + 3 * row + t for t in range(length)] for row, length in enumerate(LENGTHS)]


def reading(lengths: tuple[int, ...] = LENGTHS, size: int = 6, seed: int = 0) -> Reading:
    """A reading of random numbers: every input could matter."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    n = int(mask.sum())

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return Reading(
        normal(n, size), normal(n, size), normal(len(lengths), size), -normal(n).exp(), normal(n).exp(), mask
    )


def shaken(critic: torch.nn.Module) -> torch.nn.Module:
    """The critic with every weight moved, so that nothing is hidden by a zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return critic


def formula(critic: SurpriseCritic, read: Reading) -> list[float]:
    """The docstring's equation, row by row and token by token, in float64 and with Python's sums."""
    critic = critic.double()
    values, start = [], 0
    for row, length in enumerate(read.mask.sum(dim=1).tolist()):
        rows = slice(start, start + length)
        states = critic.read(critic.hidden_norm(read.hidden[rows].double()))
        tokens = critic.count(critic.input_norm(read.inputs[rows].double()))
        asked = critic.ask(critic.prompt_norm(read.prompt[row].double()))
        surprises = [0.0] + [-x for x in read.logprobs[rows].tolist()[:-1]]
        for t in range(length):
            so_far = range(1, t + 1)
            slips = sum((surprises[u] * states[u] for u in so_far), torch.zeros_like(states[0]))
            count = sum((tokens[u] for u in so_far), torch.zeros_like(states[0]))
            numbers = [sum(surprises[: t + 1]), max(surprises[: t + 1]), surprises[t]]
            seen = [
                math.copysign(math.log(1 + abs(x)), x) for x in [*slips.tolist(), *count.tolist(), *numbers]
            ]
            features = torch.cat(
                [states[t], asked, torch.tensor([*seen, read.entropy[start + t].item()]).double()]
            )
            mixed = critic.mix(features)
            values.append((critic.value(mixed * torch.sigmoid(mixed))).item())
        start += length
    return values


def test_values_are_those_of_the_equation():
    """Against a plain loop in float64: 1e-5; a value that sees its own token's surprise would be far off."""
    critic, read = shaken(build_critic(CriticConfig(critic_width=3), 6, 6)), reading()
    found = critic(read)
    assert found.shape == (sum(LENGTHS),) and found.dtype == torch.float32
    torch.testing.assert_close(found.double().tolist(), formula(critic, read), rtol=0, atol=1e-5)


@pytest.mark.parametrize("critic", CRITICS)
def test_a_value_sees_what_was_written_before_it_alone(make_policy, critic):
    """Another token at place t moves the values after t, and none up to t; nor do other rows."""
    policy = make_policy(trained=True, critic=CriticConfig(critic))
    plain, other = responses(), responses()
    other[2][3] = 99
    with torch.no_grad():
        before, after = policy(batch(plain), 0.7).values, policy(batch(other), 0.7).values
    assert torch.equal(before[:2], after[:2]) and torch.equal(before[2, :4], after[2, :4])
    assert (before[2, 4:] != after[2, 4:]).all()


@pytest.mark.parametrize("tune", TUNES)
@pytest.mark.parametrize("critic", CRITICS)
def test_where_the_value_loss_pulls(make_policy, tune, critic):
    """The surprise critic sends no gradient into the policy; the head sends one into the trunk."""
    policy = make_policy(tune, trained=True, critic=CriticConfig(critic))
    policy(batch(responses()), 0.7, entropy_grad=True).values.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in policy.value_head.parameters())
    reached = [p.grad is not None for p in policy.trainable().values()]
    assert any(reached) if critic == "head" else not any(reached)


@pytest.mark.parametrize("critic", CRITICS)
def test_the_critic_changes_neither_policy_nor_reference(make_policy, critic):
    """Log-probabilities, entropies and reference are bitwise those with another critic."""
    policies: list[Policy] = [make_policy(critic=CriticConfig(each)) for each in (critic, "head")]
    shaken(policies[0].value_head)
    with torch.no_grad():
        (a, b), refs = (
            [p(batch(responses()), 0.7) for p in policies],
            [p.ref_logprobs(batch(responses()), 0.7) for p in policies],
        )
    assert torch.equal(a.logprobs, b.logprobs) and torch.equal(a.entropy, b.entropy)
    assert torch.equal(*refs)
    assert not torch.equal(a.values, b.values)


@pytest.mark.parametrize("critic", CRITICS)
def test_it_starts_with_one_opinion_everywhere(critic):
    """Check 15: 0, then the value it is told; two critics are built alike, whatever was drawn before."""
    torch.manual_seed(4)
    first = build_critic(CriticConfig(critic), 6, 6)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    second = build_critic(CriticConfig(critic), 6, 6)
    assert torch.equal(torch.random.get_rng_state(), state)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (first(reading()) == 0).all()
    assert not first.started
    first.start_at(0.4, 3.0)
    torch.testing.assert_close(first(reading()), torch.full((sum(LENGTHS),), 0.4))
    assert first.started and first.unit == 3.0


@pytest.mark.parametrize("name", CRITICS)
def test_it_counts_in_its_unit_from_its_mean(name):
    """V = mean + unit·opinion, whatever the opinion became."""
    critic = build_critic(CriticConfig(name), 6, 6)
    shaken(critic)
    opinion = critic(reading())
    critic.start_at(70.0, 40.0)
    assert opinion.std() > 0
    torch.testing.assert_close(critic(reading()), 70.0 + 40.0 * opinion)


def test_surprise_tells_what_a_state_does_not():
    """Responses are worth 1 until an unlikely token, and 0 after it. States know nothing: noise.

    The surprise critic explains most of it on responses it never saw, the linear head nothing.
    """
    explained = {}
    for name in CRITICS:
        critic = build_critic(CriticConfig(name), 6, 6)
        optimizer = torch.optim.AdamW(critic.parameters(), lr=3e-3)
        for step in range(150):
            read, worth = slips(step)
            loss = (critic(read) - worth).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        read, worth = slips(1000)
        with torch.no_grad():
            explained[name] = 1 - ((critic(read) - worth).var() / worth.var()).item()
    assert explained["surprise"] > 0.8 and explained["head"] < 0.2


def slips(seed: int) -> tuple[Reading, Tensor]:
    """A reading whose responses hold a slip or none, and the worth of each place."""
    read = reading((12,) * 16, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    slip = torch.rand(read.mask.shape, generator=generator) < 0.06
    logprobs = torch.where(slip, -5.0, -0.1)[read.mask]
    earlier = slip.int().cumsum(dim=1) - slip.int()
    return read._replace(logprobs=logprobs), (earlier == 0).float()[read.mask]


def test_the_width_must_hold_something():
    with pytest.raises(ValueError, match="critic_width"):
        CriticConfig(critic_width=0)
