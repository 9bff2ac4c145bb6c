"""Where the bytes of pictures are, whoever asks for them."""

from dataclasses import dataclass

from indexer.blobs.originals import OriginalStore
from indexer.blobs.thumbnails import ThumbnailStore
from indexer.imaging.decode import Limits
from indexer.sources.fetch import UrlFetcher
from indexer.types import ImageRow


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """`limits` say how large a picture may be."""

    limits: Limits
    thumbnails: ThumbnailStore
    originals: OriginalStore
    fetcher: UrlFetcher

    def original(self, row: ImageRow) -> bytes:
        """As it was indexed, from wherever it is."""
        return self.originals.read(row, self.fetcher.fetch)
