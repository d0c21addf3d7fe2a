"""What the first bytes of an image say, told by hand-made heads and by qemu-img where it is there."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novafleet.capability.image import header
from novafleet.capability.image.deliver import Delivery, unusable
from novafleet.capability.image.header import Header
from novafleet.model.environment import Artifact


def qcow2(version: int = 3, backing: bytes = b"", features: int = 0, size: int = 1 << 30) -> bytes:
    offset = 512 if backing else 0
    head = struct.pack(">4sIQIIQ", b"QFI\xfb", version, offset, len(backing), 16, size).ljust(72, b"\0")
    return (head + struct.pack(">Q", features)).ljust(512, b"\0") + backing


HEADS = {
    "qcow2": (qcow2(), Header("qcow2", 1 << 30)),
    "qcow2 v2": (qcow2(2), Header("qcow2", 1 << 30)),
    "backing file": (qcow2(backing=b"/etc/shadow"), Header("qcow2", 1 << 30, "backing file '/etc/shadow'")),
    "data file": (qcow2(features=4), Header("qcow2", 1 << 30, "an external data file")),
    "truncated": (qcow2()[:20], Header("a truncated qcow2")),
    "gzip": (b"\x1f\x8b\x08", Header("gzip")),
    "error page": (b"\n<!DOCTYPE html><html>", Header("a web page")),
    "vmdk": (b"KDMV" + bytes(60), Header("vmdk")),
    "boot sector": (b"\xeb\x63\x90" + bytes(509), Header("raw")),
    "nothing": (b"", Header("raw")),
}


@pytest.mark.parametrize("name", HEADS)
def test_head(name: str) -> None:
    head, expected = HEADS[name]
    assert header.read(head) == expected


@given(st.binary(max_size=header.HEAD))
def test_no_head_is_too_strange(head: bytes) -> None:
    header.read(head)
    header.read(b"QFI\xfb" + head)


REFUSED = {
    "backing": (Header("qcow2", 1, "backing file '/x'"), "", "NF-IMG-005"),
    "compressed": (Header("xz"), "", "NF-IMG-004"),
    "another format": (Header("raw"), "qcow2", "NF-IMG-004"),
    "fine": (Header("raw"), "", None),
    "as asked": (Header("qcow2"), "qcow2", None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unusable(name: str) -> None:
    found, wanted, code = REFUSED[name]
    error = unusable(Delivery("mini", Artifact(url="https://x.test/i"), "/p", wanted), found)
    assert (error.code if error else None) == code
    assert error is None or error.hints


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="no qemu-img on this machine")
@pytest.mark.parametrize("kind", ["raw", "qcow2", "vmdk", "vdi", "vhdx", "qed", "qcow"])
def test_qemu_img_makes_what_we_read(tmp_path: Path, kind: str) -> None:
    image = tmp_path / "image"
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, str(image), "8M"], check=True)
    found = header.read(image.read_bytes()[: header.HEAD])
    assert found.format == {"qcow": "qcow (version 1)"}.get(kind, kind)
