"""Reading run folders: what is accepted, what is left out, and what an error says."""

import json
import math

import pytest
from report_inputs import metrics_row, sample_row, write_evaluation, write_lines, write_run

from cli.sample_files import beside
from report.read import ReportError, Run, read_evaluation, read_evaluations, read_runs


def run_of(**rows) -> Run:
    return Run("run", rows.get("metrics", []), rows.get("timing", []))


def all_pass(*values: float) -> Run:
    return run_of(metrics=[{"iteration": i, "validation/all_pass": v} for i, v in enumerate(values)])


def test_a_run_is_what_its_logs_say(tmp_path):
    (run,) = read_runs([write_run(tmp_path / "run", iterations=8)])
    assert run.name == "run"
    assert run.metrics == [metrics_row(i, 8) for i in range(9)]
    assert run.series("validation/reward") == [(i, 0.4 + 0.3 * i / 8) for i in (0, 4, 8)]
    assert run.series("seconds/validate") == [(0, 3.0), (4, 3.0), (8, 3.0)]
    read = list(run.samples.read({8: range(16), 3: [5]}))
    assert read == [*((8, k, sample_row(8, k)) for k in range(16)), (3, 5, sample_row(3, 5))]
    assert run.notes == []


def test_the_start_can_be_best():
    assert all_pass(0.5, 0.1, 0.2).best == 0


def test_best_is_the_first_of_equals_and_never_nan():
    assert all_pass(0.1, 0.3, 0.3).best == 1
    assert all_pass(math.nan, 0.1, math.nan).best == 1
    assert all_pass(math.nan).best is None
    assert run_of(metrics=[{"iteration": 1}]).best is None


@pytest.mark.parametrize("missing", ["timing.jsonl", "samples.jsonl", "config.yaml"])
def test_only_metrics_are_needed(tmp_path, missing):
    folder = write_run(tmp_path / "run", iterations=2)
    (folder / missing).unlink()
    (run,) = read_runs([folder])
    assert len(run.metrics) == 3


def test_a_run_that_has_only_started_is_readable(tmp_path):
    folder = write_run(tmp_path / "run", iterations=2)
    write_lines(folder / "metrics.jsonl", [metrics_row(0, 2)])
    (folder / "samples.jsonl").write_text("")
    (run,) = read_runs([folder])
    assert (run.best, len(run.samples)) == (0, 0)


def test_half_a_line_at_the_end_is_left_out_and_told(tmp_path):
    folder = write_run(tmp_path / "run", iterations=2)
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"iteration": 3, "rew')
    (run,) = read_runs([folder])
    assert run.metrics[-1]["iteration"] == 2
    assert run.notes == ["metrics.jsonl: line 4 is unfinished and left out"]


def test_a_whole_last_line_needs_no_line_feed(tmp_path):
    folder = write_run(tmp_path / "run", iterations=2)
    log = folder / "metrics.jsonl"
    log.write_text(log.read_text().rstrip("\n"))
    (run,) = read_runs([folder])
    assert (run.metrics[-1]["iteration"], run.notes) == (2, [])


@pytest.mark.parametrize(
    ("log", "line", "message"),
    [
        ("metrics.jsonl", "{broken", ":4: not JSON: Expecting property name"),
        ("metrics.jsonl", "[" * 100_000, ":4: not JSON: "),
        ("metrics.jsonl", "\udcff", ":4: not JSON: "),
        ("metrics.jsonl", "", ":4: not JSON: "),
        ("metrics.jsonl", "[1]", ":4: not a log row: it has no iteration number"),
        ("metrics.jsonl", '{"reward/mean": 1}', ":4: not a log row: it has no iteration number"),
        ("metrics.jsonl", '{"iteration": true}', ":4: not a log row: it has no iteration number"),
        ("metrics.jsonl", '{"iteration": -1}', ":4: not a log row: it has no iteration number"),
        ("metrics.jsonl", '{"iteration": 2}', ":4: iteration 2 follows iteration 2"),
        ("metrics.jsonl", '{"iteration": 3, "reward/mean": "0.5"}', ":4: reward/mean is not a number"),
        ("timing.jsonl", '{"iteration": 3, "seconds/score": null}', ":4: seconds/score is not a number"),
        ("timing.jsonl", f'{{"iteration": 3, "seconds/score": 1{"0" * 400}}}', ":4: seconds/score is not"),
        (
            "metrics.jsonl",
            '{"step": 3}',
            ":4: not a log row: it has no iteration number; a run of train.py sft",
        ),
        ("samples.jsonl", '{"program": ""}', ":33: not a log row: it has no iteration number"),
        ("samples.jsonl", '{"iteration": 3}', ":33: a sample needs its program as a string"),
        ("samples.jsonl", '{"iteration": 3, "program": 7}', ":33: a sample needs its program as a string"),
        ("samples.jsonl", '{"iteration": 3, "program": "", "score": "1"}', ":33: score must be a number"),
        ("samples.jsonl", '{"iteration": 3, "program": "", "verdict": []}', ":33: verdict must be an object"),
    ],
)
def test_a_malformed_line_is_told_with_file_and_line(tmp_path, log, line, message):
    folder = write_run(tmp_path / "run", iterations=2)
    with (folder / log).open("ab") as file:
        file.write(line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(ReportError) as error:
        read_runs([folder])
    assert str(error.value).startswith(f"{folder / log}{message}")
    assert "\n" not in str(error.value)


def test_an_empty_log_and_a_missing_one_are_told(tmp_path):
    folder = write_run(tmp_path / "run", iterations=2)
    (folder / "metrics.jsonl").write_text("")
    with pytest.raises(ReportError, match=r"metrics\.jsonl: empty"):
        read_runs([folder])
    with pytest.raises(ReportError, match=r"no metrics\.jsonl there; is it .*run\?$"):
        read_runs([tmp_path])


def test_names_are_as_short_as_they_can_be(tmp_path):
    def names(*folders: str) -> list[str]:
        return [run.name for run in read_runs([tmp_path / folder for folder in folders])]

    for folder in ("a/ppo", "b/ppo", "b/sparse"):
        write_run(tmp_path / folder, iterations=1, samples=1)
    assert names("a/ppo") == ["ppo"]
    assert names("a/ppo", "b/sparse") == ["ppo", "sparse"]
    assert names("a/ppo", "b/ppo") == ["a/ppo", "b/ppo"]
    with pytest.raises(ReportError, match="the same run is named twice"):
        names("a/ppo", "a/ppo")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{\n"models": [', ":2: not JSON: "),
        ("[]", ": not an evaluation: it has no list of models"),
        ('{"models": []}', ": not an evaluation: it has no list of models"),
        ('{"models": [{}]}', ": models[0]: a model needs a name"),
        ('{"models": [{"name": "x", "syntax": {"mean": "1"}}]}', ": models[0].syntax: every value must be"),
        (
            '{"models": [{"name": "x", "syntax": {"mean": 1}}]}',
            ": models[0].syntax: an interval needs mean, low",
        ),
    ],
)
def test_a_malformed_evaluation_is_told(tmp_path, content, message):
    path = tmp_path / "evaluation.json"
    path.write_text(content)
    with pytest.raises(ReportError) as error:
        read_evaluation(path)
    assert str(error.value).startswith(f"{path}{message}")


def test_a_missing_evaluation_is_told(tmp_path):
    with pytest.raises(ReportError, match=r"evaluation\.json: no such file"):
        read_evaluation(tmp_path / "evaluation.json")


def test_an_evaluation_is_read_as_it_is(tmp_path):
    path = write_evaluation(tmp_path / "evaluation.json")
    assert read_evaluation(path) == json.loads(path.read_text())


def test_what_a_later_evaluation_says_besides_is_no_error(tmp_path):
    """Only what is drawn is looked at: parts without a mean may hold what they like."""
    model = {"name": "x", "taxonomy": {"NameError": {"share": 0.1}}, "pass_at": {"1": [0.5]}, "note": None}
    path = write_evaluation(tmp_path / "evaluation.json", models=[model])
    assert read_evaluation(path)["models"] == [model]


@pytest.mark.parametrize("name", ["evaluation", "before"])
def test_samples_of_an_evaluation_are_those_beside_it(tmp_path, name):
    path = write_evaluation(tmp_path / f"{name}.json")
    rows = [{"model": "SFT", **sample_row(1, 0)}, {"model": "PPO", **sample_row(1, 1)}]
    write_lines(beside(path, "evaluation_samples.jsonl"), rows)
    (read,) = read_evaluations([path])
    assert [row for *_, row in read.samples.read({"SFT": [0], "PPO": [0]})] == rows


def test_a_sample_of_an_evaluation_names_its_model(tmp_path):
    path = write_evaluation(tmp_path / "evaluation.json")
    write_lines(tmp_path / "evaluation_samples.jsonl", [sample_row(1, 0)])
    with pytest.raises(ReportError, match=r"evaluation_samples\.jsonl:1: .* needs the name of its model"):
        read_evaluations([path])
