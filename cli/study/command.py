"""`train.py study`: SFT, PPO under several rewards, evaluation, over training seeds; one table."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from rich.console import Console as RichConsole

from cli import settings as presets
from cli.demonstrations import read_demonstrations
from cli.errors import UsageError
from cli.evaluate_settings import EvaluateCommand
from cli.lock import locked
from cli.places import model_folder
from cli.ppo_settings import PPOCommand
from cli.problems import read_problems
from cli.sft_settings import SFTCommand
from cli.study.arms import DEFAULT, SFT, Arm, chosen, flags, needed
from cli.study.jobs import run_steps
from cli.study.results import Judged, write_results
from cli.study.steps import ROOT, Step, evaluate_step, ppo_step, sft_step
from evaluation.study import study_markdown
from models.precision import resolve_precision
from models.ranges import MAX_SEED, Count, check_ranges

PRESET = ROOT / "configs" / "tiny.yaml"
_FREE = {"threads"}
"""Settings that may differ when a study goes on."""

T = TypeVar("T")


@dataclass(frozen=True)
class StudyCommand:
    """The paper's question on your model and problems: SFT, PPO under each reward, all compared.

    Every step is a command of its own in OUT/seed-N, which the same command goes on with after an
    interruption; what is done is not done again.
    """

    config: Path = PRESET
    """YAML preset with the sections sft, ppo and evaluate; ppo.iterations is one phase."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Training seeds, of SFT and PPO. Evaluation has the preset's, the same for all models."""
    arms: tuple[str, ...] = DEFAULT
    """What is trained: simple (binary reward), fresh (partial credit), continue (partial, from simple),
    fresh-twice, simple-twice (two phases), switch (binary, then partial, in one phase), auto (the mix follows
    the programs), difficulty (tests weigh by how seldom they pass), off, parses, earned (gates), paper (its
    arithmetic), alpha=0.8 (any weight). Two groups: options (fresh and what rewards it in another way), sweep
    (fresh and four weights)."""
    out: Path = Path("runs/study")
    """Folder for everything."""
    jobs: Count = 1
    """Steps at the same time. With more than one each has one thread and its share of the cores; on a GPU
    they share it."""
    model: str | None = None
    """Folder or hub name of a pretrained model, in the place of the preset's."""
    problems: str | None = None
    """File to train on, with solutions, for SFT and PPO, in the place of the preset's."""
    validation: str | None = None
    """File that chooses PPO's checkpoints, in the place of the preset's."""
    test: str | None = None
    """File to measure on, in the place of the preset's."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """In the place of the preset's."""
    table_only: bool = False
    """Train nothing; tables and figures of what is there."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.seeds or min(self.seeds) < 0 or max(self.seeds) > MAX_SEED:
            raise ValueError(f"seeds: name at least one, each between 0 and {MAX_SEED}")
        if twice := [s for number, s in enumerate(self.seeds) if s in self.seeds[:number]]:
            raise ValueError(f"seeds: {twice[0]} is named twice")


@dataclass(frozen=True)
class _Plan:
    """The settings of every command of a study."""

    sft: SFTCommand
    ppo: PPOCommand
    """One phase of PPO-fresh."""
    arms: Mapping[str, PPOCommand]
    """By key, also those that others start from."""
    evaluate: EvaluateCommand


def run_study(settings: StudyCommand) -> None:
    """Do what is missing, write and print the results.

    Raises:
        SystemExit: status 1, some step failed; the others are done, and in the results.
        One of cli.errors.USER_ERRORS; KeyboardInterrupt.
    """
    arms = chosen(settings.arms)
    plan = _plan(settings, arms)
    console = RichConsole(soft_wrap=True, highlight=False)

    def say(text: str) -> None:
        console.print(text, markup=False)

    failed: dict[str, str] = {}
    with locked(settings.out):
        for name, section, values in _presets(plan):
            _check_preset(settings.out, name, section, values)
        if not settings.table_only:
            for name, section, values in _presets(plan):
                _keep_preset(settings.out, name, section, values)
            steps = _steps(settings, arms)
            say(f"study: {len(steps)} steps, {sum(step.done for step in steps)} of them done")
            out = settings.out
            try:
                failed = run_steps(steps, settings.jobs, times=out / "times.json", logs=out / "logs", say=say)
            except KeyboardInterrupt:
                raise KeyboardInterrupt("give the same command to go on") from None
        _tell(settings, arms, plan, say)
    for name, why in failed.items():
        say(f"failed: {name}: {why}")
    if failed:
        raise SystemExit(1)


# --- what is to be done ---


def _plan(settings: StudyCommand, arms: Sequence[Arm]) -> _Plan:
    """Every command's settings, checked. Raises UsageError before any time is spent."""
    common = [f"--device={settings.device}"] if settings.device else []
    common += ["--threads=1"] if settings.jobs > 1 else []
    learned = [f"--problems={settings.problems}"] if settings.problems else []
    trained = [*learned, *([f"--validation={settings.validation}"] if settings.validation else [])]
    model = [f"--model={settings.model}"] if settings.model else []
    tested = [f"--problems={settings.test}"] if settings.test else []
    sft = _parsed("sft", SFTCommand, settings.config, [*model, *learned, *common])
    ppo = _parsed("ppo", PPOCommand, settings.config, [*trained, *common])
    whole = {
        arm.key: _parsed(
            "ppo", PPOCommand, settings.config, [*trained, *common, *flags(arm, ppo.ppo.iterations)]
        )
        for arm in needed(arms)
    }
    # R is PPO-fresh's in all models, unless the preset says otherwise.
    plain = presets.plain(ppo)
    beneath = {section: plain[section] for section in ("objective", "limits", "scoring")}
    evaluate = _parsed("evaluate", EvaluateCommand, settings.config, [*tested, *common], beneath)
    resolve_precision(sft.compute)  # a GPU that is not there
    if sft.model != "tiny":
        model_folder(sft.model, "--model")
    for source in filter(None, (sft.problems, sft.validated_on)):
        read_demonstrations(source, sft.corpus, sft.prompting.system or "")
    for source in filter(None, (ppo.problems, ppo.validation)):
        read_problems(source, ppo.corpus)
    read_problems(evaluate.problems, evaluate.corpus)
    return _Plan(sft, ppo, whole, evaluate)


def _parsed(
    section: str, kind: type[T], config: Path, argv: list[str], beneath: Mapping[str, Any] | None = None
) -> T:
    argv = ["--config", str(config), *argv]
    return presets.parse(section, kind, argv, prog=f"train.py {section}", beneath=beneath)


def _presets(plan: _Plan) -> list[tuple[str, str, Any]]:
    """Name, section and settings of each command."""
    return [
        ("sft", "sft", replace(plan.sft, config=None)),
        ("evaluate", "evaluate", replace(plan.evaluate, config=None)),
        *((f"ppo-{key}", "ppo", replace(settings, config=None)) for key, settings in plan.arms.items()),
    ]


def _preset_file(out: Path, name: str) -> Path:
    """From what the steps run: every setting of one command."""
    return out / "presets" / f"{name}.yaml"


def _check_preset(out: Path, name: str, section: str, settings: Any) -> None:
    """Raise UsageError where the study in `out` was begun with other settings.

    One that its file does not know came with a later version: it had its default.
    """
    path = _preset_file(out, name)
    if path.is_file():
        written = yaml.safe_load(path.read_text(encoding="utf-8"))[section]
        then = presets.flat(presets.plain(type(settings)())) | presets.flat(written)
        now = presets.flat(presets.plain(settings))
        for key in dict.fromkeys((*now, *then)):
            if key not in _FREE and now.get(key) != then.get(key):
                raise UsageError(
                    f"{out}: its study has {section}.{key} {then.get(key)!r}, not {now.get(key)!r}; give "
                    f"another --out, or the settings in {path.parent}"
                )


def _preset_name(path: Path) -> str:
    """As results tell it: one of the project's own by its place there, wherever the project is."""
    whole = path.resolve()
    return str(whole.relative_to(ROOT) if whole.is_relative_to(ROOT) else path)


def _keep_preset(out: Path, name: str, section: str, settings: Any) -> None:
    """Write it, once."""
    path = _preset_file(out, name)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(presets.dump(settings, section), encoding="utf-8")
        partial.replace(path)


def _steps(settings: StudyCommand, arms: Sequence[Arm]) -> list[Step]:
    """All steps, each after those that it needs: an early stop leaves whole seeds and arms."""
    return [step for seed in settings.seeds for step in _of_seed(settings.out, seed, arms)]


def _of_seed(out: Path, seed: int, arms: Sequence[Arm]) -> Iterator[Step]:
    folder, name = out / f"seed-{seed}", f"seed {seed}, "

    def preset(command: str) -> list[str]:
        return ["--config", str(_preset_file(out, command))]

    def measured(title: str, key: str, step: Step) -> Step:
        given = [*preset("evaluate"), "--names", title]
        return evaluate_step(
            f"{name}evaluate {key}", folder / f"{key}.json", folder / key, given, needs=[step.name]
        )

    seeded = ["--seed", str(seed)]
    sft = sft_step(f"{name}SFT", folder / "sft", [*preset("sft"), *seeded])
    yield sft
    yield measured(SFT, "sft", sft)
    for arm in needed(arms):
        given, needs = [*preset(f"ppo-{arm.key}"), *seeded], [sft.name]
        if arm.after:
            given += ["--init", str(folder / arm.after)]
            needs.append(f"{name}{arm.after}")
        run = ppo_step(f"{name}{arm.key}", folder / arm.key, folder / "sft", given, needs)
        yield run
        if arm in arms:
            yield measured(arm.title, arm.key, run)


# --- what it came to ---


def _tell(settings: StudyCommand, arms: Sequence[Arm], plan: _Plan, say: Any) -> None:
    """Write the results of what is measured, and print them. Raises UsageError where nothing is."""
    keys = {SFT: "sft"} | {arm.title: arm.key for arm in arms}
    measured = {
        title: {
            seed: path
            for seed in settings.seeds
            if (path := settings.out / f"seed-{seed}" / f"{key}.json").is_file()
        }
        for title, key in keys.items()
    }
    if not any(measured.values()):
        raise UsageError(f"{settings.out}: no model of this study is measured yet")
    phase = plan.ppo.ppo.iterations * plan.ppo.ppo.prompts_per_iteration * plan.ppo.ppo.samples_per_prompt
    judged = Judged(
        objective=plan.evaluate.objective,
        alpha=plan.ppo.objective.alpha,
        phase=phase,
        seed=plan.evaluate.seed,
        setting={
            "config": _preset_name(settings.config),
            "model": plan.sft.model,
            "trained_on": plan.ppo.problems,
        },
    )
    results = write_results(settings.out, measured, SFT, arms, judged)
    say(study_markdown(results))
    names = ("study.json", "study.md", "study.svg", "sweep.svg")
    written = [str(settings.out / name) for name in names if (settings.out / name).is_file()]
    say(f"written: {shlex.join(written)}")
