"""A map of a file that grows."""

from pathlib import Path

import pytest

from indexer.disk.mapping import map_beyond


def test_a_mapping_shows_what_is_appended_later(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"abc")
    mapped_B = map_beyond(path, 1 << 20)
    with path.open("ab") as file:
        file.write(bytes(9000))
        file.write(b"xyz")
    assert mapped_B[:3].tobytes() + mapped_B[9000:9006].tobytes() == b"abc\0\0\0xyz"
    with pytest.raises(ValueError, match="read-only"):
        mapped_B[0] = 1
