"""Which curves there are, what they are called and how they are read; `report.figures` draws them."""

from dataclasses import dataclass

from report.read import Run


@dataclass(frozen=True)
class Curve:
    """One metric in a plot."""

    metric: str
    name: str
    kind: str = "line"

    def points(self, run: Run) -> list[tuple[int, float]]:
        """What the run logged. Iteration 0 only validates: its tokens per second are 0 and mean nothing."""
        start = 0 if self.metric.startswith("validation/") else 1
        return [point for point in run.series(self.metric) if point[0] >= start]


@dataclass(frozen=True)
class Axes:
    """One plot of a panel."""

    label: str
    curves: tuple[Curve, ...]
    unit: str = ""
    floor: float | None = None


@dataclass(frozen=True)
class Panel:
    """One figure: plots above each other, a heading, and a sentence on how to read it."""

    title: str
    help: str
    axes: tuple[Axes, ...]


def _outcome(label: str, training: str, validation: str, unit: str = "%") -> Axes:
    curves = (Curve(training, "training rollouts", "light"), Curve(validation, "validation", "bold"))
    return Axes(label, curves, unit)


OUTCOMES = (
    Panel(
        "All tests passed",
        "Share of programs that pass every test; it decides which checkpoint is the best (ringed).",
        (_outcome("All-P", "reward/all_pass", "validation/all_pass"),),
    ),
    Panel(
        "At least one test passed",
        "Share of programs that pass one test or more.",
        (_outcome("≥1-P", "reward/any_pass", "validation/any_pass"),),
    ),
    Panel(
        "Valid syntax",
        "Share of programs that parse.",
        (_outcome("Syn.", "reward/parses", "validation/syntax"),),
    ),
)
REWARDS = (
    Panel(
        "Reward",
        "Training: under the run's own reward; validation: always tests and analyser. R_func: how far "
        "programs get. R_sec: 1 if nothing insecure is found. Under a schedule the ladder is mixed with R of "
        "all tests passed.",
        (
            _outcome("mean R", "reward/mean", "validation/reward", unit=""),
            Axes("its parts", (Curve("reward/functional", "R_func"), Curve("reward/security", "R_sec"))),
            Axes("weight of the ladder", (Curve("reward/partial_weight", "ladder"),)),
        ),
    ),
    Panel(
        "Length beside All-P",
        "Length that falls while R rises and All-P does not: short, valid, wrong programs.",
        (
            _outcome("All-P", "reward/all_pass", "validation/all_pass"),
            _outcome("program length, characters", "rollout/program_length", "validation/length", unit=""),
        ),
    ),
    Panel(
        "Signs of playing the reward",
        "Share of training programs that show one; a program that is merely wrong seldom does.",
        (
            Axes(
                "by kind",
                (
                    Curve("hack/constant_output", "constant output"),
                    Curve("hack/hardcoded", "hardcoded"),
                    Curve("hack/silent", "silent"),
                    Curve("hack/early_exit", "early exit"),
                    Curve("hack/introspection", "introspection"),
                ),
                "%",
            ),
            Axes("short, valid, wrong", (Curve("hack/short_wrong", "short, valid, wrong"),), "%"),
        ),
    ),
)
POLICY = (
    Panel(
        "Distance from SFT",
        "ref_kl: nats per response between policy and SFT model; kl_coef: weight of the penalty on it.",
        (
            Axes("ref_kl", (Curve("ppo/ref_kl", "ref_kl"),)),
            Axes("kl_coef", (Curve("ppo/kl_coef", "kl_coef"),)),
            Axes("learning rate", (Curve("ppo/learning_rate", "learning rate"),)),
        ),
    ),
    Panel(
        "Updates",
        "Per token. Entropy near 0: the same program again and again. approx_kl: new against old policy. "
        "clip_frac: share of ratios clipped.",
        (
            Axes("entropy", (Curve("ppo/entropy", "entropy"),)),
            Axes("approx_kl", (Curve("ppo/approx_kl", "approx_kl"),)),
            Axes("clip_frac", (Curve("ppo/clip_frac", "clip_frac"),), "%"),
        ),
    ),
    Panel(
        "Critic",
        "Explained variance: 1 is a perfect critic, 0 no better than a constant (cut off below −1). "
        "Advantages: mean size before whitening.",
        (
            Axes("explained variance", (Curve("ppo/explained_var", "explained_var"),), floor=-1.0),
            Axes("value error", (Curve("ppo/value_error", "value_error"),)),
            Axes("advantages", (Curve("ppo/advantage_size", "advantage_size"),)),
        ),
    ),
)
SPEED = (
    Panel(
        "Throughput",
        "Sampled tokens per second of the whole iteration, validation included.",
        (Axes("tokens/s", (Curve("tokens_per_second", "tokens/s"),)),),
    ),
)
