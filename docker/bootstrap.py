"""Make a virtual environment on a machine that may have nothing but Python.

Debian and Ubuntu ship Python without `ensurepip`. The wheel of pip then comes from their package
`python3-pip-whl`, which is unpacked and not installed, so nobody has to be root. A fresh machine has no
package lists either: they are fetched into a temporary folder.
"""

from __future__ import annotations  # an older Python must get as far as its message

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
            return _fail(
                "Python's venv module is incomplete, and pip could not be fetched: install it as root with "
                f"`apt-get update && apt-get install {package}`"
            )
        venv.create(folder, clear=True)
        # A wheel is a zip file that Python runs from: this is pip, installing itself.
        pip = [str(folder / "bin/python"), str(wheel / "pip"), "install", "--quiet", "--no-index", str(wheel)]
        subprocess.run(pip, check=True)
    return 0


def _pip_wheel(work: Path) -> Path | None:
    """The wheel of pip that the distribution has; None where there is no apt-get, or no such package."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return None
    (work / "lists/partial").mkdir(parents=True)
    (work / "cache/archives/partial").mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root"]
    own = ["-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}/cache"]
    # With the lists of this machine, or where it has none, or old ones, with lists of our own.
    download = _succeeds([*apt, "download", PIP_PACKAGE], work)
    if not download and _succeeds([*apt, *own, "update"], work):
        download = _succeeds([*apt, *own, "download", PIP_PACKAGE], work)
    if not download:
        return None
    for archive in work.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(archive), str(work)], check=True)
    return next(work.rglob("pip-*.whl"), None)


def _succeeds(command: list[str], work: Path) -> bool:
    return subprocess.run(command, cwd=work, check=False, stderr=subprocess.DEVNULL).returncode == 0


def _fail(message: str) -> int:
    sys.stderr.write(message + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
