"""A VM between two hosts, as ``look`` would have seen it, to be spoilt in one place by each test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from novafleet.capability.migration.decide import decide
from novafleet.capability.migration.observed import Image, Observed, Seen, Side
from novafleet.model.facts import Domain, NetworkFact, PoolFact
from novafleet.model.migration import Dossier, Wanted

MIB, GIB = 1 << 20, 1 << 30
POOL = "/var/lib/libvirt/images"
UUID = "b7a32315-f5c1-58c8-9566-1dd866dfce2a"
BASE = f"{POOL}/novafleet-image-{'ab' * 32}"
DIGEST = "ab" * 32
ROOT, DATA, SEED = f"{POOL}/lab.db.root.qcow2", f"{POOL}/lab.db.data.qcow2", f"{POOL}/lab.db.seed.iso"
EMULATOR = "/usr/bin/qemu-system-x86_64"
LEASE = '<host mac="52:54:00:aa:bb:cc" name="db" ip="10.9.0.10"/>'
NETWORK = """<network><name>lan</name><forward mode="nat"/><bridge name="virbr7"/>
<ip address="10.9.0.1" netmask="255.255.255.0"><dhcp>{}</dhcp></ip></network>"""
CPU = '<cpu mode="custom" match="exact"><model>qemu64</model></cpu>'
DISKS = f"""<disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="{ROOT}"/>
<target dev="vda" bus="virtio"/></disk>
<disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="{DATA}"/>
<target dev="vdb" bus="virtio"/></disk>
<disk type="file" device="disk"><driver name="qemu" type="raw"/><source file="{SEED}"/>
<target dev="vdz" bus="virtio"/><readonly/></disk>"""
NIC = '<interface type="network"><mac address="52:54:00:aa:bb:cc"/><source network="lan"/></interface>'


def xml(devices: str = DISKS + NIC, cpu: str = CPU, system: str = "", head: str = "", kind: str = "qemu") -> str:
    """A definition; ``system`` goes into ``<os>``, ``head`` into ``<domain>``."""
    return (
        f'<domain type="{kind}"><name>lab-db</name><uuid>{UUID}</uuid><memory unit="MiB">512</memory>{head}'
        f'<os><type arch="x86_64" machine="pc-q35-7.2">hvm</type>{system}</os>{cpu}'
        f"<devices><emulator>{EMULATOR}</emulator>{devices}</devices></domain>"
    )


def network(entry: str = "", active: bool = True, text: str = NETWORK) -> NetworkFact:
    """The network ``lan`` with one reservation."""
    return NetworkFact("lan", "u", active, True, text.format(entry))


def side(host: str, **changed: Any) -> Side:
    """A host that has everything."""
    common: dict[str, Any] = {
        "versions": (11_003_000, 10_000_000),
        "uuid": f"uuid-of-{host}",
        "memory_available": 8 * GIB,
        "kvm": True,
        "cpu_flags": frozenset(("sse2", "avx")),
        "machines": frozenset(("pc-q35-7.2", "pc-q35-10.0", "q35")),
        "swtpm": True,
        "networks": {"lan": network(LEASE if host == "kvm1" else "")},
        "pools": {"default": PoolFact("default", True, POOL, 100 * GIB, 50 * GIB)},
        "devices": {"virbr7": 1500, "br0": 1500},
    }
    return replace(Side(host), **{**common, **changed})


def observed(definition: str = "", running: bool = True, **changed: Any) -> Observed:
    """The VM on kvm1, to go to kvm2."""
    text = definition or xml()
    domain = Domain("lab-db", UUID, "running" if running else "shutoff", text, autostart=True, reason="booted")
    base = Image(BASE, "qcow2", 2 * GIB, 800 * MIB)
    chains = {
        ROOT: (Image(ROOT, "qcow2", 2 * GIB, 100 * MIB, BASE), base),
        DATA: (Image(DATA, "qcow2", 4 * GIB, 300 * MIB),),
        SEED: (Image(SEED, "raw", 57344, 57344),),
    }
    files = {ROOT: Seen(100 * MIB, inode=1), DATA: Seen(300 * MIB, inode=2), SEED: Seen(57344, "5e" * 32, 3)}
    source = side("kvm1", chains=chains, files={**files, BASE: Seen(800 * MIB, DIGEST, 4)})
    destination = side("kvm2", files={EMULATOR: Seen(1)}, room={POOL: 50 * GIB})
    seen = Observed(
        "0a1b2c3d",
        "db",
        "lab",
        domain,
        source,
        destination,
        running_xml=text if running else "",
        resident=400 * MIB,
        paths={"direct": "", "tunnel": "", "relay": ""},
        path="relay",
        link_rate=100.0 * MIB,
        dirty_rate=5.0 * MIB,
    )
    return replace(seen, **changed)


def there(seen: Observed, **changed: Any) -> Observed:
    """With the destination changed."""
    return replace(seen, destination=replace(seen.destination, **changed))


def here(seen: Observed, **changed: Any) -> Observed:
    """With the source changed."""
    return replace(seen, source=replace(seen.source, **changed))


def dossier(seen: Observed | None = None, **wanted: Any) -> Dossier:
    """What is decided."""
    return decide(seen or observed(), Wanted(**wanted))


def codes(found: Dossier, severity: str = "blocker") -> list[str]:
    """The codes of findings of one severity."""
    return [each.code for each in found.findings if each.severity.value == severity]
