"""Every architecture through the commands: trained, resumed and measured as the model it is, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import REFUSED, WORKING, linear_layers, small_model, transformers_loss
from small_runs import CORPUS, SMALL, command
from transformers import AutoModelForCausalLM

import cli.sft
from models.precision import Precision
from models.rms_norm import RMS_NORM
from models.rotary import ROTARY
from models.sft import save_model
from ppo.run.checkpoint import load_policy

SFT = ["--epochs", "1", "--batch-size", "32", "--learning-rate", "0.003", *SMALL, *CORPUS]
PPO = [
    *("--prompts-per-iteration", "4", "--minibatch-size", "4", "--max-new-tokens", "12"),
    *("--epochs", "1", "--learning-rate", "0.001", "--num-validation", "4", "--limits.cpu-seconds", "0.5"),
    *SMALL,
    *CORPUS,
]
CPU = Precision(torch.device("cpu"), torch.float32)


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def logits(model: Any) -> torch.Tensor:
    """By the model's own layers: the short ways of a policy round otherwise."""
    with torch.no_grad(), RMS_NORM.off(), ROTARY.off():
        return model(torch.tensor([[9, 40, 77, 100, 3]])).logits


@pytest.mark.slow
@pytest.mark.parametrize("tune", ["lora", "full"])
@pytest.mark.parametrize("name", WORKING)
def test_it_is_trained_resumed_measured_and_exported_as_what_it_is(
    name, tune, tmp_path, tokenizer, monkeypatch
):
    """SFT's loss is transformers' own of what it wrote; the first ratio is 1, before and after resuming."""
    model = small_model(name)
    save_model(tmp_path / "base", model, tokenizer)
    given: list[Any] = []
    train_sft = cli.sft.train_sft

    def train(*arguments, **named):
        given.append(named["validation"])
        return train_sft(*arguments, **named)

    monkeypatch.setattr(cli.sft, "train_sft", train)
    how = ["--tune", tune, "--lora-rank", 2, "--lora-targets", *linear_layers(model)]
    sft, ppo = tmp_path / "sft", tmp_path / "ppo"
    # What such a model writes hardly ever parses: by the project's reward, all of it is often worth the same.
    (tmp_path / "mine.py").write_text(
        "def score(pairs):\n    return [sum(map(ord, p)) % 101 / 101 for _, p in pairs]\n"
    )
    reward = ["--reward", f"{tmp_path / 'mine.py'}:score"]
    assert command("sft", "--model", tmp_path / "base", *SFT, *how, "--out", sft) == 0
    written = AutoModelForCausalLM.from_pretrained(sft / "model")
    expected = transformers_loss(written, given[0], tokenizer.eos_token_id)
    written_loss = json.loads((sft / "sft.json").read_text())["validation_loss"]
    assert written_loss == pytest.approx(expected, abs=1e-3)

    assert command("ppo", "--sft", sft, *PPO, *how, *reward, "--iterations", 1, "--out", ppo) == 0
    assert command("ppo", "--resume", ppo, "--iterations", 2, "--allow-changes", "iterations") == 0
    for row in rows(ppo)[1:]:
        assert row["ppo/first_logratio"] <= 1e-4
        assert row["ppo/update_norm"] > 0
    measured = ["--num-problems", 4, "--max-new-tokens", 12, *SMALL, *CORPUS]
    assert command("evaluate", sft, ppo, *measured, "--out", tmp_path / "evaluation.json") == 0

    newest = ppo / "checkpoints" / "iteration-000002"
    policy = load_policy(newest, CPU)
    if tune == "full":
        assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(newest)), logits(policy.network))
    assert not torch.equal(logits(written), logits(policy.network))
    assert command("export", newest, "--merge", "--out", tmp_path / "exported") == 0
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    torch.testing.assert_close(logits(exported), logits(policy.adapted), rtol=1e-4, atol=1e-4)


def refused(capsys, *arguments: object) -> str:
    """The one line of an error that ends a command with status 2."""
    capsys.readouterr()
    assert command(*arguments) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    return said[0]


@pytest.mark.parametrize(
    "name", ["lfm2", "mamba", *(pytest.param(n, marks=pytest.mark.slow) for n in REFUSED)]
)
def test_it_is_refused_before_anything_is_written(name, tmp_path, tokenizer, capsys):
    """In one line, with status 2, by SFT, PPO and evaluation."""
    model = small_model(name)
    save_model(tmp_path / "base", model, tokenizer)
    for arguments in (
        ("sft", "--model", tmp_path / "base", *SFT, "--tune", "full", "--out", tmp_path / "out"),
        ("ppo", "--sft", tmp_path / "base", *PPO, "--tune", "full", "--out", tmp_path / "out"),
        ("evaluate", tmp_path / "base", "--num-problems", 4, "--max-new-tokens", 12, *SMALL, *CORPUS),
    ):
        assert type(model).__name__ in refused(capsys, *arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["gpt2", pytest.param("mpt", marks=pytest.mark.slow)])
def test_demonstrations_beyond_the_positions(name, tmp_path, tokenizer, capsys):
    """SFT refuses them as PPO does, and takes what is left when they are left out."""
    model = small_model(name, positions=120)
    save_model(tmp_path / "base", model, tokenizer)
    sft = ("sft", "--model", tmp_path / "base", *SFT, "--tune", "full", "--out", tmp_path / "out")
    said = refused(capsys, *sft)
    assert "the model has 120 positions, fewer than the" in said and "lower --max-tokens" in said
    assert not (tmp_path / "out").exists()
    assert command(*sft, "--max-tokens", 120) == 0
    ppo = ("ppo", "--sft", tmp_path / "out", *PPO, "--tune", "full", "--out", tmp_path / "ppo")
    assert "the model has 120 positions, fewer than --max-prompt-tokens" in refused(
        capsys, *ppo, "--max-new-tokens", 80
    )


def test_texts_on_both_sides_of_longrope(tmp_path, tokenizer, capsys):
    """SFT, PPO and evaluation refuse them; texts that all stay below are trained as any."""
    model = small_model("llama")
    factors = {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
    model.config.rope_parameters = {
        **{
            "rope_type": "longrope",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 120,
        },
        **factors,
    }
    save_model(tmp_path / "base", model, tokenizer)
    sft = ("sft", "--model", tmp_path / "base", *SFT, "--tune", "full", "--out", tmp_path / "out")
    said = refused(capsys, *sft)
    assert "120 positions before its frequencies change" in said and "lower --max-tokens" in said
    assert not (tmp_path / "out").exists()
    assert command(*sft, "--max-tokens", 120) == 0
    ppo = ("ppo", "--sft", tmp_path / "out", *PPO, "--tune", "full", "--out", tmp_path / "ppo")
    measured = ("evaluate", tmp_path / "out", "--num-problems", 4, *SMALL, *CORPUS)
    for arguments in (ppo, measured):
        said = refused(capsys, *arguments, "--max-new-tokens", 80)
        assert "(LongRoPE), fewer than --max-prompt-tokens" in said
    assert command(*measured, "--max-new-tokens", 12, "--out", tmp_path / "evaluation.json") == 0


def test_an_adapter_on_a_shared_weight(tmp_path, tokenizer, capsys):
    """lm_head and embed_tokens of a model with tied embeddings, by SFT and PPO."""
    save_model(tmp_path / "base", small_model("qwen2"), tokenizer)
    for target in ("lm_head", "embed_tokens"):
        how = ("--lora-targets", "q_proj", target, "--out", tmp_path / "out")
        for start in (("sft", "--model", tmp_path / "base", *SFT), ("ppo", "--sft", tmp_path / "base", *PPO)):
            assert f"leave {target} out" in refused(capsys, *start, *how)
    assert not (tmp_path / "out").exists()


def test_a_quantised_model(tmp_path, tokenizer, capsys):
    """By every command, before training."""
    save_model(tmp_path / "base", small_model("llama"), tokenizer)
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8"}
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    for arguments in (
        ("sft", "--model", tmp_path / "base", *SFT, "--out", tmp_path / "out"),
        ("ppo", "--sft", tmp_path / "base", *PPO, "--out", tmp_path / "out"),
        ("evaluate", tmp_path / "base", "--num-problems", 4, "--max-new-tokens", 12, *SMALL, *CORPUS),
    ):
        assert "quantised (fp8)" in refused(capsys, *arguments)
    assert not (tmp_path / "out").exists()
