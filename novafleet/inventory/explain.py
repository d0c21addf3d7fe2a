"""Where a value of a host comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.inventory.connection import KEYS
from novafleet.model.fleet import Fleet, Host
from novafleet.source.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Origin:
    """One place that set a value; ``won`` is true for the one that counts."""

    value: Any
    source: Location
    won: bool


@dataclass(frozen=True, slots=True)
class Why:
    """A value of a host; without ``origins`` it is a default. ``name`` is qualified: ``address``, ``vars.ntp`` …"""

    host: str
    name: str
    value: Any
    origins: tuple[Origin, ...]


def host_of(fleet: Fleet, name: str) -> Host:
    """One host by its name. Raises ConfigError NF-INV-017 with the nearest."""
    if name in fleet.hosts:
        return fleet.hosts[name]
    raise ConfigError(
        f"{name!r} is not a host of this inventory",
        code="NF-INV-017",
        hints=did_you_mean(name, fleet.hosts, "hosts"),
    )


def why(fleet: Fleet, host: str, var: str) -> Why:
    """Every place that set ``var``, the winner last: a connection key, a label or a variable, qualified or not.

    Raises ConfigError NF-INV-017 with the nearest name.
    """
    found = host_of(fleet, host)
    for name in (var, f"vars.{var}", f"labels.{var}"):
        if name in found.history:
            values, places = found.history[name], found.origins[name]
            last = len(values) - 1
            origins = tuple(
                Origin(value, place, index == last)
                for index, (value, place) in enumerate(zip(values, places, strict=True))
            )
            return Why(host, name, getattr(found, name) if name in KEYS else values[-1], origins)
    if var in KEYS:
        return Why(host, var, getattr(found, var), ())
    known = {*KEYS, *(name.partition(".")[2] or name for name in found.history)}
    raise ConfigError(
        f"{host} has no value named {var!r}",
        code="NF-INV-017",
        where=found.source,
        hints=did_you_mean(var, known, "values"),
    )
