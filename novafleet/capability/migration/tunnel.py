"""The data path of one SSH connection from source to destination, as a unit that outlives the controller.

Its key is made on the source for one job, and the destination trusts it for the seconds until the connection stands:
what holds the connection afterwards is no key. It may do nothing but forward, to sockets of the destination.
"""

from __future__ import annotations

from collections.abc import Sequence

from novafleet.capability.migration.ends import End
from novafleet.capability.migration.offer import Offer
from novafleet.capability.migration.relay import LOOPBACK, Lane
from novafleet.capability.migration.scripts import script
from novafleet.capability.migration.survey import Door, Survey
from novafleet.errors import CommandError, MigrationError, Retry

LASTS = 86400
"""Seconds after which the unit ends whatever happens."""
NOWHERE = "127.0.0.1:1"
"""Stands for no port at all: authorized_keys has no word for that, and sshd refuses a key with sshd_config's ``none``.
There is no ``permitopen``: with one, sshd opens no UNIX socket (channel_connect_to_path), and libvirt's is one."""
OPTIONS = (
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=/dev/null",
    "ExitOnForwardFailure=yes",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
    "ConnectTimeout=10",
    "Compression=no",
    "Ciphers=^aes128-gcm@openssh.com",
)


def unit(job: str) -> str:
    """What systemd calls the tunnel on the source."""
    return f"novafleet-migrate-{job}"


async def dig(ends: tuple[End, End], ground: Survey, job: str, folder: str, lanes: Sequence[Lane]) -> None:
    """Open the tunnel; it lasts until its ``unit`` ends. Raises MigrationError NF-MIG-103 when it does not come up. The
    destination trusts its key no more when this returns or raises."""
    (source, destination), offers, door = ends, ground.offers, ground.door
    if door is None:
        raise refused(destination, ground.closed)
    known = "\n".join(f"{unit(job)} {key}" for key in offers[1].host_keys)
    key = (await source.session.run(script("tunnel_key.sh", folder, known, mutates=True))).text.strip()
    trust = script("tunnel_trust.sh", job, key, f'permitlisten="{NOWHERE}"', mutates=True, become=False)
    words = (*_ssh(door, offers[1].login, job), *_forwards(offers[1], lanes))
    up = script("tunnel_up.sh", unit(job), folder, offers[0].owner, str(LASTS), *words, mutates=True)
    try:
        await destination.session.run(trust)
        await source.session.run(up, timeout=40.0)
    except CommandError as error:
        raise refused(destination, error.stderr.strip() or str(error)) from error
    finally:
        await distrust(destination, job)


def _ssh(door: Door, login: str, job: str) -> tuple[str, ...]:
    options = tuple(word for each in (*OPTIONS, f"HostKeyAlias={unit(job)}") for word in ("-o", each))
    return (*options, "-p", str(door.port), "-l", login, door.address)


def _forwards(destination: Offer, lanes: Sequence[Lane]) -> tuple[str, ...]:
    """ssh makes its listeners in this order; libvirt's, which says that all are there, is the last."""
    words: list[str] = []
    for lane in sorted(lanes, key=lambda each: each.daemon):
        if lane.daemon:
            words += ("-L", f"{lane.at}:{destination.socket}")
        elif isinstance(lane.at, str):
            words += ("-L", f"{lane.at}:{lane.at}")
        else:
            words += ("-L", f"{LOOPBACK}:{lane.at}:{LOOPBACK}:{lane.at}")
    return tuple(words)


async def distrust(destination: End, job: str) -> None:
    """Take the key's line away; nothing there is fine."""
    await destination.session.run(script("tunnel_distrust.sh", job, mutates=True, become=False))


def refused(destination: End, cause: str) -> MigrationError:
    """No SSH connection between the hosts."""
    return MigrationError(
        "the hosts have no SSH connection with each other",
        code="NF-MIG-103",
        where=destination.host.name,
        cause=cause,
        hints=(
            "--path relay   # everything through this machine",
            "or name the address the source reaches it at: `migrate_address:` in the inventory",
        ),
        retry=Retry.AFTER_FIX,
    )
