"""Bugs put into scan, families, sentinels, alarm and re-scoring: the tests that guard each must catch it."""

from pathlib import Path

import pytest
from mutation import Mutant, check_caught, copy_tree
from sources import ROOT


def in_file(name: str, *tests: str) -> tuple[str, ...]:
    (path,) = (ROOT / "tests" / "reward").rglob(f"test_reward_{name}.py")
    return tuple(f"{path.relative_to(ROOT)}::test_{test}" for test in tests)


MUTANTS = [
    Mutant(
        "a scan that dies is clean",
        "reward/scan/analyser.py",
        'return Scan("unscannable", reason="the scan was ended by its limits")',
        'return Scan("ok", reason="the scan was ended by its limits")',
        in_file("analyser", "a_bomb_is_unscannable_and_the_next_program_is_scanned"),
    ),
    Mutant(
        "a scan has no limit of CPU",
        "reward/scan/worker.py",
        "signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)",
        "signal.setitimer(signal.ITIMER_PROF, 0)",
        in_file("analyser", "a_bomb_is_unscannable_and_the_next_program_is_scanned"),
    ),
    Mutant(
        "the prompt excuses a fault for ever",
        "reward/security.py",
        "left[key] -= 1",
        "left[key] -= 0",
        in_file("security", "each_line_of_the_prompt_excuses_one"),
    ),
    Mutant(
        "what the prompt has is charged",
        "reward/security.py",
        "f.severity in counted and not f.given",
        "f.severity in counted",
        in_file("security", "what_the_prompt_has_weighs_nothing"),
    ),
    Mutant(
        "a family costs without bound",
        "reward/cwe.py",
        "weights[name] * min(1.0, math.fsum(found))",
        "weights[name] * math.fsum(found)",
        in_file("cwe", "a_family_costs_its_weight_and_no_more"),
    ),
    Mutant(
        "swallowed exceptions are injections",
        "reward/cwe.py",
        "frozenset({119, 193, 252, 369, 400, 406, 414, 454, 462, 477, 595, 703, 730, 835, 841})",
        "frozenset({119, 193, 252, 369, 400, 406, 414, 454, 462, 477, 595, 730, 835, 841})",
        in_file("cwe", "every_number_that_bandit_reports_has_a_family"),
    ),
    Mutant(
        "tricks lower R without being asked to",
        "reward/objective.py",
        "config.weight_trick * len(outcome.tricks)",
        "0.1 * len(outcome.tricks)",
        in_file("tricks", "a_trick_costs_its_weight"),
    ),
    Mutant(
        "a withheld program still earns its security",
        "reward/objective.py",
        "return not unpaid and (outcome.all_passed",
        "return (outcome.all_passed",
        in_file("sentinels", "what_is_withheld_earns_what_does_not_parse"),
    ),
    Mutant(
        "withheld in mode partial only",
        "reward/objective.py",
        "return functional.binary(stage, passed, outcome.num_tests)",
        "return functional.binary(outcome.stage, outcome.passed, outcome.num_tests)",
        in_file("sentinels", "what_is_withheld_earns_what_does_not_parse"),
    ),
    Mutant(
        "a constant keeps what parsing earns",
        "reward/objective.py",
        "(Stage.SYNTAX_ERROR, 0) if unpaid else",
        "(Stage.PARSES, 0) if unpaid else",
        in_file("order", "every_program_earns_by_what_it_does"),
    ),
    Mutant(
        "what passes within its tolerance is a constant",
        "reward/hacking/sentinels.py",
        "> 1 and not all(case.passed):",
        "> 1:",
        in_file("order", "one_output_that_a_tolerance_accepts_everywhere_is_paid"),
    ),
    Mutant(
        "one answer to all is always suspicious",
        "reward/hacking/sentinels.py",
        "if len(set(map(case.wanted, judged))) > 1 and not all(case.passed):",
        "if clean:",
        in_file("sentinels", "one_answer_to_every_test_is_the_problems_doing"),
    ),
    Mutant(
        "a table is a table, whatever it computes",
        "reward/hacking/sentinels.py",
        "if len(answers) > 1 or not all",
        "if len(answers) > 99 and not all",
        in_file("sentinels", "a_table_that_works_on_other_inputs_is_no_trick"),
    ),
    Mutant(
        "what is not printed is silent",
        "reward/hacking/sentinels.py",
        'idle = unused or all(ask(text) == "" for text in case.asking.empty(case.inputs[clean[0]]))',
        "idle = True",
        in_file("sentinels", "beginners_slips_seldom_show_one"),
    ),
    Mutant(
        "a fault while looking is no sign",
        "reward/hacking/sentinels.py",
        "        except _NoAnswer:\n            return None",
        "        except _NoAnswer:\n            continue",
        in_file("scorer", "a_fault_in_a_rerun_is_none"),
    ),
    Mutant(
        "the alarm knows the first iterations only",
        "reward/hacking/alarm.py",
        "for then in (self._longest, self._best)",
        "for then in (self._longest,)",
        in_file("alarm", "a_fall_after_a_rise_is_seen"),
    ),
    Mutant(
        "the alarm takes progress for a hack",
        "reward/hacking/alarm.py",
        "and now.all_pass <= then.all_pass + SLACK",
        "and now.all_pass <= 1.0",
        in_file("alarm", "other_courses_raise_no_alarm"),
    ),
    Mutant(
        "re-scoring replays no schedule",
        "reward/rescore.py",
        "schedule.observe(iteration, [sample.outcome for sample in samples], problems)",
        "schedule.observe(iteration, [], [])",
        in_file("rescore", "the_original_objective_gives_every_reward_back"),
    ),
    Mutant(
        "re-scoring trusts the log",
        "reward/rescore.py",
        "if (reward.total if reward else None) != sample.score:",
        "if reward is None and sample.score is not None:",
        in_file("rescore", "a_log_that_says_something_else_is_an_error"),
    ),
    Mutant(
        "records of any version are read",
        "reward/outcome.py",
        'if (version := fields.pop("version", 1)) not in _READABLE:',
        'if (version := fields.pop("version", 1)) > VERSION:',
        in_file("rescore", "samples_that_cannot_be_read"),
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutants_still_apply(mutant: Mutant) -> None:
    mutant.source()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("mutation"))


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutants_are_caught(tree: Path, mutant: Mutant) -> None:
    check_caught(tree, mutant)
