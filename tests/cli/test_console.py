"""What a person watches."""

from cli.console import Console, iteration_line


def test_an_iteration_is_one_line_with_what_was_measured():
    metrics = {"reward/mean": 0.5, "reward/parses": 0.75, "ppo/ref_kl": 1.25, "rollout/faults": 2}
    line = iteration_line(3, 10, metrics, 1.5)
    assert line == "iteration 3/10  R 0.500  syntax 75%  KL 1.25  faults 2  (1.5 s)"


def test_where_there_is_no_terminal_only_lines_are_written(capsys):
    with Console("PPO", 2) as console:
        console.phase("rollout", 8)
        console.advance(8)
        console.say("a line with [brackets]")
        console.iteration(1, 2, {"reward/mean": 1.0}, 0.1)
    assert capsys.readouterr().out == "a line with [brackets]\niteration 1/2  R 1.000  (0.1 s)\n"


def test_a_phase_of_unknown_length_forgets_the_length_of_the_one_before():
    console = Console("PPO", 2)
    console.phase("rollout", 8)
    console.advance(3)
    console.phase("score", 0)
    (part,) = [task for task in console._progress.tasks if task.description == "score"]
    assert (part.total, part.completed) == (None, 0)
    assert len(console._progress.tasks) == 2
