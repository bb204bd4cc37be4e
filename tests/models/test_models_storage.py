"""Model folders: what loads, what is refused in one line, and what a crash leaves."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from models.errors import ModelError
from models.policy import build_policy
from models.storage import (
    atomic_folder,
    disk_errors,
    file_hash,
    load_model,
    load_tensors,
    load_tokenizer,
    save_tensors,
    weight_hash,
    write_json,
)


@pytest.fixture
def model_dir(sft_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sft_dir / "model", tmp_path / "model"))


def test_dtype_is_the_one_asked_for(model_dir):
    """Never what the file was saved in: "auto" would be bfloat16 on a V100."""
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert {p.dtype for p in load_model(model_dir, dtype).parameters()} == {dtype}


@pytest.mark.parametrize("path", ["/nowhere/model", "./nowhere", "a/b/c", Path("runs/nothing")])
def test_a_missing_folder_is_named(path):
    """And is never looked up on a hub."""
    with pytest.raises(ModelError, match="no such model folder"):
        load_model(path, torch.float32)
    with pytest.raises(ModelError, match="no such model folder"):
        load_tokenizer(path)


@pytest.mark.parametrize("damage", ["cut", "empty", "remove", "config"])
def test_a_damaged_model_is_named(model_dir, damage):
    """A file cut short, empty or gone, or a config that is no JSON: one line that names the folder."""
    weights = model_dir / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "empty":
        weights.write_bytes(b"")
    elif damage == "remove":
        weights.unlink()
    else:
        (model_dir / "config.json").write_text("{")
    with pytest.raises(ModelError, match=str(model_dir)) as error:
        load_model(model_dir, torch.float32)
    assert "\n" not in str(error.value)


def test_pickled_weights_are_not_loaded(model_dir):
    """Only safetensors: unpickling runs code."""
    torch.save({}, model_dir / "pytorch_model.bin")
    (model_dir / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="model"):
        load_model(model_dir, torch.float32)


def test_a_tokenizer_without_eos_is_refused(model_dir):
    """A policy could never end a program."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (model_dir / name).is_file():
            content = json.loads((model_dir / name).read_text())
            content.pop("eos_token", None)
            (model_dir / name).write_text(json.dumps(content))
    with pytest.raises(ModelError, match="no EOS token"):
        load_tokenizer(model_dir)


def test_a_model_without_a_tokenizer_is_refused(model_dir):
    """Named, not guessed."""
    for file in model_dir.glob("*token*"):
        file.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        load_tokenizer(model_dir)


def test_an_sft_folder_without_weights(tmp_path, cpu):
    """Says which command writes one."""
    from models.adapter import TuneConfig

    with pytest.raises(ModelError, match="no such model folder"):
        build_policy(tmp_path / "nothing", TuneConfig(), cpu, seed=0)
    with pytest.raises(ModelError, match=r"train\.py sft"):
        weight_hash(tmp_path)


def test_weight_hash_sees_every_byte_and_name(model_dir):
    """A flipped bit, another name and a further file give other hashes; other files do not count."""
    file = model_dir / "model.safetensors"
    first = weight_hash(model_dir)
    (model_dir / "notes.txt").write_text("x")
    assert weight_hash(model_dir) == first
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    flipped = weight_hash(model_dir)
    shutil.copy(file, model_dir / "second.safetensors")
    two = weight_hash(model_dir)
    file.unlink()
    assert len({first, flipped, two, weight_hash(model_dir)}) == 4


def test_file_hash_is_sha256(tmp_path):
    """A published test vector."""
    (tmp_path / "f").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_hash(tmp_path / "f") == expected


def test_tensors_round_trip(tmp_path):
    """Values and formats, views included; a damaged file is an error with its name."""
    tensors = {"a": torch.randn(3, 4).T, "b": torch.arange(5), "c": torch.tensor(2.5, dtype=torch.float16)}
    save_tensors(tmp_path / "t.safetensors", tensors)
    loaded = load_tensors(tmp_path / "t.safetensors")
    assert all(torch.equal(loaded[k], tensors[k]) and loaded[k].dtype == tensors[k].dtype for k in tensors)
    (tmp_path / "t.safetensors").write_bytes(b"\x00" * 20)
    for name in ("t.safetensors", "missing.safetensors"):
        with pytest.raises(ModelError, match=name):
            load_tensors(tmp_path / name)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_is_written_whole_or_not_at_all(tmp_path, error):
    """What was there before stays until the new one is complete."""
    target = tmp_path / "deep" / "folder"
    with atomic_folder(target) as partial:
        (partial / "f").write_text("old")
        assert not target.exists()
    with pytest.raises(error), atomic_folder(target) as partial:
        (partial / "f").write_text("new")
        raise error
    assert (target / "f").read_text() == "old" and [p.name for p in target.parent.iterdir()] == ["folder"]
    (target.parent / "folder.partial").mkdir()  # left by a power cut
    (target.parent / "folder.partial" / "junk").write_text("")
    with atomic_folder(target) as partial:
        (partial / "g").write_text("new")
    assert [p.name for p in target.iterdir()] == ["g"] and not partial.exists()


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_others_may_read_what_the_umask_lets_them(tmp_path, umask, mode):
    """safetensors would keep every file it writes for its owner."""
    before = os.umask(umask)
    try:
        with atomic_folder(tmp_path / "folder") as partial:
            save_tensors(partial / "x.safetensors", {"x": torch.ones(2)})
            (partial / "y.json").write_text("{}")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "folder").iterdir()} == {mode}


def test_a_full_disk_is_an_oserror_whoever_writes(tokenizer, tmp_path):
    """tokenizers raises a bare Exception; what else goes wrong stays what it is."""
    with pytest.raises(OSError) as full, disk_errors(tmp_path):
        tokenizer.backend_tokenizer.save("/dev/full")
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, str(tmp_path))
    for other in (Exception("something else"), KeyError("(os error 28)")):
        with pytest.raises(type(other)) as kept, disk_errors(tmp_path):
            raise other
        assert kept.value is other


def test_json_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """The old file stays when writing fails, and no temporary one is left."""
    file = tmp_path / "f.json"
    write_json(file, {"a": 1})

    def full_disk(*args: Any, **kwargs: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_json(file, {"a": 2})
    assert json.loads(file.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [file]
