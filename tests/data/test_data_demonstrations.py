"""Files of demonstrations: which rows they may hold, what of a row is learnt, what is refused and how."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import DataError, render
from data.demonstrations import load_demonstrations
from data.problem import Problem
from data.prompts import study_problem

FENCED = "Here it is:\n```python\nprint(1)\n```\n"


def write(folder: Path, *rows: Any) -> Path:
    """A file with a line for each row."""
    path = folder / "demonstrations.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def messages(*said: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in said]}


def test_rows_of_prompt_and_completion_are_taken_as_they_are(tmp_path):
    """Fences and white space of completions too; other keys do not matter, and prompts may repeat."""
    rows = [
        {"prompt": "Print 1.", "completion": FENCED, "reward": 1.0},
        {"prompt": "Print 1.", "completion": "\n  print(1)  \n"},
    ]
    found = load_demonstrations(write(tmp_path, *rows))
    assert [(p.prompt, answer) for p, answer in found.pairs] == [(r["prompt"], r["completion"]) for r in rows]
    assert len({problem.id for problem, _ in found.pairs}) == 2 and found.note == ""
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress((tmp_path / "demonstrations.jsonl").read_bytes()))
    assert load_demonstrations(packed) == found
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps(rows))
    assert load_demonstrations(listed) == found


def test_problems_give_their_first_solution(tmp_path):
    rows = [
        {"id": "a", "prompt": "P", "tests": [{"input": "", "output": "1"}], "solutions": ["x = 1", "y"]},
        {"id": "b", "prompt": "P", "tests": [{"input": "", "output": "1"}]},
    ]
    found = load_demonstrations(write(tmp_path, *rows))
    assert [(problem.id, answer) for problem, answer in found.pairs] == [("a", "x = 1")]
    with pytest.raises(DataError, match="no problem there has a solution"):
        load_demonstrations(write(tmp_path, rows[1]))


@given(st.text(st.characters(codec="utf-8")).filter(lambda text: text.strip()))
def test_a_prompt_in_the_studys_words_is_the_problem_between(text):
    """What is rendered comes back; in the words without the study's instruction, too; nothing else does."""
    problem = Problem("a", text, ())
    inner = study_problem(render(problem))
    if not text.strip().startswith("Write a Python program.\n"):
        assert inner == text.strip()
        assert study_problem(f"### Instruction:\n{text}\n\n### Response:") == text.strip()
    if not text.strip().startswith("###"):
        assert study_problem(text) is None


def test_prompts_in_the_studys_words_are_counted(tmp_path):
    rows = [{"prompt": render(Problem("a", "Print 1.", ())), "completion": "print(1)"}]
    rows.append({"prompt": "Print 2. ### Response: is a word here.", "completion": "print(2)"})
    found = load_demonstrations(write(tmp_path, *rows))
    assert [problem.prompt for problem, _ in found.pairs] == ["Print 1.", rows[1]["prompt"]]
    assert found.note == "1 prompts taken out of the words ### Instruction: and ### Response:"


def test_conversations_of_one_question_and_one_answer(tmp_path):
    rows = [
        messages(("user", "Print 1."), ("assistant", FENCED)),
        messages(("system", "Be brief."), ("user", "Print 2."), ("assistant", "print(2)")),
    ]
    found = load_demonstrations(write(tmp_path, *rows), system="Be brief.")
    assert [(p.prompt, answer) for p, answer in found.pairs] == [
        ("Print 1.", FENCED),
        ("Print 2.", "print(2)"),
    ]
    with pytest.raises(DataError, match=r"jsonl:2: another system message than --system has"):
        load_demonstrations(write(tmp_path, *rows))


BAD: dict[str, tuple[Any, str]] = {
    "no completion": ({"prompt": "P"}, "key 'completion' is missing"),
    "no prompt": ({"completion": "C"}, "key 'prompt' is missing"),
    "an empty completion": ({"prompt": "P", "completion": " \n"}, "'completion' is empty"),
    "a prompt that is a list": ({"prompt": [], "completion": "C"}, "'prompt' is a list, not a string"),
    "a completion that is null": ({"prompt": "P", "completion": None}, "'completion' is null"),
    "half a surrogate": ({"prompt": "P", "completion": "\ud800"}, "half a surrogate pair"),
    "messages that are a text": ({"messages": "Hi"}, "'messages' is a string, not a list"),
    "a message that is a text": ({"messages": ["Hi"]}, "a message is a string, not an object"),
    "a message without content": ({"messages": [{"role": "user"}]}, "key 'content' is missing"),
    "no messages": ({"messages": []}, "has the roles of nobody"),
    "a question alone": (messages(("user", "P")), "has the roles user;"),
    "two turns": (
        messages(("user", "P"), ("assistant", "A"), ("user", "Q"), ("assistant", "B")),
        "has the roles user, assistant, user, assistant;",
    ),
    "the other way round": (messages(("assistant", "A"), ("user", "P")), "has the roles assistant, user;"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_row_without_its_keys_is_one_line_that_names_it(tmp_path, case):
    """As the first row, and behind a good one."""
    row, said = BAD[case]
    good = {"prompt": "P", "completion": "C"}
    for rows, line in (([row], 1), ([good, row], 2)):
        with pytest.raises(DataError) as error:
            load_demonstrations(write(tmp_path, *rows))
        assert str(error.value).startswith(f"{tmp_path / 'demonstrations.jsonl'}:{line}: ")
        assert said in str(error.value) and "\n" not in str(error.value)


def test_rows_that_are_no_objects_and_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match=r"jsonl:2: the row is a number"):
        load_demonstrations(write(tmp_path, {"prompt": "P", "completion": "C"}, 3))
    with pytest.raises(DataError, match="the file is empty"):
        load_demonstrations(write(tmp_path))
    with pytest.raises(DataError, match="no such file"):
        load_demonstrations(tmp_path / "none.jsonl")
