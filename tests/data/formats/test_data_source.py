"""What `prepare` may be pointed at: files and folders, Parquet group by group, splits by name."""

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from data import DataError
from data.formats import parquet
from data.formats.known import read_row
from data.formats.source import source_rows, split_of

TACO = {
    "question": "Print n + 1.",
    "solutions": '["print(int(input()) + 1)"]',
    "input_output": '{"inputs": ["1\\n"], "outputs": ["2\\n"]}',
    "difficulty": "EASY",
    "time_limit": None,
    "skill_types": "[]",
    "picture_num": "0",
}
CODECONTESTS = {
    "name": "1_A. Next",
    "description": "Print n + 1.",
    "public_tests": {"input": ["1\n"], "output": ["2\n"]},
    "private_tests": {"input": [], "output": []},
    "solutions": {"language": [2, 3], "solution": ["int main() {}", "print(int(input()) + 1)\n"]},
    "incorrect_solutions": {"language": [3] * 9, "solution": ["print(1)"] * 9},
}
OWN = {"id": "a", "prompt": "Print n.", "tests": [{"input": "1\n", "output": "1\n"}]}


def write_parquet(path: Path, rows: list[dict], row_group_size: int = 2) -> Path:
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, path, row_group_size=row_group_size)
    return path


def lines(path: Path, *rows: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("row", [TACO, CODECONTESTS, OWN], ids=["TACO", "CodeContests", "own"])
def test_parquet_gives_the_problems_that_json_gives(tmp_path, row):
    path = write_parquet(tmp_path / "data.parquet", [row] * 5)
    found = list(source_rows(path))
    assert [each.where for each in found] == [f"{path}:row {number}" for number in range(1, 6)]
    assert [read_row(each.row, "1") for each in found] == [read_row(row, "1")] * 5


def test_columns_that_are_of_no_use_are_not_read(tmp_path):
    (row,) = source_rows(write_parquet(tmp_path / "a", [CODECONTESTS]))
    assert "solutions" in row.row
    assert "incorrect_solutions" not in row.row


def test_row_groups_are_read_one_after_the_other(tmp_path, monkeypatch):
    """No more than one batch is in memory: the first row is there before the last group is read."""
    groups: list[list[int]] = []
    plain = pyarrow.parquet.ParquetFile

    class Watched(plain):
        def iter_batches(self, size, *, row_groups, columns):
            groups.append(row_groups)
            assert size <= parquet._BATCH
            return super().iter_batches(size, row_groups=row_groups, columns=columns)

    path = write_parquet(tmp_path / "a", [TACO] * 6)
    monkeypatch.setattr(pyarrow.parquet, "ParquetFile", Watched)
    rows = source_rows(path)
    next(rows)
    assert groups == [[0]]
    assert len(list(rows)) == 5 and groups == [[0], [1], [2]]


def test_memory_does_not_grow_with_the_file(tmp_path):
    """What Arrow holds while the rows go by is a group or two, of the thirty there are."""
    size, groups = 1 << 18, 30
    rows = [{**TACO, "solutions": json.dumps([f"{number:0{size}d}"])} for number in range(groups)]
    path = write_parquet(tmp_path / "a", rows, row_group_size=1)
    del rows
    before = pyarrow.total_allocated_bytes()
    held = [pyarrow.total_allocated_bytes() - before for _ in source_rows(path)]
    assert len(held) == groups
    assert size <= max(held) < groups * size / 4


def test_a_parquet_file_that_cannot_be_used_is_named(tmp_path):
    whole = write_parquet(tmp_path / "a.parquet", [TACO]).read_bytes()
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.parquet: not a whole Parquet file .*; fetch it again"):
        list(source_rows(cut))
    other = write_parquet(tmp_path / "other.parquet", [{"a": 1, "b": 2}])
    with pytest.raises(
        DataError, match=r"the columns are those of no known set: its keys are a, b; known are .*TACO"
    ):
        list(source_rows(other))


def test_a_parquet_file_without_a_column_says_which(tmp_path):
    row = {key: value for key, value in CODECONTESTS.items() if key not in ("public_tests", "name")}
    there = ", ".join(sorted(row))
    with pytest.raises(DataError, match=f"its keys are {there}; of CodeContests are missing public_tests$"):
        list(source_rows(write_parquet(tmp_path / "a.parquet", [row])))


def test_a_folder_gives_the_rows_of_its_files_and_their_splits(tmp_path):
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [TACO])
    lines(tmp_path / "train.jsonl", OWN, {**OWN, "id": "b"})
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "valid.json.gz").write_bytes(gzip.compress(json.dumps([OWN]).encode()))
    (tmp_path / "README.md").write_text("no data")
    found = [(Path(row.where.split(":")[0]).name, row.split) for row in source_rows(tmp_path)]
    assert found == [
        ("valid.json.gz", "validation"),
        ("test-00000-of-00001.parquet", "heldout"),
        ("train.jsonl", "train"),
        ("train.jsonl", "train"),
    ]


def test_apps_folders_of_two_splits_keep_their_ids_apart(tmp_path):
    for split in ("train", "test"):
        folder = tmp_path / split / "0000"
        folder.mkdir(parents=True)
        (folder / "question.txt").write_text("Print n.")
    assert [(row.row["id"], row.split) for row in source_rows(tmp_path)] == [
        ("heldout/0000", "heldout"),
        ("train/0000", "train"),
    ]
    assert [(row.row["id"], row.split) for row in source_rows(tmp_path / "test")] == [("0000", None)]


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no APPS task .* and no file ending in"):
        list(source_rows(tmp_path))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00009.parquet", "train"),
        ("TRAIN.jsonl", "train"),
        ("test.jsonl", "heldout"),
        ("validation-0.parquet", "validation"),
        ("dev.json", "validation"),
        ("problems.jsonl", None),
        ("trainer.jsonl", None),
        ("data.json", None),
    ],
)
def test_a_split_is_told_by_the_name(name, split):
    assert split_of(name) == split
