"""sudo passwords from where the inventory says they are; asked at most once per host."""

from __future__ import annotations

import getpass
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from novafleet.errors import PrivilegeError
from novafleet.model.secret import Secret

if TYPE_CHECKING:
    from novafleet.model.fleet import Host


def password_of(host: Host) -> Secret:
    """The sudo password of a host. Raises PrivilegeError NF-SUDO-003 when its source gives none."""
    return _read(host.name, host.become.password)


@cache
def _read(host: str, source: str) -> Secret:
    kind, _, name = source.partition(":")
    if kind == "ask":
        return Secret.of(getpass.getpass(f"sudo password for {host}: "))
    try:
        value = os.environ[name] if kind == "env" else Path(name).expanduser().read_text().rstrip("\n")
    except (KeyError, OSError) as error:
        raise PrivilegeError(
            f"no sudo password in {source}",
            code="NF-SUDO-003",
            where=host,
            cause=str(error),
            hints=(f"set it, or change become.password of {host} in the inventory (env:NAME, file:PATH, ask)",),
        ) from error
    return Secret.of(value)
