"""The workload by TRL 0.11.4, the last with a value head on the policy's trunk. Runs in a venv of its own.

Its fair settings: adapters with the reference by switching them off (no second model), micro-batches.
"""

# ruff: noqa: E402  # the path is set first

import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch
import transformers
import trl
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM
from trl import AutoModelForCausalLMWithValueHead, PPOConfig, PPOTrainer

from benchmarks.peers import task as workload
from benchmarks.peers.meter import Meter


def main() -> None:
    """Run the steps and write the figures."""
    given = workload.arguments(__doc__)
    torch.set_num_threads(1)
    meter = Meter(in_turn=given.in_turn)
    task = workload.read(given.task)
    tokenizer = task.tokenizer
    base = LlamaForCausalLM.from_pretrained(task.model, torch_dtype=torch.float32)
    gap = task.check(base)
    base.generation_config.eos_token_id = None  # nothing ends a response
    adapted = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **workload.LORA))
    config = PPOConfig(
        batch_size=workload.BATCH,
        mini_batch_size=given.micro,
        gradient_accumulation_steps=workload.BATCH // given.micro,
        ppo_epochs=workload.EPOCHS,
        learning_rate=workload.LEARNING_RATE,
        init_kl_coef=workload.KL_COEF,
        vf_coef=workload.VALUE_COEF,
        seed=0,
        remove_unused_columns=False,
    )
    model = AutoModelForCausalLMWithValueHead.from_pretrained(adapted)
    trainer = PPOTrainer(config, model, ref_model=None, tokenizer=tokenizer)
    steps_taken = _count_steps(trainer.optimizer)
    compute_rewards = trainer.compute_rewards

    def rewards_after_scoring(*given: Any, **named: Any) -> Any:
        meter.mark("forward")
        return compute_rewards(*given, **named)

    trainer.compute_rewards = rewards_after_scoring
    sampling = {
        "min_new_tokens": task.response,
        "max_new_tokens": task.response,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": None,
    }
    for step in range(given.steps):
        queries = [torch.tensor(ids) for ids in task.rows(step)]
        meter.begin()
        responses = trainer.generate(
            queries, batch_size=workload.BATCH, return_prompt=False, remove_padding=False, **sampling
        )
        meter.mark("rollout")
        texts = tokenizer.batch_decode(torch.stack(responses))
        scores = [torch.tensor(workload.reward(text)) for text in texts]
        meter.mark("score")
        stats = trainer.step(queries, responses, scores)
        meter.mark("update")
        meter.end()
    assert {len(response) for response in responses} == {task.response}
    assert len(steps_taken) == workload.EPOCHS * given.steps, steps_taken
    workload.write(
        given,
        meter.report(workload.BATCH * task.response),
        library=f"trl {trl.__version__}, transformers {transformers.__version__}",
        logits_gap=gap,
        approx_kl=float(stats["ppo/policy/approxkl"]),
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )


def _count_steps(optimizer: Any) -> list[int]:
    """A list that grows by one with each step that the optimizer takes."""
    inner = getattr(optimizer, "optimizer", optimizer)
    taken: list[int] = []
    inner.register_step_post_hook(lambda *_: taken.append(1))
    return taken


if __name__ == "__main__":
    main()
