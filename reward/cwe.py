"""Weaknesses by family: the paper's future work of security credit that is mapped to CWE.

Findings are grouped by the CWE number that Bandit gives them. Each family has a share of R_sec to lose:

    V_family = min(1, Σ severity weights of its findings)
    V        = min(1, Σ weight[family] * V_family)

Credit is therefore staged by family: a second finding of the same family costs no more than the family's
weight, and putting one family right earns that weight back although others are still wrong. With weights that
sum to at most 1 (the defaults sum to 1) every family put right raises R_sec strictly; by severity alone one
HIGH finding leaves nothing to lose, and four more cost nothing.

Bandit's numbers are coarse: eval is 78, yaml.load 20, an assert 703.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

OTHER = "other"

# Family -> CWE numbers: those that Bandit 1.9.4 can report, and relatives that labelled data sets use.
FAMILIES: dict[str, frozenset[int]] = {
    "injection": frozenset(
        {20, 74, 77, 78, 79, 80, 88, 89, 90, 91, 93, 94, 95, 96, 99, 113, 116, 117, 155, 643, 838, 943, 1236}
    ),
    "crypto": frozenset(
        {295, 297, 319, 321, 322, 323, 325, 326, 327, 328, 329, 330, 331, 338, 347, 759, 760, 916}
    ),
    "deserialisation": frozenset({494, 502, 611, 776, 827, 829}),
    "secrets": frozenset({200, 209, 215, 256, 257, 259, 312, 522, 532, 798}),
    "filesystem": frozenset({22, 23, 36, 59, 73, 276, 367, 377, 379, 434, 732}),
    "access": frozenset({269, 283, 284, 285, 287, 306, 352, 425, 601, 605, 639, 641, 693, 918, 1204}),
    "robustness": frozenset({119, 193, 252, 369, 400, 406, 414, 454, 462, 477, 595, 703, 730, 835, 841}),
}


@dataclass(frozen=True)
class CweWeights:
    """What each family can cost of V at most, >= 0."""

    injection: float = 0.35
    """Shell, SQL, code, markup."""
    deserialisation: float = 0.2
    """pickle, unchecked downloads, XML entities."""
    crypto: float = 0.15
    """Weak ciphers and hashes, unchecked certificates, predictable random numbers."""
    secrets: float = 0.1
    """Passwords in the source."""
    filesystem: float = 0.1
    """Paths from outside, permissions, temporary files."""
    access: float = 0.05
    """Services open to everyone."""
    robustness: float = 0.0
    """Swallowed exceptions, no time limit, asserts: style rather than weakness, hence 0."""
    other: float = 0.05
    """What no family names."""

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def family(cwe: int) -> str:
    """The family of a CWE number; "other" for 0 (Bandit names none) and for what no family holds."""
    return next((name for name, numbers in FAMILIES.items() if cwe in numbers), OTHER)


def staged(charges: Iterable[tuple[int, float]], weights: Mapping[str, float]) -> float:
    """V before the last cap: Σ weight[family] * min(1, Σ charges), from (CWE, severity weight) pairs."""
    by_family: defaultdict[str, list[float]] = defaultdict(list)
    for cwe, charge in charges:
        by_family[family(cwe)].append(charge)
    return math.fsum(weights[name] * min(1.0, math.fsum(found)) for name, found in by_family.items())
