"""`train.py plan`: what SFT, PPO and evaluation take in memory and time, before anything is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Column, Table

from cli.errors import LOWER, UsageError
from cli.evaluate_settings import EvaluateCommand
from cli.machine import GIB, gpu, memory
from cli.pace import Pace, by_products, by_rates
from cli.places import model_config
from cli.ppo_settings import PPOCommand
from cli.problems import check_positions
from cli.settings import load_preset, sections
from cli.sft_settings import SFTCommand
from models.footprint import Parts, Shape, sft_parts
from models.precision import DTYPES, DeviceConfig, Precision
from models.ranges import Positive, check_ranges
from models.tiny import TinyConfig, build_model, build_tokenizer
from ppo.footprint import Sampling, evaluation_parts, ppo_parts

# Allowances, not measurements. GPU: CUDA's context and kernels, workspaces of matrix products, and what the
# allocator cannot use again because it lies in pieces. CPU: Python with its libraries, and the same pieces.
_RESERVE = {"cuda": ("CUDA, fragmentation", GIB), "cpu": ("Python, libraries", GIB)}


@dataclass(frozen=True)
class PlanCommand:
    """Say what a preset takes: memory by phase and item, whether it fits, and the time of an iteration."""

    config: Path | None = None
    """YAML preset; what its sections sft, ppo and evaluate ask for is planned."""
    model: str | None = None
    """Model (folder or hub name) in the place of the preset's; only its configuration is read."""
    memory_gb: Positive | None = None
    """GiB that it has to fit into: as given here, else those of the GPU that is here, else those that the
    preset is made for, else this machine's."""
    made_for_gb: Positive | None = None
    """GiB of the card that a preset is made for."""
    rates: Path | None = None
    """What benchmarks/gpu.py --json measured on the GPU in question, for the time of an iteration."""

    def __post_init__(self) -> None:
        check_ranges(self)


def run_plan(settings: PlanCommand) -> None:
    """Print the plan. Raises one of cli.errors.USER_ERRORS; UsageError too where it does not fit."""
    known = sections(settings.config) if settings.config else ("sft", "ppo", "evaluate")
    sft = load_preset(settings.config, "sft", SFTCommand)
    ppo = load_preset(settings.config, "ppo", PPOCommand)
    evaluate = load_preset(settings.config, "evaluate", EvaluateCommand)
    config, name = _model_config(settings, sft, ppo)
    devices = {"sft": sft.compute, "ppo": ppo.compute, "evaluate": evaluate.compute}
    for section, settings_of in (("ppo", ppo.ppo), ("evaluate", evaluate)):
        if section in known:
            check_positions(config, settings_of.max_prompt_tokens, settings_of.max_new_tokens)
    precisions = {section: target(devices[section]) for section in devices if section in known}
    if not precisions:
        raise UsageError(f"{settings.config}: has no section sft, ppo or evaluate to plan")
    pace = _pace(settings, Shape(config, ppo.tune, precisions["ppo"]), ppo) if "ppo" in precisions else None
    phases: dict[str, Parts] = {}
    with Console(stderr=True).status("rehearsing on tensors without memory"):
        if "sft" in precisions:
            phases["sft"] = sft_parts(Shape(config, sft.tune, precisions["sft"]), sft.sft)
        if "ppo" in precisions:
            shape = Shape(config, ppo.tune, precisions["ppo"])
            phases |= ppo_parts(shape, ppo.value, ppo.ppo)
        if "evaluate" in precisions:
            sampling = Sampling(evaluate.batch_size, evaluate.max_prompt_tokens, evaluate.max_new_tokens)
            shape = Shape(config, ppo.tune, precisions["evaluate"])
            phases["evaluation"] = evaluation_parts(shape, ppo.value, sampling)
    device = max(p.device.type for p in precisions.values())  # "cuda" where one of them is there
    _report(name, settings, phases, pace, device)


def target(compute: DeviceConfig) -> Precision:
    """Device and format as a run takes them, or as it would where there is a GPU. No device is touched."""
    on_gpu = compute.device == "cuda" or (compute.device == "auto" and torch.cuda.is_available())
    # Two formats of 16 bits take the same memory; which of them "auto" is, the GPU decides.
    native = torch.bfloat16 if on_gpu else torch.float32
    dtype = native if compute.dtype == "auto" else DTYPES[compute.dtype]
    return Precision(torch.device("cuda" if on_gpu else "cpu"), dtype, compute.decode)


def _model_config(settings: PlanCommand, sft: SFTCommand, ppo: PPOCommand) -> tuple[Any, str]:
    """The configuration of the model that is meant, and its name."""
    if settings.model is not None:
        return model_config(settings.model, "--model"), settings.model
    if sft.model != "tiny":
        return model_config(sft.model, "--model"), sft.model
    if ppo.sft is not None:
        return model_config(ppo.sft, "--sft"), str(ppo.sft)
    return _tiny_config(sft.tiny), "the embedded model"


def _tiny_config(tiny: TinyConfig) -> Any:
    """As `train.py sft` makes it, had its texts enough different pieces."""
    config = build_model(build_tokenizer([""], 258), tiny, seed=0).config
    config.vocab_size = tiny.vocab_size
    return config


def _pace(settings: PlanCommand, shape: Shape, ppo: PPOCommand) -> Pace | None:
    """How long an iteration takes; None where no rate was measured."""
    if settings.rates is not None:
        return by_rates(settings.rates, shape, ppo.ppo)
    if shape.precision.device.type == "cuda":
        return None
    if ppo.compute.threads:
        torch.set_num_threads(ppo.compute.threads)
    return by_products(shape, ppo.ppo)


def _report(
    name: str, settings: PlanCommand, phases: Mapping[str, Parts], pace: Pace | None, device: str
) -> None:
    """Print table, fit and time. Raises UsageError where a phase does not fit."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    reserve, size = _RESERVE[device]
    phases = {phase: parts | {reserve: size} for phase, parts in phases.items()}
    console.print(table(name, phases))
    limit, whose = _limit(settings, device)
    totals = {phase: sum(parts.values()) / GIB for phase, parts in phases.items()}
    widest = max(totals, key=lambda phase: totals[phase])
    if totals[widest] <= limit:
        console.print(
            f"fits {limit:.1f} GiB ({whose}): the most, {totals[widest]:.2f}, in {widest}", markup=False
        )
    for line in _time_lines(pace):
        console.print(line, markup=False)
    if totals[widest] > limit:
        raise UsageError(
            f"does not fit {limit:.1f} GiB ({whose}): {widest} takes {totals[widest]:.2f}; lower "
            f"{LOWER[widest]}"
        )


def table(name: str, phases: Mapping[str, Parts]) -> Table:
    """Items by phase, in GiB."""
    view = Table(Column("GiB", overflow="fold"), title=f"{name}: the most that each phase takes, in GiB")
    for phase in phases:
        view.add_column(phase, justify="right")
    for item in dict.fromkeys(item for parts in phases.values() for item in parts):
        sizes = (parts.get(item) for parts in phases.values())
        view.add_row(item, *("" if size is None else f"{size / GIB:.2f}" for size in sizes))
    view.add_section()
    view.add_row("together", *(f"{sum(parts.values()) / GIB:.2f}" for parts in phases.values()))
    return view


def _limit(settings: PlanCommand, device: str) -> tuple[float, str]:
    """GiB that there are, and whose they are."""
    found = gpu()
    if settings.memory_gb is not None:
        return settings.memory_gb, "--memory-gb"
    if device == "cuda" and found is not None:
        return found.memory / GIB, found.name
    if settings.made_for_gb is not None:
        return settings.made_for_gb, "what the preset is made for"
    if device == "cuda":
        raise UsageError("torch sees no GPU here; say what yours has with --memory-gb")
    return memory() / GIB, "this machine"


def _time_lines(pace: Pace | None) -> list[str]:
    if pace is None:
        return [
            "seconds per iteration: unknown; benchmarks/gpu.py --json FILE measures a GPU, for --rates FILE"
        ]
    parts = ", ".join(f"{phase} {seconds:.0f}" for phase, seconds in pace.seconds.items())
    least = "at least " if pace.least else ""
    return [
        f"seconds per iteration: {least}{sum(pace.seconds.values()):.0f} ({parts}), were all texts of full "
        f"length; {pace.source}"
    ]
