"""`train.py study`: small runs under several rewards and seeds, compared; what it refuses; how it goes on."""

import json
import os
import re
import shutil
import signal
from itertools import product
from pathlib import Path

import pytest
import torch
import yaml
from processes import start, wait_for
from small_runs import command

from cli.errors import UsageError
from cli.sample_files import beside
from cli.sample_numbers import kept_numbers
from cli.study import command as study
from cli.study import results
from cli.study.arms import ARMS, GROUPS, arm_of, chosen, flags, needed, pairs, phases_in_all, swept
from cli.study.figure import SWEPT, draw_sweep
from cli.study.steps import Step
from evaluation.summary import model_summary
from reward import RewardConfig

CORPUS = {"sft": 64, "rl": 8, "validation": 4, "heldout": 6}
COMMON = {"prompt": "study", "threads": 1, "device": "cpu", "max_prompt_tokens": 64, "corpus": CORPUS}
SAMPLED = {"max_new_tokens": 16, "limits": {"cpu_seconds": 0.5}}
PRESET = {
    "sft": {
        **COMMON,
        **{"epochs": 3.0, "batch_size": 16, "learning_rate": 0.01, "tune": "full", "validation": None},
        "tiny": {"hidden_size": 16, "layers": 1, "heads": 2, "feed_forward": 16},
    },
    "ppo": {
        **COMMON,
        **SAMPLED,
        **{"iterations": 2, "prompts_per_iteration": 4, "minibatch_size": 4, "epochs": 1},
    },
    "evaluate": {**COMMON, **SAMPLED, "samples": 2},
}


def in_process(steps, jobs=1, *, times, logs=None, say=print, fail=""):
    """The steps here, one after the other: a process of its own would import torch for each."""
    failed = {}
    for step in steps:
        if fail and fail in step.name:
            failed[step.name] = "told to fail"
        elif not step.done and not failed.keys() & set(step.needs):
            _, script, first, *rest = step.command()
            name, given = ("evaluate", [first, *rest]) if script.endswith("evaluate.py") else (first, rest)
            assert command(name, *given) == 0
    return failed


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("study") / "preset.yaml"
    path.write_text(yaml.safe_dump(PRESET))
    return path


@pytest.fixture(scope="module")
def done(preset) -> Path:
    """A study of two seeds and two arms; only added to."""
    out = preset.parent / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cli.ppo.write_report", lambda path, runs: path.write_text("not drawn\n"))
        patch.setattr(study, "run_steps", in_process)
        assert run(preset, out) == 0
    return out


def run(preset, out, *more, arms=("fresh", "continue"), seeds=(1, 2)) -> int:
    return command("study", "--config", preset, "--out", out, "--arms", *arms, "--seeds", *seeds, *more)


def test_every_model_of_every_seed_is_measured_on_the_same_problems(done):
    results = json.loads((done / "study.json").read_text())
    assert [model["name"] for model in results["models"]] == ["SFT", "PPO-fresh", "PPO-continue"]
    assert all(list(model["by_seed"]) == ["1", "2"] for model in results["models"])
    assert results["programs"] == {"SFT": 0, "PPO-fresh": 8, "PPO-continue": 16}
    rows = {path: [json.loads(line) for line in path.open()] for path in done.glob("seed-*/*_samples.jsonl")}
    assert len(rows) == 6
    assert len({tuple(row["problem"] for row in found) for found in rows.values()}) == 1
    seeds = {json.loads(path.read_text())["seed"] for path in done.glob("seed-*/*.json")}
    assert seeds == {1}


def test_samples_that_were_kept_give_the_numbers_of_the_evaluation(done):
    """Judged again under the same objective, to the last digit."""
    for path in done.glob("seed-*/*.json"):
        (model,) = json.loads(path.read_text())["models"]
        kept, problems = kept_numbers(model["name"], beside(path, "evaluation_samples.jsonl"), RewardConfig())
        found = json.loads(json.dumps(model_summary(kept, seed=1)))
        beside_them = ("name", "checkpoint", "weaknesses")
        assert found == {key: value for key, value in model.items() if key not in beside_them}
        assert len(problems) == CORPUS["heldout"]


def test_samples_that_were_cut_off_are_one_line(done, tmp_path):
    whole = (done / "seed-1" / "fresh_evaluation_samples.jsonl").read_bytes()
    for content in (
        b"",
        whole[:-20],
        whole.replace(b'"verdict"', b'"verdikt"'),
        whole[: whole.index(b"\n") + 1],
    ):
        path = tmp_path / "evaluation_samples.jsonl"
        path.write_bytes(content)
        if content.count(b"\n") == 1:  # one sample is whole
            assert kept_numbers("a", path, RewardConfig())[1] == ["tiny-heldout-0000"]
            continue
        with pytest.raises(
            UsageError, match="not the samples of an evaluation; remove it, and measure again"
        ):
            kept_numbers("a", path, RewardConfig())


def test_r_of_every_model_is_by_one_objective(done):
    """Also of those that were trained on another."""

    def kept(name, section):
        return yaml.safe_load((done / "presets" / f"{name}.yaml").read_text())[section]["objective"]

    assert kept("evaluate", "evaluate") == kept("ppo-fresh", "ppo") == kept("ppo-continue", "ppo")
    assert kept("ppo-fresh", "ppo")["mode"] == "partial"
    simple = kept("ppo-simple", "ppo")
    assert (simple["mode"], simple["security_gate"]) == ("binary", "passes")


def test_a_run_that_stands_at_its_start_is_named(done, tmp_path):
    """No later checkpoint was better: its numbers are those of what it began from."""
    notes = json.loads((done / "study.json").read_text())["notes"]
    for seed, (title, key) in product((1, 2), (("PPO-fresh", "fresh"), ("PPO-continue", "continue"))):
        best = (done / f"seed-{seed}" / key / "checkpoints" / "best").resolve()
        told = [note for note in notes if note.startswith(f"{title}, seed {seed}: measured as it began")]
        assert len(told) == (best.name == "iteration-000000")
    assert not any(note.startswith("SFT") for note in notes)
    assert not results._stands_at_its_start(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    best = tmp_path / "checkpoints" / "best"
    for number in (2, 0):
        (best.parent / f"iteration-00000{number}").mkdir()
        best.unlink(missing_ok=True)
        best.symlink_to(f"iteration-00000{number}")
        assert results._stands_at_its_start(tmp_path) == (number == 0)


def test_tables_and_sentences_name_each_pair(done):
    said = (done / "study.md").read_text()
    for a, b in pairs("SFT", chosen(["fresh", "continue"])):
        assert f"| {b} - {a} |" in said
    assert "**All-P % by training seed**" in said
    assert (done / "study.svg").read_text().startswith("<?xml")


def test_what_is_done_is_not_done_again_and_arms_can_be_added(done, preset, monkeypatch, capsys):
    """Those of a sweep have a figure, with PPO-fresh at its own weight."""
    before = {path: path.stat().st_mtime_ns for path in done.glob("seed-*/*.json")}
    for arm in ("alpha=0.8", "alpha=0.2"):  # as if they were trained: copies
        (done / "seed-1" / arm).mkdir()
        shutil.copy(done / "seed-1" / "fresh" / "report.html", done / "seed-1" / arm)
        for end in (".json", "_evaluation_samples.jsonl"):
            shutil.copy(done / "seed-1" / f"fresh{end}", done / "seed-1" / f"{arm}{end}")
    drawn = {}
    monkeypatch.setattr(study, "run_steps", in_process)
    monkeypatch.setattr("cli.study.results.draw_sweep", lambda path, models: drawn.update(models))
    assert run(preset, done, arms=["fresh", "alpha=0.8", "alpha=0.2"], seeds=[1]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    names = [(alpha, model["name"]) for alpha, model in drawn.items()]
    assert names == [(0.2, "alpha 0.2, beta 0.8"), (0.6, "PPO-fresh"), (0.8, "alpha 0.8, beta 0.2")]
    said = capsys.readouterr().out
    assert "- PPO-fresh and alpha 0.8, beta 0.2: every difference is 0" in said


def test_a_step_that_fails_leaves_the_others_and_ends_in_status_1(done, preset, monkeypatch, capsys):
    def broken(steps, jobs, **others):
        return in_process(steps, jobs, **others, fail="auto")

    monkeypatch.setattr(study, "run_steps", broken)
    with pytest.raises(SystemExit) as status:
        study.run_study(study.StudyCommand(config=preset, out=done, seeds=(1, 2), arms=("fresh", "auto")))
    assert status.value.code == 1
    said = capsys.readouterr().out
    assert "| PPO-fresh - SFT |" in said and "failed: seed 2, auto: told to fail" in said


@pytest.mark.parametrize(
    "more, told",
    [
        (["--arms", "fresh", "frsh"], "--arms frsh: no such arm; there are simple, fresh"),
        (["--arms", "fresh", "fresh"], "--arms: fresh is named twice"),
        (["--arms", "option"], "and the groups options and sweep"),
        (["--arms", "sweep", "options", "sweep"], "--arms: sweep is named twice"),
        (["--arms", "alpha=1.5"], "--arms alpha=1.5: give a weight in [0, 1]"),
        (["--seeds", "2", "1", "2"], "2 is named twice"),
        (["--seeds", "-1"], "seeds: name at least one, each between 0 and"),
        (["--seeds", str(2**64)], "seeds: name at least one, each between 0 and 18446744073709551615"),
        (["--jobs", "0"], "jobs"),
        (["--test", "missing.jsonl"], "missing.jsonl"),
        (["--problems", "missing.jsonl"], "missing.jsonl"),
        (["--validation", "missing.jsonl"], "missing.jsonl"),
        (["--model", "./missing"], "missing"),
        (["--config", "missing.yaml"], "missing.yaml: no such preset"),
        pytest.param(
            ["--device", "cuda"], "cuda", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU")
        ),
        (["--table-only"], "no model of this study is measured yet"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_written(
    preset, tmp_path, capsys, monkeypatch, more, told
):
    out = tmp_path / "out"
    monkeypatch.setattr(study, "run_steps", None)
    few = [] if "--arms" in more else ["--arms", "fresh"]
    assert command("study", "--config", preset, "--out", out, *few, *more) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and told in said
    assert not out.exists()


def test_a_setting_that_came_with_a_later_version_had_its_default(done, preset, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(done, out)
    for name, section, key in (
        ("sft", "sft", "patience"),
        ("ppo-fresh", "ppo", "clip_range"),
        ("evaluate", "evaluate", "greedy"),
    ):
        path = out / "presets" / f"{name}.yaml"
        values = yaml.safe_load(path.read_text())
        del values[section][key]
        path.write_text(yaml.safe_dump(values))
    assert run(preset, out, "--table-only") == 0


@pytest.mark.parametrize(
    "section, key, value",
    [("sft", "epochs", 4.0), ("ppo", "kl_coef", 0.9), ("evaluate", "samples", 3)],
)
def test_another_preset_in_the_same_folder_is_refused(done, tmp_path, capsys, section, key, value):
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({**PRESET, section: {**PRESET[section], key: value}}))
    assert run(other, done) == 2
    assert f"its study has {section}.{key} " in capsys.readouterr().err


def test_results_name_a_preset_by_its_place_in_the_project(tmp_path, monkeypatch):
    assert study._preset_name(study.PRESET) == "configs/tiny.yaml"
    assert study._preset_name(tmp_path / "my.yaml") == str(tmp_path / "my.yaml")
    monkeypatch.chdir(tmp_path)
    assert study._preset_name(Path("my.yaml")) == "my.yaml"


def test_flags_of_every_arm_are_taken(preset):
    plan = study._plan(study.StudyCommand(config=preset, arms=tuple(arm.key for arm in ARMS)), ARMS)
    assert set(plan.arms) == {arm.key for arm in ARMS}
    for arm in ARMS:
        assert plan.arms[arm.key].ppo.iterations == 2 * arm.phases, arm.key


def test_an_arm_brings_those_that_it_goes_on_from(preset):
    arm = arm_of("continue")
    plan = study._plan(study.StudyCommand(config=preset, arms=(arm.key,)), [arm])
    assert set(plan.arms) == {one.key for one in needed([arm])} > {arm.key}


def test_every_arm_is_measured_before_the_next_begins_and_none_twice():
    """So that a study that is stopped has whole arms to show. What one only starts from is not measured."""
    arms = chosen(["continue", "options", "sweep"])
    steps = study._steps(study.StudyCommand(seeds=(4,)), arms)
    names = [step.name.removeprefix("seed 4, ") for step in steps]
    assert names[:6] == ["SFT", "evaluate sft", "simple", "continue", "evaluate continue", "fresh"]
    assert len(set(names)) == len(names)
    for arm in arms:
        assert names.index(f"evaluate {arm.key}") == names.index(arm.key) + 1
    for number, step in enumerate(steps):
        assert set(step.needs) <= {earlier.name for earlier in steps[:number]}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_its_arms_against_fresh_and_fresh_against_sft(group):
    """One comparison for each arm: more would raise every p."""
    arms = chosen([group])
    assert [arm.key for arm in arms] == list(GROUPS[group]) and arms[0].key == "fresh"
    assert chosen(["fresh", group]) == arms
    others = [("PPO-fresh", arm.title) for arm in arms[1:]]
    assert pairs("SFT", arms) == [("SFT", "PPO-fresh"), *others]
    assert pairs("SFT", arms[1:]) == [("SFT", arm.title) for arm in arms[1:]]


def test_a_sweep_has_fresh_at_its_own_weight_unless_another_arm_has_it():
    assert list(swept(chosen(["sweep"]), 0.6)) == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert swept(chosen(["alpha=0.6", "fresh"]), 0.6) == {0.6: "alpha 0.6, beta 0.4"}
    assert swept(chosen(["alpha=0.7"]), 0.6) == {0.7: "alpha 0.7, beta 0.3"}
    assert swept(chosen(["options"]), 0.6) == {}


def test_the_figure_of_a_sweep_loads_nothing(tmp_path):
    model = {key: {"mean": 0.5, "low": 0.4, "high": 0.7} for key in SWEPT}
    draw_sweep(tmp_path / "sweep.svg", dict.fromkeys((0.2, 0.6, 1.0), model))
    text = (tmp_path / "sweep.svg").read_text()
    assert text.startswith("<?xml") and "<image" not in text
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', text))


def test_simple_is_binary_whatever_schedule_the_preset_has(tmp_path):
    path = tmp_path / "preset.yaml"
    for schedule in ({"kind": "auto"}, {"anneal_at": 5}, {"difficulty": 4.0}):
        path.write_text(yaml.safe_dump({**PRESET, "ppo": {**PRESET["ppo"], "schedule": schedule}}))
        plan = study._plan(study.StudyCommand(config=path), chosen(["simple", "fresh"]))
        assert not plan.arms["simple"].schedule.follows and plan.arms["fresh"].schedule.follows


def test_gates_by_name_withhold_nothing_whatever_the_preset_does(tmp_path):
    path, gates = tmp_path / "preset.yaml", ("simple", "off", "parses", "earned", "paper")
    objective = {"withhold": ["silent"], "security_gate": "earned"}
    path.write_text(yaml.safe_dump({**PRESET, "ppo": {**PRESET["ppo"], "objective": objective}}))
    keys = (*gates, "fresh", "continue")
    plan = study._plan(study.StudyCommand(config=path, arms=keys), chosen(keys))
    found = {key: (run.objective.security_gate, run.objective.withhold) for key, run in plan.arms.items()}
    assert found == {
        **{"simple": ("passes", ()), "off": ("off", ()), "paper": ("off", ())},
        **{"parses": ("parses", ()), "earned": ("earned", ())},
        **dict.fromkeys(("fresh", "continue"), ("earned", ("silent",))),
    }
    assert plan.evaluate.objective == plan.arms["fresh"].objective


def test_weights_of_the_sweep_add_up_to_one(preset):
    keys = tuple(f"alpha={alpha}" for alpha in ("0", "0.1", "0.3", "0.9", "1"))
    plan = study._plan(study.StudyCommand(config=preset, arms=keys), chosen(keys))
    for key in keys:
        objective = plan.arms[key].objective
        assert objective.alpha == float(key.partition("=")[2]) and objective.alpha + objective.beta == 1.0


def test_phases_add_up_and_half_is_half():
    assert [phases_in_all(arm_of(key)) for key in ("simple", "fresh-twice", "continue")] == [1, 2, 2]
    assert flags(arm_of("switch"), 40)[-3:] == ["20", "--iterations", "40"]
    assert [arm.key for arm in needed([arm_of("continue")])] == ["simple", "continue"]


def test_a_step_begins_and_then_goes_on(tmp_path):
    step = Step("a", tmp_path / "run" / "report.html", ("train.py", "ppo", "--epochs", "1"), tmp_path / "run")
    assert step.command()[2:] == ["ppo", "--epochs", "1"] and not step.done
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("")
    assert step.command()[2:] == ["ppo", "--resume", str(tmp_path / "run")]


@pytest.mark.slow
def test_a_study_that_is_stopped_goes_on_and_ends_as_one_that_was_not(done, preset, tmp_path):
    """In processes of their own. Every number of PPO is the one of a study that ran through."""
    out, log = tmp_path / "study", tmp_path / "log"
    begin = ["study", "--config", preset, "--out", out, "--arms", "fresh", "--seeds", 1]
    process = start(log, *begin)
    wait_for(process, log, "seed 1, fresh: begun")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 130 and "give the same command to go on" in log.read_text()
    assert (out / "seed-1" / "sft" / "sft.json").is_file()
    process = start(log, *begin, "--jobs", 2)
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert "study: 4 steps, 1 of them done" in log.read_text()
    for name in ("fresh/metrics.jsonl", "fresh_evaluation_samples.jsonl", "sft_evaluation_samples.jsonl"):
        assert (out / "seed-1" / name).read_bytes() == (done / "seed-1" / name).read_bytes()
