"""The jobs that a search without a match starts: one for each query text, however it is spelt.

Whoever starts them and whoever learns from them (`service`, `training`) agree here on what they look like.
"""

from indexer.imaging.decode import sha256_of
from indexer.tables.jobs import JobTable
from rerank.generate.safety import normalised

PREFIX = "miss:"


def subject_of(collection: str, text: str) -> str:
    """miss:COLLECTION:HASH. `text` need not be valid Unicode: it is what somebody typed."""
    return f"{PREFIX}{collection}:{sha256_of(normalised(text).encode('utf-8', 'surrogatepass'))}"


def prompts_of_misses(jobs: JobTable, collection: str) -> list[str]:
    """What each of these jobs was to draw, whatever became of it, the oldest first."""
    return [str(job.params["prompt"]) for job in jobs.about_any(f"{PREFIX}{collection}:")]
