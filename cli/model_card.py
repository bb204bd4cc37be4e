"""README.md of an export: how it is loaded and asked, what it comes from, how good it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from cli.origin import Origin
from cli.problems import EMBEDDED
from evaluation.columns import HEADLINE
from models.export import Base, Readback
from models.template import PromptForm

Form = Literal["adapter", "model"]

_LOAD: dict[Form, str] = {
    "adapter": """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({base})
model = PeftModel.from_pretrained(base, ".")
tokenizer = AutoTokenizer.from_pretrained(".")""",
    "model": """\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(".")""",
}


@dataclass(frozen=True)
class Written:
    """What an export writes."""

    form: Form
    dtype: str
    base: Base
    """As an adapter names it."""
    prompt: PromptForm | None
    readback: Readback


def model_card(written: Written, origin: Origin) -> str:
    """The text of the README. Raises UsageError where the evaluation that was named is none."""
    parts = [
        _head(written, origin),
        _title(written, origin),
        _use(written),
        _asked(written.prompt),
        _data(origin),
        _results(origin),
        _licence(written, origin),
        _settings(origin),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(written: Written, origin: Origin) -> str:
    """What the hub reads."""
    content: dict[str, Any] = {
        "library_name": "peft" if written.form == "adapter" else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["code", *(["ppo", "reinforcement-learning"] if origin.state else [])],
    }
    if name := written.base.name if written.base.revision else origin.hub_name():
        content["base_model"] = name
    if licence := origin.licence():
        content["license"] = licence
    return f"---\n{yaml.safe_dump(content, sort_keys=False)}---"


def _title(written: Written, origin: Origin) -> str:
    state, read = origin.state, written.readback
    when = f"{state['iteration']} iterations of PPO, {state['samples']} programs" if state else "before PPO"
    if written.form == "adapter":
        tune = state["tune"]
        what = (
            f"A LoRA adapter (rank {tune['lora_rank']}, alpha {tune['lora_alpha']}, on "
            f"{', '.join(tune['lora_targets'])}; {written.dtype}) for `{written.base.name}`, whose weights "
            f"have the sha256 `{state['sft']['sha256']}`. On another model it means nothing."
        )
    else:
        what = f"All weights in {written.dtype}, adapters merged. It needs no other model."
    trained = f"; training had moved them by {read.training:.1e}" if state else ""
    return (
        f"# A policy that writes Python programs ({when})\n\n{what}\n\nWritten by coderl-ppo and read back: "
        f"on one text, the log-probabilities of its tokens are {read.rounding:.1e} nats from the policy's "
        f"on average{trained}."
    )


def _use(written: Written) -> str:
    base = written.base
    named = f'"{base.name}"' + (f', revision="{base.revision}"' if base.revision else "")
    text = f"## Use\n\nIn this folder:\n\n```python\n{_LOAD[written.form].format(base=named)}\n```"
    if written.form == "model":
        text += (
            "\n\nvLLM: `vllm serve .`. How it samples unless told otherwise is in `generation_config.json`."
        )
    return text


def _asked(prompt: PromptForm | None) -> str:
    """How problems were put to it: other words are another task."""
    if prompt is None:
        return ""
    way = {
        "chat": "through its chat template, as the user's message",
        "study": "between `### Instruction:` and `### Response:`",
        "plain": "without a template, followed by a line break",
    }.get(prompt.prompt, "through the template in `prompt.json`")
    lines = [f"It was trained on problems put to it {way}:", "", f"```\n{prompt.instruction}\n```"]
    if prompt.system:
        lines += ["", f"with the system message `{prompt.system}`."]
    if prompt.stop:
        texts = ", ".join(map(repr, prompt.stop))
        lines += ["", f"A response also ends at {texts}, which whoever samples has to see to."]
    return "\n".join(lines)


def _data(origin: Origin) -> str:
    lines = []
    for section, what in (("sft", "Demonstrations"), ("ppo", "Problems")):
        values = origin.settings(section)  # type: ignore[arg-type]
        if values and (section == "sft" or origin.state):
            for key, said in (("problems", what), ("validation", f"{what} for validation")):
                lines += [f"- {said}: {_source(str(values[key]))}"] if values.get(key) else []
    if digest := (origin.state.get("setup") or {}).get("problems"):
        lines.append(f"- sha256 over the problems of PPO: `{digest}`")
    return "\n".join(["## Data", "", *lines]) if lines else ""


def _source(name: str) -> str:
    """Problems, with what `train.py prepare` says of where it took them from."""
    if name.startswith(EMBEDDED):
        return f"`{name}`, of the corpus that coderl-ppo makes (MIT)"
    path = Path(name)
    try:
        report = json.loads(path.with_name(f"{path.stem}.prepare.json").read_text(encoding="utf-8"))
        forms = [f"{form['name']} (licence: {form['licence']})" for form in report["forms"]]
    except (OSError, ValueError, TypeError, KeyError):
        forms = []
    return f"`{path.name}`" + (f": {', '.join(forms)}" if forms else "")


def _results(origin: Origin) -> str:
    parts = []
    if validations := origin.validations():
        rows = {f"iteration {n}": _numbers(row) for n, row in validations.items()}
        parts += ["Validation problems, before PPO and at this checkpoint:", _table(rows)]
    if content := origin.evaluated():
        facts = [
            f"{key} {content[key]}"
            for key in ("problems", "source", "samples", "temperature")
            if key in content
        ]
        rows = {model["name"]: _intervals(model) for model in content["models"]}
        parts += [f"Evaluation ({', '.join(facts)}), means and 95 % intervals:", _table(rows)]
    return "\n\n".join(["## Results", *parts]) if parts else ""


def _numbers(row: Mapping[str, float]) -> dict[str, str]:
    """Column -> cell, of a row of metrics.jsonl."""
    found = ((key, factor, form, row.get(f"validation/{key}")) for key, _, factor, form in HEADLINE)
    return {key: form.format(factor * value) for key, factor, form, value in found if value is not None}


def _intervals(model: Mapping[str, Any]) -> dict[str, str]:
    """Column -> cell, of a model in an evaluation."""
    cells = {}
    for key, _, factor, form in HEADLINE:
        if "mean" in (value := model.get(key) or {}):
            mean, low, high = (form.format(factor * value[part]) for part in ("mean", "low", "high"))
            cells[key] = f"{mean} [{low}-{high}]"
    return cells


def _table(rows: Mapping[str, Mapping[str, str]]) -> str:
    """In Markdown, with the columns that some row has."""
    columns = [
        (key, heading) for key, heading, _, _ in HEADLINE if any(key in cells for cells in rows.values())
    ]
    lines: list[Sequence[str]] = [["", *(heading for _, heading in columns)], ["---"] * (len(columns) + 1)]
    lines += [[name, *(cells.get(key, "") for key, _ in columns)] for name, cells in rows.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _licence(written: Written, origin: Origin) -> str:
    if origin.from_scratch():
        told = "The base model was made from scratch by coderl-ppo: it holds nobody else's weights."
    else:
        named = dict.fromkeys([written.base.name, *origin.sources()])
        licence = origin.licence()
        says = (
            f"{licence}, by the card of the base model"
            if licence
            else "not recorded with the base model; look it up"
        )
        told = f"It comes from {', '.join(f'`{name}`' for name in named)}. Licence: {says}."
    return f"## Base model and licence\n\n{told} The terms of the data apply as well."


def _settings(origin: Origin) -> str:
    setup = origin.state.get("setup") or {}
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in setup.items())
    return f"## Settings of PPO\n\n```yaml\n{lines}\n```" if lines else ""
