"""`train.py sft`: demonstrations in, a model folder out."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import tyro
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cli.console import Console
from cli.demonstrations import DEFAULT, encode_demonstrations, read_demonstrations, read_samples
from cli.errors import UsageError
from cli.lock import locked
from cli.places import model_folder
from cli.problems import EMBEDDED, check_length
from cli.resume import SFT_CONTENT, check_changes, describe_sft, version_note
from cli.runs import SFT_FILES, check_free, create_run, write_settings
from cli.settings import plain
from cli.signals import StopRequest
from data import render
from data.demonstrations import Demonstrated
from data.samples import SampleConfig
from data.tiny.corpus import TinyCorpusConfig
from models.adapter import TuneConfig
from models.checkpoints import DamagedCheckpoint, Saved
from models.errors import ModelError
from models.precision import DeviceConfig, Precision, resolve_precision
from models.sft import (
    SFTConfig,
    finished,
    fresh_state,
    optimizer_steps,
    prepare_sft,
    save_model,
    train_sft,
    written_loss,
)
from models.sft_data import Demonstration, longest
from models.sft_run import FILES, SERIES, SFTLog, SFTState, restore, save_checkpoint
from models.stopping import stop_ids
from models.storage import check_vocabulary, load_model, load_tokenizer, weight_hash, write_json
from models.template import read_form
from models.tiny import TinyConfig, build_model, build_tokenizer
from models.tokens import TextCodec
from models.trackers import Table, TrackerKind, check_tracker, open_trackers
from ppo.prompts import PromptConfig, PromptTemplate, choose_form

SHOWN = 3
"""Demonstrations that trackers are shown."""


@dataclass(frozen=True)
class SFTCommand:
    """Train a model on demonstrations; writes OUT/model/, the base and the reference of PPO."""

    config: Path | None = None
    """YAML preset; flags win over it."""
    model: str = "tiny"
    """A causal language model (folder or hub name; of an SFT run its model); tiny: one made from scratch."""
    problems: str = DEFAULT
    """What to learn from: a file of problems with solutions, of rows {prompt, completion} or of rows
    {messages}; or tiny/sft, the embedded demonstrations. With from_samples: where the problems' texts are
    looked up, in the place of the samples."""
    validation: str | None = "auto"
    """The same for the validation loss. auto: tiny/validation beside the embedded demonstrations, else none.
    None: no validation loss."""
    out: Path = Path("runs/sft")
    """Run folder to write."""
    overwrite: bool = False
    """Replace the run folder if it exists."""
    resume: Path | None = None
    """Run folder to go on with, from its newest whole checkpoint and under its own settings."""
    allow_changes: tuple[str, ...] = ()
    """With --resume: keys that may differ from what the run was started with, such as epochs."""
    tracker: TrackerKind = "none"
    """Where its numbers and some texts go besides its own logs and TensorBoard. wandb and trackio are to be
    installed, and go by their own settings (WANDB_MODE=offline)."""
    max_prompt_tokens: int = 1024
    """Longer prompts keep the template and a part of the problem text (see --prompt-keep)."""
    drop_long: bool = False
    """Leave problems with longer prompts out instead."""
    samples: Annotated[SampleConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=SampleConfig)
    sft: Annotated[SFTConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=SFTConfig)
    tune: Annotated[TuneConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TuneConfig)
    prompting: Annotated[PromptConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=PromptConfig)
    compute: Annotated[DeviceConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=DeviceConfig)
    tiny: TinyConfig = field(default_factory=TinyConfig)
    corpus: TinyCorpusConfig = field(default_factory=TinyCorpusConfig)

    @property
    def validated_on(self) -> str | None:
        """What `validation` stands for."""
        if self.validation != "auto":
            return self.validation
        embedded = self.problems.startswith(EMBEDDED) and not self.samples.from_samples
        return "tiny/validation" if embedded else None


class _Material(NamedTuple):
    """What a training is made from, loaded and encoded."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: PromptTemplate
    base: str | None
    """Hash of the model's weights; None for one made from scratch."""
    train: list[Demonstration]
    validation: list[Demonstration]
    note: str


def run_sft(settings: SFTCommand) -> None:
    """Train, and write the merged model. Raises one of cli.errors.USER_ERRORS."""
    if settings.allow_changes and settings.resume is None:
        raise UsageError("--allow-changes goes with --resume: a new run has nothing to differ from")
    check_tracker(settings.tracker)
    with locked(settings.resume or settings.out):
        _run(settings)


def _run(settings: SFTCommand) -> None:
    out = settings.resume or settings.out
    config = settings.sft
    if settings.resume is None:
        _check_free(settings)
    resumed, damaged = SERIES.newest_whole(out) if settings.resume else (None, [])
    if settings.resume is not None and resumed is None and (out / "sft.json").is_file():
        raise UsageError(f"--resume {out}: this run is finished, its model is {out / 'model'}")
    precision = resolve_precision(settings.compute)
    material = _prepare(settings, precision)
    setup = describe_sft(
        plain(settings),
        material.base,
        material.tokenizer,
        material.template.form,
        material.train,
        material.validation,
    )
    if resumed is not None:
        check_changes(resumed.state["setup"], setup, settings.allow_changes, plain(SFTCommand()), SFT_CONTENT)
    dtype, steps = material.model.dtype, optimizer_steps(config, len(material.train))
    network = prepare_sft(material.model, config, settings.tune, precision)
    state = fresh_state(network, config, precision, setup)
    if resumed is not None:
        restore(resumed, network, state)
        _check_unfinished(out, state, config, steps)
    if settings.resume is None:
        create_run(out, settings, "sft")
    else:  # flags given now go on to hold
        write_settings(out, replace(settings, resume=None, allow_changes=()), "sft")
        (out / "sft.json").unlink(missing_ok=True)  # what it says of the model will not hold
    with ExitStack() as stack:
        console = stack.enter_context(Console("SFT", steps))
        trackers = open_trackers(out, settings.tracker, plain(settings), "sft")
        log = SFTLog(out, console, steps, config.validate_every, trackers)
        stack.callback(log.close)
        log.show("demonstrations", _shown(material))
        for line in damaged:
            console.say(line)
        if resumed is None:
            log.truncate(dict.fromkeys(FILES, 0))  # of a run that ended before its first checkpoint
        else:
            _rewind(resumed, network, state, config, log, console)
        learning = f"SFT: {len(material.train)} demonstrations, {steps} steps on {precision.device}"
        console.say(f"{learning}; {material.note}")
        with _told_where_to_go_on(out), StopRequest("step") as stop:
            over = train_sft(
                config,
                network,
                state,
                train=material.train,
                validation=material.validation,
                eos_id=material.template.end,
                precision=precision,
                log=log,
                checkpoints=out / "checkpoints",
                stop=stop,
            )
            if not over:
                raise KeyboardInterrupt
        _write_model(out, network, state, material, config, precision, dtype, console)


def _write_model(
    out: Path,
    network: Any,
    state: SFTState,
    material: _Material,
    config: SFTConfig,
    precision: Precision,
    dtype: torch.dtype,
    console: Console,
) -> None:
    """Write OUT/model/ and, last of all, OUT/sft.json: which step it is of, its hash and validation loss.

    The loss is that of the model as written, whose merged and rounded weights are not quite those trained.
    """
    model, step = finished(config, network, state, out / "checkpoints", dtype)
    save_model(out / "model", model, material.tokenizer, material.template.form)
    about: dict[str, Any] = {"step": step, "weights_sha256": weight_hash(out / "model")}
    if material.validation:
        about["validation_loss"] = written_loss(
            model, material.validation, material.template.end, config, precision
        )
    write_json(out / "sft.json", about)
    which = f"of step {step}" + (", where the validation loss was lowest" if step < state.step else "")
    console.say(f"model {which}, written to {out / 'model'}")


def _shown(material: _Material) -> Table:
    """The first demonstrations as the model reads them, for trackers."""
    decode = material.template.codec.decode
    columns = ("prompt", "completion")
    return Table(columns, [[decode(d.prompt_ids), decode(d.completion_ids)] for d in material.train[:SHOWN]])


def _check_free(settings: SFTCommand) -> None:
    sources = (settings.problems, settings.validation, *settings.samples.from_samples)
    reads = (*sources, settings.config, settings.model, settings.prompting.file)
    check_free(settings.out, files=SFT_FILES, overwrite=settings.overwrite, inputs=reads)


def _check_unfinished(out: Path, state: SFTState, config: SFTConfig, steps: int) -> None:
    """Raise UsageError where there is nothing to go on with, or what the end needs is damaged."""
    if state.over(steps, config.patience) and (out / "sft.json").is_file():
        raise UsageError(
            f"--resume {out}: this run is finished, its model is {out / 'model'}; it trains longer with "
            "--epochs N --allow-changes epochs"
        )
    if config.keep == "best" and state.best_step is not None:
        try:
            SERIES.read(out / "checkpoints" / SERIES.name(state.best_step))
        except DamagedCheckpoint as error:
            raise UsageError(f"{error}; or go on with --keep last --allow-changes keep") from error


def _rewind(
    resumed: Saved,
    network: torch.nn.Module,
    state: SFTState,
    config: SFTConfig,
    log: SFTLog,
    console: Console,
) -> None:
    """Put the run folder back to where the checkpoint saw it."""
    log.truncate(resumed.state["logs"])
    folder, best = resumed.path.parent, state.best_step if config.keep == "best" else None
    SERIES.tidy(folder, best, config.keep_checkpoints)
    if state.setup != resumed.state["setup"]:  # changes were allowed: from now on they are the run's
        keep = config.keep_checkpoints
        save_checkpoint(folder, network, state, logs=log.offsets(), best=best, keep=keep)
    console.say(f"resuming from {resumed.path.name}")
    if note := version_note(resumed.state["versions"]):
        console.say(note)


@contextmanager
def _told_where_to_go_on(out: Path) -> Iterator[None]:
    """Name the way on, or the last good checkpoint, in whatever ends a training before its time."""
    go_on = f"train.py sft --resume {out}"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with: {go_on}") from None
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"out of GPU memory: {go_on} --micro-batch-size 1 --allow-changes micro_batch_size, or "
            "--gradient-checkpointing --allow-changes gradient_checkpointing"
        ) from error
    except ModelError as error:
        saved = SERIES.numbered(out / "checkpoints")
        raise ModelError(f"{error}; last good checkpoint: {saved[-1] if saved else 'none yet'}") from error


def _prepare(settings: SFTCommand, precision: Precision) -> _Material:
    """Load and encode. Raises one of cli.errors.USER_ERRORS."""
    system = settings.prompting.system or ""
    if settings.samples.from_samples:
        found = read_samples(settings.samples, settings.problems, settings.corpus, settings.sft.seed)
    else:
        found = read_demonstrations(settings.problems, settings.corpus, system)
    model, tokenizer, base = _load_or_build(settings, found, precision)
    template = _template(settings, model, tokenizer)
    limits = {"prompt_tokens": settings.max_prompt_tokens, "tokens": settings.sft.max_tokens}
    train, note = encode_demonstrations(found, template, **limits, drop_long=settings.drop_long)
    validation: list[Demonstration] = []
    if source := settings.validated_on:
        held_back = read_demonstrations(source, settings.corpus, system)
        validation, _ = encode_demonstrations(held_back, template, **limits, drop_long=settings.drop_long)
    else:
        note += "; no validation, so the last weights are kept"
    tokens = longest([*train, *validation])
    told = f"the {tokens} tokens of the longest demonstration; leave it out with a lower --max-tokens"
    check_length(model.config, tokens, told)
    return _Material(model, tokenizer, template, base, train, validation, note)


def _load_or_build(
    settings: SFTCommand, found: Demonstrated, precision: Precision
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str | None]:
    """Model and tokenizer, and the hash of its weights; None for one made from scratch."""
    if settings.model == "tiny":
        texts = (render(problem) + answer for problem, answer in found.pairs)
        tokenizer = build_tokenizer(texts, settings.tiny.vocab_size)
        return build_model(tokenizer, settings.tiny, settings.sft.seed), tokenizer, None
    path = model_folder(settings.model, "--model")
    model, tokenizer = load_model(path, precision.dtype), load_tokenizer(path)
    check_vocabulary(model, tokenizer, path)
    return model, tokenizer, weight_hash(path)


def _template(
    settings: SFTCommand, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> PromptTemplate:
    """How problems are put to the model from now on: as asked for, or else as it was trained before."""
    fresh = settings.model == "tiny" or settings.prompting != PromptConfig()
    recorded = None if fresh else read_form(model_folder(settings.model, "--model"))
    form = choose_form(settings.prompting, recorded, tokenizer, settings.model)
    return PromptTemplate(TextCodec(tokenizer, stop_ids(model, tokenizer)), form)
