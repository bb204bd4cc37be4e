"""A checkpoint out of the house: loaded by others, told in a card, never written over by accident."""

import contextlib
import fcntl
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from peft import AutoPeftModelForCausalLM
from small_runs import CORPUS, SMALL, command
from test_bad_input import flip_byte, refused
from transformers import AutoModelForCausalLM, AutoTokenizer

import train
from cli.lock import LOCK
from models.precision import Precision
from ppo.run.checkpoint import load_policy

LAST = "checkpoints/iteration-000002"
IDS = torch.tensor([list(range(2, 30))])
FEW = ["--num-problems", 4, "--samples", 2, "--max-new-tokens", 12, *SMALL, *CORPUS]


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits.float()


@pytest.fixture(scope="module")
def merged(ppo_run, tmp_path_factory) -> Path:
    """The last checkpoint of the run as a whole model."""
    out = tmp_path_factory.mktemp("export") / "merged"
    assert command("export", ppo_run / LAST, "--merge", "--out", out) == 0
    return out


@pytest.fixture(scope="module")
def adapter(ppo_run, tmp_path_factory) -> Path:
    """The same as an adapter."""
    out = tmp_path_factory.mktemp("export") / "adapter"
    assert command("export", ppo_run / LAST, "--out", out) == 0
    return out


@pytest.fixture(scope="module")
def said(ppo_run) -> torch.Tensor:
    """The policy's logits."""
    return logits(load_policy(ppo_run / LAST, Precision(torch.device("cpu"), torch.float32)).adapted)


def test_the_merged_model_is_the_policy_in_transformers(merged, sft_run, said):
    model = AutoModelForCausalLM.from_pretrained(merged)
    torch.testing.assert_close(logits(model), said, rtol=1e-5, atol=1e-5)
    before = AutoModelForCausalLM.from_pretrained(sft_run / "model")
    assert not torch.allclose(logits(before), said, atol=1e-3)
    assert model.generation_config.temperature == 0.7 and model.generation_config.top_k == 0
    tokenizer = AutoTokenizer.from_pretrained(merged)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_the_merged_model_is_laid_out_as_engines_load_it(merged):
    """One config.json that names the architecture, safetensors, nothing of the adapter or of the training."""
    names = {path.name for path in merged.rglob("*")}
    assert {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "README.md",
    } <= names
    assert not any(
        "adapter" in name or name in ("value_head.safetensors", "state.json", LOCK) for name in names
    )
    config = json.loads((merged / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"] and config["dtype"] == "float32"
    assert set(json.loads((merged / "export.json").read_text())["files"]) == names - {"export.json"}


def test_the_adapter_is_the_policy_in_peft(adapter, sft_run, said):
    """It finds its base by the name it has, which is not what the base was made from."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str((sft_run / "model").resolve())
    torch.testing.assert_close(
        logits(AutoPeftModelForCausalLM.from_pretrained(adapter)), said, rtol=1e-5, atol=1e-5
    )
    assert not any(path.name in ("config.json", "state.safetensors") for path in adapter.iterdir())


def test_an_export_is_measured_as_its_checkpoint_is(merged, ppo_run, tmp_path):
    """The same words, the same ends: the same samples."""
    judged = (*FEW, "--objective.withhold", "--names", "x")  # by the run's yardstick, which an export has not
    for name, path in (("a", merged), ("b", ppo_run / LAST)):
        assert command("evaluate", path, *judged, "--out", tmp_path / f"{name}.json") == 0
    one, other = ((tmp_path / f"{name}_evaluation_samples.jsonl").read_bytes() for name in "ab")
    assert one == other and one.count(b"\n") == 8


@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_the_card_says_what_it_is_and_its_code_runs(request, form):
    folder = request.getfixturevalue(form)
    text = (folder / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["library_name"] == {"merged": "transformers", "adapter": "peft"}[form]
    for part in (
        "2 iterations of PPO, 16 programs",
        "between `### Instruction:` and `### Response:`",
        "Problems: `tiny/rl`",
        "| iteration 0 | ",
        "| iteration 2 | ",
        "made from scratch by coderl-ppo",
        "learning_rate: 0.001\n",
    ):
        assert part in text, part
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    here: dict[str, object] = {}
    with contextlib.chdir(folder):
        exec(code[1], here)
    assert here["model"].generate is not None


def test_the_card_has_the_evaluation_of_its_run(ppo_run, sft_run, tmp_path):
    """Found beside the run, or named; that of another run is not taken."""
    shutil.copytree(ppo_run, tmp_path / "ppo", symlinks=True)
    table = tmp_path / "evaluation.json"
    where = ["--sft", sft_run]
    measured = [tmp_path / "ppo" / LAST, *where, *FEW, "--names", "PPO"]
    assert command("evaluate", *measured, "--out", table) == 0
    row = f"| PPO | {100 * json.loads(table.read_text())['models'][0]['syntax']['mean']:.1f} ["
    export = ["export", tmp_path / "ppo" / LAST, *where]
    assert command(*export, "--out", tmp_path / "found") == 0
    assert row in (tmp_path / "found" / "README.md").read_text(encoding="utf-8")
    other = json.loads(table.read_text())
    other["models"][0]["checkpoint"] = "runs/another"
    table.write_text(json.dumps(other))
    assert command(*export, "--out", tmp_path / "not") == 0
    assert "| PPO |" not in (tmp_path / "not" / "README.md").read_text(encoding="utf-8")
    assert command(*export, "--out", tmp_path / "named", "--evaluation", table) == 0
    assert row in (tmp_path / "named" / "README.md").read_text(encoding="utf-8")


def test_an_sft_run_is_a_whole_model(sft_run, tmp_path):
    assert command("export", sft_run, "--out", tmp_path / "sft", "--dtype", "bfloat16") == 0
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "sft", dtype="auto")
    assert loaded.dtype == torch.bfloat16 and "before PPO" in (tmp_path / "sft" / "README.md").read_text()


def test_an_export_replaces_another_only_when_told(capsys, merged, adapter, ppo_run, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(merged, out)
    export = ["export", ppo_run / LAST, "--out", out]
    assert "this export exists; replace it with --overwrite" in refused(capsys, *export)
    assert (out / "config.json").exists()
    assert command(*export, "--overwrite") == 0
    assert {path.name for path in out.iterdir()} == {path.name for path in adapter.iterdir()}
    (out / "mine.txt").write_text("years of work")
    assert "holds 'mine.txt', which this command does not write" in refused(capsys, *export, "--overwrite")
    assert (out / "mine.txt").exists() and (out / "adapter_config.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_run_folder_is_no_place_for_an_export(capsys, ppo_run, tmp_path):
    for folder in (ppo_run, ppo_run / LAST):
        assert "which this command does not write" in refused(
            capsys, "export", ppo_run, "--out", folder, "--overwrite"
        )
    assert "is a file" in refused(capsys, "export", ppo_run, "--out", ppo_run / "config.yaml")


def test_what_is_missing_is_told_before_anything_is_written(capsys, ppo_run, sft_run, tmp_path):
    out = ["--out", tmp_path / "o"]
    assert "name a checkpoint" in refused(capsys, "export", *out)
    assert "--out DIR is needed" in refused(capsys, "export", ppo_run)
    assert "no such checkpoint" in refused(capsys, "export", tmp_path / "nothing", *out)
    shutil.copytree(ppo_run, tmp_path / "far" / "away" / "ppo", symlinks=True)
    copied = tmp_path / "far" / "away" / "ppo"
    assert "name it with --sft DIR" in refused(capsys, "export", copied, *out)
    assert "no such file" in refused(
        capsys, "export", copied, "--sft", sft_run, "--evaluation", tmp_path / "x.json", *out
    )
    flip_byte(copied / LAST / "adapter_model.safetensors")
    assert "damaged checkpoint" in refused(capsys, "export", copied / LAST, "--sft", sft_run, *out)
    assert not (tmp_path / "o").exists() and not (tmp_path / "o.partial").exists()


def test_an_adapter_by_itself_is_for_others(capsys, adapter, sft_run, tmp_path):
    """Not for these commands, which say what they take instead."""
    out = ["--out", tmp_path / "o"]
    for arguments in (
        ("evaluate", adapter),
        ("export", adapter, *out),
        ("sample", "--checkpoint", adapter, "--problem", "x"),
        ("ppo", "--sft", adapter, *out),
        ("ppo", "--sft", sft_run, "--init", adapter, *out, *SMALL),
    ):
        assert "an adapter by itself, for peft; name the checkpoint" in refused(capsys, *arguments)
    assert not (tmp_path / "o").exists()


def test_one_process_at_a_time(capsys, ppo_run, tmp_path):
    with (tmp_path / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process writes it" in refused(capsys, "export", ppo_run, "--out", tmp_path)
    assert command("export", ppo_run, "--out", tmp_path) == 0


def test_export_is_in_the_list_of_commands(capsys):
    assert train.main(["--help"]) == 0
    assert re.search(r"^  export +\w", capsys.readouterr().out, flags=re.MULTILINE)
