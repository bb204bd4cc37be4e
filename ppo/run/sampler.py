"""Which problems come next, and the seeds of everything that is drawn at random."""

import hashlib
from collections.abc import Sequence

import torch

from ppo.prompts import EncodedPrompt


class PromptSampler:
    """Endless problems: every one once per pass, each pass in an order of its own.

    The order of pass n depends on (seed, n) alone, so the place is two numbers and needs no RNG state.
    """

    def __init__(self, prompts: Sequence[EncodedPrompt], seed: int) -> None:
        if not prompts:
            raise ValueError("there is no problem to train on")
        self.prompts = prompts
        self.seed = seed
        self.drawn = 0
        self._pass, self._order = -1, list[int]()

    def take(self, count: int) -> list[EncodedPrompt]:
        """The next `count` problems."""
        chosen = []
        for _ in range(count):
            number, place = divmod(self.drawn, len(self.prompts))
            if self._pass != number:
                self._pass, self._order = number, self._permutation(number)
            chosen.append(self.prompts[self._order[place]])
            self.drawn += 1
        return chosen

    def _permutation(self, number: int) -> list[int]:
        generator = torch.Generator().manual_seed(derived_seed(self.seed, number, "prompts"))
        return torch.randperm(len(self.prompts), generator=generator).tolist()


def derived_seed(seed: int, number: int, purpose: str) -> int:
    """A seed for one purpose at one point of the run.

    Deriving seeds instead of carrying generators along means that a resumed run draws what the
    uninterrupted one would have drawn, with no generator state to store.
    """
    text = f"{seed}/{number}/{purpose}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")
