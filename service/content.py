"""Bytes of pictures as answers that browsers may keep, and that run nothing."""

from collections.abc import Callable

from fastapi import Response, status

# An SVG or a mislabelled file opened on its own must not run anything in this site's name.
SANDBOX = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}


def picture(
    sha256: str, width: int | None, if_none_match: str | None, make: Callable[[], tuple[bytes, str]]
) -> Response:
    """What `make` gives, bytes and media type; 304 without calling it when the client has it already."""
    tag = f'"{sha256[:32]}-{width or 0}"'
    headers = SANDBOX | {
        "ETag": tag,
        "Cache-Control": "private, max-age=300",
        "X-Content-Type-Options": "nosniff",
    }
    if if_none_match == tag:
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    data, media_type = make()
    return Response(data, media_type=media_type, headers=headers)
