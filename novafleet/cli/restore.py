"""``restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from novafleet.cli.backup import key_of
from novafleet.cli.options import KeyFile, Output, OutputForm, Passphrase, Repo, Timeout
from novafleet.cli.run import guarded, run
from novafleet.errors import ConfigError

What = Annotated[
    str,
    typer.Argument(metavar="SNAPSHOT", help="Its id, or the beginning of it; with --until a VM: NAME, HOST/DOMAIN."),
]
Until = Annotated[
    str, typer.Option("--until", metavar="TIME", help="The VM's newest snapshot up to then: 2026-11-21T08:30.")
]
DiskName = Annotated[str, typer.Option("--disk", metavar="NAME", help="Only this disk.")]
ToFile = Annotated[
    Path | None, typer.Option("--to-file", metavar="PATH", help="Write one disk to an image file on this machine.")
]
Format = Annotated[str, typer.Option("--format", metavar="raw|qcow2", help="Of that file.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


def restore(
    snapshot: What,
    until: Until = "",
    repo: Repo = "",
    key_file: KeyFile = None,
    passphrase: Passphrase = "",
    disk: DiskName = "",
    to_file: ToFile = None,
    form: Format = "raw",
    force: Force = False,
    output: Output = OutputForm.TABLE,
    timeout: Timeout = 0.0,
) -> None:
    """Bring back a VM or a disk of it, as it was when the snapshot was taken."""
    from novafleet.app.restorefile import FileRequest, FileRestored, restore_file
    from novafleet.app.restorepoint import moment
    from novafleet.report.backup import Reading
    from novafleet.report.restore import show_file

    def request() -> FileRequest:
        if to_file is None or not disk:
            raise ConfigError("say where to: --disk NAME --to-file PATH", code="NF-BAK-040")
        return FileRequest(repo, key_of(key_file, passphrase), snapshot, disk, to_file, form, force, moment(until))

    wanted = guarded(request, output)

    async def work() -> FileRestored:
        with Reading() as tell:
            return await restore_file(wanted, tell)

    show_file(run(work, form=output, timeout=timeout), output)
