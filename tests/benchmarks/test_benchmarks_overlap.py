"""What the benchmark of overlapped scoring makes of its seconds, and which programs it replaces."""

from types import SimpleNamespace

from benchmarks.overlap import ENDLESS, Rollout, ratios, table

OVERLAP = {"rollout": [3.0, 4.0, 3.0], "score": [1.0, 1.0, 2.0]}
AFTER = {"rollout": [3.0, 3.0, 3.0], "score": [2.0, 3.0, 2.0]}


def test_ratios_are_of_the_whole_and_paired_by_round():
    assert ratios(OVERLAP, AFTER) == [0.8, 0.833, 1.0]
    found = {"set": {"overlap": OVERLAP, "after": AFTER, "ratio": ratios(OVERLAP, AFTER)}}
    assert table(found).splitlines()[2:] == ["| set | 3.00 + 2.00 | 3.00 + 1.00 | 0.83 [0.80, 1.00] |"]


def test_a_share_of_the_problems_gets_the_loop():
    prompts = [SimpleNamespace(problem=SimpleNamespace(id=str(i))) for i in range(7)]
    for endless, expected in ((0, []), (3, [0, 3, 6]), (100, [0])):
        rollout = Rollout(None, prompts, None, endless)  # type: ignore[arg-type]
        programs = [rollout.program(prompt.problem, "print(1)") for prompt in prompts]
        assert [i for i, program in enumerate(programs) if program == ENDLESS] == expected
