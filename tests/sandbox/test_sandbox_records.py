"""Limits refuse values that cannot work."""

import dataclasses

import pytest

from sandbox import Limits, Report, Run, Status


def test_wall_limit_defaults_to_a_backstop_of_the_cpu_limit() -> None:
    assert Limits(cpu_seconds=2.0).wall == 7.0
    assert Limits(cpu_seconds=2.0, wall_seconds=3.0).wall == 3.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpu_seconds": 0},
        {"cpu_seconds": float("inf")},
        {"cpu_seconds": float("nan")},
        {"wall_seconds": -1},
        {"memory_mb": 63},
        {"output_kb": 0},
        {"source_kb": 0},
    ],
)
def test_impossible_limits_are_refused_in_one_line(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))) as error:
        Limits(**wrong)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("record", [Limits(), Run(Status.OK), Report(True, None, ())])
def test_records_are_frozen(record: object) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, next(iter(dataclasses.fields(record))).name, 1)  # type: ignore[arg-type]
