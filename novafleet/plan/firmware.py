"""Where libvirt keeps what belongs to a domain beside its disks: UEFI variables, the state of an emulated TPM. Pure.

Format: https://libvirt.org/formatdomain.html.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

NVRAM = "/var/lib/libvirt/qemu/nvram"
"""UEFI variables, by default (qemuDomainNVRAMPathFormat)."""
TPM_STATE = "/var/lib/libvirt/swtpm"
"""A directory for each domain's UUID, by default."""


def variables_default(name: str) -> str:
    """The file libvirt puts a domain's UEFI variables in when nobody names one."""
    return f"{NVRAM}/{name}_VARS.fd"


def variables(domain: Element) -> str:
    """The file of the UEFI variables; "" without any. It is text, or since libvirt 8.5 a source like a disk's. 9.0 does
    not tell that of a VM that is off and whose firmware it chooses."""
    source = domain.find("os/nvram/source")
    told = domain.findtext("os/nvram", "").strip() or (source.get("file", "") if source is not None else "")
    chosen = domain.find("os[@firmware='efi']") is not None and source is None
    return told or (variables_default(domain.findtext("name", "").strip()) if chosen else "")


def tpm_state(domain: Element) -> str:
    """The directory of an emulated TPM's state; "" without one."""
    emulated = domain.find("devices/tpm/backend[@type='emulator']")
    if emulated is None:
        return ""
    source = emulated.find("source")
    told = source.get("path", "") if source is not None else ""
    return told or f"{TPM_STATE}/{domain.findtext('uuid', '').strip()}"
