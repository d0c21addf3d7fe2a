"""Executable inventories: a program that prints Ansible's ``--list`` JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.inventory import names
from novafleet.inventory.layer import Document, GroupEntry, HostEntry, Mention, Setting, known
from novafleet.source.node import Vaulted

TIMEOUT = 30.0
"""Seconds one run of the program may take."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program left behind."""

    status: int
    stdout: bytes
    stderr: bytes


Runner = Callable[[Sequence[str], float], Ran]
"""``run(argv, timeout)``; raises TimeoutError or OSError."""


def read(program: str, run: Runner) -> Document:
    """The document a program describes: ``--list``, and ``--host NAME`` where it gives no ``_meta.hostvars``.

    The format is Ansible's (https://docs.ansible.com/ansible/latest/dev_guide/developing_inventory.html).
    Raises ConfigError NF-INV-013 (it failed) and -014 (what it printed).
    """
    where = Location(program)
    listing = _json(program, ("--list",), run)
    meta = listing.pop("_meta", {})
    hostvars = meta.get("hostvars") if isinstance(meta, dict) else None
    if hostvars is not None and not isinstance(hostvars, dict):
        raise _wrong("_meta.hostvars is not an object", where)
    groups = tuple(_group(name, data, where) for name, data in listing.items())
    children = dict.fromkeys(mention.name for group in groups for mention in group.children)
    mentioned = dict.fromkeys(mention.name for group in groups for mention in group.hosts)
    hosts = tuple(
        HostEntry(name, where, _settings(_hostvars(program, name, hostvars, run), f"variables of {name}", where))
        for name in mentioned
    )
    return Document(hosts, (*groups, *(GroupEntry(name, where) for name in children)))


def _group(name: str, data: Any, where: Location) -> GroupEntry:
    names.check_group(name, where)
    if not isinstance(data, dict):
        data = {"hosts": data}
    elif not data.keys() & {"hosts", "vars", "children"}:
        data = {"hosts": [name], "vars": data}
    return GroupEntry(
        name,
        where,
        hosts=tuple(
            Mention(names.check_host(host, where), where)
            for host in _texts(data.get("hosts", []), f"{name}.hosts", where)
        ),
        children=tuple(
            Mention(names.check_group(child, where), where)
            for child in _texts(data.get("children", []), f"{name}.children", where)
        ),
        settings=_settings(data.get("vars", {}), f"{name}.vars", where),
    )


def _texts(value: Any, what: str, where: Location) -> Iterator[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _wrong(f"{what} is not a list of names", where)
    return iter(value)


def _settings(value: Any, what: str, where: Location) -> Mapping[str, Setting]:
    if not isinstance(value, dict):
        raise _wrong(f"{what} is not an object", where)
    return {f"vars.{name}": Setting(known(item), where) for name, item in value.items()}


def _hostvars(program: str, host: str, hostvars: Mapping[str, Any] | None, run: Runner) -> Any:
    return _json(program, ("--host", host), run) if hostvars is None else hostvars.get(host, {})


def _json(program: str, arguments: tuple[str, ...], run: Runner) -> dict[str, Any]:
    where = Location(program)
    output = _output(program, arguments, run)
    if not output.strip() and arguments[0] == "--host":
        return {}
    try:
        value = json.loads(output, object_hook=_unwrapped)
    except (ValueError, RecursionError) as exc:
        what = f"{' '.join(arguments)} did not print JSON"
        raise _wrong(what, where, cause=f"{exc}; it began with {output[:80]!r}") from exc
    if not isinstance(value, dict):
        raise _wrong(f"{' '.join(arguments)} printed JSON that is not an object", where)
    return value


def _unwrapped(found: dict[str, Any]) -> Any:
    """``ansible-inventory --list`` writes texts of its plugins as ``{"__ansible_unsafe": TEXT}``, encrypted ones as
    ``{"__ansible_vault": TEXT}``."""
    if found.keys() == {"__ansible_vault"}:
        return Vaulted()
    return found["__ansible_unsafe"] if found.keys() == {"__ansible_unsafe"} else found


def _output(program: str, arguments: tuple[str, ...], run: Runner) -> str:
    command = " ".join((program, *arguments))
    try:
        ran = run((program, *arguments), TIMEOUT)
    except TimeoutError as exc:
        raise _failed(f"the inventory program took longer than {TIMEOUT:.0f} s", program, command) from exc
    except OSError as exc:
        raise _failed("the inventory program cannot be run", program, command, exc.strerror or str(exc)) from exc
    if ran.status != 0:
        tail = ran.stderr.decode("utf-8", "replace").strip()[-800:]
        raise _failed(f"the inventory program ended with status {ran.status}", program, command, tail)
    return ran.stdout.decode("utf-8", "replace")


def _failed(what: str, program: str, command: str, cause: str = "") -> ConfigError:
    hints = (f"run it yourself: {command}", f"if it is no program: chmod -x {program}")
    return ConfigError(what, code="NF-INV-013", where=Location(program), cause=cause, hints=hints)


def _wrong(what: str, where: Location, *, cause: str = "") -> ConfigError:
    return ConfigError(what, code="NF-INV-014", where=where, cause=cause, hints=(f"look at it: {where} --list",))
