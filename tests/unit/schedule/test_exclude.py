"""Disks a policy leaves out."""

from __future__ import annotations

import pytest

from novafleet.capability.backup.xml import GuestDisk, left_out

DISK = GuestDisk("vdb", "scratch", "file", "qcow2", "/var/lib/libvirt/images/scratch.qcow2")
CDROM = GuestDisk("sda", "seed", "file", "raw", "/seed.iso", skip="a CD-ROM")


@pytest.mark.parametrize(
    ("disk", "names", "why"),
    [
        (DISK, (), ""),
        (DISK, ("root",), ""),
        (DISK, ("root", "scratch"), "left out by the policy"),
        (DISK, ("vdb",), "left out by the policy"),
        (CDROM, ("seed",), "a CD-ROM"),
    ],
)
def test_left_out(disk: GuestDisk, names: tuple[str, ...], why: str) -> None:
    assert left_out(disk, names).skip == why
