"""From a command's name to its settings and its function."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from cli import settings
from cli.demo import DemoCommand, run_demo
from cli.errors import LOWER, UsageError, run_command
from cli.evaluate import run_evaluate
from cli.evaluate_settings import EvaluateCommand
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
from cli.suites import SUITES, suites_asked
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
    beneath, told = of_runs(_checkpoints(parsed))
    judged = settings.parse(name, type(parsed), argv, prog=prog, beneath=beneath) if beneath else parsed
    if told and leads() and (judged != parsed if beneath else parsed.objective == RewardConfig()):
        print(told)
    return judged


def _checkpoints(parsed: EvaluateCommand | SampleCommand) -> Sequence[Path]:
    return parsed.checkpoints if isinstance(parsed, EvaluateCommand) else (parsed.checkpoint,)


def _evaluations(judged: EvaluateCommand, argv: list[str], prog: str) -> dict[str, EvaluateCommand]:
    """The evaluations that are asked for, by their titles: one, or those of a file of suites."""
    if not judged.suite:
        return {"": judged}
    asked = suites_asked(judged.suite)
    if judged.suite not in SUITES and settings.flag(argv, "problems") is not None:
        raise UsageError(f"--suite {judged.suite} names problems itself: leave --problems out")
    found = {}
    for title, values in asked.items():
        settings.build(EvaluateCommand, values, f"{judged.suite}: {title}")  # a wrong key, by its file
        beneath = {**of_runs(judged.checkpoints)[0], **values}
        one = settings.parse("evaluate", EvaluateCommand, argv, prog=prog, beneath=beneath)
        one = replace(one, suite=values["suite"])
        if len(asked) > 1:
            one = replace(one, out=_for(title, one.out), markdown=_for(title, one.markdown))
        found[title] = one
    return found


def _for(title: str, file: Path | None) -> Path | None:
    """The file of one of several evaluations: evaluation.json -> evaluation-humaneval.json."""
    name = re.sub(r"[^\w.-]+", "-", title)
    return file and file.with_name(f"{file.stem}-{name}{file.suffix}")


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
        function(_evaluations(parsed, argv, prog) if isinstance(parsed, EvaluateCommand) else parsed)

    return run_command(command, _LOWER.get(name, ""))
