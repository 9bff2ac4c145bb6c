"""Make a virtual environment on a machine that may have nothing but Python.

Debian and Ubuntu ship Python without `ensurepip`; as root the missing package is installed, otherwise the
message says which one it is.
"""

import os
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec

WANTED = (3, 11)


def main(folder: str) -> int:
    if sys.version_info < WANTED:
        return _fail(
            f"Python {sys.version.split()[0]} is too old: Kallos needs 3.11 or newer (PYTHON=… make)"
        )
    if find_spec("ensurepip") is None:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        if not (shutil.which("apt-get") and os.geteuid() == 0):
            return _fail(f"Python's venv module is incomplete: install it with `apt-get install {package}`")
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], check=True)
        # This interpreter has already looked for ensurepip: start over.
        os.execv(sys.executable, [sys.executable, __file__, folder])
    venv.create(folder, with_pip=True)
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(message + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
