"""Images on real hosts: pulled by the host, resumed, verified, refused, uploaded where there is no other way."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from pathlib import Path

import pytest

from novafleet.capability.image.actions import fetch, remove
from novafleet.capability.image.plan import plan_down, plan_up
from novafleet.errors import ImageError, Location, Retry
from novafleet.model.environment import Artifact, Disk, Environment, Image, Vm
from novafleet.model.plan import PlanOptions
from tests.lab.slices import Bench, bench
from tests.lab.webserver import serving

pytestmark = pytest.mark.lab
HERE = Location("env.yml", 2)
VOLUMES = PlanOptions(volumes=True)
CONTENT = bytes(range(256)) * 8192  # 2 MiB


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def environment(host: str, **artifact: str) -> Environment:
    image = Image("mini", disk=Artifact(**artifact), source=HERE)
    disk = Disk("root", "nfimg.db.root.qcow2", image="mini")
    vm = Vm("db", "db", "nfimg-db", "0", host, 1, disks={"root": disk})
    return Environment("nfimg", HERE, images={"mini": image}, vms={"db": vm})


async def traces(lab: Bench, digest: str) -> list[str]:
    return (await lab.sh('cd /var/lib/libvirt/images && ls -A | grep -F -e "$1"', digest)).split()


@pytest.mark.parametrize("host", ["kvm1", "kvm2"])
async def test_pulled_resumed_cached_removed(host: str) -> None:
    async with bench(host) as lab:
        with serving(CONTENT) as site:
            wanted = environment(host, url=site.url, sha256=sha(CONTENT))
            try:
                site.break_at = 1_000_000
                with pytest.raises(ImageError, match="broke") as caught:
                    await lab.apply(wanted, plan_up)
                assert caught.value.retry is Retry.NOW
                outcomes, changes = await lab.apply(wanted, plan_up)
                assert len(changes) == 1
                assert outcomes[f"image.mini@{host}/fetch"]["files"][0]["via"] == "pull"
                assert ("GET", "bytes=1000000-") in site.requests
                assert (await lab.apply(wanted, plan_up))[1] == ()
                assert len(await traces(lab, sha(CONTENT))) == 2
            finally:
                await lab.apply(wanted, plan_down, options=VOLUMES)
            assert await traces(lab, sha(CONTENT)) == []


async def test_wrong_digest_names_both_and_leaves_nothing() -> None:
    async with bench("kvm1") as lab:
        with serving(b"something else") as site, pytest.raises(ImageError) as caught:
            await lab.apply(environment("kvm1", url=site.url, sha256=sha(CONTENT)), plan_up)
        assert caught.value.code == "NF-IMG-002"
        assert sha(CONTENT) in caught.value.cause
        assert sha(b"something else") in caught.value.cause
        assert await traces(lab, sha(CONTENT)) == []


async def test_not_found_on_the_server() -> None:
    async with bench("kvm2") as lab:
        with serving(b"x") as site:
            site.missing = True
            with pytest.raises(ImageError, match="refused") as caught:
                await lab.apply(environment("kvm2", url=site.url, sha256=sha(b"x")), plan_up)
        assert caught.value.code == "NF-IMG-001"
        assert "404" in caught.value.cause
        await lab.apply(environment("kvm2", url="http://x", sha256=sha(b"x")), plan_down, options=VOLUMES)
        assert await traces(lab, sha(b"x")) == []


async def test_the_controller_uploads_what_a_host_cannot_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    async with bench("kvm2") as lab:
        with serving(CONTENT, "127.0.0.1") as site:  # the host's own loopback has no such server
            wanted = environment("kvm2", url=site.url, sha256=sha(CONTENT))
            try:
                outcomes, _ = await lab.apply(wanted, plan_up)
                assert outcomes["image.mini@kvm2/fetch"]["files"][0]["via"] == "upload"
                assert (await lab.apply(wanted, plan_up))[1] == ()
            finally:
                await lab.apply(wanted, plan_down, options=VOLUMES)
        assert await traces(lab, sha(CONTENT)) == []


async def test_a_path_is_uploaded_and_a_backing_file_refused(tmp_path: Path) -> None:
    name = b"/etc/shadow"
    head = struct.pack(">4sIQIIQ", b"QFI\xfb", 2, 72, len(name), 16, 1 << 20).ljust(72, b"\0") + name
    evil = head.ljust(65536, b"\0")
    (tmp_path / "evil.qcow2").write_bytes(evil)
    (tmp_path / "fine.raw").write_bytes(CONTENT)
    async with bench("kvm1") as lab:
        with pytest.raises(ImageError, match="/etc/shadow") as caught:
            await lab.apply(environment("kvm1", path=str(tmp_path / "evil.qcow2"), sha256=sha(evil)), plan_up)
        assert caught.value.code == "NF-IMG-005"
        assert await traces(lab, sha(evil)) == []
        wanted = environment("kvm1", path=str(tmp_path / "fine.raw"), sha256=sha(CONTENT))
        try:
            await lab.apply(wanted, plan_up)
            assert (await lab.apply(wanted, plan_up))[1] == ()
        finally:
            await lab.apply(wanted, plan_down, options=VOLUMES)


async def test_two_that_ask_at_once_fetch_once_and_a_backed_image_stays() -> None:
    async with bench("kvm1") as lab:
        with serving(CONTENT) as site:
            wanted = environment("kvm1", url=site.url, sha256=sha(CONTENT))
            context = await lab.context(wanted)
            args = {"image": "mini", "roles": ["disk"]}
            volume = "/var/lib/libvirt/images/nfother.db.root.qcow2"
            try:
                await asyncio.gather(fetch(context, args), fetch(context, args))
                assert len([each for each in site.requests if each[0] == "GET"]) == 1
                path = f"/var/lib/libvirt/images/novafleet-image-{sha(CONTENT)}"
                await lab.sh('qemu-img create -q -f qcow2 -F raw -b "$1" "$2"', path, volume)
                assert (await remove(context, {"digests": [sha(CONTENT)]}))["kept"] == [path]
                planned = plan_down(wanted, await lab.observe(), VOLUMES)
                assert "backs on it" in planned[0].reasons[0].text
            finally:
                await lab.sh('rm -f "$1"', volume)
                await lab.apply(wanted, plan_down, options=VOLUMES)
        assert await traces(lab, sha(CONTENT)) == []
