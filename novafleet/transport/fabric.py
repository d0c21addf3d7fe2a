"""Fabric's connections for the tasks of a user's own fabfile: they lead where ours lead and trust whom ours trust.

The one file that knows Fabric (extra ``fabric``). Fabric by itself accepts every host key (``AutoAddPolicy``), waits an
hour for a channel and starts a thread for each host of a group, however many there are.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fabric
import paramiko

from novafleet.model.secret import Secret
from novafleet.transport.ssh import CHANNEL_TIMEOUT, KEEPALIVE_INTERVAL, LOGIN_TIMEOUT
from novafleet.transport.target import SshTarget
from novafleet.transport.trust import HostKey, admit, known_keys
from novafleet.transport.way import shell_words

AT_ONCE = 32
"""Hosts of a group a task runs on together."""


def connection(target: SshTarget, own: Path, *, agent: str, sudo: Secret | None = None) -> fabric.Connection:
    """A connection that opens with its first use. ``own``: NovaFleet's known_hosts; ``agent``: the socket Paramiko
    would ask (``SSH_AUTH_SOCK``), no other can be; ``sudo`` the password ``Connection.sudo`` answers with.

    Opening it raises TrustError NF-SSH-201, -202, -203, and what Paramiko raises. Host certificates are not read.
    """
    overrides = {"sudo": {"password": sudo.reveal().decode()}} if sudo else {}
    proxy = shlex.join(shell_words(target.proxy_command)) if target.proxy_command else None
    gateway = connection(target.via, own, agent=agent) if target.via else proxy
    found = fabric.Connection(
        target.host,
        user=target.user,
        port=target.port,
        gateway=gateway,
        config=fabric.Config(overrides=overrides, ssh_config=paramiko.SSHConfig()),  # ssh_config was asked for target
        connect_timeout=target.connect_timeout,
        connect_kwargs={
            "key_filename": _private(target.identities),
            "look_for_keys": False,
            "allow_agent": bool(target.agent) and target.agent == agent and not target.identities_only,
            "auth_timeout": LOGIN_TIMEOUT,
            "banner_timeout": LOGIN_TIMEOUT,
            "channel_timeout": CHANNEL_TIMEOUT,
            "transport_factory": _Transports(target, own),
        },
    )
    found.original_host = target.label
    found.client.set_missing_host_key_policy(_Judge(target, own))  # no key is known to Paramiko, so it asks for each
    return found


def _private(identities: Iterable[str]) -> list[str]:
    """Without those of which only the public half is here: Paramiko would end at the first."""
    return [name for name in identities if Path(name).exists() or not Path(f"{name}.pub").exists()]


class _Judge(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # Paramiko has no types
    def __init__(self, target: SshTarget, own: Path) -> None:
        self._target, self._own = target, own

    def missing_host_key(self, _client: paramiko.SSHClient, _name: str, key: paramiko.PKey) -> None:
        """Go on, or raise."""
        presented = HostKey(key.get_name(), key.asbytes())
        admit(self._target, presented, known_keys(self._target, self._own), self._own)


class _Transports:
    """Asks first for the kind of host key that is known, as ssh does, and notices a host that is gone."""

    def __init__(self, target: SshTarget, own: Path) -> None:
        self._kinds = {key.algorithm for key in known_keys(target, own).keys}
        if "ssh-rsa" in self._kinds:
            self._kinds |= {"rsa-sha2-256", "rsa-sha2-512"}

    def __call__(self, *args: Any, **options: Any) -> paramiko.Transport:
        made = paramiko.Transport(*args, **options)
        security = made.get_security_options()
        security.key_types = sorted(security.key_types, key=lambda name: name not in self._kinds)
        made.set_keepalive(KEEPALIVE_INTERVAL)
        return made


class FleetGroup(fabric.Group):  # type: ignore[misc]  # Fabric has no types
    """Connections that run, put and get together, at most ``AT_ONCE``; results and errors as Fabric's groups give."""

    @classmethod
    def of(cls, connections: Iterable[fabric.Connection]) -> FleetGroup:
        """A group of them."""
        group = cls()
        group.extend(connections)
        return group

    def close(self) -> None:
        """Close them, and the jump hosts they came by, which Fabric leaves open."""
        for each in self:
            while isinstance(each, fabric.Connection):
                each.close()
                each = each.gateway  # noqa: PLW2901 - the way back

    def _do(self, method: str, *args: Any, **options: Any) -> fabric.GroupResult:
        results = fabric.GroupResult()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            running = {each: threads.submit(getattr(each, method), *args, **options) for each in self}
        for each, future in running.items():
            results[each] = future.exception() or future.result()
        if results.failed:
            raise fabric.exceptions.GroupException(results)
        return results
