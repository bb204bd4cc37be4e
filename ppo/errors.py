"""What stops a run, in one line that says what to do."""


class TrainingError(RuntimeError):
    """The run cannot go on, or going on would train on something wrong."""
