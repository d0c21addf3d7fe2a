"""What is left out of the SSH library."""

from __future__ import annotations

from pathlib import Path

from novafleet.model.command import Command
from novafleet.model.fleet import Fleet
from novafleet.model.secret import Secret
from novafleet.transport.pool import SshPool
from tests.sshd import running_sshd


async def test_a_real_sshd_gets_no_empty_packets_once_logged_in(tmp_path: Path) -> None:
    with running_sshd(tmp_path, "LogLevel DEBUG3") as sshd:
        async with SshPool(Fleet({}, {}), known_hosts=tmp_path / "own", passwords=lambda _: Secret.of("")) as pool:
            session = await pool.get(sshd.host())
            assert (await session.run(Command(("cat",)), stdin=b"data")).stdout == b"data"
        told = sshd.log[sshd.log.index("Accepted publickey") :]
    assert "receive packet: type 98" in told  # its level is one at which it would say so (RFC 4254: a request)
    assert "SSH2_MSG_IGNORE" not in told
