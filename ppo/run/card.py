"""README.md of a checkpoint: what it is, what it stands on, how to load it. peft alone would write a form."""

import json
from collections.abc import Mapping
from typing import Any

_LORA = """\
A LoRA adapter (rank {lora_rank}, alpha {lora_alpha}, on {targets}). It belongs on its SFT model alone:
`{base}`, {where}, with weights of sha256 `{sha256}`.

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), ".")
tokenizer = AutoTokenizer.from_pretrained(".")
```
"""
_FULL = """\
All weights of the model. Its reference was the SFT model `{base}`, {where}, with weights of
sha256 `{sha256}`.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
```
"""
_USE = """\
`train.py sample`, `evaluate.py` and `train.py ppo --init` of coderl-ppo take this folder; `train.py export`
makes a model of it, or an adapter by itself. If it was copied, `--sft` names the model it stands on.
`value_head.safetensors` is the critic, `state.safetensors` the optimizer.
"""


def card(state: Mapping[str, Any]) -> str:
    """The README of a checkpoint whose state.json is `state`."""
    tune, sft = state["tune"], state["sft"] or {"path": "unknown", "sha256": "unknown"}
    base = sft.get("hub") or sft["path"]
    form = _LORA if tune["tune"] == "lora" else _FULL
    how = form.format(
        lora_rank=tune["lora_rank"],
        lora_alpha=tune["lora_alpha"],
        targets=", ".join(tune["lora_targets"]),
        base=base,
        where="of the hub" if sft.get("hub") else "seen from this folder",
        sha256=sft["sha256"],
    )
    settings = "\n".join(f"{key}: {json.dumps(value)}" for key, value in state["setup"].items())
    title = f"# Policy after {state['iteration']} iterations of PPO ({state['samples']} programs)"
    return "\n".join(
        [title, "", how, _USE, *([f"## Settings\n\n```yaml\n{settings}\n```\n"] if settings else [])]
    )
