"""Presets and flags: types are checked, unknown keys are errors, flags win."""

import ast
import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import torch
import yaml

from cli.demo import DemoCommand
from cli.errors import UsageError
from cli.evaluate_settings import EvaluateCommand
from cli.flags import SHORT, flags_of
from cli.plan import PlanCommand
from cli.ppo_settings import PPOCommand
from cli.prepare import PrepareCommand
from cli.sample import SampleCommand
from cli.settings import dump, load_preset, parse
from cli.sft_settings import SFTCommand

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {"sft": SFTCommand, "ppo": PPOCommand, "evaluate": EvaluateCommand}
SECTIONS = {**COMMANDS, "plan": PlanCommand}
SHORT_COMMANDS = {**COMMANDS, "sample": SampleCommand}


def preset(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "preset.yaml"
    path.write_text(text, encoding="utf-8")
    return path


BAD = {
    "ppo: {iteration: 3}": "unknown key 'iteration'; did you mean iterations?",
    "ppo: {learning_rate: 1e-6}": "write it with a point, 1.0e-6",
    "ppo: {learning_rate: fast}": "ppo.learning_rate: Input should be a valid number, not 'fast'",
    "ppo: {iterations: 2.5}": "ppo.iterations",
    "ppo: {iterations: true}": "ppo.iterations",
    "ppo: {overwrite: 1}": "ppo.overwrite",
    "ppo: {objective: {alfa: 1}}": "did you mean alpha?",
    "ppo: {objective: {alpha: high}}": "ppo.objective.alpha",
    "ppo: {objective: {alpha: -1}}": "alpha",
    "ppo: {objective: 3}": "ppo.objective: must hold keys",
    "ppo: {kl_controller: sometimes}": "ppo.kl_controller: Input should be 'adaptive' or 'fixed'",
    "ppo: {lora_targets: q_proj}": "ppo.lora_targets",
    "ppo: {minibatch_size: 7}": "does not divide",
    "ppo: 3": "section ppo must hold keys",
    "pp: {iterations: 3}": "unknown section 'pp'",
    "- ppo": "a preset holds sections",
    "ppo: {\n\n  iterations: [": "preset.yaml:3: not YAML",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_preset_is_one_clear_line(tmp_path, text):
    path = preset(tmp_path, text)
    with pytest.raises(UsageError) as error:
        load_preset(path, "ppo", PPOCommand)
    assert str(error.value).startswith(str(path))
    assert BAD[text] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_preset_is_named(tmp_path):
    with pytest.raises(UsageError, match="no such preset"):
        load_preset(tmp_path / "none.yaml", "ppo", PPOCommand)


def test_values_reach_their_places_with_their_types(tmp_path):
    text = (
        "iterations: 3, kl_coef: 1, lora_targets: [q_proj], objective: {alpha: 0.5, beta: 0.5}, "
        "value_clip_range: null, micro_batch_size: auto"
    )
    loaded = load_preset(preset(tmp_path, f"ppo: {{{text}}}"), "ppo", PPOCommand)
    assert loaded.ppo.iterations == 3 and loaded.ppo.micro_batch_size == "auto"
    assert loaded.ppo.kl_coef == 1.0 and isinstance(loaded.ppo.kl_coef, float)
    assert loaded.tune.lora_targets == ("q_proj",)
    assert loaded.objective.alpha == 0.5 and loaded.objective.security_gate == "earned"
    assert loaded.ppo.value_clip_range is None
    assert loaded.ppo.gamma == PPOCommand().ppo.gamma


def test_a_section_left_out_keeps_the_defaults(tmp_path):
    assert load_preset(preset(tmp_path, "sft: {epochs: 2}"), "ppo", PPOCommand) == PPOCommand()


def test_flags_win_over_the_preset(tmp_path):
    path = preset(tmp_path, "ppo: {iterations: 3, kl_coef: 0.5}")
    settings = parse("ppo", PPOCommand, ["--config", str(path), "--iterations", "5"], prog="train.py ppo")
    assert (settings.ppo.iterations, settings.ppo.kl_coef) == (5, 0.5)


REFUSED = {
    "--learning-rate 0": "--learning-rate must be greater than 0, not 0.0",
    f"--prompts-per-iteration -{10**309}": "--prompts-per-iteration must be 1 or more, not -1",
    "--temperature nan": "--temperature must be greater than 0, not nan",
    "--schedule.auto.window 0": "--schedule.auto.window must be a number of iterations >= 1, not 0",
    "--schedule.difficulty 0.5": "--schedule.difficulty must be a number in [1, 1000], not 0.5",
    "--objective.alpha 0.5": "--objective.alpha + --objective.beta must be 1, not 0.5 + 0.4",
    "--limits.memory-mb 1": "--limits.memory-mb=1: too little to start in",
    "--minibatch-size 7": "--minibatch-size 7 does not divide",
    "--baseline leave-one-out": "--baseline leave-one-out needs --samples-per-prompt 2 or more",
    "--iterations x": "--iterations: expected INT, not 'x'",
    "--micro-batch-size x": "--micro-batch-size: expected INT|{auto}, not 'x'",
    "--iterations": "Missing value for argument '--iterations'",
    "--dtype half": "invalid choice 'half' for argument '--dtype'. Expected one of ('auto', 'float32'",
    "--learning-rat 1": "--learning-rat: no such flag; did you mean --learning-rate?",
    "--objective.alfa=1": "--objective.alfa: no such flag; did you mean --objective.alpha?",
    "--xyz": "--xyz: no such flag; see train.py ppo --help-all",
    "stray": "stray: no such flag",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_what_is_wrong_with_a_flag_is_one_line_that_names_it(capsys, flags):
    """Refusals of flags are one line each, which names the flag."""
    with pytest.raises(UsageError) as error:
        parse("ppo", PPOCommand, flags.split(), prog="train.py ppo")
    assert REFUSED[flags] in str(error.value) and "\n" not in str(error.value)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "kind", [SFTCommand, PPOCommand, EvaluateCommand, SampleCommand, PrepareCommand, DemoCommand]
)
@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_is_what_torch_takes(kind, seed):
    """The same range in all commands, refused before anything is loaded."""
    with pytest.raises(UsageError) as error:
        parse("x", kind, ["--seed", str(seed)], prog="train.py x")
    assert str(error.value) == f"--seed must be between 0 and {2**64 - 1}, not {seed}"
    assert torch.Generator().manual_seed(2**64 - 1).initial_seed() == 2**64 - 1


@pytest.mark.parametrize("name", COMMANDS)
def test_a_dumped_preset_gives_the_settings_back(tmp_path, name):
    source = ROOT / "configs" / "tiny.yaml"
    settings = load_preset(source, name, COMMANDS[name])
    again = load_preset(preset(tmp_path, dump(settings, name)), name, COMMANDS[name])
    assert again == settings


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_preset_loads(path):
    for name in yaml.safe_load(path.read_text(encoding="utf-8")):
        assert load_preset(path, name, SECTIONS[name]) is not None


PAPER = {
    **{"iterations": 500, "prompts_per_iteration": 2, "epochs": 4, "learning_rate": 1e-6, "clip_range": 0.2},
    **{"kl_coef": 0.1, "temperature": 0.7, "max_new_tokens": 512, "max_grad_norm": 0.5},
    **{"gamma": 0.99, "lam_policy": 0.95, "lam_value": 0.95},
}


def test_the_papers_preset_holds_the_papers_numbers():
    """And says beside each that is not the paper's, or is and hurts, why."""
    path = ROOT / "configs" / "paper.yaml"
    ppo, sft = (load_preset(path, name, COMMANDS[name]) for name in ("ppo", "sft"))
    assert {name: getattr(ppo.ppo, name) for name in PAPER} == PAPER
    assert (ppo.objective.alpha, ppo.objective.beta) == (0.6, 0.4)
    unguarded = (ppo.objective.security_gate, ppo.objective.pay_idle, ppo.objective.withhold)
    assert unguarded == ("off", True, ())
    assert (sft.sft.epochs, sft.sft.learning_rate, sft.sft.batch_size) == (3.0, 2e-5, 16)
    for settings in (ppo, sft):
        assert (settings.tune.lora_rank, settings.tune.lora_alpha) == (16, 32)
        assert settings.tune.lora_targets == ("q_proj", "k_proj", "v_proj", "o_proj")
    marks = dict(re.findall(r"^ +(\w+):.*# (hurts|departs): ", path.read_text(encoding="utf-8"), flags=re.M))
    assert marks == {
        **dict.fromkeys(["prompts_per_iteration", "gamma", "lam_value", "learning_rate"], "hurts"),
        **dict.fromkeys(["security_gate", "pay_idle", "withhold"], "hurts"),
        **dict.fromkeys(["temperature", "kl_in"], "departs"),
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_field(capsys, name):
    with pytest.raises(SystemExit) as exit_:
        parse(name, COMMANDS[name], ["--help-all"], prog="x")
    assert exit_.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for settings in (COMMANDS[name](), *sections(COMMANDS[name]())):
        for field, text in field_docs(type(settings)).items():
            flag = field.replace("_", "-")
            assert f"--{flag}" in shown or f".{flag}" in shown or field == "checkpoints", flag
            assert " ".join(text.split())[:20] in shown, f"{field} is not explained"


@pytest.mark.parametrize("name", SHORT)
def test_the_short_help_fits_one_screen_and_names_real_flags(capsys, name):
    settings = SHORT_COMMANDS[name]
    with pytest.raises(SystemExit) as exit_:
        parse(name, settings, ["--help"], prog=f"train.py {name}")
    assert exit_.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    assert lines[0].startswith(f"usage: train.py {name} ") and lines[-1].endswith("--help-all")
    assert all(line.count("(") == line.count(")") or line.endswith(" …") for line in lines)
    known = {flag.name: flag for flag in flags_of(settings())}
    shown = [line.split() for line in lines if line.startswith("  --")]
    assert len(shown) == sum(len(names.split()) for names in SHORT[name].values())
    for flag, *rest in shown:
        default = known[flag].default
        told = " ".join(default) if isinstance(default, tuple) else str(default)
        assert default in (None, False, ()) or " ".join(rest).startswith(told), flag
        assert len(rest) > 1, f"{flag} is not explained"


def sections(settings) -> list:
    """Nested settings of a command."""
    values = (getattr(settings, field.name) for field in fields(settings))
    return [value for value in values if is_dataclass(value)]


def field_docs(kind: type) -> dict[str, str]:
    """The string under each field of a settings dataclass."""
    body = ast.parse(inspect.getsource(kind)).body[0].body
    named = {}
    for field, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            nested = is_dataclass(getattr(kind(), field.target.id))
            text = after.value.value if isinstance(after, ast.Expr) else ""
            if not nested:
                assert text, f"{kind.__name__}.{field.target.id} has no text under it"
                named[field.target.id] = text
    return named
