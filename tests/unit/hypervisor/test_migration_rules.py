"""libvirt's errors about migrations: messages as real hosts gave them (9.0 and 11.3), by the code they must get."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet.hypervisor.migrationrules import MIGRATION
from novafleet.hypervisor.migrations import progress_of
from novafleet.hypervisor.translate import Failure, translate

PAGES = Path(__file__).parents[3] / "docs/errors"
MESSAGES = [
    ("NF-LV-180", 9, "operation failed: migration out job: unexpectedly failed"),
    ("NF-LV-181", 38, "Cannot recv data: Connection reset by peer"),
    ("NF-LV-181", 38, "End of file while reading data: Input/output error"),
    ("NF-LV-181", 38, "Failed to connect socket to '/run/novafleet/migrate/x/lv.sock': No such file or directory"),
    ("NF-LV-182", 78, "operation aborted: migration out job: canceled by client"),
    ("NF-LV-183", 55, "Requested operation is not valid: cannot migrate domain with 1 snapshots"),
    ("NF-LV-183", 81, "Unsafe migration: Migration without shared storage is unsafe"),
    ("NF-LV-184", 1, "internal error: Attempt to migrate guest to the same host kvm1"),
    ("NF-LV-185", 9, "operation failed: migration of disk vdc failed: Source and target image have different sizes"),
    ("NF-LV-186", 55, "Requested operation is not valid: domain is not being migrated"),
    (
        "NF-LV-187",
        1,
        "internal error: unable to execute QEMU command 'migrate-set-capabilities': Postcopy is not supported: "
        "Userfaultfd not available: Operation not permitted",
    ),
    ("NF-LV-188", 55, "Requested operation is not valid: cannot abort migration in post-copy mode"),
    (
        "NF-LV-189",
        8,
        "invalid argument: pre-creation of storage targets for incremental storage migration is not supported",
    ),
    (
        "NF-LV-131",
        67,
        "unsupported configuration: Emulator '/usr/bin/q' does not support machine type 'pc-i440fx-10.0'",
    ),
    ("NF-DISK-001", 1, "internal error: unable to execute QEMU command: No space left on device"),
]


@pytest.mark.parametrize(("code", "number", "message"), MESSAGES)
def test_messages(code: str, number: int, message: str) -> None:
    error = translate(Failure(number, 10, message), what="migrate domain db", host="the destination", first=MIGRATION)
    assert error.code == code
    assert "kvm9" not in str(error)


@pytest.mark.parametrize("code", sorted({rule.code for rule in MIGRATION}))
def test_every_code_has_a_page_and_a_message(code: str) -> None:
    assert (PAGES / f"{code}.md").exists()
    assert code in {each for each, _, _ in MESSAGES}


def test_statistics_in_bytes() -> None:
    """virDomainGetJobStats of a live migration; pages become bytes, what is missing keeps its default."""
    found = progress_of(
        {"type": 2, "memory_total": 1 << 20, "memory_dirty_rate": 10, "memory_page_size": 4096, "memory_bps": 7}
    )
    assert (found.kind, found.memory_total, found.dirty_rate, found.rate) == ("unbounded", 1 << 20, 40960, 7)
    assert found.downtime_ms == -1
    assert progress_of({"type": 99}).kind == "99"
