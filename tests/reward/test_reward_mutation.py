"""Bugs that rewards for programs have had, put into this one: the few tests that guard each must catch it."""

from pathlib import Path

import pytest
from mutation import Mutant, check_caught, copy_tree, run_tests
from sources import ROOT


def in_file(name: str, *tests: str) -> tuple[str, ...]:
    (path,) = (ROOT / "tests" / "reward").rglob(f"test_reward_{name}.py")
    return tuple(f"{path.relative_to(ROOT)}::test_{test}" for test in tests)


COMPARE, FUNCTIONAL = "reward/compare.py", "reward/functional.py"
OUTCOME, OBJECTIVE = "reward/outcome.py", "reward/objective.py"
SCORER, JOB, SCHEDULE = "reward/scorer.py", "reward/job.py", "reward/schedule.py"
DIFFICULTY = "reward/difficulty.py"

MUTANTS = [
    # --- comparing outputs
    Mutant(
        "zip truncates to the shorter output",
        COMPARE,
        "return lines(actual) == lines(expected)",
        "return all(a == b for a, b in zip(lines(actual), lines(expected)))",
        in_file("compare", "no_prefix_and_no_extra_line_passes"),
    ),
    Mutant(
        "a numeric prefix passes",
        COMPARE,
        "len(left) == len(right) and all(",
        "len(left) <= len(right) and all(",
        in_file("compare", "no_prefix_and_no_extra_line_passes", "table"),
    ),
    Mutant(
        "lines are compared as a set",
        COMPARE,
        "return lines(actual) == lines(expected)",
        "return set(lines(actual)) == set(lines(expected))",
        in_file("compare", "table"),
    ),
    Mutant(
        "outputs are decoded and what is unreadable replaced",
        COMPARE,
        "return actual == expected\n",
        'return actual.decode(errors="replace") == expected.decode(errors="replace")\n',
        in_file("compare", "table"),
    ),
    Mutant(
        "the whole output is stripped once",
        COMPARE,
        'output.split(b"\\n")',
        'output.strip().split(b"\\n")',
        in_file("compare", "table"),
    ),
    Mutant(
        "a line's trailing space counts",
        COMPARE,
        "[line.rstrip() for line in",
        "[line for line in",
        in_file("scorer", "every_way_of_being_right_earns_the_same"),
    ),
    Mutant(
        "the tolerance is relative to the expected output alone",
        COMPARE,
        "self.relative * max(abs(a), abs(b))",
        "self.relative * abs(b)",
        in_file("compare", "float_tolerance_is_symmetric_near_its_edge"),
    ),
    Mutant(
        "a name beside numbers is close to none, itself included",
        COMPARE,
        "a == b or self._number_close(a, b)",
        "self._number_close(a, b)",
        in_file("compare", "table"),
    ),
    Mutant(
        "one lenient attempt after the other",
        COMPARE,
        "return lines(actual) == lines(expected)",
        "return lines(actual) == lines(expected) or self._close(actual.split(), expected.split())",
        in_file("compare", "table"),
    ),
    # --- from runs to outcomes
    Mutant(
        "a right answer counts although the program crashed",
        OUTCOME,
        "return run.status is Status.OK and matches(run.stdout, expected)",
        "return matches(run.stdout, expected)",
        in_file("properties", "right_output_with_an_unclean_end_is_no_pass"),
    ),
    Mutant(
        "bonuses are independent: printing counts although the run crashed",
        OUTCOME,
        "clean = [verdict for verdict in self.verdicts if verdict.clean]",
        "clean = list(self.verdicts)",
        in_file("properties", "the_stage_is_that_of_the_best_run"),
    ),
    Mutant(
        "only the first test decides the stage",
        OUTCOME,
        "clean = [verdict for verdict in self.verdicts if verdict.clean]",
        "clean = [verdict for verdict in self.verdicts[:1] if verdict.clean]",
        in_file("properties", "the_order_of_the_tests_is_irrelevant"),
    ),
    Mutant(
        "a fault of the sandbox is a failure of the program",
        OUTCOME,
        "    if has_fault(report):\n        return None\n    num_tests",
        "    if has_fault(report):\n        return Outcome(False, len(expected), (), 'syntax')\n"
        "    num_tests",
        in_file("properties", "a_fault_is_no_outcome"),
    ),
    Mutant(
        "runs that are missing shrink the denominator",
        OUTCOME,
        "if len(report.runs) != num_tests:",
        "expected = expected[: len(report.runs)]\n    num_tests = len(expected)\n    if not num_tests:",
        in_file("properties", "a_missing_run_is_an_error_not_a_smaller_denominator"),
    ),
    Mutant(
        "what cannot be parsed by the analyser is clean",
        OUTCOME,
        '"unscannable" if scan.status == "syntax" else scan.status',
        '"ok" if scan.status == "syntax" else scan.status',
        in_file("properties", "what_compiles_and_was_not_scanned_is_never_secure"),
    ),
    # --- the ladder
    Mutant(
        "the denominator is the tests that ran cleanly",
        OBJECTIVE,
        "functional.partial(stage, passed, outcome.num_tests, config.stage_credits, fraction)",
        "functional.partial(\n        stage, passed, max(passed, sum(v.clean for v in outcome.verdicts), 1), "
        "config.stage_credits, fraction\n    )",
        in_file("properties", "the_denominator_is_the_tests_given"),
    ),
    Mutant(
        "stage credits add up",
        FUNCTIONAL,
        "return credits[stage]",
        "return sum(credits[: stage + 1])",
        in_file("properties", "a_higher_stage_never_earns_less", "rewards_are_bounded_and_add_up"),
    ),
    Mutant(
        "one test passed earns everything",
        FUNCTIONAL,
        "    if passed == num_tests:\n        return top\n",
        "    if passed:\n        return top\n",
        in_file("properties", "passing_everything_is_the_only_maximum_of_r_func"),
    ),
    Mutant(
        "k/T by a rounded share misses the maximum",
        FUNCTIONAL,
        "    if passed == num_tests:\n        return top\n"
        "    rise = (top - bottom) * passed / num_tests if fraction is None else (top - bottom) * fraction\n",
        "    rise = (top - bottom) * (passed * (1 / num_tests) if fraction is None else fraction)\n",
        in_file("table", "the_pass_fraction_of_everything_is_exactly_one"),
    ),
    Mutant(
        "the first passed test earns no more than printing",
        FUNCTIONAL,
        "(top - bottom) * passed / num_tests",
        "(top - bottom) * (passed - 1) / num_tests",
        in_file("properties", "a_wrong_answer_turned_right_raises"),
    ),
    Mutant(
        "binary rewards any test passed",
        FUNCTIONAL,
        "return 1.0 if passed == num_tests else 0.0",
        "return 1.0 if passed else 0.0",
        in_file("properties", "binary_is_one_exactly_where_partial_is_at_its_maximum"),
    ),
    Mutant(
        "configured credits are not read",
        OBJECTIVE,
        "outcome.num_tests, config.stage_credits, fraction)",
        "outcome.num_tests, fraction=fraction)",
        in_file("properties", "passing_everything_is_the_only_maximum_of_r_func"),
    ),
    # --- doing nothing
    Mutant(
        "the empty program earns the stage `runs`",
        OBJECTIVE,
        "return outcome.idle is True and not outcome.all_passed and not config.pay_idle",
        "return False",
        in_file("properties", "doing_nothing_earns_what_does_not_parse"),
    ),
    Mutant(
        "the empty program is secure",
        OBJECTIVE,
        "return not unpaid and (outcome.all_passed",
        "return (outcome.all_passed",
        in_file("properties", "doing_nothing_earns_what_does_not_parse"),
    ),
    Mutant(
        "the setting that pays it is not read",
        OBJECTIVE,
        "not outcome.all_passed and not config.pay_idle",
        "not outcome.all_passed",
        in_file("outcome", "what_is_not_known_is_paid"),
    ),
    Mutant(
        "one run that does nothing is enough",
        OUTCOME,
        "if not self.compiles or any(did_something):",
        "if not self.compiles or all(did_something):",
        in_file("properties", "reading_or_printing_in_one_run_is_doing_something"),
    ),
    Mutant(
        "a silent program that reads does nothing",
        OUTCOME,
        "idle=not said and (not run.read_input or (calls and run.status is Status.OK))",
        "idle=not said",
        in_file("properties", "reading_or_printing_in_one_run_is_doing_something"),
    ),
    Mutant(
        "what a killed program printed is nothing",
        OUTCOME,
        "idle=not said and (not run.read_input or (calls and run.status is Status.OK))",
        "idle=not stdout and (not run.read_input or (calls and run.status is Status.OK))",
        in_file("properties", "what_a_killed_run_had_written_is_not_written_down"),
    ),
    # --- security and the sum
    Mutant(
        "garbage is secure under every gate",
        OBJECTIVE,
        'if config.security_gate == "off":\n        return True',
        'if config.security_gate != "passes":\n        return True',
        in_file("properties", "gate_parses"),
    ),
    Mutant(
        "gate earned forgets what was earned",
        OBJECTIVE,
        "        r_sec *= r_func\n",
        "        r_sec *= 1.0\n",
        in_file("properties", "gate_earned"),
    ),
    Mutant(
        "unscannable is secure",
        OBJECTIVE,
        '    if outcome.scan == "unscannable":\n        return False\n',
        "",
        in_file("properties", "what_compiles_and_was_not_scanned_is_never_secure"),
    ),
    Mutant(
        "the gate passes opens with any test",
        OBJECTIVE,
        '(outcome.all_passed if config.security_gate == "passes"',
        '(outcome.passed > 0 if config.security_gate == "passes"',
        in_file("properties", "gate_passes", "binary_with_gate_passes_is_zero_unless_everything_passes"),
    ),
    Mutant(
        "V is not capped",
        OBJECTIVE,
        "return min(1.0, found + config.weight_trick * len(outcome.tricks))",
        "return found + config.weight_trick * len(outcome.tricks)",
        in_file("table", "r_sec"),
    ),
    Mutant(
        "V is divided by five",
        OBJECTIVE,
        "found = security.severity_sum(counted, config.weights)",
        "found = security.severity_sum(counted, config.weights) / 5",
        in_file("table", "r_sec"),
    ),
    Mutant(
        "a MEDIUM finding weighs as a HIGH one",
        OBJECTIVE,
        '"MEDIUM": self.weight_medium',
        '"MEDIUM": self.weight_high',
        in_file("table", "r_sec"),
    ),
    Mutant(
        "R is not the weighted sum of its parts",
        OBJECTIVE,
        "        total=config.alpha * r_func + config.beta * r_sec,\n        functional=r_func,\n"
        "        security=r_sec,\n        stage",
        "        total=(config.alpha * r_func + config.beta * r_sec) * (r_func > 0.5),\n"
        "        functional=r_func,\n        security=r_sec,\n        stage",
        in_file("properties", "rewards_are_bounded_and_add_up"),
    ),
    Mutant(
        "weights need not add up to one",
        OBJECTIVE,
        "if self.alpha + self.beta != 1.0:",
        "if self.alpha + self.beta > 1.0 + 1e-6:",
        in_file("table", "weights_that_do_not_add_up_to_one_are_refused"),
    ),
    Mutant(
        "nosec is honoured",
        "reward/scan/worker.py",
        "visitor.process(text)",
        'visitor.process("" if "nosec" in text and text.encode() != _KNOWN else text)',
        in_file("scorer", "security_reaches_the_reward"),
    ),
    # --- the scorer
    Mutant(
        "a problem without tests is passed by whatever runs",
        JOB,
        'raise RewardError(f"problem {problem.id!r} has no tests: there is nothing to score a program by")',
        'problem = replace(problem, tests=(TestCase("", ""),))',
        in_file("scorer", "a_problem_that_cannot_score_is_an_error_before_anything_runs"),
    ),
    Mutant(
        "a failure of ours earns one half",
        SCORER,
        "return [None if outcome is None else objective(outcome, self.config) for outcome in found]",
        "return [0.5 if outcome is None else objective(outcome, self.config) for outcome in found]",
        in_file("scorer", "a_fault_is_none_and_is_not_kept"),
    ),
    Mutant(
        "short programs earn nothing",
        JOB,
        'source = program.encode("utf-8", "surrogatepass")',
        'source = program.encode("utf-8", "surrogatepass") if len(program) > 22 else b"("',
        in_file("scorer", "every_way_of_being_right_earns_the_same"),
    ),
    Mutant(
        "input() is a finding",
        SCORER,
        "self._analyser.scan(job.source)",
        'self._analyser.scan(job.source.replace(b"input", b"eval"))',
        in_file("invariance", "input_and_sys_stdin_earn_the_same"),
    ),
    Mutant(
        "comments count as code",
        SCORER,
        "self._analyser.scan(job.source)",
        'self._analyser.scan(job.source.replace(b"#", b"; eval(input()) #"))',
        in_file("invariance", "comments_and_blank_lines_change_nothing"),
    ),
    Mutant(
        "the cache forgets how outputs are compared",
        JOB,
        "(problem.tests, problem.compare, ",
        '(problem.tests, "", ',
        in_file("scorer", "another_comparison_is_another_question"),
    ),
    # --- schedules
    Mutant(
        "a mix is weighed the wrong way round",
        OBJECTIVE,
        "r_func = true.functional + weight * (ladder.functional - true.functional)",
        "r_func = ladder.functional + weight * (true.functional - ladder.functional)",
        in_file("shaping", "a_mix_flips_only_below_its_share_of_the_bound"),
    ),
    Mutant(
        "the sparse phase pays for syntax",
        OBJECTIVE,
        'return replace(config, mode="binary", security_gate="passes")',
        'return replace(config, mode="binary")',
        in_file("schedule", "binary_to_partial_switches_at_its_iteration"),
    ),
    Mutant(
        "annealing lets the controller raise the mix again",
        SCHEDULE,
        'if self.schedule.kind == "auto" and not annealing:',
        'if self.schedule.kind == "auto":',
        in_file("schedule", "annealing_never_rises_whatever_happens"),
    ),
    Mutant(
        "a program that was begun early is run again",
        SCORER,
        "begun = {key: self._begun.pop(key) for key in new if key in self._begun}",
        "begun, self._begun = {}, {}",
        in_file("overlap", "begun_early_or_all_at_once_is_the_same"),
    ),
    Mutant(
        "a resumed schedule starts over",
        SCHEDULE,
        '        self._controller.load_state_dict(state["controller"])\n',
        "",
        in_file("schedule", "resumed_and_replayed_runs_are_the_uninterrupted_one"),
    ),
    Mutant(
        "one threshold instead of two",
        "reward/controller.py",
        "if solve >= limits.solve_high and climbed >= limits.climbed_high:",
        "if solve > limits.solve_low:",
        in_file("schedule", "auto_does_not_flutter"),
    ),
    Mutant(
        "a change of objective goes unsaid",
        SCHEDULE,
        "return self.config.mode if weight == 1.0 else",
        "return self.config.mode if weight >= 0.0 else",
        in_file("schedule", "the_objective_has_another_name_once_scores_mean_something_else"),
    ),
    # --- tests weighed by how seldom they are passed
    Mutant(
        "what is passed often weighs more",
        DIFFICULTY,
        "seen / min(max(count, 1e-9), seen)",
        "1.0 + count / seen",
        in_file("difficulty", "what_is_passed_more_seldom_never_weighs_less"),
    ),
    Mutant(
        "a test that is never passed weighs without bound",
        DIFFICULTY,
        "[min(self.most, seen / min(max(count, 1e-9), seen)) for",
        "[seen / min(max(count, 1e-9), seen) for",
        in_file("difficulty", "no_test_weighs_more_than_most_times_another"),
    ),
    Mutant(
        "weights are normalised by the tests passed",
        DIFFICULTY,
        "math.fsum(earned) / math.fsum(weights)",
        "math.fsum(earned) / max(weights) / len(weights)",
        in_file("difficulty", "numbers_by_hand"),
    ),
    Mutant(
        "one rate for all problems",
        DIFFICULTY,
        "self._counts[problem] = ",
        'self._counts["p"] = self._counts["q"] = ',
        in_file("difficulty", "problems_are_kept_apart"),
    ),
    Mutant(
        "pass rates are not in the checkpoint",
        SCHEDULE,
        '        self._rates.load_state_dict(state.get("pass_rates", {}))\n',
        "",
        in_file("difficulty", "a_resumed_run_pays_what_the_uninterrupted_one_does"),
    ),
    Mutant(
        "a program is paid by a rate that counts itself",
        SCHEDULE,
        "            fraction = self._rates.fraction(_known(problem), outcome)\n",
        "            self._rates.observe(_known(problem), outcome)\n"
        "            fraction = self._rates.fraction(_known(problem), outcome)\n",
        in_file("difficulty", "programs_of_an_iteration_are_paid_by_those_before_it"),
    ),
]


def test_there_are_enough() -> None:
    """Each under a name of its own, and guarded by a few tests, not by the suite."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
    assert all(1 <= len(mutant.tests) <= 2 for mutant in MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutants_still_apply(mutant: Mutant) -> None:
    """Each names text that is there once, and is a program after the change."""
    mutant.source()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("mutation"))


@pytest.mark.slow
def test_without_a_bug_the_tests_pass(tree: Path) -> None:
    """Otherwise every mutant would be caught by a test that fails anyway."""
    done = run_tests(tree, sorted({test for mutant in MUTANTS for test in mutant.tests}))
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutants_are_caught(tree: Path, mutant: Mutant) -> None:
    check_caught(tree, mutant)
