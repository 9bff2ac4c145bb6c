"""A FAISS that has renamed or changed something that Kallos uses fails here, not in a search."""

import re
from pathlib import Path

import numpy as np
import pytest

import indexer
from indexer.ann import faiss_interface as faiss

ROOT = Path(indexer.__file__).parent
MEMBERS = {  # beyond the constructors: what is called on FAISS's objects, or read and written in them
    "Clustering": ("centroids", "min_points_per_centroid", "niter", "seed", "spherical", "train"),
    "FileIOWriter": ("f",),
    "IndexFlatIP": ("add", "d", "ntotal", "reset", "search"),
    "IndexHNSWCagra": ("base_level_only", "own_fields", "storage"),
    "IndexHNSWSQ": ("add", "hnsw", "own_fields", "search", "storage", "train"),
    "IndexIVFRaBitQ": ("add_core", "invlists", "replace_invlists", "search_preassigned_c"),
    "IndexIVFScalarQuantizer": (
        *("add_core", "code_size", "invlists", "is_trained", "metric_type", "nlist", "quantizer"),
        *("replace_invlists", "search_preassigned_c", "sq", "train"),
    ),
    "IndexScalarQuantizer": ("codes", "is_trained", "ntotal", "search", "sq"),
    "InvertedLists": ("SUBSET_TYPE_ID_RANGE", "copy_subset_to", "get_ids", "list_size"),
    "MaybeOwnedVectorUInt8": ("create_view", "owner"),
    "ScalarQuantizer": ("QT_fp16", "qtype", "trained"),
}


def used(path: Path) -> set[str]:
    """Names that a module takes from the interface, in annotations too."""
    return set(re.findall(r"(?<![\w.-])faiss\.([A-Za-z]\w*)", path.read_text()))


def test_the_interface_names_what_is_used_and_nothing_else() -> None:
    modules = [path for path in ROOT.rglob("*.py") if path.name != "faiss_interface.py"]
    names = set().union(*(used(path) for path in modules))
    own = {"read_index", "write_index", "has_cagra", "gpu_symbol"}
    assert names - own == set(faiss.__all__)


@pytest.mark.parametrize("name", faiss.__all__)
def test_every_symbol_is_there(name: str) -> None:
    assert getattr(faiss, name) is not None


@pytest.mark.parametrize(("name", "member"), [(name, one) for name, some in MEMBERS.items() for one in some])
def test_every_member_is_there(name: str, member: str) -> None:
    assert hasattr(getattr(faiss, name), member)


def test_a_view_reads_the_memory_that_it_was_given() -> None:
    rows_ND = np.arange(32, dtype=np.float16).reshape(4, 8)
    index = faiss.IndexScalarQuantizer(8, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    flat = rows_ND.view(np.uint8).reshape(-1)
    index.codes = faiss.MaybeOwnedVectorUInt8.create_view(
        faiss.swig_ptr(flat), flat.nbytes, index.codes.owner
    )
    index.ntotal, index.is_trained = 4, True
    query_1D = np.ones((1, 8), np.float32)
    assert index.search(query_1D, 1)[1].tolist() == [[3]]
    rows_ND[0] = 100
    assert index.search(query_1D, 1)[1].tolist() == [[0]]


def test_a_bitmap_selects_bit_by_bit_the_lowest_first() -> None:
    index = faiss.IndexFlatIP(1)
    index.add(np.arange(16, dtype=np.float32)[:, None])
    selector = faiss.IDSelectorBitmap(np.array([0b0000_0100, 0b0000_0010], np.uint8))
    found = index.search(np.ones((1, 1), np.float32), 4, params=faiss.SearchParameters(sel=selector))[1]
    assert found.tolist() == [[9, 2, -1, -1]]


def test_gpu_symbols_are_all_there_or_none() -> None:
    assert faiss.has_cagra() or faiss.get_num_gpus() == 0 or faiss.gpu_symbol("StandardGpuResources")
    with pytest.raises(AssertionError):
        faiss.gpu_symbol("IndexFlatIP")
