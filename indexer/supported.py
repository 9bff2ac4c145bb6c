"""Where Kallos runs: said before anything is imported that other systems do not have, or have otherwise."""

import platform
import sys


def check_platform() -> None:
    """Raise ImportError on anything but 64-bit Linux.

    Locks with a queue, maps beyond the end of a file, priorities of single threads and the number of cores
    that a process may use are asked of its kernel.
    """
    if platform.system() != "Linux" or sys.maxsize < 2**63 - 1:
        word = 1 + sys.maxsize.bit_length()
        raise ImportError(
            f"Kallos runs on 64-bit Linux, this is {word}-bit {platform.system() or 'an unknown system'}: "
            "elsewhere take the container, docker/compose.yaml"
        )
