"""What the benchmark of several processes makes of its rates."""

from argparse import Namespace

import pytest

from benchmarks.parallel import compare, table, together_rate


def test_speed_ups_are_paired_by_round():
    one, two, apart = [10.0, 20.0, 10.0], [19.0, 34.0, 15.0], [20.0, 34.0, 20.0]
    assert compare(two, one) == {"median": 1.7, "rounds": [1.9, 1.7, 1.5]}
    result = {
        "samples_per_second": {"1": one, "2": two},
        "speed_up": {"2": compare(two, one)},
        "speed_up_apart": {"2": compare(apart, one)},
        "of_apart": {"2": compare(two, apart)},
    }
    assert table(result).splitlines()[2:] == [
        "| 1 | 10.00 | – | – | – |",
        "| 2 | 19.00 | 1.70 [1.50, 1.90] | 2.00 [1.70, 2.00] | 0.95 [0.75, 1.00] |",
    ]


def test_more_processes_than_cores_are_refused(tmp_path):
    with pytest.raises(SystemExit, match="2000 processes need as many cores"):
        together_rate(Namespace(out=tmp_path), tmp_path, 2000)
