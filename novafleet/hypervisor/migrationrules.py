"""What libvirt's errors mean of a migration: rules before the table of ``translate.py``.

Messages of qemu_migration.c and libvirt-domain.c, 9.0 to 11.3.
"""

from __future__ import annotations

from novafleet.errors import Retry
from novafleet.hypervisor.translate import OPERATION_ABORTED, Rule

MIGRATION: tuple[Rule, ...] = (
    Rule(
        "NF-LV-188",
        "it is too late to call it off",
        text=r"cannot abort|abort (?:is )?not (?:allowed|possible|supported)",
        hints=("novafleet migrate recover --explain   # what can be done now",),
        retry=Retry.NEVER,
    ),
    Rule(
        "NF-LV-189",
        "a disk has no place on the destination",
        text=r"pre-?creation|cannot (?:create|precreate) .*(?:volume|storage)|missing backing store"
        r"|[Nn]on-shared storage|storage file '[^']*' .*destination",
        hints=("virsh pool-list --all   # on the destination", "name a pool: --pool POOL"),
    ),
    Rule(
        "NF-LV-182",
        "it was called off",
        (OPERATION_ABORTED,),
        hints=("novafleet migrate recover --explain   # where the guest runs now",),
        retry=Retry.LATER,
    ),
    Rule(
        "NF-LV-182",
        "it was called off",
        text=r"cancell?ed by client|[Jj]ob (?:was )?(?:aborted|cancell?ed)",
        hints=("novafleet migrate recover --explain   # where the guest runs now",),
        retry=Retry.LATER,
    ),
    Rule(
        "NF-LV-184",
        "libvirt takes both hosts for one",
        text=r"to the same host|Attempt to migrate guest to the same",
        hints=(
            "virsh capabilities | grep -m1 uuid   # on both hosts: cloned machines have one UUID",
            "set host_uuid in /etc/libvirt/libvirtd.conf   # on one of them: what uuidgen says; restart libvirtd",
        ),
    ),
    Rule(
        "NF-LV-187",
        "post-copy is not possible here",
        text=r"[Pp]ost-?copy|userfault",
        hints=(
            "sysctl vm.unprivileged_userfaultfd   # on the destination: 1, or since QEMU 8.0 /dev/userfaultfd",
            "migrate with --mode live or --mode warm",
        ),
    ),
    Rule(
        "NF-LV-183",
        "something of the guest does not migrate",
        text=r"cannot migrate (?:a )?domain|domain (?:has|is) [^;]*(?:snapshot|block job|block copy|assigned|backup)"
        r"|State blocked by|[Mm]igration (?:is )?(?:disabled|not (?:supported|allowed|possible))|non-migratable"
        r"|block migration|not migratable|[Uu]nsafe migration|may lead to data corruption",
        hints=("novafleet migrate DOMAIN --to HOST --plan   # says what, and which modes are left",),
    ),
    Rule(
        "NF-LV-185",
        "a disk could not be copied",
        text=r"(?:migration|mirror\w*|copy) of disk|disk \S+ (?:failed|mirror)|[Bb]lock ?job|drive.mirror",
        hints=(
            "df -h; tail -50 /var/log/libvirt/qemu/DOMAIN.log   # on the destination",
            "novafleet migrate DOMAIN --to HOST --mode cold --plan",
        ),
        retry=Retry.LATER,
    ),
    Rule(
        "NF-LV-181",
        "the hosts lost each other",
        text=r"Failed to connect|[Uu]nable to connect|[Cc]annot connect|[Cc]onnection (?:refused|closed|reset|timed)"
        r"|End of file|Cannot (?:recv|write) data|client socket is closed|[Bb]roken pipe|keepalive|unable to read from"
        r"|Unable to (?:read|write)|lost connection|Input/output error|Network is unreachable|No route to host",
        hints=("novafleet migrate DOMAIN --to HOST --path relay   # everything through this machine",),
        retry=Retry.LATER,
    ),
    Rule(
        "NF-LV-186",
        "no migration is under way",
        text=r"not being migrated|no (?:ongoing )?(?:migration )?job|no job is active|migration is not in progress"
        r"|job is not active|domain is not (?:running|active)",
        retry=Retry.NEVER,
    ),
    Rule(
        "NF-LV-180",
        "QEMU ended it",
        text=r"migration (?:out )?job|[Mm]igration (?:unexpectedly )?failed|unexpectedly (?:failed|closed)",
        hints=("tail -50 /var/log/libvirt/qemu/DOMAIN.log   # on both hosts",),
        retry=Retry.LATER,
    ),
)
"""Read top to bottom; what fits none of them means what it means elsewhere."""
