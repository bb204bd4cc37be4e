"""Flags that make a command small enough for a test, and a way to run it in this process."""

from cli.dispatch import dispatch

CORPUS = ["--corpus.sft", "200", "--corpus.rl", "40", "--corpus.validation", "6", "--corpus.heldout", "12"]
SMALL = ["--threads", "1", "--max-prompt-tokens", "64"]
SFT = [
    *("--epochs", "12", "--batch-size", "32", "--learning-rate", "0.01", "--tune", "full"),
    *("--tiny.hidden-size", "32", "--tiny.layers", "1", "--tiny.feed-forward", "48"),
    *SMALL,
    *CORPUS,
]
PPO = [
    *("--iterations", "2", "--prompts-per-iteration", "8", "--minibatch-size", "4", "--max-new-tokens", "16"),
    # Constants are all that this model writes: unpaid, they would leave it nothing to learn from.
    *("--learning-rate", "0.001", "--objective.withhold", "--limits.cpu-seconds", "0.5"),
    *SMALL,
    *CORPUS,
]


def command(name: str, *arguments: object) -> int:
    """Run a command in this process; its exit status."""
    try:
        return dispatch(name, [str(argument) for argument in arguments])
    except SystemExit as exit_:  # tyro's own errors
        return int(exit_.code or 0)
