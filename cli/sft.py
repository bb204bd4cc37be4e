"""`train.py sft`: demonstrations in, a model folder out."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.console import Console
from cli.errors import UsageError
from cli.lock import locked
from cli.parallel import check_same, check_shares, together
from cli.resume import resuming, told_where_to_go_on
from cli.runs import SFT_FILES, check_free, create_run, write_settings
from cli.settings import plain
from cli.sft_parts import Parts, set_up
from cli.sft_settings import SFTCommand
from cli.signals import StopRequest
from models.checkpoints import Saved
from models.sft import finished, save_model, train_sft
from models.sft_loss import written_loss
from models.sft_run import FILES, SERIES, SFTLog, save_checkpoint
from models.storage import weight_hash, write_json
from models.trackers import check_tracker, open_trackers
from ppo.parallel import World

_LESS_MEMORY = (
    "train.py sft --resume {out} --micro-batch-size 1 --allow-changes micro_batch_size, or "
    "--gradient-checkpointing --allow-changes gradient_checkpointing"
)


def run_sft(settings: SFTCommand) -> None:
    """Train, and write the merged model. Raises one of cli.errors.USER_ERRORS."""
    if settings.allow_changes and settings.resume is None:
        raise UsageError("--allow-changes goes with --resume: a new run has nothing to differ from")
    check_tracker(settings.tracker)
    out = settings.resume or settings.out
    advice = f"go on with: train.py sft --resume {out}"
    with together(advice, settings.compute, plain(settings)) as world, ExitStack() as stack:
        world.lead(lambda: stack.enter_context(locked(out)))
        _run(settings, out, world)


def _run(settings: SFTCommand, out: Path, world: World) -> None:
    resumed, damaged = world.lead(lambda: _find(settings))
    with world.agreeing():
        check_shares(world, batch_size=settings.sft.batch_size)
        parts = set_up(settings, resumed)
    check_same(world, parts.state.setup)
    with ExitStack() as stack:
        console = stack.enter_context(Console("SFT", parts.steps, quiet=not world.leads))
        with world.agreeing():
            log = _open_log(out, settings, world, resumed, parts, console)
        stack.callback(log.close)
        for line in [*damaged, *([] if resumed is None else resuming(resumed)), parts.greeting]:
            console.say(line)
        with told_where_to_go_on("sft", out, SERIES.numbered, _LESS_MEMORY):
            with StopRequest("step", quiet=not world.leads) as stop:
                over = train_sft(
                    settings.sft,
                    parts.network,
                    parts.state,
                    train=parts.train,
                    validation=parts.validation,
                    eos_id=parts.template.end,
                    precision=parts.precision,
                    log=log,
                    checkpoints=out / "checkpoints",
                    world=world,
                    stop=lambda: world.any(stop),
                )
                if not over:
                    world.settled = True
                    raise KeyboardInterrupt
            world.lead(lambda: _write_model(out, settings, parts, console))


def _find(settings: SFTCommand) -> tuple[Saved | None, list[str]]:
    """The checkpoint to go on from, and what there is to say of others; of a new run, whether it may begin.

    Raises:
        UsageError: the run is finished, or something stands in its place.
    """
    if settings.resume is None:
        sources = (settings.problems, settings.validation, *settings.samples.from_samples)
        reads = (*sources, settings.config, settings.model, settings.prompting.file)
        check_free(settings.out, files=SFT_FILES, overwrite=settings.overwrite, inputs=reads)
        return None, []
    out = settings.resume
    resumed, damaged = SERIES.newest_whole(out)
    if resumed is None and (out / "sft.json").is_file():
        raise UsageError(f"--resume {out}: this run is finished, its model is {out / 'model'}")
    return resumed, damaged


def _open_log(
    out: Path, settings: SFTCommand, world: World, resumed: Saved | None, parts: Parts, console: Console
) -> SFTLog:
    """The run's logs, where the checkpoint saw them; silent ones on ranks that write nothing."""
    if not world.leads:
        return SFTLog(out, console, parts.steps, settings.sft.validate_every, [], silent=True)
    if settings.resume is None:
        create_run(out, settings, "sft")
    else:  # flags given now go on to hold
        write_settings(out, replace(settings, resume=None, allow_changes=()), "sft")
        (out / "sft.json").unlink(missing_ok=True)  # what it says of the model will not hold
    trackers = open_trackers(out, settings.tracker, plain(settings), "sft")
    log = SFTLog(out, console, parts.steps, settings.sft.validate_every, trackers)
    log.show("demonstrations", parts.shown())
    if resumed is None:
        log.truncate(dict.fromkeys(FILES, 0))  # of a run that ended before its first checkpoint
    else:
        _rewind(resumed, settings, parts, log)
    return log


def _rewind(resumed: Saved, settings: SFTCommand, parts: Parts, log: SFTLog) -> None:
    """Put the run folder back to where the checkpoint saw it."""
    log.truncate(resumed.state["logs"])
    state, keep = parts.state, settings.sft.keep_checkpoints
    folder, best = resumed.path.parent, state.best_step if settings.sft.keep == "best" else None
    SERIES.tidy(folder, best, keep)
    if state.setup != resumed.state["setup"]:  # changes were allowed: from now on they are the run's
        save_checkpoint(folder, parts.network, state, logs=log.offsets(), best=best, keep=keep)


def _write_model(out: Path, settings: SFTCommand, parts: Parts, console: Console) -> None:
    """Write OUT/model/ and, last of all, OUT/sft.json: which step it is of, its hash and validation loss.

    The loss is that of the model as written, whose merged and rounded weights are not quite those trained.
    """
    config, end = settings.sft, parts.template.end
    model, step = finished(config, parts.network, parts.state, out / "checkpoints", parts.dtype)
    save_model(out / "model", model, parts.tokenizer, parts.template.form)
    about: dict[str, Any] = {"step": step, "weights_sha256": weight_hash(out / "model")}
    if parts.validation:
        about["validation_loss"] = written_loss(model, parts.validation, end, config, parts.precision)
    write_json(out / "sft.json", about)
    best = ", where the validation loss was lowest" if step < parts.state.step else ""
    console.say(f"model of step {step}{best}, written to {out / 'model'}")
