"""`train.py ppo`: an SFT model and problems in, checkpoints out."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from cli.console import end_line
from cli.lock import locked
from cli.parallel import check_same, check_shares, together
from cli.ppo_parts import Parts, check_free_for, evaluator, set_up
from cli.ppo_settings import PPOCommand, check_settings
from cli.resume import resuming, told_where_to_go_on
from cli.runs import create_run, write_settings
from cli.scoring import ScheduledScorer
from cli.settings import plain
from cli.signals import StopRequest
from models.trackers import open_trackers
from ppo.loop import train
from ppo.parallel import World
from ppo.run.checkpoint import save_checkpoint
from ppo.run.folder import (
    Checkpoint,
    checkpoint_name,
    newest_whole,
    numbered,
    tidy,
)
from ppo.run.log import FILES, RunLog
from report import write_report

_LESS_MEMORY = (
    "lower rollout_batch if it was sampling, micro_batch_size if it was updating, "
    "with train.py ppo --resume {out} --allow-changes rollout_batch micro_batch_size"
)


def run_ppo(settings: PPOCommand) -> None:
    """Train to the last iteration. Raises one of cli.errors.USER_ERRORS."""
    check_settings(settings)
    out = settings.resume or settings.out
    advice = f"go on with: train.py ppo --resume {out}"
    with together(advice, settings.compute, plain(settings)) as world, ExitStack() as stack:
        world.patience = max(world.patience, 2 * settings.reward_seconds)
        world.lead(lambda: stack.enter_context(locked(out)))
        _run(settings, world)


def _run(settings: PPOCommand, world: World) -> None:
    out = settings.resume or settings.out
    if settings.resume is None:
        world.lead(lambda: check_free_for(settings))
    resumed, damaged = world.lead(lambda: newest_whole(out)) if settings.resume else (None, [])
    with ExitStack() as stack:
        with world.agreeing():
            ppo = settings.ppo
            check_shares(
                world, prompts_per_iteration=ppo.prompts_per_iteration, minibatch_size=ppo.minibatch_size
            )
            parts = set_up(settings, world, resumed, stack)
        check_same(world, parts.state.setup)
        with world.agreeing():
            log = _open_log(out, settings, world, resumed, parts)
        stack.callback(log.close)
        if isinstance(parts.scorer, ScheduledScorer):
            parts.scorer.note = log.note
        _greet(settings, parts, [*damaged, *([] if resumed is None else resuming(resumed))])
        with (
            told_where_to_go_on("ppo", out, numbered, _LESS_MEMORY),
            StopRequest(quiet=not world.leads) as stop,
        ):
            train(
                parts.config,
                parts.policy,
                parts.state,
                scorer=parts.scorer,
                evaluator=evaluator(parts, settings.validation_samples, world),
                log=log,
                checkpoints=out / "checkpoints",
                stop=lambda: world.any(stop),
                world=world,
            )
            if parts.state.iteration < parts.config.iterations:
                world.settled = True
                raise KeyboardInterrupt
        if world.leads:
            page = out / "report.html"
            write_report(page, runs=[out])
            newest = out / "checkpoints" / checkpoint_name(parts.state.iteration)
            parts.console.say(f"{end_line(parts.state.best, newest)}; curves and samples: {page}")


def _open_log(
    out: Path, settings: PPOCommand, world: World, resumed: Checkpoint | None, parts: Parts
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


def _rewind(resumed: Checkpoint, parts: Parts, log: RunLog) -> None:
    """Put the run folder back to where the checkpoint saw it."""
    state, keep = parts.state, parts.config.keep_checkpoints
    log.truncate(resumed.state["logs"])
    folder = resumed.path.parent
    tidy(folder, state.best.get("iteration"), keep)
    if state.setup != resumed.state["setup"]:  # changes were allowed: from now on they are the run's
        save_checkpoint(folder, parts.policy, state, logs=log.offsets(), keep=keep)


def _greet(settings: PPOCommand, parts: Parts, first: Sequence[str]) -> None:
    """What a run says before it begins."""
    count, validation = len(parts.prompts), parts.validation
    each = f", {n} programs each" if (n := settings.validation_samples) > 1 else ""
    best = f"best is chosen on {len(validation)} problems of {settings.validation}{each}"
    none = "no validation: no checkpoint is best, the newest stands for the run"
    programs = f"{parts.config.batch_size} programs per iteration"
    lines = [
        *first,
        "; ".join(filter(None, (f"PPO: {count} problems, {programs}", parts.note))),
        parts.policy.plain_ways(),
        best if validation else none,
    ]
    for line in filter(None, lines):
        parts.console.say(line)
