"""Time and memory of one PPO iteration of a model of a given shape, with random weights.

    python benchmarks/gpu.py        # the shape of DeepSeek-Coder-1.3B, on the GPU, bfloat16 or float16
    python benchmarks/gpu.py --device cpu --hidden 64 --layers 2 --heads 4 --prompt 32 --response 32

Without and with gradient checkpointing: the micro-batch that `auto` finds, seconds and tokens per second of
rollout, scoring and update, and the peak of each. Random weights hardly ever end a response, so all are of
full length: the worst case. Prints a Markdown table.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: it has a reward.py of its own

import torch  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from data import Problem, TestCase  # noqa: E402
from models.adapter import TuneConfig  # noqa: E402
from models.policy import Policy, build_policy  # noqa: E402
from models.precision import DeviceConfig, resolve_precision  # noqa: E402
from models.sft import save_model  # noqa: E402
from models.tiny import build_tokenizer  # noqa: E402
from ppo.buffer import RolloutBuffer  # noqa: E402
from ppo.config import PPOConfig  # noqa: E402
from ppo.memory import fit_micro_batch  # noqa: E402
from ppo.optimizer import build_optimizer  # noqa: E402
from ppo.prompts import EncodedPrompt  # noqa: E402
from ppo.rollout import Responses, forward_responses, sample_responses  # noqa: E402
from ppo.update import update  # noqa: E402


def main() -> None:
    """Measure both settings and print the table."""
    arguments = _arguments()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        device = DeviceConfig(device=arguments.device, dtype=arguments.dtype)
        precision = resolve_precision(device)
        _save_random_model(Path(folder), arguments, precision.dtype)
        for checkpointing in (False, True):
            policy = build_policy(
                Path(folder), TuneConfig(), precision, seed=1, gradient_checkpointing=checkpointing
            )
            rows.append({"gradient checkpointing": checkpointing, **measure(policy, arguments)})
            del policy
    name = torch.cuda.get_device_name() if precision.device.type == "cuda" else "CPU"
    print(f"{name}, {precision.dtype}, torch {torch.__version__}; {_plain(arguments)}\n")
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"device": name, **_plain(arguments), "rows": rows}, indent=2) + "\n"
        )


def measure(policy: Policy, arguments: argparse.Namespace) -> dict[str, Any]:
    """The second of two iterations: seconds, tokens per second and peak GiB by phase."""
    config = PPOConfig(
        prompts_per_iteration=arguments.batch,
        minibatch_size=arguments.batch,
        micro_batch_size="auto",
        max_new_tokens=arguments.response,
        epochs=1,
    )
    size = fit_micro_batch(policy, config, arguments.prompt)
    config = replace(config, micro_batch_size=size)
    optimizer, scaler = build_optimizer(policy, config), policy.precision.grad_scaler()
    found: dict[str, Any] = {"micro-batch": size}
    for _ in range(2):
        generator = torch.Generator().manual_seed(1)
        with _measured(found, "rollout", policy, arguments):
            responses = _sample(policy, arguments, config.temperature, generator)
        with _measured(found, "forward", policy, arguments):
            logprobs, ref_logprobs, values = forward_responses(policy, responses, config.temperature, size)
        noise = torch.randn(logprobs.shape, generator=generator).to(policy.device)
        buffer = RolloutBuffer(
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
        with _measured(found, "update", policy, arguments):
            update(policy, optimizer, scaler, buffer, config, kl_coef=0.0, generator=generator)
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, one line per setting."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join("–" if row[n] is None else str(row[n]) for n in names) + " |" for row in rows]
    return "\n".join(lines)


@contextmanager
def _measured(
    found: dict[str, Any], phase: str, policy: Policy, arguments: argparse.Namespace
) -> Iterator[None]:
    """Put what the block took into `found`; the peak is None where there is no meter."""
    on_gpu = policy.device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    yield
    if on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    found[f"{phase} s"] = round(seconds, 2)
    found[f"{phase} tokens/s"] = round(arguments.batch * arguments.response / seconds)
    found[f"{phase} GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2) if on_gpu else None


def _sample(
    policy: Policy, arguments: argparse.Namespace, temperature: float, generator: torch.Generator
) -> Responses:
    ids = torch.randint(2, 256, (arguments.batch, arguments.prompt), generator=generator).tolist()
    problem = Problem("random", "", (TestCase("", ""),))
    return sample_responses(
        policy,
        [EncodedPrompt(problem, tuple(row), False, "") for row in ids],
        max_new_tokens=arguments.response,
        temperature=temperature,
        batch_size=arguments.rollout_batch,
        generator=generator,
    )


def _save_random_model(folder: Path, arguments: argparse.Namespace, dtype: torch.dtype) -> None:
    tokenizer = build_tokenizer(["print(input())\n"], 260)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=arguments.vocab,
        hidden_size=arguments.hidden,
        intermediate_size=arguments.feed_forward or 43 * arguments.hidden // 16,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.heads,
        max_position_embeddings=arguments.prompt + arguments.response,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    save_model(folder, LlamaForCausalLM(config).to(dtype), tokenizer)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16", "float16"], default="auto")
    for name, default in (
        *(("hidden", 2048), ("layers", 24), ("heads", 16), ("feed-forward", 0), ("vocab", 32256)),
        *(("prompt", 1024), ("response", 512), ("batch", 32), ("rollout-batch", 16)),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path, help="file to write the results to")
    return parser.parse_args()


def _plain(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(arguments).items() if name != "json"}


if __name__ == "__main__":
    main()
