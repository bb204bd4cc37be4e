"""The measured workload: 16 prompts of exactly 128 tokens, 128 sampled tokens each, four epochs of one step.

    .venv/bin/python benchmarks/workload.py FOLDER              # a random Llama of 4.26 million parameters
    .venv/bin/python benchmarks/workload.py FOLDER --model DIR  # a real model; 64 sampled tokens

Writes what benchmarks/peers/task.py reads. Prompts are cut from the text of Python's standard library by the
model's own tokenizer. Speed does not depend on which tokens they are, but no two prompts are alike: nothing
is to be had by calculating one for another.
"""

import argparse
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder: it has a reward.py of its own

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM  # noqa: E402
from transformers.utils import logging  # noqa: E402

from benchmarks.peers.task import BATCH  # noqa: E402
from models.sft import save_model  # noqa: E402
from models.tiny import build_tokenizer  # noqa: E402

PROMPT = 128
SHAPE = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
}
FILES = 250
"""of the standard library: enough for a vocabulary of 4096"""


def prepare(
    folder: Path,
    *,
    model: Path | None = None,
    steps: int = 10,
    response: int | None = None,
    shape: dict[str, int] = SHAPE,
    files: int = FILES,
) -> None:
    """Write the workload: `model` (None: a random one of `shape`), prompts of so many steps, logits."""
    place = folder / "model"
    if model is None:
        place.mkdir(parents=True, exist_ok=True)
        _save_random(place, shape, files)
    else:
        _link(model, place)
    tokenizer = AutoTokenizer.from_pretrained(place)
    prompts = _prompts(tokenizer, files, steps * BATCH)
    network = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
    with torch.no_grad():
        logits = network(input_ids=torch.tensor(prompts[:1])).logits[0, -1]
    width = response or (128 if model is None else 64)
    task = {"prompts": prompts, "response": width, "logits": logits.tolist()}
    (folder / "task.json").write_text(json.dumps(task) + "\n", encoding="utf-8")


def _save_random(place: Path, shape: dict[str, int], files: int) -> None:
    tokenizer = build_tokenizer(_texts(files), shape["vocab_size"])
    config = LlamaConfig(
        **shape,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_model(place, LlamaForCausalLM(config), tokenizer)
    _write_config(place, place)


def _link(model: Path, place: Path) -> None:
    """A folder that shows the model's files and has a configuration that older versions read right."""
    place.mkdir(parents=True, exist_ok=True)
    for file in model.resolve().iterdir():
        if file.is_file() and file.name != "config.json" and not (place / file.name).exists():
            (place / file.name).symlink_to(file)
    _write_config(model, place)


def _write_config(model: Path, place: Path) -> None:
    """transformers 5 writes rope_parameters, of which transformers 4 knows nothing: it wants rope_theta, and
    without it calculates with another one and says nothing."""
    config: dict[str, Any] = json.loads((model / "config.json").read_text(encoding="utf-8"))
    rope = config.get("rope_parameters") or {}
    if "rope_theta" in rope:
        config["rope_theta"] = rope["rope_theta"]
    (place / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _texts(files: int) -> Iterator[str]:
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:files]:
        yield path.read_text(encoding="utf-8", errors="ignore")


def _prompts(tokenizer: Any, files: int, count: int) -> list[list[int]]:
    """Pieces of exactly PROMPT tokens, no two alike."""
    found: dict[tuple[int, ...], None] = {}
    for text in _texts(files):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(0, len(ids) - PROMPT + 1, PROMPT):
            found[tuple(ids[start : start + PROMPT])] = None
            if len(found) == count:
                return [list(prompt) for prompt in found]
    raise SystemExit(f"the standard library has {len(found)} prompts, not {count}: lower --steps")


def main() -> None:
    """Write the workload that the flags ask for."""
    logging.disable_progress_bar()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, help="folder of a model with its tokenizer")
    parser.add_argument("--steps", type=int, default=10, help="steps that there are to be prompts for (10)")
    given = parser.parse_args()
    prepare(given.folder, model=given.model, steps=given.steps)


if __name__ == "__main__":
    main()
