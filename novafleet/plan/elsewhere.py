"""What a libvirt definition must say otherwise to boot under another host's libvirt and QEMU. Pure.

Format: https://libvirt.org/formatdomain.html.
"""

from __future__ import annotations

from collections.abc import Collection
from xml.etree.ElementTree import Element

FAMILIES = {"pc-q35-": "q35", "pc-i440fx-": "pc", "virt-": "virt", "pseries-": "pseries"}
"""Versioned machine types, and the alias of the newest one of their kind."""


def machine_for(had: str, known: Collection[str]) -> str:
    """The machine type itself where it is ``known``, else the newest known one of its kind, else ""."""
    if had in known:
        return had
    alias = next((name for prefix, name in FAMILIES.items() if had.startswith(prefix)), "")
    return alias if alias in known else ""


def fit_machine(root: Element, known: Collection[str]) -> tuple[str, str]:
    """Give a domain a machine type that is ``known``. What it had and what it has now. Raises LookupError where nothing
    of its kind is known."""
    kind = root.find("os/type")
    had = kind.get("machine", "") if kind is not None else ""
    if kind is None or not had:
        return "", ""
    has = machine_for(had, known)
    if not has:
        raise LookupError(had)
    kind.set("machine", has)
    return had, has


def for_older_libvirt(root: Element) -> None:
    """Drop what a newer libvirt writes down unasked and an older one refuses: the watchdog every q35 has (ITCO, 9.1);
    that firmware is to be chosen, beside the file that was (9.0 refuses both at once); that it and its variables are
    raw (9.2; their template: 10.10). The guest stays the same."""
    for devices in root.iterfind("devices"):
        for watchdog in devices.findall("watchdog[@model='itco'][@action='reset']"):
            devices.remove(watchdog)
    for system in root.iterfind("os"):
        if (system.findtext("loader") or "").strip():
            system.attrib.pop("firmware", None)
            for choice in system.findall("firmware"):
                system.remove(choice)
    for part in (*root.iterfind("os/loader"), *root.iterfind("os/nvram")):
        for name in ("format", "templateFormat"):
            if part.get(name) == "raw":
                del part.attrib[name]
