"""Data paths: what hosts offer, which way is taken, and that nothing of a way stays."""

from __future__ import annotations

import asyncio
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path as File
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novafleet.capability.migration import offer, relay, route, survey, tunnel
from novafleet.errors import ConfigError, MigrationError, NovaFleetError
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.fleet import Host
from novafleet.model.migration import Path
from novafleet.ports import Channel, HostSession, Hypervisor
from tests.localsession import local_session

DAC = (
    "<capabilities><host><secmodel><model>dac</model><baselabel type='kvm'>+64055:+106</baselabel>"
    "<baselabel type='qemu'>+64055:+107</baselabel></secmodel>{}</host></capabilities>"
)
LINES = (
    "login ops",
    "uid 1000",
    "groups ops libvirt",
    "reached 10.0.0.1 50000 10.0.0.2 22",
    "has ssh",
    "has systemd",
    "socket /run/libvirt/libvirt-sock",
    "hostkey ssh-ed25519 AAAA",
    "hostkey broken",
    "taken 49152",
    "taken nonsense",
)


@dataclass(frozen=True, slots=True)
class End:
    """This machine as a host, with a libvirt in memory."""

    session: HostSession
    hypervisor: Hypervisor

    @property
    def host(self) -> Host:
        return self.session.host


def test_a_host_says_what_it_offers() -> None:
    found = offer.read(LINES, DAC.format(""))
    assert (found.login, found.uid, found.address, found.port) == ("ops", 1000, "10.0.0.2", 22)
    assert found.owner == "64055:107"
    assert found.host_keys == ("ssh-ed25519 AAAA",)
    assert found.may_use_libvirt
    assert not found.confined
    assert not found.tls


@pytest.mark.parametrize(
    ("programs", "qemu", "hands"),
    [
        (("userfaultfd",), 7_002_022, True),
        (("/dev/userfaultfd",), 7_002_022, False),
        (("/dev/userfaultfd",), 8_000_000, True),
        ((), 10_000_000, False),
    ],
)
def test_an_older_qemu_does_not_know_the_device_of_page_faults(
    programs: tuple[str, ...], qemu: int, hands: bool
) -> None:
    found = offer.Offer(programs=frozenset(programs), qemu=qemu)
    assert found.hands_faults is hands
    host: Any = SimpleNamespace(host=Host("kvm1", ""))
    why = survey._faults(host, found)
    assert bool(why) is not hands
    assert ("older than 8.0" in why) is (bool(programs) and not hands)


def test_a_socket_anyone_may_write_to_still_asks_polkit() -> None:
    lines = [line for line in LINES if not line.startswith("groups")]
    assert not offer.read(lines, DAC.format("")).may_use_libvirt


@pytest.mark.parametrize("model", ["selinux", "apparmor"])
def test_confined_qemu_gets_loopback_ports(model: str) -> None:
    confined = offer.read(LINES, DAC.format(f"<secmodel><model>{model}</model></secmodel>"))
    assert confined.confined
    free = offer.Offer(uid=0)
    assert route._on_ports(Path.RELAY, (free, confined))
    assert not route._on_ports(Path.DIRECT, (free, confined))
    assert not route._on_ports(Path.RELAY, (free, free))
    assert [lane.at for lane in route._lanes(Path.RELAY, "/run/x")][:1] == ["/run/x/mem.sock"]


def test_a_tunnel_into_a_user_uses_ports_too() -> None:
    """QEMU's sockets belong to QEMU: who logs in as somebody else cannot open them."""
    assert route._on_ports(Path.TUNNEL, (offer.Offer(uid=0), offer.Offer(uid=1000)))


def test_routes_of_a_run_get_ports_of_their_own() -> None:
    """A second job looks at the hosts before the first one's listeners are there."""
    ends: list[Any] = [SimpleNamespace(host=Host(name, "")) for name in ("kvm1", "kvm2", "kvm3")]
    ports, seen = offer.Ports(), offer.Offer(taken=frozenset({49152}))
    with ports.promised(2, ends[:2], (seen, seen)) as first:
        assert first == [49153, 49154]
        with ports.promised(2, ends[1:], (seen, seen)) as second:
            assert second == [49155, 49156], "they share a host"
        with ports.promised(2, ends[2:], (seen, seen)) as third:
            assert third == [49153, 49154]
    with ports.promised(2, ends[:2], (seen, seen)) as again:
        assert again == first


def test_no_port_is_left() -> None:
    full = offer.Offer(taken=frozenset(offer.PORTS))
    with pytest.raises(MigrationError) as caught, offer.Ports().promised(2, (), (full, offer.Offer())):
        """Nothing to do with them."""
    assert caught.value.code == "NF-MIG-105"


@given(st.lists(st.text(max_size=30), max_size=8))
def test_no_host_can_confuse_the_look(lines: list[str]) -> None:
    offer.read(lines, DAC.format(""))


ALL = {"direct": "", "tunnel": "", "relay": "", "tls": "no certificates"}


@pytest.mark.parametrize(
    ("paths", "wanted", "taken"),
    [
        (ALL, Path.AUTO, Path.TUNNEL),
        ({**ALL, "tls": ""}, Path.AUTO, Path.DIRECT),
        ({**ALL, "tls": "", "direct": "closed"}, Path.AUTO, Path.TUNNEL),
        ({**ALL, "tunnel": "closed"}, Path.AUTO, Path.RELAY),
        (ALL, Path.DIRECT, Path.DIRECT),
        (ALL, Path.RELAY, Path.RELAY),
    ],
)
def test_the_best_path_that_works(paths: dict[str, str], wanted: Path, taken: Path) -> None:
    assert route.choose(paths, wanted) is taken


@pytest.mark.parametrize("wanted", [Path.AUTO, Path.TUNNEL])
def test_no_path_is_refused_with_its_reason(wanted: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        route.choose({**ALL, "tunnel": "no ssh there", "relay": "not root"}, wanted)
    assert caught.value.code == "NF-MIG-102"
    assert "no ssh there" in caught.value.cause


@pytest.mark.parametrize("job", ["", "../../etc", "0123456", "0123456g", "0123456\n7"])
def test_only_a_job_has_a_folder(job: str) -> None:
    with pytest.raises(NovaFleetError):
        route.folder_of(job)


def test_libvirts_listener_is_the_tunnels_last() -> None:
    """tunnel_up.sh takes it for the sign that all are there."""
    lanes = [relay.Lane("/run/x/lv.sock", daemon=True), relay.Lane("/run/x/mem.sock"), relay.Lane(49152)]
    words = tunnel._forwards(offer.Offer(socket="/run/libvirt/libvirt-sock"), lanes)
    assert words == (
        "-L",
        "/run/x/mem.sock:/run/x/mem.sock",
        "-L",
        "127.0.0.1:49152:127.0.0.1:49152",
        "-L",
        "/run/x/lv.sock:/run/libvirt/libvirt-sock",
    )


async def test_bytes_go_both_ways_and_ends_are_told(tmp_path: File) -> None:
    near, far = str(tmp_path / "near.sock"), str(tmp_path / "far.sock")
    source, destination = (End(local_session(tmp_path), FakeHypervisor(name)) for name in ("a", "b"))

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.read())  # to the end of file
        writer.write_eof()
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(echo, far):

        async def carry(channel: Channel) -> None:
            await relay.join(channel, lambda: relay._far(destination, relay.Lane(far)))

        async with source.session.listen_unix(near, carry):
            reader, writer = await asyncio.open_unix_connection(near)
            writer.write(b"x" * 300_000)
            writer.write_eof()
            assert await reader.read() == b"heard " + b"x" * 300_000
            writer.close()


async def test_a_destination_that_does_not_listen_is_told(tmp_path: File) -> None:
    near = str(tmp_path / "near.sock")
    end = End(local_session(tmp_path), FakeHypervisor("b"))
    complaints = relay.Complaints()
    async with relay._listening(end, end, relay.Lane(near, daemon=True), complaints):
        reader, writer = await asyncio.open_unix_connection(near)
        assert await reader.read() == b""
        writer.close()
    assert "libvirt in memory" in complaints.last


def script(name: str, *words: str, home: File) -> None:
    text = resources.files("novafleet.capability.migration").joinpath(name).read_text()
    subprocess.run(["sh", "-c", text, "novafleet", *words], check=True, env={**os.environ, "HOME": str(home)})


@pytest.mark.parametrize(
    "before",
    [None, b"", b"ssh-ed25519 AAAA me\n", b"no newline at the end", b"# a\n\nssh-rsa B \xff\xfe binary\n", b"\n"],
)
def test_authorized_keys_is_the_same_to_the_byte_afterwards(tmp_path: File, before: bytes | None) -> None:
    keys = tmp_path / ".ssh" / "authorized_keys"
    if before is not None:
        keys.parent.mkdir(mode=0o700)
        keys.write_bytes(before)
        keys.chmod(0o640)
    script("tunnel_trust.sh", "0123abcd", "ssh-ed25519 KEY", 'permitopen="none"', home=tmp_path)
    line = keys.read_bytes().splitlines()[0].decode()
    assert line.startswith('restrict,port-forwarding,command="/bin/false",permitopen="none",expiry-time="2')
    assert line.endswith('" ssh-ed25519 KEY novafleet-migrate-0123abcd')
    assert keys.read_bytes().partition(b"\n")[2] == (before or b"")
    script("tunnel_distrust.sh", "0123abcd", home=tmp_path)
    script("tunnel_distrust.sh", "0123abcd", home=tmp_path)
    if before is None:
        assert not keys.parent.exists()
    else:
        assert keys.read_bytes() == before
        assert keys.stat().st_mode & 0o777 == 0o640
        assert [each.name for each in keys.parent.iterdir()] == ["authorized_keys"]


def test_what_others_wrote_meanwhile_stays(tmp_path: File) -> None:
    keys = tmp_path / ".ssh" / "authorized_keys"
    script("tunnel_trust.sh", "0123abcd", "ssh-ed25519 KEY", 'permitopen="none"', home=tmp_path)
    script("tunnel_trust.sh", "ffff0000", "ssh-ed25519 OTHER", 'permitopen="none"', home=tmp_path)
    with keys.open("a") as file:
        file.write("ssh-rsa COLLEAGUE\n")
    script("tunnel_distrust.sh", "0123abcd", home=tmp_path)
    left = keys.read_text().splitlines()
    assert len(left) == 2
    assert left[0].endswith("novafleet-migrate-ffff0000")
    assert left[1] == "ssh-rsa COLLEAGUE"


@pytest.mark.parametrize("before", [None, b"ssh-ed25519 AAAA me\n"])
def test_jobs_that_change_authorized_keys_at_once_do_not_lose_each_others_keys(
    tmp_path: File, before: bytes | None
) -> None:
    keys = tmp_path / ".ssh" / "authorized_keys"
    if before is not None:
        keys.parent.mkdir(mode=0o700)
        keys.write_bytes(before)
    script("tunnel_trust.sh", "ffff0000", "ssh-ed25519 FIRST", home=tmp_path)

    def job(number: int) -> None:
        name = f"0123abc{number}"
        for _ in range(5):
            script("tunnel_trust.sh", name, "ssh-ed25519 KEY", home=tmp_path)
            assert f"novafleet-migrate-{name}\n" in keys.read_text()
            script("tunnel_distrust.sh", name, home=tmp_path)

    with ThreadPoolExecutor(4) as jobs:
        list(jobs.map(job, range(4)))
    assert keys.read_text().count("novafleet-migrate-") == 1
    script("tunnel_distrust.sh", "ffff0000", home=tmp_path)
    assert (keys.read_bytes() == before) if before else not keys.parent.exists()


async def test_connections_arrive_in_the_order_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU takes the first one for the guest's memory, and another for pages it asks for."""
    handlers: list[Any] = []
    arrived: list[int] = []
    turns = iter((5, 0))

    async def opened(_destination: Any, _lane: Any) -> Any:
        number = len(arrived) + 1
        for _ in range(next(turns)):
            await asyncio.sleep(0)
        arrived.append(number)
        return number

    async def joined(near: Any, open_far: Any) -> None:
        pairs.append((near, await open_far()))

    pairs: list[tuple[int, int]] = []
    monkeypatch.setattr(relay, "_far", opened)
    monkeypatch.setattr(relay, "join", joined)
    session = SimpleNamespace(listen_unix=lambda _path, handler: handlers.append(handler))
    end: Any = SimpleNamespace(session=session)
    relay._listening(end, end, relay.Lane("/run/mem.sock"), relay.Complaints())
    await asyncio.gather(*(handlers[0](near) for near in (1, 2)))
    assert pairs == [(1, 1), (2, 2)]
