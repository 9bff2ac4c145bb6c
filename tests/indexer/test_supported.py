"""Who starts Kallos on another system is told so, and not by a missing name."""

import platform
import subprocess
import sys

import pytest

from indexer.supported import check_platform


def test_64_bit_linux_is_supported() -> None:
    check_platform()


@pytest.mark.parametrize("system", ["Darwin", "Windows", "FreeBSD"])
def test_another_system_is_named_before_anything_else_is_imported(system: str) -> None:
    code = f"import platform; platform.system = lambda: {system!r}; import indexer.collection.collection"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    expected = (
        f"ImportError: Kallos runs on 64-bit Linux, this is 64-bit {system}: elsewhere take the container"
    )
    assert done.stderr.splitlines()[-1].startswith(expected)


def test_a_32_bit_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    with pytest.raises(ImportError, match=f"this is 32-bit {platform.system()}"):
        check_platform()
