"""What a condition on the metadata means, for one picture: the language, read from its description.

Nothing here is shared with the columns of `indexer.filters`, which are compared with it.
"""

import math
import operator

from indexer.filters.language import (
    COLUMNS,
    Exists,
    Filter,
    GeoBox,
    GeoRadius,
    Group,
    Match,
    Range,
    Scalar,
)
from indexer.types import ImageRow, JSONValue

EARTH_M = 6_371_008.8
COMPARED = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


def holds(condition: Filter, row: ImageRow) -> bool:
    """Whether a picture meets the condition."""
    match condition:
        case Group(must, should, must_not):
            return (
                all(holds(part, row) for part in must)
                and (not should or any(holds(part, row) for part in should))
                and not any(holds(part, row) for part in must_not)
            )
        case Match(field, wanted):
            return any(kind_and_value(item) in map(kind_and_value, wanted) for item in scalars(row, field))
        case Range(field, bounds):
            is_text = isinstance(bounds[0][1], str)
            kind = "text" if is_text else "number"
            items = [item for item in scalars(row, field) if kind_and_value(item)[0] == kind]
            return any(all(COMPARED[name](item, bound) for name, bound in bounds) for item in items)
        case Exists(field):
            return value_of(row, field) is not None
        case GeoRadius():
            return _is_near(condition, number_of(row, "latitude"), number_of(row, "longitude"))
        case GeoBox():
            return _is_inside(condition, number_of(row, "latitude"), number_of(row, "longitude"))


def value_of(row: ImageRow, field: str) -> JSONValue:
    """A column, or what lies at the end of a path of keys."""
    if field in COLUMNS:
        column: JSONValue = getattr(row, field)
        return column
    value: JSONValue = dict(row.metadata)
    for step in field.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def scalars(row: ImageRow, field: str) -> list[Scalar]:
    """The value, or those in a list of values."""
    value = value_of(row, field)
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str | int | float)]


def number_of(row: ImageRow, field: str) -> float:
    """The first number; NaN without one."""
    numbers = (float(item) for item in scalars(row, field) if kind_and_value(item)[0] == "number")
    return next(numbers, math.nan)


def kind_and_value(item: Scalar) -> tuple[str, Scalar]:
    """True, 1 and "1" are three different values; 1 and 1.0 are one."""
    if isinstance(item, bool):
        return "truth", item
    return ("text", item) if isinstance(item, str) else ("number", item)


def _is_near(circle: GeoRadius, latitude: float, longitude: float) -> bool:
    if math.isnan(latitude) or math.isnan(longitude):
        return False
    here, there = _on_sphere(latitude, longitude), _on_sphere(circle.latitude, circle.longitude)
    along = sum(a * b for a, b in zip(here, there, strict=True))
    across = math.dist(
        (0.0, 0.0, 0.0),
        (
            here[1] * there[2] - here[2] * there[1],
            here[2] * there[0] - here[0] * there[2],
            here[0] * there[1] - here[1] * there[0],
        ),
    )
    return EARTH_M * math.atan2(across, along) <= circle.radius_m + 1e-6


def _on_sphere(latitude: float, longitude: float) -> tuple[float, float, float]:
    phi, lam = math.radians(latitude), math.radians(longitude)
    return math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)


def _is_inside(box: GeoBox, latitude: float, longitude: float) -> bool:
    east_of_west = (longitude - box.west) % 360.0
    return box.south <= latitude <= box.north and east_of_west <= (box.east - box.west) % 360.0
