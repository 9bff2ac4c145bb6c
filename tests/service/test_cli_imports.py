"""Help, the version and a typo answer at once: they import nothing of what commands need."""

import subprocess
import sys

import pytest

from tests.support.processes import unmeasured

HEAVY = ("PIL", "faiss", "fastapi", "numpy", "onnxruntime", "pyarrow", "sqlite3", "torch", "uvicorn")
MODULES = {"kallos": "service.cli.main", "kallos-train": "training.cli"}
RUN = """
import sys
from {module} import main
sys.argv = {words!r}
try:
    status = main()
except SystemExit as end:
    status = end.code
loaded = [name for name in {heavy!r} if name in sys.modules]
sys.exit(f"loaded {{loaded}}" if loaded else status)
"""


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("kallos --help", 0),
        ("kallos --version", 0),
        ("kallos serach", 2),
        ("kallos search --help", 0),
        ("kallos search --limit many", 2),
        ("kallos rank --help", 0),
        ("kallos index --help", 0),
        ("kallos generate --help", 0),
        ("kallos serve --help", 0),
        ("kallos-train --help", 0),
        ("kallos-train evalaute", 2),
        ("kallos-train pcpo --help", 0),
    ],
)
def test_what_needs_nothing_imports_nothing(line: str, status: int) -> None:
    words = line.split()
    code = RUN.format(module=MODULES[words[0]], words=words, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=unmeasured()
    )
    assert done.returncode == status, done.stderr
