"""What the benchmark of too hard problems makes of samples and runs."""

import json
from pathlib import Path

import pytest

from benchmarks import hard_problems as bench
from data import load_problems
from data.tiny.corpus import TinyCorpusConfig, tiny_split
from data.tiny.slips import demonstrations
from reward import Outcome
from reward.outcome import Verdict


def verdict(*runs: tuple[str, bool, int, bool], signs: tuple[str, ...] = (), compiles: bool = True) -> dict:
    """Of runs that are (status, passed, bytes written, idle)."""
    verdicts = tuple(
        Verdict(status, passed, size, "0" * 64, idle=idle) for status, passed, size, idle in runs
    )
    scan = "ok" if compiles else "syntax"
    return Outcome(compiles, max(1, len(runs)), verdicts, scan, sentinels=signs).to_dict()


@pytest.mark.parametrize(
    "kind, made",
    [
        ("syntax error", verdict(compiles=False)),
        ("silent", verdict(("ok", False, 0, True), ("crash", False, 0, True))),  # no run did anything
        ("silent", verdict(("ok", False, 0, False), signs=("silent",))),
        ("constant", verdict(("ok", False, 2, False), signs=("constant_output", "ignores_input"))),
        ("constant", verdict(("ok", True, 2, False), ("ok", False, 2, False), signs=("constant_output",))),
        ("crash", verdict(("crash", False, 0, False))),
        ("quiet", verdict(("ok", False, 0, False))),
        ("wrong", verdict(("ok", False, 2, False), signs=("introspection",))),
        ("passes", verdict(("ok", True, 2, False), ("crash", False, 0, False))),
    ],
)
def test_every_program_is_of_one_kind(kind: str, made: dict) -> None:
    assert bench.kind_of(made) == kind


def test_a_run_holds_unless_it_moved_to_programs_that_do_nothing(tmp_path) -> None:
    """Half of the programs are constant at the start; at the end all of them, or fewer, or nothing moved."""
    constant = verdict(("ok", False, 2, False), signs=("constant_output",))
    wrong = verdict(("ok", False, 2, False))

    def made(late: list[dict], kl: float) -> dict:
        iterations = [[constant, wrong], late, late, late]
        rows = [
            {"iteration": number, "verdict": v, "score": 0.5, "program": "print(1)"}
            for number, verdicts in enumerate(iterations, 1)
            for v in [*verdicts, None]  # a fault is in no share
        ]
        metrics = [{}, *({"ppo/ref_kl": kl, "reward/mean": 0.5} for _ in iterations)]
        for name, lines in {"samples": rows, "metrics": metrics}.items():
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return bench.collapse(tmp_path)

    worse = made([constant, constant], kl=1.0)
    assert (worse["start"], worse["end"]["mean"], worse["holds"]) == (0.5, 1.0, False)
    assert worse["kinds_end"] == {"constant": {"share": 1.0, "reward": 0.5}}
    assert worse["commonest"] == {"program": "print(1)", "share": 1.0}
    assert made([constant, wrong], kl=1.0)["holds"] is True
    assert made([constant, constant], kl=0.1)["holds"] is None
    runs = [{"seed": 1, "arm": "paper", **worse}]
    assert "| paper | 50.0 | 100.0 | 1.00 | 0, 0, 0, 0 | -, 0.50, 0.50 | 100.0 | no |" in bench.table(runs)


def test_all_p_is_paired_by_problem_over_the_seeds() -> None:
    """Of two problems with two samples each: one sample more passes, of four."""
    runs = [
        {"seed": seed, "arm": arm, "all_pass": {"mean": mean}, "solved": solved, "samples": 2}
        for seed in (1, 2)
        for arm, mean, solved in (("parses", 0.5, "11"), ("paper", 0.75, "21"))
    ]
    assert "| paper | 75.0, 75.0 | 75.0 | +25.0 [+0.0 to +50.0] |" in bench.easy_table(runs)


@pytest.mark.parametrize("easy", [False, True])
@pytest.mark.parametrize("sft", [False, True])
def test_the_arms_of_a_seed_start_from_one_model(sft: bool, easy: bool) -> None:
    given = ["--arms", "paper", "earned, unpaid", "--out", "runs/x", "--model", "some"]
    given += ["--easy"] if easy else ["--problems", "tiny/rl"]
    given += [] if sft else ["--no-sft"]
    steps = {step.name: step for step in bench.steps_of(3, bench.parsed(given))}
    arms = {"seed 3, paper": "paper", "seed 3, earned, unpaid": "earned-unpaid"}
    wanted = [*(["seed 3, SFT"] if sft else [])]
    for name, folder in arms.items():
        wanted += [name, *([f"{name}, evaluate"] if easy else [])]
        run, started = steps[name], steps[name].fresh
        assert run.needs == (("seed 3, SFT",) if sft else ())
        assert started[started.index("--sft") + 1] == ("runs/x/seed-3/sft" if sft else "some")
        assert ("--problems" in started) != easy and "--objective.security-gate" in started
        folder += "-easy" if easy else ""
        assert run.run == Path("runs/x/seed-3", folder)
        if easy:
            last = steps[f"{name}, evaluate"]
            assert last.needs == (name,) and last.fresh[1].endswith(f"{folder}/checkpoints/iteration-000040")
            assert last.marker == Path(f"runs/x/seed-3/{folder}.json")
    assert list(steps) == wanted


def test_an_honest_start_goes_on_from_sft_on_programs_of_easy_problems(tmp_path) -> None:
    given = bench.parsed(
        ["--problems", "tiny/heldout", "--honest", "--arms", "paper", "--out", str(tmp_path)]
    )
    bench.write_answered(given)
    sft, honest, arm = bench.steps_of(1, given)
    assert arm.run == tmp_path / "seed-1" / "paper-honest"
    assert honest.needs == (sft.name,) and arm.needs == (honest.name,)
    assert honest.fresh[honest.fresh.index("--model") + 1] == str(sft.run)
    assert arm.fresh[arm.fresh.index("--sft") + 1] == str(honest.run) != str(sft.run)
    answered = load_problems(honest.fresh[honest.fresh.index("--problems") + 1])
    asked = {problem.id: problem for problem in tiny_split("heldout")}
    assert len(answered) == bench.COPIES * len(asked)
    programs = {program for _, program in demonstrations(tiny_split("sft"), TinyCorpusConfig())}
    for problem in answered:
        assert problem.prompt == asked[problem.id.rpartition("-")[0]].prompt
        assert programs.issuperset(problem.solutions) and len(problem.solutions) == 1


def test_an_honest_start_is_for_hard_problems_and_the_embedded_model(capsys) -> None:
    with pytest.raises(SystemExit):
        bench.parsed(["--easy", "--honest"])
    assert "--honest is for the embedded model" in capsys.readouterr().err
