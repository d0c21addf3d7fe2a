"""Frozen data to plain JSON data and back. Secrets do not survive the way out, on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from novafleet.errors import Location
from novafleet.model.secret import Secret

T = TypeVar("T")
SENSITIVE = "(sensitive)"
PLAIN = frozenset({str, int, float, bool, type(None)})
hints_of = cache(get_type_hints)
"""The types of a dataclass's fields: looking them up takes longer than decoding it."""


def encode(value: Any) -> Any:
    """Plain JSON data: enums by value, tuples as lists, a Location as ``file:line:column``."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, Secret):
        return SENSITIVE
    if isinstance(value, Location):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [encode(item) for item in value]
    return value


def decode(cls: type[T], data: Any) -> T:
    """The frozen object that ``encode`` made ``data`` from. Raises TypeError, KeyError or ValueError on other data."""
    decoded: T = _decode(cls, data)
    return decoded


def _decode(hint: Any, data: Any) -> Any:
    if hint in PLAIN:
        return data
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Location:
        return _location(data)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(data)
    if is_dataclass(hint):
        return _dataclass(hint, data)
    if origin in (Union, UnionType):
        return None if data is None else _decode(next(each for each in arguments if each is not type(None)), data)
    if origin is tuple:
        return tuple(_decode(arguments[0], item) for item in data)
    if origin is not None and issubclass(origin, Mapping):
        return {key: _decode(arguments[1], item) for key, item in data.items()}
    return data


def _dataclass(cls: Any, data: Mapping[str, Any]) -> Any:
    hints = hints_of(cls)
    unknown = data.keys() - hints.keys()
    if unknown:
        raise ValueError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
    return cls(**{name: _decode(hints[name], item) for name, item in data.items()})


def _location(text: str) -> Location:
    file = text
    numbers: list[int] = []
    while len(numbers) < 2 and file.rpartition(":")[2].isdecimal():
        file, _, number = file.rpartition(":")
        numbers.insert(0, int(number))
    return Location(file, *numbers)
