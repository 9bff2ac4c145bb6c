"""One search for query, negatives, words and axes equals brute force over the sum: 100,000 pictures, with
filters, scanned exactly and through an index that is asked for everything.
"""

from pathlib import Path

import numpy as np
import pytest

from indexer.collection.collection import Collection
from indexer.collection.compaction import Aims, compact
from indexer.filters.language import parse_filter
from indexer.tables.axes import AxisStore
from indexer.types import JSONValue
from rerank.axes.fit_axis import FromExtremes, fit_axis
from rerank.types import SearchQuery, TextPart, VectorPart
from tests.support.encoder import DIM, ColourEncoder
from tests.support.engine import open_engine
from tests.support.pictures import new_image, unit_vectors

pytestmark = pytest.mark.slow

N = 100_000
K = 50


def tags_of(n: int) -> list[JSONValue]:
    return ["boat"] if n % 91 == 0 else []


def words_value(n: int) -> float:
    """Of "boat": it stands once in every 77th caption, which weighs 2, and as a tag, which weighs 3."""
    count = 2 * (n % 77 == 0) + 3 * (n % 91 == 0)
    return float((count / (count + 1.2)) ** 1.5)


@pytest.mark.parametrize("indexed", [False, True])
def test_a_mixed_search_equals_brute_force_over_100_000_pictures(tmp_path: Path, indexed: bool) -> None:
    collection = Collection.open(tmp_path, model_id="colours-1", dim=DIM)
    vectors_ND = unit_vectors(N, DIM, seed=12)
    for start in range(0, N, 20_000):
        images = [
            new_image(n, kind=n % 10, caption="a boat at sea" if n % 77 == 0 else "a hill", tags=tags_of(n))
            for n in range(start, start + 20_000)
        ]
        collection.add(images, vectors_ND[start : start + 20_000])
    if indexed:
        compact(collection, Aims(memory_bytes=1 << 28, threads=2), family="ivf_sq8")
    axes = AxisStore(collection.database, "default")
    axes.put(fit_axis("warm", FromExtremes((1, 2, 3), (4, 5, 6)), collection, ColourEncoder()))
    direction_D = axes.get("warm").direction_D
    assert direction_D is not None
    engine = open_engine(collection, axes)
    stored_ND = vectors_ND.astype(np.float16).astype(np.float32)
    wish_D, unlike_D = unit_vectors(4, DIM, seed=13)[:2]
    text_D = ColourEncoder().encode_texts(["boat"])[0]
    whole_D = wish_D - 0.5 * unlike_D + text_D
    query_N = stored_ND @ (whole_D / np.linalg.norm(whole_D))
    words_N = 10.0 * np.array([words_value(n) for n in range(N)])
    value_N = stored_ND @ direction_D
    for kinds in (None, [3], [0, 1, 2, 3, 4, 5, 6]):
        answer = engine.search(
            SearchQuery(
                (VectorPart(wish_D), VectorPart(unlike_D, -0.5), TextPart("boat")),
                axes={"warm": 1.5},
                filter=None if kinds is None else parse_filter({"match": {"kind": kinds}}),
                recall=1.0,
                limit=K,
            )
        )
        allowed_N = np.ones(N, bool) if kinds is None else np.isin(np.arange(N) % 10, kinds)
        assert (answer.mode, answer.candidates) == ("exact", allowed_N.sum())
        places = [int(hit.image.uri.rpartition("/")[2].removesuffix(".png")) for hit in answer.hits]
        # Mean and spread of an axis are those of a sample. Two hits give them away, and nothing is left open.
        share_K = np.array([hit.contributions["warm"] for hit in answer.hits])
        value_K = value_N[places]
        low, high = int(np.argmin(value_K)), int(np.argmax(value_K))
        scale = (share_K[high] - share_K[low]) / (value_K[high] - value_K[low])
        offset = value_K[high] - share_K[high] / scale
        assert scale == pytest.approx(1.5 * query_N.std() / value_N.std(), rel=0.02)
        assert offset == pytest.approx(value_N.mean(), abs=0.01)
        share = max(hit.contributions["words"] for hit in answer.hits)  # of a picture with both
        unit = share / words_N.max()
        assert unit == pytest.approx(query_N.std(), rel=0.02)
        score_N = np.where(allowed_N, query_N + scale * (value_N - offset) + unit * words_N, -np.inf)
        best_K = np.sort(score_N)[::-1][:K]
        assert [hit.score for hit in answer.hits] == pytest.approx(best_K.tolist(), abs=1e-4)
        assert score_N[places].tolist() == pytest.approx(best_K.tolist(), abs=1e-4)
    collection.close()
