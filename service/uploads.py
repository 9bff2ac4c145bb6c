"""Pictures that arrive in a request: kept by content hash, then indexed like any other source."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from indexer.blobs.originals import UPLOAD, upload_uri
from indexer.blobs.thumbnails import ThumbnailStore
from indexer.collection.collection import Collection
from indexer.errors import UnreadableImageError
from indexer.imaging.decode import decode, sha256_of
from indexer.ingest.ingest import ItemReport
from indexer.sources.source import SourceFailure, SourceItem
from indexer.types import ImageId, Metadata
from service.generation.image_service import ImageGenerationService
from service.intake import Intake
from service.pictures import PictureFiles


@dataclass(frozen=True, slots=True)
class Upload:
    """One picture of a request: its bytes, or a URL to fetch them from."""

    name: str
    data: bytes | None
    url: str | None
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class UploadSource:
    """A `Source` over the pictures of one request."""

    items_: Sequence[SourceItem | SourceFailure]

    def items(self) -> Iterator[SourceItem | SourceFailure]:
        yield from self.items_

    def count(self) -> int:
        return len(self.items_)

    def uris(self) -> list[str]:
        return [item.uri for item in self.items_]

    def covers(self, uri: str) -> bool:
        return False


def add_uploads(intake: Intake, uploads: Sequence[Upload]) -> list[ItemReport]:
    """Index `uploads`; one report for each, in their order. A bad picture fails alone.

    Raises IndexingUnavailableError: none can be.
    """
    reports: dict[str, ItemReport] = {}
    ingest = replace(intake.ingest(), on_item=lambda item: reports.__setitem__(item.uri, item))
    pictures = intake.pictures
    uris: list[str] = []
    items: dict[str, SourceItem | SourceFailure] = {}
    for upload in uploads:
        item = _url_item(pictures, upload) if upload.url is not None else _kept_item(pictures, upload)
        uris.append(item.uri)
        items[item.uri] = item  # the same bytes twice in one request are one picture
    ingest.run(UploadSource(list(items.values())))
    for uri, item in items.items():
        if isinstance(item, SourceItem) and uri.startswith(UPLOAD) and reports[uri].id is not None:
            # Whoever deleted an equal picture meanwhile took the file along; from now on it is referred to.
            pictures.originals.put(uri.removeprefix(UPLOAD), item.read())
    return [reports[uri] for uri in uris]


def _kept_item(pictures: PictureFiles, upload: Upload) -> SourceItem | SourceFailure:
    data = upload.data or b""
    digest = sha256_of(data)
    uri = upload_uri(digest)
    try:
        # Decoded once here, so that nothing which is not a picture is ever kept.
        decode(data, pictures.limits, name=upload.name)
    except UnreadableImageError as error:
        return SourceFailure(upload.name or uri, error.reason, str(error))
    pictures.originals.put(digest, data)
    metadata = {"filename": upload.name, **upload.metadata} if upload.name else upload.metadata
    return SourceItem(
        uri=uri, size=len(data), mtime_ns=0, read=lambda: data, sidecars=dict, metadata=metadata
    )


def _url_item(pictures: PictureFiles, upload: Upload) -> SourceItem:
    url = upload.url or ""
    return SourceItem(
        uri=url,
        size=0,
        mtime_ns=0,
        read=lambda: pictures.fetcher.fetch(url),
        sidecars=dict,
        metadata=upload.metadata,
    )


def forget(
    collection: Collection,
    thumbnails: ThumbnailStore,
    image_service: ImageGenerationService,
    ids: Sequence[ImageId],
) -> None:
    """Delete pictures, and the files that only they needed."""
    rows = collection.snapshot().rows(ids)
    collection.delete([row.id for row in rows])
    left = collection.find_by_sha256([row.sha256 for row in rows])
    for row in rows:
        if not left.get(row.sha256):
            thumbnails.drop(row.sha256)
    image_service.drop_unneeded(row.sha256 for row in rows if row.uri.startswith(UPLOAD))
