"""ONNX Runtime, configured once: the only module that imports it."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.errors import CorruptStoreError

# What people search for is private: its import alone makes a device id and would tell Microsoft.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort


class Session:
    """A graph on the CPU. `run` may be called from several threads.

    Raises CorruptStoreError when the file is not a graph.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        # Idle workers would otherwise burn the cores that decode the next pictures.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's exceptions share no base class of their own
            raise CorruptStoreError(f"{path}: not a usable ONNX graph: {error}") from error

    @property
    def inputs(self) -> list[str]:
        return [node.name for node in self._session.get_inputs()]

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> list[NDArray[np.float32]]:
        """All outputs, in the order of the graph."""
        return list(self._session.run(None, dict(feeds)))
