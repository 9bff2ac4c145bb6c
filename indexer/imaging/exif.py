"""What a camera wrote into the file: when, with what, where. Pure: tags in, metadata out."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from PIL.ExifTags import GPS, Base

from indexer.types import JSONValue

Tags = Mapping[int, object]

DATE = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
OFFSET = re.compile(r"[+-]\d\d:\d\d")
# What cameras and programs write when nobody described the picture.
NO_CAPTION = re.compile(
    r"(olympus|minolta|sony|samsung|kodak|nikon|konica|fuji\w*|digital|camera|dsc|img|\W|\d)+|default|untitled"
    r"|screenshot|charset=.*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ExifTags:
    """The main directory, the EXIF directory and the GPS directory, by tag number."""

    main: Tags
    exif: Tags
    gps: Tags

    @property
    def orientation(self) -> int | None:
        """1 to 8, or None."""
        value = self.main.get(Base.Orientation)
        return value if isinstance(value, int) and 1 <= value <= 8 else None


def facts_of(tags: ExifTags) -> dict[str, JSONValue]:
    """What is known of `taken_at` (ISO 8601), `camera`, `lens`, `caption`, `latitude` and `longitude`."""
    facts: dict[str, JSONValue | None] = {
        "taken_at": _taken_at(tags),
        "camera": _camera(_text(tags.main.get(Base.Make)), _text(tags.main.get(Base.Model))),
        "lens": _text(tags.exif.get(Base.LensModel)),
        "caption": _caption(_text(tags.main.get(Base.ImageDescription))),
    }
    latitude = _degrees(tags.gps.get(GPS.GPSLatitude), tags.gps.get(GPS.GPSLatitudeRef), 90)
    longitude = _degrees(tags.gps.get(GPS.GPSLongitude), tags.gps.get(GPS.GPSLongitudeRef), 180)
    if latitude is not None and longitude is not None and (latitude, longitude) != (0.0, 0.0):
        facts |= {"latitude": latitude, "longitude": longitude}
    return {name: value for name, value in facts.items() if value is not None}


def _taken_at(tags: ExifTags) -> str | None:
    places = (
        (tags.exif, Base.DateTimeOriginal),
        (tags.exif, Base.DateTimeDigitized),
        (tags.main, Base.DateTime),
    )
    for directory, tag in places:
        found = DATE.match(_text(directory.get(tag)) or "")
        if found is None:
            continue
        try:
            moment = datetime(*(int(part) for part in found.groups()))  # type: ignore[arg-type]  # six ints
        except ValueError:  # 0000:00:00, month 13
            continue
        offset = _text(tags.exif.get(Base.OffsetTimeOriginal)) or ""
        return moment.isoformat() + (offset if OFFSET.fullmatch(offset) else "")
    return None


def _camera(make: str | None, model: str | None) -> str | None:
    """Give the name of the camera without saying the brand twice."""
    if not make or not model:
        return model or make
    brand = make.split()[0]
    return model if model.lower().startswith(brand.lower()) else f"{brand.title()} {model}"


def _caption(text: str | None) -> str | None:
    return None if text is None or NO_CAPTION.fullmatch(text) else text


def _degrees(parts: object, reference: object, largest: float) -> float | None:
    """Degrees, minutes, seconds and N, S, E or W → signed degrees."""
    if not isinstance(parts, tuple | list) or len(parts) != 3:
        return None
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(value) or not 0 <= value <= largest:
        return None
    south_or_west = (_text(reference) or "").upper()[:1] in ("S", "W")
    return round(-value if south_or_west else value, 6)


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    cleaned = "".join(c for c in value.replace("\0", " ") if c.isprintable()).strip()
    return cleaned[:2000] or None
