"""Models that cannot be used: each is told in one line, before anything is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx2
import huggingface_hub.constants
import pytest
import torch
import transformers as t
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    XetDownloadError,
)
from small_runs import PPO, SFT, command
from test_bad_input import refused
from transformers import AutoModelForCausalLM

Change = Callable[[Path], object]


def edit(name: str, **changes: object) -> Change:
    """Values in a JSON file; None takes a key away."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps({k: v for k, v in content.items() if v is not None}))

    return change


def cut(name: str, share: float) -> Change:
    """A file of which the first part alone arrived."""

    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return change


def write(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text(text)


def without(*names: str) -> Change:
    return lambda folder: [(folder / name).unlink() for name in names]


def config_of(config: t.PretrainedConfig) -> Change:
    return lambda folder: config.save_pretrained(folder)


def in_shards(change: Change) -> Change:
    """The same weights in several files, one of them then changed."""

    def changed(folder: Path) -> None:
        model = AutoModelForCausalLM.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="20KB")
        change(folder)

    return changed


def second_shard(change: Callable[[str], Change]) -> Change:
    return lambda folder: change(sorted(folder.glob("model-*"))[1].name)(folder)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 269060552\n"

FOLDERS: dict[str, tuple[Change, str]] = {
    "no configuration": (without("config.json"), "no usable config.json"),
    "configuration cut short": (cut("config.json", 0.5), "config.json' is not a valid JSON file"),
    "no architecture": (edit("config.json", model_type=None), "Should have a `model_type` key"),
    "an architecture of tomorrow": (edit("config.json", model_type="llama9"), "model type `llama9`"),
    "a translator": (config_of(t.T5Config()), "architecture is none of a causal language model"),
    "a classifier of images": (config_of(t.ViTConfig()), "architecture is none of a causal language model"),
    "a value of another type": (edit("config.json", hidden_size="many"), "'hidden_size' expected int"),
    "values that contradict": (edit("config.json", num_attention_heads=5), "not a multiple of the number"),
    "another model's configuration": (edit("config.json", hidden_size=64), "weights have other shapes than"),
    "no weights": (without("model.safetensors"), "no safetensors weights there"),
    "pickled weights": (pickled, "pytorch_model.bin is not read, for a pickle runs code"),
    "weights cut short": (
        cut("model.safetensors", 0.9),
        "model.safetensors: cannot be loaded, damaged or cut",
    ),
    "no byte of weights": (
        cut("model.safetensors", 0),
        "model.safetensors: cannot be loaded, damaged or cut",
    ),
    "a page of errors": (write("model.safetensors", "<html>404</html>"), "cannot be loaded, damaged or cut"),
    "a pointer of Git LFS": (write("model.safetensors", POINTER), "git lfs pull gets them"),
    "a missing shard": (in_shards(second_shard(without)), "model-00002-of-"),
    "a shard cut short": (in_shards(second_shard(lambda name: cut(name, 0.9))), "model-00002-of-"),
    "a broken index": (
        in_shards(write("model.safetensors.index.json", "{")),
        "index.json: damaged or cut short",
    ),
    "no tokenizer": (
        without("tokenizer.json", "tokenizer_config.json"),
        "no usable tokenizer: there is none",
    ),
    "half a tokenizer": (without("tokenizer.json"), "no usable tokenizer: there is none"),
    "tokenizer cut short": (cut("tokenizer.json", 0.5), "no usable tokenizer"),
    "tokenizer's settings cut short": (cut("tokenizer_config.json", 0.5), "no usable tokenizer"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_damaged_model_folder_is_one_line(capsys, sft_run, tmp_path, name):
    """For SFT and for PPO alike; nothing is written."""
    change, told = FOLDERS[name]
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(sft_run / "model", model)
    change(model)
    for arguments in (["sft", "--model", model, *SFT], ["ppo", "--sft", model, *PPO]):
        said = refused(capsys, *arguments, "--out", out)
        assert told in said and str(model) in said, said
        assert len(said) < 500
        assert not out.exists()


def response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://hub/api/models/some/one"))


GATED = (
    "403 Client Error. (Request ID: Root=1)\n\nCannot access gated repo for url https://hub/some/one.\n"
    "Access to model some/one is restricted. Visit https://hub/some/one to ask for access."
)
HUB: dict[str, tuple[Exception, str]] = {
    "gated": (GatedRepoError(GATED, response=response(403)), "Access to model some/one is restricted"),
    "unknown": (
        RepositoryNotFoundError(
            "404 Client Error.\n\nRepository Not Found for url: x", response=response(404)
        ),
        "Repository Not Found for url",
    ),
    "down": (HfHubHTTPError("503 Service Unavailable", response=response(503)), "503 Service Unavailable"),
    "offline": (OfflineModeIsEnabled("offline mode is enabled"), "offline mode is enabled"),
    "not in the cache": (LocalEntryNotFoundError("cannot find it on the disk"), "cannot find it on the disk"),
    "half in the cache": (IncompleteSnapshotError("a file is missing", Path("f")), "a file is missing"),
    "no such file": (EntryNotFoundError("Entry Not Found"), "Entry Not Found"),
    "cut off": (httpx2.ReadTimeout("The read operation timed out"), "The read operation timed out"),
    "unreachable": (httpx2.ConnectError("Name or service not known"), "Name or service not known"),
    "broken download": (XetDownloadError("checksum"), "checksum"),
    "of another size": (
        OSError("Consistency check failed: file should be of size 9"),
        "Consistency check failed",
    ),
    "full disk": (OSError(28, "No space left on device"), "No space left on device"),
}


@pytest.mark.parametrize("name", HUB)
def test_what_the_hub_says_is_told_in_one_line(capsys, monkeypatch, tmp_path, name):
    """Wherever a model is named."""
    error, told = HUB[name]

    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr("cli.places.snapshot_download", fails)
    out = ["--out", tmp_path / "out"]
    for arguments in (
        ["sft", "--model", "some/one", *SFT, *out],
        ["ppo", "--sft", "some/one", *PPO, *out],
        ["plan", "--model", "some/one"],
        ["evaluate", "some/one"],
    ):
        said = refused(capsys, *arguments)
        assert told in said and "some/one" in said, said
        assert ("hf auth login" in said) == (name == "gated")
    assert not (tmp_path / "out").exists()


def test_half_a_download_in_the_cache(capsys, monkeypatch, sft_run, tmp_path):
    """A snapshot in which a file of weights did not arrive, and no network to get it from."""
    snapshot = tmp_path / "hub" / "models--some--half" / "snapshots" / "0123abc"
    shutil.copytree(sft_run / "model", snapshot)
    (snapshot / "model.safetensors").unlink()
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    said = refused(capsys, "ppo", "--sft", "some/half", "--out", tmp_path / "out", *PPO)
    assert "no safetensors weights there" in said and str(snapshot) in said


MEMORY = {
    "python": MemoryError(),
    "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"
    ),
}


@pytest.mark.parametrize("name", MEMORY)
def test_too_little_memory_for_a_model_names_the_settings_to_lower(
    capsys, monkeypatch, sft_run, tmp_path, name
):
    """While it is loaded; nothing is written."""

    def fails(*args, **kwargs):
        raise MEMORY[name]

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fails)
    out = ["--out", tmp_path / "out"]
    told = "lower micro_batch_size or max_tokens, or set gradient_checkpointing; train.py plan says what"
    assert told in refused(capsys, "sft", "--model", sft_run, *SFT, *out)
    said = refused(capsys, "ppo", "--sft", sft_run, *PPO, *out)
    assert "lower rollout_batch or max_new_tokens if it was sampling" in said
    assert "lower batch_size" in refused(capsys, "evaluate", sft_run)
    assert not (tmp_path / "out").exists()


def test_too_little_memory_to_train(capsys, monkeypatch, sft_run, tmp_path):
    """In the trial at load, where other errors mean that the architecture does not fit; and in a run."""

    def fails(*args, **kwargs):
        raise MEMORY["cpu"]

    ppo = ["ppo", "--sft", sft_run, *PPO, "--out", tmp_path / "out"]
    with monkeypatch.context() as patched:
        patched.setattr("models.verify.row_states", fails)
        assert "out of memory: lower" in refused(capsys, *ppo)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("cli.ppo.train", fails)
    said = refused(capsys, *ppo)
    assert "out of memory: lower rollout_batch if it was sampling" in said and "--allow-changes" in said


def test_other_errors_keep_their_traceback(monkeypatch, sft_run):
    """A bug is not the user's to mend."""

    def fails(*args, **kwargs):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("cli.evaluate.measure", fails)
    with pytest.raises(RuntimeError, match="shapes"):
        command("evaluate", sft_run, "--num-problems", 1)


def test_positions_that_are_too_few(capsys, sft_run, tmp_path):
    """Told by PPO and by a plan alike; of SFT, test_architectures.py."""
    model = tmp_path / "model"
    shutil.copytree(sft_run / "model", model)
    edit("config.json", max_position_embeddings=79)(model)
    told = "the model has 79 positions, fewer than --max-prompt-tokens 64 and --max-new-tokens 16 together"
    out = ["--out", tmp_path / "out"]
    assert told in refused(capsys, "ppo", "--sft", model, *PPO, *out)
    assert "the model has 79 positions" in refused(capsys, "plan", "--model", model)
    assert not (tmp_path / "out").exists()
