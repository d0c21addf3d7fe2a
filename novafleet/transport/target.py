"""Where a connection leads and with what: every option explicit, nothing left to defaults of a library."""

from __future__ import annotations

from dataclasses import dataclass

from novafleet.model.fleet import TrustPolicy

CONNECT_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class SshTarget:
    """One sshd and the way to it. ``label`` is the inventory name; ``via`` the jump host in front of it.

    ``identities`` and ``certificates`` are private key and certificate files in the order offered;
    ``known_hosts`` the files that may vouch for it; ``agent`` the agent's socket path or empty;
    ``address_family`` is ``inet`` or ``inet6`` where only one may be used.
    """

    label: str
    host: str
    port: int
    user: str
    identities: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    identities_only: bool = False
    agent: str = ""
    known_hosts: tuple[str, ...] = ()
    host_key_alias: str = ""
    trust: TrustPolicy = TrustPolicy.STRICT
    fingerprint: str = ""
    proxy_command: str = ""
    address_family: str = ""
    connect_timeout: float = CONNECT_TIMEOUT
    via: SshTarget | None = None

    @property
    def sshd(self) -> tuple[str, int]:
        """What counts as one sshd for its MaxStartups; all loopback addresses are one machine."""
        return ("127.0.0.1" if self.host.startswith("127.") else self.host, self.port)

    def __str__(self) -> str:
        route = f" via {self.via.label}" if self.via else ""
        return f"{self.user}@{self.host}:{self.port}{route}"
