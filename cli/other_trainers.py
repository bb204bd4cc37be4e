"""Problems as the data of other trainers: `train.py prepare --to`, for the adapters in reward/adapters/.

The user's message is that of a chat model here (`ppo/prompts.py`), and the ground truth is the problem as a
line of JSON, without its reference programs.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from data import Problem
from data.files import write_atomically
from data.forms import row_of
from ppo.prompts import CHAT_FUNCTION, CHAT_INSTRUCTION

Trainer = Literal["trl", "verl", "openrlhf"]
SUFFIXES: dict[Trainer, str] = {"trl": "jsonl", "verl": "parquet", "openrlhf": "jsonl"}


def path_for(trainer: Trainer, path: Path) -> Path:
    """Beside a file of problems: problems.jsonl -> problems.trl.jsonl."""
    return path.with_name(f"{path.stem}.{trainer}.{SUFFIXES[trainer]}")


def write_for(trainer: Trainer, path: Path, problems: Sequence[Problem]) -> None:
    """Write what a trainer reads. Raises DataError where that cannot be written."""
    rows = [_ROWS[trainer](problem, index) for index, problem in enumerate(problems)]
    if SUFFIXES[trainer] == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        write_atomically(path, sink.getvalue().to_pybytes())
    else:
        write_atomically(path, "".join(_lines(rows)).encode())


def message(problem: Problem) -> str:
    """What a user asks a chat model for."""
    text = problem.prompt.strip()
    if problem.entry_point is None:
        return CHAT_INSTRUCTION.replace("{problem}", text)
    return CHAT_FUNCTION.replace("{name}", problem.entry_point).replace("{problem}", text)


def ground_truth(problem: Problem) -> str:
    """The problem as the adapters read it."""
    return json.dumps(row_of(replace(problem, solutions=())), ensure_ascii=False)


def _trl(problem: Problem, index: int) -> dict[str, Any]:
    """Columns beside `prompt` reach the reward function by their names."""
    prompt = [{"role": "user", "content": message(problem)}]
    return {"prompt": prompt, "ground_truth": ground_truth(problem), "id": problem.id}


def _verl(problem: Problem, index: int) -> dict[str, Any]:
    """The columns of verl's RLHFDataset; `data_source` only groups its metrics."""
    return {
        "data_source": "coderl",
        "prompt": [{"role": "user", "content": message(problem)}],
        "ability": "code",
        "reward_model": {"style": "rule", "ground_truth": ground_truth(problem)},
        "extra_info": {"index": index, "id": problem.id, "split": problem.split or "train"},
    }


def _openrlhf(problem: Problem, index: int) -> dict[str, Any]:
    """For `--data.input_key input --data.label_key label` with its own chat template on."""
    return {"input": message(problem), "label": ground_truth(problem)}


_ROWS = {"trl": _trl, "verl": _verl, "openrlhf": _openrlhf}


def _lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"
