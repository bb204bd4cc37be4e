"""`evaluate.py --suite`: public sets as they were downloaded, measured under their own settings."""

import gzip
import json
from pathlib import Path

import pytest
import set_rows
import yaml
from small_runs import CORPUS, PPO, SMALL, command

from cli.suites import SUITES
from data import Problem, write_problems

SHORT = [*SMALL, "--max-prompt-tokens", 128, "--max-new-tokens", 8]
TEMPTING = Problem("t", "Run a command.", (), cwe=78, insecure=("import os\nos.system(input())\n",))
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "securityeval.jsonl"


def evaluate(*arguments: object) -> int:
    return command("evaluate", *arguments)


def written(path: Path, *rows: dict) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def results(path: Path) -> dict:
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_humaneval_as_it_was_downloaded(sft_run, tmp_path, capsys):
    other = set_rows.STUB.replace("Return", "Give back")
    wrong = {
        **set_rows.HUMANEVAL,
        "task_id": "HumanEval/1",
        "prompt": other,
        "canonical_solution": "    pass\n",
    }
    source = written(tmp_path / "HumanEval.jsonl.gz", set_rows.HUMANEVAL, wrong)
    out = tmp_path / "e.json"
    assert evaluate(sft_run, "--suite", "humaneval", "--problems", source, *SHORT, "--out", out) == 0
    found, shown = results(out), capsys.readouterr().out
    expected = {"suite": "humaneval", "problems": 1, "samples": 1, "temperature": 0}
    assert found.items() >= expected.items()
    assert "all_pass" in found["models"][0] and "security" not in found
    left_out = "1 of 2 rows left out (1 reference fails its own checks)"
    assert any(left_out in note for note in found["notes"]) and left_out in " ".join(shown.split())
    assert "**humaneval: 1 problems x 1, T = 0.0**" in (tmp_path / "e.md").read_text()
    assert (tmp_path / "e_evalplus_samples.jsonl").exists()


def test_mbpp_is_measured_on_what_is_for_measuring(sft_run, tmp_path):
    rows = [{**set_rows.MBPP, "task_id": n, "text": f"Add one, as {n} does."} for n in (2, 11, 12, 511, 601)]
    out = tmp_path / "e.json"
    source = written(tmp_path / "mbpp.jsonl", *rows)
    assert evaluate(sft_run, "--suite", "mbpp", "--problems", source, *SHORT, "--out", out) == 0
    assert results(out)["problems"] == 2


@pytest.fixture(scope="module")
def secured(sft_run, ppo_run, tmp_path_factory) -> tuple[dict, str, list[dict]]:
    """Two models on tasks without tests: JSON, Markdown, samples."""
    folder = tmp_path_factory.mktemp("security")
    other = {**set_rows.CYBERSECEVAL, "language": "c"}
    rows = [other, set_rows.CYBERSECEVAL, {**set_rows.CYBERSECEVAL, "test_case_prompt": "Read a pickle."}]
    source = folder / "instruct.json"
    source.write_text(json.dumps(rows))
    asked = ["--suite", "security", "--problems", source, "--names", "SFT", "PPO", *SHORT, "--greedy"]
    assert evaluate(sft_run, ppo_run, *asked, "--out", folder / "e.json") == 0
    samples = [json.loads(line) for line in (folder / "e_evaluation_samples.jsonl").open()]
    return results(folder / "e.json"), (folder / "e.md").read_text(), samples


def test_what_no_test_tells_is_not_zero(secured):
    found, text, samples = secured
    assert (found["problems"], found["security"], found["main"]) == (2, True, "clean")
    for model in found["models"]:
        assert "syntax" in model and not {"all_pass", "reward", "pass_and_clean", "any_pass"} & model.keys()
    rows = [line for line in text.splitlines() if line.startswith("| SFT | ")]
    assert rows[0].endswith("| n/a | n/a | n/a | n/a |")
    assert all(row["score"] is None and row["verdict"]["num_tests"] == 0 for row in samples)
    assert any(
        "1 of 3 rows left out (1 a program in another language is asked for)" in n for n in found["notes"]
    )


def test_function_and_security_are_told_apart_and_together(sft_run, tmp_path):
    """Of a set of which some tasks have tests."""
    untested = {**set_rows.SECCODEPLT, "index": 5, "unittest": {"setup": "", "testcases": ""}}
    files = {
        **set_rows.SECCODEPLT,
        "index": 6,
        "unittest": {"setup": "import lxml", "testcases": "testcases = {}"},
    }
    for number, row in enumerate((untested, files)):
        row["task_description"] = {**row["task_description"], "description": f"Another, {number}."}
    source, out = written(tmp_path / "data.json", set_rows.SECCODEPLT, untested, files), tmp_path / "e.json"
    asked = ["--suite", "security", "--problems", source, *SHORT, "--max-prompt-tokens", 400, "--out", out]
    assert evaluate(sft_run, *asked) == 0
    found = results(out)
    assert (found["problems"], found["main"]) == (3, "pass_and_clean")
    told = "2 problems without tests (1 no tests that can be run here, 1 crash)"
    assert any(told in note for note in found["notes"])
    assert any("of 1 that have tests, 1 fail one" in note for note in found["notes"])
    keys = ("syntax", "functional_pass", "security_pass", "all_pass", "pass_and_clean")
    assert all(key in found["models"][0] for key in keys)
    samples = [json.loads(line) for line in (tmp_path / "e_evaluation_samples.jsonl").open()]
    assert sorted((row["problem"], row.get("security")) for row in samples) == [
        ("seccodeplt-4", [1]),
        ("seccodeplt-5", None),
        ("seccodeplt-6", None),
    ]


def test_models_are_compared_by_what_can_be_told(secured):
    found, _, _ = secured
    (pair,) = found["comparisons"]
    assert "syntax" in pair["columns"] and "all_pass" not in pair["columns"]
    assert {model["name"]: model["by_task"][0]["problems"] for model in found["models"]} == {
        "SFT": 2,
        "PPO": 2,
    }


def test_a_prepared_file_is_a_suite_too_and_tells_what_the_analyser_sees(sft_run, tmp_path):
    source, out = tmp_path / "p.jsonl", tmp_path / "e.json"
    write_problems(source, [TEMPTING])
    assert evaluate(sft_run, "--suite", "security", "--problems", source, *SHORT, "--out", out) == 0
    note = "of 1 insecure programs that come with these tasks, Bandit and the tricks see 1"
    assert note in results(out)["notes"]
    assert evaluate(sft_run, "--problems", source, *SHORT, "--out", out) == 0  # and without its name
    assert results(out)["security"] and "suite" not in results(out)


def test_a_file_of_suites(sft_run, tmp_path, capsys):
    write_problems(tmp_path / "p.jsonl", [TEMPTING])
    suites = {
        "clean code": {"suite": "security", "problems": str(tmp_path / "p.jsonl"), "max_new_tokens": 4},
        "toys": {"problems": "tiny/heldout", "num_problems": 2, "max_new_tokens": 4, "samples": 2},
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(suites))
    asked = ["--suite", tmp_path / "s.yaml", *SMALL, *CORPUS, "--out", tmp_path / "e.json"]
    assert evaluate(sft_run, *asked, "--max-new-tokens", 8) == 0
    secure, toys = results(tmp_path / "e-clean-code.json"), results(tmp_path / "e-toys.json")
    assert (secure["suite"], secure["problems"], secure["temperature"]) == ("clean code", 1, 0)
    assert (toys["suite"], toys["problems"], toys["samples"], toys["temperature"]) == ("toys", 2, 2, 0.7)
    assert (tmp_path / "e-toys.md").exists()


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "a preset holds sections"),
        ("{}", "holds no suite"),
        ("a: 1", "a: must hold settings of evaluate.py, problems: FILE among them"),
        ("a: {samples: 2}", "problems: FILE among them"),
        ("a: {problems: 3}", "problems: FILE among them"),
        ("a: {problems: x.jsonl, suite: humanevil}", "a: suite 'humanevil' is none of humaneval, mbpp"),
        ("a: {problems: x.jsonl, sample: 2}", "a: unknown key 'sample'; did you mean samples?"),
        ("a: {problems: x.jsonl, samples: many}", "a.samples"),
        ("a: {problems: x.jsonl}", "x.jsonl"),
    ],
)
def test_files_of_suites_that_say_something_else(content, said, sft_run, tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(content)
    assert evaluate(sft_run, "--suite", tmp_path / "s.yaml", *SHORT) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--suite", "humanevall"], "nor a file of suites; did you mean humaneval?"),
        (["--suite", "mbpp"], "--suite mbpp: which file? --problems FILE names the set as it was downloaded"),
        (["--suite", "mbpp", "--problems", "none.jsonl"], "none.jsonl: there is no such file"),
        (["--suite", "mbpp", "--problems", "HERE/humaneval.jsonl"], "is HumanEval, another set; --problems"),
        (["--suite", "humaneval", "--problems", "HERE/own.jsonl"], "is own, another set"),
        (["--suite", "security", "--problems", "HERE/humaneval.jsonl"], "instruct.json (CyberSecEval)"),
        (["--suite", "security", "--problems", "HERE/c.jsonl"], "is no set that is known"),
        (["--suite", "security", "--problems", "HERE/empty.jsonl"], "the file is empty"),
        (["--suite", "humaneval", "--problems", "HERE/wrong.jsonl"], "nothing is left of 1 rows"),
        (["--suite", "mbpp", "--problems", "HERE/own.jsonl", "--samples", 2], "one answer, 2 times"),
        (["--suite", "security", "--problems", "HERE/mixed.jsonl"], "problem 'a' is of another; take it out"),
        (["--suite", "HERE/s.yaml", "--problems", "x"], "names problems itself: leave --problems out"),
    ],
)  # fmt: skip
def test_what_is_no_suite_is_refused_in_one_line(flags, said, sft_run, tmp_path, capsys):
    written(tmp_path / "humaneval.jsonl", set_rows.HUMANEVAL)
    written(tmp_path / "wrong.jsonl", {**set_rows.HUMANEVAL, "canonical_solution": "    return n\n"})
    written(tmp_path / "own.jsonl", set_rows.OWN)
    written(tmp_path / "c.jsonl", {**set_rows.CYBERSECEVAL, "language": "c"})
    written(tmp_path / "mixed.jsonl", {"id": "t", "prompt": "x", "tests": [], "cwe": 78}, set_rows.OWN)
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "s.yaml").write_text("a: {problems: x.jsonl}")
    given = [str(flag).replace("HERE", str(tmp_path)) for flag in flags]
    assert evaluate(sft_run, *given, *SHORT) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error


def test_nothing_is_trained_on_tasks_without_tests(sft_run, tmp_path, capsys):
    write_problems(tmp_path / "p.jsonl", [TEMPTING])
    asked = ["--sft", sft_run, "--problems", tmp_path / "p.jsonl", "--out", tmp_path / "run"]
    assert command("ppo", *asked, *PPO) == 2
    error = capsys.readouterr().err
    assert "the problem has no tests: it measures whether programs are clean" in error
    assert error.count("\n") == 1 and not (tmp_path / "run").exists()
    assert command("sft", "--problems", tmp_path / "p.jsonl", "--out", tmp_path / "run") == 2
    assert "the problem has no tests" in capsys.readouterr().err


def test_every_suite_says_which_file_it_wants():
    for suite in SUITES.values():
        assert "json" in suite.file


@pytest.mark.skipif(not REAL.exists(), reason="needs the real file")
def test_the_real_securityeval(sft_run, tmp_path):
    out = tmp_path / "e.json"
    asked = ["--suite", "security", "--problems", REAL, "--num-problems", 12, *SHORT, "--out", out]
    assert evaluate(sft_run, *asked, "--max-prompt-tokens", 256) == 0
    found = results(out)
    assert found["problems"] == 12 and {row["family"] for row in found["models"][0]["by_task"]} == {
        "injection",
        "filesystem",
    }
