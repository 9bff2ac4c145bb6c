"""A device for indexes in this machine's memory: FAISS clones an index there as it does to a GPU."""

from typing import Any

import faiss

from indexer.ann.gpu import Gpu


class Device:
    """Memory of this machine in the place of a GPU's. `room` False: it has none left."""

    def __init__(self, room: bool = True) -> None:
        self.room = room
        self.clones: list[str] = []

    def clone(self, index: Any) -> Any:  # noqa: ANN401
        if not self.room:
            raise RuntimeError("Error: 'err == cudaSuccess' failed: out of memory\nmore")
        self.clones.append(type(index).__name__)
        return index if isinstance(index, faiss.IndexScalarQuantizer) else faiss.clone_index(index)


def gpu_over(device: Device) -> Gpu:
    return Gpu("gpu:0", device.clone)
