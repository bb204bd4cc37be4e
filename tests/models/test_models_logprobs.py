"""Log-probabilities of tokens against torch's log_softmax over all logits at once."""

import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import models.frozen_head
import models.logprobs
from models.logprobs import position_ids, token_logprobs

VOCABULARY, HIDDEN, TOKENS = 37, 8, 23


@pytest.fixture
def case() -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(HIDDEN, VOCABULARY, bias=False)
    head.weight.data = 0.4 * torch.randn(VOCABULARY, HIDDEN, generator=generator)
    hidden = torch.randn(TOKENS, HIDDEN, generator=generator)
    return hidden, head, torch.randint(VOCABULARY, (TOKENS,), generator=generator)


def full(hidden: torch.Tensor, head: nn.Linear, targets: torch.Tensor, temperature: float):
    """The same in float64, with all logits in memory."""
    everything = torch.log_softmax((hidden.double() @ head.weight.double().T) / temperature, dim=-1)
    entropy = -(everything.exp() * everything).sum(-1)
    return everything[torch.arange(len(targets)), targets], entropy


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 1.7])
def test_logprobs_are_those_of_the_sampling_distribution(case, temperature):
    """Check 2: log_softmax(logits / T); without the division (T = 1) the numbers are others."""
    logprobs, entropy = token_logprobs(*case, temperature)
    expected, expected_entropy = full(*case, temperature)
    torch.testing.assert_close(logprobs.double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(entropy.double(), expected_entropy, rtol=0, atol=1e-5)
    if temperature != 1.0:
        assert (token_logprobs(*case, 1.0)[0].double() - expected).abs().max() > 0.1


@pytest.mark.parametrize("chunk_tokens", [1, 4, 22])
def test_chunks_equal_the_whole_forward_and_backward(case, chunk_tokens, monkeypatch):
    """Check 27: values and both gradients of logprobs and entropy: 1e-6 from one chunk, and float64."""
    hidden, head, targets = case
    weights = torch.linspace(-1, 1, TOKENS)

    def results(function, **settings) -> list[torch.Tensor]:
        h = hidden.clone().requires_grad_()
        logprobs, entropy = function(h, head, targets, 0.7, **settings)
        loss = (weights * logprobs).sum() + (weights.flip(0) * entropy).sum()
        return [logprobs, entropy, *torch.autograd.grad(loss, [h, head.weight])]

    whole = results(token_logprobs, entropy_grad=True)
    monkeypatch.setattr(models.logprobs, "CHUNK_LOGITS", chunk_tokens * VOCABULARY)
    seen = []
    handle = head.register_forward_hook(lambda *args: seen.append(args[2].shape[0]))
    pieces = results(token_logprobs, entropy_grad=True)
    handle.remove()
    assert max(seen) <= chunk_tokens  # logits alive at once, in the recomputation of the backward pass too
    assert sum(seen) == 2 * TOKENS  # every chunk once forward and once again for its gradient
    for a, b, c in zip(pieces, whole, results(full), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(a.double(), c.double(), rtol=1e-5, atol=1e-5)


def test_entropy_has_a_gradient_only_where_it_is_asked_for(case):
    """An entropy that is only logged must not pull on the policy, nor keep its logits alive."""
    hidden, head, targets = case
    for wanted in (False, True):
        logprobs, entropy = token_logprobs(hidden, head, targets, 1.0, entropy_grad=wanted)
        assert logprobs.requires_grad and entropy.requires_grad == wanted


def test_float16_logits_are_summed_in_float32(case):
    """Check 24: with half-precision hidden states the sum of exponentials has float32's digits."""
    hidden, head, targets = case
    half = head.bfloat16()
    logprobs, entropy = token_logprobs(hidden.bfloat16(), half, targets, 1.0)
    assert logprobs.dtype == entropy.dtype == torch.float32
    logits = half(hidden.bfloat16()).double()
    expected = torch.log_softmax(logits, -1)[torch.arange(TOKENS), targets]
    torch.testing.assert_close(logprobs.double(), expected, rtol=0, atol=1e-5)


def test_no_tokens_at_all(case):
    """A micro-batch without tokens gives empty results."""
    hidden, head, targets = case
    assert token_logprobs(hidden[:0], head, targets[:0], 1.0)[0].shape == (0,)


def test_position_ids_count_real_tokens():
    """Check 3: 0, 1, 2, … from the first real token on, whatever stands before it."""
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 0], [0, 0, 0, 0, 1]]).bool()
    assert position_ids(mask).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 3], [0, 0, 0, 0, 0]]


class Peak(TorchDispatchMode):
    """The most bytes of tensors that were alive at once within the block, but for the given ones."""

    def __init__(self, *given: torch.Tensor) -> None:
        super().__init__()
        self.alive = {tensor.untyped_storage()._cdata: 0 for tensor in given}
        self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage._cdata not in self.alive:
                self.alive[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, storage._cdata, None)
        self.peak = max(self.peak, sum(self.alive.values()))
        return result


def peak_of(tokens: int, vocabulary: int, function, hidden: int = 4) -> int:
    """Of a forward and a backward pass over so many tokens, in bytes."""
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(hidden, vocabulary, bias=False).requires_grad_(False)
    states = torch.randn(tokens, hidden, generator=generator, requires_grad=True)
    targets = torch.randint(vocabulary, (tokens,), generator=generator)
    with Peak(states, head.weight, targets) as memory:
        logprobs, _ = function(states, head, targets, 0.7)
        logprobs.sum().backward()
    return memory.peak


@pytest.mark.parametrize("shortcut", [True, False])
def test_peak_memory_does_not_grow_with_tokens_times_vocabulary(shortcut, monkeypatch):
    """Check 27: eight times the tokens, or the vocabulary, leave the peak where it is: a chunk's logits."""
    chunk = 2**16  # numbers; 256 KiB
    monkeypatch.setattr(models.frozen_head, "_LOGITS", chunk)
    monkeypatch.setattr(models.logprobs, "CHUNK_LOGITS", chunk)
    monkeypatch.setattr(models.frozen_head.FROZEN_HEAD, "on", shortcut)
    sizes = ((128, 2048), (1024, 2048), (128, 16384))
    small, longer, wider = (peak_of(*size, token_logprobs) for size in sizes)
    own = 1024 * 4 * 4 * 4  # hidden states and their gradients, which do grow with the tokens
    assert longer <= small + own and wider <= small + own
    assert small <= (2.1 if shortcut else 6) * 4 * chunk
    everything = peak_of(1024, 2048, full)
    assert everything > 8 * longer  # the meter does see it where all logits are alive
