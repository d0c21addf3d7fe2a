"""Definitions as others write them: virt-manager, Terraform, hands. What is said of each, and what arrives."""

from __future__ import annotations

from novafleet.capability.migration.observed import Seen
from novafleet.model.facts import PoolFact
from tests.unit.migration.dossiers import DISKS, GIB, NIC, POOL, UUID, dossier, here, observed, there, xml

TPM = '<tpm model="tpm-crb"><backend type="emulator" version="2.0"/></tpm>'
NVRAM_FILE, TPM_FOLDER = "/var/lib/libvirt/qemu/nvram/lab-db_VARS.fd", f"/var/lib/libvirt/swtpm/{UUID}"


def test_a_pool_that_is_asked_for_is_no_place_for_what_libvirt_looks_for_elsewhere() -> None:
    definition = xml(DISKS + NIC + TPM).replace("<os>", '<os firmware="efi">')
    seen = observed(definition)
    seen = here(seen, files={**seen.source.files, NVRAM_FILE: Seen(9, inode=8), TPM_FOLDER: Seen(9, inode=9)})
    pools = {**seen.destination.pools, "fast": PoolFact("fast", True, "/srv/fast", GIB, GIB)}
    found = dossier(there(seen, pools=pools, room={POOL: GIB, "/srv/fast": 50 * GIB}), pool="fast")
    assert {(each.kind, each.path) for each in found.move.files if each.kind != "image"} == {
        ("nvram", NVRAM_FILE),
        ("tpm", TPM_FOLDER),
    }
