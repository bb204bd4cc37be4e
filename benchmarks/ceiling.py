"""How much a critic could know: the share of the variance of what programs earn that their prefixes decide.

    python benchmarks/ceiling.py runs/benchmark-critic/seed-1/critic --json benchmarks/results/ceiling.json

Responses are sampled, each is cut at random tokens, and every prefix is continued several times by the same
policy. Var(G) = Var(E[G|prefix]) + E[Var(G|prefix)]: no critic can explain the second part, which tokens
still to come decide. G is the score; the KL penalty is left out.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its reward.py would be imported

from benchmarks.runs import write  # noqa: E402
from cli.problems import encode_all, prompt_template  # noqa: E402
from data import extract  # noqa: E402
from data.tiny.corpus import tiny_split  # noqa: E402
from models.policy import Policy  # noqa: E402
from models.precision import DeviceConfig, resolve_precision  # noqa: E402
from ppo.prompts import EncodedPrompt, PromptConfig  # noqa: E402
from ppo.rollout import Responses, sample_responses  # noqa: E402
from ppo.run.checkpoint import load_policy  # noqa: E402
from reward import RewardConfig, Scorer  # noqa: E402
from sandbox import Limits  # noqa: E402

TEMPERATURE, MAX_TOKENS, BATCH = 0.7, 64, 256
DRAWS = 2000


class Prefix(NamedTuple):
    """A prompt and the first tokens of a response to it."""

    prompt: EncodedPrompt
    start: tuple[int, ...]


def main() -> None:
    """Measure one policy, print and write the ceiling with an interval over responses."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="a checkpoint, or a run, which stands for its best")
    parser.add_argument("--responses", type=int, default=128)
    parser.add_argument("--cuts", type=int, default=4, help="prefixes per response")
    parser.add_argument("--continuations", type=int, default=6, help="per prefix")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file to write the result to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    policy = load_policy(given.checkpoint, resolve_precision(DeviceConfig(device="cpu")))
    problems = tiny_split("rl")[: given.responses]
    prompts = encode_all(problems, prompt_template(PromptConfig(), policy, given.checkpoint), 128)
    cuts = cut(sample(policy, prompts, given.seed), given.cuts, given.seed)
    repeated = [prefix for prefix in cuts for _ in range(given.continuations)]
    scores = earned(policy, repeated, given.seed + 1).reshape(len(prompts), given.cuts, given.continuations)
    result = ceiling(scores, given.seed)
    print(
        f"ceiling of the explained variance: {result['mean']:.2f} [{result['low']:.2f}, {result['high']:.2f}]"
    )
    if given.json:
        counts = {"responses": len(prompts), "cuts": given.cuts, "continuations": given.continuations}
        write(given.json, {"checkpoint": str(given.checkpoint), **counts, "ceiling": result})


def sample(policy: Policy, prompts: list[EncodedPrompt], seed: int) -> Responses:
    """One response per prompt."""
    return sample_responses(
        policy,
        prompts,
        max_new_tokens=MAX_TOKENS,
        temperature=TEMPERATURE,
        batch_size=BATCH,
        generator=torch.Generator().manual_seed(seed),
    )


def cut(responses: Responses, cuts: int, seed: int) -> list[Prefix]:
    """Each response up to a random token of its own, `cuts` times."""
    rng = np.random.default_rng(seed)
    tokens = responses.tokens
    rows = zip(responses.prompts, tokens.response_ids, tokens.response_mask, strict=True)
    found = []
    for prompt, ids, mask in rows:
        response = ids[mask].tolist()
        for place in rng.integers(len(response), size=cuts):
            found.append(Prefix(prompt, tuple(response[:place])))
    return found


def earned(policy: Policy, prefixes: list[Prefix], seed: int) -> np.ndarray:
    """The score of one continuation of each prefix; NaN where the sandbox failed."""
    extended = [replace(p.prompt, ids=p.prompt.ids + p.start) for p in prefixes]
    continued = sample(policy, extended, seed).tokens
    pairs = []
    for prefix, ids, mask in zip(prefixes, continued.response_ids, continued.response_mask, strict=True):
        text = policy.text([*prefix.start, *ids[mask].tolist()])
        pairs.append((prefix.prompt.problem, extract(text)[0]))
    with Scorer(RewardConfig(), limits=Limits(cpu_seconds=0.5)) as scorer:
        return np.array([np.nan if r is None else r.total for r in scorer.score(pairs)])


def ceiling(scores: np.ndarray, seed: int) -> dict[str, float]:
    """1 - E[Var(G|prefix)] / Var(G), and the 95 % bootstrap interval over responses.

    Args:
        scores: (responses, cuts, continuations).
    """

    def share(x: np.ndarray) -> float:
        return float(1.0 - np.nanmean(np.nanvar(x, axis=2, ddof=1)) / np.nanvar(x))

    draws = np.random.default_rng(seed).integers(len(scores), size=(DRAWS, len(scores)))
    low, high = np.percentile([share(scores[draw]) for draw in draws], [2.5, 97.5])
    return {"mean": share(scores), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    main()
