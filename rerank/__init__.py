"""The query engine: a query and axes → an ordered list with its reasons, or a picture.

engine       the front door: search, rank, distribution
search, rank how each is answered; `plan` is a search before it runs, `page` and `cursor` its pages
query        text, pictures, ids and vectors → one unit vector
axes         rank axes: taught, judged, kept as files, weighed in a score
match        how probable it is that anything fits
rephrase     a language model says the query in more words
shortlist    near-duplicates and diversity over a pool (`diversity` has the mathematics)
generate     words → a picture; independent of everything else here
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rerank.engine import Engine as Engine
    from rerank.types import Answer as Answer
    from rerank.types import Hit as Hit
    from rerank.types import IdPart as IdPart
    from rerank.types import ImagePart as ImagePart
    from rerank.types import RankQuery as RankQuery
    from rerank.types import SearchQuery as SearchQuery
    from rerank.types import TextPart as TextPart
    from rerank.types import VectorPart as VectorPart

_EXPORTS = {
    "Answer": "rerank.types",
    "Engine": "rerank.engine",
    "Hit": "rerank.types",
    "IdPart": "rerank.types",
    "ImagePart": "rerank.types",
    "RankQuery": "rerank.types",
    "SearchQuery": "rerank.types",
    "TextPart": "rerank.types",
    "VectorPart": "rerank.types",
}


def __getattr__(name: str) -> object:
    """Imported when it is asked for: `import rerank` alone loads nothing heavy."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
