"""Everything one connection carries, as ``ports.HostSession``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from novafleet.transport import files
from novafleet.transport.link import Trunk
from novafleet.transport.shell import RemoteShell
from novafleet.transport.tunnel import RemoteTunnel

if TYPE_CHECKING:
    from novafleet.model.fleet import Host
    from novafleet.model.secret import Secret
    from novafleet.ports import Channel, ChannelHandler

AnyTrunk = TypeVar("AnyTrunk", bound=Trunk)


class SshSession(RemoteShell, Generic[AnyTrunk]):
    """A host's commands, files and tunnels over one trunk."""

    def __init__(self, host: Host, trunk: AnyTrunk, passwords: Callable[[Host], Secret]) -> None:
        super().__init__(host, trunk, passwords)
        self.trunk = trunk
        self._tunnel = RemoteTunnel(host, trunk, self)

    @property
    def host(self) -> Host:
        """The inventory entry this session leads to."""
        return self._host

    async def push(
        self, content: bytes | Path, path: str, *, mode: int = 0o644, owner: str = "", become: bool = False
    ) -> bool:
        """Put a file in place; see ``ports.Files.push``."""
        placing = files.Placing(path, mode, owner, become)
        return await files.push(self, self._host.name, content, placing)

    async def pull(self, path: str, *, become: bool = False) -> bytes:
        """The content of a small file; see ``ports.Files.pull``."""
        return await files.pull(self, self._host.name, path, become=become)

    async def pull_to(self, path: str, target: Path, *, become: bool = False) -> int:
        """Stream a file to a local path; see ``ports.Files.pull_to``."""
        return await files.pull_to(self, self._host.name, path, target, become=become)

    async def open_tcp(self, address: str, port: int, *, timeout: float = 10.0) -> Channel:
        """See ``ports.Tunnel.open_tcp``."""
        return await self._tunnel.open_tcp(address, port, timeout)

    async def open_unix(self, path: str, *, timeout: float = 10.0) -> Channel:
        """See ``ports.Tunnel.open_unix``."""
        return await self._tunnel.open_unix(path, timeout)

    def listen_tcp(self, address: str, port: int, handler: ChannelHandler) -> AbstractAsyncContextManager[int]:
        """See ``ports.Tunnel.listen_tcp``."""
        return self._tunnel.listen_tcp(address, port, handler)

    def listen_unix(self, path: str, handler: ChannelHandler) -> AbstractAsyncContextManager[str]:
        """See ``ports.Tunnel.listen_unix``."""
        return self._tunnel.listen_unix(path, handler)
