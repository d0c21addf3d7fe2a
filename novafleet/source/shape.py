"""The ground of the schema: a shape decodes a node into a typed value or says precisely why it cannot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from novafleet.errors import ConfigError, ConfigErrors
from novafleet.model.secret import Secret
from novafleet.source.node import Node, describe

T = TypeVar("T")
SECRETS = ("${env:NAME} and ${file:PATH} are allowed in cloud_init.user_data and in a stack's vars",)
T_co = TypeVar("T_co", covariant=True)


class Shape(ABC, Generic[T_co]):
    """What a value must look like. ``label`` completes "expected …" and is printed in the reference."""

    label: str

    @abstractmethod
    def decode(self, node: Node, path: str = "") -> T_co:
        """The typed value. ``path`` (``vms.db.memory``) names it in errors. Raises ConfigError or ConfigErrors."""

    def shapes(self) -> Iterable[Shape[object]]:
        """The shapes it is made of, for the reference."""
        return ()


def wrong_type(node: Node, path: str, expected: str, *hints: str) -> ConfigError:
    """NF-CFG-021: what was expected and what was found; NF-CFG-031 when that is a secret."""
    named = f"{path}: " if path else ""
    if isinstance(node.value, Secret):
        return ConfigError(f"{named}a secret may not stand here", code="NF-CFG-031", where=node.location, hints=SECRETS)
    return ConfigError(
        f"{named}expected {expected}, found {describe(node)}", code="NF-CFG-021", where=node.location, hints=hints
    )


def bad_value(node: Node, path: str, what: str, *hints: str) -> ConfigError:
    """NF-CFG-023: the right type with a value that cannot be."""
    named = f"{path}: " if path else ""
    return ConfigError(f"{named}{what}", code="NF-CFG-023", where=node.location, hints=hints)


class Findings:
    """Collects the errors of independent parts, so that one validation reports them all."""

    def __init__(self) -> None:
        self.errors: list[ConfigError] = []

    def attempt(self, part: Callable[[], T]) -> tuple[T, ...]:
        """``(result,)`` of a part, or ``()`` with its errors noted."""
        try:
            return (part(),)
        except ConfigErrors as exc:
            self.errors.extend(exc.errors)
        except ConfigError as exc:
            self.errors.append(exc)
        return ()

    def note(self, error: ConfigError) -> None:
        """Add one finding."""
        self.errors.append(error)

    def check(self) -> None:
        """Raise what was found: the one error, or all as ConfigErrors."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise ConfigErrors(tuple(self.errors))
