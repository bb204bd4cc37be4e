"""`train.py sft`: demonstrations in, a model folder out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cli.console import Console
from cli.errors import UsageError
from cli.lock import locked
from cli.places import model_folder
from cli.problems import EMBEDDED, check_length, encode_problems, encoding_note, read_problems
from cli.runs import SFT_FILES, check_free, create_run
from data import Problem, render
from data.tiny.corpus import TinyCorpusConfig
from data.tiny.slips import demonstrations
from models.adapter import TuneConfig
from models.errors import UnwritableText
from models.precision import DeviceConfig, Precision, resolve_precision
from models.sft import (
    Demonstration,
    SFTConfig,
    longest,
    optimizer_steps,
    prepare_sft,
    save_model,
    short_enough,
    train_sft,
)
from models.stopping import stop_ids
from models.storage import check_vocabulary, load_model, load_tokenizer, weight_hash, write_json
from models.template import read_form
from models.tiny import TinyConfig, build_model, build_tokenizer
from models.tokens import TextCodec
from ppo.prompts import PromptConfig, PromptTemplate, choose_form


@dataclass(frozen=True)
class SFTCommand:
    """Train a model on demonstrations; writes OUT/model/, the base and the reference of PPO."""

    config: Path | None = None
    """YAML preset; flags win over it."""
    model: str = "tiny"
    """A causal language model (folder or hub name; of an SFT run its model); tiny: one made from scratch."""
    problems: str = "tiny/sft"
    """Problems with solutions to learn from: a file, or tiny/sft, the embedded demonstrations."""
    validation: str | None = "tiny/validation"
    """Problems with solutions for the validation loss; None: no validation loss."""
    out: Path = Path("runs/sft")
    """Run folder to write."""
    overwrite: bool = False
    """Replace the run folder if it exists."""
    max_prompt_tokens: int = 1024
    """Longer prompts keep the template and a part of the problem text (see --prompt-keep)."""
    drop_long: bool = False
    """Leave problems with longer prompts out instead."""
    sft: Annotated[SFTConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=SFTConfig)
    tune: Annotated[TuneConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TuneConfig)
    prompting: Annotated[PromptConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=PromptConfig)
    compute: Annotated[DeviceConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=DeviceConfig)
    tiny: TinyConfig = field(default_factory=TinyConfig)
    corpus: TinyCorpusConfig = field(default_factory=TinyCorpusConfig)


def run_sft(settings: SFTCommand) -> None:
    """Train, and write the merged model. Raises one of cli.errors.USER_ERRORS."""
    with locked(settings.out):
        _run(settings)


def _run(settings: SFTCommand) -> None:
    inputs = (
        settings.problems,
        settings.validation,
        settings.config,
        settings.model,
        settings.prompting.file,
    )
    check_free(settings.out, files=SFT_FILES, overwrite=settings.overwrite, inputs=inputs)
    precision = resolve_precision(settings.compute)
    pairs = _demonstrations(settings.problems, settings.corpus)
    validation = _demonstrations(settings.validation, settings.corpus) if settings.validation else []
    model, tokenizer = _load_or_build(settings, pairs, precision)
    template = _template(settings, model, tokenizer)
    train_set, note = _encode(pairs, template, settings)
    validation_set, _ = _encode(validation, template, settings)
    tokens = longest([*train_set, *validation_set])
    told = f"the {tokens} tokens of the longest demonstration; leave it out with a lower --max-tokens"
    check_length(model, tokens, told)
    network = prepare_sft(model, settings.sft, settings.tune, precision)
    create_run(settings.out, settings, "sft")

    steps = optimizer_steps(settings.sft, len(train_set))
    with Console("SFT", steps) as console, (settings.out / "metrics.jsonl").open("w") as metrics_file:
        console.say(f"SFT: {len(train_set)} demonstrations, {steps} steps on {precision.device}; {note}")

        def report(step: int, steps: int, metrics: dict[str, float]) -> None:
            metrics_file.write(json.dumps({"step": step, **metrics}) + "\n")
            console.step(step)
            if "validation_loss" in metrics or step == steps:
                shown = "  ".join(f"{k} {v:.3f}" for k, v in metrics.items() if k.endswith("loss"))
                console.say(f"step {step}/{steps}  {shown}")

        try:
            trained = train_sft(
                network, template.end, train_set, validation_set, settings.sft, precision, report
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt("no model was written; start again") from None
        save_model(settings.out / "model", trained, tokenizer, template.form)
        write_json(settings.out / "sft.json", {"weights_sha256": weight_hash(settings.out / "model")})
        console.say(f"model written to {settings.out / 'model'}")


def _demonstrations(source: str, corpus: TinyCorpusConfig) -> list[tuple[Problem, str]]:
    """(problem, program) pairs: the first solution of each problem that has one."""
    problems = read_problems(source, corpus)
    if source.startswith(EMBEDDED):
        return demonstrations(problems, corpus)
    pairs = [(problem, problem.solutions[0]) for problem in problems if problem.solutions]
    if not pairs:
        raise UsageError(f"{source}: no problem there has a solution to learn from")
    return pairs


def _load_or_build(
    settings: SFTCommand, pairs: Sequence[tuple[Problem, str]], precision: Precision
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if settings.model == "tiny":
        texts = (render(problem) + program for problem, program in pairs)
        tokenizer = build_tokenizer(texts, settings.tiny.vocab_size)
        return build_model(tokenizer, settings.tiny, settings.sft.seed), tokenizer
    path = model_folder(settings.model, "--model")
    model, tokenizer = load_model(path, precision.dtype), load_tokenizer(path)
    check_vocabulary(model, tokenizer, path)
    return model, tokenizer


def _template(
    settings: SFTCommand, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> PromptTemplate:
    """How problems are put to the model from now on: as asked for, or else as it was trained before."""
    fresh = settings.model == "tiny" or settings.prompting != PromptConfig()
    recorded = None if fresh else read_form(model_folder(settings.model, "--model"))
    form = choose_form(settings.prompting, recorded, tokenizer, settings.model)
    return PromptTemplate(TextCodec(tokenizer, stop_ids(model, tokenizer)), form)


def _encode(
    pairs: Sequence[tuple[Problem, str]], template: PromptTemplate, settings: SFTCommand
) -> tuple[list[Demonstration], str]:
    """Pairs as ids, and a line about what was cut or left out."""
    if not pairs:
        return [], ""
    programs = {problem.id: program for problem, program in pairs}
    problems = [problem for problem, _ in pairs]
    limit, drop_long = settings.max_prompt_tokens, settings.drop_long
    encoded = encode_problems(problems, template, limit, drop_long=drop_long)
    demos, reason = [], ""
    for prompt in encoded.prompts:
        try:
            answer = template.codec.follow(prompt.text, programs[prompt.problem.id])
            demos.append(Demonstration(prompt.ids, tuple(answer)))
        except UnwritableText as error:
            reason = str(error)
    if not demos:
        raise UsageError(f"every demonstration has to be left out: {reason}")
    note = encoding_note(encoded, len(pairs), limit, template, drop_long=drop_long)
    if reason:
        note += f"; {len(encoded.prompts) - len(demos)} demonstrations left out ({reason})"
    short = short_enough(demos, settings.sft.max_tokens)
    if left_out := len(demos) - len(short):
        note += f"; {left_out} demonstrations over {settings.sft.max_tokens} tokens left out"
    return short, note
