"""Names and numbers every controller gives to the same thing (docs/architecture.md, "Names everything agrees on")."""

from __future__ import annotations

import hashlib
import uuid

from novafleet.model.address import METADATA_NS


def domain_name(environment: str, vm: str) -> str:
    """``devlab-db``: the libvirt name of a VM, and likewise of a network or a stack's project."""
    return f"{environment}-{vm}"


def domain_uuid(environment: str, vm: str) -> str:
    """The UUID of a VM: version 5 in the URL namespace."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{METADATA_NS}/{environment}/vm/{vm}"))


def mac(environment: str, vm: str, nic: str) -> str:
    """QEMU's own prefix and three bytes of a hash."""
    digits = hashlib.sha256(f"{environment}/{vm}/{nic}".encode()).hexdigest()
    return ":".join(("52:54:00", digits[0:2], digits[2:4], digits[4:6]))


def volume_file(environment: str, vm: str, disk: str, form: str) -> str:
    """``devlab.db.root.qcow2``: names hold no dot, so no two of them meet."""
    return f"{environment}.{vm}.{disk}.{form}"


def seed_file(environment: str, vm: str) -> str:
    """``devlab.db.seed.iso``."""
    return f"{environment}.{vm}.seed.iso"
