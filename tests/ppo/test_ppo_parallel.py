"""Several processes train as one does: the same weights up to the order of sums, and one end for all."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import die_at
from loop_helpers import ToyScorer, by_weights, metrics_of, run, sometimes_faulty, toy_config
from parallel_helpers import QUICK, SCENARIOS, check_equal, train_all
from ranks import ranks, said
from torch import nn

import models.generation
import models.storage
from models.storage import load_tensors
from ppo.errors import TrainingError
from ppo.parallel import ALONE, World
from ppo.peers import Peers, Place
from ppo.run.folder import open_checkpoint

LAST = "checkpoints/iteration-000004"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, letters_sft: Path) -> Path:
    """The quick ones on one process."""
    folder = tmp_path_factory.mktemp("alone")
    train_all(ALONE, folder, letters_sft, QUICK)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, letters_sft: Path) -> Path:
    """The same on two."""
    folder = tmp_path_factory.mktemp("pair")
    assert ranks(2, folder, train_all, letters_sft, QUICK) == [0, 0]
    return folder


@pytest.mark.parametrize("name", QUICK)
def test_two_processes_equal_one(pair, alone, name):
    check_equal(pair, alone, name, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - QUICK))
def test_the_other_runs_of_two_processes_equal_one(tmp_path, letters_sft, name):
    train_all(ALONE, tmp_path, letters_sft, [name])
    (tmp_path / "pair").mkdir()
    assert ranks(2, tmp_path / "pair", train_all, letters_sft, [name]) == [0, 0]
    check_equal(tmp_path / "pair", tmp_path, name, 2)


def test_the_scenarios_show_what_they_are_for(alone):
    """An update that stops early, a step left out, an overflow skipped, faults, and weights that moved."""

    def total(name: str, key: str) -> float:
        return sum(row.get(key, 0.0) for row in metrics_of(alone / name))

    assert 0 < total("kl-stop", "ppo/stopped_early") and 0 < total("full", "ppo/guarded_steps")
    assert total("overflow", "ppo/skipped_steps") == 1
    assert all(total(name, "rollout/faults") > 0 for name in QUICK)
    assert all(total(name, "ppo/update_norm") > 0 for name in QUICK)


@pytest.mark.slow
def test_four_processes_equal_one(tmp_path, letters_sft, alone):
    assert ranks(4, tmp_path, train_all, letters_sft, QUICK) == [0] * 4
    for name in QUICK:
        check_equal(tmp_path, alone, name, 4)


def meet(world: World, folder: Path) -> None:
    """What ranks do together, each kind of meeting once."""
    rank, found = world.rank, {}
    found["each"] = world.each(lambda: rank * 10)
    found["lead"] = world.lead(lambda: f"from {rank}")
    found["spread"] = world.spread(list(range(5)), lambda own: [x * x for x in own])
    found["one item"] = world.spread([7], lambda own: own)
    found["any"] = [world.any(lambda: rank == 1), world.any(lambda: False)]
    found["stack"] = world.stack(lambda: (torch.full((rank + 1, 2), float(rank)),))[0].tolist()
    weights = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    weights[0].grad = torch.tensor([1.0, float(rank)])
    weights[1].grad = torch.ones(2) if rank else None
    world.sum_gradients(weights)
    found["gradients"] = [None if p.grad is None else p.grad.tolist() for p in weights]
    weights[0].grad = torch.tensor([float("inf") if rank else 1.0, 1.0])
    world.sum_gradients(weights[:1])
    found["overflow"] = [str(x) for x in weights[0].grad.tolist()]
    (folder / f"met-{rank}.json").write_text(json.dumps(found))
    (folder / f"cores-{rank}.json").write_text(json.dumps(sorted(os.sched_getaffinity(0))))


def test_what_ranks_do_together(tmp_path):
    assert ranks(2, tmp_path, meet) == [0, 0]
    first, second = (json.loads((tmp_path / f"met-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    cores = [json.loads((tmp_path / f"cores-{rank}.json").read_text()) for rank in (0, 1)]
    mine = sorted(os.sched_getaffinity(0))
    assert cores == ([mine[: len(mine) // 2], mine[len(mine) // 2 :]] if len(mine) > 1 else [mine, mine])
    assert first == {
        "each": [0, 10],
        "lead": "from 0",
        "spread": [0, 1, 4, 9, 16],
        "one item": [7],
        "any": [True, False],
        "stack": [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]],
        "gradients": [[2.0, 1.0], [1.0, 1.0], None],
        "overflow": ["inf", "2.0"],
    }


def test_alone_nothing_is_done():
    parameter = nn.Parameter(torch.zeros(2))
    ALONE.sum_gradients([parameter])
    assert parameter.grad is None and ALONE.rows(7) == slice(0, 7)
    assert ALONE.each(lambda: 1) == [1] and ALONE.lead(lambda: 2) == 2
    assert ALONE.spread([1, 2], list) == [1, 2] and ALONE.any(lambda: True)
    with pytest.raises(ZeroDivisionError), ALONE.agreeing():
        raise ZeroDivisionError


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 5, 12])
def test_shares_are_the_whole_in_order(count, size):
    shares = [range(count)[World(rank, size).rows(count)] for rank in range(size)]
    assert [i for share in shares for i in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_ranks_of_one_machine_share_its_cores():
    """Whether they were all given the same cores or each its own; another machine's do not count."""
    here, there = frozenset(range(8)), frozenset(range(64))

    def cores(own: list[frozenset[int]]) -> int:
        places = [Place("a", "a 1", 1, mine) for mine in own] + [Place("b", "b 1", 1, there)]
        peers = Peers(0, places, {})
        assert peers.here == list(range(len(own))) and peers.speaks
        return World(0, len(places), peers).cores

    assert cores([here] * 2) == 4 and cores([here] * 3) == 2 and cores([here] * 9) == 1
    assert cores([frozenset({0, 1, 2}), frozenset({3, 4, 5})]) == 3


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ([{0, 1}, {0, 1}], [{0}, {1}]),
        ([{1, 3, 5}, {1, 3, 5}], [{1}, {3, 5}]),
        ([set(range(8))] * 3, [{0, 1}, {2, 3, 4}, {5, 6, 7}]),
        ([{0, 1}] * 3, [{0, 1}] * 3),  # more ranks than cores: the kernel deals them out
        ([{0, 1}, {2, 3}], [{0, 1}, {2, 3}]),  # whoever started them has done so
        ([{0, 1}, {1, 2}], [{0, 1}, {1, 2}]),
    ],
)
def test_each_rank_keeps_to_its_cores(given, own):
    places = [Place("a", "a 1", 1, frozenset(cores)) for cores in given]
    places.insert(1, Place("b", "b 1", 1, frozenset({0, 1})))  # between them, one on another machine
    found = [Peers(rank, places, {}).own_cores for rank in range(len(places))]
    assert found == [own[0], {0, 1}, *own[1:]]


def fail(world: World, folder: Path, how: str) -> None:
    if how == "in a meeting" and world.rank == 1:
        world.each(lambda: 1 / 0)
    elif how == "in a block":
        with world.agreeing():
            world.each(lambda: None)
            if world.rank == 1:
                raise TrainingError("lower the learning rate")
    elif how == "both":
        world.each(lambda: _fail(f"of {world.rank}"))
    elif how == "alone" and world.rank == 1:
        raise TrainingError("the disk is full")
    elif how == "alike":
        raise TrainingError("the weights did not move")
    elif how == "interrupted" and world.rank == 1:
        raise KeyboardInterrupt
    else:
        world.each(lambda: None)
    time.sleep(60)


def _fail(text: str) -> None:
    raise TrainingError(text)


@pytest.mark.parametrize(
    ("how", "first", "second"),
    [
        ("in a meeting", "rank 1: ZeroDivisionError: division by zero", None),
        ("in a block", "rank 1: lower the learning rate", "unsaid: lower the learning rate"),
        ("both", "of 0", "unsaid: rank 0: of 0"),
        ("alike", "the weights did not move", "unsaid: the weights did not move"),
        ("alone", "rank 1 (process", "the disk is full"),
        ("interrupted", "): interrupted", None),
    ],
)
def test_an_error_of_one_is_raised_on_all(tmp_path, how, first, second):
    """Nobody waits for a rank that has failed; what both know is said by the first."""
    statuses = ranks(2, tmp_path, fail, how)
    assert first in said(tmp_path, 0) and "unsaid" not in said(tmp_path, 0) and statuses[0] == 2
    if second is None:  # a defect keeps its traceback, and Ctrl-C is the command's to tell
        assert statuses[1] == 1
    else:
        assert said(tmp_path, 1).strip() == second and statuses[1] == 2
    if how == "alone":
        assert "the disk is full" in said(tmp_path, 0)


def test_a_rank_that_does_not_come_is_named(tmp_path):
    assert ranks(2, tmp_path, _stay_away) == [2, 2]
    for rank in (0, 1):
        assert "rank 1 did not come within 1 s, and the others wait for it" in said(tmp_path, rank)


def _stay_away(world: World, folder: Path) -> None:
    world.patience = 1.0
    if world.rank == 1:
        time.sleep(3)
    world.each(lambda: None)


SETTINGS = {
    "iterations": 4,
    "eval_every": 2,
    "scale_rewards": True,
    "kl_horizon": 100,
    "critic_epochs": 1,
}


def straight_and_broken(world: World, folder: Path, sft: Path) -> None:
    """The same run twice, once interrupted and resumed; and half of it for another to go on with."""
    config = toy_config(**SETTINGS)
    for name, interrupt in (("straight", -1), ("broken", 2), ("half", 2)):
        scorer = ToyScorer(sometimes_faulty, world=world, interrupt=interrupt)
        try:
            run(folder / name, sft, config, scorer, evaluator=by_weights, world=world)
        except KeyboardInterrupt:
            assert interrupt >= 0
    scorer = ToyScorer(sometimes_faulty, world=world)
    run(folder / "broken", sft, config, scorer, evaluator=by_weights, world=world, resume=True)


@pytest.mark.slow
def test_resumed_is_exact_and_another_number_goes_on(tmp_path, letters_sft):
    """To the byte at the same number of processes; within rounding on one, and from one to two."""
    assert ranks(2, tmp_path, straight_and_broken, letters_sft) == [0, 0]
    for name in ("metrics.jsonl", "samples.jsonl", "tokens.jsonl"):
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
    weights = [load_tensors(tmp_path / name / LAST / "state.safetensors") for name in ("straight", "broken")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    config = toy_config(**SETTINGS)
    run(
        tmp_path / "half", letters_sft, config, ToyScorer(sometimes_faulty), evaluator=by_weights, resume=True
    )
    for kind in ("adapter_model", "value_head"):
        ours, theirs = (
            load_tensors(tmp_path / name / LAST / f"{kind}.safetensors") for name in ("half", "straight")
        )
        for key, weight in theirs.items():
            torch.testing.assert_close(ours[key], weight, rtol=0, atol=1e-5)


MOMENTS: dict[str, tuple[int, Any, str, int]] = {
    "rollout": (1, models.generation, "sample_tokens", 6),
    "score": (1, ToyScorer, "__call__", 1),
    "update": (1, torch.optim.AdamW, "step", 5),
    "save": (0, models.storage, "save_file", 6),
}
"""Which rank dies, at which call of what: in the second iteration."""


def train_until_killed(world: World, folder: Path, sft: Path, moment: str) -> None:
    lost, owner, name, countdown = MOMENTS[moment]
    if world.rank == lost:
        die_at(owner, name, countdown)
    run(folder / "run", sft, toy_config(), ToyScorer(world=world), world=world)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_rank_ends_the_run_within_a_minute(tmp_path, letters_sft, moment):
    """The other says which it was, the newest checkpoint is whole, and one process goes on from it."""
    start = time.monotonic()
    statuses = ranks(2, tmp_path, train_until_killed, letters_sft, moment)
    assert time.monotonic() - start < 60
    lost = MOMENTS[moment][0]
    assert statuses[lost] == -signal.SIGKILL and statuses[1 - lost] == 2
    assert f"rank {lost} (process" in said(tmp_path, 1 - lost) and "was lost" in said(tmp_path, 1 - lost)
    open_checkpoint(tmp_path / "run")
    run(tmp_path / "run", letters_sft, toy_config(), ToyScorer(), resume=True)
    assert metrics_of(tmp_path / "run")[-1]["iteration"] == 4


def _work_on(world: World, folder: Path) -> None:
    world.each(lambda: None)
    if world.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(100)  # a long rollout: it meets nobody for now


@pytest.mark.slow
def test_a_rank_at_work_ends_too_when_another_is_killed(tmp_path):
    start = time.monotonic()
    assert ranks(2, tmp_path, _work_on) == [2, -signal.SIGKILL]
    assert time.monotonic() - start < 60
    assert "error: rank 1 (process" in said(tmp_path, 0) and said(tmp_path, 0).endswith("; go on\n")
