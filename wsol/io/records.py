"""Typed records as JSON: dataclasses written by ``json`` and read back with every value's type checked."""

import math
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def parse_record(kind: type[T], value: object, where: str) -> T:
    """Build a dataclass from what ``json`` read.

    Fields may be ``str``, ``int``, ``float`` (finite), ``bool``, ``None``, ``Literal``, ``tuple[X, ...]``,
    ``dict[str, X]``, other dataclasses, unions of these, and ``Any`` for any JSON whose numbers are finite.

    Args:
        kind: The dataclass.
        value: The parsed JSON.
        where: Name of the value in messages, such as the file's name.

    Raises:
        ValueError: A field without default is missing, a key is unknown, or a value has another type than its field.
    """
    parsed: T = _parse(kind, value, where)
    return parsed


def _parse(kind: Any, value: Any, where: str) -> Any:  # noqa: PLR0911  # one case per kind
    origin, options = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(value, dict):
        return _parse_fields(kind, value, where)
    if origin in (Union, types.UnionType):
        return _parse_union(options, value, where)
    if origin is Literal and any(type(value) is type(option) and value == option for option in options):
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_parse(options[0], item, where) for item in value)
    if origin is dict and isinstance(value, dict):
        return {key: _parse(options[1], item, f"{where}: {key}") for key, item in value.items()}
    if kind is Any:
        return _parse_any(value, where)
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return value
    if (kind is type(None) and value is None) or (type(value) is kind and kind is not float):
        return value
    raise ValueError(f"{where} has a wrong type")


def _parse_any(value: Any, where: str) -> Any:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        _parse_any(item, where)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} has a number that is not finite")
    return value


def _parse_fields(kind: Any, value: dict[str, Any], where: str) -> Any:
    known = {field.name: field for field in fields(kind)}
    if missing := [name for name, field in known.items() if name not in value and field.default is MISSING]:
        raise ValueError(f"{where} lacks {missing[0]}")
    if unknown := [name for name in value if name not in known]:
        raise ValueError(f"{where} has the unknown entry {unknown[0]!r:.80}")
    hints = get_type_hints(kind)
    return kind(**{name: _parse(hints[name], item, f"{where}: {name}") for name, item in value.items()})


def _parse_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    for option in options:
        try:
            return _parse(option, value, where)
        except ValueError:
            continue
    raise ValueError(f"{where} has a wrong type")
