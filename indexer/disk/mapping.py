"""A file that grows, mapped once.

Python's own mapping ends where the file does, so that each addition would need a new one: and then every
search finds all the pages that it touches mapped anew, which takes as long as the search.

Dimension key   B bytes
"""

import ctypes
import mmap
import os
import weakref
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray


def map_beyond(path: Path, length: int) -> UInt8[ndarray, " b"]:
    """The first `length` bytes of a file, for reading; what it does not have yet appears when it is appended.

    Unmapped with the last array that shows a part of it. To read what is not there is fatal (SIGBUS), so an
    array of what is there has to be cut out.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    with path.open("rb") as file:
        address = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    if address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    mapped = (ctypes.c_ubyte * length).from_address(address)
    weakref.finalize(mapped, libc.munmap, address, length).atexit = False
    bytes_B = np.frombuffer(memoryview(mapped), np.uint8)
    bytes_B.flags.writeable = False
    return bytes_B
