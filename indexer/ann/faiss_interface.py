"""What Kallos uses of FAISS, name by name. The only importer of faiss.

Some of it is FAISS's inside: a release that renames or changes it has to fail here, or in the test that names
every member, not in a search.
"""

import ctypes
import errno
import os
from pathlib import Path
from typing import Any

import faiss
from faiss import (
    IO_FLAG_MMAP_IFC,
    IO_FLAG_SKIP_STORAGE,
    METRIC_INNER_PRODUCT,
    Clustering,
    FileIOWriter,
    Float16,
    IDSelector,
    IDSelectorBitmap,
    IndexFlatIP,
    IndexHNSWCagra,
    IndexHNSWSQ,
    IndexIVFRaBitQ,
    IndexIVFScalarQuantizer,
    IndexScalarQuantizer,
    InvertedLists,
    MaybeOwnedVectorUInt8,
    ScalarQuantizer,
    SearchParameters,
    SearchParametersHNSW,
    SearchParametersIVF,
    copy_array_to_vector,
    get_num_gpus,
    index_factory,
    omp_get_max_threads,
    omp_set_num_threads,
    rev_swig_ptr,
    swig_ptr,
    vector_to_array,
)

from indexer.errors import CorruptStoreError

__all__ = [
    "IO_FLAG_MMAP_IFC",
    "IO_FLAG_SKIP_STORAGE",
    "METRIC_INNER_PRODUCT",
    "Clustering",
    "Float16",
    "IDSelector",
    "IDSelectorBitmap",
    "IndexFlatIP",
    "IndexHNSWCagra",
    "IndexHNSWSQ",
    "IndexIVFRaBitQ",
    "IndexIVFScalarQuantizer",
    "IndexScalarQuantizer",
    "InvertedLists",
    "MaybeOwnedVectorUInt8",
    "ScalarQuantizer",
    "SearchParameters",
    "SearchParametersHNSW",
    "SearchParametersIVF",
    "copy_array_to_vector",
    "get_num_gpus",
    "index_factory",
    "omp_get_max_threads",
    "omp_set_num_threads",
    "rev_swig_ptr",
    "swig_ptr",
    "vector_to_array",
]

GPU_SYMBOLS = ("StandardGpuResources", "index_cpu_to_gpu")  # in faiss-gpu and faiss-gpu-cuvs
CAGRA_SYMBOLS = (  # in faiss-gpu-cuvs only
    "GpuIndexCagra",
    "GpuIndexCagraConfig",
    "SearchParametersCagra",
    "graph_build_algo_NN_DESCENT",
)

_LIBC = ctypes.CDLL(None, use_errno=True)


def has_cagra() -> bool:
    return all(hasattr(faiss, name) for name in CAGRA_SYMBOLS)


def gpu_symbol(name: str) -> Any:  # noqa: ANN401 - a SWIG class
    """What only a GPU build has: one of GPU_SYMBOLS or CAGRA_SYMBOLS."""
    assert name in GPU_SYMBOLS + CAGRA_SYMBOLS, name
    return getattr(faiss, name)


def read_index(path: Path, flags: int) -> Any:  # noqa: ANN401
    try:
        return faiss.read_index(str(path), flags)
    except RuntimeError as error:
        raise CorruptStoreError(f"{path} is not a FAISS index: {error}") from error


def write_index(index: Any, path: Path, flags: int = 0) -> None:  # noqa: ANN401
    """Write `index`. OSError, as of any file, when the disk is full or cannot be written.

    FAISS flushes its last bytes when it closes the file, and only prints that they found no room: they are
    flushed here, before that.
    """
    try:
        writer = FileIOWriter(str(path))
        faiss.write_index(index, writer, flags)
    except RuntimeError as error:  # with the text of the system, and without its number
        code = next((code for code in errno.errorcode if os.strerror(code) in str(error)), errno.EIO)
        raise OSError(code, os.strerror(code), str(path)) from error
    if _LIBC.fflush(ctypes.c_void_p(int(writer.f))) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
