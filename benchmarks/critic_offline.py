"""What can a critic know of a policy's programs? Critics fitted to recorded rollouts, judged on others.

    python benchmarks/critic_offline.py runs/real-model/seed-1/sft \\
        --json benchmarks/results/critic_offline.json

Some problems are answered several times each, once for all. Then every critic learns from four fifths of the
problems and is judged on the last fifth, five times over. Explained variance is that of all tokens, as PPO
logs it, and of responses, at their first and last token. Beside them stand

    between        the share of the variance of scores that lies between problems: no critic that reads the
                   prompt alone explains more;
    leave-one-out  what the mean of a problem's other samples explains, without learning anything;
    ridge          linear regression on states of one layer, under several penalties: about what a large
                   critic could know from as many programs.

Intervals are 95 % bootstrap over problems. SmolLM2-135M: about ten minutes on a quiet core.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its reward.py would be imported

from benchmarks.runs import write  # noqa: E402
from cli.problems import encode_all, prompt_template, read_problems  # noqa: E402
from data.tiny.corpus import TinyCorpusConfig  # noqa: E402
from models.batch import TokenBatch, trim  # noqa: E402
from models.critic import Critic, Reading, SurpriseCritic, ValueHead, together  # noqa: E402
from models.policy import Policy  # noqa: E402
from models.precision import DeviceConfig, resolve_precision  # noqa: E402
from ppo.prompts import PromptConfig  # noqa: E402
from ppo.rollout import Responses, sample_responses  # noqa: E402
from ppo.run.checkpoint import load_policy  # noqa: E402
from reward import RewardConfig, Scorer  # noqa: E402
from sandbox import Limits  # noqa: E402

TEMPERATURE, BATCH, FOLDS, DRAWS = 0.7, 16, 5, 1000
PENALTIES = (0.1, 1.0, 10.0, 100.0)
RATES, PASSES = (1e-3, 3e-3), (1, 2, 4)


@dataclass(frozen=True)
class Record:
    """B responses, `samples` to each problem in turn, with what a critic may read at their N tokens."""

    samples: int
    scores: Tensor
    """(B,)"""
    lengths: Tensor
    """(B,)"""
    readings: list[Reading]
    """One per response"""
    middle: Tensor
    """(N, H) states of the middle layer"""

    @property
    def problem(self) -> Tensor:
        """(B,) of each response, counted from 0."""
        return torch.arange(len(self.scores)) // self.samples

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a file."""
        names = ("hidden", "inputs", "prompt", "logprobs", "entropy")
        read = {name: torch.cat([getattr(reading, name) for reading in self.readings]) for name in names}
        own = {"scores": self.scores, "lengths": self.lengths, "middle": self.middle}
        return {**own, **read, "samples": torch.tensor(self.samples)}

    def at(self, place: str) -> Tensor:
        """(B,) the token index of every response's first or last token."""
        ends = self.lengths.cumsum(0)
        return ends - 1 if place == "last" else ends - self.lengths


def main() -> None:
    """Record, fit, judge; print and write as it goes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="a model, or a run, which stands for its best")
    parser.add_argument("--problems", default="tiny/rl")
    parser.add_argument("--num-problems", type=int, default=128)
    parser.add_argument("--samples", type=int, default=4, help="per problem")
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path, help="safetensors file for the rollouts; read if it is there")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    record = recorded(given)
    found: dict[str, Any] = between(record)
    print(found, flush=True)
    for name, predict in critics(record).items():
        found[name] = judge(record, cross_validated(record, predict))
        print(name, found[name], flush=True)
        if given.json:
            counts = {"responses": len(record.scores), "samples": record.samples}
            write(given.json, {"checkpoint": str(given.checkpoint), **counts, "explained_variance": found})


# --- the record ---


def recorded(given: argparse.Namespace) -> Record:
    """The record in a file that is there, else a new one, kept if a file is named."""
    if given.record is None or not given.record.is_file():
        record = collect(given)
        if given.record is not None:
            save_file(record.tensors(), given.record)
        return record
    parts = load_file(given.record)
    names = ("hidden", "inputs", "logprobs", "entropy")
    tokens = [parts[name].split(parts["lengths"].tolist()) for name in names]
    rows = [
        Reading(hidden, inputs, prompt[None], logprobs, entropy, torch.ones(1, len(hidden), dtype=torch.bool))
        for hidden, inputs, logprobs, entropy, prompt in zip(*tokens, parts["prompt"], strict=True)
    ]
    return Record(int(parts["samples"]), parts["scores"], parts["lengths"], rows, parts["middle"])


def collect(given: argparse.Namespace) -> Record:
    """Sample, score, and read every token once."""
    policy = load_policy(given.checkpoint, resolve_precision(DeviceConfig(device="cpu")))
    problems = read_problems(given.problems, TinyCorpusConfig())[: given.num_problems]
    prompts = encode_all(problems, prompt_template(PromptConfig(), policy, given.checkpoint), 512)
    responses = sample_responses(
        policy,
        [prompt for prompt in prompts for _ in range(given.samples)],
        max_new_tokens=given.max_new_tokens,
        temperature=TEMPERATURE,
        batch_size=4 * BATCH,
        generator=torch.Generator().manual_seed(given.seed),
    )
    with Scorer(RewardConfig(), limits=Limits(cpu_seconds=0.5)) as scorer:
        rewards = scorer.score(responses.pairs())
    scores = torch.tensor([float("nan") if reward is None else reward.total for reward in rewards])
    if scores.isnan().any():
        raise SystemExit("the sandbox failed on a program; start again")
    readings, middle = read(policy, responses)
    lengths = responses.tokens.response_mask.sum(dim=1)
    return Record(given.samples, scores, lengths, readings, middle)


@torch.no_grad()
def read(policy: Policy, responses: Responses) -> tuple[list[Reading], Tensor]:
    """What the critic is handed of each response, and the states of a middle layer there."""
    readings: list[Reading] = []
    layers: list[Tensor] = []

    class Recorder(nn.Module):
        def forward(self, reading: Reading) -> Tensor:
            readings.append(reading)
            return torch.zeros_like(reading.logprobs)

    policy.value_head = Recorder()  # type: ignore[assignment]
    policy.pack_limit = 0  # states row by row
    blocks = policy.network.get_decoder().layers
    blocks[2 * len(blocks) // 3 - 1].register_forward_hook(lambda block, given, states: layers.append(states))
    rows, middle = [], []
    for index in torch.arange(len(responses.texts)).split(BATCH):
        batch = trim(TokenBatch(*(x[index] for x in responses.tokens)))
        policy(batch, TEMPERATURE)
        start = batch.prompt_ids.shape[1] - 1
        states = layers.pop()[:, start : start + batch.response_ids.shape[1]]  # (B, T, H)
        middle.append(states[batch.response_mask])
        rows += readings.pop().rows()
    return rows, torch.cat(middle)


# --- what there is to know ---


def between(record: Record) -> dict[str, dict[str, float]]:
    """The share of the scores' variance between problems, and what leave-one-out explains by it."""
    scores, k = record.scores.view(-1, record.samples).numpy(), record.samples

    def share(x: np.ndarray) -> float:
        within = x.var(axis=1, ddof=1).mean()
        means = k * x.mean(axis=1).var(ddof=1)
        return float((means - within) / (means + (k - 1) * within))

    draws = np.random.default_rng(0).integers(len(scores), size=(DRAWS, len(scores)))
    low, high = np.percentile([share(scores[draw]) for draw in draws], [2.5, 97.5])
    shares = {"mean": share(scores), "low": float(low), "high": float(high)}
    # From the mean of the k - 1 others a sample is k / (k - 1) times the variance within a problem away.
    return {
        "between": shares,
        "leave-one-out": {key: 1 - (1 - value) * k / (k - 1) for key, value in shares.items()},
    }


Predict = Callable[[Tensor, Tensor], Tensor]
"""(rows to learn from, rows to judge) -> values at all tokens of the latter, in order."""


def critics(record: Record) -> dict[str, Predict]:
    """Name -> how it learns."""
    found: dict[str, Predict] = {}
    hidden, embedding = record.readings[0].hidden.shape[1], record.readings[0].inputs.shape[1]
    for rate, passes in itertools.product(RATES, PASSES):
        found[f"surprise, rate {rate:g}, passes {passes}"] = learner(
            record, lambda: SurpriseCritic(hidden, embedding, 16), rate, passes
        )
    found["surprise of width 64, rate 0.001, passes 2"] = learner(
        record, lambda: SurpriseCritic(hidden, embedding, 64), 1e-3, 2
    )
    found["head, rate 0.001, passes 2"] = learner(record, lambda: ValueHead(hidden), 1e-3, 2)
    for share in (0.25, 0.5):
        found[f"surprise, rate 0.001, passes 2, {share:.0%} of the problems"] = learner(
            record, lambda: SurpriseCritic(hidden, embedding, 16), 1e-3, 2, share
        )
    final = torch.cat([reading.hidden for reading in record.readings])
    prompt = torch.cat([r.prompt.expand(len(r.hidden), -1) for r in record.readings])
    for name, states in (("final", final), ("middle", record.middle), ("prompt", prompt)):
        for penalty in PENALTIES:
            found[f"ridge, {name} states, penalty {penalty:g}"] = ridge(record, states, penalty)
    return found


def learner(
    record: Record, make: Callable[[], Critic], rate: float, passes: int, share: float = 1.0
) -> Predict:
    """A critic as PPO trains it: minibatches of 8 responses, squared error in units of the scores' spread."""

    def predict(learn: Tensor, judged: Tensor) -> Tensor:
        torch.manual_seed(0)
        learn = learn[: round(share * len(learn))]
        critic = make()
        critic.start_at(record.scores[learn].mean().item(), record.scores[learn].std().item())
        optimizer = torch.optim.AdamW(critic.parameters(), lr=rate, weight_decay=0.0)
        for _ in range(passes):
            for rows in learn[torch.randperm(len(learn))].split(8):
                values = critic(together([record.readings[row] for row in rows.tolist()]))
                loss = (((values - targets(record, rows)) / critic.unit) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(critic.parameters(), 0.5)
                optimizer.step()
        with torch.no_grad():
            return critic(together([record.readings[row] for row in judged.tolist()]))

    return predict


def ridge(record: Record, states: Tensor, penalty: float) -> Predict:
    """Linear regression on normalised states, token by token."""
    states = nn.functional.layer_norm(states.float(), states.shape[1:])

    def predict(learn: Tensor, judged: Tensor) -> Tensor:
        x, y = states[tokens(record, learn)], targets(record, learn)
        mean, spread = x.mean(dim=0), x.std(dim=0) + 1e-6
        x = (x - mean) / spread
        covariance = x.T @ x / len(x) + penalty * torch.eye(x.shape[1])
        weights = torch.linalg.solve(covariance, x.T @ (y - y.mean()) / len(x))
        return (states[tokens(record, judged)] - mean) / spread @ weights + y.mean()

    return predict


# --- judging ---


def tokens(record: Record, rows: Tensor) -> Tensor:
    """The token indices of some responses, in order."""
    lengths = record.lengths.tolist()
    ends = list(itertools.accumulate(lengths))
    return torch.cat([torch.arange(ends[row] - lengths[row], ends[row]) for row in rows.tolist()])


def targets(record: Record, rows: Tensor) -> Tensor:
    """At every token the score of its response."""
    return record.scores[rows].repeat_interleave(record.lengths[rows])


def cross_validated(record: Record, predict: Predict) -> Tensor:
    """(N,) values at all tokens, each by a critic that saw no sample of its problem."""
    values = torch.zeros(int(record.lengths.sum()))
    for fold in range(FOLDS):
        held = record.problem % FOLDS == fold
        learn, judged = (~held).nonzero()[:, 0], held.nonzero()[:, 0]
        values[tokens(record, judged)] = predict(learn, judged)
    return values


def judge(record: Record, values: Tensor) -> dict[str, float]:
    """Explained variance over tokens with its interval, and over responses at their first and last token."""
    errors = targets(record, torch.arange(len(record.scores))) - values
    everything = explained(record, errors)
    problems = int(record.problem.max()) + 1
    parts = [tokens(record, (record.problem == p).nonzero()[:, 0]) for p in range(problems)]
    rng = np.random.default_rng(0)
    drawn = [torch.cat([parts[p] for p in rng.integers(problems, size=problems)]) for _ in range(DRAWS // 4)]
    low, high = np.percentile([explained(record, errors, draw) for draw in drawn], [2.5, 97.5])
    ends = {place: explained(record, errors, record.at(place)) for place in ("first", "last")}
    return {"mean": everything, "low": float(low), "high": float(high), **ends}


def explained(record: Record, errors: Tensor, places: Tensor | None = None) -> float:
    """1 - Var(errors) / Var(targets) at some tokens, or at all."""
    goals = targets(record, torch.arange(len(record.scores)))
    if places is not None:
        errors, goals = errors[places], goals[places]
    return float(1 - errors.var(correction=0) / goals.var(correction=0))


if __name__ == "__main__":
    main()
