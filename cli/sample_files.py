"""What an evaluation keeps beside its table: every sample, and its programs as other evaluators read them.

evaluation_samples.jsonl   a row per sample, with all that one needs to judge it by reading; "greedy": true
                           marks answers at temperature 0
evalplus_samples.jsonl     {"task_id", "solution"} per sample: `evalplus.evaluate --samples`
generations.json           a list of programs per problem: bigcode's harness, `--load_generations_path`

The last two are of one model each: of several models there are several, with their names at the end.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from data import Problem, with_stub

Row = Mapping[str, Any]


class Keep(Protocol):
    """Takes the name of a model and the rows of its samples, and of its greedy answers."""

    def __call__(self, model: str, rows: Sequence[Row], greedy: Sequence[Row] = ()) -> None:
        """Once for each model, in their order."""


# Ids under which EvalPlus knows the problems of HumanEval(+) and MBPP(+).
_EVALPLUS_ID = re.compile(r"(HumanEval|Mbpp)/[0-9]+")


def of_public_sets(problems: Sequence[Problem]) -> bool:
    """Whether EvalPlus has all of these problems."""
    return all(_EVALPLUS_ID.fullmatch(problem.id) for problem in problems)


def beside(out: Path, name: str) -> Path:
    """Where a file of the evaluation in `out` goes: evaluation.json has them under their plain names."""
    return out.with_name(name if out.stem == "evaluation" else f"{out.stem}_{name}")


@contextmanager
def sample_files(
    out: Path | None, models: Sequence[str], problems: Sequence[Problem], *, for_others: bool
) -> Iterator[Keep]:
    """Write the files beside `out`, model by model in their order; without `out` nothing is kept.

    evaluation_samples.jsonl has its name once the block ends well. `for_others`: write the other files too.
    """
    if out is None:
        yield lambda model, rows, greedy=(): None
        return
    marks = iter(_marks(models))  # one for each call: two models may go by one name
    with _written(beside(out, "evaluation_samples.jsonl")) as file:

        def keep(model: str, rows: Sequence[Row], greedy: Sequence[Row] = ()) -> None:
            for row in (*rows, *({"greedy": True, **row} for row in greedy)):
                file.write(json.dumps({"model": model, **row}, ensure_ascii=False).encode() + b"\n")
            if for_others:
                _write_for_others(out, next(marks), problems, rows)

        yield keep


def _write_for_others(out: Path, mark: str, problems: Sequence[Problem], rows: Sequence[Row]) -> None:
    # In the order of the problems, by which alone bigcode's harness tells them apart.
    programs: dict[str, list[str]] = {problem.id: [] for problem in problems}
    stubs = {problem.id: problem.stub for problem in problems}
    for row in rows:
        program, stub = row["program"], stubs[row["problem"]]
        # An answer may be the body alone; others run what they read without the stub.
        whole = program if program.startswith(stub) else with_stub(program, stub)[0]
        programs[row["problem"]].append(whole)
    with _written(beside(out, f"evalplus_samples{mark}.jsonl")) as file:
        for task, solutions in programs.items():
            for solution in solutions:
                file.write(json.dumps({"task_id": task, "solution": solution}).encode() + b"\n")
    with _written(beside(out, f"generations{mark}.json")) as file:
        file.write(json.dumps(list(programs.values())).encode() + b"\n")


def _marks(models: Sequence[str]) -> list[str]:
    """What tells the files of one model from those of another; nothing where there is one model."""
    if len(models) == 1:
        return [""]
    plain = [re.sub(r"[^A-Za-z0-9_.-]+", "-", model).strip("-.") for model in models]
    usable = all(plain) and len(set(plain)) == len(plain)
    return [f"-{name if usable else number}" for number, name in enumerate(plain, 1)]


@contextmanager
def _written(target: Path) -> Iterator[BinaryIO]:
    """A file that has its name once the block has ended well and all is on disk."""
    partial = target.with_name(target.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
