"""Compare checkpoints on the same problems: evaluate.py CHECKPOINT... [flags]; --help explains them."""

import sys

from entry import prepare, quit_when_told


def main(argv: list[str]) -> int:
    """Returns the exit status, as train.py does."""
    prepare()
    # Imported late: Ctrl-C in the seconds that torch takes should not end in a traceback.
    from cli.dispatch import dispatch

    try:
        return dispatch("evaluate", argv)
    finally:
        quit_when_told()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
