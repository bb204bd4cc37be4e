"""A training that stops, dies and goes on is the one that did not; which weights it ends with."""

import json
import math
import multiprocessing
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import die_at
from sft_helpers import Quiet, rows, run_sft

import models.log_files
import models.sft
import models.sft_loss
import models.storage
from models.adapter import TuneConfig
from models.errors import ModelError
from models.precision import Precision
from models.sft import fresh_state, prepare_sft
from models.sft_config import SFTConfig
from models.sft_data import Demonstration
from models.sft_loss import mean_loss
from models.sft_run import SERIES, SFTLog, load_weights, restore, save_checkpoint
from models.trackers import Table

EOS = 1
DEMOS = [Demonstration((9, 40 + i), (50 + i, 51 + 2 * i) * (1 + i % 3)) for i in range(10)]
HELD_BACK = [Demonstration((9, 60), (61, 62)), Demonstration((9, 43), (53, 57))]
TUNES = {"lora": TuneConfig(lora_rank=4), "full": TuneConfig(tune="full")}
# 16 steps, the last batch of a pass a small one; validations and saves at other places than passes end.
CONFIG = SFTConfig(
    epochs=4.0, batch_size=3, micro_batch_size=2, learning_rate=0.02, validate_every=3, save_every=5
)

MOMENTS: dict[str, tuple[Any, str]] = {
    "forward": (models.sft_loss, "completion_loss"),
    "step": (torch.optim.AdamW, "step"),
    "validate": (models.sft, "mean_loss"),
    "log": (models.log_files.LogFiles, "append"),
    "write": (models.storage, "save_file"),
    "flush": (models.storage, "_fsync"),
    "rename": (Path, "rename"),
    "prune": (shutil, "rmtree"),
    "best": (Path, "symlink_to"),
}
"""What the process is about to do when it dies, and the function that does it."""


def go_on(folder: Path, model: Any, tune: str) -> Any:
    precision = Precision(torch.device("cpu"), torch.float32)
    return run_sft(folder, model, CONFIG, TUNES[tune], precision, DEMOS, HELD_BACK, EOS, resume=True)


def train_until_killed(
    folder: Path, model: Any, tune: str, owner: Any, name: str, countdown: int, reference: dict
) -> None:
    """In a process of its own: go on, to be killed at a later call of a function. Its end has to be right."""
    die_at(owner, name, countdown)
    finished = go_on(folder, model, tune).state_dict()
    assert all(torch.equal(weight, finished[key]) for key, weight in reference.items())


@pytest.fixture(scope="module")
def straight(
    tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Any]
) -> Callable[[str], Any]:
    """(folder, finished model) of the training that nothing interrupts, with LoRA and in full."""
    made: dict[str, tuple[Path, Any]] = {}

    def get(tune: str) -> tuple[Path, Any]:
        if tune not in made:
            folder = tmp_path_factory.mktemp(tune)
            made[tune] = (folder, go_on(folder, make_model(), tune))
        return made[tune]

    return get


def same_folder(folder: Path, other: Path) -> None:
    """To the byte: metrics, and every checkpoint that is kept; only the lengths of logs of times differ."""
    assert (folder / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    ours, theirs = (SERIES.numbered(each / "checkpoints") for each in (folder, other))
    assert [path.name for path in ours] == [path.name for path in theirs]
    for one, two in zip(ours, theirs, strict=True):
        for name in ("weights.safetensors", "state.safetensors"):
            assert (one / name).read_bytes() == (two / name).read_bytes(), (one, name)
        states = [SERIES.read(path).state for path in (one, two)]
        for state in states:
            state["logs"].pop("timing.jsonl")
        assert states[0] == states[1]
    links = [(each / "checkpoints" / "best").readlink() for each in (folder, other)]
    assert links[0] == links[1]
    assert not list((folder / "checkpoints").glob("*.partial"))


@pytest.mark.parametrize(
    ("tune", "moment"),
    [
        *(("lora", "step"), ("full", "write")),
        *(
            pytest.param(tune, moment, marks=pytest.mark.slow)
            for tune, moments in {"lora": MOMENTS.keys() - {"step"}, "full": {"step"}}.items()
            for moment in sorted(moments)
        ),
    ],
)
def test_killed_and_resumed_equals_straight_through(tmp_path, make_model, straight, tune, moment):
    """Each process dies at such a moment, later and later in its life, until one gets to the end."""
    reference, finished = straight(tune)
    killed = 0
    for countdown in (0, 2, 9, 10**9):
        arguments = (tmp_path, make_model(), tune, *MOMENTS[moment], countdown, finished.state_dict())
        process = multiprocessing.get_context("fork").Process(target=train_until_killed, args=arguments)
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        if process.exitcode == 0:
            break
        killed += 1
    assert process.exitcode == 0 and killed >= 2
    same_folder(tmp_path, reference)


def test_stopped_after_every_step_equals_straight_through(tmp_path, make_model, cpu, straight):
    """`stop` saves wherever it is asked, and says that the training is not over."""
    reference, finished = straight("lora")
    args = (CONFIG, TUNES["lora"], cpu, DEMOS, HELD_BACK, EOS)
    ended, trainings = None, 0
    while ended is None:
        asked = iter([False, True])  # before the first step, and after it
        ended = run_sft(tmp_path, make_model(), *args, resume=True, stop=asked.__next__)
        trainings += 1
    assert trainings == len(rows(reference)) == 16
    assert (tmp_path / "metrics.jsonl").read_bytes() == (reference / "metrics.jsonl").read_bytes()
    weights = ended.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in finished.state_dict().items())


def test_the_model_is_of_the_step_with_the_lowest_validation_loss(tmp_path, make_model, cpu):
    """keep best, last, and best without validation, each by the loss of the model that comes out."""
    steps: dict[tuple[str, bool], Any] = {}
    for keep, validated in (("best", True), ("last", True), ("best", False)):
        # So large a step that the training walks away from the problems that were held back.
        config = SFTConfig(**{**vars(CONFIG), "keep": keep, "learning_rate": 0.03, "epochs": 8.0})
        folder = tmp_path / f"{keep}-{validated}"
        folder.mkdir()
        validation = HELD_BACK if validated else []
        model = run_sft(folder, make_model(), config, TUNES["full"], cpu, DEMOS, validation, EOS)
        steps[keep, validated] = mean_loss(model, HELD_BACK, EOS, config, cpu)
    losses = [row["validation_loss"] for row in rows(tmp_path / "best-True") if "validation_loss" in row]
    assert min(losses) < losses[-1] - 0.1  # or the test shows nothing
    assert steps["best", True] == min(losses)
    assert steps["last", True] == steps["best", False] == losses[-1]
    kept = SERIES.numbered(tmp_path / "best-True" / "checkpoints")
    best = 3 * (1 + losses.index(min(losses)))
    assert len(kept) == CONFIG.keep_checkpoints + 1 and kept[0].name == SERIES.name(best)
    assert not (tmp_path / "last-True" / "checkpoints" / "best").exists()


def test_patience_ends_a_training_that_gains_nothing_more(tmp_path, make_model, cpu):
    """After so many validations in a row; the model is that of the best, and a resume takes no step."""
    config = SFTConfig(
        **{**vars(CONFIG), "learning_rate": 0.03, "epochs": 200.0, "patience": 2, "schedule": "constant"}
    )
    args = (config, TUNES["full"], cpu, DEMOS, HELD_BACK, EOS)
    model = run_sft(tmp_path, make_model(), *args)
    losses = [row["validation_loss"] for row in rows(tmp_path) if "validation_loss" in row]
    assert losses.index(min(losses)) == len(losses) - 3
    assert len(rows(tmp_path)) == 3 * len(losses) < 200
    assert mean_loss(model, HELD_BACK, EOS, config, cpu) == min(losses)
    log = (tmp_path / "metrics.jsonl").read_bytes()
    again = run_sft(tmp_path, make_model(), *args, resume=True).state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in model.state_dict().items())
    assert (tmp_path / "metrics.jsonl").read_bytes() == log


def test_each_step_can_be_read_as_soon_as_it_is_taken(tmp_path, make_model, cpu, monkeypatch):
    """Values in metrics.jsonl, times in timing.jsonl, no row waiting in a buffer."""
    seen: list[int] = []

    def watch(self: Quiet, done: int) -> None:
        seen.append(len(rows(tmp_path)))
        assert seen[-1] == done == len(rows(tmp_path, "timing.jsonl"))

    monkeypatch.setattr(Quiet, "step", watch)
    run_sft(tmp_path, make_model(), CONFIG, TUNES["lora"], cpu, DEMOS, HELD_BACK, EOS)
    assert seen == list(range(1, 17))
    assert {key for row in rows(tmp_path) for key in row} == {
        *("step", "loss", "grad_norm", "learning_rate", "validation_loss")
    }
    for row in rows(tmp_path, "timing.jsonl"):
        assert set(row) - {"seconds/validate"} == {"step", "seconds/train", "tokens_per_second"}


def test_an_overflow_of_float16_is_a_step_that_is_skipped_and_counted(tmp_path, make_model):
    """Weights and optimizer stay, the loss scale halves, the log says so; too many in a row end the run."""
    half = Precision(torch.device("cpu"), torch.float16)
    config = SFTConfig(epochs=12.0, batch_size=5, warmup=0.0)

    def overflowing(steps: range) -> Any:
        model = make_model().half()
        count = iter(range(1000))
        parameter = model.model.layers[0].self_attn.q_proj.weight
        parameter.requires_grad_(True)
        parameter.register_hook(lambda grad: grad * (math.inf if next(count) in steps else 1.0))
        return model

    run_sft(tmp_path, overflowing(range(3, 5)), config, TUNES["full"], half, DEMOS, [], EOS)
    logged = rows(tmp_path)
    assert [row["skipped_steps"] for row in logged][:7] == [0, 0, 0, 1, 2, 2, 2]
    assert [row["loss_scale"] for row in logged][2:6] == [65536.0, 32768.0, 16384.0, 16384.0]
    assert ["grad_norm" in row for row in logged][2:6] == [True, False, False, True]
    assert logged[3]["loss"] != logged[5]["loss"]
    json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[3], parse_constant=pytest.fail)
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(ModelError, match="20 optimizer steps in a row overflowed"):
        run_sft(again, overflowing(range(1000)), config, TUNES["full"], half, DEMOS, [], EOS)


@pytest.mark.parametrize("tune", TUNES)
def test_a_half_precision_training_resumes_too(tmp_path, make_model, tune):
    """What is trained is float32 in the checkpoint, whatever the format of the base."""
    config = SFTConfig(epochs=2.0, batch_size=5, learning_rate=0.01, save_every=1)
    precision = Precision(torch.device("cpu"), torch.bfloat16)
    results = []
    for name, stop in (("straight", iter([False] * 99)), ("stopped", iter([False, False, True]))):
        folder = tmp_path / name
        folder.mkdir()
        args = (config, TUNES[tune], precision, DEMOS, [], EOS)
        model = run_sft(folder, make_model().bfloat16(), *args, stop=lambda stop=stop: next(stop))
        if model is None:
            model = run_sft(folder, make_model().bfloat16(), *args, resume=True)
        results.append(model.state_dict())
    assert all(w.dtype == torch.bfloat16 and torch.equal(w, results[1][n]) for n, w in results[0].items())
    from models.storage import load_tensors

    saved = load_tensors(SERIES.numbered(tmp_path / "stopped" / "checkpoints")[-1] / "weights.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}


def test_weights_of_another_training_are_refused(tmp_path, make_model, cpu):
    network = prepare_sft(make_model(), CONFIG, TUNES["lora"], cpu)
    state = fresh_state(network, CONFIG, cpu)
    save_checkpoint(tmp_path, network, state, logs={}, best=None, keep=1)
    saved = SERIES.read(tmp_path / SERIES.name(0))
    for tune in (TUNES["full"], TuneConfig(lora_rank=2), TuneConfig(lora_rank=4, lora_targets=("q_proj",))):
        other = prepare_sft(make_model(), CONFIG, tune, cpu)
        with pytest.raises(ModelError, match="has other weights than are trained here"):
            load_weights(saved, other)
        with pytest.raises(ModelError, match="has other weights"):
            restore(saved, other, fresh_state(other, CONFIG, cpu))


def test_a_log_that_lost_rows_is_refused(tmp_path):
    log = SFTLog(tmp_path, Quiet(), 1, 1)
    with pytest.raises(ModelError, match=r"metrics\.jsonl: shorter than its checkpoint says"):
        log.truncate({"metrics.jsonl": 1, "timing.jsonl": 0})
    log.close()


class Noted:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple] = []
        self.closed = False

    def log(self, step, values, tables) -> None:
        self.told.append((step, values.get("loss"), dict(tables)))

    def close(self) -> None:
        self.closed = True


def test_trackers_get_every_step_and_a_table_once(tmp_path):
    tracker, table = Noted(), Table(("prompt",), [["p"]])
    log = SFTLog(tmp_path, Quiet(), 2, 1, [tracker])
    log.show("demonstrations", table)
    for step in (1, 2):
        with log.phase("train"):
            pass
        log.write(step, {"loss": 1 / step}, tokens=3)
    log.close()
    assert tracker.told == [(1, 1.0, {"demonstrations": table}), (2, 0.5, {})] and tracker.closed
