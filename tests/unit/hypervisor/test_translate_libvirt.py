"""libvirt's errors as findings: messages as real hosts gave them, by the code they must get."""

from __future__ import annotations

import re
from pathlib import Path

import libvirt
import pytest

from novafleet.errors import NotFoundError, Retry, SpaceError
from novafleet.hypervisor import translate
from novafleet.hypervisor.translate import RULES, Failure, lost

PAGES = Path(__file__).parents[3] / "docs/errors"

MESSAGES = [
    ("NF-LV-404", 42, "Domain not found: no domain with matching name 'db'"),
    ("NF-LV-404", 99, "device not found: no target device vdb"),
    ("NF-LV-102", 79, "authentication unavailable: no polkit agent available to authenticate action 'org.libvirt.u'"),
    ("NF-LV-102", 88, "access denied"),
    ("NF-LV-103", 38, "End of file while reading data: Input/output error"),
    ("NF-LV-103", 38, "Failed to connect socket to '/tmp/nf-1/libvirt': No such file or directory"),
    ("NF-LV-111", 68, "Timed out during operation: cannot acquire state change lock (held by remoteDispatchDomain)"),
    ("NF-LV-120", 3, "this function is not supported by the connection driver: virDomainAttachDeviceFlags"),
    ("NF-LV-121", 27, "XML error: Memory size must be specified via <memory> or in the <numa> configuration"),
    ("NF-LV-121", 21, "missing name information"),
    ("NF-LV-122", 55, "Requested operation is not valid: domain is not running"),
    ("NF-LV-123", 9, "operation failed: domain 'db' already exists with uuid c3e51a1f-c807-4011-b89f-4442aa85eb1e"),
    ("NF-LV-123", 9, "operation failed: network 'lan' is already defined with uuid c3e51a1f-c807-4011-b89f-4442aa85eb"),
    ("NF-LV-124", 67, "unsupported configuration: SATA is not supported with this QEMU binary"),
    ("NF-LV-125", 8, "invalid argument: cannot set memory higher than max memory"),
    ("NF-LV-125", 8, "invalid argument: requested vcpus is greater than max allowable vcpus for the persistent domain"),
    ("NF-LV-126", 67, "unsupported configuration: non unique alias detected: ua-disk-b"),
    ("NF-LV-126", 55, "Requested operation is not valid: target vda already exists"),
    (
        "NF-LV-127",
        1,
        "internal error: unable to execute QEMU command 'device_add': Bus 'pci.0' does not support hotplugging",
    ),
    ("NF-LV-127", 1, "internal error: No more available PCI slots"),
    (
        "NF-LV-130",
        67,
        "unsupported configuration: Emulator '/usr/bin/qemu-system-x86_64' does not support virt type 'kvm'",
    ),
    ("NF-LV-131", 27, "XML error: No PCI buses available"),
    ("NF-LV-132", 38, "Cannot access storage file '/srv/a b.qcow2' (as uid:64055, gid:64055): Permission denied"),
    ("NF-LV-132", 1, "internal error: QEMU: Could not open '/srv/a.qcow2': Permission denied"),
    ("NF-LV-133", 38, "Cannot access storage file '/srv/a.qcow2' (as uid:64055, gid:64055): No such file or directory"),
    (
        "NF-LV-134",
        1,
        'internal error: process exited: Failed to get "write" lock\nIs another process using the image [/a]?',
    ),
    (
        "NF-LV-135",
        1,
        "process exited while connecting to monitor: cannot set up guest memory 'pc.ram': Cannot allocate memory",
    ),
    ("NF-LV-136", 1, "internal error: process exited while connecting to monitor: qemu-system-x86_64: -foo: invalid"),
    ("NF-LV-137", 1, "internal error: Cannot check QEMU binary /usr/bin/qemu-system-x86_64: No such file or directory"),
    ("NF-LV-138", 9, "operation failed: Unable to find any firmware to satisfy 'efi'"),
    ("NF-LV-139", 67, "unsupported configuration: TPM version '2.0' is not supported"),
    ("NF-LV-140", 1, "internal error: Network is already in use by interface virbr0"),
    ("NF-LV-141", 1, "internal error: bridge name 'virbr0' already in use."),
    ("NF-LV-142", 55, "Requested operation is not valid: network 'lan' is not active"),
    (
        "NF-LV-143",
        1,
        "internal error: Child process: dnsmasq: failed to create listening socket: Address already in use",
    ),
    ("NF-LV-144", 38, "Cannot get interface MTU on 'br9': No such device"),
    ("NF-LV-145", 91, "the CPU is incompatible with host CPU: Host CPU does not provide required features: avx2"),
    (
        "NF-LV-146",
        55,
        "Requested operation is not valid: there is an existing dhcp host entry in network 'lan' that matches",
    ),
    ("NF-LV-150", 9, "operation failed: Storage source conflict with pool: 'images'"),
    ("NF-LV-160", 86, "Guest agent is not responding: QEMU guest agent is not connected"),
    ("NF-LV-161", 8, "argument unsupported: QEMU guest agent is not configured"),
    (
        "NF-LV-162",
        1,
        "internal error: unable to execute QEMU agent command 'guest-fsfreeze-freeze': The command has been disabled",
    ),
    ("NF-LV-170", 55, "Requested operation is not valid: another backup job is already running"),
    ("NF-LV-171", 109, "checkpoint inconsistent: bitmap 'one' for disk 'vda' is not valid"),
    ("NF-LV-172", 67, "unsupported configuration: internal snapshot for disk vda unsupported for storage type raw"),
    (
        "NF-LV-172",
        84,
        "Operation not supported: internal snapshots of a VM with pflash based firmware are not supported",
    ),
    ("NF-LV-173", 77, "revert requires force: snapshot 'a' lacks domain 'db' rollback info"),
    ("NF-LV-174", 55, "Requested operation is not valid: disk 'vda' already in active block job"),
    ("NF-DISK-001", 38, "Unable to write to '/var/log/libvirt/qemu/db.log': No space left on device"),
    ("NF-LV-001", 1, "something nobody has seen"),
]


@pytest.mark.parametrize(("code", "number", "message"), MESSAGES)
def test_a_message_gets_its_code_host_and_call(code: str, number: int, message: str) -> None:
    error = translate.translate(Failure(number, 10, message), what="start domain db", host="kvm1")
    assert error.code == code
    assert error.what.startswith("cannot start domain db: ")
    assert error.where == "kvm1"
    assert error.cause == re.sub(r"\s*\n\s*", "; ", message)
    assert not re.search(r"[{}]", error.what + "".join(error.hints)), "a placeholder was left open"
    assert error.hints or error.retry is Retry.NEVER or code in ("NF-LV-121", "NF-LV-122", "NF-LV-124")


def test_every_rule_is_seen_and_every_code_has_a_page() -> None:
    codes = {rule.code for rule in RULES}
    assert codes == {code for code, _, _ in MESSAGES}
    missing = [code for code in sorted(codes) if code.startswith("NF-LV") and not (PAGES / f"{code}.md").exists()]
    assert missing == []


def test_errors_have_their_own_classes() -> None:
    assert isinstance(translate.translate(Failure(42, 10, "x"), what="x", host="h"), NotFoundError)
    assert isinstance(translate.translate(Failure(38, 0, "No space left on device"), what="x", host="h"), SpaceError)
    assert lost("x", "h", "why").code == "NF-LV-103"


def test_a_file_with_spaces_is_named_in_the_fix_as_a_shell_wants_it() -> None:
    message = "Cannot access storage file '/srv/a b.qcow2' (as uid:64055, gid:64055): Permission denied"
    error = translate.translate(Failure(38, 0, message), what="start", host="kvm1")
    assert error.hints[0].startswith("namei -l '/srv/a b.qcow2' ")


def test_hints_survive_a_message_without_the_name_they_use() -> None:
    for rule in RULES:
        for sample in re.split(r"\|", rule.text):
            plain = re.sub(r"[\\^$.?*+()\[\]]", "", sample)
            translate.translate(Failure(0, 0, plain), what="x", host="h")


def test_time_stamps_of_qemu_are_dropped() -> None:
    message = "process exited while connecting to monitor: 2026-11-21T08:00:00.123456Z qemu: no\n"
    error = translate.translate(Failure(1, 10, message), what="start", host="kvm1")
    assert error.cause == "process exited while connecting to monitor: qemu: no"


NUMBERS = """
INTERNAL_ERROR NO_SUPPORT INVALID_ARG OPERATION_FAILED XML_ERROR NO_DOMAIN NO_NETWORK NO_STORAGE_POOL
OPERATION_INVALID CONFIG_UNSUPPORTED AGENT_UNRESPONSIVE CPU_INCOMPATIBLE DEVICE_MISSING
"""


@pytest.mark.parametrize("name", NUMBERS.split())
def test_numbers_are_those_of_the_installed_library(name: str) -> None:
    assert getattr(translate, name) == getattr(libvirt, f"VIR_ERR_{name}")
