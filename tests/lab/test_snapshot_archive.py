"""Real guests into archives and out: between libvirt 9.0 and 11.3, with UEFI variables and TPM state, killed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.snapshotguest import DOMAIN, Guest, made
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.thorough]
NAME, COPY = "nf-sn-archive", "nf-sn-archive-copy"
FETCH = 'mkdir -p "$1" && cd "$1" && curl -sf -o vmlinuz "$2/vmlinuz" && curl -sf -o initrd.img "$2/initrd.img"'
FORGET = """uuid=$(virsh -q domuuid "$1"); virsh -q destroy "$1"
virsh -q undefine "$1" --snapshots-metadata --nvram --tpm
[ -z "$uuid" ] || rm -rf "/var/lib/libvirt/swtpm/$uuid".nf-* /var/lib/libvirt/qemu/nvram/"$1"_VARS.fd*
cd /var/lib/libvirt/images && rm -rf "$1".*"""
UEFI = DOMAIN.replace(
    '<os><type arch="x86_64" machine="q35">hvm</type>',
    '<os><type arch="x86_64" machine="q35">hvm</type>'
    '<loader readonly="yes" type="pflash">/usr/share/OVMF/OVMF_CODE_4M.fd</loader>'
    '<nvram template="/usr/share/OVMF/OVMF_VARS_4M.fd"/>',
).replace("<channel", '<tpm model="tpm-crb"><backend type="emulator" version="2.0"/></tpm><channel', 1)
DIGESTS = """virsh -q dumpxml --inactive "$1" >/tmp/$$.xml
vars=$(sed -n 's:.*<nvram[^>]*>\\(.*\\)</nvram>.*:\\1:p' /tmp/$$.xml)
uuid=$(sed -n 's:.*<uuid>\\(.*\\)</uuid>.*:\\1:p' /tmp/$$.xml); rm /tmp/$$.xml
sha256sum <"$vars"; cd "/var/lib/libvirt/swtpm/$uuid" && find . -name '*.permall' | sort | xargs sha256sum"""
UNNAMED = "rm -f /var/lib/libvirt/images/vd[ab].*"
"""Files are called as they were where they came from."""
FILL = 'dd if=/dev/urandom of="$1" bs=1M seek=2 count=30 conv=notrunc status=none'
"""So that an export takes a moment."""


@pytest.fixture
def guest(lab: Lab, fleet_home: Path) -> Iterator[Guest]:
    """On kvm1; kvm2 has its kernel too."""
    with made(lab, "kvm1", fleet_home, NAME) as guest:
        _kernel(guest)
        lab.on("kvm1", "sh", "-c", UNNAMED)
        yield guest
    lab.on("kvm1", "sh", "-c", UNNAMED)
    _forget(lab)


@pytest.fixture
def uefi(lab: Lab, fleet_home: Path) -> Iterator[Guest]:
    """The same with UEFI variables and an emulated TPM, which have been used once."""
    with made(lab, "kvm1", fleet_home, NAME, UEFI) as guest:
        _kernel(guest)
        yield guest
        _forget(lab)


def _kernel(guest: Guest) -> None:
    for name in ("vmlinuz", "initrd.img"):
        content = guest.lab.on("kvm1", "base64", f"{guest.folder}/{name}")
        guest.lab.on("kvm2", "mkdir", "-p", guest.folder)
        guest.lab.on("kvm2", "sh", "-c", 'base64 -d >"$1"', "sh", f"{guest.folder}/{name}", stdin=content)


def _forget(lab: Lab) -> None:
    for host in ("kvm1", "kvm2"):
        for name in (NAME, COPY):
            lab.on(host, "sh", "-c", FORGET, "sh", name, check=False)
    lab.on("kvm2", "rm", "-rf", f"/var/lib/libvirt/images/{NAME}")


def at(guest: Guest, host: str, name: str) -> Guest:
    """The same lab, another VM."""
    return Guest(guest.lab, host, guest.home, name)


def test_a_running_guest_goes_to_another_host_with_its_snapshots(guest: Guest, tmp_path: Path) -> None:
    guest.boot()
    for name, mode in (("a", "fs"), ("b", "live")):
        guest.write(name)
        guest.snapshot("create", "--name", name, "--mode", mode, "--require", mode)
    guest.write("now")
    file = tmp_path / "vm.nfvm"
    [told] = guest.snapshot("export", str(file), "--require", "fs")["vms"]
    assert (told["outcome"]["mode"], told["outcome"]["snapshots"]) == ("fs", ["a", "b"])
    assert guest.tree() == {"a": "", "b": "a"}
    guest.write("later")
    assert guest.read() == "later"

    landed = guest.novafleet("snapshot", "import", str(file), "--host", "kvm2", "--as", COPY, "--yes")
    assert "snapshot b comes without its memory" in " ".join(landed["notes"])
    copy = at(guest, "kvm2", COPY)
    assert copy.tree() == {"a": "", "b": "a"}
    assert copy.read() == "now"
    copy.boot()
    assert copy.read() == "now"
    for name in ("b", "a"):
        copy.snapshot("revert", name, "--yes", "--no-safety", "--no-start")
        assert copy.read() == name
    copy.snapshot("rm", "--all", "--yes")
    assert copy.read() == "a"

    guest.lab.on("kvm1", "virsh", "-q", "destroy", NAME)
    guest.lab.on("kvm1", "virsh", "-q", "undefine", NAME, "--snapshots-metadata")
    guest.novafleet("snapshot", "import", str(file), "--host", "kvm1", "--yes")
    assert guest.read() == "now"
    guest.snapshot("revert", "b", "--yes", "--no-safety")
    assert guest.read() == "b", "it runs on from its memory"


def test_uefi_variables_and_tpm_state_come_along(uefi: Guest, tmp_path: Path) -> None:
    lab = uefi.lab
    lab.on("kvm1", "virsh", "-q", "start", "--paused", NAME)
    lab.on("kvm1", "virsh", "-q", "destroy", NAME)
    before = lab.on("kvm1", "sh", "-c", DIGESTS, "sh", NAME)
    assert len(before.splitlines()) >= 2
    uefi.snapshot("create", "--name", "a")
    file = tmp_path / "vm.nfvm"
    uefi.snapshot("export", str(file))
    uefi.novafleet("snapshot", "import", str(file), "--host", "kvm2", "--as", COPY, "--yes")
    assert lab.on("kvm2", "sh", "-c", DIGESTS, "sh", COPY) == before
    copy = at(uefi, "kvm2", COPY)
    lab.on("kvm2", "virsh", "-q", "start", "--paused", COPY)
    assert lab.on("kvm2", "sh", "-c", DIGESTS, "sh", COPY) == before, "nobody made them anew"
    copy.snapshot("revert", "a", "--yes", "--no-safety", "--no-start")
    assert lab.on("kvm2", "sh", "-c", DIGESTS, "sh", COPY) == before


def test_a_controller_killed_while_it_exports_and_imports(guest: Guest, tmp_path: Path) -> None:
    guest.write("a")
    guest.snapshot("create", "--name", "a")
    guest.write("now")
    guest.lab.on(guest.host, "sh", "-c", FILL, "sh", f"{guest.folder}/vdb.img")
    file = tmp_path / "vm.nfvm"
    part = file.with_name(".vm.nfvm.nf-part")
    guest.killed_when(part.exists, "export", guest.label, str(file))
    assert not file.exists()
    guest.snapshot("export", str(file))
    assert guest.tree() == {"a": ""}, "what the killed one left is gone"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()

    begun = "ls -d /var/lib/libvirt/images/.nf-import-*"
    where = ("--host", "kvm2", "--as", COPY, "--yes")
    guest.killed_when(lambda: guest.lab.answers("kvm2", "sh", "-c", begun), "import", str(file), *where)
    guest.novafleet("snapshot", "import", str(file), "--host", "kvm2", "--as", COPY, "--yes", "--lock-wait", "60")
    copy = at(guest, "kvm2", COPY)
    assert (copy.read(), copy.tree()) == ("now", {"a": ""})
    assert not guest.lab.answers("kvm2", "sh", "-c", begun)
    again = guest.novafleet("snapshot", "import", str(file), "--host", "kvm2", "--as", COPY, "--yes", status=1)
    assert again["error"]["code"] in ("NF-SNAP-013", "NF-BAK-030")
    assert copy.read() == "now"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
