"""An archive that no export made is refused with a reason, whatever it says of itself."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from novafleet.capability.snapshot import manifest
from novafleet.capability.snapshot.archive import Reader
from novafleet.errors import SnapshotError


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    return made.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "data",
    [
        (header("././@LongLink", 5, tarfile.GNUTYPE_LONGNAME) + b"name\0".ljust(512, b"\0")) * 3000,
        header("domain.xml", 1 << 80),
        header("././@LongLink", 1 << 60, tarfile.GNUTYPE_LONGNAME) + bytes(512),
        header("pax", 1 << 60, tarfile.XHDTYPE) + bytes(512),
        header("domain.xml", -512),
    ],
)
def test_headers_no_writer_makes_are_refused(data: bytes) -> None:
    with pytest.raises(SnapshotError) as caught:
        Reader(io.BytesIO(data), "vm.nfvm")
    assert caught.value.code == "NF-SNAP-010"


def test_a_manifest_that_nests_without_end_is_refused() -> None:
    with pytest.raises(SnapshotError) as caught:
        manifest.read(b"[" * 200_000, "vm.nfvm")
    assert caught.value.code == "NF-SNAP-010"


def test_an_image_of_a_disk_the_vm_does_not_have_is_refused() -> None:
    images = [
        {"part": {"member": f"images/{target}.tar.zst", "file": target}, "target": target, "format": "raw", "size": 1}
        for target in ("vda", "vdb")
    ]
    told = {"domain": "db", "uuid": "u", "host": "h", "made": 0.0, "mode": "crash", "images": images}
    with pytest.raises(SnapshotError, match="cannot be used") as caught:
        manifest.read(json.dumps({**told, "active": {"vda": "images/vda.tar.zst"}}).encode(), "vm.nfvm")
    assert "'vdb' the VM does not have" in caught.value.cause
