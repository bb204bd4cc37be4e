"""What the benchmark of several processes makes of its rates."""

from argparse import Namespace

import pytest

from benchmarks.parallel import rate, speed_up, table


def test_speed_ups_are_paired_by_round():
    rates = {1: [10.0, 20.0, 10.0], 2: [19.0, 34.0, 15.0]}
    assert speed_up(rates, 2) == {"median": 1.7, "rounds": [1.9, 1.7, 1.5]}
    result = {
        "samples_per_second": {str(count): found for count, found in rates.items()},
        "speed_up": {"2": speed_up(rates, 2)},
    }
    assert table(result).splitlines()[2:] == ["| 1 | 10.00 |  |", "| 2 | 19.00 | 1.70 [1.50, 1.90] |"]


def test_more_processes_than_cores_are_refused(tmp_path):
    with pytest.raises(SystemExit, match="2000 processes need as many cores"):
        rate(Namespace(out=tmp_path), tmp_path, 2000)
