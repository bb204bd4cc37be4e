"""The workload by TRL 1.12.0, the last with PPO: a policy with adapters, and a whole second model as critic.

Its fair settings: adapters with the reference by switching them off, micro-batches. It takes rewards from a
model alone, so there is one that costs next to nothing. Runs in a venv of its own.
"""

# ruff: noqa: E402  # the path is set first

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch
import transformers
import trl
import trl.experimental.ppo.ppo_trainer as inside
from datasets import Dataset
from peft import LoraConfig
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer

from benchmarks.peers import task as workload
from benchmarks.peers.meter import Meter


class Steps(TrainerCallback):
    """Tells the meter where a step begins and ends."""

    def __init__(self, meter: Meter, steps: int) -> None:
        self.meter, self.steps = meter, steps
        self.kl: float | None = None

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first step begins."""
        self.meter.begin()

    def on_log(self, _: Any, __: Any, ___: Any, logs: dict[str, float], **____: Any) -> None:
        """Remember how far the update went."""
        self.kl = logs.get("policy/approxkl_avg", self.kl)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step has ended, and another begins."""
        self.meter.mark("update")
        self.meter.end()
        if len(self.meter.steps) < self.steps:
            self.meter.begin()


def main() -> None:
    """Run the steps and write the figures."""
    given = workload.arguments(__doc__)
    torch.set_num_threads(1)
    meter = Meter(in_turn=given.in_turn)
    task = workload.read(given.task)
    policy = LlamaForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    gap = task.check(policy)
    critic = LlamaForSequenceClassification.from_pretrained(task.model, num_labels=1, dtype=torch.float32)
    callback = Steps(meter, given.steps)
    inside.batch_generation = _marked(inside.batch_generation, meter, "rollout")
    inside.masked_whiten = _marked(inside.masked_whiten, meter, "forward")  # its last act before the update
    with tempfile.TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            args=_config(folder, given, task),
            processing_class=task.tokenizer,
            model=policy,
            ref_model=None,
            reward_model=_reward_model(policy.config.vocab_size),
            value_model=critic,
            train_dataset=Dataset.from_dict({"input_ids": task.prompts[: given.steps * workload.BATCH]}),
            peft_config=LoraConfig(task_type="CAUSAL_LM", **workload.LORA),
            callbacks=[callback],
        )
        taken: list[int] = []
        inner = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
        inner.register_step_post_hook(lambda *_: taken.append(1))
        trainer.train()
    workload.write(
        given,
        meter.report(workload.BATCH * task.response),
        library=f"trl {trl.__version__}, transformers {transformers.__version__}",
        logits_gap=gap,
        approx_kl=callback.kl,
        optimizer_steps=len(taken),
        trained=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
    )


def _config(folder: str, given: Any, task: workload.Task) -> PPOConfig:
    return PPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=given.micro,
        gradient_accumulation_steps=workload.BATCH // given.micro,
        num_mini_batches=1,
        total_episodes=workload.BATCH * given.steps,
        num_ppo_epochs=workload.EPOCHS,
        response_length=task.response,
        stop_token=None,  # nothing ends a response
        missing_eos_penalty=None,
        temperature=1.0,
        local_rollout_forward_batch_size=workload.BATCH,
        num_sample_generations=0,
        learning_rate=workload.LEARNING_RATE,
        kl_coef=workload.KL_COEF,
        vf_coef=workload.VALUE_COEF,
        report_to=[],
        save_strategy="no",
        eval_strategy="no",
        disable_tqdm=True,
        seed=0,
    )


def _reward_model(vocabulary: int) -> LlamaForSequenceClassification:
    """One layer, 32 wide."""
    return LlamaForSequenceClassification(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_labels=1,
            pad_token_id=0,
        )
    )


def _marked(call: Callable[..., Any], meter: Meter, phase: str) -> Callable[..., Any]:
    """The same function; what was done when it returns was `phase`."""

    def marked(*given: Any, **named: Any) -> Any:
        result = call(*given, **named)
        meter.mark(phase)
        return result

    return marked


if __name__ == "__main__":
    main()
