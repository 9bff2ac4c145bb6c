"""Times of pictures: ISO 8601 text outside, seconds since 1970 inside."""

from datetime import UTC, datetime


def seconds_since_1970(text: str) -> float | None:
    """Read an ISO 8601 date, or date and time; without a zone it counts as UTC. None when it is neither."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
