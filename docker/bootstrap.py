"""Make a virtual environment on a machine that may have nothing but Python.

Debian and Ubuntu ship Python without `ensurepip`. The wheel of pip then comes from their package
`python3-pip-whl`, which is unpacked and not installed, so it needs no root.
"""

from __future__ import annotations  # an older Python must get as far as its message

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from importlib.util import find_spec
from pathlib import Path

WANTED = (3, 11)
PIP_PACKAGE = "python3-pip-whl"


def main(folder: Path) -> int:
    if sys.version_info < WANTED:
        return _fail(
            f"Python {sys.version.split()[0]} is too old: Kallos needs 3.11 or newer (PYTHON=… make)"
        )
    if find_spec("ensurepip") is not None:
        venv.create(folder, with_pip=True)
        return 0
    with tempfile.TemporaryDirectory() as work:
        wheel = _pip_wheel(Path(work))
        if wheel is None:
            package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
            return _fail(f"Python's venv module is incomplete: install it with `apt-get install {package}`")
        venv.create(folder, clear=True)
        # A wheel is a zip file that Python runs from: this is pip, installing itself.
        pip = [str(folder / "bin/python"), str(wheel / "pip"), "install", "--quiet", "--no-index", str(wheel)]
        subprocess.run(pip, check=True)
    return 0


def _pip_wheel(work: Path) -> Path | None:
    """The wheel of pip that the distribution has; None where there is no apt-get, or no such package."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return None
    if os.geteuid() == 0:  # a fresh machine has no package lists, and only root may fetch them
        subprocess.run(["apt-get", "update", "-qq"], check=True)
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", PIP_PACKAGE]
    if subprocess.run(download, cwd=work, check=False).returncode != 0:
        return None
    for archive in work.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(archive), str(work)], check=True)
    return next(work.rglob("pip-*.whl"), None)


def _fail(message: str) -> int:
    sys.stderr.write(message + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
