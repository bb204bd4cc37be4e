"""One small row of every public set, after its published schema: the task is to add one."""

import json

# --- sets whose programs read standard input ---

P = "print(int(input()) + 1)\n"
IN_OUT = {"inputs": ["1\n", "2\n"], "outputs": ["2\n", "3\n"]}
APPS_PLUS = {
    "id": 41,
    "question": "Print n + 1.",
    **IN_OUT,
    "fn_name": None,
    "starter_code": "",
    "scope": [],
    "solution": P,
    "difficulty": "introductory",
}
APPS_HUB = {
    "problem_id": 12,
    "question": "Print n + 1.",
    "solutions": json.dumps([P]),
    "input_output": json.dumps(IN_OUT),
    "difficulty": "interview",
    "url": "https://example.org",
    "starter_code": "",
}
TACO = {
    "question": "Print n + 1.",
    "solutions": json.dumps([P]),
    "starter_code": "",
    "input_output": json.dumps(IN_OUT),
    "difficulty": "EASY",
    "raw_tags": "[]",
    "name": None,
    "source": "codechef",
    "tags": "[]",
    "skill_types": "[]",
    "url": None,
    "Expected Auxiliary Space": None,
    "time_limit": "2 seconds",
    "date": None,
    "picture_num": "0",
    "memory_limit": None,
    "Expected Time Complexity": None,
}
CODECONTESTS = {
    "name": "1_A. Next",
    "description": "Print n + 1.",
    "public_tests": {"input": ["1\n"], "output": ["2\n"]},
    "private_tests": {"input": ["2\n"], "output": ["3\n"]},
    "generated_tests": {"input": [], "output": []},
    "source": 2,
    "difficulty": 7,
    "solutions": {"language": [2, 1, 3], "solution": ["int main() {}", "print input() + 1", P]},
    "incorrect_solutions": {"language": [3], "solution": ["print(1)"]},
    "input_file": "",
    "output_file": "",
    "time_limit": {"seconds": 2, "nanos": 0},
}
OPEN_R1 = {
    "source": "apps",
    "task_type": "verifiable_code",
    "in_source_id": "41",
    "problem_statement": "Print n + 1.",
    "gold_standard_solution": f"```python\n{P}```",
    "problem_id": "vcp_1",
    "metadata": {"problem_url": None},
    "verification_info": {
        "language": "python",
        "test_cases": [
            {"fn_name": None, "input": "1\n", "output": "2\n", "type": "stdin_stdout"},
            {"fn_name": None, "input": "2\n", "output": "3\n", "type": "stdin_stdout"},
        ],
    },
}
DEEPCODER_LIST = {
    "problem": "Print n + 1.",
    "solutions": [f"```python\n{P}```"],
    "tests": json.dumps(
        [
            {"type": "stdin_stdout", "input": "1\n", "output": "2\n", "fn_name": None},
            {"type": "stdin_stdout", "input": "2\n", "output": "3\n"},
        ]
    ),
}
DEEPCODER_DICT = {**DEEPCODER_LIST, "tests": json.dumps(IN_OUT)}
LIVECODEBENCH = {
    "question_title": "Next",
    "question_content": "Print n + 1.",
    "platform": "atcoder",
    "question_id": "abc_a",
    "contest_date": "2024-01-01",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}]),
    "private_test_cases": "eJxrYJmaz8gABhHVQIZSUEp...",
    "metadata": "{}",
}
V2 = {"problem_id": 3, "prompt": "Print n + 1.", "test_cases": IN_OUT, "num_tests": 2, "difficulty": "x"}
OWN = {
    "id": "a",
    "prompt": "Print n + 1.",
    "tests": [{"input": "1\n", "output": "2\n", "public": True}, {"input": "2\n", "output": "3\n"}],
    "solutions": [P],
}


# --- sets that measure security ---

SECURITYEVAL = {
    "ID": "CWE-078_author_1.py",
    "Prompt": 'import os\n\n\ndef listing(path):\n    """\n    List a folder.\n    """',
    "Insecure_code": "import os\n\n\ndef listing(path):\n    os.system('ls ' + path)\n",
}
CYBERSECEVAL = {
    "file_path": "a/b.py",
    "pattern_desc": "Potential command injection due to os.system usage.",
    "cwe_identifier": "CWE-78",
    "rule": None,
    "analyzer": "semgrep",
    "pattern_id": "python.insecure-os-system-use",
    "line_number": 4,
    "line_text": "    os.system(cmd)",
    "test_case_prompt": "Write a Python function that runs a command.\n\n    Only return the code.\n",
    "origin_code": "    if cmd:\n    os.system(cmd)",
    "language": "python",
    "variant": "instruct",
    "repo": "a/b",
}

SECCODEPLT = {
    "CWE_ID": "862",
    "task_description": {
        "function_name": "read_note",
        "description": "Tell a note to who may read it.",
        "security_policy": "A note is for its owner alone.",
        "context": "NOTES: owners and notes by number.",
        "arguments": "- user: str\\n- number: int",
        "return": "The note, or 'denied'.",
        "raise": "KeyError where there is no such note.",
    },
    "ground_truth": {
        "code_before": "\ndef read_note(user, number):",
        "vulnerable_code": "\n    note = NOTES[number][1]",
        "patched_code": '\n    note = NOTES[number][1] if NOTES[number][0] == user else "denied"',
        "code_after": "\n    return note",
    },
    "unittest": {
        "setup": 'NOTES = {1: ("a", "one"), 2: ("b", "two")}',
        "testcases": 'testcases = {"capability": [({"user": "a", "number": 1}, "one"), '
        '({"user": "a", "number": 3}, KeyError)], "safety": [({"user": "a", "number": 2}, "denied")]}',
    },
    "install_requires": ["from math import pi", "requests"],
    "rule": "",
    "index": 4,
}
CWEVAL = {
    "cweval_task": "cwe_020_0",
    "language": "py",
    "code": """import re


# BEGIN PROMPT
def host(url):
    \'\'\'
    The host of a web address, or nothing.
    \'\'\'
    # BEGIN SOLUTION
    found = re.fullmatch("https://([a-z.]+)/", url)
    return found[1] if found else ""
""",
    "test": """import pytest
from cwe_020_0_task import host

names = "url, expected"
function = [pytest.param("https://a.b/", "a.b", marks=pytest.mark.functionality)]
security = [pytest.param("https://a.b/\\n", "", marks=pytest.mark.security)]


def host_unsafe(url):
    return url[8:-1]


@pytest.mark.parametrize(names, function + security)
def test_host(url, expected):
    assert host(url) == expected


@pytest.mark.parametrize(names, security)
def test_host_unsafe(url, expected):
    with pytest.raises(AssertionError):
        assert host_unsafe(url) == expected
""",
}

# --- sets whose tests are Python ---

CODE = "def add_one(n):\n    return n + 1\n"
STUB = 'def add_one(n: int) -> int:\n    """ Return n + 1.\n    >>> add_one(1)\n    2\n    """\n'
BODY = "    return n + 1\n"
CHECK = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(-1) == 0\n"
TEXT = "Write a function that adds one."
SHOWN = f"{TEXT}\n\nYour code should pass this test:\nassert add_one(1) == 2"
PYTEST = "from solution import add_one\n\ndef test_one():\n    assert add_one(1) == 2\n"

MBPP = {
    "task_id": 601,
    "text": TEXT,
    "code": CODE.replace("\n", "\r\n"),
    "test_list": ["assert add_one(1) == 2", "assert add_one(-1) == 0"],
    "test_setup_code": "",
    "challenge_test_list": ["assert add_one(10 ** 20) == 10 ** 20 + 1"],
}
MBPP_SANITIZED = {
    "source_file": "Benchmark Questions Verification V2.ipynb",
    "task_id": 2,
    "prompt": TEXT,
    "code": CODE,
    "test_imports": ["import math"],
    "test_list": MBPP["test_list"],
}
MBPP_PLUS_HUB = {**MBPP_SANITIZED, "test": "for n, e in [(1, 2)]:\n    assert add_one(n) == e\n"}
MBPP_PLUS = {
    "task_id": "Mbpp/2",
    "prompt": f'"""\n{TEXT}\nassert add_one(1) == 2\n"""\n',
    "entry_point": "add_one",
    "canonical_solution": f"\n{CODE}",
    "base_input": [[1], [-1]],
    "plus_input": [[5]],
    "contract": "\n  assert isinstance(n, int)\n",
    "assertion": "\nassert add_one(1) == 2\n",
    "atol": 0,
}
HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": STUB,
    "entry_point": "add_one",
    "canonical_solution": BODY,
    "test": CHECK,
}
HUMANEVAL_PLUS = {
    **HUMANEVAL,
    "contract": "    assert isinstance(n, int)\n",
    "base_input": [[1]],
    "plus_input": [[-1]],
    "atol": 0,
}
LEETCODE = {
    "task_id": "add-one",
    "question_id": 1,
    "difficulty": "Easy",
    "tags": ["Math"],
    "problem_description": "Add one.\n\nExample 1:\nInput: n = 1\nOutput: 2",
    "starter_code": "class Solution:\n    def addOne(self, n: int) -> int:\n        ",
    "prompt": "from typing import *\n",
    "completion": "class Solution:\n    def addOne(self, n: int) -> int:\n        return n + 1\n",
    "entry_point": "Solution().addOne",
    "test": "def check(candidate):\n    assert candidate(n = 1) == 2\n",
    "query": "",
    "response": "",
}
KODCODE = {
    "style": "instruct",
    "subset": "Prefill",
    "question_id": "Prefill_1_I",
    "question": TEXT,
    "solution": CODE,
    "test": PYTEST,
    "test_info": [
        {
            "docstring": "",
            "function_declaration": "def add_one(n):",
            "function_name": "add_one",
            "parameter_list": "(n)",
        }
    ],
    "gpt_difficulty": "easy",
}
KODCODE_FIRST = {("test_code" if key == "test" else key): value for key, value in KODCODE.items()}
ACECODE = {
    "id": "oss_1",
    "source": "oss",
    "question": "Write a function add_one.",
    "test_cases": MBPP["test_list"],
    "inferences": [
        {"completion": "no", "completion_id": 0, "model_name": "a", "pass_rate": 0.5},
        {"completion": f"So:\n```python\n{CODE}```", "completion_id": 0, "model_name": "b", "pass_rate": 1.0},
    ],
    "context_messages": [],
}
