"""libvirt's errors as findings: one table, read top to bottom, the first rule that fits wins.

libvirt reports much as VIR_ERR_INTERNAL_ERROR or VIR_ERR_OPERATION_FAILED with the cause only in its text, so this
is the one place that reads those texts (messages of libvirt 9.0 to 11.3 and QEMU 7.2 to 10.0).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from novafleet.errors import HypervisorError, NotFoundError, NovaFleetError, Retry, SpaceError

LOST = "NF-LV-103"
DENIED = "NF-LV-102"
UNSUPPORTED = "NF-LV-120"

# virErrorNumber, include/libvirt/virterror.h; tests compare them with the installed library.
INTERNAL_ERROR = 1
NO_SUPPORT = 3
INVALID_ARG = 8
OPERATION_FAILED = 9
XML_ERROR = 27
NO_DOMAIN = 42
NO_NETWORK = 43
NO_STORAGE_POOL = 49
OPERATION_INVALID = 55
CONFIG_UNSUPPORTED = 67
OPERATION_TIMEOUT = 68
OPERATION_ABORTED = 78
AGENT_UNRESPONSIVE = 86
NO_SNAPSHOT = 72
SNAPSHOT_REVERT_RISKY = 77
OPERATION_UNSUPPORTED = 84
CPU_INCOMPATIBLE = 91
DEVICE_MISSING = 99
NO_CHECKPOINT = 103
NO_BACKUP = 104
CHECKPOINT_INCONSISTENT = 109

_NOT_FOUND = (NO_DOMAIN, NO_NETWORK, NO_STORAGE_POOL, 50, NO_SNAPSHOT, 80, DEVICE_MISSING, NO_CHECKPOINT)
_DENIED = (29, 45, 79, 88, 94)
_UNSUPPORTED = (NO_SUPPORT, 74, OPERATION_UNSUPPORTED)
_BAD_XML = (XML_ERROR, 21, 35, 44, 92)


@dataclass(frozen=True, slots=True)
class Failure:
    """What a libvirtError says: virErrorNumber, virErrorDomain, message."""

    number: int
    domain: int
    message: str


@dataclass(frozen=True, slots=True)
class Rule:
    """Fits when the number is one of ``numbers`` (empty: any) and ``text`` is found (empty: any).

    ``what`` and ``hints`` may use ``{host}`` and the named groups of ``text``.
    """

    code: str
    what: str
    numbers: tuple[int, ...] = ()
    text: str = ""
    hints: tuple[str, ...] = ()
    retry: Retry = Retry.AFTER_FIX
    kind: type[NovaFleetError] = HypervisorError


RULES: tuple[Rule, ...] = (
    Rule("NF-LV-404", "it does not exist", _NOT_FOUND, retry=Retry.NEVER, kind=NotFoundError),
    Rule(
        "NF-DISK-001",
        "a file system on {host} is full",
        text=r"No space left on device",
        hints=("novafleet host exec -l {host} -- df -h /var/lib/libvirt /var/log",),
        kind=SpaceError,
    ),
    Rule(
        DENIED,
        "the login user may not manage libvirt",
        _DENIED,
        hints=("sudo usermod -aG libvirt USER   # on {host}, then log in again", "or set `become: true` for {host}"),
    ),
    Rule(
        "NF-LV-130",
        "KVM is not available on {host}",
        text=r"does not support virt type 'kvm'|Could not access KVM|failed to initialize kvm|domaintype=kvm|type=kvm"
        r"|KVM kernel module|virtType=kvm",
        hints=(
            "novafleet host doctor -l {host}   # says whether a KVM guest really boots there",
            "modprobe kvm_intel || modprobe kvm_amd   # on {host}, with virtualisation enabled in its firmware",
        ),
    ),
    Rule(
        LOST,
        "the libvirt connection was lost",
        text=r"End of file while reading|Cannot (?:recv|write) data|Failed to connect socket|client socket is closed"
        r"|[Cc]onnection (?:closed|reset)|keepalive timeout|Broken pipe",
        hints=("systemctl status libvirtd virtqemud   # on {host}; the next call connects again",),
        retry=Retry.LATER,
    ),
    Rule(
        "NF-LV-131",
        "the machine type is not known to QEMU on {host}",
        text=r"No PCI buses available|unsupported machine type|does not support machine type|machine=|machine type '",
        hints=("virsh domcapabilities; qemu-system-x86_64 -machine help   # on {host}",),
    ),
    Rule(
        "NF-LV-134",
        "another process holds the disk image",
        text=r"Failed to get \"(?:write|consistent read|shared \"write)|Is another process using the image",
        hints=("fuser -v IMAGE   # on {host}: who has it open",),
    ),
    Rule(
        "NF-LV-132",
        "QEMU on {host} may not open a file",
        text=r"(?P<path>/[^'\":]+?)'?(?: \(as uid:\d+, gid:\d+\))?: Permission denied",
        hints=(
            "namei -l {path}   # on {host}: QEMU's user needs x on every directory and rw on the file",
            "journalctl -k -g apparmor   # on {host}: or the security module refused it",
        ),
    ),
    Rule(
        "NF-LV-133",
        "a file the domain needs is missing on {host}",
        text=r"(?:storage file|Could not open|cannot open file|could not load kernel) '?(?P<path>/[^'\"]+?)'?"
        r"(?: \(as uid:\d+, gid:\d+\))?: (?:Failed to open file: )?No such file",
        hints=("ls -l {path}   # on {host}",),
    ),
    Rule(
        "NF-LV-135",
        "{host} has not enough memory for the guest",
        (),
        r"[Cc]annot allocate memory|cannot set up guest memory|unable to map backing store",
        hints=("free -m   # on {host}; lower `memory` or stop other guests",),
    ),
    Rule(
        "NF-LV-137",
        "{host} has no emulator for this guest",
        text=r"[Cc]annot check QEMU binary|[Nn]o emulator found|could not find capabilities for arch",
        hints=("apt-get install qemu-system-x86   # on {host}",),
    ),
    Rule(
        "NF-LV-138",
        "the firmware the guest asks for is not installed on {host}",
        text=r"Unable to find any firmware|Unable to find '[^']*' firmware|master var store|OVMF",
        hints=("apt-get install ovmf   # on {host}",),
    ),
    Rule(
        "NF-LV-139",
        "{host} cannot emulate a TPM",
        text=r"swtpm|TPM version '[^']*' is not supported",
        hints=("apt-get install swtpm swtpm-tools   # on {host}",),
    ),
    Rule(
        "NF-LV-140",
        "the network's address range is in use on {host}",
        text=r"already in use by interface (?P<bridge>\S+)",
        hints=(
            "ip address show {bridge}   # on {host}: the interface that has it",
            "choose another `cidr:` in the environment file",
        ),
    ),
    Rule(
        "NF-LV-141",
        "the bridge name is taken on {host}",
        text=r"bridge name '(?P<bridge>[^']+)' already in use|creat(?:e|ing) bridge (?:interface )?\S+: File exists",
        hints=("virsh net-list --all; ip -br link show type bridge   # on {host}",),
    ),
    Rule(
        "NF-LV-142",
        "the network is not running on {host}",
        text=r"network '(?P<network>[^']+)' is not active",
        hints=("virsh net-start {network}   # on {host}", "novafleet plan   # shows what else differs"),
    ),
    Rule(
        "NF-LV-143",
        "an address or port is taken on {host}",
        text=r"Address already in use|Unable to find an unused port",
        hints=("ss -lnup; ss -lntp   # on {host}: who listens (another dnsmasq, a DNS server?)",),
    ),
    Rule(
        "NF-LV-144",
        "a bridge or interface does not exist on {host}",
        text=r"'[^']+': No such device|(?:bridge|interface) '?[^' ]+'? (?:does not exist|not found)",
        hints=("ip -br link   # on {host}: the names there are",),
    ),
    Rule(
        "NF-LV-145",
        "the guest's CPU cannot run on {host}",
        (91,),
        hints=("use `cpu: host-model`, or a model every host has: virsh domcapabilities",),
    ),
    Rule(
        "NF-LV-150",
        "another storage pool has that directory on {host}",
        text=r"[Ss]torage source conflict with pool: '(?P<pool>[^']+)'",
        hints=("virsh pool-dumpxml {pool}   # on {host}; use that pool's name",),
    ),
    Rule(
        "NF-LV-160",
        "the guest agent does not answer",
        (AGENT_UNRESPONSIVE, 97),
        hints=("install and start qemu-guest-agent in the guest",),
        retry=Retry.LATER,
    ),
    Rule(
        "NF-LV-161",
        "the domain has no guest-agent channel",
        text=r"QEMU guest agent is not configured",
        hints=("add the channel (`agent: true`) and restart the guest",),
    ),
    Rule(
        "NF-LV-162",
        "the guest agent refused",
        text=r"unable to execute QEMU agent command|guest agent command .* failed|domain is already quiesced",
        hints=("virsh domfsthaw DOMAIN   # on {host}: if its file systems were left frozen",),
    ),
    Rule(
        "NF-LV-170",
        "a backup of the domain is under way",
        text=r"another backup job is already running",
        hints=("virsh domjobinfo DOMAIN; virsh backup-dumpxml DOMAIN   # on {host}",),
        retry=Retry.LATER,
    ),
    Rule(
        "NF-LV-171",
        "the record of changed blocks cannot be used",
        (CHECKPOINT_INCONSISTENT,),
        hints=("virsh checkpoint-list DOMAIN   # on {host}; the next backup reads the whole disk and starts anew",),
    ),
    Rule(
        "NF-LV-173",
        "it can only be done by force",
        (SNAPSHOT_REVERT_RISKY,),
        hints=("say so: `--force`",),
    ),
    Rule(
        "NF-LV-174",
        "a job on the disk is in the way",
        text=r"already in active block job|is being used in a block job|has an active block job"
        r"|active block (?:job|copy)|node is busy",
        hints=("virsh blockjob DOMAIN DISK   # on {host}",),
        retry=Retry.LATER,
    ),
    Rule(
        "NF-LV-172",
        "this kind of snapshot is not possible here",
        (CONFIG_UNSUPPORTED, OPERATION_UNSUPPORTED, 74, OPERATION_INVALID),
        r"[Ss]napshot|dirty bitmaps",
        hints=("novafleet snapshot ls DOMAIN   # what there is",),
    ),
    Rule(
        "NF-LV-123",
        "the name or UUID is taken",
        (28, 37, 90, 106),
        hints=("virsh list --all --uuid --name; virsh net-list --all --uuid --name   # on {host}",),
    ),
    Rule(
        "NF-LV-123",
        "the name or UUID is taken",
        text=r"already exists with uuid|already defined with uuid|is already (?:defined|active) as"
        r"|domain (?:snapshot|checkpoint|moment) \S+ already exists|[Bb]itmap already exists",
        hints=("virsh list --all --uuid --name; virsh net-list --all --uuid --name   # on {host}",),
    ),
    Rule(
        "NF-LV-126",
        "the domain already has such a device",
        text=r"non unique alias detected|target \S+ (?:already exists|duplicated)|already in the domain configuration"
        r"|mac '?\S+ already exists|Duplicate ID",
        hints=("virsh dumpxml DOMAIN --inactive   # on {host}",),
    ),
    Rule(
        "NF-LV-127",
        "the running guest has no slot for another device",
        text=r"does not support hotplugging|No more available PCI (?:slots|addresses)",
        hints=("stop the guest and attach it then: a definition gets new slots",),
    ),
    Rule(
        "NF-LV-146",
        "another entry has that MAC, address or name",
        text=r"existing dhcp host entry|already at least one DNS HOST record",
        hints=("virsh net-dumpxml NETWORK   # on {host}: delete the entry or change the file",),
    ),
    Rule(
        "NF-LV-111",
        "another operation on the domain does not end",
        (OPERATION_TIMEOUT, 87),
        hints=("virsh domjobinfo DOMAIN   # on {host}",),
        retry=Retry.LATER,
    ),
    Rule(
        "NF-LV-125",
        "it is more than the definition's maximum",
        text=r"exceeds maximum|greater than max allowable|higher than max memory",
        hints=("stop the guest: while it is off its maximum can change",),
    ),
    Rule("NF-LV-122", "the present state does not allow it", text=r"for inactive domain"),
    Rule(UNSUPPORTED, "this libvirt or driver cannot do that", _UNSUPPORTED, retry=Retry.NEVER),
    Rule("NF-LV-124", "QEMU on {host} cannot provide what the definition asks for", (CONFIG_UNSUPPORTED,)),
    Rule("NF-LV-121", "libvirt does not accept the XML", _BAD_XML),
    Rule("NF-LV-122", "the present state does not allow it", (OPERATION_INVALID,)),
    Rule("NF-LV-122", "the present state does not allow it", text=r"\bnot (?:running|paused|active)|already running"),
    Rule(
        "NF-LV-136",
        "QEMU ended while starting",
        text=r"process exited while connecting to monitor|(?i:qemu) unexpectedly closed the monitor",
        hints=("tail -50 /var/log/libvirt/qemu/DOMAIN.log   # on {host}",),
    ),
    Rule("NF-LV-001", "libvirt failed", retry=Retry.NEVER),
)


def translate(failure: Failure, *, what: str, host: str, first: tuple[Rule, ...] = ()) -> NovaFleetError:
    """The finding for a failed call; ``what`` is the call in words, such as "start domain db". ``first`` are rules
    that count before the table's, for calls whose errors mean something else."""
    rule, found = _match(failure, first)
    words = {"host": host, **{name: text for name, text in found.items() if text}}
    return _finding(rule, words, what, _cause(failure.message))


def _finding(rule: Rule, words: dict[str, str], what: str, cause: str) -> NovaFleetError:
    quoted = {name: shlex.quote(text) for name, text in words.items()}
    return rule.kind(
        f"cannot {what}: {rule.what.format_map(words)}",
        code=rule.code,
        where=words["host"],
        cause=cause,
        hints=tuple(hint.format_map(quoted) for hint in rule.hints),
        retry=rule.retry,
    )


def lost(what: str, host: str, cause: str) -> NovaFleetError:
    """The connection ended while (or before) a call was under way; the next call makes a new one."""
    rule = next(rule for rule in RULES if rule.code == LOST)
    return _finding(rule, {"host": host}, what, cause)


def _match(failure: Failure, first: tuple[Rule, ...]) -> tuple[Rule, dict[str, str]]:
    for rule in (*first, *RULES):
        if rule.numbers and failure.number not in rule.numbers:
            continue
        found = re.search(rule.text, failure.message)
        if found:
            return rule, found.groupdict()
    raise AssertionError("the last rule fits everything")


def _cause(message: str) -> str:
    """libvirt's text in one line: QEMU's own words come after a time stamp nobody needs."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z ", "", message)
    return re.sub(r"\s*\n\s*", "; ", text.strip())
