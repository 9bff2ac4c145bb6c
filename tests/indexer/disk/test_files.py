"""Files are counted while others write and remove them."""

import os
from pathlib import Path

import pytest

from indexer.disk.files import size_of


def test_files_that_vanish_while_a_folder_is_measured_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"1234567")
    stat = os.stat

    def last_look(path: str | Path, **options: bool) -> os.stat_result:
        """All files go as soon as one has been looked at."""
        status = stat(path, **options)
        if Path(path).parent == tmp_path:
            for file in tmp_path.iterdir():
                file.unlink()
        return status

    monkeypatch.setattr(os, "stat", last_look)
    assert size_of(tmp_path) == 7
