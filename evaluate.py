"""Compare checkpoints on the same problems: evaluate.py CHECKPOINT... [flags]; --help explains them."""

import sys

from entry import check_rooms, missing_package, prepare, quit_when_told


def main(argv: list[str]) -> int:
    """Returns the exit status, as train.py does."""
    prepare()
    try:
        check_rooms()
        # Imported late: Ctrl-C in the seconds that torch takes should not end in a traceback.
        from cli.dispatch import dispatch
    except ImportError as error:
        return missing_package(error)
    try:
        return dispatch("evaluate", argv)
    finally:
        quit_when_told()


def command() -> int:
    """What `coderl-evaluate` runs where the project is installed."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(command())
