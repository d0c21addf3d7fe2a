"""Foreign errors become findings here: one function per situation, each with the fix."""

from __future__ import annotations

import re
import shlex
import socket
from dataclasses import dataclass

from novafleet.errors import AuthError, ChannelError, DeadlineError, PrivilegeError, UnreachableError
from novafleet.transport.target import SshTarget


@dataclass(frozen=True, slots=True)
class Offered:
    """What we had to show for ourselves at a login: key names offered, and those that could not be used."""

    keys: tuple[str, ...] = ()
    encrypted: tuple[str, ...] = ()
    useless: tuple[str, ...] = ()
    agent: str = "no agent"


def not_connected(target: SshTarget, error: OSError) -> UnreachableError:
    """The TCP connection, or the way to it, failed."""
    if isinstance(error, socket.gaierror):
        return UnreachableError(
            f"{target.host} has no address",
            code="NF-SSH-101",
            where=target.label,
            cause=str(error),
            hints=(f"getent hosts {target.host}   # then correct `address:` in the inventory or DNS",),
        )
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(
            f"nothing listens on {target.host} port {target.port}",
            code="NF-SSH-102",
            where=target.label,
            cause=str(error),
            hints=("start sshd on the host, or correct `port:` in the inventory",),
        )
    return UnreachableError(
        f"{target.host} port {target.port} cannot be reached",
        code="NF-SSH-103",
        where=target.label,
        cause=str(error),
        hints=(f"ssh -v -p {target.port} {target.user}@{target.host} true",),
    )


def behind_jump(target: SshTarget, cause: str) -> UnreachableError:
    """The jump host answered, but could not reach the target."""
    jump = target.via.label if target.via else "the jump host"
    return UnreachableError(
        f"{jump} cannot reach {target.host} port {target.port}",
        code="NF-SSH-107",
        where=target.label,
        cause=cause,
        hints=(f"on {jump}: nc -vz {target.host} {target.port}; its sshd needs AllowTcpForwarding yes",),
    )


def too_slow(target: SshTarget, reached: bool, seconds: float) -> UnreachableError:
    """Connecting or logging in took too long."""
    phase = "did not finish the login" if reached else "did not answer"
    return UnreachableError(
        f"{target.host} port {target.port} {phase} within {seconds:.0f} s",
        code="NF-SSH-109" if reached else "NF-SSH-108",
        where=target.label,
        hints=(f"ssh -v -p {target.port} {target.user}@{target.host} true",),
    )


def dropped(target: SshTarget, attempts: int, said: str) -> UnreachableError:
    """Every login was closed before the server's greeting; ``said`` is what a ProxyCommand had to say of it."""
    if target.proxy_command:
        return UnreachableError(
            f"the ProxyCommand to {target.host} port {target.port} ended before sshd's greeting",
            code="NF-SSH-103",
            where=target.label,
            cause=said or "it said nothing of why",
            hints=("grep -i -B5 proxycommand ~/.ssh/config   # then run it by hand",),
        )
    return UnreachableError(
        f"sshd on {target.host} closed {attempts} logins before its greeting",
        code="NF-SSH-104",
        where=target.label,
        cause="too many logins at once (MaxStartups), a penalty after failed logins (PerSourcePenalties), or no sshd",
        hints=(
            f"on {target.label}: journalctl -u ssh -n 50 | grep -E 'MaxStartups|penalty'",
            "raise MaxStartups, or add this controller to PerSourcePenaltyExemptList in sshd_config",
        ),
    )


_UNLIKE = re.compile(r"No matching (.+) algorithm found, sent \S+ and received (\S+)")
"""asyncssh's words, with all it can do itself between: too much to be read."""

_COMMON = {
    "key exchange": ("KexAlgorithms", "curve25519-sha256"),
    "encryption": ("Ciphers", "aes256-gcm@openssh.com"),
    "MAC": ("MACs", "hmac-sha2-256-etm@openssh.com"),
}
"""What sshd calls it, and one that both have."""


def handshake(target: SshTarget, cause: str) -> UnreachableError:
    """The two sides did not agree on a protocol, or the login broke off."""
    if unlike := _UNLIKE.match(cause):
        kind, theirs = unlike.groups()
        keyword, ours = _COMMON.get(kind, ("", ""))
        return UnreachableError(
            f"the host and NovaFleet have no {kind} algorithm in common",
            code="NF-SSH-106",
            where=target.label,
            cause=f"the host has only {theirs}",
            hints=(f"in the host's sshd_config add {ours} to {keyword}, then `systemctl reload ssh`",) if ours else (),
        )
    return UnreachableError(
        "the SSH login broke off",
        code="NF-SSH-106",
        where=target.label,
        cause=cause,
        hints=(f"ssh -v -p {target.port} {target.user}@{target.host} true   # shows the algorithms offered",),
    )


def lost(label: str, cause: str = "") -> UnreachableError:
    """An open connection ended under us."""
    return UnreachableError(
        "the SSH connection was lost",
        code="NF-SSH-105",
        where=label,
        cause=cause,
        hints=("run it again: the next call connects anew",),
    )


def rejected(target: SshTarget, offered: Offered, cause: str, demand: str) -> AuthError:
    """No identity was accepted, or ``demand`` is wanted; nothing further is tried on this host in this run."""
    if demand:
        code, cause = "NF-SSH-300", demand
        fix = "sshd_config, `Match Address` of this machine: PubkeyAuthentication yes, AuthenticationMethods publickey"
    elif "too many" in cause.lower():
        code, fix = "NF-SSH-304", f"name one key: `key: ~/.ssh/…` for {target.label} in the inventory"
    elif offered.encrypted and not offered.keys:
        code, fix = "NF-SSH-302", f"ssh-add {offered.encrypted[0]}"
    else:
        code, fix = "NF-SSH-300", f"ssh-copy-id -p {target.port} {target.user}@{target.host}"
    shown = ", ".join(offered.keys) or "no key"
    locked = f"; locked by a passphrase: {', '.join(offered.encrypted)}" if offered.encrypted else ""
    useless = "".join(f"; {what}" for what in offered.useless)
    return AuthError(
        f"{target.user}@{target.host} was not let in",
        code=code,
        where=target.label,
        cause=f"{cause}; offered {shown}{locked}{useless}; {offered.agent}",
        hints=(fix, "the same login by hand: " + f"ssh -v -p {target.port} {target.user}@{target.host} true"),
    )


def no_key(label: str, name: str, error: Exception) -> AuthError:
    """An identity cannot be used."""
    if isinstance(error, OSError):
        return AuthError(
            f"the private key {name} cannot be read",
            code="NF-SSH-301",
            where=label,
            cause=error.strerror or str(error),
            hints=(f"ls -l {shlex.quote(name)}   # or correct `key:` in the inventory",),
        )
    public = "ssh-add -l   # a public key is of use where an agent has its private half"
    return AuthError(
        f"{name} is no private key",
        code="NF-SSH-303",
        where=label,
        cause=str(error),
        hints=(public if name.endswith(".pub") else f"head -1 {shlex.quote(name)}",),
    )


def no_channel(label: str, cause: str) -> ChannelError:
    """The server refused a session although none of ours was open."""
    return ChannelError(
        "the server refused to open a session",
        code="NF-SSH-400",
        where=label,
        cause=cause,
        hints=("check ForceCommand, MaxSessions and the user's login shell on the host",),
    )


def not_forwarded(label: str, what: str, cause: str) -> ChannelError:
    """A socket behind the host could not be reached, by forwarding or by a relay program."""
    return ChannelError(
        f"{what} cannot be reached through the host",
        code="NF-SSH-402",
        where=label,
        cause=cause,
        hints=("allow it in sshd_config (AllowTcpForwarding, AllowStreamLocalForwarding), or install socat",),
    )


def not_listening(label: str, what: str, cause: str) -> ChannelError:
    """The host does not listen for us."""
    return ChannelError(
        f"the host would not listen on {what}",
        code="NF-SSH-403",
        where=label,
        cause=cause,
        hints=("sshd_config: AllowTcpForwarding / AllowStreamLocalForwarding must allow remote forwards",),
    )


def channel_too_slow(label: str, seconds: float) -> DeadlineError:
    """The server did not answer a request for a channel."""
    return DeadlineError(f"the server did not open a channel within {seconds:.0f} s", code="NF-TIME-102", where=label)


def command_too_slow(label: str, program: str, seconds: float) -> DeadlineError:
    """A command ran past its deadline and was killed."""
    return DeadlineError(
        f"`{program}` did not end within {seconds:g} s and was killed with its process group",
        code="NF-TIME-103",
        where=label,
        hints=("raise --timeout, or look at the host's load",),
    )


def no_privilege(label: str, said: str, status: int) -> PrivilegeError:
    """sudo ended without starting the command; its words (in English, LC_ALL=C) say why."""
    for code, sign, what, fix in SUDO_REFUSALS:
        if sign in said:
            return PrivilegeError(what, code=code, where=label, cause=said, hints=(fix,))
    return PrivilegeError(
        f"sudo failed with status {status}",
        code="NF-SUDO-008",
        where=label,
        cause=said,
        hints=(f"ssh {label} sudo -n true",),
    )


SUDO_REFUSALS = (
    (
        "NF-SUDO-001",
        "a password is required",
        "sudo wants a password",
        "set `become: {password: ask}` (or env:NAME, file:PATH) in the inventory, or NOPASSWD in the host's sudoers",
    ),
    ("NF-SUDO-002", "incorrect password", "sudo does not take the password", "correct `become.password`"),
    ("NF-SUDO-002", "Authentication failure", "sudo does not take the password", "correct `become.password`"),
    ("NF-SUDO-005", "must have a tty", "sudo insists on a terminal", "in the host's sudoers: Defaults !requiretty"),
    ("NF-SUDO-006", "not in the sudoers", "the user may not use sudo", "on the host: usermod -aG sudo USER"),
    ("NF-SUDO-006", "may not run sudo", "the user may not use sudo", "on the host: usermod -aG sudo USER"),
    ("NF-SUDO-006", "not allowed to", "the user may not become root", "widen the user's rule in the host's sudoers"),
    ("NF-SUDO-004", "'sudo'", "the host has no sudo", "install sudo on the host, or log in as root (`user: root`)"),
    ("NF-SUDO-004", "sudo: not found", "the host has no sudo", "install sudo, or log in as root (`user: root`)"),
)
"""Code, sign in sudo's words, what, fix. ``'sudo'`` in quotes is how env(1) names a missing program."""
