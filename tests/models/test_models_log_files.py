"""The logs of a run on a disk that is full."""

import pytest

from models.log_files import LogFiles


def test_what_a_full_disk_refused_is_told_once(tmp_path):
    """Closing must not fail with it again, and take the place of the error that names the way on."""
    (tmp_path / "a.jsonl").symlink_to("/dev/full")
    files = LogFiles(tmp_path, ["a.jsonl", "b.jsonl"])
    files.append("a.jsonl", {"loss": 1.0})
    with pytest.raises(OSError, match="No space left"):
        files.flush()
    files.close()
