"""Warnings: each for its trouble, for no other, once, and the same after a resume."""

import json
import re
from pathlib import Path

import pytest
from loop_helpers import Quiet, ToyScorer, metrics_of, run, toy_config

from ppo.run.watch import _CHECKS, EARLY, RECENT, Watch

GOOD = {
    "reward/mean": 0.5,
    "reward/all_pass": 0.3,
    "rollout/program_length": 50.0,
    "rollout/ended": 0.9,
    "ppo/kl_coef": 0.05,
    "ppo/entropy": 1.0,
    "ppo/explained_var": 0.3,
    "ppo/update_norm": 0.1,
    "ppo/weight_norm": 10.0,
    "outcome/prints/share": 0.6,
    "outcome/prints/reward": 0.76,
    "outcome/passes/share": 0.4,
    "outcome/passes/reward": 1.0,
}
PILE = {"outcome/prints/share": 0.95, "outcome/passes/share": 0.05}
NO_PASSES = {"outcome/passes/share": 0.0}
TROUBLE = {
    "kl_off": ({"ppo/kl_coef": 0.0}, "nothing holds the policy near SFT"),
    "entropy_collapse": ({"ppo/entropy": 0.05}, "entropy fell from 1.00 to 0.050 nats"),
    "critic_blow_up": ({"ppo/explained_var": -3.0}, "far worse than a constant (explained variance -3.0)"),
    "pile_up": (PILE, "95% of the programs end up as 'prints', although 'passes' earns more"),
    "shorter_programs": (
        {"rollout/program_length": 20.0, "reward/mean": 0.64, "reward/all_pass": 0.1},
        "from 50 to 20 characters while R rose from 0.50 to 0.64; All-P from 30% to 10%",
    ),
    "cut_responses": ({"rollout/ended": 0.19}, "81% of the responses were cut at max_new_tokens"),
    "weights_still": ({"ppo/update_norm": 0.0}, "weights have not moved for 3 iterations"),
}


def history(watch: Watch, *rows: dict[str, float]) -> list[tuple[dict[str, float], list[str]]]:
    return [watch.observe(number, GOOD | row) for number, row in enumerate(rows, start=1)]


def warned(*rows: dict[str, float], **settings) -> list[str]:
    return [said for _, new in history(Watch(toy_config(**settings)), *rows) for said in new]


@pytest.mark.parametrize("name", TROUBLE)
def test_each_trouble_is_told_once_and_logged_while_it_lasts(name):
    """Nothing at first; then one sentence; it may come back after it was gone."""
    change, message = TROUBLE[name]
    ends = [{}] * EARLY, [change] * (RECENT + 2), [{}] * (RECENT + 2), [change] * (RECENT + 2)
    rows = [row for part in ends for row in part]
    found = history(Watch(toy_config(iterations=99)), *rows)
    said = [line for _, new in found for line in new]
    assert len(said) == 2 and all(message in line and line.startswith("warning: ") for line in said)
    logged = [flags for flags, _ in found]
    assert logged[EARLY + RECENT] == {f"warning/{name}": 1.0}
    assert logged[EARLY - 1] == logged[EARLY + 2 * RECENT + 3] == {}


def test_answers_that_do_not_end_are_told_of_in_the_first_iteration():
    (flags, said), *_ = history(Watch(toy_config()), {"rollout/ended": 0.0})
    assert flags == {"warning/cut_responses": 1.0} and len(said) == 1


FINE = {
    "a good run": {},
    "a third of the answers cut": {"rollout/ended": 0.67},
    "passing is the top of the ladder": {"outcome/passes/share": 0.99, "outcome/prints/share": 0.01},
    "shorter and R falls too": {"rollout/program_length": 20.0, "reward/mean": 0.3},
    "a little shorter": {"rollout/program_length": 45.0, "reward/mean": 0.9},
    "lower entropy": {"ppo/entropy": 0.3},
    "a critic that knows little": {"ppo/explained_var": -0.3},
    "small steps": {"ppo/update_norm": 1e-4},
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_no_trouble(name):
    assert warned(*[{}] * EARLY, *[FINE[name]] * (RECENT + 2)) == []


def test_a_group_that_was_not_there_at_first_can_pile_up():
    early = {"outcome/prints/share": 0.0}
    absent = {name: value for name, value in GOOD.items() if "prints" not in name}
    watch = Watch(toy_config())
    for number in range(1, EARLY + 1):
        watch.observe(number, absent | early)
    found = [watch.observe(EARLY + n, GOOD | PILE) for n in range(1, RECENT + 1)]
    assert found[-2] == ({}, []) and list(found[-1][0]) == ["warning/pile_up"]


def test_an_outcome_that_was_away_for_one_iteration_has_not_piled_up():
    """Its row does not name it: a share of 0, not of all."""
    rows = [GOOD | PILE] * RECENT
    rows[1] = {name: value for name, value in GOOD.items() if "prints" not in name}
    watch = Watch(toy_config())
    found = [watch.observe(n, row) for n, row in enumerate([GOOD] * EARLY + rows, 1)]
    assert not any(new for _, new in found)


def test_a_frozen_policy_and_an_absent_critic_are_meant_to_be_so():
    """During critic warm-up the weights stand still; without a critic there is none to blow up."""
    still = {"ppo/update_norm": 0.0}
    assert warned(*[still] * 6, critic_warmup=6, iterations=9) == []
    assert len(warned(*[still] * 9, critic_warmup=6, iterations=9)) == 1
    blown = {"ppo/explained_var": -3.0}
    settings = {"baseline": "prompt-mean"}
    assert warned(*[{}] * EARLY, *[blown] * 9, **settings) == []


def test_after_a_resume_nothing_is_told_twice():
    """The state goes through JSON as in a checkpoint, at every point of a run."""
    rows = [{}] * EARLY + [TROUBLE["entropy_collapse"][0]] * 7 + [{}] * 5
    straight = history(Watch(toy_config()), *rows)
    watch, found = Watch(toy_config()), []
    for number, row in enumerate(rows, start=1):
        state = json.loads(json.dumps(watch.state_dict()))
        watch = Watch(toy_config())
        watch.load_state_dict(state)
        found.append(watch.observe(number, GOOD | row))
    assert found == straight and any(new for _, new in found)


def test_a_run_tells_and_logs(tmp_path, letters_sft, monkeypatch):
    """Through the loop: the display hears it once, metrics.jsonl has it in every iteration that it holds."""
    said: list[str] = []
    monkeypatch.setattr(Quiet, "say", lambda self, text: said.append(text))
    config = toy_config(kl_coef=0.0)
    run(tmp_path, letters_sft, config, ToyScorer(lambda program: 0.5))
    flags = [{name for name in row if name.startswith("warning/")} for row in metrics_of(tmp_path)[1:]]
    off, still = "warning/kl_off", "warning/weights_still"
    assert flags == [{off}, {off}, {off, still}, {off, still}]
    assert len(said) == 2 and "KL penalty is off" in said[0] and "have not moved" in said[1]


def test_the_document_lists_every_warning():
    text = (Path(__file__).resolve().parents[3] / "docs" / "runs.md").read_text(encoding="utf-8")
    table = text[text.index("## Warnings") :]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.M) == list(_CHECKS) == list(TROUBLE)
