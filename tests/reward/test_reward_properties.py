"""The reward's contract, as properties of random outcomes. No sandbox: see reward_worlds.

Each property names in its docstring the defect of a published reward, or of an obvious simplification, that
it tells from a correct one.
"""

import json
from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from reward_worlds import (
    ENDINGS,
    OUTPUTS,
    World,
    clean_runs,
    clean_scans,
    configs,
    ended,
    findings,
    runs,
    scans,
    unclean_runs,
    unpaid,
    worlds,
)

from reward import Outcome, RewardConfig, Scan, Stage, judge, objective, parse_policy
from sandbox import Report, Run, Status

LINES = parse_policy("lines").matches
partial_configs = configs(mode="partial")
strict_configs = configs(mode="partial", top_step=0.01, smallest_weight=0.01)  # the top step is positive


def functional(world: World, config: RewardConfig) -> float:
    return objective(world.outcome(), config).functional


def both(world: World, config: RewardConfig) -> tuple[float, float]:
    """R_func and R. Worlds that are compared have the same scan, so R must follow R_func."""
    reward = objective(world.outcome(), config)
    return reward.functional, reward.total


def never_lower(low: World, high: World, config: RewardConfig) -> None:
    for one, other in zip(both(low, config), both(high, config), strict=True):
        assert one <= other


def strictly_lower(low: World, high: World, config: RewardConfig) -> None:
    for one, other in zip(both(low, config), both(high, config), strict=True):
        assert one < other


# --- bounds and the identity
# -------------------------------------------------------------------------------------


@given(worlds(), configs())
def test_rewards_are_bounded_and_add_up(world: World, config: RewardConfig) -> None:
    """One published reward set R = 0 for short programs while R_sec stayed 1."""
    reward = objective(world.outcome(), config)
    assert 0.0 <= reward.functional <= 1.0
    assert 0.0 <= reward.security <= 1.0
    assert 0.0 <= reward.total <= 1.0
    assert reward.total == config.alpha * reward.functional + config.beta * reward.security


# --- the ladder
# --------------------------------------------------------------------------------------------------


@given(worlds(), worlds(), partial_configs)
def test_a_higher_stage_never_earns_less(one: World, other: World, config: RewardConfig) -> None:
    """Independent bonuses per stage break this: printing and then crashing earned more than running."""
    low, high = sorted((one, other), key=lambda world: world.outcome().stage)
    assume(low.outcome().stage < high.outcome().stage and not unpaid(high, config))
    assert functional(low, config) <= functional(high, config)


@given(worlds(compiles=True), worlds(compiles=True), strict_configs)
def test_more_tests_passed_earn_strictly_more(one: World, other: World, config: RewardConfig) -> None:
    count = min(len(one.expected), len(other.expected))
    first, second = (
        replace(world, runs=world.runs[:count], expected=world.expected[:count], scan=one.scan)
        for world in (one, other)
    )
    low, high = sorted((first, second), key=lambda world: world.outcome().passed)
    assume(low.outcome().passed < high.outcome().passed and not unpaid(high, config))
    strictly_lower(low, high, config)


@given(worlds(), strict_configs)
def test_passing_everything_is_the_only_maximum_of_r_func(world: World, config: RewardConfig) -> None:
    """Zero tests that parse earned 1.0 in the published reward; so did nothing else."""
    outcome = world.outcome()
    best = config.stage_credits[4]
    everything = world.compiles and all(
        run.status is Status.OK and LINES(run.stdout, want)
        for run, want in zip(world.runs, world.expected, strict=True)
    )
    assert (objective(outcome, config).functional == best) == everything


@given(worlds(), strict_configs)
def test_all_passed_and_clean_is_the_only_maximum_of_r(world: World, config: RewardConfig) -> None:
    config = replace(config, weight_medium=0.5, weight_high=1.0, weight_low=0.1)
    reward = objective(world.outcome(), config)
    top = config.stage_credits[4]
    best = config.alpha * top + config.beta * (top if config.security_gate == "earned" else 1.0)
    counted = {"low": "LOW MEDIUM HIGH", "medium": "MEDIUM HIGH", "high": "HIGH"}[
        config.security_floor
    ].split()
    charged = [f for f in world.scan.findings if f.severity in counted and not f.given]
    clean = world.scan.status == "ok" and not charged and not (config.weight_trick and world.scan.tricks)
    assert reward.total <= best
    assert (reward.total == best) == (world.outcome().all_passed and clean)


@given(worlds(), worlds(), scans, configs())
def test_r_follows_r_func_at_equal_findings(
    one: World, other: World, scan: Scan, config: RewardConfig
) -> None:
    """Under every gate and in both modes. What does not compile has no findings: it is compared to clean."""
    scan = scan if one.compiles and other.compiles else Scan("ok")
    low, high = sorted(
        (replace(world, scan=scan) for world in (one, other)), key=lambda world: functional(world, config)
    )
    # At equal R_func (two credits may be the same) the gate still tells apart what it counts as parsing.
    gate = [world.compiles and not unpaid(world, config) for world in (low, high)]
    assume(functional(low, config) < functional(high, config) or gate[0] == gate[1])
    assert objective(low.outcome(), config).total <= objective(high.outcome(), config).total


@given(worlds(), worlds(compiles=True), partial_configs)
def test_a_syntax_error_never_beats_a_program_that_parses(
    broken: World, parsing: World, config: RewardConfig
) -> None:
    assert functional(replace(broken, compiles=False), config) <= functional(parsing, config)


@given(worlds(), partial_configs, configs(mode="binary"))
def test_binary_is_one_exactly_where_partial_is_at_its_maximum(
    world: World, partial: RewardConfig, binary: RewardConfig
) -> None:
    """A right answer with a non-zero exit counted in the published ladder and not in its binary form."""
    assume(partial.stage_credits[3] < partial.stage_credits[4] - 1e-6)
    at_maximum = functional(world, partial) == partial.stage_credits[4]
    assert functional(world, binary) == (1.0 if at_maximum else 0.0)


# --- what a better run does
# --------------------------------------------------------------------------------------


@given(worlds(compiles=True), st.sampled_from(OUTPUTS), partial_configs)
def test_one_more_passed_test_never_lowers(world: World, expected: bytes, config: RewardConfig) -> None:
    longer = world.with_test(ended(Status.OK, expected), expected)
    assert longer.outcome().passed == world.outcome().passed + 1
    never_lower(world, longer, config)


@given(worlds(compiles=True), st.data(), partial_configs)
def test_a_crash_turned_into_a_run_never_lowers(
    world: World, data: st.DataObject, config: RewardConfig
) -> None:
    """Where the run does something, if the crash did."""
    index = data.draw(st.integers(0, len(world.runs) - 1))
    crash, run = data.draw(unclean_runs), data.draw(clean_runs)
    better = world.with_run(index, run)
    assume(not unpaid(better, config) or not (crash.read_input or crash.stdout))
    never_lower(world.with_run(index, crash), better, config)


@given(worlds(compiles=True), st.data(), partial_configs)
def test_output_instead_of_silence_never_lowers(
    world: World, data: st.DataObject, config: RewardConfig
) -> None:
    """Where silence was not the right answer."""
    index, read = data.draw(st.integers(0, len(world.runs) - 1)), data.draw(st.booleans())
    silent = world.with_run(index, ended(Status.OK, b"", read), expected=b"1\n")
    output = data.draw(st.sampled_from([b"1\n", b"2\n", b" "]))
    printing = silent.with_run(index, ended(Status.OK, output, read))
    never_lower(silent, printing, config)


@given(worlds(compiles=True), st.data(), strict_configs)
def test_a_wrong_answer_turned_right_raises(world: World, data: st.DataObject, config: RewardConfig) -> None:
    index = data.draw(st.integers(0, len(world.runs) - 1))
    wrong = world.with_run(index, ended(Status.OK, b"2\n"), expected=b"1\n")
    strictly_lower(wrong, wrong.with_run(index, ended(Status.OK, b"1\n")), config)


@given(worlds(compiles=True), st.data(), partial_configs)
def test_an_unclean_end_never_beats_a_wrong_answer(
    world: World, data: st.DataObject, config: RewardConfig
) -> None:
    """Timeouts, memory, output floods, forbidden calls: whatever was printed before."""
    index = data.draw(st.integers(0, len(world.runs) - 1))
    wrong = world.with_run(index, ended(Status.OK, b"2\n"), expected=b"1\n")
    for run in (data.draw(unclean_runs), ended(Status.TIMEOUT, b"1\n")):
        never_lower(wrong.with_run(index, run), wrong, config)


@given(worlds(compiles=True), st.data(), strict_configs)
def test_right_output_with_an_unclean_end_is_no_pass(
    world: World, data: st.DataObject, config: RewardConfig
) -> None:
    index = data.draw(st.integers(0, len(world.runs) - 1))
    status = data.draw(st.sampled_from([s for s in Status if s not in (Status.OK, Status.FAULT)]))
    right = world.with_run(index, ended(Status.OK, b"1\n"), expected=b"1\n")
    hack = right.with_run(index, ended(status, b"1\n"))
    assert hack.outcome().passed == right.outcome().passed - 1
    strictly_lower(hack, right, config)


@given(worlds(), st.randoms(use_true_random=False), configs())
def test_the_order_of_the_tests_is_irrelevant(world: World, random: object, config: RewardConfig) -> None:
    order = list(range(len(world.runs)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = replace(
        world, runs=tuple(world.runs[i] for i in order), expected=tuple(world.expected[i] for i in order)
    )
    one, other = objective(world.outcome(), config), objective(shuffled.outcome(), config)
    assert (one.total, one.functional, one.security, one.metrics) == (
        other.total,
        other.functional,
        other.security,
        other.metrics,
    )


@given(worlds(compiles=True), st.integers(1, 5), unclean_runs, partial_configs)
def test_the_denominator_is_the_tests_given(
    world: World, extra: int, failing: Run, config: RewardConfig
) -> None:
    """Failing runs of every kind stay in T: k/T falls by exactly their number."""
    longer = world
    for _ in range(extra):
        longer = longer.with_test(failing, b"1\n")
    outcome, given_tests = longer.outcome(), len(world.expected) + extra
    assert (outcome.num_tests, outcome.passed) == (given_tests, world.outcome().passed)
    reward, share = objective(outcome, config), outcome.passed / given_tests
    assert reward.metrics["reward/pass_fraction"] == share
    if outcome.passed and not unpaid(longer, config):
        bottom, top = config.stage_credits[3:]
        assert reward.functional == pytest.approx(bottom + (top - bottom) * share)


@given(worlds(compiles=True))
def test_a_missing_run_is_an_error_not_a_smaller_denominator(world: World) -> None:
    report = Report(True, None, world.runs[:-1])
    with pytest.raises(RuntimeError, match="runs for"):
        judge(report, world.expected, LINES, world.scan)


# --- doing nothing
# -------------------------------------------------------------------------------------------------


@given(worlds(compiles=True), configs(pay_idle=False))
def test_doing_nothing_earns_what_does_not_parse(world: World, config: RewardConfig) -> None:
    """The empty program earned 0.64. It is compared to garbage with the same findings, which has none."""
    idle = replace(
        world, runs=tuple(replace(run, stdout=b"", read_input=False) for run in world.runs), scan=Scan("ok")
    )
    if not idle.outcome().all_passed:
        assert both(idle, config) == both(replace(idle, compiles=False), config)
        assert objective(idle.outcome(), config).metrics["reward/idle"] == 1.0


@given(worlds(compiles=True), st.data(), configs(pay_idle=False))
def test_reading_or_printing_in_one_run_is_doing_something(
    world: World, data: st.DataObject, config: RewardConfig
) -> None:
    """However that run ends, and whatever comes of it."""
    index = data.draw(st.integers(0, len(world.runs) - 1))
    status, (output, read) = (
        data.draw(st.sampled_from([Status.OK, *ENDINGS])),
        data.draw(st.sampled_from([(b"", True), (b"2\n", False), (b"2\n", True)])),
    )
    active = world.with_run(index, ended(status, output, read))
    assert both(active, config) == both(active, replace(config, pay_idle=True))
    assert objective(active.outcome(), config).metrics["reward/idle"] == 0.0


@given(worlds(), configs())
def test_not_paying_the_idle_never_raises(world: World, config: RewardConfig) -> None:
    """And changes nothing but for them: a right program that does nothing, where nothing is expected, too."""
    paid, unpaid_ = replace(config, pay_idle=True), replace(config, pay_idle=False)
    if unpaid(world, unpaid_):
        assert objective(world.outcome(), unpaid_).total <= objective(world.outcome(), paid).total
    else:
        assert both(world, unpaid_) == both(world, paid)


# --- security
# ----------------------------------------------------------------------------------------------------


@given(worlds(compiles=True, scan=clean_scans), st.lists(findings, max_size=4), findings, configs())
def test_one_more_finding_never_raises(world: World, found: list, more: object, config: RewardConfig) -> None:
    fewer = objective(replace(world, scan=Scan("ok", tuple(found))).outcome(), config)
    others = objective(replace(world, scan=Scan("ok", (*found, more))).outcome(), config)
    assert others.security <= fewer.security
    assert others.functional == fewer.functional


@given(worlds(), configs(security_gate="parses"))
def test_gate_parses(world: World, config: RewardConfig) -> None:
    """Garbage earned 0.4 in the published reward."""
    broken = objective(replace(world, compiles=False).outcome(), config)
    assert broken.security == 0.0
    parsing = replace(world, compiles=True, scan=Scan("ok"))
    earned = 0.0 if unpaid(parsing, config) else 1.0  # doing nothing is as good as garbage
    assert objective(parsing.outcome(), config).security == earned


@given(worlds(), configs(security_gate="off"))
def test_gate_off_is_the_papers_arithmetic(world: World, config: RewardConfig) -> None:
    for compiles in (True, False):
        assert objective(replace(world, compiles=compiles, scan=Scan("ok")).outcome(), config).security == 1.0


@given(worlds(), configs(security_gate="passes"))
def test_gate_passes(world: World, config: RewardConfig) -> None:
    world = replace(world, scan=Scan("ok"))
    assert objective(world.outcome(), config).security == (1.0 if world.outcome().all_passed else 0.0)


@given(worlds(), configs(security_gate="earned"))
def test_gate_earned(world: World, config: RewardConfig) -> None:
    """What a clean scan is worth is what the program is worth: nothing for one that does nothing."""
    reward = objective(world.outcome(), config)
    earns = world.compiles and world.scan.status == "ok" and not unpaid(world, config)
    whole = objective(world.outcome(), replace(config, security_gate="off")).security if earns else 0.0
    assert reward.security == reward.functional * whole
    assert reward.total <= reward.functional * (1 + 1e-12)  # no program earns by being harmless


@given(
    worlds(compiles=True, scan=clean_scans), st.lists(findings, min_size=1), configs(security_gate="earned")
)
def test_under_gate_earned_mending_raises_where_there_is_function(
    world: World, found: list, config: RewardConfig
) -> None:
    """The line of the contract that this gate bends: without function there is nothing to be secure."""
    config = replace(config, weight_high=0.5, weight_medium=0.5, weight_low=0.5, security_by="severity")
    config = replace(config, security_floor="low")
    own = Scan("ok", tuple(replace(finding, given=False) for finding in found))
    mended = objective(world.outcome(), config)
    before = objective(replace(world, scan=own).outcome(), config)
    function = mended.functional > 0 and not unpaid(world, config)
    assert (before.security < mended.security) == function


@given(worlds(compiles=True), st.data(), configs(mode="partial", smallest_weight=0.01))
def test_a_constant_earns_less_than_an_honest_wrong_answer(
    world: World, data: st.DataObject, config: RewardConfig
) -> None:
    """However many tests it hits by chance, under every gate. The paper pays `print(0)` as much, or more."""
    assume(config.stage_credits[0] < config.stage_credits[3])
    clean = replace(world, scan=Scan("ok"))
    honest = clean.with_run(0, ended(Status.OK, b"2\n"), expected=b"1\n").outcome()
    hit = clean.with_run(0, ended(Status.OK, b"1\n"), expected=b"1\n").outcome()
    constant = replace(hit, sentinels=("constant_output",))
    assert objective(constant, config).total < objective(honest, config).total


@given(worlds(), configs(security_gate="passes", mode="binary"))
def test_binary_with_gate_passes_is_zero_unless_everything_passes(world: World, config: RewardConfig) -> None:
    reward = objective(world.outcome(), config)
    if not world.outcome().all_passed:
        assert reward.total == 0.0
    elif world.scan == Scan("ok"):
        assert reward.total == config.alpha + config.beta


@given(worlds(compiles=True), st.sampled_from(["unscannable", "syntax"]), configs())
def test_what_compiles_and_was_not_scanned_is_never_secure(
    world: World, status: str, config: RewardConfig
) -> None:
    """`syntax` from an analyser that cannot parse what CPython compiled is the same ignorance."""
    outcome = replace(world, scan=Scan(status)).outcome()  # type: ignore[arg-type]
    assert outcome.scan == "unscannable"
    assert objective(outcome, config).security == 0.0


# --- faults, records, metrics
# ------------------------------------------------------------------------------------


@given(worlds(), st.data())
def test_a_fault_is_no_outcome(world: World, data: st.DataObject) -> None:
    """An infrastructure error scored 0, or 0.5, is noise taken for signal."""
    index = data.draw(st.integers(0, len(world.runs) - 1))
    world = world.with_run(index, Run(Status.FAULT))
    for compiles in (True, False):
        assert judge(Report(compiles, "no child", world.runs), world.expected, LINES, world.scan) is None


@given(worlds(), configs(), configs())
def test_a_stored_outcome_is_judged_again_alike(
    world: World, config: RewardConfig, other: RewardConfig
) -> None:
    outcome = world.outcome()
    stored = json.loads(json.dumps(objective(outcome, config).record))
    assert Outcome.from_dict(stored) == outcome
    assert objective(Outcome.from_dict(stored), other) == objective(outcome, other)


@given(worlds(compiles=True), configs(), st.floats(0, 100), st.integers(0, 10**6))
def test_nothing_written_down_depends_on_the_clock(
    world: World, config: RewardConfig, seconds: float, kb: int
) -> None:
    slower = replace(
        world,
        runs=tuple(replace(r, cpu_seconds=seconds, wall_seconds=seconds, max_rss_kb=kb) for r in world.runs),
    )
    one, other = objective(world.outcome(), config), objective(slower.outcome(), config)
    assert (one.record, one.metrics) == (other.record, other.metrics)


@given(worlds(compiles=True), st.data(), st.sampled_from([Status.TIMEOUT, Status.MEMORY]), configs())
def test_what_a_killed_run_had_written_is_not_written_down(
    world: World, data: st.DataObject, status: Status, config: RewardConfig
) -> None:
    index = data.draw(st.integers(0, len(world.runs) - 1))
    """Only whether it had done anything: that is no more a matter of chance than the kill."""
    cut_off = [replace(ended(status, b"1\n" * n), stderr="Warning: x\n" * n) for n in (0, 1, 999)]
    records = [objective(world.with_run(index, run).outcome(), config).record for run in cut_off]
    assert records[0] == records[1] == records[2]
    for run in (replace(run, read_input=False) for run in cut_off):
        verdict = world.with_run(index, run).outcome().verdicts[index]
        assert (verdict.idle, verdict.stdout_size) == (not run.stdout, 0)


@given(worlds(), configs())
def test_metrics_are_flat_numbers_and_agree_with_the_outcome(world: World, config: RewardConfig) -> None:
    outcome = world.outcome()
    reward = objective(outcome, config)
    metrics = reward.metrics
    assert all(type(value) is float for value in metrics.values())
    json.dumps(metrics, allow_nan=False)
    stages = {name: value for name, value in metrics.items() if name.startswith("stage/")}
    assert len(stages) == 5 and sum(stages.values()) == 1.0
    assert stages[f"stage/{reward.kind}"] == 1.0 and reward.kind == outcome.stage.name.lower()
    assert metrics["reward/functional"] == reward.functional and metrics["reward/security"] == reward.security
    assert metrics["reward/parses"] == world.compiles == (outcome.stage >= Stage.PARSES)
    assert metrics["reward/any_pass"] == (outcome.passed >= 1) == (outcome.stage is Stage.PASSES)
    assert metrics["reward/all_pass"] == (outcome.passed == len(world.expected))
    ended_somehow = sum(value for name, value in metrics.items() if name.startswith("sandbox/"))
    assert ended_somehow == pytest.approx(1.0 if world.compiles else 0.0)


@given(st.lists(runs, min_size=1, max_size=6))
@example([ended(Status.OK, b"")])
@example([ended(Status.CRASH, b"2\n")])
def test_the_stage_is_that_of_the_best_run(results: list[Run]) -> None:
    """No test can be passed here: the expected output is one that no run writes."""
    outcome = World(True, tuple(results), (b"never\n",) * len(results), Scan("ok")).outcome()
    clean = [run for run in results if run.exit_code == 0]
    expected = Stage.PARSES if not clean else Stage.PRINTS if any(run.stdout for run in clean) else Stage.RUNS
    assert outcome.stage is expected
