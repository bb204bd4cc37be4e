"""The workload as it lies in a folder: a model, prompts as ids, and what the model says of the first of them.

benchmarks/workload.py writes it; this project and the trainers beside it, with other versions of
transformers, read it here. Needs torch and transformers and nothing of this project.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

EPOCHS = 4
BATCH = 16
LEARNING_RATE = 1e-4
VALUE_COEF = 0.1
KL_COEF = 0.05
LORA: dict[str, Any] = {
    "r": 16,
    "lora_alpha": 32,
    "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}
CLOSE = 1e-3
"""Of two readings of a model, relative to the spread of its logits: rounding in another order, with room."""


@dataclass(frozen=True)
class Task:
    """What every trainer is given."""

    model: Path
    """Folder of a causal language model in safetensors, with its tokenizer."""
    prompts: list[list[int]]
    """Ids, all of one length and no two alike; BATCH for each step."""
    response: int
    """Tokens sampled for each prompt; nothing ends a response before."""
    logits: list[float]
    """Of the token after the first prompt, as the transformers that saved the model calculates them."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Read from its one file: other versions write the rest of its settings otherwise."""
        return PreTrainedTokenizerFast(
            tokenizer_file=str(self.model / "tokenizer.json"),
            pad_token=_token(self.model, "pad_token"),
            eos_token=_token(self.model, "eos_token"),
            padding_side="left",
        )

    def rows(self, step: int) -> list[list[int]]:
        """The prompts of a step, counted from 0."""
        return self.prompts[step * BATCH : (step + 1) * BATCH]

    @torch.no_grad()
    def check(self, model: Any) -> float:
        """How far the model is, as loaded here, from what it was when it was saved; refuses what is too far.

        A version that misreads a setting (rope_theta, tied weights) would calculate something else, and its
        time would say nothing.
        """
        saved = torch.tensor(self.logits)
        here = model(input_ids=torch.tensor(self.prompts[:1])).logits[0, -1].float()
        gap = ((here - saved).abs().max() / saved.std()).item()
        if not gap <= CLOSE:
            raise SystemExit(f"this transformers misreads {self.model}: logits differ by {gap:.2g}")
        return gap


def read(folder: Path) -> Task:
    """The workload in a folder."""
    return Task(model=folder / "model", **json.loads((folder / "task.json").read_text(encoding="utf-8")))


def reward(text: str) -> float:
    """A stub: how many characters a text has, each counted once, in hundreds."""
    return len(set(text)) / 100


def arguments(doc: str | None) -> argparse.Namespace:
    """The flags of every trainer's script."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path, help="folder that benchmarks/workload.py wrote")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--micro", type=int, default=4, help="responses of a backward pass")
    parser.add_argument("--json", type=Path, required=True, help="file to write the figures to")
    parser.add_argument("--in-turn", action="store_true", help="see meter.py")
    return parser.parse_args()


def write(given: argparse.Namespace, figures: dict[str, Any], **about: Any) -> None:
    """The figures of a run, to the file that the flags name."""
    text = json.dumps({"steps": given.steps, "micro": given.micro, **figures, **about}, indent=1)
    given.json.write_text(text + "\n", encoding="utf-8")


def _token(folder: Path, name: str) -> str:
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    token = config[name]
    return token["content"] if isinstance(token, dict) else token
