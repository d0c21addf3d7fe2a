"""A sparse image from host to host: our cold copy, digests of both sides included, beside ``scp -3`` of the same file.

``python -m tests.lab.copybench`` on the lab, while nothing else uses it: 90 MiB of data, two thirds random, in 512 MiB.
"""

from __future__ import annotations

import asyncio
import subprocess
import time

from novafleet.app.lab import status
from novafleet.capability.migration.carry import Cargo, carry
from novafleet.capability.migration.through import ThroughController
from tests.lab.movebench import road
from tests.labfixture import LAB_PLACE, ROOT, Lab

IMAGE = "/var/tmp/mc-bench.raw"
COPIES = ("/var/tmp/mc-bench.scp", "/var/tmp/mc-bench.ours")
MAKE = """\
truncate -s 512M "$1"
for at in 0 200 400; do
  head -c 20M /dev/urandom | dd of="$1" bs=1M seek="$at" conv=notrunc status=none
  seq 1 4000000 | head -c 10M | dd of="$1" bs=1M seek=$((at + 40)) conv=notrunc status=none
done
sync
"""


def main() -> None:
    """Print seconds and their ratio; the copies must be what the image is."""
    lab = the_lab()
    lab.on("kvm1", "sh", "-c", MAKE, "sh", IMAGE)
    try:
        theirs, ours = scp(lab), asyncio.run(own(lab))
        sums = {lab.on("kvm2", "sha256sum", copy).split()[0] for copy in COPIES}
        same = sums == {lab.on("kvm1", "sha256sum", IMAGE).split()[0]}
        print(f"scp -3 {theirs:.1f} s, ours {ours:.1f} s, {theirs / ours:.2f}x as fast, the same: {same}")
    finally:
        lab.on("kvm1", "rm", "-f", IMAGE)
        lab.on("kvm2", "rm", "-f", *COPIES)


def the_lab() -> Lab:
    """The one that is up."""
    hosts = {state.host.name: state.host for state in status()}
    place, images = LAB_PLACE, LAB_PLACE.images
    inventory = ROOT / "inventory" / "lab.yml"
    return Lab(hosts, place.key, place.known_hosts, inventory, place.images_file, images / "httpd.tar")


def scp(lab: Lab) -> float:
    """Seconds of ``scp -3``."""
    lab.on("kvm2", "rm", "-f", COPIES[0])
    places = [f"root@{lab.hosts[host].address}:{path}" for host, path in (("kvm1", IMAGE), ("kvm2", COPIES[0]))]
    options = ("-i", str(lab.key), "-o", f"UserKnownHostsFile={lab.known_hosts}")
    began = time.monotonic()
    subprocess.run(["scp", "-3", "-q", *options, *places], check=True, capture_output=True, timeout=600)
    return time.monotonic() - began


async def own(lab: Lab) -> float:
    """Seconds of ours, connections already there as they are in a migration."""
    await asyncio.to_thread(lab.on, "kvm2", "sh", "-c", 'rm -f "$1" && : >"$1"', "sh", COPIES[1])
    async with road("kvm1", "kvm2") as way:
        began = time.monotonic()
        await carry(way.ends, [Cargo("disk", IMAGE, COPIES[1])], ThroughController())
        return time.monotonic() - began


if __name__ == "__main__":
    main()
