"""From the winning settings of a host to typed connection values; Ansible's variables stand in for ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.inventory import names, sshargs
from novafleet.inventory.layer import HostEntry, Setting
from novafleet.model.fleet import Become, Notice, TrustPolicy
from novafleet.source.node import Vaulted

Chain = tuple[Setting, ...]
"""Every setting of one name, the winner last."""

KEYS = ("address", "port", "user", "key", "known_hosts", "jump", "become", "trust", "fingerprint")

_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "address": ("ansible_ssh_host", "ansible_host"),
    "port": ("ansible_ssh_port", "ansible_port"),
    "user": ("ansible_ssh_user", "ansible_user"),
    "key": ("ansible_ssh_private_key_file", "ansible_private_key_file"),
    "become": ("ansible_become",),
}
"""The variables of ansible-core's ssh connection plugin; it takes the older spelling when both are there."""

_ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
_OPTIONS = {
    "proxyjump": "jump",
    "userknownhostsfile": "known_hosts",
    "stricthostkeychecking": "trust",
    "port": "port",
    "user": "user",
    "identityfile": "key",
}
_OVER_SSH = frozenset({"ssh", "smart", "paramiko", "paramiko_ssh", "libssh"})
_BRACES = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_NESTED = 4
"""Variables that name variables: this deep."""
_LONGEST = 4096
_PASSWORDS = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
_TRUE = frozenset({"true", "yes", "on", "1", "y", "t"})


def chains(entry: HostEntry, found: Mapping[str, Chain]) -> tuple[dict[str, Chain], tuple[Notice, ...]]:
    """The chains of connection keys: our own keys, else Ansible's variables. Raises ConfigError NF-INV-009 to -011."""
    result = {key: found[key] for key in KEYS if key in found}
    for key, variables in _VARIABLES.items():
        for variable in variables:
            chain = _set(variable, found)
            if chain and key not in result:
                result[key] = _followed(entry, chain, found)
    notices: list[Notice] = []
    for variable in _ARGUMENTS:
        for setting in _set(variable, found)[-1:]:
            (followed,) = _followed(entry, (setting,), found)
            for key, value in _arguments(entry.name, variable, followed, notices).items():
                result.setdefault(key, (replace(followed, value=value),))
    notices.extend(_ignored(found))
    return result, tuple(notices)


def _set(variable: str, found: Mapping[str, Chain]) -> Chain:
    """Its chain; a variable that is null is not set, as for Ansible."""
    chain = found.get(f"vars.{variable}", ())
    return chain if chain and chain[-1].value is not None else ()


def _followed(entry: HostEntry, chain: Chain, found: Mapping[str, Chain]) -> Chain:
    """The winner as Ansible would use it: names in braces replaced, paths starting at the working directory."""
    winner = chain[-1]
    value = substitute(winner.value, entry, found) if isinstance(winner.value, str) else winner.value
    return (*chain[:-1], replace(winner, value=value, base="."))


def substitute(text: str, entry: HostEntry, found: Mapping[str, Chain]) -> str:
    """``{{ NAME }}`` replaced by that variable; what needs more of Jinja than that stays as it is."""
    if "{{" not in text:
        return text
    file = Path(entry.source.file).absolute()
    magic = {
        "inventory_hostname": entry.name,
        "inventory_hostname_short": entry.name.split(".")[0],
        "inventory_file": str(file),
        "inventory_dir": str(file.parent),
    }

    def value(match: re.Match[str]) -> str:
        named = found.get(f"vars.{match[1]}", ())
        known = magic.get(match[1], named[-1].value if named else None)
        return str(known) if isinstance(known, str | int) and not isinstance(known, Vaulted) else match[0]

    for _ in range(_NESTED):
        text = _BRACES.sub(value, text[:_LONGEST])
    return text


def not_over_ssh(entry: HostEntry, found: Mapping[str, Chain]) -> Notice | None:
    """Why a host is left out: Ansible would reach it otherwise (``local``, ``docker``, ``winrm`` …)."""
    for setting in _set("ansible_connection", found)[-1:]:
        plugin = substitute(str(setting.value), entry, found)
        if plugin.rpartition(".")[2] not in _OVER_SSH:
            text = f"{entry.name} is left out: ansible_connection={plugin}, but hosts are managed over SSH"
            return Notice(text, setting.source)
    return None


def _arguments(host: str, variable: str, setting: Setting, notices: list[Notice]) -> dict[str, Any]:
    text = _text(host, variable, setting)
    parsed = sshargs.parse(text)
    if parsed.problem:
        raise ConfigError(
            f"{host}: {variable} cannot be followed: {parsed.problem}",
            code="NF-INV-011",
            where=setting.source,
            hints=("write -o ProxyJump=BASTION, or move it to ~/.ssh/config, which is read",),
        )
    notices.extend(Notice(f"{variable}: {option} is not followed", setting.source) for option in parsed.ignored)
    values = {key: parsed.options[option] for option, key in _OPTIONS.items() if option in parsed.options}
    if values.get("trust", "").lower() in ("no", "off"):
        notices.append(
            Notice(f"{variable}: StrictHostKeyChecking=no is not followed, host keys are checked", setting.source)
        )
    if "trust" in values:
        values["trust"] = "accept-new" if values["trust"].lower() == "accept-new" else "strict"
    if values.get("known_hosts") == "/dev/null":
        notices.append(Notice(f"{variable}: UserKnownHostsFile=/dev/null is not followed", setting.source))
        del values["known_hosts"]
    return values


def _ignored(found: Mapping[str, Chain]) -> list[Notice]:
    """What Ansible would do and we do not."""
    notices = [
        Notice(f"{name.removeprefix('vars.')} is encrypted by ansible-vault: not known here", chain[-1].source)
        for name, chain in found.items()
        if isinstance(chain[-1].value, Vaulted) and name.removeprefix("vars.") not in _PASSWORDS
    ]
    notices += [
        Notice(
            f"{name} is not read: sudo's password is asked for, or named by become.password",
            found[f"vars.{name}"][-1].source,
        )
        for name in _PASSWORDS
        if f"vars.{name}" in found
    ]
    for name, followed in (("ansible_become_method", "sudo"), ("ansible_become_user", "root")):
        notices.extend(
            Notice(f"{name}={setting.value} is not followed: root is reached by sudo", setting.source)
            for setting in found.get(f"vars.{name}", ())[-1:]
            if str(setting.value).rpartition(".")[2] != followed
        )
    for name in ("ansible_host_key_checking", "ansible_ssh_host_key_checking"):
        notices.extend(
            Notice(f"{name}=false is not followed, host keys are checked", setting.source)
            for setting in found.get(f"vars.{name}", ())[-1:]
            if not _truth(setting.value)
        )
    return notices


def values(host: str, found: Mapping[str, Chain], connection: Mapping[str, Chain]) -> dict[str, Any]:
    """The typed value of each connection key that is set. Raises ConfigError NF-INV-004, -009, -010."""
    typed = {key: _TYPED[key](host, key, chain[-1]) for key, chain in connection.items()}
    become = typed.get("become")
    if become and become.enabled and not become.password and any(f"vars.{name}" in found for name in _PASSWORDS):
        typed["become"] = Become(enabled=True, password="ask")  # noqa: S106 the name of a source, not a secret
    return typed


def _text(host: str, key: str, setting: Setting) -> str:
    value = setting.value
    if isinstance(value, Vaulted):
        raise ConfigError(
            f"{host}: {key} is encrypted by ansible-vault, which NovaFleet does not open",
            code="NF-INV-015",
            where=setting.source,
            hints=("write it as it is, or ansible-vault decrypt the file",),
        )
    if not isinstance(value, str):
        raise _bad(host, key, f"expected text, found {value!r}", setting.source)
    if "{{" in value or "{%" in value:
        raise ConfigError(
            f"{host}: {key} is a template ({value}), but connections are made before templates are rendered",
            code="NF-INV-010",
            where=setting.source,
            hints=("write the value itself, for this host in host_vars/",),
        )
    if any(not char.isprintable() for char in value):
        raise _bad(host, key, f"{value!r} holds a control character", setting.source)
    return value


def _address(host: str, key: str, setting: Setting) -> str:
    return names.check_address(_text(host, key, setting), setting.source)


def _port(host: str, key: str, setting: Setting) -> int:
    value = setting.value
    number = value if isinstance(value, int) and not isinstance(value, bool) else _text(host, key, setting)
    if not re.fullmatch(r"[0-9]{1,5}", str(number)) or not 0 < int(number) < 65536:
        raise _bad(host, key, f"{value!r} is not a port from 1 to 65535", setting.source, "sshd's usual port is 22")
    return int(number)


def _user(host: str, key: str, setting: Setting) -> str:
    text = _text(host, key, setting)
    return text and names.check_user(text, setting.source)


def _path(host: str, key: str, setting: Setting) -> str:
    text = _text(host, key, setting)
    try:
        return text and str(Path(setting.base or Path(setting.source.file).parent) / Path(text).expanduser())
    except RuntimeError as exc:
        raise _bad(host, key, f"the home directory in {setting.value!r} is unknown", setting.source) from exc


def _jump(host: str, key: str, setting: Setting) -> tuple[str, ...]:
    if isinstance(setting.value, tuple):
        return setting.value
    text = _text(host, key, setting)
    hops = [] if text.lower() in ("", "none") else text.split(",")
    return tuple(hop.strip().removeprefix("ssh://") for hop in hops)


def _become(host: str, key: str, setting: Setting) -> Become:
    if isinstance(setting.value, Become):
        return setting.value
    if not isinstance(setting.value, bool | int):
        _text(host, key, setting)
    return Become(enabled=_truth(setting.value))


def _trust(host: str, key: str, setting: Setting) -> TrustPolicy:
    return TrustPolicy(_text(host, key, setting))


def _truth(value: object) -> bool:
    return str(value).lower() in _TRUE


_TYPED: Mapping[str, Callable[[str, str, Setting], Any]] = {
    "address": _address,
    "port": _port,
    "user": _user,
    "key": _path,
    "known_hosts": _path,
    "jump": _jump,
    "become": _become,
    "trust": _trust,
    "fingerprint": _text,
}


def _bad(host: str, key: str, what: str, where: Location, *hints: str) -> ConfigError:
    return ConfigError(f"{host}: {key}: {what}", code="NF-INV-009", where=where, hints=hints)
