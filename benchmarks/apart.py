"""A measurement in a fresh process: nothing is inherited, neither memory nor threads."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from typing import Any

from indexer.errors import UnavailableError

# A network of its own, with nothing in it but the loopback interface.
ALONE = ("unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$0" "$@"')


def call_apart(function: str, *arguments: object, cores: int, alone: bool = False) -> Any:  # noqa: ANN401
    """What `module:name` returns for `arguments`, all of which JSON can carry; on the first `cores` cores.

    Raises:
        UnavailableError: The process failed; what it said is on stderr.
    """
    if alone and shutil.which("unshare") is None:
        raise UnavailableError(
            "a server that listens on every interface needs `unshare` (util-linux) to be shut in"
        )
    command = [*(ALONE if alone else ()), sys.executable, "-m", __name__, function, str(cores)]
    environment = os.environ | {"OMP_NUM_THREADS": str(cores), "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        command, input=json.dumps(arguments), stdout=subprocess.PIPE, text=True, env=environment, check=False
    )
    if done.returncode != 0:
        raise UnavailableError(f"{function}{arguments} ended with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    from benchmarks.processes import confined

    module, _, name = sys.argv[1].partition(":")
    with confined(int(sys.argv[2])):
        answer = getattr(importlib.import_module(module), name)(*json.load(sys.stdin))
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
