"""Hosts as the inventory describes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from rich.text import Text

from novafleet.inventory import Why
from novafleet.model.encode import encode
from novafleet.model.fleet import Become, Host
from novafleet.report import console

BY_SSH = "(ssh_config)"
"""What the inventory leaves to the user's ssh_config."""


def print_hosts(hosts: Sequence[Host], form: str = "table") -> None:
    """A table, or ``{hosts: [{name, address, port, user, …}]}``; port 0 and empty texts are left to ssh_config."""
    if form != "table":
        console.document({"hosts": [_document(host) for host in hosts]}, form)
        return
    shown = [column for column in _COLUMNS if column in _ALWAYS or any(_cell(host, column) for host in hosts)]
    grid = console.table("", *shown)
    for host in hosts:
        grid.add_row(*(console.text(_cell(host, column) or "-") for column in shown))
    console.out().print(grid)


_COLUMNS = ("NAME", "ADDRESS", "PORT", "USER", "JUMP", "BECOME", "GROUPS", "LABELS")
_ALWAYS = ("NAME", "ADDRESS", "USER", "GROUPS")


def _cell(host: Host, column: str) -> str:
    match column:
        case "PORT":
            return str(host.port or "")
        case "JUMP":
            return ", ".join(host.jump)
        case "BECOME":
            return _become(host.become) if host.become.enabled else ""
        case "GROUPS":
            return ", ".join(host.groups)
        case "LABELS":
            return ", ".join(f"{name}={value}" for name, value in host.labels.items())
        case _:
            return str(getattr(host, column.lower()))


def print_host(host: Host, form: str = "table") -> None:
    """Everything about one host with the place that won, or the document of ``print_hosts`` with ``vars``."""
    if form != "table":
        console.document(_document(host) | {"vars": encode(host.vars), "source": str(host.source)}, form)
        return
    console.out().print(console.text(host.name, "bold") + console.text(f"  {host.source}", "dim"))
    grid = console.table("", "KEY", "VALUE", "FROM")
    for name, value in _rows(host):
        places = host.origins.get(name, ())
        grid.add_row(console.text(name), _value(value), console.text(places[-1] if places else "-", "dim"))
    console.out().print(grid)


def _rows(host: Host) -> Iterator[tuple[str, Any]]:
    yield "address", host.address
    yield "port", host.port or BY_SSH
    yield "user", host.user or BY_SSH
    yield "key", host.key or BY_SSH
    yield "jump", ", ".join(host.jump) or BY_SSH
    yield "become", host.become
    yield "trust", host.trust.value
    for key in ("known_hosts", "fingerprint"):
        if getattr(host, key):
            yield key, getattr(host, key)
    yield "groups", ", ".join(host.groups)
    yield from ((f"labels.{name}", value) for name, value in sorted(host.labels.items()))
    yield from ((f"vars.{name}", value) for name, value in sorted(host.vars.items()))


def print_why(why: Why, form: str = "table") -> None:
    """Every place that set the value, the winner first, or ``{host, name, value, origins: [{value, source, won}]}``."""
    if form != "table":
        console.document(encode(why), form)
        return
    console.out().print(console.text(f"{why.host}: {why.name} = ", "bold") + _value(why.value or BY_SSH))
    if not why.origins:
        console.out().print(console.text("No file sets it: this is the default.", "dim"))
        return
    grid = console.table("", "", "VALUE", "SET BY")
    for origin in reversed(why.origins):
        style = "green" if origin.won else "dim"
        mark = Text("wins" if origin.won else "", style)
        grid.add_row(mark, _value(origin.value, style), console.text(origin.source, style))
    console.out().print(grid)


def _document(host: Host) -> dict[str, Any]:
    hidden = ("vars", "source", "origins", "history")
    return {key: value for key, value in encode(host).items() if key not in hidden}


def _value(value: Any, style: str = "") -> Text:
    if isinstance(value, Become):
        return console.text(_become(value), style)
    plain = encode(value)
    if isinstance(plain, dict | list):
        return console.text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=60).rstrip("\n"), style)
    return console.text(json.dumps(plain) if plain is None or isinstance(plain, bool) else plain, style)


def _become(become: Become) -> str:
    if not become.enabled:
        return "no"
    return f"sudo, password {become.password}" if become.password else "sudo"
