"""The rollout of the workload alone, by `generate` of transformers with no adapters in the way: what sampling
costs that is not a trainer's. Runs where the project runs.
"""

# ruff: noqa: E402  # the path is set first

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch
import transformers
from transformers import LlamaForCausalLM

from benchmarks.peers import task as workload
from benchmarks.peers.meter import Meter


def main() -> None:
    """Sample so many times and write the figures."""
    given = workload.arguments(__doc__)
    torch.set_num_threads(1)
    meter = Meter(in_turn=given.in_turn)
    task = workload.read(given.task)
    model = LlamaForCausalLM.from_pretrained(task.model, dtype=torch.float32).eval()
    gap = task.check(model)
    model.generation_config.eos_token_id = None  # nothing ends a response
    for step in range(given.steps):
        prompts = torch.tensor(task.rows(step))
        meter.begin()
        ids = model.generate(
            input_ids=prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=task.response,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            pad_token_id=0,
        )
        meter.mark("rollout")
        meter.end()
    assert ids.shape[1] == prompts.shape[1] + task.response
    workload.write(
        given,
        meter.report(workload.BATCH * task.response),
        library=f"transformers {transformers.__version__}",
        logits_gap=gap,
    )


if __name__ == "__main__":
    main()
