"""A generated picture becomes one of the collection."""

from indexer.errors import UnreadableImageError
from indexer.tables.generated import Generation
from indexer.types import ImageId, ImageRow, JSONValue
from service.uploads import Upload, add_uploads
from service.wiring import Services


def promote(services: Services, generation_id: str) -> ImageRow:
    """Index it like any upload, marked as generated. Doing it again finds the same picture.

    Raises:
        NotFoundError: There is no such generation.
        UnreadableImageError: Its file is damaged.
    """
    studio = services.studio
    with studio.files:
        made = studio.store.get(generation_id)
        if made.image_id is None:
            upload = Upload("", studio.content(made), None, metadata_of(made))
            (report,) = add_uploads(services, [upload])
            if report.id is None:
                raise UnreadableImageError(report.reason or "unreadable", report.message or "it is damaged")
            made = studio.store.promoted(made.id, ImageId(report.id))
            services.feedback.promoted(made)
    assert made.image_id is not None
    return services.collection.view().row(made.image_id)


def metadata_of(made: Generation) -> dict[str, JSONValue]:
    """What the collection says of it: `{"match": {"generated": true}}` finds all of them."""
    return {
        "generated": True,
        "prompt": made.prompt,
        "seed": made.seed,
        "model": made.model,
        "native_width": made.native_width,
        "native_height": made.native_height,
    }
