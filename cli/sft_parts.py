"""What an SFT run is made of, from its settings: model, tokenizer, demonstrations. Nothing is written."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cli.demonstrations import encode_demonstrations, read_demonstrations, read_samples
from cli.errors import UsageError
from cli.places import model_folder
from cli.problems import check_length
from cli.resume import SFT_CONTENT, check_changes, describe_sft
from cli.settings import plain
from cli.sft_settings import SFTCommand
from data import render
from data.demonstrations import Demonstrated
from models.checkpoints import DamagedCheckpoint, Saved
from models.precision import Precision, resolve_precision
from models.sft import fresh_state, prepare_sft
from models.sft_config import SFTConfig, optimizer_steps
from models.sft_data import Demonstration, longest
from models.sft_run import SERIES, SFTState, restore
from models.stopping import stop_ids
from models.storage import check_vocabulary, load_model, load_tokenizer, weight_hash
from models.template import read_form
from models.tiny import build_model, build_tokenizer
from models.tokens import TextCodec
from models.trackers import Table
from ppo.prompts import PromptConfig, PromptTemplate, choose_form

SHOWN = 3
"""Demonstrations that trackers are shown."""


@dataclass(frozen=True)
class Parts:
    """What a training is made of, before anything of it is on disk."""

    network: torch.nn.Module
    """As `train_sft` takes it"""
    state: SFTState
    steps: int
    """Of the whole training"""
    dtype: torch.dtype
    """The model's, before it was trained"""
    precision: Precision
    tokenizer: PreTrainedTokenizerBase
    template: PromptTemplate
    train: list[Demonstration]
    validation: list[Demonstration]
    greeting: str

    def shown(self) -> Table:
        """The first demonstrations as the model reads them, for trackers."""
        decode = self.template.codec.decode
        columns = ("prompt", "completion")
        return Table(columns, [[decode(d.prompt_ids), decode(d.completion_ids)] for d in self.train[:SHOWN]])


def set_up(settings: SFTCommand, resumed: Saved | None) -> Parts:
    """The parts of a new run, or of one that goes on from a checkpoint.

    Raises one of cli.errors.USER_ERRORS.
    """
    precision = resolve_precision(settings.compute)
    model, tokenizer, template, base, train, validation, note = _prepare(settings, precision)
    setup = describe_sft(plain(settings), base, tokenizer, template.form, train, validation)
    if resumed is not None:
        check_changes(resumed.state["setup"], setup, settings.allow_changes, plain(SFTCommand()), SFT_CONTENT)
    dtype, steps = model.dtype, optimizer_steps(settings.sft, len(train))
    network = prepare_sft(model, settings.sft, settings.tune, precision)
    state = fresh_state(network, settings.sft, precision, setup)
    if resumed is not None:
        restore(resumed, network, state)
        _check_unfinished(resumed.path.parents[1], state, settings.sft, steps)
    about = f"SFT: {len(train)} demonstrations, {steps} steps on {precision.device}"
    greeting = f"{about}; {note}" if note else about
    return Parts(network, state, steps, dtype, precision, tokenizer, template, train, validation, greeting)


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
        note = "; ".join(filter(None, (note, "no validation, so the last weights are kept")))
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
