"""The ``xml:`` key: what the schema lacks, merged into the domain as a tree.

Rules, for each child of the overlay, from the root down:

1. attributes and non-blank text of the overlay win;
2. a child that names itself (``alias``, a controller's type and index, a ``name`` or ``dev`` attribute) is merged into
   the child of the same tag and name, or appended;
3. any other child is merged into the first child of its tag, or appended; except that children of ``<devices>`` which
   may repeat (disk, interface, hostdev, …), and children whose tag the overlay repeats, are appended.

Elements of other namespaces (``qemu:commandline``) are merged like all others.
"""

from __future__ import annotations

import hashlib
from xml.etree import ElementTree

from novafleet.capability.vm.devices import NIC_ALIAS
from novafleet.errors import ConfigError, Location

Element = ElementTree.Element

ElementTree.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")

REPEATABLE = frozenset(
    (
        "channel",
        "console",
        "controller",
        "disk",
        "filesystem",
        "graphics",
        "hostdev",
        "hub",
        "input",
        "interface",
        "memory",
        "parallel",
        "redirdev",
        "rng",
        "serial",
        "shmem",
        "smartcard",
        "sound",
        "video",
    )
)
"""Device kinds a domain may have several of."""


def parse(text: str, where: Location) -> Element:
    """The overlay as a tree.

    Raises ConfigError NF-VM-004 for text that is not a ``<domain>`` element, that has a document type (entities can
    be bombs), or that has a NIC without a MAC address (libvirt would invent another at each definition).
    """
    if "<!DOCTYPE" in text:
        raise _invalid("the `xml:` overlay may not have a document type", where, "<!DOCTYPE …>")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise _invalid("the `xml:` overlay is not well-formed XML", where, str(error)) from error
    if root.tag != "domain":
        raise _invalid("the `xml:` overlay must be one <domain> element", where, f"it is <{root.tag}>")
    if any(_nameless(nic) for nic in root.iterfind("devices/interface")):
        raise _invalid(
            "an <interface> of the `xml:` overlay has no <mac address=…/>", where, "it could not be known again"
        )
    return root


def _nameless(nic: Element) -> bool:
    alias = nic.find("alias")
    ours = alias is not None and alias.get("name", "").startswith(NIC_ALIAS)
    return nic.find("mac") is None and not ours


def _invalid(what: str, where: Location, cause: str) -> ConfigError:
    hints = ("xml: |", "  <domain><cputune><shares>2048</shares></cputune></domain>")
    return ConfigError(what, code="NF-VM-004", where=where, cause=cause, hints=hints)


def digest(text: str) -> str:
    """Of the overlay's meaning: white space and comments do not count; "" for none."""
    return hashlib.sha256(ElementTree.canonicalize(text, strip_text=True).encode()).hexdigest() if text.strip() else ""


def merge(base: Element, overlay: Element) -> None:
    """Merge ``overlay`` into ``base``, in place."""
    base.attrib.update(overlay.attrib)
    if overlay.text and overlay.text.strip():
        base.text = overlay.text.strip()
    for child in overlay:
        match = _match(base, overlay, child)
        if match is None:
            base.append(child)
        else:
            merge(match, child)


def _match(base: Element, overlay: Element, child: Element) -> Element | None:
    identity = _identity(child)
    if identity:
        return next((each for each in base.findall(child.tag) if _identity(each) == identity), None)
    repeated = len(overlay.findall(child.tag)) > 1 or (base.tag == "devices" and child.tag in REPEATABLE)
    return None if repeated else base.find(child.tag)


def _identity(element: Element) -> tuple[str, ...]:
    alias = element.find("alias")
    if alias is not None:
        return ("alias", alias.get("name", ""))
    if element.tag == "controller" and "index" in element.attrib:
        return ("controller", element.get("type", ""), element.get("index", ""))
    return tuple(part for key in ("name", "dev") if (part := element.get(key, "")))
