"""A TOML file → one frozen dataclass; what is misspelt, missing or of another type is refused."""

import logging
import tomllib
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import GenericAlias
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from indexer.errors import InvalidInputError

LOG = logging.getLogger("kallos.training")
T = TypeVar("T")
# Keys of the release before: the key in place of each, and values that are written otherwise there.
RENAMED: dict[str, tuple[str, dict[str, str]]] = {"seen_as": ("parameterization", {"itself": "native"})}


def read_config(kind: type[T], path: Path) -> T:
    """Raises InvalidInputError: not TOML, or it does not say exactly what `kind` asks for."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(f"{path}: {error}") from error
    current = with_current_names(table)
    if current != table:
        LOG.warning(
            "%s has keys of a former release: %s; the next one does not read them",
            path,
            ", ".join(f"{former} is called {name} now" for former, (name, _) in RENAMED.items()),
        )
    return of_table(kind, current, str(path))


def with_current_names(table: dict[str, Any]) -> dict[str, Any]:  # Any: what TOML may hold
    """`table`, also of the release before, with the keys of this one."""
    current = {}
    for former, value in table.items():
        name, values = RENAMED.get(former, (former, {}))
        if isinstance(value, dict):
            value = with_current_names(value)
        elif isinstance(value, str):
            value = values.get(value, value)
        current[name] = value
    return current


def of_table(kind: type[T], table: dict[str, Any], where: str) -> T:  # Any: what TOML may hold
    hints = get_type_hints(kind)
    unknown = sorted(set(table) - set(hints))
    if unknown:
        raise InvalidInputError(f"{where}: unknown {', '.join(unknown)}; expected {', '.join(sorted(hints))}")
    needed = {
        part.name
        for part in fields(kind)  # type: ignore[arg-type]  # every caller passes a dataclass
        if part.default is MISSING and part.default_factory is MISSING
    }
    missing = sorted(needed - set(table))
    if missing:
        raise InvalidInputError(f"{where}: {', '.join(missing)} is missing")
    return kind(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in table.items()})


def _value(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401  # types and values of every key pass through
    if is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, dict):
            raise InvalidInputError(f"{where} is {value!r}: expected a table")
        return of_table(kind, value, where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        if value not in inner:
            raise InvalidInputError(f"{where} is {value!r}: expected one of {', '.join(map(str, inner))}")
        return value
    if origin is dict:
        _expect(isinstance(value, dict), where, value, kind)
        return {key: _value(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is tuple:
        _expect(isinstance(value, list) and len(value) > 0, where, value, kind)
        return tuple(_value(inner[0], item, where) for item in value)
    if kind is float and type(value) is int:
        return float(value)
    _expect(type(value) is kind, where, value, kind)
    return value


def _expect(right: bool, where: str, value: object, kind: type | GenericAlias) -> None:
    if not right:
        raise InvalidInputError(f"{where} is {value!r}: expected {getattr(kind, '__name__', kind)}")
