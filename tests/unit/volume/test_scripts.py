"""What the actions do to real files: qemu-img and the scripts run on this machine, in a directory of the test."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from novafleet.capability.vm import actions as vm_actions
from novafleet.capability.volume import actions
from novafleet.errors import ConfigError, ImageError, SpaceError
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.command import Command
from novafleet.model.environment import Disk, Environment
from novafleet.model.facts import PoolFact
from novafleet.model.fleet import Host
from tests.fakes.processes import ProcessSession
from tests.unit.vm.cases import DIGEST, GIB, MIB, disk, environment, host, vm
from tests.unit.vm.world import Context

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed here")
PATTERN = b"novafleet" * 100


def _context(pool: Path, desired: Environment) -> Context:
    here = Host("kvm1", "kvm1")
    facts = host(pools={"default": PoolFact("default", True, str(pool), GIB, GIB)})
    return Context(here, ProcessSession(here), FakeHypervisor(), desired, facts)


async def _create(pool: Path, *disks: Disk) -> list[Path]:
    context = _context(pool, environment(vm(disks=disks)))
    for each in disks:
        await actions.create(context, {"vm": "db", "disk": each.name})
    return [pool / each.path for each in disks]


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool with one image that holds a pattern."""
    raw, image = tmp_path / "raw", tmp_path / f"novafleet-image-{DIGEST}"
    raw.write_bytes(PATTERN.ljust(4 * MIB, b"\0"))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, image], check=True)
    raw.unlink()
    return tmp_path


def _names(pool: Path, pattern: str = "vmtest.*") -> list[str]:
    return sorted(path.name for path in pool.glob(pattern))


def _info(path: Path) -> dict[str, object]:
    done = subprocess.run(["qemu-img", "info", "--output=json", path], check=True, capture_output=True)
    return dict(json.loads(done.stdout))


def _content(path: Path) -> bytes:
    target = path.with_name("read")
    subprocess.run(["qemu-img", "convert", "-O", "raw", path, target], check=True)
    return target.read_bytes()[: len(PATTERN)]


async def test_volumes_of_every_kind(pool: Path) -> None:
    over, full, own, raw, blank = await _create(
        pool,
        disk("over", image="debian", size=8 * MIB),
        disk("full", image="debian", size=8 * MIB, copy="full"),
        disk("own", image="debian", size=0),
        disk("raw", image="debian", size=8 * MIB, format="raw"),
        disk("blank", size=8 * MIB, protect=True),
    )
    sizes = [_info(each)["virtual-size"] for each in (over, full, own, raw, blank)]
    assert sizes == [8 * MIB, 8 * MIB, 4 * MIB, 8 * MIB, 8 * MIB]
    assert [_content(each) for each in (over, full, own, raw)] == [PATTERN] * 4
    assert [bool(_info(each).get("backing-filename")) for each in (over, full, own, raw)] == [True, False, True, False]
    assert _names(pool, "*.protected") == [f"{blank.name}.protected"]
    assert over.with_name(over.name + ".sha256").read_text().strip() == DIGEST
    assert over.stat().st_mode & 0o777 == 0o600
    assert _names(pool, "*.part.*") == []


async def test_a_volume_that_is_there_is_left_alone(pool: Path) -> None:
    [path] = await _create(pool, disk("root"))
    path.write_text("somebody's data")
    await _create(pool, disk("root", image="debian"))
    assert path.read_text() == "somebody's data"


async def test_leftovers_of_a_killed_copy_go(pool: Path) -> None:
    (pool / "vmtest.db.root.qcow2.part.99999").write_text("half")
    await _create(pool, disk("root"))
    assert _names(pool, "*.part.*") == []


async def test_a_stopped_copy_leaves_nothing(pool: Path) -> None:
    slow = "#!/bin/sh\necho begun\nexec sleep 60\n"
    tools = pool / "bin"
    tools.mkdir()
    (tools / "qemu-img").write_text(slow)
    (tools / "qemu-img").chmod(0o755)
    target = pool / "vmtest.db.root.qcow2"
    script = actions._script("create.sh").replace("case $how", f': >"$part"; PATH={tools}:$PATH\ncase $how')
    command = Command.script(script, str(target), "qcow2", "1048576", "blank", "", "", "", "no").argv
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    os.killpg(process.pid, signal.SIGTERM)
    assert await process.wait() in (143, -signal.SIGTERM)
    assert _names(pool) == []


async def test_a_disk_smaller_than_its_image(pool: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        await _create(pool, disk("root", image="debian", size=2 * MIB))
    assert caught.value.code == "NF-VOL-001"


async def test_an_image_that_reads_another_file(pool: Path) -> None:
    image = pool / f"novafleet-image-{DIGEST}"
    image.unlink()
    (pool / "base").write_bytes(bytes(MIB))
    words = ("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(pool / "base"), "-F", "raw", str(image))
    await ProcessSession(Host("kvm1", "kvm1")).run(Command(words))
    with pytest.raises(ImageError) as caught:
        await _create(pool, disk("root", image="debian"))
    assert caught.value.code == "NF-VOL-002"


async def test_a_full_disk(pool: Path) -> None:
    script = "echo 'qemu-img: vol: Could not write: No space left on device' >&2; exit 1"
    context = _context(pool, environment(vm()))
    with pytest.raises(SpaceError) as caught:
        await actions._run(context, Command.script(script), f"{pool}/x")
    assert caught.value.code == "NF-VOL-005"


async def test_growing(pool: Path) -> None:
    [path] = await _create(pool, disk("root", size=8 * MIB))
    context = _context(pool, environment(vm(disks=(disk("root", size=16 * MIB),))))
    assert await actions.resize(context, {"vm": "db", "disk": "root"}) == {"before": 8 * MIB, "after": 16 * MIB}
    assert await actions.resize(context, {"vm": "db", "disk": "root"}) == {"before": 16 * MIB}
    assert _info(path)["virtual-size"] == 16 * MIB


async def test_protecting_and_deleting(pool: Path) -> None:
    [path] = await _create(pool, disk("root", protect=True))
    mark = path.with_name(path.name + ".protected")
    await actions.protect(_context(pool, environment(vm())), {"vm": "db", "disk": "root"})
    assert not mark.exists()
    other = await _create(pool, disk("data"))
    for _ in range(2):
        await actions.delete(_context(pool, environment()), {"path": str(path)})
    assert _names(pool) == [other[0].name]


async def test_a_seed(pool: Path) -> None:
    seed = pool / "vmtest.db.seed.iso"
    command = Command.script(vm_actions._script("seed.sh"), str(seed), "digest")
    for content in (b"one", b"two"):
        await ProcessSession(Host("kvm1", "kvm1")).run(command, stdin=content)
        assert seed.read_bytes() == content
    assert (seed.stat().st_mode & 0o777, (pool / "vmtest.db.seed.iso.sha256").read_text()) == (0o600, "digest\n")
    assert _names(pool, "*.part.*") == []
