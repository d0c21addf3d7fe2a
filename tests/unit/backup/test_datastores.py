"""Which datastores a VM's disks lie on, and that no more are read at once of one than allowed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from novafleet.app.datastores import Datastores, datastores
from novafleet.model.facts import Domain
from novafleet.ports import HostSession
from tests.localsession import local_session


def domain(name: str, *disks: str) -> Domain:
    """With a disk on each of these paths."""
    listed = [
        f"<disk type='{'block' if path.startswith('/dev/') else 'file'}' device='disk'>"
        f"<source {'dev' if path.startswith('/dev/') else 'file'}='{path}'/><target dev='vd{letter}'/></disk>"
        for letter, path in zip("abcdef", disks, strict=False)
    ]
    return Domain(name, name, "running", f"<domain><devices>{''.join(listed)}</devices></domain>")


@pytest.fixture
def session(tmp_path: Path) -> HostSession:
    return local_session(tmp_path, user="root" if os.geteuid() == 0 else "")


async def test_where_disks_lie(session: HostSession, tmp_path: Path) -> None:
    for name in ("a.img", "b.img"):
        (tmp_path / name).touch()
    here = await datastores(session, domain("vm", f"{tmp_path}/a.img", f"{tmp_path}/b.img"))
    assert len(here) == 1
    both = await datastores(session, domain("vm", f"{tmp_path}/a.img", "/dev/vg0/root", f"{tmp_path}/gone.img"))
    assert set(both) == {*here, f"{session.host.name}:/dev/vg0"}
    assert await datastores(session, Domain("vm", "vm", "running", "")) == ()


async def test_one_at_a_time(session: HostSession, tmp_path: Path) -> None:
    (tmp_path / "a.img").touch()
    vms = [domain(f"vm{n}", f"{tmp_path}/a.img", *(["/dev/vg0/x"] if n % 2 else [])) for n in range(6)]
    store, inside, most, two = Datastores(2), 0, 0, asyncio.Event()

    async def read(vm: Domain) -> None:
        nonlocal inside, most
        async with store.place(session, vm) as names:
            assert names
            inside, most = inside + 1, max(most, inside + 1)
            if inside == 2:
                two.set()
            await two.wait()
            for _ in range(5):
                await asyncio.sleep(0)
            inside -= 1

    async with asyncio.timeout(60.0):
        await asyncio.gather(*map(read, vms))
    assert most == 2


async def test_without_a_limit_the_host_is_not_asked() -> None:
    async with Datastores(0).place(None, domain("vm", "/x")) as names:  # type: ignore[arg-type]
        assert names == ()
