"""What a PPO run is made of, from its settings: model, problems, scorer, validation. Nothing is written."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from cli.console import Console
from cli.measure import measure
from cli.parallel import sandbox_options
from cli.places import check_init, model_folder
from cli.ppo_settings import PPOCommand
from cli.problems import (
    check_sampling,
    encode_problems,
    encoding_note,
    prompt_template,
    read_problems,
    within_limits,
)
from cli.resume import check_changes, describe_run, resume_defaults
from cli.runs import PPO_FILES, check_free
from cli.scoring import FunctionScorer, ScheduledScorer
from cli.settings import plain
from data import Problem
from models.policy import Policy, build_policy
from models.precision import resolve_precision
from ppo.config import PPOConfig
from ppo.parallel import World
from ppo.prompts import EncodedPrompt, PromptTemplate
from ppo.rollout import Scorer as LoopScorer
from ppo.run.checkpoint import load_weights, recorded_form, restore
from ppo.run.folder import (
    Checkpoint,
    read_checkpoint,
    resolve_checkpoint,
)
from ppo.run.state import TrainState, fresh_state
from reward import RewardSchedule, Scorer


@dataclass(frozen=True)
class Parts:
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


def set_up(settings: PPOCommand, world: World, resumed: Checkpoint | None, stack: ExitStack) -> Parts:
    """The parts of a new run, or of one that goes on from a checkpoint; `stack` closes them."""
    policy = _build_policy(settings, resumed)
    # With --init the critic comes with the weights; in a resumed run too.
    config = replace(settings.ppo, init_value_bias=settings.ppo.init_value_bias and settings.init is None)
    template = _template(settings, policy, resumed)
    prompts, note = _encode(settings.problems, settings, template)
    validation = _encode(settings.validation, settings, template)[0] if settings.validation else []
    validation = validation[: settings.num_validation]
    setup = describe_run(plain(settings), policy, template, prompts, validation, settings.reward)
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
    return Parts(config, policy, state, prompts, note, validation, judge, scorer, console)


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
    assert settings.sft is not None  # see check_settings
    if resumed is None:
        return model_folder(settings.sft, "--sft")
    given = settings.sft != resume_defaults(resumed.path.parents[1], "ppo", PPOCommand).sft
    if "sft" in settings.allow_changes:
        return model_folder(settings.sft, "--sft") if given else resumed.sft_path
    named = [model_folder(settings.sft, "--sft")] if given or settings.sft.is_dir() else []
    base = resumed.with_base(named).base
    assert base is not None
    return base


def check_free_for(settings: PPOCommand) -> None:
    """Refuse to write where something stands that is worth keeping, or that the run reads."""
    code = settings.reward.rpartition(":")[0] if settings.reward else None
    problems = (settings.problems, settings.validation)
    reads = (settings.sft, settings.init, settings.config, *problems, code, settings.prompting.file)
    check_free(settings.out, files=PPO_FILES, overwrite=settings.overwrite, inputs=reads)


def _template(settings: PPOCommand, policy: Policy, resumed: Checkpoint | None) -> PromptTemplate:
    """How problems are put to the policy: as to the run or the model that it goes on from."""
    start = settings.resume or settings.init or settings.sft
    assert start is not None  # see check_settings
    if resumed is None and settings.init is not None:
        resumed = read_checkpoint(resolve_checkpoint(settings.init))
    return prompt_template(settings.prompting, policy, start, recorded_form(resumed) if resumed else None)


def _encode(source: str, settings: PPOCommand, template: PromptTemplate) -> tuple[list[EncodedPrompt], str]:
    problems, note = within_limits(read_problems(source, settings.corpus), settings.limits, source)
    limit, drop_long = settings.ppo.max_prompt_tokens, settings.drop_long
    encoded = encode_problems(problems, template, limit, drop_long=drop_long)
    cut = encoding_note(encoded, len(problems), limit, template, drop_long=drop_long)
    return encoded.prompts, "; ".join(filter(None, (note, cut)))


def _loop_scorer(
    settings: PPOCommand, judge: Scorer, console: Console, problem: Problem, world: World
) -> LoopScorer:
    if settings.reward is not None:
        scorer = FunctionScorer(settings.reward, settings.reward_seconds, world)
        scorer.check(problem)
        return scorer
    schedule = RewardSchedule(settings.objective, settings.schedule)
    return ScheduledScorer(judge, schedule, progress=console.advance, say=console.say, world=world)


def evaluator(parts: Parts, samples: int, world: World) -> Callable[[Policy], dict[str, float]]:
    """Validation by `samples` programs for each problem at the training temperature, always judged by the
    project's tests: never by a training reward."""
    config, prompts = parts.config, parts.validation
    if not prompts:
        return lambda policy: {}

    def evaluate(policy: Policy) -> dict[str, float]:
        measured = measure(
            policy,
            prompts,
            parts.judge,
            samples=samples,
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
