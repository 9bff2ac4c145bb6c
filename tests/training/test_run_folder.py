"""What a run leaves behind says which sources made it, where that can be known."""

from pathlib import Path

import pytest

from training.run_folder import commit


def test_without_git_the_sources_are_unknown_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() == "unknown"
