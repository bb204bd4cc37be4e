"""docs/from_securecoderl.md is true: the flags it names exist, and its commands run."""

import json
import re
import shlex
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from small_runs import command
from transformers import AutoModelForCausalLM, AutoTokenizer

from cli.dispatch import _COMMANDS
from cli.flags import flags_of
from cli.ppo_settings import PPOCommand
from data import load_problems

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "from_securecoderl.md").read_text(encoding="utf-8")
TABLES = re.findall(
    r"^\| `(\w+\.py)` \| `(?:train\.py )?(\w+)(?:\.py)?[^`]*` \| \|\n\|---\|---\|---\|\n((?:\|.*\n)+)",
    TEXT,
    flags=re.M,
)
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("script, name, rows", TABLES, ids=[table[0] for table in TABLES])
def test_every_flag_named_for_one_of_theirs_exists(script, name, rows):
    kind = PPOCommand if name == "ppo" else _COMMANDS[name][0]
    known = {flag.name for flag in flags_of(kind())}
    ours = [cells.split("|")[2:4] for cells in rows.splitlines()]
    named = re.findall(r"--[a-z][\w.-]*", " ".join(cell for pair in ours for cell in pair))
    assert len(named) >= 3 and set(named) <= known, set(named) - known


def test_there_is_a_table_for_each_of_their_scripts():
    assert [(script, name) for script, name, _ in TABLES] == [
        ("prepare_ppo_data.py", "prepare"),
        ("train_sft_stdin.py", "sft"),
        ("train_ppo.py", "ppo"),
        ("evaluate_dual_metrics.py", "evaluate"),
    ]


def prompts_file(problems: int) -> dict:
    """A prompt file v2.0, in words of its own."""
    rows = [
        {
            "prompt": f'def solve_{n:05x}():\n    """Read n. Print n + {n}.\n    """\n',
            "test_cases": {"inputs": ["1\n", "2\n"], "outputs": [f"{1 + n}\n", f"{2 + n}\n"]},
            "problem_id": f"apps_plus_{n}",
            "difficulty": "introductory",
            "num_tests": 2,
        }
        for n in range(problems)
    ]
    return {
        "format_version": "2.0",
        "count": problems,
        "max_tests_per_problem": 2,
        "prompts_with_tests": rows,
    }


@pytest.fixture
def theirs(sft_run, tmp_path, monkeypatch) -> Path:
    """Their files under the names that the page uses, with a small model in the place of the real one."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "data" / "prompts").mkdir(parents=True)
    (tmp_path / "data" / "prompts" / "ppo_prompts_with_tests.json").write_text(json.dumps(prompts_file(40)))
    (tmp_path / "data" / "sft").mkdir()
    for name, count in (("train", 8), ("val", 2)):
        rows = [{"prompt": f"Print {n}.\n", "completion": f"print({n})\n"} for n in range(count)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "data" / "sft" / f"{name}.jsonl").write_text(lines)
    model = AutoModelForCausalLM.from_pretrained(sft_run / "model")
    tokenizer = AutoTokenizer.from_pretrained(sft_run / "model")
    base = tmp_path / "deepseek-ai" / "deepseek-coder-1.3b-instruct"
    for folder in (base, tmp_path / "base"):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    adapter = tmp_path / "checkpoints" / "sft_stdin" / "best"
    model.name_or_path = str(tmp_path / "base")
    get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])).save_pretrained(
        adapter
    )
    tokenizer.save_pretrained(adapter)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALLER = {
    "prepare": ["--heldout", "0.3"],
    "sft": ["--epochs", "1", "--threads", "1", "--max-prompt-tokens", "128"],
    "ppo": ["--iterations", "1", "--max-new-tokens", "8", "--num-validation", "2", "--threads", "1"],
    "evaluate": ["--num-problems", "2", "--max-new-tokens", "8", "--threads", "1"],
    "export": [],
}


@pytest.mark.slow
def test_the_commands_run_on_their_files(theirs):
    """In their order, on few problems, with a model of a few thousand parameters; the code block, too."""
    ran = []
    for kind, block in BLOCKS:
        if kind == "python":
            exec(block, {})
            continue
        for line in block.splitlines():
            _, script, *rest = shlex.split(line)
            name = "evaluate" if script == "evaluate.py" else rest.pop(0)
            assert command(name, *rest, *SMALLER[name]) == 0, line
            ran.append(name)
    assert ran == ["prepare", "sft", "ppo", "ppo", "ppo", "evaluate", "export"]
    assert len(load_problems(theirs / "data" / "problems.jsonl")) < 40
    measured = json.loads((theirs / "results" / "evaluation.json").read_text())["models"]
    assert [model["name"] for model in measured] == ["runs/sft", "runs/simple", "runs/fresh", "runs/continue"]
    AutoModelForCausalLM.from_pretrained(theirs / "models" / "continue")
    begin = ["ppo", "--sft", "models/theirs", "--problems", "data/prompts/ppo_prompts_with_tests.json"]
    assert command(*begin, "--validation", "None", *SMALLER["ppo"], "--out", "runs/theirs") == 0
