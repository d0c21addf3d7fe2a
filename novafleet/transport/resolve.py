"""From an inventory host to an SshTarget: inventory fields first, the user's ssh_config for the rest."""

from __future__ import annotations

import getpass
import logging
import os
import re
import socket
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from novafleet.errors import ConfigError
from novafleet.model.fleet import Fleet, Host, TrustPolicy
from novafleet.transport.sshconfig import Settings, SshConfig, at_home
from novafleet.transport.target import CONNECT_TIMEOUT, SshTarget

log = logging.getLogger(__name__)

_HOP = re.compile(r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<host>\[[^\]]+\]|[^:\[\]]+)(?::(?P<port>\d+))?/?")
_VARIABLE = re.compile(r"\$\{\w+\}")
_NOT_HONOURED = {
    "bindaddress": "none",
    "bindinterface": "none",
    "knownhostscommand": "none",
    "revokedhostkeys": "none",
    "verifyhostkeydns": "false",
}


@dataclass
class Resolver:
    """Targets of a fleet's hosts. ``own_known_hosts`` may vouch for each of them."""

    fleet: Fleet
    own_known_hosts: Path
    config: SshConfig = field(default_factory=SshConfig)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _warned: set[tuple[str, str]] = field(default_factory=set, init=False)

    async def target(self, host: Host) -> SshTarget:
        """Resolve a host and the jump hosts before it. Raises ConfigError NF-SSH-120 (a jump loop), NF-SSH-121."""
        return await self._resolve(host, ())

    async def _resolve(self, host: Host, before: tuple[str, ...]) -> SshTarget:
        if host.name in before:
            raise ConfigError(
                f"jump hosts lead in a circle: {' -> '.join((*before, host.name))}",
                code="NF-SSH-120",
                where=host.source if host.source.file else host.name,
            )
        settings = await self.config.ask(host.address, host.user, host.port)
        self._warn(settings)
        jump = host.jump or self._jump(host, settings)
        via = await self._chain(jump, (*before, host.name))
        return self._target(host, settings, via)

    async def _chain(self, jump: tuple[str, ...], before: tuple[str, ...]) -> SshTarget | None:
        """The first hop keeps its own way there; each later one goes through the one before, as with ``ssh -J``."""
        via: SshTarget | None = None
        for hop in jump:
            target = await self._resolve(self._hop(hop), before)
            via = replace(target, via=via) if via else target
        return via

    def _hop(self, text: str) -> Host:
        match = _HOP.fullmatch(text)
        if text in self.fleet.hosts or not match:
            return self.fleet.hosts.get(text) or Host(name=text, address=text)
        name = match["host"].strip("[]")
        host = self.fleet.hosts.get(name, Host(name=name, address=name))
        return replace(host, user=match["user"] or host.user, port=int(match["port"] or host.port))

    def _target(self, host: Host, settings: Settings, via: SshTarget | None) -> SshTarget:
        tokens = self._tokens(host, settings)
        proxy = _last(settings, "proxycommand")
        return SshTarget(
            label=host.name,
            host=tokens["%h"].lower(),
            port=int(tokens["%p"]),
            user=tokens["%r"],
            identities=_identities(host, settings, tokens),
            certificates=_paths(settings.get("certificatefile", ()), tokens),
            identities_only=bool(host.key) or _last(settings, "identitiesonly") == "yes",
            agent=self._agent(_last(settings, "identityagent"), tokens),
            known_hosts=self._known_hosts(host, settings, tokens),
            host_key_alias=_last(settings, "hostkeyalias"),
            trust=_trust(host, _last(settings, "stricthostkeychecking")),
            fingerprint=host.fingerprint,
            proxy_command="" if via or proxy in {"", "none"} else _expand(proxy, tokens),
            address_family=_last(settings, "addressfamily"),
            connect_timeout=_seconds(_last(settings, "connecttimeout")),
            via=via,
        )

    def _jump(self, host: Host, settings: Settings) -> tuple[str, ...]:
        setting = _last(settings, "proxyjump")
        return () if setting in {"", "none"} else tuple(_expand(setting, self._tokens(host, settings)).split(","))

    def _tokens(self, host: Host, settings: Settings) -> Mapping[str, str]:
        """What TOKENS and ENVIRONMENT VARIABLES of ssh_config(5) stand for."""
        name = _last(settings, "hostname") or host.address
        port = str(host.port or int(_last(settings, "port") or 22))
        user = host.user or _last(settings, "user") or getpass.getuser()
        alias = _last(settings, "hostkeyalias") or host.address
        return ChainMap({"%h": name, "%n": host.address, "%p": port, "%r": user, "%k": alias}, self._local)

    @cached_property
    def _local(self) -> dict[str, str]:
        node = socket.gethostname()
        local = {"%%": "%", "%u": getpass.getuser(), "%i": str(os.getuid()), "%d": at_home("~")}
        variables = {f"${{{name}}}": value for name, value in self.environ.items()}
        return {**local, "%l": node, "%L": node.partition(".")[0], **variables}

    def _agent(self, setting: str, tokens: Mapping[str, str]) -> str:
        """IdentityAgent: a path, ``none``, the word SSH_AUTH_SOCK or ``$VARIABLE`` (ssh_config(5))."""
        if setting == "none":
            return ""
        if setting in {"", "SSH_AUTH_SOCK"}:
            return self.environ.get("SSH_AUTH_SOCK", "")
        if setting.startswith("$"):
            return self.environ.get(setting[1:], "")
        return at_home(_expand(setting, tokens))

    def _known_hosts(self, host: Host, settings: Settings, tokens: Mapping[str, str]) -> tuple[str, ...]:
        if host.known_hosts:
            files: tuple[str, ...] = (str(Path(host.known_hosts).expanduser()),)
        else:
            listed = (_last(settings, "userknownhostsfile"), _last(settings, "globalknownhostsfile"))
            files = _paths(tuple(name for names in listed for name in names.split() if name != "none"), tokens)
        return (*files, str(self.own_known_hosts))

    def _warn(self, settings: Settings) -> None:
        for keyword, neutral in _NOT_HONOURED.items():
            value = _last(settings, keyword)
            if value not in {"", neutral} and (keyword, value) not in self._warned:
                self._warned.add((keyword, value))
                log.warning("ssh_config: %s %s is not honoured", keyword, value)


def _last(settings: Settings, keyword: str) -> str:
    return settings.get(keyword, ("",))[-1]


def _seconds(setting: str) -> float:
    """ConnectTimeout; ours where it is not set."""
    return float(setting) if setting.isdigit() and int(setting) else CONNECT_TIMEOUT


def _identities(host: Host, settings: Settings, tokens: Mapping[str, str]) -> tuple[str, ...]:
    """The inventory's key stays even when it is missing, so that its absence is reported; ssh's guesses do not.

    Where only the public half is there, the agent may have the private one.
    """
    if host.key:
        return (str(Path(host.key).expanduser()),)
    named = _paths(settings.get("identityfile", ()), tokens)
    return tuple(path for path in named if Path(path).exists() or Path(f"{path}.pub").exists())


def _paths(names: tuple[str, ...], tokens: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(at_home(_VARIABLE.sub(_known(tokens), _expand(name, tokens))) for name in names if name != "none")


def _expand(text: str, tokens: Mapping[str, str]) -> str:
    return re.sub(r"%.", _known(tokens), text) if "%" in text else text


def _known(tokens: Mapping[str, str]) -> Callable[[re.Match[str]], str]:
    return lambda match: tokens.get(match[0], match[0])


_LENIENT = {"accept-new", "no", "off", "false"}
"""``ssh -G`` prints ``no`` as ``false``."""


def _trust(host: Host, setting: str) -> TrustPolicy:
    """The inventory's word first. ``no`` is read as accept-new: a changed key is refused by every policy."""
    silent = host.trust is TrustPolicy.STRICT and "trust" not in host.origins
    return TrustPolicy.ACCEPT_NEW if silent and setting in _LENIENT else host.trust
