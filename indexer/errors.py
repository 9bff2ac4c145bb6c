"""Every error that Kallos raises on purpose.

Each class has a `code`, which never changes once released: clients branch on it, people read the message.
A message names the offending value and what was expected instead.
"""

from typing import ClassVar


class KallosError(Exception):
    """Something that a person can understand and usually mend."""

    code: ClassVar[str] = "internal_error"


class InvalidInputError(KallosError):
    """The request itself is wrong; sending it again changes nothing."""

    code = "invalid_input"


class InvalidQueryError(InvalidInputError):
    code = "invalid_query"


class InvalidFilterError(InvalidInputError):
    code = "invalid_filter"


class InvalidAxisError(InvalidInputError):
    """An axis cannot be fitted from what was given."""

    code = "invalid_axis"


class InvalidCursorError(InvalidInputError):
    """A cursor that is damaged, or that belongs to another request."""

    code = "invalid_cursor"


class PromptRefusedError(InvalidInputError):
    """Words that whoever runs this server does not want pictures of."""

    code = "prompt_refused"


class PictureRefusedError(InvalidInputError):
    """What was made is not shown: the classifier of whoever runs this server says no."""

    code = "picture_refused"


class UnsafePictureError(PictureRefusedError):
    """A generator's own safety checker objects to the picture that it drew."""

    code = "unsafe_picture"


class ReusedKeyError(InvalidInputError):
    """An Idempotency-Key that came with another body before."""

    code = "idempotency_key_reused"


class UnreadableImageError(InvalidInputError):
    """A picture that cannot be used. `reason` is one of the words in `indexer.imaging.decode.REASONS`."""

    code = "unreadable_image"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotFoundError(KallosError):
    code = "not_found"


class UnknownAxisError(NotFoundError):
    code = "unknown_axis"


class UnknownModelError(NotFoundError):
    code = "unknown_model"


class ConflictError(KallosError):
    """The request is fine, the present state forbids it."""

    code = "conflict"


class ModelMismatchError(ConflictError):
    """A collection belongs to one model; vectors of another model would be compared with nonsense."""

    code = "model_mismatch"


class BusyError(ConflictError):
    """Another process is writing to the data directory."""

    code = "busy"


class LimitError(KallosError):
    """Too much at once, or in a while; worth trying again after `retry_after_s`."""

    code = "too_many_requests"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFullError(LimitError):
    code = "queue_full"


class BudgetError(LimitError):
    """A client has had its share of this hour."""

    code = "budget_spent"


class UnavailableError(KallosError):
    """A part that the request needs is not installed or not running."""

    code = "unavailable"


class UnsupportedError(KallosError):
    """What the store of this collection cannot do. `capability` names it."""

    code = "not_supported"

    def __init__(self, capability: str, message: str) -> None:
        super().__init__(message)
        self.capability = capability


class GenerationUnavailableError(UnavailableError):
    """This server makes no pictures: it was told to use what it cannot load."""

    code = "generation_unavailable"


class IndexingUnavailableError(UnavailableError):
    """This server takes no pictures in: it was told to measure them with what it cannot load."""

    code = "indexing_unavailable"


class TookTooLongError(UnavailableError):
    """What was asked for was not ready in the time that a request may wait."""

    code = "took_too_long"


class OutOfMemoryError(UnavailableError):
    """Not enough memory, of the machine or of its accelerator."""

    code = "out_of_memory"


class StoreError(KallosError):
    """The data directory cannot be read or written."""

    code = "store_error"


class CorruptStoreError(StoreError):
    """Stored bytes fail their checksum or contradict each other; `kallos verify` says where."""

    code = "corrupt_store"
