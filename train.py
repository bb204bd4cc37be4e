"""The command line: train.py COMMAND [flags]; each command has --help."""

import sys

from entry import check_rooms, missing_package, prepare, quit_when_told

COMMANDS = {
    "sft": "train a model on demonstrations (the warm start)",
    "ppo": "train an SFT model with PPO on problems",
    "demo": "the whole way on the embedded default: SFT, PPO, evaluation, report",
    "study": "SFT and PPO under several rewards, over seeds, compared in one table",
    "plan": "say what a preset takes in memory and time, without weights and GPU",
    "doctor": "check this machine: packages, GPU, sandbox, memory, disk",
    "prepare": "make a checked file of problems of a public data set",
    "export": "write a checkpoint as others load it: an adapter for peft, or a whole model",
    "sample": "type a problem, see a program, its verdict and its reward",
}


def main(argv: list[str]) -> int:
    """Run one command; returns the exit status (0, 2 for a user's error, 130 if interrupted)."""
    prepare()
    name = argv[0] if argv else ""
    if name not in COMMANDS:
        return _no_command(name)

    if name == "doctor":  # by itself: it works where packages are missing
        from cli.doctor import main as doctor

        return doctor(argv[1:])

    try:
        check_rooms()
        # Imported late: torch takes seconds, and a mistyped command should not.
        from cli.dispatch import dispatch
    except ImportError as error:
        return missing_package(error)
    try:
        return dispatch(name, argv[1:])
    finally:
        quit_when_told()


def _no_command(name: str) -> int:
    """Help, the version, or what is wrong with a name that is no command."""
    if name == "--version":
        print(f"coderl-ppo {_version()}")
        return 0
    if name in ("", "-h", "--help"):
        lines = [f"  {command:<8} {what}" for command, what in COMMANDS.items()]
        print("usage: train.py COMMAND [flags]\n\n" + "\n".join(lines))
        print("\ntrain.py COMMAND --help explains it; evaluate.py compares what was trained")
        return 0 if name else 2
    import difflib

    close = difflib.get_close_matches(name.lower(), [*COMMANDS, "--version", "--help"], n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"the commands are {', '.join(COMMANDS)}"
    print(f"error: train.py {name}: no such command; {hint}", file=sys.stderr)
    return 2


def _version() -> str:
    """As pyproject.toml has it where the project runs from its folder; else as it is installed."""
    import importlib.metadata
    import tomllib
    from pathlib import Path

    path = Path(__file__).resolve().parent / "pyproject.toml"
    if not path.is_file():
        return importlib.metadata.version("coderl-ppo")
    return str(tomllib.loads(path.read_text(encoding="utf-8"))["project"]["version"])


def command() -> int:
    """What `coderl-train` runs where the project is installed."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(command())
