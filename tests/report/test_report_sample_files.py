"""Which samples are in the page when not all fit, and that they are read from where they are."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from report_inputs import sample_row, write_lines

from report.sample_files import SampleIndex, choose_iterations, choose_problems, evenly, index_samples

QUICK = settings(derandomize=True, deadline=None, max_examples=200)


def index_of(counts: dict) -> SampleIndex:
    return SampleIndex(places={key: [(0, f"p{i}") for i in range(n)] for key, n in counts.items()})


def test_rows_are_read_from_where_they_are(tmp_path):
    """Lines of different lengths, characters of several bytes, half a line at the end."""
    rows = [sample_row(i, k, program="é" * (7 * i + k)) for i in (1, 2, 5) for k in range(3)]
    path = tmp_path / "samples.jsonl"
    write_lines(path, rows)
    with path.open("a") as file:
        file.write('{"iteration": 6, "prog')
    notes: list[str] = []
    index = index_samples(path, "iteration", notes)
    chosen = {5: [2, 0], 1: [1]}
    assert [row["program"] for *_, row in index.read(chosen)] == ["é" * 37, "é" * 35, "é" * 8]
    assert len(index) == 9 and notes == ["samples.jsonl: line 10 is unfinished and left out"]


def test_no_file_has_no_samples(tmp_path):
    index = index_samples(tmp_path / "samples.jsonl", "iteration", [])
    assert len(index) == 0 and list(index.read({})) == []


@given(st.dictionaries(st.integers(1, 60), st.integers(1, 9), min_size=1), st.integers(1, 80), st.data())
@QUICK
def test_iterations_are_whole_and_within_the_limit(counts, limit, data):
    best = data.draw(st.none() | st.sampled_from(sorted(counts)))
    chosen = choose_iterations(index_of(counts), limit, best)
    taken = {key: len(numbers) for key, numbers in chosen.items()}
    assert sum(taken.values()) <= limit and list(chosen) == sorted(chosen)
    assert max(counts) in chosen
    if sum(counts.values()) <= limit:
        assert taken == counts
    if len(chosen) > 1:
        assert taken == {key: counts[key] for key in taken} and (best is None or best in chosen)
    if counts[max(counts)] >= limit:
        assert taken == {max(counts): limit}


def test_iterations_are_spread_over_the_run():
    chosen = choose_iterations(index_of(dict.fromkeys(range(1, 101), 10)), 100, best=50)
    assert list(chosen) == [1, 13, 25, 38, 50, 62, 75, 87, 100]  # a tenth would be one too many with the best


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 3), st.integers(1, 400))
@QUICK
def test_every_model_keeps_the_same_problems(problems, samples, models, limit):
    places = [(0, f"p{i}") for i in range(problems) for _ in range(samples)]
    index = SampleIndex(places={f"m{k}": places for k in range(models)})
    chosen = choose_problems(index, limit)
    kept = [{places[i][1] for i in numbers} for numbers in chosen.values()]
    assert all(names == kept[0] for names in kept)
    assert all(len(numbers) == samples * len(kept[0]) for numbers in chosen.values())
    assert sum(map(len, chosen.values())) <= limit or len(kept[0]) == problems
    assert len(kept[0]) == problems or sum(map(len, chosen.values())) > limit - models * samples


@given(st.integers(0, 200), st.integers(0, 200))
@QUICK
def test_evenly_keeps_both_ends(length, count):
    places = evenly(length, count)
    assert len(places) == min(length, count) == len(set(places)) and places == sorted(places)
    if len(places) > 1:
        steps = [b - a for a, b in itertools.pairwise(places)]
        assert (places[0], places[-1]) == (0, length - 1) and max(steps) - min(steps) <= 1
