"""Time and memory of one PPO iteration on a GPU, part by part, against what the card could do.

    python benchmarks/gpu.py                 # the shape of DeepSeek-Coder-1.3B with random weights
    python benchmarks/gpu.py --cap-gib 16 --model DIR --json FILE   # a real model as well, as on a 16 GB card
    python benchmarks/gpu.py --device cpu --hidden 64 --layers 2 --heads 4 --prompt 32 --response 32

- Decoding by recorded steps and kernel by kernel: seconds, tokens per second, and which share of the rate at
  which this card copies memory the least reading takes (weights once a step, and the cache as far as it is
  filled). Reading the prompts is timed apart.
- Without and with gradient checkpointing: the micro-batch that `auto` finds; seconds, tokens per second and
  peak of rollout, scoring and update, and which share of the rate of a large matrix product their products
  have (what checkpointing repeats is not counted).
- In 16 bits, how far what decoding says of its tokens is from what the update's pass says: with the adapters
  folded into the weights, and beside them. And what importance weights would be left with.

All responses are of full length: the worst case. The file is written anew after every part.
"""

import argparse
import gc
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: it has a reward.py of its own

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from benchmarks.card import cap_memory, copy_rate, describe, matrix_rate, now  # noqa: E402
from benchmarks.gpu_gap import gaps  # noqa: E402
from data import Problem, TestCase  # noqa: E402
from models.adapter import TuneConfig  # noqa: E402
from models.decoding import Decoding  # noqa: E402
from models.policy import Policy, build_policy  # noqa: E402
from models.precision import DeviceConfig, Precision, resolve_precision  # noqa: E402
from models.sft import save_model  # noqa: E402
from models.tiny import build_tokenizer  # noqa: E402
from ppo.buffer import RolloutBuffer  # noqa: E402
from ppo.config import PPOConfig  # noqa: E402
from ppo.memory import fit_micro_batch  # noqa: E402
from ppo.optimizer import build_optimizer  # noqa: E402
from ppo.prompts import EncodedPrompt  # noqa: E402
from ppo.rollout import Responses, forward_responses, sample_responses  # noqa: E402
from ppo.update import update  # noqa: E402

GIB = 2**30
TEMPERATURE = 0.7
NO_TOKEN = 2**31  # an id that no model has: responses do not end
REAL = {"prompt": 256, "response": 256, "batch": 64, "rollout_batch": 64}


def main() -> None:
    """Measure what is asked for, write it, print it."""
    given = _arguments()
    precision = resolve_precision(DeviceConfig(device=given.device, dtype=given.dtype))
    if precision.device.type == "cuda":
        cap_memory(given.cap_gib)
    card = describe(precision.device) | {
        "dtype": str(precision.dtype).removeprefix("torch."),
        "cap_gib": given.cap_gib,
        "copy_gb_per_s": round(copy_rate(precision.device) / 1e9, 1),
        "matrix_tflops": round(matrix_rate(precision.device, precision.dtype) / 1e12, 2),
    }
    print(json.dumps(card))
    found: dict[str, Any] = dict(card)
    with tempfile.TemporaryDirectory() as folder:
        if not given.only_model:
            _save_random_model(Path(folder), given, precision)
            for part in measure(Path(folder), precision, card, given):
                found |= _plain(given) | part
                _write(given.json, found)
    if given.model:
        real = argparse.Namespace(**REAL)
        for part in measure(given.model, precision, card, real):
            found["real"] = {"model": given.model.name} | REAL | found.get("real", {}) | part
            _write(given.json, found)


def measure(
    folder: Path, precision: Precision, card: dict[str, Any], size: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """The parts of one model as they are done: `weights`, `decoding`, `gap` in 16 bits, `rows`.

    `size`: `prompt` and `response` tokens, `batch` responses, `rollout_batch` of them side by side.
    """
    rows: list[dict[str, Any]] = []
    decoding: dict[str, Any] = {}
    for checkpointing in (False, True):
        policy = build_policy(folder, TuneConfig(), precision, seed=1, gradient_checkpointing=checkpointing)
        bench = Bench(policy, card, size)
        if not checkpointing:
            yield {"weights": bench.layers + bench.head}
            decoding = bench.decoding()
            yield {"decoding": decoding}
            if not precision.exact:
                some = bench.prompts[: size.rollout_batch]
                yield {"gap": gaps(policy, partial(bench.sample, some), TEMPERATURE)}
        best = decoding.get("graph", decoding["eager"])
        sampled = {f"rollout {key}": best[key] for key in ("s", "tokens/s", "GiB")}
        rows.append({"gradient checkpointing": checkpointing} | sampled | bench.iteration())
        yield {"rows": rows}
        del policy, bench
        gc.collect()
    print(f"{folder.name}\n{json.dumps(decoding, indent=1)}\n{table(rows)}")


class Bench:
    """One policy, and prompts of random tokens for it."""

    def __init__(self, policy: Policy, card: dict[str, Any], size: argparse.Namespace) -> None:
        self.policy, self.card, self.size = policy, card, size
        network, self.device = policy.network, policy.device
        config, embedded = network.config, network.get_input_embeddings().weight
        self.head = policy.head.weight.numel()  # numbers of the output layer, and of all before it
        named = network.named_parameters()
        self.layers = sum(p.numel() for n, p in named if "lora_" not in n and p is not embedded)
        self.layers -= 0 if policy.head.weight is embedded else self.head
        self.attention = config.num_hidden_layers * config.num_attention_heads * _head_size(config)
        self.cached = 2 * config.num_hidden_layers * config.num_key_value_heads * _head_size(config)
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(2, embedded.shape[0], (size.batch, size.prompt), generator=generator).tolist()
        problem = Problem("random", "", (TestCase("", ""),))
        self.prompts = [EncodedPrompt(problem, tuple(row), False, "") for row in ids]
        self.tokens = size.batch * size.response

    # --- decoding ---

    def decoding(self) -> dict[str, Any]:
        """Recorded steps and plain ones; on a CPU there are plain ones alone."""
        own, found = self.policy.decoding, {}
        if self.device.type == "cuda":
            first = self.timed(self.sample)[0]
            row = self.decoding_row()
            found["graph"] = row | {"first s": round(first, 2), "kept GiB": round(own.nbytes / GIB, 2)}
            if own.plain_because:
                found["graph"]["plain because"] = own.plain_because
        own.release()
        plain = replace(self.policy.precision, decode="eager")
        self.policy.decoding = Decoding(self.policy.network, plain, lasting=True)
        found["eager"] = self.decoding_row()
        self.policy.decoding = own
        return found

    def decoding_row(self) -> dict[str, Any]:
        """A rollout, and of it the steps alone."""
        size = self.size
        seconds, peak, _ = self.timed(self.sample)
        reading = self.timed(lambda: self.sample(new_tokens=1))[0]
        steps = -(-size.batch // size.rollout_batch) * (size.response - 1)
        step = (seconds - reading) / max(1, steps)
        rows = min(size.batch, size.rollout_batch)
        numbers = self.layers + self.head + rows * (size.prompt + size.response / 2) * self.cached
        least = numbers * self.policy.precision.dtype.itemsize / (1e9 * self.card["copy_gb_per_s"])
        return {
            "s": round(seconds, 2),
            "tokens/s": round(self.tokens / seconds),
            "GiB": peak,
            "prompts s": round(reading, 2),
            "ms per step": round(1000 * step, 2),
            "share of copy rate": round(least / step, 3),
        }

    def sample(self, prompts: list[EncodedPrompt] | None = None, new_tokens: int = 0) -> Responses:
        """A rollout of full length: no token ends a response."""
        stops, self.policy.stop_ids = self.policy.stop_ids, [NO_TOKEN]
        try:
            return sample_responses(
                self.policy,
                prompts or self.prompts,
                max_new_tokens=new_tokens or self.size.response,
                temperature=TEMPERATURE,
                batch_size=self.size.rollout_batch,
                generator=torch.Generator().manual_seed(1),
            )
        finally:
            self.policy.stop_ids = stops

    # --- scoring and update ---

    def iteration(self) -> dict[str, Any]:
        """The second of two: seconds, tokens per second, peak GiB and share of the matrix rate by phase."""
        policy, size = self.policy, self.size
        config = PPOConfig(
            prompts_per_iteration=size.batch,
            minibatch_size=size.batch,
            micro_batch_size="auto",
            max_new_tokens=size.response,
            epochs=1,
        )
        micro = fit_micro_batch(policy, config, size.prompt)
        config = replace(config, micro_batch_size=micro)
        optimizer, scaler = build_optimizer(policy, config), policy.precision.grad_scaler()
        responses = self.sample()
        policy.decoding.release()
        found: dict[str, Any] = {"micro-batch": micro}
        products, attention = self.operations()
        for _ in range(2):
            generator = torch.Generator().manual_seed(1)
            forward = self.timed(lambda: forward_responses(policy, responses, TEMPERATURE, micro))
            buffer = _buffer(responses, forward[2], generator)
            args = (policy, optimizer, scaler, buffer, config)
            trained = self.timed(lambda: update(*args, kl_coef=0.0, generator=generator))  # noqa: B023
        # Scoring is a pass of the policy and one of the reference; the update one there and, with frozen
        # weights, as much back, attention twice.
        found |= self.phase("forward", forward, 2 * (products + attention))
        return found | self.phase("update", trained, 2 * products + 3 * attention)

    def operations(self) -> tuple[float, float]:
        """Of the matrix products of one pass, and of its attention, half a square."""
        length = self.size.prompt + self.size.response - 1
        products = 2.0 * (self.size.batch * length * self.layers + self.tokens * self.head)
        return products, 2.0 * self.size.batch * length**2 * self.attention

    def phase(self, name: str, took: tuple[float, float | None, Any], operations: float) -> dict[str, Any]:
        """The figures of one phase."""
        seconds, peak, _ = took
        share = operations / seconds / (1e12 * self.card["matrix_tflops"])
        return {
            f"{name} s": round(seconds, 2),
            f"{name} tokens/s": round(self.tokens / seconds),
            f"{name} GiB": peak,
            f"{name} share of matrix rate": round(share, 3),
        }

    def timed(self, work: Callable[[], Any]) -> tuple[float, float | None, Any]:
        """Seconds, peak GiB (None where there is no meter), and what it returns."""
        on_gpu = self.device.type == "cuda"
        start = now(self.device)
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        result = work()
        seconds = now(self.device) - start
        return seconds, round(torch.cuda.max_memory_allocated() / GIB, 2) if on_gpu else None, result


def _buffer(
    responses: Responses, scored: tuple[Tensor, Tensor, Tensor], generator: torch.Generator
) -> RolloutBuffer:
    """`scored`: log-probabilities of policy and reference, and values."""
    logprobs, ref_logprobs, values = scored
    noise = torch.randn(logprobs.shape, generator=generator).to(logprobs.device)
    return RolloutBuffer(
        tokens=responses.tokens,
        old_logprobs=logprobs,
        ref_logprobs=ref_logprobs,
        old_values=values,
        advantages=noise,
        returns=values + noise,
        weights=torch.ones_like(noise),
        problem_ids=responses.problem_ids,
        outcomes=["scored"] * len(noise),
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, one line per setting."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join("–" if row[n] is None else str(row[n]) for n in names) + " |" for row in rows]
    return "\n".join(lines)


def _head_size(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _save_random_model(folder: Path, given: argparse.Namespace, precision: Precision) -> None:
    tokenizer = build_tokenizer(["print(input())\n"], 260)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=given.vocab,
        hidden_size=given.hidden,
        intermediate_size=given.feed_forward or 43 * given.hidden // 16,
        num_hidden_layers=given.layers,
        num_attention_heads=given.heads,
        max_position_embeddings=given.prompt + given.response,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    with torch.device(precision.device):  # a billion numbers are drawn there in no time
        model = LlamaForCausalLM(config).to(precision.dtype)
    save_model(folder, model, tokenizer)


def _write(path: Path | None, found: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16", "float16"], default="auto")
    parser.add_argument("--cap-gib", type=float, help="memory of the card that torch may use")
    parser.add_argument("--model", type=Path, help="folder of a real model, measured after the random one")
    parser.add_argument("--only-model", action="store_true", help="leave the random one out")
    for name, default in (
        *(("hidden", 2048), ("layers", 24), ("heads", 16), ("feed-forward", 0), ("vocab", 32256)),
        *(("prompt", 1024), ("response", 512), ("batch", 32), ("rollout-batch", 16)),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path, help="file to write the results to, anew after every part")
    given = parser.parse_args()
    if given.only_model and not given.model:
        parser.error("--only-model needs --model")
    return given


def _plain(given: argparse.Namespace) -> dict[str, Any]:
    left_out = ("json", "model", "only_model", "device", "dtype", "cap_gib")
    return {name: value for name, value in vars(given).items() if name not in left_out}


if __name__ == "__main__":
    main()
