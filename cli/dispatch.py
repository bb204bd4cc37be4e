"""From a command's name to its settings and its function."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from cli import settings
from cli.demo import DemoCommand, run_demo
from cli.errors import LOWER, UsageError, run_command
from cli.evaluate import EvaluateCommand, run_evaluate
from cli.export import ExportCommand, run_export
from cli.parallel import check_one_process, leads
from cli.plan import PlanCommand, run_plan
from cli.ppo import run_ppo
from cli.ppo_settings import PPOCommand
from cli.prepare import PrepareCommand, run_prepare
from cli.resume import resume_defaults
from cli.sample import SampleCommand, run_sample
from cli.sft import run_sft
from cli.sft_settings import SFTCommand
from cli.study.command import StudyCommand, run_study
from cli.yardstick import of_runs
from reward import RewardConfig

_COMMANDS = {
    "ppo": (PPOCommand, run_ppo),
    "sft": (SFTCommand, run_sft),
    "demo": (DemoCommand, run_demo),
    "sample": (SampleCommand, run_sample),
    "prepare": (PrepareCommand, run_prepare),
    "plan": (PlanCommand, run_plan),
    "evaluate": (EvaluateCommand, run_evaluate),
    "export": (ExportCommand, run_export),
    "study": (StudyCommand, run_study),
}

_LOWER = {
    "sft": LOWER["sft"],
    "ppo": f"{LOWER['rollout']} if it was sampling, {LOWER['update']} if it was updating",
    "evaluate": LOWER["evaluation"],
    "sample": "max_new_tokens",
}

# Commands that go on with a run, and their flags that say how to begin one.
_BEGINNING = {"ppo": ("config", "out", "init", "overwrite"), "sft": ("config", "out", "overwrite")}


def _settings_of_run(name: str, kind: type, argv: list[str]) -> Any:
    """The settings of the run that --resume names, under which it goes on; None where nothing is resumed."""
    run = settings.flag(argv, "resume") if name in _BEGINNING else None
    if run is None:
        return None
    for other in _BEGINNING[name]:
        if any(a == f"--{other}" or a.startswith(f"--{other}=") for a in argv):
            raise UsageError(f"--resume {run} goes on under its own settings; leave --{other} out")
    return resume_defaults(Path(run), name, kind)


def _judged_as_trained(
    parsed: EvaluateCommand | SampleCommand, name: str, argv: list[str], prog: str
) -> EvaluateCommand | SampleCommand:
    """The same settings, with what decided R in the run that is looked at beneath what was given."""
    paths = parsed.checkpoints if isinstance(parsed, EvaluateCommand) else (parsed.checkpoint,)
    beneath, told = of_runs(paths)
    judged = settings.parse(name, type(parsed), argv, prog=prog, beneath=beneath) if beneath else parsed
    if told and leads() and (judged != parsed if beneath else parsed.objective == RewardConfig()):
        print(told)
    return judged


def dispatch(name: str, argv: list[str]) -> int:
    """Parse and run one command; returns the exit status."""
    prog = "evaluate.py" if name == "evaluate" else f"train.py {name}"

    # Their progress bars and advice would break into ours.
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)

    def command() -> None:
        if name not in ("sft", "ppo", "evaluate"):
            check_one_process(prog)
        function: Callable[[Any], None]
        kind, function = _COMMANDS[name]  # type: ignore[assignment]
        start = _settings_of_run(name, kind, argv)
        parsed: Any = settings.parse(name, kind, argv, prog=prog, start=start)
        if isinstance(parsed, EvaluateCommand | SampleCommand):
            parsed = _judged_as_trained(parsed, name, argv, prog)
        function(parsed)

    return run_command(command, _LOWER.get(name, ""))
