"""SFT by several processes is that of one: the same weights up to the order of sums, and one end for all."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import die_at
from ranks import ranks, said
from sft_helpers import rows, run_sft

import models.sft
import models.sft_loss
import models.storage
from models.adapter import TuneConfig
from models.errors import ModelError
from models.precision import Precision
from models.sft_config import SFTConfig
from models.sft_data import Demonstration
from models.sft_run import SERIES
from models.storage import load_tensors
from models.together import check_same_weights
from ppo.parallel import ALONE, World

EOS = 1
DEMOS = [Demonstration((9, 40 + i), (50 + i, 51 + 2 * i) * (1 + i % 3)) for i in range(10)]
HELD_BACK = [Demonstration((9, 60), (61, 62)), Demonstration((9, 43), (53, 57)), Demonstration((8,), (70,))]
# Ten steps. The last batch of a pass is one demonstration: of several ranks all but one have none then.
CONFIG = SFTConfig(
    **{"epochs": 2.5, "batch_size": 3, "micro_batch_size": 2, "learning_rate": 1e-3},
    **{"validate_every": 3, "save_every": 5, "keep_checkpoints": 9, "keep": "last"},
)
TUNES = {
    "lora": TuneConfig(lora_rank=4),
    "full": TuneConfig(tune="full"),
    "overflow": TuneConfig(lora_rank=4),
}
LAST = "step-000010"


def train(world: World, folder: Path, model: Any, name: str, **options: Any) -> None:
    """One training; `overflow`: in the second step a gradient of the last rank is more than 16 bits hold."""
    precision = Precision(torch.device("cpu"), torch.float32)
    torch.set_num_threads(1)
    (folder / name).mkdir(exist_ok=True)
    original: Callable[..., float] = models.sft.accumulate_gradient
    calls = []

    def overflowing(network: Any, *arguments: Any) -> float:
        loss = original(network, *arguments)
        calls.append(loss)
        if len(calls) == 2 and world.rank == world.size - 1:
            first = next(p for p in network.parameters() if p.requires_grad)
            first.grad = torch.full_like(first, float("inf"))
        return loss

    with pytest.MonkeyPatch.context() as patch:
        if name == "overflow":
            patch.setattr(models.sft, "accumulate_gradient", overflowing)
            patch.setattr(torch.amp, "GradScaler", _enabled)
        run_sft(
            *(folder / name, model, CONFIG, TUNES[name], precision, DEMOS, HELD_BACK, EOS),
            world=world,
            **options,
        )


def _enabled(device: str, *, enabled: bool, make: Any = torch.amp.GradScaler) -> Any:
    """The loss scaler of float16, for float32."""
    return make(device, init_scale=64.0)


def train_all(world: World, folder: Path, make_model: Callable[..., Any]) -> None:
    for name in TUNES:
        train(world, folder, make_model(1.0), name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Any]) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    train_all(ALONE, folder, make_model)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Any]) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    assert ranks(2, folder, train_all, make_model) == [0, 0]
    return folder


def check_equal(many: Path, alone: Path, name: str) -> None:
    """Weights and optimizer to 1e-5, counts exactly, other metrics nearly."""
    for kind in ("weights", "state"):
        ours, theirs = (
            load_tensors(folder / name / "checkpoints" / LAST / f"{kind}.safetensors")
            for folder in (many, alone)
        )
        assert ours.keys() == theirs.keys()
        for key, tensor in theirs.items():
            torch.testing.assert_close(ours[key], tensor, rtol=1e-4, atol=1e-5)
    logged, expected = rows(many / name), rows(alone / name)
    assert len(logged) == 10 and sum("validation_loss" in row for row in logged) == 4
    for row, want in zip(logged, expected, strict=True):
        assert row == {key: pytest.approx(value, rel=1e-4) for key, value in want.items()}


@pytest.mark.parametrize("name", TUNES)
def test_two_processes_equal_one(pair, alone, name):
    check_equal(pair, alone, name)
    moved = [
        load_tensors(alone / name / "checkpoints" / step / "weights.safetensors")
        for step in ("step-000005", LAST)
    ]
    assert any((moved[1][key] - moved[0][key]).abs().max() > 1e-3 for key in moved[0])
    assert rows(alone / name)[-1].get("skipped_steps") == (1 if name == "overflow" else None)


@pytest.mark.slow
def test_four_processes_equal_one(tmp_path, make_model, alone):
    """More processes than a batch has demonstrations: some never have any."""
    assert ranks(4, tmp_path, train_all, make_model) == [0] * 4
    for name in TUNES:
        check_equal(tmp_path, alone, name)


def measure(world: World, folder: Path, model: Any) -> None:
    precision = Precision(torch.device("cpu"), torch.float32)
    losses = [
        models.sft_loss.mean_loss(model, part, EOS, CONFIG, precision, world)
        for part in (DEMOS, HELD_BACK, DEMOS[:1])
    ]
    (folder / f"losses-{world.rank}.json").write_text(json.dumps(losses))


def test_a_validation_is_that_of_one_to_the_bit(tmp_path, make_model):
    """Batches are summed in their order, whoever had them."""
    torch.set_num_threads(1)
    model = make_model()
    measure(ALONE, tmp_path, model)
    (tmp_path / "two").mkdir()
    assert ranks(2, tmp_path / "two", measure, model) == [0, 0]
    expected = (tmp_path / "losses-0.json").read_text()
    assert {(tmp_path / "two" / f"losses-{rank}.json").read_text() for rank in (0, 1)} == {expected}


def drift(world: World, folder: Path, model: Any) -> None:
    """The model of one rank is another."""
    if world.rank == 1:
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(1.1)
    train(world, folder, model, "full")


def test_weights_that_drifted_apart_end_the_run(tmp_path, make_model):
    assert ranks(2, tmp_path, drift, make_model(1.0)) == [2, 2]
    assert "the weights of the processes drifted apart (their norms are" in said(tmp_path, 0)
    assert SERIES.numbered(tmp_path / "full" / "checkpoints") == []


@pytest.mark.parametrize(
    ("norms", "same"),
    [([1.0], True), ([2.0, 2.0, 2.0], True), ([1.0, 1.0005], True), ([1.0, 1.01], False), ([0.0, 0.0], True)],
)
def test_norms_that_rounding_does_not_explain(norms, same):
    if same:
        check_same_weights(norms)
    else:
        with pytest.raises(ModelError, match="drifted apart"):
            check_same_weights(norms)


class After:
    """Asks to stop after so many steps, on one rank."""

    def __init__(self, world: World, steps: int) -> None:
        self.world, self.left = world, steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.world.any(lambda: self.left < 0 and self.world.rank == self.world.size - 1)


def straight_and_stopped(world: World, folder: Path, make_model: Callable[..., Any]) -> None:
    """The same run stopped and resumed, and once stopped for another number of processes to go on with."""
    for name in ("broken", "half"):
        (folder / name).mkdir(exist_ok=True)
        train(world, folder / name, make_model(1.0), "full", stop=After(world, 7))
    train(world, folder / "broken", make_model(1.0), "full", resume=True)


@pytest.mark.slow
def test_resumed_is_exact_and_another_number_goes_on(tmp_path, make_model, pair, alone):
    """To the byte at the same number of processes; within rounding from two to one, and from one to two."""
    assert ranks(2, tmp_path, straight_and_stopped, make_model) == [0, 0]
    broken = tmp_path / "broken" / "full"
    assert (broken / "metrics.jsonl").read_bytes() == (pair / "full" / "metrics.jsonl").read_bytes()
    for kind in ("weights", "state"):
        ours, theirs = (
            load_tensors(run / "checkpoints" / LAST / f"{kind}.safetensors")
            for run in (broken, pair / "full")
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert (tmp_path / "half/full/checkpoints/step-000007").is_dir()
    train(ALONE, tmp_path / "half", make_model(1.0), "full", resume=True)
    check_equal(tmp_path / "half", alone, "full")
    (tmp_path / "other").mkdir()
    train(ALONE, tmp_path / "other", make_model(1.0), "full", stop=After(ALONE, 4))
    assert ranks(2, tmp_path / "other", _go_on, make_model) == [0, 0]
    check_equal(tmp_path / "other", alone, "full")


def _go_on(world: World, folder: Path, make_model: Callable[..., Any]) -> None:
    train(world, folder, make_model(1.0), "full", resume=True)


MOMENTS: dict[str, tuple[int, Any, str, int]] = {
    "loss": (1, models.sft_loss, "completion_loss", 7),
    "step": (1, torch.optim.AdamW, "step", 6),
    "validate": (1, models.sft, "mean_loss", 2),
    "save": (0, models.storage, "save_file", 3),
}
"""Which rank dies, at which call of what: after the first checkpoint."""


def train_until_killed(world: World, folder: Path, model: Any, moment: str) -> None:
    lost, owner, name, countdown = MOMENTS[moment]
    if world.rank == lost:
        die_at(owner, name, countdown)
    train(world, folder, model, "full")


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_rank_ends_the_run_of_all(tmp_path, make_model, alone, moment):
    """The other says which it was, the newest checkpoint is whole, and one process goes on from it."""
    statuses = ranks(2, tmp_path, train_until_killed, make_model(1.0), moment)
    lost = MOMENTS[moment][0]
    assert statuses[lost] == -signal.SIGKILL and statuses[1 - lost] == 2
    assert f"rank {lost} (process" in said(tmp_path, 1 - lost) and "was lost" in said(tmp_path, 1 - lost)
    saved, damaged = SERIES.newest_whole(tmp_path / "full")
    assert saved is not None and not damaged and saved.path.name == "step-000005"
    train(ALONE, tmp_path, make_model(1.0), "full", resume=True)
    check_equal(tmp_path, alone, "full")


def break_off(world: World, folder: Path, model: Any) -> None:
    """The disk of the first rank is full when it saves."""
    if world.rank == 0:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(models.sft, "save_checkpoint", _no_space)
            train(world, folder, model, "full")
    train(world, folder, model, "full")


def _no_space(*arguments: Any, **named: Any) -> None:
    raise ModelError(f"no space left (process {os.getpid()})")


def test_an_error_of_the_rank_that_writes_is_that_of_all(tmp_path, make_model):
    assert ranks(2, tmp_path, break_off, make_model(1.0)) == [2, 2]
    assert said(tmp_path, 0).startswith("no space left")
    assert said(tmp_path, 1).startswith("unsaid: rank 0: no space left")
