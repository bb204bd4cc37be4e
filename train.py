"""The command line: train.py sft | ppo | demo | sample. Each has --help."""

import sys

COMMANDS = {
    "sft": "train a model on demonstrations (the warm start)",
    "ppo": "train an SFT model with PPO on problems",
    "demo": "the whole way on the embedded default: SFT, PPO, evaluation, report",
    "sample": "type a problem, see a program, its verdict and its reward",
}


def main(argv: list[str]) -> int:
    """Run one command; returns the exit status (0, 2 for a user's error, 130 if interrupted)."""
    name = argv[0] if argv else ""
    if name not in COMMANDS:
        lines = [f"  {command:<8} {what}" for command, what in COMMANDS.items()]
        print(
            "usage: train.py COMMAND [flags]\n\n"
            + "\n".join(lines)
            + "\n\ntrain.py COMMAND --help explains it"
        )
        return 0 if name in ("-h", "--help") else 2

    # Imported late: torch takes seconds, and a mistyped command should not.
    from cli.dispatch import dispatch

    return dispatch(name, argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
