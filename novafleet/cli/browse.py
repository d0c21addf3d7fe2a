"""``backup browse|get``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from novafleet.cli.options import KeyFile, Output, OutputForm, Passphrase, Repo
from novafleet.cli.run import guarded, run

if TYPE_CHECKING:
    from novafleet.app.browse import Fetched, Place

What = Annotated[
    str,
    typer.Argument(metavar="SNAPSHOT", help="Its id, or the beginning of it; with --until a VM: NAME, HOST/DOMAIN."),
]
Until = Annotated[
    str, typer.Option("--until", metavar="TIME", help="The VM's newest snapshot up to then: 2026-11-21T08:30.")
]
Disk = Annotated[str, typer.Option("--disk", metavar="NAME", help="Only this disk.")]
Number = Annotated[int, typer.Option("--partition", metavar="N", help="Only this one; 0: a disk without partitions.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to ``backup``."""
    app.command("browse")(browse)
    app.command("get")(get)


def browse(
    snapshot: What,
    path: Annotated[
        str,
        typer.Argument(metavar="[PATH]", help="A directory; without one: disks and partitions.", show_default=False),
    ] = "",
    disk: Disk = "",
    partition: Number = -1,
    until: Until = "",
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    output: Output = OutputForm.TABLE,
) -> None:
    """What is on the disks of a snapshot: partitions, and directories of ext2, ext3 and ext4."""
    from novafleet.app.browse import listing, parts
    from novafleet.report.browse import show_listing, show_parts

    place = guarded(lambda: _place(repo, key_file, passphrase, snapshot, disk, partition, until), output)
    if path:
        show_listing(run(lambda: listing(place, path), form=output), output)
    else:
        show_parts(*run(lambda: parts(place), form=output), output)


def get(
    snapshot: What,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file in the guest: /etc/fstab.")],
    to: Annotated[Path, typer.Argument(metavar="[TO]", help="A file or folder here.")] = Path(),
    disk: Disk = "",
    partition: Number = -1,
    until: Until = "",
    force: Force = False,
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    output: Output = OutputForm.TABLE,
) -> None:
    """Copy a file out of a snapshot."""
    from novafleet.app.browse import fetch
    from novafleet.report.backup import Reading
    from novafleet.report.browse import show_fetched

    place = guarded(lambda: _place(repo, key_file, passphrase, snapshot, disk, partition, until), output)

    async def work() -> Fetched:
        with Reading() as tell:
            return await fetch(place, path, to, tell, force=force)

    show_fetched(run(work, form=output), output)


def _place(
    repo: str, key_file: Path | None, passphrase: str, snapshot: str, disk: str, partition: int, until: str
) -> Place:
    from novafleet.app.browse import Place
    from novafleet.app.repository import key_source
    from novafleet.app.restorepoint import moment

    return Place(repo, key_source(key_file, passphrase), snapshot, disk, partition, moment(until))
