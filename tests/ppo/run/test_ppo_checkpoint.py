"""Checkpoints: what is in them, what refuses to load, and what a failure in the middle leaves behind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loop_helpers import CPU, ToyScorer, newest_checkpoint, run, toy_config
from ppo_helpers import prompts_of, rollout, small_config
from transformers import AutoModelForCausalLM, AutoTokenizer

import models.storage
import ppo.run.checkpoint
from models.adapter import TuneConfig
from models.checkpoints import CHECKSUMS, DamagedCheckpoint, seal
from models.critic import CriticConfig
from models.errors import ModelError
from models.policy import Policy, build_policy
from models.products import ONEDNN
from models.rms_norm import RMS_NORM
from models.rotary import ROTARY
from models.sft import save_model
from models.storage import load_model, save_tensors
from ppo.run.checkpoint import load_policy, load_weights, save_checkpoint
from ppo.run.folder import newest_whole, numbered, open_checkpoint, resolve_checkpoint
from ppo.run.state import TrainState, fresh_state

TUNES = ["lora", "full"]
LOGS = {"metrics.jsonl": 0}


def state_of(policy: Policy, iteration: int = 1) -> TrainState:
    """A state whose optimizer has taken a step."""
    state = fresh_state(policy, prompts_of(policy.tokenizer, ["x"]), small_config())
    for group in state.optimizer.param_groups:
        for p in group["params"]:
            p.grad = torch.ones_like(p)
    state.optimizer.step()
    state.iteration = iteration
    return state


@pytest.fixture
def saved(
    tmp_path: Path, sft_dir: Path, make_policy: Callable[..., Policy]
) -> Callable[..., tuple[Policy, Path]]:
    """A policy that went on from SFT, and its checkpoint beside a copy of the SFT run."""

    def save(tune: str = "lora", **settings: Any) -> tuple[Policy, Path]:
        base = tmp_path / "sft"
        shutil.copytree(sft_dir, base, dirs_exist_ok=True)
        policy = make_policy(tune, trained=True, base=base, **settings)
        folder = tmp_path / "ppo" / "checkpoints"
        return policy, save_checkpoint(folder, policy, state_of(policy), logs=LOGS, keep=3)

    return save


def logits(model: Any) -> torch.Tensor:
    """By the model's own layers: the short ways of a policy round otherwise."""
    with torch.no_grad(), RMS_NORM.off(), ROTARY.off():
        return model(torch.tensor([[9, 40, 77, 100, 3]])).logits


@pytest.mark.parametrize("critic", [CriticConfig(), CriticConfig(critic_width=3), CriticConfig("head")])
@pytest.mark.parametrize("tune", TUNES)
def test_round_trip(saved, tune, critic):
    """Weights, critic, tied embeddings and optimizer come back bit for bit."""
    policy, path = saved(tune, critic=critic)
    loaded = load_policy(path, CPU)
    assert loaded.trainable().keys() == policy.trainable().keys()
    for name, p in policy.trainable().items():
        assert torch.equal(p, loaded.trainable()[name]), name
    responses = rollout(policy)
    with torch.no_grad():
        for a, b in zip(policy(responses.tokens, 0.7), loaded(responses.tokens, 0.7), strict=True):
            assert torch.equal(a, b)
    ref = policy.ref_logprobs(responses.tokens, 0.7)
    assert torch.equal(ref, loaded.ref_logprobs(responses.tokens, 0.7))
    head, embeddings = loaded.network.get_output_embeddings(), loaded.network.get_input_embeddings()
    assert head.weight.data_ptr() == embeddings.weight.data_ptr()
    assert loaded.tune == policy.tune and loaded.critic == policy.critic


def test_an_adapter_loads_with_plain_peft(saved):
    """Trap A11, design: PeftModel on the SFT folder that adapter_config.json names gives the same logits."""
    from peft import PeftConfig, PeftModel

    policy, path = saved()
    base = PeftConfig.from_pretrained(path).base_model_name_or_path
    assert Path(base) == policy.sft.path
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), path)
    with ONEDNN.off():  # plain peft multiplies as torch does
        torch.testing.assert_close(logits(model), logits(policy.network), rtol=0, atol=1e-6)
    assert (logits(model) - logits(load_model(base, torch.float32))).abs().max() > 0.1
    assert AutoTokenizer.from_pretrained(path)("ab").input_ids == policy.tokenizer("ab").input_ids


def test_the_base_is_named_so_that_any_working_directory_finds_it(saved, make_policy, tmp_path, monkeypatch):
    """Design: peft alone writes the name the SFT model was loaded by, here a relative path."""
    saved()
    monkeypatch.chdir(tmp_path)
    policy = make_policy(base=Path("sft"))
    path = save_checkpoint(tmp_path / "new", policy, state_of(policy), logs=LOGS, keep=1)
    config = json.loads((path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "sft" / "model")


def test_a_fully_trained_checkpoint_loads_with_plain_transformers(saved):
    """The checkpoint folder is a model folder."""
    policy, path = saved("full")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(path)), logits(policy.network))


def test_a_fully_trained_checkpoint_has_the_dropout_of_its_base(tmp_path, make_model, tokenizer):
    """It is off in training, which is no property of the model."""
    model = make_model()
    model.config.attention_dropout = 0.1
    save_model(tmp_path / "base", model, tokenizer)
    policy = build_policy(tmp_path / "base", TuneConfig(tune="full"), CPU, seed=1)
    assert policy.network.config.attention_dropout == 0.0
    path = save_checkpoint(tmp_path / "run", policy, state_of(policy), logs=LOGS, keep=1)
    assert json.loads((path / "config.json").read_text())["attention_dropout"] == 0.1


def test_only_safe_files(saved):
    """Nothing in a checkpoint needs unpickling, and checksums.json names and hashes every other file."""
    _, path = saved()
    names = {p.name for p in path.iterdir()}
    assert {p.suffix for p in path.iterdir()} <= {".safetensors", ".json", ".md", ".jinja", ".txt"}
    state = json.loads((path / "state.json").read_text())
    assert set(json.loads((path / CHECKSUMS).read_text())) == names - {CHECKSUMS}
    assert not Path(state["sft"]["path"]).is_absolute()


def test_a_run_can_be_moved_with_its_sft_model(saved, tmp_path):
    """The SFT model is found relative to the checkpoint."""
    policy, path = saved()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("sft", "ppo"):
        (tmp_path / name).rename(moved / name)
    loaded = load_policy(moved / path.relative_to(tmp_path), CPU)
    assert torch.equal(logits(loaded.network), logits(policy.network))


@pytest.mark.parametrize(
    "name",
    ["adapter_model.safetensors", "value_head.safetensors", "state.safetensors", "adapter_config.json"],
)
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_file_is_named(saved, name, damage):
    """One byte flipped, the second half missing, or the file gone: an error that names the file."""
    _, path = saved()
    file = path / name
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.unlink()
    with pytest.raises(ModelError, match=f"{path.name}.*{name}"):
        open_checkpoint(path)


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_no_flipped_bit_anywhere_goes_unnoticed(saved, tmp_path_factory, place, bit, data):
    """Whatever file and place it is in, checksums.json itself included."""
    path = saved()[1] if not hasattr(saved, "path") else saved.path
    saved.path = path
    file = data.draw(st.sampled_from(sorted(path.iterdir())))
    content = file.read_bytes()
    damaged = bytearray(content)
    damaged[int(place * len(content))] ^= 1 << bit
    file.write_bytes(damaged)
    try:
        with pytest.raises(DamagedCheckpoint):
            open_checkpoint(path)
    finally:
        file.write_bytes(content)
    open_checkpoint(path)


def several(saved: Callable[..., tuple[Policy, Path]]) -> Path:
    """The folder of a run with the checkpoints 1 to 4."""
    policy, path = saved()
    for iteration in (2, 3, 4):
        save_checkpoint(path.parent, policy, state_of(policy, iteration), logs=LOGS, keep=9)
    return path.parent.parent


def test_a_damaged_newest_checkpoint_is_set_aside(saved):
    """The one before is used; the damaged ones keep their content under another name, and are reported."""
    run_folder = several(saved)
    for number in (3, 4):
        (run_folder / f"checkpoints/iteration-{number:06d}/value_head.safetensors").write_bytes(b"junk")
    checkpoint, lines = newest_whole(run_folder)
    assert checkpoint is not None and checkpoint.state["iteration"] == 2
    assert ["iteration-000004" in lines[0], "iteration-000003" in lines[1], len(lines)] == [True, True, 2]
    assert all("value_head.safetensors" in line for line in lines)
    assert [p.name[-1] for p in numbered(run_folder / "checkpoints")] == ["1", "2"]
    aside = run_folder / "checkpoints/iteration-000004.damaged"
    assert (aside / "value_head.safetensors").read_bytes() == b"junk"
    assert newest_whole(run_folder) == (checkpoint, [])


def test_where_every_checkpoint_is_damaged_none_is_touched(saved):
    """Nothing is set aside, nothing starts over."""
    run_folder = several(saved)
    for folder in numbered(run_folder / "checkpoints"):
        (folder / "state.json").write_text("{}")
    with pytest.raises(DamagedCheckpoint, match="iteration-000004"):
        newest_whole(run_folder)
    assert len(numbered(run_folder / "checkpoints")) == 4


def test_another_format_is_no_damage(saved):
    """A run of another version is refused whole: going on from an earlier checkpoint would lose work."""
    run_folder = several(saved)
    newest = run_folder / "checkpoints/iteration-000004"
    state = json.loads((newest / "state.json").read_text())
    (newest / "state.json").write_text(json.dumps({**state, "format": 99}))
    seal(newest)
    with pytest.raises(ModelError, match="format 99"):
        newest_whole(run_folder)
    assert newest.is_dir()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 1}', "\x00"])
def test_a_damaged_state_file(saved, content):
    """state.json that is empty, cut, or not what it should be, and hashed like that."""
    _, path = saved()
    (path / "state.json").write_text(content)
    with pytest.raises(ModelError, match=r"iteration-000001.*state\.json"):
        open_checkpoint(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\x00"])
def test_a_state_file_of_nonsense_that_was_hashed_like_that(saved, content):
    """Nor does a file that matches its checksum have to make sense."""
    _, path = saved()
    (path / "state.json").write_text(content)
    seal(path)
    with pytest.raises(ModelError, match=r"iteration-000001.*state\.json"):
        open_checkpoint(path)


def test_another_format_is_not_read(saved):
    """A checkpoint of another version says so."""
    _, path = saved()
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, "format": 99}))
    seal(path)
    with pytest.raises(ModelError, match="format 99"):
        open_checkpoint(path)
    (path / "state.json").write_text(json.dumps({**state, "format": 1}))
    (path / CHECKSUMS).unlink()  # earlier formats had none
    with pytest.raises(ModelError, match="format 1,"):
        open_checkpoint(path)


def test_missing_checkpoints(tmp_path):
    """A missing checkpoint is an error, never the base model (trap E3)."""
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(ModelError, match=path.name):
            load_policy(path, CPU)
        with pytest.raises(ModelError, match=path.name):
            open_checkpoint(path)
        assert newest_whole(path) == (None, [])


def test_a_missing_sft_model(saved, tmp_path):
    """Named, with what to do."""
    _, path = saved()
    shutil.rmtree(tmp_path / "sft")
    with pytest.raises(ModelError, match=r"SFT model is missing.*sft"):
        load_policy(path, CPU)


def test_a_changed_sft_model(saved, tmp_path, make_model):
    """Trap A11: the folder is there but its weights are others: adapters would mean something else."""
    from models.sft import save_model

    policy, path = saved()
    save_model(tmp_path / "sft" / "model", make_model(seed=2), policy.tokenizer)
    with pytest.raises(ModelError, match="hash differs"):
        load_policy(path, CPU)


def test_weights_of_another_sft_model_are_refused(saved, make_policy, make_model, tokenizer, tmp_path):
    """--init from a run on another SFT model."""
    from models.sft import save_model

    _, path = saved()
    save_model(tmp_path / "other" / "model", make_model(seed=2), tokenizer)
    with pytest.raises(ModelError, match="another SFT model"):
        load_weights(open_checkpoint(path), make_policy(base=tmp_path / "other"))


@pytest.mark.parametrize(
    ("tune", "settings"),
    [
        ("full", {}),
        ("lora", {"lora_rank": 2}),
        ("lora", {"lora_alpha": 16}),  # the same tensors, and twice the update
        ("lora", {"lora_targets": ("q_proj",)}),
        ("lora", {"lora_targets": ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj")}),
        ("lora", {"critic": CriticConfig("head")}),
        ("lora", {"critic": CriticConfig(critic_width=3)}),
    ],
)
def test_weights_tuned_another_way_are_refused(saved, make_policy, tmp_path, tune, settings):
    """Rank, alpha, layers, LoRA or full, and the critic must be those of the checkpoint."""
    _, path = saved()
    other = make_policy(tune, base=tmp_path / "sft", **settings)
    with pytest.raises(ModelError, match=path.name):
        load_weights(open_checkpoint(path), other)


def test_full_weights_do_not_load_into_adapters(saved, make_policy, tmp_path):
    """And the other way round."""
    _, path = saved("full")
    with pytest.raises(ModelError, match=path.name):
        load_weights(open_checkpoint(path), make_policy(base=tmp_path / "sft"))


def test_flags_of_lora_do_not_matter_for_full_tuning(saved, make_policy, tmp_path):
    """There is no adapter that they could describe; nor is there a width of the critic head."""
    policy, path = saved("full", critic=CriticConfig("head"))
    other = make_policy("full", base=tmp_path / "sft", lora_rank=64, critic=CriticConfig("head", 3))
    load_weights(open_checkpoint(path), other)
    assert torch.equal(logits(other.network), logits(policy.network))


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("file", ["value_head.safetensors", "state.safetensors"])
def test_a_failure_while_saving_leaves_the_old_checkpoint(saved, monkeypatch, error, file):
    """Atomic: the error surfaces, no half folder is left, the same iteration's old checkpoint still opens."""
    policy, path = saved()
    before = {p.name: p.read_bytes() for p in path.iterdir()}

    def fail(target: Path, tensors: Any) -> None:
        if target.name == file:
            target.write_bytes(b"half")
            raise error
        save_tensors(target, tensors)

    monkeypatch.setattr(ppo.run.checkpoint, "save_tensors", fail)
    for iteration in (1, 2):
        with pytest.raises(type(error)):
            save_checkpoint(path.parent, policy, state_of(policy, iteration), logs=LOGS, keep=1)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before
    open_checkpoint(path)


def test_a_full_disk_is_an_oserror(saved, monkeypatch):
    """safetensors reports a full disk as an error of its own; it surfaces as the OSError that it is."""
    import safetensors

    policy, path = saved()

    def full_disk(*args: Any) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(models.storage, "save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path.parent, policy, state_of(policy, 2), logs=LOGS, keep=1)


def test_best_and_pruning(saved):
    """`best` moves with the best iteration; the newest `keep` stay, and the best besides."""
    policy, path = saved()
    folder = path.parent
    for iteration, all_pass in ((2, 0.5), (3, 0.4), (4, 0.3), (5, 0.6), (6, 0.1), (7, 0.1)):
        state = state_of(policy, iteration)
        state.best = (
            {"iteration": 2, "all_pass": 0.5} if all_pass <= 0.5 else {"iteration": 5, "all_pass": 0.6}
        )
        if iteration > 5:
            state.best = {"iteration": 5, "all_pass": 0.6}
        save_checkpoint(folder, policy, state, logs=LOGS, keep=2)
        expected_best = 2 if iteration < 5 else 5
        assert resolve_checkpoint(folder.parent).name == f"iteration-{expected_best:06d}"
        kept = {int(p.name[-6:]) for p in numbered(folder)}
        assert kept == {n for n in (1, *range(2, iteration + 1)) if n > iteration - 2} | {expected_best}
    assert (folder / "best").is_symlink() and newest_checkpoint(folder.parent).name == "iteration-000007"


def test_resolving_a_path(saved):
    """A checkpoint folder is itself; a run is its best, or its newest where none was best."""
    _, path = saved()
    run_folder = path.parent.parent
    assert resolve_checkpoint(path) == resolve_checkpoint(run_folder) == path.resolve()
    assert numbered(run_folder / "nothing") == []


def test_an_sft_model_is_a_policy_too(sft_dir):
    """evaluate.py takes SFT runs and model folders beside checkpoints: the same network, untouched."""
    for path in (sft_dir, sft_dir / "model"):
        policy = load_policy(path, CPU)
        assert torch.equal(logits(policy.network), logits(load_model(sft_dir / "model", torch.float32)))


def test_init_takes_weights_and_nothing_else(tmp_path, letters_sft):
    """PPO-continue: policy and critic go on; optimizer, counters, coefficient and `best` start fresh."""
    old, _ = run(tmp_path / "old", letters_sft, toy_config(iterations=2, kl_horizon=50), ToyScorer())
    newest = open_checkpoint(newest_checkpoint(tmp_path / "old"))
    assert newest.state["kl_coef"] != 0.01 and newest.state["iteration"] == 2
    seen: list[tuple] = []

    def prepare(policy: Policy) -> None:
        load_weights(newest, policy)
        seen.append(
            tuple(p.detach().clone() for p in (*policy.trainable().values(), *policy.value_head.parameters()))
        )

    _, state = run(tmp_path / "new", letters_sft, toy_config(iterations=1), ToyScorer(), prepare=prepare)
    ours = (*old.trainable().values(), *old.value_head.parameters())
    assert all(torch.equal(a, b) for a, b in zip(seen[0], ours, strict=True))
    first = open_checkpoint(tmp_path / "new" / "checkpoints" / "iteration-000000").state
    assert (first["iteration"], first["samples"], first["prompts_drawn"], first["kl_coef"]) == (0, 0, 0, 0.01)
    assert state.best["iteration"] == 0 and state.optimizer.state


def test_tune_is_recorded_completely(saved):
    """What builds the policy again is in the checkpoint, field for field."""
    policy, path = saved(lora_targets=("q_proj", "down_proj"), lora_rank=2)
    assert load_policy(path, CPU).tune == policy.tune
    assert policy.tune == TuneConfig(lora_rank=2, lora_alpha=8, lora_targets=("q_proj", "down_proj"))
