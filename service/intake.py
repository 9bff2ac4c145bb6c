"""What takes pictures into a collection: measured, encoded, stored."""

from dataclasses import dataclass

from indexer.collection.collection import Collection
from indexer.errors import IndexingUnavailableError
from indexer.imaging.measurer import Measurer
from indexer.ingest.ingest import Ingest
from indexer.protocols import Encoder
from service.pictures import PictureFiles


@dataclass(frozen=True, slots=True)
class Intake:
    """Without a `measurer` nothing is taken in, and `problem` says why."""

    collection: Collection
    encoder: Encoder
    pictures: PictureFiles
    measurer: Measurer | None
    threads: int
    problem: str | None = None

    def ingest(self, *, sync: bool = False) -> Ingest:
        """One run; add callbacks with `dataclasses.replace`. Raises IndexingUnavailableError."""
        if self.measurer is None:
            raise IndexingUnavailableError(f"no picture can be indexed: {self.problem}")
        return Ingest(
            self.collection,
            self.encoder,
            self.pictures.thumbnails,
            self.pictures.limits,
            threads=self.threads,
            measurer=self.measurer,
            sync=sync,
        )
