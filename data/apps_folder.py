"""The original form of APPS: a folder for each task, of question.txt, input_output.json, solutions.json.

A task becomes the row that APPS has on the hub, whose fields are these files' text; what it means is for
data/forms.py to say.
"""

import json
from pathlib import Path
from typing import Any

_QUESTION = "question.txt"
# file -> field of the row; each but the question may be absent (test tasks have no solutions)
_TEXTS = {
    _QUESTION: "question",
    "input_output.json": "input_output",
    "solutions.json": "solutions",
    "starter_code.py": "starter_code",
}


class FolderError(Exception):
    """A folder that holds no APPS task, or a task that cannot be read; one line that begins with its path."""


def tasks(folder: Path) -> list[Path]:
    """The folder itself if it is a task, else the tasks in it, by name. FolderError if there is none."""
    if (folder / _QUESTION).is_file():
        return [folder]
    children = sorted(child for child in folder.iterdir() if child.is_dir())
    if found := [child for child in children if (child / _QUESTION).is_file()]:
        return found
    below = [child.name for child in children if any(child.glob(f"*/{_QUESTION}"))]
    advice = f"name a folder in it: {', '.join(below)}" if below else "name a file"
    raise FolderError(f"{folder}: a folder without {_QUESTION}, in it or one below (APPS tasks); {advice}")


def row(folder: Path) -> dict[str, Any]:
    """One task as a row of the hub's form; its id is the folder's name."""
    fields: dict[str, Any] = {"id": folder.name, "input_output": ""}  # without the file: no tests
    for name, field in _TEXTS.items():
        if (folder / name).is_file():
            fields[field] = _text(folder / name)
    if (folder / "metadata.json").is_file():
        try:
            metadata = json.loads(_text(folder / "metadata.json"))
        except (ValueError, RecursionError) as error:
            raise FolderError(f"{folder / 'metadata.json'}: malformed JSON ({error})") from None
        if isinstance(metadata, dict):
            fields["difficulty"] = metadata.get("difficulty")
    return fields


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FolderError(f"{path}: not UTF-8 (byte {error.start}); convert the file to UTF-8") from None
    except OSError as error:
        raise FolderError(f"{path}: cannot be read ({error.strerror}); check type and permissions") from None
