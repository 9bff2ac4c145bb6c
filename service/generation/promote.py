"""A generated picture becomes one of the collection."""

from indexer.errors import UnreadableImageError
from indexer.tables.generated import Generation
from indexer.types import ImageId, ImageRow, JSONValue
from service.feedback import Feedback
from service.generation.image_service import ImageGenerationService
from service.intake import Intake
from service.uploads import Upload, add_uploads


def promote(
    image_service: ImageGenerationService, intake: Intake, feedback: Feedback, generation_id: str
) -> ImageRow:
    """Index it like any upload, marked as generated. Doing it again finds the same picture.

    Raises:
        NotFoundError: There is no such generation.
        UnreadableImageError: Its file is damaged.
        IndexingUnavailableError: This server takes no pictures in.
    """
    with image_service.files:
        made = image_service.store.get(generation_id)
        if made.image_id is None:
            upload = Upload("", image_service.content(made), None, metadata_of(made))
            (report,) = add_uploads(intake, [upload])
            if report.id is None:
                raise UnreadableImageError(report.reason or "unreadable", report.message or "it is damaged")
            made = image_service.store.promoted(made.id, ImageId(report.id))
            feedback.promoted(made)
    assert made.image_id is not None
    return intake.collection.snapshot().rows([made.image_id])[0]


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
