"""`train.py ppo`: an SFT model and problems in, checkpoints out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from cli.console import Console, end_line
from cli.errors import UsageError
from cli.lock import locked
from cli.measure import measure
from cli.parallel import check_same, check_shares, sandbox_options, together
from cli.places import check_init, model_folder
from cli.problems import (
    check_sampling,
    encode_problems,
    encoding_note,
    prompt_template,
    read_problems,
    within_limits,
)
from cli.resume import check_changes, describe_run, resume_defaults, version_note
from cli.runs import PPO_FILES, check_free, create_run, write_settings
from cli.scoring import REWARD_SECONDS, FunctionScorer, ScheduledScorer
from cli.settings import plain
from cli.signals import StopRequest
from cli.time_limit import MAX_SECONDS
from data import Problem
from data.tiny.corpus import TinyCorpusConfig
from models.adapter import TuneConfig
from models.critic import CriticConfig
from models.errors import ModelError, out_of_memory
from models.policy import Policy, build_policy
from models.precision import DeviceConfig, resolve_precision
from models.trackers import TrackerKind, check_tracker, open_trackers
from ppo.config import PPOConfig
from ppo.errors import TrainingError
from ppo.loop import train
from ppo.parallel import World
from ppo.prompts import EncodedPrompt, PromptConfig, PromptTemplate
from ppo.rollout import Scorer as LoopScorer
from ppo.run.checkpoint import load_weights, recorded_form, restore, save_checkpoint
from ppo.run.folder import (
    Checkpoint,
    checkpoint_name,
    newest_whole,
    numbered,
    read_checkpoint,
    resolve_checkpoint,
    tidy,
)
from ppo.run.log import FILES, RunLog
from ppo.run.state import TrainState, fresh_state
from report import write_report
from reward import RewardConfig, RewardSchedule, ScheduleConfig, Scorer, ScoringConfig
from sandbox import Limits


@dataclass(frozen=True)
class PPOCommand:
    """Train an SFT model with PPO on problems; writes OUT/checkpoints/ and logs."""

    config: Path | None = None
    """YAML preset; flags win over it."""
    sft: Path | None = None
    """Run folder of `train.py sft`, or a model (folder or hub name): start, frozen base and reference."""
    init: Path | None = None
    """Start from the policy and value weights of this checkpoint or run (of the same SFT model)."""
    problems: str = "tiny/rl"
    """Problems to train on: a file, or a split of the embedded corpus."""
    validation: str | None = "tiny/validation"
    """Problems that choose the best checkpoint, by the share that passes all tests. None: no checkpoint is
    best, and a run stands for its newest."""
    num_validation: int = 200
    """How many of them to use, from the first."""
    reward: str | None = None
    """file.py:function, called with (problem, program) pairs, in place of the project's reward; once with one
    pair at the start, to see that it works."""
    reward_seconds: float = REWARD_SECONDS
    """How long one call of it may take, wall-clock seconds; then the run ends and says so."""
    out: Path = Path("runs/ppo")
    """Run folder to write."""
    overwrite: bool = False
    """Replace the run folder if it exists."""
    resume: Path | None = None
    """Run folder to go on with, from its newest whole checkpoint and under its own settings."""
    allow_changes: tuple[str, ...] = ()
    """With --resume: keys that may differ from what the run was started with, such as iterations."""
    tracker: TrackerKind = "none"
    """Where its numbers and some texts go besides its own logs and TensorBoard. wandb and trackio are to be
    installed, and go by their own settings (WANDB_MODE=offline)."""
    drop_long: bool = False
    """Leave problems out whose prompt is longer than max_prompt_tokens."""
    ppo: Annotated[PPOConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=PPOConfig)
    tune: Annotated[TuneConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TuneConfig)
    value: Annotated[CriticConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=CriticConfig)
    prompting: Annotated[PromptConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=PromptConfig)
    compute: Annotated[DeviceConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=DeviceConfig)
    objective: RewardConfig = field(default_factory=RewardConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    limits: Limits = field(default_factory=Limits)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    corpus: TinyCorpusConfig = field(default_factory=TinyCorpusConfig)


def run_ppo(settings: PPOCommand) -> None:
    """Train to the last iteration. Raises one of cli.errors.USER_ERRORS."""
    _check(settings)
    out = settings.resume or settings.out
    advice = f"go on with: train.py ppo --resume {out}"
    with together(advice, settings.compute, plain(settings)) as world, ExitStack() as stack:
        world.patience = max(world.patience, 2 * settings.reward_seconds)
        world.lead(lambda: stack.enter_context(locked(out)))
        _run(settings, world)


def _run(settings: PPOCommand, world: World) -> None:
    out = settings.resume or settings.out
    if settings.resume is None:
        world.lead(lambda: _check_free(settings))
    resumed, damaged = world.lead(lambda: newest_whole(out)) if settings.resume else (None, [])
    with ExitStack() as stack:
        with world.agreeing():
            check_shares(world, settings.ppo)
            parts = _set_up(settings, world, resumed, stack)
        check_same(world, parts.state.setup)
        with world.agreeing():
            log = _open_log(out, settings, world, resumed, parts)
        stack.callback(log.close)
        if isinstance(parts.scorer, ScheduledScorer):
            parts.scorer.note = log.note
        _greet(settings, parts, [*damaged, *([] if resumed is None else _resuming(resumed))])
        with _told_where_to_go_on(out), StopRequest(quiet=not world.leads) as stop:
            train(
                parts.config,
                parts.policy,
                parts.state,
                scorer=parts.scorer,
                evaluator=_evaluator(parts, world),
                log=log,
                checkpoints=out / "checkpoints",
                stop=lambda: world.any(stop),
                world=world,
            )
            if parts.state.iteration < parts.config.iterations:
                world.settled = True
                raise KeyboardInterrupt
        if world.leads:
            write_report(out / "report.html", runs=[out])
            newest = out / "checkpoints" / checkpoint_name(parts.state.iteration)
            parts.console.say(end_line(parts.state.best, newest))


@dataclass(frozen=True)
class _Parts:
    """What a run is made of, before anything of it is on disk."""

    config: PPOConfig
    policy: Policy
    state: TrainState
    prompts: list[EncodedPrompt]
    note: str
    """What there is to say of them"""
    validation: list[EncodedPrompt]
    judge: Scorer
    scorer: LoopScorer
    console: Console


def _set_up(settings: PPOCommand, world: World, resumed: Checkpoint | None, stack: ExitStack) -> _Parts:
    policy = _build_policy(settings, resumed)
    # With --init the critic comes with the weights; in a resumed run too.
    config = replace(settings.ppo, init_value_bias=settings.ppo.init_value_bias and settings.init is None)
    template = _template(settings, policy, resumed)
    prompts, note = _encode(settings.problems, settings, template)
    validation = _encode(settings.validation, settings, template)[0] if settings.validation else []
    validation = validation[: settings.num_validation]
    setup = describe_run(plain(settings), policy, prompts, validation, settings.reward)
    if resumed is not None:
        check_changes(resumed.state["setup"], setup, settings.allow_changes, plain(PPOCommand()))
    state = fresh_state(policy, prompts, config, setup)
    options = sandbox_options(settings.scoring, world)
    judge = stack.enter_context(
        Scorer(settings.objective, limits=settings.limits, seed=config.seed, **options)
    )
    console = stack.enter_context(Console("PPO", config.iterations, quiet=not world.leads))
    scorer = _loop_scorer(settings, judge, console, prompts[0].problem, world)
    if resumed is not None:
        restore(resumed, policy, state, any_base="sft" in settings.allow_changes)
        scorer.load_state_dict(state.scorer)
    return _Parts(config, policy, state, prompts, note, validation, judge, scorer, console)


def _open_log(
    out: Path, settings: PPOCommand, world: World, resumed: Checkpoint | None, parts: _Parts
) -> RunLog:
    """The run's logs, where the checkpoint saw them; silent ones on ranks that write nothing."""
    config, console = parts.config, parts.console
    if not world.leads:
        return RunLog(out, console, config.iterations, [], silent=True)
    if settings.resume is None:
        create_run(out, settings, "ppo")
    else:  # flags given now go on to hold
        write_settings(out, replace(settings, resume=None, allow_changes=()), "ppo")
    trackers = open_trackers(out, settings.tracker, plain(settings), "ppo")
    log = RunLog(out, console, config.iterations, trackers)
    if resumed is None:
        log.truncate(dict.fromkeys(FILES, 0))  # of a run that ended before its first checkpoint
    else:
        _rewind(resumed, parts, log)
    return log


def _rewind(resumed: Checkpoint, parts: _Parts, log: RunLog) -> None:
    """Put the run folder back to where the checkpoint saw it."""
    state, keep = parts.state, parts.config.keep_checkpoints
    log.truncate(resumed.state["logs"])
    folder = resumed.path.parent
    tidy(folder, state.best.get("iteration"), keep)
    if state.setup != resumed.state["setup"]:  # changes were allowed: from now on they are the run's
        save_checkpoint(folder, parts.policy, state, logs=log.offsets(), keep=keep)


def _greet(settings: PPOCommand, parts: _Parts, first: Sequence[str]) -> None:
    """What a run says before it begins."""
    count, validation = len(parts.prompts), parts.validation
    best = f"best is chosen on {len(validation)} problems of {settings.validation}"
    none = "no validation: no checkpoint is best, the newest stands for the run"
    programs = f"{parts.config.batch_size} programs per iteration"
    lines = [
        *first,
        f"PPO: {count} problems, {programs}; {parts.note}",
        parts.policy.plain_ways(),
        best if validation else none,
    ]
    for line in filter(None, lines):
        parts.console.say(line)


def _resuming(resumed: Checkpoint) -> list[str]:
    return [f"resuming from {resumed.path.name}", version_note(resumed.state["versions"])]


@contextmanager
def _told_where_to_go_on(out: Path) -> Iterator[None]:
    """Name the last good checkpoint, or the way on, in whatever ends a run before its time."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with: train.py ppo --resume {out}") from None
    except (TrainingError, ModelError) as error:
        saved = numbered(out / "checkpoints")
        last = saved[-1] if saved else "none yet"
        raise TrainingError(f"{error}; last good checkpoint: {last}") from error
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise TrainingError(
            "out of memory: lower rollout_batch if it was sampling, micro_batch_size if it was updating, "
            f"with train.py ppo --resume {out} --allow-changes rollout_batch micro_batch_size"
        ) from error


def _check(settings: PPOCommand) -> None:
    """Refuse settings that do not go together, before anything is loaded."""
    if settings.sft is None:
        raise UsageError("--sft DIR is needed: the run folder of `train.py sft`, or a model folder")
    if settings.allow_changes and settings.resume is None:
        raise UsageError("--allow-changes goes with --resume: a new run has nothing to differ from")
    if not 0 < settings.reward_seconds <= MAX_SECONDS:
        raise UsageError(f"--reward-seconds must be in (0, {MAX_SECONDS:g}], not {settings.reward_seconds}")
    if settings.num_validation < 1:
        raise UsageError("--num-validation must be 1 or more: `best` is chosen by them")
    check_tracker(settings.tracker)
    if settings.schedule.moves and settings.reward is not None:
        raise UsageError(
            "--schedule changes the project's objective, not the function of --reward: leave one out"
        )


def _build_policy(settings: PPOCommand, resumed: Checkpoint | None) -> Policy:
    """A fresh policy on the SFT model, with the weights of --init; those of a resumed run come later."""
    precision = resolve_precision(settings.compute)
    sft = _sft_folder(settings, resumed)
    policy = build_policy(
        sft,
        settings.tune,
        precision,
        settings.ppo.seed,
        critic=settings.value,
        gradient_checkpointing=settings.ppo.gradient_checkpointing,
    )
    check_sampling(policy, settings.ppo.max_prompt_tokens, settings.ppo.max_new_tokens)
    if settings.init is not None and resumed is None:
        check_init(settings.init)
        load_weights(read_checkpoint(resolve_checkpoint(settings.init)), policy)
    return policy


def _sft_folder(settings: PPOCommand, resumed: Checkpoint | None) -> Path:
    """Where the SFT model is. A checkpoint knows by a relative path, so that a runs folder can be moved.

    A checkpoint that was copied elsewhere finds it by --sft; whichever it is, its hash must be the same.
    """
    assert settings.sft is not None  # see _check
    if resumed is None:
        return model_folder(settings.sft, "--sft")
    given = settings.sft != resume_defaults(resumed.path.parents[1], "ppo", PPOCommand).sft
    if "sft" in settings.allow_changes:
        return model_folder(settings.sft, "--sft") if given else resumed.sft_path
    named = [model_folder(settings.sft, "--sft")] if given or settings.sft.is_dir() else []
    base = resumed.with_base(named).base
    assert base is not None
    return base


def _check_free(settings: PPOCommand) -> None:
    code = settings.reward.rpartition(":")[0] if settings.reward else None
    problems = (settings.problems, settings.validation)
    reads = (settings.sft, settings.init, settings.config, *problems, code, settings.prompting.file)
    check_free(settings.out, files=PPO_FILES, overwrite=settings.overwrite, inputs=reads)


def _template(settings: PPOCommand, policy: Policy, resumed: Checkpoint | None) -> PromptTemplate:
    """How problems are put to the policy: as to the run or the model that it goes on from."""
    start = settings.resume or settings.init or settings.sft
    assert start is not None  # see _check
    if resumed is None and settings.init is not None:
        resumed = read_checkpoint(resolve_checkpoint(settings.init))
    return prompt_template(settings.prompting, policy, start, recorded_form(resumed) if resumed else None)


def _encode(source: str, settings: PPOCommand, template: PromptTemplate) -> tuple[list[EncodedPrompt], str]:
    problems, note = within_limits(read_problems(source, settings.corpus), settings.limits, source)
    limit, drop_long = settings.ppo.max_prompt_tokens, settings.drop_long
    encoded = encode_problems(problems, template, limit, drop_long=drop_long)
    return encoded.prompts, note + encoding_note(encoded, len(problems), limit, template, drop_long=drop_long)


def _loop_scorer(
    settings: PPOCommand, judge: Scorer, console: Console, problem: Problem, world: World
) -> LoopScorer:
    if settings.reward is not None:
        scorer = FunctionScorer(settings.reward, settings.reward_seconds, world)
        scorer.check(problem)
        return scorer
    schedule = RewardSchedule(settings.objective, settings.schedule)
    return ScheduledScorer(judge, schedule, progress=console.advance, say=console.say, world=world)


def _evaluator(parts: _Parts, world: World) -> Callable[[Policy], dict[str, float]]:
    """Validation at the training temperature, always by the project's tests: never by a training reward."""
    config, prompts = parts.config, parts.validation
    if not prompts:
        return lambda policy: {}

    def evaluate(policy: Policy) -> dict[str, float]:
        measured = measure(
            policy,
            prompts,
            parts.judge,
            samples=1,
            temperature=config.temperature,
            max_new_tokens=config.max_new_tokens,
            batch_size=config.rollout_batch,
            seed=config.seed,
            progress=parts.console.advance,
            world=world,
        )
        names = ("syntax", "any_pass", "all_pass", "reward", "length")
        return {f"validation/{name}": measured.mean(name) for name in names}

    return evaluate
