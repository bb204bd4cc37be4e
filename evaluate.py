"""Compare checkpoints on the same problems: evaluate.py CHECKPOINT... [flags]; --help explains them."""

import sys

from cli.dispatch import dispatch

if __name__ == "__main__":
    sys.exit(dispatch("evaluate", sys.argv[1:]))
