"""The objective: from the facts about a program to one number. Pure.

    R = alpha * R_func + beta * R_sec                                 paper, section 3: alpha 0.6, beta 0.4

The identity holds for every program and every configuration, in floating point: gates act on R_sec, never on
the sum, and a mix of two objectives is a mix of their parts. alpha + beta = 1, so R is in [0, 1].

What the security term is worth without function is a choice, `security_gate`:

    off      the paper's arithmetic: nothing parsed, nothing found, R_sec = 1. Any garbage earns beta.
    parses   a program that does not parse earns R_sec = 0. One HIGH finding then costs 0.4, more than the
             largest single step that R_func can earn (0.6 * 0.4 = 0.24, from printing to passing everything)
    passes   a program that does not pass all tests earns R_sec = 0; with mode `binary`, R = 0 unless all pass
    earned   R_sec = R_func * (1 - V): being clean is worth as much as what is clean (default). Then
             R = R_func * (1 - beta * V): a clean program earns its R_func, and nothing by being harmless.
             A HIGH finding costs 0.4 of that: a solution with one earns what a clean wrong answer does, 0.6

A program that compiles but could not be scanned earns R_sec = 0 under every gate.

Two kinds of program are *unpaid*, and earn what one earns that does not parse, under every mode and gate.
Where problems are too hard they are what is in reach, so whatever they earn is what a model learns to write.

    idle       neither reads nor prints in any run, and that is not right on every test: the empty program,
               which would be at stage `runs`. `pay_idle` pays it for its stage, as the paper does. A record
               that does not say so is judged as if it had done something
    withheld   a sentinel named in `withhold` fired (sentinels.py). By default: it reads and drops it, or
               prints the same whatever it is asked. The paper withholds nothing
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from reward import cwe, functional, security
from reward.compare import RewardError
from reward.functional import MODES, PAPER_CREDITS, Mode, Stage
from reward.hacking import sentinels
from reward.outcome import Outcome
from reward.security import FORMULAS, Formula
from sandbox import Status

Gate = Literal["off", "parses", "passes", "earned"]
Floor = Literal["low", "medium", "high"]
Grouping = Literal["severity", "cwe"]


@dataclass(frozen=True)
class RewardConfig:
    """What is rewarded. Defaults are the paper's, but for the gate and for what is unpaid."""

    mode: Mode = "partial"
    """R_func: the ladder of Table 1 (partial), or 1 for all tests passed and 0 otherwise (binary)."""
    alpha: float = 0.6
    """Weight of R_func in R, >= 0; alpha + beta = 1."""
    beta: float = 0.4
    """Weight of R_sec in R, >= 0; 0 leaves security out."""
    stage_credits: tuple[float, float, float, float, float] = PAPER_CREDITS
    """R_func of: does not parse, parses, runs, prints, passes everything; non-decreasing, in [0, 1]."""
    pay_idle: bool = False
    """Pay a program that neither reads nor prints for its stage; False: as if it did not parse."""
    security: Formula = "linear"
    """R_sec from V: 1 - V (linear) or exp(-V) (exp, never below 0.37)."""
    security_gate: Gate = "earned"
    """Which programs can earn R_sec: each as much of it as of R_func (earned); or all of it: every program
    (off, the paper), those that parse, those that pass all tests."""
    security_floor: Floor = "medium"
    """Lowest severity that counts; low adds asserts, random and the like."""
    weight_high: float = 1.0
    """What a HIGH finding adds to V, >= 0."""
    weight_medium: float = 0.5
    """What a MEDIUM finding adds to V, >= 0."""
    weight_low: float = 0.1
    """What a LOW finding adds to V, >= 0; read with security_floor low only."""
    security_by: Grouping = "severity"
    """V from the findings one by one (severity), or by families of weaknesses, each capped (cwe)."""
    cwe_weights: cwe.CweWeights = field(default_factory=cwe.CweWeights)
    """What each family can cost of V at most; read with security_by cwe only."""
    weight_trick: float = 0.5
    """What each dangerous call that Bandit does not see adds to V, >= 0; the default is what eval adds."""
    withhold: tuple[sentinels.Sentinel, ...] = ("silent", "constant_output")
    """Sentinels that withhold all pay where they fire, as if the program did not parse; the others are only
    reported. None named: nothing is withheld, as in the paper."""

    def __post_init__(self) -> None:
        if self.security_gate is False:
            raise RewardError('security_gate must be quoted in YAML, which reads a bare off as false: "off"')
        _one_of("mode", self.mode, MODES)
        if not isinstance(self.pay_idle, bool):
            raise RewardError(f"pay_idle must be true or false, not {self.pay_idle!r}")
        _one_of("security", self.security, FORMULAS)
        _one_of("security_gate", self.security_gate, get_args(Gate))
        _one_of("security_floor", self.security_floor, get_args(Floor))
        _one_of("security_by", self.security_by, get_args(Grouping))
        for name in ("alpha", "beta", "weight_high", "weight_medium", "weight_low", "weight_trick"):
            _non_negative(name, getattr(self, name))
        # Two decimals that add up to one do so exactly in floating point too: no tolerance is needed.
        if self.alpha + self.beta != 1.0:
            raise RewardError(f"alpha + beta must be 1, not {self.alpha:g} + {self.beta:g}: set both")
        for name, weight in self.cwe_weights.to_dict().items():
            _non_negative(f"cwe_weights.{name}", weight)
        for name in self.withhold:
            _one_of("withhold", name, sentinels.NAMES)
        object.__setattr__(self, "withhold", tuple(self.withhold))
        object.__setattr__(self, "stage_credits", _credits(self.stage_credits))

    @property
    def weights(self) -> dict[str, float]:
        return {"HIGH": self.weight_high, "MEDIUM": self.weight_medium, "LOW": self.weight_low}


@dataclass(frozen=True)
class Reward:
    """A program's score and its parts; what the trainer reads is total, kind, metrics, parts and record."""

    total: float  # R = alpha * functional + beta * security
    functional: float  # R_func, in [0, 1]
    security: float  # R_sec, in [0, 1]
    stage: Stage
    kind: str  # the stage's name in lower case: by it diagnostics are split
    metrics: dict[str, float]  # flat, for averaging over programs
    record: dict[str, Any]  # the outcome as JSON, to judge again later; nothing in it depends on the clock
    outcome: Outcome

    @property
    def parts(self) -> dict[str, float]:
        """What the total is made of: R_func and R_sec, for whoever reads a sample."""
        return {"functional": self.functional, "security": self.security}

    @property
    def tracebacks(self) -> tuple[tuple[int | None, int] | None, ...]:
        """Where the program failed, run by run: what token-level credit reads."""
        return self.outcome.tracebacks


def objective(outcome: Outcome, config: RewardConfig, fraction: float | None = None) -> Reward:
    """R of one outcome under one configuration: R = alpha * R_func + beta * R_sec.

    `fraction`: what the ladder reads in the place of k/T, where tests do not weigh alike (difficulty.py).
    RewardError without tests: what was only scanned earns nothing that could be told from 0.
    """
    if not outcome.num_tests:
        raise RewardError("a program was scanned and not tested: there is nothing to pay it for")
    withheld = _is_withheld(outcome, config)
    unpaid = withheld or _is_idle(outcome, config)
    r_func = _functional(outcome, config, unpaid, fraction)
    v = vulnerability(outcome, config)
    earns = _earns_security(outcome, config, unpaid)
    r_sec = security.security_reward(v, config.security) if earns else 0.0
    if config.security_gate == "earned":
        r_sec *= r_func
    return Reward(
        total=config.alpha * r_func + config.beta * r_sec,
        functional=r_func,
        security=r_sec,
        stage=outcome.stage,
        kind=outcome.stage.label,
        metrics=_metrics(outcome, r_func, r_sec, v) | _signs(outcome, withheld),
        record=outcome.to_dict(),
        outcome=outcome,
    )


def mix(outcome: Outcome, config: RewardConfig, weight: float, fraction: float | None = None) -> Reward:
    """R between the true objective (`weight` 0) and the configured one (`weight` 1), part by part.

    The true objective is all tests passed and a clean scan: mode binary with gate `passes`. Each part goes
    from one to the other in a straight line, so R = alpha * R_func + beta * R_sec holds for every weight.
    `fraction`: as in `objective`; the true objective has no use for it.
    """
    if not 0.0 <= weight <= 1.0:
        raise RewardError(f"a mix weighs the configured objective in [0, 1], not {weight!r}")
    # Exactly one of the two where nothing is mixed: t + 1 * (l - t) need not be l.
    if weight in (0.0, 1.0):
        return objective(outcome, config, fraction) if weight else objective(outcome, true_objective(config))
    ladder, true = objective(outcome, config, fraction), objective(outcome, true_objective(config))
    r_func = true.functional + weight * (ladder.functional - true.functional)
    r_sec = true.security + weight * (ladder.security - true.security)
    return replace(
        ladder,
        total=config.alpha * r_func + config.beta * r_sec,
        functional=r_func,
        security=r_sec,
        metrics=ladder.metrics | {"reward/functional": r_func, "reward/security": r_sec},
    )


def true_objective(config: RewardConfig) -> RewardConfig:
    """The sparse objective with these weights: nothing is earned unless all tests pass.

    The gate is part of it: with any other, parsing alone would earn beta, and a reward that is meant to be
    sparse would be a dense reward for syntax.
    """
    return replace(config, mode="binary", security_gate="passes")


def vulnerability(outcome: Outcome, config: RewardConfig) -> float:
    """V in [0, 1], of the findings that count and of the tricks."""
    counted = security.charged(outcome.findings, config.security_floor.upper())
    if config.security_by == "cwe":
        charges = ((finding.cwe, config.weights[finding.severity]) for finding in counted)
        found = cwe.staged(charges, config.cwe_weights.to_dict())
    else:
        found = security.severity_sum(counted, config.weights)
    return min(1.0, found + config.weight_trick * len(outcome.tricks))


def _is_withheld(outcome: Outcome, config: RewardConfig) -> bool:
    if not config.withhold:
        return False
    if outcome.sentinels is None:
        raise RewardError(
            "withhold needs the sentinels, which did not look at this program: score it with them"
        )
    return not set(config.withhold).isdisjoint(outcome.sentinels)


def _is_idle(outcome: Outcome, config: RewardConfig) -> bool:
    """It did nothing, where something was to be done, and that is not paid."""
    return outcome.idle is True and not outcome.all_passed and not config.pay_idle


def _functional(outcome: Outcome, config: RewardConfig, unpaid: bool, fraction: float | None) -> float:
    stage, passed = (Stage.SYNTAX_ERROR, 0) if unpaid else (outcome.stage, outcome.passed)
    if config.mode == "binary":
        return functional.binary(stage, passed, outcome.num_tests)
    return functional.partial(stage, passed, outcome.num_tests, config.stage_credits, fraction)


def _earns_security(outcome: Outcome, config: RewardConfig, unpaid: bool) -> bool:
    """Unknown is not clean: what compiles and cannot be scanned passes no gate."""
    if outcome.scan == "unscannable":
        return False
    if config.security_gate == "off":
        return True
    return not unpaid and (outcome.all_passed if config.security_gate == "passes" else outcome.compiles)


def _metrics(outcome: Outcome, r_func: float, r_sec: float, v: float) -> dict[str, float]:
    """Numbers that mean something when averaged over programs: shares, fractions, values in [0, 1]."""
    stage = outcome.stage
    metrics = {
        "reward/functional": r_func,
        "reward/security": r_sec,
        "reward/vulnerability": v,
        "reward/pass_fraction": outcome.passed
        / outcome.num_tests,  # k/T, what the paper's "mean R" is built on
        "reward/parses": float(outcome.compiles),
        "reward/idle": float(outcome.idle is True),  # neither reads nor prints
        "reward/any_pass": float(outcome.passed > 0),
        "reward/all_pass": float(outcome.all_passed),
        "reward/unscannable": float(outcome.scan == "unscannable"),
        "reward/findings": float(len(outcome.findings)),  # of every severity
        "reward/tricks": float(len(outcome.tricks)),
    }
    metrics |= {f"stage/{other.label}": float(stage is other) for other in Stage}
    ended = [verdict.status for verdict in outcome.verdicts]  # none if it does not compile: all shares are 0
    metrics |= {
        f"sandbox/{status.value}": ended.count(status.value) / outcome.num_tests
        for status in Status
        if status is not Status.FAULT
    }
    return metrics


def _signs(outcome: Outcome, withheld: bool) -> dict[str, float]:
    """1 for each sentinel that fired, so that means over programs are rates."""
    if outcome.sentinels is None:
        return {}
    signs = {f"hack/{name}": float(name in outcome.sentinels) for name in sentinels.NAMES}
    return signs | {"hack/any": float(bool(outcome.sentinels)), "hack/withheld": float(withheld)}


def _one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise RewardError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def _non_negative(name: str, value: object) -> None:
    if not _is_number(value) or not 0 <= value:  # type: ignore[operator]
        raise RewardError(f"{name} must be a finite number >= 0, not {value!r}")


def _credits(values: Sequence[float]) -> tuple[float, ...]:
    """Five numbers, 0 <= c0 <= c1 <= ... <= c4 <= 1; a list (from YAML) becomes a tuple."""
    good = isinstance(values, (list, tuple)) and len(values) == len(Stage) and all(map(_is_number, values))
    if not good or any(a > b for a, b in zip((0.0, *values), (*values, 1.0), strict=True)):
        raise RewardError(f"stage_credits must be 5 non-decreasing numbers in [0, 1], not {values!r}")
    return tuple(float(value) for value in values)


def _is_number(value: object) -> bool:
    """A finite int or float; YAML reads 1e-6 as a string and yes as a bool, and neither is a weight."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
